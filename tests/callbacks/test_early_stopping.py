"""A training that ends early says why."""

import logging
import re

import pytest

from fovea.callbacks.checkpoint import BestAndLast
from fovea.callbacks.early_stopping import EarlyStopping
from helpers.toys import Scripted, loader, trainer


@pytest.mark.parametrize(
    ("values", "epochs", "said"),
    [
        ([0.5, 0.4, 0.3, 0.2], 3, "after epoch 3: .*did not improve in the last 2 records"),
        ([float("nan")] * 4, 1, r"after epoch 1: val/acc is nan.*early_stopping\.monitor=val/loss"),
        ([0.1, 0.2, 0.3, 0.4], 4, None),
    ],
)
def test_the_reason_of_the_end_is_logged_once(tmp_path, caplog, values, epochs, said):
    stop = EarlyStopping(monitor="val/acc", mode="max", patience=2)
    keep = BestAndLast(dirpath=str(tmp_path), monitor="val/acc")
    run = trainer(tmp_path, stop, keep, max_epochs=4, enable_checkpointing=True, num_sanity_val_steps=0)
    with caplog.at_level(logging.INFO, logger="fovea"):
        run.fit(Scripted(values), loader(), loader())
    found = [one.getMessage() for one in caplog.records if "early_stopping ends" in one.getMessage()]
    assert run.current_epoch == epochs and len(found) == (said is not None)
    assert said is None or re.search(said, found[0])


def test_a_metric_that_the_data_do_not_define_leaves_the_last_epoch_and_a_warning(tmp_path, caplog):
    nan = float("nan")
    keep = BestAndLast(dirpath=str(tmp_path), monitor="val/acc")
    run = trainer(tmp_path, keep, max_epochs=3, enable_checkpointing=True, num_sanity_val_steps=0)
    run.fit(Scripted([nan, nan, nan]), loader(), loader())
    assert keep.best["epoch"] == 2
    assert sum("until it is a number" in one.getMessage() for one in caplog.records) == 1
