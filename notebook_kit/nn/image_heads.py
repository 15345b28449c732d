"""The heads on images, each written once for all families: classes of an image or its pixels, and masked pixels."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.errors import InputError
from notebook_kit.nn.heads import Head, join_output
from notebook_kit.nn.losses import semantic_segmentation_loss, sequence_classification_loss
from notebook_kit.nn.outputs import (
    ImageClassifierOutput,
    MaskedImageModelingOutput,
    ModelOutput,
    SemanticSegmenterOutput,
)
from notebook_kit.nn.patches import sides
from notebook_kit.nn.rows import FIRST

__all__ = [
    "ForImageClassification",
    "ForMaskedImageModeling",
    "ForSemanticSegmentation",
    "linear_classifier",
    "masked_pixels_loss",
]


def linear_classifier(width: int, labels: int) -> nn.Module:
    """A linear layer; without labels, a layer that returns its input, for vectors that describe an image."""
    return nn.Linear(width, labels) if labels else nn.Identity()


class ForImageClassification(Head):
    """One prediction per image, `(batch, num_labels)`: a linear layer on the class token.

    Attributes:
        output_class: The class of the output.
    """

    reads = FIRST
    labels_after = "pixel_values"
    not_taken = ("bool_masked_pos",)
    output_class: ClassVar[type[ModelOutput]] = ImageClassifierOutput

    def build_head(self, config: Any) -> None:
        self.classifier = linear_classifier(config.hidden_size, config.num_labels)

    def compute_logits(self, out: Any) -> Tensor:
        return self.classifier(out.last_hidden_state[:, 0])

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> Any:
        """As the backbone's `forward`, with a prediction per image.

        Args:
            labels: Of the kind that `config.problem_type` names; see `sequence_classification_loss`.
            **inputs: Inputs of the backbone.
        """
        out = self.run_backbone(**inputs)
        logits = self.compute_logits(out)
        loss = sequence_classification_loss(logits, labels, self.config)
        return join_output(self.output_class, out, loss=loss, logits=logits)


class ForSemanticSegmentation(Head):
    """A class per pixel, `(batch, num_labels, rows, columns)`: `compute_logits` reads the maps of all stages."""

    labels_after = "pixel_values"
    not_taken = ("bool_masked_pos",)

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> SemanticSegmenterOutput:
        """As the backbone's `forward`, with the scores of each class at each position.

        Args:
            labels: `(batch, height, width)`, the class of each pixel; pixels of the class
                `config.semantic_loss_ignore_index` are ignored. The scores are enlarged to this size for the loss.
            **inputs: Inputs of the backbone.
        """
        wanted = inputs.pop("output_hidden_states", None)
        out = self.run_backbone(**inputs, output_hidden_states=True)
        logits = self.compute_logits(out)
        loss = semantic_segmentation_loss(logits, labels, self.config.semantic_loss_ignore_index)
        if not (self.config.output_hidden_states if wanted is None else wanted):
            out.hidden_states = None
        return join_output(SemanticSegmenterOutput, out, loss=loss, logits=logits)


class ForMaskedImageModeling(Head):
    """The pixels of an image of which the backbone saw only some patches: a linear layer on each patch's state.

    Attributes:
        output_class: The class of the output.
        pads: Whether the backbone pads images to whole patches, rather than ignoring what does not fill one.

    Source: Xie et al., SimMIM: A Simple Framework for Masked Image Modeling, 2022.
    """

    output_class: ClassVar[type[ModelOutput]] = MaskedImageModelingOutput
    pads: ClassVar[bool] = False

    @property
    def merged(self) -> int:
        """How many patches high and wide the square is that each state stands for."""
        return 1

    def build_backbone(self, config: Any) -> None:
        """Create the backbone with a mask token, and without a pooling layer."""
        backbone = self.backbone(config, add_pooling_layer=False, use_mask_token=True)
        setattr(self, self.base_model_prefix, backbone)

    def build_head(self, config: Any) -> None:
        stride = config.encoder_stride
        outputs = stride**2 * config.num_channels
        self.decoder = nn.Sequential(nn.Conv2d(config.hidden_size, outputs, kernel_size=1), nn.PixelShuffle(stride))

    def patch_states(self, states: Tensor) -> Tensor:
        """The states of the patches, `(batch, patches, width)`, without those of other tokens."""
        return states[:, 1:]

    def forward(self, **inputs: Any) -> Any:
        """As the backbone's `forward`, with the predicted pixels; the loss requires `bool_masked_pos`.

        Args:
            **inputs: Inputs of the backbone.

        Raises:
            InputError: If patches are masked, and `encoder_stride` is not the side of what a state stands for.
        """
        mask, stride = inputs.get("bool_masked_pos"), self.config.encoder_stride
        patch = sides(self.config.patch_size)
        square = (patch[0] * self.merged, patch[1] * self.merged)
        if mask is not None and square != (stride, stride):
            raise InputError(
                f"Pixels are predicted in squares of {stride}, and a state stands for {square[0]} x {square[1]} pixels.",
                next_step=f"Create the model with encoder_stride={square[0]}.",
            )
        out = self.run_backbone(**inputs)
        states = self.patch_states(out.last_hidden_state)
        B, _, C = states.shape
        pixels = inputs["pixel_values"]
        reconstruction = self.decoder(states.transpose(1, 2).reshape(B, C, *self.grid_of(pixels, square)))
        loss = None
        if mask is not None:
            loss = masked_pixels_loss(reconstruction, pixels, mask.view(B, *self.grid_of(pixels, patch)), patch)
        return join_output(self.output_class, out, loss=loss, reconstruction=reconstruction)

    def grid_of(self, pixels: Tensor, square: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of squares in an image."""
        H, W = pixels.shape[-2:]
        return (-(-H // square[0]), -(-W // square[1])) if self.pads else (H // square[0], W // square[1])


def masked_pixels_loss(reconstruction: Tensor, pixels: Tensor, mask: Tensor, patch: tuple[int, int]) -> Tensor:
    """The mean absolute error of the pixels of masked patches.

    Args:
        reconstruction: `(batch, channels, height, width)`.
        pixels: The same; what only one of both covers is ignored.
        mask: `(batch, rows, columns)`, 1 for a masked patch.
        patch: Height and width of a patch.
    """
    covered = mask.repeat_interleave(patch[0], 1).repeat_interleave(patch[1], 2)[:, None]
    H, W = (min(sizes) for sizes in zip(*(one.shape[-2:] for one in (reconstruction, pixels, covered)), strict=True))
    reconstruction, pixels, covered = (one[..., :H, :W] for one in (reconstruction, pixels, covered))
    error = F.l1_loss(pixels.to(reconstruction.dtype), reconstruction, reduction="none")
    return (error * covered).sum() / (covered.sum() + 1e-5) / reconstruction.shape[1]
