import pytest
import torch

from fovea.models.strided_maps import StridedMaps, fixed_size
from fovea.models.timm import create
from fovea.optim.finetune_parts import layer_ids

pytestmark = pytest.mark.slow

NETS = {"resnet10t": {}, "mobilenetv3_small_050": {}, "convnext_atto": {}, "pvt_v2_b0": {}, "densenet121": {},
        "swin_tiny_patch4_window7_224": {"image_size": 60}}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_maps_have_their_strides_and_the_values_of_a_file(name, tmp_path):
    size = {"image_size": fixed_size(name, 60)} if NETS[name] else {}
    saved = create(name=name, num_classes=5, **size)
    torch.save(saved.state_dict(), tmp_path / "x.pt")
    net = StridedMaps(name=name, checkpoint=str(tmp_path / "x.pt"), **NETS[name]).eval()
    found = net(torch.randn(1, 3, 64, 64))
    assert [tuple(m.shape) for m in found] == [(1, net.channels[s], 64 // s, 64 // s) for s in (8, 16, 32)]
    flat = {k.replace(".", "_"): v for k, v in saved.state_dict().items()}
    own = {k.removeprefix("net.").removeprefix("model.").replace(".", "_"): v
           for k, v in net.state_dict().items()}  # fmt: skip
    assert all(torch.equal(v, flat[k]) for k, v in own.items())
    ids, whole = layer_ids(net, coarse=False), layer_ids(saved, coarse=False)
    assert len(set(ids.values())) > 3 and len(set(ids.values())) <= len(set(whole.values()))


def test_nets_without_these_strides_are_refused():
    with pytest.raises(ValueError, match=r"vit_tiny.*strides \[16, 16, 16\], not at \[8, 16, 32\]"):
        StridedMaps(name="vit_tiny_patch16_224")


def test_only_nets_for_one_size_are_given_one():
    assert fixed_size("resnet18", 60) is None and fixed_size("swin_tiny_patch4_window7_224", None) is None
    assert fixed_size("swin_tiny_patch4_window7_224", [60, 64]) == (64, 64)
