from functools import partial

import pytest
import torch
import torch.nn.functional as F

from fovea.models.fcn import FCN, BilinearUp, VGGMaps
from fovea.models.vgg import VGG, load
from helpers.net_protocol import assert_groups

SMALL = {"num_classes": 4, "in_channels": 1, "depths": (1,) * 5, "widths": (2, 3, 4, 5, 6)}
HIDDEN = {"hidden": (7, 8), "grid": 3}


def small_vgg(**options):
    return VGG(**{**SMALL, **HIDDEN, **options})


def maps(*, in_channels, pretrained, checkpoint):
    net = small_vgg(in_channels=in_channels)
    if checkpoint:
        load(net, checkpoint)
    return VGGMaps(net)


def small(stride=8, **options):
    torch.manual_seed(0)
    return FCN(**{"backbone": maps, "num_classes": 4, "in_channels": 1, "stride": stride, **options}).eval()


def awake(stride=8, **options):
    """Build a net whose scores are no longer zero."""
    net = small(stride, **options)
    for name, layer in net.head.items():
        if name.startswith("score"):
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.normal_(layer.bias)
    return net


def test_transposed_convolutions_start_as_bilinear_interpolation():
    up = BilinearUp(channels=3)
    x = torch.randn(2, 3, 4, 5)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(up(x), expected, rtol=1e-5, atol=1e-6)


