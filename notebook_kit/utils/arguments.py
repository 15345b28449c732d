"""Command-line arguments from dataclasses."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union

from notebook_kit.errors import ConfigurationError, near_matches
from notebook_kit.files import read_json

__all__ = ["HfArg", "HfArgumentParser", "make_choice_type_function", "string_to_bool"]

_TRUE, _FALSE = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")


def string_to_bool(value: bool | str) -> bool:
    """A truth value from a word: yes, true, t, y or 1; no, false, f, n or 0.

    Raises:
        argparse.ArgumentTypeError: for any other word.

    Example:
        >>> string_to_bool("No")
        False
    """
    if isinstance(value, bool):
        return value
    if value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    raise argparse.ArgumentTypeError(f"{value!r} is neither of {', '.join(_TRUE)} nor of {', '.join(_FALSE)}")


def make_choice_type_function(choices: Iterable[Any]) -> Callable[[str], Any]:
    """A function from the text of a choice to the choice.

    Example:
        >>> make_choice_type_function([1, "auto"])("1")
        1
    """
    by_text = {str(choice): choice for choice in choices}
    return lambda text: by_text.get(text, text)


def HfArg(
    *,
    aliases: str | list[str] | None = None,
    help: str | None = None,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
    metadata: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """A dataclass field with what its argument needs.

    Args:
        aliases: Further option strings, such as "-e".
        help: The help text.
        default, default_factory, metadata, options: As for `dataclasses.field`.

    Example:
        >>> @dataclasses.dataclass
        ... class Settings:
        ...     rate: float = HfArg(default=0.1, aliases="-r", help="The learning rate.")
        >>> HfArgumentParser(Settings).parse_args_into_dataclasses(["-r", "0.5"])
        (Settings(rate=0.5),)
    """
    given = {"aliases": aliases, "help": help}
    metadata = (metadata or {}) | {name: value for name, value in given.items() if value is not None}
    return dataclasses.field(default=default, default_factory=default_factory, metadata=metadata, **options)


class HfArgumentParser(argparse.ArgumentParser):
    """Fills dataclasses from the command line, a dictionary, or a JSON or YAML file.

    Each field becomes an option: `--batch_size` and `--batch-size`. A field that is true by default also gets `--no_...`, a list
    takes several values, an enumeration or `Literal` becomes a choice, and a dictionary is given as JSON. Arguments added with
    `add_argument` come back as a namespace after the dataclasses. Option names cannot be abbreviated.

    The help text of a field is that of its `metadata`, or its line under "Attributes:" or "Args:" in the dataclass's docstring.

    A dataclass may list former names of its options in a class attribute `older_names`; they are passed to its constructor.

    Args:
        dataclass_types: A dataclass, or several. Its fields' `metadata` may have "help" and "aliases".
        options: As for `argparse.ArgumentParser`.

    Raises:
        ConfigurationError: (a ValueError) for arguments or keys that no dataclass has, and for fields whose type cannot be read
            from text.

    Example:
        >>> from notebook_kit import HfArgumentParser, TrainingArguments
        >>> @dataclasses.dataclass
        ... class DataArguments:
        ...     text_column: str
        ...     max_length: int | None = None
        >>> parser = HfArgumentParser((DataArguments, TrainingArguments))
        >>> line = "--text_column review --max_length 64 --output_dir out --learning_rate 2e-5 --do_train"
        >>> data, training = parser.parse_args_into_dataclasses(line.split())
        >>> data
        DataArguments(text_column='review', max_length=64)
        >>> training.learning_rate, training.do_train
        (2e-05, True)
    """

    def __init__(self, dataclass_types: Any = None, **options: Any) -> None:
        defaults = {"formatter_class": argparse.ArgumentDefaultsHelpFormatter, "allow_abbrev": False}
        super().__init__(**{**defaults, **options})
        single = dataclasses.is_dataclass(dataclass_types) or not isinstance(dataclass_types, Iterable)
        given = [] if dataclass_types is None else [dataclass_types] if single else list(dataclass_types)
        self.dataclass_types: list[Any] = given
        self._taken: dict[Any, set[str]] = {kind: self._add_dataclass(kind) for kind in given}
        # After all fields: a field of one dataclass may have a former name of another one's.
        for kind in given:
            self._taken[kind] |= self._add_older_names(kind)

    def _add_dataclass(self, kind: Any) -> set[str]:
        """Add an option for each field; the names of the fields."""
        title = getattr(kind, "_argument_group_name", None)
        group: Any = self if title is None else self.add_argument_group(title)
        try:
            annotations = typing.get_type_hints(kind)
        except NameError as error:
            raise ConfigurationError(
                f"The types of {kind.__name__}'s fields cannot be resolved: {error}.",
                next_step="Define the dataclass, and what its annotations name, at the top level of the module.",
            ) from error
        fields, texts = [field for field in dataclasses.fields(kind) if field.init], _described(kind)
        for field in fields:
            _add_field(group, field, annotations[field.name], texts.get(field.name))
        return {field.name for field in fields}

    def _add_older_names(self, kind: Any) -> set[str]:
        names = {name for name in getattr(kind, "older_names", ()) if f"--{name}" not in self._option_string_actions}
        for name in sorted(names):
            self.add_argument(
                f"--{name}", nargs="?", const=True, type=_literal, default=argparse.SUPPRESS, help=argparse.SUPPRESS
            )
        return names

    def parse_args_into_dataclasses(
        self,
        args: list[str] | None = None,
        return_remaining_strings: bool = False,
        look_for_args_file: bool = True,
        args_filename: str | None = None,
        args_file_flag: str | None = None,
    ) -> tuple[Any, ...]:
        """Parse the command line.

        Args:
            args: The arguments; by default those of this process.
            return_remaining_strings: Return unknown arguments as a last element instead of raising an error.
            look_for_args_file: Read `<script>.args` beside the script first, if there is one. Later arguments win.
            args_filename: Read this file instead.
            args_file_flag: An option that names further such files.

        Returns:
            An instance of each dataclass; a namespace if there are other arguments; the unknown arguments, if asked for.
        """
        args = list(sys.argv[1:] if args is None else args)
        files = []
        if args_filename:
            files.append(Path(args_filename))
        elif look_for_args_file and sys.argv and sys.argv[0]:
            files.append(Path(sys.argv[0]).with_suffix(".args"))
        if args_file_flag:
            finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
            finder.add_argument(args_file_flag, dest="files", action="append", default=[])
            found, args = finder.parse_known_args(args)
            files += map(Path, found.files)
        from_files = [word for path in files if path.exists() for word in path.read_text("utf-8").split()]
        namespace, unknown = self.parse_known_args([*from_files, *args])
        values = vars(namespace)
        filled: list[Any] = []
        for kind, names in self._taken.items():
            given = {name: values.pop(name) for name in names & values.keys()}
            if not given.keys().isdisjoint(getattr(kind, "older_names", ())):
                # A default must not contradict the same setting under its former name.
                given = {name: value for name, value in given.items() if value != self.get_default(name)}
            filled.append(kind(**given))
        if values:
            filled.append(namespace)
        if return_remaining_strings:
            return (*filled, unknown)
        if unknown:
            raise self._not_used([word for word in unknown if word.startswith("-")] or unknown, "arguments")
        return tuple(filled)

    def parse_dict(self, args: Mapping[str, Any], allow_extra_keys: bool = False) -> tuple[Any, ...]:
        """Fill the dataclasses from a dictionary.

        Args:
            args: Values by field name.
            allow_extra_keys: Ignore keys that no dataclass has.

        Example:
            >>> from notebook_kit import HfArgumentParser, TrainingArguments
            >>> (training,) = HfArgumentParser(TrainingArguments).parse_dict({"output_dir": "out", "seed": 7})
            >>> training.seed
            7
        """
        extra = sorted(set(args) - set().union(*self._taken.values()))
        if extra and not allow_extra_keys:
            raise self._not_used(extra, "keys")
        return tuple(
            kind(**{name: args[name] for name in args if name in names}) for kind, names in self._taken.items()
        )

    def parse_json_file(self, json_file: str | os.PathLike[str], allow_extra_keys: bool = False) -> tuple[Any, ...]:
        """`parse_dict` of a JSON file."""
        return self.parse_dict(read_json(json_file, next_step="Correct the file."), allow_extra_keys)

    def parse_yaml_file(self, yaml_file: str | os.PathLike[str], allow_extra_keys: bool = False) -> tuple[Any, ...]:
        """`parse_dict` of a YAML file."""
        import yaml

        return self.parse_dict(yaml.safe_load(Path(yaml_file).read_text("utf-8")), allow_extra_keys)

    def _not_used(self, names: list[str], what: str) -> ConfigurationError:
        owners = " or ".join(kind.__name__ for kind in self.dataclass_types)
        known = sorted(set().union(*self._taken.values()))
        near = near_matches(names[0].lstrip("-").partition("=")[0].replace("-", "_"), known)
        return ConfigurationError(
            f"Some {what} are not fields of {owners}: {', '.join(names)}. {near}".strip(),
            next_step="Correct or remove them; --help lists all arguments.",
        )


def _described(kind: Any) -> dict[str, str]:
    """What the docstrings of a dataclass and of its bases say about its fields, by name."""
    texts: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        listed, names = False, list[str]()
        for line in inspect.cleandoc(part.__doc__ or "").splitlines():
            if re.match(r"\S", line):  # the heading of a section, or a paragraph
                listed, names = line in ("Attributes:", "Args:"), []
            elif listed and (entry := re.match(r" {4}(\w+(?:, \w+)*): (.+)", line)):
                names = entry[1].split(", ")
                texts |= dict.fromkeys(names, entry[2])
            elif line.strip():
                texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
    return {name: text.replace("%", "%%") for name, text in texts.items()}


class _OneOrSeveral(argparse.Action):
    """Stores one word as a text, and several as a list."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, values[0] if len(values) == 1 else values)


