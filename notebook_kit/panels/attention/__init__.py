"""What AttentionView computes, without a widget: readings, scores, rollout, merging, predictions, pictures."""
