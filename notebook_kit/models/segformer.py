"""SegFormer: stages of overlapping patches whose attention reads fewer keys than there are positions, and a light head.

Source: Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, 2021.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.fields import Activation, Fraction, NonNegative, Size
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.image_heads import ForImageClassification, ForSemanticSegmentation, linear_classifier
from notebook_kit.nn.layers import (
    DropPath,
    activation,
    merge_heads,
    recording,
    run_layers,
    split_heads,
    stochastic_depths,
)
from notebook_kit.nn.outputs import BaseModelOutput
from notebook_kit.nn.patches import Grid, as_map, as_sequence, check_pixels

__all__ = [
    "SegformerConfig",
    "SegformerForImageClassification",
    "SegformerForSemanticSegmentation",
    "SegformerModel",
    "SegformerPreTrainedModel",
]

_PER_STAGE = ("depths", "sr_ratios", "hidden_sizes", "patch_sizes", "strides", "num_attention_heads", "mlp_ratios")


class SegformerConfig(PretrainedConfig):
    """SegFormer's settings; the defaults are those of the smallest model, `nvidia/segformer-b0-finetuned-ade-512-512`.

    Args:
        num_channels: Channels of an image.
        num_encoder_blocks: Number of stages.
        depths: Number of layers of each stage.
        sr_ratios: How many positions high and wide the square is that each key of a stage summarizes.
        hidden_sizes: Width of each stage.
        patch_sizes: Side of a patch of each stage, in positions of the stage before (in pixels for the first).
        strides: Distance between patches of each stage, in the same units.
        num_attention_heads: Attention heads of each stage.
        mlp_ratios: Width inside the feed-forward blocks of each stage, as a multiple of the stage's width.
        hidden_act: Activation of the feed-forward blocks.
        hidden_dropout_prob: Dropout after each block.
        attention_probs_dropout_prob: Dropout of attention weights.
        classifier_dropout_prob: Dropout before the classifier of pixels.
        initializer_range: Standard deviation of the initial weights.
        drop_path_rate: Probability of leaving the last residual branches out in training; earlier ones grow from 0.
        layer_norm_eps: Kept for other libraries; the norms have an epsilon of 1e-5, as in the published code.
        decoder_hidden_size: Width of the head that classifies pixels.
        semantic_loss_ignore_index: The class of pixels that the loss ignores.
        reshape_last_stage: Whether the last stage returns a map `(batch, width, rows, columns)`, or else
            `(batch, positions, width)`.

    Example:
        >>> from notebook_kit import SegformerConfig
        >>> config = SegformerConfig(depths=[1, 1, 1, 1])
        >>> config.hidden_sizes, config.sr_ratios
        ([32, 64, 160, 256], [8, 4, 2, 1])
    """

    model_type: ClassVar[str] = "segformer"
    attribute_map: ClassVar[dict[str, str]] = {"num_hidden_layers": "num_encoder_blocks"}

    num_channels: Size = 3
    num_encoder_blocks: Size = 4
    depths: list[int] = field(default_factory=lambda: [2, 2, 2, 2])
    sr_ratios: list[int] = field(default_factory=lambda: [8, 4, 2, 1])
    hidden_sizes: list[int] = field(default_factory=lambda: [32, 64, 160, 256])
    patch_sizes: list[int] = field(default_factory=lambda: [7, 3, 3, 3])
    strides: list[int] = field(default_factory=lambda: [4, 2, 2, 2])
    num_attention_heads: list[int] = field(default_factory=lambda: [1, 2, 5, 8])
    mlp_ratios: list[float] = field(default_factory=lambda: [4, 4, 4, 4])
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: Fraction = 0.0
    attention_probs_dropout_prob: Fraction = 0.0
    classifier_dropout_prob: Fraction = 0.1
    initializer_range: NonNegative = 0.02
    drop_path_rate: Fraction = 0.1
    layer_norm_eps: NonNegative = 1e-6
    decoder_hidden_size: Size = 256
    semantic_loss_ignore_index: int = 255
    reshape_last_stage: bool = True

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that each stage has its settings, and heads that divide its width."""
        super().validate()
        for name in _PER_STAGE:
            values = getattr(self, name)
            if len(values) != self.num_encoder_blocks or min(values) <= 0:
                raise ConfigurationError(
                    f"SegformerConfig: {name} is {values}, and num_encoder_blocks is {self.num_encoder_blocks}.",
                    next_step="Pass a number above 0 for each stage.",
                )
        widths, heads = self.hidden_sizes, self.num_attention_heads
        if any(width % count for width, count in zip(widths, heads, strict=True)):
            raise ConfigurationError(
                f"SegformerConfig: the stages are {widths} wide, which {heads} attention heads do not divide.",
                next_step="Choose numbers of heads that divide the widths.",
            )


