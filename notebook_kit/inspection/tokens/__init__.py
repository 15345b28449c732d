"""How a tokenizer arrives at its tokens, step by step.

`backend.py` takes any tokenizer, `stages.py` replays its stages with its own parts, `bpe.py`, `wordpiece.py` and
`unigram.py` replay its model, `analysis.py` describes each token, `compare.py` sets two tokenizers side by side.
"""
