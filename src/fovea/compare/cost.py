"""Count what a network costs without a clock: operations and bytes."""

from __future__ import annotations

from typing import Any


def flops(net: Any, x: Any) -> int:
    """Count the floating-point operations of one image, a multiply-add as two.

    Matrix products, convolutions and attention count; element-wise operations do not. Fused attention is
    taken apart for it, since the counter sees nothing of what runs inside a fused call.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            net(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops()) // len(x)


def size(net: Any) -> int:
    """Return the bytes of parameters and buffers, shared ones once."""
    tensors = {t.data_ptr(): t for t in [*net.parameters(), *net.buffers()] if t.numel()}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def cuda_memory(net: Any, x: Any) -> int:
    """Return the peak bytes of weights and activations at batch 32."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.inference_mode():
        net(x)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before + size(net)
