import csv

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from fovea.config.command_line import bracketed
from fovea.errors import UsageError
from fovea.explain import command

CNN = [
    "grad_cam", "grad_cam_plus_plus", "layer_cam", "eigen_cam", "saliency", "input_times_gradient",
    "integrated_gradients", "smooth_grad", "occlusion",
]  # fmt: skip
RELU = ["guided_backprop", "guided_grad_cam", "deconvnet"]
ATTENTION = ["class_attention", "rollout", "gradient_rollout", "relevance"]
QUICK = {
    "method.integrated_gradients.steps": 2, "method.smooth_grad.samples": 2,
    "method.occlusion.window": 16, "method.occlusion.stride": 16,
}  # fmt: skip
NETS = [
    ("resnet10t", 64, [*CNN, *RELU, "cam", "score_cam"]),
    ("mobilenetv2_035", 64, [*CNN, *RELU, "cam"]),
    ("vit_tiny_patch16_224", 64, [*CNN, *ATTENTION]),
    ("swin_tiny_patch4_window7_224", 64, ["grad_cam", "saliency", *ATTENTION]),
]


@pytest.fixture
def photos(tmp_path):
    """Write images of every mode and of odd sizes, one of them damaged."""
    folder = tmp_path / "photos"
    (folder / "cat").mkdir(parents=True)
    noise = np.random.default_rng(0)
    rgb = Image.fromarray(noise.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    rgb.save(folder / "cat" / "rgb.png")
    rgb.convert("P").save(folder / "palette.png")
    rgb.convert("RGBA").save(folder / "alpha.png")
    rgb.convert("L").save(folder / "grey.jpg")
    Image.fromarray(noise.integers(0, 2**16, (30, 20), dtype=np.uint16)).save(folder / "deep.png")
    Image.fromarray(noise.integers(0, 256, (1, 1, 3), dtype=np.uint8)).save(folder / "pixel.png")
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    return folder


def rows(folder):
    with (folder / "explain.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def explain(call, tmp_path):
    """Run the command with a group choice, and return the rows of its table."""

    def run(methods, **overrides):
        out = overrides.pop("output", tmp_path / "out")
        call("explain", method=methods, output=str(out), **overrides)
        return rows(out)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side", "methods"), NETS, ids=[n[0] for n in NETS])
def test_every_method_of_every_architecture(explain, photos, tmp_path, name, side, methods):
    keys = {k: v for k, v in QUICK.items() if k.split(".")[1] in methods}
    model = {"model": "timm", "model.name": name, "model.pretrained": False, "data.image_size": side}
    found = explain(methods, input=str(photos / "cat"), **{"data.num_classes": 7}, **model, **keys)
    assert {row["method"]: row["problem"] for row in found} == dict.fromkeys(methods, "")
    for row in found:
        one = np.load(tmp_path / "out" / row["map"])
        assert one.shape == (side, side) and one.dtype == np.float32 and np.isfinite(one).all()
        assert np.ptp(one) > 0 or row["method"].endswith(("cam", "plus"))  # ReLU of all may leave nothing


@pytest.mark.slow
def test_any_image_of_a_run(untrained_run, explain, photos, tmp_path, capsys):
    found = explain(["saliency"], run=str(untrained_run), input=str(photos))
    assert sorted(row["image"].rsplit("/", 1)[-1] for row in found) == [
        "alpha.png", "deep.png", "grey.jpg", "palette.png", "pixel.png", "rgb.png",
    ]  # fmt: skip
    assert {row["true"] for row in found if row["image"].endswith("rgb.png")} == {"cat"}
    assert "1 of 7" in capsys.readouterr().err
    assert (tmp_path / "out" / "explain.html").is_file()
    assert len(list((tmp_path / "out" / "figures").iterdir())) == 6


@pytest.mark.slow
def test_batches_change_nothing(untrained_run, explain, photos, tmp_path):
    for size in (1, 4):
        explain(
            ["saliency"],
            run=str(untrained_run),
            input=str(photos),
            batch_size=size,
            output=tmp_path / str(size),
        )
    for one in (tmp_path / "1" / "maps").rglob("*.npy"):
        other = tmp_path / "4" / one.relative_to(tmp_path / "1")
        np.testing.assert_allclose(np.load(one), np.load(other), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_split_of_a_run_with_its_true_classes(trained_run, explain):
    found = explain(["saliency"], run=str(trained_run), input="val", number=10, target="true")
    assert sorted(row["true"] for row in found) == [str(d) for d in range(10)]
    assert all(row["class"] == row["true"] for row in found)


@pytest.mark.slow
def test_a_model_that_refuses_stands_beside_one_that_does_not(explain, photos):
    names = ["resnet10t", "vit_tiny_patch16_224"]
    keys = {"model": "timm", "model.name": names, "model.pretrained": False, "data.image_size": 32}
    found = explain(["grad_cam", "rollout"], input=str(photos / "cat"), target="top-2", **keys)
    problems = {(r["model"], r["method"], r["class"]): r["problem"] for r in found}
    assert len(problems) == 6
    refused = [key for key, why in problems.items() if why]
    assert refused == [("resnet10t", "rollout", "")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "run=DIR"),
        ({"model": "resnet32"}, r"data\.num_classes= and data\.image_size="),
        ({"model": "timm", "model.name": "resnet81", "model.pretrained": False}, "near it are"),
        ({"run": "RUN", "input": "PHOTOS", "method": ["rollout"]}, "has no attention(.|\n)*gives .*saliency"),
        ({"run": "RUN", "input": "PHOTOS", "layer": "nothing"}, r"layer=nothing: .* near it are"),
        ({"run": "RUN", "input": "PHOTOS", "target": "wolf"}, "target=wolf"),
        ({"run": "RUN", "input": "PHOTOS/deep.png", "target": "true"}, "needs true classes"),
        ({"run": "RUN", "input": "nowhere"}, "matches no file"),
        ({"run": "RUN", "input": "PHOTOS", "number": 0}, "number is 0"),
        ({"run": "RUN", "input": "PHOTOS/broken.png"}, "no image"),
        (
            {"model": "timm", "input": "test", "model.name": "resnet10t", "model.pretrained": False},
            "input=test .* run=DIR",
        ),
    ],
)
def test_bad_input(untrained_run, explain, photos, keys, message):
    def filled(value):
        return value.replace("RUN", str(untrained_run)).replace("PHOTOS", str(photos))

    keys = {k: filled(v) if isinstance(v, str) else v for k, v in keys.items()}
    with pytest.raises(UsageError, match=message):
        explain(keys.pop("method", ["grad_cam"]), **keys)


def test_lists_without_brackets():
    keys = ("run", "method", "model.name", "layer")
    given = ["run=logs/a,logs/b=1", "method=cam", "model.name=[a,b]", "target=a,b", "layer='x,y'", "-m"]
    assert bracketed(given, keys) == ["run=[logs/a,'logs/b=1']", *given[1:]]
    assert bracketed(["method=cam, grad_cam,"], keys) == ["method=[cam,grad_cam]"]


def test_one_method_for_every_layer():
    node = {"_target_": "fovea.explain.methods.grad_cam.GradCAM", "layer": "${layer}"}
    config = OmegaConf.create({"layer": ["features.0", "nowhere"], "method": {"grad_cam": node}})
    methods, analyses = command.make(config)
    assert [(m.key, m.layer, m.path) for m in methods] == [
        ("grad_cam__features.0", "features.0", "features.0"),
        ("grad_cam__nowhere", "nowhere", "nowhere"),
    ]
    assert not analyses
    config.layer = None
    assert [(m.key, m.layer) for m in command.make(config)[0]] == [("grad_cam", None)]


def test_where_results_go(tmp_path):
    def at(**keys):
        base = {"run": None, "output": None, "paths": {"logs": "logs"}}
        return command.output(OmegaConf.create(base | keys))

    assert str(at(run="logs/a")) == "logs/a/explain" and str(at(output="x", run="a")) == "x"
    for several in (at(run=["a", "b"]), at(model={"name": "x"}), at(run="a", model={"name": "x"})):
        assert several.parts[:2] == ("logs", "explain")
