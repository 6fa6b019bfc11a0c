import os
import pickle
import zipfile

import pytest
import torch
from omegaconf import OmegaConf

from fovea.config import build
from fovea.config.slots import training
from fovea.engine import checkpoint
from fovea.errors import UsageError
from helpers import runs

HOW = {
    "image_size": [28, 28], "channels": 1, "mean": [0.1], "std": [0.3],
    "interpolation": "bilinear", "crop_pct": 1.0, "resize": "crop",
}  # fmt: skip


@pytest.fixture(scope="module")
def config():
    return OmegaConf.to_container(runs.compose([*runs.QUICK, "model.net.hidden=[4]"]))


@pytest.fixture
def saved(config, tmp_path):
    """Write a checkpoint with the given config, and return its path."""
    net = build.make(OmegaConf.create(config["model"]["net"]))
    state = {f"net.{k}": v for k, v in net.state_dict().items()}

    def write(config=config, about=(), **more):
        about = dict(about)
        about = {"version": 1, "config": config, "classes": list("0123456789"), "preprocessing": HOW, **about}
        torch.save({"state_dict": state, "fovea": about} | more, tmp_path / "best.ckpt")
        return tmp_path / "best.ckpt"

    return write


def changed(config, key, value):
    copy = OmegaConf.create(config)
    OmegaConf.update(copy, key, value, merge=False, force_add=True)
    return OmegaConf.to_container(copy)


