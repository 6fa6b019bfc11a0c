"""Every member of every group takes a step on the default experiment, or says which key to change."""

import contextlib
import io
import re
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from fovea.config import cli
from fovea.config.groups import members
from fovea.config.paths import CONF

TINY = [
    "trainer.accelerator=cpu", "trainer.devices=1", "trainer.max_epochs=1", "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1", "data.batch_size=2", "data.num_workers=0", "test=false",
]  # fmt: skip
RANDOM = "model.pretrained=false"  # weights may not be at hand
LESS = {  # of what takes longer than a step
    "callbacks=lr_finder": ["callbacks.lr_finder.num_training_steps=10"],
    "callbacks=batch_size_finder": ["callbacks.batch_size_finder.max_val=4"],
    "data=scenes": ["data.dataset.num_train=8", "data.dataset.num_val=8", "data.dataset.num_test=8"],
    "model=wrn_28_10": ["model.net.depth=10"],
}
OTHERS = ("experiment", "sweep")  # not members beside an experiment
ABSENT = r"data\.root|data\.dataset\.table"  # the published data and folders of one's own are not at hand
MORE = r"gives more than classes.*task={} with data that have boxes"
WHOLE_IMAGES = r"the net answers each pixel .*task=segmentation"
# What cannot be on images of 28 pixels with a label each: what the sentence names, and the remedy, where that
# is a word. No pattern stands for several members.
IMPOSSIBLE: dict[str, tuple[str, str | None]] = {
    "model=alexnet": (r"data\.image_size=63", None),
    "model=zfnet": (r"data\.image_size=57", "data.image_size=57"),
    "model=vgg16": (r"data\.image_size=32", None),
    "model=bilinear": (r"data\.image_size \(28\) is too small.*raise it", "data.image_size=32"),
    "model=bilinear_shared": (r"data\.image_size \(28\) is too small.*raise it", "data.image_size=32"),
    "model=deit_small": (r"model\.name=deit_small.*\[32, 32\].*data\.image_size", None),
    "model=maxvit_tiny": (r"model\.name=maxvit_tiny.*\[32, 32\].*data\.image_size", "data.image_size=32"),
    "model=vit_base": (r"model\.name=vit_base.*\[32, 32\].*data\.image_size", None),
    "model=vit_small": (r"model\.name=vit_small.*\[32, 32\].*data\.image_size", None),
    "model=vit_tiny_16": (r"model\.name=vit_tiny.*\[32, 32\].*data\.image_size", "data.image_size=32"),
    "model=pixel_image": (r"classification needs one tensor.*another model=", None),
    "model=pixel_squeezenet": (r"classification needs one tensor.*another model=", None),
    "model=colorizer": (WHOLE_IMAGES, None),
    "model=colorizer_fusion": (WHOLE_IMAGES, None),
    "model=colorizer_unet": (WHOLE_IMAGES, None),
    "model=fcn8": (WHOLE_IMAGES, None),
    "model=fcn16": (WHOLE_IMAGES, None),
    "model=fcn32": (WHOLE_IMAGES, None),
    "model=smp_deeplabv3plus": (WHOLE_IMAGES, None),
    "model=smp_fpn": (WHOLE_IMAGES, None),
    "model=smp_segformer": (WHOLE_IMAGES, None),
    "model=smp_unet": (WHOLE_IMAGES, None),
    "model=smp_unetpp": (WHOLE_IMAGES, None),
    "model=unet": (WHOLE_IMAGES, None),
    "model=unet_small": (WHOLE_IMAGES, None),
    "model=faster_rcnn": (MORE.format("detection"), None),
    "model=faster_rcnn_course": (MORE.format("detection"), None),
    "model=fcos": (MORE.format("detection"), None),
    "model=haar_faces": (MORE.format("localization"), None),
    "model=hog_svm": (MORE.format("localization"), None),
    "model=localizer": (MORE.format("localization"), None),
    "model=localizer_convnet": (MORE.format("localization"), None),
    "model=localizer_vgg11": (MORE.format("localization"), None),
    "model=template_matching": (MORE.format("localization"), None),
    "model=retinanet_resnet50": (MORE.format("detection"), None),
    "model=rcnn": (MORE.format("detection"), None),
    "model=retinanet": (MORE.format("detection"), None),
    "model=sliding_window": (MORE.format("detection"), None),
    "model=sliding_window_timm": (MORE.format("detection"), None),
    "model=ssdlite": (MORE.format("detection"), None),
    "model=yolo_v1": (MORE.format("detection"), None),
    "augment=multi_scale": (r"takes images of \[28, 28\] pixels, got \[32, 32\]", None),
    "augment=mosaic": (r"label cannot be kept.*data\.targets.*another augment", None),
    "data=content_style": (r"data\.image_size=\[168,256\]", None),
    "metrics=colorization": ("task=colorization", None),
    "metrics=colorization_bins": ("task=colorization_bins", None),
    "metrics=detection": ("task=detection", None),
    "metrics=localization": ("task=localization", None),
    "metrics=segmentation": ("task=segmentation", None),
    "metrics=segmentation_isic": ("task=segmentation", None),
    "metrics=style_transfer": ("task=style_transfer", None),
    "report=colorization": ("task=colorization", None),
    "report=colorization_bins": ("task=colorization_bins", None),
    "report=detection": ("task=detection", None),
    "report=localization": ("task=localization", None),
    "report=segmentation": ("task=segmentation", None),
    "report=style_transfer": ("task=style_transfer", None),
    "task=colorization": (r"data\.mean=\[0,0,0\] data\.std=\[1,1,1\]", None),
    "task=colorization_bins": (r"data\.mean=\[0,0,0\] data\.std=\[1,1,1\]", None),
    "task=detection": (r"model=retinanet.*model=yolo_v1", None),
    "task=localization": (r"needs a label and a box.*data\.targets=\[label,boxes\]", None),
    "task=segmentation": (r"needs masks.*data\.targets=\[mask\]", None),
    "task=style_transfer": ("experiment=style_transfer", "experiment=style_transfer"),
    "optimizer=lbfgs": ("optimizer=adamw", None),
    "callbacks=lr_monitor": ("logger=tensorboard", "logger=tensorboard"),
    "trainer=slurm": ("srun.*trainer=ddp", None),
    "trainer=fsdp": (r"trainer\.accelerator.*trainer=ddp", None),
}


