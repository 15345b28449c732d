"""Every accepted training argument changes something that can be seen, gives a message, or is refused with a reason."""

import contextlib
import dataclasses
import io
import logging
import re
from pathlib import Path

import accelerate
import pytest
import torch
import transformers
from tiny_training import Line, bert, dataset, line_rows, trainer

from notebook_kit.errors import NotebookKitError
from notebook_kit.training import Seq2SeqTrainingArguments, TrainingArguments, default_data_collator
from notebook_kit.training.distributed import make_accelerator
from notebook_kit.training.legacy_arguments import CONVERTED, WITHOUT_EFFECT

EVALUATED = {"eval_strategy": "steps", "eval_steps": 2}
SAVED = {"save_strategy": "steps", "save_steps": 1}
BEST = {**EVALUATED, "save_strategy": "steps", "save_steps": 2, "load_best_model_at_end": True}
WORKERS = {"dataloader_num_workers": 1}
WORDS = {"model": "bert"}
# field -> another value, and settings without which it cannot matter
CHANGES = {
    "per_device_train_batch_size": (5, {}),
    "per_device_eval_batch_size": (3, EVALUATED),
    "gradient_accumulation_steps": (2, {}),
    "num_train_epochs": (2, {"max_steps": -1, "num_train_epochs": 1}),
    "max_steps": (3, {}),
    "learning_rate": (0.1, {}),
    "lr_scheduler_type": ("cosine", {}),
    "lr_scheduler_kwargs": ({"num_cycles": 3}, {"lr_scheduler_type": "cosine"}),
    "warmup_steps": (3, {}),
    "optim": ("sgd", {}),
    "optim_args": ("momentum=0.9", {"optim": "sgd"}),
    "weight_decay": (0.5, {}),
    "adam_beta1": (0.5, {}),
    "adam_beta2": (0.5, {}),
    "adam_epsilon": (1.0, {}),
    "max_grad_norm": (1e-3, {"optim": "sgd"}),
    "label_smoothing_factor": (0.3, WORDS),
    "neftune_noise_alpha": (5.0, WORDS),
    "bf16": (True, {}),
    "fp16": (True, {}),
    "bf16_full_eval": (True, WORDS),
    "fp16_full_eval": (True, WORDS),
    "tf32": (True, {}),
    "logging_strategy": ("epoch", {"num_train_epochs": 2, "max_steps": -1}),
    "logging_steps": (3, {}),
    "logging_first_step": (True, {"logging_steps": 3}),
    "include_num_input_tokens_seen": ("all", WORDS),
    "log_level": ("error", {}),
    "disable_tqdm": (False, {}),
    "eval_strategy": ("epoch", {}),
    "eval_steps": (1, EVALUATED),
    "eval_delay": (3, EVALUATED),
    "eval_on_start": (True, {}),
    "eval_do_concat_batches": (False, {}),
    "prediction_loss_only": (True, {}),
    "include_for_metrics": (["inputs"], {**WORDS, **EVALUATED}),
    "save_strategy": ("steps", {"save_steps": 2}),
    "save_steps": (2, SAVED),
    "save_total_limit": (1, SAVED),
    "save_only_model": (True, SAVED),
    "load_best_model_at_end": (True, {**BEST, "load_best_model_at_end": False}),
    "metric_for_best_model": ("mean", BEST),
    "greater_is_better": (True, {**BEST, "learning_rate": 1.0}),
    "seed": (7, {}),
    "data_seed": (7, {}),
    "remove_unused_columns": (False, {**WORDS, "unused": True}),
    "label_names": (["labels", "x"], {}),
    "train_sampling_strategy": ("sequential", {}),
    "length_column_name": ("size", {**WORDS, "train_sampling_strategy": "group_by_length"}),
    "full_determinism": (True, {}),
    "dataloader_drop_last": (True, {"max_steps": 7}),
    "dataloader_num_workers": (1, {}),
    "dataloader_persistent_workers": (True, WORKERS),
    "dataloader_prefetch_factor": (3, WORKERS),
    "dataloader_multiprocessing_context": ("fork", WORKERS),
    "dataloader_in_order": (False, WORKERS),
    "gradient_checkpointing": (True, WORDS),
    "gradient_checkpointing_kwargs": ({"use_reentrant": True}, {**WORDS, "gradient_checkpointing": True}),
    "logging_dir": ("board", {}),
    "trackio_space_id": ("me/it", {}),
    "accelerator_config": ({"even_batches": False}, {}),
    "torch_compile": (True, {"dry": True}),
    "torch_compile_backend": ("eager", {"dry": True}),
    "torch_compile_mode": ("reduce-overhead", {"dry": True, "torch_compile": True}),
    "ddp_timeout": (7, {"dry": True}),
    "ddp_backend": ("gloo", {"dry": True}),
    "ddp_find_unused_parameters": (True, {"dry": True}),
    "ddp_bucket_cap_mb": (3, {"dry": True}),
    "ddp_static_graph": (True, {"dry": True}),
    "ddp_broadcast_buffers": (False, {"dry": True}),
}
# What only other tests can show, and where.
ELSEWHERE = {
    **dict.fromkeys(("output_dir", "hub_model_id", "hub_token", "hub_strategy"), "test_training_publishing"),
    **dict.fromkeys(("push_to_hub", "hub_always_push"), "test_training_publishing"),
    **dict.fromkeys(("report_to", "run_name", "project"), "test_trackers"),
    **dict.fromkeys(("fsdp", "fsdp_config"), "two_processes"),
    "nan_policy": "test_nonfinite",
    "logging_nan_inf_filter": "test_accumulation",
    "batch_eval_metrics": "test_batch_metrics",
    "auto_find_batch_size": "test_splitting",
    "enable_jit_checkpoint": "test_interrupts",
    "restore_callback_states_from_checkpoint": "test_resuming",
    "ignore_data_skip": "test_resuming",
    "save_in_background": "test_background_saving",
}
FOR_SCRIPTS = {"do_train", "do_eval", "do_predict", "resume_from_checkpoint"}
# They are of another machine, of several processes, or of the Hub's server; what passes them on is read here.
PASSED_ON = {
    "use_cpu",
    "hub_private_repo",
    "hub_revision",
    "dataloader_pin_memory",
    "torch_empty_cache_steps",
    "log_level_replica",
}
FIELDS = {field.name for field in dataclasses.fields(TrainingArguments)}


