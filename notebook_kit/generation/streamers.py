"""Tokens as they come: printed, or handed to a loop on another thread."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
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
]


class BaseStreamer:
    """What `generate(streamer=...)` speaks to. A subclass says `put` and `end`.

    `put(tokens)` comes first with the prompt, `(rows, tokens)`, and then with each step's new tokens, `(rows,)`, on the CPU.
    `end()` comes once, also when generation was interrupted or failed. A failure comes as `fail(error)`, which calls `end()`
    unless a subclass has more to do: those that are read on another thread raise the error there.

    Example:
        >>> import torch
        >>> from notebook_kit import BaseStreamer, GPT2Config, GPT2LMHeadModel
        >>> class Count(BaseStreamer):
        ...     steps = -1  # the prompt is no step
        ...     def put(self, tokens):
        ...         self.steps += 1
        ...     def end(self):
        ...         print(self.steps, "steps")
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=32))
        >>> _ = model.generate(torch.tensor([[7, 8]]), streamer=Count(), max_new_tokens=5, eos_token_id=None)
        5 steps
    """

    def put(self, value: Tensor) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        self.end()


class TextStreamer(BaseStreamer):
    """Prints one text as it is generated. A character is printed when all of its bytes are there.

    Args:
        tokenizer: The model's tokenizer.
        skip_prompt: Leave the prompt out.
        **decode_kwargs: For `tokenizer.decode`, such as `skip_special_tokens=True`.

    Override `on_finalized_text(text, stream_end)` to do something else with the pieces.

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
        # Pieces are cut out of a decoding of some context, as a first token is decoded differently from a later one.
        self._context, self._said = 0, 0
        self._is_prompt = True

    def put(self, value: Tensor) -> None:
        if value.shape[0] > 1 and (value.dim() > 1 or not self._is_prompt):
            raise InputError(
                f"{type(self).__name__} follows one text, and {value.shape[0]} are generated.",
                next_step="Generate one text at a time, or use TokenIteratorStreamer.",
            )
        prompt, self._is_prompt = self._is_prompt, False
        if prompt and self.skip_prompt:
            return
        self._ids += value.reshape(-1).tolist()
        piece = self._piece()
        if piece and not piece.endswith("\ufffd"):  # such is half a character, which the next token may complete
            self._context, self._said = self._said, len(self._ids)
            self.on_finalized_text(piece)

    def _piece(self) -> str:
        before = self.tokenizer.decode(self._ids[self._context : self._said], **self.decode_kwargs)
        return self.tokenizer.decode(self._ids[self._context :], **self.decode_kwargs)[len(before) :]

    def end(self) -> None:
        rest = self._piece()
        self._restart()
        self.on_finalized_text(rest, stream_end=True)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """What is done with a piece of text: it is printed, and after the last one the line ends."""
        sys.stdout.write(text + "\n" * stream_end)
        sys.stdout.flush()


class TextIteratorStreamer(TextStreamer):
    """Hands the pieces to a loop, while `generate` runs on another thread.

    Args:
        tokenizer: The model's tokenizer.
        skip_prompt: Leave the prompt out.
        timeout: Seconds to wait for a piece before `queue.Empty` is raised; for ever unless given.
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

    def __init__(
        self, tokenizer: Any, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any
    ) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.timeout = timeout
        self._pieces: Queue[str | Exception] = Queue()
        self._last: Exception = StopIteration()

    def fail(self, error: Exception) -> None:
        self._last = error
        self.end()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._pieces.put(text)
        if stream_end:
            self._pieces.put(self._last)
            self._last = StopIteration()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece = self._pieces.get(timeout=self.timeout)
        if isinstance(piece, Exception):
            raise piece
        return piece


class TokenIteratorStreamer(BaseStreamer):
    """Hands each step's new token ids to a loop, while `generate` runs on another thread. Batches are welcome.

    Args:
        skip_prompt: Leave the prompt out; otherwise it comes first, `(rows, tokens)`.
        timeout: Seconds to wait for a step before `queue.Empty` is raised; for ever unless given.

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
        step = self._steps.get(timeout=self.timeout)
        if isinstance(step, Exception):
            raise step
        return step


class AsyncTextIteratorStreamer(TextStreamer):
    """Hands the pieces to an `async for`, as a notebook's cell may have one, while `generate` runs on another thread.

    It is made where the loop runs (in a coroutine, or in a cell).

    Args:
        tokenizer: The model's tokenizer.
        skip_prompt: Leave the prompt out.
        timeout: Seconds to wait for a piece before `TimeoutError` is raised; for ever unless given.
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

    def __init__(
        self, tokenizer: Any, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any
    ) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.timeout = timeout
        self._pieces: asyncio.Queue[str | Exception] = asyncio.Queue()
        self._last: Exception = StopAsyncIteration()
        self._loop = asyncio.get_running_loop()

    def fail(self, error: Exception) -> None:
        self._last = error
        self.end()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, text)
        if stream_end:
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, self._last)
            self._last = StopAsyncIteration()

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        async with asyncio.timeout(self.timeout):
            piece = await self._pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece
