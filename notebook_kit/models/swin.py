"""Swin: attention within windows that shift from layer to layer, in stages that merge patches two by two.

Source: Liu et al., Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, 2021.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.fields import Activation, Fraction, NonNegative, Range, Size
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.backbone import Backbone, BackboneConfig
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.image_heads import ForImageClassification, ForMaskedImageModeling, linear_classifier
from notebook_kit.nn.layers import (
    DropPath,
    activated,
    activation,
    merge_heads,
    run_layers,
    split_heads,
    stochastic_depths,
)
from notebook_kit.nn.outputs import BackboneOutput, ModelOutput
from notebook_kit.nn.patches import Grid, as_map, check_pixels, check_sides, mask_patches, resize_positions, sides

__all__ = [
    "SwinBackbone",
    "SwinConfig",
    "SwinForImageClassification",
    "SwinForMaskedImageModeling",
    "SwinImageClassifierOutput",
    "SwinMaskedImageModelingOutput",
    "SwinModel",
    "SwinModelOutput",
    "SwinPreTrainedModel",
]


class SwinConfig(BackboneConfig):
    """Swin's settings; the defaults are those of `microsoft/swin-tiny-patch4-window7-224`.

    Args:
        image_size: Side of an image in pixels, or `[height, width]`; others are accepted.
        patch_size: Side of a patch in pixels, or `[height, width]`.
        num_channels: Channels of an image.
        embed_dim: Width of the first stage; each further stage is twice as wide.
        depths: Number of layers of each stage.
        num_heads: Attention heads of each stage.
        window_size: Side of a window, in patches.
        mlp_ratio: Width inside the feed-forward block, as a multiple of the stage's width.
        qkv_bias: Whether queries, keys and values have biases.
        hidden_dropout_prob: Dropout after the embeddings and each block.
        attention_probs_dropout_prob: Dropout of attention weights.
        drop_path_rate: Probability of leaving the last attention out in training; earlier ones grow from 0.
        hidden_act: Activation of the feed-forward block.
        use_absolute_embeddings: Add position embeddings to the patches, besides the relative positions in windows.
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the layer norms.
        encoder_stride: Side of the square of pixels that masked image modeling predicts from each state.
        num_layers: Number of stages; computed.
        hidden_size: Width of the last stage; computed.
        out_features: See `BackboneConfig`.
        out_indices: See `BackboneConfig`.

    Example:
        >>> from notebook_kit import SwinConfig
        >>> config = SwinConfig(embed_dim=16, depths=[1, 1, 1], num_heads=[1, 2, 4])
        >>> config.hidden_size, config.stage_names
        (64, ['stem', 'stage1', 'stage2', 'stage3'])
    """

    model_type: ClassVar[str] = "swin"
    attribute_map: ClassVar[dict[str, str]] = {"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"}

    image_size: Size | list[int] = 224
    patch_size: Size | list[int] = 4
    num_channels: Size = 3
    embed_dim: Size = 96
    depths: list[int] = field(default_factory=lambda: [2, 2, 6, 2])
    num_heads: list[int] = field(default_factory=lambda: [3, 6, 12, 24])
    window_size: Size = 7
    mlp_ratio: Annotated[float, Range(0, 1_000)] = 4.0
    qkv_bias: bool = True
    hidden_dropout_prob: Fraction = 0.0
    attention_probs_dropout_prob: Fraction = 0.0
    drop_path_rate: Fraction = 0.1
    hidden_act: Activation = "gelu"
    use_absolute_embeddings: bool = False
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-5
    encoder_stride: Size = 32
    num_layers: int | None = None
    hidden_size: int | None = None

    @property
    def widths(self) -> list[int]:
        """The width of each stage."""
        return [self.embed_dim * 2**stage for stage in range(len(self.depths))]

    def validate(self) -> None:
        """As in `BackboneConfig`, and that each stage has layers, and heads that divide its width."""
        depths, heads = self.depths, self.num_heads
        if not 0 < len(depths) == len(heads) <= 16 or min(depths) < 1 or min(heads) < 1:
            raise ConfigurationError(
                f"SwinConfig: depths is {depths}, and num_heads is {heads}.",
                next_step="Pass a number of layers and a number of heads (at least 1) for each of at most 16 stages.",
            )
        if any(width % count for width, count in zip(self.widths, heads, strict=True)):
            raise ConfigurationError(
                f"SwinConfig: the stages are {self.widths} wide, which {heads} attention heads do not divide.",
                next_step="Choose numbers of heads that divide the widths.",
            )
        self.num_layers, self.hidden_size = len(depths), self.widths[-1]
        super().validate()
        check_sides(self)


# Outputs -------------------------------------------------------------------------------------------------------------


class SwinModelOutput(ModelOutput):
    """The output of Swin.

    Attributes:
        last_hidden_state: `(batch, positions, width)`, normed.
        pooler_output: `(batch, width)`, the mean over the positions.
        hidden_states: With `output_hidden_states=True`, the embeddings and the output of each stage, `(batch, positions,
            width)`; each stage but the last merges patches at its end.
        attentions: With `output_attentions=True`, of the last layer of each stage, `(batch * windows, heads, from, to)`.
        reshaped_hidden_states: As `hidden_states`, each as a map `(batch, width, rows, columns)`.
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    reshaped_hidden_states: tuple[Tensor, ...] | None = None


