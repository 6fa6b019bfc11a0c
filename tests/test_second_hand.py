"""What eval and compare say of runs equals what plain numpy and scipy make of the tables of predictions.

Nothing of the suite computes an expected value here; the true class of an image is the folder it lies in.
"""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from helpers import runs

CLASSES = ["ant", "bee", "cow", "dog"]
COUNTS = {"train": 30, "val": 10, "test": (40, 30, 25, 17)}  # images of each class
TRAINING = [
    "experiment=mlp_digits", "data=folder", "trainer=cpu", "augment=none", "data.image_size=8",
    "data.batch_size=16", "data.num_workers=0", "trainer.max_epochs=2", "scheduler=none",
    "optimizer.lr=0.01",
]  # fmt: skip
NETS = {"wide": ["model.net.hidden=[64]"], "thin": ["model.net.hidden=[6]"]}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Write noise, a little brighter in one quarter, which tells the class."""
    root, noise = tmp_path_factory.mktemp("second_hand") / "photos", np.random.default_rng(0)
    for split, counts in COUNTS.items():
        for k, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for i in range(counts if isinstance(counts, int) else counts[k]):
                pixels = noise.integers(0, 200, (8, 8, 3), dtype=np.uint8)
                pixels[4 * (k // 2) :][:4, 4 * (k % 2) :][:, :4] += 12
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    for name, words in NETS.items():
        words = [*TRAINING, *words, f"data.root={photos}"]
        assert runs.train(words, run_dir=root / name) == 0, runs.output(root / name)
    return root


@pytest.fixture
def tables(trained, call, tmp_path):
    """Return for each run the names of its test images, true classes (N,) and probabilities (N, K)."""

    def read(name):
        call("predict", run=trained / name, input="test", top_k=len(CLASSES), annotate=False,
             output=tmp_path / name)  # fmt: skip
        with (tmp_path / name / "predictions.csv").open(newline="", encoding="utf-8") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["path"])
        probs = np.zeros((len(rows), len(CLASSES)))
        for line, row in zip(probs, rows, strict=True):
            line[CLASSES.index(row["predicted"])] = float(row["probability"])
            for rank in range(2, len(CLASSES) + 1):
                line[CLASSES.index(row[f"top{rank}"])] = float(row[f"top{rank}_probability"])
        return [row["path"] for row in rows], np.array([truth_of(row["path"]) for row in rows]), probs

    return {name: read(name) for name in NETS}


def truth_of(path):
    return CLASSES.index(path.split("/")[-2])


def confusion(truth, predicted):
    counts = np.zeros((len(CLASSES), len(CLASSES)), int)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def macro_f1(counts):
    right, total = np.diag(counts), counts.sum(0) + counts.sum(1)
    return np.mean(2 * right[total > 0] / total[total > 0])


def calibration_error(truth, probs, bins=15):
    confidence, right = probs.max(1), probs.argmax(1) == truth
    found = np.minimum(np.ceil(confidence * bins), bins)  # bins are open below, closed above
    gaps = [abs(right[found == b].mean() - confidence[found == b].mean()) * (found == b).mean()
            for b in np.unique(found)]  # fmt: skip
    return sum(gaps)


@pytest.mark.parametrize("name", NETS)
def test_eval_agrees_with_the_table_of_predictions(name, trained, tables, call):
    call("eval", run=trained / name)
    said = json.loads((trained / name / "eval_test.json").read_text())
    _, truth, probs = tables[name]
    predicted = probs.argmax(1)
    counts, right = confusion(truth, predicted), int((predicted == truth).sum())
    assert counts.sum(1).tolist() == list(COUNTS["test"]) and 0 < right < len(truth)
    values = said["metrics"]
    assert values["test/acc"] == pytest.approx(right / len(truth), abs=1e-6)
    assert values["test/f1"] == pytest.approx(macro_f1(counts), abs=1e-6)
    assert values["test/ece"] == pytest.approx(calibration_error(truth, probs), abs=1e-5)
    nll = -np.log(probs[np.arange(len(truth)), truth]).mean()
    assert values["test/loss"] == pytest.approx(nll, abs=1e-5)
    assert said["correct"] == right and said["data"]["num_images"] == len(truth)
    wilson = stats.binomtest(right, len(truth)).proportion_ci(method="wilson")
    assert said["interval"]["test/acc"] == pytest.approx([wilson.low, wilson.high], abs=1e-9)
    for k, line in enumerate(said["per_class"]):
        assert (line["class"], line["correct"], line["images"]) == (CLASSES[k], counts[k, k], counts[k].sum())
        one = stats.binomtest(int(counts[k, k]), int(counts[k].sum())).proportion_ci(method="wilson")
        assert line["interval"] == pytest.approx([one.low, one.high], abs=1e-9)
    summary = json.loads((trained / name / "summary.json").read_text())["metrics"]  # of the training itself
    assert {k: v for k, v in summary.items() if k in values} == pytest.approx(values, abs=1e-6)


def test_compare_agrees_with_the_tables_of_predictions(trained, tables, call, tmp_path):
    call("compare", runs=[trained / name for name in NETS], output=tmp_path / "out", timing=False,
         images=False)  # fmt: skip
    said = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert tables["wide"][0] == tables["thin"][0]
    right = {name: probs.argmax(1) == truth for name, (_, truth, probs) in tables.items()}
    best, other = sorted(right, key=lambda name: -right[name].mean())
    for name, row in zip((best, other), said["rows"], strict=True):
        assert row["of"][0]["directory"] == str(trained / name)
        assert row["test/acc"] == pytest.approx(right[name].mean(), abs=1e-6)
        wilson = stats.binomtest(int(right[name].sum()), len(right[name])).proportion_ci(method="wilson")
        assert (row["low"], row["high"]) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
    (test,) = said["tests"]
    won, lost = int((right[other] & ~right[best]).sum()), int((right[best] & ~right[other]).sum())
    assert won and lost and test["detail"] == f"{won} won, {lost} lost"
    p = stats.binomtest(won, won + lost).pvalue  # McNemar's, exact
    assert test["p"] == pytest.approx(p, rel=1e-9) and test["adjusted"] == pytest.approx(p, rel=1e-9)
    assert ("worse" in test["words"]) == (p < 0.05)
    gaps = right[other].astype(float) - right[best]
    assert test["difference"] == pytest.approx(gaps.mean(), abs=1e-9)
    drawn = np.random.default_rng(1).choice(gaps, (20_000, len(gaps))).mean(1)
    step = 1 / len(gaps)  # means of a resample are multiples of it
    assert (test["low"], test["high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1.01 * step)
