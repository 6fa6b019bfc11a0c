import pytest
import torch
from hydra.errors import InstantiationException
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import OmegaConf

from fovea.callbacks.checkpoint import BestAndLast
from fovea.callbacks.record import EpochRecord
from fovea.config import build
from fovea.errors import UsageError
from helpers import runs


@pytest.fixture(scope="module")
def config():
    return runs.compose([*runs.QUICK, "model.net.hidden=[4]"])


def changed(config, **values):
    config = config.copy()
    for key, value in values.items():
        OmegaConf.update(config, key.replace("__", "."), value)
    return config


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        about = {"interpolation": "bicubic", "crop_pct": 0.9}
        self.pretrained_cfg = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), **about}


def test_preprocessing_is_that_of_the_data(config):
    found = build.preprocessing(config, Net())
    assert found == {
        "image_size": [28, 28], "channels": 1, "mean": [0.1307], "std": [0.3081], "interpolation": "bilinear",
        "crop_pct": 1.0, "resize": "crop",
    }  # fmt: skip


def test_pretrained_networks_bring_their_own_statistics(config):
    colour = changed(
        config, data__channels=3, data__mean=[0.5] * 3, data__std=[0.5] * 3, model__pretrained=True
    )
    found = build.preprocessing(colour, Net())
    assert (found["mean"], found["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert found["interpolation"] == "bicubic" and found["crop_pct"] == 1.0
    assert build.preprocessing(changed(config, model__pretrained=True), Net())["mean"] == [0.1307]  # grey
    untrained = changed(colour, model__pretrained=False)
    assert build.preprocessing(untrained, Net())["mean"] == [0.5] * 3


def test_an_image_may_be_wider_than_high(config):
    assert build.preprocessing(changed(config, data__image_size=[20, 30]), None)["image_size"] == [20, 30]
    assert build.preprocessing(changed(config, data__image_size=None), None)["image_size"] == [224, 224]


def test_the_data_module_normalises_as_the_checkpoint_will_say(config):
    preprocessing = build.preprocessing(config, None) | {"mean": [0.25], "std": [0.5]}
    datamodule = build.datamodule(config, preprocessing)
    assert {k: datamodule.preprocessing[k] for k in preprocessing} == preprocessing
    image = torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)
    assert torch.allclose(datamodule.preprocess.to_input(image), torch.tensor(1.5))


def test_what_is_switched_off_is_not_built(config, tmp_path):
    given = changed(config)
    stopping = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/loss"}
    given.callbacks = {"early_stopping": stopping}
    given.logger = {"csv": None}
    assert build.loggers(given) == []

    def built():
        record, checkpointer = EpochRecord(path=tmp_path / "metrics.csv"), build.make(given.checkpoint)
        return build.callbacks(given, record=record, checkpointer=checkpointer)

    assert any(isinstance(c, EarlyStopping) for c in built())
    given.callbacks.early_stopping = None
    found = built()
    assert not any(isinstance(c, EarlyStopping) for c in found)
    # a row of metrics is complete, and a checkpoint holds it, after every other callback has run
    assert [type(c) for c in found[-2:]] == [EpochRecord, BestAndLast]


def test_an_option_of_the_data_reaches_the_data_module(config):
    given = changed(config, data__targets=["label"], data__cache=False, data__split_seed=7)
    module, plain = (build.datamodule(c, build.preprocessing(c, None)) for c in (given, config))
    assert (module.targets, module.cache) == (["label"], False)
    module.setup()
    plain.setup()
    assert sorted(module.splits["val"].ids) != sorted(plain.splits["val"].ids)
    given.data._target_ = "torch.utils.data.DataLoader"
    with pytest.raises(InstantiationException, match="whitelist"):
        build.datamodule(given, build.preprocessing(given, None))


def test_the_task_gets_network_metrics_and_optimizer(config):
    net = build.network(config)
    task = build.task(config, net)
    assert task.net is net and task.monitor == "val/acc" and task.lr == config.optimizer.lr
    assert {"val/acc", "val/f1"} <= set(task.val_metrics.keys(keep_base=False))


def test_classes_that_only_the_disk_knows(config, tmp_path):
    for name in ("cat", "dog", "owl"):
        (tmp_path / name).mkdir()
    node = {"_target_": "fovea.data.datasets.folder.Folder", "_partial_": True, "root": str(tmp_path)}
    given = OmegaConf.create({"data": {"name": "folder", "num_classes": None, "dataset": node}})
    build.count_classes(given)
    assert given.data.num_classes == 3


def test_data_that_do_not_say_what_builds_them_are_refused(config):
    config = config.copy()
    OmegaConf.set_struct(config, False)
    del config.data["_target_"]
    with pytest.raises(UsageError, match=r"_target_.*data_defaults"):
        build.datamodule(config, build.preprocessing(config, None))


def test_a_callback_whose_state_another_holds_is_refused_by_name(config):
    node = {"_target_": "fovea.callbacks.ema.EMA"}
    twice = changed(config, callbacks__mean=node, callbacks__x=node)
    with pytest.raises(
        UsageError, match=r"callbacks\.mean and callbacks\.x are both EMA.*leave callbacks\.x out"
    ):
        build.callbacks(twice, record=None, checkpointer=None)
