from itertools import pairwise

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from fovea.data.datasets.scenes import Scenes
from fovea.metrics.segmentation import BoundaryF1, MeanDice, MeanIoU, PixelAccuracy, ThresholdedJaccard
from fovea.ops.lovasz import Lovasz
from fovea.ops.mask_losses import CrossEntropy, Focal
from fovea.ops.region_losses import Dice, Jaccard, Tversky
from fovea.tasks.segmentation.task import Segmentation

CLASSES = 3


class Masks(Dataset):
    def __init__(self, count, classes=CLASSES):
        draw = torch.Generator().manual_seed(count)
        self.image = torch.randn(count, 1, 8, 8, generator=draw)
        self.mask = sum((self.image[:, 0] > c).long() for c in range(classes - 1))
        self.mask[:, 0, 0] = 255

    def __len__(self):
        return len(self.image)

    def __getitem__(self, i):
        return {"image": self.image[i], "mask": self.mask[i]}


class Data(L.LightningDataModule):
    def __init__(self, *, classes=CLASSES, batch_size=7):
        super().__init__()
        self.num_classes, self.size = classes, batch_size

    def train_dataloader(self):
        return DataLoader(Masks(20, self.num_classes), batch_size=self.size)

    def val_dataloader(self):
        return DataLoader(Masks(17, self.num_classes), batch_size=self.size)

    test_dataloader = val_dataloader


def conv(classes=CLASSES, **kw):
    torch.manual_seed(0)
    return nn.Conv2d(1, classes, 3, padding=1, **kw)


def task(net=None, losses=None, classes=CLASSES, **kw):
    metrics = {
        "iou": MeanIoU(num_classes=classes),
        "dice": MeanDice(num_classes=classes),
        "pixel_acc": PixelAccuracy(num_classes=classes),
        "boundary_f1": BoundaryF1(num_classes=classes),
        "jaccard_65": ThresholdedJaccard(num_classes=classes),
        "none": None,
    }
    optimizer = lambda params: torch.optim.Adam(params, lr=0.01)  # noqa: E731
    optimizer.keywords = {"lr": 0.01}
    losses = losses or {"ce": CrossEntropy(), "dice": Dice(weight=0.5), "off": Jaccard(weight=0), "no": None}
    return Segmentation(net=net or conv(), losses=losses, metrics=metrics, optimizer=optimizer, **kw)


def trainer(tmp_path, **kw):
    return L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=0, **kw,
    )  # fmt: skip


def test_the_loss_is_the_weighted_sum_and_each_part_is_given():
    module, batch = task(), Masks(6)[:]
    output = module.step(batch)
    assert set(output) == {"loss", "loss_ce", "loss_dice", "preds", "target"}
    torch.testing.assert_close(output["loss"], output["loss_ce"] + 0.5 * output["loss_dice"])
    logits = module.net(batch["image"])
    torch.testing.assert_close(output["loss_dice"], Dice()(logits, batch["mask"]))
    assert torch.equal(output["preds"], logits.argmax(1)) and output["target"] is batch["mask"]


def test_metrics_are_logged_under_their_names_and_do_not_depend_on_the_batches(tmp_path):
    found = [trainer(tmp_path).validate(task(), Data(batch_size=n), verbose=False)[0] for n in (1, 4, 16, 17)]
    scores = {"val/iou", "val/dice", "val/pixel_acc", "val/boundary_f1", "val/jaccard_65"}
    assert set(found[0]) == scores | {"val/loss", "val/loss_ce", "val/loss_dice"}
    for other in found[1:]:
        assert {k: other[k] for k in scores} == {k: found[0][k] for k in scores}
        assert other == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_loss_is_the_mean_of_those_of_the_images_that_are_not_ignored(tmp_path, batch_size):
    data, module, masks = Data(batch_size=batch_size), task(), Masks(17)
    masks.mask[3], masks.mask[7:14], masks.mask[0, :4] = 255, 255, 255
    data.val_dataloader = lambda: DataLoader(masks, batch_size=batch_size)
    (found,) = trainer(tmp_path).validate(module, data, verbose=False)
    logits = module.net(masks.image).detach().double().log_softmax(1).exp().numpy()
    ce, dice = [], []
    for p, y in zip(logits, masks.mask.numpy(), strict=True):
        p, y = p[:, y != 255], y[y != 255]
        if len(y):
            ce.append(-np.log(p[y, np.arange(len(y))]).mean())
            overlaps = [2 * p[c, y == c].sum() / (p[c].sum() + (y == c).sum()) for c in np.unique(y)]
            dice.append(1 - np.mean(overlaps))
    assert len(ce) == 9 and module.measured["val"] == 17
    assert found["val/loss_ce"] == pytest.approx(np.mean(ce), rel=1e-5)
    assert found["val/loss_dice"] == pytest.approx(np.mean(dice), rel=1e-5)
    assert found["val/loss"] == pytest.approx(np.mean(ce) + 0.5 * np.mean(dice), rel=1e-5)


