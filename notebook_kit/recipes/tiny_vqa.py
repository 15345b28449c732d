"""The recipe of `notebook-kit/tiny-vqa`, a ViLT that answers questions about scenes of a few things.

Four measures let it learn something within minutes on one CPU thread, and leave a plain ViLT:

1. It starts with the patches and the layers of `notebook-kit/tiny-things`, a ViT that names the thing in a picture.
2. Before any question it learns to look: for most of the time, each patch learns which class it shows, and where the middle of
   that thing is, which tells two things of a class apart and which of two is further left.
3. While it learns to answer, the patches go on learning this.
4. Matrices are trained by Muon.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from notebook_kit.models.vilt import ViltConfig, ViltForQuestionAnswering
from notebook_kit.models.vit import ViTForImageClassification
from notebook_kit.nn.patches import as_map
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.image.classes import ViltImageProcessor
from notebook_kit.processing.joint.images import ViltProcessor
from notebook_kit.processing.text.auto import PreTrainedTokenizerFast
from notebook_kit.recipes.muon import MuonWithAdamW
from notebook_kit.recipes.scene_card import PICTURE
from notebook_kit.recipes.scene_data import LABELS, makers
from notebook_kit.recipes.scene_pictures import contact_sheet, publishable
from notebook_kit.recipes.scene_words import ANSWERS, KINDS, Question, is_held_out, plural, questions, words
from notebook_kit.recipes.scenes import Scene, SceneMaker
from notebook_kit.recipes.shared import SEEDS, Clock, for_each_seed, train, work_folder
from notebook_kit.recipes.shrinking import word_piece_tokenizer
from notebook_kit.recipes.things_data import backgrounds, things
from notebook_kit.recipes.tiny_vqa_card import model_card
from notebook_kit.training import Trainer, TrainingArguments, set_seed

__all__ = [
    "BATCH",
    "SCENES_OF",
    "SIZE",
    "DenseHead",
    "build",
    "few_things",
    "frequent_answers",
    "kept_weights",
    "normalized",
    "scenes_from",
    "titled",
    "tokenizer",
    "train_or_load",
]

SIZE, PATCH = 64, 8  # pixels
SCENES_OF: dict[str, Any] = {"counts": (1, 3), "sizes": (0.32, 0.58)}
"""How many things a scene shows, and how large they are."""
SCENES, TESTS = 40_000, 600
LOOKING_STEPS, LOOKING_RATE, LOOKING_SEED = 4200, 2e-3, 16
STEPS, BATCH, RATE = 2200, 32, 1.4e-3
LONGEST = 24  # tokens of a question
BACKGROUND = 0.4  # weight of background in the task of the patches
MIDDLES = 3.0  # weight of where the middles of things are


def build(output: Path, quick: bool = False, work: Path | None = None) -> dict[str, Any]:
    """Train the checkpoint with three seeds, measure them, and write the first with its model card.

    Args:
        output: The folder to write.
        quick: Train for a few steps on a few scenes, to check that everything works. The result is useless.
        work: A folder that keeps the scenes and the weights of each seed. Existing ones are reused.

    Returns:
        The measurements in the model card.

    Raises:
        MissingDependencyError, HubUnreachableError, CheckpointError: As in `notebook_kit.recipes.things_data.things`.
    """
    with work_folder(work) as folder:
        return _build(Path(output), quick, folder)


def _build(output: Path, quick: bool, work: Path) -> dict[str, Any]:
    clock = Clock(work / "seconds.json")
    cutouts, photographs = things(), backgrounds()
    scenes = makers(SIZE, cutouts, photographs, **SCENES_OF)
    with clock("scenes", work / "scenes.npz"):
        learned = Learned.of(scenes["train"], 60 if quick else SCENES, work / "scenes.npz")
    with clock("looking", kept_weights(work, LOOKING_SEED)):
        looking = looked(learned, work, quick)
    test = list(scenes_from(scenes["test"], 20 if quick else TESTS))

    def one(seed: int, folder: Path) -> dict[str, Any]:
        with clock(f"seed {seed}", kept_weights(work, seed)):
            model = trained(looking, learned, seed, work, quick)
        model.half().save_pretrained(folder)
        processor().save_pretrained(folder)
        return measure(folder, test, learned) | {"parameters": model.num_parameters()}

    reports = for_each_seed(SEEDS, output, work, quick, one)
    report = reports[0] | {"seeds": [each["accuracy"] for each in reports], "scenes": len(learned), "tests": len(test)}
    report |= {"seconds": clock.seconds, "quick": quick, "threads": torch.get_num_threads()}
    report |= {"bytes": (output / "model.safetensors").stat().st_size}
    drawn = picture(output, publishable(4 * SIZE, cutouts, photographs))
    drawn.save(output / PICTURE, quality=80, method=6)
    (output / "README.md").write_text(model_card(report), encoding="utf-8")
    return report


# Data ----------------------------------------------------------------------------------------------------------------


def scenes_from(make: SceneMaker, count: int, first: int = 0, held_out: bool = True) -> Iterator[Scene]:
    """Scenes of a generator.

    Args:
        make: The generator.
        count: Their number.
        first: The seed of the first one.
        held_out: Also scenes in which classes occur together that no training scene shows together.
    """
    seed = first
    while count:
        scene = make(seed)
        seed += 1
        if len(scene.labels) and (held_out or not is_held_out(scene.labels.tolist())):
            count -= 1
            yield scene


def few_things(make: SceneMaker, count: int) -> Iterator[Scene]:
    """The first scenes of a generator that show as many things as training scenes do."""
    return islice(
        (scene for scene in scenes_from(make, 100 * count) if len(scene.labels) <= SCENES_OF["counts"][1]), count
    )


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """Training scenes: their pictures, the class of each pixel + 1, and for each scene its questions with their answers.

    Attributes:
        images: `(scenes, size, size, 3)` uint8.
        semantic: `(scenes, size, size)` uint8.
        middles: `(scenes, size / patch, size / patch, 2)` float16; see `middles_of`.
        asked: The questions about each.
    """

    images: np.ndarray
    semantic: np.ndarray
    middles: np.ndarray
    asked: list[list[Question]]

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(cls, make: SceneMaker, count: int, kept: Path) -> Learned:
        """The scenes of a generator, or those that a file keeps."""
        if not kept.exists():
            scenes = list(scenes_from(make, count, held_out=False))
            asked = [questions(scene, np.random.default_rng(place)) for place, scene in enumerate(scenes)]
            rows = [[(each.text, each.answer, each.kind) for each in some] for some in asked]
            images, semantic = (np.stack([getattr(each, name) for each in scenes]) for name in ("image", "semantic"))
            middles = np.stack([middles_of(scene) for scene in scenes])
            np.savez(kept, images=images, semantic=semantic, middles=middles, asked=json.dumps(rows))
        with np.load(kept) as file:
            found = [[Question(*row) for row in rows] for rows in json.loads(str(file["asked"]))]
            return cls(file["images"], file["semantic"], file["middles"], found)


def middles_of(scene: Scene) -> np.ndarray:
    """How far it is from each patch to the middle of the thing that its center shows.

    Returns:
        float16 of shape (rows, columns, 2): to the right and down, in sides of the scene; NaN where the center shows no thing.

    Example:
        >>> mask = np.zeros((1, 64, 64), bool); mask[0, 8:24, 0:32] = True
        >>> nothing = np.zeros((64, 64, 3), np.uint8)
        >>> scene = Scene(nothing, np.array([1]), np.array([[0, 8, 32, 24]], np.float32), mask, nothing[..., 0])
        >>> middles_of(scene)[1, 0].tolist()  # the patch in the second row, whose center is at 4, 12
        [0.1875, 0.0625]
    """
    centers = np.arange(PATCH // 2, SIZE, PATCH)
    found = np.full((len(centers), len(centers), 2), np.nan, np.float16)
    for mask, box in zip(scene.masks, scene.boxes, strict=True):
        rows, columns = np.nonzero(mask[np.ix_(centers, centers)])
        middle = (box[:2] + box[2:]) / 2
        found[rows, columns] = (middle - np.stack([centers[columns], centers[rows]], 1)) / SIZE
    return found


def normalized(image: np.ndarray) -> Tensor:
    """A picture as the model sees it, `(3, size, size)`."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1


def tokenizer() -> PreTrainedTokenizerFast:
    """A lower-casing tokenizer of the words in questions and captions; it spells all others."""
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words(), *letters]
    return word_piece_tokenizer(
        list(dict.fromkeys([*pieces, *(f"##{each}" for each in letters if each.isalnum()), "##s"])), LONGEST
    )


def processor() -> ViltProcessor:
    """The processor of the checkpoint: the shorter side of a picture becomes `SIZE`."""
    return ViltProcessor(ViltImageProcessor(size={"shortest_edge": SIZE}, size_divisor=PATCH, resample=2), tokenizer())


class QuestionsAboutScenes(Dataset[dict[str, Tensor]]):
    """A random question about each scene, differently each time; in a slightly different light."""

    def __init__(self, learned: Learned) -> None:
        self.learned = learned
        texts = sorted({each.text for some in learned.asked for each in some})
        encoded = tokenizer()(texts)["input_ids"]
        self.ids = {text: torch.tensor(ids) for text, ids in zip(texts, encoded, strict=True)}

    def __len__(self) -> int:
        return len(self.learned)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        asked = self.learned.asked[index]
        question = asked[int(torch.randint(len(asked), ()))]
        answer = torch.tensor(ANSWERS.index(question.answer))
        return {**pixels_of(self.learned, index), "input_ids": self.ids[question.text], "answer": answer}


