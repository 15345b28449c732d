"""The heads of all families, each written once.

A head has two halves: what it computes, which is here, and the backbone that it reads, which a family's file names:

    class BertForTokenClassification(ForTokenClassification, BertPreTrainedModel):
        backbone = BertModel

A family whose head has other layers overrides `build_head`, which creates them under the names that its checkpoints use,
and `compute_logits`, which leads from the backbone's output to the logits.

The `forward` of a head takes its labels and `**inputs`, whatever the backbone takes. But the Trainer and the pipelines read
the signature of `forward` to learn which inputs a model has, and so do `help()` and the documentation. The lists differ
between families (DistilBERT has no segments, MPNet neither, a decoder has a cache), so they are not repeated here: once a
class names its backbone, its `forward` gets a signature in which the backbone's inputs stand in place of `**inputs`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from notebook_kit.errors import InputError
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.decoder import kept, last_token_logits
from notebook_kit.nn.encoder_decoder import end_of_text_states
from notebook_kit.nn.few_rows import one_row
from notebook_kit.nn.layers import ACTIVATIONS
from notebook_kit.nn.losses import (
    cross_entropy,
    next_token_loss,
    question_answering_loss,
    sequence_classification_loss,
)
from notebook_kit.nn.outputs import (
    CausalLMOutputWithPast,
    MaskedLMOutput,
    ModelOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    Seq2SeqQuestionAnsweringModelOutput,
    Seq2SeqSequenceClassifierOutput,
    SequenceClassifierOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)

__all__ = [
    "ClassificationHead",
    "DecoderForCausalLM",
    "DecoderForSequenceClassification",
    "EncoderDecoderForQuestionAnswering",
    "EncoderDecoderForSequenceClassification",
    "FirstTokenForSequenceClassification",
    "FirstTokenHead",
    "ForMaskedLM",
    "ForMultipleChoice",
    "ForQuestionAnswering",
    "ForSequenceClassification",
    "ForTokenClassification",
    "Head",
    "PooledHead",
    "join_output",
]

Output = TypeVar("Output", bound=ModelOutput)
AnswerOutput = QuestionAnsweringModelOutput | Seq2SeqQuestionAnsweringModelOutput

# Arguments of a backbone that are not inputs. A head passes them on as `**options`.
_OPTIONS = ("use_cache", "output_attentions", "output_hidden_states")


class Head(PreTrainedModel):
    """A backbone with layers for one task; the base of all heads.

    Attributes:
        backbone: The family's model without a head.
        pools: Whether the head reads the `pooler_output`, so that the backbone needs its pooling layer.
        takes_cache: Whether the backbone has a cache of keys and values; follows from the backbone.
        returns_cache: Whether the head's output has that cache.
        labels_after: The input after which labels come in a call by position; the last one unless given.
        dropout_fields: Names of the configuration's fields for the dropout before the classifier; the first that is set counts.
    """

    backbone: ClassVar[type[Any]]
    pools: ClassVar[bool] = False
    takes_cache: ClassVar[bool] = False
    returns_cache: ClassVar[bool] = False
    labels_after: ClassVar[str | None] = None
    dropout_fields: ClassVar[tuple[str, ...]] = ("classifier_dropout", "hidden_dropout", "hidden_dropout_prob")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "backbone" in vars(cls):
            cls.takes_cache = "use_cache" in inspect.signature(cls.backbone.forward).parameters
            cls.forward = _with_inputs_of_backbone(cls)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.build_backbone(config)
        self.build_head(config)
        self.post_init()

    def build_backbone(self, config: Any) -> None:
        """Create the backbone under the family's name for it, with a pooling layer only if the head reads it."""
        if isinstance(self, self.backbone):
            return  # a head that is its own backbone
        can_pool = "add_pooling_layer" in inspect.signature(self.backbone.__init__).parameters
        options = {"add_pooling_layer": self.pools} if can_pool else {}
        setattr(self, self.base_model_prefix, self.backbone(config, **options))

    def build_head(self, config: Any) -> None:
        """Create the head's layers."""
        raise NotImplementedError

    def compute_logits(self, out: Any) -> Tensor:
        """The logits that follow from the backbone's output."""
        raise NotImplementedError

    def run_backbone(self, **inputs: Any) -> Any:
        """The backbone's output for these inputs; it fills no cache that would be dropped."""
        if self.takes_cache and not self.returns_cache:
            inputs.setdefault("use_cache", False)
        if isinstance(self, self.backbone):
            return self.backbone.forward(self, **inputs)
        return self.base_model(**inputs, return_dict=True)

    def classifier_dropout(self, config: Any) -> nn.Dropout:
        """The dropout before the classifier, from the first of `dropout_fields` that is set; 0.1 if none is."""
        values = (getattr(config, name, None) for name in self.dropout_fields)
        return nn.Dropout(next((value for value in values if value is not None), 0.1))


