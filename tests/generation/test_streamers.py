"""Tokens as they come: the same ones as at the end, on this thread and on others; and errors that reach the reader."""

from __future__ import annotations

import asyncio
from queue import Empty
from threading import Thread

import pytest
import torch
import transformers
from oracle import BATCH, ONE, PAD, pair
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import notebook_kit
from notebook_kit.errors import InputError
from notebook_kit.generation.streamers import continued_text

PLAIN = {"max_new_tokens": 10, "eos_token_id": None, "pad_token_id": PAD}
WAIT = 60


@pytest.fixture(scope="module")
def bytes_tokenizer():
    """One token for each byte (and 256 in all), so that most characters outside ASCII take several."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return notebook_kit.PreTrainedTokenizerFast(tokenizer_object=backend)


@pytest.fixture(scope="module")
def words():
    vocabulary = {f"w{number}": number for number in range(99)}
    return notebook_kit.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    )


class Pieces(notebook_kit.TextStreamer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pieces = []

    def on_finalized_text(self, text, stream_end=False):
        self.pieces.append((text, stream_end))


@pytest.mark.parametrize("text", ["plain words", "తెలుగు భాష", "naïve 東京 🤗!", "👨‍👩‍👧 family", "half: é"])
def test_a_character_comes_when_it_is_whole(bytes_tokenizer, text):
    ids = bytes_tokenizer(text).input_ids
    streamer = Pieces(bytes_tokenizer)
    streamer.put(torch.tensor([ids[:1]]))
    for token in ids[1:]:
        streamer.put(torch.tensor([token]))
    streamer.end()
    assert "".join(piece for piece, _ in streamer.pieces) == text
    assert [end for _, end in streamer.pieces] == [False] * (len(streamer.pieces) - 1) + [True]
    assert not any("\ufffd" in piece for piece, _ in streamer.pieces)
    assert len(streamer.pieces) == len(text) + 1  # each character alone, and the end


def test_what_never_became_a_character_is_shown_at_the_end(bytes_tokenizer):
    streamer = Pieces(bytes_tokenizer)
    streamer.put(torch.tensor([bytes_tokenizer("aé").input_ids[:2]]))
    streamer.end()
    assert streamer.pieces == [("a\ufffd", True)]


def test_spaces_between_words_are_those_of_the_whole(words):
    streamer = Pieces(words, skip_prompt=True)
    out = pair("gpt2")[0].generate(**ONE, **PLAIN, streamer=streamer)
    new = out[0, 6:].tolist()
    assert "".join(piece for piece, _ in streamer.pieces) == " " + words.decode(new)  # the prompt's last word ends
    assert len([piece for piece, _ in streamer.pieces if piece]) == 10
    streamer.pieces.clear()
    streamer.skip_prompt = False
    pair("gpt2")[0].generate(**ONE, **PLAIN, streamer=streamer)
    assert "".join(piece for piece, _ in streamer.pieces) == words.decode(out[0].tolist())  # used a second time


def test_prints_what_the_oracle_prints(words, capsys):
    pair("gpt2")[0].generate(**ONE, **PLAIN, streamer=notebook_kit.TextStreamer(words, skip_prompt=True))
    mine = capsys.readouterr().out
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=words.backend_tokenizer)
    pair("gpt2")[1].generate(**ONE, **PLAIN, streamer=transformers.TextStreamer(theirs, skip_prompt=True))
    assert mine == " " + capsys.readouterr().out and mine.endswith("\n")  # theirs forgets the prompt


def test_our_streamers_serve_the_oracle_and_its_serve_us(words):
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=words.backend_tokenizer)
    expected = words.decode(pair("gpt2")[0].generate(**ONE, **PLAIN)[0].tolist())
    mine = notebook_kit.TextIteratorStreamer(words, timeout=WAIT)
    pair("gpt2")[1].generate(**ONE, **PLAIN, streamer=mine)
    assert "".join(mine) == expected
    other = transformers.TextIteratorStreamer(theirs, timeout=WAIT)
    pair("gpt2")[0].generate(**ONE, **PLAIN, streamer=other)
    assert "".join(other) == expected


def in_a_thread(given, **settings):
    """Generates elsewhere; whatever is raised there is kept, so that no test prints it."""
    raised = []

    def run():
        try:
            pair("gpt2")[0].generate(**given, **{**PLAIN, **settings})
        except Exception as error:
            raised.append(error)

    thread = Thread(target=run)
    thread.start()
    return thread, raised


def test_texts_on_another_thread(words):
    streamer = notebook_kit.TextIteratorStreamer(words, skip_prompt=True, timeout=WAIT)
    for _ in range(2):  # and again with the same one
        thread, _ = in_a_thread(ONE, streamer=streamer)
        assert "".join(streamer) == " " + words.decode(pair("gpt2")[0].generate(**ONE, **PLAIN)[0, 6:].tolist())
        thread.join()


@pytest.mark.parametrize("skip_prompt", [True, False])
def test_ids_of_a_batch_on_another_thread(skip_prompt):
    streamer = notebook_kit.TokenIteratorStreamer(skip_prompt=skip_prompt, timeout=WAIT)
    thread, _ = in_a_thread(BATCH, streamer=streamer)
    steps = list(streamer)
    thread.join()
    whole = pair("gpt2")[0].generate(**BATCH, **PLAIN)
    assert torch.stack(steps[not skip_prompt :], dim=1).tolist() == whole[:, 6:].tolist()
    assert skip_prompt or steps[0].tolist() == BATCH["input_ids"].tolist()


def test_texts_in_a_cell(words):
    """`async for`, as a notebook's cell may have it."""

    async def cell():
        streamer = notebook_kit.AsyncTextIteratorStreamer(words, skip_prompt=True, timeout=WAIT)
        running = asyncio.create_task(asyncio.to_thread(pair("gpt2")[0].generate, **ONE, **PLAIN, streamer=streamer))
        pieces = [piece async for piece in streamer]
        return pieces, await running

    pieces, out = asyncio.run(cell())
    assert "".join(pieces) == " " + words.decode(out[0, 6:].tolist()) and len(pieces) == 10


