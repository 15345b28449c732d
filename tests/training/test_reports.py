"""Metrics as tables and files, model cards, counts of work, searches, and other calls of published scripts."""

import json
import sys

import pytest
import torch
import transformers
from tiny_training import Line, bert, dataset, line_rows, rows, trainer
from torch.utils.data import RandomSampler, SequentialSampler

from notebook_kit import GenerationConfig, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from notebook_kit.errors import ConfigurationError, MissingDependencyError
from notebook_kit.training import (
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

METRICS = {
    "train_runtime": 3725.129,
    "total_flos": 5e12,
    "train_loss": 0.693147,
    "epoch": 2.0,
    "n": 3,
    "train_samples": 10,
}


def line(folder, **options):
    return trainer(folder, Line(), line_rows(), data_collator=default_data_collator, **options)


def words(**special):
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {"[PAD]": 0, "[EOS]": 1, "[BOS]": 2, "a": 3, "b": 4, "[UNK]": 5}
    made = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(made, unk_token="[UNK]", **special)


def test_tables_and_files_are_those_of_the_reference(tmp_path, capsys):
    their_args = transformers.TrainingArguments(tmp_path / "theirs", use_cpu=True, report_to="none")
    theirs, mine = transformers.Trainer(Line(), their_args), line(tmp_path / "mine")
    (tmp_path / "theirs").mkdir(exist_ok=True)
    shown = []
    for one in (theirs, mine):
        one.log_metrics("train", METRICS)
        one.save_metrics("train", METRICS)
        one.save_metrics("eval", {"eval_loss": 1.5})
        one.save_metrics("test", {"test_loss": 2.5}, combined=False)
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] and "train_runtime" in shown[1]
    for name in ("train_results.json", "eval_results.json", "test_results.json", "all_results.json"):
        read = [json.loads((tmp_path / who / name).read_text()) for who in ("theirs", "mine")]
        assert read[0] == read[1]
    mine.save_state()
    assert json.loads((tmp_path / "mine" / "trainer_state.json").read_text())["global_step"] == 0


def test_a_model_card(tmp_path):
    run = line(tmp_path / "my-model", max_steps=4, eval_dataset=line_rows(4), eval_strategy="steps", eval_steps=2)
    run.train()
    run.create_model_card(
        language="en", tags="demo", dataset=["lines"], finetuned_from="base/model", tasks="regression"
    )
    card = (tmp_path / "my-model" / "README.md").read_text()
    assert card.startswith("---\n") and "# my-model" in card and "learning_rate: 0.001" in card
    from huggingface_hub import ModelCard

    data = ModelCard(card).data
    assert data.base_model == ["base/model"] and data.language == ["en"] and data.datasets == ["lines"]
    assert set(data.tags) == {"demo", "regression", "generated_from_trainer"}
    assert sum(row.startswith(("| 0.", "| 1.")) for row in card.splitlines()) == 2  # two evaluations


def test_saving_writes_a_card_with_the_results_and_keeps_one_that_was_edited(tmp_path):
    run = line(tmp_path / "out", max_steps=4, eval_dataset=line_rows(4), eval_strategy="steps", eval_steps=2)
    run.train()
    run.save_model()
    card = tmp_path / "out" / "README.md"
    first = card.read_text()
    assert "# out" in first and first.count("\n| ") == 4
    run.evaluate(metric_key_prefix="eval")
    run.save_model()
    assert card.read_text().count("\n| ") > first.count("\n| ")  # it follows the results
    card.write_text(card.read_text().replace("# out", "# My model"))
    run.save_model()
    run.save_model(str(tmp_path / "copy"))
    assert "# My model" in card.read_text() == (tmp_path / "copy" / "README.md").read_text()
    run.create_model_card(tags="demo")
    run.save_model()
    assert '"demo"' in card.read_text()
    trainer(tmp_path / "plain", max_steps=1, save_strategy="steps").train()
    assert not list((tmp_path / "plain").rglob("README.md"))  # checkpoints have none


def test_questions_to_a_trainer(tmp_path):
    mine, theirs = bert(), bert()
    args = transformers.TrainingArguments(tmp_path, use_cpu=True, report_to="none", gradient_accumulation_steps=3)
    reference = transformers.Trainer(theirs, args)
    run = trainer(tmp_path, mine, gradient_accumulation_steps=3, weight_decay=0.1, learning_rate=5e-5)
    mine.bert.embeddings.requires_grad_(False)
    theirs.bert.embeddings.requires_grad_(False)
    with pytest.raises(ConfigurationError, match="no optimizer yet"):
        run.get_learning_rates()
    for one in (run, reference):
        one.create_optimizer()
    assert run.get_num_trainable_parameters() == reference.get_num_trainable_parameters()
    assert run.get_learning_rates() == reference.get_learning_rates() == [5e-5, 5e-5]
    assert sorted(run.get_decay_parameter_names(mine)) == sorted(reference.get_decay_parameter_names(theirs))
    assert run.get_total_train_batch_size(run.args) == reference.get_total_train_batch_size(args) == 24
    assert run.get_optimizer_group(mine.classifier.weight)["weight_decay"] == 0.1
    assert run.get_optimizer_group(mine.classifier.bias)["weight_decay"] == 0.0
    assert len(run.get_optimizer_group()) == 2
    assert trainer(tmp_path, model_init=bert).call_model_init() is not None


