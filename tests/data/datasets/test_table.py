import numpy as np
import pytest

from fovea.data.datasets.table import TableImages
from helpers.formats_boxes import jpeg, palette_png, write_csv
from helpers.real_formats import images
from helpers.unprivileged import unprivileged


def write(root, text, names="abcdef", size=(20, 24)):
    """Write root/photos/{a,b,…}.jpg and root/table.csv."""
    for name, image in zip(names, images(len(names), size), strict=True):
        jpeg(root / "photos" / f"{name}.jpg", image)
    (root / "table.csv").write_bytes(text.encode() if isinstance(text, str) else text)


def read(root, **options):
    return TableImages(root=root, table="table.csv", **options)


def test_labels_paths_and_pixels(tmp_path):
    write(tmp_path, "path,label\nphotos/b.jpg,dog\nphotos/a.jpg,cat\nphotos/c.jpg,ant\n")
    data = read(tmp_path)
    assert data.classes == ["ant", "cat", "dog"] and data.labels.tolist() == [2, 1, 0]
    assert data.targets == ("label",) and data.labels.dtype == np.int64
    assert list(data.ids) == ["photos/b.jpg", "photos/a.jpg", "photos/c.jpg"]
    sample = data.load(0)
    assert set(sample) == {"image", "label"} and sample["label"] == 2
    assert np.abs(sample["image"].astype(int) - images(6, (20, 24))[1]).mean() < 4
    assert TableImages.find_classes(root=tmp_path, table="table.csv", channels=3) == data.classes
    assert TableImages.find_splits(root=tmp_path, table="table.csv", channels=3) == ("all",)
    assert data.files(0) == {"image": tmp_path / "photos/b.jpg"}


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfpath,label\r\nphotos/a.jpg,k\xc3\xa4se\r\n\r\nphotos/b.jpg,dog\r\n",
        "path;label\nphotos/a.jpg;käse\nphotos/b.jpg;dog",
        "path,label\rphotos/a.jpg,käse\rphotos/b.jpg,dog\r",
        "note, x\tpath\tlabel\nq, w\tphotos/a.jpg\tkäse\n\tphotos/b.jpg\tdog\n",
        'label|"path"\nkäse|"photos/a.jpg"\n dog | photos/b.jpg \n',
        "\n\npath, label, other\nphotos/a.jpg, käse, 1\nphotos/b.jpg, dog, 2\n",
    ],
)
def test_delimiters_line_ends_and_byte_order_marks(tmp_path, text):
    write(tmp_path, text)
    data = read(tmp_path)
    assert list(data.ids) == ["photos/a.jpg", "photos/b.jpg"]
    assert [data.classes[i] for i in data.labels] == ["käse", "dog"]


