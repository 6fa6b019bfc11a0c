"""A group member chosen after an experiment has its own values, whatever the experiment set."""

import re
from functools import cache
from itertools import zip_longest

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from fovea.config import group_reset
from fovea.config.command_line import rewrite
from fovea.config.given import check_given
from fovea.config.group_reset import SWAPPED
from fovea.config.groups import composing, groups, member, members
from fovea.config.paths import CONF
from fovea.config.signatures import arguments

FILES = {
    "train.yaml": """
        defaults:
          - _self_
          - model: vit
          - optimizer: adamw
          - augment: none
          - experiment: plain
          - sweep: null
        seed: 0
    """,
    "model/vit.yaml": "{name: vit, net: {_target_: fovea.vit, dim: 192, depth: 12}}",
    "model/cnn.yaml": "{name: cnn, net: {_target_: fovea.cnn, width: 32}}",
    "optimizer/adamw.yaml": "{_target_: AdamW, lr: 0.001, betas: [0.9, 0.999], weight_decay: 0.05}",
    "optimizer/sgd.yaml": "{_target_: torch.optim.SGD, lr: 0.05, momentum: 0.9, note: null}",
    "optimizer/slow.yaml": "{defaults: [sgd, _self_], lr: 0.005}",
    "augment/none.yaml": "{sample: {}, batch: null}",
    "augment/strong.yaml": """
        sample:
          crop: {_target_: A.Crop, size: "${seed}"}
          blur: {_target_: A.Blur, p: 0.5}
        batch: {mixup: {alpha: 0.2}}
    """,
    "experiment/plain.yaml": "{}",
    "experiment/base.yaml": """
        # @package _global_
        defaults: [{override /model: vit}]
        model: {net: {depth: 6}}
        optimizer: {lr: 0.0003, betas: [0.9, 0.98]}
    """,
    "experiment/child.yaml": """
        # @package _global_
        defaults: [base, _self_]
        optimizer: {weight_decay: 0.3, eps: 1.0e-6}
    """,
    "experiment/momentum.yaml": """
        # @package _global_
        defaults: [base, {override /optimizer: sgd}, _self_]
        optimizer: {lr: 0.02}
    """,
    "experiment/other.yaml": "# @package _global_\nseed: 3",
    "experiment/two.yaml": "# @package _global_\ndefaults: [momentum, other, _self_]",
    "experiment/pictures.yaml": """
        # @package _global_
        defaults: [{override /augment: strong}]
        augment:
          sample: {crop: {size: 64}, flip: {_target_: A.Flip, p: 0.5}}
          batch: {mixup: {alpha: 0.8}}
    """,
    "experiment/bare.yaml": """
        # @package _global_
        augment: {sample: null}
    """,
    "sweep/preset.yaml": """
        # @package _global_
        defaults: [{override /optimizer: sgd}]
        seed: 7
        optimizer: {lr: 0.5}
        hydra: {sweeper: {params: {seed: "1,2"}}}
    """,
    "experiment/deep/base.yaml": "# @package _global_\noptimizer: {lr: 0.1}",
    "experiment/deep/child.yaml": "# @package _global_\ndefaults: [base, _self_]\nseed: 1",
}


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    root = tmp_path_factory.mktemp("conf")
    for name, text in FILES.items():
        lines = text.strip("\n").splitlines()
        indent = min((len(li) - len(li.lstrip()) for li in lines if li.strip()), default=0)
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(li[indent:] for li in lines) + "\n")
    return root


def composed(conf, *words):
    """Compose what a command line means after rewriting."""
    with initialize_config_dir(str(conf)):
        return compose("train", overrides=rewrite(list(words), conf=conf))


def test_a_member_chosen_after_an_experiment_has_its_own_values(conf):
    config = composed(conf, "experiment=base", "optimizer=sgd")
    assert config.optimizer == {"_target_": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9, "note": None}


def test_keys_that_only_the_experiments_member_has_are_gone(conf):
    assert "betas" in composed(conf, "experiment=base").optimizer
    assert "betas" not in composed(conf, "experiment=base", "optimizer=sgd").optimizer
    assert "depth" not in composed(conf, "experiment=base", "model=cnn").model.net


def test_values_on_the_command_line_win_in_any_order(conf):
    for words in (["optimizer=sgd", "optimizer.lr=7"], ["optimizer.lr=7", "optimizer=sgd"]):
        config = composed(conf, "experiment=base", *words)
        assert config.optimizer.lr == 7 and config.optimizer.momentum == 0.9


def test_the_experiments_own_member_keeps_its_tuning(conf):
    assert composed(conf, "experiment=base", "optimizer=adamw").optimizer.lr == 3e-4
    assert composed(conf, "experiment=momentum", "optimizer=sgd").optimizer.lr == 0.02
    assert composed(conf, "experiment=momentum", "optimizer=adamw").optimizer.lr == 1e-3


