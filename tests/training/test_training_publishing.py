"""What a run uploads; the upload itself is tested with the Hub."""

import threading
from concurrent.futures import wait
from pathlib import Path

import pytest
from tiny_training import trainer

import notebook_kit.hub
from notebook_kit.errors import HubUnreachableError, NotebookKitWarning
from notebook_kit.training import TrainerCallback
from notebook_kit.training.publishing import PublishCallback


@pytest.fixture
def pushed(monkeypatch):
    calls = []

    def push_folder(folder, repo_id, **options):
        calls.append((repo_id, sorted(path.name for path in Path(folder).iterdir()), options))
        return "https://hub/commit"

    monkeypatch.setattr(notebook_kit.hub, "push_folder", push_folder)
    return calls


def test_push_to_hub_uploads_the_model_and_no_checkpoints(tmp_path, pushed):
    run = trainer(tmp_path / "my-model", max_steps=2, save_strategy="steps", save_steps=1)
    run.train()
    assert run.push_to_hub() == "https://hub/commit"
    name, files, options = pushed[0]
    assert name == "my-model"
    assert files == ["README.md", "config.json", "model.safetensors", "training_args.json"]
    assert options["commit_message"] == "End of training"
    uploading = run.push_to_hub(blocking=False, language="te", commit_message="By hand")
    assert uploading.result(60) == "https://hub/commit" and pushed[1][2]["commit_message"] == "By hand"
    assert 'language: ["te"]' in (tmp_path / "my-model" / "README.md").read_text()


@pytest.mark.parametrize(("strategy", "uploads"), [("every_save", 3), ("end", 1)])
def test_runs_upload_when_the_strategy_says(tmp_path, pushed, strategy, uploads):
    run = trainer(
        tmp_path,
        max_steps=2,
        save_strategy="steps",
        save_steps=1,
        push_to_hub=True,
        hub_model_id="me/it",
        hub_token="secret",
        hub_strategy=strategy,
        hub_always_push=True,
    )
    run.train()
    assert [name for name, _, _ in pushed] == ["me/it"] * uploads
    assert all(options["token"] == "secret" for _, _, options in pushed)
    assert not any("secret" in path.read_text() for path in tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("strategy", "folders"),
    [("checkpoint", ["last-checkpoint"] * 3), ("all_checkpoints", ["checkpoint-1", "checkpoint-2", "checkpoint-2"])],
)
def test_checkpoints_are_uploaded_too_when_the_strategy_says(tmp_path, pushed, strategy, folders):
    options = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1, "hub_always_push": True}
    trainer(tmp_path, push_to_hub=True, hub_strategy=strategy, **options).train()
    assert [next(name for name in files if "checkpoint" in name) for _, files, _ in pushed] == folders


def test_uploads_do_not_hold_up_the_run_and_a_failed_one_is_a_warning(tmp_path, monkeypatch):
    finished, uploads = threading.Event(), []

    def push_folder(folder, repo_id, **options):
        uploads.append(options["commit_message"])
        if len(uploads) == 1:
            assert finished.wait(60)
            raise HubUnreachableError("The Hub does not answer.")

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                finished.set()
                publisher = next(c for c in kwargs["trainer"].callbacks if isinstance(c, PublishCallback))
                wait(publisher.uploads)

    monkeypatch.setattr(notebook_kit.hub, "push_folder", push_folder)
    run = trainer(tmp_path, max_steps=4, save_strategy="steps", save_steps=1, push_to_hub=True)
    run.add_callback(Watch())
    with pytest.warns(NotebookKitWarning, match="An upload failed: The Hub does not answer.*next save uploads again"):
        run.train()
    # Those after steps 2 and 3 were left out or came after the failure; the last one has everything.
    assert uploads[0] == "Training in progress, step 1" and uploads[-1] == "End of training"
    assert run.state.global_step == 4
