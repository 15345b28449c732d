"""The recipe of `notebook-kit/tiny-captions-telugu`: that of `notebook-kit/tiny-captions` with captions in Telugu.

The names of things are those of Unicode's CLDR. The encoder starts as that of `notebook-kit/tiny-captions`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from notebook_kit.models.vision_encoder_decoder import VisionEncoderDecoderModel
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.processing.text.auto import PreTrainedTokenizerFast
from notebook_kit.recipes.scene_words import WORDINGS
from notebook_kit.recipes.shared import SEEDS
from notebook_kit.recipes.tiny_captions import LONGEST, CaptionRecipe

__all__ = ["build", "tokenizer"]

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
LETTERS = [chr(code) for code in range(0x0C00, 0x0C80)] + ["\u200c"]
"""The letters and signs of Telugu, and the sign that keeps letters apart."""


def build(output: Path, quick: bool = False, work: Path | None = None) -> dict[str, Any]:
    """As `notebook_kit.recipes.tiny_captions.build`, with two seeds."""
    return CaptionRecipe("Telugu", tokenizer, eyes_of_captions, SEEDS[:2]).build(output, quick, work)


def eyes_of_captions() -> PreTrainedModel:
    """The encoder of `notebook-kit/tiny-captions`."""
    encoder: PreTrainedModel = VisionEncoderDecoderModel.from_pretrained("notebook-kit/tiny-captions").encoder
    return encoder


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of the words in the captions; it spells all others. BERT's own would remove the vowel signs with the accents.

    Example:
        >>> words = tokenizer()
        >>> words.tokenize("చెట్టుకు పైన ఒక చేప")
        ['చెట్టుకు', 'పైన', 'ఒక', 'చేప']
    """
    wording = WORDINGS["Telugu"]
    texts = [*wording.things.values(), *wording.places.values(), *wording.relations.values(), wording.further]
    words = sorted({word for text in texts for word in text.replace("{thing}", "").replace(",", "").split()})
    pieces = [*SPECIAL.values(), ",", *words, *LETTERS, *(f"##{each}" for each in LETTERS)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = Backend(models.WordPiece(vocabulary, unk_token=SPECIAL["unk_token"]))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(",", "isolated")]
    )
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(backend, **SPECIAL, model_max_length=LONGEST)
