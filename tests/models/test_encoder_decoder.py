"""Two models of text as one against transformers: outputs, losses, gradients, files, generation, two checkpoints, training."""

from __future__ import annotations

import json

import pytest
import reference as ref
import torch
import transformers

from notebook_kit import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    BertModel,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    GPT2Config,
    GPT2LMHeadModel,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    pipeline,
    record_attention,
)
from notebook_kit.errors import ConfigurationError, InputError, NotebookKitWarning
from notebook_kit.nn.inputs import inputs_of

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40, **NO_DROPOUT}
WIDE = {**SMALL, "hidden_size": 16, "num_attention_heads": 2}
TEXT = {"vocab_size": 60, "max_position_embeddings": 30}
GPT2 = {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 30, "vocab_size": 60}
GPT2 |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
DISTILBERT = {"dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 40, "dropout": 0.0, "attention_dropout": 0.0}
ENCODERS = {
    "bert": lambda kit: kit.BertConfig(**SMALL, **TEXT),
    "distilbert": lambda kit: kit.DistilBertConfig(**DISTILBERT, **TEXT),
    "roberta": lambda kit: kit.RobertaConfig(**SMALL, **TEXT),
}
DECODERS = {
    "bert": lambda kit: kit.BertConfig(**SMALL, **TEXT),
    "narrow": lambda kit: kit.BertConfig(**WIDE, **TEXT),
    "gpt2": lambda kit: kit.GPT2Config(**GPT2),
}
PAIRS = [("bert", "bert"), ("distilbert", "gpt2"), ("roberta", "narrow")]
IDS = torch.tensor([[2, 17, 8, 9, 3], [2, 11, 3, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
LABELS = torch.tensor([[7, 8, 9, 3], [5, 3, -100, -100]])
TOKENS = {"decoder_start_token_id": 2, "pad_token_id": 0, "eos_token_id": 3}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """`pairs(encoder, decoder)`: our model and the oracle's, with the folder of the latter."""
    made = {}

    def make(*names):
        if names not in made:
            folder = tmp_path_factory.mktemp("-".join(names))
            config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
                ENCODERS[names[0]](transformers), DECODERS[names[1]](transformers), **TOKENS
            )
            reference = transformers.EncoderDecoderModel(config).eval()
            reference.set_attn_implementation("eager")
            ref.randomize(reference)
            reference.save_pretrained(folder)
            made[names] = EncoderDecoderModel.from_pretrained(folder), reference, folder
        return made[names]

    return make


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_it_is_the_oracles(pairs, names, tmp_path):
    model, reference, folder = pairs(*names)
    given = {"input_ids": IDS, "attention_mask": MASK, "labels": LABELS}
    assert model.num_parameters() == reference.num_parameters()
    with torch.no_grad():
        everything = {**given, "output_attentions": True, "output_hidden_states": True, "use_cache": False}
        ref.assert_same_output(model(**everything), reference(**everything))
        masked = {
            "input_ids": IDS,
            "attention_mask": MASK,
            "decoder_input_ids": torch.tensor([[2, 7, 8], [2, 9, 0]]),
            "decoder_attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
            "use_cache": False,
        }
        ref.assert_same_output(model(**masked), reference(**masked))
        if names[0] == "bert":
            segments = {**given, "token_type_ids": torch.tensor([[0, 0, 1, 1, 1]] * 2)}
            ref.assert_same_output(model(**segments, use_cache=False), reference(**segments, use_cache=False))
    ref.assert_same_gradients(model, reference, lambda one: one(**given).loss)
    model.save_pretrained(tmp_path)
    ref.assert_same_files(tmp_path, folder)
    back, report = transformers.EncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        torch.testing.assert_close(back.eval()(**given).logits, model(**given).logits, rtol=0, atol=1e-5)


SEARCHES = [
    {},
    {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 2.0},
    {"decoder_input_ids": torch.tensor([[2, 7, 8], [2, 9, 10]])},
    {"repetition_penalty": 1.5, "use_cache": False},
]


@pytest.mark.parametrize("options", SEARCHES, ids=lambda options: " ".join(options) or "greedy")
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_generated_ids_are_the_oracles(pairs, names, options):
    model, reference, _ = pairs(*names)
    given = {"input_ids": IDS, "attention_mask": MASK, "max_new_tokens": 8, "do_sample": False, **options}
    assert torch.equal(model.generate(**given), reference.generate(**given))


def test_auto_classes_find_it_and_its_tokenizer(pairs, tmp_path):
    _, _, folder = pairs("distilbert", "gpt2")
    assert type(AutoModelForSeq2SeqLM.from_pretrained(folder)) is EncoderDecoderModel
    assert inputs_of(EncoderDecoderModel).main == "input_ids"
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]))
    assert AutoTokenizer.from_pretrained(tmp_path)("a b").input_ids == [2, 5, 6, 3]  # as the encoder reads it
    default = EncoderDecoderConfig()
    assert (default.encoder.model_type, default.decoder.is_decoder) == ("bert", True)


def test_attention_from_a_text_to_a_text(pairs):
    model, *_ = pairs("bert", "bert")
    with record_attention(model, kinds=["cross"]) as record:
        model(input_ids=IDS, labels=LABELS)
    assert {(site.rows, site.columns) for site in record.sites} == {("decoder text", "text")}


