"""The attention of a model: reading, scores, rollout, the logit lens."""