class Scenes(Dataset[dict[str, Tensor]]):
    """Each scene, mirrored half of the time, in a slightly different light, with an empty question."""

    def __init__(self, learned: Learned) -> None:
        self.learned = learned
        self.nothing = torch.tensor(tokenizer()("")["input_ids"])

    def __len__(self) -> int:
        return len(self.learned)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {**pixels_of(self.learned, index, mirrored=bool(torch.rand(()) < 0.5)), "input_ids": self.nothing}


def pixels_of(learned: Learned, index: int, mirrored: bool = False) -> dict[str, Tensor]:
    """A scene in a slightly different light, and what its pixels and patches show."""
    pixels = normalized(learned.images[index]) * (1 + 0.08 * torch.randn(3, 1, 1)) + 0.05 * torch.randn(1)
    semantic = torch.from_numpy(learned.semantic[index]).long()
    middles = torch.from_numpy(learned.middles[index]).float()
    if mirrored:
        pixels, semantic, middles = pixels.flip(-1), semantic.flip(-1), middles.flip(-2) * torch.tensor([-1.0, 1.0])
    return {"pixel_values": pixels, "semantic": semantic, "middles": middles}


def collate(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A batch, its questions padded with zeros."""
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0] if name != "input_ids"}
    ids = pad_sequence([row["input_ids"] for row in rows], batch_first=True)
    return {**batch, "input_ids": ids, "attention_mask": (ids != 0).long()}


# Training ------------------------------------------------------------------------------------------------------------


class DenseHead(nn.Module):
    """Which class each quarter of a patch shows."""

    weight: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.predict = nn.Linear(width, 4 * (len(LABELS) + 1))
        self.register_buffer("weight", torch.tensor([BACKGROUND] + [1.0] * len(LABELS)), persistent=False)

    def forward(self, patches: Tensor, semantic: Tensor) -> Tensor:
        """The loss; patches are `(batch, patches, width)`, and `semantic` `(batch, size, size)`."""
        side = SIZE // PATCH
        logits = F.pixel_shuffle(as_map(self.predict(patches), (side, side)), 2)
        step = PATCH // 2
        return F.cross_entropy(logits, semantic[:, step // 2 :: step, step // 2 :: step], self.weight)


class Looking(nn.Module):
    """The model with the tasks of the patches, and of answering where there is a question."""

    def __init__(self, model: ViltForQuestionAnswering) -> None:
        super().__init__()
        self.model = model
        self.dense = DenseHead(model.config.hidden_size)
        self.middle = nn.Linear(model.config.hidden_size, 2)

    def forward(
        self,
        pixel_values: Tensor,
        semantic: Tensor,
        middles: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        answer: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The loss of a batch; `middles` is `(batch, rows, columns, 2)`, and `answer` `(batch,)`."""
        vilt = self.model.vilt
        picture, _ = vilt.embeddings.embed_picture(pixel_values, None)
        out = vilt(
            input_ids, attention_mask, image_embeds=picture, pixel_mask=attention_mask.new_ones(picture.shape[:2])
        )
        patches = out.last_hidden_state[:, input_ids.shape[1] + 1 :]
        loss = self.dense(patches, semantic) + MIDDLES * self.missed(patches, middles)
        if answer is None:
            return {"loss": loss}
        logits = self.model.classifier(out.pooler_output)
        truth = F.one_hot(answer, len(ANSWERS)).float()
        # Binary cross-entropy as in ViLT, with a larger weight of the one right answer while it is hard to find.
        loss = loss + F.binary_cross_entropy_with_logits(logits, truth) * 4 + F.cross_entropy(logits, answer)
        return {"loss": loss, "logits": logits}

    def missed(self, patches: Tensor, middles: Tensor) -> Tensor:
        """How far the patches are wrong about the middles of things, in sides of a scene."""
        truth = middles.flatten(1, 2)
        shows = ~truth[..., 0].isnan()
        return (self.middle(patches)[shows] - truth[shows]).abs().sum() / shows.sum().clamp(min=1)


def kept_weights(work: Path, seed: int) -> Path:
    """The file in which the work folder keeps the trained weights of a seed."""
    return work / f"weights-{seed}.pt"


def train_or_load(
    model: nn.Module,
    task: Callable[[], nn.Module],
    scenes: Callable[[], Dataset[dict[str, Tensor]]],
    collator: Callable[[Sequence[dict[str, Tensor]]], dict[str, Tensor]],
    work: Path,
    seed: int,
    steps: int,
    rate: float,
) -> None:
    """Give a model the trained weights of a seed: those that the work folder keeps, or else by training it.

    Args:
        model: The model, with its initial weights.
        task: Makes the module that is trained, which contains the model and computes the loss.
        scenes: Makes the training examples.
        collator: Makes a batch of examples.
        work: The folder of intermediate results.
        seed: Of the Trainer.
        steps, rate: The number of optimizer steps, and the highest learning rate; it falls to 0 along a cosine.
    """
    kept = kept_weights(work, seed)
    if kept.exists():
        model.load_state_dict(torch.load(kept, weights_only=True))
        return
    arguments = TrainingArguments(
        str(work / f"training-{seed}"),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        save_strategy="no",
        logging_steps=25,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        train_sampling_strategy="random",
        use_cpu=True,
        seed=seed,
    )
    whole = task()
    optimizer = MuonWithAdamW(whole, rate, weight_decay=0.05)
    train(Trainer(whole, arguments, data_collator=collator, train_dataset=scenes(), optimizers=(optimizer, None)))
    torch.save(model.state_dict(), kept)


def looked(learned: Learned, work: Path, quick: bool) -> Looking:
    """A model that has learned to look, but not yet to answer, or the one that `work` keeps. All seeds start with it."""
    set_seed(LOOKING_SEED)
    looking = Looking(untrained())
    steps = 3 if quick else LOOKING_STEPS
    train_or_load(looking, lambda: looking, lambda: Scenes(learned), collate, work, LOOKING_SEED, steps, LOOKING_RATE)
    return looking


def untrained() -> ViltForQuestionAnswering:
    """The model with the patches and the layers of `notebook-kit/tiny-things`."""
    eyes = ViTForImageClassification.from_pretrained("notebook-kit/tiny-things")
    shape = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "image_size", "patch_size")
    fields: dict[str, Any] = {name: getattr(eyes.config, name) for name in shape}
    fields |= {"vocab_size": len(tokenizer()), "max_position_embeddings": LONGEST}
    fields |= {"id2label": dict(enumerate(ANSWERS)), "label2id": {answer: row for row, answer in enumerate(ANSWERS)}}
    model = ViltForQuestionAnswering(ViltConfig(**fields))
    model.vilt.load_state_dict(eyes.vit.state_dict(), strict=False)
    return model


