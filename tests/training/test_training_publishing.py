"""What a run uploads; the upload itself is tested with the Hub."""

from pathlib import Path

import pytest
from tiny_training import trainer

import notebook_kit.hub


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
    assert files == ["config.json", "model.safetensors", "training_args.json"]
    assert options["commit_message"] == "End of training"


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
    )
    run.train()
    assert [name for name, _, _ in pushed] == ["me/it"] * uploads
    assert all(options["token"] == "secret" for _, _, options in pushed)
    assert not any("secret" in path.read_text() for path in tmp_path.rglob("*.json"))