def test_work_is_counted_as_in_the_reference(tmp_path):
    data = [{"input_ids": row["input_ids"], "attention_mask": row["attention_mask"], "label": 1} for row in rows(24)]
    for kind in ("all", "non_padding"):
        states = []
        config = bert().config.to_dict()
        for library, model in ((transformers, None), (None, bert(0.0))):
            if library:
                torch.manual_seed(0)
                model = library.BertForSequenceClassification(library.BertConfig(**config))
            own = {"train_sampling_strategy": "sequential", "include_num_input_tokens_seen": kind, "max_steps": 3}
            own |= {
                "use_cpu": True,
                "disable_tqdm": True,
                "report_to": "none",
                "save_strategy": "no",
                "logging_steps": 1,
            }
            args = (
                (library or transformers).TrainingArguments(tmp_path, **own)
                if library
                else TrainingArguments(tmp_path, **own)
            )
            from tiny_training import Padder

            run = (library.Trainer if library else Trainer)(
                model, args, train_dataset=data, data_collator=DataCollatorWithPadding(Padder())
            )
            run.train()
            states.append((run.state.num_input_tokens_seen, run.state.total_flos, run.state.log_history[1]))
        assert states[0][:2] == states[1][:2] and states[1][0] > 0
        assert states[0][2]["num_input_tokens_seen"] == states[1][2]["num_input_tokens_seen"]


# ----------------------------------------------------------------------------------------------- a search


def test_a_search(tmp_path):
    def space(trial):
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-6, 10.0, log=True), "max_steps": 5}

    def init(trial):
        torch.manual_seed(0)
        return Line()

    run = line(tmp_path, model_init=init, eval_dataset=line_rows(8), optim="sgd")
    best = run.hyperparameter_search(space, n_trials=6, hp_name=lambda trial: f"mine-{trial.number}")
    assert len(best.run_summary) == 6 and best.objective == min(trial.objective for trial in best.run_summary)
    assert best.hyperparameters == best.run_summary[int(best.run_id)].hyperparameters
    assert len({trial.hyperparameters["learning_rate"] for trial in best.run_summary}) == 6
    assert run.args.learning_rate == 1e-3 and run.args.max_steps == -1  # as before
    again = line(tmp_path, model_init=init, eval_dataset=line_rows(8), optim="sgd")
    assert again.hyperparameter_search(space, n_trials=6).objective == best.objective


def test_a_search_with_optuna(tmp_path, monkeypatch):
    run = line(tmp_path, model_init=Line, eval_dataset=line_rows(8), optim="sgd")
    with monkeypatch.context() as absent:
        absent.setitem(sys.modules, "optuna", None)
        with pytest.raises(MissingDependencyError, match="optuna is not installed"):
            run.hyperparameter_search(backend="optuna")
    optuna = pytest.importorskip("optuna")

    def space(trial):
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-6, 10.0, log=True), "max_steps": 5}

    store = optuna.storages.InMemoryStorage()
    best = run.hyperparameter_search(space, n_trials=12, backend="optuna", storage=store, study_name="mine")
    study = optuna.load_study(study_name="mine", storage=store)
    assert study.best_value == best.objective and study.best_params["learning_rate"] > 0.01
    assert [trial.value for trial in study.trials] == [trial.objective for trial in best.run_summary]
    assert run.hyperparameter_search(space, n_trials=3, backend="optuna").objective == min(
        trial.objective for trial in best.run_summary[:3]
    )  # the same seed


def test_searches_that_cannot_begin(tmp_path):
    with pytest.raises(ConfigurationError, match="no model_init"):
        line(tmp_path).hyperparameter_search()
    run = line(tmp_path, model_init=Line, eval_dataset=line_rows(8))
    for options in ({"backend": "ray"}, {"direction": "up"}, {"n_trials": 0}, {"sampler": None}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            run.hyperparameter_search(**options)
    with pytest.raises(ConfigurationError, match="'learning_rate'"):
        run.hyperparameter_search(lambda trial: {"learning_rat": 1.0}, n_trials=1)


# ------------------------------------------------------------------------------------ tokens, samplers, arguments


def test_special_tokens_of_the_tokenizer_are_the_models(tmp_path):
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "vocab_size": 6, "n_positions": 8}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=2, eos_token_id=3))
    model.generation_config = GenerationConfig(eos_token_id=[3, 4], bos_token_id=2)
    tokenizer = words(eos_token="[EOS]", bos_token="[BOS]")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    run = Trainer(
        model,
        TrainingArguments(tmp_path, max_steps=1, use_cpu=True, save_strategy="no", disable_tqdm=True),
        train_dataset=[{"input_ids": [2, 3, 4, 1]}] * 4,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),  # the tokenizer is the collator's
    )
    run.train()
    assert (model.config.pad_token_id, model.config.eos_token_id, model.config.bos_token_id) == (0, 1, 2)
    assert (model.generation_config.pad_token_id, model.generation_config.eos_token_id) == (0, [1, 3, 4])
    run.save_model()
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["pad_token_id"] == 0 and (tmp_path / "tokenizer.json").exists()


