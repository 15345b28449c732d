"""From a torch model to a `Graph`: what the model computes for one kind of call, traced by `torch.export`.

The model is on the meta device: it has shapes, but neither memory nor values. It is in training mode, so the graph keeps each
dropout, and who runs the graph decides whether to apply it. Sizes stay variable where the model allows it.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import sympy
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.nn import detection, segmentation
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.tensorflow.graphs import Graph, Input, Node, Signature
from notebook_kit.tensorflow.objects import nested, part_names, settings_of
from notebook_kit.tensorflow.seeding import keeping_torch_seeded

__all__ = ["meta_model", "trace"]

_CHECKS = ("aten._assert_tensor_metadata", "aten._assert_scalar", "aten.sym_constrain_range", "_guards_fn")
_WITHOUT = {"layerdrop": 0.0, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "apply_spec_augment": False}
"""Fields of configurations for what training draws in Python, which no graph can hold."""


def meta_model(kind: type[PreTrainedModel], config: PretrainedConfig, dtype: str = "float32") -> PreTrainedModel:
    """A model without values, to be traced or to name weights."""
    config = copy.deepcopy(config)
    for name, value in _WITHOUT.items():
        if hasattr(config, name):
            setattr(config, name, value)
    with torch.device("meta"):
        return kind(config).to(getattr(torch, dtype)).train()


@torch.library.custom_op(
    "notebook_kit::ctc_loss",
    mutates_args=(),
    schema="(Tensor scores, Tensor targets, Tensor frames, Tensor lengths, int blank, str reduction, bool zero_infinity) -> Tensor",
)
def _ctc_loss(scores, targets, frames, lengths, blank, reduction, zero_infinity):
    """Stands for torch's own in a graph, whose shape torch cannot tell without the values of the lengths."""
    return F.ctc_loss(scores, targets, frames, lengths, blank, reduction, zero_infinity)


@_ctc_loss.register_fake
def _ctc_loss_of_shapes(scores, targets, frames, lengths, blank, reduction, zero_infinity):
    return scores.new_empty([scores.shape[1]] if reduction == "none" else [])


@torch.library.custom_op(
    "notebook_kit::objects_loss",
    mutates_args=(),
    schema="(str kind, Tensor[] predictions, Tensor[] labels, str settings) -> Tensor[]",
)
def _objects_loss(kind, predictions, labels, settings):
    """Stands in a graph for losses that match each object with a prediction."""
    raise NotImplementedError("A loss of objects has no values while a model is traced.")


