"""How a tokenizer splits a text into tokens, step by step.

`backend.py` wraps any tokenizer, `stages.py` replays its stages with its own parts, `bpe.py`, `wordpiece.py` and `unigram.py`
replay its model, `story.py` puts these together for one token, `analysis.py` describes each token, `compare.py` compares two
tokenizers, and `spelling.py` gives the text of single tokens.
"""