def test_paths_are_relative_to_the_table_or_the_root_or_absolute(tmp_path, monkeypatch):
    write(tmp_path, "")
    (tmp_path / "lists").mkdir()
    jpeg(tmp_path / "lists" / "près" / "z.jpg", images(1, (8, 9))[0])
    lines = ["path,label", "photos/a.jpg,x", "près/z.jpg,y", f"{tmp_path}/photos/b.jpg,x"]
    (tmp_path / "lists/t.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path.parent)
    for root, table in (
        (tmp_path, "lists/t.csv"),
        (tmp_path, tmp_path / "lists/t.csv"),
        (tmp_path.name, "lists/t.csv"),
        (tmp_path.name, f"{tmp_path.name}/lists/t.csv"),
    ):
        data = TableImages(root=root, table=table)
        assert [data.load(i)["image"].shape[0] for i in range(3)] == [20, 8, 20]


def test_other_column_names_and_the_order_of_the_classes(tmp_path):
    write(tmp_path, "file,kind,part\nphotos/a.jpg,x,Train\nphotos/b.jpg,y,valid\nphotos/c.jpg,x,train\n")
    columns = {"path_column": "file", "label_column": "kind", "split_column": "part"}
    names = {**columns, "classes": ["y", "x", "z"]}
    assert TableImages.find_splits(root=tmp_path, table="table.csv", **names) == ("train", "val")
    assert TableImages.find_classes(root=tmp_path, table="table.csv", **names) == ["y", "x", "z"]
    train, val = (read(tmp_path, split=split, **names) for split in ("train", "val"))
    assert train.labels.tolist() == [1, 1] and val.labels.tolist() == [0]
    assert list(train.ids) == ["photos/a.jpg", "photos/c.jpg"] and list(val.ids) == ["photos/b.jpg"]
    with pytest.raises(ValueError, match=r"split='test'.* train, val"):
        read(tmp_path, split="test", **names)
    names["split_column"] = None
    assert len(read(tmp_path, **names)) == 3


BOXES = """path,label,x1,y1,x2,y2
photos/a.jpg,dog,1,2,10.5,12
photos/b.jpg,,,,,
photos/a.jpg,cat,0,0,30,8
photos/c.jpg,dog,2,2,4,4
"""


def test_several_boxes_of_one_image(tmp_path):
    write(tmp_path, BOXES)
    data = read(tmp_path, bad_boxes="clip")
    assert data.targets == ("boxes", "labels") and data.labels is None and len(data) == 3
    sample = data.load(0)
    assert (
        sample["boxes"].tolist() == [[1, 2, 10.5, 12], [0, 0, 24, 8]] and sample["boxes"].dtype == np.float32
    )
    assert sample["labels"].tolist() == [1, 0] and sample["labels"].dtype == np.int64
    assert data.raw_boxes(0).tolist() == [[1, 2, 10.5, 12], [0, 0, 30, 8]]
    assert data.load(1)["boxes"].shape == (0, 4) and data.load(2)["boxes"].tolist() == [[2, 2, 4, 4]]


def test_one_image_in_two_spellings_is_refused(tmp_path):
    write(tmp_path, BOXES)
    (tmp_path / "lists").mkdir()  # paths are relative to the table or to the root
    lines = ["../photos/a.jpg,dog,1,2,10,12", "photos/b.jpg,cat,1,1,9,9", "photos/a.jpg,cat,0,0,9,8"]
    (tmp_path / "lists" / "t.csv").write_text("path,label,x1,y1,x2,y2\n" + "\n".join(lines))
    with pytest.raises(ValueError, match=r"t\.csv, lines 2 and 4 name one image, as \.\./photos/a\.jpg and"):
        TableImages(root=tmp_path, table="lists/t.csv")


def test_images_of_one_class_have_a_label_beside_their_boxes(tmp_path):
    text = BOXES.replace("photos/b.jpg,,,,,", "photos/b.jpg,cat,1,1,2,2").replace("cat,0,0,30", "dog,0,0,24")
    write(tmp_path, text)
    data = read(tmp_path)
    assert data.targets == ("label", "boxes", "labels") and data.labels.tolist() == [1, 0, 1]
    assert data.load(0)["label"] == 1 and data.load(0)["labels"].tolist() == [1, 1]


def test_columns_can_be_left_unread(tmp_path):
    write(tmp_path, "path,label,x1,caption\nphotos/a.jpg,x,1,one\nphotos/b.jpg,y,2,\n")
    data = read(tmp_path, box_columns=None, caption_columns=None)
    assert data.targets == ("label",) and data.labels.tolist() == [0, 1]


def test_bad_boxes_are_named_by_their_lines_and_left_out_or_cut_where_asked(tmp_path, caplog):
    text = (
        BOXES.replace("2,2,4,4", "30,2,40,4") + "photos/b2.jpg,cat,9,9,9,12\nphotos/b2.jpg,cat,1,1,24.5,9\n"
    )
    write(tmp_path, text.replace("b2", "d"))
    with pytest.raises(ValueError, match=r"table\.csv, line 6 has the box 9, 9, 9, 12: x2 .*bad_boxes=drop"):
        read(tmp_path)
    with caplog.at_level("WARNING"):
        data = read(tmp_path, bad_boxes="drop")
    assert [data.load(i)["labels"].tolist() for i in range(4)] == [[1], [], [], [0]]
    assert data.load(3)["boxes"].tolist() == [[1, 1, 24, 9]]  # half a pixel is rounding
    for said in ("left out 3 boxes", "line 4: photos/a.jpg of 24×20 has the box 0, 0, 30, 8", "line 6"):
        assert said in caplog.text
    clipped = read(tmp_path, bad_boxes="clip").load(0)
    assert clipped["boxes"].tolist() == [[1, 2, 10.5, 12], [0, 0, 24, 8]] and len(clipped["labels"]) == 2
    write(tmp_path, BOXES)
    with pytest.raises(ValueError, match=r"has 1 box (?s:.*)line 4: (?s:.*)data\.bad_boxes=clip"):
        read(tmp_path)
    skipping = read(tmp_path, on_error="skip")
    with pytest.raises(ValueError, match="0, 0, 30, 8 in an image of 24×20"):  # the image is left out
        skipping.load(0)
    with pytest.raises(ValueError, match=r"data\.bad_boxes='keep' is unknown"):
        read(tmp_path, bad_boxes="keep")


def test_masks_need_the_names_of_their_values(tmp_path):
    text = "path,mask,split\nphotos/a.jpg,masks/a.png,train\nphotos/b.jpg,masks/b.png,test\n"
    write(tmp_path, text)
    mask = np.zeros((20, 24), dtype=np.uint8)
    mask[3:9, 4:8], mask[0] = 1, 255
    palette_png(tmp_path / "masks/a.png", mask)
    palette_png(tmp_path / "masks/b.png", mask[:10])
    with pytest.raises(ValueError, match=r"masks.*data\.dataset\.classes"):
        read(tmp_path, split="train")
    data = read(tmp_path, split="train", classes=["ground", "thing"])
    assert data.targets == ("mask",) and data.labels is None
    assert (data.load(0)["mask"] == mask).all() and data.load(0)["mask"].dtype == np.uint8
    assert data.files(0)["mask"] == tmp_path / "masks/a.png"
    with pytest.raises(ValueError, match=r"masks/b\.png is 24×10"):
        read(tmp_path, split="test", classes=["ground", "thing"]).load(0)
    with pytest.raises(ValueError, match=r"masks/a\.png .* 1"):
        read(tmp_path, split="train", classes=["ground"]).load(0)
    (tmp_path / "masks/a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"table\.csv, line 2 names masks/a\.png"):
        read(tmp_path, split="train", classes=["ground", "thing"])


def test_captions_in_columns_and_lines(tmp_path):
    text = 'path,short,long\nphotos/a.jpg,one,"two,\nlines"\nphotos/b.jpg,four,\nphotos/a.jpg,three,\n'
    write(tmp_path, text)
    data = read(tmp_path, caption_columns=["short", "long"])
    assert data.targets == ("captions",) and data.classes == [] and data.labels is None
    assert data.sentences(0) == ["one", "two,\nlines", "three"] and data.sentences(1) == ["four"]
    assert data.load(0)["captions"] == data.sentences(0) and set(data.load(0)) == {"image", "captions"}


def test_labels_and_captions_together(tmp_path):
    write(tmp_path, "path,label,caption\nphotos/a.jpg,x,one\nphotos/a.jpg,x,two\nphotos/b.jpg,y,three\n")
    data = read(tmp_path)
    assert data.targets == ("label", "captions") and data.labels.tolist() == [0, 1]
    assert data.sentences(0) == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,label\na,b\n",
            r"no column 'path' .*there are 'file', 'label': set data\.dataset\.path_column",
        ),
        ("path,kind\na,b\n", r"'path', 'kind'"),
        ("path,label,label\na,b,c\n", "two columns 'label'"),
        ("path,label,x1,y1,x2\na,b,1,2,3\n", "x1, y1, x2 .*expected x1, y1, x2, y2"),
        ("path,x1,y1,x2,y2\na,1,2,3,4\n", "boxes.* 'label'"),
        ("path,label\n", "no line"),
        ("", "no line"),
        ("path,label\nphotos/a.jpg\n", "line 2 has 1 cells, the header 2"),
        ("path,label\nphotos/a.jpg,x\n,x\n", "line 3 .*path"),
        ("path,label\nphotos/a.jpg,x\nphotos/b.jpg, \n", "line 3 .*'label'"),
        (
            "path,label\nphotos/a.jpg,x\nphotos/b.jpg,x\nphotos/a.jpg,x\n",
            r"lines 2 and 4 .*photos/a\.jpg",
        ),
        ("path,label\nphotos/a.jpg,x\nphotos/../photos/a.jpg,y\n", "lines 2 and 3 "),
        (
            "path,label,split\nphotos/a.jpg,x,dev\n",
            "line 2 .*'dev'.* train, val, test",
        ),
        ("path,label,split\nphotos/a.jpg,x,test\n", "split train"),
        (
            "path,label,x1,y1,x2,y2\nphotos/a.jpg,x,5,1,4,3\n",
            "line 2 .* 5, 1, 4, 3: x2 .*x1",
        ),
        ("path,label,x1,y1,x2,y2\nphotos/a.jpg,x,nan,1,4,3\n", "line 2 .* nan"),
        (
            "path,label,x1,y1,x2,y2\nphotos/a.jpg,x,1,,4,3\n",
            "line 2 .*'1, , 4, 3', expected 4",
        ),
        ("path,label,x1,y1,x2,y2\nphotos/a.jpg,x,,,,\n", "line 2 .*'x'.* no box"),
        ("path,label,x1,y1,x2,y2\nphotos/a.jpg,,1,2,3,4\n", "line 2 .*label"),
        (BOXES + "photos/a.jpg,dog,1,2,10.5,12\n", r"lines 2 and 6 .*photos/a\.jpg"),
        (BOXES + "photos/a.jpg,,,,,\n", r"lines 2 and 6.*photos/a\.jpg"),
        (
            "path,label,split,x1,y1,x2,y2\nphotos/a.jpg,x,train,1,2,3,4\nphotos/a.jpg,x,test,1,2,3,5\n",
            r"lines 2 and 3 .*photos/a\.jpg .*train and test",
        ),
        (
            "path,label,caption\nphotos/a.jpg,x,one\nphotos/a.jpg,y,two\n",
            "lines 2 and 3 give .* different labels",
        ),
        ("path,caption\nphotos/a.jpg,one\nphotos/b.jpg,\n", r"line 3 .*photos/b\.jpg"),
        (b"path,label\nphotos/a.jpg,k\xe4se\n", "line 2 is not UTF-8"),
    ],
)
def test_wrong_tables_are_refused_by_column_and_line(tmp_path, text, message):
    write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        splits = TableImages.find_splits(root=tmp_path, table="table.csv")
        read(tmp_path, split=splits[0])
    assert str(tmp_path / "table.csv") in str(error.value)


