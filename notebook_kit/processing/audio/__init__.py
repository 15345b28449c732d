"""Sound: reading recordings, the features that models take, and the processors that join these with a tokenizer."""
