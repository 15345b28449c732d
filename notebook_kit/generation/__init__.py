"""Generation: from a prompt to tokens, one at a time.

`model.generate(...)` is the entry point. It is built from small objects that can also be used or added individually:

    mixin.py          GenerationMixin: adds `generate` to a model
    configuration.py  GenerationConfig: all settings, read from and written to generation_config.json
    processors.py     rules that change the scores of the next token: penalties, forced and forbidden tokens
    filters.py        rules for sampling: temperature, top_k, top_p, ...
    stopping.py       the criteria that end a sequence
    streamers.py      tokens while they are generated: printed, iterated, awaited
    prompt.py         the prompt: the caller's tensors, checked
    engine.py         from the arguments of a call to a run
    run.py            one call: the model driven step by step, and the resulting sequences
    sampling.py       greedy search, sampling and contrastive search: one sequence per row
    beams.py          beam search
    assisted.py       proposed tokens, several of which are checked at once
    outputs.py        the results with more than the tokens
"""

from __future__ import annotations

from notebook_kit.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__)
