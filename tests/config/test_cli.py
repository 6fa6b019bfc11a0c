import os
import re
import signal
import subprocess
import sys
import time

import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from fovea import errors
from fovea.config import build, cli
from fovea.config.cli import fold
from fovea.config.groups import member
from fovea.engine import train
from helpers import processes, runs

EXPERIMENTS = sorted(p.stem for p in (runs.ROOT / "conf" / "experiment").glob("*.yaml"))


@pytest.fixture
def shell(monkeypatch, capsys, tmp_path, own_process):
    """Run a command as a shell would; return exit code, output and messages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOVEA_TRACEBACK", raising=False)

    def run(*words, name="train"):
        monkeypatch.setattr(sys, "argv", [f"src/{name}.py", *words])
        with pytest.raises(SystemExit) as stop:
            cli.command(name)
        return (stop.value.code, *capsys.readouterr())

    return run


def unfolded(text):
    while found := re.search(r"([\w]*){([\w,]+)}", text):  # the innermost braces first
        words = ",".join(found[1] + end for end in found[2].split(","))
        text = text[: found.start()] + words + text[found.end() :]
    return sorted(re.split(r",\s*", text.strip()))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["cnn_digits", "cnn_fashion", "folder"], "cnn_{digits,fashion}, folder"),
        (["a_b", "a_b_c", "a_b_d", "ab"], "a_{b,b_{c,d}}, ab"),
        (["a", "a_b", "a_c_1", "a_c_2"], "a, a_{b,c_{1,2}}"),
        (["csv", "wandb"], "csv, wandb"),
    ],
)
def test_names_that_begin_alike_are_folded(names, text):
    assert fold(names) == text and unfolded(text) == names


def test_help_fits_one_screen_and_names_every_experiment(shell):
    for flag in ("--help", "-h"):
        code, out, err = shell(flag)
        assert code == 0 and err == ""
        lines = out.rstrip().splitlines()
        assert len(lines) <= 45 and max(map(len, lines)) <= 120
        text = re.split(r"\n(?! )", out.split("experiment: ")[1])[0]
        assert unfolded(text) == EXPERIMENTS
        for key in ("optimizer.lr", "data.batch_size", "trainer.max_epochs", "seed", "run_dir", "resume"):
            assert key in out


def test_help_fits_one_screen_with_many_more_experiments(shell, tmp_path):
    more = tmp_path / "more" / "experiment"
    more.mkdir(parents=True)
    for i in range(20):
        (more / f"another_experiment_{i}.yaml").write_text("# @package _global_\n")
    code, out, _ = shell("--config-dir", str(tmp_path / "more"), "--help")
    lines = out.rstrip().splitlines()
    assert code == 0 and len(lines) <= 45 and max(map(len, lines)) <= 120
    assert sum("another_experiment_" in line for line in lines) == 1


@pytest.mark.parametrize(("name", "wanted"), [("eval", "split: test"), ("predict", "input: ???")])
def test_help_of_the_other_commands(shell, name, wanted):
    code, out, _ = shell("--help", name=name)
    assert code == 0 and wanted in out
    lines = out.rstrip().splitlines()
    assert len(lines) <= 45 and max(map(len, lines)) <= 120


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (errors.UsageError("say it so"), 2, "error: say it so\n"),
        (RuntimeError("it broke"), 1, "error: RuntimeError: it broke\n"),
        (errors.Interrupted(signal.SIGTERM), 143, ""),
        (errors.Interrupted(signal.SIGINT), 130, ""),
        (KeyboardInterrupt(), 130, "stopped by SIGINT\n"),
    ],
)
def test_exit_codes_and_one_message(shell, monkeypatch, error, code, message):
    def main(config):
        raise error

    monkeypatch.setattr(train, "main", main)
    assert shell("experiment=mlp_digits") == (code, "", message)


@pytest.mark.parametrize(
    ("given", "packages"),
    [
        ("json, os.path ,", ["json.*", "os.path.*"]),
        ("a/b", None),
        ("*", None),
        ("a b", None),
        ("not_there.a", None),
    ],
)
def test_packages_let_in_by_the_environment(given, packages):
    code = "from fovea.config import cli; print(*cli.PACKAGES); cli.command('train')"
    env = {**os.environ, "PYTHONPATH": str(runs.ROOT / "src"), "FOVEA_PACKAGES": given}
    done = subprocess.run(
        [sys.executable, "-c", code, "--cfg", "job"], env=env, capture_output=True, text=True
    )
    if packages is None:
        assert done.returncode == 2 and "FOVEA_PACKAGES" in done.stderr
        assert ("PYTHONPATH=" in done.stderr) == given.startswith("not_there")
    else:
        assert done.returncode == 0 and done.stdout.splitlines()[0].split() == packages


def test_success_is_zero(shell, monkeypatch):
    monkeypatch.setattr(train, "main", lambda config: 0.5)
    assert shell("experiment=mlp_digits") == (0, "", "")


@pytest.mark.alone
def test_ctrl_c_while_composing(shell, monkeypatch):
    def load(file):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(OmegaConf, "load", load)  # Hydra reads every file with it
    monkeypatch.setattr(train, "main", lambda config: pytest.fail("it started"))
    assert shell("experiment=mlp_digits") == (130, "", "stopped by SIGINT\n")


@pytest.mark.alone
def test_ctrl_c_while_importing(tmp_path):
    (tmp_path / "torch.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, str(runs.ROOT / "src" / "eval.py"), f"run={tmp_path}"]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=30)[1]
    assert process.returncode == 130 and "Traceback" not in err, err


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.UsageError("say it so"), 2), (ValueError("no such"), 2), (errors.ProcessFailed("it broke"), 1)],
)
def test_a_traceback_on_request_only(shell, monkeypatch, error, code):
    def main(config):
        raise error

    monkeypatch.setattr(train, "main", main)
    assert "Traceback" not in shell("experiment=mlp_digits")[2]
    monkeypatch.setenv("FOVEA_TRACEBACK", "1")
    found, _, err = shell("experiment=mlp_digits")
    assert found == code and "Traceback (most recent call last)" in err and "in main" in err
    assert err.endswith(f"error: {error}\n")
    monkeypatch.setenv("FOVEA_TRACEBACK", "0")
    assert "Traceback" not in shell("experiment=mlp_digits")[2]


def test_a_folder_that_is_gone_is_said(tmp_path):
    gone = tmp_path / "gone"
    script = (
        f"cd {gone} && rmdir {gone} && exec {sys.executable} {runs.ROOT}/src/train.py experiment=mlp_digits"
    )
    gone.mkdir()
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 2 and "deleted or renamed" in done.stderr and done.stderr.count("\n") == 1


def test_the_message_reaches_the_file_that_a_sweep_reads(shell, monkeypatch, tmp_path):
    monkeypatch.setenv(errors.FILE, str(tmp_path / "message"))
    shell("optimizer.lrr=1")
    assert "unknown key 'optimizer.lrr'" in (tmp_path / "message").read_text()


@pytest.mark.parametrize(
    "target",
    [
        "fovea.files.write_text",
        "fovea.data.fetch.download.fetch",
        "fovea.engine.summary.subprocess.run",
        "fovea.engine.train.run",
        "subprocess.run",
        "os.system",
        "builtins.eval",
        "torch.hub.load",
        "torch.load",
        "shutil.rmtree",
    ],
)
def test_a_config_cannot_start_processes_or_download(target):
    node = OmegaConf.create({"_target_": target})
    with pytest.raises(InstantiationException, match="whitelist"):
        build.make(node)


def test_a_reported_error_is_not_said_twice(shell, monkeypatch):
    def main(config):
        error = RuntimeError("it broke")
        error.fovea_reported = True
        raise error

    monkeypatch.setattr(train, "main", main)
    assert shell("experiment=mlp_digits") == (1, "", "")


BROKEN = """
import sys
sys.path.insert(0, {src!r})
from fovea.tasks.classification.task import Classification

