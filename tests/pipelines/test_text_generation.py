"""Text generation gives what the oracle's pipeline gives, for texts, conversations and streams of them."""

from __future__ import annotations

import pytest
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import notebook_kit
from notebook_kit import BaseStreamer, TextIteratorStreamer, TextStreamer, TokenIteratorStreamer, pipeline
from notebook_kit.errors import ConfigurationError, InputError, PipelineInputError
from notebook_kit.generation.assisted import TranslatingAssistant

TEXTS = ["The city lies on the river", "Hello", "It rains. It pours. The old man is snoring", "Good night, good"]
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Good night?"}]
GREEDY = {"do_sample": False, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-gpt2")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        TEXTS * 9, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|end|>", eos_token="<|end|>", model_max_length=64
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    end = tokenizer.eos_token_id
    torch.manual_seed(3)
    transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            n_embd=32,
            n_layer=2,
            n_head=4,
            vocab_size=len(tokenizer),
            n_positions=64,
            bos_token_id=end,
            eos_token_id=end,
            initializer_range=0.4,
        )
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pair(folder):
    theirs = transformers.pipeline("text-generation", model=folder, device="cpu")
    return pipeline("text-generation", model=folder, device="cpu"), theirs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_full_text": False},
        {"return_tensors": True},
        {"num_beams": 3, "num_return_sequences": 3},
        {"prefix": "Once. "},
        {"skip_special_tokens": False, "eos_token_id": [32, 101, 280]},
        {"generate_kwargs": None, "repetition_penalty": 1.5},
        {"max_new_tokens": None, "max_length": 30},
        {"handle_long_generation": "hole", "max_new_tokens": 58},
        {"add_special_tokens": False},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_equals_the_oracle(pair, options):
    ours, theirs = pair
    settings = {**GREEDY, **options}
    oracle = {name: value for name, value in settings.items() if name != "generate_kwargs" and value is not None}
    expected = [theirs(text, **oracle) for text in TEXTS]
    assert [ours(text, **settings) for text in TEXTS] == expected
    if "max_length" not in options and options.get("max_new_tokens") != 58:
        assert ours(TEXTS, **settings) == expected  # in batches, padded on the left
        assert list(ours((text for text in TEXTS), batch_size=2, **settings)) == expected


def test_conversations_equal_the_oracle(pair):
    ours, theirs = pair
    begun = [*CHAT, {"role": "assistant", "content": "Good"}]
    for chat in (CHAT, begun):
        for options in ({}, {"return_full_text": False}, {"continue_final_message": False}):
            assert ours(chat, **GREEDY, **options) == theirs(chat, **GREEDY, **options)
    several = ours([CHAT, begun], **GREEDY)
    assert several == [ours(CHAT, **GREEDY), ours(begun, **GREEDY)]
    assert several[0][0]["generated_text"][:2] == CHAT and several[0][0]["generated_text"][2]["role"] == "assistant"
    assert CHAT[-1]["role"] == "user" and len(begun) == 3  # what was given is left alone


def test_stops_at_a_text(pair):
    ours, _ = pair
    whole = ours(TEXTS[0], **GREEDY, return_full_text=False)[0]["generated_text"]
    stop = whole[3:5]
    cut = ours(TEXTS[0], **GREEDY, return_full_text=False, stop_sequence=stop)[0]["generated_text"]
    assert whole.startswith(cut) and stop in cut and len(cut) < len(whole)
    assert ours(TEXTS[0], **GREEDY, return_full_text=False, stop_strings=[stop])[0]["generated_text"] == cut


@pytest.mark.parametrize("name", ["return_full_text", "return_text", "return_tensors"])
def test_switches_are_true_or_false(pair, name):
    with pytest.raises(InputError, match=f"{name} is 'no'; expected True or False or None"):
        pair[0](TEXTS[0], **GREEDY, **{name: "no"})