def _with_inputs_of_backbone(cls: type[Head]) -> Callable[..., Any]:
    """The `forward` of a head with the inputs of its backbone, by position too."""
    forward = inspect.unwrap(cls.forward)
    (itself, *labels), inputs = _split(inspect.signature(forward))
    if inputs is None:
        return cls.forward  # it lists its inputs itself
    taken = inspect.signature(cls.backbone.forward).parameters
    left_out = _OPTIONS if cls.returns_cache else (*_OPTIONS, "past_key_values")
    names = [name for name in taken if name not in ("self", *left_out)]
    place = names.index(cls.labels_after) + 1 if cls.labels_after else len(names)
    parameters = [taken[name] for name in names]
    parameters[place:place] = [label.replace(kind=label.POSITIONAL_OR_KEYWORD) for label in labels]
    by_position = [parameter.name for parameter in parameters]
    options = "DecoderOptions" if cls.takes_cache else "OutputOptions"
    parameters.append(inputs.replace(name="options", annotation=f"Unpack[{options}]"))

    @wraps(forward)
    def named(self: Head, *args: Any, **kwargs: Any) -> Any:
        if len(args) > len(by_position):
            raise TypeError(f"{cls.__name__} takes {len(by_position)} inputs by position, and {len(args)} were given.")
        return forward(self, **dict(zip(by_position, args, strict=False)), **kwargs)

    named.__signature__ = inspect.signature(forward).replace(parameters=[itself, *parameters])  # type: ignore[attr-defined]
    return named


def _split(signature: inspect.Signature) -> tuple[list[inspect.Parameter], inspect.Parameter | None]:
    """The parameters before `**inputs`, and `**inputs` itself if it is there."""
    parameters = list(signature.parameters.values())
    return (parameters[:-1], parameters[-1]) if parameters[-1].name == "inputs" else (parameters, None)


def join_output(kind: type[Output], out: ModelOutput, **own: Any) -> Output:
    """An output of `kind` with the head's `own` fields and those that the backbone's output also has."""
    shared = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind({name: value for name, value in out.items() if name in shared}, **own)


# Layers --------------------------------------------------------------------------------------------------------------


class ClassificationHead(nn.Module):
    """Two linear layers with dropout before each: `(batch, width)` to `(batch, labels)`.

    Args:
        width: Of the states.
        labels: How many scores to give.
        dropout: As a module.
        activation: Between the layers.
    """

    def __init__(self, width: int, labels: int, dropout: nn.Dropout, activation: str = "tanh") -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.dropout = dropout
        self.out_proj = nn.Linear(width, labels)
        self.activation = ACTIVATIONS[activation]

    def forward(self, state: Tensor) -> Tensor:
        return self.out_proj(self.dropout(self.activation(self.dense(self.dropout(state)))))


class FirstTokenHead(ClassificationHead):
    """A `ClassificationHead` on the first token: `(batch, tokens, width)` to `(batch, labels)`."""

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states[:, 0])


# Heads on each text ----------------------------------------------------------------------------------------------------


class PooledHead(Head):
    """The base of heads that score a whole text: a linear layer on the pooled output."""

    pools = True

    @property
    def num_scores(self) -> int:
        """How many scores each text gets."""
        return self.config.num_labels

    def build_head(self, config: Any) -> None:
        self.dropout = self.classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, self.num_scores)

    def compute_logits(self, out: Any) -> Tensor:
        return self.classifier(self.dropout(out.pooler_output))


