"""`assert_matches_reference`: a model of ours against the same model of `transformers`, from weights to gradients."""

from __future__ import annotations

import copy
import inspect
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.core_model_loading import revert_weight_conversion

import notebook_kit
from notebook_kit.models.auto import config_class, model_classes
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.registry.families import FAMILIES

HEADS = {
    "AutoModel": "Model",
    "AutoModelForMaskedLM": "ForMaskedLM",
    "AutoModelForQuestionAnswering": "ForQuestionAnswering",
    "AutoModelForSequenceClassification": "ForSequenceClassification",
    "AutoModelForTokenClassification": "ForTokenClassification",
}
# Models with a head on the words and one on the pair of texts, and what they call the labels of the latter.
PRETRAINING_PAIRS = {"AlbertForPreTraining": "sentence_order_label", "BertForPreTraining": "next_sentence_label"}
PROBLEMS = ("single_label_classification", "multi_label_classification", "regression")
CLASSIFIERS = ("ForSequenceClassification", "ForImageClassification")
TOLERANCE = 1e-5
NESTED = {"backbone_config", "decoder_config", "text_config", "vision_config", "encoder", "decoder"}
"""The fields of nested configurations."""

# What a tiny model of each family is made of, under the names that the oracle's config takes.
_TINY = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "num_labels": 3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
_OWN: dict[str, dict[str, Any]] = {
    "albert": {
        "embedding_size": 16,
        "num_hidden_layers": 4,
        "num_hidden_groups": 2,
        "inner_group_num": 2,
        "classifier_dropout_prob": 0.0,
    },
    "blip_text_model": {"encoder_hidden_size": 32},
    "clip_text_model": {"eos_token_id": 2},  # then the highest id ends a text
    "electra": {"embedding_size": 16, "summary_last_dropout": 0.0},
    "gpt2": {"n_inner": 48, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "pad_token_id": 0},
    "gpt_neox": {"hidden_dropout": 0.0, "attention_dropout": 0.0, "pad_token_id": 0},
    "llama": {"num_key_value_heads": 2, "pad_token_id": 0},
    "trocr": {"decoder_ffn_dim": 48, "dropout": 0.0},
    "convnext": {"hidden_sizes": [8, 12, 16], "depths": [2, 1, 1], "num_stages": 3, "layer_scale_init_value": 0.1},
    "swin": {  # the last stage is one window, as the oracle requires of the smallest
        "embed_dim": 8,
        "depths": [2, 2, 2],
        "num_heads": [1, 2, 4],
        "window_size": 3,
        "image_size": 47,
        "drop_path_rate": 0.0,
        "encoder_stride": 16,
    },
    "segformer": {
        "num_encoder_blocks": 2,
        "depths": [2, 1],
        "sr_ratios": [3, 1],
        "hidden_sizes": [8, 12],
        "patch_sizes": [5, 3],
        "strides": [3, 2],
        "num_attention_heads": [1, 3],
        "mlp_ratios": [2, 3],
        "decoder_hidden_size": 20,
        "classifier_dropout_prob": 0.0,
        "drop_path_rate": 0.0,
    },
    "resnet": {"embedding_size": 4, "hidden_sizes": [8, 12, 16], "depths": [2, 1, 1]},
    "mistral": {"num_key_value_heads": 2, "pad_token_id": 0, "sliding_window": 20},
    "qwen2": {"num_key_value_heads": 2, "pad_token_id": 0},
    "qwen3": {"num_key_value_heads": 2, "pad_token_id": 0, "head_dim": 12},
    "smollm3": {"num_key_value_heads": 2, "pad_token_id": 0, "no_rope_layer_interval": 2},
    "gemma": {"num_key_value_heads": 2, "pad_token_id": 0, "head_dim": 12, "hidden_act": "gelu_pytorch_tanh"},
    "distilbert": {
        "hidden_dim": 48,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "qa_dropout": 0.0,
        "seq_classif_dropout": 0.0,
    },
}
_OWN["donut-swin"] = _OWN["swin"]
_TINY_IMAGES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 30,  # not a multiple of the patch size
    "patch_size": 4,
    "encoder_stride": 4,
    "num_labels": 3,
}
_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
_NOT_THEIRS: dict[str, tuple[str, ...]] = {
    "distilbert": ("intermediate_size", *_DROPOUTS),
    "gpt2": ("intermediate_size", *_DROPOUTS),
    "trocr": ("intermediate_size", *_DROPOUTS),
    "gpt_neox": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "convnext": ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "encoder_stride"),
    "swin": ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    "dinov2": ("intermediate_size", "encoder_stride"),
    "donut-swin": ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "encoder_stride"),
    "dinov2_with_registers": ("intermediate_size", "encoder_stride"),
    "segformer": tuple(name for name in _TINY_IMAGES if name not in ("num_labels", "num_attention_heads")),
    "resnet": tuple(name for name in _TINY_IMAGES if name != "num_labels"),
    **dict.fromkeys(("clip_text_model", "siglip_text_model"), _DROPOUTS),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma"), _DROPOUTS),
}


