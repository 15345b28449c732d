"""BLIP: a transformer for images and one for texts that attends to them: captions, answers, and how well texts fit images.

Source: Li et al., BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and Generation, 2022.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import ENCODER_RULES
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.fields import Fraction, NonNegative, Size
from notebook_kit.generation.mixin import GenerationMixin
from notebook_kit.models.blip_text import BlipTextConfig, BlipTextLMHeadModel, BlipTextModel
from notebook_kit.models.blip_vision import BlipVisionConfig, BlipVisionModel
from notebook_kit.models.clip_blocks import CLIPOutput, TwoTowerConfig, TwoTowers
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.outputs import ModelOutput

__all__ = [
    "BlipConfig",
    "BlipForConditionalGeneration",
    "BlipForConditionalGenerationModelOutput",
    "BlipForImageTextRetrieval",
    "BlipForQuestionAnswering",
    "BlipImageTextMatchingModelOutput",
    "BlipModel",
    "BlipOutput",
    "BlipPreTrainedModel",
    "BlipTextConfig",
    "BlipTextLMHeadModel",
    "BlipTextModel",
    "BlipTextVisionModelOutput",
    "BlipVisionConfig",
    "BlipVisionModel",
]


class BlipConfig(TwoTowerConfig):
    """BLIP's settings; the defaults are those of `Salesforce/blip-vqa-base`.

    Args:
        text_config: The `BlipTextConfig`, or a dictionary of its fields.
        vision_config: The `BlipVisionConfig`, or a dictionary of its fields.
        projection_dim: Width of the vectors that `BlipModel` compares.
        logit_scale_init_value: The initial logarithm of the factor of similarities.
        image_text_hidden_size: Width of the vectors that `BlipForImageTextRetrieval` compares.
        label_smoothing: Kept for other libraries.
        initializer_factor: Kept for other libraries.
        initializer_range: Standard deviation of the initial weights.

    Example:
        >>> from notebook_kit import BlipConfig
        >>> config = BlipConfig(vision_config={"hidden_size": 384})
        >>> config.text_config.encoder_hidden_size  # follows
        384
    """

    model_type: ClassVar[str] = "blip"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": BlipTextConfig, "vision_config": BlipVisionConfig}

    text_config: BlipTextConfig = None  # type: ignore[assignment]
    vision_config: BlipVisionConfig = None  # type: ignore[assignment]
    projection_dim: Size = 512
    logit_scale_init_value: float = 2.6592
    image_text_hidden_size: Size = 256
    label_smoothing: Fraction = 0.0
    initializer_factor: NonNegative = 1.0
    initializer_range: NonNegative = 0.02

    def validate(self) -> None:
        """As in `PretrainedConfig`; texts attend to states of the width of the model for images."""
        super().validate()
        self.text_config.encoder_hidden_size = self.vision_config.hidden_size


# Outputs -------------------------------------------------------------------------------------------------------------


class BlipOutput(CLIPOutput):
    """Similarities of texts and images; as `CLIPOutput`, with the outputs of both models as they are.

    Example:
        >>> import torch
        >>> list(BlipOutput(logits_per_image=torch.zeros(2, 3)))
        ['logits_per_image']
    """


class BlipForConditionalGenerationModelOutput(ModelOutput):
    """Scores of the next token of a caption.

    Attributes:
        loss: The mean cross-entropy of the next token, if labels were passed.
        logits: `(batch, tokens, vocabulary)`.
        image_embeds: `(batch, 1 + patches, width)`, the states of the image; `last_hidden_state` is the same.
        hidden_states: Those of the model for images.
        attentions: Those of the model for images.

    Example:
        >>> import torch
        >>> list(BlipForConditionalGenerationModelOutput(logits=torch.zeros(1, 3, 50)))
        ['logits']
    """

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    image_embeds: Tensor = None  # type: ignore[assignment]
    last_hidden_state: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BlipTextVisionModelOutput(ModelOutput):
    """The output of `BlipForQuestionAnswering`; its fields are those of `BlipForConditionalGenerationModelOutput`.

    Example:
        >>> import torch
        >>> list(BlipTextVisionModelOutput(loss=torch.tensor(0.5)))
        ['loss']
    """

    loss: Tensor | None = None
    image_embeds: Tensor = None  # type: ignore[assignment]
    last_hidden_state: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BlipImageTextMatchingModelOutput(ModelOutput):
    """How well texts fit images.

    Attributes:
        itm_score: `(batch, 2)`, scores that they do not fit and that they do; without the head `(images, texts)`, cosines.
        last_hidden_state, hidden_states, attentions: Those of the model for images.
        question_embeds: `(batch, tokens, width)`, the states of the texts.

    Example:
        >>> import torch
        >>> list(BlipImageTextMatchingModelOutput(itm_score=torch.zeros(1, 2)))
        ['itm_score']
    """

    itm_score: Tensor = None  # type: ignore[assignment]
    loss: Tensor | None = None
    image_embeds: Tensor | None = None
    last_hidden_state: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    vision_pooler_output: Tensor | None = None
    attentions: tuple[Tensor, ...] | None = None
    question_embeds: Tensor = None  # type: ignore[assignment]


# Texts with images ---------------------------------------------------------------------------------------------------


class BlipPreTrainedModel(PreTrainedModel):
    """What the models of Blip share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import BlipModel, BlipPreTrainedModel
        >>> issubclass(BlipModel, BlipPreTrainedModel)
        True
    """

    config_class: ClassVar[type[PretrainedConfig]] = BlipConfig
    base_model_prefix = "blip"
    input_embeddings = ("text_decoder.bert.embeddings.word_embeddings",)
    weight_rules = ENCODER_RULES

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`; the factor of similarities starts as the configuration says."""
        if name == "logit_scale":
            nn.init.constant_(module.get_parameter(name), self.config.logit_scale_init_value)
        else:
            super().init_parameter(module, name)

    @property
    def position_limit(self) -> int | None:
        """The maximum length of a text, in tokens."""
        return self.config.get_text_config().max_position_embeddings


