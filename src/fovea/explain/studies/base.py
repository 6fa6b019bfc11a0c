"""Say what a study is: more about a model than one map per image, such as its filters or its attention."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from fovea.explain.core.model import Subject
from fovea.page.blocks import Block


class Study(ABC):
    """Look into one model, write what is found into a folder, and return it as blocks of a page."""

    title: str

    @abstractmethod
    def __call__(self, subject: Subject, folder: Path) -> Sequence[Block]:
        """Write figures, tables (CSV) and arrays into `folder`, which exists; return the blocks to show.

        Raises:
            ValueError: a model that this study cannot be made of, saying why and what can be used instead.
        """
