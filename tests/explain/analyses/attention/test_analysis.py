"""The attention analysis writes what capture gives, and measures it against what is marked."""

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fovea.explain.analyses.attention.analysis import AttentionAnalysis
from fovea.explain.analyses.attention.figure import grid
from fovea.explain.analyses.attention.read import AttentionLayer, AttentionSample, find_object
from fovea.explain.analyses.attention.statistics import attention_distance, attention_entropy
from fovea.explain.core.attention import capture
from fovea.explain.core.class_choice import LogitSelector
from fovea.explain.core.model import ExplainedModel, ImageBatch
from fovea.explain.core.pixels import Pixels
from fovea.explain.methods.class_attention import class_map, max_heads
from fovea.models.vit import ViT
from helpers.attention_nets import assert_untouched, net_and_image

CLASSES = ["one", "two", "three", "four", "five"]


def model_of(net, image, **marks):
    """Make a model of a net and images (B, C, H, W); marks are what `ImageBatch` holds of each image."""

    def load(rows):
        rows = list(rows)
        own = {k: v[rows] if isinstance(v, torch.Tensor) else [v[r] for r in rows] for k, v in marks.items()}
        label = own.pop("label", torch.full((len(rows),), -1))
        return ImageBatch(image=image[rows], rows=rows, label=label, **own)

    return ExplainedModel(
        name="net", net=net, device=torch.device("cpu"), classes=CLASSES, load=load, batch_size=2,
        pixels=Pixels(mean=[0.5] * image.shape[1], std=[0.25] * image.shape[1]), size=image.shape[2:],
        ids=[f"photos/no {i}.jpg" for i in range(len(image))], selector=LogitSelector(classes=CLASSES),
    )  # fmt: skip


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit", "gap", "registers_token"])
def test_files_hold_the_maps_that_capture_gives(name, tmp_path):
    net, image = net_and_image(name)
    blocks = AttentionAnalysis()(model_of(net, image), tmp_path)
    with torch.no_grad(), capture(net) as maps:
        net(image[1:])
    expected = [class_map(net, maps[path], layout)[0] for path, layout in maps.layouts.items()]
    found = np.load(tmp_path / "0001_no_1.npy")  # (layers, heads, h, w)
    assert np.allclose(found, torch.stack(expected).numpy(), atol=1e-6)
    rows = [row for row in rows_of(tmp_path / "heads.csv") if row["image"] == "photos/no 1.jpg"]
    assert len(rows) == found.shape[0] * found.shape[1]
    for row in rows:
        weights, layout, head = maps[row["path"]], maps.layouts[row["path"]], int(row["head"]) - 1
        patch = (image.shape[2] / layout.grid[0], image.shape[3] / layout.grid[1])
        distance = attention_distance(weights, layout, patch_size=patch)[0, head]
        assert float(row["distance_pixels"]) == pytest.approx(float(distance), rel=1e-4)
        entropy = attention_entropy(weights, layout)[0, head]
        assert float(row["entropy_nats"]) == pytest.approx(float(entropy), rel=1e-4)
        n = maps[row["path"]].shape[-1]
        assert float(row["entropy_share"]) == pytest.approx(float(row["entropy_nats"]) / math.log(n))
    assert not (tmp_path / "objects.csv").exists()  # nothing is marked
    page = "\n".join(block.html() for block in blocks)
    assert page.count("data:image/gif") == 2 and "photos/no 1.jpg" in page
    assert_untouched(net)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin_padded", "maxvit"])
def test_windowed_nets(name, tmp_path):
    net, image = net_and_image(name)
    mask = torch.zeros(2, *image.shape[2:], dtype=torch.long)
    mask[:, :8, :8] = 2
    AttentionAnalysis(images=1)(model_of(net, image, mask=mask), tmp_path)
    files = sorted(tmp_path.glob("*.npy"))
    assert [file.name for file in files] == ["0000_no_0__layers_1-2.npy", "0000_no_0__layers_3-4.npy"]
    assert all(np.load(file).std() > 0 for file in files)
    rows = rows_of(tmp_path / "objects.csv")
    assert [row["map"] for row in rows] == [*(f"layer {k}" for k in range(1, 5)), "rollout", "relevance"]
    assert all(0 <= float(row["share_in_object"]) <= 1 for row in rows)
    assert_untouched(net)


