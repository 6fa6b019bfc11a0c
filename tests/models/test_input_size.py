import pytest
import torch

from fovea.models.timm import create

RESNET = "resnet10t"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "good"),
    [
        ("vit_tiny_patch16_224", 28, "[16, 16], [32, 32], [224, 224]"),
        ("vit_tiny_patch16_224", 8, "[16, 16], [32, 32]"),
        ("vgg11", 28, "[32, 32]"),
        ("maxvit_tiny_tf_224", 30, "[32, 32], [224, 224]"),
        ("swin_tiny_patch4_window7_224", [30, 32], "[28, 28], [32, 32]"),
    ],
)
def test_a_size_that_the_net_cannot_take_is_refused_with_those_it_can(name, size, good):
    with pytest.raises(ValueError) as error:
        create(name=name, num_classes=2, image_size=size)
    text = str(error.value)
    shown = [size, size] if isinstance(size, int) else size
    assert f"model.name={name} does not take images of {shown} pixels" in text
    assert f"it takes {good}" in text and "data.image_size" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        (RESNET, 8),
        ("vgg11", 32),
        ("swin_tiny_patch4_window7_224", 64),
        ("convnext_atto", [32, 96]),
        ("pvt_v2_b0", 64),
        ("pvt_v2_b0", [100, 32]),
    ],
)
def test_sizes_other_than_the_usual_are_taken(name, size):
    net = create(name=name, num_classes=2, image_size=size).eval()
    height, width = [size, size] if isinstance(size, int) else size
    assert net(torch.randn(1, 3, height, width)).shape == (1, 2)


def test_trying_a_size_draws_no_random_numbers():
    torch.manual_seed(3)
    plain = create(name=RESNET, num_classes=2).state_dict()
    torch.manual_seed(3)
    tried = create(name=RESNET, num_classes=2, image_size=40).state_dict()
    assert all(torch.equal(v, tried[k]) for k, v in plain.items())
