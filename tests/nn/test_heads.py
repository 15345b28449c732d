"""What all heads share: the inputs that they list, where they get them from, and heads used by pipelines and the Trainer."""

from __future__ import annotations

import inspect
import warnings

import pytest
import torch

import notebook_kit
from notebook_kit.errors import ConfigurationError, InputError, NotebookKitWarning
from notebook_kit.nn.heads import ForTokenClassification
from notebook_kit.nn.inputs import inputs_of
from notebook_kit.nn.losses import sum_losses

BERT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
DISTILBERT = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64, "vocab_size": 50}
LLAMA = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 50,
}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "vocab_size": 50}


def listed(name: str) -> list[str]:
    return list(inspect.signature(getattr(notebook_kit, name).forward).parameters)[1:]


# The signature ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        (
            "BertForTokenClassification",
            "input_ids attention_mask token_type_ids position_ids inputs_embeds labels options",
        ),
        ("DistilBertForTokenClassification", "input_ids attention_mask inputs_embeds labels position_ids options"),
        (
            "DistilBertForQuestionAnswering",
            "input_ids attention_mask inputs_embeds start_positions end_positions position_ids options",
        ),
        ("MPNetForMaskedLM", "input_ids attention_mask position_ids inputs_embeds labels options"),
        ("LlamaForTokenClassification", "input_ids attention_mask position_ids inputs_embeds labels options"),
        (
            "LlamaForSequenceClassification",
            "input_ids attention_mask position_ids past_key_values inputs_embeds labels options",
        ),
        (
            "BertForPreTraining",
            "input_ids attention_mask token_type_ids position_ids inputs_embeds labels next_sentence_label options",
        ),
        (
            "RobertaForMultipleChoice",
            "input_ids token_type_ids attention_mask labels position_ids inputs_embeds options",
        ),
    ],
)
def test_lists_the_inputs_of_its_backbone(name, inputs):
    assert listed(name) == inputs.split()


def test_a_family_built_from_another_lists_its_own_inputs():
    class Backbone(notebook_kit.BertModel):
        def forward(self, pixel_values, output_attentions=None):
            return super().forward(inputs_embeds=pixel_values)

    class Tagger(notebook_kit.BertForTokenClassification):
        backbone = Backbone

    assert list(inspect.signature(Tagger.forward).parameters) == ["self", "pixel_values", "labels", "options"]
    model = Tagger(notebook_kit.BertConfig(**BERT))
    found = inputs_of(model)
    assert (found.names, found.labels) == (("pixel_values", "labels"), ("labels",))
    assert model(torch.zeros(2, 4, 32)).logits.shape == (2, 4, 2)
    assert isinstance(model, ForTokenClassification)


def test_inputs_by_position_and_by_name_give_the_same():
    model = notebook_kit.DistilBertForTokenClassification(notebook_kit.DistilBertConfig(**DISTILBERT)).eval()
    ids, mask, labels = torch.tensor([[2, 17, 8, 0]]), torch.tensor([[1, 1, 1, 0]]), torch.tensor([[0, 1, 0, -100]])
    by_name = model(input_ids=ids, attention_mask=mask, labels=labels)
    by_position = model(ids, mask, None, labels)
    assert by_position.loss == by_name.loss and torch.equal(by_position.logits, by_name.logits)
    with pytest.raises(TypeError, match="multiple values for keyword argument 'input_ids'"):
        model(ids, input_ids=ids)
    with pytest.raises(TypeError, match="takes 5 positional inputs, and got 6"):
        model(ids, mask, None, labels, None, None)
    with pytest.raises(InputError, match=r"no argument 'label'\. Did you mean 'labels'"):
        model(ids, label=labels)


def test_return_type_and_description_can_be_read():
    signature = inspect.signature(notebook_kit.MBartForQuestionAnswering.forward)
    assert list(signature.parameters)[5:8] == ["encoder_outputs", "start_positions", "end_positions"]
    assert signature.parameters["options"].annotation == "Unpack[DecoderOptions]"
    assert "index of the answer's first token" in inspect.getdoc(notebook_kit.MBartForQuestionAnswering.forward)


# Layers ----------------------------------------------------------------------------------------------------------------


def test_dropout_of_the_configuration():
    for fields, expected in (({}, 0.1), ({"hidden_dropout_prob": 0.2}, 0.2), ({"classifier_dropout": 0.0}, 0.0)):
        model = notebook_kit.BertForSequenceClassification(notebook_kit.BertConfig(**{**BERT, **fields}))
        assert model.dropout.p == expected
    config = notebook_kit.LlamaConfig(**LLAMA)
    assert notebook_kit.LlamaForTokenClassification(config).dropout.p == 0.1
    config.classifier_dropout = 0.3  # not a field of Llama's, but checkpoints may have it
    assert notebook_kit.LlamaForTokenClassification(config).dropout.p == 0.3


def test_a_pooler_only_where_it_is_read():
    config = notebook_kit.BertConfig(**BERT)
    assert notebook_kit.BertForMultipleChoice(config).bert.pooler is not None
    assert notebook_kit.BertForTokenClassification(config).bert.pooler is None


def test_heads_without_a_cache_fill_none(monkeypatch):
    model = notebook_kit.LlamaForTokenClassification(notebook_kit.LlamaConfig(**LLAMA)).eval()
    asked = []
    backbone = model.model.forward
    monkeypatch.setattr(model.model, "forward", lambda **given: asked.append(given["use_cache"]) or backbone(**given))
    model(torch.tensor([[5, 6]]))
    model(torch.tensor([[5, 6]]), use_cache=True)
    assert asked == [False, True]


