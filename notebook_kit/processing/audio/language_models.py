"""Decoders with an n-gram language model, by the package `pyctcdecode`, and the processor of checkpoints that have one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any, Self

import numpy as np

from notebook_kit.errors import CheckpointError, InputError, MissingDependencyError
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.hub.saving import folder_to_save
from notebook_kit.processing.audio.processors import Wav2Vec2Processor
from notebook_kit.processing.features import BatchFeature

__all__ = ["Wav2Vec2DecoderWithLMOutput", "Wav2Vec2ProcessorWithLM", "load_decoder"]

ALPHABET, FOLDER = "alphabet.json", "language_model"
"""Where `pyctcdecode` keeps the tokens of a decoder, and its language model."""
INSTALL = (
    "pip install pyctcdecode kenlm (with NumPy 2, pyctcdecode needs to be installed without its dependencies: "
    "pip install --no-deps pyctcdecode, and pip install pygtrie kenlm)."
)

_ATTRIBUTES = ("alpha", "beta", "unk_score_offset", "score_boundary")
_PADDING = -100.0  # in logits of a batch


def load_decoder(source: Source, unigram_encoding: str = "utf-8") -> Any:
    """The decoder of a checkpoint, a `pyctcdecode.BeamSearchDecoderCTC`; without a language model if there is none.

    Args:
        source: The checkpoint, with a file `alphabet.json` and usually a folder `language_model`.
        unigram_encoding: How the list of words is encoded.

    Raises:
        MissingDependencyError: If pyctcdecode, or kenlm for a language model, is not installed.
        CheckpointError: If a file is missing or damaged.
    """
    names = [name for name in source.filenames() if name.startswith(f"{FOLDER}/")]
    for package in ("pyctcdecode", "kenlm") if names else ("pyctcdecode",):
        if find_spec(package) is None:
            raise MissingDependencyError(
                f"{source.name} decodes with a language model, for which the package {package} is not installed.",
                next_step=INSTALL,
            )
    from pyctcdecode import BeamSearchDecoderCTC
    from pyctcdecode.alphabet import Alphabet
    from pyctcdecode.language_model import LanguageModel

    alphabet = source.require(ALPHABET, why="the tokens of the decoder")
    files = [source.require(name) for name in names]
    try:
        tokens = Alphabet.loads(alphabet.read_text(encoding="utf-8"))
        model = LanguageModel.load_from_dir(str(files[0].parent), unigram_encoding) if files else None
        return BeamSearchDecoderCTC(tokens, model)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(
            f"The language model of {source.name} cannot be read: {error}",
            next_step=f"It consists of {ALPHABET} and, in {FOLDER}/, attrs.json, unigrams.txt and a model of kenlm.",
        ) from error


class Wav2Vec2DecoderWithLMOutput(BatchFeature):
    """Transcripts with their scores: `text`, `logit_score`, `lm_score` and, if requested, `word_offsets`.

    Example:
        >>> Wav2Vec2DecoderWithLMOutput({"text": "HELLO", "logit_score": -3.5, "lm_score": -9.0}).text
        'HELLO'
    """


class Wav2Vec2ProcessorWithLM(Wav2Vec2Processor):
    """The processor of Wav2Vec2 or HuBERT with a decoder that prefers probable words, an n-gram language model.

    Args:
        feature_extractor: A `Wav2Vec2FeatureExtractor`.
        tokenizer: A `Wav2Vec2CTCTokenizer`.
        decoder: A decoder with the tokens of the tokenizer, as `pyctcdecode.build_ctcdecoder` makes them.

    Raises:
        InputError: If a part is missing, or a token of the tokenizer is missing in the decoder.

    Example:
        >>> from notebook_kit import Wav2Vec2ProcessorWithLM
        >>> name = "patrickvonplaten/wav2vec2-base-100h-with-lm"
        >>> processor = Wav2Vec2ProcessorWithLM.from_pretrained(name)  # doctest: +SKIP
        >>> processor.batch_decode(model(**inputs).logits.numpy()).text  # doctest: +SKIP
        ['MISTER QUILTER IS THE APOSTLE OF THE MIDDLE CLASSES']
    """

    def __init__(self, feature_extractor: Any = None, tokenizer: Any = None, decoder: Any = None) -> None:
        super().__init__(feature_extractor, tokenizer)
        if not hasattr(decoder, "decode_beams"):
            raise InputError(
                f"Wav2Vec2ProcessorWithLM needs a decoder; it is {decoder!r:.80}.",
                next_step="Pass decoder=pyctcdecode.build_ctcdecoder(tokens, ...), or load all: "
                "Wav2Vec2ProcessorWithLM.from_pretrained(name).",
            )
        missing = self.get_missing_alphabet_tokens(decoder, tokenizer)
        if missing:
            raise InputError(
                f"The decoder lacks tokens of the tokenizer: {sorted(missing)}.",
                next_step="Build it with all of them, in the order of their ids.",
            )
        self.decoder = decoder

    @property
    def attributes(self) -> list[str]:
        """The names of all parts."""
        return [*super().attributes, "decoder"]

    @property
    def language_model(self) -> Any:
        """The language model of the decoder; None if it has none."""
        return self.decoder.model_container[self.decoder._model_key]

    @staticmethod
    def get_missing_alphabet_tokens(decoder: Any, tokenizer: Any) -> set[str]:
        """The tokens of a tokenizer that a decoder lacks.

        A decoder writes the token of padding, which is the blank of CTC, as "", that between words as " ", and an unknown one as
        "⁇".
        """
        from pyctcdecode.alphabet import BLANK_TOKEN_PTN, UNK_TOKEN, UNK_TOKEN_PTN

        def written(token: str) -> str:
            if token == tokenizer.word_delimiter_token:
                return " "
            if UNK_TOKEN_PTN.match(token):
                return str(UNK_TOKEN)
            return "" if BLANK_TOKEN_PTN.match(token) else token

        return {written(token) for token in tokenizer.get_vocab()} - set(decoder._alphabet.labels)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str] | Source, **options: Any) -> Self:
        """Load all parts from a folder, the cache, or the Hub.

        Args:
            pretrained_model_name_or_path: As for `Wav2Vec2Processor.from_pretrained`.
            options: As there; also `unigram_encoding` ("utf-8"), and `alpha`, `beta`, `unk_score_offset` and `score_boundary`
                of the language model, instead of the stored ones.

        Raises:
            MissingDependencyError: If pyctcdecode or kenlm is not installed.
            HubError, CheckpointError, InputError: As for the parts.
        """
        source = locate(pretrained_model_name_or_path, **take_hub_options(options))
        decoder = load_decoder(source, options.pop("unigram_encoding", "utf-8"))
        settings = {name: options.pop(name, None) for name in _ATTRIBUTES}
        plain = Wav2Vec2Processor.from_pretrained(source, **options)
        processor = cls(plain.feature_extractor, plain.tokenizer, decoder)
        chosen = {name: value for name, value in settings.items() if value is not None}
        if chosen and processor.language_model is None:
            raise InputError(
                f"{source.name} has no language model, which {', '.join(chosen)} would change.",
                next_step="Leave it out.",
            )
        for name, value in chosen.items():
            setattr(processor.language_model, name, value)
        return processor

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **push_options: Any
    ) -> None:
        """Write the files of all parts into one folder; see `Wav2Vec2Processor.save_pretrained`."""
        with (
            folder_to_save(save_directory, push_to_hub, push_options) as folder,
            tempfile.TemporaryDirectory() as scratch,
        ):
            super().save_pretrained(folder)
            self.decoder.save_to_dir(scratch)  # which may read the folder that it replaces
            shutil.copytree(scratch, folder, dirs_exist_ok=True)

    # Decoding ----------------------------------------------------------------------------------------------------------

    def decode(self, logits: Any, *, output_word_offsets: bool = False, n_best: int = 1, **options: Any) -> Any:
        """The most probable transcript of a recording.

        Args:
            logits: `(frames, tokens)`, the model's.
            output_word_offsets: Also return the frames of each word.
            n_best: How many transcripts to return, the best first. If there is more than one, each field is a list.
            options: `beam_width`, `beam_prune_logp`, `token_min_logp`, `hotwords`, `hotword_weight`; `alpha`, `beta`,
                `unk_score_offset` and `lm_score_boundary` of the language model, which stay set. See `pyctcdecode`.
        """
        return self._read([self._beams([logits], None, options)[0]], output_word_offsets, n_best, is_batch=False)

    def batch_decode(
        self,
        logits: Any,
        pool: Any = None,
        num_processes: int | None = None,
        *,
        output_word_offsets: bool = False,
        n_best: int = 1,
        **options: Any,
    ) -> Any:
        """The most probable transcripts of several recordings.

        Args:
            logits: `(recordings, frames, tokens)`; frames that are -100 throughout are padding.
            pool: A `multiprocessing` pool of forked processes that decode in parallel; without one, decoding is sequential.
            num_processes: Accepted and ignored: pass a pool.
            output_word_offsets, n_best, options: As for `decode`.
        """
        rows = [np.asarray(row) for row in logits]
        rows = [row[(row != _PADDING).all(axis=-1)] for row in rows]
        return self._read(self._beams(rows, pool, options), output_word_offsets, n_best, is_batch=True)

    def _beams(self, rows: Sequence[Any], pool: Any, options: dict[str, Any]) -> list[list[tuple[Any, ...]]]:
        """The transcripts of each recording as tuples: text, words with their frames, and two scores."""
        reset = ("alpha", "beta", "unk_score_offset", "lm_score_boundary")
        self.decoder.reset_params(**{name: options.pop(name, None) for name in reset})
        chosen = {name: value for name, value in options.items() if value is not None}
        found = (
            [self.decoder.decode_beams(np.asarray(row), **chosen) for row in rows]
            if pool is None
            else self.decoder.decode_beams_batch(pool, rows, **chosen)
        )
        # A single decoding also returns the state of the language model, second.
        return [[(beam[0], *beam[-3:]) for beam in beams] for beams in found]

    def _read(
        self, found: Iterable[list[tuple[Any, ...]]], with_offsets: bool, count: int, is_batch: bool
    ) -> Wav2Vec2DecoderWithLMOutput:
        """The fields of the output."""
        fields: dict[str, list[Any]] = {"text": [], "logit_score": [], "lm_score": [], "word_offsets": []}
        for beams in found:
            texts, words, logit_scores, lm_scores = ([beam[place] for beam in beams[:count]] for place in range(4))
            offsets = [
                [{"word": word, "start_offset": start, "end_offset": end} for word, (start, end) in each]
                for each in words
            ]
            for name, values in zip(fields, (texts, logit_scores, lm_scores, offsets), strict=True):
                fields[name].append(values[0] if count == 1 else values)
        output: dict[str, Any] = fields if is_batch else {name: values[0] for name, values in fields.items()}
        if not with_offsets:
            output["word_offsets"] = None
        return Wav2Vec2DecoderWithLMOutput(output)
