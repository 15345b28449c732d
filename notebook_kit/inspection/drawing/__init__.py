"""Pictures of attention and tokens, drawn with matplotlib."""