class SwinMaskedImageModelingOutput(ModelOutput):
    """As `MaskedImageModelingOutput`, with the states of `SwinModelOutput`."""

    loss: Tensor | None = None
    reconstruction: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    reshaped_hidden_states: tuple[Tensor, ...] | None = None


class SwinImageClassifierOutput(ModelOutput):
    """As `ImageClassifierOutput`, with the states of `SwinModelOutput`."""

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    reshaped_hidden_states: tuple[Tensor, ...] | None = None


# Windows -------------------------------------------------------------------------------------------------------------


def to_windows(x: Tensor, size: int) -> Tensor:
    """`(batch, rows, columns, width)` to `(batch * windows, size * size, width)`."""
    B, H, W, C = x.shape
    return x.view(B, H // size, size, W // size, size, C).transpose(2, 3).reshape(-1, size * size, C)


def from_windows(x: Tensor, size: int, grid: Grid) -> Tensor:
    """`(batch * windows, size * size, width)` to `(batch, rows, columns, width)`."""
    H, W = grid
    C = x.shape[-1]
    return x.view(-1, H // size, W // size, size, size, C).transpose(2, 3).reshape(-1, H, W, C)


def padded(grid: Grid, size: int) -> Grid:
    """The grid, extended to multiples of `size`."""
    return -(-grid[0] // size) * size, -(-grid[1] // size) * size


def shift_mask(grid: Grid, size: int, shift: int, like: Tensor) -> Tensor:
    """Between positions that the shift brought into one window from opposite edges: `(windows, 1, from, to)`, -100 there."""
    regions = []
    for side in grid:
        places = torch.arange(side, device=like.device)
        regions.append((places >= side - size).long() + (places >= side - shift).long())
    region = (regions[0][:, None] * 3 + regions[1])[None, :, :, None]
    windows = to_windows(region, size)[..., 0]  # (windows, size * size)
    apart = windows[:, None, :] != windows[:, :, None]
    return torch.zeros(apart.shape, dtype=like.dtype, device=like.device).masked_fill(apart, -100.0)[:, None]


def relative_places(size: int, device: torch.device) -> Tensor:
    """The row of the bias table for each pair of positions of a window: `(size * size, size * size)`."""
    place = torch.arange(size * size, device=device)
    rows, columns = place // size, place % size
    down, right = (axis[:, None] - axis[None, :] + size - 1 for axis in (rows, columns))
    return down * (2 * size - 1) + right


# Blocks --------------------------------------------------------------------------------------------------------------


class SwinEmbeddings(nn.Module):
    """The patches, normed: pixels `(batch, channels, height, width)` to `(batch, patches, embed_dim)`, and the grid.

    Images are padded with zeros to whole patches.
    """

    def __init__(self, config: SwinConfig, use_mask_token: bool) -> None:
        super().__init__()
        C = config.embed_dim
        self.channels, self.patch = config.num_channels, sides(config.patch_size)
        projection = nn.Conv2d(config.num_channels, C, self.patch, stride=self.patch)
        self.patch_embeddings = nn.ModuleDict({"projection": projection})
        height, width = sides(config.image_size)
        self.grid = (height // self.patch[0], width // self.patch[1])
        self.mask_token = nn.Parameter(torch.zeros(1, 1, C)) if use_mask_token else None
        positions = torch.zeros(1, self.grid[0] * self.grid[1], C) if config.use_absolute_embeddings else None
        self.position_embeddings = None if positions is None else nn.Parameter(positions)
        self.norm = nn.LayerNorm(C)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> tuple[Tensor, Grid]:
        _, H, W = check_pixels(pixel_values, self.channels)
        projection: Any = self.patch_embeddings["projection"]
        pixels = F.pad(pixel_values.to(projection.weight.dtype), (0, -W % self.patch[1], 0, -H % self.patch[0]))
        x = projection(pixels)
        grid = (x.shape[2], x.shape[3])
        x = mask_patches(self.norm(x.flatten(2).transpose(1, 2)), bool_masked_pos, self.mask_token)
        if self.position_embeddings is not None:
            if grid != self.grid and not interpolate:
                raise InputError(
                    f"The images have {grid[0]} x {grid[1]} patches, and this model has positions for {self.grid[0]} x {self.grid[1]}.",
                    next_step="Resize them (the checkpoint's image processor does), or pass interpolate_pos_encoding=True.",
                )
            x = x + resize_positions(self.position_embeddings, self.grid, grid, extra=0)
        return self.dropout(x), grid


class SwinSelfAttention(nn.Module):
    """Self-attention within windows, with a learned bias per relative position, without the output projection."""

    def __init__(self, config: SwinConfig, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.window = heads, config.window_size
        self.query = nn.Linear(width, width, bias=config.qkv_bias)
        self.key = nn.Linear(width, width, bias=config.qkv_bias)
        self.value = nn.Linear(width, width, bias=config.qkv_bias)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * self.window - 1) ** 2, heads))
        self.dropout = config.attention_probs_dropout_prob

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite) -> Tensor:
        q, k, v = (split_heads(project(x), self.heads) for project in (self.query, self.key, self.value))
        places = relative_places(self.window, x.device)
        bias = self.relative_position_bias_table[places].permute(2, 0, 1)[None]  # (1, heads, from, to)
        dropout = self.dropout if self.training else 0.0
        return merge_heads(attend(q, k, v, site=site, mask=mask, bias=bias, dropout=dropout))


class SwinLayer(nn.Module):
    """Attention within windows, then a feed-forward block, each after a layer norm and beside a residual connection.

    Args:
        config: Swin's settings.
        width: The width of the stage.
        heads: The number of heads.
        shifts: Whether the windows are shifted by half a window.
        drop_path: Probability of leaving the attention out in training.
    """

    def __init__(self, config: SwinConfig, width: int, heads: int, shifts: bool, drop_path: float) -> None:
        super().__init__()
        inner = int(config.mlp_ratio * width)
        self.window, self.shift = config.window_size, config.window_size // 2 if shifts else 0
        attention = SwinSelfAttention(config, width, heads)
        self.attention = nn.ModuleDict({"self": attention, "output": nn.ModuleDict({"dense": nn.Linear(width, width)})})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = nn.ModuleDict({"dense": nn.Linear(inner, width)})
        self.layernorm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.activation = activation(config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_path = DropPath(drop_path)
        self.latest: tuple[Grid, int] = ((0, 0), 0)  # grid and shift of the latest call, for `unfold`

    def forward(self, x: Tensor, grid: Grid, always_shifts: bool, site: AttentionSite) -> Tensor:
        shift = self.shift if always_shifts or min(grid) > self.window else 0  # one window sees everything
        self.latest = grid, shift
        x = x + self.drop_path(self.dropout(self.attend_in_windows(self.layernorm_before(x), grid, shift, site)))
        hidden = activated(self.intermediate["dense"], self.activation, self.layernorm_after(x))
        return x + self.dropout(self.output["dense"](hidden))

    def attend_in_windows(self, x: Tensor, grid: Grid, shift: int, site: AttentionSite) -> Tensor:
        """`(batch, positions, width)` to the same."""
        (B, N, C), (H, W) = x.shape, grid
        whole = padded(grid, self.window)
        x = F.pad(x.view(B, H, W, C), (0, 0, 0, whole[1] - W, 0, whole[0] - H))
        mask = None
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
            mask = shift_mask(whole, self.window, shift, x).repeat(B, 1, 1, 1)
        output: Any = self.attention["output"]
        x = self.attention["self"](to_windows(x, self.window), mask, site)
        x = from_windows(output["dense"](x), self.window, whole)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :H, :W].reshape(B, N, C)

    def unfold(self, weights: Tensor) -> Tensor:
        """The weights within windows as weights over the grid of the latest call.

        Args:
            weights: `(batch * windows, heads, from, to)`.

        Returns:
            `(batch, heads, positions, positions)`, 0 between windows. What went to padding is left out.
        """
        (H, W), shift = self.latest
        whole = padded((H, W), self.window)
        size = whole[0] * whole[1]
        places = torch.arange(size, device=weights.device).view(1, *whole, 1).roll((-shift, -shift), (1, 2))
        windows = to_windows(places, self.window)[..., 0]  # (windows, from): the position in the grid
        full = weights.new_zeros(weights.shape[0] // len(windows), weights.shape[1], size, size)
        parts = weights.view(-1, len(windows), *weights.shape[1:])
        for number, window in enumerate(windows):
            full[:, :, window[:, None], window[None, :]] = parts[:, number]
        real = torch.arange(size, device=weights.device).view(whole)[:H, :W].reshape(-1)
        return full[:, :, real[:, None], real[None, :]]


class SwinPatchMerging(nn.Module):
    """Joins each square of four positions: `(batch, positions, width)` to a quarter as many, twice as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        B, _, C = x.shape
        x = F.pad(x.view(B, *grid, C), (0, 0, 0, grid[1] % 2, 0, grid[0] % 2))
        corners = [x[:, row::2, column::2] for column in range(2) for row in range(2)]
        return self.reduction(self.norm(torch.cat(corners, dim=-1).view(B, -1, 4 * C)))


class SwinStage(nn.Module):
    """Layers of one width, whose windows are shifted in every second layer; then patches are merged, but for the last stage."""

    def __init__(self, config: SwinConfig, stage: int, first: int, rates: list[float]) -> None:
        super().__init__()
        self.config = config
        width, heads = config.widths[stage], config.num_heads[stage]
        self.blocks = nn.ModuleList(
            SwinLayer(config, width, heads, shifts=index % 2 == 1, drop_path=rate) for index, rate in enumerate(rates)
        )
        self.downsample = SwinPatchMerging(width) if stage + 1 < len(config.depths) else None
        patches = "patches" if stage == 0 else f"patches {2**stage}x{2**stage}"  # as many as were merged into one
        self.sites = [
            AttentionSite(first + index, heads, rows=patches, unfold=layer.unfold)  # type: ignore[arg-type]
            for index, layer in enumerate(self.blocks)
        ]

    def forward(self, x: Tensor, grid: Grid, always_shifts: bool, output_attentions: bool | None):
        """The output before and after merging, the grid after it, and the attention of the last layer or None."""
        x, _, attentions = run_layers(
            self,
            self.blocks,
            self.sites,
            x,
            grid,
            always_shifts,
            output_attentions=output_attentions,
            output_hidden_states=False,
        )
        last = None if attentions is None else attentions[-1]
        if self.downsample is None:
            return x, x, grid, last
        return x, self.downsample(x, grid), ((grid[0] + 1) // 2, (grid[1] + 1) // 2), last


class SwinEncoder(nn.Module):
    """The stages."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        rates = stochastic_depths(config.drop_path_rate, sum(config.depths))
        starts = [sum(config.depths[:stage]) for stage in range(len(config.depths))]
        self.layers = nn.ModuleList(
            SwinStage(config, stage, start, rates[start : start + depth])
            for stage, (start, depth) in enumerate(zip(starts, config.depths, strict=True))
        )

    def forward(self, x: Tensor, grid: Grid, output_attentions: bool | None, as_backbone: bool = False):
        """Run all stages.

        Args:
            x: `(batch, patches, embed_dim)`.
            grid: Rows and columns of the patches.
            output_attentions: Return the attention of each stage's last layer.
            as_backbone: Shift windows at any resolution, and return maps from before merging.

        Returns:
            The last hidden state; the input and each stage's output; the same as maps; the attention weights.
        """
        states, maps, attentions = [x], [as_map(x, grid)], []
        for stage in self.layers:
            before, x, merged, attention = stage(x, grid, as_backbone, output_attentions)
            states.append(x)
            maps.append(as_map(before, grid) if as_backbone else as_map(x, merged))
            attentions.append(attention)
            grid = merged
        return x, tuple(states), tuple(maps), None if attentions[0] is None else tuple(attentions)


# The backbone --------------------------------------------------------------------------------------------------------


class SwinPreTrainedModel(PreTrainedModel):
    """What the models of Swin share. Derive your models from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import SwinModel, SwinPreTrainedModel
        >>> issubclass(SwinModel, SwinPreTrainedModel)
        True
    """

    config_class = SwinConfig
    base_model_prefix = "swin"
    main_input_name = "pixel_values"
    input_embeddings = ("embeddings.patch_embeddings",)
    swin: SwinModel  # in the heads
    weight_rules = WeightRules(optional=(r"embeddings\.mask_token$",), unused=(r"\.relative_position_index$",))

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`; positions and the mask token start as zeros."""
        if name in ("mask_token", "position_embeddings", "relative_position_bias_table"):
            nn.init.zeros_(getattr(module, name))
        else:
            super().init_parameter(module, name)


class SwinModel(SwinPreTrainedModel):
    """The encoder: pixels of images of any size in, one vector per position of the last stage out, and their mean.

    Args:
        config: Swin's settings.
        add_pooling_layer: Also compute `pooler_output`.
        use_mask_token: Have a token for masked patches.

    Example:
        >>> import torch
        >>> from notebook_kit import SwinConfig, SwinModel
        >>> tiny = SwinConfig(embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, image_size=32)
        >>> out = SwinModel(tiny)(torch.rand(1, 3, 32, 48))
        >>> out.last_hidden_state.shape, out.pooler_output.shape  # 8 x 12 patches, merged to 4 x 6
        (torch.Size([1, 24, 16]), torch.Size([1, 16]))
    """

    def __init__(self, config: SwinConfig, add_pooling_layer: bool = True, use_mask_token: bool = False) -> None:
        super().__init__(config)
        self.embeddings = SwinEmbeddings(config, use_mask_token)
        self.encoder = SwinEncoder(config)
        self.layernorm = nn.LayerNorm(config.widths[-1], eps=config.layer_norm_eps)
        self.pools = add_pooling_layer
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> SwinModelOutput:
        """Encode a batch of images.

        Args:
            pixel_values: `(batch, channels, height, width)`, from the checkpoint's image processor; of any size.
            bool_masked_pos: `(batch, patches)`, 1 for a patch to hide, row by row.
            interpolate_pos_encoding: With `use_absolute_embeddings`, accept images of another size.
            output_attentions: Return the attention weights of each stage's last layer.
            output_hidden_states: Return the embeddings and the output of each stage.

        Raises:
            InputError: If `pixel_values` or the mask does not have this shape, or positions are missing.
        """
        x, grid = self.embeddings(pixel_values, bool_masked_pos, bool(interpolate_pos_encoding))
        x, states, maps, attentions = self.encoder(x, grid, output_attentions)
        x = self.layernorm(x)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return SwinModelOutput(
            last_hidden_state=x,
            pooler_output=x.mean(dim=1) if self.pools else None,
            hidden_states=states if wanted else None,
            attentions=attentions,
            reshaped_hidden_states=maps if wanted else None,
        )


# Heads ---------------------------------------------------------------------------------------------------------------


class SwinForImageClassification(SwinPreTrainedModel, ForImageClassification):
    """Swin with a linear layer on the mean of its last states: one prediction per image.

    Example:
        >>> import torch
        >>> from notebook_kit import SwinConfig, SwinForImageClassification
        >>> tiny = SwinConfig(embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, image_size=32, num_labels=3)
        >>> SwinForImageClassification(tiny)(torch.rand(2, 3, 32, 32), labels=torch.tensor([0, 2])).logits.shape
        torch.Size([2, 3])
    """

    pools = True
    backbone = SwinModel
    output_class = SwinImageClassifierOutput

    def build_head(self, config: SwinConfig) -> None:
        self.classifier = linear_classifier(config.widths[-1], config.num_labels)

    def compute_logits(self, out) -> Tensor:
        return self.classifier(out.pooler_output)


class SwinForMaskedImageModeling(SwinPreTrainedModel, ForMaskedImageModeling):
    """Swin with a head that predicts the pixels of hidden patches.

    Example:
        >>> import torch
        >>> from notebook_kit import SwinConfig, SwinForMaskedImageModeling
        >>> size = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "image_size": 32}
        >>> model = SwinForMaskedImageModeling(SwinConfig(**size, encoder_stride=8))
        >>> model(torch.rand(1, 3, 32, 32), bool_masked_pos=torch.arange(64)[None] < 20).reconstruction.shape
        torch.Size([1, 3, 32, 32])
    """

    backbone = SwinModel
    output_class = SwinMaskedImageModelingOutput
    pads = True

    @property
    def merged(self) -> int:
        """How many patches high and wide the square is that each of the last states stands for."""
        return 2 ** (len(self.config.depths) - 1)

    def patch_states(self, states: Tensor) -> Tensor:
        return states


class SwinBackbone(SwinPreTrainedModel, Backbone):
    """Swin for a detector or a segmenter: the normed maps of the stages that the configuration names, before merging.

    Example:
        >>> import torch
        >>> from notebook_kit import SwinBackbone, SwinConfig
        >>> size = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "image_size": 32}
        >>> maps = SwinBackbone(SwinConfig(**size, out_indices=[1, 2]))(torch.rand(1, 3, 32, 48)).feature_maps
        >>> [tuple(one.shape) for one in maps]
        [(1, 8, 8, 12), (1, 16, 4, 6)]
    """

    weight_rules = WeightRules(
        optional=(r"hidden_states_norms\.",), unused=(r"\.relative_position_index$", r"^(swin\.)?layernorm\.")
    )

    def __init__(self, config: SwinConfig) -> None:
        super().__init__(config)
        self.num_features = [config.embed_dim, *config.widths]
        self.embeddings = SwinEmbeddings(config, use_mask_token=False)
        self.encoder = SwinEncoder(config)
        widths = self.out_feature_channels
        self.hidden_states_norms = nn.ModuleDict({name: nn.LayerNorm(widths[name]) for name in self.out_features})
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BackboneOutput:
        """As `SwinModel.forward`, with `feature_maps`; hidden states are maps, too."""
        x, grid = self.embeddings(pixel_values, None, True)
        _, _, maps, attentions = self.encoder(x, grid, output_attentions, as_backbone=True)
        return BackboneOutput(
            feature_maps=tuple(
                self.hidden_states_norms[name](state.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
                for name, state in self.selected(maps)
            ),
            hidden_states=maps if self.wants_states(output_hidden_states) else None,
            attentions=attentions,
        )
