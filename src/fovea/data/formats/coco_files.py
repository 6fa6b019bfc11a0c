"""Locate and download the files of COCO 2017."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fovea.data.fetch.download import install
from fovea.data.fetch.missing import not_found
from fovea.data.formats.coco_json import PAGE

SERVER = "http://images.cocodataset.org"
ARCHIVES = {  # below the server, md5, what is inside
    "train2017": (f"{SERVER}/zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2"),
    "val2017": (f"{SERVER}/zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80"),
    "annotations": (
        f"{SERVER}/annotations/annotations_trainval2017.zip",
        "f4bbac642086de4f52a3fdda2de5fa2c",
    ),
}
FOLDERS = {
    "train": "train2017",
    "test": "val2017",
}  # the annotations of the official test images are not public
OFFICIAL = {"train": 118_287, "test": 5_000}
LAYOUT = """coco/train2017/000000000009.jpg …   (train2017.zip, 18 GB)
coco/val2017/000000000139.jpg …     (val2017.zip, 0.8 GB)
coco/annotations/{instances,captions}_{train,val}2017.json   (annotations_trainval2017.zip)"""


def prepare(root: str | Path, *, kind: str) -> None:
    """Download what lacks of the images (19 GB) and annotations (`kind`: instances or captions, 0.25 GB)."""
    folder = Path(root) / "coco"
    lists = [folder / "annotations" / f"{kind}_{name}.json" for name in FOLDERS.values()]
    have = {name: (folder / name).is_dir() for name in FOLDERS.values()}
    have["annotations"] = all(path.is_file() for path in lists)
    for name, (url, md5) in ARCHIVES.items():
        if have[name]:
            continue
        try:
            install(url, folder / url.rpartition("/")[2], expected=md5, folder=folder)
        except OSError as error:
            raise missing(folder / name, f"Download failed: {error}.") from error


def locate(root: str | Path, split: str, *, kind: str) -> tuple[Path, Path]:
    """Return the folder of the images of a split and its annotation file, which must be there."""
    folder = Path(root) / "coco"
    path = folder / "annotations" / f"{kind}_{FOLDERS[split]}.json"
    if not path.is_file():
        raise missing(path)
    return folder / FOLDERS[split], path


def missing(path: Path, reason: str = "") -> FileNotFoundError:
    """Build the error for files that are not there."""
    urls: Sequence[str] = [url for url, _ in ARCHIVES.values()]
    page = f"{PAGE} ({', '.join(urls)})"
    return not_found(name="COCO 2017", path=path, page=page, reason=reason, layout=LAYOUT)
