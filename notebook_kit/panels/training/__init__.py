"""Parts of TrainingDashboard: what crosses to the page, what is said of a run, probes, and pictures."""
