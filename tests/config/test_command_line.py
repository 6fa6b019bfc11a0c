"""What a command line means: sweeps, studies, and group members chosen after an experiment."""

import random

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from fovea.config.command_line import rewrite
from fovea.config.overrides import nearest, parse, quote
from fovea.errors import UsageError


def test_no_member_is_reset_in_a_sweep_before_its_jobs():
    words = ["-m", "experiment=mlp_digits", "optimizer=sgd,adamw"]
    assert rewrite(words) == words


def test_a_study_makes_a_sweep():
    assert rewrite(["sweep=lr"]) == ["sweep=lr", "-m"]
    assert rewrite(["-m", "sweep=lr"]) == ["-m", "sweep=lr"]
    assert rewrite(["sweep=null"]) == ["sweep=null"]


@pytest.mark.parametrize("flag", ["-m", "--multirun", "--multi", "hydra.mode=MULTIRUN"])
def test_every_way_to_ask_for_a_sweep_is_known(flag):
    assert parse([flag, "seed=1"]).multirun
    assert not parse(["seed=1"]).multirun


def test_swept_experiments_name_their_sweep():
    words = ["-m", "experiment=base,deep/child"]
    (name,) = rewrite(words)[2:]
    assert OverridesParser.create().parse_override(name).value() == "base+deep_child"
    assert rewrite([*words, "sweep_name=x"]) == [*words, "sweep_name=x"]


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["-m", "seed=0,1", "run_dir=x"], "sweep_dir"),
        (["sweep=lr", "run_dir=x"], "sweep_dir"),
        (["-m", "seed=0,1", "resume=true"], "sweep_dir"),
        (["-m", "seed=0,1", "hydra.sweep.dir=x"], "sweep_dir"),
        (["-m", "sweep=lr,seeds"], "one preset"),
        (["sweep=lr", "sweep=seeds"], "one preset"),
        (["seed=1", "sweep_dir=x"], "-m"),
        (["sweep_name=x"], "-m"),
    ],
)
def test_what_a_sweep_cannot_do_is_refused_with_the_remedy(words, remedy):
    with pytest.raises(UsageError, match=remedy):
        rewrite(words)


@pytest.mark.parametrize(
    "text",
    ["", " ", "'", "\\", "\\'", "\\\\'", "a\\", "it's", '"', "a=b,c", "[1]", "{a:1}", "${x}", "null", "1e-3",
     "~a", "#", "C:\\dir\\", "tab\there", "日本"],
)  # fmt: skip
def test_text_that_the_grammar_reads_otherwise_survives_quoting(text):
    assert OverridesParser.create().parse_override(f"k={quote(text)}").value() == text


def test_any_text_survives_quoting():
    rng, parser = random.Random(0), OverridesParser.create()
    for _ in range(500):
        text = "".join(rng.choice("ab\\\\''\" =,[]{}:()%\t#~") for _ in range(rng.randint(0, 8)))
        assert parser.parse_override(f"k={quote(text)}").value() == text


@pytest.mark.parametrize(
    "value", [None, True, -3, 1e-5, "null", "1", [1, "a b", [None]], {"a": ["x'y"], "b": 2.5}]
)
def test_any_plain_value_survives_quoting(value):
    assert OverridesParser.create().parse_override(f"k={quote(value)}").value() == value


def test_flags_and_overrides_are_told_apart():
    line = parse(["-m", "--cfg", "job", "+note='a b=c'", "~sweep", "data.mean=[0.1, 0.2]", "--config-dir=x"])
    assert [o.key_or_group for o in line.overrides] == ["note", "sweep", "data.mean"]
    assert line.flags == ["-m", "--cfg", "job", "--config-dir=x"]


def test_the_nearest_key_is_found_by_its_last_part():
    assert nearest("learning_rate.lr", ["optimizer.lr", "data.root"])[0] == "optimizer.lr"
    assert nearest("optimzer", ["optimizer", "data"]) == ["optimizer"]