def test_proposals_and_guidance(pair):
    ours, theirs = pair
    plain = ours(TEXTS[2], **GREEDY)
    assert ours(TEXTS[2], **GREEDY, prompt_lookup_num_tokens=3) == plain
    assert ours(TEXTS[2], **GREEDY, assistant_model=ours.model) == plain
    other = ours.tokenizer(TEXTS[1], return_tensors="pt").input_ids
    guided = ours(TEXTS[2], **GREEDY, guidance_scale=3.0, negative_prompt_ids=other)
    assert guided == theirs(TEXTS[2], **GREEDY, guidance_scale=3.0, negative_prompt_ids=other) != plain
    config = notebook_kit.GenerationConfig(max_new_tokens=3, do_sample=False)
    assert ours(TEXTS[2], generation_config=config) == ours(TEXTS[2], max_new_tokens=3, do_sample=False)


def test_draws_when_nothing_is_said(pair):
    ours, theirs = pair
    made = [ours(TEXTS[1], max_new_tokens=8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2, 3)]
    assert made[0] == made[1] and len({str(one) for one in made}) > 1
    torch.manual_seed(5)
    mine = ours(TEXTS[1], max_new_tokens=8)
    torch.manual_seed(5)
    assert mine == theirs(TEXTS[1], max_new_tokens=8)  # the same defaults, so the same draws
    assert len(ours(TEXTS[1], max_new_tokens=4, num_return_sequences=3)) == 3


def test_streams(pair, capsys):
    ours, _ = pair
    expected = ours(TEXTS[0], **GREEDY)[0]["generated_text"]
    ours(TEXTS[0], **GREEDY, streamer=TextStreamer(ours.tokenizer))
    assert capsys.readouterr().out == expected + "\n"
    ids = TokenIteratorStreamer(skip_prompt=True)
    ours(TEXTS[0], **GREEDY, streamer=ids)
    prompt = ours.tokenizer(TEXTS[0]).input_ids
    assert (
        prompt + [int(step) for step in ids] == ours(TEXTS[0], **GREEDY, return_tensors=True)[0]["generated_token_ids"]
    )


class Interrupts(BaseStreamer):
    """The user stops after three tokens."""

    def __init__(self):
        self.left = 4

    def put(self, value):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt

    def end(self):
        pass


def test_an_interrupt_keeps_what_was_made(pair):
    ours, _ = pair
    whole = ours(TEXTS[0], **GREEDY, return_tensors=True)[0]["generated_token_ids"]
    with pytest.warns(UserWarning, match="Interrupted after 3 new tokens"):
        cut = ours(TEXTS[0], **GREEDY, return_tensors=True, streamer=Interrupts())[0]["generated_token_ids"]
    assert cut == whole[: len(cut)] and len(cut) == len(ours.tokenizer(TEXTS[0]).input_ids) + 3
    with pytest.raises(KeyboardInterrupt):
        ours([TEXTS[0]], **GREEDY, streamer=Interrupts())


def test_from_nothing(pair):
    ours, _ = pair
    assert len(ours("", **GREEDY, return_tensors=True)[0]["generated_token_ids"]) == 13


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("Hello", {"max_new_token": 3}, "no option 'max_new_token'. Did you mean 'max_new_tokens'"),
        ("Hello", {"temperature": -1.0}, "temperature is -1.0"),
        ("Hello", {"return_full_text": True, "return_tensors": True}, "exclude each other"),
        ("Hello", {"return_type": "half"}, "return_type is 'half'"),
        ("Hello", {"handle_long_generation": "cut"}, "handle_long_generation is 'cut'"),
        ("Hello", {"output_scores": True}, "cannot return what output_scores requests"),
        ("Hello", {"max_new_tokens": 100}, "positions for 64"),
        (b"Hello", {}, "The input is a"),
        ("word " * 80, {}, "at most 64"),
    ],
)
def test_says_what_does_not_fit(pair, given, options, message):
    with pytest.raises((InputError, ConfigurationError), match=message):
        pair[0](given, **options)


def test_one_bad_input_loses_no_other(pair):
    with pytest.raises(PipelineInputError) as caught:
        pair[0](["Hello", 5, "Good"], **GREEDY)
    assert caught.value.positions == (1,) and caught.value.results[0] == pair[0]("Hello", **GREEDY)


