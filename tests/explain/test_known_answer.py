"""Maps lie on what decides the class, in the photo itself, however it is brought to the net's size."""

import csv

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from fovea.config import build
from fovea.ops.placement import place
from helpers import runs

pytestmark = pytest.mark.slow

SIZE, SIDE, MARGIN = (
    (48, 64),
    36,
    12,
)  # of the net's input; of the coloured square, and around it, in the photo
PHOTOS = {  # class, height, width, and the square's top and left: of every shape, in every quarter
    "red/upper_left": (100, 150, 14, 30),
    "red/lower_right": (150, 100, 88, 58),
    "blue/upper_right": (110, 110, 22, 62),
    "blue/lower_left": (100, 170, 52, 30),
}
COLOURS = {"red": (230, 30, 30), "blue": (30, 30, 230)}
RESIZE = {"crop": 0.9, "pad": 1.0, "stretch": 1.0}  # with crop_pct
CNN = [  # without deconvnet, which lets gradients through where an activation is zero
    "cam", "grad_cam", "grad_cam_plus_plus", "layer_cam", "score_cam", "eigen_cam", "saliency",
    "input_times_gradient", "smooth_grad", "integrated_gradients", "occlusion", "guided_backprop",
    "guided_grad_cam",
]  # fmt: skip
ATTENTION = ["grad_cam", "layer_cam", "class_attention", "rollout", "gradient_rollout", "relevance"]
QUICK = {"method.occlusion.window": 8, "method.occlusion.stride": 4, "method.smooth_grad.samples": 8}
REDDER = torch.tensor([[1.0, -0.5, -0.5], [-0.5, -0.5, 1.0]])  # channels: red, blue
HEAD = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])  # classes: blue, red


def cnn(net):
    """Make a net that sums up how red and how blue pixels are, from a threshold on."""
    for conv in (m for m in net.modules() if isinstance(m, torch.nn.Conv2d)):
        conv.weight.zero_()
        conv.weight[:, :, 1, 1] = REDDER if conv.in_channels == 3 else torch.eye(2)
        conv.bias.fill_(-2.0 if conv.in_channels == 3 else 0.0)
    net.head.weight.copy_(8 * HEAD)


def vit(net):
    """Make a net whose class token looks at coloured patches, and takes their colour."""
    for parameter in net.parameters():
        parameter.zero_()
    net.patch_embed.proj.weight[:2] = REDDER[:, :, None, None] / 64
    net.patch_embed.proj.bias[2] = 1
    net.cls_token[..., 3] = 1
    block = net.blocks[0]
    for norm in (block.norm1, block.norm2, net.norm):
        norm.weight.fill_(1)
    query, key, value = block.attn.qkv.weight.view(3, 8, 8)
    query[0, 3] = 3
    key[0, :2] = 3
    value[:2, :2] = block.attn.proj.weight[:2, :2] = torch.eye(2)
    net.head.weight[:, :2] = 4 * HEAD


NETS = {
    "cnn": (cnn, CNN, ["model.net.widths=[2,2]", "model.net.stage_depth=1", "model.net.batch_norm=false"]),
    "vit": (
        vit,
        ATTENTION,
        ["model.net.dim=8", "model.net.depth=1", "model.net.heads=1", "model.net.patch_size=8",
         "model.net.conv_stem=false", "model.net.mlp_ratio=1"],
    ),
}  # fmt: skip


@pytest.fixture
def photos(tmp_path):
    noise = np.random.default_rng(0)
    for name, (height, width, top, left) in PHOTOS.items():
        photo = noise.normal(128, 8, (height, width, 3))
        photo[top : top + SIDE, left : left + SIDE] = COLOURS[name.split("/")[0]]
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo.astype(np.uint8)).save(path)
    return tmp_path / "photos"


@torch.no_grad()
def write_run(folder, name, resize):
    """Write the checkpoint of a net whose weights are set by hand."""
    fill, _, keys = NETS[name]
    data = [
        "data=folder", "data.root=/nowhere", "data.num_classes=2", f"data.image_size=[{SIZE[0]},{SIZE[1]}]",
        f"data.resize={resize}", f"data.crop_pct={RESIZE[resize]}", "data.mean=[0.5,0.5,0.5]",
        "data.std=[0.25,0.25,0.25]",
    ]  # fmt: skip
    config = runs.compose(["experiment=cnn_digits", "trainer=cpu", f"model={name}", *data, *keys])
    net = build.network(config).eval()
    fill(net)
    about = {
        "version": 1,
        "config": OmegaConf.to_container(config),
        "classes": ["blue", "red"],
        "preprocessing": build.preprocessing(config, net),
    }
    (folder / "checkpoints").mkdir(parents=True)
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state, "fovea": about}, folder / "checkpoints" / "best.ckpt")
    return folder


def in_photo(name, resize):
    """Return which pixels of a map lie on the square, or near it, in the photo."""
    height, width, top, left = PHOTOS[name]
    where = place((height, width), size=SIZE, resize=resize, crop_pct=RESIZE[resize])
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    x, y = where.back(np.stack([columns.ravel(), rows.ravel()], axis=1)).T.reshape(2, *SIZE)
    near_y, near_x = (
        MARGIN * whole / scaled for whole, scaled in zip(where.shape, where.scaled, strict=True)
    )
    across = (x > left - near_x) & (x < left + SIDE + near_x)
    return across & (y > top - near_y) & (y < top + SIDE + near_y)


@pytest.mark.parametrize("resize", RESIZE)
@pytest.mark.parametrize("name", NETS)
def test_maps_lie_on_what_decides_the_class(call, photos, tmp_path, name, resize):
    methods = NETS[name][1]
    run = write_run(tmp_path / "run", name, resize)
    keys = {key: value for key, value in QUICK.items() if key.split(".")[1] in methods}
    call("explain", run=str(run), input=str(photos), method=methods, output=str(tmp_path / "out"), **keys)
    with (tmp_path / "out" / "explain.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(PHOTOS) * len(methods)
    for row in found:
        assert row["correct"] == "true" and not row["problem"], row
        photo = "/".join(row["image"].removesuffix(".png").split("/")[-2:])
        one = np.load(tmp_path / "out" / row["map"]).clip(min=0)
        there = in_photo(photo, resize)
        assert there[int(row["peak_y"]), int(row["peak_x"])], (row["method"], photo)
        assert one[there].sum() > 0.7 * one.sum(), (row["method"], photo, one[there].sum() / one.sum())
