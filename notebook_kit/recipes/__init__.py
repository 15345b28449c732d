"""The training of the embedded checkpoints, one module per checkpoint: `python -m notebook_kit.recipes build NAME`.

Each module has a function `build(output, quick=False, work=None)`. Nothing here is needed to use the checkpoints.
"""