@pytest.fixture
def command(tmp_path, monkeypatch, own_process):
    """Run train.py in this process; return its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOVEA_TIMEOUT", "1")
    monkeypatch.setenv("WANDB_MODE", "offline")

    def run(*words):
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
        name = f"run_{len(list(tmp_path.iterdir()))}"
        monkeypatch.setattr(sys, "argv", [str(cli.CONF.parent / "src/train.py"), *words, f"run_dir={name}"])
        text = io.StringIO()
        with (
            contextlib.redirect_stdout(text),
            contextlib.redirect_stderr(text),
            pytest.raises(SystemExit) as e,
        ):
            cli.command("train")
        return e.value.code, text.getvalue()

    return run


def chosen_groups():
    """Return the groups of which a training takes a member, as its root config says."""
    entries = [e for e in OmegaConf.load(CONF / "train.yaml").defaults if e != "_self_"]
    names = [next(iter(entry)) for entry in entries]
    return [name for name in names if not name.startswith("override ") and name not in OTHERS]


MEMBERS = [f"{group}={name}" for group in chosen_groups() for name in members(group)]


@pytest.mark.slow
@pytest.mark.parametrize("choice", MEMBERS)
def test_every_member_takes_a_step_on_the_default_experiment(command, choice):
    words = [choice, *TINY, RANDOM, *LESS.get(choice, [])]
    code, text = command(*words)
    if code and choice.startswith("data=") and choice not in IMPOSSIBLE:
        assert re.search(ABSENT, text), text
        return
    if choice not in IMPOSSIBLE:
        assert code == 0, text
        return
    named, remedy = IMPOSSIBLE[choice]
    assert code and re.search(named, " ".join(text.split())), text
    if remedy is not None:
        code, text = command(*words, remedy)
        assert code == 0, text


def test_what_cannot_be_is_a_member():
    assert {*IMPOSSIBLE, *LESS} <= {*MEMBERS}
