"""Runs that a stranger has tampered with: every command refuses them, naming file and key, before it acts."""

import contextlib
import copy
import functools
import hashlib
import importlib
import inspect
import io
import json
import multiprocessing
import os
import pkgutil
import random
import re
import shutil
import socket
import sys

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from PIL import Image

import fovea
from fovea.config import gate
from fovea.config.slots import child, training
from fovea.errors import UsageError
from helpers import runs

pytestmark = pytest.mark.slow
SEED = random.SystemRandom().randrange(10**6)
WRITERS = [
    "os.system", "shutil.rmtree", "pathlib.Path.write_text", "torch.save", "torch.load", "torch.jit.load",
    "torch.export.load", "torch.hub.load", "numpy.save", "numpy.load", "albumentations.save",
    "albumentations.load", "lightning.fabric.loggers.csv_logs._ExperimentWriter",
    "lightning.pytorch.loggers.csv_logs.ExperimentWriter", "torchvision.models.resnet18",
    "segmentation_models_pytorch.Unet", "fovea.models.vgg.download", "fovea.data.fetch.download.fetch",
]  # fmt: skip
VALUES = {
    "experiment": "x${oc.env:HOME}",
    "model.name": "${oc.env:HOME}",
    "model.net.activation_dir": "/elsewhere",
    "logger.x": {
        "_target_": "lightning.pytorch.loggers.TensorBoardLogger", "save_dir": "/elsewhere", "name": "",
    },
    "checkpoint.dirpath": "/elsewhere",
    "trainer.default_root_dir": "/elsewhere",
    "callbacks.explain": {"_target_": "fovea.explain.callback.Explain", "run_dir": "../elsewhere"},
    "model.net._execution_whitelist_": ["*"],
    "model.net.in_channels": 10**12,
    "data.image_size": 10**6,
}  # fmt: skip
# compare builds the view alone from config.yaml; all the others read the config in the checkpoint
COMMANDS = {
    "eval": ["run={run}", "accelerator=cpu"],
    "predict": ["run={run}", "input={canary}", "output={canary}/out"],
    "explain": ["run={run}", "input={canary}", "output={canary}/out", "method=saliency"],
    "export": ["run={run}", "format=torchscript", "output={canary}/out"],
    "compare": ["runs=[{run}]", "output={canary}/out", "metric=val/acc"],
    "train": ["run_dir={run}", "resume=true"],
}


@functools.cache
def own_callables():
    """Name all functions and classes of ours, as a stranger can."""
    found = set()
    for module in pkgutil.walk_packages(fovea.__path__, "fovea."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if inspect.isfunction(value) or inspect.isclass(value):
                found.add(f"{module.name}.{name}")
    return sorted(found)


def allowed(*slots):
    """Return the targets that `conf/` has in places and below them."""
    return set().union(*(slot.targets | allowed(*slot.below.values()) for slot in slots))


def places(node, slots, at=()):
    """Yield every place of a config with what `conf/` puts there, and in every mapping a key that is new."""
    pairs = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
    for key, value in pairs:
        below = child(slots, "*" if isinstance(node, list) else str(key))
        yield (*at, key), below
        if isinstance(value, dict | list):
            yield from places(value, below, (*at, key))
    if isinstance(node, dict):
        yield (*at, "x"), child(slots, "x")


def placed(config, place, value):
    config = copy.deepcopy(config)
    *way, last = place
    node = config
    for name in way:
        node = node[name]
    node[last] = value
    return config


def named(place):
    """Write a place as messages do, which name the node of keys such as `_target_`."""
    place = place[:-1] if str(place[-1]).startswith("_") else place
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).lstrip(".")


