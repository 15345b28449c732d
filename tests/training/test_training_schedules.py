import re
import sys
import types

import pytest
import torch
import transformers
from tiny_training import Line, bert, line_rows, trainer

import notebook_kit as ours
from notebook_kit.errors import ConfigurationError, MissingDependencyError
from notebook_kit.training.optimization import OF_PACKAGES, decayed_names, optimizer_class_and_options, parameter_groups
from notebook_kit.utils import Adafactor, SchedulerType
from notebook_kit.utils.schedules import SCHEDULES

CASES = [
    ("linear", {}),
    ("cosine", {}),
    ("cosine", {"num_cycles": 1.5}),
    ("cosine_with_restarts", {"num_cycles": 3}),
    ("cosine_with_min_lr", {"min_lr": 0.01}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.2}),
    ("polynomial", {"power": 2.0, "lr_end": 1e-3}),
    ("constant", {}),
    ("constant_with_warmup", {}),
    ("inverse_sqrt", {}),
    ("inverse_sqrt", {"timescale": 7}),
    ("cosine_warmup_with_min_lr", {"min_lr": 0.01}),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.2, "warmup_lr_rate": 0.1, "num_cycles": 1.0}),
    ("warmup_stable_decay", {"num_decay_steps": 10}),
    ("warmup_stable_decay", {"num_decay_steps": 9, "num_stable_steps": 5, "min_lr_ratio": 0.1}),
    *(
        ("warmup_stable_decay", {"num_decay_steps": 10, "warmup_type": rise, "decay_type": fall, "min_lr_ratio": 0.05})
        for rise, fall in (("cosine", "linear"), ("1-sqrt", "1-sqrt"), ("linear", "cosine"))
    ),
]


def rates(library, name, options, steps=40, warmup=6):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = library.get_scheduler(name, optimizer, warmup, steps, options)
    made = []
    for _ in range(steps + 5):
        made.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return made


@pytest.mark.parametrize(("name", "options"), CASES)
def test_schedules_are_those_of_the_reference(name, options):
    assert rates(ours, name, options) == pytest.approx(rates(transformers, name, options), abs=1e-12)


def test_every_schedule_is_tested():
    assert {name for name, _ in CASES} | {"reduce_lr_on_plateau", "greedy"} == set(SCHEDULES)


def test_every_schedule_has_its_type():
    assert {kind.value for kind in SchedulerType} == set(SCHEDULES)
    theirs = {kind.name: kind.value for kind in transformers.SchedulerType}
    assert {kind.name: kind.value for kind in SchedulerType} == theirs
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    assert ours.get_scheduler(SchedulerType.COSINE, optimizer, 0, 4).get_last_lr() == [0.1]


@pytest.mark.parametrize("short", ["linear", "cosine", "polynomial_decay"])
def test_makers_by_name(short):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    name = f"get_{short}_schedule_with_warmup"
    mine, theirs = getattr(ours, name)(optimizer, 2, 9), getattr(transformers, name)(optimizer, 2, 9)
    for step in range(12):
        assert mine.lr_lambdas[0](step) == pytest.approx(theirs.lr_lambdas[0](step))


def test_wrong_schedules_say_what_to_use():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ConfigurationError, match="'cosine'"):
        ours.get_scheduler("cosin", optimizer)
    with pytest.raises(ConfigurationError, match="num_warmup_steps and num_training_steps"):
        ours.get_scheduler("linear", optimizer)
    with pytest.raises(ConfigurationError, match="lr_scheduler_kwargs"):
        ours.get_scheduler("linear", optimizer, 1, 2, {"power": 2})
    with pytest.raises(ConfigurationError, match="lr_end"):
        ours.get_scheduler("polynomial", optimizer, 1, 2, {"lr_end": 1.0})
    with pytest.raises(ConfigurationError, match=r"warmup_type has no option 'cosin'\. Did you mean 'cosine'"):
        ours.get_scheduler("warmup_stable_decay", optimizer, 1, 9, {"num_decay_steps": 3, "warmup_type": "cosin"})
    with pytest.raises(ConfigurationError, match="num_training_steps or num_stable_steps"):
        ours.get_wsd_schedule(optimizer, 1, 2)
    with pytest.raises(ConfigurationError, match="'warmup_stable_decay' rejects the options"):
        ours.get_scheduler("warmup_stable_decay", optimizer, 1, 9)
    with pytest.raises(ConfigurationError, match="min_lr"):
        ours.get_scheduler("cosine_with_min_lr", optimizer, 1, 2)