class Square(Line):
    def forward(self, x, labels=None):
        y = self.layer(x).squeeze(-1)
        return {"logits": y, "loss": ((y - (x.sum(-1) if labels is None else labels)) ** 2).mean()}


def seen(tmp_path, caplog, model="line", unused=False, dry=False, **options):
    """What there is to see of a run: its logs, weights, files, messages and settings."""
    caplog.clear()
    rows = line_rows(18)
    torch.manual_seed(0)
    own = {"data_collator": default_data_collator}
    made = Square()
    if model == "bert":
        rows, made, own = dataset(18).add_column("size", [3] * 9 + [9] * 9), bert(), {}
        rows = rows if unused else rows.remove_columns("text")
    options = {"max_steps": 4, "logging_steps": 1, "train_sampling_strategy": "random", "seed": 1, **options}
    numbers = {"compute_metrics": lambda found: {"mean": float(len(tuple(found)))}}
    out = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
    printed = io.StringIO()
    level, calls, forwards = logging.getLogger("notebook_kit").level, [], []
    watch = torch.nn.modules.module.register_module_forward_hook(lambda module, i, o: forwards.append(1))
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            run = trainer(out, made, rows, eval_dataset=rows, **numbers, **own, **options)
            if dry:
                handlers = run.accelerator
                given = (handlers.ddp_handler, handlers.init_handler, handlers.state.dynamo_plugin)
                return [str(vars(part)) if part is not None else None for part in given]
            step = run.prediction_step
            run.prediction_step = lambda *a, **k: (calls.append(1), step(*a, **k))[1]
            run.train()
            predicted = run.predict(rows)
    except (NotebookKitError, ValueError) as error:
        return str(error)
    finally:
        watch.remove()
        deterministic = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)
        found = logging.getLogger("notebook_kit").level
        logging.getLogger("notebook_kit").setLevel(level)
        torch.backends.cuda.matmul.allow_tf32 = False
    loader = run.train_dataloader
    names = ("num_workers", "persistent_workers", "prefetch_factor", "multiprocessing_context", "in_order")
    timeless = [re.sub(r"[\d.:]+(e[+-]\d+)?", "0", line) for line in printed.getvalue().splitlines()]
    return {
        "logs": [
            {k: v for k, v in e.items() if "runtime" not in k and "second" not in k} for e in run.state.log_history
        ],
        "weights": {name: tensor.tolist() for name, tensor in run.model.state_dict().items()},
        "files": sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()),
        "best": (run.state.best_metric, run.state.best_global_step),
        "loader": {name: str(getattr(loader, name, None)) for name in names},
        "lengths": run.lengths.kept and [str(lengths) for _, lengths in run.lengths.kept.values()],
        "predicted": str(predicted[:2]),
        "batches": len(calls),
        "printed": sorted(set(timeless)),
        "level": found,
        "messages": caplog.messages,
        "settings": (str(vars(run.accelerator.dataloader_config)), deterministic),
        "forwards": len(forwards),
    }


