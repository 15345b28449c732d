"""The recipe of `notebook-kit/tiny-clip`, a small CLIP of things and their names in English and in Telugu.

1. The tower of pictures starts as `notebook-kit/tiny-things`, a ViT that names the thing in a picture.
2. A step shows 64 pictures and, for each class, one text in English and one in Telugu: a random name of the class in a random
   wording. Each picture learns to be near the texts of its class and far from the others, and each text likewise.
3. As in the recipe of tiny-things, the vectors of pictures are also compared with those of a teacher, and the student sees only
   half of the patches at first.
4. The factor of the similarities is fitted on the validation photographs, so that scores are calibrated probabilities.
5. The saved checkpoint and the baselines are measured on held-out things and backgrounds, for three seeds.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from notebook_kit.models.clip import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig
from notebook_kit.models.vit import ViTForImageClassification, ViTModel
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.image.classes import CLIPImageProcessor
from notebook_kit.processing.joint.images import CLIPProcessor
from notebook_kit.processing.text.auto import PreTrainedTokenizerFast
from notebook_kit.recipes.shared import (
    SEEDS,
    Clock,
    best_temperature,
    byte_level_bpe,
    for_each_seed,
    train_in_order,
    work_folder,
)
from notebook_kit.recipes.things_data import LABELS
from notebook_kit.recipes.things_words import LANGUAGES, NAMES, TEMPLATES, UNSEEN, filled
from notebook_kit.recipes.tiny_clip_card import model_card
from notebook_kit.recipes.tiny_things import VECTOR, Data, Exam, Pictures, baselines, data_of, exams_of, teacher_vectors
from notebook_kit.recipes.tiny_things_pictures import Painter
from notebook_kit.training import set_seed

__all__ = ["build", "tokenizer"]

FOUNDATION = "notebook-kit/tiny-things"
PIECES, LONGEST = 640, 32  # tokens of the vocabulary, and of a text
TEXTS: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": LONGEST,
}
WIDTH = 128  # numbers in the vectors that are compared
BATCH, STEPS, RATE = 64, 700, 2e-3
CLOSENESS = 4.0  # weight of the distance from the teacher's vectors
SMOOTHING = 0.05


def build(output: Path, quick: bool = False, work: Path | None = None) -> dict[str, Any]:
    """Train the checkpoint with three seeds, measure them, and write the first with its model card.

    Args:
        output: The folder to write.
        quick: Train on a few things for a few steps, to check that everything works. The result is useless.
        work: A folder that keeps the teacher's vectors and the weights of each seed. Existing results are reused.

    Returns:
        The measurements in the model card.

    Raises:
        MissingDependencyError, HubUnreachableError, CheckpointError: As in `notebook_kit.recipes.things_data.things`.
    """
    with work_folder(work) as folder:
        return _build(Path(output), quick, folder)


def _build(output: Path, quick: bool, work: Path) -> dict[str, Any]:
    clock = Clock(work / "seconds.json")
    data = data_of(quick)
    with clock("teacher", work / "vectors.pt"):
        vectors = teacher_vectors(data, work)
    exams = exams_of(data, times=1 if quick else 25)

    def one(seed: int, folder: Path) -> dict[str, Any]:
        with clock(f"seed {seed}", work / f"clip-{seed}.pt"):
            model = trained(data, vectors, seed, work, quick)
        scale = calibrate(model, data, count=40 if quick else 2000)
        model.half().save_pretrained(folder)
        processor().save_pretrained(folder)
        return measure(folder, exams) | {"scale": scale, "parameters": model.num_parameters()}

    reports = for_each_seed(SEEDS, output, work, quick, one)
    report: dict[str, Any] = {"seeds": reports, "seconds": clock.seconds, "quick": quick}
    report |= {"baselines": baselines(data, exams, count=50 if quick else 10_000), "others": len(data.others)}
    report |= {"parameters": reports[0]["parameters"], "bytes": (output / "model.safetensors").stat().st_size}
    report |= {"pieces": len(tokenizer()), "threads": torch.get_num_threads(), "steps": STEPS, "batch": BATCH}
    report |= {"things": [(each.label, each.style, each.part) for each in data.things]}
    (output / "README.md").write_text(model_card(report), encoding="utf-8")
    return report


# Texts ---------------------------------------------------------------------------------------------------------------


def texts_of(label: str, language: str) -> list[str]:
    """Every training text of a class in a language."""
    return [filled(template, name) for name in NAMES[label].of(language) for template in TEMPLATES[language]]


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of the training texts, which can encode any text; an end token follows each."""
    texts = [text for language in LANGUAGES for label in LABELS for text in texts_of(label, language)]
    special = {"pad_token": "<pad>", "eos_token": "</s>"}
    return byte_level_bpe(texts, PIECES, special, ends_with_eos=True, model_max_length=LONGEST)


