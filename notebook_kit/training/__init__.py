"""Fine-tuning: the Trainer, its arguments and callbacks, collators, schedules, and the checkpoints of a run.

Importing this package loads none of its modules: each public name is imported when it is first used, and `accelerate`,
`datasets` and `tqdm` only when a `Trainer` is created.
"""

from __future__ import annotations

from notebook_kit.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__)