def test_the_task_is_told_by_the_checkpoint(folder):
    assert pipeline(model=folder).task == "text-generation"


VOCABULARY = {
    t: i for i, t in enumerate(["<s>", "</s>", "<unk>", "▁the", "▁old", "▁king", "▁said", "ing", "##s", "king"])
}
LLAMA = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m.content }}{% if not loop.last %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}</s>{% endif %}"
)


def writes(*ids):
    """A rule that forces these tokens, whatever the prompt."""
    left = list(ids)

    def rule(input_ids, scores):
        return torch.full_like(scores, -1e9).index_fill(1, torch.tensor([left.pop(0)]), 0.0)

    return [rule]


@pytest.mark.parametrize(
    ("decoder", "prompt", "ids", "new"),
    [
        (decoders.Sequence(LLAMA), "the old king", [6, 7], " saiding"),
        (decoders.Metaspace(), "the old king", [6, 5], " said king"),
        (decoders.Metaspace(), "the old king", [7, 6], "ing said"),  # the prompt ends inside a word
        (decoders.WordPiece(), "the old king", [8, 9], "s king"),
        (None, "the old king", [9], " king"),
    ],
    ids=["llama", "metaspace", "inside a word", "word pieces", "no decoder"],
)
def test_the_continuation_is_decoded_after_its_prompt(decoder, prompt, ids, new):
    backend = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    if decoder is not None:
        backend.decoder = decoder
    ours = notebook_kit.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
    ours.chat_template = CHAT_TEMPLATE
    size = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 10,
    }
    model = notebook_kit.LlamaForCausalLM(notebook_kit.LlamaConfig(**size, max_position_embeddings=32))
    pipe = pipeline("text-generation", model=model, tokenizer=ours, device="cpu")
    settings = {"max_new_tokens": len(ids), "do_sample": False}

    def answer(given, **options):
        return pipe(given, **settings, logits_processor=writes(*ids), **options)

    assert answer(prompt) == [{"generated_text": prompt + new}]
    assert answer(prompt, return_full_text=False) == [{"generated_text": new}]
    batch = answer(["king", prompt], batch_size=2)
    assert batch[1] == [{"generated_text": prompt + new}] and batch[0] == [{"generated_text": "king" + new}]
    chat = [{"role": "user", "content": "the king"}, {"role": "assistant", "content": prompt}]
    assert answer(chat)[0]["generated_text"][-1] == {"role": "assistant", "content": prompt + new}
    streamer = TextIteratorStreamer(ours, skip_prompt=True, skip_special_tokens=True)
    answer(prompt, streamer=streamer)
    assert "".join(streamer) == new
    # A new message begins a text, as in the oracle.
    question = [{"role": "user", "content": prompt}]
    assert answer(question)[0]["generated_text"][-1] == {"role": "assistant", "content": ours.decode(ids)}
    assert answer(question, return_full_text=False) == [{"generated_text": ours.decode(ids)}]
    streamer = TextIteratorStreamer(ours, skip_prompt=True)
    answer(question, streamer=streamer)
    assert "".join(streamer) == ours.decode(ids)


