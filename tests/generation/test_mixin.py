"""Which models generate, and what a mixin adds to them."""

import warnings

import pytest
import torch
from oracle import BATCH, ONE, PAD, both, pair

from notebook_kit import (
    BertConfig,
    BertModel,
    GenerationConfig,
    GenerationMixin,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    T5Model,
    TextStreamer,
)
from notebook_kit.errors import ConfigurationError, InputError, NotebookKitError
from notebook_kit.generation.stopping import EosTokenCriteria
from notebook_kit.nn.outputs import CausalLMOutputWithPast

GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 20, "n_positions": 16}
IDS = torch.tensor([[7]])


def successor(*bases):
    """A model that says that each token is followed by the next larger one, of these bases."""

    class Successor(*bases):
        config_class = GPT2Config

        def __init__(self, config):
            super().__init__(config)
            self.table = torch.nn.Embedding.from_pretrained(torch.eye(config.vocab_size).roll(1, dims=1))

        def forward(self, input_ids, **kwargs):
            return CausalLMOutputWithPast(logits=self.table(input_ids))

    return Successor


@pytest.mark.parametrize("bases", [(PreTrainedModel, GenerationMixin), (GenerationMixin, PreTrainedModel)])
def test_a_users_model_generates_whatever_the_order_of_its_bases(bases, tmp_path):
    kind = successor(*bases)
    model = kind(GPT2Config(**GPT2))
    assert kind.can_generate() and model.generation_kind == "decoder"
    assert model.generate(IDS, max_new_tokens=3, use_cache=False).tolist() == [[7, 8, 9, 10]]
    model.generation_config = GenerationConfig(max_new_tokens=2, use_cache=False)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "generation_config.json").is_file()
    assert kind.from_pretrained(tmp_path).generate(IDS).tolist() == [[7, 8, 9]]


def test_kinds():
    assert GPT2LMHeadModel(GPT2Config(**GPT2)).generation_kind == "decoder"
    tiny = T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=20)
    assert T5ForConditionalGeneration(tiny).generation_kind == "encoder-decoder"


@pytest.mark.parametrize("kind", [BertModel, GPT2Model, T5Model, successor(PreTrainedModel)])
def test_other_models_do_not_generate(kind, tmp_path):
    sizes = {
        BertConfig: {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20},
        GPT2Config: GPT2,
        T5Config: {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 20},
    }
    model = kind(kind.config_class(**sizes[kind.config_class]))
    assert not kind.can_generate()
    with pytest.raises(InputError, match=f"{kind.__name__} does not generate text"):
        model.generate(IDS)
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "generation_config.json").exists()


KEPT = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_beams": 3, "num_return_sequences": 2},
        {"num_beams": 4, "length_penalty": 2.0, "repetition_penalty": 1.3},
    ],
    ids=str,
)
def test_transition_scores_equal_the_oracle(family, settings):
    mine, theirs = both(family, BATCH, max_new_tokens=8, **KEPT, **settings)
    model, reference = pair(family)
    for scores in ("scores", "logits"):
        for normalize in (False, True):
            ours, expected = (
                which.compute_transition_scores(
                    out.sequences, out[scores], out.get("beam_indices"), normalize_logits=normalize
                )
                for which, out in ((model, mine), (reference, theirs))
            )
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    if settings:  # the sums of a beam's scores are its own score
        ours = model.compute_transition_scores(mine.sequences, mine.scores, mine.beam_indices)
        lengths = (mine.beam_indices >= 0).sum(dim=1) ** settings.get("length_penalty", 1.0)
        torch.testing.assert_close(ours.sum(dim=1) / lengths, mine.sequences_scores, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="scores is None; expected what generate returns"):
        model.compute_transition_scores(mine.sequences, None)


