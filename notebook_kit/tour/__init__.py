"""The quick tour in the terminal: `notebook-kit tour`.

`sections.py` holds the steps as ordinary functions; `guide.py` shows their code and its output.
"""
