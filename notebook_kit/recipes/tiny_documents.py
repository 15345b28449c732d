"""The recipe of `notebook-kit/tiny-documents`, a LayoutLM that answers questions about receipts, invoices and forms.

To answer, a model has to find the label that the question means, and then the value that stands beside or below it. Three measures let a
small one learn that within minutes on one CPU thread, and leave a plain LayoutLM:

1. Coordinates start as sines and cosines, in a part of the width that words do not use, so that near places look alike.
2. The first layers start by comparing: one head lines, one columns, and two words. So the first step already sees which words are on
   the line of a label, and which words of the page are in the question.
3. Beside the answer, each word learns what it is (such as the label or the value of a date), and the first token what is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from notebook_kit.models.layoutlm import LayoutLMConfig, LayoutLMForQuestionAnswering
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.text.auto import PreTrainedTokenizerFast
from notebook_kit.recipes.documents import ROLES, Asked, Document, DocumentMaker, fonts
from notebook_kit.recipes.muon import MuonWithAdamW
from notebook_kit.recipes.shared import SEEDS, Clock, for_each_seed, train, work_folder
from notebook_kit.recipes.shrinking import word_piece_tokenizer
from notebook_kit.recipes.tiny_documents_card import PICTURE, model_card
from notebook_kit.training import Trainer, TrainingArguments, set_seed

__all__ = ["answered_by_baselines", "build", "exact_and_f1"]

PAGES, TESTS = 4000, 200
PIECES = 1200
SHAPE: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
LONGEST = 256  # tokens
PLACES = 1001
STEPS, BATCH, RATE = 1100, 32, 3e-3
PER_PAGE = 6  # questions of a training page


def build(output: Path, quick: bool = False, work: Path | None = None) -> dict[str, Any]:
    """Train the checkpoint with three seeds, measure them, and write the first with its model card.

    Args:
        output: The folder to write.
        quick: Train for a few steps on a few pages, to check that everything works. The result is useless.
        work: A folder that keeps the weights of each seed. Existing ones are reused.

    Returns:
        The measurements in the model card.

    Raises:
        MissingDependencyError, HubUnreachableError: The fonts cannot be fetched.
    """
    with work_folder(work) as folder:
        return _build(Path(output), quick, folder)


def _build(output: Path, quick: bool, work: Path) -> dict[str, Any]:
    clock = Clock(work / "seconds.json")
    learn, test = DocumentMaker("train", fonts("train")), DocumentMaker("test", fonts("test"))
    with clock("pages"):
        pages = [learn(seed) for seed in range(40 if quick else PAGES)]
    kept = (
        work / "tokenizer"
    )  # pieces of equal frequency differ from training to training, and the weights belong to theirs
    if not kept.exists():
        tokenizer_of(pages).save_pretrained(kept)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(kept)
    tests = [test(seed) for seed in range(8 if quick else TESTS)]
    make = DocumentMaker("validation", fonts("train"))
    familiar = [make(seed) for seed in range(len(tests) // 4)]

    def one(seed: int, folder: Path) -> dict[str, Any]:
        with clock(f"seed {seed}", work / f"documents-{seed}.pt"):
            model = trained(pages, tokenizer, seed, work, quick)
        model.half().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        others = {"familiar": measure(folder, familiar)["all"], "parameters": model.num_parameters()}
        return measure(folder, tests) | others

    reports = for_each_seed(SEEDS, output, work, quick, one)
    report = reports[0] | {"seeds": [each["all"][0] for each in reports], "baselines": answered_by_baselines(tests)}
    report |= {"seconds": clock.seconds, "quick": quick, "threads": torch.get_num_threads(), "pages": len(pages)}
    report |= {"bytes": (output / "model.safetensors").stat().st_size, "tests": len(tests), "pieces": len(tokenizer)}
    picture(output, tests).save(output / PICTURE, quality=80, method=6)
    (output / "README.md").write_text(model_card(report), encoding="utf-8")
    return report


# Training ------------------------------------------------------------------------------------------------------------


def tokenizer_of(pages: Sequence[Document]) -> PreTrainedTokenizerFast:
    """A lower-casing WordPiece tokenizer of the words of pages and of their questions."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()] + ["€"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=PIECES, special_tokens=special, initial_alphabet=letters, show_progress=False, min_frequency=5
    )
    texts = [" ".join(page.words) for page in pages] + [each.question for page in pages for each in page.questions]
    backend.train_from_iterator(texts, trainer)
    pieces = backend.get_vocab()
    known = dict.fromkeys(sorted(pieces, key=pieces.__getitem__))
    known |= dict.fromkeys(f"##{letter}" for letter in letters if letter.isalnum())
    return word_piece_tokenizer(list(known), LONGEST)


