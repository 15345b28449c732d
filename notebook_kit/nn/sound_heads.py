"""The heads on sound, each written once for all families: the letters that are spoken, and classes of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from notebook_kit.nn.heads import Head, join_output
from notebook_kit.nn.losses import cross_entropy, ctc_loss
from notebook_kit.nn.outputs import CausalLMOutput, SequenceClassifierOutput

__all__ = ["ForAudioClassification", "ForCTC"]


class SoundHead(Head):
    """The base of both heads: the backbone reads samples, and returns one state per frame."""

    labels_after = "attention_mask"
    not_taken = ("mask_time_indices",)

    def frames_of(self, attention_mask: Tensor | None, input_values: Tensor) -> Tensor:
        """Number of states of each row that are not padding, `(batch,)`; defined by the family."""
        raise NotImplementedError

    def freeze_base_model(self) -> None:
        """Train only the head."""
        self.base_model.requires_grad_(False)


class ForCTC(SoundHead):
    """Scores of the vocabulary at each frame, `(batch, frames, vocabulary)`, for connectionist temporal classification.

    Source: Graves et al., Connectionist Temporal Classification, 2006.
    """

    def build_head(self, config: Any) -> None:
        self.dropout = nn.Dropout(config.final_dropout)
        self.lm_head = nn.Linear(config.state_width, config.vocab_size)

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> CausalLMOutput:
        """As the backbone's `forward`, with scores of the vocabulary at each frame.

        Args:
            labels: `(batch, tokens)`, the transcript; -100 for padding.
            **inputs: Inputs of the backbone.

        Raises:
            InputError: If a label is outside the vocabulary.
        """
        out = self.run_backbone(**inputs)
        logits = self.lm_head(self.dropout(out.last_hidden_state))
        loss = None
        if labels is not None:
            frames = self.frames_of(inputs.get("attention_mask"), inputs["input_values"])
            loss = ctc_loss(logits, labels, frames, self.config)
        return join_output(CausalLMOutput, out, loss=loss, logits=logits)


class ForAudioClassification(SoundHead):
    """One prediction per recording, `(batch, num_labels)`: a projection of each frame's state, their mean, and a linear layer.

    With `config.use_weighted_layer_sum`, the states are a learned mean of those of all layers.
    """

    def build_head(self, config: Any) -> None:
        if config.use_weighted_layer_sum:
            layers = config.num_hidden_layers + 1
            self.layer_weights = nn.Parameter(torch.ones(layers) / layers)
        self.projector = nn.Linear(config.hidden_size, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in the family; all layers start with the same weight."""
        if name == "layer_weights":
            with torch.no_grad():
                self.layer_weights.fill_(1 / len(self.layer_weights))
        else:
            super().init_parameter(module, name)

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> SequenceClassifierOutput:
        """As the backbone's `forward`, with a prediction per recording.

        Args:
            labels: `(batch,)`, class indices.
            **inputs: Inputs of the backbone.
        """
        out = self.run_backbone(**self.with_states(inputs))
        mask = inputs.get("attention_mask")
        frames = None if mask is None else self.frames_of(mask, inputs["input_values"])
        return self.classify(out, frames, labels, inputs)

    def with_states(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """These inputs, with the request for all hidden states if the head needs them."""
        return {**inputs, "output_hidden_states": True} if self.config.use_weighted_layer_sum else dict(inputs)

    def classify(
        self, out: Any, frames: Tensor | None, labels: Tensor | None, options: Mapping[str, Any]
    ) -> SequenceClassifierOutput:
        """The head's output from that of the encoder.

        Args:
            out: The encoder's output.
            frames: `(batch,)`, number of frames of each row that are not padding; all by default.
            labels: `(batch,)`, class indices, or None.
            options: The options of the call: hidden states are returned only if they were asked for.
        """
        states = out.last_hidden_state
        if self.config.use_weighted_layer_sum:
            weights = self.layer_weights.softmax(dim=-1)
            states = torch.stack(out.hidden_states, dim=-1) @ weights
        projected = self.projector(states)
        if frames is None:
            pooled = projected.mean(dim=1)
        else:
            is_sound = torch.arange(projected.shape[1], device=frames.device) < frames[:, None]
            pooled = (projected * is_sound[..., None]).sum(dim=1) / is_sound.sum(dim=1, keepdim=True)
        logits = self.classifier(pooled)
        wanted = options.get("output_hidden_states")
        if not (self.config.output_hidden_states if wanted is None else wanted):
            out.pop("hidden_states", None)
        return join_output(SequenceClassifierOutput, out, loss=cross_entropy(logits, labels), logits=logits)