def test_rebuilds_from_the_file_alone(saved):
    loaded = checkpoint.load(saved())
    net = checkpoint.rebuild(loaded)
    assert not net.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, loaded["state_dict"][f"net.{name}"])
    assert net(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


class Code:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_pickle_that_calls_a_function_is_refused(saved, tmp_path):
    mark = tmp_path / "ran"
    path = saved(extra=Code(mark))
    with pytest.raises(UsageError, match=r"best\.ckpt is refused: .*tensors"):
        checkpoint.load(path)
    assert not mark.exists()
    path.write_bytes(pickle.dumps(Code(mark)))
    with pytest.raises(UsageError, match=r"best\.ckpt"):
        checkpoint.load(path)
    assert not mark.exists()
    torch.load(saved(extra=Code(mark)), weights_only=False)  # the trap does work
    assert mark.exists()


FOREIGN = [
    "os.system",
    "builtins.eval",
    "subprocess.run",
    "hydra.utils.get_object",
    "fovea.sweep.job_process.subprocess.Popen",  # out of one of the suite's own files
    "fovea.files.write_text",
    "fovea.data.fetch.download.fetch",
    "fovea.data.fetch.download.urllib.request.urlopen",
    "fovea.models._weights.read_state",
    "fovea.callbacks.checkpoint.shutil.rmtree",
    "fovea.callbacks.checkpoint._copy",
    "fovea.config.cli.command",
    "torch.load",
    "torch.hub.load",
    "torch.nn.modules.module.os.system",
    "torch.nn.parallel.distributed.os.system",
    "torch.nn.init.torch.load",
    "torch.nn.Linear.__init__.__globals__",
    "torch.optim.optimizer.functools.partial",
    "torchvision.models._api.importlib.import_module",
    "timm.layers.torch.load",
    "albumentations.core.serialization.load",
    "fovea.models",
    "",
    None,
    7,
    ["os.system"],
]
PLACES = [
    "model.net._target_",
    "callbacks.x._target_",
    "augment.sample.x.transforms",
    "task.criterion._target_",
]


@pytest.mark.parametrize("target", FOREIGN)
@pytest.mark.parametrize("place", PLACES)
def test_a_config_that_calls_something_else_is_refused(saved, config, target, place):
    inside = [{"_target_": "albumentations.NoOp", "p": {"_target_": target}}]
    value = target if place.endswith("_target_") else inside
    with pytest.raises(UsageError) as error:
        checkpoint.load(saved(changed(config, place, value)))
    at = place.removesuffix("._target_") if place.endswith("_target_") else f"{place}[0].p"
    assert f"{target!r} at {at}," in str(error.value)


@pytest.mark.parametrize(
    "target",
    [
        "fovea.models._weights.Path",
        "fovea.models.timm.Any",
        "torch.nn.modules.module.OrderedDict",
        "torch.nn.modules.module.namedtuple",
        "torch.nn.parallel.distributed.defaultdict",
    ],
)
def test_a_name_that_a_module_imported_from_elsewhere_is_refused(saved, config, target):
    with pytest.raises(UsageError, match="refused"):
        checkpoint.rebuild(checkpoint.load(saved(changed(config, "model.net", {"_target_": target}))))


def test_nothing_is_called_in_a_refused_config(saved, config, tmp_path):
    mark = tmp_path / "ran"
    trap = {"_target_": "fovea.engine.summary.subprocess.run", "_args_": [["touch", str(mark)]]}
    with pytest.raises(UsageError, match="refused"):
        checkpoint.load(saved(changed(config, "model.net.hidden", trap)))
    assert not mark.exists()


def test_interpolations_are_refused_and_not_evaluated(saved, config, monkeypatch):
    monkeypatch.setenv("FOVEA_SECRET", "1")
    for text in ("${oc.env:FOVEA_SECRET}", "x ${oc.env:HOME}", "${data.name}"):
        with pytest.raises(UsageError) as error:
            about = OmegaConf.to_container(OmegaConf.create(changed(config, "model.net.hidden", ["X"])))
            about["model"]["net"]["hidden"][0] = text
            checkpoint.load(saved(about))
        assert f"{text!r} at model.net.hidden[0]," in str(error.value)


def test_a_config_cannot_bring_its_own_whitelist(saved, config):
    node = {"_target_": "torch.nn.Identity", "_execution_whitelist_": ["os.*"]}
    with pytest.raises(UsageError, match=r"refused: .* at model\.net"):
        checkpoint.load(saved(changed(config, "model.net", node)))


def test_a_network_is_built_of_layers_only(saved, config):
    node = {"_target_": "lightning.pytorch.Trainer"}  # fine as a trainer, not as a network
    with pytest.raises(UsageError, match=r"refused: .*lightning\.pytorch\.Trainer"):
        checkpoint.rebuild(checkpoint.load(saved(changed(config, "model.net", node))))


def test_every_target_of_the_suite_may_travel_in_a_checkpoint():
    targets = set()
    for file in (runs.ROOT / "conf").rglob("*.yaml"):
        node = OmegaConf.to_container(OmegaConf.load(file))
        targets |= set(
            _targets(node if "hydra" not in node else {k: v for k, v in node.items() if k != "hydra"})
        )
    assert len(targets) > 20
    ours = {t for t in targets if not t.startswith(("hydra", "optuna"))}
    assert ours <= set(_known(training()))


def _known(slot):
    yield from slot.targets
    for below in slot.below.values():
        yield from _known(below)


def _targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    for child in node if isinstance(node, list) else []:
        yield from _targets(child)


def test_files_that_are_no_checkpoint(tmp_path, saved):
    with pytest.raises(UsageError, match=r"no checkpoint .*last\.ckpt"):
        checkpoint.load(tmp_path / "last.ckpt")
    path = saved()
    with pytest.raises(UsageError, match=r"no checkpoint .*last\.ckpt; found: best\.ckpt"):
        checkpoint.load(tmp_path / "last.ckpt")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no checkpoint at all", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"best\.ckpt (cannot be read|is refused)"):
            checkpoint.load(path)
    for content in ({"state_dict": {}}, [1], torch.zeros(1), {"fovea": 3}, {"fovea": {"classes": []}}):
        torch.save(content, path)
        with pytest.raises(UsageError, match=r"best\.ckpt"):
            checkpoint.load(path)


@pytest.mark.parametrize(
    ("about", "named"),
    [
        ({"classes": list("01234")}, r"5 names.*data\.num_classes is 10"),
        ({"classes": "0123456789"}, "classes"),
        ({"classes": [0] * 10}, "classes"),
        ({"classes": ["x" * 10_000] * 10}, "classes"),
        ({"preprocessing": None}, "preprocessing"),
        ({"preprocessing": HOW | {"image_size": [10**9, 1]}}, "image_size"),
        ({"preprocessing": HOW | {"mean": [float("nan")]}}, "mean"),
        ({"preprocessing": HOW | {"std": [0.0]}}, "std"),
        ({"preprocessing": HOW | {"resize": "../x"}}, "resize"),
        ({"preprocessing": HOW | {"open": "x"}}, "open"),
        ({"splits": {"train": ["a"]}}, "splits"),
        ({"splits": {"elsewhere": "a"}}, "splits"),
        ({"palette": [[0, 0, 256]]}, "palette"),
        ({"vocabulary": [1]}, "vocabulary"),
        ({"version": 2}, "version"),
        ({"hook": "x"}, "hook"),
    ],
)
def test_what_no_run_writes_beside_the_config_is_refused(saved, about, named):
    with pytest.raises(UsageError, match=rf"best\.ckpt is refused: .*{named}.*checkpoint="):
        checkpoint.load(saved(about=about))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s | {"net.bomb": torch.zeros(1)}, "bomb is none of its tensors"),
        (lambda s: {k.replace("head.w", "neck.w"): v for k, v in s.items()}, r"lacks head\.weight"),
        (lambda s: s | {"net.head.bias": torch.zeros(3)}, r"head\.bias is \[3\], the network's \[10\]"),
        (lambda s: s | {"net.head.bias": torch.zeros(1).expand(10)}, r"head\.bias stands for more values"),
        (lambda s: s | {"net.head.bias": torch.zeros(10).to_sparse()}, r"head\.bias is no plain tensor"),
        (lambda s: s | {"net.head.bias": [0.0] * 10}, r"head\.bias is no plain tensor"),
        (lambda s: s | {7: torch.zeros(1)}, "name '7'"),
        (lambda s: list(s), "state_dict"),
    ],
)
def test_tensors_that_are_not_those_of_the_network(saved, config, change, said):
    state = torch.load(saved(), weights_only=True)["state_dict"]
    path = saved(state_dict=change(state))
    with pytest.raises(UsageError, match=rf"best\.ckpt .*{said}.*use another checkpoint"):
        checkpoint.rebuild(checkpoint.load(path), path)


