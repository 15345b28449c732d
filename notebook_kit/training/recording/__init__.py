"""Recording of runs: a record in memory and on disk, the monitor that fills it, and the controls of a running loop."""
