"""Weights: their files on disk, and the rules that pair their names with a model's."""
