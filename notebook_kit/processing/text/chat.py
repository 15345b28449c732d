"""Chat templates: from messages to the text format that a chat model was trained on.

A template comes from a checkpoint, so it is not trusted: it runs in a sandbox with limits (see `sandbox.py`), cannot change
anything, and sees only plain data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from notebook_kit.errors import InputError, near_matches
from notebook_kit.processing.tensors import to_tensor
from notebook_kit.processing.text.arguments import check_arguments, described
from notebook_kit.utils.function_schemas import get_json_schema

__all__ = ["ChatTemplates", "is_chat", "render"]

# Around each {% generation %} block, and after the text to continue. These characters are in Unicode's private use area,
# so texts do not contain them.
_START, _END, _HERE = "\ue0f0", "\ue0f1", "\ue0f2"


def is_chat(value: Any) -> bool:
    """Whether a value is a non-empty list of messages `{"role": ..., "content": ...}`.

    Example:
        >>> from notebook_kit.processing.text.chat import is_chat
        >>> is_chat([{"role": "user", "content": "Hello!"}]), is_chat(["Hello!"])
        (True, False)
    """
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(message, Mapping) and "role" in message for message in value)
    )


def _plain(value: Any) -> Any:
    """Reduce a value to JSON's types: other objects have methods that the sandbox does not guard."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return f"<{type(value).__name__}>"


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any] | Callable[..., Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    mark_generation: bool = False,
    **variables: Any,
) -> str:
    """Render one conversation as text.

    Args:
        template: A template in Jinja.
        messages: `{"role": ..., "content": ...}`, the oldest first.
        tools: Functions that the model may call, or their JSON schemas; see `notebook_kit.utils.get_json_schema`.
        documents: `{"title": ..., "text": ...}`.
        add_generation_prompt: End with the tokens that start the assistant's answer.
        continue_final_message: End inside the last message, for the model to continue it.
        mark_generation: Surround the template's `{% generation %}` blocks with the characters U+E0F0 and U+E0F1.
        **variables: Other variables for the template.

    Raises:
        InputError: If the template has a syntax error or rejects the messages, a tool is not a JSON schema, or there is no
            final message to continue.

    Example:
        >>> from notebook_kit.processing.text.chat import render
        >>> template = "{% for message in messages %}<{{ message.role }}> {{ message.content }} {% endfor %}"
        >>> render(template, [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hi."}])
        '<user> Hello! <assistant> Hi. '
    """
    import jinja2

    from notebook_kit.processing.text.sandbox import compiled, limited

    if not isinstance(tools, list | tuple | None) or not all(
        isinstance(tool, Mapping) or callable(tool) for tool in tools or ()
    ):
        raise InputError(
            "A tool is neither a function nor a JSON schema.",
            next_step='Pass a list of functions, or [{"type": "function", "function": {...}}].',
        )
    schemas = tools and [get_json_schema(tool) if callable(tool) else tool for tool in tools]
    chat = [{key: item for key, item in message.items() if item is not None} for message in _plain(messages)]
    if continue_final_message:
        _mark_ending(chat[-1])
    try:
        with limited():
            text = compiled(template, (_START, _END) if mark_generation else None).render(
                messages=chat,
                tools=_plain(schemas),
                documents=_plain(documents),
                add_generation_prompt=add_generation_prompt,
                **_plain(variables),
            )
    except jinja2.TemplateSyntaxError as error:
        raise InputError(
            f"The chat template has a syntax error: {error.message} (line {error.lineno}).",
            next_step="Pass another template as chat_template=.",
        ) from error
    except jinja2.exceptions.SecurityError as error:
        raise InputError(
            f"The chat template was stopped: {error}.",
            next_step="Use a checkpoint that you trust, or pass another template as chat_template=.",
        ) from error
    except (
        jinja2.TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        RecursionError,
        MemoryError,
    ) as error:
        raise InputError(
            f"The chat template rejects this conversation: {error}.",
            next_step="Check the roles and their order: some templates have no system message or require alternating roles.",
        ) from error
    if not continue_final_message:
        return text
    if _HERE not in text:
        raise InputError(
            "The chat template leaves out the final message, so it cannot be continued.",
            next_step="Pass continue_final_message=False, or end with another message.",
        )
    start, _, rest = text.rpartition(_HERE)
    return start if rest.startswith(" ") else start.rstrip()  # a template that strips the content has stripped the mark