def test_a_line_number_counts_lines_within_cells(tmp_path):
    write(tmp_path, 'path,label,note\nphotos/a.jpg,x,"two\nlines"\nphotos/b.jpg,,n\n')
    with pytest.raises(ValueError, match=r"line 4 .*label"):
        read(tmp_path)


def test_labels_beyond_the_given_classes_are_refused(tmp_path):
    write(tmp_path, "path,label\nphotos/a.jpg,x\nphotos/b.jpg,w\n")
    with pytest.raises(ValueError, match=r"line 3 .*'w'.* x, y"):
        read(tmp_path, classes=["x", "y"])
    with pytest.raises(ValueError, match="distinct"):
        read(tmp_path, classes=["x", "x"])


def test_a_missing_image_or_table_is_named(tmp_path):
    write(tmp_path, f"path,label\nphotos/a.jpg,x\nphotos/{'long' * 100}.jpg,x\n")
    with pytest.raises(FileNotFoundError, match=r"table\.csv, line 3 names photos/long.*looked for"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"other\.csv(.|\n)*path,label,split"):
        TableImages(root=tmp_path, table="other.csv")


@pytest.mark.slow
@pytest.mark.alone
def test_a_big_table_is_read_quickly(tmp_path):
    import time

    (tmp_path / "p").mkdir()
    for i in range(200):
        (tmp_path / f"p/{i}.jpg").touch()
    lines = [f"p/{i % 200}.jpg,c{i % 7},{i},1,{i + 2},3" for i in range(40_000)]
    (tmp_path / "table.csv").write_text("path,label,x1,y1,x2,y2\n" + "\n".join(lines))
    start = time.process_time()
    data = read(tmp_path)
    assert len(data) == 200 and data.raw_boxes(3)[1].tolist() == [203, 1, 205, 3]
    assert time.process_time() - start < 3