def test_inputs_of_a_step():
    model, reference = pair("gpt2")
    ids, mask = BATCH["input_ids"], BATCH["attention_mask"]
    assert list(model.prepare_inputs_for_generation(ids)) == ["input_ids"]
    for length in (None, 1, 3):
        given = {"next_sequence_length": length, "attention_mask": mask, "use_cache": True, "position_ids": ids}
        ours, theirs = (one.prepare_inputs_for_generation(ids, **given) for one in (model, reference))
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(value)), name
    with torch.no_grad():
        out = model(ids[:, :4], use_cache=True)
        call = model.prepare_inputs_for_generation(ids, past_key_values=out.past_key_values)
        assert call["input_ids"].tolist() == ids[:, 4:].tolist()  # what is not cached
        torch.testing.assert_close(model(**call).logits[:, -1], model(ids).logits[:, -1])
    embeds = torch.ones(1, 2, 32)
    first = model.prepare_inputs_for_generation(ids[:1], inputs_embeds=embeds, is_first_iteration=True)
    assert list(first) == ["inputs_embeds"]
    assert list(model.prepare_inputs_for_generation(ids[:1], inputs_embeds=embeds)) == ["input_ids"]


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}], ids=str)
def test_a_model_that_prepares_its_own_inputs(settings):
    """As published models do it, with a further input that `generate` passes on."""
    seen = []

    class Own(GPT2LMHeadModel):
        def forward(self, input_ids=None, boost=None, past_key_values=None, attention_mask=None, **options):
            seen.append((input_ids.shape[1], tuple(boost.shape)))
            given = {"past_key_values": past_key_values, "attention_mask": attention_mask}
            out = super().forward(input_ids, **given, **options)
            out["logits"] = out.logits + boost[:, None]
            return out

        def prepare_inputs_for_generation(self, input_ids, past_key_values=None, attention_mask=None, **kwargs):
            if past_key_values:
                input_ids = input_ids[:, -1:]
            call = {"input_ids": input_ids, "past_key_values": past_key_values, "attention_mask": attention_mask}
            return {**call, "use_cache": kwargs.get("use_cache"), "boost": kwargs["boost"]}

    torch.manual_seed(0)
    model = Own(GPT2Config(**GPT2)).eval()
    boost = torch.zeros(2, 20)
    boost[0, 5] = boost[1, 6] = 1e4
    out = model.generate(
        torch.tensor([[7, 8], [3, 4]]), boost=boost, max_new_tokens=3, eos_token_id=None, pad_token_id=0, **settings
    )
    copies = len(out) // 2
    assert out[:, 2:].tolist() == [[5, 5, 5]] * copies + [[6, 6, 6]] * copies
    rows = 2 * max(copies, settings.get("num_beams", 1))
    assert seen == [(2, (2, 20)), (1, (rows, 20)), (1, (rows, 20))]
    with pytest.raises(InputError, match=r"no argument 'bost'"):
        model.generate(IDS, bost=boost)


def test_a_subclass_may_add_to_the_inputs():
    class Late(GPT2LMHeadModel):
        def prepare_inputs_for_generation(self, input_ids, **kwargs):
            call = super().prepare_inputs_for_generation(input_ids, **kwargs)
            call["position_ids"] = torch.arange(input_ids.shape[1])[None, -call["input_ids"].shape[1] :] + 2
            return call

    torch.manual_seed(0)
    model = Late(GPT2Config(**GPT2, initializer_range=0.5)).eval()
    shifted = model.generate(torch.tensor([[7, 8]]), max_new_tokens=6, eos_token_id=None)
    plain = GPT2LMHeadModel.generate(model, torch.tensor([[7, 8]]), max_new_tokens=1, eos_token_id=None)
    ids = torch.tensor([[7, 8]])
    for _ in range(6):  # by hand, without a cache
        logits = model(ids, position_ids=torch.arange(ids.shape[1])[None] + 2).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
    assert shifted.tolist() == ids.tolist() and plain.shape == (1, 3)


def test_start_tokens_of_each_input():
    import transformers

    torch.manual_seed(0)
    size = {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 40,
        "num_layers": 2,
        "num_heads": 4,
        "vocab_size": 60,
        "decoder_start_token_id": 0,
    }
    model = T5ForConditionalGeneration(T5Config(**size)).eval()
    theirs = transformers.T5ForConditionalGeneration(transformers.T5Config(**size)).eval()
    theirs.load_state_dict(model.state_dict())
    given = {"input_ids": torch.tensor([[5, 9, 12, 1], [7, 33, 4, 1]])}
    for settings in ({}, {"num_beams": 2}, {"decoder_input_ids": torch.tensor([[8, 30], [40, 31]])}):
        options = {**given, "max_new_tokens": 5, "decoder_start_token_id": [8, 40], **settings}
        mine = model.generate(**options)
        assert mine[:, 0].tolist() == [8, 40]
        assert mine.tolist() == theirs.generate(**options).tolist()
    with pytest.raises(InputError, match="3 tokens for 2 inputs"):
        model.generate(**given, decoder_start_token_id=[1, 2, 3])


