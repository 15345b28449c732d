"""Streamers pass on each token when it is generated: they print it, or send it to a loop on another thread."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from queue import Queue
from typing import Any

from torch import Tensor

from notebook_kit.errors import InputError

__all__ = [
    "AsyncTextIteratorStreamer",
    "BaseStreamer",
    "TextIteratorStreamer",
    "TextStreamer",
    "TokenIteratorStreamer",
    "continued_text",
]


_UNSETTLED = re.compile(r"( n)? \S*$")
"""The end of a text that loses a space if a comma, or the rest of " n ' t", follows."""


def continued_text(tokenizer: Any, context: list[int], ids: list[int], prompt: str = "", **decode_kwargs: Any) -> str:
    """The text that `ids` add to the text of `context`.

    They are decoded together, because decoders treat the first token of a text differently: many drop its space. If the
    context ends inside a character, the new text begins with that character. If `prompt`, the text that was tokenized, ends
    in white space that the tokenizer dropped, the new text does not repeat its first space.

    Example:
        >>> from tokenizers import Tokenizer, decoders, models
        >>> from notebook_kit import PreTrainedTokenizerFast
        >>> backend = Tokenizer(models.WordLevel({"▁old": 0, "▁king": 1, "s": 2}, unk_token="s"))
        >>> backend.decoder = decoders.Metaspace()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
        >>> continued_text(tokenizer, [0], [1]), continued_text(tokenizer, [0, 1], [2])
        (' king', 's')
        >>> continued_text(tokenizer, [0], [1], prompt="old ")
        'king'
    """
    before = tokenizer.decode(context, **decode_kwargs) if context else ""
    whole = tokenizer.decode([*context, *ids], **decode_kwargs)
    pairs = enumerate(zip(before, whole, strict=False))
    text = whole[next((place for place, (old, new) in pairs if old != new), min(len(before), len(whole))) :]
    return text.removeprefix(" ") if prompt[-1:].isspace() and not before[-1:].isspace() else text


class BaseStreamer:
    """The interface of `generate(streamer=...)`. A subclass defines `put` and `end`.

    `put(tokens)` is called first with the prompt, `(rows, tokens)`, and then with each step's new tokens, `(rows,)`, on the
    CPU. `end()` is called once, also after an interrupt. After an error `fail(error)` is called instead, which calls `end()`
    by default; the streamers that are read on another thread raise the error there.

    Example:
        >>> import torch
        >>> from notebook_kit import BaseStreamer, GPT2Config, GPT2LMHeadModel
        >>> class Count(BaseStreamer):
        ...     steps = -1  # the prompt is not a step
        ...     def put(self, tokens):
        ...         self.steps += 1
        ...     def end(self):
        ...         print(self.steps, "steps")
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=32))
        >>> _ = model.generate(torch.tensor([[7, 8]]), streamer=Count(), max_new_tokens=5, eos_token_id=None)
        5 steps
    """

    def put(self, value: Tensor) -> None:
        raise NotImplementedError(f"{type(self).__name__} needs a method put(token_ids).")

    def end(self) -> None:
        raise NotImplementedError(f"{type(self).__name__} needs a method end().")

    def fail(self, error: Exception) -> None:
        self.end()


class TextStreamer(BaseStreamer):
    """Prints one text while it is generated. A character is printed when all of its bytes are complete.

    Override `on_finalized_text(text, stream_end)` to do something else with the pieces of text.

    Args:
        tokenizer: The model's tokenizer.
        skip_prompt: Whether to leave out the prompt. The rest is decoded as its continuation, leading space included.
        **decode_kwargs: For `tokenizer.decode`, such as `skip_special_tokens=True`.

    Example:
        >>> import torch
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import PreTrainedTokenizerFast, TextStreamer
        >>> backend = Tokenizer(models.WordLevel({"hello": 0, "there": 1}, unk_token="hello"))
        >>> streamer = TextStreamer(PreTrainedTokenizerFast(tokenizer_object=backend))
        >>> streamer.put(torch.tensor([[0]])); streamer.put(torch.tensor([1])); streamer.end()
        hello there
    """

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, **decode_kwargs: Any) -> None:
        self.tokenizer, self.skip_prompt, self.decode_kwargs = tokenizer, skip_prompt, decode_kwargs
        self._restart()

    def _restart(self) -> None:
        self._ids: list[int] = []
        self._context, self._finished = 0, 0  # a piece is decoded as the continuation of the previous one
        self._shown = 0  # characters of the unfinished piece that are printed
        self._is_prompt = True

    def put(self, value: Tensor) -> None:
        if value.shape[0] > 1 and (value.dim() > 1 or not self._is_prompt):
            raise InputError(
                f"{type(self).__name__} follows one text, and {value.shape[0]} are generated.",
                next_step="Generate one text at a time, or use TokenIteratorStreamer.",
            )
        prompt, self._is_prompt = self._is_prompt, False
        self._ids += value.reshape(-1).tolist()
        if prompt and self.skip_prompt:
            specials = set(getattr(self.tokenizer, "all_special_ids", ()))  # after one of these, a new text begins
            start = max((place + 1 for place, token in enumerate(self._ids) if token in specials), default=0)
            self._context, self._finished = start, len(self._ids)
            return
        piece = self._piece()
        if self._cleans_up():
            settled = _UNSETTLED.search(piece)
            if settled is not None and (end := settled.start()) > self._shown:
                self._shown, start = end, self._shown
                self.on_finalized_text(piece[start:end])
        elif piece and not piece.endswith("\ufffd"):  # part of a character that the next token may complete
            self._context, self._finished = self._finished, len(self._ids)
            self.on_finalized_text(piece)

    def _cleans_up(self) -> bool:
        """Whether decoding removes spaces, such as the one before a comma."""
        asked = self.decode_kwargs.get("clean_up_tokenization_spaces")
        return getattr(self.tokenizer, "clean_up_tokenization_spaces", False) if asked is None else asked

    def _piece(self) -> str:
        context, new = self._ids[self._context : self._finished], self._ids[self._finished :]
        return continued_text(self.tokenizer, context, new, **self.decode_kwargs)

    def end(self) -> None:
        rest = self._piece()[self._shown :]
        self._restart()
        self.on_finalized_text(rest, stream_end=True)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Print a piece of text, and a newline after the last one."""
        sys.stdout.write(text + "\n" * stream_end)
        sys.stdout.flush()


