"""Chat templates render as the oracle renders them, in a sandbox, and say what does not fit."""

from __future__ import annotations

import json
import time
import tracemalloc
from functools import partial

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from notebook_kit import AutoTokenizer
from notebook_kit.errors import InputError
from notebook_kit.processing.text import sandbox
from notebook_kit.processing.text.chat import render

CHATML = """{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{% endif %}"""
LLAMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] | trim + ' [/INST]' }}"
    "{% else %}{% generation %}{{ message['content'] | trim + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
)
TOOLS = (
    "{%- set ns = namespace(count=0) -%}"
    "{% for tool in tools or [] %}{% set ns.count = ns.count + 1 %}{{ tool | tojson(indent=2) }}{% endfor %}{{ ns.count }}"
    "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}"
    "{{ mood }}{% for d in documents or [] %}{{ d.title }}{% endfor %}"
)
CHAT = [
    {"role": "user", "content": "Hello,  you <b>there</b>! "},
    {"role": "assistant", "content": " Hi. "},
    {"role": "user", "content": "Élodie says 你好"},
    {"role": "assistant", "content": "Well"},
]
TOOL = {"type": "function", "function": {"name": "größe", "parameters": {"a": [1, None, True]}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<p>"
    )
    made.chat_template = CHATML
    made.save_pretrained(folder)
    return folder


@pytest.fixture
def pair(folder):
    return AutoTokenizer.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("template", [None, LLAMA, TOOLS], ids=["own", "llama", "tools"])
@pytest.mark.parametrize(
    "options",
    [{}, {"add_generation_prompt": True}, {"continue_final_message": True}, {"tools": [TOOL], "mood": "good"}],
    ids=lambda value: "-".join(value) or "plain",
)
def test_renders_as_the_oracle(pair, template, options):
    chats = [CHAT, CHAT[:2]]
    given = {"chat_template": template, **options}
    if template == TOOLS:
        given["documents"] = [{"title": "A", "text": "b"}]
    for conversation in (CHAT, chats):
        mine, theirs = (one.apply_chat_template(conversation, tokenize=False, **given) for one in pair)
        assert mine == theirs
        mine, theirs = (
            one.apply_chat_template(conversation, padding=True, return_tensors="pt", **given) for one in pair
        )
        assert {name: value.tolist() for name, value in mine.items()} == {k: v.tolist() for k, v in theirs.items()}


@pytest.mark.parametrize("content", ["an answer ", "an answer", "\n an answer\n", "an answer. It is here: "])
@pytest.mark.parametrize(
    "form", ["{{ m.content }}", "{{ m.content | trim }}", "{{ m.content.strip() }}!", "{{ m.content }}\n"]
)
def test_a_continued_message_is_stripped_where_the_template_strips(pair, form, content):
    chat = [{"role": "user", "content": content}, {"role": "assistant", "content": content}]
    given = {"chat_template": "{% for m in messages %}<" + form + ">{% endfor %}", "tokenize": False}
    mine, theirs = (one.apply_chat_template(chat, continue_final_message=True, **given) for one in pair)
    assert mine == theirs and chat[1]["content"] == content


def test_mask_of_what_the_assistant_says(pair):
    given = {"chat_template": LLAMA, "return_assistant_tokens_mask": True}
    mine, theirs = (one.apply_chat_template(CHAT, **given)["assistant_masks"] for one in pair)
    assert mine == theirs and 0 < sum(mine) < len(mine)
    mine, theirs = (
        one.apply_chat_template([CHAT, CHAT[:2]], padding=True, return_tensors="pt", **given) for one in pair
    )
    assert mine["assistant_masks"].tolist() == theirs["assistant_masks"].tolist()


def test_goes_to_a_folder_and_back(pair, tmp_path):
    ours, _ = pair
    ours.chat_template = LLAMA
    ours.save_pretrained(tmp_path)
    for kind in (AutoTokenizer, transformers.AutoTokenizer):
        assert kind.from_pretrained(tmp_path).chat_template == LLAMA
    assert AutoTokenizer.from_pretrained(tmp_path, chat_template="mine").chat_template == "mine"


def test_named_templates(pair):
    ours, _ = pair
    ours.chat_template = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    assert ours.apply_chat_template(CHAT, tokenize=False) == "plain"
    assert ours.apply_chat_template(CHAT, tokenize=False, tools=[TOOL]) == "tools"
    assert ours.get_chat_template("tool_use") == "tools"
    with pytest.raises(InputError, match=r"no chat template 'tool_uses'. Did you mean 'tool_use'"):
        ours.get_chat_template("tool_uses")


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='x') }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{% for i in range(999999999) %}{% endfor %}",
        "{% if %}",
    ],
)
def test_a_template_can_do_no_harm(pair, template):
    with pytest.raises(InputError, match="chat template"):
        pair[0].apply_chat_template(CHAT, chat_template=template, tokenize=False)
    assert len(CHAT) == 4 and CHAT[0]["role"] == "user"


