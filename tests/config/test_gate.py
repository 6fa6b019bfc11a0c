import pytest
from omegaconf import OmegaConf

from fovea.config import gate
from fovea.config.kinds import fits, options_of
from fovea.engine.resume import confirmed
from fovea.errors import UsageError
from helpers import runs

FOLDER = "fovea.metrics.colour_classifier.classifier_accuracy"


@pytest.fixture
def config():
    return OmegaConf.to_container(runs.compose(runs.QUICK))


def test_an_honest_config_passes(config):
    gate.check(config, source="RUN/config.yaml")


def test_any_net_of_ours_may_slide_over_images(config):
    net = {"_target_": "fovea.models.detectors.sliding_window.SlidingWindow", "num_classes": 8}
    given = {"_partial_": True, "widths": [4], "num_classes": 8}
    for target in ("fovea.models.vgg.VGG", "fovea.models.timm.create", "fovea.models.cnn.CNN"):
        config["model"]["net"] = net | {"classifier": {"_target_": target, **given}}
        gate.check(config, source="RUN/config.yaml")
    config["model"]["net"]["classifier"]["_target_"] = "fovea.files.write_text"
    with pytest.raises(UsageError, match=r"call .fovea\.files\.write_text. at model\.net\.classifier"):
        gate.check(config, source="RUN/config.yaml")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("metrics.values", {"a.b": {"_target_": FOLDER, "folder": "/elsewhere"}}),
        ("metrics.values", {"a[b]": {"_target_": FOLDER, "folder": "/elsewhere"}}),
        ("model.net", {"${a}": 1}),
        ("model.name", "???"),
        ("model.net.hidden", "64"),
        ("model.net.hidden", [1.5]),
        ("model.net.dropout", "a lot"),
        ("finetune.stage_epochs", "text"),
        ("finetune.stage_epochs", True),
        ("optimizer._partial_", "yes"),
        ("report.view", -1),
        ("task.tta", "flip"),
        ("data.split_seed", {"a": 1}),
        ("data.batch_size", 10**9),
        ("data.dataset.seed", 16**200),
        ("experiment", "x" * 5000),
        ("callbacks", None),
        ("trainer", {}),
        ("data.dataset", 3),
        ("model.net", ["fovea.models.mlp.MLP"]),
    ],
)
def test_what_no_run_writes_is_refused_by_place(config, place, value):
    *way, last = place.split(".")
    node = config
    for name in way:
        node = node[name]
    node[last] = value
    with pytest.raises(UsageError, match=r"^RUN/config\.yaml is refused: ") as error:
        gate.check(config, source="RUN/config.yaml")
    assert place in str(error.value) and len(str(error.value)) < 600


def test_values_fit_types():
    assert fits(3, float) and fits([1, 2], tuple[int, ...]) and fits(None, int | None) and fits(7, str)
    assert fits({"a": 1}, dict[str, int]) and fits("anything", object)
    assert not fits(True, int) and not fits("3", int) and not fits("ab", list[str]) and not fits(1, bool)
    assert set(options_of("fovea.models.mlp.MLP")) >= {"hidden", "dropout"}


def test_a_file_alone_opens_no_other_file_and_no_connection(config):
    def resumed(anew=False, given=(), **groups):
        saved = OmegaConf.create({**config, **groups})
        return confirmed(saved, OmegaConf.create(config), list(given), anew=anew)

    wandb = {"_target_": "fovea.callbacks.wandb.RunLogger", "run_dir": "r"}
    for node in (wandb, wandb | {"offline": None}, wandb | {"offline": False}):
        assert resumed(logger={"a": node}).logger.a.offline is True
    said = ["logger.a.offline=false"]
    assert resumed(logger={"a": wandb | {"offline": False}}, given=said).logger.a.offline is False
    assert resumed(data=config["data"] | {"download": True}).data.download is False
    model = config["model"] | {"net": {"_target_": "x", "backbone": {"pretrained": True}}}
    with pytest.raises(UsageError, match=r"model\.net\.backbone\.pretrained=True.*beside resume=true"):
        resumed(model=model, anew=True)
    assert resumed(model=model).model.net.backbone.pretrained  # built without weights: there is a checkpoint
    both = {"pretrained": True, "net": {"pretrained": True}}
    with pytest.raises(UsageError, match=r"model\.pretrained=True"):
        resumed(model=both, anew=True)
    assert resumed(model=both, anew=True, given=["model.pretrained=true"]).model.net.pretrained
    start = {"checkpoint": "/elsewhere/net.ckpt", "skip": []}
    with pytest.raises(UsageError, match=r"init\.checkpoint=/elsewhere.*beside resume=true"):
        resumed(init=start, anew=True)
    assert resumed(init=start).init == start  # not read: there is a checkpoint
    assert resumed(init=start, anew=True, given=["init.checkpoint=/elsewhere/net.ckpt"]).init == start
    with pytest.raises(UsageError, match=r"metrics\.values\.x\.folder=/elsewhere"):
        resumed(metrics={"values": {"x": {"_target_": FOLDER, "folder": "/elsewhere"}}})


def test_a_number_too_long_to_be_written_is_refused(config):
    with pytest.raises(UsageError, match=r"RUN is refused: .* at seed"):
        gate.check(config | {"seed": 16**5000}, source="RUN")