def processor() -> CLIPProcessor:
    """The processor of the checkpoint: any picture becomes a square."""
    side = {"height": 64, "width": 64}
    pictures = CLIPImageProcessor(size=side, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return CLIPProcessor(pictures, tokenizer())


class PicturesAndTexts(Dataset[dict[str, Tensor]]):
    """The batches of `Pictures`, each with a random text of every class in each language: `(2 * classes, tokens)`."""

    def __init__(self, pictures: Pictures, seed: int) -> None:
        self.pictures, self.seed = pictures, seed
        self.texts = [texts_of(label, language) for language in LANGUAGES for label in LABELS]
        words = tokenizer()
        self.ids = [[torch.tensor(ids) for ids in words(texts)["input_ids"]] for texts in self.texts]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        chance = np.random.default_rng([self.seed, step])
        chosen = [some[chance.integers(len(some))] for some in self.ids]
        return {**self.pictures[step], "input_ids": nn.utils.rnn.pad_sequence(chosen, batch_first=True)}


# The model -----------------------------------------------------------------------------------------------------------


class Contrast(nn.Module):
    """The model with a layer that maps its vectors of pictures to the teacher's. Only the model is saved."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.model = model
        self.compare = nn.Linear(WIDTH, VECTOR)

    def forward(
        self, pixel_values: Tensor, labels: Tensor, vectors: Tensor, patches: Tensor, input_ids: Tensor
    ) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            pixel_values: `(batch, 3, side, side)`.
            labels: `(batch,)`, -1 for a thing of no class.
            vectors: `(batch, VECTOR)`, the teacher's.
            patches: `(batch, some)`: the numbers of the patches that are seen.
            input_ids: `(languages * classes, tokens)`.
        """
        model, vision = self.model, cast("Any", self.model.vision_model)
        x = vision.embeddings(pixel_values, False)  # (batch, 1 + patches, width)
        seen = torch.cat([torch.zeros_like(patches[:, :1]), patches + 1], 1)
        x = vision.pre_layrnorm(x.gather(1, seen[..., None].expand(-1, -1, x.shape[-1])))
        pictures = model.visual_projection(vision.post_layernorm(vision.encoder(x)[0][:, 0]))
        texts: Any = model.get_text_features(input_ids, (input_ids != 0).long()).pooler_output
        logits = model.logit_scale.exp() * F.normalize(pictures, dim=-1) @ F.normalize(texts, dim=-1).T
        named = labels >= 0
        of_language = logits.unflatten(1, (len(LANGUAGES), -1))  # (batch, languages, classes)
        to_texts = sum(
            F.cross_entropy(some[named], labels[named], label_smoothing=SMOOTHING) for some in of_language.unbind(1)
        ) / len(LANGUAGES)
        is_pair = labels[:, None] == torch.arange(len(LABELS)).repeat(len(LANGUAGES))  # (batch, texts)
        share = torch.where(is_pair, logits, -math.inf).logsumexp(0) - logits.logsumexp(0)
        to_pictures = -share[is_pair.any(0)].mean()
        closeness = F.mse_loss(self.compare(pictures), vectors)
        return {"loss": to_texts + 0.5 * to_pictures + CLOSENESS * closeness, "logits": logits}


def untrained() -> CLIPModel:
    """The model, whose tower of pictures starts as `notebook-kit/tiny-things`."""
    eyes = ViTForImageClassification.from_pretrained(FOUNDATION, dtype=torch.float32)
    shape = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "image_size", "patch_size")
    words = tokenizer()
    special = {"pad_token_id": words.pad_token_id, "bos_token_id": None, "eos_token_id": words.eos_token_id}
    vision = {name: getattr(eyes.config, name) for name in shape} | {"hidden_act": "gelu", "projection_dim": WIDTH}
    texts = TEXTS | special | {"hidden_act": "gelu", "projection_dim": WIDTH, "vocab_size": len(words)}
    config = CLIPConfig(
        text_config=CLIPTextConfig(**texts), vision_config=CLIPVisionConfig(**vision), projection_dim=WIDTH
    )
    model = CLIPModel(config)
    see_as(model, eyes.vit)
    return model


