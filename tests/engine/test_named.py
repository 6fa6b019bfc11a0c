"""Nets by name with weights of one's own: how many classes there are, and what they are called."""

import csv
import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fovea.errors import UsageError
from fovea.models.squeezenet import create as squeezenet

NAMES = ["ant", "bee", "cow", "dog", "emu", "fox", "gnu"]


@pytest.fixture
def own(tmp_path):
    """Write weights for seven classes and a photo; return the keys that open them."""
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=7)
    torch.nn.init.normal_(net.head.weight)
    torch.save(net.state_dict(), tmp_path / "own.pth")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(tmp_path / "x.png")
    return {
        "model": "timm", "model.name": "test_vit", "model.checkpoint": str(tmp_path / "own.pth"),
        "input": str(tmp_path / "x.png"), "output": str(tmp_path / "out"),
    }  # fmt: skip


def predicted(call, own, tmp_path, **keys):
    call("predict", **own, **keys)
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file))


def test_the_file_says_how_many_classes_and_the_user_what_they_are_called(call, own, tmp_path):
    numbered = predicted(call, own, tmp_path)
    named = predicted(call, own, tmp_path, **{"data.classes": NAMES})
    assert named["predicted"] == NAMES[int(numbered["predicted"])]
    assert named["probability"] == numbered["probability"]


def test_a_photo_is_seen_as_timm_shows_it_to_the_net(call, own, tmp_path):
    """A large photo, not square: resized, cropped and normalised as the weights want it."""
    from timm.data import create_transform, resolve_model_data_config

    noise = np.random.default_rng(1).integers(0, 256, (30, 47, 3), np.uint8)
    photo = Image.fromarray(noise).resize((1100, 700), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "x.png")
    net = timm.create_model("test_vit", num_classes=7, checkpoint_path=str(tmp_path / "own.pth")).eval()
    with torch.inference_mode():
        seen = create_transform(**resolve_model_data_config(net))(photo)[None]
        expected = net(seen).softmax(1).max()
    row = predicted(call, own, tmp_path)
    assert float(row["probability"]) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("command", ["predict", "explain"])
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"data.num_classes": 5}, r"own\.pth tells 7 classes apart, not 5.*data\.classes"),
        ({"data.classes": ["ant", "bee"]}, r"own\.pth tells 7 classes apart, not 2"),
        ({"data.classes": ["ant"] * 7}, "each class once"),
        ({"data.classes": NAMES, "data.num_classes": 6}, "num_classes=6.*7 names"),
        ({"model.checkpoint": "nowhere.pth"}, "nowhere.pth"),
    ],
)
def test_what_does_not_fit_is_refused(call, own, tmp_path, command, keys, message):
    with pytest.raises(UsageError, match=message):
        call(command, **own | keys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["predict", "explain"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><title>404</title></html>", "web page"),
        (b"", "is empty: get it again"),
    ],
    ids=["pointer", "page", "empty"],
)
def test_what_came_in_place_of_a_file_is_named(call, own, tmp_path, command, suffix, content, message):
    path = tmp_path / f"came.{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"came\.{suffix}.*{message}"):
        call(command, **own | {"model.checkpoint": str(path)})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_quantised_weights_are_refused(call, own, tmp_path, command):
    state = torch.load(tmp_path / "own.pth", weights_only=True)
    state["blocks.0.norm1.weight"] = state["blocks.0.norm1.weight"].to(torch.int8)
    torch.save(state, tmp_path / "own.pth")
    with pytest.raises(
        UsageError, match=r"own\.pth: blocks\.0\.norm1\.weight holds integers.*floating point"
    ):
        call(command, **own)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_a_head_for_other_classes_is_never_drawn_at_random(call, own, tmp_path, command):
    keys = own | {"model": "squeezenet", "data.num_classes": 5, "data.image_size": 64}
    del keys["model.name"]
    state = {f"model.{k}": v for k, v in squeezenet(num_classes=7).state_dict().items()}
    torch.save(state, tmp_path / "own.pth")
    with pytest.raises(UsageError, match=r"own\.pth tells 7 classes apart, not 5.*data\.classes"):
        call(command, **keys)
    call(command, **keys | {"data.num_classes": 7})


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_a_net_that_does_not_classify_is_refused(call, own, command):
    keys = {key: own[key] for key in ("input", "output")}
    with pytest.raises(UsageError, match=r"model\.name=unet_small .*run=DIR"):
        call(command, **keys, model="unet_small", **{"data.num_classes": 3, "data.image_size": 32})


def test_a_runs_checkpoint_is_opened_as_a_run(call, own, tmp_path):
    content = torch.load(tmp_path / "own.pth", weights_only=True)
    torch.save({"state_dict": content, "fovea": {"classes": NAMES}}, tmp_path / "own.pth")
    with pytest.raises(UsageError, match=r"own\.pth is of a run: .*run=.*own\.pth"):
        call("predict", **own)


def test_predict_wants_a_run_or_a_model(call, own):
    with pytest.raises(UsageError, match=r"run=DIR.*model=timm"):
        call("predict", input=own["input"])


def test_explain_names_the_classes(call, own, tmp_path):
    call("explain", **own, **{"data.classes": NAMES, "data.image_size": 64})
    table = (tmp_path / "out" / "explain.csv").read_text(encoding="utf-8")
    assert any(f",{name}," in table for name in NAMES)


@pytest.mark.parametrize("top", ["", "test/"])
def test_own_weights_are_measured_on_all_images_of_folders_named_like_the_classes(call, own, tmp_path, top):
    """What eval says of them is what predict says of each image, whatever the order of the names."""
    draw = np.random.default_rng(1)
    for name in NAMES[:3]:
        for part in {top, "train/" if top else ""}:
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for i in range(8):
                pixels = draw.integers(0, 256, (40, 60, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / name / f"{i}.png")
    keys = {key: value for key, value in own.items() if key not in ("input", "output")}
    keys |= {"data.classes": NAMES[::-1], "paths.logs": str(tmp_path / "logs")}
    call("eval", **keys, data_root=str(tmp_path / "photos"))
    (file,) = (tmp_path / "logs" / "eval").glob("*/eval_test.json")
    found = json.loads(file.read_text())
    predicted(
        call, {**own, "input": str(tmp_path / "photos" / top)}, tmp_path, **{"data.classes": NAMES[::-1]}
    )
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as table:
        right = [line["correct"] == "true" for line in csv.DictReader(table)]
    assert found["data"]["num_images"] == len(right) == 24
    assert found["metrics"]["test/acc"] == pytest.approx(np.mean(right), abs=1e-6)
    assert found["data"]["classes_lacking"] == NAMES[:2:-1]
    with pytest.raises(UsageError, match="give data_root=DIR"):
        call("eval", **keys)
