"""Small transformers of every kind, with weights large enough for attention to differ between tokens."""

from functools import cache, partial

import timm
import torch
from torch import Tensor, nn

from fovea.explain.core.windows import Layout
from fovea.models.vit import ViT

SWIN = {"window_size": 4, "depths": (2, 2), "num_heads": (2, 4), "embed_dim": 16}
MADE = {
    "vit": ((16, 24), partial(ViT, image_size=[16, 24], depth=2)),
    "vit_mean": ((16, 24), partial(ViT, image_size=[16, 24], depth=2, class_token=False)),
    "timm_vit": ((32, 48), partial(timm.create_model, "vit_tiny_patch16_224", img_size=(32, 48), depth=2)),
    "timm_any_size": (
        (64, 32),
        partial(timm.create_model, "vit_tiny_patch16_224", img_size=48, depth=2, dynamic_img_size=True),
    ),
    "distilled": (
        (48, 48),
        partial(timm.create_model, "deit_tiny_distilled_patch16_224", img_size=48, depth=2),
    ),
    "registers": (
        (32, 48),
        partial(timm.create_model, "vit_little_patch16_reg4_gap_256", img_size=(32, 48), depth=2),
    ),
    "registers_token": (
        (28, 42),
        partial(
            timm.create_model, "vit_small_patch14_reg4_dinov2", img_size=(28, 42), depth=2, embed_dim=48
        ),
    ),
    "gap": (
        (32, 48),
        partial(timm.create_model, "vit_base_patch16_gap_224", img_size=(32, 48), depth=2, embed_dim=48),
    ),
    "eva": ((42, 56), partial(timm.create_model, "eva02_tiny_patch14_224", img_size=(42, 56), depth=2)),
    "beit": (
        (32, 48),
        partial(timm.create_model, "beit_base_patch16_224", img_size=(32, 48), depth=2, embed_dim=48),
    ),
    "swin": ((32, 64), partial(timm.create_model, "swin_tiny_patch4_window7_224", img_size=(32, 64), **SWIN)),
    "swin_padded": (
        (40, 56),
        partial(timm.create_model, "swin_tiny_patch4_window7_224", img_size=(40, 56), **SWIN),
    ),
    "swin_any_size": (
        (48, 40),
        partial(
            timm.create_model, "swin_tiny_patch4_window7_224", img_size=32, strict_img_size=False, **SWIN
        ),
    ),
    "swin_v2": ((32, 48), partial(timm.create_model, "swinv2_tiny_window8_256", img_size=(32, 48), **SWIN)),
    "maxvit": (
        (64, 64),
        partial(
            timm.create_model, "maxvit_pico_rw_256", img_size=64, depths=(1, 1), embed_dim=(32, 64),
            block_type=("M", "M"),
        ),
    ),
    "maxvit_bias": (
        (64, 64),
        partial(
            timm.create_model, "maxvit_tiny_tf_224", img_size=64, depths=(1, 1), embed_dim=(32, 64),
            block_type=("M", "M"),
        ),
    ),
}  # fmt: skip
GLOBAL = (
    "vit", "vit_mean", "timm_vit", "timm_any_size", "distilled", "registers", "registers_token", "gap",
    "eva", "beit",
)  # fmt: skip
KINDS = ("vit", "distilled", "registers", "timm_any_size", "swin_padded", "maxvit")  # one of each
WINDOWED = ("swin", "swin_padded", "swin_any_size", "swin_v2", "maxvit", "maxvit_bias")


def dense(weights: Tensor, layout: Layout) -> Tensor:
    """Put maps of windows on the whole grid: (B windows, heads, n, n) to (B, heads, h w, h w).

    Row i says where patch i looks, 0 outside its window; the share that goes to prefix tokens and padding
    is left out.
    """
    split = layout.split(weights).transpose(1, 2)  # (B, heads, windows, n, n)
    size = layout.tokens + 1
    out = split.new_zeros(*split.shape[:2], size, size)
    index = layout.index.to(weights.device)
    out[:, :, index[:, :, None], index[:, None, :]] = split
    return out[:, :, : layout.patches, : layout.patches]


@cache
def net_and_image(name: str) -> tuple[nn.Module, torch.Tensor]:
    size, make = MADE[name]
    torch.manual_seed(0)
    net = make(num_classes=5).eval()
    for path, parameter in net.named_parameters():
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.5 if parameter.ndim == 2 else 0.1, a=-1, b=1)
            parameter.data /= max(1.0, parameter[0].numel() ** 0.5 / 4) if parameter.ndim < 3 else 1.0
        elif "norm" not in path and "bn" not in path:
            nn.init.uniform_(parameter, 0.1, 0.5)  # layer scale starts at 1e-5
        elif path.endswith("weight"):
            nn.init.ones_(parameter)  # Swin V2 starts at 0
    return net, torch.randn(2, 3, *size)


def assert_untouched(net: nn.Module) -> None:
    for path, module in net.named_modules():
        assert "forward" not in module.__dict__, path
        assert not module._forward_pre_hooks and not module._forward_hooks, path
        assert not module.training, path
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
