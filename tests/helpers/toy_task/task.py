"""Regression: one number per image."""

from torch.nn import functional as F

from fovea.tasks.base import Task
from fovea.types import Batch, Output


class Regression(Task):
    """Minimise the squared error between the net's output (B, 1) and the label."""

    def step(self, batch: Batch) -> Output:
        """Return the loss, the number and the label of each image."""
        preds, target = self(batch["image"]).squeeze(1), batch["label"].float()
        return {"loss": F.mse_loss(preds, target), "preds": preds.detach(), "target": target}
