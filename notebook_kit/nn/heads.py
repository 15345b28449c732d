"""The heads of all families, each written once.

A head computes what is defined here from the output of a backbone, which the family's file names:

    class BertForTokenClassification(BertPreTrainedModel, ForTokenClassification):
        backbone = BertModel

A family whose head has other layers overrides `build_head`, which creates them under the names used in its checkpoints,
and `compute_logits`, which maps the backbone's output to the logits.

The `forward` of a head takes its labels and `**inputs`, which it passes on to the backbone. But the Trainer, the pipelines,
`help()` and the documentation read a model's inputs from the signature of `forward`. The inputs differ between families
(DistilBERT has no segments, a decoder has a cache), so instead of repeating them here, a class that names its backbone gets a
`forward` with a signature in which the backbone's inputs replace `**inputs`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError
from notebook_kit.nn.base import PreTrainedModel
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
from notebook_kit.nn.rows import FIRST, only_seen_here, reading

if TYPE_CHECKING:
    from notebook_kit.configuration import PretrainedConfig

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

# Arguments of a backbone that are not inputs; heads take them as `**options`.
_OPTIONS = ("use_cache", "output_attentions", "output_hidden_states")


class Head(PreTrainedModel):
    """A backbone with layers for one task; the base of all heads.

    Attributes:
        backbone: The family's model without a head.
        pools: Whether the head reads `pooler_output`, so that the backbone needs its pooling layer.
        reads: The rows of the backbone's last states that the head reads; None for all. A class that overrides `forward` or
            `compute_logits` reads all, unless it says otherwise.
        takes_cache: Whether the backbone has a cache of keys and values; set automatically from the backbone.
        returns_cache: Whether the head's output includes that cache.
        labels_after: The input that precedes the labels among positional arguments; by default the last input.
        not_taken: Inputs of the backbone that this head does not take.
        num_labels: Number of labels, from the configuration.
        dropout_fields: Configuration fields for the dropout before the classifier; the first one that is set applies.
    """

    backbone: ClassVar[type[Any]]
    pools: ClassVar[bool] = False
    reads: ClassVar[slice | None] = None
    takes_cache: ClassVar[bool] = False
    returns_cache: ClassVar[bool] = False
    labels_after: ClassVar[str | None] = None
    not_taken: ClassVar[tuple[str, ...]] = ()
    dropout_fields: ClassVar[tuple[str, ...]] = ("classifier_dropout", "hidden_dropout", "hidden_dropout_prob")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        definer = {name: _definer(cls, name) for name in ("reads", "forward", "compute_logits")}
        if definer["reads"] > min(definer.values()):
            cls.reads = None
        if "backbone" in vars(cls):
            cls.reads = cls.reads  # beside the `forward` that this class gets
            cls.takes_cache = "use_cache" in inspect.signature(cls.backbone.forward).parameters
            cls.forward = _with_inputs_of_backbone(cls)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.build_backbone(config)
        self.build_head(config)
        self.post_init()

    def build_backbone(self, config: Any) -> None:
        """Create the backbone as the attribute `base_model_prefix`, with a pooling layer only if the head reads it."""
        if isinstance(self, self.backbone):
            return  # the head is its own backbone
        can_pool = "add_pooling_layer" in inspect.signature(self.backbone.__init__).parameters
        options = {"add_pooling_layer": self.pools} if can_pool else {}
        setattr(self, self.base_model_prefix, self.backbone(config, **options))

    def build_head(self, config: Any) -> None:
        """Create the head's layers."""
        raise NotImplementedError

    def compute_logits(self, out: Any) -> Tensor:
        """The logits, computed from the backbone's output."""
        raise NotImplementedError

    def run_backbone(self, **inputs: Any) -> Any:
        """The backbone's output for these inputs; without a cache if the head does not return it."""
        if self.takes_cache and not self.returns_cache:
            inputs.setdefault("use_cache", False)
        if isinstance(self, self.backbone):
            return self.backbone.forward(self, **inputs)
        if self.reads is not None and only_seen_here(self, self.base_model):
            with reading(self.reads):
                return self.base_model(**inputs, return_dict=True)
        return self.base_model(**inputs, return_dict=True)

    def classifier_dropout(self, config: Any) -> nn.Dropout:
        """The dropout before the classifier, from the first of `dropout_fields` that is set; 0.1 if none is."""
        values = (getattr(config, name, None) for name in self.dropout_fields)
        return nn.Dropout(next((value for value in values if value is not None), 0.1))


