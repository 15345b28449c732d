"""What a TF model keeps beside its variables: the graphs it has needed so far, and the functions compiled from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.inputs import ModelInputs, inputs_of
from notebook_kit.tensorflow.arguments import example_sizes, torch_dtype
from notebook_kit.tensorflow.graphs import Graph, Signature
from notebook_kit.tensorflow.interpreter import check_conditions, fits, output_classes, run
from notebook_kit.tensorflow.outputs import register_output
from notebook_kit.tensorflow.requirements import tf
from notebook_kit.tensorflow.stored_graphs import graph_for

__all__ = ["Engine"]


class Engine:
    """Computes a torch model on Keras variables.

    (Keras tracks variables in a model's attributes; of an object of another class, such as this one, it knows nothing.)

    Args:
        kind: The torch class.
        config: Its configuration.
        variables: Name of each weight -> its Keras variable.
    """

    def __init__(self, kind: type[PreTrainedModel], config: PretrainedConfig, variables: dict[str, Any]) -> None:
        self.kind, self.config, self.variables = kind, config, variables
        self._graphs: dict[tuple, list[Graph]] = {}
        self._functions: dict[tuple, Any] = {}

    def forget(self) -> None:
        """Forget what was compiled for sizes that the weights no longer have."""
        self._graphs.clear()
        self._functions.clear()

    @cached_property
    def inputs(self) -> ModelInputs:
        """The inputs of the torch model."""
        return replace(inputs_of(_Unbuilt(self.kind)), takes_any=False)

    def run(self, inputs: Mapping[str, Any], options: tuple, training: bool, dtype: str) -> Any:
        """The model's output.

        Args:
            inputs: Name -> tensor.
            options: Pairs of names and values of other arguments.
            training: Whether to apply dropout.
            dtype: The dtype of the computation.

        Raises:
            InputError: If the model cannot be traced for these inputs, or computed with TensorFlow.
        """
        graph = self.graph(inputs, options, dtype)
        if tf.inside_function():
            return self._compute(graph, inputs, training)
        key = (id(graph), training)
        if key not in self._functions:
            # Sizes that may vary are left open, so that one function serves them all.
            specs = {
                each.name: tf.TensorSpec([size if isinstance(size, int) else None for size in each.shape], each.dtype)
                for each in graph.inputs
            }
            function = tf.function(
                lambda given: self._compute(graph, given, training), input_signature=[specs], autograph=False
            )
            # Traced here: TensorFlow warns if several functions of one line of code are traced at their first calls.
            self._functions[key] = function.get_concrete_function()
        return self._functions[key](dict(inputs))

    def _compute(self, graph: Graph, inputs: Mapping[str, Any], training: bool) -> Any:
        with tf.control_dependencies(check_conditions(graph, inputs, self.kind.__name__)):
            inputs = {name: tf.identity(value) for name, value in inputs.items()}
        return run(graph, inputs, self._weight, training, self._update)

    def _weight(self, name: str) -> Any:
        return tf.convert_to_tensor(self.variables[name].value)

    def _update(self, name: str, value: Any) -> None:
        variable = self.variables[name]
        variable.assign(tf.cast(value, variable.dtype))

    def graph(self, inputs: Mapping[str, Any], options: tuple, dtype: str) -> Graph:
        """The graph for inputs of these sizes: one that was used before, or a new one."""
        shapes = {name: value.shape.as_list() for name, value in inputs.items()}
        key = (
            tuple(sorted((name, value.dtype.name, len(shapes[name])) for name, value in inputs.items())),
            options,
            dtype,
        )
        known = self._graphs.setdefault(key, [])
        for graph in known:
            if fits(graph, shapes):
                return graph
        sizes = example_sizes(shapes, self.config)
        tensors = {name: (torch_dtype(value.dtype.name), sizes[name]) for name, value in sorted(inputs.items())}
        fixed = dict(options)
        if self.takes_cache:
            fixed["use_cache"] = False
        try:
            graph = graph_for(self.kind, self.config, Signature(tensors, fixed, torch_dtype(dtype)))
        except InputError as error:  # those of the torch classes are written for PyTorch
            step = error.next_step.replace("return_tensors='pt'", "return_tensors='tf'").replace('"pt"', '"tf"')
            raise InputError(error.what.replace("torch.", ""), next_step=step) from error
        if not fits(graph, shapes):
            given = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
            raise InputError(
                f"{self.kind.__name__} cannot be computed with TensorFlow for inputs of these sizes: {given}.",
                next_step="Pass inputs that belong together, and as long as the model allows.",
            )
        for kind in output_classes(graph):
            register_output(kind)
        known.append(graph)
        return graph

    @cached_property
    def takes_cache(self) -> bool:
        """Whether the torch model can return a cache of keys and values, which a graph leaves out."""
        return self.inputs.takes("use_cache") or getattr(self.kind, "takes_cache", False)


class _Unbuilt:
    """The interface of a model's class, without the weights of an instance."""

    def __init__(self, kind: type[PreTrainedModel]) -> None:
        self.forward, self.main_input_name = kind.forward, kind.main_input_name
