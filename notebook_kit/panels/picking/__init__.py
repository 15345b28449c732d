"""The parts of the ModelPicker: loading with progress, trying a model, handing it on to other panels."""
