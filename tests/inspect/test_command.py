import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fovea.config import cli, resolvers
from fovea.data import choose as data_samples
from fovea.inspect import command as data
from helpers import runs
from helpers.formats_own_boxes import write_yolo

SMALL_TRAINING = (
    "experiment=mlp_digits", "trainer=cpu", "trainer.max_epochs=1", "model.net.hidden=[6]", "augment=none",
)  # fmt: skip
ACTIONS = ("prepare", "check", "preview", "stats")


@pytest.fixture
def shell(monkeypatch, capsys, tmp_path, own_process):
    """Run src/data.py as a shell would; return exit code, output and messages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOVEA_TRACEBACK", raising=False)
    resolvers.register()

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["src/data.py", *words])
        with pytest.raises(SystemExit) as stop:
            cli.command("data")
        return (stop.value.code or 0, *capsys.readouterr())

    return run


def picture(seed, size=(70, 80)):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    """Write photos of two classes: enough of each, none like another."""
    root = tmp_path / "photos"
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for number in range(16):
            picture(100 * label + number).save(root / name / f"{number:02d}.png")
    return root


def words(root, action, *more):
    return (
        "data=folder",
        f"data.root={root}",
        "data.image_size=64",
        f"action={action}",
        f"output={root}.out",
        *more,
    )


def facts(root, name):
    return json.loads((root.parent / f"{root.name}.out" / f"{name}.json").read_text())


def test_help_lists_actions_data_sets_and_exit_codes(shell):
    code, out, err = shell("--help")
    assert code == 0 and err == "" and max(map(len, out.splitlines())) <= cli.WIDTH
    for word in (*ACTIONS, "flowers102", "standard", "samples: 16", "exit code is 1"):
        assert word in out
    assert len(out.splitlines()) <= 60


def test_help_imports_nothing_heavy():
    code = (
        "import sys, runpy; sys.path.insert(0, 'src'); sys.argv = ['src/data.py', '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "sys.exit(sorted({'torch', 'cv2', 'numpy', 'lightning'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=runs.ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "action" in done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["action=check"], "data= .*data=NAME\n  data can be: "),
        (["data=digits"], "action= is missing.* prepare, check, preview, stats"),
        (["data=digits", "action=chek"], "action is 'chek'.* prepare"),
        (["data=digits", "action=check", "sample=3"], "unknown key 'sample'.* samples"),
        (
            ["data=digits", "action=check", "data.imagesize=3"],
            "unknown key 'data.imagesize'.* data.image_size",
        ),
        (["data=dgits", "action=check"], "data=dgits .*nearest: digits"),
        (["data=digits", "action=check", "limit=0"], "limit is 0.* at least 1"),
        (["data=digits", "action=preview", "samples=0"], "samples is 0.* at least 1"),
        (["data=digits", "action=preview", "versions=-1"], "versions is -1"),
    ],
)
def test_mistakes_end_in_one_clear_message(shell, given, said):
    code, out, err = shell(*given)
    assert code == 2 and out == "" and re.match(f"error: {said}", err) and "Traceback" not in err


def test_a_clean_folder_is_reported_as_clean(shell, folder):
    code, _, err = shell(*words(folder, "check"))
    assert code == 0 and ("no problem" in err or "nothing that stops" in err), err
    found = facts(folder, "check")
    assert not [f for f in found["findings"] if f["severity"] == "error"] and "near" not in str(
        found["findings"]
    )
    assert (
        found["splits"] == {"train": 24, "val": 4, "test": 4} and found["statistics"]["train"]["images"] == 24
    )
    assert "check.html" in err and (folder.parent / "photos.out" / "check.html").is_file()


def test_planted_faults_are_found_and_end_in_exit_code_1(shell, folder):
    (folder / "cat" / "zero.png").touch()
    (folder / "cat" / "cut.png").write_bytes((folder / "cat" / "00.png").read_bytes()[:900])
    picture(1000).save(folder / "dog" / "really.jpg", "PNG")
    code, _, err = shell(*words(folder, "check"))
    assert code == 1
    found = facts(folder, "check")
    kinds = {(f["kind"], f["file"].rsplit("/", 1)[-1]) for f in found["findings"] if f["severity"] != "note"}
    assert {("empty file", "zero.png"), ("truncated", "cut.png"), ("wrong extension", "really.jpg")} <= kinds
    assert "2 errors" in found["verdict"] and "folder: 2 errors" in err and "zero.png" in err
    page = (folder.parent / "photos.out" / "check.html").read_text()
    assert "zero.png" in page and "data:image/" in page and "<script" not in page


def test_a_set_that_cannot_be_trained_on_is_still_checked(shell, folder):
    for seed, name in enumerate(("train/cat", "train/dog", "val/cat", "val/dog", "test/bird")):
        (folder.parent / "split" / name).mkdir(parents=True)
        for number in range(12):
            picture(2000 + 100 * seed + number).save(folder.parent / "split" / name / f"{number}.png")
    (folder.parent / "split" / "val" / "dog" / "3.png").write_bytes(b"")
    root = folder.parent / "split"
    code, _, err = shell(*words(root, "check"))
    assert code == 1 and "cannot open" in err and "bird" in err
    kinds = {(f["kind"], f["split"]) for f in facts(root, "check")["findings"]}
    assert ("empty file", "val") in kinds and ("cannot open", "test") in kinds


def test_a_set_that_cannot_be_opened_ends_as_a_wrong_command_does(tmp_path, shell):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("train: {a: 1}\nnames: [cat, dog]")
    code, _, err = shell("data=yolo_folder", f"data.root={tmp_path}", f"output={tmp_path}/o", "action=check")
    assert code == 2 and re.match(r"error: .*data\.yaml has the train \{'a': 1\}.*correct it", err), err


def test_missing_data_end_in_the_message_of_the_data_set(shell, tmp_path):
    for action in ("check", "stats", "preview"):
        code, _, err = shell(*words(tmp_path / "nowhere", action))
        assert code == 1 and err.startswith("error: ") and "nowhere" in err and "Traceback" not in err
    assert not (tmp_path / "nowhere.out").exists()


def test_prepare_says_what_is_ready(shell, folder):
    code, _, err = shell(*words(folder, "prepare"))
    assert code == 0 and "nothing to download" in err and "folder is ready" in err and "24" in err


def test_prepare_calls_the_data_set_and_says_how_to_get_it(shell, tmp_path, monkeypatch):
    from fovea.data.datasets import flowers102

    def refuse(*args, **kwargs):
        raise OSError("there is no network")

    monkeypatch.setattr(flowers102, "fetch", refuse)
    code, _, err = shell("data=flowers102", f"data.root={tmp_path}", "action=prepare")
    assert code == 1 and "network" in err and flowers102.PAGE in err


def test_stats_are_written(shell, folder):
    code, _, err = shell(*words(folder, "stats"))
    found = facts(folder, "stats")
    assert code == 0 and found["splits"]["train"]["classes"] == {"cat": 12, "dog": 12}
    assert "stats.html" in err
    assert (folder.parent / "photos.out" / "stats.html").is_file()


def test_a_limit_looks_at_so_many(shell, folder):
    assert shell(*words(folder, "check", "limit=3"))[0] == 0
    assert facts(folder, "check")["splits"] == {"train": 3, "val": 3, "test": 3}


def test_preview_writes_pictures_and_a_page(shell, folder):
    out = folder.parent / "photos.out"
    code, _, err = shell(*words(folder, "preview", "samples=5", "versions=2", "augment=light"))
    assert code == 0, err
    assert sorted(p.name for p in out.iterdir()) == ["preview.html", "preview.png", "preview_augmented.png"]
    page = (out / "preview.html").read_text()
    assert page.count("<img") == 5 + 5 * 3 and "shift, flip" in page
    first = (out / "preview_augmented.png").read_bytes()
    shell(*words(folder, "preview", "samples=5", "versions=2", "augment=light"))
    assert (out / "preview_augmented.png").read_bytes() == first
    shell(*words(folder, "preview", "samples=5", "versions=2", "augment=light", "seed=1"))
    assert (out / "preview_augmented.png").read_bytes() != first


def test_preview_leaves_damaged_samples_out_and_says_so(shell, folder):
    for number in range(16):
        (folder / "cat" / f"{number:02d}.png").write_bytes(b"")
    code, _, err = shell(*words(folder, "preview", "samples=6", "versions=1"))
    assert code == 0 and err.count("left out: ") == 3 and "3 samples, 1 augmented" in err
    for number in range(16):
        (folder / "dog" / f"{number:02d}.png").write_bytes(b"")
    code, _, err = shell(*words(folder, "preview", "samples=2", "versions=1"))
    assert code == 1 and "empty" in err


@pytest.mark.parametrize(("size", "steps"), [(28, "shift"), (96, "crop, color")])
def test_the_augmentation_fits_the_size_of_the_images(shell, folder, size, steps):
    code, _, err = shell(*words(folder, "preview", f"data.image_size={size}", "samples=2", "versions=1"))
    assert code == 0, err
    assert steps in (folder.parent / "photos.out" / "preview.html").read_text()


@pytest.mark.alone
def test_ctrl_c_leaves_nothing_half_written(shell, folder, monkeypatch):
    from fovea.inspect import image

    inspect_image = image.inspect_image

    def interrupted(part, index, **options):
        if index == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return inspect_image(part, index, **options)

    monkeypatch.setattr(image, "inspect_image", interrupted)
    code, _, err = shell(*words(folder, "check"))
    assert code == 130 and "Traceback" not in err and not (folder.parent / "photos.out").exists()


def test_samples_are_spread_over_the_classes():
    labels = np.repeat([0, 1, 2], [80, 15, 5])
    chosen = data_samples.choose(labels, size=100, count=9, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [3, 3, 3] and len(set(chosen)) == 9
    assert chosen == data_samples.choose(labels, size=100, count=9, seed=0)
    assert chosen != data_samples.choose(labels, size=100, count=9, seed=1)
    assert len(data_samples.choose(labels, size=100, count=500, seed=0)) == 100
    assert len(set(data_samples.choose(None, size=50, count=7, seed=0))) == 7


def table(folder, *wrong):
    """Write a table of the photos, with wrong lines after them."""
    paths = sorted(folder.glob("*/*.png"))
    lines = [f"{path.relative_to(folder)},{path.parent.name}" for path in paths]
    (folder / "table.csv").write_text("\n".join(["path,label", *lines, *wrong]) + "\n")
    return ("data=csv", f"data.root={folder}", "data.image_size=64", f"output={folder}.out")


WRONG = ("cat/00.png,dog", "cat/01.png", "cat/99.png,cat", ",dog", "dog/00.png,dog")


def test_every_wrong_line_of_a_table_is_a_finding_and_the_other_images_are_checked(shell, folder):
    code, _, out = shell(*table(folder, *WRONG), "action=check")
    found = json.loads((folder.parent / "photos.out" / "check.json").read_text())
    assert code == 1 and {f["kind"] for f in found["findings"]} >= {"bad line"}
    lines = [f["message"] for f in found["findings"] if f["kind"] == "bad line"]
    assert len(lines) == len(WRONG) and sum(found["splits"].values()) == 30  # two photos have bad lines
    assert all(line in out for line in lines)


@pytest.mark.slow
def test_a_training_leaves_wrong_lines_out_and_counts_them(folder, tmp_path):
    given = [*table(folder, *WRONG)[:2], "data.batch_size=4", "data.image_size=16", *SMALL_TRAINING]
    assert runs.train(given, run_dir=tmp_path / "stopped") == 1
    said = runs.output(tmp_path / "stopped")
    assert "line 35 has 1 cells" in said and "data.on_error=skip" in said
    assert runs.train([*given, "data.on_error=skip"], run_dir=tmp_path / "run") == 0
    about = json.loads((tmp_path / "run" / "summary.json").read_text())["data"]
    assert about["num_train"] + about["num_val"] + about["num_test"] == 30
    assert len(about["left_out"]) == len(WRONG)


def test_images_are_counted_and_advice_is_shown_whole(shell, folder):
    """An image with several wrong boxes is one image with a wrong box."""
    for number in range(60):
        picture(1000 + number).save(folder / "dog" / f"more{number}.png")
    good = [f"{path.relative_to(folder)},dog,1,1,9,9" for path in sorted(folder.glob("dog/*.png"))]
    wrong = [f"cat/00.png,cat,{x},2,99,9" for x in (90, 91, 92)]
    (folder / "table.csv").write_text("\n".join(["path,label,x1,y1,x2,y2", *good, *wrong]))
    numbers = ("data.mean=[0.9,0.9,0.9]", "data.std=[0.1,0.1,0.1]")
    given = ("data=csv", f"data.root={folder}", f"output={folder}.out", "action=check", *numbers)
    code, _, out = shell(*given)
    assert code == 1 and re.search(r"error +box outside +1\b", out), out
    advice = out.split("normalisation")[1].split("severity")[0]
    assert len(re.findall(r"\[[\d., ]+\]", advice)) >= 2 and "…" not in advice


def test_without_augmentation_the_network_sees_the_image_itself(call, folder):
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(runs.ROOT / "conf")):
        given = [
            "data=folder",
            f"data.root={folder}",
            "data.image_size=[70,80]",
            "data.crop_pct=1",
            "augment=none",
            "action=preview",
        ]
        config = data.resolved(compose("data", overrides=given))
    module = data.datamodule(config, augment=True)
    view = module.splits["train"]
    versions = data_samples.augmented(module, [7, 3], versions=2)
    for index, found in zip([7, 3], versions, strict=True):
        assert len(found) == 2 and found[0]["label"] == view.labels[index]
        for sample in found:
            assert np.abs(sample["image"].astype(int) - view.load(index)["image"]).max() <= 1
