"""Uploads of a run to the Hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notebook_kit.training.callbacks import TrainerCallback

if TYPE_CHECKING:
    from notebook_kit.training.parts import TrainerParts


def publish(trainer: TrainerParts, message: str, token: str | None = None, revision: str | None = None) -> Any:
    """Upload the model, the tokenizer and the arguments; None on processes that write nothing."""
    if not trainer.is_world_process_zero():
        return None
    from notebook_kit.hub import push_folder

    args = trainer.args
    name = args.hub_model_id or Path(args.output_dir or "").resolve().name
    # The output folder also holds checkpoints with the optimizer's state, which are not for others.
    with tempfile.TemporaryDirectory() as folder:
        trainer.save_model(folder, _internal_call=True)
        return push_folder(
            folder,
            name,
            token=token or args.hub_token,
            private=args.hub_private_repo,
            commit_message=message,
            revision=revision or args.hub_revision,
        )


class PublishCallback(TrainerCallback):
    """Uploads at each save and at the end of a run, as `args.hub_strategy` says."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.hub_strategy != "end":
            publish(kwargs["trainer"], f"Training in progress, step {state.global_step}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        publish(kwargs["trainer"], "End of training")
