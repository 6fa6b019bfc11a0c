import pytest
import torch
from torch import nn

from fovea.models.cnn import CNN
from fovea.models.timm import create
from fovea.models.vit import ViT
from fovea.optim.finetune import Finetune, param_groups
from fovea.optim.finetune_parts import layer_ids

PLANS = {
    "none": None,
    "neutral": Finetune(),
    "small_backbone": Finetune(backbone_lr_scale=0.1),
    "layers": Finetune(layer_decay=0.5),
    "both": Finetune(layer_decay=0.5, backbone_lr_scale=0.1, unfreeze_epoch=None),
}
NETS = {
    "cnn": lambda: CNN(num_classes=3, widths=(4, 8)),
    "vit": lambda: ViT(num_classes=3, dim=8, heads=2, depth=2),
    "resnet": lambda: create(name="resnet10t", num_classes=3),
    "convnext": lambda: create(name="convnext_atto", num_classes=3),
    "plain": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3)),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
@pytest.mark.parametrize("make", NETS.values(), ids=list(NETS))
def test_groups_are_a_partition_in_a_fixed_order(make, plan):
    net = make()
    groups = param_groups(net, lr=0.1, weight_decay=0.2, plan=plan)
    listed = [id(p) for g in groups for p in g["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in net.parameters()}
    names = [g["name"] for g in groups]
    assert len(names) == len(set(names))
    order = {id(p): n for n, p in net.named_parameters()}
    net.requires_grad_(False)
    again = param_groups(net, lr=0.1, weight_decay=0.2, plan=plan)
    for old, new in zip(groups, again, strict=True):
        assert [order[id(p)] for p in old["params"]] == [order[id(p)] for p in new["params"]]


def test_vectors_and_exempt_names_are_not_decayed():
    net = ViT(num_classes=3, dim=8, heads=2, depth=1)
    groups = {g["name"]: g for g in param_groups(net, lr=0.1, weight_decay=0.2, plan=None)}
    assert {k: (g["lr"], g["weight_decay"]) for k, g in groups.items()} == {
        "decay": (0.1, 0.2),
        "no_decay": (0.1, 0),
    }
    free = {id(p) for p in groups["no_decay"]["params"]}
    for name, p in net.named_parameters():
        assert (id(p) in free) == (p.ndim <= 1 or name in {"pos_embed", "cls_token"}), name


def test_head_learns_faster_than_the_backbone():
    net = create(name="resnet10t", num_classes=3)
    groups = param_groups(net, lr=1.0, weight_decay=0.1, plan=Finetune(backbone_lr_scale=0.01))
    head = {id(p) for p in net.fc.parameters()}
    for g in groups:
        for p in g["params"]:
            assert g["lr"] == (1.0 if id(p) in head else 0.01)
    assert {g["name"] for g in groups} == {
        f"{a}/{b}" for a in ("head", "backbone") for b in ("decay", "no_decay")
    }


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "convnext_atto"])
def test_layer_decay_equals_timm(name):
    from timm.optim import param_groups_layer_decay

    net = create(name=name, num_classes=3)
    exempt = net.no_weight_decay() if hasattr(net, "no_weight_decay") else ()
    theirs = param_groups_layer_decay(net, weight_decay=0.1, no_weight_decay_list=exempt, layer_decay=0.7)
    expected = {id(p): (g["lr_scale"], g["weight_decay"]) for g in theirs for p in g["params"]}
    ours = param_groups(net, lr=1.0, weight_decay=0.1, plan=Finetune(layer_decay=0.7))
    assert {id(p): (g["lr"], g["weight_decay"]) for g in ours for p in g["params"]} == expected


def test_layers_without_a_matcher_are_the_children():
    net = NETS["plain"]()
    assert layer_ids(net, coarse=False) == {"0.weight": 0, "0.bias": 0, "1.weight": 1, "1.bias": 1} | {
        "3.weight": 2,
        "3.bias": 2,
    }
    groups = param_groups(net, lr=1.0, weight_decay=0.0, plan=Finetune(layer_decay=0.5))
    assert {g["name"]: g["lr"] for g in groups} == {
        "layer_00/decay": 0.25,
        "layer_00/no_decay": 0.25,
        "layer_01/no_decay": 0.5,
        "head/decay": 1.0,
        "head/no_decay": 1.0,
    }


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adam", "adamw", "muon"])
@pytest.mark.parametrize("net", ["cnn", "vit"])
def test_optimizers_of_the_config_train_and_decay_by_group(name, net):
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    torch.manual_seed(0)
    options = OmegaConf.load(f"conf/optimizer/{name}.yaml")
    assert {"lr", "weight_decay"} <= set(options)
    model = {"cnn": CNN, "vit": ViT}[net](num_classes=3, in_channels=1)
    plan = Finetune(unfreeze_epoch=None)
    optimizer = instantiate(options, _execution_whitelist_=["torch.*", "timm.*"])(
        param_groups(model, lr=options.lr, weight_decay=0.1, plan=plan)
    )
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.1, 0.0}
    x, y = torch.randn(12, 1, 28, 28), torch.arange(12) % 3
    losses = []
    for _ in range(15):
        losses.append(nn.functional.cross_entropy(model(x), y))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)


def test_frozen_parameters_neither_move_nor_gather_state():
    net = CNN(num_classes=3, widths=(4, 8))
    optimizer = torch.optim.AdamW(param_groups(net, lr=0.1, weight_decay=0.5, plan=None))
    net.stem.requires_grad_(False)
    before = {n: p.clone() for n, p in net.named_parameters()}
    net(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    for name, p in net.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith("stem"), name
        assert (p in optimizer.state) == (not name.startswith("stem"))
