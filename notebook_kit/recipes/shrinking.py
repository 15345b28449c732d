"""Shrinking a large model to a small one: fewer pieces, narrower embeddings, fewer and thinner layers."""

from __future__ import annotations

import json
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from notebook_kit.models.bert import BertModel
from notebook_kit.models.electra import ElectraConfig, ElectraForSequenceClassification
from notebook_kit.processing.text.auto import AutoTokenizer, PreTrainedTokenizerFast

__all__ = ["choose_pieces", "shrink", "word_piece_tokenizer"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def choose_pieces(
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterable[str],
    size: int,
    words: Iterable[str] = (),
    spelled: Mapping[str, str] | None = None,
) -> dict[str, list[int]]:
    """Choose a smaller WordPiece vocabulary from a larger one.

    It contains the special tokens and all single Latin characters, digits and punctuation marks, so that nearly every word can be
    encoded; then the characters in `spelled`; the pieces that occur at least twice in `texts`, the most frequent first; the
    pieces of `words`; and, up to `size`, the remaining pieces in the order of the large vocabulary, which for BERT is by frequency.

    Args:
        tokenizer: The large WordPiece tokenizer.
        texts: Training texts of the small model.
        size: Maximum number of pieces.
        words: Further words to keep whole if the large vocabulary has them whole.
        spelled: New characters, such as emoji -> words with the same meaning.

    Returns:
        Piece -> the corresponding ids in the large vocabulary: its own id, or for a new character the ids of its words.
    """
    spelled = spelled or {}
    ids = tokenizer.get_vocab()
    piece_of = {id: piece for piece, id in ids.items()}
    by_id = sorted(ids, key=ids.__getitem__)

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    chosen = {piece: [ids[piece]] for piece in SPECIAL}
    for piece in by_id:
        if _is_simple_character(piece.removeprefix("##")):
            chosen[piece] = [ids[piece]]
    for character, meaning in spelled.items():
        chosen[character] = chosen[f"##{character}"] = encode(meaning)
    counts = Counter(id for text in texts for id in encode(text))
    wanted = [id for id, count in counts.most_common() if count > 1]
    wanted += sorted({id for word in words for id in encode(word)})
    candidates = [piece_of[id] for id in wanted] + [p for p in by_id if p.isascii() and not p.startswith("[unused")]
    for piece in candidates:
        if len(chosen) >= size:
            break
        chosen.setdefault(piece, [ids[piece]])
    return dict(sorted(chosen.items(), key=lambda item: (item[0] not in SPECIAL, item[1])))


def _is_simple_character(text: str) -> bool:
    return len(text) == 1 and (ord(text) < 0x250 or unicodedata.category(text)[0] == "P")


def word_piece_tokenizer(pieces: Sequence[str], model_max_length: int) -> PreTrainedTokenizerFast:
    """A lower-casing BERT tokenizer with these pieces, whose ids are their indices."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": model_max_length}
        Path(folder, "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        return AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def shrink(
    bert: BertModel,
    pieces: Mapping[str, Sequence[int]],
    samples: Sequence[Sequence[int]],
    *,
    embedding_size: int,
    layers: Sequence[int],
    intermediate_size: int,
    **options: Any,
) -> ElectraForSequenceClassification:
    """Initialize a small ELECTRA from a BERT of the same width.

    The embeddings are the leading principal components of BERT's, and the projection back to the full width is fitted by least
    squares to the inputs of BERT's first layer. Each feed-forward block keeps the neurons that change the residual stream most.
    The classification head is newly initialized.

    Args:
        bert: The large model.
        pieces: The result of `choose_pieces`.
        samples: Token ids, in the small vocabulary, of sample texts.
        embedding_size: Width of the embeddings.
        layers: Indices of BERT's layers to keep.
        intermediate_size: Number of neurons to keep in each feed-forward block.
        **options: Further fields of `ElectraConfig`.
    """
    large, width = bert.embeddings, bert.config.hidden_size
    segment = large.token_type_embeddings.weight[0]
    words = torch.stack([large.word_embeddings.weight[list(ids)].mean(0) for ids in pieces.values()]) + segment
    positions = large.position_embeddings.weight
    common = positions[:64].mean(0)  # the common part of all positions is moved into the words

    counts = torch.ones(len(words))
    for sample in samples:
        counts.index_add_(0, torch.tensor(sample), torch.ones(len(sample)))
    weight = counts.sqrt()
    centre = (weight[:, None] * words).sum(0) / weight.sum()
    spread = torch.cat([(words - centre) * weight.sqrt()[:, None], (positions[:64] - common) * weight.mean().sqrt()])
    basis = torch.linalg.svd(spread, full_matrices=False).Vh[:embedding_size].T
    small_words, small_positions = (words - centre) @ basis, (positions - common) @ basis

    ids = torch.cat([torch.tensor(sample) for sample in samples])
    places = torch.cat([torch.arange(len(sample)) for sample in samples])
    inputs = F.layer_norm(small_words[ids] + small_positions[places], (embedding_size,))
    targets = large.LayerNorm(words[ids] + positions[places])
    ones = torch.ones(len(inputs), 1)
    widen = torch.linalg.lstsq(torch.cat([inputs, ones], dim=1), targets).solution

    config = ElectraConfig(
        vocab_size=len(pieces),
        embedding_size=embedding_size,
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=bert.config.num_attention_heads,
        intermediate_size=intermediate_size,
        max_position_embeddings=len(positions),
        layer_norm_eps=bert.config.layer_norm_eps,
        **options,
    )
    model = ElectraForSequenceClassification(config)
    small = model.electra.embeddings
    small.word_embeddings.weight.copy_(small_words)
    small.position_embeddings.weight.copy_(small_positions)
    small.token_type_embeddings.weight.zero_()
    model.electra.embeddings_project.weight.copy_(widen[:-1].T)
    model.electra.embeddings_project.bias.copy_(widen[-1])

    importance = _neuron_importance(bert, targets, [len(sample) for sample in samples])
    for kept, place in zip(model.electra.encoder.layer, layers, strict=True):
        source = bert.encoder.layer[place]
        neurons = importance[place].topk(intermediate_size).indices.sort().values
        state = {
            key: value[neurons] if key.startswith("intermediate.") else value
            for key, value in source.state_dict().items()
        }
        state["output.dense.weight"] = state["output.dense.weight"][:, neurons]
        kept.load_state_dict(state)
    return model


def _neuron_importance(bert: BertModel, embedded: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """How much each feed-forward neuron changes the residual stream, per layer: squared activations times squared output weights."""
    layers: list[Any] = list(bert.encoder.layer)
    total = [torch.zeros(bert.config.intermediate_size) for _ in layers]

    def watch(place: int):
        def hook(module, inputs, output) -> None:
            total[place] += F.gelu(output).square().reshape(-1, output.shape[-1]).sum(0)

        return hook

    hooks = [layer.intermediate["dense"].register_forward_hook(watch(place)) for place, layer in enumerate(layers)]
    try:
        for states in embedded.split(list(lengths))[:300]:
            bert.encoder(states[None], None)
    finally:
        for hook in hooks:
            hook.remove()
    return [sums * layer.output.dense.weight.square().sum(0) for sums, layer in zip(total, layers, strict=True)]
