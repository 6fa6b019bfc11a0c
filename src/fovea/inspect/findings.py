"""The findings about a data set: one per problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SEVERITIES = ("error", "warning", "note")

# kind: (severity, what it means and what to do)
KINDS: dict[str, tuple[str, str]] = {
    "cannot open": ("error", "A split could not be opened; what could be found of its files was checked."),
    "file count": ("error", "The split does not have the official number of images: files are missing."),
    "missing image": ("error", "The image is listed, but there is no such file."),
    "missing mask": ("error", "The image has no mask file."),
    "missing annotation": ("error", "The image has no annotation file."),
    "no permission": ("error", "The file may not be read: change its permissions (chmod u+r)."),
    "empty file": ("error", "The file has no content: download it again or remove it."),
    "truncated": ("error", "The file ends too early, as after a broken download: download it again."),
    "corrupt": ("error", "The file cannot be decoded: download it again or remove it."),
    "bad line": (
        "error",
        "The line of the table cannot be used: training stops, unless data.on_error=skip leaves it out.",
    ),
    "bad annotation": ("error", "The annotation cannot be used; the message says why."),
    "bad mask": (
        "error",
        "The mask cannot be used: values that are not classes, or another size than the image.",
    ),
    "bad label": ("error", "The label is not the number of a class."),
    "box without area": ("error", "A box has no area, or is not made of finite numbers."),
    "box outside": ("error", "A box lies entirely outside its image."),
    "leakage": ("error", "The same pixels are in two splits: test results are too optimistic."),
    "label conflict": ("error", "The same pixels carry different labels."),
    "class without images": ("error", "No image of this class is in the training split."),
    "wrong extension": ("warning", "The file is not in the format of its extension: rename it."),
    "16-bit or CMYK": ("warning", "16-bit and CMYK images are converted to 8-bit RGB on reading."),
    "transparent": ("warning", "The image has transparency, which is drawn on white."),
    "stated size": (
        "warning",
        "The annotation states another size than the file has: are its boxes of another version.",
    ),
    "box over edge": ("warning", "A box reaches beyond its image; it is cut to the image."),
    "turned by EXIF": (
        "warning",
        "Photos are turned upright on reading; a mask or box drawn on the stored pixels does not fit.",
    ),
    "extra file": ("warning", "The file belongs to no image, or to an image of no split."),
    "empty caption": ("warning", "The image has no caption, or an empty one."),
    "duplicate": ("warning", "The same pixels occur more than once in the split."),
    "near leakage": ("warning", "Two splits share an image that was encoded, scaled or lit differently."),
    "near duplicate": ("warning", "The split has the image again, encoded, scaled or lit differently."),
    "duplicate name": ("warning", "The split lists the same name more than once."),
    "class without pixels": (
        "warning",
        "No training mask holds this class, which cannot be learned: check the values of the masks (255 is "
        "ignored).",
    ),
    "rare class": ("warning", "The class has fewer than 10 training images."),
    "imbalance": ("warning", "The largest class has more than 10 times the training images of the smallest."),
    "ignored mask": ("warning", "Every pixel of the mask is 255, ignore."),
    "palette": ("note", "The image stores an index into a palette; it is converted on reading."),
    "grey": ("note", "The image is grey where colour is expected; its channels will be equal."),
    "colour": ("note", "The image is coloured where grey is expected; it is converted on reading."),
    "tiny box": ("note", "A box is less than 3 pixels wide or high."),
    "no object": ("note", "The image shows no object: it serves as a negative example."),
    "small images": ("note", "Images are smaller than data.image_size and get enlarged."),
    "long images": ("note", "Images are more than 4 times as long as wide: little of them survives a crop."),
    "similar images": (
        "note",
        "Near-duplicates were not searched for, or are too frequent to be meaningful.",
    ),
    "normalisation": ("note", "data.mean and data.std are not those of the training images."),
}


BY_MESSAGE = ("bad line", "cannot open")  # several of them concern one file


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem: `kind` is a key of KINDS, `file` the file or class, `index` its position in the split."""

    kind: str
    split: str
    file: str
    message: str
    index: int | None = None
    partner: tuple[str, int] | None = None  # (split, index) of the other image of a pair

    @property
    def severity(self) -> str:
        """How bad it is: error, warning or note."""
        return KINDS[self.kind][0]


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Sort by severity and kind, as KINDS lists them; the order within a kind stays."""
    rank = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), rank[finding.kind]))


def subjects(findings: Iterable[Finding]) -> list[Finding]:
    """Return the first finding of each kind about each image, class or file: what is counted."""
    found: dict[tuple[object, ...], Finding] = {}
    for f in findings:
        found.setdefault((f.kind, f.split, f.file, f.message if f.kind in BY_MESSAGE else None), f)
    return list(found.values())


def count(findings: Sequence[Finding]) -> dict[str, int]:
    """Count the images, classes and files with findings of each severity, once for each kind."""
    found = Counter(finding.severity for finding in subjects(findings))
    return {severity: found[severity] for severity in SEVERITIES}


def by_kind(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Group findings by kind, in the order of `ordered`."""
    groups: dict[str, list[Finding]] = {}
    for finding in ordered(findings):
        groups.setdefault(finding.kind, []).append(finding)
    return groups
