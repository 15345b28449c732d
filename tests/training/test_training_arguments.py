import dataclasses
import json

import pytest
import torch
import transformers
from tiny_training import Line

import notebook_kit as ours
from notebook_kit.errors import CheckpointError, ConfigurationError, MissingDependencyError
from notebook_kit.training import AcceleratorConfig, Trainer, TrainingArguments, tracker_names
from notebook_kit.training.distributed import make_accelerator, set_tf32
from notebook_kit.utils import OptimizerNames

# Ours differ on purpose: batches of alike lengths, and None for what only says "not given".
DIFFERENT = {"output_dir", "train_sampling_strategy", "report_to", "gradient_checkpointing"}
OURS = {"nan_policy", "logging_dir", "save_in_background"}


def test_names_and_defaults_are_those_of_the_reference():
    theirs = {f.name: f for f in dataclasses.fields(transformers.TrainingArguments)}
    for field in dataclasses.fields(TrainingArguments):
        if field.name in DIFFERENT | OURS:
            continue
        assert field.name in theirs, field.name
        if field.default is not dataclasses.MISSING:
            default = theirs[field.name].default
            assert field.default == getattr(default, "value", default), field.name


def test_every_argument_of_the_reference_is_known_at_its_default(tmp_path):
    for field in dataclasses.fields(transformers.TrainingArguments):
        if field.default is not dataclasses.MISSING:
            TrainingArguments(str(tmp_path), **({field.name: field.default} if field.name != "output_dir" else {}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"evaluation_strategy": "epoch"}, {"eval_strategy": "epoch"}),
        ({"no_cuda": True}, {"use_cpu": True}),
        ({"per_gpu_train_batch_size": 3}, {"per_device_train_batch_size": 3}),
        ({"per_gpu_eval_batch_size": None}, {}),
        ({"warmup_ratio": 0.1}, {"warmup_steps": 0.1}),
        ({"warmup_ratio": 0.1, "warmup_steps": 5}, {"warmup_steps": 5}),
        ({"group_by_length": False}, {"train_sampling_strategy": "random"}),
        ({"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}),
        ({"adafactor": True}, {"optim": "adafactor"}),
        ({"push_to_hub_model_id": "me/it"}, {"hub_model_id": "me/it"}),
        ({"push_to_hub_token": "secret"}, {"hub_token": "secret"}),
        ({"include_inputs_for_metrics": True}, {"include_for_metrics": ["inputs"]}),
        ({"activation_checkpointing": True}, {"gradient_checkpointing": True}),
        ({"overwrite_output_dir": True, "save_safetensors": True}, {}),
        ({"report_to": "none", "evaluation_strategy": "no"}, {"report_to": []}),
    ],
)
def test_older_spellings_mean_what_the_newer_ones_do(old, new):
    assert TrainingArguments("out", **old).to_dict() == TrainingArguments("out", **new).to_dict()


def test_old_and_new_spelling_that_contradict():
    with pytest.raises(ConfigurationError, match="two spellings of one setting"):
        TrainingArguments("out", evaluation_strategy="epoch", eval_strategy="steps")
    assert TrainingArguments("out", evaluation_strategy="epoch", eval_strategy="epoch").eval_strategy == "epoch"


def test_unknown_name_lists_near_matches():
    with pytest.raises(ConfigurationError, match="'learning_rate'"):
        TrainingArguments("out", learning_rat=1e-3)
    with pytest.raises(ConfigurationError, match="'evaluation_strategy'"):
        TrainingArguments("out", evaluaton_strategy="epoch")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"load_best_model_at_end": True}, "eval_strategy='steps' and save_strategy='steps'"),
        ({"load_best_model_at_end": True, "eval_strategy": "epoch"}, "eval_strategy='epoch' and save_strategy='epoch'"),
        (
            {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 200, "save_steps": 500},
            "Set save_steps=200",
        ),
        ({"fp16": True, "bf16": True}, "Keep one"),
        ({"eval_strategy": "every_step"}, "'no', 'steps', 'epoch'"),
        ({"per_device_train_batch_size": 0}, "from 1 up"),
        ({"learning_rate": "2e-5"}, "learning_rate is .*; expected a number"),
        ({"learning_rate": -1.0}, "from 0 up"),
        ({"logging_steps": 0}, "logging_steps"),
        ({"logging_steps": 2.5}, "whole number"),
        ({"warmup_ratio": 50}, "between 0 and 1"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "eval_strategy"),
        ({"save_strategy": "best"}, "eval_strategy"),
        ({"dataloader_prefetch_factor": 2}, "dataloader_num_workers"),
        ({"deepspeed": "ds.json"}, "no such feature"),
        ({"use_liger_kernel": True}, "no such feature"),
    ],
)
def test_contradictions_say_what_to_set(options, match):
    with pytest.raises(ConfigurationError, match=match):
        TrainingArguments("out", **options)


