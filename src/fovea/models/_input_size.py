"""Try which image sizes a net of timm takes, without computing anything."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

log = logging.getLogger(__name__)
STEP = 32  # most nets halve the side five times
SHOWN = 4
Size = tuple[int, int]


def check_size(name: str, size: Size, *, options: dict[str, Any]) -> None:
    """Raise ValueError where the net `name`, built with timm's `options`, does not take (H, W) images.

    The message lists sizes near it that were tried and work. A net that cannot be tried passes.
    """
    step, why = _refusal(name, size, options)
    if why is None:
        return
    working = [near for near in _near(name, size, step) if _refusal(name, near, options)[1] is None]
    if not working:  # it is not the size: this net cannot be built without values
        log.debug("%s: image sizes could not be tried (%s)", name, why)
        return
    listed = ", ".join(str(list(near)) for near in working[:SHOWN])
    raise ValueError(
        f"model.name={name} does not take images of {list(size)} pixels ({why}): "
        f"it takes {listed}; set data.image_size, or the size that model.net enlarges to"
    )


def _refusal(name: str, size: Size, options: dict[str, Any]) -> tuple[int, str | None]:
    """Return the side of a patch, and why the net does not take `size`; shapes are all that is computed."""
    import timm

    sized = {**options, "img_size": size} if "img_size" in options else options
    step = STEP
    try:
        with torch.device("meta"), torch.no_grad():
            net = timm.create_model(name, pretrained=False, **sized).eval()
            patch = _patch(net)
            step = max(patch)
            if any(side % p for side, p in zip(size, patch, strict=True)):
                return step, f"they are not a multiple of its patches of {list(patch)}"
            net(torch.empty(1, options["in_chans"], *size))
    except Exception as error:  # each architecture fails in its own way
        return step, str(error).strip().split("\n")[0] or type(error).__name__
    return step, None


def _patch(net: nn.Module) -> Size:
    """Return the patch that image sides must be a multiple of; what does not fill one would be cut off."""
    embed = getattr(net, "patch_embed", None)
    patch = getattr(embed, "patch_size", None)
    if patch is None or getattr(embed, "dynamic_img_pad", False):
        return 1, 1
    if any(getattr(getattr(embed, "proj", None), "padding", ())):  # patches overlap, to beyond the border
        return 1, 1
    return (patch, patch) if isinstance(patch, int) else (int(patch[0]), int(patch[1]))


def _near(name: str, size: Size, step: int) -> list[Size]:
    """List what to try: whole steps below and above, then the size that the net was made for."""
    import timm

    found: list[Size] = []
    for unit in sorted({step, 16, STEP} - {1}):
        down, up = (tuple(max(1, -(-side // unit) - less) * unit for side in size) for less in (1, 0))
        found += [(down[0], down[1]), (up[0], up[1])]
    made = timm.get_pretrained_cfg(name)
    found.append(tuple(made.input_size[1:]) if made else (224, 224))  # type: ignore[arg-type]
    return list(dict.fromkeys(near for near in found if near != size))
