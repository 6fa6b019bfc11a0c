"""Load the content and the style picture of a style transfer."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.sources import check_split
from fovea.types import Sample

# by package and place in it; both packages are installed with the suite
EMBEDDED = {
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}


class ContentStyle:
    """The content and the style picture, of any mode and size, as two classes.

    Splits: train, which has `steps` entries, content and style in turn, so that a pass is so many steps of an
    optimiser; val and test have the two. `content` and `style` are paths, or names of embedded photographs:
    china (a temple, by Grace Marshall), flower (a dahlia, by dany13; both CC BY 2.0, with scikit-learn) and
    hopper (Grace Hopper, public domain, with Matplotlib).

    Raises:
        FileNotFoundError, ValueError: a file that is missing or no image, with its name.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    def __init__(
        self,
        *,
        content: str | Path,
        style: str | Path,
        split: str = "train",
        steps: int = 50,
        channels: int = 3,
    ) -> None:
        from fovea.data.images import read_image

        if steps < 2:
            raise ValueError(
                f"data.steps={steps} must be at least 2, the steps between two progress pictures"
            )
        self.split = check_split(split, self.splits)
        paths = [find_picture(content, key="content"), find_picture(style, key="style")]
        self.source = "embedded" if {str(content), str(style)} <= set(EMBEDDED) else "real"
        self.pictures = [read_image(path, channels=channels) for path in paths]  # (H, W, C) uint8
        self.classes = ["content", "style"]
        self.labels = np.arange(steps if split == "train" else 2) % 2
        self.ids: Sequence[str] = [str(paths[label]) for label in self.labels]

    @classmethod
    def find_size(
        cls, *, longest: int, content: str | Path, channels: int = 3, **options: object
    ) -> list[int]:
        """Return [height, width] with the aspect of the content and this longest side."""
        from fovea.data.images import read_image

        height, width = read_image(find_picture(content, key="content"), channels=channels).shape[:2]
        scale = longest / max(height, width)
        return [max(1, round(height * scale)), max(1, round(width * scale))]

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Sample:
        """Return the content for an even index, the style for an odd one."""
        label = int(self.labels[index])
        return {"image": self.pictures[label], "label": label}


def find_picture(given: str | Path, *, key: str) -> Path:
    """Return the path of a picture, given as one or by the name of an embedded one."""
    path = Path(given)
    if path.is_file():
        return path
    if str(given) in EMBEDDED:
        package, place = EMBEDDED[str(given)]
        spec = find_spec(package)  # reads no code
        folders = spec.submodule_search_locations if spec else None
        path = Path(folders[0], place) if folders else path
    if not path.is_file():
        names = ", ".join(EMBEDDED)
        raise FileNotFoundError(f"{key}={given}: there is no such picture; give a path, or one of {names}")
    return path
