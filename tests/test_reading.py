import gzip
import json
import os

import numpy as np
import pytest

from fovea import reading
from fovea.data.formats import idx
from fovea.data.images import read_image
from fovea.files import open_end, printable, replacing_text, write_json
from fovea.inspect.files import check_file
from fovea.reading import read_json, read_npz, read_text, read_yaml
from fovea.runs.read import read_run


@pytest.mark.parametrize("read", [read_text, read_json, read_yaml])
def test_a_pipe_is_not_waited_for_and_a_huge_file_not_read(read, tmp_path, monkeypatch):
    pipe, huge = tmp_path / "pipe", tmp_path / "huge"
    os.mkfifo(pipe)
    with huge.open("wb") as file:
        file.truncate(2**40)  # sparse
    for path, why in ((pipe, "regular file"), (huge, str(2**40))):
        with pytest.raises(ValueError, match=rf"{path.name} .*{why}"):
            read(path)
    with pytest.raises(ValueError, match=r"pipe.*delete it"):
        open_end(pipe)
    link = tmp_path / "link"
    link.symlink_to(huge)
    with pytest.raises(ValueError, match=r"link.*delete it"):
        open_end(link)


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", "[" * 100_000, '{"a": ' + "1" * 5000 + "}", "\x00", "3", "null"]
)
def test_what_is_no_object_of_json_is_named(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "text",
    [
        "a: 2020-13-45",
        "a: " + "1" * 5000,
        "[" * 100_000,
        "a: &a [*a]",
        "? [a]\n: b",
        "a: !!python/name:os.system",
        "a: !!set {b, c}",
        "a: [{b: 2020-01-02}]",
        "a: !!binary aGFsbG8=",
        "null: 1",
        f"a: [{'1,' * 60_000}]",
        "a: {1.5: 1}",
        "{",
    ],
)
def test_what_is_no_plain_yaml_is_named(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"a\.yaml"):
        read_yaml(tmp_path / "a.yaml")


def test_arrays_that_unfold_to_more_than_a_run_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST_ARRAYS", 2**20)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(2**21, np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < 2**14
    with pytest.raises(ValueError, match=r"a\.npz .*unfolds"):
        read_npz(tmp_path / "a.npz")
    os.mkfifo(tmp_path / "b.npz")
    with pytest.raises(ValueError, match=r"b\.npz .*regular"):
        read_npz(tmp_path / "b.npz")
    assert reading.LARGEST_YAML < reading.LARGEST_TEXT


def test_control_characters_are_shown_and_nothing_else_changes(tmp_path):
    fine = "cats\tand dögs \U0001f408 \u65e5\u672c\r\n\n\u0645"
    assert printable(fine) == fine
    assert printable("\x1b[31m\x07\x00\x7f\x9b\r\u202e\udc80") == r"\x1b[31m\x07\x00\x7f\x9b\r\u202e\udc80"
    with replacing_text(tmp_path / "a.csv") as file:
        file.write("a\x1b,b\r\n")
    assert (tmp_path / "a.csv").read_bytes() == b"a\\x1b,b\r\n"
    name = "a\x9b\u202e\x1b\udc80\u00e9"
    write_json(tmp_path / "a.json", {name: [name]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert printable(text) == text and json.loads(text) == {name: [name]}


@pytest.mark.parametrize("key", ["task", "model", "data", "metrics", "report"])
def test_a_config_whose_nodes_are_no_nodes_is_a_problem_of_its_run(key, tmp_path):
    (tmp_path / "config.yaml").write_text(f"task: {{}}\n{key}: x\n")
    run = read_run(tmp_path)
    assert run.config == {} and f"config.yaml is no config of a run: {key}" in run.problem


def test_a_pipe_or_a_device_is_no_image_and_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "device.png"):
        with pytest.raises(ValueError, match=rf"{name} is no regular file: replace or remove it"):
            read_image(tmp_path / name)
        assert check_file(tmp_path / name, role="image") == (
            [("corrupt", "the image is no regular file")], False,
        )  # fmt: skip


def test_a_compressed_array_that_unfolds_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "LARGEST", 2**16)
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 16, 0, 0]) + bytes(2**20)))
    with pytest.raises(ValueError, match=r"a\.gz unfolds to more than"):
        idx.read_idx(tmp_path / "a.gz", ndim=1)
