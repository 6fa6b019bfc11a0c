import os
import subprocess
import sys

import pytest
import timm
from omegaconf import OmegaConf

from fovea.config.timm_names import check_timm_names, timm_names
from fovea.errors import UsageError


def test_the_names_are_those_of_timm():
    assert set(timm.list_models()) <= timm_names()
    assert all(timm.is_model(name) for name in timm_names())


def test_names_with_the_tag_of_weights_and_names_of_a_package_let_in_are_left_to_timm(monkeypatch):
    def config(name):
        net = {"_target_": "fovea.models.timm.create", "name": "${model.name}"}
        return OmegaConf.create({"model": {"name": name, "net": net}})

    check_timm_names(config(["resnet18.a1_in1k", "vit_tiny_patch16_224"]))
    with pytest.raises(UsageError, match="'my_net' is not in timm; near it are"):
        check_timm_names(config(["resnet18", "my_net"]))
    monkeypatch.setenv("FOVEA_PACKAGES", "mine")
    check_timm_names(config("my_net"))


@pytest.mark.parametrize(
    "words",
    [
        ["train", "model=timm", "model.name=resnt18"],
        ["train", "experiment=yolo_scenes", "model.name=resnt18"],
        ["explain", "model=timm", "model.name=resnt18", "input=."],
        ["eval", "model=timm", "model.name=resnt18", "data_root=."],
    ],
)
def test_a_wrong_name_is_answered_without_torch(words, tmp_path):
    code = (
        f"import sys, runpy; sys.argv = ['src/{words[0]}.py', *{words[1:]!r}]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": "src", "FOVEA_LOGS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "near it are resnet18" in done.stderr
    assert done.stdout.strip() == "False" and not list(tmp_path.iterdir())
