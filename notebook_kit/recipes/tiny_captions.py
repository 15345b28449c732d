"""The recipe of `notebook-kit/tiny-captions`, a ViT with a small GPT-2 that says what a scene shows and how it is arranged.

The encoder starts with the patches and the layers of `notebook-kit/tiny-vqa`, which has seen such scenes. While the decoder learns
captions, each patch continues to learn which class it shows. `notebook-kit/tiny-captions-telugu` is made by the same recipe with
captions in Telugu; its encoder starts as that of `notebook-kit/tiny-captions`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from notebook_kit.models.gpt2 import GPT2Config
from notebook_kit.models.vilt import ViltForQuestionAnswering
from notebook_kit.models.vision_encoder_decoder import VisionEncoderDecoderConfig, VisionEncoderDecoderModel
from notebook_kit.models.vit import ViTConfig
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.processing.image.classes import ViTImageProcessor
from notebook_kit.processing.text import AutoTokenizer
from notebook_kit.processing.text.auto import PreTrainedTokenizerFast
from notebook_kit.recipes.scene_card import PICTURE
from notebook_kit.recipes.scene_data import LABELS, makers
from notebook_kit.recipes.scene_pictures import contact_sheet, publishable
from notebook_kit.recipes.scene_words import WORDINGS, caption, is_held_out, relation
from notebook_kit.recipes.scenes import Scene, SceneMaker
from notebook_kit.recipes.shared import SEEDS, Clock, for_each_seed, work_folder
from notebook_kit.recipes.things_data import backgrounds, things
from notebook_kit.recipes.tiny_captions_card import model_card
from notebook_kit.recipes.tiny_vqa import (
    BATCH,
    SCENES_OF,
    SIZE,
    DenseHead,
    few_things,
    kept_weights,
    normalized,
    scenes_from,
    titled,
    tokenizer,
    train_or_load,
)
from notebook_kit.training import set_seed

__all__ = ["CaptionRecipe", "build", "scores", "written"]

SCENES, TESTS = 40_000, 500
STEPS, RATE = 3000, 1.5e-3
LONGEST = 24  # tokens of a caption
SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "image_size", "patch_size")
"""The settings of the encoder that are those of the model it starts with."""
WRITER: dict[str, Any] = {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_inner": 256}


def build(output: Path, quick: bool = False, work: Path | None = None) -> dict[str, Any]:
    """Train the checkpoint with three seeds, measure them, and write the first with its model card.

    Args:
        output: The folder to write.
        quick: Train for a few steps on a few scenes, to check that everything works. The result is useless.
        work: A folder that keeps the weights of each seed. Existing ones are reused.

    Returns:
        The measurements in the model card.

    Raises:
        MissingDependencyError, HubUnreachableError, CheckpointError: As in `notebook_kit.recipes.things_data.things`.
    """
    return CaptionRecipe("English", tokenizer, eyes_of_questions).build(output, quick, work)


def eyes_of_questions() -> PreTrainedModel:
    """The part of `notebook-kit/tiny-vqa` that reads pictures (and texts)."""
    return ViltForQuestionAnswering.from_pretrained("notebook-kit/tiny-vqa").vilt


@dataclass(frozen=True, slots=True)
class CaptionRecipe:
    """The parts in which the recipes of captions differ.

    Attributes:
        language: One of `scene_words.WORDINGS`.
        tokenizer: Makes the tokenizer, which has a padding token, a class token for the start and a separator for the end.
        eyes: Loads the model whose patches and layers the encoder starts with.
        seeds: Those that are trained; the checkpoint is that of the first.
    """

    language: str
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    eyes: Callable[[], PreTrainedModel]
    seeds: tuple[int, ...] = SEEDS

    def build(self, output: Path, quick: bool, work: Path | None) -> dict[str, Any]:
        """As the function `build` of a recipe."""
        with work_folder(work) as folder:
            return self._build(Path(output), quick, folder)

    def _build(self, output: Path, quick: bool, work: Path) -> dict[str, Any]:
        clock = Clock(work / "seconds.json")
        cutouts, photographs = things(), backgrounds()
        scenes = makers(SIZE, cutouts, photographs, **SCENES_OF)
        count = 60 if quick else SCENES
        with clock("scenes"):
            shown = scenes_from(scenes["train"], count, held_out=False)
            learned = [Captioned.of(each, self.language) for each in shown]
        test = list(scenes_from(scenes["test"], 20 if quick else TESTS))

        def one(seed: int, folder: Path) -> dict[str, Any]:
            with clock(f"seed {seed}", kept_weights(work, seed)):
                model = self.trained(learned, seed, work, quick)
            model.half().save_pretrained(folder)
            self.tokenizer().save_pretrained(folder)
            ViTImageProcessor(size={"height": SIZE, "width": SIZE}).save_pretrained(folder)
            return measure(folder, test, self.language) | {"parameters": model.num_parameters()}

        reports = for_each_seed(self.seeds, output, work, quick, one)
        report = reports[0] | {"seeds": [each["all"] for each in reports], "language": self.language}
        report |= {"baselines": baselines(learned, test, self.language), "scenes": len(learned), "tests": len(test)}
        report |= {"seconds": clock.seconds, "quick": quick, "bytes": (output / "model.safetensors").stat().st_size}
        report |= {"threads": torch.get_num_threads()}
        drawn, report["shown"] = picture(output, publishable(4 * SIZE, cutouts, photographs), self.language)
        drawn.save(output / PICTURE, quality=80, method=6)
        (output / "README.md").write_text(model_card(report), encoding="utf-8")
        return report

    def untrained(self) -> VisionEncoderDecoderModel:
        """The model, whose encoder has the weights of `eyes`."""
        eyes, words = self.eyes(), self.tokenizer()
        special = {
            "pad_token_id": words.pad_token_id,
            "eos_token_id": words.sep_token_id,
            "bos_token_id": words.cls_token_id,
        }
        dropouts: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
            ViTConfig(**{name: getattr(eyes.config, name) for name in SHAPE}, hidden_dropout_prob=0.0),
            GPT2Config(**WRITER, **special, **dropouts, vocab_size=len(words), n_positions=LONGEST),
            decoder_start_token_id=words.cls_token_id,
            pad_token_id=words.pad_token_id,
            eos_token_id=words.sep_token_id,
        )
        model = VisionEncoderDecoderModel(config)
        model.encoder.load_state_dict(eyes.state_dict(), strict=False)
        return model

    def trained(self, scenes: Sequence[Captioned], seed: int, work: Path, quick: bool) -> VisionEncoderDecoderModel:
        """The trained model of a seed, or the one that `work` keeps."""
        set_seed(seed)
        model = self.untrained()
        train_or_load(
            model,
            lambda: Captioning(model),
            lambda: Captions(scenes, self.tokenizer()),
            collate,
            work,
            seed,
            3 if quick else STEPS,
            RATE,
        )
        model.generation_config.max_length = LONGEST
        return model.eval()


# Data ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Captioned:
    """A picture `(size, size, 3)` uint8, the class of each pixel + 1, and the caption."""

    image: np.ndarray
    semantic: np.ndarray
    text: str

    @classmethod
    def of(cls, scene: Scene, language: str) -> Captioned:
        return cls(scene.image, scene.semantic, caption(scene, language))


class Captions(Dataset[dict[str, Tensor]]):
    """Scenes in a slightly different light each time, with the ids of their captions."""

    def __init__(self, scenes: Sequence[Captioned], words: PreTrainedTokenizerFast) -> None:
        self.scenes = scenes
        encoded = words([each.text for each in scenes], add_special_tokens=False)["input_ids"]
        self.ids = [torch.tensor([*ids, words.sep_token_id]) for ids in encoded]

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        scene = self.scenes[index]
        return {
            "pixel_values": normalized(scene.image) * (1 + 0.08 * torch.randn(3, 1, 1)) + 0.05 * torch.randn(1),
            "semantic": torch.from_numpy(scene.semantic).long(),
            "labels": self.ids[index],
        }


def collate(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A batch, its captions padded with -100."""
    batch = {name: torch.stack([row[name] for row in rows]) for name in ("pixel_values", "semantic")}
    return {**batch, "labels": pad_sequence([row["labels"] for row in rows], batch_first=True, padding_value=-100)}


