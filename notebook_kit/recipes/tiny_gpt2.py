"""The recipe of `notebook-kit/tiny-gpt2`.

1. Three books are split into paragraphs: verses of the Bible, entries of the Jargon File, passages of a novel.
2. A byte-level BPE is trained on the training paragraphs.
3. A GPT-2 is trained on them in packed blocks.
4. The saved checkpoint and n-gram models are measured once on the test paragraphs, for the model card.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from notebook_kit.data import pack_blocks
from notebook_kit.generation import GenerationConfig
from notebook_kit.models.gpt2 import GPT2Config, GPT2LMHeadModel
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.text.auto import AutoTokenizer, PreTrainedTokenizerFast
from notebook_kit.recipes import data, debian
from notebook_kit.recipes.muon import MuonWithAdamW
from notebook_kit.recipes.ngrams import KneserNey
from notebook_kit.recipes.shared import Clock, byte_level_bpe, checkpoint_bytes, train, work_folder
from notebook_kit.recipes.tiny_gpt2_card import PROMPTS, model_card
from notebook_kit.training import DataCollatorForLanguageModeling, Trainer, TrainingArguments, set_seed

__all__ = ["build", "measure", "paragraphs"]

SEED = 17
END = "<|endoftext|>"
TOKENS = 4096
BLOCK = 256
SHAPE: dict[str, Any] = {"n_embd": 128, "n_layer": 4, "n_head": 4, "n_positions": BLOCK, "attn_pdrop": 0.0}
STEPS, BATCH = 3600, 8
RATE = 4e-3
VERSES, WORDS = 5, 200  # maximum per paragraph


def build(output: Path, quick: bool = False, work: Path | None = None) -> dict[str, Any]:
    """Train the checkpoint, measure it, and write it with its model card.

    Args:
        output: The folder to write.
        quick: Train on a handful of paragraphs for a few steps, to check that everything works. The result is useless.
        work: A folder that keeps the trained weights. Existing results are reused, and interrupted training is resumed.

    Returns:
        The measurements in the model card.
    """
    output = Path(output)
    with work_folder(work) as folder:
        clock = Clock(folder / "seconds.json")
        texts = paragraphs(quick)
        tokenizer = byte_level_bpe(
            [text for _, text in texts["train"]],
            TOKENS,
            {"eos_token": END, "bos_token": END},
            model_max_length=BLOCK,
        )
        with clock("training", folder / "model.pt"):
            model = _train(tokenizer, texts, folder, quick)
        model.generation_config = GenerationConfig(
            do_sample=True,
            temperature=0.8,
            top_p=0.95,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
            max_new_tokens=60,
        )
        parameters = model.num_parameters()
        model.half().save_pretrained(output)
        tokenizer.save_pretrained(output)
        with clock("measuring"):
            report = measure(output, texts)
        report |= {"samples": _samples(output), "seconds": clock.seconds, "threads": torch.get_num_threads()}
        report |= {"quick": quick, "parameters": parameters, "bytes": checkpoint_bytes(output)}
        report["words"] = sum(len(text.split()) for _, text in texts["train"])
        (output / "README.md").write_text(model_card(report), encoding="utf-8")
        return report


# Data ----------------------------------------------------------------------------------------------------------------


def paragraphs(quick: bool = False) -> dict[str, list[tuple[str, str]]]:
    """Part -> pairs of a book's name and a paragraph. The part depends only on the words of the paragraph."""
    found: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    books = {
        "bible": _of_bible(debian.bible()),
        "jargon": _of_jargon(debian.jargon()),
        "botchan": _of_novel(data.botchan()),
    }
    for name, texts in books.items():
        for text in list(texts)[:: 60 if quick else 1]:
            found[data.split(text)].append((name, text))
    return found


def _plain(text: str) -> str:
    """The text on one line, with straight quotation marks."""
    return " ".join(text.translate(str.maketrans("‘’“”", "''\"\"")).split())


def _of_bible(text: str) -> Iterator[str]:
    """Up to five consecutive verses of a chapter, without their numbers."""
    verses: list[str] = []
    before = ""
    for line in text.splitlines():
        place, _, verse = line.partition(" ")
        chapter = place.partition(":")[0]
        if verses and (chapter != before or len(verses) == VERSES):
            yield " ".join(verses)
            verses = []
        verses.append(_plain(verse))
        before = chapter
    yield " ".join(verses)


def _of_jargon(text: str) -> Iterator[str]:
    """Entries of the dictionary and the prose around them; long entries in several pieces."""
    entry: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        line = _plain(block)
        is_head = re.match(r":[^:]+:(\s|$)", line)
        if not is_head and (len(line.split()) < 8 or re.search("[─│┌└├═]", line)):
            continue  # a table of contents, a heading or a drawing
        if entry and (is_head or sum(len(each.split()) for each in (*entry, line)) > WORDS):
            yield "\n".join(entry)
            entry = []
        entry.append(line)
    yield "\n".join(entry)


def _of_novel(text: str) -> Iterator[str]:
    """Passages of about a hundred words; a short line ends a paragraph of the novel."""
    passage: list[str] = []
    lines: list[str] = []
    for line in re.sub(r"\[\w+\]", "", text).splitlines():
        if line.startswith("CHAPTER"):
            continue
        lines.append(line)
        if len(line) < 62:
            passage.append(_plain(" ".join(lines)))
            lines = []
            if sum(len(each.split()) for each in passage) >= WORDS // 2:
                yield "\n".join(passage)
                passage = []
    yield "\n".join([*passage, _plain(" ".join(lines))]).strip()


# Training ------------------------------------------------------------------------------------------------------------


def _train(
    tokenizer: PreTrainedTokenizerFast, texts: dict[str, list[tuple[str, str]]], work: Path, quick: bool
) -> GPT2LMHeadModel:
    set_seed(SEED)
    config = GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, use_cache=False, **SHAPE)
    model = GPT2LMHeadModel(config)
    kept = work / "model.pt"
    if kept.exists():
        model.load_state_dict(torch.load(kept, weights_only=True))
    else:
        order = torch.randperm(len(texts["train"]), generator=torch.Generator().manual_seed(SEED)).tolist()
        parts = {"train": [texts["train"][i] for i in order], "validation": texts["validation"]}
        blocks = {}
        for part, rows in parts.items():
            blocks[part] = pack_blocks([{"input_ids": row} for row in _ids(tokenizer, rows)], BLOCK, separator=0)
        arguments = TrainingArguments(
            str(work / "run"),
            max_steps=4 if quick else STEPS,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=16,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=0.04,
            bf16=True,
            eval_strategy="steps",
            eval_steps=0.1,
            save_steps=0.1,
            save_total_limit=2,
            load_best_model_at_end=True,
            prediction_loss_only=True,
            logging_steps=50,
            disable_tqdm=True,
            report_to="none",
            seed=SEED,
        )
        collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
        train(
            Trainer(
                model,
                arguments,
                data_collator=collator,
                train_dataset=blocks["train"],
                eval_dataset=blocks["validation"],
                optimizers=(MuonWithAdamW(model, RATE), None),
            )
        )
        model.cpu()
        torch.save(model.state_dict(), kept)
    model.config.use_cache = True
    return model.eval()


# Measurements --------------------------------------------------------------------------------------------------------


def measure(folder: Path, texts: dict[str, list[tuple[str, str]]]) -> dict[str, Any]:
    """Measure the saved checkpoint and n-gram models of the same tokens on the test paragraphs.

    Every model scores each paragraph separately, from an end token before it to the one after it. The n-gram models are trained
    on the training paragraphs; the reported order is the best on the validation paragraphs.

    Args:
        folder: The checkpoint.
        texts: The result of `paragraphs`.

    Returns:
        `models`: name -> book -> perplexity per token and bits per byte; `counts`: book -> numbers of paragraphs, tokens and bytes;
        `order`: the best order. The book "all" stands for all books together.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = GPT2LMHeadModel.from_pretrained(folder).float().eval()
    ids = {part: _ids(tokenizer, rows) for part, rows in texts.items()}
    orders = {order: KneserNey(ids["train"], order, len(tokenizer)) for order in (3, 4, 5)}
    order = min(orders, key=lambda each: orders[each].nats(ids["validation"]))
    nats: dict[str, dict[str, float]] = {name: {} for name in ("tiny-gpt2", *(f"{each}-gram" for each in orders))}
    counts: dict[str, tuple[int, int, int]] = {}
    for book in dict.fromkeys(name for name, _ in texts["test"]):
        chosen = [i for i, (name, _) in enumerate(texts["test"]) if name == book]
        rows = [ids["test"][i] for i in chosen]
        nats["tiny-gpt2"][book] = sum(_nats(model, row) for row in rows)
        for each, baseline in orders.items():
            nats[f"{each}-gram"][book] = baseline.nats(rows)
        size = sum(len(texts["test"][i][1].encode()) for i in chosen)
        counts[book] = (len(rows), sum(len(row) + 1 for row in rows), size)
    counts["all"] = tuple(map(sum, zip(*counts.values(), strict=True)))  # type: ignore[assignment]
    models = {}
    for name, by_book in nats.items():
        by_book["all"] = sum(by_book.values())
        models[name] = {
            book: (math.exp(total / counts[book][1]), total / math.log(2) / counts[book][2])
            for book, total in by_book.items()
        }
    return {"models": models, "counts": counts, "order": order}


def _ids(tokenizer: PreTrainedTokenizerFast, rows: Sequence[tuple[str, str]]) -> list[list[int]]:
    """Token ids of paragraphs, without truncation: the model reads them in blocks or windows."""
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch([text for _, text in rows])]


@torch.no_grad()
def _nats(model: GPT2LMHeadModel, ids: list[int]) -> float:
    """The negative log-likelihood of a paragraph and its end token, in nats. Long ones are read in windows that overlap by half."""
    whole = torch.tensor([[0, *ids, 0]])
    total, done = 0.0, 1
    while done < whole.shape[1]:
        start = 0 if done == 1 else done - BLOCK // 2
        window = whole[:, start : start + BLOCK + 1]
        scores: Tensor = model(window[:, :-1]).logits[0].log_softmax(-1)
        log_likelihoods = scores.gather(1, window[0, 1:, None])[done - start - 1 :]
        total -= float(log_likelihoods.double().sum())
        done = start + window.shape[1]
    return total


def _samples(folder: Path) -> list[tuple[str, str]]:
    """Each prompt with its continuation, sampled once with a fixed seed, without cherry-picking."""
    write = pipeline("text-generation", model=str(folder), device="cpu")
    samples = []
    for prompt in PROMPTS:
        generator = torch.Generator().manual_seed(SEED)
        answer = write(prompt, max_new_tokens=60, return_full_text=False, generator=generator)
        samples.append((prompt, answer[0]["generated_text"]))
    return samples
