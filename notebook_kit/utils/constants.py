"""Names of files in a checkpoint."""

__all__ = [
    "CONFIG_NAME",
    "GENERATION_CONFIG_NAME",
    "MODEL_CARD_NAME",
    "PREFIX_CHECKPOINT_DIR",
    "SAFE_WEIGHTS_INDEX_NAME",
    "SAFE_WEIGHTS_NAME",
    "SPIECE_UNDERLINE",
    "WEIGHTS_INDEX_NAME",
    "WEIGHTS_NAME",
]

CONFIG_NAME = "config.json"
GENERATION_CONFIG_NAME = "generation_config.json"
MODEL_CARD_NAME = "modelcard.json"
PREFIX_CHECKPOINT_DIR = "checkpoint"
SAFE_WEIGHTS_NAME = "model.safetensors"
SAFE_WEIGHTS_INDEX_NAME = "model.safetensors.index.json"
SPIECE_UNDERLINE = "▁"
WEIGHTS_NAME = "pytorch_model.bin"
WEIGHTS_INDEX_NAME = "pytorch_model.bin.index.json"