def test_nested_experiments_count_as_one(conf):
    plain = composed(conf, "experiment=child").optimizer
    assert (plain.lr, plain.weight_decay, plain.eps) == (3e-4, 0.3, 1e-6)
    swapped = composed(conf, "experiment=child", "optimizer=sgd").optimizer
    assert swapped == composed(conf, "experiment=plain", "optimizer=sgd").optimizer
    assert composed(conf, "experiment=deep/child", "optimizer=sgd").optimizer.lr == 0.05


def test_a_later_base_does_not_hide_the_choice_of_an_earlier_one(conf):
    assert composed(conf, "experiment=two", "optimizer=sgd").optimizer.lr == 0.02


def test_members_that_build_on_others_are_read_whole(conf):
    config = composed(conf, "experiment=base", "optimizer=slow")
    assert (config.optimizer.lr, config.optimizer.momentum) == (0.005, 0.9)


def test_whole_branches_that_the_member_lacks_are_gone(conf):
    assert composed(conf, "experiment=pictures", "augment=none").augment == {"sample": {}, "batch": None}
    assert composed(conf, "experiment=pictures").augment.sample.flip.p == 0.5


def test_branches_that_the_experiment_emptied_come_back(conf):
    config = composed(conf, "experiment=bare", "augment=strong")
    assert config.augment == composed(conf, "experiment=plain", "augment=strong").augment
    assert config.augment.sample.crop.size == 0  # an interpolation stays one


def test_a_value_given_around_or_inside_a_reset_one_stays(conf):
    config = composed(conf, "experiment=pictures", "augment=none", "augment.batch={mixup:{alpha:0.1}}")
    assert config.augment.batch.mixup.alpha == 0.1
    config = composed(conf, "experiment=base", "optimizer=sgd", "+optimizer.betas=[0.5,0.5]")
    assert config.optimizer.betas == [0.5, 0.5]


def test_the_default_experiment_counts_too(conf):
    assert rewrite(["optimizer=sgd"], conf=conf) == ["optimizer=sgd"]
    assert rewrite([], conf=conf) == []


@pytest.mark.parametrize("experiment", ["base", "child", "momentum", "pictures", "bare"])
@pytest.mark.parametrize("swap", [["optimizer=sgd"], ["model=cnn", "optimizer=slow"], ["augment=none"]])
def test_a_second_pass_changes_nothing(conf, experiment, swap):
    """A distributed run starts its other processes with the command line as rewritten."""
    once = rewrite([f"experiment={experiment}", *swap], conf=conf)
    assert rewrite(once, conf=conf) == once


def test_unknown_names_are_left_for_hydra(conf):
    for words in (["experiment=nope", "optimizer=sgd"], ["experiment=plain", "optimizer=nope"]):
        assert rewrite(words, conf=conf) == words


MEMBERS = {  # two of each group: an experiment that chooses one itself keeps its tuning
    "task": ("segmentation", "classification"),
    "data": ("scenes", "mnist"),
    "callbacks": ("early_stopping", "lr_monitor"),
    "logger": ("csv", "tensorboard"),
    "model": ("cnn", "vit"),
    "optimizer": ("sgd", "rmsprop"),
    "scheduler": ("one_cycle", "step"),
    "augment": ("strong", "light"),
    "finetune": ("gradual", "head_only"),
}
own = cache(member)


TASK = re.compile(r"override /task: (\w+)")
BY_TASK = {  # one experiment for each task
    task[1] if (task := TASK.search((CONF / "experiment" / f"{name}.yaml").read_text("utf-8"))) else "": name
    for name in members("experiment")
}


@pytest.mark.parametrize("experiment", BY_TASK.values())
def test_an_experiment_of_each_task_takes_other_members(experiment):
    assert {*MEMBERS, "report", "metrics"} == set(SWAPPED)
    with initialize_config_dir(str(CONF)):
        tuned = compose("train", [f"experiment={experiment}"], return_hydra_config=True)
    before = tuned.hydra.runtime.choices
    picks = {group: names[before[group] == names[0]] for group, names in MEMBERS.items()}
    words = rewrite([f"experiment={experiment}", *(f"{group}={name}" for group, name in picks.items())])
    with initialize_config_dir(str(CONF)):
        config = compose("train", words, return_hydra_config=True)
    choices = config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
    choices["metrics"] = choices["task"]  # an experiment's own choice stays, and is told beside another task
    check_given(config, words, choices=choices)  # what was brought back counts as given, and passes
    for group, name in picks.items():
        found, mine = OmegaConf.to_container(config[group], resolve=False), dict(own(group, name))
        if group in ("callbacks", "logger") and mine:  # collections of nodes
            mine = {name: mine}
        if group == "data":
            mine |= {"batch_size": found["batch_size"]}
            if tuned.data.get("mean") != own("data", before["data"]).get(
                "mean"
            ):  # a task or a net asks for it
                mine |= {key: OmegaConf.to_container(tuned.data[key]) for key in ("mean", "std")}
        added = {k: v for k, v in found.items() if group == "callbacks" and k not in mine}
        assert all("_target_" in node for node in added.values())
        assert found == {**mine, **added}, group


