"""The quick tour in the terminal: `notebook-kit tour`.

`sections.py` holds what is shown, as ordinary functions; `guide.py` shows their code and what it gives.
"""