def test_only_the_folder_by_position():
    with pytest.raises(ConfigurationError, match="only output_dir"):
        TrainingArguments("out", True)
    assert TrainingArguments().output_dir == "trainer_output"


def test_trackers_are_known_and_installed(monkeypatch):
    with pytest.raises(MissingDependencyError, match="clearml is not installed"):
        TrainingArguments("out", report_to="clearml")
    with pytest.raises(ConfigurationError, match="'tensorboard'"):
        TrainingArguments("out", report_to=["tensorbord"])
    with pytest.raises(ConfigurationError, match="Use MLflow"):
        TrainingArguments("out", report_to="azure_ml")
    for nothing in ("none", [], None, ["none"]):
        assert TrainingArguments("out", report_to=nothing).report_to == []
    installed = {"tensorboard", "wandb"}
    monkeypatch.setattr(tracker_names, "find_spec", lambda name: name in installed or None)
    assert set(TrainingArguments("out", report_to="all").report_to) == installed
    assert TrainingArguments("out", report_to=["wandb", "wandb"]).report_to == ["wandb"]


def test_what_follows_from_other_arguments():
    best = TrainingArguments("out", eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True)
    assert (best.metric_for_best_model, best.greater_is_better, best.do_eval) == ("loss", False, True)
    accuracy = TrainingArguments("out", metric_for_best_model="accuracy")
    assert accuracy.greater_is_better
    assert TrainingArguments("out", eval_strategy="steps", logging_steps=7).eval_steps == 7
    assert TrainingArguments("out", warmup_ratio=0.1).get_warmup_steps(55) == 6
    assert TrainingArguments("out", warmup_ratio=1.0).get_warmup_steps(55) == 55
    assert TrainingArguments("out", warmup_steps=9).get_warmup_steps(55) == 9


def test_enumerations_of_the_reference_are_taken():
    args = TrainingArguments(
        "out",
        eval_strategy=transformers.trainer_utils.IntervalStrategy.EPOCH,
        lr_scheduler_type=transformers.SchedulerType.COSINE,
    )
    assert (args.eval_strategy, args.lr_scheduler_type) == ("epoch", "cosine")


def test_options_of_accelerate_as_a_class_or_a_file(tmp_path):
    theirs = transformers.trainer_pt_utils.AcceleratorConfig(even_batches=False)
    config = AcceleratorConfig(even_batches=False)
    assert config.to_dict() | {"use_configured_state": False} == theirs.to_dict()
    assert make_accelerator(TrainingArguments(tmp_path, accelerator_config=theirs, use_cpu=True)).even_batches is False
    path = tmp_path / "accelerator.json"
    path.write_text(json.dumps(config.to_dict()))
    assert AcceleratorConfig.from_json_file(path) == config
    for given in (config, path, str(path), config.to_dict()):
        assert TrainingArguments(tmp_path, accelerator_config=given).accelerator_config == config.to_dict()
    with pytest.raises(ConfigurationError, match="accelerator_config"):
        TrainingArguments(tmp_path, accelerator_config=tmp_path / "missing.json")


def test_optimizers_by_name():
    theirs = {kind.name: kind.value for kind in transformers.training_args.OptimizerNames}
    known = {kind.name: kind.value for kind in OptimizerNames}
    assert not known.items() - theirs.items() - {("ADAMW_HF", "adamw_hf"), ("NADAMW_TORCH", "nadamw_torch")}
    assert TrainingArguments("out", optim=OptimizerNames.ADAFACTOR).optim == "adafactor"
    assert "galore_adamw" not in known.values()


