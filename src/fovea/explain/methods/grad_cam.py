"""Weigh the channels of a layer by gradients: Grad-CAM, Grad-CAM++ and Layer-CAM."""

from __future__ import annotations

from torch import Tensor, nn

from fovea.explain.core.method import explaining, score_gradient, watch
from fovea.explain.core.targets import ClassScore, Target
from fovea.explain.methods.cam import ActivationMap

EPSILON = 1e-6  # in the denominator of Grad-CAM++, as its users have it


def grad_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Map A and dS/dA, both (B, D, h, w), to ReLU(sum_k mean_ij(dS/dA_k) A_k) (B, h, w).

    Selvaraju et al. (2017), https://arxiv.org/abs/1610.02391, equations 1 and 2.
    """
    weights = gradient.mean((2, 3), keepdim=True)  # (B, D, 1, 1)
    return (weights * features).sum(1).relu()


def grad_cam_plus_plus(features: Tensor, gradient: Tensor) -> Tensor:
    """Map A and g = dS/dA to ReLU(sum_k w_k A_k), w_k = sum_ij a_ij ReLU(g_ij), a = g² / (2 g² + sum(A) g³).

    Chattopadhay et al. (2018), https://arxiv.org/abs/1710.11063, equations 5, 7 and 19.
    """
    square = gradient.square()
    total = features.sum((2, 3), keepdim=True)
    alpha = square / (2 * square + total * square * gradient + EPSILON)
    weights = (gradient.relu() * alpha).sum((2, 3), keepdim=True)  # (B, D, 1, 1)
    return (weights * features).sum(1).relu()


def layer_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Map A and dS/dA to ReLU(sum_k ReLU(dS/dA_k) A_k): weights for every position.

    Jiang et al. (2021), https://ieeexplore.ieee.org/document/9462463, equations 5 to 7.
    """
    return (gradient.relu() * features).sum(1).relu()


class GradCAM(ActivationMap):
    """Weigh each channel by its mean gradient; see `grad_cam`."""

    combine = staticmethod(grad_cam)

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W)."""
        with explaining(net):
            image = watch(image)  # so that a frozen net has a graph
            output, features = self.run(net, image, target)
            gradient = score_gradient((target or ClassScore())(output), features)
            grids = (self.on_grid(net, t.detach(), image) for t in (features, gradient))  # (B, D, h, w)
            return self.finish(self.combine(*grids), image)


class GradCAMPlusPlus(GradCAM):
    """Weigh each channel by its positive gradients, more where few positions carry the score."""

    combine = staticmethod(grad_cam_plus_plus)


class LayerCAM(GradCAM):
    """Weigh each position of each channel by its positive gradient, which suits lower layers too."""

    combine = staticmethod(layer_cam)