# Training ------------------------------------------------------------------------------------------------------------


class Captioning(nn.Module):
    """The model with the task of the patches. Only the model is saved."""

    def __init__(self, model: VisionEncoderDecoderModel) -> None:
        super().__init__()
        self.model = model
        self.dense = DenseHead(model.encoder.config.hidden_size)

    def forward(self, pixel_values: Tensor, semantic: Tensor, labels: Tensor) -> dict[str, Tensor]:
        seen = self.model.encoder(pixel_values)
        out = self.model(encoder_outputs=seen, labels=labels)
        return {"loss": out.loss + self.dense(seen.last_hidden_state[:, 1:], semantic), "logits": out.logits}


# Measurements --------------------------------------------------------------------------------------------------------


def scores(texts: Sequence[str], scenes: Sequence[Scene], language: str) -> dict[str, float]:
    """How right captions are.

    Returns:
        `nouns`: the F1 of the things named, over all scenes; `relations`: of the scenes whose caption states one, the share whose
        caption states one between two things of the scene that holds; `exact`: the share of captions right to the letter.
    """
    wording = WORDINGS[language]
    common = named = present = 0
    related: list[bool] = []
    for text, scene in zip(texts, scenes, strict=True):
        said, truth = wording.named(text), [LABELS[label] for label in scene.labels]
        common += sum((Counter(said) & Counter(truth)).values())
        named, present = named + len(said), present + len(truth)
        if wording.stated(caption(scene, language)) is not None:
            related.append(_holds(wording.stated(text), scene))
    exact = np.mean([text == caption(scene, language) for text, scene in zip(texts, scenes, strict=True)])
    return {
        "nouns": 2 * common / max(1, named + present),
        "relations": float(np.mean(related)) if related else 0.0,
        "exact": float(exact),
    }


