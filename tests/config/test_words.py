"""Bad command lines: each is refused in one message that names the key and the remedy, without torch."""

import json
import re
import statistics
import subprocess
import sys

import pytest

from fovea.config import cli
from fovea.config.overrides import for_shell, parse
from helpers import runs

BAD = [  # command line, what its message matches
    (["train", "~model"], r"~model.*model=NAME.*cnn"),
    (["train", "~optimizer"], r"~optimizer.*optimizer=NAME.*adamw"),
    (["train", "model=null"], r"model=null.*model=NAME.*cnn"),
    (["train", "data=null"], r"data=null.*data=NAME.*digits"),
    (["train", "experiment=null"], r"experiment=null.*cnn_digits"),
    (["train", "model=[cnn,mlp]"], r"model=\[cnn,mlp\].*-m model=a,b"),
    (["train", "model={a:1}"], r"model=\{a:1\}.*model=NAME"),
    (["train", "checkpoint.dirpath=/elsewhere"], r"checkpoint\.dirpath=/elsewhere.*run_dir=DIR"),
    (["train", "model="], r"model=NAME.*cnn"),
    (["train", "model=cnn,mlp"], r"model=cnn,mlp.*-m"),
    (["train", "seed=range(1,3)"], r"seed=range\(1,3\).*-m"),
    (["train", "model.dropout"], r"'model\.dropout' has no value.*model\.dropout=VALUE"),
    (["train", "seed"], r"'seed'.*seed=VALUE"),
    (["train", "=3"], r"'=3'.*KEY=VALUE"),
    (["train", "data.mean=[0.5"], r"data\.mean=\[0\.5.*bracket.*data\.mean=\[a,b\]"),
    (["train", "model.net={a:1"], r"model\.net=\{a:1.*bracket"),
    (["train", "data.mean=0.5]"], r"data\.mean=0\.5\].*quote"),
    (["train", "data.root=/a=b"], r"data\.root=/a=b.*'/a=b'"),
    (["train", "data.root=/a[1]/b"], r"data\.root.*'/a\[1\]/b'"),
    (["train", "data.root=/a(1)"], r"data\.root.*'/a\(1\)'"),
    (["train", "data.root=/a b=c"], r"data\.root.*'/a b=c'"),
    (["train", "data.root=/a,b"], r"data\.root=/a,b.*'/a,b'"),
    (["train", "~nonsense"], r"unknown key 'nonsense'"),
    (["train", "resume=maybe"], r"resume is 'maybe'.*auto"),
    (["train", "hydra.sweep.dir="], r"run_dir=DIR.*sweep_dir=DIR"),
    (["train", "hydra.run.dir=x"], r"run_dir=DIR"),
    (["train", "+optimizr=adamw"], r"'optimizr'.*nearest: optimizer"),
    (["train", "+foo=1"], r"'foo': nothing reads it"),
    (["train", "++foo=1"], r"'foo': nothing reads it"),
    (["train", "+lr=0.1"], r"'lr'.*nearest: optimizer\.lr"),
    (["train", "+model.foo=1"], r"'model\.foo'.*model\.net"),
    (["train", "+callbacks.x.patience=3"], r"'callbacks\.x\.patience'"),
    (["train", "+callbacks.foo=1"], r"callbacks\.foo .*_target_"),
    (["train", "callbacks=none", "callbacks.ema.decay=0.9"], r"callbacks\.ema"),
    (["eval", "run=x", "seed"], r"'seed'.*seed=VALUE"),
    (["eval", "run=a,b"], r"run=a,b.*quote"),
    (["train", "~seed"], r"~seed.*seed=VALUE"),
    (["train", "~run_dir"], r"~run_dir.*run_dir=VALUE"),
    (["train", "~metrics.monitor"], r"~metrics\.monitor.*metrics\.monitor=VALUE"),
    (["train", "~logger"], r"~logger.*logger=VALUE"),
    (["train", "+model=cnn"], r"\+model=cnn.*write model=cnn"),
    (["train", "+experiment=cnn_digits"], r"write experiment=cnn_digits"),
    (["eval", "~run"], r"~run.*run=VALUE"),
    (["eval", "run="], r"run= is empty.*run=DIR"),
    (["eval", "run=null"], r"give run=DIR, or model=timm.*data_root=DIR"),
    (["eval", "run=nowhere"], r"run=nowhere.*no run directory"),
    (["eval", "run=/", "checkpoint=nope"], r"checkpoint=nope.*best, last"),
    (["eval", "run=/", "accelerator=nope"], r"accelerator is 'nope'.*cpu"),
    (["eval", "run=/", "batch_size=0"], r"batch_size is 0.*at least 1"),
    (["eval", "run=/", "batch_size=abc"], r"batch_size is 'abc'.*at least 1"),
    (["eval", "run=/", "num_workers=-1"], r"num_workers is -1.*auto"),
    (["eval", "run=/", "num_workers=9999"], r"num_workers=9999.*num_workers=auto"),
    (["eval", "run=/", "split=nope"], r"split.*val, test"),
    (["predict", "run=nowhere", "input=x"], r"run=nowhere"),
    (["predict", "run=/", "input=x", "output="], r"output= is empty"),
    (["predict", "run=/", "input=x", "output=/dev/null"], r"output=/dev/null is a file"),
    (["explain", "run=/,nowhere"], r"run=nowhere"),
    (["explain", "run=/", "~method"], r"~method.*method=VALUE"),
    (["export", "run=/", "format=coreml"], r"format is 'coreml'.*onnx"),
    (["export", "run=/", "format="], r"format is ''.*onnx"),
    (["export", "run=/", "format=[onnx]"], r"format is \['onnx'\].*onnx"),
    (["export", "run=nowhere"], r"run=nowhere"),
    (["compare", "runs=a,b"], r"runs=a is not a directory"),
    (["compare", "runs=/dev", "accelerator=nope"], r"accelerator is 'nope'"),
    (["compare", "~runs"], r"~runs.*runs=VALUE"),
    (["data", "~data"], r"~data.*data=VALUE"),
    (["data", "data=digits", "action=nope"], r"action is 'nope'.*check"),
    (["eval", "+foo=1"], r"'foo': nothing reads it"),
    (["train", "--config-name=nope"], r"--config-name=nope.*experiment=NAME"),
    (["train", "--config-dir=/nonexistent"], r"--config-dir=/nonexistent.*no folder"),
    (["train", "--nonsense"], r"--nonsense.*nonsense=VALUE"),
    (["train", "--multirum"], r"--multirum.*nearest: --multirun"),
    (["train", "--cfg=nope"], r"--cfg.*'job'"),
    (["train", "--config-name"], r"--config-name.*argument.*--help"),
    (["eval", "/tmp"], r"'/tmp' is a path.*run=/tmp"),
    (
        ["train", "data.root=${oc.env:ABSENT}"],
        r"data\.root.*ABSENT is not set.*ABSENT=VALUE",
    ),
    (["train", "name=${nope}"], r"name=.*'nope'.*does not exist"),
    (["train", "name=${foo:1}"], r"name=.*foo.*oc\.env"),
    (["train", "+seed=3"], r"\+seed=3.*write seed=3"),
    (["train", "model.net=cnn"], r"model\.net=cnn.*model=NAME"),
    (["train", "model.net=null"], r"model\.net=null.*model=NAME"),
    (["train", "model=timm", "model.net=x"], r"model\.net=x(?!.*in config key).*model=NAME"),
    (["train", "data.dataset=folder"], r"data\.dataset=folder.*data=NAME"),
    (["train", "metrics.values.acc=3"], r"metrics\.values\.acc=3.*acc\.num_classes="),
    (["train", "model=cnn", "model.net.depth=abc"], r"'model\.net\.depth'.*nearest: .*stage_depth"),
    (["train", "optimizer=adamw", "optimizer.momentum=0.9"], r"'optimizer\.momentum'.*optimizer\.betas"),
    (["train", "model.net.heads=abc"], r"model\.net\.heads is 'abc'.*an integer"),
    (["train", "model=cnn", "model.net.widths=64"], r"model\.net\.widths is 64.*a list, each an integer"),
    (["train", "model=cnn", "model.net.widths=[a]"], r"model\.net\.widths.*a list, each an integer"),
    (["train", "data.mean=0.5"], r"data\.mean is 0\.5.*\[0\.5\]"),
    (["train", "data.num_classes=x"], r"data\.num_classes is 'x'.*at least 0"),
    (["train", "data.flip=maybe"], r"data\.flip is 'maybe'.*true or false"),
    (["train", "data.targets=label"], r"data\.targets is 'label'.*a list"),
    (["train", "data.cache=maybe"], r"data\.cache is 'maybe'.*auto"),
    (["train", "metrics=segmentation"], r"metrics=segmentation.*task=segmentation"),
    (["train", "report=segmentation"], r"report=segmentation.*task=segmentation"),
    (["train", "model=tiny", "model.name=foo"], r"model\.name=foo.*model=timm model\.name=foo.*name=foo"),
    (["train", "model=cnn", "model.pretrained=true"], r"model\.pretrained=true.*model=cnn.*model=timm"),
    (["train", "optimizer.betas=[0.9]"], r"optimizer\.betas is \[0\.9\].*two numbers"),
    (["train", "optimizer.fused=perhaps"], r"optimizer\.fused is 'perhaps'.*true or false"),
    (["train", "task.label_smoothing=x"], r"task\.label_smoothing is 'x'.*a number"),
    (["train", "task.tta=flip"], r"task\.tta is 'flip'.*a list"),
    (["train", "trainer.max_epochs=-1"], r"trainer\.max_epochs=-1 without trainer\.max_steps has no end"),
    (["train", "trainer.max_steps=abc"], r"trainer\.max_steps is 'abc'.*at least 1"),
    (["train", "trainer.limit_train_batches=-1"], r"trainer\.limit_train_batches is -1.*a share"),
    (["train", "trainer.check_val_every_n_epoch=0"], r"trainer\.check_val_every_n_epoch is 0.*at least 1"),
    (["train", "trainer.num_sanity_val_steps=2"], r"write \+trainer\.num_sanity_val_steps=VALUE"),
    (["train", "metrics=segmentation_isic"], r"choose task=segmentation$"),
    (["train", "callbacks=lr_monitor"], r"callbacks\.lr_monitor writes to a logger.*logger=tensorboard"),
    (["train", 'tags=[ümläut,"woche 3"]'], r"\"tags=\['ümläut','woche 3'\]\""),
    (["train", "+trainer.val_check_interval=0"], r"trainer\.val_check_interval is 0.*share of an epoch"),
    (["train", "trainer.deterministic=maybe"], r"trainer\.deterministic is 'maybe'.*warn"),
    (["train", "trainer.fast_dev_run=maybe"], r"trainer\.fast_dev_run is 'maybe'.*true or false"),
    (["train", "trainer.devices=99", "trainer=cpu"], r"trainer\.devices=99.*trainer\.devices=auto"),
    (["train", "trainer.strategy=magic"], r"trainer\.strategy is 'magic'.*auto, ddp"),
    (["train", "trainer.profiler=nope"], r"trainer\.profiler is 'nope'.*null, simple"),
    (["train", "trainer=cpu", "trainer.devices=[0,1]"], r"trainer\.devices=\[0, 1\].*trainer\.devices=2"),
    (["train", "trainer=cpu", "trainer.devices=-1"], r"trainer\.devices=-1.*'cpu'.*trainer\.devices=2"),
    (["train", "trainer=cpu", "trainer.strategy=fsdp"], r"trainer\.strategy=fsdp.*'cpu'.*trainer=ddp"),
    (["train", "checkpoint.every_n_epochs=abc"], r"checkpoint\.every_n_epochs is 'abc'.*at least 1"),
    (["train", "scheduler.warmup_epochs=-1"], r"scheduler\.warmup_epochs is -1.*at least 0"),
    (["train", "callbacks=ema", "callbacks.ema.decay=abc"], r"callbacks\.ema\.decay is 'abc'.*a number"),
    (["train", "augment=mixup", "augment.batch.mixup.alpha=x"], r"augment\.batch\.mixup\.alpha.*a number"),
    (["train", "+optimizer.foo=1"], r"'optimizer\.foo'.*nearest: .*optimizer\.foreach"),
    (["train", "~optimizer.lr"], r"~optimizer\.lr.*optimizer\.lr=VALUE"),
    (["train", "~data.batch_size"], r"~data\.batch_size.*data\.batch_size=VALUE"),
    (["train", "~data.root"], r"~data\.root.*data\.root=VALUE"),
    (["eval", "run=/", "full_size=maybe"], r"full_size is 'maybe'.*true or false"),
    (["eval", "run=/", "data_root=/nowhere"], r"data_root=/nowhere.*no such path"),
    (["eval", f"run={__file__}"], r"run=.*test_words\.py is neither.*run=DIR"),
    (["explain", "run=/", "method=grad_cam,nope"], r"method=nope does not exist.*grad_cam"),
    (["explain", "run=/", "method=null"], r"method=null.*method=NAME.*grad_cam"),
    (["explain", "run=/", "method.grad_cam.stretch=maybe"], r"method\.grad_cam\.stretch.*true or false"),
    (
        ["explain", "model=timm", "model.checkpoint=/no.pth", "input=x"],
        r"model\.checkpoint=/no\.pth.*no such file",
    ),
    (["predict", "model=timm", "model.checkpoint=/", "input=x"], r"model\.checkpoint=/: .*give a file"),
    (["train", "model=timm", "model.checkpoint=/no.pth"], r"model\.checkpoint=/no\.pth.*leave it out"),
    (["train", "tags=week3,vit"], r"tags=week3,vit.*tags=\['week3','vit'\]"),
    (["train", "logger=csv,wandb"], r"logger=csv,wandb.*logger=\['csv','wandb'\]"),
    (["train", "model=cnn,mlp"], r"model=cnn,mlp.*add -m.*one$"),
    (["train", "tags={a:1}"], r"tags=\{a:1\}.*tags=\[a,b\]"),
    (["train", "optimizer=[adam]"], r"optimizer=\[adam\].*optimizer=NAME"),
    (["train", "model.net=[1]"], r"model\.net=\[1\].*model\.net\..*="),
    (["explain", "run=/", "number=0"], r"number is 0.*at least 1"),
    (["predict", "run=/", "input="], r"input= is empty.*input=PATH"),
    (["predict", "run=/", "input=x", "annotate=maybe"], r"annotate is 'maybe'.*all"),
    (["predict", "run=/", "input=x", "data.image_size=0"], r"data\.image_size is 0.*height,width"),
    (["predict", "run=/", "input=x", "data.image_size=32"], r"data\.image_size=32.*without a run.*model="),
    (["predict", "run=/", "input=x", "output=/dev/null/x"], r"output=/dev/null/x cannot be made"),
    (["export"], r"run= is missing.*run=DIR"),
    (["export", "run=/", "opset=abc"], r"opset is 'abc'.*at least 1"),
    (["export", "run=/", "tolerance=abc"], r"tolerance is 'abc'.*1e-4"),
    (["compare", "runs=null"], r"runs= is empty.*runs=PATH"),
    (["compare", "runs=/dev", "mode=up"], r"mode is 'up'.*max, min"),
    (["compare", "runs=/dev", "rounds=0"], r"rounds is 0.*at least 1"),
    (["data", "data=null", "action=check"], r"data=null.*data=NAME.*digits"),
    (["data", "data=digits", "action=preview", "versions=0"], r"versions is 0.*at least 1"),
    (["data", "data=digits", "action=check", "data.mean=x"], r"data\.mean is 'x'.*a list"),
]
INTERNAL = (
    r"Exception|Traceback|hydra\.cc|KeyError|NoneType|[a-z]Error\b|full_key|object_type|in struct|"
    r"Could not override|<class|typing\.|collections\.abc|unexpected keyword"
)


