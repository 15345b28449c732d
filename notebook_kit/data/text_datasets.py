"""Datasets of token blocks from a text file, as older scripts for language models use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from notebook_kit.errors import InputError

__all__ = ["LineByLineTextDataset", "TextDataset"]


def _read(file_path: str | Path) -> str:
    try:
        return Path(file_path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file_path} cannot be read: {error}.", next_step="Pass the path of a text file in UTF-8."
        ) from error


class _Blocks(torch.utils.data.Dataset):
    examples: list[dict[str, torch.Tensor]]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.examples[index]


class LineByLineTextDataset(_Blocks):
    """One example per line of a text file; empty lines are left out.

    Args:
        tokenizer: The tokenizer.
        file_path: A text file in UTF-8.
        block_size: Longer lines are cut to this number of tokens.

    Raises:
        InputError: if the file cannot be read.

    Example:
        >>> import tempfile
        >>> from notebook_kit import AutoTokenizer, LineByLineTextDataset
        >>> path = Path(tempfile.mkdtemp(), "lines.txt")
        >>> _ = path.write_text("A warm, funny film.\\n\\nDull.\\n")
        >>> dataset = LineByLineTextDataset(AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment"), path, block_size=16)
        >>> len(dataset), dataset[1]["input_ids"].ndim
        (2, 1)
    """

    def __init__(self, tokenizer: Any, file_path: str | Path, block_size: int) -> None:
        lines = [line for line in _read(file_path).splitlines() if line.strip()]
        ids = (
            tokenizer(lines, add_special_tokens=True, truncation=True, max_length=block_size)["input_ids"]
            if lines
            else []
        )
        self.examples = [{"input_ids": torch.tensor(row, dtype=torch.long)} for row in ids]


class TextDataset(_Blocks):
    """Blocks of equal length from a text file; a rest shorter than a block is left out.

    Args:
        tokenizer: The tokenizer.
        file_path: A text file in UTF-8.
        block_size: Tokens per block, special tokens included.
        overwrite_cache, cache_dir: Accepted; nothing is cached.

    Raises:
        InputError: if the file cannot be read.

    Example:
        >>> import tempfile
        >>> from notebook_kit import AutoTokenizer, TextDataset
        >>> path = Path(tempfile.mkdtemp(), "story.txt")
        >>> _ = path.write_text("the old king lived in the old house. " * 20)
        >>> dataset = TextDataset(AutoTokenizer.from_pretrained("notebook-kit/tiny-gpt2"), path, block_size=32)
        >>> dataset[0].shape
        torch.Size([32])
    """

    def __init__(
        self,
        tokenizer: Any,
        file_path: str | Path,
        block_size: int,
        overwrite_cache: bool = False,
        cache_dir: str | None = None,
    ) -> None:
        block_size -= tokenizer.num_special_tokens_to_add(pair=False)
        ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(_read(file_path)))
        starts = range(0, len(ids) - block_size + 1, block_size)
        whole = [tokenizer.build_inputs_with_special_tokens(ids[start : start + block_size]) for start in starts]
        self.examples = [torch.tensor(block, dtype=torch.long) for block in whole]  # type: ignore[misc]