WRONG = [
    5,
    -1,
    2.5,
    "x",
    b"x",
    [],
    ["x"],
    [5],
    {"a": 1},
    object(),
    True,
    float("nan"),
    torch.tensor(3),
    torch.ones(2, 2, 2),
]
OBJECTS = [
    "inputs",
    "generation_config",
    "logits_processor",
    "stopping_criteria",
    "prefix_allowed_tokens_fn",
    "streamer",
]
OBJECTS += ["tokenizer", "generator", "on_interrupt", "assistant_model", "negative_prompt_ids", "attention_mask"]
OBJECTS += ["inputs_embeds", "past_key_values", "encoder_outputs", "decoder_input_ids", "input_ids", "not_an_argument"]


@pytest.mark.parametrize("name", [*GenerationConfig.names(), *OBJECTS])
def test_every_argument_with_values_of_wrong_types(name):
    """Each is an error of ours, or works; nothing else comes out."""
    model = pair("gpt2")[0]
    more = {"guidance_scale": 1.5} if name == "negative_prompt_ids" else {}
    refused = 0
    for value in WRONG:
        prompt = {} if name in ("inputs", "input_ids", "inputs_embeds") else ONE
        options = {"max_new_tokens": 2, "pad_token_id": PAD, **more, name: value}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # settings without effect
                model.generate(**prompt, **options)
        except NotebookKitError as error:
            assert name in str(error) or name in ("inputs", "input_ids") or "max_length" in str(error), (value, error)
            refused += 1
    assert refused >= 6


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@pytest.mark.parametrize("value", [[[5]], torch.tensor([[5]])], ids=["list", "tensor"])
def test_a_name_is_checked_before_its_value(family, value):
    size = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_heads": 2, "num_layers": 1, "vocab_size": 50}
    t5 = T5ForConditionalGeneration(T5Config(**size, decoder_start_token_id=0))
    model, given = t5 if family == "t5" else pair(family)[0], {"input_ids": torch.tensor([[5, 6]])}
    for name in ("force_words_ids", "constraints"):
        with pytest.raises(InputError, match=f"no argument '{name}'") as caught:
            model.generate(**given, **{name: value})
        assert "prefix_allowed_tokens_fn" in str(caught.value) and "Did you mean" not in str(caught.value)
        with pytest.raises(ConfigurationError, match=name) as caught:
            GenerationConfig(**{name: value})
        assert "prefix_allowed_tokens_fn" in str(caught.value)
    with pytest.raises(InputError, match=r"no argument 'atention_mask'.*'attention_mask'"):
        model.generate(**given, atention_mask=[[1, 1]])
    with pytest.raises(InputError, match="attention_mask is a list"):
        model.generate(**given, attention_mask=[[1, 1]])


def test_a_class_in_place_of_an_instance():
    model = pair("gpt2")[0]
    for name, kind in (
        ("streamer", TextStreamer),
        ("tokenizer", PreTrainedTokenizerFast),
        ("generator", torch.Generator),
        ("assistant_model", GPT2LMHeadModel),
        ("prefix_allowed_tokens_fn", TextStreamer),
    ):
        with pytest.raises(InputError, match=f"{name} is the class {kind.__name__}"):
            model.generate(**ONE, **{name: kind})
    for name in ("logits_processor", "stopping_criteria"):
        with pytest.raises(InputError, match=f"{name} holds the class EosTokenCriteria"):
            model.generate(**ONE, **{name: [EosTokenCriteria]})


@pytest.mark.parametrize("method", ["fail", "end"])
def test_the_end_of_a_streamer_does_not_hide_an_error(method):
    class Broken:
        def put(self, tokens):
            raise ValueError("the cause")

        def end(self):
            raise RuntimeError("the end")

    Broken.fail = lambda self, error: self.end()
    if method == "end":
        del Broken.fail
    with pytest.raises(ValueError, match="the cause"):
        pair("gpt2")[0].generate(**ONE, streamer=Broken(), max_new_tokens=2)