@_objects_loss.register_fake
def _objects_loss_of_shapes(kind, predictions, labels, settings):
    with_masks = len(labels) == 3
    parts = part_names(kind, (len(predictions) - with_masks) // 2 - 1, with_masks)
    return [predictions[0].new_empty([], dtype=torch.float32) for _ in range(1 + len(parts))]


def _loss_and_parts(
    kind: str, predictions: list[Tensor], labels: list[Any], config: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    if not all(isinstance(each, Tensor) for each in labels):
        raise InputError(
            "The labels of objects are incomplete.",
            next_step="Pass class_labels and boxes for each image, and masks for a model of masks.",
        )
    loss, *parts = torch.ops.notebook_kit.objects_loss(kind, predictions, labels, settings_of(kind, config))
    with_masks = len(labels) == 3
    names = part_names(kind, (len(predictions) - with_masks) // 2 - 1, with_masks)
    return loss, dict(zip(names, parts, strict=True))


def _detection_loss(logits, boxes, labels, config, *, masks=None, earlier=()):
    """Stands for `detection_loss`; the labels of all images together are a dictionary of padded tensors."""
    fields = ("class_labels", "boxes") if masks is None else ("class_labels", "boxes", "masks")
    given = [labels.get(name) for name in fields] if isinstance(labels, Mapping) else [None]
    predictions = [logits, boxes, *([] if masks is None else [masks]), *(each for pair in earlier for each in pair)]
    return _loss_and_parts("boxes", predictions, given, config)


def _mask_classification_loss(class_logits, mask_logits, class_labels, mask_labels, config, *, earlier=()):
    """Stands for `mask_classification_loss`, likewise."""
    predictions = [class_logits, mask_logits, *(each for pair in earlier for each in pair)]
    return _loss_and_parts("masks", predictions, [class_labels, mask_labels], config)


_STAND_INS: tuple[tuple[Any, str, Any], ...] = (
    (F, "ctc_loss", _ctc_loss),
    (detection, "detection_loss", _detection_loss),
    (segmentation, "mask_classification_loss", _mask_classification_loss),
)


@contextmanager
def _traceable() -> Iterator[None]:
    """With functions that can be traced in place of those that cannot."""
    own = [getattr(module, name) for module, name, _ in _STAND_INS]
    for module, name, function in _STAND_INS:
        setattr(module, name, function)
    try:
        yield
    finally:
        for (module, name, _), function in zip(_STAND_INS, own, strict=True):
            setattr(module, name, function)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's messages for people who export a model: here, an error of ours says what is wrong."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class _Call(nn.Module):
    """A model called with named tensors, which returns a tuple of tensors and passes the structure around them on."""

    def __init__(self, model: PreTrainedModel, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.options = model, dict(options)
        self.keep_structure: Callable[[Any], None] = lambda structure: None

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        output = self.model(**nested(inputs), **self.options, return_dict=True)
        self.keep_structure(_structure(output, found))
        return tuple(found)


def _structure(value: Any, found: list[Tensor]) -> Any:
    """`value` as plain data, with a tensor replaced by its place in `found`."""
    if isinstance(value, Tensor):
        found.append(value)
        return len(found) - 1
    if isinstance(value, Mapping):
        fields = {name: _structure(each, found) for name, each in value.items()}
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}", "fields": fields}
    if isinstance(value, tuple | list):
        return [_structure(each, found) for each in value]
    return None


def trace(model: PreTrainedModel, signature: Signature) -> Graph:
    """Trace a model.

    Args:
        model: From `meta_model`.
        signature: The kind of call.

    Raises:
        InputError: If the model cannot be called this way, or a step of it depends on the values of tensors.
    """
    inputs = {
        name: torch.empty(sizes, dtype=getattr(torch, dtype), device="meta")
        for name, (dtype, sizes) in signature.inputs.items()
    }
    axes = ({name: _variable_axes(name, value) for name, value in inputs.items()},)
    call, structures = _Call(model, signature.options), []  # type: ignore[var-annotated]
    call.keep_structure = structures.append  # the tracing undoes changes of attributes
    try:
        # Without gradients: a block that has none within the model would become a graph inside the graph.
        with keeping_torch_seeded(), torch.no_grad(), _traceable(), _quiet():
            program = torch.export.export(call, (inputs,), dynamic_shapes=axes, strict=False)
    except NotebookKitError:
        with _traceable():
            call(inputs)  # raises the same with numbers in place of symbols
        raise
    except Exception as error:
        raise InputError(
            f"{type(model).__name__} cannot be traced with {', '.join(inputs)}: {str(error).strip().partition(chr(10))[0]}",
            next_step=f"Use the torch class, {type(model).__name__}, for this call.",
        ) from error
    return _graph(program, model, list(inputs), structures[-1])


def _variable_axes(name: str, value: Tensor) -> dict[int, Any]:
    """The axes whose sizes may differ from call to call. Pictures keep theirs: with patches, windows and pyramids, variable
    sizes take minutes to trace, and a batch of pictures has one size as a rule.
    """
    kept = [Dim.STATIC] * (value.dim() - 1) if name == "pixel_values" else [Dim.AUTO] * (value.dim() - 1)
    return dict(enumerate([Dim.AUTO, *kept][: value.dim()]))


def _graph(program: ExportedProgram, model: nn.Module, names: list[str], structure: Any) -> Graph:
    signature = program.graph_signature
    own = _first_names(model)
    weights = {
        ref: own[name.removeprefix("model.")]
        for ref, name in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items()
    }
    constants = {
        ref: _constant(program.constants[name]) for ref, name in signature.inputs_to_lifted_tensor_constants.items()
    }
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    inputs = [_input(name, placeholders[ref]) for name, ref in zip(names, signature.user_inputs, strict=True)]
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    kept = [_node(node) for node in nodes if not _operation(node).startswith(_CHECKS)]
    [last] = [node for node in program.graph.nodes if node.op == "output"]
    results = last.args[0][-len(signature.user_outputs) :]
    output, conditions = _filled(structure, results), _conditions(placeholders.values())
    return Graph(inputs, weights, constants, kept, output, conditions)


def _first_names(model: nn.Module) -> dict[str, str]:
    """Every name of a weight -> the first name of the same weight, under which it is kept."""
    first: dict[int, str] = {}
    pairs = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: first.setdefault(id(weight), name) for name, weight in pairs}


def _constant(tensor: Tensor) -> dict[str, Any]:
    if tensor.is_meta:
        raise InputError(
            "The model computes a tensor in its constructor and does not register it as a buffer.",
            next_step="Use the torch class.",
        )
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "data": tensor.tolist()}


def _input(name: str, node: torch.fx.Node) -> Input:
    value = node.meta["val"]
    shape = [_expression(size) for size in value.shape]
    return Input(name, node.name, str(value.dtype).removeprefix("torch."), shape)


def _operation(node: torch.fx.Node) -> str:
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload):
        return f"{target.namespace}.{target._schema.name.partition('::')[2]}"
    return getattr(target, "__name__", str(target))


