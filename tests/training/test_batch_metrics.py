"""`batch_eval_metrics`: metrics gathered batch by batch."""

import numpy as np
import pytest
from tiny_training import bert, dataset, trainer

from notebook_kit.errors import InputError
from notebook_kit.training.evaluation import annotated_batches


class Accuracy:
    """Counts as batches come, as in the reference's documentation."""

    def __init__(self):
        self.right, self.sizes = 0, []

    def __call__(self, prediction, compute_result):
        logits, labels = prediction
        self.right += int((logits.argmax(dim=-1) == labels).sum())  # tensors, as in the reference
        self.sizes.append(len(labels))
        if compute_result:
            return {"accuracy": self.right / sum(self.sizes)}
        return None


def test_metrics_are_those_of_all_predictions(tmp_path):
    def at_once(prediction):
        return {"accuracy": float(np.mean(prediction.predictions.argmax(-1) == prediction.label_ids))}

    data, metric = dataset(21), Accuracy()
    expected = trainer(tmp_path, bert(), eval_dataset=data, compute_metrics=at_once).evaluate()
    run = trainer(tmp_path, bert(), eval_dataset=data, compute_metrics=metric, batch_eval_metrics=True)
    found = run.evaluate()
    assert metric.sizes == [8, 8, 5]
    for name in ("eval_accuracy", "eval_loss"):
        assert found[name] == pytest.approx(expected[name])
    output = run.evaluation_loop(run.get_eval_dataloader(), "Evaluation")
    assert output.predictions is None and output.label_ids is None  # nothing was kept


def test_predictions_are_kept_in_any_case(tmp_path):
    metric = Accuracy()
    run = trainer(tmp_path, bert(), compute_metrics=metric, batch_eval_metrics=True)
    output = run.predict(dataset(21))
    assert output.predictions.shape == (21, 2) and metric.sizes == [8, 8, 5]
    assert output.metrics["test_accuracy"] == np.mean(output.predictions.argmax(-1) == output.label_ids)


def test_a_function_that_takes_no_result_is_explained(tmp_path):
    run = trainer(tmp_path, bert(), eval_dataset=dataset(9), compute_metrics=lambda p: {}, batch_eval_metrics=True)
    with pytest.raises(InputError, match="does not take compute_result"):
        run.evaluate()


def test_the_last_batch_is_known():
    assert list(annotated_batches([])) == []
    assert [last for _, _, last in annotated_batches(iter("abc"))] == [False, False, True]
