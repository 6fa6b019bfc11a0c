"""Try a net at the sizes that an augmentation gives its batches, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fovea.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from fovea.data.module import DataModule


def check_sizes(net: nn.Module, data: DataModule) -> None:
    """Raise where the net takes images of the data's size only, and batches are to have others."""
    given, channels = tuple(data.preprocessing["image_size"]), int(data.preprocessing["channels"])
    others = [size for one in data.augment_batch for size in getattr(one, "extremes", lambda *_: [])(*given)]
    for size in dict.fromkeys(others):
        why = None if size == given else _failure(net, size, channels)
        if why is not None and _failure(net, given, channels) is None:
            raise UsageError(
                f"augment gives batches sizes such as {list(size)}, but this net takes {list(given)} "
                f"only ({why}): leave multi_scale out with ~augment.batch.multi_scale or augment=light, or "
                "choose a net for any size, such as model.name=resnet18"
            )


def _failure(net: nn.Module, size: tuple[int, ...], channels: int) -> str | None:
    """Return why the net does not take one image of this size; None where it does."""
    import torch

    training = net.training
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, channels, *size))
    except Exception as error:  # each architecture fails in its own way
        return str(error).strip().split("\n")[0] or type(error).__name__
    finally:
        net.train(training)
    return None