class BlipModel(BlipPreTrainedModel, TwoTowers):
    """Both transformers, with a projection each: how well each text fits each image.

    Example:
        >>> import torch
        >>> from notebook_kit import BlipConfig, BlipModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> text, vision = {**size, "vocab_size": 50}, {**size, "image_size": 32, "patch_size": 8}
        >>> model = BlipModel(BlipConfig(text_config=text, vision_config=vision, projection_dim=16))
        >>> model(torch.tensor([[48, 17, 49]]), torch.rand(2, 3, 32, 32)).logits_per_image.shape
        torch.Size([2, 1])
    """

    output_class = BlipOutput
    returns_vectors = False
    input_embeddings = ("text_model.embeddings.word_embeddings",)
    config: BlipConfig

    def __init__(self, config: BlipConfig) -> None:
        super().__init__(config)
        self.text_model = BlipTextModel(config.text_config)
        self.vision_model = BlipVisionModel(config.vision_config)
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.post_init()

    def text_vector(self, pooled: Tensor) -> Tensor:
        """The projection of the pooled output."""
        return self.text_projection(pooled)

    def image_vector(self, pooled: Tensor) -> Tensor:
        """The projection of the pooled output."""
        return self.visual_projection(pooled)


_DECODER_RULES = replace(
    ENCODER_RULES,
    tied={
        "text_decoder.cls.predictions.decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight",
        "text_decoder.cls.predictions.decoder.bias": "text_decoder.cls.predictions.bias",
    },
)


