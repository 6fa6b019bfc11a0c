"""Load CIFAR-10 from torchvision's folder layout, without running code that a pickle names."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fovea.data.download import extract, fetch, not_found
from fovea.data.sources import ArrayImages, check_labels, check_split

log = logging.getLogger(__name__)
PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
FOLDER = "cifar-10-batches-py"
FILES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
OFFICIAL = {"train": 50_000, "test": 10_000}
CLASSES = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"


class CIFAR10(ArrayImages):
    """Hold the 10-class subset of the 80 million tiny images.

    Splits: train 50,000 and test 10,000 colour images of 32×32, 10 balanced classes.
    Licence: none is stated; research use with citation. Files: `root/cifar-10-batches-py/data_batch_{1..5}`,
    `test_batch`. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, *, root: str | Path, split: str = "train", download: bool = False) -> None:
        self.split = check_split(split, self.splits)
        self.classes = CLASSES.split(",")
        if download:
            self.prepare(root=root)
        parts = [_read(Path(root) / FOLDER / name, classes=len(self.classes)) for name in FILES[split]]
        flat = np.concatenate([images for images, _ in parts])  # (N, 3072), planes of red, green and blue
        self.images = np.ascontiguousarray(flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        self.labels = np.concatenate([labels for _, labels in parts])
        if len(self.images) != OFFICIAL[split]:
            log.warning("CIFAR-10 %s: %d images, officially %d", split, len(self.images), OFFICIAL[split])

    @classmethod
    def prepare(cls, *, root: str | Path, download: bool = True) -> None:
        """Download and unpack the archive unless every batch file is there."""
        from torchvision.datasets import CIFAR10 as Official

        folder = Path(root) / FOLDER
        if all((folder / name).is_file() for names in FILES.values() for name in names):
            return
        archive = Path(root) / Official.filename
        try:
            if not archive.is_file():
                fetch([Official.url], archive, expected=Official.tgz_md5)
            extract(archive, Path(root))
        except OSError as error:
            raise not_found(
                name="CIFAR-10", path=folder, page=PAGE, reason=f"Download failed: {error}."
            ) from error


def _read(path: Path, *, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read one batch file: images (N, 3072) uint8 and labels (N,)."""
    if not path.is_file():
        raise not_found(name="CIFAR-10", path=path, page=PAGE)
    batch = read_pickle(path)
    try:
        images, labels = np.asarray(batch["data"]), np.asarray(batch["labels"])
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is no CIFAR-10 batch: it lacks `data` and `labels`") from error
    if images.dtype != np.uint8 or images.shape != (len(labels), 3072):
        raise ValueError(
            f"{path}: images {images.dtype} {images.shape}, expected uint8 ({len(labels)}, 3072)"
        )
    return images, check_labels(labels, classes=classes, path=path)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stand in for `_codecs.encode`, the way protocol 2 stores bytes; other codecs are refused."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"codec {encoding!r} is refused")
    return text.encode("latin1")


class _ArrayUnpickler(pickle.Unpickler):
    """Admit numpy arrays and plain containers; anything else in the file is refused unrun."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise pickle.UnpicklingError(f"{module}.{name} is refused")


def read_pickle(path: Path) -> Any:
    """Unpickle arrays and containers; ValueError names a file that is damaged or asks for anything else."""
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a hostile or damaged pickle can fail in any way
        raise ValueError(f"{path} is not a CIFAR-10 file: {error}") from error
