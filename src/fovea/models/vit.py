"""Provide a vision transformer, Dosovitskiy et al. (2021), https://arxiv.org/abs/2010.11929."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.models._checks import height_width
from fovea.models._classifier import Classifier
from fovea.models.cnn import conv_block


class Attention(nn.Module):
    """Attend among tokens with several heads; softmax(q k^T / sqrt(d)) v."""

    def __init__(self, *, dim: int, heads: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.num_heads, self.head_dim = heads, dim // heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, dim) to (B, N, dim)."""
        b, n, d = x.shape
        qkv = self.qkv(x).view(b, n, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, head_dim)
        x = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj_drop(self.proj(x.transpose(1, 2).reshape(b, n, d)))


class MlpBlock(nn.Module):
    """Apply linear, GELU and linear to every token."""

    def __init__(self, *, dim: int, hidden: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.fc1, self.act, self.drop1 = nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(drop_rate)
        self.fc2, self.drop2 = nn.Linear(hidden, dim), nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, dim) to (B, N, dim)."""
        return self.drop2(self.fc2(self.drop1(self.act(self.fc1(x)))))


class EncoderBlock(nn.Module):
    """Add attention and MLP to the residual stream, each after its layer norm."""

    def __init__(self, *, dim: int, heads: int, mlp_ratio: float, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim=dim, heads=heads, drop_rate=drop_rate)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MlpBlock(dim=dim, hidden=int(dim * mlp_ratio), drop_rate=drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, dim) to (B, N, dim)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Cut the image into patches and project each to a token.

    With `conv_stem` four small convolutions, two of them strided, see the pixels first and give the same
    token grid: Xiao et al. (2021), https://arxiv.org/abs/2106.14881.
    """

    def __init__(self, *, in_channels: int, patch_size: int, dim: int, conv_stem: bool) -> None:
        super().__init__()
        self.patch_size = patch_size
        if conv_stem:
            small = max(s for s in range(1, isqrt(patch_size) + 1) if patch_size % s == 0)
            half = max(dim // 2, 1)
            self.stem: nn.Module = nn.Sequential(
                *conv_block(in_channels, half, stride=small),
                *conv_block(half, half),
                *conv_block(half, dim, stride=patch_size // small),
                *conv_block(dim, dim),
            )
            self.proj = nn.Conv2d(dim, dim, 1)
        else:
            self.stem = nn.Identity()
            self.proj = nn.Conv2d(in_channels, dim, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to tokens (B, H W / patch_size^2, dim)."""
        return self.proj(self.stem(x)).flatten(2).transpose(1, 2)


class ViT(Classifier):
    """Classify an image from attention among its patches.

    Names and layout are those of timm's VisionTransformer, so weights load either way.

    Args:
        image_size: one side of a square image, or [H, W]; each a multiple of `patch_size`.
        class_token: read the class from a learnt token; without it, from the mean of all tokens.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 28,
        patch_size: int = 4,
        dim: int = 64,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        drop_rate: float = 0.0,
        conv_stem: bool = True,
        class_token: bool = True,
    ) -> None:
        super().__init__()
        self.image_size = height_width(image_size)
        _check(image_size=self.image_size, patch_size=patch_size, dim=dim, heads=heads)
        self.num_classes, self.num_features = num_classes, dim
        self.num_prefix_tokens = int(class_token)
        self.grid_size = (self.image_size[0] // patch_size, self.image_size[1] // patch_size)
        tokens = self.grid_size[0] * self.grid_size[1] + self.num_prefix_tokens
        self.patch_embed = PatchEmbed(
            in_channels=in_channels, patch_size=patch_size, dim=dim, conv_stem=conv_stem
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if class_token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim))
        self.pos_drop = nn.Dropout(drop_rate)
        self.blocks = nn.Sequential(
            *(
                EncoderBlock(dim=dim, heads=heads, mlp_ratio=mlp_ratio, drop_rate=drop_rate)
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head_drop = nn.Dropout(drop_rate)
        self.head = nn.Linear(dim, num_classes)
        self._init()

    def _init(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)  # 0.02 is too small for narrow nets
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=1e-6)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that decay must not pull to zero."""
        return {"pos_embed", "cls_token"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Name the parameters of the stem and each block, as timm's nets do; the rest is the head."""
        return {
            "stem": r"^cls_token|pos_embed|patch_embed",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))],  # the norm joins the last block
        }

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to normalised tokens (B, N, dim), the class token first."""
        if tuple(x.shape[-2:]) != self.image_size:
            raise ValueError(
                f"this ViT takes images of {list(self.image_size)} pixels, got {list(x.shape[-2:])}: "
                "set data.image_size and model.net.image_size to the same value"
            )
        x = self.patch_embed(x)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + N, dim)
        return self.norm(self.blocks(self.pos_drop(x + self.pos_embed)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Read the class token or the mean, then give logits (B, num_classes) unless `pre_logits`."""
        x = x.mean(dim=1) if self.cls_token is None else x[:, 0]  # (B, dim)
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)


def _check(*, image_size: tuple[int, ...], patch_size: int, dim: int, heads: int) -> None:
    if any(side % patch_size for side in image_size):
        below = [max(side // patch_size, 1) * patch_size for side in image_size]
        above = [-(-side // patch_size) * patch_size for side in image_size]
        divisors = [p for p in range(2, min(image_size) + 1) if not any(side % p for side in image_size)]
        patches = f", or model.net.patch_size={' or '.join(map(str, divisors))}" if divisors else ""
        sizes = " or ".join(str(size).replace(" ", "") for size in (below, above))
        raise ValueError(
            f"image_size={list(image_size)} is not a multiple of patch_size={patch_size}: "
            f"use data.image_size={sizes}{patches}"
        )
    if dim % heads:
        raise ValueError(
            f"dim={dim} is not a multiple of heads={heads}: try dim={(dim // heads + 1) * heads}"
        )