class BlipForConditionalGeneration(BlipPreTrainedModel, GenerationMixin):
    """A transformer for images and a decoder that describes them, from the start or from the beginning of a text.

    Example:
        >>> import torch
        >>> from notebook_kit import BlipConfig, BlipForConditionalGeneration
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> text = {**size, "vocab_size": 50, "bos_token_id": 48, "sep_token_id": 49}
        >>> config = BlipConfig(text_config=text, vision_config={**size, "image_size": 32, "patch_size": 8})
        >>> model = BlipForConditionalGeneration(config).eval()
        >>> model.generate(pixel_values=torch.rand(2, 3, 32, 32), max_new_tokens=4, min_new_tokens=4).shape
        torch.Size([2, 5])
    """

    main_input_name = "pixel_values"
    weight_rules = _DECODER_RULES
    config: BlipConfig

    def __init__(self, config: BlipConfig) -> None:
        super().__init__(config)
        self.vision_model = BlipVisionModel(config.vision_config)
        self.text_decoder = BlipTextLMHeadModel(config.text_config)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BlipForConditionalGenerationModelOutput:
        """Score the next token at each token of captions.

        Args:
            pixel_values: `(batch, channels, height, width)`, from the checkpoint's image processor.
            input_ids: `(batch, tokens)`, the captions so far.
            attention_mask: `(batch, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            labels: `(batch, tokens)`, usually `input_ids` themselves (they are shifted inside); -100 for tokens to ignore.
            interpolate_pos_encoding: Accept images of any size, with positions interpolated.
            logits_to_keep: Compute logits only for this many last tokens (0 for all), or for these indices of tokens.
            output_attentions: Return the attention weights of every layer of the model for images.
            output_hidden_states: Return the hidden states of the model for images.

        Raises:
            InputError: If an input is missing or does not fit.
        """
        vision = self.vision_model(
            pixel_values, interpolate_pos_encoding, output_attentions, output_hidden_states, return_dict=True
        )
        out = self.text_decoder(
            input_ids,
            attention_mask,
            encoder_hidden_states=vision.last_hidden_state,
            labels=labels,
            logits_to_keep=logits_to_keep,
            use_cache=False,
            return_dict=True,
        )
        return BlipForConditionalGenerationModelOutput(
            loss=out.loss,
            logits=out.logits,
            image_embeds=vision.last_hidden_state,
            last_hidden_state=vision.last_hidden_state,
            hidden_states=vision.hidden_states,
            attentions=vision.attentions,
        )

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        **settings: Any,
    ) -> Any:
        """Describe images.

        Args:
            pixel_values: `(images, channels, height, width)`.
            input_ids: `(images, tokens)`, texts that the captions begin with, as the tokenizer returns them: the first token
                is replaced by that for the beginning, and the last one, which ends a text, is left out.
            attention_mask: `(images, tokens)`, 1 for a token and 0 for padding.
            interpolate_pos_encoding: Accept images of any size, with positions interpolated.
            settings: As for `GenerationMixin.generate`.

        Returns:
            `(images, tokens)`, with the token for the beginning.
        """
        states = self.vision_model(pixel_values, interpolate_pos_encoding, return_dict=True).last_hidden_state
        text = self.config.text_config
        if input_ids is None:
            ids = first_tokens(text, states)
        else:
            ids = torch.as_tensor(input_ids, device=states.device)[:, :-1].clone()
            ids[:, :1] = first_tokens(text, states)
        if not ids.shape[1]:
            raise InputError(
                "The beginning of the captions has no tokens but the last, which is left out.",
                next_step="Pass what the tokenizer returns, or leave input_ids out.",
            )
        mask = None if attention_mask is None else attention_mask[:, :-1]
        return written(self.text_decoder, ids, states, {"attention_mask": mask, **settings})


def first_tokens(config: BlipTextConfig, states: Tensor) -> Tensor:
    """The token with which a text begins, once per row of states: `(batch, 1)`."""
    return torch.full((len(states), 1), int(config.bos_token_id or 0), device=states.device)


def written(decoder: BlipTextLMHeadModel, ids: Tensor, states: Tensor, settings: dict[str, Any]) -> Any:
    """What a decoder writes after `ids`, `(batch, tokens)`, about states, `(batch, positions, width)`."""
    ends = {"eos_token_id": decoder.config.sep_token_id, "pad_token_id": decoder.config.pad_token_id}
    given = {name: value for name, value in settings.items() if value is not None or not name.endswith("mask")}
    return decoder.generate(input_ids=ids, encoder_hidden_states=states, **{**ends, **given})