def test_another_model_than_the_experiments_own_is_not_held_to_what_it_is_named():
    words = rewrite(["experiment=folder", "model=tiny"])
    with initialize_config_dir(str(CONF)):
        config = compose("train", words)
    assert "model.name='tiny'" in words
    check_given(config, words, choices={"task": "classification", "model": "tiny"})


OTHERS = ("experiment", "sweep", "hydra", "method", "paths")  # not members beside an experiment
ROOTS = {"explain": ("method", "model"), "predict": ("model",), "data": ("data", "augment")}


def nodes(node, at=""):
    """Yield what a config builds, and where; the data module takes those options that it has."""
    if isinstance(node, dict):
        if "_target_" in node and at != "data":
            yield at, node
        for key, value in node.items():
            yield from nodes(value, f"{at}.{key}".lstrip("."))


@pytest.fixture
def composed_once(monkeypatch):
    """Compose equal words once: the default experiment is the same beside every member."""
    kept = {}

    def once(root, words, **options):
        key = (root, *words, *options)
        kept[key] = kept[key] if key in kept else compose(root, words, **options)
        return kept[key]

    monkeypatch.setattr(group_reset, "compose", once)
    return once


@pytest.mark.slow
def test_every_member_of_every_group_builds_on_the_default_experiment(composed_once):
    """One command takes the next member of every group; what each node is given, its class takes."""
    choices, checked = {group: members(group) for group in groups() if group not in OTHERS}, 0
    for picks in zip_longest(*choices.values()):
        words = [f"{group}={name}" for group, name in zip(choices, picks, strict=True) if name is not None]
        with composing():
            config = compose("train", rewrite(words))
        plain = OmegaConf.to_container(config, resolve=False)
        for collection in ("callbacks", "logger"):
            assert all("_target_" in node for node in plain[collection].values()), words
        for at, node in nodes(plain):
            takes, given = arguments(node["_target_"]), {key for key in node if not key.startswith("_")}
            assert takes is not None, (words, at, node["_target_"])
            assert takes.others or given <= {*takes.types}, (words, at, given - {*takes.types})
            checked += 1
        for part in ("data", "optimizer", "scheduler", "finetune", "task", "trainer"):
            assert "_target_" in plain[part] and "_target_" in plain["model"]["net"], words
    assert checked > 300


@pytest.mark.slow
def test_every_member_of_the_other_commands_composes():
    with composing():
        for root, known in ROOTS.items():
            for group in known:
                for name in members(group):
                    needed = [] if group == "data" or root != "data" else ["data=digits"]
                    config = compose(root, [*needed, f"{group}={name}"])
                    assert config[group], (root, group, name)


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (["callbacks=explain"], "callbacks.ema"),
        (["callbacks=none"], "callbacks.ema"),
        (["experiment=unet_scenes", "data=csv"], "data.dataset.annotation"),
        (["experiment=texture_synthesis", "task=classification"], "task.tv_weight"),
    ],
)
def test_an_experiments_keys_leave_with_its_member(words, gone):
    with initialize_config_dir(str(CONF)):
        config = compose("train", rewrite(words))
    assert (
        OmegaConf.select(config, gone) is None
        and OmegaConf.select(config, gone.rpartition(".")[0]) is not None
    )


def test_what_an_experiment_adds_beside_any_member_stays():
    with initialize_config_dir(str(CONF)):
        style = compose("train", rewrite(["experiment=style_transfer", "callbacks=early_stopping"]))
        colour = compose("train", rewrite(["experiment=colorize_cifar10", "data=photos"]))
    assert set(style.callbacks) == {"pictures", "early_stopping"}
    assert (colour.data.mean, colour.data.std) == ([0.0] * 3, [1.0] * 3)


def test_a_member_on_its_own_is_what_its_file_says():
    assert own("optimizer", "sgd") == OmegaConf.load(CONF / "optimizer/sgd.yaml")
    assert own("model", "vit_base")["net"] == own("model", "timm")["net"]  # it builds on the other
    assert own("method", "rollout")["_target_"].endswith("Rollout")  # in a package of its own


def test_a_job_is_composed_with_the_preset_of_its_sweep(conf):
    """A preset chooses and sets too; what the experiment had set in the member before is gone."""
    words = ["sweep=preset", "hydra.mode=RUN", "experiment=child"]
    config = composed(conf, *words)
    assert config.optimizer == {"_target_": "torch.optim.SGD", "lr": 0.5, "momentum": 0.9, "note": None}
    assert (config.seed, config.model.net.depth) == (7, 6)
    assert composed(conf, *words, "seed=8", "optimizer.lr=2").optimizer.lr == 2
    assert composed(conf, *words, "optimizer=adamw").optimizer.weight_decay == 0.3
    assert "-m" not in rewrite(words, conf=conf) and "-m" in rewrite([words[0], words[2]], conf=conf)
