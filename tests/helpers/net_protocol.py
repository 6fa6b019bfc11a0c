"""What every network of models/ must do, whatever its architecture."""

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from timm.models import group_parameters

from fovea.config import build
from fovea.config.paths import CONF
from fovea.optim.finetune_parts import head_parameters

DIGITS = {"num_classes": 10, "channels": 1, "image_size": 28}


def size(module):
    return sum(p.numel() for p in module.parameters())


def from_config(name, *, data=None, **options):
    """Build conf/model/<name>.yaml for data like the digits."""
    model = OmegaConf.load(CONF / "model" / f"{name}.yaml")
    config = OmegaConf.create({"model": model, "data": data or DIGITS})
    assert config.model.name == name and config.model.pretrained is False
    OmegaConf.set_struct(config, True)
    config = OmegaConf.merge(config, {"model": {"net": options}})
    return build.make(config.model.net)


def assert_protocol(net, x):
    """Check that features and head make up the net, and that the classifier is its last layer."""
    with torch.no_grad():
        net.eval()
        features = net.forward_features(x)
        logits, pooled = net(x), net.forward_head(features, pre_logits=True)
        assert torch.equal(logits, net.forward_head(features))
        assert pooled.shape == (len(x), net.num_features)
        assert torch.equal(logits, net.get_classifier()(pooled))
        assert logits.shape == (len(x), net.num_classes)


def assert_groups(net, *, stages, layers):
    """Check that the head alone is unmatched and that layers follow the order of computation."""
    names = [n for n, _ in net.named_parameters()]
    head = head_parameters(net)
    assert head and len(head) < len(names)
    for coarse, count in ((True, stages), (False, layers)):
        ids = group_parameters(net, net.group_matcher(coarse=coarse), reverse=True)
        assert sorted(ids) == sorted(names)
        top = max(ids.values())
        assert {n for n in names if ids[n] == top} == head
        assert top == count  # 0 … count - 1 below the head
        assert [ids[n] for n in names] == sorted(ids.values())


def assert_learns(net, x, *, lr=0.02, steps=8):
    """Check that a few steps lower the loss on one batch, and that every parameter takes part."""
    torch.manual_seed(0)
    y = torch.arange(len(x)) % net.num_classes
    optimizer = torch.optim.SGD(net.train().parameters(), lr=lr, momentum=0.9)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses
