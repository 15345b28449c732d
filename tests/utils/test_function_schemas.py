"""Schemas of functions are those of `transformers`, and what has none is an error that says why."""

from typing import Any, Literal

import pytest

from notebook_kit.errors import InputError
from notebook_kit.utils import get_json_schema


def every_type(
    text: str,
    number: int | None = None,
    items: list[str] = (),
    either: int | str = 3,
    other: str | int = 3,
    chosen: Literal["x", "y"] = "x",
    mixed: Literal[1, "a"] = 1,
    perhaps: Literal["a", None] = None,
    table: dict[str, int] = (),
    pair: tuple[int, str] = (),
    real: float = 1.0,
    anything: Any = None,
    flag: bool | None = None,
    nested: list[dict[str, list[int]]] = (),
    late: "int" = 3,
    deep: list[int] | dict[str, int] | None = None,
    plain: list = (),
    any_table: dict[str, Any] = (),
) -> dict[str, float] | None:
    """
    Do it.

    In more words,
    on two lines.

    Args:
        text: The text,
            continued: here.
        number: The number. (choices: [1, 2])
        items: Several. (choices: ["u", "v"])
        either: One
        other: Two
        chosen: Three
        mixed: Four
        perhaps: Five
        table: Six
        pair: Seven
        real: Eight
        anything: Nine
        flag: Ten
        nested: Eleven
        late: Twelve
        deep: Thirteen
        plain: Fourteen
        any_table: Fifteen

    Returns:
        A thing.
    """


def no_parameters() -> None:
    """Do nothing.

    Returns:
        Nothing.
    """


def any_number(*names: int, **more: str):
    """Do it.

    Args:
        names: Names.
        more: More.
    """


class Sensor:
    def read(self, place: str):
        """Read it.

        Args:
            place: Where.
        """


@pytest.mark.parametrize("function", [every_type, no_parameters, any_number, Sensor().read])
def test_as_the_reference(function):
    reference = pytest.importorskip("transformers.utils")
    assert get_json_schema(function) == reference.get_json_schema(function)


def unannotated(x):
    """Do it.

    Args:
        x: It.
    """


def undescribed(x: int):
    """Do it."""


def unknown(x: bytes):
    """Do it.

    Args:
        x: It.
    """


def undocumented(x: int):
    pass


def wrong_choices(x: int):
    """Do it.

    Args:
        x: It. (choices: [a, b])
    """


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (unannotated, "parameter 'x' of unannotated has no annotation"),
        (undescribed, "docstring of undescribed does not describe the parameter 'x'"),
        (unknown, "the parameter 'x' of unknown, <class 'bytes'>, has no counterpart in JSON"),
        (undocumented, "undocumented has no docstring"),
        (wrong_choices, r"\[a, b\], are no list in JSON"),
        (5, "is of the type int"),
    ],
)
def test_what_has_no_schema(function, message):
    with pytest.raises(InputError, match=message):
        get_json_schema(function)
