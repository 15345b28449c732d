"""What records a run: metrics on disk, a monitor of the machine, and controls that reach the loop."""
