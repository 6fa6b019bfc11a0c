"""Detectors on a net that is built for images of one size."""

import pytest
import torch

from fovea.models.detectors.yolo_v1 import YOLOv1
from fovea.models.strided_maps import StridedMaps

pytestmark = pytest.mark.slow

NAME = "swin_tiny_patch4_window7_224"


@pytest.mark.parametrize(
    ("size", "built"), [(96, (96, 96)), ([64, 96], (64, 96)), (90, (96, 96)), (None, (224, 224))]
)
def test_a_grid_is_laid_on_maps_of_whatever_size_the_net_is_built_for(size, built):
    maps = StridedMaps(name=NAME, image_size=size)
    net = YOLOv1(backbone=maps, num_classes=3, stride=16)
    raw = net.raw(torch.randn(1, 3, *built))
    assert raw.confidence.shape[2:] == (built[0] // 16, built[1] // 16)


def test_images_of_another_size_are_refused_with_the_remedy():
    maps = StridedMaps(name=NAME, image_size=90)
    with pytest.raises(ValueError, match=r"built for images of \[96, 96\].*got \[90, 90\].*data\.image_size"):
        maps(torch.randn(1, 3, 90, 90))
