"""ModelPicker: the panel, its page and its static face."""

from notebook_kit.panels.model_picker.model_picker import ModelPicker

__all__ = ["ModelPicker"]
