"""The recording of runs: a record in memory and on disk, the monitor that fills it, and the controls that reach the loop."""