def test_sees_plain_data_alone(pair):
    class Picture:
        def save(self):
            raise AssertionError

    chat = [{"role": "user", "content": Picture()}]
    assert pair[0].apply_chat_template(chat, chat_template="{{ messages[0].content }}", tokenize=False) == "<Picture>"


@pytest.mark.parametrize(
    ("conversation", "options", "message"),
    [
        ([], {}, "The conversation is"),
        (["hello"], {}, "The conversation is"),
        ([{"content": "no role"}], {}, "The conversation is"),
        (CHAT[1:], {"chat_template": LLAMA}, "Roles must alternate"),
        (CHAT, {"add_generation_prompt": True, "continue_final_message": True}, "opens a new message"),
        (CHAT, {"chat_template": "nothing", "continue_final_message": True}, "leaves out the final message"),
        ([{"role": "user"}], {"continue_final_message": True}, "no text to continue"),
        (CHAT, {"return_assistant_tokens_mask": True}, "does not mark"),
        (CHAT, {"tools": [5]}, "neither a function nor a JSON schema"),
        (CHAT, {"tools": [len]}, "no annotation|annotations of len"),
    ],
)
def test_says_what_does_not_fit(pair, conversation, options, message):
    with pytest.raises(InputError, match=message):
        pair[0].apply_chat_template(conversation, **options)


def test_a_tokenizer_without_a_template(pair):
    pair[0].chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        pair[0].apply_chat_template(CHAT)


ENDLESS = {
    "loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "recursion": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(100) }}",
}
_GROWS = "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}"
HUGE = {
    "product": "{{ 'a' * 10**10 }}",
    "list": "{{ ([1] * 10**9) | length }}",
    "joined by ~": _GROWS + "{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "sum": _GROWS + "{% set n.x = n.x + n.x %}{% endfor %}",
    "block": _GROWS + "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}{% endfor %}",
    "filter": "{{ 'a' | center(10000000000) }}",
    "method": "{{ 'a'.ljust(10000000000) }}",
    "percent": "{{ '%10000000000d' % 5 }}",
    "star": "{{ '%*d' % (10000000000, 5) }}",
    "format": "{{ '{:>10000000000}'.format(5) }}",
    "replace": "{% set x = 'a' * 1000000 %}{{ x | replace('a', x) }}",
    "join": "{{ (['x' * 1000000] * 100000) | join }}",
    "indent": "{{ messages | tojson(indent=1000000000) }}",
    "output": "{% for a in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
}


@pytest.mark.parametrize("template", ENDLESS.values(), ids=ENDLESS)
def test_a_template_that_runs_for_too_long_is_stopped(monkeypatch, template):
    monkeypatch.setattr(sandbox, "SECONDS", 0.2)
    with pytest.raises(InputError, match=r"stopped: it runs for more than 0\.2 seconds"):
        render(template, CHAT)


@pytest.mark.parametrize("template", HUGE.values(), ids=HUGE)
def test_a_template_that_builds_too_much_is_stopped(monkeypatch, template):
    monkeypatch.setattr(sandbox, "CHARACTERS", 4_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"stopped: it produces more than 4,000,000 characters"):
            render(template, CHAT)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_nested_loops_end_soon():
    start = time.thread_time()
    with pytest.raises(InputError, match="stopped: it runs for more than 2 seconds"):
        render("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", CHAT)
    assert time.thread_time() - start < 4


def test_numbers_and_depth_are_limited():
    with pytest.raises(InputError, match="thousands of digits"):
        render("{{ 10 ** 100000000 }}", CHAT)
    with pytest.raises(InputError, match="rejects this conversation: maximum recursion depth"):
        render("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}", CHAT)


def test_what_templates_use_is_not_changed_by_the_limits():
    """Compared with Jinja itself."""
    import jinja2

    template = (
        "{% for m in messages %}{% if loop.last %}L{% endif %}{{ loop.index }}/{{ loop.length }} {{ loop.previtem }}"
        "{{ m['content'] | trim ~ '!' ~ loop.index0 }}{{ 'a,b'.split(',') }}{% endfor %}{{ (messages | length) * 2 }}"
        "{{ 'x' * 3 }}{{ '%s-%d' % ('a', 3) }}{{ 'ab' | replace('a', 'c') }}{{ ['a', 'b'] | join('-') }}{{ absent ~ 'z' }}"
        "{% for k, v in {'a': 1} | items %}{{ k }}{{ v }}{% endfor %}{% for q in absent %}{% else %}E{% endfor %}"
        "{% for x in [[1, [2]], 3] recursive %}{{ loop(x) if x is iterable else x }},{% endfor %}{{ messages | tojson }}"
        "{{ {'a': none} }}{{ 1.5 }}{{ true }}{{ 'a'.center(5) }}{{ '{:>4}'.format(1) }}{{ messages | selectattr('role') | list }}"
    )
    plain = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    plain.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    assert render(template, CHAT) == plain.from_string(template).render(messages=CHAT)
