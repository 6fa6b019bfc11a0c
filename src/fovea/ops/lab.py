"""Convert pictures between sRGB and CIE Lab, on whatever device they are.

sRGB is (B, 3, H, W) in 0…1, or (B, 1, H, W) where a picture is grey; Lab is (B, 3, H, W) with L in 0…100 and
a, b in about -110…110, for the white point D65 and the observer of 2°. Everything is computed in single
precision or better, also under autocast, and has finite gradients everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fovea.ops.precision import at_least_single

# rows: X, Y and Z of linear red, green and blue, divided by those of white
_TO_XYZ = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)
_TO_RGB = torch.linalg.inv(torch.tensor(_TO_XYZ, dtype=torch.float64)).tolist()
_EDGE, _SLOPE, _SHIFT = 0.008856, 7.787, 16 / 116  # of the linear part near black


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Return L, a and b of sRGB pictures."""
    if rgb.shape[1] == 1:
        light = lightness(rgb)
        return torch.cat([light, torch.zeros_like(light).expand(-1, 2, -1, -1)], dim=1)
    x, y, z = (_bend(channel) for channel in _mix(_linear(at_least_single(rgb)).unbind(1), _TO_XYZ))
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Return sRGB pictures (B, 3, H, W); a colour that no screen shows is cut off at 0 and 1."""
    light, a, b = at_least_single(lab).unbind(1)
    y = (light + 16) / 116
    xyz = [_unbend(y + a / 500), _unbend(y), _unbend((y - b / 200).clamp(min=0))]
    return _gamma(torch.stack(_mix(xyz, _TO_RGB), dim=1))


def lightness(rgb: Tensor) -> Tensor:
    """Return L (B, 1, H, W) of pictures (B, 1 or 3, H, W)."""
    linear = _linear(at_least_single(rgb))
    y = linear if rgb.shape[1] == 1 else _mix(linear.unbind(1), _TO_XYZ[1:2])[0][:, None]
    return 116 * _bend(y) - 16


def grey(light: Tensor) -> Tensor:
    """Return the grey value (B, 1, H, W) in 0…1 that has the lightness L."""
    return _gamma(_unbend((at_least_single(light) + 16) / 116))


def _mix(channels: list[Tensor] | tuple[Tensor, ...], matrix: tuple | list) -> list[Tensor]:
    """Multiply by a matrix; by hand, since autocast would do a product of matrices in half precision."""
    return [sum(w * c for w, c in zip(row, channels, strict=True)) for row in matrix]


def _linear(rgb: Tensor) -> Tensor:
    curved = ((rgb.clamp(min=0.04045) + 0.055) / 1.055).pow(2.4)
    return torch.where(rgb > 0.04045, curved, rgb / 12.92)


def _gamma(linear: Tensor) -> Tensor:
    curved = 1.055 * linear.clamp(min=0.0031308).pow(1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, 12.92 * linear).clamp(0, 1)


def _bend(t: Tensor) -> Tensor:
    # the clamps keep the root's gradient finite in the branch that is not taken
    return torch.where(t > _EDGE, t.clamp(min=_EDGE).pow(1 / 3), _SLOPE * t + _SHIFT)


def _unbend(f: Tensor) -> Tensor:
    return torch.where(f > _EDGE ** (1 / 3), f.pow(3), (f - _SHIFT) / _SLOPE)
