"""Command lines fill dataclasses as with the parser of transformers."""

from __future__ import annotations

import argparse
import dataclasses
import json
from enum import Enum
from typing import Any, Literal, Optional

import pytest
import transformers
import yaml

from notebook_kit import HfArgumentParser, Seq2SeqTrainingArguments, TrainingArguments
from notebook_kit.errors import CheckpointError, ConfigurationError, MissingDependencyError
from notebook_kit.utils import HfArg, IntervalStrategy, string_to_bool


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Numbers:
    count: int
    rate: float = 0.5
    name: str = dataclasses.field(default="run", metadata={"help": "The name.", "aliases": ["-n"]})
    limit: int | None = None
    weight: Optional[float] = dataclasses.field(default=None)  # noqa: UP045


@dataclasses.dataclass
class Truths:
    off: bool = False
    on: bool = True
    maybe: bool | None = None
    perhaps_true: Optional[bool] = True  # noqa: UP045


@dataclasses.dataclass
class Choices:
    color: Color = Color.RED
    kind: Literal["a", "b", 3] = "a"
    when: IntervalStrategy = IntervalStrategy.STEPS

    def __post_init__(self):
        self.color = Color(self.color)


@dataclasses.dataclass
class Lists:
    words: list[str] = dataclasses.field(default_factory=lambda: ["x"])
    numbers: list[int] = dataclasses.field(default_factory=list)
    floats: Optional[list[float]] = None  # noqa: UP045
    several: list[str] | None = HfArg(default=None, aliases="--more", help="Several.")  # noqa: RUF009


LINES = [
    (Numbers, "--count 3"),
    (Numbers, "--count 3 --rate 1e-3 -n mine --limit 9 --weight 0.25"),
    (Truths, ""),
    (Truths, "--off --no_on --maybe true --no-perhaps-true"),
    (Truths, "--off True --on False --perhaps_true no"),
    (Truths, "--on"),
    (Choices, ""),
    (Choices, "--color blue --kind 3 --when epoch"),
    (Lists, ""),
    (Lists, "--words a b --numbers 1 2 --floats 0.5 1 --more c d"),
]


@pytest.mark.parametrize(("kind", "line"), LINES)
def test_lines_are_parsed_as_by_the_reference(kind, line):
    (mine,) = HfArgumentParser(kind).parse_args_into_dataclasses(line.split(), look_for_args_file=False)
    (theirs,) = transformers.HfArgumentParser(kind).parse_args_into_dataclasses(line.split(), look_for_args_file=False)
    assert mine == theirs


@pytest.mark.parametrize("kind", [Numbers, Truths, Choices, Lists])
def test_the_help_is_that_of_the_reference(kind):
    assert (
        HfArgumentParser(kind, prog="run").format_help()
        == transformers.HfArgumentParser(kind, prog="run").format_help()
    )


@pytest.mark.parametrize(
    "line", ["", "--count x", "--count 3 --rate", "--count 3 --limit many", "--count 3 --weight 1,5"], ids=repr
)
def test_wrong_lines_end_as_with_argparse(line, capsys):
    with pytest.raises(SystemExit):
        HfArgumentParser(Numbers).parse_args_into_dataclasses(line.split(), look_for_args_file=False)
    assert "error: " in capsys.readouterr().err


def test_several_dataclasses_and_other_arguments():
    parser = HfArgumentParser([Numbers, Truths], description="A run.")
    parser.add_argument("--other", type=int, default=0)
    numbers, truths, rest = parser.parse_args_into_dataclasses(
        ["--count", "1", "--off", "--other", "5"], look_for_args_file=False
    )
    assert numbers.count == 1 and truths.off and rest == argparse.Namespace(other=5)
    *_, unknown = parser.parse_args_into_dataclasses(
        ["--count", "1", "--unheard", "of"], return_remaining_strings=True, look_for_args_file=False
    )
    assert unknown == ["--unheard", "of"]


def test_unknown_arguments_list_near_matches():
    with pytest.raises(ConfigurationError, match=r"not fields of Numbers or Truths: --cuont\. Did you mean 'count'"):
        HfArgumentParser((Numbers, Truths)).parse_args_into_dataclasses(["--count", "1", "--cuont", "2"])
    with pytest.raises(ValueError, match=r"Some keys are not fields of Numbers: rates\. Did you mean 'rate'"):
        HfArgumentParser(Numbers).parse_dict({"count": 1, "rates": 2})


def test_dictionaries_and_files(tmp_path):
    values = {"count": 2, "rate": 0.1, "limit": None}
    parser, expected = HfArgumentParser(Numbers), (Numbers(2, 0.1),)
    (tmp_path / "a.json").write_text(json.dumps(values))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(values))
    assert parser.parse_dict(values) == expected
    assert parser.parse_json_file(tmp_path / "a.json") == parser.parse_yaml_file(str(tmp_path / "a.yaml")) == expected
    assert parser.parse_dict({**values, "extra": 1}, allow_extra_keys=True) == expected
    with pytest.raises(CheckpointError, match=r"absent\.json cannot be read"):
        parser.parse_json_file(tmp_path / "absent.json")


def test_files_of_arguments(tmp_path, monkeypatch):
    (tmp_path / "run.args").write_text("--count 1 --rate 0.1")
    (tmp_path / "more.args").write_text("--rate 0.2")
    parser = HfArgumentParser(Numbers)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "run.py"), "--limit", "7"])
    assert parser.parse_args_into_dataclasses() == (Numbers(1, 0.1, limit=7),)
    flag = ["--args", str(tmp_path / "more.args")]
    assert parser.parse_args_into_dataclasses(flag, args_file_flag="--args")[0].rate == 0.2
    named = parser.parse_args_into_dataclasses(["--count", "4"], args_filename=str(tmp_path / "more.args"))
    assert named == (Numbers(4, 0.2),)