def breaks(ids, scores):
    if ids.shape[1] == 9:
        raise ZeroDivisionError("in the middle")
    return scores


@pytest.mark.parametrize("kind", ["TextIteratorStreamer", "TokenIteratorStreamer"])
def test_an_error_reaches_the_reader(words, kind):
    streamer = getattr(notebook_kit, kind)(*[words] * (kind[1] == "e"), skip_prompt=True, timeout=WAIT)
    thread, raised = in_a_thread(ONE, streamer=streamer, logits_processor=[breaks])
    read = []
    with pytest.raises(ZeroDivisionError, match="in the middle"):
        read.extend(streamer) if kind == "TokenIteratorStreamer" else read.extend(piece for piece in streamer)
    thread.join()
    assert len(raised) == 1
    thread, _ = in_a_thread(ONE, streamer=streamer)
    assert len(list(streamer)) == 10  # the next generation is none the worse
    thread.join()


@pytest.mark.parametrize(
    "wrong", [{"max_new_token": 3}, {"temperature": -1.0}, {"stop_strings": "a"}, {"num_beams": 2}], ids=str
)
def test_a_call_that_never_starts_keeps_no_reader_waiting(words, wrong):
    streamer = notebook_kit.TextIteratorStreamer(words, timeout=WAIT)
    thread, raised = in_a_thread(ONE, streamer=streamer, **wrong)
    with pytest.raises(notebook_kit.errors.NotebookKitError) as caught:
        list(streamer)
    thread.join()
    assert caught.value is raised[0]


def test_an_error_reaches_a_cell(words):
    async def cell():
        streamer = notebook_kit.AsyncTextIteratorStreamer(words, skip_prompt=True, timeout=WAIT)
        settings = {**PLAIN, "streamer": streamer, "logits_processor": [breaks]}
        running = asyncio.create_task(asyncio.to_thread(pair("gpt2")[0].generate, **ONE, **settings))
        pieces = []
        with pytest.raises(ZeroDivisionError):
            async for piece in streamer:
                pieces.append(piece)
        with pytest.raises(ZeroDivisionError):
            await running
        return pieces

    assert len(asyncio.run(cell())) == 3


def test_an_interrupt_ends_the_stream(words):
    streamer = Pieces(words, skip_prompt=True)

    def stop(ids, scores):
        if ids.shape[1] == 9:
            raise KeyboardInterrupt
        return scores

    with pytest.warns(UserWarning, match="Interrupted after 3"):
        pair("gpt2")[0].generate(**ONE, **PLAIN, streamer=streamer, logits_processor=[stop])
    assert streamer.pieces[-1][1] and len([piece for piece, _ in streamer.pieces if piece]) == 3


