"""Text generation: the continuation of a text or a conversation."""

from __future__ import annotations

from typing import Any

from notebook_kit.errors import InputError
from notebook_kit.generation import GenerationConfig
from notebook_kit.generation.processors import as_ids
from notebook_kit.generation.streamers import continued_text
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.generating import GeneratingPipeline
from notebook_kit.pipelines.options import check_choice, checked
from notebook_kit.pipelines.text import read_text
from notebook_kit.processing.text.chat import is_chat

__all__ = ["TextGenerationPipeline"]

TYPES = ("tensors", "new_text", "full_text")  # as numbered by transformers' ReturnType


class TextGenerationPipeline(GeneratingPipeline):
    """Continues texts and conversations. Created by `pipeline("text-generation")`.

    Options:
        return_full_text: Return the prompt and its continuation (the default), or the continuation alone.
        return_tensors: Return token ids instead of text.
        num_return_sequences, max_new_tokens, do_sample, ...: Any setting of `GenerationConfig`, and `streamer`,
            `generator`, `logits_processor`, `stopping_criteria`. If neither the call nor the checkpoint sets them, at most
            256 tokens are sampled at a temperature of 0.7.
        stop_sequence: One or more texts that end the generation.
        prefix: A text to put before each prompt.
        skip_special_tokens, clean_up_tokenization_spaces: As in `tokenizer.decode`.
        add_special_tokens, truncation: As in the tokenizer's call, for texts.
        handle_long_generation: `"hole"` drops the start of a prompt that leaves no room for the continuation.
        continue_final_message: Continue the last message of a conversation; by default only if it is the assistant's.
        tools, documents: For the chat template.
        tokenizer_encode_kwargs: Further arguments of the tokenizer's call, or of `apply_chat_template`.

    Inputs are texts, conversations `[{"role": "user", "content": ...}]`, or lists of them.

    Interrupting a single generation returns the text generated so far; interrupting a list raises `KeyboardInterrupt`.

    Returns:
        `[{"generated_text": str}]` for one input, with one dict per sequence; for a conversation, the value is the
        conversation with the answer appended. For a list of inputs, a list of such lists. With `return_tensors`, the dicts
        are `{"generated_token_ids": list}`.

    Example:
        >>> import torch
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, pipeline
        >>> words = Tokenizer(models.WordLevel({"ha": 0, "!": 1}, unk_token="!"))
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=2, n_positions=32))
        >>> write = pipeline("text-generation", model=model, tokenizer=PreTrainedTokenizerFast(tokenizer_object=words))
        >>> write("ha", max_new_tokens=2, suppress_tokens=[1], eos_token_id=None, return_full_text=False)
        [{'generated_text': ' ha ha'}]
    """

    task = "text-generation"
    auto_model = "AutoModelForCausalLM"
    defaults = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        full, text, tensors = (
            checked(name, options.pop(name, None), bool | None)
            for name in ("return_full_text", "return_text", "return_tensors")
        )
        if sum(value is not None for value in (full, text, tensors)) > 1:
            raise InputError(
                "return_full_text, return_text and return_tensors exclude each other.", next_step="Pass one of them."
            )
        if "return_type" in options:
            kind = options.pop("return_type")
            number = getattr(kind, "value", kind)
            options["returned"] = check_choice("return_type", TYPES[number] if number in (0, 1, 2) else kind, TYPES)
        elif tensors:
            options["returned"] = "tensors"
        elif full is not None:
            options["returned"] = "full_text" if full else "new_text"
        if options.get("handle_long_generation") is not None:
            check_choice("handle_long_generation", options["handle_long_generation"], ["hole"])
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
        call |= tokenizer_encode_kwargs or {}
        if is_chat(item):
            continued = _continues_last(item, continue_final_message)
            encoded = self.tokenizer.apply_chat_template(
                list(item),
                add_generation_prompt=not continued,
                continue_final_message=continued,
                tools=tools,
                documents=documents,
                **call,
            )
        else:
            if add_special_tokens is not None:
                call.setdefault("add_special_tokens", add_special_tokens)
            text = read_text(item, 'Pass a text, or messages [{"role": "user", "content": ...}].')
            encoded = self.tokenize(prefix + text, **call)
        ids = list(encoded["input_ids"])
        if not ids and self.tokenizer.bos_token_id is not None:
            ids = [self.tokenizer.bos_token_id]
        if handle_long_generation == "hole":
            given = {"max_length": max_length, "max_new_tokens": max_new_tokens, "generation_config": generation_config}
            ids = self._with_room(ids, given)
        return {"input_ids": ids, "attention_mask": [1] * len(ids)}

    def _with_room(self, ids: list[int], given: dict[str, Any]) -> list[int]:
        """The prompt without its start, if it is too long for the requested continuation."""
        arguments = self.settings({name: value for name, value in given.items() if value is not None})
        config = GenerationConfig(
            max_new_tokens=arguments.get("max_new_tokens"), max_length=arguments.get("max_length")
        )
        config = config.filled(*filter(None, (given["generation_config"], self.generation_config)))
        new = config.max_new_tokens or max(1, (config.max_length or 0) - len(ids))
        limit = min(self.max_tokens or self.tokenizer.model_max_length, self.tokenizer.model_max_length)
        if new >= limit:
            raise InputError(
                f"{new} new tokens leave no room for a prompt: this model takes {limit}.",
                next_step="Lower max_new_tokens.",
            )
        return ids[-(limit - new) :] if len(ids) + new > limit else ids

    def postprocess(
        self,
        item: Any,
        features: Rows,
        outputs: Rows,
        *,
        returned: str = "full_text",
        skip_special_tokens: bool = True,
        clean_up_tokenization_spaces: bool | None = None,
        continue_final_message: bool | None = None,
        eos_token_id: Any = None,
    ) -> Rows:
        prompt = features[0]["input_ids"]
        ends = set(as_ids(self.settings({"eos_token_id": eos_token_id}).get("eos_token_id")))
        ends |= set(as_ids(self.model.generation_config.eos_token_id))
        continued = _continued(item, continue_final_message)
        records: Rows = []
        for row in outputs[0]["tokens"].tolist():
            end = next((place for place, token in enumerate(row) if token in ends), len(row))
            ids = row[: end + 1]  # padding follows the end token
            if returned == "tensors":
                records.append({"generated_token_ids": prompt + ids})
                continue
            text = continued_text(
                self.tokenizer,
                [] if continued is None else prompt,
                ids,
                prompt=continued if isinstance(continued, str) else "",
                skip_special_tokens=skip_special_tokens,
                clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            )
            if returned == "full_text":
                text = _joined(item, text, continue_final_message)
            records.append({"generated_text": text})
        return records


def _continues_last(chat: Any, wanted: bool | None) -> bool:
    """Whether the last message of a conversation is continued."""
    return chat[-1]["role"] == "assistant" if wanted is None else wanted


def _continued(item: Any, continue_final_message: bool | None) -> Any:
    """What the generated text continues: the prompt or the content of the last message; None for a new message."""
    if isinstance(item, str):
        return item
    return item[-1]["content"] if _continues_last(item, continue_final_message) else None


def _joined(item: Any, text: str, continue_final_message: bool | None) -> Any:
    """The prompt with its continuation."""
    if isinstance(item, str):
        return item + text
    messages = list(item)
    if _continues_last(item, continue_final_message):
        last = messages[-1]
        return [*messages[:-1], {**last, "content": last["content"] + text}]
    return [*messages, {"role": "assistant", "content": text}]