def _node(node: torch.fx.Node) -> Node:
    value = node.meta.get("val")
    dtype: str | None = None
    shape: list[Any] | None = None
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        shape = [_expression(size) for size in value.shape]
    kwargs = {
        name: _plain(each) for name, each in node.kwargs.items() if name not in ("device", "pin_memory", "layout")
    }
    return Node(node.name, _operation(node), [_plain(each) for each in node.args], kwargs, dtype, shape)


def _plain(value: Any) -> Any:
    """An argument of a node as plain data."""
    if isinstance(value, torch.fx.Node):
        return {"ref": value.name}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device | torch.layout | torch.memory_format):
        return None
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(f"The model has an operation with an argument of the type {type(value).__name__}.")


def _filled(structure: Any, results: Any) -> Any:
    if isinstance(structure, int):
        result = results[structure]
        return {"ref": result.name} if isinstance(result, torch.fx.Node) else None
    if isinstance(structure, list):
        return [_filled(each, results) for each in structure]
    if isinstance(structure, dict):
        fields = {name: _filled(each, results) for name, each in structure["fields"].items()}
        return {"class": structure["class"], "fields": fields}
    return None


def _conditions(placeholders: Any) -> list[Any]:
    """What the tracing took for true about the sizes, beside that they are at least 2."""
    sizes: list[Any] = [
        size for node in placeholders if isinstance(node.meta["val"], Tensor) for size in node.meta["val"].shape
    ]
    environment = next((size.node.shape_env for size in sizes if isinstance(size, torch.SymInt)), None)
    if environment is None:
        return []
    guards = [guard.expr.xreplace(environment.replacements) for guard in environment.guards]
    return [_expression(guard) for guard in dict.fromkeys(guards) if guard not in (True, sympy.true)]


def _expression(value: Any) -> Any:
    """A size, or a condition on sizes, as plain data."""
    if isinstance(value, torch.SymInt):
        value = value.node.expr
    if isinstance(value, int | bool):
        return value
    if value in (sympy.true, sympy.false):
        return bool(value)
    if isinstance(value, sympy.Integer):
        return int(value)
    if isinstance(value, sympy.Symbol):
        return str(value)
    names = {"Equality": "Eq", "Unequality": "Ne", "StrictLessThan": "Lt", "LessThan": "Le", "StrictGreaterThan": "Gt"}
    names["GreaterThan"] = "Ge"
    function: Callable[..., Any] = type(value)
    return [names.get(function.__name__, function.__name__), *(_expression(each) for each in value.args)]