def test_a_tokenizer_without_tokens_changes_nothing(tmp_path):
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=6, n_positions=8, eos_token_id=3))
    data = [{"input_ids": [2, 3], "labels": [2, 3]}] * 4
    before = model.config.to_dict()
    trainer(tmp_path, model, data, data_collator=default_data_collator, processing_class=words(), max_steps=1).train()
    assert model.config.to_dict() == before


@pytest.mark.parametrize("old", [True, False])
def test_a_sampler_of_ones_own(tmp_path, old):
    seen = []

    class Own(Trainer):
        if old:

            def _get_train_sampler(self):
                return SequentialSampler(self.train_dataset)

        else:

            def _get_train_sampler(self, train_dataset=None):
                assert train_dataset is self.train_dataset
                assert super()._get_train_sampler(train_dataset) is not None
                return SequentialSampler(train_dataset)

        def _get_eval_sampler(self, eval_dataset):
            return RandomSampler(eval_dataset, generator=torch.Generator().manual_seed(0))

        def training_step(self, model, inputs, num_items_in_batch=None):
            seen.extend(inputs["input_ids"][:, 0].tolist())
            return super().training_step(model, inputs, num_items_in_batch)

    data = dataset(20)
    run = trainer(tmp_path, data=data, kind=Own, num_train_epochs=1)
    run.train()
    assert seen == [row["input_ids"][0] for row in data]
    assert sorted(run.predict(data).label_ids.tolist()) == sorted(data["label"])
    assert run.predict(data).label_ids.tolist() != data["label"]


def test_what_scripts_read_from_arguments(tmp_path):
    args = TrainingArguments(tmp_path, use_cpu=True, overwrite_output_dir=True, logging_dir="logs")
    theirs = transformers.TrainingArguments(tmp_path, use_cpu=True, report_to="none")
    assert args.should_log and args.should_save and args.local_process_index == 0
    assert args.parallel_mode.value == theirs.parallel_mode.value == "not_parallel"
    assert args.get_process_log_level() == 30
    assert TrainingArguments(tmp_path, log_level="info").get_process_log_level() == 20
    assert (args.overwrite_output_dir, args.logging_dir, args.deepspeed, list(args.debug)) == (True, "logs", None, [])
    assert (args.local_rank, args.evaluation_strategy, args.no_cuda) == (-1, "no", True)
    assert not TrainingArguments(tmp_path).overwrite_output_dir
    with args.main_process_first(desc="map"):
        pass
    with pytest.raises(AttributeError, match="'learning_rate'"):
        args.learning_rat  # noqa: B018


def test_outputs_by_batch(tmp_path):
    run = trainer(tmp_path, bert(), eval_do_concat_batches=False)
    output = run.predict(dataset(20, longest=9))
    assert [len(batch) for batch in output.predictions] == [len(batch) for batch in output.label_ids] == [8, 8, 4]
    together = trainer(tmp_path, bert()).predict(dataset(20, longest=9))
    assert torch.allclose(torch.tensor(together.label_ids), torch.cat([torch.tensor(b) for b in output.label_ids]))


def test_a_trainer_as_published_scripts_write_one(tmp_path):
    seen = []

    class Listener(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics=None, **kwargs):
            seen.append(metrics["eval_exact"])
            control.should_log = True

    class Answers(Trainer):
        """As in the scripts for question answering."""

        def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
            eval_dataset = self.eval_dataset if eval_dataset is None else eval_dataset
            loader = self.get_eval_dataloader(eval_dataset)
            loop = self.prediction_loop if self.args.use_legacy_prediction_loop else self.evaluation_loop
            output = loop(loader, "Evaluation", prediction_loss_only=None, ignore_keys=ignore_keys)
            metrics = {f"{metric_key_prefix}_exact": float(output.num_samples), **output.metrics}
            if self.args.should_save:
                self.log(metrics)
            if "tpu" in self.args.debug:
                raise AssertionError
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    run = trainer(tmp_path, kind=Answers, eval_dataset=dataset(6), callbacks=Listener)
    assert run.evaluate()["eval_exact"] == 6.0 and seen == [6.0] and run.control.should_log
    with pytest.raises(AttributeError, match="on_nothing"):
        run.callback_handler.on_nothing  # noqa: B018