def _holds(stated: tuple[str, str, str] | None, scene: Scene) -> bool:
    """Whether a relation that a caption states holds between two different things of the scene."""
    if stated is None:
        return False
    names, size = [LABELS[label] for label in scene.labels], len(scene.image)
    pairs = [(one, two) for one in range(len(names)) for two in range(len(names)) if one != two]
    return any(
        (names[one], relation(scene.boxes[one], scene.boxes[two], size), names[two]) == stated for one, two in pairs
    )


def written(folder: Path, images: Sequence[np.ndarray]) -> list[str]:
    """The captions that a saved checkpoint writes, greedily."""
    model = VisionEncoderDecoderModel.from_pretrained(folder)
    words, prepare = AutoTokenizer.from_pretrained(folder), ViTImageProcessor.from_pretrained(folder)
    texts: list[str] = []
    for start in range(0, len(images), BATCH):
        some = [Image.fromarray(image) for image in images[start : start + BATCH]]
        ids = model.generate(prepare(some, return_tensors="pt")["pixel_values"], max_new_tokens=LONGEST - 1)
        texts += [text.strip() for text in words.batch_decode(ids, skip_special_tokens=True)]
    return texts


def measure(folder: Path, test: Sequence[Scene], language: str) -> dict[str, Any]:
    """The scores of a saved checkpoint, of all scenes and of those with a held-out pair of classes, and some captions."""
    texts = written(folder, [scene.image for scene in test])
    new = [row for row, scene in enumerate(test) if is_held_out(scene.labels.tolist())]
    held_out = scores([texts[row] for row in new], [test[row] for row in new], language) if new else None
    examples = [(caption(scene, language), text) for scene, text in zip(test[:6], texts[:6], strict=True)]
    return {"all": scores(texts, test, language), "new pairs": held_out, "examples": examples}


def baselines(learned: Sequence[Captioned], test: Sequence[Scene], language: str) -> dict[str, dict[str, float]]:
    """The scores of the most frequent caption, and of the caption of the nearest training picture by pixels."""
    frequent = Counter(each.text for each in learned).most_common(1)[0][0]
    known = _small(each.image for each in learned)
    distances = torch.cdist(_small(scene.image for scene in test), known)
    nearest = [learned[place].text for place in distances.argmin(1).tolist()]
    return {
        f"the most frequent caption, *{frequent}*": scores([frequent] * len(test), test, language),
        "the caption of the nearest training picture": scores(nearest, test, language),
    }


def _small(images: Iterable[np.ndarray]) -> Tensor:
    """Pictures of 16 x 16 pixels, `(pictures, 768)`."""
    pixels = torch.stack([normalized(image) for image in images])
    return nn.functional.avg_pool2d(pixels, SIZE // 16).flatten(1)


def picture(folder: Path, make: SceneMaker, language: str) -> tuple[Image.Image, list[str]]:
    """The first eight scenes of a few things that may be published, and the model's captions.

    Those in English are drawn below the scenes, those in other languages only their numbers, since Pillow's font has no other letters.
    """
    scenes = list(few_things(make, 8))
    texts = written(folder, [scene.image for scene in scenes])
    titles = texts if language == "English" else [str(number) for number in range(1, len(texts) + 1)]
    rows = [
        titled(scene.image, title, text == caption(scene, language))
        for scene, title, text in zip(scenes, titles, texts, strict=True)
    ]
    return contact_sheet(rows, 4), texts
