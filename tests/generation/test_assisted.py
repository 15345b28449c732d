"""Proposed tokens and guidance: the same texts as without proposals, and those of the oracle."""

from __future__ import annotations

import pytest
import torch
from oracle import BATCH, ONE, PAD, both, pair

import notebook_kit
from notebook_kit import BertConfig, EncoderDecoderConfig, EncoderDecoderModel
from notebook_kit.errors import InputError
from notebook_kit.generation.assisted import looked_up

PLAIN = {"max_new_tokens": 24, "eos_token_id": None, "pad_token_id": PAD}
REPEATED = {"input_ids": torch.tensor([[5, 17, 23, 9, 31, 5, 17, 23, 9, 31, 5, 17]])}


@pytest.fixture(scope="module")
def weaker():
    """A model that often agrees with the other, and not always."""
    torch.manual_seed(1)
    ours = pair("gpt2")[0]
    model = type(ours)(ours.config).eval()
    model.load_state_dict(ours.state_dict())
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.04)
    return model


def calls_of(model, **arguments):
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    try:
        return model.generate(**arguments), len(calls)
    finally:
        handle.remove()


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "gemma"])
@pytest.mark.parametrize("given", [ONE, REPEATED], ids=["short", "repeated"])
def test_prompt_lookup_equals_greedy_search_and_the_oracle(family, given):
    model, _ = pair(family)
    whole = model.generate(**given, **PLAIN)
    for settings in ({"prompt_lookup_num_tokens": 3}, {"prompt_lookup_num_tokens": 10, "max_matching_ngram_size": 3}):
        mine, theirs = both(family, given, **PLAIN, **settings)
        assert mine.tolist() == whole.tolist() == theirs.tolist()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_assistant_tokens": 1},
        {"num_assistant_tokens_schedule": "heuristic", "num_assistant_tokens": 4},
        {"use_cache": False},
        {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
        {"eos_token_id": [1, 2, 28]},
        {"min_new_tokens": 5, "eos_token_id": list(range(40, 60))},
        {"do_sample": True, "temperature": 0.7, "top_k": 20},
        {"do_sample": True, "eos_token_id": [28, 55]},
        {"output_scores": True, "output_logits": True, "return_dict_in_generate": True},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
@pytest.mark.parametrize("assistant", ["itself", "weaker", "lookup"])
def test_proposals_change_nothing(weaker, assistant, settings):
    """Neither the tokens, nor the samples of a seed, nor the scores."""
    model = pair("gpt2")[0]
    options = {**PLAIN, **settings}
    proposals = {"prompt_lookup_num_tokens": 4} if assistant == "lookup" else {}
    if assistant != "lookup":
        proposals = {"assistant_model": model if assistant == "itself" else weaker}
    for seed in range(3 if "do_sample" in settings else 1):
        chance = [torch.Generator().manual_seed(seed) for _ in range(2)]
        whole = model.generate(**ONE, **options, generator=chance[0])
        mine = model.generate(**ONE, **options, **proposals, generator=chance[1])
        if "return_dict_in_generate" in settings:
            assert mine.past_key_values.length == whole.past_key_values.length
            for name in ("scores", "logits"):
                torch.testing.assert_close(torch.stack(mine[name]), torch.stack(whole[name]))
            mine, whole = mine.sequences, whole.sequences
        assert mine.tolist() == whole.tolist()


def test_assistants_of_the_oracle_and_ours_give_the_same(weaker, tmp_path):
    import transformers

    weaker.save_pretrained(tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    expected = pair("gpt2")[1].generate(**ONE, **PLAIN, assistant_model=theirs, do_sample=False)
    assert pair("gpt2")[0].generate(**ONE, **PLAIN, assistant_model=weaker).tolist() == expected.tolist()


def test_good_proposals_save_calls(weaker):
    model = pair("gpt2")[0]
    _, plain = calls_of(model, **ONE, **PLAIN)
    _, assisted = calls_of(model, **ONE, **PLAIN, assistant_model=weaker, num_assistant_tokens=5)
    _, perfect = calls_of(weaker, **ONE, **PLAIN, assistant_model=model, num_assistant_tokens=5)
    assert plain == 24 and assisted < 20 and perfect < 20
    copy = type(model)(model.config).eval()
    copy.load_state_dict(model.state_dict())
    assert calls_of(model, **ONE, **PLAIN, assistant_model=copy, num_assistant_tokens=5)[1] == 4  # six tokens a call
    _, lookup = calls_of(model, **REPEATED, **PLAIN, prompt_lookup_num_tokens=5)
    assert lookup < 24


def test_streams_and_vectors_and_a_given_cache(weaker):
    model = pair("gpt2")[0]
    whole = model.generate(**ONE, **PLAIN)
    streamer = notebook_kit.TokenIteratorStreamer(skip_prompt=True)
    model.generate(**ONE, **PLAIN, assistant_model=weaker, streamer=streamer)
    assert [int(token) for token in streamer] == whole[0, 6:].tolist()
    embeds = model.get_input_embeddings()(ONE["input_ids"]).detach()
    new = model.generate(inputs_embeds=embeds, **PLAIN, prompt_lookup_num_tokens=3)
    assert new.tolist() == whole[:, 6:].tolist()
    cache = notebook_kit.DynamicCache()
    assert model.generate(**ONE, **PLAIN, past_key_values=cache, assistant_model=weaker).tolist() == whole.tolist()
    assert cache.get_seq_length() == whole.shape[1] - 1


def test_an_encoder_decoder_with_proposals():
    torch.manual_seed(0)
    size = {"d_model": 32, "d_kv": 8, "d_ff": 40, "num_heads": 4, "vocab_size": 60, "decoder_start_token_id": 0}
    model = notebook_kit.T5ForConditionalGeneration(notebook_kit.T5Config(**size, num_layers=2)).eval()
    assistant = notebook_kit.T5ForConditionalGeneration(notebook_kit.T5Config(**size, num_layers=1)).eval()
    given = {"input_ids": torch.tensor([[5, 9, 12, 33, 1]])}
    whole = model.generate(**given, max_new_tokens=12)
    assert model.generate(**given, max_new_tokens=12, assistant_model=assistant).tolist() == whole.tolist()
    assert model.generate(**given, max_new_tokens=12, prompt_lookup_num_tokens=2).tolist() == whole.tolist()
    with pytest.raises(InputError, match="assistant is of the kind decoder"):
        model.generate(**given, assistant_model=pair("gpt2")[0])
    with pytest.raises(InputError, match="guidance_scale is for decoders"):
        model.generate(**given, guidance_scale=1.5)


def test_an_assistant_with_fewer_positions_and_settings_of_its_own(weaker):
    short = type(weaker)(weaker.config.from_dict({**weaker.config.to_dict(), "n_positions": 12})).eval()
    short.generation_config = notebook_kit.GenerationConfig(stop_strings="x", do_sample=True, num_beams=3, max_length=7)
    model = pair("gpt2")[0]
    assert model.generate(**ONE, **PLAIN, assistant_model=short).tolist() == model.generate(**ONE, **PLAIN).tolist()


def test_an_assistant_with_fewer_tokens(weaker):
    model = pair("gpt2")[0]
    size = model.config.vocab_size
    written = model.generate(**ONE, **PLAIN)
    largest = int(ONE["input_ids"].max())
    small = weaker.config.from_dict({**weaker.config.to_dict(), "vocab_size": largest})
    with pytest.raises(
        InputError, match=rf"assistant knows {largest} tokens, and not the token {largest} of the prompt"
    ):
        model.generate(**ONE, **PLAIN, assistant_model=type(weaker)(small).eval())
    limits = range(largest + 1, min(int(written.max()) + 1, size))
    assert limits, "the text contains tokens that the assistant lacks"
    for limit in (limits[0], limits[-1]):
        less = type(weaker)(weaker.config.from_dict({**weaker.config.to_dict(), "vocab_size": limit})).eval()
        assert model.generate(**ONE, **PLAIN, assistant_model=less).tolist() == written.tolist()


def test_what_proposals_cannot_do(weaker):
    model = pair("gpt2")[0]
    for given, settings in (
        (BATCH, {}),
        (ONE, {"num_beams": 2}),
        (ONE, {"do_sample": True, "num_return_sequences": 2}),
    ):
        with pytest.raises(InputError, match="a single sequence only"):
            model.generate(**given, **PLAIN, **settings, prompt_lookup_num_tokens=3)
    with pytest.raises(InputError, match="Attentions and hidden states are not kept"):
        settings = {"return_dict_in_generate": True, "output_attentions": True}
        model.generate(**ONE, **PLAIN, **settings, assistant_model=weaker)
    with pytest.raises(InputError, match="assistant_model is 'gpt2'"):
        model.generate(**ONE, assistant_model="gpt2")


def test_the_place_to_look_up():
    text = torch.tensor([1, 2, 3, 1, 2, 4, 1, 2])
    assert looked_up(text, 2, 2).tolist() == [3, 1]
    assert looked_up(text, 9, 3).tolist() == [3, 1, 2, 4, 1, 2]  # the last three do not occur earlier
    assert looked_up(torch.tensor([1, 2, 3]), 2, 2).tolist() == []
    assert looked_up(torch.tensor([1]), 2, 2).tolist() == []


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"negative_prompt_ids": torch.tensor([[9, 9, 40]])},
        {
            "negative_prompt_ids": torch.tensor([[3, 9, 40]]),
            "negative_prompt_attention_mask": torch.tensor([[0, 1, 1]]),
            "use_cache": False,
        },
        {"guidance_scale": 0.5, "repetition_penalty": 1.3},
        {"return_dict_in_generate": True, "output_scores": True},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_guidance_equals_the_oracle(family, settings):
    options = {"max_new_tokens": 8, "eos_token_id": None, "guidance_scale": 1.7, **settings}
    mine, theirs = both(family, ONE, **options)
    if "output_scores" in settings:
        torch.testing.assert_close(torch.stack(mine.scores), torch.stack(theirs.scores), rtol=1e-4, atol=1e-4)
        mine, theirs = mine.sequences, theirs.sequences
    assert mine.tolist() == theirs.tolist()
    plain = pair(family)[0].generate(**ONE, max_new_tokens=8, eos_token_id=None, pad_token_id=PAD)
    assert mine.tolist() != plain.tolist() or settings.get("guidance_scale") == 0.5


def test_guidance_of_several_rows():
    """Each row as if it were alone; also several samples and beams of a prompt."""
    model, _ = pair("gpt2")
    prompts = torch.tensor([[5, 17, 23, 9], [31, 7, 40, 12]])
    other = torch.tensor([[8, 8], [9, 60]])
    options = {"max_new_tokens": 6, "eos_token_id": None, "pad_token_id": PAD, "guidance_scale": 2.0}
    for search in ({}, {"num_beams": 3}):
        whole = model.generate(prompts, negative_prompt_ids=other, **options, **search)
        for row in range(2):
            alone = model.generate(
                prompts[row : row + 1], negative_prompt_ids=other[row : row + 1], **options, **search
            )
            assert whole[row].tolist() == alone[0].tolist()
    samples = model.generate(
        prompts, negative_prompt_ids=other, **options, do_sample=True, top_k=1, num_return_sequences=2
    )
    greedy = model.generate(prompts, negative_prompt_ids=other, **options)
    assert samples[::2].tolist() == samples[1::2].tolist() == greedy.tolist()
    with pytest.raises(InputError, match=r"negative_prompt_ids is of shape \(1, 2\)"):
        model.generate(prompts, negative_prompt_ids=other[:1], **options)


@pytest.mark.parametrize("rows", [60, 40])
def test_a_decoder_with_another_vocabulary_than_its_encoder(rows):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    configs = [
        EncoderDecoderConfig.from_encoder_decoder_configs(
            BertConfig(vocab_size=50, **sizes), BertConfig(vocab_size=count, **sizes),
            decoder_start_token_id=1, eos_token_id=2, pad_token_id=0,
        )
        for count in (60, rows)
    ]  # fmt: skip
    model, assistant = (EncoderDecoderModel(config).eval() for config in configs)
    given = {"input_ids": torch.tensor([[5, 6, 7, 49]]), "max_new_tokens": 8, "do_sample": False}
    plain = model.generate(**given)
    assert torch.equal(model.generate(**given, assistant_model=assistant), plain)
    assert torch.equal(model.generate(**given, assistant_model=model), plain)
