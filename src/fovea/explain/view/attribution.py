"""Hold what maps say about one image, of every model and method, until it is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fovea.explain.core.class_choice import Asked


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Hold one map, or why there is none.

    Attributes:
        method: its name, such as `grad_cam`; with the layer where several are asked for: `layer`.
        asked: the class that the map speaks for; None of a method without target, such as rollout.
        map: (H, W) float32 over the model's view of the image; None where `problem` says why.
        signed: whether negative values mean the opposite of positive ones.
    """

    method: str
    layer: str | None = None
    asked: Asked | None = None
    map: np.ndarray | None = None
    signed: bool = False
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Hold what one model says about one image.

    Attributes:
        model: the subject's name.
        id: of the image.
        picture: the model's view of it, uint8 (H, W, 3).
        predicted: the class with the highest probability.
        truth: name of the true class, None where it is not known.
        correct: whether the prediction is right, None where the true class is not known.
        seen: the maps in the order of methods, layers and classes.
    """

    model: str
    id: str
    picture: np.ndarray
    predicted: Asked
    truth: str | None = None
    correct: bool | None = None
    seen: list[Seen] = field(default_factory=list)
