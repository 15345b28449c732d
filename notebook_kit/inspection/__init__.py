"""What the panels compute, with no widget: attention, tokens, generation and training as data and pictures."""