def test_a_reader_need_not_wait_for_ever(words):
    with pytest.raises(Empty):
        next(notebook_kit.TextIteratorStreamer(words, timeout=0.01))
    with pytest.raises(Empty):
        next(notebook_kit.TokenIteratorStreamer(timeout=0.01))

    async def cell():
        await anext(notebook_kit.AsyncTextIteratorStreamer(words, timeout=0.01))

    with pytest.raises(TimeoutError):
        asyncio.run(cell())


def test_texts_of_a_batch_cannot_be_followed(words):
    with pytest.raises(InputError, match=r"follows one text, and 4 are generated"):
        pair("gpt2")[0].generate(**BATCH, **PLAIN, streamer=notebook_kit.TextStreamer(words))


VOCABULARY = [
    "<s>",
    "</s>",
    "<unk>",
    "▁the",
    "▁old",
    "▁king",
    "s",
    "ing",
    "▁",
    "<0xE2>",
    "<0x82>",
    "<0xAC>",
    "##ing",
    "play",
]
LLAMA = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
DECODERS = {
    "llama": decoders.Sequence(LLAMA),
    "metaspace": decoders.Metaspace(),
    "word pieces": decoders.WordPiece(),
    "suffixes": decoders.BPEDecoder(suffix="s"),
    "none": None,
}


def tokenizer_with(decoder):
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(VOCABULARY)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    if decoder is not None:
        backend.decoder = decoder
    specials = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return notebook_kit.PreTrainedTokenizerFast(tokenizer_object=backend, **specials)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("skip", [True, False])
def test_pieces_are_the_text_of_the_whole_wherever_it_is_cut(decoder, skip):
    tokenizer = tokenizer_with(DECODERS[decoder])
    chance = torch.Generator().manual_seed(0)
    texts = [[0, *torch.randint(3, 14, (9,), generator=chance).tolist(), 1] for _ in range(20)]
    texts += [[0, 3, 9, 10, 11, 4, 9, 10, 11, 5], [0, 13, 12, 13, 5, 6]]  # with a character in three bytes
    for ids in texts:
        whole = tokenizer.decode(ids, skip_special_tokens=skip)
        for cut in range(2, len(ids)):
            before = tokenizer.decode(ids[:cut], skip_special_tokens=skip)
            new = continued_text(tokenizer, ids[:cut], ids[cut:], skip_special_tokens=skip)
            assert whole.endswith(new) and (before + new == whole or "\ufffd" in before), (ids, cut)
            streamer = Pieces(tokenizer, skip_prompt=True, skip_special_tokens=skip)
            streamer.put(torch.tensor([ids[:cut]]))
            for token in ids[cut:]:
                streamer.put(torch.tensor([token]))
            streamer.end()
            assert "".join(piece for piece, _ in streamer.pieces) == new, (ids, cut)


@pytest.mark.parametrize(
    "text", ["i don't know, it's (really) good . . .", "hello , world ! it ' s", "they ' ve n ' t can ' t"]
)
@pytest.mark.parametrize("prompt", [1, 3])
def test_spaces_that_decoding_removes_are_not_printed(text, prompt):
    tokenizer = notebook_kit.AutoTokenizer.from_pretrained(
        "notebook-kit/tiny-sentiment", clean_up_tokenization_spaces=True
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    streamer = Pieces(tokenizer, skip_prompt=prompt > 1)
    streamer.put(torch.tensor([ids[:prompt]]))
    for token in ids[prompt:]:
        streamer.put(torch.tensor([token]))
    streamer.end()
    expected = continued_text(tokenizer, ids[:prompt], ids[prompt:]) if prompt > 1 else tokenizer.decode(ids)
    assert "".join(piece for piece, _ in streamer.pieces) == expected
    assert len(streamer.pieces) > 2  # not held back to the end


def test_a_start_token_is_not_continued():
    """An encoder-decoder's text begins after it, without a space."""
    streamer = Pieces(tokenizer_with(None), skip_prompt=True)
    streamer.put(torch.tensor([[1]]))
    streamer.put(torch.tensor([13]))
    streamer.end()
    assert "".join(piece for piece, _ in streamer.pieces) == "play"