def trained(looking: Looking, learned: Learned, seed: int, work: Path, quick: bool) -> ViltForQuestionAnswering:
    """The trained model of a seed, or the one that `work` keeps."""
    set_seed(seed)
    model = untrained()  # with other words, and another head, for each seed
    seen = {name: weight for name, weight in looking.model.state_dict().items() if "text_embeddings" not in name}
    seen = {name: weight for name, weight in seen.items() if not name.startswith(("classifier", "vilt.pooler"))}
    model.load_state_dict(seen, strict=False)
    known = tokenizer().get_vocab()
    with torch.no_grad():  # a plural starts with the vector of its singular
        table = model.vilt.embeddings.text_embeddings.word_embeddings.weight
        for label in LABELS:
            table[known[plural(label)]] = table[known[label]]
    task = Looking(model)
    task.dense.load_state_dict(looking.dense.state_dict())
    task.middle.load_state_dict(looking.middle.state_dict())
    train_or_load(
        model,
        lambda: task,
        lambda: QuestionsAboutScenes(learned),
        collate,
        work,
        seed,
        3 if quick else STEPS,
        RATE,
    )
    return model.eval()


# Measurements --------------------------------------------------------------------------------------------------------


def frequent_answers(learned: Learned) -> dict[str, str]:
    """The most frequent answer to each kind of question."""
    counts = {
        kind: Counter(each.answer for some in learned.asked for each in some if each.kind == kind) for kind in KINDS
    }
    return {kind: count.most_common(1)[0][0] for kind, count in counts.items() if count}


