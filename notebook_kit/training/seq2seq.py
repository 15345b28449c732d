"""The Trainer for encoder-decoder models, whose evaluations can generate text."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.trainer import Trainer

if TYPE_CHECKING:
    from notebook_kit.training.evaluation import PredictionOutput

__all__ = ["Seq2SeqTrainer", "Seq2SeqTrainingArguments"]


@dataclass(repr=False)
class Seq2SeqTrainingArguments(TrainingArguments):
    """The arguments of the `Seq2SeqTrainer`: those of `TrainingArguments`, and settings for generating text in evaluations.

    Attributes:
        predict_with_generate: Evaluate and predict with generated tokens instead of logits, for ROUGE or BLEU.
        generation_max_length: The maximum length in tokens; by default that of the model's `generation_config`.
        generation_num_beams: The number of beams; by default that of the model's `generation_config`.
        generation_config: A `GenerationConfig`, or a folder or Hub name with one, to use instead of the model's.
        sortish_sampler: Accepted; examples are batched by length anyway.

    Example:
        >>> args = Seq2SeqTrainingArguments("out", predict_with_generate=True, generation_max_length=40)
        >>> args.generation_max_length, args.per_device_eval_batch_size
        (40, 8)
    """

    _: dataclasses.KW_ONLY
    sortish_sampler: bool = False
    predict_with_generate: bool = False
    generation_max_length: int | None = None
    generation_num_beams: int | None = None
    generation_config: Any = None

    def to_dict(self) -> dict[str, Any]:
        """All values; the token is replaced by a placeholder, and `generation_config` by a dictionary."""
        values = super().to_dict()
        if hasattr(self.generation_config, "to_dict"):
            values["generation_config"] = self.generation_config.to_dict()
        return values


class Seq2SeqTrainer(Trainer):
    """Fine-tunes and evaluates an encoder-decoder model; see `Trainer` for the arguments.

    With `Seq2SeqTrainingArguments(predict_with_generate=True)` predictions are generated tokens, an integer array of shape
    (examples, tokens), which `compute_metrics` decodes. They are padded with the padding token. Labels are padded with -100,
    which `tokenizer.decode` rejects: replace it first.

    Example:
        >>> import tempfile
        >>> from notebook_kit import Seq2SeqTrainer, Seq2SeqTrainingArguments, T5Config, T5ForConditionalGeneration
        >>> tiny = T5Config(d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2, vocab_size=30)
        >>> data = [{"input_ids": [5, 6, 7, 1], "labels": [7, 6, 5, 1]}] * 4
        >>> args = Seq2SeqTrainingArguments(tempfile.mkdtemp(), max_steps=2, use_cpu=True, save_strategy="no", disable_tqdm=True,
        ...                                 predict_with_generate=True, generation_max_length=6)
        >>> trainer = Seq2SeqTrainer(T5ForConditionalGeneration(tiny), args, train_dataset=data)
        >>> trainer.pop_callback(trainer.callbacks[-1]) is not None  # quietly
        True
        >>> trainer.train().global_step, trainer.predict(data).predictions.shape
        (2, (4, 6))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._generate_options: dict[str, Any] | None = None
        super().__init__(*args, **kwargs)
        wanted = getattr(self.args, "generation_config", None)
        if wanted is not None:
            self.model.generation_config = self.load_generation_config(wanted)

    @staticmethod
    def load_generation_config(wanted: Any) -> Any:
        """A copy of a `GenerationConfig`, or one read from a folder or a Hub name."""
        from notebook_kit.generation import GenerationConfig

        if isinstance(wanted, str | os.PathLike):
            return GenerationConfig.from_pretrained(wanted)
        return copy.deepcopy(wanted)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        **options: Any,
    ) -> dict[str, float]:
        """As `Trainer.evaluate`; further options (`max_length`, `num_beams`, ...) go to `model.generate`."""
        with self._generating(options):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test", **options: Any
    ) -> PredictionOutput:
        """As `Trainer.predict`; further options (`max_length`, `num_beams`, ...) go to `model.generate`."""
        with self._generating(options):
            return super().predict(test_dataset, ignore_keys, metric_key_prefix)

    @contextmanager
    def _generating(self, options: dict[str, Any]) -> Iterator[None]:
        """Keep the options for one evaluation, which may cover a dictionary of datasets."""
        before = self._generate_options
        if before is None:
            options = {name: value for name, value in options.items() if value is not None}
            if not {"max_length", "max_new_tokens"} & options.keys() and self._argument("generation_max_length"):
                options["max_length"] = self._argument("generation_max_length")
            if self._argument("generation_num_beams"):
                options.setdefault("num_beams", self._argument("generation_num_beams"))
            self._generate_options = options
        try:
            yield
        finally:
            self._generate_options = before

    def _argument(self, name: str) -> Any:
        return getattr(self.args, name, None)  # plain TrainingArguments have no such names

    def prediction_step(
        self, model: nn.Module, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[torch.Tensor | None, Any, Any]:
        """Loss, generated tokens and labels of a batch; logits instead of tokens without `predict_with_generate`."""
        if prediction_loss_only or not self._argument("predict_with_generate"):
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        prepared = self._prepare_inputs(inputs)
        labels = prepared.get("labels")
        loss = None
        if labels is not None:
            loss, _, _ = super().prediction_step(model, prepared, True, ignore_keys)
        generator: Any = self.accelerator.unwrap_model(model)
        options = dict(self._generate_options or {})
        tokens = generator.generate(**self._to_generate_from(prepared), **options)
        return loss, self._padded(tokens, generator, options), labels

    def _to_generate_from(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A batch without its labels."""
        given = {name: value for name, value in inputs.items() if name not in self.label_names}
        labels, written = inputs.get("labels"), inputs.get("decoder_input_ids")
        if labels is not None and written is not None and labels.shape == written.shape:
            given.pop("decoder_input_ids")  # the labels, shifted by one position
            given.pop("decoder_attention_mask", None)
        return given

    def _padded(self, tokens: torch.Tensor, model: Any, options: dict[str, Any]) -> torch.Tensor:
        """The generated tokens, padded to the length limit, which is the same for all batches."""
        from notebook_kit.generation.configuration import DEFAULTS

        longest = DEFAULTS["max_length"] + 1  # with the start token
        for settings in (model.generation_config.to_dict(), options):  # those of the call take precedence
            if settings.get("max_new_tokens"):
                longest = settings["max_new_tokens"] + 1
            elif settings.get("max_length"):
                longest = settings["max_length"]
        padding = getattr(self.processing_class, "pad_token_id", None)
        if padding is None:
            padding = getattr(model.config, "pad_token_id", None)
        if padding is None or tokens.shape[1] >= longest:
            return tokens
        return nn.functional.pad(tokens, (0, longest - tokens.shape[1]), value=padding)
