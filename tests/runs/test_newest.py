import os

import pytest

from fovea.errors import UsageError
from fovea.runs.newest import named_last, newest_run


def test_the_newest_is_the_run_whose_checkpoint_was_written_last(tmp_path, capsys):
    places = ["a/day1", "b/day2", "b/sweep_1/0", "a/day1/explain/x"]
    for i, place in enumerate(places):
        folder = tmp_path / place / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "last.ckpt").touch()
        os.utime(folder / "last.ckpt", (100 + i, 100 + i))
    assert newest_run(tmp_path) == tmp_path / "b/sweep_1/0"  # what lies inside a run is no run
    os.utime(tmp_path / "a/day1/checkpoints/last.ckpt", (200, 200))  # it was resumed
    assert named_last("last", tmp_path) == str(tmp_path / "a/day1")
    assert named_last(["x", "last"], tmp_path) == ["x", str(tmp_path / "a/day1")]
    assert "a/day1" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"run=last.*give run=DIR"):
        newest_run(tmp_path / "none")
