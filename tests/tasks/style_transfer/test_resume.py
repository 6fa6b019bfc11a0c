import numpy as np
import pytest
from PIL import Image

from helpers import runs

SMALL = [
    "trainer=cpu", "model.pretrained=false", "data.image_size=32", "data.steps=4", "trainer.max_epochs=4",
    "model.name=mobilenetv2_050", "content=flower", "style=hopper",
]  # fmt: skip


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_killed_and_resumed_paints_the_very_same_picture(optimizer, tmp_path):
    command = ["experiment=style_transfer", *SMALL, f"optimizer={optimizer}"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert runs.train(command, run_dir=whole) == 0, runs.output(whole)
    for given, kill in ((command, ("batch", 1)), (["resume=true"], ("writing", 2))):
        assert runs.train(given, run_dir=broken, kill=kill) == -9, runs.output(broken)
    assert runs.train(["resume=true"], run_dir=broken) == 0, runs.output(broken)
    result = picture(whole / "result.png")
    assert result.shape == (21, 32, 3)  # the aspect of the content
    names = {p.name for p in (whole / "images").iterdir()}
    assert {"content.png", "style.png", "step_0000.png", "step_0016.png"} < names
    assert {p.name for p in (broken / "images").iterdir()} == names
    for name in ("result.png", *(f"images/{n}" for n in names)):
        assert np.array_equal(picture(whole / name), picture(broken / name)), name
    assert runs.rows(whole) == runs.rows(broken)
    states = [runs.checkpoint(run, "last")["state_dict"] for run in (whole, broken)]
    assert runs.difference(*states) is None
