"""Trial runs: `preserved` restores a Trainer after runs that only look or measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from notebook_kit.training.background import one_run
from notebook_kit.training.callbacks import CallbackList
from notebook_kit.training.checks import check_trainer
from notebook_kit.training.distributed import map_tensors
from notebook_kit.training.seeding import restore_rng_states, rng_states
from notebook_kit.training.state import TrainerControl, TrainerLike

__all__ = ["preserved"]

_RUN_ATTRIBUTES = """
    state control callback_handler optimizer lr_scheduler train_dataloader eval_dataloader last_step
    current_gradient_accumulation_steps
"""


@contextmanager
def preserved(trainer: TrainerLike, callbacks: Iterable[Any] = ()) -> Iterator[None]:
    """Restore the Trainer, its model and the random number generators after this block, in which a `TrainingLoop` may run.

    Args:
        trainer: The Trainer. A copy of its weights is kept in main memory.
        callbacks: Callbacks for the block; the Trainer's own are not called in it.

    Raises:
        ConfigurationError: if a run of this Trainer is in progress.

    Example:
        >>> import tempfile
        >>> from notebook_kit import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, TrainingLoop
        >>> tiny = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)
        >>> args = TrainingArguments(tempfile.mkdtemp(), use_cpu=True, save_strategy="no", disable_tqdm=True)
        >>> data = [{"input_ids": [5, 6, 7], "labels": 1}] * 8
        >>> trainer = Trainer(BertForSequenceClassification(tiny), args, train_dataset=data)
        >>> before = trainer.model.classifier.weight.clone()
        >>> with preserved(trainer):
        ...     TrainingLoop(trainer, max_steps=2).run().global_step
        2
        >>> bool((trainer.model.classifier.weight == before).all())
        True
    """
    check_trainer("preserved", trainer)
    with one_run(trainer):
        attributes = {name: getattr(trainer, name) for name in _RUN_ATTRIBUTES.split()}
        modes = [(module, module.training) for module in trainer.model.modules()]
        trainer.discard_optimizer()  # unless the user passed it: then the block uses it too
        stateful = [part for part in (trainer.model, trainer.optimizer, trainer.lr_scheduler) if part is not None]
        states = [
            map_tensors(lambda tensor: tensor.detach().to("cpu", copy=True), part.state_dict()) for part in stateful
        ]
        generators = rng_states()
        trainer.control, trainer.callback_handler = TrainerControl(), CallbackList(trainer, list(callbacks))
        try:
            yield
        finally:
            for part, state in zip(stateful, states, strict=True):
                part.load_state_dict(state)
            for module, training in modes:
                module.training = training
            for name, value in attributes.items():
                setattr(trainer, name, value)
            restore_rng_states(generators)
