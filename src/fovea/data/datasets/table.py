"""Load any images that a CSV table lists."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache, partial
from os.path import abspath
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fovea.data.fetch.missing import not_found
from fovea.data.formats.bad_boxes import find_bad, report_bad
from fovea.data.formats.masks import check_meaning_of_255, read_mask, with_255
from fovea.data.formats.named_files import find_twice
from fovea.data.formats.objects import Objects, check_policy, settle
from fovea.data.formats.table_images import Listed, collect, find_file, label_names
from fovea.data.formats.table_rows import Columns, MissingFiles, ParsedTable, WrongLines, read_table
from fovea.data.packed import Paths, Ragged, Strings
from fovea.data.sources import FileImages, check_same_size, check_split
from fovea.page.formats import counted
from fovea.types import Sample

LAYOUT = """a CSV file with a header, such as
path,label,split
photos/a.jpg,cat,train"""
SHOWN = 10  # lines that are left out, in a message
log = logging.getLogger(__name__)
BOX = ("x1", "y1", "x2", "y2")


class TableImages(FileImages):
    """The images of a CSV file: one line per image, or one per box or caption.

    `table` is the file, relative to `root` or to the working directory. Its paths are relative to its
    folder or to `root`, or absolute. Columns: `path`; where wanted `label`; `split` with train, val
    (valid, validation) or test; `x1`, `y1`, `x2`, `y2`, pixels with exclusive right and bottom edge;
    `mask`, a path; `caption`. Other names are set by `*_column` and `*_columns`, other columns are
    ignored. An image without objects has a line with empty label and box. Splits: those of the column
    `split`, else `all`. Classes: the sorted labels, or `classes` in your order, which masks need:
    `classes[k]` names the value k, and of two classes `mask_255` says what 255 means: object or ignore.
    Boxes that have no area or reach out of their image are dealt with as `bad_boxes` says (error, drop or
    clip). Beside boxes the label of an image is given where all boxes of each image have one class.
    Counts, licence and citation are those of your images.
    """

    splits: ClassVar[tuple[str, ...]] = ("all", "train", "val", "test")

    def __init__(
        self,
        *,
        root: str | Path,
        table: str | Path,
        split: str = "all",
        path_column: str = "path",
        label_column: str | None = "label",
        split_column: str | None = "split",
        box_columns: Sequence[str] | None = BOX,
        mask_column: str | None = "mask",
        caption_columns: Sequence[str] | None = ("caption",),
        classes: Sequence[str] | None = None,
        mask_255: str | None = None,
        bad_boxes: str = "error",
        channels: int = 3,
        on_error: str = "raise",
    ) -> None:
        boxes, captions = tuple(box_columns or ()), tuple(caption_columns or ())
        columns = Columns(path_column, label_column, split_column, boxes, mask_column, captions)
        rows, self.classes = _read(root, table, columns, classes, bad_boxes)
        check_split(split, _splits(rows))
        self.channels, self._file, self.bad_boxes = channels, rows.file, bad_boxes
        self.mask_255 = check_meaning_of_255(mask_255, classes=self.classes)
        listed, wrong = collect(rows, self.classes)
        self.left_out, self._skip = [*rows.wrong, *wrong], on_error == "skip"
        if self.left_out and not (self._skip and listed):
            raise WrongLines([*self.left_out, *_absent(listed, self._file, Path(root))])
        _say_left_out(self._file, tuple(self.left_out))
        self.targets = _targets(rows, listed)
        try:
            self._keep([image for image in listed if split in ("all", image.split)], Path(root))
        except MissingFiles as error:
            raise MissingFiles(_absent(listed, self._file, Path(root))) from error
        if self.targets == ("label",) and len(self.classes) < 2:
            raise ValueError(
                f"{rows.file} has the one label {self.classes[0]!r} in its column {label_column!r}: there is "
                f"nothing to tell apart. Add images of another label, or set data.dataset.label_column"
            )

    def _keep(self, images: list[Listed], root: Path) -> None:
        """Pack what the table says of the images of one split."""
        folders = [self._file.parent, root]
        images, names, masks = self._find(images, folders)
        self._check_once(images, [abspath(folders[0] / name) for name in names])
        self.ids, self.paths = Strings(image.path for image in images), Paths(folders[0], names)
        self.labels = np.array([image.labels[0] for image in images]) if "label" in self.targets else None
        self._lines = np.array([image.line for image in images], dtype=np.int64)
        self._boxes = Ragged([Objects.of(image.boxes, image.labels).boxes for image in images], shape=(4,))
        self._classes = Ragged([np.array(image.labels, dtype=np.int64) for image in images], dtype=np.int64)
        self._masks = Paths(folders[0], masks)
        self._captions = Strings(text for image in images for text in image.captions)
        self._start = np.concatenate(
            [[0], np.cumsum([len(image.captions) for image in images], dtype=np.int64)]
        )
        if not (self._skip and self.bad_boxes == "error"):  # then loading leaves out the image
            bad = [line for index, image in enumerate(images) for line in self._bad(index, image)]
            report_bad(bad, root=self._file, policy=self.bad_boxes)

    def _check_once(self, images: list[Listed], paths: list[str]) -> None:
        """Raise WrongLines where two spellings name one file, so that it would count twice."""
        wrong = [
            f"{self._file}, lines {images[first].line} and {images[again].line} name one image, as "
            f"{images[first].path} and {images[again].path}: write it in one way"
            for first, again in find_twice(paths)
        ]
        if wrong:
            raise WrongLines(wrong)

    def _bad(self, index: int, image: Listed) -> list[str]:
        """Say of each bad box of an image what is wrong."""
        found = find_bad(self._boxes[index], photo=self.paths[index], name=image.path)
        return [f"{self._file}, line {image.box_lines[row]}: {text}" for row, text in found]

    def _find(self, images: list[Listed], folders: list[Path]) -> tuple[list[Listed], list[str], list[str]]:
        """Return the images whose files are there, with their paths and those of their masks."""
        found, missing = [], []
        for image in images:
            try:
                found.append((image, *_find_pair(image, folders, self._file)))
            except FileNotFoundError as error:
                missing.append(str(error))
        if missing and not (self._skip and found):
            raise MissingFiles(missing)
        _say_left_out(self._file, tuple(missing))
        self.left_out += missing
        kept, names, masks = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [])
        return kept, names, masks

    @classmethod
    def find_splits(cls, *, root: str | Path, table: str | Path, **options: Any) -> tuple[str, ...]:
        """Return the splits that the table has; the options are those of the constructor."""
        return _splits(_asked(root, table, options)[0])

    @classmethod
    def find_classes(cls, *, root: str | Path, table: str | Path, **options: Any) -> list[str]:
        """List the class names, none for captions alone; the options are those of the constructor."""
        return _asked(root, table, options)[1]

    def raw_boxes(self, index: int) -> np.ndarray:
        """Return the boxes (N, 4) as the table says."""
        return self._boxes[index]

    def sentences(self, index: int) -> list[str]:
        """Return the captions of one image, without reading it."""
        return self._captions[slice(*self._start[index : index + 2].tolist())]

    def files(self, index: int) -> dict[str, Path]:
        """Return the image, and its mask where there is one."""
        files = {"image": self.paths[index]}
        return {**files, "mask": self._masks[index]} if "mask" in self.targets else files

    def annotate(self, index: int, image: np.ndarray) -> Sample:
        """Return what the table says of one image beside its label."""
        sample: Sample = {}
        if "boxes" in self.targets:
            height, width = image.shape[:2]
            found = settle(
                Objects.of(self._boxes[index], self._classes[index]), width=width, height=height,
                bad_boxes=self.bad_boxes, where=f"{self._file}, line {self._lines[index]}",
            )  # fmt: skip
            sample |= {"boxes": found.boxes, "labels": found.labels}
        if "mask" in self.targets:
            path = self._masks[index]
            mask = with_255(
                partial(read_mask, path, num_classes=len(self.classes)),
                meaning=self.mask_255,
                classes=self.classes,
                path=path,
            )
            sample["mask"] = check_same_size(image, mask, path=path)
        if "captions" in self.targets:
            sample["captions"] = self.sentences(index)
        return sample


def _find_pair(image: Listed, folders: list[Path], file: Path) -> list[str]:
    """Return the paths of an image and of its mask, '' where it has none."""
    return [
        find_file(name, folders=folders, file=file, line=image.line) if name else ""
        for name in (image.path, image.mask)
    ]


def _absent(images: Sequence[Listed], file: Path, root: Path) -> list[str]:
    """Say of each line, of whatever split, which file is not there."""
    absent = []
    for image in images:
        try:
            _find_pair(image, [file.parent, root], file)
        except FileNotFoundError as error:
            absent.append(str(error))
    return absent


@cache
def _say_left_out(file: Path, lines: tuple[str, ...]) -> None:
    """Name once the lines that are left out, if any."""
    if not lines:
        return
    shown = "\n".join(f"  {line}" for line in lines[:SHOWN])
    more = f"\n  … and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    log.warning("%s: %s left out (data.on_error=skip):\n%s%s", file, counted(len(lines), "line"), shown, more)


def _columns(
    *,
    path_column: str = "path",
    label_column: str | None = "label",
    split_column: str | None = "split",
    box_columns: Sequence[str] | None = BOX,
    mask_column: str | None = "mask",
    caption_columns: Sequence[str] | None = ("caption",),
    **others: Any,
) -> Columns:
    """Pick the names of the columns out of the options of the constructor."""
    boxes, captions = tuple(box_columns or ()), tuple(caption_columns or ())
    return Columns(path_column, label_column, split_column, boxes, mask_column, captions)


def _asked(root: str | Path, table: str | Path, options: dict[str, Any]) -> tuple[ParsedTable, list[str]]:
    """Read the table with the options of the constructor."""
    columns, bad_boxes = _columns(**options), options.get("bad_boxes", "error")
    return _read(root, table, columns, options.get("classes"), bad_boxes)


def _read(
    root: str | Path, table: str | Path, columns: Columns, classes: Sequence[str] | None, bad_boxes: str
) -> tuple[ParsedTable, list[str]]:
    """Return the lines of the table and the class names."""
    places = [Path(root) / table, Path(table)]
    file = next((path for path in places if path.is_file()), None)
    if file is None:
        page = "write the table, and name it by data.dataset.table=FILE"
        raise not_found(name="the table of images", path=places[0], page=page, layout=LAYOUT, download=False)
    rows = read_table(file, columns, flat=check_policy(bad_boxes) != "error")
    return rows, label_names(rows, classes)


def _splits(rows: ParsedTable) -> tuple[str, ...]:
    if rows.columns.split is None:
        return ("all",)
    found = {row.split for row in rows.rows}
    if "train" not in found and rows.wrong:
        raise WrongLines(rows.wrong)
    if "train" not in found:
        raise ValueError(
            f"{rows.file} has no image of the split train in its column {rows.columns.split!r}: add some, or "
            f"set data.dataset.split_column=null to have it split"
        )
    return tuple(name for name in ("train", "val", "test") if name in found)


def _targets(rows: ParsedTable, images: Sequence[Listed]) -> tuple[str, ...]:
    """Return what a sample has beside the image: `label` where each image has exactly one class."""
    one = rows.columns.label and all(len(set(image.labels)) == 1 for image in images)
    targets = (["label"] if one else []) + (["boxes", "labels"] if rows.columns.boxes else [])
    targets += (["mask"] if rows.columns.mask else []) + (["captions"] if rows.columns.captions else [])
    return tuple(targets)
