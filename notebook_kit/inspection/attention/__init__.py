"""What a model attends to: reading, scoring, rollout, the logit lens."""
