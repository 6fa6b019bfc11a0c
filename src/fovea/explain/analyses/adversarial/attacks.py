"""Attacks, small changes of pictures that make a net wrong about them: FGSM, PGD and targeted ascent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.explain.core.method import explaining, score_gradient, watch
from fovea.explain.core.pixels import Pixels


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Pictures before and after an attack, and what the net predicts of them.

    Attributes:
        original, picture: (B, C, H, W) in 0…1.
        before, after: predicted classes (B,).
        p_before, p_after: their probabilities (B,), before and after.
        label: the true classes (B,), or those aimed at where `targeted`.
    """

    name: str
    original: Tensor
    picture: Tensor
    before: Tensor
    after: Tensor
    p_before: Tensor
    p_after: Tensor
    label: Tensor
    targeted: bool = False

    @property
    def change(self) -> Tensor:
        """Return the perturbation (B, C, H, W) in pixels."""
        return self.picture - self.original

    @property
    def l2(self) -> Tensor:
        """Return the Euclidean norm of each perturbation (B,)."""
        return self.change.flatten(1).norm(dim=1)

    @property
    def linf(self) -> Tensor:
        """Return the largest change of any pixel (B,)."""
        return self.change.flatten(1).abs().amax(dim=1)

    @property
    def attacked(self) -> Tensor:
        """Mark the images (B,) predicted correctly before; of a targeted attack, not yet as the target."""
        return (self.before == self.label) != self.targeted

    @property
    def success(self) -> Tensor:
        """Mark the attacked images (B,) now predicted wrongly; of a targeted attack, as the target."""
        return self.attacked & ((self.after == self.label) == self.targeted)

    def magnified(self, factor: float | None = None) -> Tensor:
        """Show the perturbation about mid-grey (B, C, H, W) in 0…1; by default each fills the range."""
        change = self.change
        if factor is None:
            largest = self.linf.clamp(min=torch.finfo(change.dtype).tiny).view(-1, 1, 1, 1)
            return 0.5 + 0.5 * change / largest
        return (0.5 + factor * change).clamp(0, 1)


def fgsm(
    net: nn.Module, picture: Tensor, label: Tensor, *, pixels: Pixels, eps: float, targeted: bool = False
) -> Attack:
    """Move each pixel of (B, C, H, W) in 0…1 by eps along the sign of the gradient of the loss, then clip.

    Goodfellow et al. 2015, https://arxiv.org/abs/1412.6572, section 4; targeted, against the sign for the
    class aimed at (Kurakin et al. 2017, https://arxiv.org/abs/1611.01236, section 2).
    """
    _check(eps=eps)
    side = -1 if targeted else 1
    with explaining(net):
        picture, label = pixels.check(picture), label.to(picture.device, copy=True)
        gradient, _ = _gradient(net, pixels, picture, label, cross_entropy)
        moved = (picture + side * eps * gradient.sign()).clamp(0, 1)
        return _result(net, pixels, picture, moved, label, name="FGSM", targeted=targeted)


def pgd(
    net: nn.Module,
    picture: Tensor,
    label: Tensor,
    *,
    pixels: Pixels,
    eps: float,
    steps: int = 10,
    random_start: bool = True,
    targeted: bool = False,
    seed: int = 0,
) -> Attack:
    """Raise the loss within eps of each picture (B, C, H, W) in 0…1, projecting back after each step.

    Madry et al. 2018, https://arxiv.org/abs/1706.06083, section 2.1. Of the pictures on the way, the one with
    the largest margin in the attack's favour is returned, not the last.
    A step of 2.5 eps / steps reaches the far side of the ball.
    """
    _check(eps=eps, steps=steps)
    lr = 2.5 * eps / steps * (-1 if targeted else 1)
    with explaining(net):
        picture, label = pixels.check(picture), label.to(picture.device, copy=True)
        draws = torch.rand(picture.shape, generator=torch.Generator().manual_seed(seed))
        shift = (2 * draws - 1).to(picture) * (eps * random_start)
        best, most = picture, torch.full((len(picture),), -torch.inf).to(picture)
        for _ in range(steps + 1):
            # clipping moves each pixel towards the picture's own, so it never leaves the ball
            now = (picture + shift.clamp(-eps, eps)).clamp(0, 1)
            gradient, logits = _gradient(net, pixels, now, label, cross_entropy)
            gain = _margin(logits, label) * (1 if targeted else -1)
            best = torch.where((gain > most).view(-1, 1, 1, 1), now, best)
            most = torch.maximum(most, gain)
            shift = now - picture + gradient.sign() * lr
        return _result(net, pixels, picture, best, label, name="PGD Linf", targeted=targeted)


