import pytest
import torch
import torch.nn.functional as F

from fovea.models.unet import UNet
from helpers.net_protocol import assert_groups, from_config, size

THIN = {"num_classes": 3, "in_channels": 1, "width": 2, "depth": 2}
SWITCHES = (
    {}, {"padding": True}, {"padding": True, "batch_norm": True, "bilinear": True, "dropout": 0.1},
    {"bilinear": True}, {"depth": 0}, {"depth": 1}, {"depth": 3, "width": 1},
)  # fmt: skip


def thin(**options):
    torch.manual_seed(0)
    return UNet(**{**THIN, **options})


def test_the_papers_net_has_the_papers_parameters_and_sizes():
    """9 i o + o for a 3x3 convolution, 4 i o + o for an up-convolution, and the last layer."""
    down = [(1, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
    up = [(1024, 512), (512, 256), (256, 128), (128, 64)]
    counted = sum(9 * i * o + o + 9 * o * o + o for i, o in down + up)
    counted += sum(4 * i * o + o for i, o in up) + 64 * 2 + 2
    with torch.device("meta"):
        net = UNet(num_classes=2, in_channels=1)
        assert size(net) == counted == 31_030_658
        assert net.run(torch.empty(1, 1, 572, 572)).shape == (1, 64, 388, 388)
        assert net._fit(388) == (388, 92, 92, 0)  # so 388 pixels become the 572 of the paper
        padded = UNet(num_classes=2, in_channels=1, padding=True, batch_norm=True)
    # batch norm: a weight and a bias a channel in place of a bias
    assert size(padded) == 31_030_658 + sum(2 * o for _, o in down + up)


@pytest.mark.parametrize("options", SWITCHES, ids=str)
def test_any_size_in_is_the_size_out(options):
    net = thin(**options).eval()
    with torch.no_grad():
        for height, width in ((1, 1), (1, 9), (16, 13), (7, 22)):
            assert net(torch.randn(2, 1, height, width)).shape == (2, 3, height, width)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_the_output_of_unpadded_convolutions_just_covers_the_image(depth):
    with torch.device("meta"):
        net = thin(depth=depth, width=1)
        for side in range(1, 19):
            _, before, after, start = net._fit(side)
            found = net.run(torch.empty(1, 1, side + before + after, side + before + after)).shape[2]
            assert start + side <= found < side + 2**depth
            assert before - start == (side + before + after - found) // 2  # the middle of the input


def test_without_padding_nothing_but_pixels_is_seen():
    """A shift of the image by a multiple of the pooling shifts the logits, up to the mirrored border."""
    net = thin().eval()
    x = torch.randn(1, 1, 100, 100)
    with torch.no_grad():
        whole, part = net(x), net(x[:, :, 24:76, 24:76])
    torch.testing.assert_close(whole[:, :, 44:56, 44:56], part[:, :, 20:32, 20:32])


def test_mirrored_images_have_mirrored_logits_when_nothing_is_spare():
    net = thin(padding=True).eval()
    for module in net.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.weight.data = (module.weight.data + module.weight.data.flip(3)) / 2
    x = torch.randn(1, 1, 12, 16)
    torch.testing.assert_close(net(x.flip(3)), net(x).flip(3))


def test_the_head_and_the_levels_are_found():
    for options in ({}, {"bilinear": True, "batch_norm": True}):
        assert_groups(thin(**options), stages=5, layers=5)
    assert thin().get_classifier().out_channels == 3


@pytest.mark.slow
def test_it_learns_a_batch_and_every_parameter_takes_part():
    net = thin(padding=True, batch_norm=True, num_classes=2, width=8)
    x = torch.randn(2, 1, 16, 16)
    y = (F.avg_pool2d(x, 3, 1, 1) > 0).long()[:, 0]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(40):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in net.parameters())
        optimizer.step()
    assert loss < 0.2


def test_wrong_images_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"U-Net takes .*\(B, 1, H, W\).*got \(1, 3, 8, 8\)"):
        thin()(torch.randn(1, 3, 8, 8))
    with pytest.raises(ValueError, match="width=0, depth=2"):
        thin(width=0)


def test_dropout_stands_after_the_two_lowest_levels():
    names = [n for n, m in thin(depth=3, dropout=0.5).named_modules() if isinstance(m, torch.nn.Dropout)]
    assert names == ["down.2.4", "down.3.4"]
    assert list(thin(dropout=0.5).state_dict()) == list(thin().state_dict())


def test_the_published_config_is_the_published_net():
    with torch.device("meta"):
        assert size(from_config("unet", num_classes=2)) == 31_030_658


@pytest.mark.slow
def test_it_exports_for_any_number_of_images():
    net = thin().eval()
    x = torch.randn(2, 1, 19, 23)
    batch = torch.export.Dim("batch", min=1, max=8)
    exported = torch.export.export(net, (x,), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(exported.module()(x[:1]), net(x[:1]))


@pytest.mark.slow
def test_onnx_computes_the_same(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    net = thin(depth=1, padding=True, batch_norm=True).eval()
    x = torch.randn(2, 1, 9, 12)
    torch.onnx.export(net, (x,), tmp_path / "x.onnx", dynamo=True)
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), net(x).detach(), rtol=1e-4, atol=1e-5)
