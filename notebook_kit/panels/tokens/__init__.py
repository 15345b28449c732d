"""What a tokenizer did to a text, step by step: the analysis behind the `TokenInspector` panel, with no widget in it.

`backend.py` takes any tokenizer, `stages.py` re-plays its stages with its own parts, `bpe.py`, `wordpiece.py` and
`unigram.py` re-play its model, `analysis.py` says what each token is, `compare.py` sets two tokenizers side by side.
"""