def test_an_unreadable_table_is_named(tmp_path):
    write(tmp_path, "path,label\nphotos/a.jpg,x\n")
    (tmp_path / "table.csv").chmod(0)
    with unprivileged(tmp_path), pytest.raises(PermissionError, match=r"table\.csv"):
        read(tmp_path)


def test_the_fixture_of_the_shared_test(tmp_path):
    write_csv(tmp_path)
    assert len(read(tmp_path)) == 18 and read(tmp_path).classes == ["cat", "dog"]


BAD = """path,label,x1,y1,x2,y2
photos/a.jpg,dog,1,2,10,12
photos/a.jpg,cat,5,5,3,8
photos/b.jpg,cat,1,1,9,9
photos/b.jpg,cat,1,1,9,9
photos/c.jpg,dog,nan,1,2,3
photos/d.jpg,dog,1,1,5,5
photos/d.jpg,,,,,
photos/gone.jpg,dog,1,1,5,5
photos/e.jpg,cat,2,2,6,6
photos/f.jpg,dog
"""
LINES = ["line 3 ", "lines 4 and 5 ", "line 6 ", "lines 7 and 8", "line 9 names", "line 11 has 2 cells"]


def test_all_wrong_lines_are_named_at_once_and_can_be_left_out(tmp_path, caplog):
    write(tmp_path, BAD)
    with pytest.raises(ValueError, match=r"data\.on_error=skip") as error:
        read(tmp_path)
    assert all(line in str(error.value) for line in LINES)
    data = read(tmp_path, on_error="skip")
    assert list(data.ids) == ["photos/a.jpg", "photos/b.jpg", "photos/e.jpg"]
    assert data.raw_boxes(0).tolist() == [[1, 2, 10, 12]] and data.raw_boxes(1).tolist() == [[1, 1, 9, 9]]
    assert len(data.left_out) == len(LINES)
    assert all(any(line in text for text in data.left_out) and line in caplog.text for line in LINES)


