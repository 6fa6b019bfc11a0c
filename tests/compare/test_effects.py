import pytest

from fovea.compare.effects import effects
from fovea.compare.plots import effect_plot
from fovea.runs.read import read_run
from helpers.toy_comparison import write_run


def sweep(root, **grid):
    """Write a run for every combination."""
    dirs = []
    for lr in grid.get("lr", [0.1]):
        for depth in grid.get("depth", [1]):
            for seed in grid.get("seed", [0, 1]):
                given = [f"optimizer.lr={lr}", f"model.depth={depth}", f"seed={seed}"]
                model = {"name": "mlp", "depth": depth}
                wrong = range(len(dirs) % 7)
                dirs.append(write_run(root, str(len(dirs)), lr=lr, seed=seed, wrong=wrong, overrides=given))
                _set_model(dirs[-1], model)
    return [read_run(path) for path in dirs]


def _set_model(path, model):
    import yaml

    config = yaml.safe_load((path / "config.yaml").read_text())
    config["model"] = model
    (path / "config.yaml").write_text(yaml.safe_dump(config))


def test_each_swept_setting_has_lines_of_runs_that_differ_in_nothing_else(tmp_path):
    found = effects(sweep(tmp_path, lr=[0.001, 0.01, 0.1], depth=[1, 2]), "test/acc")
    assert [one.key for one in found] == ["optimizer.lr", "model.depth"]
    by_lr, by_depth = found
    assert [len(points) for _, points in by_lr.lines] == [6, 6]  # two depths, each 3 rates x 2 seeds
    assert len(by_depth.lines) == 3 and by_lr.pure and by_depth.pure
    assert by_lr.values == [0.001, 0.01, 0.1] and by_lr.logarithmic and not by_depth.logarithmic
    assert all("lr=" in title for title, _ in by_depth.lines)


def test_settings_that_vary_only_between_models_have_no_effect_to_show(tmp_path):
    runs = [
        write_run(tmp_path, "a", model="mlp", lr=0.1), write_run(tmp_path, "b", model="cnn", lr=0.2),
    ]  # fmt: skip
    assert effects([read_run(path) for path in runs], "test/acc") == []


def test_copies_of_a_setting_do_not_hide_its_effect(tmp_path):
    dirs = [
        write_run(tmp_path, str(i), lr=lr, overrides=[f"optimizer.lr={lr}"], scheduler={"max_lr": lr})
        for i, lr in enumerate((0.1, 0.2))
    ]
    (one,) = effects([read_run(path) for path in dirs], "test/acc")
    assert one.pure and len(one.lines[0][1]) == 2


def test_random_search_gives_points_without_lines(tmp_path):
    dirs = [
        write_run(tmp_path, str(i), lr=lr, overrides=[f"optimizer.lr={lr}", f"task.a={a}"], task={"a": a})
        for i, (lr, a) in enumerate([(0.1, 5), (0.2, 7), (0.35, 6)])
    ]
    found = effects([read_run(path) for path in dirs], "test/acc")
    assert [(one.key, one.pure) for one in found] == [("optimizer.lr", False), ("task.a", False)]


def test_choices_of_groups_and_words(tmp_path):
    dirs = [
        write_run(
            tmp_path, f"{name}{seed}", seed=seed, overrides=[f"optimizer={name}", f"seed={seed}"],
            optimizer={"_target_": f"torch.optim.{name}", "lr": lr},
        )
        for name, lr in (("Adam", 0.1), ("SGD", 0.2)) for seed in (0, 1)
    ]  # fmt: skip
    (one,) = effects([read_run(path) for path in dirs], "test/acc")
    assert one.key == "optimizer" and set(one.values) == {"Adam", "SGD"} and not one.numeric
    assert effect_plot(one, "test/acc", tmp_path / "x.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("rates", "logarithmic"), [([0.0, 1e-4, 1e-2], True), ([1, 2, 3], False), ([-1, 9], False)]
)
def test_axes(tmp_path, rates, logarithmic):
    one = effects(sweep(tmp_path, lr=rates, seed=[0]), "test/acc")[0]
    assert one.logarithmic is logarithmic
    assert effect_plot(one, "test/acc", tmp_path / "x.png").is_file()