def tiny_fields(model_type: str, **edits: Any) -> dict[str, Any]:
    """The settings of a tiny model with no dropout."""
    common = _TINY if FAMILIES[model_type].modality == "text" else _TINY_IMAGES
    fields = {**common, **_OWN.get(model_type, {}), **edits}
    return {name: value for name, value in fields.items() if name not in _NOT_THEIRS.get(model_type, ())}


def reading(modality: str) -> list[str]:
    """The families whose models read texts, images, or sound."""
    return [model_type for model_type, family in FAMILIES.items() if family.modality == modality]


def input_field(model_type: str) -> str:
    """The field of a configuration with the size of the alphabet: that of tokens, of colours, or of bands of sound.

    MaskFormer has it in the nested configuration of the backbone, and models of two towers in those of the towers; here, it is
    another number.
    """
    fields = config_class(model_type).field_names()
    names = ("vocab_size", "num_channels", "num_mel_bins", "mask_feature_size", "projection_dim", "pad_token_id")
    return next(name for name in names if name in fields)


def model_types(head: str = "AutoModelForMaskedLM") -> list[str]:
    """The families of one kind, named by its head: as it stands, the encoders."""
    both = "AutoModelForSeq2SeqLM"  # an encoder-decoder is of that kind, whatever else it has
    # Pairs of two families, of which TrOCR is a decoder, have tests of their own: tests/models/test_*encoder_decoder.py.
    found = {
        model_type: model_classes(model_type)
        for model_type in FAMILIES
        if model_type not in ("encoder-decoder", "trocr")
    }
    return [name for name, heads in found.items() if head in heads and (both not in heads or head == both)]


def class_names(head: str | None = None, kind: str = "AutoModelForMaskedLM") -> Iterator[tuple[str, str]]:
    """`(model_type, class name)` for every head of every family of a kind: as it stands, of the encoders."""
    for model_type in model_types(kind):
        for name, model_class in model_classes(model_type).items():
            if head in (None, name):
                yield model_type, model_class.__name__


def reference_model(model_type: str, name: str, seed: int = 0, **edits: Any) -> nn.Module:
    """A tiny model of `transformers` with weights that are nowhere 0 or 1, biases and norms included."""
    reference_class = getattr(transformers, name)
    if name.endswith("ForQuestionAnswering") or name == "AlbertForPreTraining":
        edits["num_labels"] = 2  # start and end; in order or swapped
    if name.endswith("ForMaskedImageModeling"):
        edits.setdefault(
            "image_size", 48 if model_type == "swin" else 28
        )  # the oracle's loss requires that patches cover the image
    config = reference_class.config_class(**tiny_fields(model_type, **edits))
    if name.endswith("ForTokenClassification"):
        config.classifier_dropout = (
            0.0  # a note beside the fields of a decoder's configuration, which is 0.1 unless given
        )
    model = reference_class._from_config(config, attn_implementation="eager").eval()
    randomize(model, seed)
    return model


@torch.no_grad()
def randomize(model: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    counts_from_one = type(model).__name__.startswith("Gemma")  # its norms multiply with 1 + weight
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.2
        is_scale = "norm" in name.lower() and name.endswith("weight") and not counts_from_one
        parameter.copy_(1 + noise if is_scale else noise)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):  # of batch norms
            noise = torch.randn(buffer.shape, generator=generator) * 0.2
            buffer.copy_(1 + noise.abs() if name.endswith("var") else noise)


def ours_of(name: str) -> type[PreTrainedModel]:
    return getattr(notebook_kit, name)


