"""Read a video frame by frame, and write one."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fovea.errors import UsageError

log = logging.getLogger(__name__)
SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv")
FPS = 25.0  # where a file does not say how fast it plays
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong with a file is ours to say


def is_video(path: Path) -> bool:
    """Whether this is a file with a video's ending."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


class Video:
    """The frames of a video, every n-th of them, one after the other.

    Args:
        path: the file.
        every: 1 for all frames, 2 for every other, ….

    Raises:
        UsageError: there is no frame that can be read.
    """

    def __init__(self, path: Path, *, every: int = 1) -> None:
        import cv2

        self.path, self.every = path, every
        self._video: Any = cv2.VideoCapture(str(path))
        self._at = -1  # the frame at hand
        if not self._video.isOpened() or not self._video.grab():
            raise UsageError(
                f"{path} is no video that can be read: it is empty, cut off, or its format is unknown here. "
                "Convert it: ffmpeg -i FILE new.mp4"
            )
        fps = float(self._video.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps < 1000 else FPS
        self.says = max(0, int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)))  # not always true
        self._milliseconds = cv2.CAP_PROP_POS_MSEC

    def __len__(self) -> int:
        """About how many frames `numbers` gives."""
        return -(-self.says // self.every)

    def numbers(self) -> Iterator[int]:
        """Yield the number of each frame while it is at hand for `read`; once."""
        there = True
        while there:
            self._at += 1
            if self._at % self.every == 0:
                yield self._at
            there = self._video.grab()
        if self._at + 1 < self.says - 1:
            log.warning("%s ends after %d of the %d frames that it names", self.path, self._at + 1, self.says)

    def read(self, number: int) -> np.ndarray:
        """Return the frame at hand, uint8 (H, W, 3)."""
        import cv2

        if number != self._at:
            raise ValueError(f"frame {number} of {self.path} is not at hand, only {self._at}")
        good, frame = self._video.retrieve()
        if not good:
            raise ValueError(f"frame {number} of {self.path} is damaged")
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def seconds(self, number: int) -> float:
        """Return when a frame is shown: what the file says of the one at hand."""
        stamp = float(self._video.get(self._milliseconds)) / 1000 if number == self._at else 0.0
        return stamp if stamp > 0 else number / self.fps


class VideoFile:
    """Write frames of one size into an MP4 file, which has its name, and plays, once it is closed."""

    def __init__(self, path: Path, *, fps: float) -> None:
        self.path, self.fps = path, fps
        self._draft = path.with_name(f".{secrets.token_hex(8)}.mp4")
        self._file: Any = None
        self._size = (0, 0)

    def add(self, frame: np.ndarray) -> None:
        """Add a frame uint8 (H, W, 3); all have the size of the first."""
        import cv2

        if self._file is None:
            os.close(os.open(self._draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            self._size = (frame.shape[1], frame.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")  # MPEG-4: what OpenCV writes everywhere
            self._file = cv2.VideoWriter(str(self._draft), cv2.CAP_FFMPEG, code, self.fps, self._size)
            if not self._file.isOpened():
                self._draft.unlink(missing_ok=True)
                raise OSError(f"no video of {self._size[0]}×{self._size[1]} can be written here: {self.path}")
        self._file.write(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Complete the file."""
        if self._file is not None:
            self._file.release()
            self._file = None
            os.replace(self._draft, self.path)