class ForSequenceClassification(PooledHead):
    """One prediction per text."""

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> SequenceClassifierOutput:
        """As the backbone's `forward`, with a prediction per text.

        Args:
            labels: What `config.problem_type` asks for, see `sequence_classification_loss`.
            **inputs: As the backbone takes them.
        """
        out = self.run_backbone(**inputs)
        logits = self.compute_logits(out)
        loss = sequence_classification_loss(logits, labels, self.config)
        return join_output(SequenceClassifierOutput, out, loss=loss, logits=logits)


class FirstTokenForSequenceClassification(ForSequenceClassification):
    """One prediction per text, from two layers on the first token's state.

    Attributes:
        activation: Between the layers.
    """

    pools = False
    activation: ClassVar[str] = "tanh"
    classifier: FirstTokenHead  # type: ignore[assignment]

    def build_head(self, config: Any) -> None:
        dropout = self.classifier_dropout(config)
        self.classifier = FirstTokenHead(config.hidden_size, config.num_labels, dropout, self.activation)

    def compute_logits(self, out: Any) -> Tensor:
        return self.classifier(out.last_hidden_state)


class ForMultipleChoice(PooledHead):
    """One score per choice, such as each of four endings of a text.

    Inputs have one axis more than usual: `(batch, choices, tokens)`. Hidden states and attentions come as
    `(batch * choices, ...)`.
    """

    @property
    def num_scores(self) -> int:
        """Each choice is a text with one score."""
        return 1

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> MultipleChoiceModelOutput:
        """As the backbone's `forward`, with inputs of shape `(batch, choices, tokens)`.

        Args:
            labels: `(batch,)`, the index of the right choice.
            **inputs: As the backbone takes them, with the axis of choices.

        Raises:
            InputError: If the inputs have no axis of choices.
        """
        choices = self._count_choices(inputs)
        flat = {
            name: value.flatten(0, 1) if isinstance(value, Tensor) and value.dim() > 2 else value
            for name, value in inputs.items()
        }
        out = self.run_backbone(**flat)
        logits = self.compute_logits(out).view(-1, choices)
        return join_output(MultipleChoiceModelOutput, out, loss=cross_entropy(logits, labels), logits=logits)

    def _count_choices(self, inputs: dict[str, Any]) -> int:
        for name, axes in (
            ("input_ids", "(batch, choices, tokens)"),
            ("inputs_embeds", "(batch, choices, tokens, width)"),
        ):
            given = inputs.get(name)
            if isinstance(given, Tensor):
                if given.dim() != axes.count(",") + 1:
                    raise InputError(
                        f"{type(self).__name__} takes {name} of shape {axes}, and got {tuple(given.shape)}.",
                        next_step="Tokenize each choice, pad all to one length, and stack them: ids.view(batch, choices, -1).",
                    )
                return given.shape[1]
        return 1  # the backbone raises the error for a call without input


class DecoderForSequenceClassification(Head):
    """One prediction per text, from its last token: a decoder's only state that has seen the whole text."""

    returns_cache = True

    def build_head(self, config: Any) -> None:
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> SequenceClassifierOutputWithPast:
        """As the backbone's `forward`, with a prediction per text.

        Args:
            labels: What `config.problem_type` asks for, see `sequence_classification_loss`.
            **inputs: As the backbone takes them.

        Raises:
            InputError: If there are several texts, and `config.pad_token_id` is None.
        """
        out = self.run_backbone(**inputs)
        logits = last_token_logits(self.score(out.last_hidden_state), inputs.get("input_ids"), self.config)
        loss = sequence_classification_loss(logits, labels, self.config)
        return join_output(SequenceClassifierOutputWithPast, out, loss=loss, logits=logits)


class EncoderDecoderForSequenceClassification(Head):
    """One prediction per text, which encoder and decoder both read, from the decoder's state at the end of the text."""

    def build_head(self, config: Any) -> None:
        self.classification_head = ClassificationHead(
            config.hidden_size, config.num_labels, self.classifier_dropout(config)
        )

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> Seq2SeqSequenceClassifierOutput:
        """As the backbone's `forward`, with a prediction per text.

        Args:
            labels: What `config.problem_type` asks for, see `sequence_classification_loss`.
            **inputs: As the backbone takes them; `input_ids` must be among them.

        Raises:
            InputError: If there are no `input_ids`, or a text has no end-of-text token.
        """
        input_ids = inputs.get("input_ids")
        if input_ids is None:
            raise InputError(
                f"{type(self).__name__} looks for the end-of-text token in input_ids, and got none.",
                next_step="Pass input_ids rather than inputs_embeds.",
            )
        out = self.run_backbone(**inputs)
        logits = self.classification_head(end_of_text_states(out.last_hidden_state, input_ids, self.config))
        loss = sequence_classification_loss(logits, labels, self.config)
        return join_output(Seq2SeqSequenceClassifierOutput, out, loss=loss, logits=logits)