def test_a_ramp_is_enlarged_to_a_ramp_inside_and_a_constant_everywhere():
    ramp = (3 * torch.arange(6.0)).expand(1, 1, 5, 6)
    found = BilinearUp(channels=1)(ramp)[0, 0, 0]
    # pixel i of the large map lies at (i + 1/2) / 2 - 1/2 of the small one
    torch.testing.assert_close(found[1:-1], 3 * ((torch.arange(12) + 0.5) / 2 - 0.5)[1:-1])
    torch.testing.assert_close(BilinearUp(channels=2)(torch.ones(1, 2, 3, 3)), torch.ones(1, 2, 6, 6))


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_logits_start_at_zero_and_have_the_size_of_the_image(stride):
    net, alive = small(stride), awake(stride)
    for height, width in ((1, 1), (37, 53), (64, 32)):
        x = torch.randn(1, 1, height, width)
        assert not net(x).any()
        assert alive(x).shape == (1, 4, height, width) and alive(x).any()
    assert net.scores(torch.randn(1, 1, 64, 96)).shape == (1, 4, 64 // stride, 96 // stride)


def test_dense_layers_see_every_place_as_the_vgg_sees_its_grid():
    vgg = small_vgg().eval()
    found = VGGMaps(vgg).eval()
    x = torch.randn(2, 1, 96, 96)
    with torch.no_grad():
        expected = vgg.forward_head(vgg.forward_features(x), pre_logits=True)  # (B, 8)
        at8, at16, at32 = found(x)
        torch.testing.assert_close(at32[:, :, 1, 1], expected)
        torch.testing.assert_close(vgg.features[9:12](at8), at16)
    assert (at8.shape, at16.shape, at32.shape) == ((2, 4, 12, 12), (2, 5, 6, 6), (2, 8, 3, 3))
    assert found.channels == {8: 4, 16: 5, 32: 8}


@pytest.mark.parametrize(("coarse", "fine"), [(32, 16), (16, 8), (32, 8), (8, 8)])
def test_a_finer_net_starts_with_the_scores_of_the_coarser(coarse, fine, tmp_path):
    trained = awake(coarse)
    torch.save(trained.state_dict(), tmp_path / "x.pt")
    net = small(fine, checkpoint=str(tmp_path / "x.pt"))
    x = torch.randn(1, 1, 96, 64)
    expected = F.interpolate(trained.scores(x), scale_factor=coarse // fine, mode="bilinear")
    if coarse == 32 and fine == 8:  # twice twofold
        expected = F.interpolate(F.interpolate(trained.scores(x), scale_factor=2, mode="bilinear"),
                                 scale_factor=2, mode="bilinear")  # fmt: skip
    torch.testing.assert_close(net.scores(x), expected)
    # enlargements in turn cut the kinks of a single one, by less than 1/4 of a second difference per axis
    s = F.pad(trained.scores(x), (1, 1, 1, 1), mode="replicate")
    kinks = max(s.diff(n=2, dim=dim).abs().max() for dim in (2, 3))
    assert (net(x) - trained(x)).abs().max() <= kinks / 2


def test_checkpoints_of_tasks_of_other_classes_and_of_backbones_load(tmp_path):
    trained = awake(16)
    torch.save({"state_dict": {f"net.{k}": v for k, v in trained.state_dict().items()}}, tmp_path / "x.ckpt")
    other = small(16, num_classes=6, checkpoint=str(tmp_path / "x.ckpt"))
    assert torch.equal(other.backbone.fc6.weight, trained.backbone.fc6.weight)
    assert not other.head["score32"].weight.any() and len(other.head["score16"].weight) == 6
    vgg = small_vgg()
    torch.save(vgg.state_dict(), tmp_path / "vgg.pt")
    net = small(checkpoint=str(tmp_path / "vgg.pt"))
    assert torch.equal(net.backbone.fc6.weight.flatten(1), vgg.classifier[0].weight)
    assert torch.equal(net.backbone.features[0].weight, vgg.features[0].weight)
    with pytest.raises(ValueError, match=r"unexpected: head.score16.bias"):
        small(32, checkpoint=str(tmp_path / "x.ckpt"))


@pytest.mark.parametrize("begin", ["model.", "module.", "segmenter.model."])
def test_names_with_another_beginning_load_wholly_the_head_too(begin, tmp_path):
    trained = awake(16)
    torch.save(
        {"state_dict": {f"{begin}{k}": v for k, v in trained.state_dict().items()}}, tmp_path / "x.ckpt"
    )
    net = small(16, checkpoint=str(tmp_path / "x.ckpt"))
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in net.state_dict().items())


def test_what_else_a_file_holds_is_said(tmp_path, caplog):
    state = {f"backbone.{k}": v for k, v in small_vgg().state_dict().items()}
    torch.save(state | {"decoder.weight": torch.ones(2)}, tmp_path / "x.pt")
    small(checkpoint=str(tmp_path / "x.pt"))
    assert "decoder.weight" in caplog.text and "not loaded" in caplog.text


def test_the_head_is_what_no_backbone_has():
    net = small(8)
    assert list(net.head) == ["score32", "up32", "score16", "up16", "score8"]
    assert_groups(net, stages=7, layers=7)
    assert small(32).get_classifier() is not None and list(small(32).head) == ["score32"]


def test_every_parameter_learns_once_the_scores_do():
    net = awake(8)
    net(torch.randn(2, 1, 40, 40)).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="stride=4: an FCN ends at 32, 16 or 8"):
        small(4)
    with pytest.raises(ValueError, match=r"2 stages and 1 dense layers.*grid of 2"):
        VGGMaps(small_vgg(depths=(1, 1), widths=(2, 3), hidden=(4,), grid=2))
    with pytest.raises(ValueError, match=r"FCN takes .*got \(1, 3, 32, 32\)"):
        small()(torch.randn(1, 3, 32, 32))


@pytest.mark.slow
def test_a_batch_is_learned():
    from fovea.models.strided_maps import StridedMaps

    torch.manual_seed(0)
    backbone = partial(StridedMaps, name="mobilenetv3_small_050")
    net = FCN(backbone=backbone, num_classes=2, stride=8)
    x = torch.randn(2, 3, 32, 32)
    y = torch.zeros(2, 32, 32, dtype=torch.long)
    y[:, :, 16:] = 1
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(12):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5
