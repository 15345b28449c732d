"""Chat templates: from messages to the one text that a chat model was trained on.

A template comes from a checkpoint, so it is not trusted: it runs in Jinja's sandbox, changes nothing, and sees plain data.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import InputError, near_matches

if TYPE_CHECKING:
    import jinja2

    from notebook_kit.processing.text.batch_encoding import BatchEncoding

__all__ = ["ChatTemplates", "apply", "choose_template", "is_chat", "render"]

# Put around what a template marks with {% generation %}, while a mask of the assistant's tokens is wanted; and behind the
# words that are to be continued. They stand in Unicode's private area, which no text uses for itself.
_START, _END, _HERE = "\ue0f0", "\ue0f1", "\ue0f2"
_marking: ContextVar[bool] = ContextVar("notebook_kit_chat_marking", default=False)


def is_chat(value: Any) -> bool:
    """Whether a value is a list of messages `{"role": ..., "content": ...}`.

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


@functools.lru_cache(maxsize=32)
def _compiled(template: str) -> jinja2.Template:
    import jinja2
    from jinja2 import ext, nodes, sandbox

    class Generation(ext.Extension):
        """`{% generation %} ... {% endgeneration %}` around what the assistant says."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

        def _mark(self, caller: Any) -> str:
            said = caller()
            return f"{_START}{said}{_END}" if _marking.get() else said

    class Namespace(jinja2.utils.Namespace):
        """A template's variables; none of Python's own attributes can be reached through their names."""

        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise jinja2.exceptions.SecurityError(f"a template may not set {name!r}")
            super().__setitem__(name, value)

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals |= {
        "raise_exception": refuse,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "namespace": Namespace,
    }
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(
            f"The chat template cannot be read: {error.message} (line {error.lineno}).",
            next_step="Pass another one as chat_template=.",
        ) from error


def _plain(value: Any) -> Any:
    """Nothing but JSON's types: objects have methods that a sandbox cannot know."""
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


def choose_template(owned: Any, wanted: str | None, tools: Any) -> str:
    """The template to use: the one given, or one of those that the checkpoint has.

    Args:
        owned: A template, templates by name, or a list of `{"name": ..., "template": ...}`; None where there is none.
        wanted: A template, or the name of one.
        tools: Where there are any, a template named "tool_use" goes before "default".

    Raises:
        InputError: If there is none, or none of that name.
    """
    if isinstance(owned, list):
        owned = {entry["name"]: entry["template"] for entry in owned}
    if isinstance(owned, Mapping):
        if wanted in owned:
            return owned[wanted]
        if wanted is None:
            name = "tool_use" if tools and "tool_use" in owned else "default"
            if name in owned:
                return owned[name]
            raise InputError(
                f"This tokenizer has chat templates named {', '.join(owned)}, and none named 'default'.",
                next_step="Pass one of these names as chat_template=.",
            )
        if "{" not in wanted:
            raise InputError(
                f"There is no chat template {wanted!r}. {near_matches(wanted, owned)}".rstrip(),
                next_step=f"Name one of {', '.join(owned)}, or pass a template.",
            )
    found = wanted if wanted is not None else owned
    if found is None:
        raise InputError(
            "This tokenizer has no chat template: its model was not trained to chat, or the template was not saved with it.",
            next_step="Pass a text instead of messages, or a Jinja template as chat_template=.",
        )
    return found


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    **variables: Any,
) -> str:
    """One conversation as text.

    Args:
        template: In Jinja.
        messages: `{"role": ..., "content": ...}`, the oldest first.
        tools: JSON schemas of functions that the model may call.
        documents: `{"title": ..., "text": ...}`.
        add_generation_prompt: End with what opens the assistant's answer.
        continue_final_message: End within the last message.
        **variables: What else the template may use.

    Raises:
        InputError: If the messages are none, or the template refuses them.

    Example:
        >>> from notebook_kit.processing.text.chat import render
        >>> template = "{% for message in messages %}<{{ message.role }}> {{ message.content }} {% endfor %}"
        >>> render(template, [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hi."}])
        '<user> Hello! <assistant> Hi. '
    """
    import jinja2

    if not is_chat(messages):
        raise InputError(
            f"A conversation is {str(messages)[:80]!r}.",
            next_step='Pass a list of messages: [{"role": "user", "content": "Hello!"}].',
        )
    if any(not isinstance(tool, Mapping) for tool in tools or ()):
        raise InputError("A tool is not a JSON schema.", next_step='Pass {"type": "function", "function": {...}}.')
    chat = [{key: item for key, item in message.items() if item is not None} for message in _plain(messages)]
    ending = _open_ending(chat) if continue_final_message else ""
    try:
        text = _compiled(template).render(
            messages=chat,
            tools=_plain(tools),
            documents=_plain(documents),
            add_generation_prompt=add_generation_prompt,
            **_plain(variables),
        )
    except (jinja2.TemplateError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"The chat template does not take this conversation: {error}.",
            next_step="Check the roles and their order; some templates know no system message, or want user and assistant in turn.",
        ) from error
    if not continue_final_message:
        return text
    if _HERE not in text:
        raise InputError(
            "The chat template leaves out the final message, so it cannot be continued.",
            next_step="Pass continue_final_message=False, or end with another message.",
        )
    text = text[: text.rindex(_HERE)]
    return text if text.endswith(ending) else text.rstrip()  # some templates strip what is said