def _mark_ending(message: dict[str, Any]) -> None:
    """Append a mark and a space to the message's text, in place."""
    content = message.get("content")
    key, parts = ("text", content) if isinstance(content, list) else ("content", [message])
    part = next((part for part in reversed(parts) if isinstance(part.get(key), str)), None)
    if part is None:
        raise InputError("The final message has no text to continue.", next_step="Pass continue_final_message=False.")
    part[key] += f"{_HERE} "


def _unmark(text: str) -> tuple[str, list[int]]:
    """The text without its marks, and the positions in it of the characters between marks."""
    plain, inside = "", False
    marked: list[int] = []
    for piece in re.split(f"([{_START}{_END}])", text):
        if piece in (_START, _END):
            inside = piece == _START
            continue
        if inside:
            marked += range(len(plain), len(plain) + len(piece))
        plain += piece
    return plain, marked


class ChatTemplates:
    """The chat methods of a tokenizer, which has a `chat_template` and `special_tokens_map` and can be called."""

    chat_template: Any
    special_tokens_map: Any

    def get_chat_template(self, chat_template: str | None = None, tools: Any = None) -> str:
        """The chat template that `apply_chat_template` uses.

        Args:
            chat_template: A template in Jinja, or the name of one of the tokenizer's templates.
            tools: If there are any, a template named "tool_use" takes precedence over "default".

        Raises:
            InputError: If the tokenizer has no template, or none with that name.
        """
        templates = self.chat_template
        if not isinstance(chat_template, str | None):
            raise InputError(
                f"chat_template is {described(chat_template)}, which is not a template.",
                next_step="Pass a template in Jinja as a str, or the name of one of the tokenizer's templates.",
            )
        if isinstance(templates, list):
            templates = {entry["name"]: entry["template"] for entry in templates}
        if isinstance(templates, Mapping):
            default = "tool_use" if isinstance(tools, list | tuple) and tools and "tool_use" in templates else "default"
            name = default if chat_template is None else chat_template
            if name in templates:
                return templates[name]
            if "{" not in name:
                raise InputError(
                    f"This tokenizer has no chat template {name!r}. {near_matches(name, templates)}".rstrip(),
                    next_step=f"Pass a template in Jinja as chat_template=, or one of {', '.join(templates)}.",
                )
        template = templates if chat_template is None else chat_template
        if template is None:
            raise InputError(
                "This tokenizer has no chat template: its model was not trained to chat, or the template was not saved.",
                next_step="Pass a text instead of messages, or a Jinja template as chat_template=.",
            )
        return template

    def apply_chat_template(
        self,
        conversation: Any,
        tools: list[dict[str, Any] | Callable[..., Any]] | None = None,
        documents: list[dict[str, str]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: dict[str, Any] | None = None,
        **variables: Any,
    ) -> Any:
        """Render messages in the text format that the chat model was trained on, and tokenize the text.

        Args:
            conversation: Messages `{"role": ..., "content": ...}`, the oldest first; or a list of such lists.
            tools: Functions that the model may call, or their JSON schemas; see `notebook_kit.utils.get_json_schema`.
            documents: `{"title": ..., "text": ...}`, for templates that use them.
            chat_template: A template in Jinja, or the name of one; None uses the tokenizer's.
            add_generation_prompt: End with the tokens that start the assistant's answer.
            continue_final_message: End inside the last message, for the model to continue it.
            tokenize: Return ids; otherwise the text.
            padding, truncation, max_length, return_tensors: As in a call.
            return_dict: Return a `BatchEncoding`; otherwise only the ids.
            return_assistant_tokens_mask: Also return "assistant_masks": 1 for tokens that the template marks as the
                assistant's, 0 for others.
            tokenizer_kwargs: Further arguments of the call.
            variables: Other variables for the template.

        Raises:
            InputError: If there is no template, or it rejects these messages, or the options contradict each other.

        Example:
            >>> from tokenizers import Tokenizer, models, pre_tokenizers
            >>> from notebook_kit import PreTrainedTokenizerFast
            >>> backend = Tokenizer(models.WordLevel({"[UNK]": 0, "user": 1, "Hello": 2, "assistant": 3}, unk_token="[UNK]"))
            >>> backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
            >>> template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
            >>> template += "{% if add_generation_prompt %}assistant{% endif %}"
            >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template)
            >>> chat = [{"role": "user", "content": "Hello"}]
            >>> tokenizer.apply_chat_template(chat, tokenize=False)
            'user Hello '
            >>> tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
            [1, 2, 3]
        """
        check_arguments(locals())
        template = self.get_chat_template(chat_template, tools)
        single = is_chat(conversation)
        chats = [conversation] if single or not isinstance(conversation, list | tuple) else list(conversation)
        if not chats or not all(map(is_chat, chats)):
            raise InputError(
                f"The conversation is {str(conversation)[:80]!r}.",
                next_step='Pass a list of messages, [{"role": "user", "content": "Hello!"}], or a list of such lists.',
            )
        if continue_final_message and add_generation_prompt:
            raise InputError(
                "add_generation_prompt opens a new message, but continue_final_message continues the last one.",
                next_step="Pass only one of them.",
            )
        masked = return_assistant_tokens_mask
        if masked:
            _check_mask(template, returned=tokenize and return_dict)
        rendering: dict[str, Any] = {
            "tools": tools,
            "documents": documents,
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": continue_final_message,
            "mark_generation": masked,
        }
        variables = {**self.special_tokens_map, **variables}
        texts: Any = [render(template, chat, **rendering, **variables) for chat in chats]
        marked: Any = []
        if masked:
            texts, marked = zip(*map(_unmark, texts), strict=True)
        texts = texts[0] if single else list(texts)
        if not tokenize:
            return texts
        call: dict[str, Any] = {
            "padding": padding,
            "truncation": truncation,
            "max_length": max_length,
            "return_tensors": return_tensors,
            "add_special_tokens": False,
            **_call_options(tokenizer_kwargs),
        }
        encoded = self(texts, **call)  # type: ignore[operator]
        if masked:
            masks: Any = [
                _mask(encoding, positions) for encoding, positions in zip(encoded.encodings, marked, strict=True)
            ]
            kind = call["return_tensors"]
            flat = masks[0] if single and kind is None else masks
            encoded["assistant_masks"] = flat if kind is None else to_tensor(flat, kind)
        return encoded if return_dict else encoded["input_ids"]


def _mask(encoding: Any, characters: list[int]) -> list[int]:
    """1 for each token that covers one of the characters, 0 for others."""
    tokens = set(map(encoding.char_to_token, characters))
    return [int(token in tokens) for token in range(len(encoding))]


def _check_mask(template: str, returned: bool) -> None:
    """Check that the assistant's tokens can be marked."""
    if not returned:
        raise InputError(
            "The mask of the assistant's tokens is returned only with the tokens.",
            next_step="Pass tokenize=True and return_dict=True.",
        )
    if not re.search(r"{%-?\s*generation\s*-?%}", template):
        raise InputError(
            "The chat template does not mark the assistant's text.",
            next_step="Use a template with {% generation %} ... {% endgeneration %} around it.",
        )


def _call_options(options: Any) -> Mapping[str, Any]:
    if not isinstance(options, Mapping | None):
        raise InputError(
            f"tokenizer_kwargs is {described(options)}, which is not a dictionary.",
            next_step="Pass arguments of the tokenizer's call, such as {'padding': True}.",
        )
    return options or {}
