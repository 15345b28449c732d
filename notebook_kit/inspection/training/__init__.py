"""What a training run shows: verdicts, thinned curves, probes of the data."""