def tree(folder):
    return {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


def attempt(name, words, pipe):
    """Run a command by its one entry, Hydra's own whitelist in force; send its exit code and messages."""
    from fovea.config.cli import command

    def no_socket(*args, **kwargs):
        raise AssertionError("a socket is opened")

    socket.socket.connect = socket.create_connection = no_socket
    sys.argv = [str(runs.ROOT / "src" / f"{name}.py"), *words]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            command(name)
            code = 0
        except SystemExit as end:
            code = end.code
    pipe.send((code, said.getvalue()))


def outcome(name, words):
    """Run a command in a forked child: the imports are paid once."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=attempt, args=(name, words, theirs))
    child.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(60) else (None, "no answer")
    except EOFError:
        return None, "died"
    finally:
        child.kill()
        child.join()


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    run = tmp_path_factory.mktemp("honest") / "run"
    assert runs.train([*runs.QUICK, "trainer.max_epochs=1"], run_dir=run) == 0, runs.output(run)
    return run


def write(run, config, checkpoint):
    checkpoint["fovea"]["config"] = config
    for name in ("best", "last"):
        torch.save(checkpoint, run / "checkpoints" / f"{name}.ckpt")
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def strange(slots, draw):
    """Draw targets that `conf/` does not have in a place: ours, ours of other places, writers and loaders."""
    ours, elsewhere = own_callables(), sorted(allowed(training()))
    found = [*draw.sample(ours, 3), *draw.sample(elsewhere, 3), *draw.sample(WRITERS, 2)]
    return [target for target in found if not any(target in slot.targets for slot in slots)]


def call(target, canary):
    return {"_target_": target, "path": str(canary / "kept.txt"), "text": "overwritten"}


EXPERIMENTS = [
    ["experiment=unet_scenes", "model=smp_unet", "callbacks=explain", "logger=wandb"],
    ["experiment=colorize_cifar10", "logger=tensorboard", "augment=standard"],
    ["experiment=vit_digits", "callbacks=ema", "finetune=layer_decay", "augment=mixup"],
    ["experiment=style_transfer"],
    ["experiment=bilinear_cars20", "data.num_classes=20"],
]


@pytest.mark.parametrize("words", EXPERIMENTS, ids=lambda words: words[0].partition("=")[2])
def test_the_gate_is_shut_at_every_place_of_a_config(words, tmp_path):
    print(f"seed of the sample: {SEED}")
    config, draw = OmegaConf.to_container(runs.compose(words)), random.Random(SEED)
    gate.check(config, source="honest")
    passed = []
    for place, slots in places(config, [training()]):
        for target in strange(slots, draw):
            try:
                gate.check(placed(config, place, call(target, tmp_path)), source="RUN/config.yaml")
                passed.append((place, target))
            except UsageError as error:
                known = {named(place), f"{named(place)}._target_"}
                if "RUN/config.yaml" not in str(error) or not any(f" {at}" in str(error) for at in known):
                    passed.append((place, target, str(error)))
    assert not passed, f"seed {SEED}: {len(passed)} of them: {passed[:6]}"


def cases(config, canary):
    """Return where and what: places of a config with a callable that is not in their list, and values."""
    draw = random.Random(SEED)
    found = list(places(config, [training()]))
    groups = {place[:2]: (place, slots) for place, slots in draw.sample(found, len(found))}
    for place, slots in groups.values():  # one below each second key
        target = draw.choice(strange(slots, draw))
        yield place, target, call(target, canary)
    for text, value in VALUES.items():
        yield tuple(text.split(".")), value, value


def test_every_command_refuses_a_tampered_run(honest, tmp_path):
    print(f"seed of the sample: {SEED}")
    canary, run = tmp_path / "canary", tmp_path / "run"
    canary.mkdir()
    (canary / "kept.txt").write_text("mine")
    Image.new("L", (28, 28)).save(canary / "photo.png")
    shutil.copytree(honest, run)
    config = yaml.safe_load((run / "config.yaml").read_text().replace(str(honest), str(run)))
    config["callbacks"] = {}
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    torch.set_num_threads(1)
    for name in ("eval", "engine.train", "explain.command", "compare.command"):
        importlib.import_module(f"fovea.{name if '.' in name else 'engine.' + name}")
    wrong = []
    for number, (place, what, value) in enumerate(cases(config, canary)):
        write(run, placed(config, place, value), checkpoint)
        before = tree(tmp_path)
        names = list(COMMANDS) if number % 16 == 0 else [list(COMMANDS)[number % len(COMMANDS)]]
        for name in names:
            if name == "compare" and place[0] != "report":
                continue
            code, said = outcome(name, [w.format(run=run, canary=canary) for w in COMMANDS[name]])
            at = str(run / "config.yaml") if name == "train" else str(run)
            if code != 2 or at not in said or named(place) not in said or said.count("\n") > 3:
                wrong.append((name, place, what, code, said[-300:]))
        if tree(tmp_path) != before:
            wrong.append((names, place, what, "files changed"))
    assert not wrong, f"seed {SEED}: {len(wrong)} of them: {wrong[:6]}"


def test_an_honest_run_passes_every_command(honest, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(honest, run)
    for name in ("eval", "export", "train"):
        words = [w.format(run=run, canary=tmp_path) for w in COMMANDS[name]]
        code, said = outcome(name, words)
        assert code == 0, (name, said)


def test_aliases_that_unfold_to_gigabytes_are_left_out(tmp_path):
    for name, text in {"bomb": bomb(), "ring": "r: &r [*r]\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
        code, said = outcome("compare", [f"runs={tmp_path / name}", f"output={tmp_path}/out"])
        assert code == 2 and f"{name}/config.yaml" in said and "alias" in said
        code, said = outcome("train", [f"run_dir={tmp_path / name}", "resume=true"])
        assert code == 2 and f"{name}/config.yaml" in said and "alias" in said
        assert os.listdir(tmp_path / name) == ["config.yaml"]


def test_a_summary_of_other_kinds_is_named_and_hides_nothing_else(honest, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(honest, run)
    facts = json.loads((run / "summary.json").read_text())
    for command, key, value in (("compare", "config", 5), ("compare", "data", []), ("train", "resumed", 5)):
        (run / "summary.json").write_text(json.dumps({**facts, key: value}))
        code, said = outcome(command, [w.format(run=run, canary=tmp_path) for w in COMMANDS[command]])
        assert code == 0 and f"{run}/summary.json: {key}" in said, (command, key, said)


@pytest.mark.parametrize("name", ["summary.json", "train.log"])
def test_a_pipe_in_a_run_is_not_waited_for(name, honest, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(honest, run)
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    for command in ("compare", "train"):
        code, _ = outcome(command, [w.format(run=run, canary=tmp_path) for w in COMMANDS[command]])
        assert code is not None, command


def test_a_state_that_no_training_left_is_refused_in_one_sentence(honest, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(honest, run)
    whole = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    stateless = [{**whole["optimizer_states"][0], "state": {0: {"step": torch.tensor(4.0)}}}]
    for odd in (
        {"epoch": "0"}, {"loops": []}, {"callbacks": {"BestAndLast": {"best": 5}}}, {"lr_schedulers": [None]},
        {"optimizer_states": stateless},
    ):  # fmt: skip
        torch.save(whole | odd, run / "checkpoints" / "last.ckpt")
        before = tree(run)
        words = [f"run_dir={run}", "resume=true", "trainer.max_epochs=3"]
        code, said = outcome("train", words)
        assert code == 2 and f"{run}/checkpoints/last.ckpt" in said and "edited" in said, (odd, said)
        assert "Error" not in said and "NoneType" not in said
        log = str(run / "train.log")
        assert tree(run) | {log: ""} == before | {log: ""}, odd


UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
ODD = "\x1b]0;title\x07\x9b31m\u202e"


def test_control_characters_reach_no_terminal_page_or_table(honest, tmp_path):
    run, canary = tmp_path / "run", tmp_path / "canary"
    shutil.copytree(honest, run)
    canary.mkdir()
    Image.new("L", (28, 28)).save(canary / f"{ODD}.png")
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["fovea"]["classes"][:2] = [ODD, "odd"]
    torch.save(checkpoint, run / "checkpoints" / "best.ckpt")
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"experiment": ODD, "command": ODD, "error": ODD, "metrics": summary["metrics"] | {ODD: 1}}
    summary["data"]["classes"] = checkpoint["fovea"]["classes"]
    (run / "summary.json").write_text(json.dumps(summary))
    for name in ("predict", "explain", "compare"):
        words = [w.format(run=run, canary=canary) for w in COMMANDS[name]]
        code, said = outcome(name, [w.replace("/out", f"/{name}") for w in words])
        assert code == 0 and not UNSHOWN.search(said), (name, said)
    written = [p for p in canary.rglob("*") if p.suffix in (".html", ".csv", ".md", ".tex", ".json")]
    assert len(written) > 6
    for file in written:
        found = UNSHOWN.search(file.read_bytes().decode().replace("\r\n", "\n"))
        assert found is None, (file, found)


def bomb():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join(lines) + "\n"
