import csv

import numpy as np

from fovea.explain.core.class_choice import SelectedClass
from fovea.explain.run.output import LIST, ResultFolder
from fovea.explain.view.attribution import Attribution, ImageAttributions


def test_only_what_a_call_wrote_is_removed(tmp_path):
    dog = SelectedClass(1, "dog, hound", 0.5)
    attributions = [
        Attribution(method="cam", selected=dog, map=np.eye(3, dtype=np.float32)),
        Attribution(method="rollout", problem="no"),
        Attribution(method="grad_cam", selected=dog, map=np.zeros((3, 3), np.float32)),
    ]
    picture = np.zeros((3, 3, 3), np.uint8)
    record = ImageAttributions(
        model="net", id="x/a.png", picture=picture, predicted=dog, attributions=attributions
    )
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "mine.npy").write_bytes(b"x")
    folder = ResultFolder(tmp_path, parts=["filters"], ids=["x/a.png", "y/a.png"], several=True)
    folder.add(record)
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters" / "f.png").write_bytes(b"y")
    folder.close()
    with (tmp_path / "explain.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["map"] == "maps/net/x__a.png__cam__1_dog.npy" and rows[1]["problem"] == "no"
    assert (rows[0]["peak_x"], rows[0]["peak_y"]) == ("0", "0")
    assert rows[2]["highest"] == "0" and rows[2]["peak_x"] == rows[2]["peak_y"] == ""  # it is nowhere
    np.testing.assert_array_equal(np.load(tmp_path / rows[0]["map"]), np.eye(3))
    with (tmp_path / LIST).open("a") as file:
        file.write("../precious\n")
    (tmp_path.parent / "precious").write_text("keep")
    ResultFolder(tmp_path, parts=[], ids=["b.png"], several=False).close()
    assert not (tmp_path / "filters").exists() and not (tmp_path / "maps" / "net").exists()
    assert (tmp_path / "maps" / "mine.npy").is_file() and (tmp_path.parent / "precious").is_file()
