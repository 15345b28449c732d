"""Model families, one file each, named after the `model_type` of the Hub's `config.json`."""