def _definer(cls: type[Head], name: str) -> int:
    """The place in the order of bases of the class that defines an attribute."""
    return next(place for place, base in enumerate(cls.__mro__) if name in vars(base))


def _with_inputs_of_backbone(cls: type[Head]) -> Callable[..., Any]:
    """The `forward` of a head with the inputs of its backbone in its signature, also by position."""
    forward = inspect.unwrap(cls.forward)
    (self_parameter, *labels), inputs = _split(inspect.signature(forward))
    if inputs is None:
        return cls.forward  # it already lists its inputs
    accepted = inspect.signature(cls.backbone.forward).parameters
    omitted = (*_OPTIONS, *cls.not_taken, *(() if cls.returns_cache else ("past_key_values",)))
    names = [name for name in accepted if name not in ("self", *omitted)]
    index = names.index(cls.labels_after) + 1 if cls.labels_after else len(names)
    parameters = [accepted[name] for name in names]
    labels = [label.replace(kind=label.POSITIONAL_OR_KEYWORD) for label in labels]
    last = [label for label in labels if label.name == "logits_to_keep"]
    parameters[index:index] = [label for label in labels if label not in last]
    parameters += last
    by_position = [parameter.name for parameter in parameters]
    options = "DecoderOptions" if cls.takes_cache else "OutputOptions"
    parameters.append(inputs.replace(name="options", annotation=f"Unpack[{options}]"))

    @wraps(forward)
    def named(self: Head, *args: Any, **kwargs: Any) -> Any:
        if len(args) > len(by_position):
            raise TypeError(f"{cls.__name__} takes {len(by_position)} positional inputs, and got {len(args)}.")
        return forward(self, **dict(zip(by_position, args, strict=False)), **kwargs)

    named.__signature__ = inspect.signature(forward).replace(parameters=[self_parameter, *parameters])  # type: ignore[attr-defined]
    return named


def _split(signature: inspect.Signature) -> tuple[list[inspect.Parameter], inspect.Parameter | None]:
    """The parameters before `**inputs`, and `**inputs` itself if present."""
    parameters = list(signature.parameters.values())
    return (parameters[:-1], parameters[-1]) if parameters[-1].name == "inputs" else (parameters, None)


def join_output(kind: type[Output], out: ModelOutput, **values: Any) -> Output:
    """An output of class `kind`, with the head's `values` and the fields it shares with the backbone's output `out`."""
    shared = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind({name: value for name, value in out.items() if name in shared}, **values)


# Layers --------------------------------------------------------------------------------------------------------------


