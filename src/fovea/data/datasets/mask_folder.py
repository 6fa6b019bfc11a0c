"""Load any folder of images with one mask for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.fetch.missing import not_found
from fovea.data.formats.listing import describe, list_images, split_named, visible_folders
from fovea.data.formats.masks import check_meaning_of_255, read_mask, with_255
from fovea.data.packed import Paths, Strings
from fovea.data.sources import FileImages, check_same_size, check_split
from fovea.page.formats import counted
from fovea.types import Sample

LISTED = 50  # names in a message
LAYOUT = """images/NAME.jpg with masks/NAME.png, of equal names without the ending; for splits of your own
train/{images,masks}/, val/{images,masks}/ and test/{images,masks}/"""


class MaskFolder(FileImages):
    """The images of `root/images` with the masks of equal names in `root/masks`, whatever their endings.

    Splits: `root/{train,val,test}/{images,masks}`, otherwise `all`. A mask holds the numbers of the classes
    as grey values or palette indices, or their colours: `colours[k]`, red, green and blue, stands for
    `classes[k]`. `mask_255` says what 255 means where there are two classes: object or ignore; else it is
    ignored. Counts, licence and citation are those of your images.
    """

    splits: ClassVar[tuple[str, ...]] = ("all", "train", "val", "test")
    targets: tuple[str, ...] = ("mask",)

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "all",
        classes: Sequence[str] = ("background", "object"),
        colours: Sequence[Sequence[int]] | None = None,
        mask_255: str | None = None,
        channels: int = 3,
    ) -> None:
        folders = _split_folders(Path(root))
        check_split(split, list(folders))
        self.classes, self.channels, self.labels = self.find_classes(classes=classes), channels, None
        self.mask_255 = check_meaning_of_255(mask_255, classes=self.classes)
        self.palette = self._colours = _checked_colours(colours, self.classes)
        images, masks = _pairs(folders[split])
        place = folders[split].relative_to(root)
        self.ids = Strings((place / "images" / name).as_posix() for name in images)
        self.paths, self.masks = (
            Paths(folders[split] / "images", images),
            Paths(folders[split] / "masks", masks),
        )

    @classmethod
    def find_splits(cls, *, root: str | Path, **options: object) -> tuple[str, ...]:
        """Return the splits that this folder has."""
        return tuple(_split_folders(Path(root)))

    @classmethod
    def find_classes(cls, *, classes: Sequence[str], **options: object) -> list[str]:
        """Return the class names as they were given."""
        names = [str(name) for name in classes]
        if len(names) < 2 or len(set(names)) != len(names):
            raise ValueError(f"data.dataset.classes={names} must be at least 2 distinct names")
        return names

    def files(self, index: int) -> dict[str, Path]:
        """Return the image and its mask."""
        return {"image": self.paths[index], "mask": self.masks[index]}

    def annotate(self, index: int, image: np.ndarray) -> Sample:
        """Return the mask (H, W)."""
        path = self.masks[index]
        mask = with_255(
            partial(read_mask, path, num_classes=len(self.classes), colours=self._colours),
            meaning=self.mask_255, classes=self.classes, path=path,
        )  # fmt: skip
        return {"mask": check_same_size(image, mask, path=path)}


def _split_folders(root: Path) -> dict[str, Path]:
    """Map split names to the folders that hold `images` and `masks`."""
    children = visible_folders(root) if root.is_dir() else {}
    splits = {split: path for name, path in children.items() if (split := split_named(name))}
    splits = {name: splits[name] for name in ("train", "val", "test") if name in splits}
    if "images" in children and "masks" in children:
        if splits:
            raise ValueError(
                f"{root} holds images and masks beside {', '.join(p.name for p in splits.values())}: keep "
                f"either, or name one of them by data.root={root / next(iter(splits.values())).name}"
            )
        return {"all": root}
    if "train" in splits and all({"images", "masks"} <= set(visible_folders(p)) for p in splits.values()):
        return splits
    reason = f"{root} holds {describe(root)}." if root.is_dir() else ""
    page = "put your images and masks there, or give data.root=DIR"
    raise not_found(
        name="images and masks", path=root / "images", page=page, layout=LAYOUT, reason=reason, download=False
    )


def _pairs(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the images and of their masks; ValueError names what has no partner."""
    found = [_by_stem(folder / name) for name in ("images", "masks")]
    images, masks = found
    alone = [
        f"{counted(len(lacking), name)} without {other} ({_shown(have[stem] for stem in sorted(lacking))})"
        for name, have, other, lacking in (
            ("image", images, "mask", images.keys() - masks.keys()),
            ("mask", masks, "image", masks.keys() - images.keys()),
        )
        if lacking
    ]
    if alone:
        raise ValueError(
            f"{folder} has {' and '.join(alone)}: names must be equal without their endings. Add what is "
            f"missing, or remove the other file"
        )
    if not images:
        raise ValueError(f"{folder} has no image: expected {LAYOUT}")
    stems = sorted(images)
    return [images[stem] for stem in stems], [masks[stem] for stem in stems]


def _shown(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:LISTED]) + (f", … {len(shown) - LISTED} more" if len(shown) > LISTED else "")


def _by_stem(folder: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for name in list_images(folder, root=folder)[0]:
        stem = name.rsplit(".", 1)[0]
        if stem in names:
            raise ValueError(f"{folder} has {names[stem]} and {name}, of one name: rename one")
        names[stem] = name
    return names


def _checked_colours(colours: Sequence[Sequence[int]] | None, classes: Sequence[str]) -> np.ndarray | None:
    if colours is None:
        return None
    table = np.asarray(colours)
    if (
        table.shape != (len(classes), 3)
        or table.dtype.kind not in "iu"
        or ((table < 0) | (table > 255)).any()
    ):
        raise ValueError(
            f"data.dataset.colours={list(map(list, colours))} must be one [red,green,blue] of 0 to 255 for "
            f"each of the {len(classes)} classes"
        )
    return table.astype(np.uint8)