def _add_field(group: Any, field: dataclasses.Field, annotation: Any, text: str | None) -> None:
    """Add the option of one field, with its help text, and for a true one its opposite."""
    options: dict[str, Any] = {"help": text, **field.metadata}
    aliases = options.pop("aliases", [])
    own = dict(options)
    names = [f"--{field.name}"]
    if "_" in field.name:
        names.append(f"--{field.name.replace('_', '-')}")
    has_default = field.default is not dataclasses.MISSING
    if has_default:
        options["default"] = field.default
    elif field.default_factory is not dataclasses.MISSING:
        options["default"] = field.default_factory()
    kind = _without_none(field.name, annotation)
    if kind is bool:
        options["type"] = string_to_bool
        if annotation is bool or field.default not in (None, dataclasses.MISSING):
            options.update(nargs="?", const=True)
            options.setdefault("default", False)
    else:
        options.update(_reading(field.name, kind))
    if kind is str and any(typing.get_origin(member) is list for member in typing.get_args(annotation)):
        options.update(nargs="+", action=_OneOrSeveral)
    if "default" not in options:
        options["required"] = True
    group.add_argument(*names, *([aliases] if isinstance(aliases, str) else aliases), **options)
    if kind is bool and field.default is True:
        opposites = [f"--no_{field.name}", f"--no-{field.name.replace('_', '-')}"]
        group.add_argument(*opposites, action="store_false", dest=field.name, **{**own, "default": False})


