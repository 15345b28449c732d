"""Generation: from a prompt to tokens, one at a time.

`model.generate(...)` is the door. What it is made of are small objects, each of which can be used, or added, alone:

    configuration.py  GenerationConfig: every setting, read from and written to generation_config.json
    cache.py          KVCache: keys and values of earlier tokens
    processors.py     what changes the scores of the next token: penalties, forced and forbidden tokens, sampling filters
    stopping.py       what ends a sequence
    streamers.py      tokens as they come: printed, iterated, awaited
    engine.py         what all ways of decoding share, from the arguments to the result
    sampling.py       greedy, sampling and contrastive search: one sequence a row
    beams.py          beam search
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "KVCache": "cache",
    "GenerationConfig": "configuration",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
