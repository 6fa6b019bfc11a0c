"""Fit a net to what it has noted of the training images, without gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fitted(nn.Module):
    """Note something of each training batch, and fit to the notes of an epoch.

    A subclass writes `note` and `fit`, and keeps what it is fitted to in buffers; the notes are in no
    checkpoint, which ends an epoch.
    """

    task = "localization"

    def __init__(self) -> None:
        super().__init__()
        self._notes: list[tuple[Tensor, ...]] = []
        self._new = False

    def note(self, x: Tensor, preds: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Return what to keep of images (B, C, H, W), each tensor with a first dimension of its own length.

        `preds` (B, K + 4) is what the net gives for them, `target` (B, 5) label and box: x1 y1 x2 y2 as
        shares of the sides, NaN without a box.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement note(x, preds, target)")

    def fit(self, *notes: Tensor) -> None:
        """Set the buffers from the notes of all batches, joined."""
        raise NotImplementedError(f"{type(self).__name__} must implement fit(*notes)")

    def forget(self) -> None:
        """Begin an epoch: drop the notes of the one before."""
        self._notes, self._new = [], False

    @torch.no_grad()
    def observe(self, x: Tensor, preds: Tensor, target: Tensor) -> None:
        """Look at a training batch."""
        self._notes.append(self.note(x, preds, target))
        self._new = True

    @torch.no_grad()
    def conclude(self) -> None:
        """Fit to all that was observed since the epoch began, unless that is done."""
        if self._new:
            self.fit(*(torch.cat(parts) for parts in zip(*self._notes, strict=True)))
            self._new = False