def measure(folder: Path, test: Sequence[Scene], learned: Learned) -> dict[str, Any]:
    """Accuracy of a saved checkpoint and of the most frequent answer, by kind of question."""
    answer_to = pipeline("visual-question-answering", model=str(folder), device="cpu", batch_size=32)
    asked = [
        (place, each) for place, scene in enumerate(test) for each in questions(scene, np.random.default_rng(place))
    ]
    found = answer_to(
        [{"image": Image.fromarray(test[place].image), "question": each.text} for place, each in asked], top_k=1
    )
    right = np.array([answers[0]["answer"] == each.answer for answers, (_, each) in zip(found, asked, strict=True)])
    frequent = frequent_answers(learned)
    guessed = np.array([frequent.get(each.kind) == each.answer for _, each in asked])
    kinds = np.array([each.kind for _, each in asked])
    new = np.array([is_held_out(test[place].labels.tolist()) for place, _ in asked])
    by_kind = {
        kind: (
            float(right[kinds == kind].mean()),
            float(guessed[kinds == kind].mean()),
            frequent[kind],
            int((kinds == kind).sum()),
        )
        for kind in KINDS
        if (kinds == kind).any() and kind in frequent
    }
    sorts = np.array([sort_of(each) for _, each in asked])
    return {
        "accuracy": float(right.mean()),
        "baseline": float(guessed.mean()),
        "kinds": by_kind,
        "sorts": {
            sort: (float(right[sorts == sort].mean()), int((sorts == sort).sum()))
            for sort in sorted(set(sorts.tolist()))
        },
        "new pairs": float(right[new].mean()) if new.any() else None,
        "questions": len(asked),
    }


def sort_of(question: Question) -> str:
    """What a question is about, and what its answer is, in finer sorts than its kind.

    Example:
        >>> sort_of(Question("how many apples are there?", "2", "how many")), sort_of(Question("what is above the ball?", "tree", "where"))
        ('how many of a kind: 2 or 3', 'above')
    """
    if question.kind == "where":
        return question.text.removeprefix("what is ").partition(" the ")[0]
    if question.kind == "is there":
        return f"is there: {question.answer}"
    about = "things" if "things" in question.text else "of a kind"
    return f"how many {about}: {'2 or 3' if question.answer in '23' else question.answer}"


def picture(folder: Path, make: SceneMaker) -> Image.Image:
    """Scenes that may be published, each with a question and the model's answer: the first eight."""
    answer_to = pipeline("visual-question-answering", model=str(folder), device="cpu")
    rows = []
    for place, scene in enumerate(few_things(make, 8)):
        asked = questions(scene, np.random.default_rng(place))
        question = asked[(5 * place) % len(asked)]
        answer = answer_to({"image": Image.fromarray(scene.image), "question": question.text}, top_k=1)[0]["answer"]
        rows.append(titled(scene.image, f"{question.text} {answer}", answer == question.answer))
    return contact_sheet(rows, 4)


def titled(image: np.ndarray, text: str, is_right: bool) -> Image.Image:
    """A picture with a text below it, in red if it is wrong."""
    whole = Image.new("RGB", (image.shape[1], image.shape[0] + 22), "white")
    whole.paste(Image.fromarray(image))
    ImageDraw.Draw(whole).text((3, image.shape[0] + 3), text, "black" if is_right else (190, 30, 30), font_size=13)
    return whole