# Heads on each token ---------------------------------------------------------------------------------------------------


class ForTokenClassification(Head):
    """One prediction per token: a linear layer on each state."""

    def build_head(self, config: Any) -> None:
        self.dropout = self.classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def compute_logits(self, out: Any) -> Tensor:
        return self.classifier(self.dropout(out.last_hidden_state))

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> TokenClassifierOutput:
        """As the backbone's `forward`, with a prediction per token.

        Args:
            labels: `(batch, tokens)`, class indices; -100 for tokens that do not count.
            **inputs: As the backbone takes them.
        """
        out = self.run_backbone(**inputs)
        logits = self.compute_logits(out)
        return join_output(TokenClassifierOutput, out, loss=cross_entropy(logits, labels), logits=logits)


class ForQuestionAnswering(Head):
    """Two scores per token: does the answer start here, does it end here."""

    output_class: ClassVar[type[AnswerOutput]] = QuestionAnsweringModelOutput

    def build_head(self, config: Any) -> None:
        self.qa_outputs = nn.Linear(config.hidden_size, 2)

    def compute_logits(self, out: Any) -> Tensor:
        return self.qa_outputs(out.last_hidden_state)

    def forward(
        self, *, start_positions: Tensor | None = None, end_positions: Tensor | None = None, **inputs: Any
    ) -> AnswerOutput:
        """As the backbone's `forward`, with scores of where the answer starts and ends.

        Args:
            start_positions: `(batch,)`, index of the answer's first token.
            end_positions: `(batch,)`, index of its last token.
            **inputs: As the backbone takes them.
        """
        out = self.run_backbone(**inputs)
        logits = self.compute_logits(out)
        return join_output(
            self.output_class,
            out,
            loss=question_answering_loss(logits, start_positions, end_positions),
            start_logits=logits[..., 0].contiguous(),
            end_logits=logits[..., 1].contiguous(),
        )


class EncoderDecoderForQuestionAnswering(ForQuestionAnswering):
    """The same of the decoder's states, where encoder and decoder both read the text."""

    output_class = Seq2SeqQuestionAnsweringModelOutput
    labels_after = "encoder_outputs"


class ForMaskedLM(Head):
    """A score for each word of the vocabulary at each token. Families have their own layers for it."""

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> MaskedLMOutput:
        """As the backbone's `forward`, with scores of the vocabulary.

        Args:
            labels: `(batch, tokens)`, the id of the word that was masked; -100 at all other tokens.
            **inputs: As the backbone takes them.
        """
        out = self.run_backbone(**inputs)
        logits = self.compute_logits(out)
        return join_output(MaskedLMOutput, out, loss=cross_entropy(logits, labels), logits=logits)


class DecoderForCausalLM(Head):
    """A score for each word of the vocabulary to come next, at each token: a linear layer on each state."""

    returns_cache = True

    def build_head(self, config: Any) -> None:
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(
        self, *, labels: Tensor | None = None, logits_to_keep: int | Tensor = 0, **inputs: Any
    ) -> CausalLMOutputWithPast:
        """As the backbone's `forward`, with scores of the next token.

        Args:
            labels: `(batch, tokens)`, usually `input_ids` themselves, as they are shifted inside; -100 for tokens that do not count.
            logits_to_keep: Compute the logits of that many last tokens only; of all if 0.
            **inputs: As the backbone takes them.
        """
        out = self.run_backbone(**inputs)
        logits = one_row(self.lm_head, kept(out.last_hidden_state, logits_to_keep))
        return join_output(CausalLMOutputWithPast, out, loss=next_token_loss(logits, labels), logits=logits)
