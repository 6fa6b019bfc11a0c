"""Show the principal component of a layer: Eigen-CAM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fovea.explain.core.method import explaining
from fovea.explain.core.targets import Target
from fovea.explain.methods.cam import ActivationMap


def eigen_cam(features: Tensor) -> Tensor:
    """Project features (B, D, h, w) on their first right singular vector: ReLU(A v_1) (B, h, w).

    Muhammad & Yeasin (2020), https://arxiv.org/abs/2008.00299, equation 3, of centred features. The sign of
    a singular vector is free: it is the one with which strong features are positive.
    """
    rows = features.flatten(2).transpose(1, 2)  # (B, h w, D)
    centred = rows - rows.mean(1, keepdim=True)
    _, _, right = torch.linalg.svd(centred, full_matrices=False)  # right (B, min(h w, D), D)
    along = (centred * right[:, :1]).sum(2)  # (B, h w)
    strength = rows.norm(dim=2)
    agrees = (along * (strength - strength.mean(1, keepdim=True))).sum(1, keepdim=True)
    along = torch.where(agrees < 0, -along, along)
    return along.unflatten(1, features.shape[2:]).relu()


class EigenCAM(ActivationMap):
    """Show where a layer's features vary most. No gradients; the target has no part in it."""

    targeted = False

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W)."""
        with explaining(net), torch.no_grad():
            _, features = self.run(net, image)
            return self.finish(eigen_cam(self.on_grid(net, features, image)), image)
