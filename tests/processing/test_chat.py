"""Chat templates render as the oracle renders them, in a sandbox, and say what does not fit."""

from __future__ import annotations

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from notebook_kit import AutoTokenizer
from notebook_kit.errors import InputError

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
        (CHAT, {"tools": [len]}, "not a JSON schema"),
    ],
)
def test_says_what_does_not_fit(pair, conversation, options, message):
    with pytest.raises(InputError, match=message):
        pair[0].apply_chat_template(conversation, **options)


def test_a_tokenizer_without_a_template(pair):
    pair[0].chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        pair[0].apply_chat_template(CHAT)
