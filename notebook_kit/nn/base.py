"""The base class of all models: strict loading from a checkpoint, and saving.

A family's parameters have the names of the Hub's checkpoints, so loading needs no conversion. Mismatches are reported: a
missing weight or a wrong shape is an error, a head that the checkpoint does not have is one warning.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from notebook_kit.checkpoints.names import LoadingPlan, WeightRules, plan_loading
from notebook_kit.checkpoints.tensorflow_weights import TensorFlowWeights
from notebook_kit.checkpoints.weights import GivenWeights, Weights, check_state_dict, open_weights, save_weights
from notebook_kit.configuration import PretrainedConfig, dtype_name, read_config
from notebook_kit.errors import ConfigurationError, InputError, NotebookKitError, near_matches, warn
from notebook_kit.fields import Rows, mismatch
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.hub.saving import PushToHub, folder_to_save
from notebook_kit.keywords import refuse_slips, switch, without_effect
from notebook_kit.nn import quantized_weights
from notebook_kit.nn.diagnosis import explain_unknown_attributes, known_inputs, names_of_inputs, wrong_input
from notebook_kit.nn.layers import rows_near_mean
from notebook_kit.nn.many_rows import fast_products
from notebook_kit.nn.placement import choose_dtype, device_of_map
from notebook_kit.registry.families import classes_for

__all__ = ["ModelHooks", "PreTrainedModel"]

Model = TypeVar("Model", bound="PreTrainedModel")
PACKAGE = "notebook_kit."
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)
ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")


class ModelHooks:
    """Methods that a mixin such as `GenerationMixin` may override, at any position among the bases of a model.

    (If `PreTrainedModel` itself defined them, they would take precedence over a mixin listed after it.)
    """

    @classmethod
    def can_generate(cls) -> bool:
        """Whether `generate` works."""
        return False

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Not supported by this model.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f"{type(self).__name__} does not generate text.",
            next_step="Load the checkpoint with AutoModelForCausalLM or AutoModelForSeq2SeqLM.",
        )

    def _loaded(self, source: Source) -> None:
        """Called after loading the weights, to read other files of the checkpoint."""

    def _saved(self, folder: Path) -> None:
        """Called after writing weights and config, to write other files of the checkpoint."""


class PreTrainedModel(nn.Module, PushToHub, ModelHooks):
    """A model that loads from and saves to the Hub's checkpoint format.

    A family has one subclass that describes its checkpoints, and subclasses of that for the backbone and each head.

    Attributes:
        config_class: The family's configuration.
        main_input_name: The required input (`"pixel_values"` for images).
        base_model_prefix: The attribute under which heads keep the backbone (`"bert"`).
        input_embeddings: The places of the token embeddings in the backbone, which share one module.
        position_field: The field of the configuration with the number of learned positions; None for other positions.
        weight_rules: How weight names in checkpoints differ from the model's parameter names.

    Example:
        >>> import tempfile, torch
        >>> from notebook_kit import BertConfig, BertModel, PreTrainedModel
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> model, folder = BertModel(tiny), tempfile.mkdtemp()
        >>> model.save_pretrained(folder)  # config.json and model.safetensors
        >>> again = BertModel.from_pretrained(folder, dtype="bfloat16")
        >>> isinstance(again, PreTrainedModel), again.dtype, again.num_parameters() == model.num_parameters()
        (True, torch.bfloat16, True)
    """

    config_class: ClassVar[type[PretrainedConfig]] = PretrainedConfig
    base_model_prefix: ClassVar[str] = ""
    main_input_name: ClassVar[str] = "input_ids"
    input_embeddings: ClassVar[tuple[str, ...]] = ("embeddings.word_embeddings",)
    position_field: ClassVar[str | None] = None
    weight_rules: ClassVar[WeightRules] = WeightRules()
    supports_gradient_checkpointing: ClassVar[bool] = True
    model_tags: list[str] | None = None  # for the model card

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            raise ConfigurationError(
                f"{type(self).__name__} takes a {self.config_class.__name__}, and got {type(config).__name__}.",
                next_step=f"Use {type(self).__name__}.from_pretrained(...) to load a checkpoint, or AutoModel for any family.",
            )
        config.validate()
        self.config = config
        self.name_or_path = config.name_or_path
        self.gradient_checkpointing = False
        self._input_names = names_of_inputs(type(self).forward)

    def __call__(self, *args: Any, return_dict: bool | None = None, **kwargs: Any) -> Any:
        """Run the model. With `return_dict=False` the result is a plain tuple.

        Inputs that the model does not have are ignored, with one notice per name.

        Raises:
            InputError: If an input has a wrong type or shape, or its name looks like a slip.
        """
        if self._input_names is not None and any(name not in self._input_names for name in kwargs):
            kwargs = known_inputs(type(self).__name__, self._input_names, kwargs)
        try:
            with fast_products(self, args, kwargs):
                output = super().__call__(*args, **kwargs)
        except NotebookKitError:
            raise
        except Exception as error:
            if (fault := wrong_input(self.forward, args, kwargs)) is None:
                raise
            raise fault from error
        wanted = self.config.return_dict if return_dict is None else switch("return_dict", return_dict)
        return output if wanted or not hasattr(output, "to_tuple") else output.to_tuple()

    # Initial weights --------------------------------------------------------------------------------------------

    def post_init(self) -> None:
        """Initialize all parameters and tie the shared ones; each constructor ends with this call."""
        explain_unknown_attributes(self)
        for module in self.modules():
            own = list(module.parameters(recurse=False))
            if not module.__dict__.get("_is_initialized") and not any(p.is_meta for p in own):
                self._init_weights(module)
                module.__dict__["_is_initialized"] = True  # a backbone inside a head is not initialized twice
        self.tie_weights()

    def init_weights(self) -> None:
        """The older name of `post_init`."""
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialize the parameters of one module, without those of its submodules. Your model may override it.

        Linear layers, convolutions, embeddings, layer norms and notebook_kit's modules are initialized; other
        modules keep the values that their constructors gave them.
        """
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding | nn.LayerNorm) or type(
            module
        ).__module__.startswith(PACKAGE):
            for name, _ in module.named_parameters(recurse=False):
                self.init_parameter(module, name)

    @torch.no_grad()
    def init_parameter(self, module: nn.Module, name: str) -> None:
        """Initialize one parameter: normal with the config's `initializer_range`, norms with 1, biases with 0."""
        parameter = getattr(module, name)
        if name.endswith("bias") or parameter.dim() == 0:
            parameter.zero_()
        elif isinstance(module, NORMS):
            parameter.fill_(0.0 if name == "running_mean" else 1.0)
        else:
            field = "init_std" if hasattr(self.config, "init_std") else "initializer_range"  # BART uses the former
            parameter.normal_(0.0, getattr(self.config, field, 0.02))
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                parameter[module.padding_idx].zero_()

    def tie_weights(self) -> None:
        """Replace shared parameters by one object."""
        for name, target in self.weight_rules.ties(self.config.tie_word_embeddings).items():
            owner, leaf = self._place(name)
            setattr(owner, leaf, self.get_parameter(target))

    # Properties ------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point dtype of the parameters."""
        return next(p.dtype for p in self.parameters() if p.is_floating_point())

    @property
    def base_model(self) -> nn.Module:
        """The backbone without the head; the model itself if it is a backbone."""
        return getattr(self, self.base_model_prefix, self)

    def get_encoder(self) -> nn.Module:
        """The encoder; the model itself if it has none."""
        return getattr(self.base_model, "encoder", self)

    def get_decoder(self) -> nn.Module:
        """The decoder; the backbone if the model has only one half."""
        return getattr(self.base_model, "decoder", self.base_model)

    def add_model_tags(self, tags: str | Sequence[str]) -> None:
        """Add tags to `model_tags`, which the Trainer writes into the model card."""
        new = [tags] if isinstance(tags, str) else list(tags)
        self.model_tags = list(dict.fromkeys([*(self.model_tags or ()), *new]))

    @property
    def position_limit(self) -> int | None:
        """The maximum sequence length in tokens; None for relative or rotary positions.

        Padding counts, and the limit applies to the encoder and the decoder separately.
        """
        return None if self.position_field is None else getattr(self.config, self.position_field)

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Token ids to try the model on, `(3, 5)`."""
        return {"input_ids": torch.tensor([[7, 6, 0, 0, 1], [1, 2, 3, 0, 0], [0, 0, 0, 4, 5]], device=self.device)}

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """The number of values in all parameters, also of those rounded to 8 bits, which are not trained. Shared ones count once."""
        out = {id(m.weight) for m in self.modules() if isinstance(m, nn.Embedding)} if exclude_embeddings else ()
        own = sum(p.numel() for p in self.parameters() if id(p) not in out and (p.requires_grad or not only_trainable))
        return own if only_trainable else own + quantized_weights.rounded_parameters(self, exclude_embeddings)

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """The bytes of all parameters and 8-bit weights, and of all buffers. Shared parameters count once."""
        tensors = *self.parameters(), *(self.buffers() if return_buffers else ())
        return sum(t.nbytes for t in tensors) + quantized_weights.packed_bytes(self)

    def set_attn_implementation(self, attn_implementation: str) -> None:
        """Accepted for code that selects a kernel: the fastest one for the inputs is always used, with the same result.

        Raises:
            InputError: If there is no such kernel.
        """
        if attn_implementation not in ATTENTION:
            raise InputError(
                f"Unknown kernel {attn_implementation!r}. {near_matches(str(attn_implementation), ATTENTION)}".rstrip(),
                next_step=f"Use one of {', '.join(ATTENTION)}.",
            )

    def enable_input_require_grads(self) -> None:
        """Compute gradients with respect to the token embeddings' output, as training of adapters with recomputed
        activations requires."""
        self.disable_input_require_grads()
        self._input_hook = self.get_input_embeddings().register_forward_hook(
            lambda module, inputs, output: output.requires_grad_(True)
        )

    def disable_input_require_grads(self) -> None:
        """Undo `enable_input_require_grads`."""
        if (hook := self.__dict__.pop("_input_hook", None)) is not None:
            hook.remove()

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether activations are recomputed in the backward pass."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.modules())

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """Recompute activations in the backward pass, which saves memory and takes about a third more time."""
        for module in self.modules():
            if hasattr(module, "sites") or isinstance(module, PreTrainedModel):
                module.gradient_checkpointing = True  # type: ignore[assignment]

    def gradient_checkpointing_disable(self) -> None:
        """Store activations for the backward pass again."""
        for module in self.modules():
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = False  # type: ignore[assignment]

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embeddings, with a weight of `(vocabulary, width)`."""
        return self.base_model.get_submodule(self.input_embeddings[0])  # type: ignore[return-value]

    def set_input_embeddings(self, table: nn.Embedding) -> None:
        """Replace the token embeddings, in both halves of an encoder-decoder."""
        present = dict(self.base_model.named_modules(remove_duplicate=False))
        for name in self.input_embeddings:
            if name in present:
                self.base_model.set_submodule(name, table)
        self.tie_weights()

    def get_output_embeddings(self) -> nn.Module | None:
        """The layer that computes a score per token of the vocabulary; None if the model has none."""
        name = self._output_layer()
        return None if name is None else self.get_submodule(name)

    def set_output_embeddings(self, layer: nn.Module) -> None:
        """Replace the layer that computes a score per token of the vocabulary.

        Raises:
            InputError: If the model has none.
        """
        name = self._output_layer()
        if name is None:
            step = "Load the checkpoint with a language modeling head."
            raise InputError(f"{type(self).__name__} does not score the vocabulary.", next_step=step)
        self.set_submodule(name, layer)
        self.tie_weights()

    def _output_layer(self) -> str | None:
        names = (name.removesuffix(".weight") for name in self.weight_rules.tied if name.endswith(".weight"))
        return next((name for name in names if isinstance(self.get_submodule(name), nn.Linear)), None)

    @torch.no_grad()
    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        """Grow or shrink the vocabulary, which is necessary after `tokenizer.add_tokens`.

        The output layer and its bias are resized, too.

        Args:
            new_num_tokens: The new size, usually `len(tokenizer)`; the current one by default.
            pad_to_multiple_of: Round the size up to a multiple of this, which is faster on some hardware.
            mean_resizing: Whether new rows start near the mean of the old ones, so that a new token is about as probable as
                an average one; otherwise they are initialized as in a new model.

        Returns:
            The token embeddings.

        Raises:
            InputError: If a size is not a positive whole number, and for a table or an output layer rounded to 8 bits.
        """
        sizes = {"new_num_tokens": new_num_tokens, "pad_to_multiple_of": pad_to_multiple_of}
        if fault := mismatch(sizes, dict.fromkeys(sizes, Rows | None)):
            raise InputError(f"{fault}.", next_step="Pass len(tokenizer).")
        table = self.get_input_embeddings()
        size = table.num_embeddings
        rows = size if new_num_tokens is None else new_num_tokens
        if pad_to_multiple_of:
            rows = -(-rows // pad_to_multiple_of) * pad_to_multiple_of
        if rows == size:
            return table
        parameters: list[tuple[nn.Module, str]] = [(table, "weight")]
        ties = self.weight_rules.ties(True)
        for name in (*ties.values(), *ties):  # the output layer and its bias
            module, leaf = self._place(name)
            parameters += [(module, leaf), (module, "bias")]
        quantized_weights.refuse_resizing([module for module, _ in parameters])
        resized: dict[int, nn.Parameter] = {}  # by the id of the old one: shared parameters stay shared
        for module, leaf in parameters:
            old = module._parameters.get(leaf)
            if old is None or old.shape[0] != size:
                continue
            if id(old) in resized:
                module._parameters[leaf] = resized[id(old)]
            else:
                new = nn.Parameter(old.new_empty(rows, *old.shape[1:]), requires_grad=old.requires_grad)
                module._parameters[leaf] = resized[id(old)] = new
                if mean_resizing and rows > size:
                    new[size:] = rows_near_mean(old, rows - size)
                else:
                    self.init_parameter(module, leaf)
                new[:size] = old[:rows]
            if isinstance(module, nn.Linear):
                module.out_features = rows
            elif isinstance(module, nn.Embedding):
                module.num_embeddings = rows
        table.num_embeddings = self.config.get_text_config().vocab_size = rows
        return table

    # Loading -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_config(cls: type[Model], config: PretrainedConfig, dtype: torch.dtype | str | None = None) -> Model:
        """Create a model with random weights.

        Args:
            config: The family's configuration.
            dtype: The dtype of the weights; float32 by default.
        """
        model = cls(config)
        return model if dtype in (None, "auto") else model.to(choose_dtype(dtype))

    @classmethod
    def from_pretrained(
        cls: type[Model],
        name_or_path: str | os.PathLike | Source,
        *,
        config: PretrainedConfig | None = None,
        dtype: torch.dtype | str | None = None,
        device_map: str | torch.device | int | Mapping[str, Any] | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        state_dict: Mapping[str, Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load a checkpoint. The returned model is in evaluation mode.

        Args:
            name_or_path: A folder, a zoo name, or a Hub name.
            config: A configuration to use instead of the checkpoint's.
            dtype: The dtype of the weights, such as `torch.bfloat16` or `"bfloat16"`; `"auto"` for the stored one;
                float32 by default. (`torch_dtype` is the older spelling.)
            device_map: `"auto"` for the best available device, or a device.
            ignore_mismatched_sizes: Initialize weights of a different shape, with a warning, instead of raising an error.
            from_tf: Prefer weights of TensorFlow (`tf_model.h5`), if the checkpoint has several kinds.
            output_loading_info: Return the model and a dictionary of what did not fit: `"missing_keys"`,
                `"unexpected_keys"` and `"mismatched_keys"`, sets of names.
            state_dict: Weights to use instead of the checkpoint's; `name_or_path` may then be None if `config` is passed.
            **kwargs: Hub options (`revision`, `token`, `cache_dir`, `local_files_only`, `force_download`,
                `subfolder`), fields of the configuration to change, such as `num_labels=3`, and arguments of the model's
                constructor, such as `add_pooling_layer=False`.

        Raises:
            HubError: If the checkpoint cannot be found or fetched.
            CheckpointError: If weights are missing, damaged, or do not match the configuration.
            ConfigurationError: If a keyword is not a field of the configuration.
        """
        options = take_hub_options(kwargs)
        dtype = kwargs.pop("torch_dtype", None) if dtype is None else dtype
        if kwargs.pop("from_flax", False):
            raise InputError(
                "Flax weights cannot be read yet.",
                next_step="Use a checkpoint with model.safetensors or pytorch_model.bin.",
            )
        from_tf = bool(kwargs.pop("from_tf", False))
        quantized_weights.take_quantization(kwargs)
        own = set(inspect.signature(cls.__init__).parameters) - {"self", "config"}
        arguments = {name: kwargs.pop(name) for name in list(kwargs) if name in own}  # such as add_pooling_layer=False
        ignored = without_effect(kwargs, cls.__name__)
        edits = {name: value for name, value in kwargs.items() if name not in ignored}
        source = None if name_or_path is None and state_dict is not None else locate(name_or_path, **options)
        if config is None:
            place = locate(name_or_path) if source is None else source
            cls._check_family(place)
            config = cls.config_class.from_pretrained(place)
        elif edits:
            config = copy.deepcopy(config)
        named = inspect.signature(PreTrainedModel.from_pretrained).parameters
        refuse_slips(f"{cls.__name__}.from_pretrained", (name for name in edits if not hasattr(config, name)), named)
        config.update(edits)
        name = "state_dict" if source is None else source.name
        quantized_weights.refuse_quantized_checkpoint(name, config.extra.get("quantization_config"))

        with torch.device("meta"), _NoInitialization():  # no memory or time for weights that are read from the file
            model = cls(config, **arguments)
        reports = switch("output_loading_info", output_loading_info)
        stored = model.state_dict(keep_vars=True)
        if any(name not in stored for name, _ in model.named_buffers()):
            model = cls(config, **arguments)  # buffers that the constructor computes are not in the file
        device, build = device_of_map(device_map), partial(cls, config, **arguments)
        with contextlib.ExitStack() as stack:
            weights: Weights | TensorFlowWeights | GivenWeights = GivenWeights(check_state_dict(state_dict))
            if state_dict is None:
                weights = open_weights(source, from_tf)
                stack.callback(weights.close)
            plan = model._load(weights, name, dtype, device, ignore_mismatched_sizes, build)
        if source is not None:
            model.name_or_path = config.name_or_path = name
            model._loaded(source)
        return (model.eval(), plan.info()) if reports else model.eval()

    @classmethod
    def _check_family(cls, source: Source) -> None:
        """Check that a checkpoint is of this model's family.

        Raises:
            ConfigurationError: If it is not, with the classes that load it.
        """
        values, expected = read_config(source)[2], cls.config_class.model_type
        part = values.get(cls.config_class.base_config_key)  # the text tower of CLIP, in a checkpoint of both towers
        found = (part if isinstance(part, dict) else values).get("model_type")
        if expected and found and found != expected and (classes := classes_for(found, like=cls.__name__)):
            raise ConfigurationError(
                f"The checkpoint {source.name} is of the family {found!r}, but {cls.__name__} is for {expected!r} models.",
                next_step=f"Use {' or '.join(f'{name}.from_pretrained' for name in classes)}.",
            )

    def _load(
        self,
        weights: Weights | TensorFlowWeights | GivenWeights,
        name: str,
        dtype: Any,
        device: torch.device,
        ignore_mismatched_sizes: bool,
        build: Callable[[], PreTrainedModel],
    ) -> LoadingPlan:
        """Fill the parameters from a checkpoint, with a warning about mismatches."""
        own = self.state_dict(keep_vars=True)
        expected = {key: value.shape for key, value in own.items()}
        plan = plan_loading(
            weights,
            expected,
            self.weight_rules,
            prefix=self.base_model_prefix,
            tied=self.config.tie_word_embeddings,
            equal=lambda one, other: torch.equal(weights[one], weights[other]),
            checkpoint=name,
            model=type(self).__name__,
        )
        for key, source in plan.sources.items():
            if own[key].is_floating_point():
                quantized_weights.refuse_quantized_tensor(name, source, weights.dtype(source))
        plan.check(ignore_mismatched_sizes)
        self.config.tie_word_embeddings = plan.tied
        if dtype == "auto":
            stored = (weights.dtype(key) for key in plan.sources.values())
            dtype = next((kind for kind in stored if kind.is_floating_point), None)
        dtype = choose_dtype(dtype or torch.float32)
        state: dict[str, Tensor] = {}
        owners = {source: key for key, source in plan.sources.items()}
        for key, source in plan.sources.items():
            tensor = weights[source]
            is_shared = owners[source] != key  # a bias that an older file stores once
            state[key] = tensor.to(device, dtype if tensor.is_floating_point() else None, copy=is_shared)
        self.load_state_dict(state, strict=False, assign=True)
        # The constructor of a user's class may compute the initial values of its weights.
        fresh = build() if plan.missing and not type(self).__module__.startswith(PACKAGE) else None
        for key in plan.missing:
            owner, leaf = self._place(key)
            old = getattr(owner, leaf)
            new = torch.empty_like(old, dtype=dtype if old.is_floating_point() else None, device=device)
            if leaf in owner._buffers:
                owner._buffers[leaf] = new
            else:
                owner._parameters[leaf] = nn.Parameter(new, old.requires_grad)
            if fresh is None:
                self.init_parameter(owner, leaf)
            else:
                with torch.no_grad():
                    new.copy_(getattr(fresh._place(key)[0], leaf))
        self.tie_weights()
        if message := plan.warning():
            warn(message)
        return plan

    def _place(self, name: str) -> tuple[nn.Module, str]:
        """The module that holds a parameter, and the parameter's name in that module."""
        owner, _, leaf = name.rpartition(".")
        return self.get_submodule(owner), leaf

    # Saving ------------------------------------------------------------------------------------------------------

    def save_pretrained(
        self,
        folder: str | os.PathLike,
        *,
        max_shard_size: str | int = "5GB",
        safe_serialization: bool = True,
        push_to_hub: bool = False,
        state_dict: Mapping[str, Tensor] | None = None,
        **push_options: Any,
    ) -> None:
        """Write `config.json` and the weights into `folder`, in the format of `transformers`.

        Args:
            folder: The folder to write to; created if necessary. Previous files are replaced only when all are written.
            max_shard_size: Larger weights are split into several files.
            safe_serialization: Must be True: weights are only written as safetensors.
            push_to_hub: Also upload the folder; `push_options` go to `notebook_kit.hub.push_folder`.
            state_dict: The weights to write instead of the model's own (gathered from a distributed run).

        Raises:
            InputError: If `safe_serialization` is False, or the model has 8-bit weights.
        """
        if not switch("safe_serialization", safe_serialization):
            raise InputError(
                "Pickled weights are not written: they can run code when read.",
                next_step="Leave safe_serialization=True.",
            )
        weights = check_state_dict(self.state_dict() if state_dict is None else state_dict, saved=True)
        names = self.weight_rules.stored_names(weights, self.config.tie_word_embeddings)
        self.config.architectures = [type(self).__name__]
        self.config.dtype = dtype_name(self.dtype)
        with folder_to_save(folder, push_to_hub, push_options) as target:
            tensors = {stored: weights[name] for name, stored in names.items()}
            save_weights(tensors, target, max_shard_size=max_shard_size)
            self.config.save_pretrained(target)
            self._saved(target)


class _NoInitialization(TorchFunctionMode):
    """Skips random initialization, which on the meta device has no effect but imports a compiler."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
