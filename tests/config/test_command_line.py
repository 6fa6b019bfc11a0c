"""What a command line means: sweeps, studies, and group members chosen after an experiment."""

import random

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from fovea.config.command_line import rewrite
from fovea.config.overrides import nearest, parse, quote
from fovea.config.validate import validate
from fovea.errors import UsageError
from helpers import runs


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
    words = ["-m", "experiment=mlp_digits,deep/child"]
    (name,) = rewrite(words)[2:]
    assert OverridesParser.create().parse_override(name).value() == "mlp_digits+deep_child"
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


def test_a_node_given_whole_replaces_the_one_that_was_there():
    from hydra import compose, initialize_config_dir

    from fovea.config.paths import CONF

    net = "model.net={_target_:fovea.models.mlp.MLP,num_classes:10,image_size:28,hidden:[8]}"
    backbone = "model.net.backbone={_target_:fovea.models.fcn.Other,name:x}"
    for experiment, word in (("vit_digits", net), ("fcn8_scenes", backbone)):
        words = rewrite([f"experiment={experiment}", word])
        with initialize_config_dir(str(CONF)):
            config = compose("train", words)
        assert {*config.model.net, *config.model.net.get("backbone", ())} >= {"_target_"}
        found = config.model.net if word is net else config.model.net.backbone
        assert dict(found) == parse([word]).overrides[0].value()
        assert rewrite(words) == words
    merged = rewrite(["model.net={dim:32}", "callbacks={ema:{decay:0.9}}"])
    assert len(merged) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep=ablation"], ["sweep=ablation", "model.net.batch_norm", "model=vit", "convnet"]),
        (["sweep=ablation", "model=mlp,cnn"], ["model.net.batch_norm", "model=mlp"]),
        (["-m", "sweep=vit_size", "~model.name"], []),
    ],
)
def test_a_sweep_is_checked_before_its_first_job(words, said):
    if said:
        with pytest.raises(UsageError) as error:
            rewrite(words)
        assert all(part in str(error.value) for part in said)
    else:
        rewrite(words)


def test_what_a_study_sets_is_left_out_where_the_network_has_no_such_option(capsys):
    words = ["sweep=ablation", "experiment=vgg11_caltech3"]
    assert rewrite(words) == [*words, "-m", "~model.net.noise=0.0"]
    assert "model.net.noise is left out" in capsys.readouterr().err
    assert rewrite(["sweep=ablation", "experiment=convnet_fashion"])[2:] == ["-m"]
    assert rewrite(["sweep=transfer"]) == ["sweep=transfer", "-m"]


def test_a_sweep_of_nothing_is_said(capsys):
    for words, said in ((["-m"], True), (["-m", "seed=0,1"], False), (["sweep=lr"], False)):
        rewrite(words)
        assert ("nothing is swept" in capsys.readouterr().err) == said


def test_a_deletion_in_a_sweep_says_what_it_deletes():
    words = ["-m", "~scheduler.warmup_epochs", "~callbacks.ema", "seed=0,1"]
    deleted = rewrite(words)[1:3]
    assert deleted[0] == "~scheduler.warmup_epochs=2" and "decay:0.99" in deleted[1]
    assert rewrite(["-m", *deleted, "seed=0,1"])[1:3] == deleted


@pytest.mark.parametrize(
    ("target", "gone"),
    [
        ("torch.optim.RAdam", {"fused"}),
        ("torch.optim.Adagrad", {"betas"}),
        ("timm.optim.Lamb", {"fused"}),
        ("torch.optim.AdamW", set()),
        ("my_package.Optimizer", set()),
    ],
)
def test_another_class_is_built_without_the_options_that_it_does_not_take(target, gone, capsys):
    line = ["experiment=mlp_digits", f"optimizer._target_={target}", "optimizer.lr=0.1"]
    found = rewrite(line)
    assert {word for word in found if word.startswith("~")} == {f"~optimizer.{name}" for name in gone}
    assert all(name in capsys.readouterr().err for name in gone)
    assert rewrite(found) == found  # a distributed run repeats it


@pytest.mark.parametrize("words", [["callbacks=[]"], ["~callbacks"], ["logger=[]"], ["augment=[]"]])
def test_a_group_without_members_is_empty(words):
    config = runs.compose(["experiment=mlp_digits", *words])
    validate(config)
    assert not any(config.callbacks.values()) and not any(config.logger.values())
    assert not config.augment.sample and not config.augment.batch
