from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fovea.callbacks.collector import Collector, Kept, highest
from fovea.ops.segmentation import confusion, iou_per_class
from fovea.tasks.segmentation.view import MaskView

COUNT, CLASSES = 23, 3


class Data:
    classes = tuple(f"class {i}" for i in range(CLASSES))

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        self.truth = torch.randint(0, CLASSES, (COUNT, 6, 6), generator=draw)
        noise = torch.rand(COUNT, 6, 6, generator=draw) < torch.rand(COUNT, 1, 1, generator=draw)
        self.preds = torch.where(noise, (self.truth + 1) % CLASSES, self.truth)
        self.truth[3] = 255
        self.truth[5], self.preds[5] = self.truth[7], self.preds[7]  # the same score
        self.test = self
        self.preprocess, self.own_size = SimpleNamespace(to_array=lambda image: image), False

    def name(self, index):
        return f"image {index}"

    def load(self, index):
        return {"image": np.full((6, 6, 3), index, np.uint8)}

    def labelling(self):
        return {"palette": [[1, 2, 3]] * CLASSES}


def run(folder, data, size, *, rows=None, world=1, rank=0, shown=4):
    callback = Collector(view=partial(MaskView, shown=shown), dirpath=folder)
    trainer = SimpleNamespace(datamodule=data, world_size=world, is_global_zero=rank == 0)
    callback.on_test_start(trainer, None)
    for index in torch.as_tensor(rows if rows is not None else range(COUNT)).split(size):
        output = {"preds": data.preds[index], "target": data.truth[index]}
        callback.on_test_batch_end(trainer, None, output, {"index": index}, 0)
    return callback, trainer


def files(folder):
    return {
        f"{name}/{key}": value
        for name in ("test", "examples")
        for key, value in np.load(folder / f"{name}.npz").items()
    }


def finished(folder, data, size, **options):
    callback, trainer = run(folder, data, size, **options)
    callback.on_test_end(trainer, None)
    return files(folder)


def test_rows_are_those_of_each_image_and_sums_add_up(tmp_path):
    data = Data()
    found = finished(tmp_path, data, 5)
    each = confusion(data.preds, data.truth, CLASSES)
    np.testing.assert_array_equal(found["test/right"], each.diagonal(dim1=1, dim2=2))
    np.testing.assert_array_equal(found["test/total_confusion"], each.sum(0))
    assert found["test/ids"].tolist() == [f"image {i}" for i in range(COUNT)]
    assert "[[1, 2, 3]" in str(found["examples/labelling"])


def test_the_best_and_worst_are_kept_with_their_answers(tmp_path):
    data = Data()
    found = finished(tmp_path, data, 5)
    score = iou_per_class(confusion(data.preds, data.truth, CLASSES)).nanmean(1).numpy()
    ranked = [i for i in np.argsort(score, kind="stable") if i != 3]  # of 3 nothing counts
    best = [i for i in np.argsort(-score, kind="stable") if i != 3]
    for name, wanted in (("masks_worst", ranked[:4]), ("masks_best", best[:4])):
        assert found[f"examples/{name}_ids"].tolist() == [data.name(i) for i in wanted]
        np.testing.assert_array_equal(found[f"examples/{name}_truth"], data.truth[wanted])
        np.testing.assert_array_equal(found[f"examples/{name}_answer"], data.preds[wanted])
        assert found[f"examples/{name}_image"][:, 0, 0, 0].tolist() == wanted


def test_batches_and_processes_change_nothing(tmp_path, monkeypatch):
    data = Data()
    wanted = finished(tmp_path / "whole", data, COUNT, shown=30)
    found = [finished(tmp_path / "ones", data, 1, shown=30)]
    other, apart = run(None, data, 4, rows=range(1, COUNT, 2), world=2, rank=1, shown=30)
    sent = []

    def gather(to, mine):
        sent.append(mine)
        to[:] = [*sent, sent[0]][:2]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    other.on_test_end(apart, None)
    first, trainer = run(tmp_path / "two", data, 7, rows=range(0, COUNT, 2), world=2, shown=30)
    first.on_test_end(trainer, None)
    found.append(files(tmp_path / "two"))
    for some in found:
        assert set(some) == set(wanted)
        for key, value in wanted.items():
            np.testing.assert_array_equal(some[key], value, err_msg=key)
    assert len(wanted["examples/masks_best_ids"]) == COUNT - 1  # fewer than asked for


def test_only_the_shown_answers_are_held():
    callback, _ = run(None, Data(), 5)
    assert all(len(kept.answer) == 4 for kept in callback._shown.values())
    assert all(rows[key].numel() <= 5 * CLASSES for rows in callback._rows for key in rows)
    callback, _ = run(None, Data(), 5, shown=0)
    assert callback._shown == {}


def test_wrong_options_are_refused_before_the_training():
    with pytest.raises(ValueError, match="shown=-1"):
        Collector(view=partial(MaskView, shown=-1))
    with pytest.raises(TypeError, match="shwon"):
        Collector(view=partial(MaskView, shwon=1))


def test_of_equal_ranks_the_first_image_comes_first():
    def part(*places):
        count = len(places)
        return Kept(torch.ones(count), torch.tensor(places), torch.zeros(count, 2), torch.zeros(count))

    assert highest([part(5, 3), part(4)], 2).place.tolist() == [3, 4]
    assert highest([part(4), part(3, 5)], 2).place.tolist() == [3, 4]
