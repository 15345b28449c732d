"""Configurations: what a checkpoint's `config.json` says, as a dataclass with the Hub's own field names.

A family writes a plain class body, and that is all::

    class BertConfig(PretrainedConfig):
        model_type: ClassVar[str] = "bert"
        hidden_size: int = 768

The subclass becomes a keyword-only dataclass. Fields of a `config.json` that the family does not know are kept (in
`config.extra`, readable as attributes) and written back, so that nothing is lost between two libraries.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, dataclass_transform

from notebook_kit.errors import ConfigurationError, near_matches
from notebook_kit.files import read_json, write_text
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.hub.saving import PushToHub, folder_to_save

__all__ = ["PreTrainedConfig", "PretrainedConfig", "read_config"]

CONFIG_NAME = "config.json"
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

# Where a config came from, not what it says: read, never written again.
PROVENANCE = {"transformers_version", "_name_or_path", "name_or_path", "_commit_hash", "model_type"}

Config = TypeVar("Config", bound="PretrainedConfig")


def read_config(
    name_or_path: str | os.PathLike[str] | Source, options: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """The name of a checkpoint, and what its `config.json` holds.

    Args:
        name_or_path: A folder, a zoo name, a Hub name, a `Source`, or the path of the file itself.
        options: For `locate`.

    Raises:
        HubError: If the checkpoint cannot be found or fetched.
        CheckpointError: If the file is missing, or is not a JSON object.
    """
    if not isinstance(name_or_path, Source) and os.path.isfile(name_or_path):
        return os.fspath(name_or_path), read_json(name_or_path)
    source = locate(name_or_path, **(options or {}))
    path = source.require(CONFIG_NAME, why="It says which architecture the checkpoint has.")
    return source.name, read_json(path)


@dataclass_transform(kw_only_default=True)
class PretrainedConfig(PushToHub):
    """The settings of a model: the base of every family's configuration.

    Args:
        id2label: Class index to label name. `label2id` follows from it unless given.
        num_labels: Short for `id2label={0: "LABEL_0", ...}` with that many labels.
        problem_type: `"regression"`, `"single_label_classification"` or `"multi_label_classification"`: which loss a
            sequence-classification head computes. Left at None, the first labels that come decide.
        architectures: Class names that the checkpoint's weights were saved from.
        dtype: Name of the dtype that the weights are stored in, such as `"float16"`.
        **fields: The family's own fields. A name that the family does not have is an error with near matches.

    Example:
        >>> from notebook_kit import BertConfig
        >>> config = BertConfig(hidden_size=128, num_attention_heads=2, num_labels=3)
        >>> config.num_labels, config.id2label[2], config.num_hidden_layers
        (3, 'LABEL_2', 12)
        >>> BertConfig(hiden_size=128)
        Traceback (most recent call last):
        notebook_kit.errors.ConfigurationError: BertConfig has no field 'hiden_size'. Did you mean 'hidden_size' or 'hidden_act'?
        → Correct the name, or set it on the config afterwards if it is a note of your own.
    """

    model_type: ClassVar[str] = ""
    attribute_map: ClassVar[dict[str, str]] = {}
    """Other names of the family's fields, such as `{"hidden_size": "dim"}`."""
    sub_configs: ClassVar[dict[str, Any]] = {}
    """Fields that hold a configuration themselves, and its class: `{"text_config": BertConfig}`, or `AutoConfig` for any."""
    default_num_labels: ClassVar[int] = 2
    """How many labels a config has that names none."""

    architectures: list[str] | None = None
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None
    problem_type: str | None = None
    dtype: str | None = None
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
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)  # fills in __dataclass_fields__, in place

    def __init__(self, **fields: Any) -> None:
        if "extra" not in self.__dict__:  # else a subclass's constructor has set fields already
            self._set_defaults()
        self.update(fields)
        self.validate()

    def _set_defaults(self) -> None:
        self.__dict__.update(extra={}, name_or_path="")
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            self.__dict__[field.name] = copy.copy(default)
        for name, kind in self.sub_configs.items():
            if isinstance(kind, type) and issubclass(kind, PretrainedConfig):
                self.__dict__[name] = kind()
        if self.id2label is None:
            self.num_labels = self.default_num_labels

    def _nested(self) -> dict[str, PretrainedConfig]:
        """The configurations among the fields."""
        values = {name: self.__dict__.get(name) for name in self.sub_configs}
        return {name: value for name, value in values.items() if isinstance(value, PretrainedConfig)}

    # Names -------------------------------------------------------------------------------------------------------

    @classmethod
    def field_names(cls) -> list[str]:
        """The names that the constructor takes, other names of the same fields included."""
        return [field.name for field in dataclasses.fields(cls)] + [*cls.attribute_map, "num_labels", "torch_dtype"]  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        # Reached only for names that are no field: an alias, or a key that was kept from the file.
        if name in type(self).attribute_map:
            return getattr(self, type(self).attribute_map[name])
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        raise AttributeError(
            f"{type(self).__name__} has no field {name!r}. {near_matches(name, self.field_names())}".rstrip()
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if "extra" not in self.__dict__:
            self._set_defaults()
        name = self.attribute_map.get(name, name)
        if name == "dtype":
            value = dtype_name(value)
        elif name in self.sub_configs and isinstance(value, Mapping):
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
            ConfigurationError: For a name that is neither a field, nor another name of one, nor a key kept from the file.
        """
        edits = dict(edits)
        # `to_dict` has it, so that Config(**config.to_dict()) is a copy.
        model_type = edits.pop("model_type", self.model_type)
        if model_type != self.model_type:
            raise ConfigurationError(
                f"{type(self).__name__} is for models of the type {self.model_type!r}, and the fields are those of {model_type!r}.",
                next_step=f"Use AutoConfig.for_model({model_type!r}, ...).",
            )
        known = {*self.field_names(), *self.extra}
        for name in edits:
            if name not in known:
                raise ConfigurationError(
                    f"{type(self).__name__} has no field {name!r}. {near_matches(name, known)}".rstrip(),
                    next_step="Correct the name, or set it on the config afterwards if it is a note of your own.",
                )
        if "torch_dtype" in edits:
            edits.setdefault("dtype", edits.pop("torch_dtype"))
        for name, one in self._nested().items():
            if isinstance(edits.get(name), Mapping):
                one.update(edits.pop(name))
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
                    next_step="Give one of the two, or make them agree.",
                )
            self.num_labels = num_labels

    @property
    def num_labels(self) -> int:
        """How many classes a classification head has (1 for regression on one value)."""
        return len(self.id2label or {})

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        self.id2label = {index: f"LABEL_{index}" for index in range(count)}
        self.label2id = {label: index for index, label in self.id2label.items()}

    @property
    def torch_dtype(self) -> str | None:
        """The older name of `dtype`."""
        return self.dtype

    @torch_dtype.setter
    def torch_dtype(self, dtype: Any) -> None:
        self.dtype = dtype

    def validate(self) -> None:
        """Check that the fields fit each other; a family adds its own checks.

        Raises:
            ConfigurationError: If they do not.
        """
        for nested in self._nested().values():
            nested.validate()
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            raise ConfigurationError(
                f"problem_type is {self.problem_type!r}. {near_matches(self.problem_type, PROBLEM_TYPES)}".rstrip(),
                next_step=f"Use one of {', '.join(map(repr, PROBLEM_TYPES))}, or None to let the labels decide.",
            )
        values = {name: self.__dict__.get(name) for name in ("hidden_size", "dim", "num_attention_heads", "n_heads")}
        width = values["hidden_size"] or values["dim"]
        heads = values["num_attention_heads"] or values["n_heads"]
        if width and heads and "head_dim" not in self.__dict__ and width % heads:
            raise ConfigurationError(
                f"{type(self).__name__}: a width of {width} cannot be split evenly over {heads} attention heads.",
                next_step=f"Choose a number of heads that divides {width}, or a width that is a multiple of {heads}.",
            )

    # Reading and writing -----------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any], **edits: Any) -> Config:
        """A config from a `config.json`'s content; keys that the family does not know are kept in `extra`.

        Args:
            values: The content of a `config.json`.
            **edits: Fields to set on top, where a name that is not a field is an error.
        """
        known = set(cls.field_names())
        own = {name: value for name, value in values.items() if name in known}
        for alias, field in cls.attribute_map.items():  # when both names stand in the file, the family's own wins
            if alias in own and field in own:
                del own[alias]
        if own.get("id2label") is not None:
            own.pop("num_labels", None)
        for name in cls.sub_configs.keys() & own.keys():
            if isinstance(own[name], Mapping):
                own[name] = cls.sub_configs[name].from_dict(own[name])
        config = cls.__new__(cls)
        if cls.__init__ is not PretrainedConfig.__init__:  # a class whose constructor sets further fields
            names = inspect.signature(cls.__init__).parameters.keys() & values.keys() - known
            config.__init__(**{name: values[name] for name in names})  # type: ignore[misc]
            known |= names
        else:
            config._set_defaults()
        config.extra.update({name: value for name, value in values.items() if name not in known | PROVENANCE})
        config.update(own)
        config.update(edits)
        config.validate()  # once, at the end: an edit may be what makes the fields fit
        return config

    @classmethod
    def from_json_file(cls: type[Config], path: str | os.PathLike[str]) -> Config:
        """The config in a JSON file.

        Raises:
            CheckpointError: If the file is missing or damaged.
        """
        return cls.from_dict(read_json(path))

    @classmethod
    def from_pretrained(cls: type[Config], name_or_path: str | os.PathLike | Source, **kwargs: Any) -> Config:
        """Read a checkpoint's `config.json`.

        Args:
            name_or_path: A folder, a zoo name, a Hub name, or the path of the file.
            **kwargs: Hub options (`revision`, `token`, `cache_dir`, `local_files_only`, `force_download`,
                `subfolder`), and fields to edit.

        Raises:
            HubError: If the checkpoint cannot be found or fetched.
            CheckpointError: If its `config.json` is missing or damaged.
            ConfigurationError: If an edit names no field, or the checkpoint is of another family.
        """
        name, values = read_config(name_or_path, take_hub_options(kwargs))
        found = values.get("model_type")
        if cls.model_type and found and found != cls.model_type:
            raise ConfigurationError(
                f"{name} is a {found!r} checkpoint, and {cls.__name__} describes {cls.model_type!r} models.",
                next_step="Use AutoConfig.from_pretrained, which takes any family.",
            )
        config = cls.from_dict(values, **kwargs)
        config.name_or_path = name
        return config

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values, under the Hub's names; nested configurations as dictionaries."""
        values: dict[str, Any] = {"model_type": self.model_type} if self.model_type else {}
        values |= {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        values |= self.extra
        values = {
            name: value.to_dict() if isinstance(value, PretrainedConfig) else copy.deepcopy(value)
            for name, value in values.items()
        }
        if isinstance(values.get("id2label"), dict):
            values["id2label"] = {str(index): label for index, label in values["id2label"].items()}
        return values

    def to_diff_dict(self) -> dict[str, Any]:
        """As `to_dict`, without the fields that every family has where they have their usual value."""
        usual = {field.name: field.default for field in dataclasses.fields(PretrainedConfig)}  # type: ignore[arg-type]
        own = {field.name: field.default for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        left_out = {name for name, value in usual.items() if value == getattr(self, name) == own[name]}
        if self.id2label == {0: "LABEL_0", 1: "LABEL_1"}:
            left_out |= {"id2label", "label2id"}
        values = {name: value for name, value in self.to_dict().items() if name not in left_out}
        return values | {name: one.to_diff_dict() for name, one in self._nested().items()}

    def to_json_string(self, use_diff: bool = True) -> str:
        """The values as indented JSON with sorted keys, the form of a `config.json`.

        Args:
            use_diff: Take `to_diff_dict`, as `config.json` has it, rather than all of `to_dict`.
        """
        values = self.to_diff_dict() if use_diff else self.to_dict()
        return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def to_json_file(self, path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Write `to_json_string` to a file."""
        write_text(path, self.to_json_string(use_diff))

    def save_pretrained(self, folder: str | os.PathLike, push_to_hub: bool = False, **push_options: Any) -> None:
        """Write `config.json` into `folder`, which is made if need be.

        Args:
            folder: Where to write.
            push_to_hub: Also upload the folder; `push_options` go to `notebook_kit.hub.push_folder`.
        """
        with folder_to_save(folder, push_to_hub, push_options) as target:
            self.to_json_file(target / CONFIG_NAME)

    # Everyday Python ---------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        default = {field.name: field.default for field in fields}
        default |= {name: type(one)() for name, one in self._nested().items()}
        changed = [name for name, value in default.items() if getattr(self, name) != value]
        if self.id2label == {0: "LABEL_0", 1: "LABEL_1"}:
            changed = [name for name in changed if name not in ("id2label", "label2id")]
        shown = [f"{name}={getattr(self, name)!r}" for name in changed] + [f"{k}={v!r}" for k, v in self.extra.items()]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __deepcopy__(self: Config, memo: dict) -> Config:
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


dataclasses.dataclass(init=False, repr=False, eq=False)(PretrainedConfig)
PreTrainedConfig = PretrainedConfig  # transformers 5 spells it so


def dtype_name(dtype: Any) -> str | None:
    """`torch.float16`, `"torch.float16"` or `"float16"` as `"float16"`; None and `"auto"` as None."""
    name = None if dtype is None else str(dtype).removeprefix("torch.")
    return None if name == "auto" else name
