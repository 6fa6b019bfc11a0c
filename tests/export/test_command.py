import dataclasses
import errno
import json
import math
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from fovea.config import build, cli
from fovea.data.preprocess import Preprocess
from fovea.engine.trained import open_run
from fovea.errors import UsageError
from fovea.export import formats as export_formats
from fovea.export import parity as export_parity
from fovea.export import predict_example as export_example
from fovea.export.formats import FORMATS, ExportError
from helpers import runs

ALL = list(FORMATS)
# torch.export takes seconds, and a fresh process with torch does too
EACH = [pytest.param(f, marks=[] if f == "torchscript" else pytest.mark.slow) for f in ALL]


@pytest.fixture
def images(tmp_path):
    """Write cats and dogs larger than the input, with different aspects."""
    noise = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for i in range(15):
            rgb = cv2.resize(noise.integers(0, 256, (5, 6, 3), dtype=np.uint8), (20 + i, 30))
            cv2.imwrite(str(folder / f"{i}.png"), rgb)
    return tmp_path / "images"


@pytest.fixture
def run(untrained_run, images):
    """Have the checkpoint say that its data was read from the folder."""
    path = untrained_run / "checkpoints" / "best.ckpt"
    saved = torch.load(path, weights_only=True)
    config = OmegaConf.create(saved["fovea"]["config"])
    for key in ("data.root", "data.dataset.root"):
        OmegaConf.update(config, key, str(images))
    config.data.batch_size, config.data.val_fraction, config.data.test_fraction = 4, 0.2, 0.3
    saved["fovea"]["config"] = OmegaConf.to_container(config)
    torch.save(saved, path)
    return untrained_run


def facts(folder):
    return json.loads((folder / "export.json").read_text())


def model_of(folder):
    return export_example.open_model(folder / facts(folder)["file"], facts(folder))