@pytest.mark.slow
def test_even_attention_has_the_objects_share_and_distance(tmp_path):
    torch.manual_seed(0)
    net = ViT(
        num_classes=5, image_size=16, depth=2, dim=16, heads=2, class_token=False, conv_stem=False
    ).eval()
    for block in net.blocks:
        nn.init.zeros_(block.attn.qkv.weight[:32])  # queries and keys
        nn.init.zeros_(block.attn.qkv.bias)
    boxes = [torch.tensor([[2.0, 3.0, 9.0, 11.0]])]
    model = model_of(net, torch.rand(1, 3, 16, 16), boxes=boxes)
    analysis = AttentionAnalysis()
    blocks = analysis(model, tmp_path)
    for row in rows_of(tmp_path / "objects.csv")[:3]:  # two layers and rollout
        assert float(row["share_in_object"]) == pytest.approx(7 * 8 / 256, abs=1e-6)
        assert float(row["share_of_image"]) == pytest.approx(7 * 8 / 256)
    sample = analysis.reader.read(model, next(model.batches()), 0)
    for layer in sample.layers:
        assert torch.allclose(layer.distance, torch.tensor(layer.even))
        assert torch.allclose(layer.entropy_share, torch.ones(2))
    assert "21.9 %" in "\n".join(block.html() for block in blocks)


@pytest.mark.slow
def test_the_animation_goes_through_the_layers(tmp_path):
    net, image = net_and_image("vit")
    fuse = {"strongest": max_heads}
    analysis = AttentionAnalysis(
        images=1, fuse=fuse, head_discard_ratio=0.5, discard_ratio=0.3, frame_seconds=0.2
    )
    analysis(model_of(net, image), tmp_path)
    with Image.open(tmp_path / "0000_no_0.gif") as moving:
        assert moving.n_frames == 2 and moving.info["loop"] == 0 and moving.info["duration"] == 200
        frames = []
        for k in range(2):
            moving.seek(k)
            frames.append(np.asarray(moving.convert("RGB"), dtype=float))
    assert np.abs(frames[0] - frames[1])[:150].mean() > 5  # the map
    assert np.abs(frames[0] - frames[1])[-60:].max() > 50  # the number
    assert len(list(tmp_path.glob("*.gif"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("heads", "lines"), [(12, 12), (24, 24)])
def test_the_grid_of_a_deep_net_is_legible(heads, lines, tmp_path):
    torch.manual_seed(0)
    layers = [
        AttentionLayer(
            path=f"blocks.{k}", heads=torch.rand(heads, 4, 6), fused={"mean": torch.rand(4, 6)},
            distance=torch.rand(heads), entropy=torch.rand(heads), tokens=25, even=1.0,
        )
        for k in range(12)
    ]  # fmt: skip
    sample = AttentionSample(id="a", stem="a", picture=np.zeros((16, 24, 3), np.uint8), layers=layers)
    with Image.open(grid(sample, tmp_path / "a.png")) as drawn:
        width, height = drawn.size
    assert 96 * 13 < width < 1500
    assert height / lines > 60  # pixels


def test_what_counts_as_the_object():
    boxes = [torch.tensor([[0.0, 0, 2, 2], [4.0, 4, 8, 8]]), torch.zeros(0, 4)]
    model = model_of(nn.Identity(), torch.zeros(2, 3, 8, 8))

    def found(row, **marks):
        views = ImageBatch(image=torch.zeros(2, 3, 8, 8), rows=[0, 1], label=torch.tensor([1, -1]), **marks)
        marked = find_object(model, views, row)
        return marked and (marked[0].sum().item(), marked[1].sum().item())

    assert found(0, boxes=boxes, box_labels=[torch.tensor([0, 1]), torch.zeros(0)]) == (
        16,
        64,
    )  # of its class
    assert found(0, boxes=boxes, box_labels=[torch.tensor([3, 2]), torch.zeros(0)]) == (20, 64)  # all
    assert found(0, boxes=boxes) == (20, 64)
    assert found(1, boxes=boxes) is None
    mask = torch.zeros(2, 8, 8, dtype=torch.long)
    mask[:, 0], mask[:, 1], mask[:, 2, 0] = 255, 2, 1
    assert found(0, mask=mask) == (8, 56)  # value 2 is class 1; what is to be ignored does not count
    assert found(1, mask=mask) == (9, 56)
    assert found(0, mask=torch.zeros_like(mask)) is None
    assert found(0) is None


def test_options_and_nets_that_cannot_be_read(tmp_path):
    for options in ({"images": 0}, {"frame_seconds": 0}, {"fuse": {}}):
        with pytest.raises(ValueError, match="images="):
            AttentionAnalysis(**options)
    model = model_of(nn.Sequential(nn.Conv2d(3, 5, 1)), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="no attention"):
        AttentionAnalysis()(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_net_is_left_alone_after_an_error(tmp_path):
    net, image = net_and_image("vit")

    def fuse(weights):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        AttentionAnalysis(fuse={"broken": fuse})(model_of(net, image), tmp_path)
    assert_untouched(net)
