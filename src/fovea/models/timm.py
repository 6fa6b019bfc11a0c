"""Build any architecture of timm, with published weights, a checkpoint, or from scratch."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from fovea.models._checks import height_width
from fovea.models._hub import fetch, fetching
from fovea.models._input_size import check_size
from fovea.models._weights import adapt_first_conv, load_weights
from fovea.models.weights_file import State, read_state

# Weights that torchvision has and timm has not, by timm's name with the tag that it gives others of them.
TORCHVISION = {
    "mobilenetv2_100.tv_in1k": "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
}
FILES = tuple(url.rpartition("/")[2] for url in TORCHVISION.values())


def create(
    *,
    name: str,
    num_classes: int,
    in_channels: int = 3,
    pretrained: bool = False,
    checkpoint: str | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    image_size: int | Sequence[int] | None = None,
) -> nn.Module:
    """Build timm's net `name`; a `checkpoint` takes the place of published weights.

    The name may carry the tag of its weights: `resnet18`, `resnet18.a1_in1k`; `mobilenetv2_100.tv_in1k` are
    torchvision's. `image_size` is tried, and passed on where the architecture is built for one size.

    Raises:
        ValueError: an unknown name, no such weights, a checkpoint or an image size that does not fit.
        FileNotFoundError: weights that are neither cached nor within reach.
    """
    import timm

    published = pretrained and checkpoint is None
    config = _config(name, pretrained=published)
    base = name.partition(".")[0] if name in TORCHVISION else name
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_channels}
    options |= _sized(base, config, image_size, options)
    options |= {k: v for k, v in (("drop_rate", drop_rate), ("drop_path_rate", drop_path_rate)) if v}
    if published and name in TORCHVISION:
        checkpoint, published = str(fetch(name, TORCHVISION[name])), False
    try:
        with fetching(name, config) if published else nullcontext():
            net = timm.create_model(base, pretrained=published, **options)
    except TypeError as error:
        raise ValueError(f"{name} does not take one of {options} ({error}): leave that at 0") from error
    if checkpoint is not None:
        _load(net, checkpoint, base, in_channels=in_channels)
    elif published and num_classes and num_classes != config.num_classes:
        _calm_head(net)
    return net


def count_classes(name: str, checkpoint: str) -> int | None:
    """Return how many classes weights of timm's net `name` in a file are for; None where they don't say."""
    config = _config(name, pretrained=False)
    heads = config.classifier if config is not None else None
    head = heads if isinstance(heads, str) or heads is None else heads[0]
    end = f".{head}.weight"  # after whatever begins the names in the file
    found = {len(v) for k, v in read_state(checkpoint).items() if f".{k}".endswith(end) and v.ndim}
    return found.pop() if len(found) == 1 else None


def _sized(
    name: str, config: Any, image_size: int | Sequence[int] | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Return the option for the image size where there is one, once the net was seen to take the size."""
    if image_size is None:
        return {}
    size = height_width(image_size)
    found = {"img_size": size} if config.fixed_input_size else {}
    if size != tuple(config.input_size[1:]):  # what it was made for needs no trial
        check_size(name, size, options=options | found)
    return found


def _load(net: nn.Module, checkpoint: str, name: str, *, in_channels: int) -> None:
    head = net.pretrained_cfg.get("classifier") or ()  # type: ignore[union-attr, operator]
    heads: list[str] = [head] if isinstance(head, str) else list(head)

    def prepare(state: State) -> State:
        if checkpoint.endswith(FILES):
            state = _rename_in_order(state, name)
        if not net.num_classes:  # a net without a head takes what there is of a file with one
            state = {k: v for k, v in state.items() if not k.startswith(tuple(f"{h}." for h in heads))}
        return _adapt(net, state, in_channels=in_channels)

    if load_weights(net, checkpoint, head=heads, prepare=prepare):
        _calm_head(net)


def _calm_head(net: Any) -> None:
    """Start a new head on a trained backbone near zero: as timm draws it, the first losses can be near 9."""
    head = net.get_classifier()
    if isinstance(head, nn.Linear):
        nn.init.trunc_normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)


def _config(name: str, *, pretrained: bool) -> Any:
    """Return timm's description of the weights, or say which names are near."""
    import timm

    if name in TORCHVISION:
        return timm.get_pretrained_cfg(name.partition(".")[0])
    base, _, tag = name.partition(".")
    known = [*timm.list_models(pretrained=True), *TORCHVISION]
    tagged = [n for n in known if n.startswith(f"{base}.")]
    if not timm.is_model(base):
        names = known if tag else timm.list_models()
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.0)
        raise ValueError(f"model.name={name!r} is not in timm; near it are {', '.join(near)}")
    if tag and name not in tagged:
        raise ValueError(f"model.name={name!r}: weights of {base} are {', '.join(tagged) or 'none'}")
    config = timm.get_pretrained_cfg(name)
    if pretrained and not (config and config.has_weights):
        raise ValueError(
            f"timm has no weights for model.name={name}: set model.pretrained=false or model.checkpoint=PATH"
        )
    return config


def _adapt(net: nn.Module, state: State, *, in_channels: int) -> State:
    """Do to a file what timm does to published weights: rename, resize embeddings, adapt the first layer."""
    rename = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if rename is not None:
        # it may stumble over another architecture's file; the comparison of names that follows says so better
        with contextlib.suppress(KeyError, IndexError, AttributeError, RuntimeError):
            state = rename(dict(state), net)
    first = net.pretrained_cfg.get("first_conv") or ()  # type: ignore[union-attr, operator]
    for layer in [first] if isinstance(first, str) else first:
        state = adapt_first_conv(state, layer=layer, in_channels=in_channels)
    return state


def _rename_in_order(state: State, name: str) -> State:
    """Rename tensors to those of timm's net `name`, which lists the same layers in the same order.

    A state of another length is returned as it is: comparing its names then says what does not fit.
    """
    import timm

    with torch.device("meta"):
        names = timm.create_model(name).state_dict().keys()
    return dict(zip(names, state.values(), strict=True)) if len(names) == len(state) else state