def test_types_that_text_cannot_tell_apart():
    @dataclasses.dataclass
    class Unclear:
        value: int | float = 1

    with pytest.raises(ConfigurationError, match="'value' may be of several types"):
        HfArgumentParser(Unclear)


def test_text_or_a_list_is_text():
    @dataclasses.dataclass
    class Trackers:
        report_to: str | list[str] | None = None

    assert HfArgumentParser(Trackers).parse_args_into_dataclasses(["--report_to", "none"])[0].report_to == "none"


def test_dictionaries_are_given_as_json(capsys):
    @dataclasses.dataclass
    class Options:
        options: dict[str, Any] | None = None

    parser = HfArgumentParser(Options)
    assert parser.parse_args_into_dataclasses(["--options", '{"a": [1, 2]}'])[0].options == {"a": [1, 2]}
    with pytest.raises(SystemExit):
        parser.parse_args_into_dataclasses(["--options", "{a}"])
    assert "is not JSON" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [TrainingArguments, Seq2SeqTrainingArguments])
def test_training_arguments(kind, tmp_path):
    line = f"--output_dir {tmp_path} --do_train --learning_rate 2e-5 --eval_strategy epoch --lr_scheduler_type cosine"
    line += (
        " --per-device-train-batch-size 4 --no_dataloader_pin_memory --label_names start end --seed 3 --report_to none"
    )
    (args,) = HfArgumentParser(kind).parse_args_into_dataclasses(
        [*line.split(), "--lr_scheduler_kwargs", '{"num_cycles": 2}'], look_for_args_file=False
    )
    assert (args.do_train, args.learning_rate, args.eval_strategy, args.seed) == (True, 2e-5, "epoch", 3)
    assert args.per_device_train_batch_size == 4 and not args.dataloader_pin_memory
    assert args.label_names == ["start", "end"] and args.lr_scheduler_kwargs == {"num_cycles": 2}


def test_older_names_of_training_arguments(tmp_path):
    line = f"--output_dir {tmp_path} --overwrite_output_dir --evaluation_strategy steps --no_cuda --warmup_ratio 0.1"
    line += " --per_gpu_train_batch_size 2 --logging_dir logs --group_by_length False"
    (args,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses(line.split(), look_for_args_file=False)
    assert (args.eval_strategy, args.use_cpu, args.warmup_steps) == ("steps", True, 0.1)
    assert args.per_device_train_batch_size == 2 and not args.group_by_length
    (args,) = HfArgumentParser(TrainingArguments).parse_dict({"output_dir": "o", "evaluation_strategy": "epoch"})
    assert args.eval_strategy == "epoch"


def test_a_field_with_an_older_name_of_another_dataclass():
    @dataclasses.dataclass
    class Data:
        overwrite_output_dir: str = "never"

    line = ["--overwrite_output_dir", "always", "--output_dir", "o"]
    training, data = HfArgumentParser((TrainingArguments, Data)).parse_args_into_dataclasses(
        line, look_for_args_file=False
    )
    assert data.overwrite_output_dir == "always" and training.output_dir == "o"


@pytest.mark.parametrize(
    ("text", "value"), [("Yes", True), ("t", True), ("1", True), ("no", False), ("0", False), (True, True)]
)
def test_words_for_truths(text, value):
    assert string_to_bool(text) is value
    with pytest.raises(argparse.ArgumentTypeError, match="'perhaps'"):
        string_to_bool("perhaps")


@pytest.mark.parametrize("kind", [TrainingArguments, Seq2SeqTrainingArguments])
def test_every_option_has_a_help_text(kind):
    parser = HfArgumentParser(kind)
    shown = [action for action in parser._actions if action.help is not argparse.SUPPRESS]
    assert [action.option_strings[0] for action in shown if not action.help] == []
    text = " ".join(parser.format_help().split())
    assert "Passes over the training data; may be fractional. (default: 3.0)" in text
    assert "their progress is restored in any case." in text  # the second line of an entry


def test_help_texts_from_a_docstring():
    @dataclasses.dataclass
    class Sizes:
        """Sizes.

        Args:
            width, height: In pixels,
                100% by default.
            depth: Replaced by the metadata.

        Example:
            other: not a field.
        """

        width: int = 1
        height: int = 1
        depth: int = dataclasses.field(default=1, metadata={"help": "In bits."})
        other: int = 1

    parser = HfArgumentParser(Sizes)
    text = " ".join(parser.format_help().split())
    assert text.count("In pixels, 100% by default. (default: 1)") == 2
    assert "In bits." in text and "Replaced" not in text and "not a field" not in text


def test_a_text_or_a_list_takes_several_words():
    parser = HfArgumentParser(TrainingArguments)
    line = "--output_dir out --report_to none clearml --seed 3"
    with pytest.raises(MissingDependencyError, match="report_to='clearml'"):
        parser.parse_args_into_dataclasses(line.split(), look_for_args_file=False)

    @dataclasses.dataclass
    class Columns:
        keep: list[str] | str | None = None

    for words, value in ((["a"], "a"), (["a", "b"], ["a", "b"])):
        (columns,) = HfArgumentParser(Columns).parse_args_into_dataclasses(["--keep", *words], look_for_args_file=False)
        assert columns.keep == value


def test_option_names_are_not_abbreviated():
    parser = HfArgumentParser(TrainingArguments)
    with pytest.raises(ConfigurationError, match=r"--learning_rat\. Did you mean 'learning_rate'"):
        parser.parse_args_into_dataclasses(["--learning_rat", "1"], look_for_args_file=False)