def test_a_table_without_a_good_line_is_refused_even_so(tmp_path):
    write(tmp_path, "path,label\nphotos/x.jpg,x\nphotos/y.jpg,y\n")
    with pytest.raises(FileNotFoundError, match=r"line 2 names(.|\n)*line 3 names"):
        read(tmp_path, on_error="skip")
    write(tmp_path, "path,label\nphotos/a.jpg\n")
    with pytest.raises(ValueError, match="line 2 has 1 cells"):
        read(tmp_path, on_error="skip")


def test_one_image_by_two_paths_is_one_image(tmp_path):
    write(
        tmp_path,
        f"path,label,split\nphotos/a.jpg,x,train\nphotos/b.jpg,y,train\n{tmp_path}/photos/a.jpg,x,test\n",
    )
    with pytest.raises(ValueError, match=r"lines 2 and 4 "):
        read(tmp_path, split="train")


def test_paths_as_windows_writes_them(tmp_path):
    write(tmp_path, "path,label\nphotos\\a.jpg,x\nphotos\\b.jpg,y\n")
    data = read(tmp_path)
    assert len(data) == 2 and data.load(0)["image"].shape == (20, 24, 3)


def test_files_that_are_missing_in_any_split_are_named_at_once(tmp_path):
    lines = "path,label,split\nphotos/a.jpg,x,train\nphotos/b.jpg,y,train\n"
    write(tmp_path, lines + "photos/u.jpg,x,train\nphotos/v.jpg,y,test\n")
    with pytest.raises(FileNotFoundError, match=r"line 4 names photos/u.*\n.*line 5 names photos/v"):
        read(tmp_path, split="train")


@pytest.mark.parametrize("header", ["Path,label,split", "path,Label,split", "path,label,Split"])
def test_a_column_is_not_left_unread_for_its_case(tmp_path, header):
    write(tmp_path, f"{header}\nphotos/a.jpg,x,train\nphotos/b.jpg,y,train\nphotos/c.jpg,x,test\n")
    with pytest.raises(ValueError, match=r"column '(Path|Label|Split)', expected '(path|label|split)'"):
        read(tmp_path)


def test_boxes_as_shares_of_the_sides_are_no_pixels(tmp_path):
    write(tmp_path, "path,label,x1,y1,x2,y2\nphotos/a.jpg,x,0.1,0.2,0.5,1\nphotos/b.jpg,y,0,0,1,1\n")
    with pytest.raises(ValueError, match=r"between 0 and 1.*pixels.*width"):
        read(tmp_path)
    write(tmp_path, "path,label,x1,y1,x2,y2\nphotos/a.jpg,x,0.1,0.2,0.5,1\nphotos/b.jpg,y,0,0,9,1\n")
    assert len(read(tmp_path)) == 2


def test_a_quote_that_is_not_closed_swallows_no_line(tmp_path):
    write(tmp_path, 'path,label\nphotos/a.jpg,x\nphotos/b.jpg,"y\nphotos/c.jpg,x\nphotos/d.jpg,"y\n')
    with pytest.raises(ValueError, match=r"line \d.*quote is not closed"):
        read(tmp_path)
