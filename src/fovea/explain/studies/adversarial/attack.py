"""Say what an attack did: perturbations, their norms, and how often it succeeded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Hold pictures before and after an attack, and what the net said.

    Attributes:
        original, picture: (B, C, H, W) in 0…1.
        before, after: predicted classes (B,).
        label: the true classes (B,), or those aimed at where `targeted`.
        eps: the largest change allowed, where there was a bound.
    """

    name: str
    original: Tensor
    picture: Tensor
    before: Tensor
    after: Tensor
    label: Tensor
    targeted: bool = False
    eps: float | None = None

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
        """Say which images (B,) the net had right before, or, aimed, did not yet take for the target."""
        return (self.before == self.label) != self.targeted

    @property
    def success(self) -> Tensor:
        """Say for which attacked images (B,) the net is now wrong, or, aimed, names the target."""
        return self.attacked & ((self.after == self.label) == self.targeted)

    @property
    def rate(self) -> float:
        """Return the share of successes among the attacked; NaN where none was attacked."""
        return _mean(self.success[self.attacked])

    def magnified(self, factor: float | None = None) -> Tensor:
        """Show the perturbation about mid-grey (B, C, H, W) in 0…1; by default each fills the range."""
        change = self.change
        if factor is None:
            largest = self.linf.clamp(min=torch.finfo(change.dtype).tiny).view(-1, 1, 1, 1)
            return 0.5 + 0.5 * change / largest
        return (0.5 + factor * change).clamp(0, 1)

    def row(self) -> dict[str, str | int | float | None]:
        """Summarise in one row of a table; the norms are means over the attacked images."""
        return {
            "attack": f"{self.name}, targeted" if self.targeted else self.name,
            "eps": self.eps,
            "images": len(self.label),
            "attacked": int(self.attacked.sum()),
            "success": self.rate,
            "l2": _mean(self.l2[self.attacked]),
            "linf": _mean(self.linf[self.attacked]),
        }


def join(attacks: Sequence[Attack]) -> Attack:
    """Join the same attack on several batches."""
    kinds = {(a.name, a.targeted, a.eps) for a in attacks}
    if len(kinds) != 1:
        raise ValueError(f"only batches of one attack can be joined, got {sorted(map(str, kinds))}")
    names = ("original", "picture", "before", "after", "label")
    joined: dict[str, Any] = {name: torch.cat([getattr(a, name) for a in attacks]) for name in names}
    return replace(attacks[0], **joined)


def _mean(values: Tensor) -> float:
    return values.double().mean().item()