class _QueuedText(TextStreamer):
    """Sends the pieces of text to a loop, then the exception that ends it."""

    _end_of_loop: type[Exception]
    _open_queue: Callable[[], Any]

    def __init__(
        self, tokenizer: Any, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any
    ) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.timeout = timeout
        self._pieces = self._open_queue()
        self._failure: Exception | None = None

    def _send(self, item: str | Exception) -> None:
        self._pieces.put(item)

    def fail(self, error: Exception) -> None:
        self._failure = error
        self.end()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._send(text)
        if stream_end:
            self._send(self._failure or self._end_of_loop())
            self._failure = None


def _received(item: Any) -> Any:
    """An item of a streamer's queue; the end of the loop or an error is raised."""
    if isinstance(item, Exception):
        raise item
    return item


class TextIteratorStreamer(_QueuedText):
    """Sends the pieces of text to a loop, while `generate` runs on another thread.

    Args:
        tokenizer: The model's tokenizer.
        skip_prompt: Whether to leave out the prompt.
        timeout: Seconds to wait for a piece before `queue.Empty` is raised; None to wait forever.
        **decode_kwargs: For `tokenizer.decode`.

    Example:
        >>> from threading import Thread
        >>> import torch
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, TextIteratorStreamer
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"ha": 0, "!": 1}, unk_token="!")))
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=2, n_positions=32))
        >>> streamer = TextIteratorStreamer(tokenizer)
        >>> options = {"streamer": streamer, "max_new_tokens": 3, "suppress_tokens": [1], "eos_token_id": None}
        >>> Thread(target=model.generate, args=[torch.tensor([[0]])], kwargs=options).start()
        >>> "".join(streamer)
        'ha ha ha ha'
    """

    _end_of_loop = StopIteration

    def _open_queue(self) -> Queue[str | Exception]:
        return Queue()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return _received(self._pieces.get(timeout=self.timeout))


class TokenIteratorStreamer(BaseStreamer):
    """Sends the new token ids of each step to a loop, while `generate` runs on another thread; also for batches.

    Args:
        skip_prompt: Whether to leave out the prompt, which otherwise comes first, `(rows, tokens)`.
        timeout: Seconds to wait for a step before `queue.Empty` is raised; None to wait forever.

    Example:
        >>> from threading import Thread
        >>> import torch
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel, TokenIteratorStreamer
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=32))
        >>> streamer, prompts = TokenIteratorStreamer(skip_prompt=True), torch.tensor([[7, 8], [9, 4]])
        >>> options = {"streamer": streamer, "max_new_tokens": 3, "eos_token_id": None}
        >>> Thread(target=model.generate, args=[prompts], kwargs=options).start()
        >>> torch.stack(list(streamer)).shape
        torch.Size([3, 2])
    """

    def __init__(self, skip_prompt: bool = False, timeout: float | None = None) -> None:
        self.skip_prompt, self.timeout = skip_prompt, timeout
        self._steps: Queue[Tensor | Exception] = Queue()
        self._is_prompt = True

    def put(self, value: Tensor) -> None:
        prompt, self._is_prompt = self._is_prompt, False
        if not (prompt and self.skip_prompt):
            self._steps.put(value.clone())

    def end(self) -> None:
        self.fail(StopIteration())

    def fail(self, error: Exception) -> None:
        self._is_prompt = True
        self._steps.put(error)

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        return _received(self._steps.get(timeout=self.timeout))


class AsyncTextIteratorStreamer(_QueuedText):
    """Sends the pieces of text to an `async for`, for example in a notebook cell, while `generate` runs on another thread.

    Create it where the event loop runs: in a coroutine, or in a cell.

    Args:
        tokenizer: The model's tokenizer.
        skip_prompt: Whether to leave out the prompt.
        timeout: Seconds to wait for a piece before `TimeoutError` is raised; None to wait forever.
        **decode_kwargs: For `tokenizer.decode`.

    Example:
        >>> import asyncio
        >>> import torch
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import AsyncTextIteratorStreamer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"ha": 0, "!": 1}, unk_token="!")))
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=2, n_positions=32))
        >>> async def laugh():
        ...     streamer = AsyncTextIteratorStreamer(tokenizer)
        ...     options = {"streamer": streamer, "max_new_tokens": 3, "suppress_tokens": [1], "eos_token_id": None}
        ...     running = asyncio.create_task(asyncio.to_thread(model.generate, torch.tensor([[0]]), **options))
        ...     pieces = [piece async for piece in streamer]
        ...     await running
        ...     return "".join(pieces)
        >>> asyncio.run(laugh())
        'ha ha ha ha'
    """

    _end_of_loop = StopAsyncIteration

    def _open_queue(self) -> asyncio.Queue[str | Exception]:
        self._loop = asyncio.get_running_loop()
        return asyncio.Queue()

    def _send(self, item: str | Exception) -> None:
        self._loop.call_soon_threadsafe(self._pieces.put_nowait, item)

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        async with asyncio.timeout(self.timeout):
            return _received(await self._pieces.get())
