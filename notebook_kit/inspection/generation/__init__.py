"""How a model writes a text, token by token."""
