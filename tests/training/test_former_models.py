"""A notebook's cells, run again and again, do not pile up models."""

import gc
import weakref

from tiny_training import dataset, trainer

from notebook_kit.training import loop


def test_a_run_in_a_notebook_frees_the_models_of_earlier_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "in_notebook", lambda: True)
    gc.disable()  # as if its time had not come
    try:
        former = trainer(tmp_path / "former", data=dataset(8), max_steps=1)
        former.train()
        former.circle = former  # as a callback with a Trainer in an attribute
        model = weakref.ref(former.model)
        del former
        assert model() is not None
        trainer(tmp_path / "next", data=dataset(8), max_steps=1).train()
        assert model() is None
    finally:
        gc.enable()
