"""Start a run from the weights of another, whatever part of them fits."""

import csv
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from fovea.engine import initial
from fovea.engine.trained import open_run
from fovea.errors import UsageError
from fovea.models.adapt_input import normalisation
from helpers import runs

CLASSES = ["ant", "bee", "cow"]


class Net(nn.Module):
    def __init__(self, num_classes=3, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, width), nn.Linear(width, 4))
        self.boxes, self.labels = nn.Linear(4, 4), nn.Linear(4, num_classes)

    def get_classifier(self):
        return self.labels


def saved(tmp_path, net, *, more=None):
    """Save plain weights, and read them as those of a run that had CLASSES."""
    torch.save({"state_dict": {**net.state_dict(), **(more or {})}}, tmp_path / "net.ckpt")
    config = OmegaConf.create({"init": {"checkpoint": str(tmp_path / "net.ckpt"), "skip": []}})
    found = initial.read(config)
    return SimpleNamespace(load=initial.Initial(found.path, found.state, CLASSES, None).load, read=found)


def states(lines):
    return {line.tensor: (line.state, line.why) for line in lines}


def test_the_same_classes_keep_all_and_others_the_rest(tmp_path):
    source = Net()
    for classes, kept in ((CLASSES, True), (["cow", "ant", "bee"], False), (["ant", "bee", "eel"], False)):
        net = Net()
        before = net.labels.weight.clone()
        lines = states(saved(tmp_path, source).load(net, classes=classes))
        assert torch.equal(net.body[1].weight, source.body[1].weight)
        assert torch.equal(net.boxes.weight, source.boxes.weight)
        assert torch.equal(net.labels.weight, source.labels.weight if kept else before)
        assert lines["labels.bias"] == (("loaded", "") if kept else ("new", "other classes"))


def test_what_is_new_and_what_is_skipped_is_listed(tmp_path, caplog):
    source, net = Net(), Net(num_classes=5)
    found = saved(tmp_path, source, more={"extra.weight": torch.zeros(2)})
    lines = found.load(net, classes=["a", "b", "c", "d", "e"], skip=["boxes.*"])
    assert states(lines) == {
        **{f"body.{i}.{kind}": ("loaded", "") for i in (0, 1) for kind in ("weight", "bias")},
        **{f"boxes.{kind}": ("new", "init.skip") for kind in ("weight", "bias")},
        **{f"labels.{kind}": ("new", "other classes") for kind in ("weight", "bias")},
        "extra.weight": ("skipped", "not in the net"),
    }
    caplog.set_level("INFO")
    found.read.report(lines, tmp_path)
    assert "4 tensors loaded, 4 new" in caplog.text and "labels (other classes)" in caplog.text
    with (tmp_path / "init.csv").open(newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)].count("new") == 4


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda net: setattr(net, "body", nn.Sequential(nn.Linear(2, 9), nn.Linear(9, 9))), "another net"),
        (lambda net: nn.init.constant_(net.body[0].weight, torch.nan), "NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, match, tmp_path):
    source = Net()
    change(source)
    with pytest.raises(UsageError, match=match):
        saved(tmp_path, source).load(Net(), classes=["x"])


def test_patterns_and_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"init.skip=head\.\*.*body"):
        saved(tmp_path, Net()).load(Net(), classes=CLASSES, skip=["head.*"])
    with pytest.raises(UsageError, match=r"init\.checkpoint"):
        initial.read(OmegaConf.create({"init": {"checkpoint": str(tmp_path / "no.pt"), "skip": []}}))
    assert initial.read(OmegaConf.create({"init": {"checkpoint": None, "skip": []}})) is None


def test_inputs_are_scaled_as_the_weights_are_used_to(tmp_path):
    own = {"mean": [0.1] * 3, "std": [0.2] * 3, "channels": 3, "image_size": [8, 8]}
    given = {"mean": [0.5] * 3, "std": [0.5] * 3, "channels": 3, "image_size": [16, 16]}
    found = initial.Initial(tmp_path, {}, CLASSES, own).adapt(given)
    assert found == {**given, "mean": own["mean"], "std": own["std"]}
    grey = {**given, "mean": [0.5], "std": [0.5], "channels": 1}
    assert initial.Initial(tmp_path, {}, CLASSES, own).adapt(grey) == grey


@pytest.mark.slow
def test_a_net_that_undoes_the_normalisation_undoes_that_of_the_source(tmp_path):
    small = [
        "experiment=bilinear_cars20", "data=scenes", "finetune=none", "trainer=cpu", "model.pretrained=false",
        "model.net.first.name=resnet10t", "model.net.first.skip=[]", "model.net.second=null",
        "data.image_size=32", "data.batch_size=4", "data.num_workers=0", "data.dataset.num_train=8",
        "data.dataset.num_val=4", "data.dataset.num_test=4", "trainer.max_epochs=1",
    ]  # fmt: skip
    source, run = tmp_path / "source", tmp_path / "run"
    statistics = ["data.mean=[0.1,0.2,0.3]", "data.std=[0.5,0.6,0.7]"]
    assert runs.train([*small, *statistics], run_dir=source) == 0, runs.output(source)
    words = [*small, "data.mean=[0.4,0.4,0.4]", f"init.checkpoint={source}"]
    assert runs.train(words, run_dir=run) == 0, runs.output(run)
    assert runs.train(["resume=true", "trainer.max_epochs=2"], run_dir=run) == 0, runs.output(run)
    for name, epochs in (("best", 1), ("last", 2)):
        trained = open_run(str(run), name)
        assert trained.checkpoint["epoch"] + 1 <= epochs
        for found in (trained.preprocessing, trained.config.data, trained.config.model.net):
            assert [*found["mean"], *found["std"]] == [0.1, 0.2, 0.3, 0.5, 0.6, 0.7]
    module = trained.datamodule()
    raw = next(iter(module.test_dataloader()))
    normalised = module.finish_batch(dict(raw), training=False)["image"]
    adapt = trained.net.adapt[0]  # to what the backbone expects
    own = normalisation(trained.net.nets[0])
    mean, std = (torch.tensor(own[key]).view(-1, 1, 1) for key in ("own_mean", "own_std"))
    torch.testing.assert_close(
        (adapt(normalised) * std + mean) * 255, raw["image"].float(), atol=0.01, rtol=0
    )
    assert OmegaConf.load(run / "config.yaml").model.net.mean == [0.1, 0.2, 0.3]