# Two checkpoints -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Folders with a BERT and a GPT-2, and what the oracle's BERT as decoder is filled with."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("bert", "gpt2")}
    torch.manual_seed(0)
    BertForPreTraining(BertConfig(**SMALL, **TEXT)).save_pretrained(folders["bert"])
    GPT2LMHeadModel(GPT2Config(**GPT2)).save_pretrained(folders["gpt2"])
    return folders


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_two_checkpoints_become_one_model(halves, name, tmp_path):
    with pytest.warns(NotebookKitWarning, match="crossattention"):
        model = EncoderDecoderModel.from_encoder_decoder_pretrained(
            halves["bert"], halves[name], encoder_hidden_dropout_prob=0.25, decoder_num_labels=5, **TOKENS
        )
    assert (model.config.encoder.hidden_dropout_prob, model.config.decoder.num_labels) == (0.25, 5)
    assert model.config.decoder.add_cross_attention and not model.training
    alone = BertModel.from_pretrained(halves["bert"])
    with torch.no_grad():
        torch.testing.assert_close(model.encoder(IDS).last_hidden_state, alone(IDS).last_hidden_state)
        expected = model.generate(IDS, max_new_tokens=4)
        model.save_pretrained(tmp_path)
        again = EncoderDecoderModel.from_pretrained(tmp_path)
        assert torch.equal(again.generate(IDS, max_new_tokens=4), expected)
        theirs = transformers.EncoderDecoderModel.from_pretrained(tmp_path).eval()
        assert torch.equal(theirs.generate(IDS, max_new_tokens=4), expected)


def test_the_decoders_checkpoint_can_be_the_encoders(halves, tmp_path):
    """A BERT that was saved as a decoder reads in both directions as an encoder."""
    BertForPreTraining.from_pretrained(halves["bert"]).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "is_decoder": True}))
    with pytest.warns(NotebookKitWarning, match="crossattention"):
        model = EncoderDecoderModel.from_encoder_decoder_pretrained(tmp_path, halves["bert"])
    assert not model.config.encoder.is_decoder
    expected = BertModel.from_pretrained(halves["bert"])(IDS).last_hidden_state
    torch.testing.assert_close(model.encoder(IDS).last_hidden_state, expected)


def test_halves_can_share_their_weights(halves, tmp_path):
    with pytest.warns(NotebookKitWarning, match="crossattention"):
        model = EncoderDecoderModel.from_encoder_decoder_pretrained(
            halves["bert"], halves["bert"], tie_encoder_decoder=True, **TOKENS
        )
    assert model.encoder.embeddings.word_embeddings.weight is model.decoder.bert.embeddings.word_embeddings.weight
    untied = sum(half.num_parameters() for half in (model.encoder, model.decoder))
    assert model.num_parameters() < 0.7 * untied
    model.train()(input_ids=IDS, labels=LABELS).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    model.eval().save_pretrained(tmp_path)
    again, theirs = (
        kit.EncoderDecoderModel.from_pretrained(tmp_path) for kit in (__import__("notebook_kit"), transformers)
    )
    expected = model(input_ids=IDS, labels=LABELS).logits
    for one in (again, theirs.eval()):  # transformers 5 has no shared halves: it reads two equal ones
        torch.testing.assert_close(one(input_ids=IDS, labels=LABELS).logits, expected, rtol=0, atol=1e-5)
    assert again.num_parameters() == model.num_parameters()
    config = EncoderDecoderConfig.from_encoder_decoder_configs(
        BertConfig(**SMALL, **TEXT), GPT2Config(**GPT2), tie_encoder_decoder=True
    )
    with pytest.raises(ConfigurationError, match="no weights in common"):
        EncoderDecoderModel(config)


def test_what_does_not_fit(pairs):
    model, *_ = pairs("bert", "bert")
    with pytest.raises(InputError, match=r"model\.decoder\.resize_token_embeddings"):
        model.resize_token_embeddings(70)
    assert model.get_input_embeddings() is model.encoder.get_input_embeddings()
    with pytest.raises(InputError, match="There is no decoder"):
        EncoderDecoderModel.from_encoder_decoder_pretrained(encoder_model=model.encoder)
    with pytest.raises(ConfigurationError, match="GPT2LMHeadModel does not attend"):
        EncoderDecoderModel(encoder=model.encoder, decoder=GPT2LMHeadModel(GPT2Config(**GPT2)))


# Use -------------------------------------------------------------------------------------------------------------------


def test_it_learns_to_copy_and_a_pipeline_writes(tmp_path):
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "cat", "dog"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    halves = [BertConfig(**{**WIDE, "num_hidden_layers": 1}, vocab_size=9, max_position_embeddings=16) for _ in "ab"]
    model = EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(*halves, **TOKENS))
    texts = [f"{colour} {animal}" for colour in ("red", "blue") for animal in ("cat", "dog")] * 4
    rows = [{**tokenizer(text), "labels": tokenizer(text).input_ids[1:]} for text in texts]
    arguments = Seq2SeqTrainingArguments(
        str(tmp_path / "run"), per_device_train_batch_size=8, num_train_epochs=50, learning_rate=1e-2, seed=1,
        report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, predict_with_generate=True,
    )  # fmt: skip
    trainer = Seq2SeqTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    assert trainer.predict(rows[:4]).predictions[:, 1:4].tolist() == [row["labels"] for row in rows[:4]]
    write = pipeline("text2text-generation", model=model.eval(), tokenizer=tokenizer)
    assert [answer["generated_text"] for answer in write(texts[:4], max_new_tokens=5)] == texts[:4]