def saved(reference: nn.Module, folder: Path) -> Path:
    reference.save_pretrained(folder)
    return folder


def weights_in(folder: Path) -> dict[str, Tensor]:
    return {key: value for file in sorted(folder.glob("*.safetensors")) for key, value in load_file(file).items()}


def batch(config: Any, padding: bool = True, seed: int = 1) -> dict[str, Tensor]:
    """Three texts of different lengths, padded on the right; ids include no special token but the padding.

    For a model that reads images, three of these.
    """
    if config.model_type in reading("image"):
        return {"pixel_values": pixels(getattr(config, "image_size", 30), seed=seed)}
    generator = torch.Generator().manual_seed(seed)
    lengths = [9, 6, 1] if padding else [9, 9, 9]
    ids = torch.randint(4, config.vocab_size, (3, 9), generator=generator)
    mask = torch.tensor([[1] * n + [0] * (9 - n) for n in lengths])
    pad = config.pad_token_id if config.pad_token_id is not None else 0
    given = {"input_ids": torch.where(mask == 1, ids, pad), "attention_mask": mask}
    return {**given, "bbox": boxes(generator)} if config.model_type == "layoutlm" else given


def boxes(generator: torch.Generator) -> Tensor:
    """Boxes of the nine tokens of three texts, `(3, 9, 4)`: left, top, right, bottom."""
    corners = torch.randint(0, 1001, (3, 9, 2, 2), generator=generator)
    return corners.sort(dim=2).values.flatten(2)


