"""The computations behind the panels, without widgets: attention, tokens, generation and training as data and pictures."""
