"""Let a net that halves its input a few times take images of any size."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from fovea.ops.mirror import mirror


def on_multiples(run: Callable[[Tensor], Tensor], x: Tensor, *, multiple: int) -> Tensor:
    """Mirror (B, C, H, W) at its borders to sides that are multiples, run, and crop the output to (H, W)."""
    height, width = x.shape[2:]
    extra = -height % multiple, -width % multiple
    top, left = extra[0] // 2, extra[1] // 2  # around the image, so that its borders are treated alike
    out = run(mirror(x, top=top, bottom=extra[0] - top, left=left, right=extra[1] - left))
    return out[:, :, top : top + height, left : left + width]


class Padded(nn.Module):
    """Hand images to `model` at sides that are multiples of `multiple`, and crop back what it gives."""

    def __init__(self, model: nn.Module, *, multiple: int = 32) -> None:
        super().__init__()
        if multiple < 1:
            raise ValueError(f"multiple={multiple}: give at least 1, or 32 for five halvings")
        self.model, self.multiple = model, multiple

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to (B, K, H, W)."""
        return on_multiples(self.model, x, multiple=self.multiple)