@pytest.mark.slow
@pytest.mark.parametrize("form", EACH)
def test_the_folder_alone_predicts_as_the_run_does(run, images, call, tmp_path, form):
    call("export", run=run, format=form, rounds=2)
    folder = tmp_path / "elsewhere"
    (run / "export" / form).rename(folder)
    beside = ["images.py", "placement.py", "predict_example.py", "reading.py"]
    files = {p.name for p in folder.iterdir()}
    assert files == {"README.md", "export.json", FORMATS[form].file, *beside}
    picture = images / "cat" / "3.png"
    call("predict", run=run, input=picture, annotate=False)
    row = (run / "predict" / "predictions.csv").read_text().splitlines()[1].split(",")
    for module in beside:
        assert "fovea" not in (folder / module).read_text()
    command = [sys.executable, "-E", "-s", "-W", "ignore", str(folder / "predict_example.py"), str(picture)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    likeliest, _ = lines = [line.split() for line in done.stdout.splitlines()]
    assert {name for _, name in lines} == {"cat", "dog"}
    assert likeliest[1] in row and any(
        math.isclose(float(likeliest[0]), float(cell), abs_tol=1e-4) for cell in row if _is_number(cell)
    )


def _is_number(text):
    return text.replace(".", "", 1).isdigit()


@pytest.mark.slow
@pytest.mark.parametrize("form", ALL)
def test_the_file_gives_the_outputs_of_the_network_for_any_batch(run, call, form):
    call("export", run=run, format=form, rounds=2)
    x = torch.randn(11, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        own = open_run(str(run), "best").net(x).numpy()
    (found,) = model_of(run / "export" / form)(x.numpy()).values()
    np.testing.assert_allclose(found, own, atol=1e-5)
    assert np.ptp(own) > 0.1  # there is something to confuse


@pytest.mark.slow
def test_what_export_json_says(run, call, images):
    call("export", run=run, format="onnx", rounds=3, opset=18)
    said = facts(run / "export" / "onnx")
    assert said["classes"] == ["cat", "dog"] and said["opset"] == 18
    assert said["preprocessing"] == open_run(str(run), "best").preprocessing
    assert said["inputs"] == [{"name": "image", "shape": ["batch", 3, 8, 8], "dtype": "float32"}]
    assert said["outputs"] == [{"name": "output", "shape": ["batch", 2], "dtype": "float32"}]
    assert set(said["versions"]) == {"python", "torch", "onnx", "onnxruntime", "onnxscript"}
    parity, cost = said["parity"], said["latency"]
    assert parity["source"] == "test images" and (parity["images"], parity["batches"]) == (32, [1, 7])
    assert 0 <= parity["max_abs_difference"] <= parity["tolerance"] == 1e-4 and parity["same_argmax"] == 1.0
    assert cost["torch_p50_ms"] > 0 and cost["exported_p50_ms"] > 0 and cost["rounds"] == 3
    import onnx

    shape = onnx.load(run / "export" / "onnx" / "model.onnx").graph.input[0].type.tensor_type.shape
    assert shape.dim[0].dim_param and [d.dim_value for d in shape.dim[1:]] == [3, 8, 8]


def test_the_images_compared_are_those_of_the_test_split(run):
    trained = open_run(str(run), "best")
    found, source = export_parity.images(trained, number=50, data_root=None)
    module = build.datamodule(trained.config, trained.preprocessing)
    module.setup("test")
    own = torch.cat([module.preprocess(module.test.load(i)["image"]) for i in range(len(module.test))])
    assert source == "test images" and found.shape == (50, 3, 8, 8) and 8 <= len(own) < 50
    assert torch.equal(found[: len(own)], own) and torch.equal(found[len(own)], own[0])


def test_without_the_data_noise_is_compared_and_said_so(untrained_run, call, capsys, tmp_path):
    call("export", run=untrained_run, format="torchscript", rounds=1, output=tmp_path / "out")
    assert facts(tmp_path / "out")["parity"]["source"] == "seeded noise"
    said = capsys.readouterr().err
    assert "noise is compared" in said and "32 seeded noise" in said and "/nowhere" in said
    with pytest.raises(FileNotFoundError):  # data that was asked for must be there
        call("export", run=untrained_run, format="torchscript", data_root=tmp_path / "missing")


@pytest.fixture
def broken(monkeypatch):
    """Have TorchScript files written with other weights than the network's."""

    def write(net, x, path, names, opset):
        with torch.no_grad():
            weight = next(net.parameters())
            weight += 0.01
            found = FORMATS["torch_script"].write(net, x, path, names, opset)
            weight -= 0.01
        return found

    monkeypatch.setitem(FORMATS, "torch_script", FORMATS["torchscript"])
    return lambda: monkeypatch.setitem(
        FORMATS, "torchscript", dataclasses.replace(FORMATS["torchscript"], write=write)
    )


def test_a_file_that_computes_something_else_is_refused(run, call, broken):
    broken()
    folder = run / "export" / "torchscript"
    with pytest.raises(ExportError, match=r"differs .*tolerance=0\.0001") as found:
        call("export", run=run, format="torchscript")
    assert [p.name for p in folder.iterdir()] == ["model.pt.failed"]
    assert "model.pt.failed" in str(found.value) and not isinstance(found.value, UsageError)
    call("export", run=run, format="torchscript", tolerance=10.0, rounds=1)
    assert facts(folder)["parity"]["max_abs_difference"] > 1e-4
    assert not (folder / "model.pt.failed").exists()


def test_a_refused_file_leaves_the_older_export(run, call, broken):
    call("export", run=run, format="torchscript", rounds=1)
    folder = run / "export" / "torchscript"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    broken()
    with pytest.raises(ExportError, match="older export"):
        call("export", run=run, format="torchscript")
    after = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert after.pop("model.pt.failed") != before["model.pt"] and after == before


def test_the_command_ends_with_1_when_it_refuses(run, broken, own_process, monkeypatch, capsys):
    broken()
    monkeypatch.setattr(sys, "argv", ["export.py", f"run={run}", "format=torchscript"])
    with pytest.raises(SystemExit) as stop:
        cli.command("export")
    said = capsys.readouterr().err
    assert stop.value.code == 1 and re.match("error: .*refused.* differs", said)
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("own", "other", "gap"),
    [
        ([1.0, -3.0], [1.5, -3.0], 0.5),
        ([1.0, -math.inf], [1.0, -math.inf], 0.0),
        ([1.0, -math.inf], [1.0, 0.0], None),
        ([1.0, math.inf], [1.0, -math.inf], None),
        ([1.0, math.nan], [1.0, math.nan], None),
        ([1.0, 2.0], [math.nan, 2.0], None),
    ],
)
def test_what_is_no_number_is_refused(own, other, gap):
    seen = export_parity.Agreement()
    seen.add(np.array([own], np.float32), np.array([other], np.float32))
    seen.add(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))  # a good batch hides nothing
    found = {"output": seen.facts()}
    if gap is None:
        with pytest.raises(ExportError, match=r"differs .* nan"):
            export_parity.gate(found, tolerance=1e9)
        return
    assert export_parity.gate(found, tolerance=gap)["max_abs_difference"] == gap
    with pytest.raises(ExportError) if gap else pytest.raises(AssertionError):
        export_parity.gate(found, tolerance=gap / 2)
        raise AssertionError