def _without_none(name: str, annotation: Any) -> Any:
    """The type of a field that is not None; of several, the one that text is read as."""
    if typing.get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    members = [member for member in typing.get_args(annotation) if member is not type(None)]
    if len(members) == 1:
        return members[0]
    if str not in members:
        raise ConfigurationError(
            f"The field {name!r} may be of several types, {', '.join(str(m) for m in members)}: text cannot tell which.",
            next_step="Give it one type, perhaps `| None`, or allow str and convert it in __post_init__.",
        )
    rest = [member for member in members if member is not str and typing.get_origin(member) is not list]
    return rest[0] if len(rest) == 1 and len(members) == len(typing.get_args(annotation)) else str


def _reading(name: str, kind: Any) -> dict[str, Any]:
    """How argparse reads a type from text."""
    origin = typing.get_origin(kind) or kind
    if origin is Literal or (inspect.isclass(kind) and issubclass(kind, Enum)):
        choices = list(typing.get_args(kind)) if origin is Literal else [member.value for member in kind]
        return {"choices": choices, "type": make_choice_type_function(choices)}
    if inspect.isclass(origin) and issubclass(origin, list | tuple):
        members = [member for member in typing.get_args(kind) if member is not Ellipsis]
        return {"type": members[0] if members else str, "nargs": "+"}
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return {"type": _json}
    return {"type": kind if callable(kind) and kind is not Any else str}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from error


def _literal(text: str) -> Any:
    """The value of an option whose type is not known."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
