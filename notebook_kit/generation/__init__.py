"""Generation: from a prompt to tokens, one at a time.

`model.generate(...)` is the door. It is made of small objects, each of which can be used, or added, alone:

    mixin.py          GenerationMixin: what gives a model `generate`
    configuration.py  GenerationConfig: every setting, read from and written to generation_config.json
    processors.py     rules that change the scores of the next token: penalties, forced and forbidden tokens
    filters.py        what sampling draws from: temperature, top_k, top_p, ...
    stopping.py       what ends a sequence
    streamers.py      tokens as they come: printed, iterated, awaited
    prompt.py         what a generation starts from: the caller's tensors, checked
    engine.py         from the arguments of a call to a run
    run.py            one call: the model driven step by step, and the resulting sequences
    sampling.py       greedy search, sampling and contrastive search: one sequence per row
    beams.py          beam search
    outputs.py        what is returned besides the tokens
"""

from __future__ import annotations

from notebook_kit.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__)
