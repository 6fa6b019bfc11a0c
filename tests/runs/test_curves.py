import re

import numpy as np
from PIL import Image

from fovea.runs.curves import choose, draw, nonfinite, sections
from fovea.runs.read import read_run
from helpers.toy_runs import HEADER, rows, summary


def test_panels_are_the_loss_and_the_monitored_metric():
    columns = {
        name: [1.0] for name in ("epoch", "lr", "train/loss", "val/loss", "val/acc", "train/f1", "val/f1")
    }
    assert choose(columns, "val/f1") == [("loss", ["train/loss", "val/loss"]), ("f1", ["train/f1", "val/f1"])]
    assert choose(columns, "val/loss")[1] == ("acc", ["val/acc"])
    assert choose(columns, None)[1] == ("acc", ["val/acc"])


def test_several_losses_share_a_panel_and_empty_columns_have_none():
    columns = {"epoch": [0.0], "train/loss_d": [1.0], "train/loss_g": [2.0], "val/acc": [None]}
    assert choose(columns, "val/acc") == [("loss", ["train/loss_d", "train/loss_g"])]


def test_learning_rate_gets_a_panel_only_when_it_changes(make_run):
    constant = HEADER + "".join(f"{e},{e},1,0,1,0,0.1,1\n" for e in range(3))
    pictures = [
        Image.open(draw(read_run(make_run(name=n, metrics=m))))
        for n, m in (("a", constant), ("b", HEADER + rows(3)))
    ]
    right = [np.asarray(picture.convert("L"))[:, int(picture.width * 0.84) :] for picture in pictures]
    assert pictures[0].size == pictures[1].size
    assert (right[1] < 128).any(axis=1).sum() > (right[0] < 128).any(axis=1).sum()


def test_nothing_to_draw_writes_no_figure(make_run):
    run = make_run(metrics=HEADER)
    assert "no curve" in sections(read_run(run))[0].html()
    assert not (run / "figures").exists()


def test_values_that_are_not_finite_are_named():
    columns = {
        "epoch": [0.0, 1.0, 2.0],
        "val/loss": [1.0, float("nan"), float("inf")],
        "val/acc": [None, 1.0, 1.0],
    }
    [said] = nonfinite(columns)
    assert re.search("val/loss .*2 of 3 epochs.* epoch 1", said)


def test_a_metric_name_with_dollars_is_drawn_as_text(make_run):
    run = make_run(record=summary(), metrics="epoch,val/$a$b$\n0,1\n1,2\n")
    assert draw(read_run(run)).stat().st_size > 0