@pytest.mark.parametrize("end", [" ", "\n", "  "])
@pytest.mark.parametrize(
    ("tokens", "before", "decoder", "dropped"),
    [
        (["<unk>", "hello", "<end>", "wo"], pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(), True),
        (["<unk>", "▁hello", "<end>", "▁wo", "▁"], pre_tokenizers.Metaspace(), decoders.Metaspace(), False),
    ],
    ids=["word pieces", "sentencepiece"],
)
def test_white_space_at_the_end_of_the_prompt_is_not_doubled(tokens, before, decoder, dropped, end):
    if not dropped and end != " ":
        pytest.skip("its vocabulary has one space as a token")
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = before, decoder
    tokenizer = notebook_kit.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<unk>")
    tokenizer.chat_template = CHAT_TEMPLATE
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = notebook_kit.LlamaConfig(**size, vocab_size=len(tokens), max_position_embeddings=32)
    pipe = pipeline("text-generation", model=notebook_kit.LlamaForCausalLM(config), tokenizer=tokenizer, device="cpu")

    def answer(given, **options):
        rules = {"logits_processor": writes(3, 3)}
        return pipe(given, max_new_tokens=2, do_sample=False, **rules, **options)[0]["generated_text"]

    new = "wo wo" if dropped else " wo wo"  # the sentencepiece tokens say two spaces: one is the prompt's
    prompt = f"hello{end}"
    assert answer(prompt) == prompt + new
    assert answer(prompt, return_full_text=False) == new
    assert answer("hello") == "hello wo wo"
    chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": prompt}]
    assert answer(chat)[-1]["content"] == prompt + "wo wo"  # the template drops the space at the end


# An assistant by name -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_words(tmp_path_factory):
    """A smaller model with another vocabulary: one token per letter."""
    folder = tmp_path_factory.mktemp("letters")
    letters = sorted({letter for text in TEXTS for letter in text})
    backend = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token=letters[0]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    notebook_kit.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=letters[-1]).save_pretrained(folder)
    config = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": len(letters), "n_positions": 99}
    notebook_kit.GPT2LMHeadModel(notebook_kit.GPT2Config(**config)).save_pretrained(folder)
    return folder


def test_an_assistant_by_name(folder, pair, other_words):
    expected = pair[0](TEXTS[0], **GREEDY)
    helped = pipeline("text-generation", model=folder, assistant_model=folder, device="cpu")
    assert helped.options["assistant_model"].config == helped.model.config
    assert helped.options.get("assistant_tokenizer") is None, "the vocabulary is the same"
    assert helped(TEXTS[0], **GREEDY) == expected == pair[0](TEXTS[0], assistant_model=folder, **GREEDY)
    theirs = transformers.pipeline("text-generation", model=folder, assistant_model=folder, device="cpu")
    assert theirs(TEXTS[0], **GREEDY) == expected
    translated = pipeline("text-generation", model=folder, assistant_model=other_words, device="cpu")
    assert translated.options["assistant_tokenizer"].get_vocab() != translated.tokenizer.get_vocab()
    assert translated(TEXTS[0], **GREEDY) == expected
    loaded = notebook_kit.GPT2LMHeadModel.from_pretrained(other_words)
    given = {"assistant_model": loaded, "assistant_tokenizer": str(other_words)}
    assert pair[0](TEXTS[0], **given, **GREEDY) == expected


class Foreseeing:
    """Writes a given text."""

    device, position_limit = torch.device("cpu"), 64

    def __init__(self, tokenizer, text):
        self.ids = tokenizer(text, return_tensors="pt")["input_ids"]

    def generate(self, read, max_new_tokens, do_sample):
        return torch.cat([read, self.ids[:, :max_new_tokens]], dim=1)


def test_texts_of_an_assistant_are_proposed_as_tokens(pair):
    tokenizer = pair[0].tokenizer
    ids = torch.tensor(tokenizer(TEXTS[0])["input_ids"])
    assistant = TranslatingAssistant(Foreseeing(tokenizer, ". It pours"), tokenizer, tokenizer)
    assert tokenizer.decode(assistant(ids, 20)) == ". It pours"
    assert len(assistant(ids, 1)) == 1 and len(assistant(ids, 0)) == 0
    assert len(assistant(ids.repeat(9), 20)) == 0, "more than the assistant can read"


def test_a_tokenizer_of_an_assistant_needs_that_of_the_model(pair):
    model, ids = pair[0].model, torch.tensor([[5, 6]])
    with pytest.raises(InputError, match="assistant_tokenizer needs that of the model, too"):
        model.generate(ids, assistant_model=model, assistant_tokenizer=pair[0].tokenizer)
    with pytest.raises(InputError, match="assistant_tokenizer is 5"):
        model.generate(ids, assistant_model=model, assistant_tokenizer=5)
