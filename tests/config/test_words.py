"""Bad command lines: each is refused in one message that names the key and the remedy, without torch."""

import re
import subprocess
import sys

import pytest

from fovea.config import cli
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
    (["eval", "run=null"], r"run= is empty.*run=DIR"),
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
]


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
    assert not re.search(r"Exception|Traceback|hydra\.cc|KeyError|NoneType|[a-z]Error\b", text), text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "word", "said"),
    [
        ("train", "+optimizr=adamw", "optimizr"),
        ("export", "format=coreml", "coreml"),
        ("eval", "accelerator=nope", "accelerator"),
    ],
)
def test_a_wrong_word_is_answered_without_torch(name, word, said, tmp_path):
    code = "import sys\nfrom fovea.config.cli import command\n"
    code += f"try: command({name!r})\nfinally: print('torch' in sys.modules)"
    words = [word] if name == "train" else [word, "run=/"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(runs.ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == "False\n" and said in done.stderr


def test_the_last_member_counts_and_the_earlier_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["src/train.py", "model=cnn", "model=mlp", "--cfg", "job"])
    with pytest.raises(SystemExit):
        cli.command("train")
    shown = capsys.readouterr()
    assert "fovea.models.mlp" in shown.out.lower() and shown.err.count("warning: model=cnn") == 1
