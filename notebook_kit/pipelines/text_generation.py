"""Text generation: a text, or a conversation, and what follows it."""

from __future__ import annotations

from typing import Any

import torch

from notebook_kit.errors import InputError
from notebook_kit.generation.processors import as_ids
from notebook_kit.pipelines.generating import GeneratingPipeline
from notebook_kit.processing.text.chat import is_chat

__all__ = ["TextGenerationPipeline"]

TYPES = ("full_text", "new_text", "tensors")


class TextGenerationPipeline(GeneratingPipeline):
    """Goes on from texts. Made by `pipeline("text-generation")`.

    Options:
        return_full_text: Give the prompt and what follows (the rule), or what follows alone.
        return_tensors: Give token ids in place of text.
        num_return_sequences, max_new_tokens, do_sample, ...: Any setting of `GenerationConfig`, and `streamer`,
            `generator`, `logits_processor`, `stopping_criteria`. Where neither the call nor the checkpoint says how, at
            most 256 tokens are drawn with a temperature of 0.7.
        stop_sequence: A text, or several, at which generation ends.
        prefix: A text before each prompt.
        skip_special_tokens, clean_up_tokenization_spaces: How ids become text.
        add_special_tokens, truncation: Those of the tokenizer's call, for texts.
        handle_long_generation: `"hole"` leaves out the start of a prompt that leaves no room for what is to follow.
        continue_final_message: Go on with a conversation's last message; by default where it is the assistant's.
        tools, documents: For the chat template.
        tokenizer_encode_kwargs: Further arguments of the tokenizer's call, or of `apply_chat_template`.

    Inputs are texts, conversations `[{"role": "user", "content": ...}]`, or lists of them.

    An interrupt ends a single generation, and what was made is returned; in a list it ends the whole.

    Returns:
        `[{"generated_text": str}]` for one input, one dict a sequence; for a conversation the text is the conversation with
        the answer at its end. A list of them for a list of inputs. With `return_tensors` `[{"generated_token_ids": list}]`.

    Example:
        >>> import torch
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, pipeline
        >>> words = Tokenizer(models.WordLevel({"ha": 0, "!": 1}, unk_token="!"))
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=2, n_positions=32))
        >>> write = pipeline("text-generation", model=model, tokenizer=PreTrainedTokenizerFast(tokenizer_object=words))
        >>> write("ha", max_new_tokens=2, suppress_tokens=[1], eos_token_id=None, return_full_text=False)
        [{'generated_text': 'ha ha'}]
    """

    task = "text-generation"
    auto_model = "AutoModelForCausalLM"
    defaults = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        full, text, tensors = (
            options.pop(name, None) for name in ("return_full_text", "return_text", "return_tensors")
        )
        if sum(value is not None for value in (full, text, tensors)) > 1:
            raise InputError(
                "return_full_text, return_text and return_tensors say one thing in three ways.",
                next_step="Pass one of them.",
            )
        if "return_type" in options:
            kind = options.pop("return_type")
            kind = {0: "tensors", 1: "new_text", 2: "full_text"}.get(getattr(kind, "value", kind), kind)
            if kind not in TYPES:
                raise InputError(f"return_type is {kind!r}.", next_step=f"Pass one of {', '.join(TYPES)}.")
            options["returned"] = kind
        elif tensors:
            options["returned"] = "tensors"
        elif full is not None:
            options["returned"] = "full_text" if full else "new_text"
        if options.get("handle_long_generation") not in (None, "hole"):
            raise InputError(
                f"handle_long_generation is {options['handle_long_generation']!r}.",
                next_step='Pass "hole", or nothing.',
            )
        return super().normalize_options(options)

    def is_single(self, inputs: Any) -> bool:
        return is_chat(inputs) or super().is_single(inputs)

    def preprocess(
        self,
        item: Any,
        *,
        prefix: str = "",
        add_special_tokens: bool | None = None,
        truncation: bool | str | None = None,
        handle_long_generation: str | None = None,
        continue_final_message: bool | None = None,
        tools: Any = None,
        documents: Any = None,
        tokenizer_encode_kwargs: dict[str, Any] | None = None,
        max_length: int | None = None,
        max_new_tokens: int | None = None,
        generation_config: Any = None,
    ) -> dict[str, Any]:
        call: dict[str, Any] = {"truncation": truncation} if truncation is not None else {}
        if truncation and max_length is not None:
            call["max_length"] = max_length
        if is_chat(item):
            go_on = _goes_on(item, continue_final_message)
            encoded = self.tokenizer.apply_chat_template(
                list(item),
                add_generation_prompt=not go_on,
                continue_final_message=go_on,
                tools=tools,
                documents=documents,
                **{**call, **(tokenizer_encode_kwargs or {})},
            )
        elif isinstance(item, str):
            if add_special_tokens is not None:
                call["add_special_tokens"] = add_special_tokens
            encoded = self.tokenize(prefix + item, **{**call, **(tokenizer_encode_kwargs or {})})
        else:
            raise InputError(
                f"The input is a {type(item).__name__}: {str(item)[:80]!r}.",
                next_step='Pass a text, or messages [{"role": "user", "content": ...}].',
            )
        ids = list(encoded["input_ids"])
        if not ids and self.tokenizer.bos_token_id is not None:
            ids = [self.tokenizer.bos_token_id]  # from nothing, that is
        if handle_long_generation == "hole":
            given = {"max_length": max_length, "max_new_tokens": max_new_tokens, "generation_config": generation_config}
            ids = self._with_room(ids, given)
        return {"input_ids": ids, "attention_mask": [1] * len(ids)}

    def _with_room(self, ids: list[int], given: dict[str, Any]) -> list[int]:
        """The end of a prompt that is too long for what is to follow it."""
        made = self.settings({name: value for name, value in given.items() if value is not None})
        sources = (
            made,
            *(vars(x) for x in (given["generation_config"], self.model.generation_config) if x is not None),
        )
        new = next((s["max_new_tokens"] for s in sources if s.get("max_new_tokens") is not None), None)
        if new is None:
            longest = next((s["max_length"] for s in sources if s.get("max_length") is not None), 0)
            new = max(1, longest - len(ids))
        limit = min(self.max_tokens or self.tokenizer.model_max_length, self.tokenizer.model_max_length)
        if new >= limit:
            raise InputError(
                f"{new} new tokens leave no room for a prompt: this model takes {limit}.",
                next_step="Lower max_new_tokens.",
            )
        return ids[-(limit - new) :] if len(ids) + new > limit else ids

    def forward(self, batch: dict[str, torch.Tensor], **settings: Any) -> dict[str, Any]:
        return {"new": self.generate(batch, settings)}

    def postprocess(
        self,
        item: Any,
        features: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        *,
        returned: str = "full_text",
        skip_special_tokens: bool = True,
        clean_up_tokenization_spaces: bool | None = None,
        continue_final_message: bool | None = None,
        eos_token_id: Any = None,
    ) -> list[dict[str, Any]]:
        prompt = features[0]["input_ids"]
        ends = set(as_ids(self.settings({"eos_token_id": eos_token_id}).get("eos_token_id")))
        ends |= set(as_ids(self.model.generation_config.eos_token_id))
        records: list[dict[str, Any]] = []
        for row in outputs[0]["new"].tolist():
            end = next((place for place, token in enumerate(row) if token in ends), len(row))
            ids = row[: end + 1]  # what follows the end is filling
            if returned == "tensors":
                records.append({"generated_token_ids": prompt + ids})
                continue
            text = self.tokenizer.decode(
                ids,
                skip_special_tokens=skip_special_tokens,
                clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            )
            records.append(
                {"generated_text": _joined(item, text, continue_final_message) if returned == "full_text" else text}
            )
        return records


def _goes_on(chat: Any, wanted: bool | None) -> bool:
    """Whether the last message is to be continued."""
    return chat[-1]["role"] == "assistant" if wanted is None else wanted


def _joined(item: Any, text: str, continue_final_message: bool | None) -> Any:
    """The prompt with what follows it."""
    if isinstance(item, str):
        return item + text
    messages = list(item)
    if _goes_on(item, continue_final_message):
        last = messages[-1]
        return [*messages[:-1], {**last, "content": last["content"] + text}]
    return [*messages, {"role": "assistant", "content": text}]