def targeted_ascent(
    net: nn.Module, picture: Tensor, target: Tensor, *, pixels: Pixels, steps: int = 100, lr: float = 0.1
) -> Attack:
    """Raise the logit of the target by steps of Euclidean length `lr` until the net predicts it.

    Gradient ascent on the image as in Simonyan et al. 2014, https://arxiv.org/abs/1312.6034, section 2, begun
    at a picture (B, C, H, W) in 0…1 and clipped to that range; each image stops on its own.
    """
    _check(lr=lr, steps=steps)
    with explaining(net):
        picture, target = pixels.check(picture), target.to(picture.device, copy=True)
        now = picture
        for _ in range(steps):
            gradient, logits = _gradient(net, pixels, now, target, _own)
            going = (logits.argmax(dim=1) != target).view(-1, 1, 1, 1)
            if not going.any():
                break
            now = torch.where(going, (now + lr * (gradient / _length(gradient))).clamp(0, 1), now)
        return _result(net, pixels, picture, now, target, name="ascent", targeted=True)


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the cross-entropy (B,) as softplus(log Σ_{j≠y} exp z_j - z_y).

    The same number as log-softmax gives; but its gradient does not vanish in float32 where p_y rounds to 1.
    """
    others = logits.scatter(1, label[:, None], -torch.inf)
    return F.softplus(others.logsumexp(dim=1) - _own(logits, label))


def _own(logits: Tensor, label: Tensor) -> Tensor:
    return logits.gather(1, label[:, None])[:, 0]


def _margin(logits: Tensor, label: Tensor) -> Tensor:
    """Return by how much the logit of the label is above all others (B,)."""
    return _own(logits, label) - logits.scatter(1, label[:, None], -torch.inf).amax(dim=1)


def _gradient(
    net: nn.Module,
    pixels: Pixels,
    picture: Tensor,
    label: Tensor,
    score: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Return the gradient of each image's score in its pixels (B, C, H, W), and the logits."""
    leaf = watch(picture)
    logits = net(pixels.encode(leaf))
    return score_gradient(score(logits, label), leaf), logits.detach()


def _result(
    net: nn.Module, pixels: Pixels, picture: Tensor, moved: Tensor, label: Tensor, **kind: Any
) -> Attack:
    with torch.no_grad():
        logits = [net(pixels.encode(p)) for p in (picture, moved)]
    before, after = (one.argmax(dim=1) for one in logits)
    p_before, p_after = (one.softmax(dim=1).amax(dim=1) for one in logits)
    return Attack(
        original=picture, picture=moved, before=before, after=after, p_before=p_before, p_after=p_after,
        label=label, **kind,
    )  # fmt: skip


def _length(change: Tensor) -> Tensor:
    """Return the Euclidean length of each image (B, 1, 1, 1), never 0."""
    tiny = torch.finfo(change.dtype).tiny
    return change.flatten(1).norm(dim=1).clamp(min=tiny).view(-1, 1, 1, 1)


def _check(**positive: float) -> None:
    wrong = {name: value for name, value in positive.items() if not value > 0}
    if wrong:
        raise ValueError(f"{wrong} must be above 0; lengths are those of pixels in 0…1, such as 8 / 255")