class Questions(Dataset[dict[str, Tensor]]):
    """Questions about pages, as LayoutLM takes them, with the tokens at which the answers start and end."""

    def __init__(self, pages: Sequence[Document], tokenizer: PreTrainedTokenizerFast) -> None:
        chance = np.random.default_rng(0)
        self.rows: list[tuple[Document, Asked]] = []
        for page in pages:
            chosen = chance.permutation(len(page.questions))[:PER_PAGE]
            self.rows += [(page, page.questions[place]) for place in chosen]
        words = {word for page, asked in self.rows for word in (*page.words, *asked.question.split())}
        known = sorted(words)
        encoded = tokenizer(known, add_special_tokens=False)["input_ids"]
        self.pieces: dict[str, list[int]] = dict(zip(known, encoded, strict=True))
        self.first, self.separator = tokenizer.cls_token_id, tokenizer.sep_token_id

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        page, asked = self.rows[index]
        question = [piece for word in asked.question.split() for piece in self.pieces[word]]
        pieces = [self.pieces[word] for word in page.words]
        words = np.repeat(np.arange(len(pieces)), [len(some) for some in pieces])  # the word of each token of the page
        before = len(question) + 2
        ids = [self.first, *question, self.separator, *(piece for some in pieces for piece in some), self.separator]
        boxes = np.zeros((len(ids), 4), np.int64)
        boxes[[before - 1, -1]] = 1000
        boxes[before:-1] = page.boxes[words]
        roles = np.full(len(ids), -100)
        roles[0] = ROLES.index(asked.role)
        roles[before:-1] = np.array([ROLES.index(role) for role in page.roles])[words]
        answer = np.flatnonzero((words >= asked.first) & (words <= asked.last)) + before
        return {
            "input_ids": torch.tensor(ids),
            "bbox": torch.from_numpy(boxes),
            "token_type_ids": (torch.arange(len(ids)) >= before).long(),
            "attention_mask": torch.ones(len(ids), dtype=torch.long),
            "start_positions": torch.tensor(answer[0]),
            "end_positions": torch.tensor(answer[-1]),
            "roles": torch.from_numpy(roles),
        }


