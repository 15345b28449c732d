"""The losses of the heads: classes of texts, tokens or pixels, the span of an answer, the next token, speech.

With labels None, each returns None, so heads need not check whether labels were passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from notebook_kit.errors import InputError

if TYPE_CHECKING:
    from notebook_kit.configuration import PretrainedConfig

__all__ = [
    "contrastive_loss",
    "cross_entropy",
    "ctc_loss",
    "match_loss",
    "next_token_loss",
    "question_answering_loss",
    "semantic_segmentation_loss",
    "sequence_classification_loss",
    "soft_answers_loss",
    "sum_losses",
]


def sequence_classification_loss(logits: Tensor, labels: Tensor | None, config: PretrainedConfig) -> Tensor | None:
    """The loss of one prediction per text, of the kind that `config.problem_type` names.

    Args:
        logits: `(batch, num_labels)`.
        labels: Class indices `(batch,)`, 0.0 or 1.0 for each label `(batch, num_labels)`, or values for a regression
            `(batch,)` or `(batch, num_labels)`; None for no loss.
        config: If `problem_type` is None, it is set from the first labels: a single label means regression, integers mean
            single-label classification, floats multi-label classification.

    Returns:
        The scalar mean: squared error, cross-entropy, or binary cross-entropy.

    Raises:
        InputError: If the shape or range of the labels does not fit.
    """
    if labels is None:
        return None
    labels = labels.to(logits.device)
    if config.problem_type is None:
        if config.num_labels == 1:
            config.problem_type = "regression"
        elif labels.dtype in (torch.long, torch.int, torch.bool, torch.uint8, torch.int16):
            config.problem_type = "single_label_classification"
        else:
            config.problem_type = "multi_label_classification"
    if config.problem_type == "regression":
        if labels.numel() != logits.numel():
            raise InputError(
                f"Regression labels have shape {tuple(labels.shape)}, and the predicted values have shape {tuple(logits.shape)}.",
                next_step=f"Pass one value per text, or set num_labels to the number of values (it is {config.num_labels}).",
            )
        return F.mse_loss(logits.view(labels.shape), labels.to(logits.dtype))
    if config.problem_type == "multi_label_classification":
        if labels.shape != logits.shape:
            raise InputError(
                f"Multi-label classification takes labels of shape {tuple(logits.shape)}, and got {tuple(labels.shape)}.",
                next_step="Pass 0.0 or 1.0 for each label, or set config.problem_type='single_label_classification' for class indices.",
            )
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    return cross_entropy(logits, labels.long())


def cross_entropy(logits: Tensor, labels: Tensor | None) -> Tensor | None:
    """Mean cross-entropy over all labels, except those to ignore (-100).

    Args:
        logits: `(..., classes)`.
        labels: `(...)`, class indices or -100; None for no loss.

    Raises:
        InputError: If a label is not a class index, or the shapes do not fit.
    """
    if labels is None:
        return None
    classes = logits.shape[-1]
    if labels.numel() != logits.numel() // classes:
        raise InputError(
            f"Labels have shape {tuple(labels.shape)}, and logits have shape {tuple(logits.shape)}.",
            next_step="Pass one class index per prediction.",
        )
    try:
        return F.cross_entropy(logits.view(-1, classes), labels.to(logits.device).reshape(-1))
    except IndexError:
        bad = sorted({int(v) for v in labels.reshape(-1).tolist() if v != -100 and not 0 <= v < classes})
        raise InputError(
            f"Labels {bad[:5]} are outside 0 to {classes - 1}: this head has {classes} classes.",
            next_step="Load the model with num_labels set to your number of classes, and count labels from 0.",
        ) from None


def semantic_segmentation_loss(logits: Tensor, labels: Tensor | None, ignore_index: int) -> Tensor | None:
    """Mean cross-entropy of the class of each pixel; with a single class, binary cross-entropy, of which ignored pixels are 0.

    Args:
        logits: `(batch, classes, rows, columns)`, enlarged to the size of the labels.
        labels: `(batch, height, width)`, class indices or `ignore_index`; with a single class, 0 or 1; None for no loss.
        ignore_index: The class of pixels that do not count.

    Raises:
        InputError: If the labels do not have this shape, or one is not a class.
    """
    if labels is None:
        return None
    labels = labels.to(logits.device).long()
    if labels.dim() != 3 or labels.shape[0] != logits.shape[0]:
        raise InputError(
            f"Labels have shape {tuple(labels.shape)}; expected ({len(logits)}, height, width), a class per pixel.",
            next_step="Pass the maps of classes to the image processor with the images: it returns the labels.",
        )
    classes, counted = logits.shape[1], labels != ignore_index
    is_bad = counted & ((labels < 0) | (labels >= max(classes, 2)))
    if not labels.is_meta and bool(is_bad.any()):  # a graph is traced without values
        bad = labels[is_bad]
        raise InputError(
            f"Labels {bad.unique().tolist()[:5]} are outside 0 to {max(classes, 2) - 1}, and not {ignore_index}, which is ignored.",
            next_step="Load the model with num_labels set to your number of classes; with do_reduce_labels=True, an image "
            "processor counts classes from 1.",
        )
    logits = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    if classes > 1:
        return F.cross_entropy(logits, labels, ignore_index=ignore_index)
    loss = F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), reduction="none")
    return (loss * counted).mean()


def question_answering_loss(logits: Tensor, starts: Tensor | None, ends: Tensor | None) -> Tensor | None:
    """Mean cross-entropy of the positions where the answer starts and ends.

    Args:
        logits: `(batch, tokens, 2)`.
        starts: `(batch,)`, index of the answer's first token; indices past the end of the text are ignored.
        ends: `(batch,)`, index of its last token.
    """
    if starts is None or ends is None:
        return None
    past = logits.shape[1]  # ignores answers lost to truncation
    losses = [
        F.cross_entropy(logits[..., side], target.view(-1).clamp(0, past), ignore_index=past)
        for side, target in enumerate((starts, ends))
    ]
    return (losses[0] + losses[1]) / 2


def soft_answers_loss(logits: Tensor, labels: Tensor | None) -> Tensor | None:
    """The loss of a score per answer, of which several may be right: binary cross-entropy, summed over the answers.

    Args:
        logits: `(batch, answers)`.
        labels: `(batch, answers)`, how right each answer is, from 0 to 1.

    Raises:
        InputError: If the labels do not have this shape.

    Source: Kim et al., Bilinear Attention Networks, 2018, and the code published with it.
    """
    if labels is None:
        return None
    if labels.shape != logits.shape:
        raise InputError(
            f"Labels have shape {tuple(labels.shape)}; expected {tuple(logits.shape)}, how right each answer is, from 0 to 1.",
            next_step="From the index of the only right answer: torch.nn.functional.one_hot(index, model.config.num_labels).",
        )
    labels = labels.to(logits.device, logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, labels) * logits.shape[1]


def contrastive_loss(logits: Tensor) -> Tensor:
    """The loss of similarities: the mean cross-entropy of finding each text's image, and each image's text.

    Args:
        logits: `(texts, images)`; text i belongs to image i.

    Raises:
        InputError: If there are not as many texts as images.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, figure 3.
    """
    check_pairs(logits)
    own = torch.arange(logits.shape[0], device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def check_pairs(logits: Tensor) -> None:
    """Raise an InputError if similarities, `(texts, images)`, are not those of as many texts as images."""
    texts, images = logits.shape
    if texts != images:
        raise InputError(
            f"return_loss compares each text with its image, and there are {texts} texts and {images} images.",
            next_step="Pass one text per image, or leave return_loss out.",
        )


def match_loss(logits: Tensor, labels: Tensor | None) -> Tensor | None:
    """The mean binary cross-entropy of one score per pair of text and picture.

    Args:
        logits: `(batch, 1)`.
        labels: `(batch,)`, 1 where they match and 0 where they do not.

    Raises:
        InputError: If there is not one label per pair.
    """
    if labels is None:
        return None
    if labels.numel() != logits.numel():
        raise InputError(
            f"Labels have shape {tuple(labels.shape)}; expected ({len(logits)},), one per pair of text and picture.",
            next_step="Pass 1 where they match and 0 where they do not.",
        )
    return F.binary_cross_entropy_with_logits(logits.view(-1), labels.to(logits.device, logits.dtype).reshape(-1))


def next_token_loss(logits: Tensor, labels: Tensor | None) -> Tensor | None:
    """Mean cross-entropy of each token, predicted from those before it.

    Args:
        logits: `(batch, tokens, vocabulary)`.
        labels: `(batch, tokens)`, usually the input ids themselves; -100 for tokens to ignore.

    Raises:
        InputError: If the shapes do not fit.
    """
    if labels is None:
        return None
    if labels.shape != logits.shape[:-1]:
        raise InputError(
            f"Labels have shape {tuple(labels.shape)}, and logits have shape {tuple(logits.shape)}.",
            next_step="Pass labels of the shape of input_ids (they are shifted inside), and leave logits_to_keep out.",
        )
    return cross_entropy(logits.float(), F.pad(labels, (0, 1), value=-100)[..., 1:])


def ctc_loss(logits: Tensor, labels: Tensor, frames: Tensor, config: PretrainedConfig) -> Tensor:
    """The loss of a transcript whose tokens are not assigned to frames: the negative log-probability of all assignments.

    Args:
        logits: `(batch, frames, vocabulary)`.
        labels: `(batch, tokens)`; negative labels and the blank are padding.
        frames: `(batch,)`, number of frames of each row.
        config: Provides `pad_token_id`, which is the blank, `ctc_loss_reduction` and `ctc_zero_infinity`.

    Raises:
        InputError: If a label is outside the vocabulary.

    Source: Graves et al., Connectionist Temporal Classification, 2006.
    """
    labels, vocabulary = labels.to(logits.device), logits.shape[-1]
    if labels.numel() and not labels.is_meta and int(labels.max()) >= vocabulary:  # a graph is traced without values
        raise InputError(
            f"The label {int(labels.max())} is outside 0 to {vocabulary - 1}: this model writes {vocabulary} tokens.",
            next_step="Load the model with vocab_size=len(tokenizer), and ignore_mismatched_sizes=True for a new head.",
        )
    blank = config.pad_token_id or 0
    is_token = (labels >= 0) & (labels != blank)
    order = is_token.logical_not().long().argsort(dim=1, stable=True)  # padding last
    scores = logits.float().log_softmax(dim=-1).transpose(0, 1)  # (frames, batch, vocabulary)
    with torch.backends.cudnn.flags(enabled=False):  # its kernel has other limits on lengths
        return F.ctc_loss(
            scores,
            labels.gather(1, order),
            frames.to(logits.device),
            is_token.sum(dim=-1),
            blank=blank,
            reduction=config.ctc_loss_reduction,
            zero_infinity=config.ctc_zero_infinity,
        )


def sum_losses(*losses: Tensor | None) -> Tensor | None:
    """The sum of the losses; None if any of them is None."""
    present = [loss for loss in losses if loss is not None]
    return torch.stack(present).sum() if len(present) == len(losses) else None
