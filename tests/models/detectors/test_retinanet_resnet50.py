"""torchvision's RetinaNet with its own weights, for other classes."""

import pytest
import torch

from fovea.models.detectors.retinanet_resnet50 import RetinaNetResNet50


@pytest.mark.slow
def test_the_published_weights_load_all_but_the_last_layer_of_the_classes(tmp_path):
    from torchvision.models.detection import retinanet_resnet50_fpn_v2

    published = retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None).state_dict()
    torch.save(published, tmp_path / "coco.pth")
    net = RetinaNetResNet50(num_classes=3, checkpoint=str(tmp_path / "coco.pth")).eval()
    own = net.net.state_dict()
    new = {name.rpartition(".")[0] for name in own if not torch.equal(own[name], published[name])}
    assert new == {"head.classification_head.cls_logits"}
    assert own["head.classification_head.cls_logits.weight"].shape[0] == 9 * 3
    grey = RetinaNetResNet50(num_classes=3, in_channels=1, checkpoint=str(tmp_path / "coco.pth"))
    first = published["backbone.body.conv1.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(grey.net.backbone.body.conv1.weight, first)
    found = net(torch.randn(2, 3, 64, 96))
    assert found.shape == (2, 100, 6) and torch.isfinite(found).all()
    losses = net.train().losses(
        net.raw(torch.randn(1, 3, 64, 64)),
        [{"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([2])}],
    )
    assert all(torch.isfinite(value) for value in losses.values())
