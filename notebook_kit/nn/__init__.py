"""What models are made of: the base class, layers, attention, the cache, outputs."""
