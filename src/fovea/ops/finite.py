"""Find what is not a number among the tensors of a net."""

from __future__ import annotations

from torch import nn


def first_not_finite(net: nn.Module) -> str | None:
    """Name the first parameter with a NaN or an infinity, or buffer with a NaN; a buffer may mask by -inf."""
    for name, parameter in net.named_parameters():
        if not parameter.isfinite().all():
            return name
    return next((name for name, buffer in net.named_buffers() if buffer.isnan().any()), None)