def test_every_argument_has_its_row():
    rows = [set(CHANGES), set(ELSEWHERE), FOR_SCRIPTS, PASSED_ON]
    assert set.union(*rows) == FIELDS and sum(map(len, rows)) == len(FIELDS)


@pytest.fixture(scope="module")
def without():
    """What there is to see without an argument, by the settings that it needs."""
    return {}


@pytest.mark.parametrize("name", CHANGES)
def test_an_argument_changes_something(tmp_path, caplog, without, name):
    value, needed = CHANGES[name]
    if str(needed) not in without:
        without[str(needed)] = seen(tmp_path, caplog, **needed)
    assert seen(tmp_path, caplog, **{**needed, name: value}) != without[str(needed)]


def test_the_comparison_is_exact(tmp_path, caplog, without):
    for needed in ({}, EVALUATED, SAVED, WORDS):
        assert seen(tmp_path, caplog, **needed) == (without.get(str(needed)) or seen(tmp_path, caplog, **needed))


def test_what_is_shown_elsewhere_is_shown_there():
    for name, file in ELSEWHERE.items():
        text = (Path(__file__).parent / f"{file}.py").read_text()
        assert name in text or name == "output_dir", (name, file)
    for name in FOR_SCRIPTS:
        described = next(line for line in TrainingArguments.__doc__.splitlines() if re.search(rf"\b{name}\b", line))
        assert "For scripts" in described


def test_what_is_passed_on_arrives(tmp_path, monkeypatch):
    from notebook_kit.training import loop, publishing
    from notebook_kit.training.data import make_loader

    args = TrainingArguments(tmp_path, hub_private_repo=True, hub_revision="dev", log_level_replica="error")
    _, options = publishing.repository(args)
    assert (options["private"], options["revision"]) == (True, "dev")
    monkeypatch.setattr(TrainingArguments, "should_log", False)
    assert args.get_process_log_level() == logging.ERROR
    for pinned in (True, False):
        one = TrainingArguments(tmp_path, dataloader_pin_memory=pinned)
        loader = make_loader(line_rows(4), default_data_collator, one, "cuda", 2, training=False, lengths=None)
        assert loader.pin_memory is pinned
    made, kind = [], accelerate.Accelerator
    monkeypatch.setattr(
        accelerate, "Accelerator", lambda **given: (made.append(given["cpu"]), kind(**{**given, "cpu": True}))[1]
    )
    for on_cpu in (True, False):
        make_accelerator(TrainingArguments(tmp_path, use_cpu=on_cpu))
    assert made == [True, False]
    released = []
    monkeypatch.setattr(loop, "release_memory", lambda: released.append(1))
    own = {"data_collator": default_data_collator, "torch_empty_cache_steps": 2}
    trainer(tmp_path, Line(), line_rows(), max_steps=5, **own).train()
    assert len(released) == 2


def test_names_of_older_versions_mean_something_or_say_why(caplog):
    theirs = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    assert theirs - FIELDS <= {*CONVERTED, *WITHOUT_EFFECT}
    values = {"past_index": 0, "fp16_backend": "apex", "half_precision_backend": "apex", "skip_memory_metrics": False}
    for name, is_off in WITHOUT_EFFECT.items():
        caplog.clear()
        try:
            TrainingArguments("out", **{name: values.get(name, "something")})
        except NotebookKitError as error:
            assert name in str(error) and "no such feature" in str(error)
        else:
            always_on = name in ("save_safetensors",)
            assert name in caplog.text or always_on, name
        assert is_off(None)


def test_arguments_of_the_other_class_are_used_in_its_tests():
    more = {field.name for field in dataclasses.fields(Seq2SeqTrainingArguments)} - FIELDS
    text = (Path(__file__).parent / "test_seq2seq.py").read_text()
    assert all(name in text for name in more), more
