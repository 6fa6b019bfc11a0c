from functools import partial

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from fovea.callbacks.collector import Collector
from fovea.data.preprocess import Preprocess
from fovea.metrics.colour import ABError, Colourfulness
from fovea.models.colorizer import FusionColorizer
from fovea.ops.ab_bins import Bins, in_gamut
from fovea.ops.ab_regression import Regression
from fovea.ops.lab import lab_to_rgb, rgb_to_lab
from fovea.tasks.colorization.task import Colorization, recoloured
from fovea.tasks.colorization.view import ColourView

PLAIN = {"image_size": [16, 16], "channels": 3, "mean": [0.0] * 3, "std": [1.0] * 3, "crop_pct": 1.0}


class Pictures(Dataset):
    """Light pictures are red, dark ones blue."""

    def __init__(self, count):
        draw = torch.Generator().manual_seed(count)
        light = torch.where(torch.rand(count, generator=draw) < 0.5, 35.0, 65.0)
        light = light[:, None, None] + torch.randn(count, 16, 16, generator=draw)
        red = (light.mean((1, 2), keepdim=True) > 50).float() * torch.ones_like(light)
        self.image = lab_to_rgb(torch.stack([light, 30 * red, 60 * red - 40], dim=1))
        self.ids = [f"{i:02d}.png" for i in range(count)]

    def __len__(self):
        return len(self.image)

    def name(self, i):
        return self.ids[i]

    def load(self, i):
        return {"image": (self.image[i] * 255).round().byte().permute(1, 2, 0).numpy()}

    def __getitem__(self, i):
        return {"image": self.image[i], "index": i}


class Data(L.LightningDataModule):
    classes = ()

    def labelling(self):
        return {}

    def __init__(self, batch_size=7):
        super().__init__()
        self.size, self.train, self.test = batch_size, Pictures(24), Pictures(17)
        self.preprocess = Preprocess({**PLAIN, "interpolation": "bilinear"})

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=8, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.test, batch_size=self.size)

    test_dataloader = val_dataloader


def task(encoding=None, lr=0.01, **kw):
    torch.manual_seed(0)
    encoding = encoding or Regression()
    limit = getattr(encoding, "scale", None)
    metrics = {
        "ab_error": ABError(),
        "psnr": PeakSignalNoiseRatio(data_range=1.0),
        "ssim": StructuralSimilarityIndexMeasure(data_range=1.0),
        "colourfulness": Colourfulness(),
        "colourfulness_ratio": Colourfulness(relative=True),
        "classifier_acc": None,
    }
    optimizer = lambda params: torch.optim.Adam(params, lr=lr)  # noqa: E731
    optimizer.keywords = {"lr": lr}
    net = FusionColorizer(channels=encoding.channels, width=4, limit=limit)
    return Colorization(net=net, encoding=encoding, metrics=metrics, optimizer=optimizer, **kw)