def test_weight_decay_spares_what_the_reference_spares(tmp_path):
    model = bert()
    args = transformers.TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    reference = transformers.Trainer(Line(), args)
    assert decayed_names(model) == set(reference.get_decay_parameter_names(model))
    model.bert.embeddings.requires_grad_(False)
    groups = parameter_groups(model, 0.1)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in model.parameters())
    with pytest.raises(ConfigurationError, match="requires_grad"):
        parameter_groups(model.requires_grad_(False), 0.1)


@pytest.mark.parametrize(
    ("optim", "kind"),
    [
        ("adamw_torch_fused", torch.optim.AdamW),
        ("adamw_torch", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
        ("adafactor", Adafactor),
        ("adagrad", torch.optim.Adagrad),
        ("rmsprop", torch.optim.RMSprop),
        ("nadamw_torch", torch.optim.NAdam),
    ],
)
def test_optimizers_by_name(tmp_path, optim, kind):
    run = trainer(tmp_path, Line(), line_rows(), data_collator=ours.default_data_collator, optim=optim, max_steps=2)
    run.train()
    assert isinstance(run.optimizer, kind)


@pytest.mark.parametrize("options", [None, "beta3=0.99, alpha=2"])
def test_optimizers_of_packages_get_what_they_get_in_the_reference(tmp_path, monkeypatch, options):
    package = types.ModuleType("bitsandbytes.optim")
    for name in ("AdamW", "Lion", "RMSprop", "AdEMAMix"):
        setattr(package, name, type(name, (torch.optim.Optimizer,), {}))
    assert {package for package, _, _ in OF_PACKAGES.values()} == {"bitsandbytes", "torchao"}
    for name, (owner, _, _) in OF_PACKAGES.items():
        args = ours.TrainingArguments(tmp_path, optim=name)
        with pytest.raises(MissingDependencyError, match=f"optimizer of {owner}, which is not installed"):
            optimizer_class_and_options(args)
    monkeypatch.setitem(sys.modules, "bitsandbytes", types.ModuleType("bitsandbytes"))
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", package)
    monkeypatch.setattr("transformers.trainer_optimizer.is_bitsandbytes_available", lambda: True)
    for name, (owner, kind, _) in OF_PACKAGES.items():
        if owner != "bitsandbytes" or (options and kind != "AdEMAMix"):
            continue
        given = {"optim": name, "optim_args": options, "learning_rate": 0.5, "adam_beta1": 0.8}
        args = transformers.TrainingArguments(tmp_path, use_cpu=True, report_to="none", **given)
        expected = transformers.Trainer.get_optimizer_cls_and_kwargs(args)
        assert ours.Trainer.get_optimizer_cls_and_kwargs(ours.TrainingArguments(tmp_path, **given)) == expected, name


def test_options_and_unknown_optimizers(tmp_path):
    options = {"data_collator": ours.default_data_collator, "max_steps": 1}
    run = trainer(tmp_path, Line(), line_rows(), optim="sgd", optim_args="momentum=0.5, nesterov=true", **options)
    run.train()
    assert run.optimizer.param_groups[0]["momentum"] == 0.5
    assert run.optimizer.param_groups[0]["nesterov"] is True
    with pytest.raises(ConfigurationError, match="'adamw_torch'"):
        trainer(tmp_path, Line(), line_rows(), optim="adamw_torc", **options)


def test_every_optimizer_of_the_reference_is_known_or_names_its_package(tmp_path):
    names = [name.value for name in transformers.training_args.OptimizerNames]
    refused = []
    for name in names:
        try:
            ours.TrainingArguments(tmp_path, optim=name)
        except ConfigurationError as error:
            assert re.search("optimizer_cls_and_kwargs|create_optimizer|Use optim='", error.next_step), name
            refused.append(name)
            for given in re.findall(r"optim='(\w+)'", error.next_step):
                assert ours.TrainingArguments(tmp_path, optim=given).optim == given
    assert len(refused) < len(names) / 2 and "galore_adamw" in refused and "adamw_8bit" not in refused


def test_optimizers_that_are_given(tmp_path):
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5)
    options = {"data_collator": ours.default_data_collator, "max_steps": 2, "logging_steps": 1}
    run = trainer(tmp_path, model, line_rows(), optimizers=(optimizer, schedule), **options)
    run.train()
    assert [entry["learning_rate"] for entry in run.state.log_history[:2]] == [0.25, 0.25]
    run = trainer(tmp_path, model, line_rows(), optimizer_cls_and_kwargs=(torch.optim.SGD, {"lr": 0.3}), **options)
    run.train()
    assert isinstance(run.optimizer, torch.optim.SGD)
    assert run.state.log_history[0]["learning_rate"] == 0.3
