"""Pack many small objects into few arrays.

Python lists of strings or arrays are copied page by page into every worker process, because reading an
element writes its reference count; one array is shared for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

Item = TypeVar("Item")


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))])


class _Packed(Sequence[Item]):
    """A sequence of what lies between one place `_at` and the next."""

    _at: np.ndarray

    def _between(self, start: int, stop: int) -> Item:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._at) - 1

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} items")
        return self._between(*self._at[index % len(self) :][:2])


class Strings(_Packed[str]):
    """A sequence of strings in one array of bytes; names that are not valid UTF-8 survive."""

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._at = _offsets([len(text) for text in encoded])

    def _between(self, start: int, stop: int) -> str:
        return self._bytes[start:stop].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))


class Paths(Sequence[Path]):
    """A sequence of paths: names below one folder, kept as Strings."""

    def __init__(self, folder: str | Path, names: Iterable[str]) -> None:
        self.folder, self.names = Path(folder), names if isinstance(names, Strings) else Strings(names)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        if isinstance(index, slice):
            return [self.folder / name for name in self.names[index]]
        return self.folder / self.names[index]


class Ragged(_Packed[np.ndarray]):
    """A sequence of arrays that differ in length only, in one array (sum of lengths, …)."""

    def __init__(
        self, arrays: Sequence[np.ndarray], *, shape: tuple[int, ...] = (), dtype: type = np.float32
    ):
        """Pack arrays (n_i, *shape); `shape` and `dtype` matter."""
        self._at = _offsets([len(array) for array in arrays])
        self.values: np.ndarray = np.zeros((int(self._at[-1]), *shape), dtype=dtype)
        for start, array in zip(self._at[:-1], arrays, strict=True):
            self.values[start : start + len(array)] = np.asarray(array, dtype=dtype).reshape(-1, *shape)

    @property
    def lengths(self) -> np.ndarray:
        """The length of each array (N,)."""
        return np.diff(self._at)

    def _between(self, start: int, stop: int) -> np.ndarray:
        return self.values[start:stop]

    def take(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the arrays `index` (B,) flattened, and which of them each row belongs to, 0…B-1."""
        lengths = self.lengths[index]
        batch_index = np.repeat(np.arange(len(index)), lengths)
        within = np.arange(len(batch_index)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self.values[np.repeat(self._at[:-1][index], lengths) + within], batch_index


class Rasters(Sequence[np.ndarray]):
    """A sequence of pixel arrays of any sizes, flattened in blocks."""

    BLOCK = 256

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._at: list[np.ndarray] = []
        self._shapes: list[np.ndarray] = []

    def extend(self, arrays: Sequence[np.ndarray]) -> None:
        """Append BLOCK arrays; the last time they may be fewer."""
        self._blocks.append(np.concatenate([array.reshape(-1) for array in arrays]))
        self._at.append(_offsets([array.size for array in arrays]))
        self._shapes.append(np.array([array.shape for array in arrays]))

    def __len__(self) -> int:
        return sum(len(shapes) for shapes in self._shapes)

    def __getitem__(self, index: Any) -> Any:
        block, row = divmod(int(index), self.BLOCK)
        start, stop = self._at[block][row : row + 2]
        return self._blocks[block][start:stop].reshape(self._shapes[block][row])


class Dense(Sequence[np.ndarray]):
    """A sequence of pixel arrays of one shape, in one array; empty ones stay zero."""

    def __init__(self, count: int, like: np.ndarray) -> None:
        self.array = np.zeros((count, *like.shape), dtype=like.dtype)
        self._filled = 0

    def extend(self, arrays: Sequence[np.ndarray]) -> None:
        """Append arrays."""
        for row, pixels in enumerate(arrays, start=self._filled):
            if pixels.size:
                self.array[row] = pixels
        self._filled += len(arrays)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any) -> Any:
        return self.array[index]
