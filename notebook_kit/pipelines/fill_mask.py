"""Masked language modelling: candidates for masked words."""

from __future__ import annotations

from typing import Any

import torch

from notebook_kit.errors import InputError, warn
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.options import check_count, checked
from notebook_kit.pipelines.text import TextPipeline, read_text

__all__ = ["FillMaskPipeline"]


class FillMaskPipeline(TextPipeline):
    """Fills gaps marked with the tokenizer's mask token. Created by `pipeline("fill-mask")`.

    Options:
        top_k: The number of words to propose per gap; 5 by default.
        targets: A word or a list of words; only these are proposed. A word of several tokens is replaced by its first,
            and a word outside the vocabulary is left out, both with a warning.
        tokenizer_kwargs: Further arguments of the tokenizer's call, such as `{"truncation": True}`.

    Returns:
        For a text with one gap, a list of `{"score": float, "token": int, "token_str": str, "sequence": str}`, best
        first; with several gaps, a list of such lists. Scores are probabilities for each gap separately.

    Raises:
        InputError: for a text without a gap.

    Example:
        >>> import pathlib, tempfile
        >>> from notebook_kit import AutoTokenizer, BertConfig, BertForMaskedLM, FillMaskPipeline
        >>> file = pathlib.Path(tempfile.mkdtemp(), "vocab.txt")
        >>> _ = file.write_text("\\n".join("[PAD] [UNK] [CLS] [SEP] [MASK] the film was dull lovely long".split()))
        >>> model = BertForMaskedLM(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=11))
        >>> fill = FillMaskPipeline(model, AutoTokenizer.from_pretrained(file))
        >>> answers = fill("the film was [MASK]", targets=["lovely", "dull"])  # the order is random: the model is untrained
        >>> sorted(answer["sequence"] for answer in answers)
        ['the film was dull', 'the film was lovely']
    """

    task = "fill-mask"
    auto_model = "AutoModelForMaskedLM"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.tokenizer.mask_token_id is None:
            raise InputError(
                "The tokenizer has no mask token, so a gap cannot be marked.",
                next_step="Choose a checkpoint that was trained to fill masks, such as BERT or RoBERTa.",
            )

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("targets") is not None:
            options["targets"] = self._target_ids(options["targets"])
        check_count("top_k", options.get("top_k"))
        return options

    def __call__(self, inputs: Any, **options: Any) -> Any:
        result = super().__call__(inputs, **options)
        return result[0] if isinstance(inputs, list) and len(inputs) == 1 else result

    def preprocess(self, item: Any, *, tokenizer_kwargs: dict[str, Any] | None = None) -> dict[str, Any]:
        feature = dict(self.tokenize(read_text(item, "Pass a text with a gap in it."), **(tokenizer_kwargs or {})))
        if self.tokenizer.mask_token_id not in feature["input_ids"]:
            mask = self.tokenizer.mask_token
            cut = " after truncation" if mask in item else ""
            raise InputError(
                f"The text has no gap{cut}: {item[:80]!r}.", next_step=f"Put {mask} where the word is missing."
            )
        return feature

    def forward(self, batch: dict[str, torch.Tensor], *, top_k: int = 5, targets: Any = None) -> dict[str, Any]:
        gaps = batch["input_ids"] == self.tokenizer.mask_token_id
        # Only the rows at gaps, since each has one score per word of the vocabulary.
        scores = self.model(**batch).logits[gaps].float().softmax(dim=-1)
        if targets is not None:
            scores = scores[:, targets.to(scores.device)]
        best, tokens = scores.topk(min(top_k, scores.shape[-1]))
        if targets is not None:
            tokens = targets.to(tokens.device)[tokens]
        counts = gaps.sum(dim=1).tolist()
        return {"scores": list(best.split(counts)), "tokens": list(tokens.split(counts))}

    def postprocess(self, item: Any, features: Rows, outputs: Rows) -> Any:
        tokenizer, ids = self.tokenizer, features[0]["input_ids"]
        gaps = [i for i, token in enumerate(ids) if token == tokenizer.mask_token_id]
        mask = tokenizer.mask_token_id
        hidden = {*tokenizer.all_special_ids} - {mask}  # the other gaps are shown
        answers = []
        for gap, scores, tokens in zip(gaps, outputs[0]["scores"].tolist(), outputs[0]["tokens"].tolist(), strict=True):
            proposals = []
            for score, token in zip(scores, tokens, strict=True):
                filled = [token if i == gap else other for i, other in enumerate(ids)]
                filled = [
                    other for i, other in enumerate(filled) if other not in hidden and (i != gap or other != mask)
                ]
                sequence = tokenizer.decode(filled)
                proposals.append(
                    {"score": score, "token": token, "token_str": tokenizer.decode([token]), "sequence": sequence}
                )
            answers.append(proposals)
        return answers[0] if len(answers) == 1 else answers

    def _target_ids(self, targets: Any) -> torch.Tensor:
        vocabulary = self.tokenizer.get_vocab()
        ids = []
        for target in checked("targets", targets, list[str]):
            if target in vocabulary:
                ids.append(vocabulary[target])
                continue
            tokens = self.tokenize(target, add_special_tokens=False)["input_ids"]  # "King" may be "king" in lower case
            first = [token for token in tokens[:1] if token != self.tokenizer.unk_token_id]
            if len(tokens) > 1 or not first:
                used = (
                    f"its first token {self.tokenizer.convert_ids_to_tokens(first)[0]!r} is used"
                    if first
                    else "ignored"
                )
                warn(f"The target {target!r} is not in the vocabulary: {used}.")
            ids += first
        if not ids:
            raise InputError("No target is in the vocabulary.", next_step="Pass words of the vocabulary as targets.")
        return torch.tensor(list(dict.fromkeys(ids)))
