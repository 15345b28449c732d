"""Configurations: the content of a checkpoint's `config.json` as a dataclass with the Hub's field names.

A family defines a plain class body::

    class BertConfig(PretrainedConfig):
        model_type: ClassVar[str] = "bert"
        hidden_size: int = 768

The subclass becomes a keyword-only dataclass. Fields of a `config.json` that the family does not know are kept in
`config.extra`, are readable as attributes and are written back, so that no other library's settings are lost.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar, dataclass_transform

from notebook_kit.errors import CheckpointError, ConfigurationError, UnknownAttributeError, near_matches
from notebook_kit.fields import Dtype, Range, mismatch, types_of
from notebook_kit.files import check_fields, check_mapping, read_json, write_text
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.hub.saving import PushToHub, folder_to_save
from notebook_kit.keywords import LOADING, ignore, switch, without_effect

__all__ = ["PreTrainedConfig", "PretrainedConfig", "dtype_name", "read_config"]

CONFIG_NAME = "config.json"
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

# Settings that `transformers` keeps in the config of any family, though most families do not read them, and their types.
KEPT: dict[str, Any] = {
    **dict.fromkeys(("is_decoder", "add_cross_attention", "use_cache", "torchscript", "use_bfloat16"), bool | None),
    **dict.fromkeys(("gradient_checkpointing", "tie_encoder_decoder", "output_past", "do_sample"), bool | None),
    **dict.fromkeys(("finetuning_task", "tokenizer_class", "prefix", "position_embedding_type"), str | None),
    **dict.fromkeys(("cross_attention_hidden_size", "chunk_size_feed_forward", "_num_labels"), int | None),
    **dict.fromkeys(("max_length", "min_length", "num_beams"), int | None),
    **dict.fromkeys(("sep_token_id", "decoder_start_token_id"), int | list[int] | None),
    **dict.fromkeys(("task_specific_params", "pruned_heads"), dict[str, Any] | None),
    **dict.fromkeys([f"{role}_token" for role in ("bos", "cls", "eos", "mask", "pad", "sep", "unk")], str | None),
    "custom_pipelines": dict[str, dict[str, Any]] | None,
    "pipeline_class": str | None,
}

# Fields about the origin of a file, which is not the config's content: they are not written back.
PROVENANCE = {"transformers_version", "_name_or_path", "name_or_path", "_commit_hash", "model_type"}

Config = TypeVar("Config", bound="PretrainedConfig")


def read_config(
    name_or_path: str | os.PathLike[str] | Source, options: Mapping[str, Any] | None = None
) -> tuple[str, str, dict[str, Any]]:
    """The name of a checkpoint, the path of its `config.json`, and the content of that file.

    Args:
        name_or_path: A folder, a zoo name, a Hub name, a `Source`, or the path of the file itself.
        options: Arguments of `locate`.

    Raises:
        HubError: If the checkpoint cannot be found or downloaded.
        CheckpointError: If the file is missing, is not a JSON object, or its `model_type` is not text.
    """
    if isinstance(name_or_path, str | os.PathLike) and os.path.isfile(name_or_path):
        name = path = os.fspath(name_or_path)
    else:
        source = locate(name_or_path, **(options or {}))
        name, path = source.name, os.fspath(source.require(CONFIG_NAME, why="It names the architecture."))
    return name, path, read_json(path, types={"model_type": str | None})


@dataclass_transform(kw_only_default=True)
class PretrainedConfig(PushToHub):
    """The settings of a model: the base class of every family's configuration.

    Args:
        id2label: Class index -> label. `label2id` is derived from it unless passed.
        num_labels: Short for `id2label={0: "LABEL_0", ...}` with this many labels.
        problem_type: `"regression"`, `"single_label_classification"` or `"multi_label_classification"`: the loss of a
            sequence-classification head. If None, the first labels it receives determine the loss.
        architectures: Names of the model classes that the checkpoint was saved from.
        dtype: Name of the dtype in which the weights are stored, such as `"float16"`.
        **fields: The family's fields.

    Raises:
        ConfigurationError: If a name resembles one of the family's fields, or the fields contradict each other. Other names
            are kept, as keys of `extra`.

    Example:
        >>> from notebook_kit import BertConfig
        >>> config = BertConfig(hidden_size=128, num_attention_heads=2, num_labels=3)
        >>> config.num_labels, config.id2label[2], config.num_hidden_layers
        (3, 'LABEL_2', 12)
        >>> BertConfig(hiden_size=128)
        Traceback (most recent call last):
        notebook_kit.errors.ConfigurationError: BertConfig has no field 'hiden_size'. Did you mean 'hidden_size'?
        → Correct the name; to store a note of your own, set it as an attribute of the config.
    """

    model_type: ClassVar[str] = ""
    attribute_map: ClassVar[dict[str, str]] = {}
    """Alias -> field, such as `{"hidden_size": "dim"}`."""
    sub_configs: ClassVar[dict[str, Any]] = {}
    """Field -> class of the configuration nested in it: `{"text_config": BertConfig}`, or `AutoConfig` for any family."""
    base_config_key: ClassVar[str] = ""
    """The field of a larger configuration that holds one of this class, such as `"text_config"` in that of CLIP."""
    default_num_labels: ClassVar[int] = 2
    """Number of labels if none are passed."""

    architectures: list[str] | None = None
    id2label: dict[int, str] | None = None
    label2id: dict[str | int, int | str] | None = None
    problem_type: str | None = None
    dtype: Dtype | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = True
    is_encoder_decoder: bool = False
    output_hidden_states: bool = False
    output_attentions: bool = False
    return_dict: bool = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)  # adds __dataclass_fields__ in place

    def __init__(self, **fields: Any) -> None:
        if "extra" not in self.__dict__:  # otherwise a subclass's constructor has already set fields
            self._set_defaults()
        known = {*self.field_names(), *KEPT, "model_type"}
        for name in fields.keys() - known:
            if name in LOADING or not near_matches(name, known):  # otherwise it looks like a slip
                self.extra[name] = None
        self.update(fields)
        self.validate()

    def _set_defaults(self) -> None:
        self.__dict__.update(extra={}, name_or_path="")
        for field in self._fields():
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            self.__dict__[field.name] = copy.copy(default)
        for name, kind in self.sub_configs.items():
            if isinstance(kind, type) and issubclass(kind, PretrainedConfig):
                self.__dict__[name] = kind()
        if self.id2label is None:
            self.num_labels = self.default_num_labels

    @classmethod
    def _fields(cls) -> tuple[dataclasses.Field[Any], ...]:
        return dataclasses.fields(cls)  # type: ignore[arg-type]

    @classmethod
    def _aliases(cls) -> dict[str, str]:
        return {"torch_dtype": "dtype", **cls.attribute_map}

    def _nested(self) -> dict[str, PretrainedConfig]:
        """The configurations among the fields."""
        values = {name: self.__dict__.get(name) for name in self.sub_configs}
        return {name: value for name, value in values.items() if isinstance(value, PretrainedConfig)}

    def _has_default_labels(self) -> bool:
        return self.id2label == {0: "LABEL_0", 1: "LABEL_1"}

    @classmethod
    def value_types(cls) -> dict[str, Any]:
        """Name that the constructor accepts -> the type of its value; see `notebook_kit.fields`."""
        types = KEPT | types_of(cls) | {"num_labels": Annotated[int, Range(0, 1_000_000)]}  # type: ignore[arg-type]  # `__hash__` of its instances is None
        return types | {alias: types.get(name, Any) for alias, name in cls._aliases().items()}

    @classmethod
    def check_types(cls, values: Mapping[str, Any], path: str = "") -> None:
        """Check the types and ranges of values, also of those for nested configurations.

        Args:
            values: Field -> value. Names that are not fields are accepted.
            path: The file that contains them, if any.

        Raises:
            CheckpointError: If a value of a file does not fit.
            ConfigurationError: If a value that is not from a file does not fit.
        """
        for name, kind in cls.sub_configs.items():
            if isinstance(values.get(name), Mapping):
                kind.check_types(values[name], f"{path}: {name}" if path else "")
        types = {name: kind for name, kind in cls.value_types().items() if name not in cls.sub_configs}
        values = {name: dtype_name(v) if name in ("dtype", "torch_dtype") else v for name, v in values.items()}
        if isinstance(labels := values.get("id2label"), Mapping):  # a label may be a number, as in a CSV file
            values["id2label"] = {index: str(label) if type(label) is int else label for index, label in labels.items()}
        if path:
            check_fields(path, values, types)
        elif fault := mismatch(values, types):
            raise ConfigurationError(f"{cls.__name__}: {fault}.", next_step="Pass a value of that type.")
        ids = values.get("id2label")
        if ids is None and path:  # then the indices are those of label2id
            ids = (values.get("label2id") or {}).values()
        if gaps := sorted(set(range(len(ids or ()))).difference(map(int, ids or ()))):
            raise (CheckpointError if path else ConfigurationError)(
                f"{path or cls.__name__}: id2label has {len(ids)} labels, and none for the index {gaps[0]}.",  # type: ignore[arg-type]
                next_step="Name a label for each index from 0, for example by its number.",
            )

    # Names -------------------------------------------------------------------------------------------------------

    @classmethod
    def field_names(cls) -> list[str]:
        """The names that the constructor accepts, including aliases."""
        return [*(field.name for field in cls._fields()), *cls._aliases(), "num_labels"]

    def __getattr__(self, name: str) -> Any:
        # Only called for names that are not fields: aliases and keys in `extra`.
        if name.startswith("__"):  # copy and pickle look for optional methods, before there is any field
            raise AttributeError(name)
        if name in self._aliases():
            return getattr(self, self._aliases()[name])
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        raise UnknownAttributeError(f"{type(self).__name__} has no field {name!r}.", name, self.field_names())

    def __setattr__(self, name: str, value: Any) -> None:
        if "extra" not in self.__dict__:
            self._set_defaults()
        name = self._aliases().get(name, name)
        if name == "dtype":
            value = dtype_name(value)
        self.check_types({name: value})
        if name in self.sub_configs and isinstance(value, Mapping):
            value = self.sub_configs[name].from_dict(value)
        if name in self.__dict__ or isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            self.extra[name] = value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.field_names(), *self.extra})

    def update(self, edits: Mapping[str, Any]) -> None:
        """Set several fields at once. A dictionary for a nested configuration edits its fields.

        Raises:
            ConfigurationError: For a name that is neither a field, nor an alias, nor a key in `extra`, nor a setting that
                other families or versions have.
        """
        edits = dict(edits)
        model_type = edits.pop("model_type", self.model_type)  # included by `to_dict`
        if model_type != self.model_type:
            raise ConfigurationError(
                f"{type(self).__name__} is for models of the type {self.model_type!r}, not {model_type!r}.",
                next_step=f"Use AutoConfig.for_model({model_type!r}, ...).",
            )
        known = {*self.field_names(), *self.extra, *KEPT}
        for name in edits:
            if name not in known:
                close = near_matches(name, self.field_names()) or near_matches(name, known)
                raise ConfigurationError(
                    f"{type(self).__name__} has no field {name!r}. {close}".rstrip(),
                    next_step="Correct the name; to store a note of your own, set it as an attribute of the config.",
                )
        for alias, name in self._aliases().items():
            if alias in edits:
                edits.setdefault(name, edits.pop(alias))
        if "dtype" in edits:
            edits["dtype"] = dtype_name(edits["dtype"])
        self.check_types(edits)
        for name, nested in self._nested().items():
            if isinstance(edits.get(name), Mapping):
                nested.update(edits.pop(name))
        num_labels = edits.pop("num_labels", None)
        if edits.get("id2label") is not None:
            edits["id2label"] = {int(index): label for index, label in edits["id2label"].items()}
            if edits.get("label2id") is None:
                edits["label2id"] = {label: index for index, label in edits["id2label"].items()}
        elif edits.get("label2id") is not None:
            edits["id2label"] = {index: label for label, index in edits["label2id"].items()}
        for name, value in edits.items():
            setattr(self, name, value)
        if num_labels is not None and (self.id2label is None or len(self.id2label) != num_labels):
            if edits.get("id2label") is not None:
                raise ConfigurationError(
                    f"num_labels={num_labels} contradicts id2label, which names {len(edits['id2label'])} labels.",
                    next_step="Pass only one of the two, or make them agree.",
                )
            self.num_labels = num_labels

    @property
    def num_labels(self) -> int:
        """The number of classes of a classification head (1 for regression with one target)."""
        return len(self.id2label or {})

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        self.id2label = {index: f"LABEL_{index}" for index in range(count)}
        self.label2id = {label: index for index, label in self.id2label.items()}

    def validate(self) -> None:
        """Check that the fields are consistent. Families add their own checks.

        Raises:
            ConfigurationError: If they are not.
        """
        for nested in self._nested().values():
            nested.validate()
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            raise ConfigurationError(
                f"problem_type is {self.problem_type!r}. {near_matches(self.problem_type, PROBLEM_TYPES)}".rstrip(),
                next_step=f"Use one of {', '.join(map(repr, PROBLEM_TYPES))}, or None to infer it from the labels.",
            )
        self.check_heads()

    def check_heads(self) -> None:
        """Check that attention heads divide the width; a part of `validate`."""
        width = None if getattr(self, "head_dim", None) else getattr(self, "hidden_size", None)
        for name in ("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads"):
            heads = getattr(self, name, None)
            if width and isinstance(heads, int) and heads and width % heads:  # not heads per stage
                raise ConfigurationError(
                    f"{type(self).__name__}: a width of {width} cannot be split evenly over {heads} attention heads.",
                    next_step=f"Choose a number of heads that divides {width}, or a width that is a multiple of {heads}.",
                )

    # Reading and writing -----------------------------------------------------------------------------------------

    @classmethod
    def from_dict(
        cls: type[Config], values: Mapping[str, Any], *, return_unused_kwargs: bool = False, **edits: Any
    ) -> Any:
        """A config from the content of a `config.json`. Keys that the family does not know are kept in `extra`.

        Args:
            values: The content of a `config.json`.
            return_unused_kwargs: Return the config and a dictionary of those edits that are not fields. By default they
                are ignored, with a notice.
            **edits: Fields to change afterwards.

        Raises:
            ConfigurationError: If the name of an edit resembles a field, or the fields are inconsistent.
        """
        check_mapping(values)
        known = set(cls.field_names())
        absent = {name for name in ("id2label", "label2id") if values.get(name) is None}  # null stands for the default
        own = {name: value for name, value in values.items() if name in known - absent}
        if own.get("id2label") is not None:
            own.pop("num_labels", None)
        for name in cls.sub_configs.keys() & own.keys():
            if isinstance(own[name], Mapping):
                own[name] = cls.sub_configs[name].from_dict(own[name])
        config = cls.__new__(cls)
        if cls.__init__ is not PretrainedConfig.__init__:  # its constructor sets more fields
            names = inspect.signature(cls.__init__).parameters.keys() & values.keys() - known
            config.__init__(**{name: values[name] for name in names})  # type: ignore[misc]
            known |= names
        else:
            config._set_defaults()
        config.extra.update({name: value for name, value in values.items() if name not in known | PROVENANCE})
        config.update(own)
        returns_unused = switch("return_unused_kwargs", return_unused_kwargs)
        unused = config._not_fields(edits) if returns_unused else config._ignored(edits)
        config.update({name: value for name, value in edits.items() if name not in unused})
        config.validate()  # only now, since the fields may be consistent only after the edits
        return (config, {name: edits[name] for name in unused}) if returns_unused else config

    def _not_fields(self, edits: Mapping[str, Any]) -> set[str]:
        return edits.keys() - {*self.field_names(), *self.extra, *KEPT, "model_type"}

    def _ignored(self, edits: Mapping[str, Any]) -> set[str]:
        """Those of the edits that have no effect, after a notice. A name that looks like a slip is not among them."""
        caller, unknown = type(self).__name__, self._not_fields(edits)
        foreign = without_effect({name: edits[name] for name in unknown}, caller)
        known = [*self.field_names(), *self.extra, *KEPT]
        others = {name for name in unknown - foreign if not near_matches(name, known)}
        ignore(caller, {name: edits[name] for name in sorted(others)})
        return foreign | others

    @classmethod
    def from_json_file(cls: type[Config], path: str | os.PathLike[str]) -> Config:
        """Read a config from a JSON file.

        Raises:
            CheckpointError: If the file is missing or damaged.
        """
        values = read_json(path)
        cls.check_types(values, os.fspath(path))
        return cls.from_dict(values)

    @classmethod
    def from_pretrained(cls: type[Config], name_or_path: str | os.PathLike | Source, **kwargs: Any) -> Any:
        """Read a checkpoint's `config.json`.

        Args:
            name_or_path: A folder, a zoo name, a Hub name, or the path of the file.
            **kwargs: Hub options (`revision`, `token`, `cache_dir`, `local_files_only`, `force_download`,
                `subfolder`), and fields to change. A name that is neither is ignored, with a notice; with
                `return_unused_kwargs=True` the config and a dictionary of such names are returned.

        Raises:
            HubError: If the checkpoint cannot be found or downloaded.
            CheckpointError: If its `config.json` is missing or damaged.
            ConfigurationError: If a name resembles a field, or the checkpoint belongs to another family.
        """
        name, path, values = read_config(name_or_path, take_hub_options(kwargs))
        found = values.get("model_type")
        if found != cls.model_type and isinstance(part := values.get(cls.base_config_key), dict):
            values, path = part, f"{path}: {cls.base_config_key}"
            found = values.get("model_type")
        if cls.model_type and found and found != cls.model_type:
            raise ConfigurationError(
                f"The checkpoint {name} is of the family {found!r}, but {cls.__name__} is for {cls.model_type!r} models.",
                next_step="Use AutoConfig.from_pretrained, which accepts any family.",
            )
        cls.check_types(values, path)
        found_config = cls.from_dict(values, **kwargs)
        (found_config[0] if isinstance(found_config, tuple) else found_config).name_or_path = name
        return found_config

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values under the Hub's names, with nested configurations as dictionaries."""
        values: dict[str, Any] = {"model_type": self.model_type} if self.model_type else {}
        values |= {field.name: getattr(self, field.name) for field in self._fields()} | self.extra
        values = {
            name: value.to_dict() if isinstance(value, PretrainedConfig) else copy.deepcopy(value)
            for name, value in values.items()
        }
        if isinstance(values.get("id2label"), dict):
            values["id2label"] = {str(index): label for index, label in values["id2label"].items()}
        return values

    def to_diff_dict(self) -> dict[str, Any]:
        """As `to_dict`, without the fields common to all families that have their default value."""
        own = {field.name: field.default for field in self._fields()}
        common = {field.name: field.default for field in PretrainedConfig._fields()}
        omitted = {name for name, default in common.items() if default == getattr(self, name) == own[name]}
        if self._has_default_labels():
            omitted |= {"id2label", "label2id"}
        values = {name: value for name, value in self.to_dict().items() if name not in omitted}
        return values | {name: nested.to_diff_dict() for name, nested in self._nested().items()}

    def to_json_string(self, use_diff: bool = True) -> str:
        """The config as indented JSON with sorted keys, as in a `config.json`.

        Args:
            use_diff: Whether to write `to_diff_dict`, as in a `config.json`, rather than `to_dict`.
        """
        values = self.to_diff_dict() if switch("use_diff", use_diff) else self.to_dict()
        return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def to_json_file(self, path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Write `to_json_string` to a file."""
        write_text(path, self.to_json_string(use_diff))

    def save_pretrained(self, folder: str | os.PathLike, push_to_hub: bool = False, **push_options: Any) -> None:
        """Write `config.json` into `folder`, which is created if it does not exist.

        Args:
            folder: The folder.
            push_to_hub: Also upload the folder; `push_options` go to `notebook_kit.hub.push_folder`.
        """
        with folder_to_save(folder, push_to_hub, push_options) as target:
            self.to_json_file(target / CONFIG_NAME)

    # Everyday Python ---------------------------------------------------------------------------------------------

    def __contains__(self, name: object) -> bool:
        """Whether there is such a field, as in `"text_config" in config`."""
        return isinstance(name, str) and (name in self.to_dict() or name in self.sub_configs)

    def get_text_config(self, **kwargs: Any) -> PretrainedConfig:
        """The configuration of the part that reads or writes text: a nested one if there is one, else this one.

        Example:
            >>> from notebook_kit import BertConfig
            >>> config = BertConfig()
            >>> config.get_text_config() is config
            True
        """
        names = ("text_config", "decoder", "generator", "text_encoder")
        return next((getattr(self, name) for name in names if name in self.sub_configs), self)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        default = {field.name: field.default for field in self._fields()}
        default |= {name: type(nested)() for name, nested in self._nested().items()}
        changed = {name: getattr(self, name) for name, value in default.items() if getattr(self, name) != value}
        if self._has_default_labels():
            changed = {name: value for name, value in changed.items() if name not in ("id2label", "label2id")}
        shown = [f"{name}={value!r}" for name, value in (changed | self.extra).items()]
        return f"{type(self).__name__}({', '.join(shown)})"


dataclasses.dataclass(init=False, repr=False, eq=False)(PretrainedConfig)
PreTrainedConfig = PretrainedConfig  # its name in transformers 5


def dtype_name(dtype: Any) -> Any:
    """`torch.float16`, `"torch.float16"`, `"half"` or `"float16"` as `"float16"`; `"auto"` as None; all else unchanged."""
    name = str(dtype)
    if not isinstance(dtype, str) and not name.startswith("torch."):
        return dtype
    other = {"auto": None, "half": "float16", "float": "float32", "double": "float64"}
    return other.get(name.removeprefix("torch."), name.removeprefix("torch."))
