"""The heads on images, each written once for all families: classes of an image, and the pixels behind masked patches."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.errors import InputError
from notebook_kit.nn.heads import Head, join_output
from notebook_kit.nn.losses import sequence_classification_loss
from notebook_kit.nn.outputs import ImageClassifierOutput, MaskedImageModelingOutput, ModelOutput
from notebook_kit.nn.patches import sides

__all__ = ["ForImageClassification", "ForMaskedImageModeling", "linear_classifier", "masked_pixels_loss"]


def linear_classifier(width: int, labels: int) -> nn.Module:
    """A linear layer; without labels, a layer that returns its input, for vectors that describe an image."""
    return nn.Linear(width, labels) if labels else nn.Identity()


class ForImageClassification(Head):
    """One prediction per image, `(batch, num_labels)`: a linear layer on the class token.

    Attributes:
        output_class: The class of the output.
    """

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


class ForMaskedImageModeling(Head):
    """The pixels of an image of which the backbone saw only some patches: a linear layer on each patch's state.

    Source: Xie et al., SimMIM: A Simple Framework for Masked Image Modeling, 2022.
    """

    def build_backbone(self, config: Any) -> None:
        """Create the backbone with a mask token, and without a pooling layer."""
        backbone = self.backbone(config, add_pooling_layer=False, use_mask_token=True)
        setattr(self, self.base_model_prefix, backbone)

    def build_head(self, config: Any) -> None:
        self.decoder = self.pixel_decoder(config, config.hidden_size)

    @staticmethod
    def pixel_decoder(config: Any, width: int) -> nn.Sequential:
        """From a map of states `(batch, width, rows, columns)` to pixels, `encoder_stride` times as high and wide."""
        stride = config.encoder_stride
        return nn.Sequential(nn.Conv2d(width, stride**2 * config.num_channels, 1), nn.PixelShuffle(stride))

    def patch_states(self, states: Tensor) -> Tensor:
        """The states of the patches, `(batch, patches, width)`, without those of other tokens."""
        return states[:, 1:]

    def forward(self, **inputs: Any) -> MaskedImageModelingOutput:
        """As the backbone's `forward`, with the predicted pixels; the loss requires `bool_masked_pos`.

        Args:
            **inputs: Inputs of the backbone.

        Raises:
            InputError: If patches are masked, and `encoder_stride` is not the size of a patch.
        """
        config, mask = self.config, inputs.get("bool_masked_pos")
        patch = sides(config.patch_size)
        if mask is not None and patch != (config.encoder_stride,) * 2:
            raise InputError(
                f"Pixels are predicted in squares of {config.encoder_stride}, and masked in patches of {config.patch_size}.",
                next_step="Create the model with encoder_stride equal to patch_size.",
            )
        out = self.run_backbone(**inputs)
        states = self.patch_states(out.last_hidden_state)
        B, _, C = states.shape
        pixels = inputs["pixel_values"]
        rows, columns = pixels.shape[-2] // patch[0], pixels.shape[-1] // patch[1]
        reconstruction = self.decoder(states.transpose(1, 2).reshape(B, C, rows, columns))
        loss = masked_pixels_loss(reconstruction, pixels, mask, patch)
        return join_output(MaskedImageModelingOutput, out, loss=loss, reconstruction=reconstruction)


def masked_pixels_loss(
    reconstruction: Tensor, pixels: Tensor, mask: Tensor | None, patch: tuple[int, int]
) -> Tensor | None:
    """The mean absolute error of the pixels of masked patches.

    Args:
        reconstruction: `(batch, channels, height, width)`.
        pixels: `(batch, channels, height or more, width or more)`; margins that no patch covers are ignored.
        mask: `(batch, patches)`, 1 for a masked patch, row by row; None for no loss.
        patch: Height and width of a patch.
    """
    if mask is None:
        return None
    *_, channels, H, W = reconstruction.shape
    covered = mask.view(-1, H // patch[0], W // patch[1])
    covered = covered.repeat_interleave(patch[0], 1).repeat_interleave(patch[1], 2)[:, None]
    error = F.l1_loss(pixels[..., :H, :W].to(reconstruction.dtype), reconstruction, reduction="none")
    return (error * covered).sum() / (covered.sum() + 1e-5) / channels