def pixels(size: int | tuple[int, int], count: int = 3, seed: int = 1) -> Tensor:
    """Random images, `(count, 3, height, width)`."""
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def labels_for(name: str, config: Any, problem: str = "single_label_classification") -> dict[str, Tensor]:
    if name in PRETRAINING_PAIRS:
        return {**labels_for("ForMaskedLM", config), PRETRAINING_PAIRS[name]: torch.tensor([0, 1, 1])}
    if name.endswith(CLASSIFIERS):
        if problem == "single_label_classification":
            return {"labels": torch.tensor([0, 2, 1])}
        if problem == "multi_label_classification":
            return {"labels": torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])}
        return {"labels": torch.tensor([0.3, -1.2, 2.0])}
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        labels = torch.randint(0, config.vocab_size, (3, 9), generator=torch.Generator().manual_seed(2))
        return {"labels": labels.masked_fill(torch.arange(27).view(3, 9) % 7 == 3, -100)}
    if name.endswith(("ForTokenClassification", "ForMaskedLM", "ForPreTraining")):
        classes = {"ForMaskedLM": config.vocab_size, "ForPreTraining": 2}.get(name[name.index("For") :], 3)
        labels = torch.randint(0, classes, (3, 9), generator=torch.Generator().manual_seed(2))
        if not name.endswith("ForPreTraining"):
            labels[1, 3:] = -100
        return {"labels": labels}
    if name.endswith(("ForMultipleChoice", "ForNextSentencePrediction")):
        return {"labels": torch.tensor([0, 1, 1])}
    if name.endswith("ForMaskedImageModeling"):
        patches = (config.image_size // config.patch_size) ** 2
        return {"bool_masked_pos": torch.arange(3 * patches).view(3, patches) % 5 < 2}
    if name.endswith("ForSemanticSegmentation"):
        labels = torch.randint(0, config.num_labels, (3, 31, 27), generator=torch.Generator().manual_seed(2))
        return {"labels": labels.masked_fill(torch.arange(27) % 7 == 3, config.semantic_loss_ignore_index)}
    if name.endswith("ForQuestionAnswering"):
        return {"start_positions": torch.tensor([1, 0, 50]), "end_positions": torch.tensor([3, 2, 50])}
    return {}


def assert_same_output(ours: Any, reference: Any) -> None:
    """Equal in every field, within 1e-5. (The oracle's empty tuples, for what an encoder cannot have, do not count.)"""
    names = [name for name, value in reference.items() if not (isinstance(value, tuple) and not value)]
    assert list(ours) == names
    for name in names:
        mine, theirs = ours[name], reference[name]
        if name == "past_key_values" and hasattr(theirs, "layers"):
            mine = tuple(tensor for layer in range(len(mine)) for tensor in mine[layer])
            theirs = tuple(tensor for layer in theirs.layers for tensor in (layer.keys, layer.values))
            # The oracle drops what a sliding window has left behind; here it is kept and masked.
            mine = tuple(a[:, :, -b.shape[2] :] for a, b in zip(mine, theirs, strict=True))
        if isinstance(theirs, list):  # of dictionaries, one per layer
            assert [list(layer) for layer in mine] == [list(layer) for layer in theirs], name
            mine, theirs = (tuple(value for layer in one for value in layer.values()) for one in (mine, theirs))
        if isinstance(theirs, tuple):
            assert isinstance(mine, tuple) and len(mine) == len(theirs), name
        pairs = zip(mine, theirs, strict=True) if isinstance(theirs, tuple) else [(mine, theirs)]
        for place, (a, b) in enumerate(pairs):
            torch.testing.assert_close(
                a, b, rtol=TOLERANCE, atol=TOLERANCE, msg=lambda text, n=name, i=place: f"{n}[{i}]: {text}"
            )


def all_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Shared ones under each of their names."""
    return model.named_parameters(remove_duplicate=False)


def in_files(reference: nn.Module, values: dict[str, Any]) -> dict[str, Any]:
    """Values of the oracle's parameters, under the names in files: in some families the oracle's names are others."""
    return dict(revert_weight_conversion(reference, values))


def assert_same_gradients(ours: nn.Module, reference: nn.Module, loss: Callable[[nn.Module], Tensor]) -> None:
    for model in (ours, reference):
        model.train()
        model.zero_grad()
        loss(model).backward()
    mine = {name: parameter.grad for name, parameter in all_parameters(ours)}
    theirs = {name: parameter.grad for name, parameter in all_parameters(reference)}
    if mine.keys() != theirs.keys():  # the modules of most image families have the names in files here
        theirs = in_files(reference, theirs)
    assert mine.keys() == theirs.keys()
    touched = 0
    for name, gradient in theirs.items():
        if gradient is None:
            assert mine[name] is None or not mine[name].any(), name
            continue
        touched += bool(gradient.any())
        torch.testing.assert_close(
            mine[name], gradient, rtol=TOLERANCE, atol=TOLERANCE, msg=lambda text, n=name: f"gradient of {n}: {text}"
        )
    assert touched > len(theirs) / 2  # the comparison was one of gradients, not of zeros
    for model in (ours, reference):
        model.zero_grad()
        model.eval()


@dataclass
class Input:
    """One way to call a model."""

    what: str
    arguments: dict[str, Any]


def inputs_for(name: str, reference: nn.Module) -> Iterator[Input]:
    config = reference.config
    if reference.main_input_name == "pixel_values":
        yield from image_inputs_for(name, reference)
        return
    padded = batch(config)
    yield Input("padded", padded)
    if not hasattr(config, "type_vocab_size"):  # a decoder, which as a rule is padded on the left
        left = {name: value.flip(1) for name, value in padded.items()}
        yield Input("padded on the left", left)
    yield Input("without padding", batch(config, padding=False))
    yield Input("ids alone", {"input_ids": padded["input_ids"]})
    positions = torch.arange(2, 11)[None].expand(3, 9)
    yield Input("positions", {**padded, "position_ids": positions})
    if "token_type_ids" in reference.forward.__code__.co_varnames or hasattr(config, "type_vocab_size"):
        segments = torch.tensor([[0] * 4 + [1] * 5, [0] * 9, [1] * 9])
        yield Input("segments", {**padded, "token_type_ids": segments})
    embeds = reference.get_input_embeddings()(padded["input_ids"]).detach() * 1.5
    yield Input("embeddings", {"inputs_embeds": embeds, "attention_mask": padded["attention_mask"]})


def image_inputs_for(name: str, reference: nn.Module) -> Iterator[Input]:
    config = reference.config
    given = batch(config)
    yield Input("images", given)
    if not hasattr(config, "patch_size"):  # convolutions, which read images of any size
        yield Input("oblong images", {"pixel_values": pixels((33, 50))})
    accepted = inspect.signature(reference.forward).parameters
    if "bool_masked_pos" in accepted and name.endswith("ForMaskedImageModeling"):
        yield Input("masked patches", {**given, **labels_for("ForMaskedImageModeling", reference.config)})
    if "attention_mask" in accepted:
        states = reference(**given, output_hidden_states=True).hidden_states
        mask = torch.arange(states[0].shape[1])[None] % torch.tensor([[50], [7], [3]]) != 1
        yield Input("tokens not attended to", {**given, "attention_mask": mask.long()})
    if "interpolate_pos_encoding" in accepted:
        sizes = [(22, 22), (43, 43)] if name.endswith("ForMaskedImageModeling") else [(22, 43), (43, 43), (31, 30)]
        if config.model_type in (
            "swin",
            "donut-swin",
        ):  # not below the window, which the oracle then gets wrong, once and for all
            sizes = [(44, 44)] if name.endswith("ForMaskedImageModeling") else [(44, 72), (40, 80)]
        for size in sizes:
            yield Input(f"images of {size}", {"pixel_values": pixels(size), "interpolate_pos_encoding": True})


def with_choices(arguments: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a multiple choice: each row with two choices, of which the second is the row after it."""
    return {
        name: torch.stack([value, value.roll(-1, 0)], 1) if isinstance(value, Tensor) else value
        for name, value in arguments.items()
    }


def assert_matches_reference(model_type: str, name: str, tmp_path: Path, **edits: Any) -> None:
    """Build `name` of `transformers` with random weights, load it here, and compare all that can be compared.

    Logits or hidden states, all hidden states, all attentions, for every kind of input; the loss of every problem type;
    gradients of every parameter; then the way back: our file has the same tensors under the same names, and
    `transformers` loads it with nothing missing, nothing left over, and the same result.
    """
    reference = reference_model(model_type, name, **edits)
    ours = ours_of(name).from_pretrained(saved(reference, tmp_path / "theirs"))
    assert not ours.training and ours.dtype == torch.float32
    assert ours.num_parameters() == reference.num_parameters()

    chooses = name.endswith("ForMultipleChoice")
    with torch.no_grad():
        for given in inputs_for(name, reference):
            if chooses:
                given.arguments = with_choices(given.arguments)
                if name == "DistilBertForMultipleChoice" and given.what == "positions":
                    continue  # the oracle gives them to its backbone with the axis of choices, and fails
            everything = {**given.arguments, "output_hidden_states": True, "output_attentions": True}
            assert_same_output(ours(**everything), reference(**everything))
            assert_same_output(ours(**given.arguments), reference(**given.arguments))  # the fused path

    given = with_choices(batch(reference.config)) if chooses else batch(reference.config)
    problems = PROBLEMS if name.endswith(CLASSIFIERS) else PROBLEMS[:1]
    for problem in problems:
        mine, theirs = copy.deepcopy(ours), copy.deepcopy(reference)
        if problem == "regression":
            mine, theirs = regression_pair(model_type, name, **edits)
        labels = labels_for(name, reference.config, problem)
        if labels:
            out = theirs(**given, **labels)
            assert_same_output(mine(**given, **labels), out)
            assert mine.config.problem_type == theirs.config.problem_type
        assert_same_gradients(mine, theirs, lambda model, labels=labels: total(model(**given, **labels)))

    ours.save_pretrained(tmp_path / "ours")
    assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    back, report = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    with torch.no_grad():
        assert_same_output(ours(**given), back.eval()(**given))


def regression_pair(model_type: str, name: str, **edits: Any) -> tuple[nn.Module, nn.Module]:
    reference = reference_model(model_type, name, **{**edits, "num_labels": 1})
    with tempfile.TemporaryDirectory() as folder:
        return ours_of(name).from_pretrained(saved(reference, Path(folder))), reference


def total(out: Any) -> Tensor:
    """A scalar that depends on everything: the loss, or for a model without one a weighted sum of its states."""
    if "loss" in out:
        return out["loss"]
    if "feature_maps" in out:
        return torch.stack([one.square().mean() for one in out["feature_maps"]]).sum()
    scores = next(out[name] for name in ("last_hidden_state", "reconstruction", "logits") if name in out)
    weights = torch.linspace(-1, 1, scores.numel()).view_as(scores)
    pooled = out.get("pooler_output")
    return (scores * weights).mean() + (0 if pooled is None else pooled.square().mean())


def assert_same_files(ours: Path, theirs: Path) -> None:
    mine, expected = weights_in(ours), weights_in(theirs)
    assert mine.keys() == expected.keys()
    for key, value in expected.items():
        assert mine[key].dtype == value.dtype and torch.equal(mine[key], value), key
