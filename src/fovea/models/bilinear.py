"""Provide bilinear CNNs for fine-grained recognition, with the whole outer product or a sketch of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.models._classifier import Classifier
from fovea.models._inner_nets import Numbering, matcher
from fovea.models.adapt_input import AdaptInput, check_channels, normalisation
from fovea.ops.precision import at_least_single

TINY = 1e-10


class Bilinear(Classifier):
    """Classify by the products of the features of two nets at the same positions.

    Lin, RoyChowdhury & Maji (2015), https://arxiv.org/abs/1504.07889: x is the mean over positions of
    f_A f_B^T, then sign(x) sqrt|x|, then x / ||x||_2, then a linear layer. Maps of two sizes are averaged to
    the smaller.

    Args:
        first, second: build a `FeatureMap`, given `pretrained` and `checkpoint`; second=None is `first`
            itself, one net with shared weights.
        mean, std: what the data are normalised with; each net gets its own normalisation.
        image_size: the side of the images that the nets see; None leaves them as they come.
        compact_dim: sketch the product in so many dimensions (Gao et al. 2016), in place of all C_A C_B.
        pretrained, checkpoint: handed to the nets; a list of checkpoints has one per net.
    """

    def __init__(
        self,
        *,
        first: Callable[..., nn.Module],
        second: Callable[..., nn.Module] | None = None,
        num_classes: int,
        in_channels: int = 3,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int | Sequence[int] | None = None,
        compact_dim: int | None = None,
        dropout: float = 0.0,
        pretrained: bool = False,
        checkpoint: str | Sequence[str | None] | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, mean)
        builders = [first] if second is None else [first, second]
        files = _files(checkpoint, len(builders))
        self.nets = nn.ModuleList(
            build(pretrained=pretrained, checkpoint=file) for build, file in zip(builders, files, strict=True)
        )
        self.adapt = nn.ModuleList(
            AdaptInput(mean=mean, std=std, size=image_size, **normalisation(net)) for net in self.nets
        )
        widths = int(self.nets[0].num_features), int(self.nets[-1].num_features)  # type: ignore[arg-type]
        self.sketch = None if compact_dim is None else CompactBilinear(channels=widths, dim=compact_dim)
        self.num_classes = num_classes
        self.num_features = widths[0] * widths[1] if compact_dim is None else compact_dim
        self.head_drop = nn.Dropout(dropout)
        self.head = nn.Linear(self.num_features, num_classes)

    def group_matcher(self, coarse: bool = False) -> Numbering:
        """Number the layer of each parameter of the nets; the rest is the head."""
        return matcher({f"nets.{i}": net for i, net in enumerate(self.nets)}, coarse=coarse)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to normalised bilinear features (B, num_features)."""
        maps = [net(adapt(x)) for net, adapt in zip(self.nets, self.adapt, strict=True)]
        kind = maps[0].dtype
        with torch.autocast(x.device.type, enabled=False):  # the square root makes much of small errors
            a, b = match_size(at_least_single(maps[0]), at_least_single(maps[-1]))
            pooled = outer(a, b) if self.sketch is None else self.sketch(a, b)
            return F.normalize(signed_sqrt(pooled)).to(kind)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map features to logits (B, num_classes), or return what the last layer sees."""
        return x if pre_logits else self.head(self.head_drop(x))


class CompactBilinear(nn.Module):
    """Pool two maps (B, C1, h, w) and (B, C2, h, w) to (B, dim), whose inner products estimate the full ones.

    Gao, Beijbom, Zhang & Darrell (2016), https://arxiv.org/abs/1511.06062, algorithm 2 (Pham & Pagh 2013):
    each channel c of a map is added to position h(c) with sign s(c), both drawn once; the count sketch of the
    outer product is the circular convolution of the two, a product after a Fourier transform. The mean over
    positions is taken there, as the transform back is linear.
    """

    def __init__(self, *, channels: tuple[int, int], dim: int, seed: int = 0) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"compact_dim={dim} must be at least 1: the paper takes 8192")
        self.dim = dim
        draw = torch.Generator().manual_seed(seed)
        for i, count in enumerate(channels):
            place = torch.randint(dim, (count,), generator=draw)
            sign = torch.randint(2, (count,), generator=draw) * 2.0 - 1.0
            self.register_buffer(f"place_{i}", place)
            self.register_buffer(f"sign_{i}", sign)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the sketch of the mean outer product (B, dim)."""
        one, two = self._spectrum(a, 0), self._spectrum(b, 1)  # (B, h, w, dim // 2 + 1)
        return torch.fft.irfft((one * two).mean(dim=(1, 2)), n=self.dim)

    def _spectrum(self, x: Tensor, which: int) -> Tensor:
        place, sign = getattr(self, f"place_{which}"), getattr(self, f"sign_{which}")
        signed = x.movedim(1, -1) * sign.to(x.dtype)  # (B, h, w, C)
        sketch = signed.new_zeros(*signed.shape[:-1], self.dim).index_add(-1, place, signed)
        return torch.fft.rfft(sketch)


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Average the outer products over the positions of (B, C1, h, w) and (B, C2, h, w): (B, C1 C2)."""
    a, b = a.flatten(2), b.flatten(2)  # (B, C, h w)
    return torch.bmm(a, b.transpose(1, 2)).flatten(1) / a.shape[2]


def signed_sqrt(x: Tensor) -> Tensor:
    """Return sign(x) sqrt|x|, with gradient 0 within 1e-10 of 0, where the true one has no bound."""
    return x.sign() * x.abs().clamp(min=TINY).sqrt()


def match_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Average two maps (B, C, h, w) to the smaller height and the smaller width of the two."""
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    one, two = (x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size) for x in (a, b))
    return one, two


def _files(checkpoint: str | Sequence[str | None] | None, count: int) -> list[str | None]:
    files = [checkpoint] * count if checkpoint is None or isinstance(checkpoint, str) else list(checkpoint)
    if len(files) != count:
        raise ValueError(f"model.checkpoint={files} must be one file for each of the {count} nets, or null")
    return files