# Blocks --------------------------------------------------------------------------------------------------------------


class SegformerPatchEmbeddings(nn.Module):
    """Overlapping patches of a map, normed: `(batch, channels, height, width)` to `(batch, positions, width)`, and the grid."""

    def __init__(self, channels: int, width: int, patch: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride, padding=patch // 2)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Grid]:
        x = self.proj(x)
        return self.layer_norm(as_sequence(x)), (x.shape[2], x.shape[3])


class SegformerSelfAttention(nn.Module):
    """Self-attention whose keys and values each summarize a square of `reduction` x `reduction` positions.

    Source: Wang et al., Pyramid Vision Transformer, 2021, section 3.3.
    """

    def __init__(self, config: SegformerConfig, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, stride=reduction)
            self.layer_norm = nn.LayerNorm(width)
        self.dropout = config.attention_probs_dropout_prob
        self.grid: Grid = (0, 0)  # of the latest call, for `unfold`

    def forward(self, x: Tensor, grid: Grid, site: AttentionSite) -> Tensor:
        self.grid = grid
        source = self.summarized(x, grid)
        q, k, v = (
            split_heads(project(states), self.heads)
            for project, states in ((self.query, x), (self.key, source), (self.value, source))
        )
        return merge_heads(attend(q, k, v, site=site, dropout=self.dropout if self.training else 0.0))

    def summarized(self, x: Tensor, grid: Grid) -> Tensor:
        """`(batch, positions, width)` to one state per square; positions that do not fill a square are ignored.

        Raises:
            InputError: If no square fits into the grid.
        """
        if self.reduction == 1:
            return x
        if min(grid) < self.reduction:
            raise InputError(
                f"The images have {grid[0]} x {grid[1]} patches, and this model summarizes squares of "
                f"{self.reduction} x {self.reduction}.",
                next_step="Pass larger images; the checkpoint's image processor does.",
            )
        return self.layer_norm(as_sequence(self.sr(as_map(x, grid))))

    def unfold(self, weights: Tensor) -> Tensor:
        """The weights of the keys, spread evenly over the positions that each key summarizes.

        Args:
            weights: `(batch, heads, positions, keys)`.

        Returns:
            `(batch, heads, positions, positions)`, 0 for positions that no key summarizes. Rows sum to 1.
        """
        r, (H, W) = self.reduction, self.grid
        if r == 1:
            return weights
        rows, columns = H // r, W // r
        squares = weights.view(*weights.shape[:3], rows, columns) / r**2
        spread = squares.repeat_interleave(r, 3).repeat_interleave(r, 4)
        return F.pad(spread, (0, W - columns * r, 0, H - rows * r)).flatten(3)


class SegformerMLP(nn.Module):
    """The feed-forward block, with a convolution per channel that lets positions know where they are."""

    def __init__(self, config: SegformerConfig, width: int, inner: int) -> None:
        super().__init__()
        self.dense1 = nn.Linear(width, inner)
        self.dwconv = nn.ModuleDict({"dwconv": nn.Conv2d(inner, inner, kernel_size=3, padding=1, groups=inner)})
        self.dense2 = nn.Linear(inner, width)
        self.activation = activation(config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = as_sequence(self.dwconv["dwconv"](as_map(self.dense1(x), grid)))
        return self.dropout(self.dense2(self.dropout(self.activation(x))))


class SegformerLayer(nn.Module):
    """Attention, then a feed-forward block, each after a layer norm and beside a residual connection."""

    def __init__(self, config: SegformerConfig, stage: int, drop_path: float) -> None:
        super().__init__()
        width, heads = config.hidden_sizes[stage], config.num_attention_heads[stage]
        self.layer_norm_1 = nn.LayerNorm(width)
        self.attention = nn.ModuleDict(
            {
                "self": SegformerSelfAttention(config, width, heads, config.sr_ratios[stage]),
                "output": nn.ModuleDict({"dense": nn.Linear(width, width)}),
            }
        )
        self.layer_norm_2 = nn.LayerNorm(width)
        self.mlp = SegformerMLP(config, width, int(width * config.mlp_ratios[stage]))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid, site: AttentionSite) -> Tensor:
        output: Any = self.attention["output"]
        attended = output["dense"](self.attention["self"](self.layer_norm_1(x), grid, site))
        x = x + self.drop_path(self.dropout(attended))
        return x + self.drop_path(self.mlp(self.layer_norm_2(x), grid))


class SegformerEncoder(nn.Module):
    """The stages: each merges patches of the map before, runs its layers, and norms."""

    def __init__(self, config: SegformerConfig) -> None:
        super().__init__()
        self.config = config
        channels, widths = [config.num_channels, *config.hidden_sizes], config.hidden_sizes
        self.patch_embeddings = nn.ModuleList(
            SegformerPatchEmbeddings(*sizes)
            for sizes in zip(channels, widths, config.patch_sizes, config.strides, strict=False)
        )
        rates = iter(stochastic_depths(config.drop_path_rate, sum(config.depths)))
        self.block: Any = nn.ModuleList(
            nn.ModuleList(SegformerLayer(config, stage, rate) for rate in itertools.islice(rates, depth))
            for stage, depth in enumerate(config.depths)
        )
        self.layer_norm = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        layers, self.stage_sites = itertools.count(), []
        blocks: Any
        for stage, blocks in enumerate(self.block):
            merged = math.prod(config.strides[1 : stage + 1])  # patches of the first stage, along each side
            patches = "patches" if merged == 1 else f"patches {merged}x{merged}"
            self.stage_sites.append([self.site(next(layers), layer, patches) for layer in blocks])
        self.sites = [site for sites in self.stage_sites for site in sites]

    @staticmethod
    def site(index: int, layer: Any, patches: str) -> AttentionSite:
        """The site of a layer, whose keys are shown spread over the patches that they summarize."""
        attention = layer.attention["self"]
        unfold = attention.unfold if attention.reduction > 1 else None
        return AttentionSite(index, attention.heads, rows=patches, unfold=unfold)

    def forward(
        self, x: Tensor, output_attentions: bool | None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None]:
        """From pixels to the map after each stage, and the attention weights of all layers or None."""
        maps: list[Tensor] = []
        stages = zip(self.patch_embeddings, self.block, self.layer_norm, self.stage_sites, strict=True)
        with recording(self, output_attentions) as record:
            for embeddings, layers, norm, sites in stages:
                states, grid = embeddings(x)
                states, *_ = run_layers(
                    self, layers, sites, states, grid, output_attentions=False, output_hidden_states=False
                )
                states = norm(states)
                x = as_map(states, grid)
                maps.append(x)
        if not self.config.reshape_last_stage:
            maps[-1] = states
        return tuple(maps), None if record is None else record.of(self.sites)


# The backbone --------------------------------------------------------------------------------------------------------


# From the names that transformers 5 has in memory to those in files.
_STAGE = r"\bstages\.(\d+)\."
SEGFORMER_RULES = WeightRules(
    legacy={
        rf"{_STAGE}patch_embeddings\.": r"encoder.patch_embeddings.\1.",
        rf"{_STAGE}blocks\.(\d+)\.layernorm_before\.": r"encoder.block.\1.\2.layer_norm_1.",
        rf"{_STAGE}blocks\.(\d+)\.layernorm_after\.": r"encoder.block.\1.\2.layer_norm_2.",
        rf"{_STAGE}blocks\.(\d+)\.": r"encoder.block.\1.\2.",
        rf"{_STAGE}layer_norm\.": r"encoder.layer_norm.\1.",
        **{rf"\battention\.{name[0]}_proj\.": f"attention.self.{name}." for name in ("query", "key", "value")},
        r"\battention\.o_proj\.": "attention.output.dense.",
        r"\battention\.sequence_reduction\.sequence_reduction\.": "attention.self.sr.",
        r"\battention\.sequence_reduction\.layer_norm\.": "attention.self.layer_norm.",
        r"\bmlp\.fc([12])\.": r"mlp.dense\1.",
        r"\blinear_projections\.": "linear_c.",
    },
    defaulted=(r"num_batches_tracked$",),
)


class SegformerPreTrainedModel(PreTrainedModel):
    """What the models of Segformer share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import SegformerModel, SegformerPreTrainedModel
        >>> issubclass(SegformerModel, SegformerPreTrainedModel)
        True
    """

    config_class = SegformerConfig
    base_model_prefix = "segformer"
    main_input_name = "pixel_values"
    input_embeddings = ("encoder.patch_embeddings.0",)
    segformer: SegformerModel  # in the heads
    weight_rules = SEGFORMER_RULES


class SegformerModel(SegformerPreTrainedModel):
    """The encoder: pixels of images of any size in, a map of features out.

    Args:
        config: SegFormer's settings.

    Example:
        >>> import torch
        >>> from notebook_kit import SegformerConfig, SegformerModel
        >>> tiny = SegformerConfig(hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], depths=[1, 1, 1, 1])
        >>> SegformerModel(tiny)(torch.rand(1, 3, 64, 96)).last_hidden_state.shape
        torch.Size([1, 16, 2, 3])
    """

    def __init__(self, config: SegformerConfig) -> None:
        super().__init__(config)
        self.encoder = SegformerEncoder(config)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutput:
        """Encode a batch of images.

        Args:
            pixel_values: `(batch, channels, height, width)`, from the checkpoint's image processor; of any size.
            output_attentions: Return every layer's attention weights, `(batch, heads, positions, keys)`.
            output_hidden_states: Return the map after every stage.

        Returns:
            States are maps `(batch, width, rows, columns)`.

        Raises:
            InputError: If `pixel_values` does not have this shape, or the images are too small.
        """
        check_pixels(pixel_values, self.config.num_channels)
        assert pixel_values is not None
        maps, attentions = self.encoder(pixel_values.to(self.dtype), output_attentions)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return BaseModelOutput(
            last_hidden_state=maps[-1], hidden_states=maps if wanted else None, attentions=attentions
        )


# Heads ---------------------------------------------------------------------------------------------------------------


class SegformerForImageClassification(SegformerPreTrainedModel, ForImageClassification):
    """SegFormer with a linear layer on the mean of its last map: one prediction per image.

    Example:
        >>> import torch
        >>> from notebook_kit import SegformerConfig, SegformerForImageClassification
        >>> size = {"hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2], "depths": [1, 1, 1, 1]}
        >>> model = SegformerForImageClassification(SegformerConfig(**size, num_labels=3))
        >>> model(torch.rand(2, 3, 64, 64), labels=torch.tensor([0, 2])).logits.shape
        torch.Size([2, 3])
    """

    backbone = SegformerModel

    def build_head(self, config: SegformerConfig) -> None:
        self.classifier = linear_classifier(config.hidden_sizes[-1], config.num_labels)

    def compute_logits(self, out: Any) -> Tensor:
        states = out.last_hidden_state
        return self.classifier(states.mean((2, 3)) if self.config.reshape_last_stage else states.mean(1))


class SegformerDecodeHead(nn.Module):
    """The maps of all stages, at the width of the head and the size of the first, joined and classified per position."""

    def __init__(self, config: SegformerConfig) -> None:
        super().__init__()
        width = config.decoder_hidden_size
        self.linear_c = nn.ModuleList(nn.ModuleDict({"proj": nn.Linear(C, width)}) for C in config.hidden_sizes)
        self.linear_fuse = nn.Conv2d(width * config.num_encoder_blocks, width, kernel_size=1, bias=False)
        self.batch_norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(config.classifier_dropout_prob)
        self.classifier = nn.Conv2d(width, config.num_labels, kernel_size=1)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """`(batch, num_labels, rows, columns)`, of the size of the first map."""
        size, parts = maps[0].shape[2:], []
        for x, layer in zip(maps, self.linear_c, strict=True):
            grid = (x.shape[2], x.shape[3])
            x = as_map(layer["proj"](as_sequence(x)), grid)  # type: ignore[index]
            parts.append(F.interpolate(x, size=size, mode="bilinear", align_corners=False))
        x = self.linear_fuse(torch.cat(parts[::-1], dim=1))
        return self.classifier(self.dropout(F.relu(self.batch_norm(x))))


class SegformerForSemanticSegmentation(SegformerPreTrainedModel, ForSemanticSegmentation):
    """SegFormer with a class per pixel, at a quarter of the image's resolution.

    Example:
        >>> import torch
        >>> from notebook_kit import SegformerConfig, SegformerForSemanticSegmentation
        >>> size = {"hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2], "depths": [1, 1, 1, 1]}
        >>> model = SegformerForSemanticSegmentation(SegformerConfig(**size, num_labels=3))
        >>> out = model(torch.rand(2, 3, 64, 96), labels=torch.randint(0, 3, (2, 64, 96)))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([2, 3, 16, 24]), tensor(True))
    """

    backbone = SegformerModel

    def build_head(self, config: SegformerConfig) -> None:
        self.decode_head = SegformerDecodeHead(config)

    def compute_logits(self, out: Any) -> Tensor:
        *maps, last = out.hidden_states
        if not self.config.reshape_last_stage:
            side = math.isqrt(last.shape[1])
            if side**2 != last.shape[1]:
                raise InputError(
                    f"Without reshape_last_stage, pixels are classified in square images only, and these have {last.shape[1]} "
                    "positions after the last stage.",
                    next_step="Pass square images, or load the model with reshape_last_stage=True.",
                )
            last = as_map(last, (side, side))
        return self.decode_head((*maps, last))
