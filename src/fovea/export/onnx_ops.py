"""Write our own operators in ONNX: what torch.onnx asks for each in a graph."""

# onnxscript types the values of a graph by the union of all that a constant may be
# mypy: disable-error-code="arg-type,type-var"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import BOOL, FLOAT
from onnxscript import opset18 as op

from fovea.ops import box_suppress  # noqa: F401  # it registers the operators


def suppress(boxes: FLOAT, scores: FLOAT, iou: float) -> BOOL:
    """Have ONNX's NonMaxSuppression, which takes a batch, say which boxes (B, N, 4) stay (B, N)."""
    number = op.Shape(scores, start=1, end=2)
    found = op.NonMaxSuppression(  # (S, 3): image, class, box
        boxes,
        op.Unsqueeze(scores, op.Constant(value_ints=[1])),  # all are of one class
        number,
        op.Constant(value_floats=[iou]),
        op.Constant(value_floats=[0.0]),
    )
    places = op.Gather(found, op.Constant(value_ints=[0, 2]), axis=1)  # (S, 2): image, box
    none = op.Mul(scores, op.Constant(value_float=0.0))
    ones = op.Expand(op.Constant(value_float=1.0), op.Shape(places, start=0, end=1))
    return op.Greater(op.ScatterND(none, places, ones), op.Constant(value_float=0.0))


TABLE: dict[Any, Callable[..., Any]] = {torch.ops.fovea.suppress.default: suppress}