def test_summary_that_no_released_electra_has():
    config = notebook_kit.ElectraConfig(**{**BERT, "embedding_size": 16}, summary_type="mean")
    with pytest.raises(ConfigurationError, match="summary_type is 'mean'"):
        notebook_kit.ElectraForMultipleChoice(config)


def test_sum_of_losses_needs_all():
    assert sum_losses(torch.tensor(1.0), torch.tensor(2.0)) == 3
    assert sum_losses(torch.tensor(1.0), None) is None


# From other checkpoints --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "fields", "fresh"),
    [
        ("BertForPreTraining", "BertForMultipleChoice", BERT, "classifier.weight"),
        ("BertForPreTraining", "BertForNextSentencePrediction", BERT, None),
        ("LlamaForCausalLM", "LlamaForQuestionAnswering", LLAMA, "qa_outputs.weight"),
        ("LlamaForCausalLM", "MistralForQuestionAnswering", LLAMA, "qa_outputs.weight"),
        ("T5ForConditionalGeneration", "T5ForSequenceClassification", T5, "classification_head.dense.weight"),
        ("T5ForConditionalGeneration", "T5ForTokenClassification", T5, "classifier.weight"),
        ("T5ForConditionalGeneration", "T5ForQuestionAnswering", T5, "qa_outputs.weight"),
    ],
)
def test_takes_the_backbone_of_another_heads_checkpoint(source, target, fields, fresh, tmp_path):
    """Only what the head adds starts fresh, with one warning that names it."""
    made = getattr(notebook_kit, source)
    before = made(made.config_class(**fields))
    before.save_pretrained(tmp_path)
    kind = getattr(notebook_kit, target)
    config = kind.config_class(**fields)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NotebookKitWarning)
        model = kind.from_pretrained(tmp_path, config=config)
    said = [str(warning.message) for warning in caught if issubclass(warning.category, NotebookKitWarning)]
    assert (len(said) == 1 and fresh in said[0]) if fresh else not said
    mine, theirs = (one.base_model.state_dict() for one in (model, before))
    shared = [name for name in mine if name in theirs]
    assert len(shared) >= 10 and all(torch.equal(mine[name], theirs[name]) for name in shared)


# Multiple choice ---------------------------------------------------------------------------------------------------------


def test_choices_need_an_axis():
    model = notebook_kit.BertForMultipleChoice(notebook_kit.BertConfig(**BERT))
    with pytest.raises(InputError, match=r"input_ids of shape \(batch, choices, tokens\), and got \(2, 3\)"):
        model(torch.tensor([[5, 6, 7], [5, 6, 8]]))
    with pytest.raises(
        InputError, match=r"inputs_embeds of shape \(batch, choices, tokens, width\), and got \(2, 3, 32\)"
    ):
        model(inputs_embeds=torch.zeros(2, 3, 32))
    with pytest.raises(InputError, match="either input_ids or inputs_embeds"):
        model()


@pytest.mark.parametrize("name", ["BertForMultipleChoice", "DistilBertForMultipleChoice", "RobertaForMultipleChoice"])
def test_choices_are_scored_one_by_one(name):
    kind = getattr(notebook_kit, name)
    model = kind(kind.config_class(**(DISTILBERT if "Distil" in name else BERT))).eval()
    ids = torch.randint(4, 50, (2, 3, 7), generator=torch.Generator().manual_seed(0))
    together = model(input_ids=ids).logits
    alone = torch.cat([model(input_ids=ids[:, choice : choice + 1]).logits for choice in range(3)], 1)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_multiple_choice_is_trained_by_the_default_loop(tmp_path):
    """Of four choices, the one that holds the token 7 is right: learnt in a few steps, and read by `evaluate`."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(8, 50, (64, 4, 6), generator=generator)
    right = torch.randint(0, 4, (64,), generator=generator)
    ids[torch.arange(64), right, 2] = 7
    rows = [
        {"input_ids": row, "attention_mask": torch.ones_like(row), "labels": label}
        for row, label in zip(ids, right, strict=True)
    ]
    torch.manual_seed(0)
    model = notebook_kit.BertForMultipleChoice(notebook_kit.BertConfig(**BERT, hidden_dropout_prob=0.0))
    arguments = notebook_kit.TrainingArguments(
        str(tmp_path),
        num_train_epochs=15,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )

    def accuracy(prediction):
        assert prediction.predictions.shape == (64, 4)
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = notebook_kit.Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, compute_metrics=accuracy)
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert before["eval_accuracy"] < 0.6 and after["eval_accuracy"] > 0.95


# Pipelines ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("text-classification", "T5ForSequenceClassification"),
        ("token-classification", "T5ForTokenClassification"),
        ("question-answering", "T5ForQuestionAnswering"),
        ("token-classification", "LlamaForTokenClassification"),
        ("question-answering", "LlamaForQuestionAnswering"),
    ],
)
def test_pipelines_take_the_new_heads(task, name):
    tokenizer = notebook_kit.AutoTokenizer.from_pretrained("tiny-summarizer")
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    kind = getattr(notebook_kit, name)
    fields = {**(T5 if name.startswith("T5") else LLAMA), "vocab_size": len(tokenizer), **special}
    model = kind(kind.config_class(**fields, num_labels=2)).eval()
    pipe = notebook_kit.pipeline(task, model=model, tokenizer=tokenizer)
    text = "A cat sat on the mat, and it was happy all day long."
    if task == "question-answering":
        answer = pipe(question="Where did the cat sit?", context=text)
        assert answer["answer"] == text[answer["start"] : answer["end"]]
    elif task == "token-classification":
        assert all(each["word"] and each["entity"] in model.config.label2id for each in pipe(text))
    else:
        assert [each["label"] in model.config.label2id for each in pipe([text, "Hi."])] == [True, True]