class BlipForQuestionAnswering(BlipPreTrainedModel, GenerationMixin):
    """A transformer for images, one for questions about them, and a decoder that writes the answer.

    Example:
        >>> import torch
        >>> from notebook_kit import BlipConfig, BlipForQuestionAnswering
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> text = {**size, "vocab_size": 50, "bos_token_id": 48, "sep_token_id": 49}
        >>> config = BlipConfig(text_config=text, vision_config={**size, "image_size": 32, "patch_size": 8})
        >>> model = BlipForQuestionAnswering(config).eval()
        >>> question, image = torch.tensor([[2, 17, 3]]), torch.rand(1, 3, 32, 32)
        >>> model(question, image, labels=torch.tensor([[48, 7, 49]])).loss > 0
        tensor(True)
        >>> model.generate(question, image, max_new_tokens=4, min_new_tokens=4).shape
        torch.Size([1, 5])
    """

    weight_rules = _DECODER_RULES
    input_embeddings = ("text_encoder.embeddings.word_embeddings",)
    config: BlipConfig

    def __init__(self, config: BlipConfig) -> None:
        super().__init__(config)
        widths = config.text_config.hidden_size, config.vision_config.hidden_size
        if widths[0] != widths[1]:  # the decoder, which has the settings of the encoder, attends to texts
            raise ConfigurationError(
                f"In this configuration, texts have the width {widths[0]} and images {widths[1]}.",
                next_step="Set the same hidden_size in text_config and vision_config, as answering questions requires.",
            )
        self.vision_model = BlipVisionModel(config.vision_config)
        self.text_encoder = BlipTextModel(config.text_config, add_pooling_layer=False)
        self.text_decoder = BlipTextLMHeadModel(config.text_config, source="text")
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BlipTextVisionModelOutput:
        """Score answers to questions about images.

        Args:
            input_ids: `(batch, tokens)`, the questions.
            pixel_values: `(batch, channels, height, width)`, one image per question.
            decoder_input_ids: `(batch, answer tokens)`; by default the labels.
            decoder_attention_mask: `(batch, answer tokens)`, 1 for a token and 0 for padding; all 1 by default.
            attention_mask: `(batch, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            labels: `(batch, answer tokens)`, the answers (they are shifted inside); -100 for tokens to ignore.
            interpolate_pos_encoding: Accept images of any size, with positions interpolated.
            output_attentions: Return the attention weights of every layer of the model for images.
            output_hidden_states: Return the hidden states of the model for images.

        Raises:
            InputError: If an input is missing or does not fit.
        """
        answers = decoder_input_ids
        if answers is None and labels is not None:  # what follows padding is not read, and padding has no loss
            answers = labels.masked_fill(labels == -100, self.config.text_config.pad_token_id or 0)
        if answers is None:
            raise InputError(
                "Neither labels nor decoder_input_ids were passed.",
                next_step="Pass labels for a loss, or call model.generate(input_ids, pixel_values) for an answer.",
            )
        vision = self.vision_model(
            pixel_values, interpolate_pos_encoding, output_attentions, output_hidden_states, return_dict=True
        )
        questions = read_text(self.text_encoder, input_ids, attention_mask, vision.last_hidden_state)
        out = self.text_decoder(
            answers,
            decoder_attention_mask,
            encoder_hidden_states=questions,
            encoder_attention_mask=attention_mask,
            labels=labels,
            use_cache=False,
            return_dict=True,
        )
        return BlipTextVisionModelOutput(
            loss=out.loss,
            image_embeds=vision.last_hidden_state,
            last_hidden_state=vision.last_hidden_state,
            hidden_states=vision.hidden_states,
            attentions=vision.attentions,
        )

    def encode_images(self, pixel_values: Tensor | None, interpolate_pos_encoding: bool | None = None) -> Tensor:
        """The states of images, `(images, positions, width)`, which do not depend on the questions about them.

        Args:
            pixel_values: `(images, channels, height, width)`.
            interpolate_pos_encoding: Accept images of any size, with positions interpolated.
        """
        return self.vision_model(pixel_values, interpolate_pos_encoding, return_dict=True).last_hidden_state

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        image_embeds: Tensor | None = None,
        **settings: Any,
    ) -> Any:
        """Write answers to questions about images.

        Args:
            input_ids: `(batch, tokens)`, the questions.
            pixel_values: `(batch, channels, height, width)`, one image per question.
            attention_mask: `(batch, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            interpolate_pos_encoding: Accept images of any size, with positions interpolated.
            image_embeds: `(batch, positions, width)`, in place of `pixel_values`: what `encode_images` returned for them.
            settings: As for `GenerationMixin.generate`.

        Returns:
            `(batch, tokens)`, with the token for the beginning. Padding of a question does not change its answer.
        """
        if image_embeds is None:
            image_embeds = self.encode_images(pixel_values, interpolate_pos_encoding)
        questions = read_text(self.text_encoder, input_ids, attention_mask, image_embeds)
        ids = first_tokens(self.config.text_config, questions)
        return written(self.text_decoder, ids, questions, {"encoder_attention_mask": attention_mask, **settings})


