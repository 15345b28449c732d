"""Uploading a run's model and checkpoints to the Hub, in the background while the run goes on."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from notebook_kit.errors import warn
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.callbacks import TrainerCallback
from notebook_kit.training.model_card import create_model_card, update_model_card
from notebook_kit.training.state import TrainerControl, TrainerLike, TrainerState

__all__ = ["PublishCallback", "Uploads", "push_to_hub", "repository"]

LAST = "last-checkpoint"  # the folder in the repository, as `transformers` names it


def repository(args: TrainingArguments) -> tuple[str, dict[str, Any]]:
    """The name of the repository, and the options of its uploads."""
    name = args.hub_model_id or Path(args.output_dir or "").resolve().name
    return name, {"token": args.hub_token, "revision": args.hub_revision, "private": args.hub_private_repo}


def push_to_hub(
    trainer: TrainerLike, commit_message: str, blocking: bool, token: Any, revision: Any, card: dict[str, Any]
) -> Any:
    """Write the model and upload it; see `Trainer.push_to_hub`."""
    name, options = repository(trainer.args)
    options |= {"token": token or options["token"], "revision": revision or options["revision"]}
    if card:
        create_model_card(trainer, **card)
    # The output folder also holds checkpoints with the optimizer's state, which should not be published.
    folder = Path(tempfile.mkdtemp(prefix="notebook_kit-upload-"))
    trainer.save_model(str(folder), _internal_call=True)
    update_model_card(trainer, folder)
    send = partial(_send, folder, name, {**options, "commit_message": commit_message})
    return send() if blocking else ThreadPoolExecutor(1, thread_name_prefix="notebook_kit-upload").submit(send)


class Uploads:
    """Uploads of folders on a background thread, one after the other. A failed one is a warning.

    Args:
        by_hand: The call with which a user uploads the model later, for the message.

    Attributes:
        pending: Those that are in progress, or whose result has not been reported.
    """

    def __init__(self, by_hand: str) -> None:
        self._by_hand = by_hand
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="notebook_kit-upload")
        self.pending: list[Future[Any]] = []

    def send(self, folder: Path, name: str, **options: Any) -> None:
        """Upload a temporary folder, and delete it.

        Args:
            folder: The folder.
            name: The repository.
            **options: Those of `push_folder`.
        """
        self.pending.append(self._thread.submit(_send, folder, name, options))

    def report(self, wait: bool = False) -> None:
        """Warn of uploads that failed, and forget those that are done.

        Args:
            wait: Whether to wait for those in progress: the run is at its end.
        """
        for upload in [upload for upload in self.pending if wait or upload.done()]:
            self.pending.remove(upload)
            error = upload.exception()
            if error is not None and not wait:
                warn(f"An upload failed: {error} The run goes on, and the next save uploads again.")
            elif error is not None:
                warn(
                    f"The model of this run is not on the Hub: {error} It is in memory and, if checkpoints were written, in"
                    f" the output folder. Upload it with {self._by_hand}."
                )


class PublishCallback(TrainerCallback):
    """Uploads the model at the end of a run and, unless `args.hub_strategy` is "end", at each save; with "checkpoint" and
    "all_checkpoints" also the checkpoint, from which a run can resume.

    The files are copied at once and uploaded on a background thread. While an upload is in progress, further ones are left
    out, unless `args.hub_always_push` is set. A failed upload is a warning; the next one, and the one at the end, uploads
    everything.

    Attributes:
        uploads: Those that are in progress, or whose result has not been reported.
    """

    def __init__(self) -> None:
        self._uploads = Uploads("trainer.push_to_hub()")
        self.uploads = self._uploads.pending

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        self._uploads.report()
        if args.hub_strategy != "end" and (args.hub_always_push or not self.uploads):
            self._upload(kwargs["trainer"], f"Training in progress, step {state.global_step}")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        self._upload(kwargs["trainer"], "End of training")
        self._uploads.report(wait=True)

    def _upload(self, trainer: TrainerLike, message: str) -> None:
        folder, is_sent = Path(tempfile.mkdtemp(prefix="notebook_kit-upload-")), False
        try:
            trainer.save_model(str(folder), _internal_call=True)
            if trainer.is_world_process_zero():
                update_model_card(trainer, folder)
                _add_checkpoint(trainer, folder)
                name, options = repository(trainer.args)
                self._uploads.send(folder, name, **options, commit_message=message)
                is_sent = True
        except OSError as error:
            warn(f"The model could not be copied for its upload: {error}. The run goes on.")
        finally:
            if not is_sent:
                shutil.rmtree(folder, ignore_errors=True)


def _add_checkpoint(trainer: TrainerLike, folder: Path) -> None:
    """Add the last checkpoint, if `hub_strategy` includes checkpoints."""
    saved = getattr(trainer.loop, "saved", None)
    names = {"checkpoint": LAST, "all_checkpoints": saved.name if saved is not None else ""}
    if saved is not None and (name := names.get(trainer.args.hub_strategy)):
        shutil.copytree(saved, folder / name)


def _send(folder: Path, name: str, options: dict[str, Any]) -> Any:
    from notebook_kit.hub import push_folder

    try:
        return push_folder(folder, name, **options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
