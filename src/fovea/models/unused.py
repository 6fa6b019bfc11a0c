"""Take out of a net what its output does not depend on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.func import functional_call


def drop_unused(net: nn.Module, *, size: tuple[int, int]) -> None:
    """Replace the modules whose parameters no output reaches by the identity, found without computing values.

    `net` maps images (1, 3, *size) to a tensor or a dict of tensors. It takes part in no batch statistics.
    """
    names = [n for n, _ in net.named_parameters()]
    meta = {n: v.detach().to("meta") for n, v in (*net.named_parameters(), *net.named_buffers())}
    for name in names:
        meta[name].requires_grad_()
    training = net.training
    found: Any = functional_call(net.eval(), meta, (torch.empty(1, 3, *size, device="meta"),))
    net.train(training)
    outputs = found.values() if isinstance(found, dict) else [found]
    total = torch.stack([output.sum() for output in outputs]).sum()
    grads = torch.autograd.grad(total, [meta[n] for n in names], allow_unused=True)
    used = {n for n, g in zip(names, grads, strict=True) if g is not None}
    unused = [
        n for n, m in net.named_modules()
        if n and any(True for _ in m.parameters()) and not any(u.startswith(f"{n}.") for u in used)
    ]  # fmt: skip
    for module in unused:
        if not any(module.startswith(f"{other}.") for other in unused):
            net.set_submodule(module, nn.Identity())