class ClassificationHead(nn.Module):
    """Two linear layers with dropout before each: `(batch, width)` to `(batch, labels)`.

    Args:
        width: Width of the input.
        labels: Number of scores.
        dropout: The dropout module.
        activation: Name of the activation between the layers.
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


# Heads with one result per text --------------------------------------------------------------------------------------


class PooledHead(Head):
    """The base of heads that score a whole text: a linear layer on the pooled output, `(batch, width)`."""

    pools = True
    reads = FIRST

    @property
    def num_scores(self) -> int:
        """Number of scores per text."""
        return self.config.num_labels

    def build_head(self, config: Any) -> None:
        self.dropout = self.classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, self.num_scores)

    def compute_logits(self, out: Any) -> Tensor:
        return self.classifier(self.dropout(out.pooler_output))


class ForSequenceClassification(PooledHead):
    """One prediction per text, `(batch, num_labels)`."""

    reads = FIRST

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> SequenceClassifierOutput:
        """As the backbone's `forward`, with a prediction per text.

        Args:
            labels: Of the kind that `config.problem_type` names; see `sequence_classification_loss`.
            **inputs: Inputs of the backbone.
        """
        out = self.run_backbone(**inputs)
        logits = self.compute_logits(out)
        loss = sequence_classification_loss(logits, labels, self.config)
        return join_output(SequenceClassifierOutput, out, loss=loss, logits=logits)


class FirstTokenForSequenceClassification(ForSequenceClassification):
    """One prediction per text, from two layers on the first token's state.

    Attributes:
        activation: Name of the activation between the layers.
    """

    pools = False
    reads = FIRST
    activation: ClassVar[str] = "tanh"
    classifier: FirstTokenHead  # type: ignore[assignment]

    def build_head(self, config: Any) -> None:
        dropout = self.classifier_dropout(config)
        self.classifier = FirstTokenHead(config.hidden_size, config.num_labels, dropout, self.activation)

    def compute_logits(self, out: Any) -> Tensor:
        return self.classifier(out.last_hidden_state)


class ForMultipleChoice(PooledHead):
    """One score per choice, such as each of four endings of a text.

    Inputs have an additional axis, `(batch, choices, tokens)`, and `logits` are `(batch, choices)`. Hidden states and
    attentions have the shape `(batch * choices, ...)`.
    """

    reads = FIRST

    @property
    def num_scores(self) -> int:
        """One: each choice counts as a text."""
        return 1

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> MultipleChoiceModelOutput:
        """As the backbone's `forward`, with inputs of shape `(batch, choices, tokens)`.

        Args:
            labels: `(batch,)`, the index of the right choice.
            **inputs: Inputs of the backbone, with the additional axis.

        Raises:
            InputError: If the inputs lack that axis.
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
                        next_step="Tokenize each choice, pad all to the same length, and stack them: ids.view(batch, choices, -1).",
                    )
                return given.shape[1]
        return 1  # without any input, the backbone raises the error


class DecoderForSequenceClassification(Head):
    """One prediction per text, from its last token: in a decoder, only this state depends on the whole text."""

    returns_cache = True

    def build_head(self, config: Any) -> None:
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> SequenceClassifierOutputWithPast:
        """As the backbone's `forward`, with a prediction per text.

        Args:
            labels: Of the kind that `config.problem_type` names; see `sequence_classification_loss`.
            **inputs: Inputs of the backbone.

        Raises:
            InputError: If there are several texts and `config.pad_token_id` is None.
        """
        out = self.run_backbone(**inputs)
        logits = last_token_logits(self.score(out.last_hidden_state), inputs.get("input_ids"), self.config)
        loss = sequence_classification_loss(logits, labels, self.config)
        return join_output(SequenceClassifierOutputWithPast, out, loss=loss, logits=logits)


def last_token_logits(logits: Tensor, input_ids: Tensor | None, config: PretrainedConfig) -> Tensor:
    """The logits at each text's last token, `(batch, labels)`, whichever side the padding is on.

    Args:
        logits: `(batch, tokens, labels)`.
        input_ids: `(batch, tokens)`; without them, the last position counts as the last token.
        config: Provides `pad_token_id`.

    Raises:
        InputError: If there are several texts and `config.pad_token_id` is None.
    """
    pad = config.pad_token_id
    if pad is None and logits.shape[0] > 1:
        raise InputError(
            "To find the last token of each text in a batch, the model needs a padding token, and its config has none.",
            next_step="Set model.config.pad_token_id = tokenizer.pad_token_id, or pass one text at a time.",
        )
    if pad is None or input_ids is None:
        return logits[:, -1]
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)
    last = (positions * (input_ids != pad)).argmax(dim=-1).to(logits.device)
    return logits[torch.arange(last.shape[0], device=logits.device), last]


