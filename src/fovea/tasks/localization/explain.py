"""Select the classes that are explained beside a box."""

from __future__ import annotations

from torch import Tensor

from fovea.explain.core.class_choice import LogitSelector


class BoxedSelector(LogitSelector):
    """Select among the classes of an output (B, K + 4), logits and box; the score is a logit."""

    def probabilities(self, output: Tensor) -> Tensor:
        """Return the probability (B, K) of each class, on the CPU."""
        return super().probabilities(output[:, :-4])