def test_the_worst_output_counts_and_argmax_is_over_classes():
    seen = {"a": export_parity.Agreement(), "b": export_parity.Agreement()}
    a = np.array([[1.0, 2.0], [4.0, 3.0]], np.float32)
    seen["a"].add(a, np.array([[2.0, 1.0], [4.0, 3.0]], np.float32))
    seen["b"].add(a, a)
    found = export_parity.gate({k: v.facts() for k, v in seen.items()}, tolerance=1.0)
    assert (found["max_abs_difference"], found["max_rel_difference"]) == (1.0, 0.25)
    assert found["same_argmax"] == 0.5 and found["outputs"]["b"]["same_argmax"] == 1.0


def test_rounding_of_large_values_is_refused_with_a_remedy():
    seen = export_parity.Agreement()
    seen.add(np.array([[9000.0, 1.0]], np.float32), np.array([[9000.001, 1.0]], np.float32))
    with pytest.raises(ExportError, match=r"float32 .*tolerance=0\.002"):
        export_parity.gate({"output": seen.facts()}, tolerance=1e-4)


class Several(nn.Module):
    """Give a mask per pixel, a class and where it is."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        mask = self.conv(x)
        return {"mask": mask, "more": (mask.mean((2, 3)), {"best": mask.flatten(2).argmax(2)})}


class Branching(nn.Module):
    """Decide by the values, which no graph without control flow can."""

    def forward(self, x):
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class Counting(nn.Module):
    """Take the number of images for a constant."""

    def forward(self, x):
        return x.flatten(1) * torch.ones(len(x), 1)


def exported(net, form, path, *, number=32):
    images = torch.randn(number, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    names = list(export_formats.leaves(net(images[:2])))
    export_formats.write(FORMATS[form], net, images[:2], path, opset=None)
    about = {"format": form, "outputs": [{"name": name} for name in names]}
    return export_parity.compare(net, export_example.open_model(path, about), images)


@pytest.mark.parametrize("form", ALL)
def test_several_outputs(tmp_path, form):
    found = exported(Several().eval(), form, tmp_path / FORMATS[form].file)
    assert list(found) == ["mask", "more_0", "more_1_best"]
    assert export_parity.gate(found, tolerance=1e-5)["same_argmax"] == 1.0


@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_a_network_that_the_format_cannot_hold(tmp_path, form, capfd):
    with pytest.raises(ExportError, match=rf" {form}: \w+: .*data-dependent") as found:
        exported(Branching(), form, tmp_path / FORMATS[form].file)
    assert "try format=" in str(found.value) and len(str(found.value).splitlines()) == 2
    said = capfd.readouterr()
    assert not said.out and not said.err


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_is_no_fault_of_the_network(tmp_path, form, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    monkeypatch.setattr("torch.onnx.export", full)
    net = nn.Linear(4, 3).eval()
    with pytest.raises(OSError) as error:
        export_formats.write(FORMATS[form], net, torch.zeros(2, 4), tmp_path / "model", opset=None)
    assert error.value.errno == errno.ENOSPC


def test_a_trace_that_took_one_branch_is_refused(tmp_path):
    found = exported(Branching(), "torchscript", tmp_path / "model.pt")
    with pytest.raises(ExportError, match="differs"):
        export_parity.gate(found, tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_a_graph_from_the_code_takes_any_batch_size(tmp_path, form):
    found = exported(Counting(), form, tmp_path / FORMATS[form].file)
    assert export_parity.gate(found, tolerance=0.0)["same_argmax"] == 1.0


def test_a_trace_for_one_batch_size_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"batch of 1 .*float32 \(2, 192\)"):
        exported(Counting(), "torchscript", tmp_path / "model.pt")


def test_other_outputs_than_tensors():
    assert list(export_formats.leaves([torch.ones(1), {"k": torch.ones(1)}])) == ["output_0", "output_1_k"]
    with pytest.raises(ExportError, match="str as kind_name"):
        export_formats.leaves({"kind": {"name": "cat"}})


@pytest.mark.slow
def test_an_opset_that_cannot_be_had(run, call):
    with pytest.raises(ExportError, match=r"opset=9.* opset=\d\d"):
        call("export", run=run, opset=9)
    assert not any((run / "export" / "onnx").iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "onxx"}, "format is 'onxx'; nearest: onnx;.* onnx, torchscript, torch_export"),
        ({"format": "torch-script"}, "nearest: torchscript"),
        ({"format": None}, "format is None"),
        ({"format": "torchscript", "opset": 18}, "opset= is for format=onnx"),
        ({"images": 7}, "images is 7; at least 8"),
        ({"rounds": 0}, "rounds is 0"),
        ({"tolerance": -1.0}, "tolerance is -1.0"),
        ({"tolerance": "small"}, "tolerance is 'small'"),
        ({"tolerance": True}, "tolerance is True"),
    ],
)
def test_what_cannot_be_asked_for(call, tmp_path, given, message):
    with pytest.raises(UsageError, match=message):
        call("export", run=tmp_path / "nowhere", **given)


def test_missing_packages_are_named(call, tmp_path, monkeypatch):
    find = export_formats.importlib.util.find_spec
    monkeypatch.setattr(
        export_formats.importlib.util,
        "find_spec",
        lambda name: None if name.startswith("onnxr") else find(name),
    )
    with pytest.raises(UsageError, match=r"format=onnx needs packages .*: pip install onnxruntime$"):
        call("export", run=tmp_path / "nowhere")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(40, 31), (9, 50), (16, 24), (5, 6)])
def test_the_example_preprocesses_as_training_does(channels, resize, shape):
    how = {
        "image_size": [16, 24], "channels": channels, "mean": [0.4] * channels, "std": [0.2] * channels,
        "interpolation": "bicubic", "crop_pct": 0.9, "resize": resize,
    }  # fmt: skip
    image = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]  # prediction turns photos grey first
    own = Preprocess(how)(image if channels == 3 else grey).numpy()
    np.testing.assert_allclose(export_example.preprocess(image, how), own, atol=1e-6)


def test_the_example_shows_shapes_where_there_are_no_class_scores():
    mask = {"mask": np.zeros((1, 4, 6, 6), np.float32)}
    assert export_example.describe(mask, ["a", "b"]) == ["mask  [1, 4, 6, 6]  float32"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ALL)
def test_a_trained_run(trained_run, call, tmp_path, form):
    call("export", run=trained_run, format=form, output=tmp_path / "out", rounds=3)
    said = facts(tmp_path / "out")
    assert said["parity"]["source"] == "test images" and len(said["classes"]) == 10
    call("export", run=trained_run / "checkpoints" / "last.ckpt", format=form, rounds=1)
    assert (trained_run / "checkpoints" / "export" / form / FORMATS[form].file).is_file()


@pytest.fixture
def run_of(tmp_path):
    """Write a run of any network with random weights, its statistics adapted to its inputs."""

    def write(*overrides):
        config = runs.compose([*runs.QUICK, *overrides])
        torch.manual_seed(0)
        net = build.network(config)
        how = build.preprocessing(config, net)
        for _ in range(30):  # else batch norm lets values grow to where float32 is coarse
            net.train()(torch.randn(16, how["channels"], *how["image_size"]))
        state = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
        about = {"version": 1, "config": OmegaConf.to_container(config), "preprocessing": how}
        folder = tmp_path / "any" / "checkpoints"
        folder.mkdir(parents=True)
        classes = [str(i) for i in range(config.data.num_classes)]
        torch.save({"state_dict": state, "fovea": about | {"classes": classes}}, folder / "best.ckpt")
        return folder.parent

    return write


TIMM = ("model=timm", "model.pretrained=false", "data.image_size=64")
NETS = [
    ("model=cnn",), ("model=vit",), (*TIMM, "model.name=resnet18"),
    (*TIMM, "model.name=mobilenetv2_100"), (*TIMM, "model.name=vit_tiny_patch16_224"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS, ids=lambda words: words[-1])
@pytest.mark.parametrize("form", ALL)
def test_networks(run_of, call, net, form):
    run = run_of(*net)
    call("export", run=run, format=form, rounds=1, images=16)
    parity = facts(run / "export" / form)["parity"]
    assert parity["max_abs_difference"] <= 1e-4 and parity["same_argmax"] == 1.0
    assert parity["source"] == "test images"