def collate(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A batch, padded with zeros, and roles with -100."""
    batch = {}
    for name in rows[0]:
        values, padding = [row[name] for row in rows], -100 if name == "roles" else 0
        is_number = values[0].ndim == 0
        batch[name] = torch.stack(values) if is_number else pad_sequence(values, True, padding)
    return batch


class Answering(nn.Module):
    """The model with a layer that names the role of each word, and at the first token of the answer. Only the model is saved."""

    def __init__(self, model: LayoutLMForQuestionAnswering) -> None:
        super().__init__()
        self.model = model
        self.name = nn.Linear(model.config.hidden_size, len(ROLES))

    def forward(
        self, roles: Tensor, start_positions: Tensor, end_positions: Tensor, **inputs: Tensor
    ) -> dict[str, Tensor]:
        known: Any = inputs
        states = self.model.layoutlm(**known).last_hidden_state
        start, end = self.model.qa_outputs(states).unbind(-1)
        padding = inputs["attention_mask"] == 0
        answer = sum(
            F.cross_entropy(logits.masked_fill(padding, -1e4), truth) / 2
            for logits, truth in ((start, start_positions), (end, end_positions))
        )
        named = self.name(states)
        words = F.cross_entropy(named[:, 1:].flatten(0, 1), roles[:, 1:].flatten())
        return {"loss": answer + words + 0.5 * F.cross_entropy(named[:, 0], roles[:, 0]), "logits": start}


@torch.no_grad()
def start(model: LayoutLMForQuestionAnswering) -> None:
    """Start with embeddings in which near places are alike, and with layers that compare lines, columns and words."""
    embeddings, half = model.layoutlm.embeddings, SHAPE["hidden_size"] // 2
    rates = torch.logspace(-0.8, -2.5, half // 4)  # radians per thousandth of the page
    angles = torch.arange(PLACES)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], 1)  # (places, half / 2)
    tables = (embeddings.y_position_embeddings, embeddings.x_position_embeddings)
    for part, table in enumerate(tables):
        table.weight.mul_(0.2)
        table.weight[:, part * half // 2 : (part + 1) * half // 2] = 0.5 * waves
    words = embeddings.word_embeddings.weight
    words[:, :half] = 0
    words[:, half:].normal_()
    layers: Any = model.layoutlm.encoder.layer
    for layer in layers[:2]:
        for projection in (layer.attention.self.query, layer.attention.self.key):
            nn.init.eye_(projection.weight)


def trained(
    pages: Sequence[Document], tokenizer: PreTrainedTokenizerFast, seed: int, work: Path, quick: bool
) -> LayoutLMForQuestionAnswering:
    """The trained model, or the one that `work` keeps."""
    set_seed(seed)
    sizes: dict[str, Any] = {"max_position_embeddings": LONGEST, "max_2d_position_embeddings": PLACES}
    dropouts: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = LayoutLMConfig(**SHAPE, **sizes, **dropouts, vocab_size=len(tokenizer))
    model = LayoutLMForQuestionAnswering(config)
    kept = work / f"documents-{seed}.pt"
    if kept.exists():
        model.load_state_dict(torch.load(kept, weights_only=True))
        return model.eval()
    start(model)
    arguments = TrainingArguments(
        str(work / f"training-{seed}"),
        max_steps=3 if quick else STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        save_strategy="no",
        logging_steps=25,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=True,
        seed=seed,
    )
    task = Answering(model)
    optimizer = MuonWithAdamW(task, RATE, weight_decay=0.05)
    questions = Questions(pages, tokenizer)
    train(Trainer(task, arguments, data_collator=collate, train_dataset=questions, optimizers=(optimizer, None)))
    torch.save(model.state_dict(), kept)
    return model.eval()


# Measurements --------------------------------------------------------------------------------------------------------


def exact_and_f1(answers: Sequence[str], truths: Sequence[str]) -> tuple[float, float]:
    """The share of answers that are right to the letter, and the mean F1 of their words.

    Example:
        >>> exact_and_f1(["12.50", "Anna"], ["12.50", "Anna Rossi"])
        (0.5, 0.8333333333333333)
    """
    scores = []
    for answer, truth in zip(answers, truths, strict=True):
        given, wanted = answer.split(), truth.split()
        common = sum((Counter(given) & Counter(wanted)).values())
        scores.append(2 * common / max(1, len(given) + len(wanted)))
    return float(np.mean([one == two for one, two in zip(answers, truths, strict=True)])), float(np.mean(scores))


def measure(folder: Path, pages: Sequence[Document]) -> dict[str, Any]:
    """Exact match and F1 of a saved checkpoint: over all questions, and by the kind of the page."""
    ask = pipeline("document-question-answering", model=str(folder), device="cpu")
    asked = [(page, each) for page in pages for each in page.questions]
    answers = ask([{"question": each.question, "word_boxes": page.word_boxes} for page, each in asked])
    texts = [answer[0]["answer"] for answer in answers]
    truths = [page.answer(each) for page, each in asked]
    groups: dict[str, list[int]] = {}
    for row, (_, each) in enumerate(asked):
        groups.setdefault(_kind(each.question), []).append(row)
    kinds = {
        kind: exact_and_f1([texts[row] for row in rows], [truths[row] for row in rows])
        for kind, rows in sorted(groups.items())
    }
    return {"all": exact_and_f1(texts, truths), "kinds": kinds, "questions": len(asked)}


def _kind(question: str) -> str:
    """The first words of a question."""
    words = question.rstrip("?").split()
    return " ".join(words[: 2 if words[0] == "How" else 1])


def answered_by_baselines(pages: Sequence[Document]) -> dict[str, tuple[float, float]]:
    """Exact match and F1 of methods without a network."""
    asked = [(page, each) for page in pages for each in page.questions]
    truths = [page.answer(each) for page, each in asked]
    nearest = [right_of_match(page, each.question) for page, each in asked]
    return {
        "the nearest word to the right of the best match": exact_and_f1([found[0] for found in nearest], truths),
        "all words up to the next gap to the right of it": exact_and_f1([found[1] for found in nearest], truths),
    }


def right_of_match(page: Document, question: str) -> tuple[str, str]:
    """The word to the right of the one that is most like a word of the question, and the words up to the next gap."""
    wanted = [word.strip("?").lower() for word in question.split()]
    wanted = [word for word in wanted if word not in _COMMON] or wanted
    seen = [word.strip(":.").lower() for word in page.words]
    likeness = [max(SequenceMatcher(None, one, two).ratio() for two in wanted) for one in seen]
    left, top, right, bottom = page.boxes.T
    best = int(np.argmax(likeness))
    middle = (top + bottom) / 2
    on_line = (np.abs(middle - middle[best]) < (bottom - top)[best] / 2 + 2) & (left >= right[best])
    row = sorted(np.flatnonzero(on_line), key=lambda word: left[word])
    # Further words of the label are also in the question.
    while len(row) > 1 and likeness[row[0]] > 0.8:
        row = row[1:]
    if not row:
        return "", ""
    count = 1
    while count < len(row) and left[row[count]] - right[row[count - 1]] < (bottom - top)[best]:
        count += 1
    return page.words[row[0]], " ".join(page.words[word] for word in row[:count])


_COMMON = frozenset(
    (
        "what",
        "is",
        "the",
        "how",
        "much",
        "was",
        "a",
        "who",
        "which",
        "when",
        "it",
        "in",
        "of",
        "does",
        "to",
        "be",
        "has",
        "are",
        "there",
        "were",
        "did",
        "for",
    )
)


def picture(folder: Path, pages: Sequence[Document]) -> Image.Image:
    """A receipt with the words that answer three questions."""
    ask = pipeline("document-question-answering", model=str(folder), device="cpu")
    page = next(page for page in pages if page.font is None and len(page.questions) > 5)
    image = page.image().convert("RGB")
    draw = ImageDraw.Draw(image)
    colors = ((0, 114, 178), (213, 94, 0), (0, 158, 115))
    texts = []
    for color, asked in zip(colors, page.questions[:: len(page.questions) // 3], strict=False):
        answer = ask({"question": asked.question, "word_boxes": page.word_boxes})[0]
        for word in answer["words"]:
            box = page.boxes[word] * np.array([*page.size, *page.size]) / 1000 + [-2, -2, 2, 2]
            draw.rectangle(box.tolist(), outline=color, width=2)
        texts.append((f"{asked.question} {answer['answer']}", color))
    taller = Image.new("RGB", (image.width, image.height + 20 * len(texts) + 8), "white")
    taller.paste(image)
    draw = ImageDraw.Draw(taller)
    for row, (text, color) in enumerate(texts):
        draw.text((8, image.height + 20 * row), text, color, font_size=14)
    return taller