def trainer(tmp_path, epochs=1, **kw):
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    options |= {"enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(max_epochs=epochs, default_root_dir=tmp_path, **{**options, **kw})


def measured(made, tmp_path, batch_size=7, **kw):
    (found,) = trainer(tmp_path, **kw).test(made, datamodule=Data(batch_size), verbose=False)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("bins", [False, True])
def test_it_learns_colours_that_beat_grey_and_the_mean(tmp_path, bins):
    made = task(Bins(channels=len(in_gamut(25.0)), grid=25.0, sigma=12.0) if bins else None)
    runner = trainer(tmp_path, epochs=30)
    runner.fit(made, datamodule=Data())
    assert {"train/ab_error", "val/psnr", "val/ssim"} <= set(runner.callback_metrics)
    assert "train/psnr" not in runner.callback_metrics
    found = measured(made, tmp_path)
    for baseline in ("grey", "mean"):
        assert found["test/ab_error"] < 0.7 * found[f"test/ab_error_{baseline}"]
        assert found["test/psnr"] > found[f"test/psnr_{baseline}"] + 2


def test_the_baselines_and_the_metrics_are_exact_whatever_the_batches(tmp_path):
    made = task()  # not trained: it looks at the training images by itself
    one, other = (measured(made, tmp_path, size) for size in (17, 4))
    assert one == pytest.approx(other, rel=1e-5)
    image = Pictures(17).image
    ab = rgb_to_lab(image)[:, 1:]
    assert made.mean_ab.abs().min() > 1
    for name, guess in (("grey", torch.zeros(2)), ("mean", made.mean_ab)):
        guess = guess.view(1, 2, 1, 1).expand_as(ab)
        rms = (guess - ab).square().mean((1, 2, 3)).sqrt().mean()
        assert one[f"test/ab_error_{name}"] == pytest.approx(float(rms), rel=1e-5)
        psnr = -10 * (recoloured(image, guess) - image).square().mean().log10()
        assert one[f"test/psnr_{name}"] == pytest.approx(float(psnr), rel=1e-4)


def test_half_precision_loses_nothing_in_the_metrics(tmp_path):
    made = task()
    with torch.no_grad():
        made.net.net.head.weight.zero_(), made.net.net.head.bias.zero_()
    whole, half = measured(made, tmp_path), measured(made, tmp_path, precision="bf16-mixed")
    assert half == pytest.approx(whole, rel=1e-4)


def test_what_was_learnt_from_the_training_images_is_in_the_checkpoint(tmp_path):
    made = task(Bins(channels=len(in_gamut(25.0)), grid=25.0, sigma=12.0), fit_images=10)
    runner = trainer(tmp_path, limit_train_batches=0, limit_val_batches=0)
    runner.fit(made, datamodule=Data())
    rows = np.unique(np.linspace(0, 23, 10).astype(int))
    mean = rgb_to_lab(Pictures(24).image[rows])[:, 1:].mean((0, 2, 3))
    assert torch.allclose(made.mean_ab, mean, atol=0.5)
    assert made.encoding.weight.std() > 0
    state = made.state_dict()
    assert torch.equal(state["mean_ab"], made.mean_ab) and "encoding.weight" in state
    again = task(Bins(channels=len(in_gamut(25.0)), grid=25.0, sigma=12.0))
    again.load_state_dict(state)
    assert torch.equal(again.encoding.weight, made.encoding.weight)


def test_wrong_input_is_refused():
    made = task()
    with pytest.raises(ValueError, match=r"data.mean=\[0,0,0\]"):
        made.step({"image": torch.randn(1, 3, 16, 16)})
    made.encoding = Bins(channels=len(in_gamut(25.0)), grid=25.0)
    with pytest.raises(ValueError, match="model=colorizer"):
        made.step({"image": torch.rand(1, 3, 16, 16)})
    with pytest.raises(ValueError, match="fit_images=0"):
        task(fit_images=0)


def test_a_grey_data_set_works():
    output = task().step({"image": torch.rand(2, 1, 8, 8)})
    assert output["loss"].isfinite() and not output["target"].any()


def test_the_collector_keeps_the_best_and_the_worst(tmp_path):
    made = task()
    view = partial(ColourView, encoding=made.encoding)
    found = measured(made, tmp_path, callbacks=[Collector(view=view, dirpath=tmp_path / "predictions")])
    scores, shown = (np.load(tmp_path / "predictions" / f"{name}.npz") for name in ("test", "examples"))
    ids = Pictures(17).ids
    assert scores["ids"].tolist() == ids
    assert scores["ab_error"].mean() == pytest.approx(found["test/ab_error"], rel=1e-5)
    assert scores["grey_error"].mean() == pytest.approx(found["test/ab_error_grey"], rel=1e-5)
    order = np.argsort(scores["ab_error"], kind="stable")
    for name, wanted in {"first": range(8), "worst": order[::-1][:8], "best": order[:8]}.items():
        assert shown[f"colours_{name}_ids"].tolist() == [ids[i] for i in wanted]
    truth = shown["colours_first_truth"][2].astype(int)
    assert np.abs(truth - Pictures(17).load(2)["image"]).max() <= 1
    np.testing.assert_array_equal(shown["colours_first_image"][2], Pictures(17).load(2)["image"])