def test_costly_metrics_can_be_left_out_of_training(tmp_path):
    module, fit = task(eval_only=["boundary_f1", "unknown"]), trainer(tmp_path)
    fit.fit(module, Data())
    logged = set(fit.callback_metrics)
    assert "val/boundary_f1" in logged and "train/boundary_f1" not in logged and "train/iou" in logged


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("channels", [1, 2])
def test_two_classes_take_one_logit_or_two_in_any_precision(tmp_path, channels, precision):
    losses = {"ce": CrossEntropy(), "focal": Focal(), "dice": Dice(), "jaccard": Jaccard(),
              "tversky": Tversky(), "lovasz": Lovasz()}  # fmt: skip
    module, data = task(conv(channels), losses, classes=2), Data(classes=2)
    fit = trainer(tmp_path, precision=precision)
    fit.fit(module, data)
    assert all(value.isfinite() for value in fit.callback_metrics.values())
    assert {f"train/loss_{name}" for name in losses} <= set(fit.callback_metrics)


@pytest.mark.slow
def test_a_small_net_learns_one_batch_of_scenes_by_heart():
    samples = Scenes(annotation="masks", image_size=32, difficulty=0, num_train=4).load_many(range(4))
    image = torch.from_numpy(samples["image"]).movedim(-1, 1).float() / 128 - 1
    batch = {"image": image, "mask": torch.from_numpy(samples["mask"]).long()}
    torch.manual_seed(0)
    widths = [3, 48, 48, 48]
    layers = [m for a, b in pairwise(widths) for m in (nn.Conv2d(a, b, 5, padding=2), nn.ReLU())]
    module = task(
        nn.Sequential(*layers, nn.Conv2d(48, 9, 1)), {"ce": CrossEntropy(), "dice": Dice()}, classes=9
    )
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(150):
        output = module.step(batch)
        optimizer.zero_grad()
        output["loss"].backward()
        optimizer.step()
    metric = MeanIoU(num_classes=9)
    metric.update(module.step(batch)["preds"], batch["mask"])
    assert float(metric.compute()) > 0.95


def test_a_batch_where_all_is_ignored_changes_no_weight(tmp_path):
    module, batch = task(), Masks(4)[:]
    output = module.step({**batch, "mask": torch.full_like(batch["mask"], 255)})
    output["loss"].backward()
    assert output["loss"] == 0 and all(not p.grad.any() for p in module.parameters())


def test_outputs_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"3 classes.*output 4"):
        trainer(tmp_path).fit(task(conv(4)), Data())
    with pytest.raises(ValueError, match=r"3 classes.*output 1"):
        trainer(tmp_path).fit(task(conv(1)), Data())
    batch = Masks(4)[:]
    with pytest.raises(ValueError, match=r"output has shape \[4, 192\]"):
        task(nn.Sequential(conv(), nn.Flatten())).step(batch)
    with pytest.raises(ValueError, match="output is 4×4, the mask 8×8"):
        task(conv(stride=2)).step(batch)
    with pytest.raises(ValueError, match="image is 8×8, the mask 8×6"):
        task().step({**batch, "mask": batch["mask"][:, :, :6]})
    with pytest.raises(ValueError, match=r"value 2, .*2 channels"):
        task(conv(2)).step(batch)
    with pytest.raises(ValueError, match="needs masks"):
        task().step({"image": batch["image"]})


def test_losses_without_a_weight_that_counts_are_refused():
    with pytest.raises(ValueError, match="every weight is 0"):
        task(losses={"ce": CrossEntropy(weight=0)})
    with pytest.raises(ValueError, match=r"task.losses.ce.weight=-1"):
        task(losses={"ce": CrossEntropy(weight=-1)})


def test_single_pixels_are_images_too():
    batch = {"image": torch.randn(2, 1, 1, 1), "mask": torch.tensor([[[1]], [[255]]])}
    assert task().step(batch)["loss"].isfinite()