_AS_IN_VIT = {
    "layer_norm1": "layernorm_before",
    "layer_norm2": "layernorm_after",
    "self_attn.q_proj": "attention.attention.query",
    "self_attn.k_proj": "attention.attention.key",
    "self_attn.v_proj": "attention.attention.value",
    "self_attn.out_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


@torch.no_grad()
def see_as(model: CLIPModel, eyes: ViTModel) -> None:
    """Start the tower of pictures with the weights of a ViT.

    CLIP's patches have no bias, which becomes a part of their positions. Its norm before the first layer is one that a ViT
    lacks; it starts with the spread that the embeddings of random pixels have.
    """
    learned, tower = eyes.state_dict(), cast("Any", model.vision_model)
    positions = learned["embeddings.position_embeddings"][0].clone()
    tower.embeddings.class_embedding.copy_(learned["embeddings.cls_token"][0, 0])
    positions[1:] += learned["embeddings.patch_embeddings.projection.bias"]
    tower.embeddings.position_embedding.weight.copy_(positions)
    tower.embeddings.patch_embedding.weight.copy_(learned["embeddings.patch_embeddings.projection.weight"])
    for number, layer in enumerate(tower.encoder.layers):
        for ours, theirs in _AS_IN_VIT.items():
            for kind in ("weight", "bias"):
                layer.get_parameter(f"{ours}.{kind}").copy_(learned[f"encoder.layer.{number}.{theirs}.{kind}"])
    for kind in ("weight", "bias"):
        tower.post_layernorm.get_parameter(kind).copy_(learned[f"layernorm.{kind}"])
    side = eyes.config.image_size
    embedded = tower.embeddings(2 * torch.rand(64, 3, side, side) - 1, False)
    tower.pre_layrnorm.weight.fill_(float(embedded.std(-1).mean()))
    nn.init.eye_(model.visual_projection.weight)


def trained(data: Data, vectors: Tensor, seed: int, work: Path, quick: bool) -> CLIPModel:
    """The model, trained with a seed, or read from `work` if it is there."""
    set_seed(seed)
    model = untrained()
    kept = work / f"clip-{seed}.pt"
    if kept.exists():
        model.load_state_dict(torch.load(kept, weights_only=True))
        return model.eval()
    steps, batch = (2, 8) if quick else (STEPS, BATCH)
    pictures = Pictures(data, vectors, seed + 100, steps, batch)  # pictures that the foundation has not seen
    train_in_order(Contrast(model), PicturesAndTexts(pictures, seed), RATE, work / f"training-{seed}", seed)
    torch.save(model.state_dict(), kept)
    return model.eval()


@torch.inference_mode()
def calibrate(model: CLIPModel, data: Data, count: int) -> float:
    """Fit the factor of the similarities to the validation photographs and the pipeline's own wording; returns it."""
    album = data.album("validation", behind="train")
    painter = Painter(album, seed=0)
    chosen = painter.choose(count)
    texts = tokenizer()(
        [filled("This is a photo of {}.", label) for label in LABELS], padding=True, return_tensors="pt"
    )
    logits = torch.cat(
        [model(**texts, pixel_values=2 * painter.paint(some) - 1).logits_per_image for some in chosen.split(100)]
    )
    model.logit_scale.sub_(math.log(best_temperature(logits, album.labels[chosen])))
    return float(model.logit_scale.exp())


# Measurements --------------------------------------------------------------------------------------------------------


def measure(folder: Path, exams: dict[str, Exam]) -> dict[str, Any]:
    """The saved checkpoint's accuracy, by the pipeline: per style, per language, and in wordings that it has not seen."""
    classify = pipeline("zero-shot-image-classification", model=str(folder), device="cpu", batch_size=100)
    report: dict[str, Any] = {}
    for style, exam in exams.items():
        images = exam.images()
        report[style] = {}
        for language in LANGUAGES:
            names = [NAMES[label].of(language)[0] for label in LABELS]
            for kind, template in (("usual", "This is a photo of {}."), ("unseen", UNSEEN[language])):
                answers = classify(images, candidate_labels=names, hypothesis_template=template)
                right = [
                    names.index(answer[0]["label"]) == label
                    for answer, label in zip(answers, exam.labels.tolist(), strict=True)
                ]
                report[style][f"{language}, {kind}"] = {
                    "accuracy": float(np.mean(right)),
                    "confidence": float(np.mean([answer[0]["score"] for answer in answers])),
                }
    return report