class EncoderDecoderForSequenceClassification(Head):
    """One prediction per text, from the decoder's state at its end; encoder and decoder both read the text."""

    def build_head(self, config: Any) -> None:
        self.classification_head = ClassificationHead(
            config.hidden_size, config.num_labels, self.classifier_dropout(config)
        )

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> Seq2SeqSequenceClassifierOutput:
        """As the backbone's `forward`, with a prediction per text.

        Args:
            labels: Of the kind that `config.problem_type` names; see `sequence_classification_loss`.
            **inputs: Inputs of the backbone, including `input_ids`.

        Raises:
            InputError: If `input_ids` are missing, or a text has no end-of-text token.
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


# Heads with one result per token -------------------------------------------------------------------------------------


class ForTokenClassification(Head):
    """One prediction per token, `(batch, tokens, num_labels)`: a linear layer on each state."""

    def build_head(self, config: Any) -> None:
        self.dropout = self.classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def compute_logits(self, out: Any) -> Tensor:
        return self.classifier(self.dropout(out.last_hidden_state))

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> TokenClassifierOutput:
        """As the backbone's `forward`, with a prediction per token.

        Args:
            labels: `(batch, tokens)`, class indices; -100 for tokens to ignore.
            **inputs: Inputs of the backbone.
        """
        out = self.run_backbone(**inputs)
        logits = self.compute_logits(out)
        return join_output(TokenClassifierOutput, out, loss=cross_entropy(logits, labels), logits=logits)


class ForQuestionAnswering(Head):
    """Two scores per token: whether the answer starts here, and whether it ends here; each `(batch, tokens)`."""

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
            **inputs: Inputs of the backbone.
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
    """As `ForQuestionAnswering`, from the decoder's states; encoder and decoder both read the text."""

    output_class = Seq2SeqQuestionAnsweringModelOutput
    labels_after = "encoder_outputs"


class ForMaskedLM(Head):
    """Scores of the vocabulary at each token, `(batch, tokens, vocabulary)`; each family defines its own layers."""

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> MaskedLMOutput:
        """As the backbone's `forward`, with scores of the vocabulary at each token.

        Args:
            labels: `(batch, tokens)`, the id of the masked word; -100 at all other tokens.
            **inputs: Inputs of the backbone.
        """
        out = self.run_backbone(**inputs)
        logits = self.compute_logits(out)
        return join_output(MaskedLMOutput, out, loss=cross_entropy(logits, labels), logits=logits)


class DecoderForCausalLM(Head):
    """Scores of the next token, `(batch, tokens, vocabulary)`: a linear layer on each state.

    Attributes:
        output_class: The class of the output.
    """

    returns_cache = True
    output_class: ClassVar[type[ModelOutput]] = CausalLMOutputWithPast

    def build_head(self, config: Any) -> None:
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def vocab_size(self) -> int:
        """The number of tokens that are scored."""
        return self.config.vocab_size

    def score_vocabulary(self, states: Tensor) -> Tensor:
        """Scores of the vocabulary at states `(batch, tokens, width)`."""
        return one_row(self.lm_head, states)

    def forward(self, *, labels: Tensor | None = None, logits_to_keep: int | Tensor = 0, **inputs: Any) -> Any:
        """As the backbone's `forward`, with scores of the next token.

        Args:
            labels: `(batch, tokens)`, usually `input_ids` themselves (they are shifted inside); -100 for tokens to ignore.
            logits_to_keep: Compute logits only for this many last tokens (0 for all), or for these indices of tokens.
            **inputs: Inputs of the backbone.
        """
        out = self.run_backbone(**inputs)
        states = out.last_hidden_state
        if isinstance(logits_to_keep, Tensor):
            states = states[:, logits_to_keep]
        elif logits_to_keep:
            states = states[:, -logits_to_keep:]
        logits = self.score_vocabulary(states)
        return join_output(self.output_class, out, loss=self.loss(logits, labels), logits=logits)

    def loss(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        """The mean cross-entropy of each label after the first, with the logits of the token before it."""
        return next_token_loss(logits, labels)
