"""Write predictions of a video: files of answers with the frames' numbers, and the video with the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fovea.page.formats import counted
from fovea.page.label import SOFT, write
from fovea.predict.answer_files import About, AnswerFile, Named
from fovea.predict.results import Results
from fovea.predict.video import Video, VideoFile
from fovea.types import TaskView

NAME = "annotated.mp4"


class VideoWriter:
    """Take the outputs for frames one by one; what was written is whole, and plays, after `close`.

    Args:
        drawn: write the video with the answers.
    """

    def __init__(
        self,
        view: TaskView,
        *,
        out_dir: Path,
        video: Video,
        files: Sequence[Callable[[About], AnswerFile]],
        classes: tuple[Sequence[str], Sequence[int]],
        drawn: bool = True,
    ) -> None:
        self.view, self.video, self.seen = view, video, 0
        self.results = Results(out_dir, folders=["annotated", "labels"])
        about = About(self.results, view, ["frame", "seconds"], *classes)
        self._files = [make(about) for make in files]
        fps = video.fps / video.every
        self._video = VideoFile(self.results.own(NAME), fps=fps) if drawn else None
        self._size: tuple[int, int] | None = None

    def add(self, number: int, seconds: float, image: np.ndarray, output: np.ndarray) -> None:
        """Add one frame uint8 (H, W, 3) with its number, from 0, and its time."""
        answer = self.view.decode(output, image)
        place = f"{self.video.path.stem}_{number:06d}.jpg"
        size = (image.shape[1], image.shape[0])
        named = Named([str(number), f"{seconds:.3f}"], place, number + 1, size)
        for file in self._files:
            file.add(named, answer, None)
        if self._video is not None:
            self._video.add(self._drawn(image, answer))
        self.seen += 1

    def close(self) -> None:
        """Complete the video."""
        if self._video is not None:
            self._video.close()

    def finish(self) -> str:
        """Complete all files; return what to print."""
        self.close()
        paths = [file.finish() for file in self._files]
        video = [self.results.folder / NAME] if self._video is not None and self.seen else []
        return "\n".join([counted(self.seen, "frame"), *map(str, [*paths, *video])])

    def _drawn(self, image: np.ndarray, answer: np.ndarray) -> np.ndarray:
        """Return the picture of an answer: at the size of the frame, or of the first of the pictures."""
        drawn = self.view.draw(image, answer)
        if "correct" in self.view.columns:
            drawn = _captioned(drawn, self.view.lines(answer)[0])
        if self._size is None:
            self._size = image.shape[:2] if _scaled(drawn, image.shape[:2]) else drawn.shape[:2]
        return _fitted(drawn, self._size)


def _fitted(drawn: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a picture to height and width: resized where the aspect is the same, else cut or filled up."""
    from PIL import Image

    if drawn.shape[:2] == size:
        return drawn
    if _scaled(drawn, size):
        return np.asarray(Image.fromarray(drawn).resize(size[::-1], Image.Resampling.LANCZOS))
    out = np.full((*size, 3), 255, dtype=np.uint8)
    part = drawn[: size[0], : size[1]]
    out[: part.shape[0], : part.shape[1]] = part
    return out


def _scaled(drawn: np.ndarray, size: tuple[int, ...]) -> bool:
    """Whether a picture is one of this height and width, enlarged or shrunk as a whole."""
    y, x = drawn.shape[0] / size[0], drawn.shape[1] / size[1]
    return (y == 1) == (x == 1) and abs(y / x - 1) < 0.02


def _captioned(image: np.ndarray, line: str) -> np.ndarray:
    """Write a line on the lower edge of a picture."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    size = max(10, picture.width // 40)
    pen, top = ImageDraw.Draw(picture), picture.height - 2 * size
    pen.rectangle((0, top, picture.width, picture.height), fill=SOFT)
    at = (size / 2, top + size / 3)
    write(pen, at, line, size=size, ink=(255, 255, 255), width=picture.width - size)
    return np.asarray(picture)