def test_fields_of_a_subclass_with_a_dtype_are_shown_by_name():
    @dataclasses.dataclass
    class Own(TrainingArguments):
        kind: torch.dtype = torch.float32

    assert Own("out").to_dict()["kind"] == "float32"


def test_repr_shows_what_was_given():
    assert repr(TrainingArguments()) == "TrainingArguments(output_dir='trainer_output')"
    given = {"output_dir": "out", "disable_tqdm": False, "report_to": [], "include_for_metrics": ["loss"], "seed": 7}
    assert eval(repr(TrainingArguments(**given))).to_dict() == TrainingArguments(**given).to_dict()
    assert all(f"{name}={value!r}" in repr(TrainingArguments(**given)) for name, value in given.items())


def test_round_trip_without_the_token(tmp_path):
    args = TrainingArguments("out", learning_rate=3e-5, hub_token="secret", lr_scheduler_kwargs={"num_cycles": 2})
    assert "secret" not in args.to_json_string() + repr(args)
    assert json.loads(args.to_json_string())["learning_rate"] == 3e-5
    args.save(tmp_path / "args.json")
    loaded = TrainingArguments.load(tmp_path / "args.json")
    assert {**loaded.to_dict(), "hub_token": None} == {**args.to_dict(), "hub_token": None}
    (tmp_path / "half.json").write_text("{")
    with pytest.raises(CheckpointError):
        TrainingArguments.load(tmp_path / "half.json")


def test_subclasses_and_replace():
    @dataclasses.dataclass
    class Mine(TrainingArguments):
        extra: int = 3

    assert (Mine("out", eval_strategy="epoch").eval_strategy, Mine().extra) == ("epoch", 3)
    assert Mine("out", evaluation_strategy="epoch", no_cuda=True, extra=4).eval_strategy == "epoch"
    with pytest.raises(ConfigurationError, match="'extra'"):
        Mine("out", extr=4)
    with pytest.raises(ConfigurationError, match=r"seed is .*; expected a whole number"):
        Mine("out", seed="7")
    assert Mine("out", extra="any").extra == "any"  # a user's own fields are not checked

    class ByHand(TrainingArguments):
        def __init__(self, folder, rate, **options):
            super().__init__(folder, learning_rate=rate, evaluation_strategy="epoch", **options)
            self.rate = rate

    by_hand = ByHand("out", 0.5, no_cuda=True)
    assert (by_hand.learning_rate, by_hand.eval_strategy, by_hand.use_cpu, by_hand.rate) == (0.5, "epoch", True, 0.5)
    assert dataclasses.replace(TrainingArguments("out"), seed=1).seed == 1


@pytest.mark.parametrize(
    ("name", "wrong", "near"), [("optim", "adamw_torc", "adamw_torch"), ("lr_scheduler_type", "cosinus", "cosine")]
)
def test_names_of_optimizers_and_schedules_are_checked_at_once(tmp_path, name, wrong, near):
    with pytest.raises(ConfigurationError, match=f"{name} has no option '{wrong}'. Did you mean '{near}'"):
        TrainingArguments(str(tmp_path), **{name: wrong})
    with pytest.raises(ConfigurationError, match=f"{name} is None; expected text"):
        TrainingArguments(str(tmp_path), **{name: None})
    assert getattr(TrainingArguments(str(tmp_path), **{name: near.upper()}), name) == near


