from types import SimpleNamespace

import lightning.pytorch as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

from fovea.metrics.calibration import CalibrationError
from fovea.metrics.top_k import top_k
from fovea.ops import tta
from fovea.ops.losses import cross_entropy
from fovea.tasks.classification.task import Classification

CLASSES = 6


class Images(torch.utils.data.Dataset):
    def __init__(self, count):
        draw = torch.Generator().manual_seed(count)
        self.image = torch.randn(count, 1, 8, 8, generator=draw)
        place = torch.arange(count)
        self.label = torch.where(place % 7 == 6, 0, place % CLASSES)  # class 0 is the commonest

    def __len__(self):
        return len(self.label)

    def __getitem__(self, i):
        return {"image": self.image[i], "label": self.label[i]}


class Data(L.LightningDataModule):
    def __init__(self, *, labels=True, classes=CLASSES, batch_size=7):
        super().__init__()
        self.num_classes, self.size = classes, batch_size
        self.data = Images(60)
        found = self.data.label.numpy() if labels else None
        self.train = SimpleNamespace(labels=found, classes=[str(i) for i in range(classes)])

    def train_dataloader(self):
        return DataLoader(self.data, batch_size=self.size)

    def val_dataloader(self):
        return DataLoader(Images(37), batch_size=self.size)

    test_dataloader = val_dataloader


def linear(classes=CLASSES):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def task(net=None, **kw):
    metrics = {
        "acc": MulticlassAccuracy(num_classes=CLASSES, average="micro"),
        "top5": top_k(num_classes=CLASSES),
        "ece": CalibrationError(),
        "none": top_k(num_classes=3),
    }
    optimizer = lambda params: torch.optim.SGD(params, lr=0.1)  # noqa: E731
    optimizer.keywords = {"lr": 0.1}
    return Classification(net=net or linear(), metrics=metrics, optimizer=optimizer, **kw)


def trainer(tmp_path, **kw):
    return L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=0, **kw,
    )  # fmt: skip


def test_metrics_are_logged_where_they_apply_and_do_not_depend_on_the_batches(tmp_path):
    found = [
        trainer(tmp_path).validate(task(), Data(batch_size=size), verbose=False)[0] for size in (7, 36, 37)
    ]
    assert set(found[0]) == {"val/loss", "val/acc", "val/top5", "val/ece"}
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-6)


def test_balanced_weights_come_from_the_training_labels(tmp_path):
    module, data = task(class_weights="balanced"), Data()
    trainer(tmp_path).fit(module, data)
    counts = np.bincount(data.train.labels)
    np.testing.assert_allclose(module.class_weights, 60 / (CLASSES * counts), rtol=1e-6)
    assert "class_weights" not in module.state_dict()
    images = Images(37)
    (tested,) = trainer(tmp_path).test(module, data, verbose=False)
    expected = cross_entropy(module.net(images.image), images.label, weight=module.class_weights)
    assert tested["test/loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_weights_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match="balanced needs labelled"):
        trainer(tmp_path).fit(task(class_weights="balanced"), Data(labels=False))
    with pytest.raises(ValueError, match=r"task.class_weights='inverse'"):
        task(class_weights="inverse")
    for wrong in ([-1.0] * CLASSES, [0.0] * CLASSES, [float("nan")] * CLASSES):
        with pytest.raises(ValueError, match="at least 0"):
            task(class_weights=wrong)
    net = linear()
    net.num_classes = CLASSES
    with pytest.raises(ValueError, match=r"2 numbers.* 6 classes"):
        task(net, class_weights=[1.0, 2.0])


def test_a_list_of_weights_counts_for_labels_and_for_mixed_targets():
    weight = [0.5, 1.0, 2.0, 3.0, 1.0, 1.0]
    module, batch = task(class_weights=weight), Images(12)[:]
    hard = module.step(batch)["loss"]
    soft = module.step({**batch, "label": F.one_hot(batch["label"], CLASSES).float()})["loss"]
    torch.testing.assert_close(hard, soft)
    expected = cross_entropy(module.net(batch["image"]), batch["label"], weight=torch.tensor(weight))
    torch.testing.assert_close(hard, expected)


def test_targets_are_smoothed_in_training_only():
    module, batch = task(label_smoothing=0.3), Images(12)[:]
    logits = module.net(batch["image"])
    smooth = F.cross_entropy(logits, batch["label"], label_smoothing=0.3)
    torch.testing.assert_close(module.step(batch)["loss"], smooth)
    torch.testing.assert_close(module.eval().step(batch)["loss"], F.cross_entropy(logits, batch["label"]))


def test_views_are_averaged_outside_of_training_where_asked(tmp_path):
    module, batch = task(tta=["flip", "shift"]), Images(12)[:]
    assert torch.equal(module.step(batch)["preds"], module.net(batch["image"]))
    expected = tta.average(module.net, batch["image"], ["flip", "shift"])
    output = module.eval().step(batch)
    torch.testing.assert_close(output["preds"], expected)
    torch.testing.assert_close(output["loss"], F.nll_loss(expected, batch["label"]))
    assert torch.equal(task().eval().step(batch)["preds"], module.net(batch["image"]))
    results = [trainer(tmp_path).test(m, Data(), verbose=False)[0] for m in (module, task())]
    assert results[0]["test/loss"] != pytest.approx(results[1]["test/loss"], rel=1e-4)
    with pytest.raises(ValueError, match=r"task.tta=\['zoom'\]"):
        task(tta=["zoom"])


@pytest.mark.parametrize("classes", [4, 9])
def test_a_head_for_other_classes_is_refused(tmp_path, classes):
    with pytest.raises(ValueError, match=f"6 classes.* {classes} classes"):
        trainer(tmp_path).fit(task(linear(classes)), Data())
    mixed = {"image": torch.randn(2, 1, 8, 8), "label": torch.full((2, CLASSES), 1 / CLASSES)}
    with pytest.raises(ValueError, match=r"set model.net.num_classes"):
        task(linear(classes)).step(mixed)


def test_a_dict_in_place_of_logits_is_refused(tmp_path):
    net = linear(CLASSES)
    net.register_forward_hook(lambda net, given, logits: {"logits": logits})
    with pytest.raises(ValueError, match=r"gives a dict.*one tensor.*model="):
        trainer(tmp_path).fit(task(net), Data())


def test_a_map_in_place_of_logits_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"output is \[7, 6, 8, 8\].*task=segmentation"):
        trainer(tmp_path).fit(task(nn.Conv2d(1, CLASSES, 1)), Data())