def _open_ending(chat: list[dict[str, Any]]) -> str:
    """Mark the end of the final message's text, and return that text."""
    content = chat[-1].get("content")
    if isinstance(content, list):
        holder = next((part for part in reversed(content) if isinstance(part.get("text"), str)), None)
        key = "text"
    else:
        holder, key = (chat[-1] if isinstance(content, str) else None), "content"
    if holder is None:
        raise InputError("The final message has no text to continue.", next_step="Pass continue_final_message=False.")
    said = holder[key]
    holder[key] = said + _HERE
    return said


def apply(
    tokenizer: Any,
    conversation: Any,
    template: str,
    *,
    tokenize: bool,
    return_dict: bool,
    return_assistant_tokens_mask: bool,
    call: dict[str, Any],
    **rendering: Any,
) -> str | list[Any] | BatchEncoding:
    """What `tokenizer.apply_chat_template` does, once the template is chosen."""
    batch = not is_chat(conversation)
    chats = list(conversation) if batch else [conversation]
    if not chats or not all(is_chat(chat) for chat in chats):
        raise InputError(
            f"The conversation is {str(conversation)[:80]!r}.",
            next_step='Pass a list of messages, [{"role": "user", "content": "Hello!"}], or a list of such lists.',
        )
    if return_assistant_tokens_mask and not (tokenize and return_dict):
        raise InputError(
            "A mask of the assistant's tokens comes with the tokens.",
            next_step="Pass tokenize=True and return_dict=True.",
        )
    if return_assistant_tokens_mask and not re.search(r"{%-?\s*generation\s*-?%}", template):
        raise InputError(
            "The chat template does not mark what the assistant says.",
            next_step="Use a template with {% generation %} ... {% endgeneration %} around it.",
        )
    token = _marking.set(return_assistant_tokens_mask)
    try:
        texts = [render(template, chat, **rendering) for chat in chats]
    finally:
        _marking.reset(token)
    spans = [_spans(text) for text in texts]
    texts = [text.replace(_START, "").replace(_END, "") for text in texts] if return_assistant_tokens_mask else texts
    if not tokenize:
        return texts if batch else texts[0]
    encoded = tokenizer(texts if batch else texts[0], add_special_tokens=False, **call)
    if not return_dict:
        return encoded["input_ids"]
    if return_assistant_tokens_mask:
        ids = encoded["input_ids"]
        rows = ids if batch or call.get("return_tensors") else [ids]
        masks = [_mask(encoded, row, len(ids), spans[row]) for row, ids in enumerate(rows)]
        flat = masks if batch or call.get("return_tensors") else masks[0]
        kind = call.get("return_tensors")
        encoded["assistant_masks"] = type(ids)(flat) if kind is None else _like(flat, kind)
    return encoded


def _like(rows: list[Any], kind: str) -> Any:
    if kind == "np":
        import numpy

        return numpy.array(rows)
    import torch

    return torch.tensor(rows)


def _spans(text: str) -> list[tuple[int, int]]:
    """Where marked parts start and end in the text without marks."""
    spans, start, place = [], 0, 0
    for character in text:
        if character == _START:
            start = place
        elif character == _END:
            spans.append((start, place))
        else:
            place += 1
    return spans


def _mask(encoded: Any, row: int, length: int, spans: list[tuple[int, int]]) -> list[int]:
    mask = [0] * length
    for start, end in spans:
        for place in range(start, end):
            token = encoded.char_to_token(row, place)
            if token is not None:
                mask[token] = 1
    return mask


class ChatTemplates:
    """What a tokenizer does with messages. It has a `chat_template`, and can be called."""

    chat_template: Any
    special_tokens_map: Any

    def get_chat_template(self, chat_template: str | None = None, tools: Any = None) -> str:
        """The chat template that a call would use.

        Args:
            chat_template: A template in Jinja, or the name of one of the tokenizer's own.
            tools: Where there are any, a template named "tool_use" is preferred.

        Raises:
            InputError: The tokenizer has none, or none of that name.
        """
        return choose_template(self.chat_template, chat_template, tools)

    def apply_chat_template(
        self,
        conversation: Any,
        tools: list[dict[str, Any]] | None = None,
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
        """Turn messages into the text that a chat model was trained on, and that into model inputs.

        Args:
            conversation: Messages `{"role": ..., "content": ...}`, the oldest first; or a list of such lists.
            tools: JSON schemas of functions that the model may call.
            documents: `{"title": ..., "text": ...}`, for templates that use them.
            chat_template: A template in Jinja, or the name of one; the checkpoint's own unless given.
            add_generation_prompt: End with what opens the assistant's answer.
            continue_final_message: End within the last message, for the model to go on with it.
            tokenize: Return ids; otherwise the text.
            padding, truncation, max_length, return_tensors: As in a call.
            return_dict: Return a `BatchEncoding`; otherwise the ids alone.
            return_assistant_tokens_mask: Also "assistant_masks", 1 where the template says that the assistant speaks.
            tokenizer_kwargs: Further arguments of the call.
            variables: What else the template may use.

        Raises:
            InputError: There is no template, or it does not take these messages.

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
        if continue_final_message and add_generation_prompt:
            raise InputError(
                "add_generation_prompt opens a new message, and continue_final_message goes on with the last one.",
                next_step="Pass one of the two.",
            )
        call = {
            "padding": padding,
            "truncation": truncation,
            "max_length": max_length,
            "return_tensors": return_tensors,
        }
        return apply(
            self,
            conversation,
            self.get_chat_template(chat_template, tools),
            tokenize=tokenize,
            return_dict=return_dict,
            return_assistant_tokens_mask=return_assistant_tokens_mask,
            call={**call, **(tokenizer_kwargs or {})},
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            **{**self.special_tokens_map, **variables},
        )