def test_setters_are_those_of_the_reference(tmp_path):
    calls = {
        "set_training": {"learning_rate": 1e-3, "batch_size": 3, "num_epochs": 2, "activation_checkpointing": True},
        "set_evaluate": {"strategy": "steps", "steps": 7, "batch_size": 5, "delay": 2},
        "set_testing": {"batch_size": 6, "loss_only": True},
        "set_save": {"strategy": "epoch", "total_limit": 2},
        "set_logging": {"strategy": "epoch", "report_to": "none", "level": "info", "first_step": True},
        "set_push_to_hub": {"model_id": "me/it", "strategy": "end", "always_push": True},
        "set_optimizer": {"name": "adafactor", "beta1": 0.8, "args": "eps=1"},
        "set_lr_scheduler": {"name": "cosine", "max_steps": 9, "warmup_steps": 0.1},
        "set_dataloader": {"train_batch_size": 4, "num_workers": 2, "sampler_seed": 5, "auto_find_batch_size": True},
    }
    theirs = transformers.TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    mine = TrainingArguments(str(tmp_path), use_cpu=True)
    fields = [field.name for field in dataclasses.fields(mine) if field.name not in OURS]
    for name, options in calls.items():
        before = {field: getattr(theirs, field) for field in fields}
        assert getattr(mine, name)(**options) is mine
        getattr(theirs, name)(**options)
        changed = {field for field in fields if getattr(theirs, field) != before[field]}
        assert len(changed) >= len(options) - 1, name
        for field in changed - {"report_to"}:
            other = getattr(theirs, field)
            assert getattr(mine, field) == getattr(other, "value", other), (name, field)
    assert mine.gradient_checkpointing and set(calls) == {n for n in dir(theirs) if n.startswith("set_")}
    with pytest.raises(ConfigurationError, match="learning_rate is 'fast'"):
        mine.set_training(learning_rate="fast")
    assert mine.learning_rate == 5e-5 and mine.per_device_train_batch_size == 4  # nothing was set


def test_values_set_later_are_checked_by_the_trainer(tmp_path):
    args = TrainingArguments(str(tmp_path), use_cpu=True)
    args.load_best_model_at_end = True
    with pytest.raises(ConfigurationError, match="needs a checkpoint at each evaluation"):
        Trainer(Line(), args)
    args.load_best_model_at_end, args.num_train_epochs = False, "many"
    with pytest.raises(ConfigurationError, match="num_train_epochs is 'many'"):
        Trainer(Line(), args)


def test_numbers_and_texts_for_trackers(tmp_path):
    mine, theirs = (
        library.TrainingArguments(str(tmp_path), hub_token="secret", report_to="none", lr_scheduler_kwargs={"a": 1})
        for library in (ours, transformers)
    )
    values, others = mine.to_sanitized_dict(), theirs.to_sanitized_dict()
    assert all(type(value) in (bool, int, float, str) for value in values.values()) and "secret" not in str(values)
    same = ("train_batch_size", "lr_scheduler_kwargs", "hub_token", "learning_rate", "max_steps", "data_seed")
    assert {name: values[name] for name in same} == {name: others[name] for name in same}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"use_cache": True}, "no keys and values are cached"),
        ({"average_tokens_across_devices": False}, "mean over the labels of all processes"),
        ({"eval_accumulation_steps": 4}, "moved to main memory"),
        ({"logging_dir": "logs"}, "report_to does not name"),
        ({"trackio_space_id": "mine"}, "report_to does not name"),
        ({"trackio_bucket_id": "mine"}, "trackio.init"),
    ],
)
def test_what_has_no_effect_says_why(options, reason, caplog):
    TrainingArguments("out", **options)
    assert reason in caplog.text and next(iter(options)) in caplog.text


def test_defaults_of_what_has_no_effect_are_silent(caplog):
    for field in dataclasses.fields(transformers.TrainingArguments):
        if field.default is not dataclasses.MISSING and field.name != "output_dir":
            TrainingArguments("out", **{field.name: field.default})
    assert not caplog.records


def test_compilation_and_the_timeout_reach_accelerate(tmp_path):
    args = TrainingArguments(
        str(tmp_path), torch_compile_backend="eager", torch_compile_mode="reduce-overhead", ddp_timeout=7, use_cpu=True
    )
    accelerator = make_accelerator(args)
    plugin = accelerator.state.dynamo_plugin
    assert (plugin.backend.value.lower(), plugin.mode) == ("eager", "reduce-overhead")
    assert accelerator.init_handler.timeout.total_seconds() == 7


def test_tf32_is_set(monkeypatch, caplog):
    for allowed in (True, False):
        set_tf32(allowed)
        assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is allowed
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    set_tf32(True)
    assert "tf32=True has no effect" in caplog.text
    set_tf32(False)
    set_tf32(None)
    assert torch.backends.cuda.matmul.allow_tf32 is False
    torch.backends.cudnn.allow_tf32 = True  # torch's default