def broken(self, batch, batch_idx):
    raise ValueError("every process is broken")

Classification.training_step = broken
from fovea.config.cli import command
command("train")
"""


@pytest.mark.slow
def test_an_error_in_every_process_is_said_once(tmp_path):
    run_dir, script = tmp_path / "run", tmp_path / "train.py"
    script.write_text(BROKEN.format(src=str(runs.ROOT / "src")))
    process = processes.launch(
        *runs.QUICK,
        *processes.TWO,
        "finetune=head_only",
        "model.net.hidden=[4]",
        run_dir=run_dir,
        script=script,
    )
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 2 and "Traceback" not in err  # no step was made
    assert err.count("error: every process is broken\n") == 1, err
    assert err.count("every process is broken") == 1 and err.count("is frozen;") == 1
    assert not run_dir.exists()  # nothing was trained


STOPPING = ["experiment=mlp_digits", "callbacks=early_stopping", "trainer=cpu"]
MONITORS = [
    (["metrics.monitor=val/nonsense"], ["metrics.monitor=val/nonsense", "val/acc", "train/loss"]),
    (["checkpoint.monitor=x"], ["checkpoint.monitor=x", "val/acc"]),
    (["callbacks.early_stopping.monitor=val/los"], ["callbacks.early_stopping.monitor", "val/loss"]),
    (["metrics.monitor=val/loss"], ["metrics.mode=min"]),
    (["checkpoint.monitor=val/loss"], ["checkpoint.mode=min"]),
    (["metrics.monitor=val/ece"], ["val/ece", "metrics.mode=min"]),
    (["metrics.mode=min"], ["val/acc", "metrics.mode=max"]),
    (["trainer.limit_val_batches=0"], ["callbacks.early_stopping.monitor", "limit_val_batches"]),
    (["experiment=unet_scenes", "metrics.monitor=val/loss_focal"], ["val/loss_dice", "val/iou"]),
]


@pytest.mark.parametrize(("words", "said"), MONITORS)
def test_what_is_monitored_is_logged_and_its_best_the_better(shell, tmp_path, words, said):
    code, _, err = shell(*STOPPING, *words, f"run_dir={tmp_path}/run")
    assert code == 2 and all(part in err for part in said), err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_images_too_small_for_a_network_are_named(shell, tmp_path):
    code, _, err = shell(
        "model=cnn", "data.image_size=1", "trainer=cpu", "data.num_workers=0", f"run_dir={tmp_path}/run"
    )
    assert code == 1 and "data.image_size (1) is too small" in err, err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.net={_target_:fovea.models.mlp.MLP}"], "+model.net.num_classes="),
        (["+callbacks.x={_target_:lightning.pytorch.callbacks.EarlyStopping}"], "+callbacks.x.monitor="),
        (["+augment.sample.x={_target_:albumentations.Resize,height:8}"], "+augment.sample.x.width="),
        (["data.dataset={_target_:fovea.data.datasets.folder.Folder}"], "_partial_: true"),
        (["--config-dir", "own", "optimizer=mine"], "optimizer is built when"),
        (["--config-dir", "own", "callbacks=mine"], "+callbacks.stop.monitor="),
    ],
)
def test_a_node_that_lacks_an_argument_is_refused_before_a_directory_is_made(shell, tmp_path, words, said):
    for group, text in {
        "optimizer": "{_target_: torch.optim.SGD, lr: 0.1}",
        "callbacks": "{stop: {_target_: lightning.pytorch.callbacks.EarlyStopping}}",
    }.items():
        (tmp_path / "own" / group).mkdir(parents=True)
        (tmp_path / "own" / group / "mine.yaml").write_text(text)
    code, _, err = shell(*words, "run_dir=run")
    assert code == 2 and said in err, err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("way", ["--config-dir={}", "--config-dir {}", "hydra.searchpath=[file://{}]"])
def test_a_member_from_outside_has_its_own_values_too(shell, tmp_path, way):
    (tmp_path / "more" / "model").mkdir(parents=True)
    (tmp_path / "more" / "model" / "mine.yaml").write_text(
        "name: mine\npretrained: false\nnet: {_target_: M}\n"
    )
    (tmp_path / "more" / "optimizer").mkdir()
    (tmp_path / "more" / "optimizer" / "own.yaml").write_text("_target_: torch.optim.SGD\nlr: 0.25\n")
    words = way.format(tmp_path / "more").split()
    code, out, err = shell(*words, "model=mine", "optimizer=own", "--cfg", "job")
    config = OmegaConf.create(out)
    assert code == 0, err
    assert config.model.net == {"_target_": "M"} and config.optimizer.lr == 0.25
    code, out, err = shell(*words, "model=mine", "optimizer=sgd", "--cfg", "job")
    assert OmegaConf.create(out).optimizer.lr == member("optimizer", "sgd")["lr"]
