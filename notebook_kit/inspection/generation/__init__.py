"""How a text is written, token by token."""
