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

import importlib
from typing import Any

_HOMES = {
    **dict.fromkeys(["KVCache"], "notebook_kit.nn.cache"),
    **dict.fromkeys(["GenerationConfig"], "configuration"),
    **dict.fromkeys(["GenerationMixin"], "mixin"),
    **dict.fromkeys(
        [
            "EncoderNoRepeatNGramLogitsProcessor",
            "EncoderRepetitionPenaltyLogitsProcessor",
            "ExponentialDecayLengthPenalty",
            "ForcedBOSTokenLogitsProcessor",
            "ForcedEOSTokenLogitsProcessor",
            "InfNanRemoveLogitsProcessor",
            "LogitNormalization",
            "LogitsProcessor",
            "LogitsProcessorList",
            "MinLengthLogitsProcessor",
            "MinNewTokensLengthLogitsProcessor",
            "NoBadWordsLogitsProcessor",
            "NoRepeatNGramLogitsProcessor",
            "PrefixConstrainedLogitsProcessor",
            "RepetitionPenaltyLogitsProcessor",
            "SequenceBiasLogitsProcessor",
            "SuppressTokensAtBeginLogitsProcessor",
            "SuppressTokensLogitsProcessor",
        ],
        "processors",
    ),
    **dict.fromkeys(
        [
            "EpsilonLogitsWarper",
            "EtaLogitsWarper",
            "MinPLogitsWarper",
            "TemperatureLogitsWarper",
            "TopKLogitsWarper",
            "TopPLogitsWarper",
            "TypicalLogitsWarper",
        ],
        "filters",
    ),
    **dict.fromkeys(
        [
            "EosTokenCriteria",
            "MaxLengthCriteria",
            "MaxTimeCriteria",
            "StopStringCriteria",
            "StoppingCriteria",
            "StoppingCriteriaList",
        ],
        "stopping",
    ),
    **dict.fromkeys(
        ["AsyncTextIteratorStreamer", "BaseStreamer", "TextIteratorStreamer", "TextStreamer", "TokenIteratorStreamer"],
        "streamers",
    ),
    **dict.fromkeys(
        [
            "GenerateBeamDecoderOnlyOutput",
            "GenerateBeamEncoderDecoderOutput",
            "GenerateDecoderOnlyOutput",
            "GenerateEncoderDecoderOutput",
        ],
        "outputs",
    ),
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    value = getattr(importlib.import_module(home if "." in home else f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
