import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from fovea.models.cnn import CNN
from fovea.models.mlp import MLP
from fovea.models.timm import create
from fovea.models.vit import ViT
from fovea.optim.finetune import Finetune
from fovea.optim.finetune_parts import backbone_stages, frozen_modules, head_parameters


def plan(name, **knobs):
    base = OmegaConf.load("conf/finetune/none.yaml")
    choice = OmegaConf.load(f"conf/finetune/{name}.yaml")
    choice.pop("defaults", None)
    return instantiate(OmegaConf.merge(base, choice, knobs), _execution_whitelist_="fovea.*")


def names(net):
    return {n for n, _ in net.named_parameters()}


@pytest.fixture(scope="module")
def resnet():
    return create(name="resnet10t", num_classes=3)


HEAD = {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("name", ["none", "small_backbone_lr", "layer_decay"])
def test_plans_that_freeze_nothing(resnet, name):
    assert plan(name).trainable(resnet, 0) == names(resnet)
    assert plan(name).frozen_modules(resnet, 0) == []


def test_head_only_never_changes(resnet):
    assert all(plan("head_only").trainable(resnet, epoch) == HEAD for epoch in (0, 1, 1000))


def test_head_then_all(resnet):
    p = plan("head_then_all", unfreeze_epoch=4)
    assert [p.trainable(resnet, e) == HEAD for e in range(6)] == [True] * 4 + [False] * 2
    assert p.trainable(resnet, 4) == names(resnet)


def test_gradual_opens_one_stage_at_a_time_from_the_head_down(resnet):
    p = plan("gradual", unfreeze_epoch=2, stage_epochs=3)
    sets = [p.trainable(resnet, e) for e in range(2 + 3 * 5)]
    assert sets[0] == sets[1] == HEAD
    prefixes = [("layer4",), ("layer3",), ("layer2",), ("layer1",), ("conv1", "bn1")]
    for i, new in enumerate(prefixes):
        before, now = sets[2 + 3 * i - 1], sets[2 + 3 * i]
        assert now - before == {n for n in names(resnet) if n.startswith(new)}
        assert sets[2 + 3 * i : 5 + 3 * i] == [now] * 3
    assert sets[-1] == names(resnet) == p.trainable(resnet, 10**6)


def test_a_norm_beside_the_head_opens_with_the_last_stage():
    net = create(name="convnext_atto", num_classes=3)
    head = head_parameters(net)
    assert head == {"head.fc.weight", "head.fc.bias"}
    stages = backbone_stages(net, head)
    assert head.union(*stages) == names(net)
    assert "head.norm.weight" in stages[-1] and any(n.startswith("stages.3") for n in stages[-1])


@pytest.mark.parametrize(
    "net",
    [
        CNN(num_classes=3, widths=(4, 8, 8)),
        ViT(num_classes=3, dim=8, heads=2, depth=3),
        MLP(num_classes=3, image_size=4),
        nn.Sequential(
            nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 3), nn.Identity()
        ),
    ],
    ids=["cnn", "vit", "mlp", "plain"],
)
def test_stages_and_head_are_a_partition(net):
    head = head_parameters(net)
    stages = backbone_stages(net, head)
    listed = [n for part in (head, *stages) for n in part]
    assert len(listed) == len(set(listed)) and set(listed) == names(net)
    assert len(stages) >= 2
    assert len(head) == 2


def test_the_head_can_be_named(resnet):
    assert plan("head_only", head=["fc", "layer4"]).trainable(resnet, 0) == {
        n for n in names(resnet) if n.startswith(("fc", "layer4"))
    }
    with pytest.raises(ValueError, match=r"finetune.head=\['lay'\].*layer4.*fc"):
        plan("head_only", head=["fc", "lay"]).trainable(resnet, 0)


@pytest.mark.parametrize(
    ("knobs", "match"),
    [
        ({"unfreeze_epoch": -1}, "unfreeze_epoch=-1"),
        ({"layer_decay": 0.0}, "layer_decay=0.0"),
        ({"layer_decay": 1.5}, "layer_decay=1.5"),
        ({"backbone_lr_scale": 0.0}, "unfreeze_epoch=null"),
    ],
)
def test_senseless_knobs_are_refused(knobs, match):
    with pytest.raises(ValueError, match=match):
        Finetune(**knobs)


def still(net, trainable):
    found = {id(m) for m in frozen_modules(net, trainable)}
    return {n for n, m in net.named_modules() if id(m) in found}


def test_frozen_are_all_modules_whose_parameters_are(resnet):
    assert still(resnet, names(resnet)) == set()
    frozen = still(resnet, HEAD)
    for name, _module in resnet.named_modules():
        own = [n for n in names(resnet) if n == name or n.startswith(f"{name}.")]
        if name and own:
            assert (name in frozen) == (not any(n in HEAD for n in own)), name
    assert "" not in frozen


def test_modules_without_parameters_follow_their_place():
    net = ViT(num_classes=2, dim=8, heads=2, depth=2, drop_rate=0.5)
    frozen = still(net, {"head.weight", "head.bias"})
    assert {"pos_drop", "blocks.1.attn.proj_drop", "blocks.1.mlp.drop2"} <= frozen
    assert not {"head_drop", "head", ""} & frozen
    half = still(net, {n for n in names(net) if n.startswith(("blocks.1", "norm", "head"))})
    assert {"pos_drop", "blocks.0", "blocks.0.mlp.drop1"} <= half
    assert not any(n.startswith("blocks.1") for n in half)


def test_statistics_without_weights_belong_to_what_feeds_them():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, affine=False), nn.Dropout(), nn.Conv2d(2, 2, 1))
    assert still(net, {"3.weight", "3.bias"}) == {"0", "1"}
    assert still(net, {"0.weight", "0.bias"}) == {"2", "3"}


def test_a_wholly_frozen_net_stands_still(resnet):
    assert len(frozen_modules(resnet, set())) == len(list(resnet.modules()))


def test_plans_are_pure_functions_of_the_epoch(resnet):
    p = plan("gradual")
    forwards = [p.trainable(resnet, e) for e in range(8)]
    resnet.requires_grad_(False)
    assert [p.trainable(resnet, e) for e in reversed(range(8))] == forwards[::-1]


def test_names_choose_what_trains_whatever_the_epoch(resnet):
    p = plan("head_then_all", unfreeze_epoch=1, trainable_names=["fc.*", "layer4.*.conv1.weight"])
    assert p.trainable(resnet, 0) == HEAD
    chosen = p.trainable(resnet, 1)
    assert chosen > HEAD and {n.split(".")[0] for n in chosen} == {"fc", "layer4"}
    with pytest.raises(ValueError, match=r"trainable_names=no\.\*.*layer4"):
        plan("none", trainable_names=["no.*"]).trainable(resnet, 0)
