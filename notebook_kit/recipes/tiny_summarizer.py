"""The recipe of `notebook-kit/tiny-summarizer`.

1. Descriptions of Debian packages with their one-line synopses are split into parts; each source package belongs to one part.
2. A byte-level BPE is trained on the training descriptions.
3. A T5, whose attention copies from the start, is trained to write the synopsis of a description.
4. Its feed-forward layers lose the neurons that matter least, which keeps the checkpoint under 6 MiB, and training goes on briefly.
5. The search settings for generation are chosen on the validation part.
6. The saved checkpoint and leads (beginnings of the descriptions) are measured once on the test part, for the model card.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from notebook_kit.generation import GenerationConfig
from notebook_kit.models.t5 import T5Config, T5ForConditionalGeneration
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.text.auto import PreTrainedTokenizerFast
from notebook_kit.recipes import data, debian
from notebook_kit.recipes.copying import start_with_copying
from notebook_kit.recipes.debian import Description
from notebook_kit.recipes.muon import MuonWithAdamW
from notebook_kit.recipes.rouge import mean_rouge
from notebook_kit.recipes.shared import Clock, byte_level_bpe, checkpoint_bytes, train, work_folder
from notebook_kit.recipes.tiny_summarizer_card import OTHERS, model_card
from notebook_kit.training import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, set_seed

__all__ = ["build", "data_fingerprint", "examples", "leads", "measure"]

SEED = 17
TOKENS = 6144
READ, WRITE = 128, 32  # maximum tokens of a description, of a synopsis
SHAPE: dict[str, Any] = {
    "d_model": 160,
    "d_kv": 64,
    "num_heads": 4,
    "d_ff": 640,
    "num_layers": 3,
    "num_decoder_layers": 2,
}
NEURONS = 528  # of the 640 in a feed-forward layer that are kept
EPOCHS, BATCH = 3, 32
RATE = 3e-3
STEPS_AFTER, RATE_AFTER = 240, 3e-4  # after neurons were removed
MIN_WORDS = 30  # in a description; shorter ones are not used


def build(output: Path, quick: bool = False, work: Path | None = None) -> dict[str, Any]:
    """Train the checkpoint, measure it, and write it with its model card.

    Args:
        output: The folder to write.
        quick: Train on a handful of descriptions for a few steps, to check that everything works. The result is useless.
        work: A folder that keeps the trained weights. Existing results are reused, and interrupted training is resumed.

    Returns:
        The measurements in the model card.
    """
    output = Path(output)
    with work_folder(work) as folder:
        clock = Clock(folder / "seconds.json")
        release, found = debian.descriptions()
        parts = examples(found)
        fingerprint = data_fingerprint(parts)
        if quick:
            parts = {part: rows[:: len(rows) // 60] for part, rows in parts.items()}
        tokenizer = _tokenizer(parts["train"])
        with clock("training", folder / "model.pt"):
            model = _train(tokenizer, parts, folder, quick)
        with clock("narrowing", folder / "narrow.pt"):
            model = _narrow(model, tokenizer, parts, folder, quick)
        parameters = model.num_parameters()
        model.half()
        _save_tokenizer(tokenizer, output)
        with clock("choosing"):
            model.generation_config = _choose_search(model, tokenizer, parts["validation"])
        model.save_pretrained(output)
        with clock("measuring"):
            report = measure(output, parts)
        summarize = pipeline("summarization", model=str(output), device="cpu")
        report["others"] = [
            (text, answer["summary_text"]) for text, answer in zip(OTHERS, summarize(OTHERS), strict=True)
        ]
        report |= {"release": release, "fingerprint": fingerprint, "search": _search_name(model.generation_config)}
        report |= {"examples": {part: len(rows) for part, rows in parts.items()}, "seconds": clock.seconds}
        report |= {"quick": quick, "parameters": parameters, "bytes": checkpoint_bytes(output)}
        report["threads"] = torch.get_num_threads()
        (output / "README.md").write_text(model_card(report), encoding="utf-8")
        return report


# Data ----------------------------------------------------------------------------------------------------------------


def examples(found: Iterable[Description]) -> dict[str, list[Description]]:
    """Part -> descriptions of at least thirty words.

    Packages of one source, and of sources that differ only in digits (`gcc-11`, `gcc-12`), belong to the same part. Of descriptions
    whose texts or synopses have the same letters, only the first is used, so that none is in two parts.
    """
    parts: dict[str, list[Description]] = {"train": [], "validation": [], "test": []}
    seen: set[str] = set()
    for each in found:
        kinds = {f"synopsis {_letters(each.synopsis)}", f"text {_letters(each.text)}"}
        if len(each.text.split()) < MIN_WORDS or kinds & seen:
            continue
        seen |= kinds
        parts[data.split(_letters(each.source))].append(each)
    return parts


def data_fingerprint(parts: dict[str, list[Description]]) -> str:
    """Ten hexadecimal digits that identify the test part, for comparison with a model card."""
    rows = "\n".join(f"{each.package}\t{each.synopsis}\t{each.text}" for each in parts["test"])
    return hashlib.sha256(rows.encode()).hexdigest()[:10]


def _letters(text: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]+", text.casefold()))


# Training ------------------------------------------------------------------------------------------------------------


def _tokenizer(rows: Sequence[Description]) -> PreTrainedTokenizerFast:
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    texts = [text for each in rows for text in (each.text, each.synopsis)]
    return byte_level_bpe(texts, TOKENS, special, ends_with_eos=True, model_max_length=READ)


def _train(
    tokenizer: PreTrainedTokenizerFast, parts: dict[str, list[Description]], work: Path, quick: bool
) -> T5ForConditionalGeneration:
    set_seed(SEED)
    config = T5Config(vocab_size=len(tokenizer), feed_forward_proj="relu", dropout_rate=0.0, **SHAPE)
    model = T5ForConditionalGeneration(config)
    kept = work / "model.pt"
    if kept.exists():
        model.load_state_dict(torch.load(kept, weights_only=True))
        return model.eval()
    # Adam's steps do not scale with the weights, and T5 initializes its embeddings ten times as large as other models.
    with torch.no_grad():
        model.shared.weight.mul_(0.25)
    start_with_copying(model)
    _fit(model, tokenizer, parts, work / "run", RATE, num_train_epochs=EPOCHS, max_steps=4 if quick else -1)
    torch.save(model.state_dict(), kept)
    return model.eval()


def _fit(
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    parts: dict[str, list[Description]],
    output: Path,
    rate: float,
    **length: Any,
) -> None:
    """Train, and load the weights with the least loss on the validation part."""
    arguments = Seq2SeqTrainingArguments(
        str(output),
        **length,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=64,
        learning_rate=rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        eval_strategy="steps",
        eval_steps=0.125,
        save_steps=0.125,
        save_total_limit=2,
        load_best_model_at_end=True,
        prediction_loss_only=True,
        logging_steps=50,
        disable_tqdm=True,
        report_to="none",
        seed=SEED,
    )
    rows = {part: _encode(tokenizer, parts[part]) for part in ("train", "validation")}
    rows["validation"] = rows["validation"][::4]  # a sample is enough to see when the loss stops falling
    collator = DataCollatorForSeq2Seq(tokenizer, model=model)
    train(
        Seq2SeqTrainer(
            model,
            arguments,
            data_collator=collator,
            train_dataset=rows["train"],
            eval_dataset=rows["validation"],
            optimizers=(MuonWithAdamW(model, rate), None),
        )
    )
    model.cpu()


def _narrow(
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    parts: dict[str, list[Description]],
    work: Path,
    quick: bool,
) -> T5ForConditionalGeneration:
    """A model with the `NEURONS` neurons of each feed-forward layer that matter most, trained briefly to do without the others."""
    kept = work / "narrow.pt"
    narrow = T5ForConditionalGeneration(T5Config(**{**model.config.to_dict(), "d_ff": NEURONS}))
    if kept.exists():
        narrow.load_state_dict(torch.load(kept, weights_only=True))
        return narrow.eval()
    weights = model.state_dict()
    for name, energy in _energies(model, tokenizer, parts["train"][: 16 * BATCH]).items():
        neurons = energy.topk(NEURONS).indices.sort().values
        weights[f"{name}.wi.weight"] = weights[f"{name}.wi.weight"][neurons]
        weights[f"{name}.wo.weight"] = weights[f"{name}.wo.weight"][:, neurons]
    narrow.load_state_dict(weights)
    _fit(narrow, tokenizer, parts, work / "narrow", RATE_AFTER, max_steps=4 if quick else STEPS_AFTER)
    torch.save(narrow.state_dict(), kept)
    return narrow.eval()


@torch.no_grad()
def _energies(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Description]
) -> dict[str, torch.Tensor]:
    """Name of a feed-forward layer -> how much each neuron adds to the residual stream: its mean square, `(neurons,)`."""
    energies: dict[str, torch.Tensor] = {}
    hooks = []
    for name, module in model.named_modules():
        if name.endswith("DenseReluDense"):
            strength = module.wo.weight.square().sum(0)

            def add(_: Any, inputs: Any, name: str = name, strength: torch.Tensor = strength) -> None:
                energies[name] = energies.get(name, 0) + strength * inputs[0].square().flatten(0, -2).sum(0)

            hooks.append(module.wo.register_forward_pre_hook(add))
    examples = _encode(tokenizer, rows)
    for start in range(0, len(examples), BATCH):
        model(**DataCollatorForSeq2Seq(tokenizer, model=model)(examples[start : start + BATCH]))
    for hook in hooks:
        hook.remove()
    return energies


def _save_tokenizer(tokenizer: PreTrainedTokenizerFast, output: Path) -> None:
    """Save the tokenizer without line breaks, and without the two older files that have the same content."""
    tokenizer.save_pretrained(output)
    path = output / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    for name in ("vocab.json", "merges.txt"):
        (output / name).unlink(missing_ok=True)


def _encode(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Description]) -> list[dict[str, Any]]:
    texts = tokenizer([each.text for each in rows], truncation=True, max_length=READ)["input_ids"]
    synopses = tokenizer([each.synopsis for each in rows], truncation=True, max_length=WRITE)["input_ids"]
    return [{"input_ids": text, "labels": synopsis} for text, synopsis in zip(texts, synopses, strict=True)]


# Search --------------------------------------------------------------------------------------------------------------

SEARCHES: list[dict[str, Any]] = [
    {"num_beams": 1},
    {"num_beams": 4},
    # These settings prefer words of the text to made-up ones.
    *({"num_beams": 4, "no_repeat_ngram_size": 2, "encoder_repetition_penalty": more} for more in (1.3, 1.7, 2.5)),
]


def _choose_search(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Description]
) -> GenerationConfig:
    """The search settings with the best ROUGE on a quarter of the validation descriptions."""
    rows = rows[::4]
    summarize = pipeline("summarization", model=model.float(), tokenizer=tokenizer, device="cpu", batch_size=32)
    texts, wanted = [each.text for each in rows], [each.synopsis for each in rows]
    best, settings = -1.0, SEARCHES[0]
    for search in SEARCHES:
        answers = summarize(texts, max_new_tokens=WRITE, truncation=True, **search)
        score = sum(mean_rouge([answer["summary_text"] for answer in answers], wanted).values())
        if score > best:
            best, settings = score, search
    model.half()
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return GenerationConfig(max_new_tokens=WRITE, **settings, **ids)


def _search_name(config: GenerationConfig) -> str:
    name = f"beam search over {config.num_beams} beams" if (config.num_beams or 1) > 1 else "greedy search"
    if penalty := config.encoder_repetition_penalty:
        name += f", with tokens of the text preferred (`encoder_repetition_penalty={penalty}`)"
    return name


# Measurements --------------------------------------------------------------------------------------------------------


def leads() -> dict[str, Callable[[str], str]]:
    """Name -> function that cuts the beginning of a description: trivial summaries as baselines."""

    def shortened(cut: Callable[[str], str], count: int) -> Callable[[str], str]:
        return lambda text: " ".join(cut(text).split()[:count])

    found: dict[str, Callable[[str], str]] = {"the first sentence": _first_sentence}
    found["the first sentence without its `X is a`"] = _without_subject
    for count in range(4, 17):
        found[f"the first {count} words"] = shortened(str, count)
        found[f"the first {count} words after `X is a`"] = shortened(_without_subject, count)
    return found


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]


def _without_subject(text: str) -> str:
    """The first sentence without its subject and verb, the form of most synopses."""
    sentence = _first_sentence(text)
    found = re.match(r"(?:\S+ ){1,6}?(?:is|are|provides|contains) (?:an? |the )?(?=\S)", sentence)
    return sentence[found.end() :] if found else sentence


def measure(folder: Path, parts: dict[str, list[Description]]) -> dict[str, Any]:
    """Measure ROUGE of the saved checkpoint and of the leads on the test descriptions.

    Args:
        folder: The checkpoint.
        parts: The result of `examples`.

    Returns:
        `scores`: "tiny-summarizer", "the first sentence", and the lead that does best on the validation part, each with its
        `rouge1`, `rouge2` and `rougeL`; `lead`: the name of that lead; `exact`: the share of summaries that match the synopsis word
        for word; `copied`: the share of written words that occur in the description.
    """
    test = parts["test"]
    texts, wanted = [each.text for each in test], [each.synopsis for each in test]
    valid = parts["validation"]

    def on_validation(name: str) -> float:
        cut = candidates[name]
        return sum(mean_rouge([cut(each.text) for each in valid], [each.synopsis for each in valid]).values())

    candidates = leads()
    lead = max(candidates, key=on_validation)
    summarize = pipeline("summarization", model=str(folder), device="cpu", batch_size=32)
    written = [answer["summary_text"] for answer in summarize(texts, truncation=True)]
    scores = {"tiny-summarizer": mean_rouge(written, wanted)}
    for name in ("the first sentence", lead):
        scores[name] = mean_rouge(map(candidates[name], texts), wanted)
    pairs = [(set(_letters(a).split()), set(_letters(b).split())) for a, b in zip(written, texts, strict=True)]
    return {
        "scores": scores,
        "lead": lead,
        "exact": sum(_letters(a) == _letters(b) for a, b in zip(written, wanted, strict=True)) / len(test),
        "copied": sum(len(a & b) for a, b in pairs) / max(1, sum(len(a) for a, _ in pairs)),
    }