def read_text(encoder: BlipTextModel, input_ids: Any, attention_mask: Tensor | None, images: Tensor) -> Tensor:
    """The states of texts that attend to images, `(batch, tokens, width)`.

    Raises:
        InputError: If there are not as many texts as images.
    """
    if isinstance(input_ids, Tensor) and input_ids.shape[0] != images.shape[0]:
        raise InputError(
            f"There are {input_ids.shape[0]} texts and {images.shape[0]} images.",
            next_step="Pass one image per text; repeat an image that has several texts.",
        )
    out = encoder(input_ids, attention_mask, encoder_hidden_states=images, return_dict=True)
    return out.last_hidden_state


class BlipForImageTextRetrieval(BlipPreTrainedModel):
    """A transformer for images and one for texts: whether each text fits its image.

    Example:
        >>> import torch
        >>> from notebook_kit import BlipConfig, BlipForImageTextRetrieval
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> vision = {**size, "image_size": 32, "patch_size": 8}
        >>> model = BlipForImageTextRetrieval(BlipConfig(text_config={**size, "vocab_size": 50}, vision_config=vision))
        >>> texts, images = torch.tensor([[2, 17, 3], [2, 8, 3]]), torch.rand(2, 3, 32, 32)
        >>> model(texts, images).itm_score.shape, model(texts, images[:1], use_itm_head=False).itm_score.shape
        (torch.Size([2, 2]), torch.Size([1, 2]))
    """

    input_embeddings = ("text_encoder.embeddings.word_embeddings",)
    config: BlipConfig

    def __init__(self, config: BlipConfig) -> None:
        super().__init__(config)
        width = config.text_config.hidden_size
        self.vision_model = BlipVisionModel(config.vision_config)
        self.text_encoder = BlipTextModel(config.text_config, add_pooling_layer=False)
        self.vision_proj = nn.Linear(config.vision_config.hidden_size, config.image_text_hidden_size)
        self.text_proj = nn.Linear(width, config.image_text_hidden_size)
        self.itm_head = nn.Linear(width, 2)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        use_itm_head: bool = True,
        attention_mask: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BlipImageTextMatchingModelOutput:
        """Compare texts with images.

        Args:
            input_ids: `(texts, tokens)`, from the checkpoint's tokenizer.
            pixel_values: `(images, channels, height, width)`; with the head, one image per text.
            use_itm_head: Let texts attend to their images, and score each pair; otherwise compare every text with every image
                by vectors.
            attention_mask: `(texts, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            interpolate_pos_encoding: Accept images of any size, with positions interpolated.
            output_attentions: Return the attention weights of every layer of the model for images.
            output_hidden_states: Return the hidden states of the model for images.

        Raises:
            InputError: If an input is missing or does not fit.
        """
        vision = self.vision_model(
            pixel_values, interpolate_pos_encoding, output_attentions, output_hidden_states, return_dict=True
        )
        if use_itm_head:
            texts = read_text(self.text_encoder, input_ids, attention_mask, vision.last_hidden_state)
            score = self.itm_head(texts[:, 0])
        else:
            texts = self.text_encoder(input_ids, attention_mask, return_dict=True).last_hidden_state
            images = F.normalize(self.vision_proj(vision.last_hidden_state[:, 0]), dim=-1)
            score = images @ F.normalize(self.text_proj(texts[:, 0]), dim=-1).T
        return BlipImageTextMatchingModelOutput(
            itm_score=score,
            last_hidden_state=vision.last_hidden_state,
            hidden_states=vision.hidden_states,
            attentions=vision.attentions,
            question_embeds=texts,
        )
