"""Images: loading them, and preparing them for models."""