@pytest.mark.parametrize(
    "options", [{"hidden": [10**6, 10**6]}, {"hidden": [30_000, 30_000]}, {"hidden": [1] * 12_000}]
)
def test_a_network_that_outgrows_its_weights_is_not_built(saved, config, options):
    node = {**config["model"]["net"], **options}
    path = saved(changed(config, "model.net", node))
    with pytest.raises(UsageError, match=r"best\.ckpt is refused: .*larger than the weights"):
        checkpoint.rebuild(checkpoint.load(path), path)


def test_an_archive_that_unfolds_is_refused(saved):
    path = saved(extra=torch.zeros(2**22))
    whole = path.with_name("whole.ckpt")
    path.rename(whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(UsageError, match=r"best\.ckpt is refused: .* bytes unfold to"):
        checkpoint.load(path)


def test_no_message_quotes_torch(saved):
    path = saved(extra=torch.nn.Linear(1, 1))
    with pytest.raises(UsageError, match=r"could run code") as error:
        checkpoint.load(path)
    assert "weights_only" not in str(error.value) and "\x1b" not in str(error.value)
    path.write_text("a plain text file")
    with pytest.raises(UsageError, match=r"best\.ckpt cannot be read") as error:
        checkpoint.load(path)
    assert "run code" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], ["compile=true"], ["+callbacks.ema._target_=fovea.callbacks.ema.EMA"]])
def test_a_trained_one_is_plain_and_whole(extra, tmp_path):
    run_dir = tmp_path / "run"
    if extra == ["compile=true"] and not _compiles():
        pytest.skip("no C++ compiler for torch.compile")
    assert runs.train([*runs.QUICK, "trainer.max_epochs=1", *extra], run_dir=run_dir) == 0, runs.output(
        run_dir
    )
    moved = tmp_path / "alone.ckpt"
    (run_dir / "checkpoints" / "best.ckpt").rename(moved)
    loaded = torch.load(moved, weights_only=True)
    about = loaded["fovea"]
    assert about["classes"] == [str(i) for i in range(10)]
    assert about["preprocessing"]["image_size"] == [28, 28] and about["preprocessing"]["channels"] == 1
    assert about["config"]["model"]["net"]["_target_"] == "fovea.models.mlp.MLP"
    net = checkpoint.rebuild(checkpoint.load(moved))
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def _compiles():
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        return bool(get_cpp_compiler())
    except Exception:
        return False
