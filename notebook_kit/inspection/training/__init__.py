"""Analyses of a training run: verdicts, thinned curves, probes."""