@pytest.mark.parametrize(("line", "message"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_a_bad_command_line_names_key_and_remedy(line, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    name, *words = line
    monkeypatch.setattr(sys, "argv", [f"src/{name}.py", *words])
    with pytest.raises(SystemExit) as stop:
        cli.command(name)
    text = capsys.readouterr().err
    assert stop.value.code == 2 and text.startswith("error: ") and text.count("error:") == 1
    assert re.search(message, text, flags=re.DOTALL), text
    assert not re.search(INTERNAL, text), text
    assert list(tmp_path.iterdir()) == []


EACH = """
import json, os, sys, time
from fovea.config.cli import command

def run(name, words):
    begin, child = time.perf_counter(), os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = [f"src/{name}.py", *words]
        try:
            command(name)
        finally:
            os._exit("torch" in sys.modules)
    torch = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return torch, time.perf_counter() - begin

print(json.dumps([run(name, words) for name, *words in json.loads(sys.argv[1])]))
"""


@pytest.mark.slow
def test_wrong_choices_are_answered_without_torch_about_as_fast_as_help(tmp_path):
    lines = [["train", "--help"], *(line for line, _ in BAD[::2])]
    done = subprocess.run(
        [sys.executable, "-c", EACH, json.dumps(lines)], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(runs.ROOT / "src")},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert [line for line, (torch, _) in zip(lines, found, strict=True) if torch] == []
    base, *seconds = [spent for _, spent in found]
    assert statistics.median(seconds) < 3 * base


@pytest.mark.parametrize(
    "value", ["/a b", "/a=b", "/a[1]", "/ä/ö", "/a,b", "it's", 'a"b=c', "$HOME=x", "a!b=c", "/a(1)", "a\\b=c"]
)
def test_a_proposed_word_survives_the_shell_and_the_grammar(value):
    word = for_shell("data.root", value)
    (given,) = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {word}"], capture_output=True, text=True, check=True
    ).stdout.split("\0")[:-1]
    (override,) = parse([given]).overrides
    assert override.key_or_group == "data.root" and override.value() == value


def test_the_last_member_counts_and_the_earlier_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["src/train.py", "model=cnn", "model=mlp", "--cfg", "job"])
    with pytest.raises(SystemExit):
        cli.command("train")
    shown = capsys.readouterr()
    assert "fovea.models.mlp" in shown.out.lower() and shown.err.count("warning: model=cnn") == 1
