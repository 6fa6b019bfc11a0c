import io

import numpy as np
import pytest
from PIL import Image

from fovea.inspect.files import check_file, check_turned, images_below, is_truncated, sniff
from helpers.real_formats import images

FORMATS = {
    "JPEG": "jpg",
    "PNG": "png",
    "GIF": "gif",
    "BMP": "bmp",
    "WebP": "webp",
    "TIFF": "tif",
    "PNM": "ppm",
}
PILLOW = {"WebP": "webp", "PNM": "ppm"}


def encoded(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(images(1, (40, 50))[0]).save(buffer, PILLOW.get(kind, kind), **options)
    return buffer.getvalue()


@pytest.fixture
def put(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def kinds(path, **options):
    return [kind for kind, _ in check_file(path, role=options.pop("role", "image"), **options)[0]]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_sound_image_of_every_format_has_no_problem(put, kind):
    data = encoded(kind)
    path = put(f"a.{FORMATS[kind]}", data)
    mode = ["palette"] if kind == "GIF" else []  # a GIF stores nothing else
    assert sniff(data) == kind and not is_truncated(data, kind) and kinds(path) == mode
    assert check_file(path, role="image")[1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WebP"])
@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_truncated_files_are_found(put, kind, cut):
    data = encoded(kind)
    problems, readable = check_file(put(f"a.{FORMATS[kind]}", data[: int(cut * len(data))]), role="image")
    assert [k for k, _ in problems] == ["truncated"] and not readable and kind in problems[0][1]


def test_a_jpeg_with_a_preview_and_without_end_is_truncated():
    preview = encoded("JPEG")
    segment = b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview  # it has an end mark of its own
    whole = encoded("JPEG")
    assert not is_truncated(whole[:2] + segment + whole[2:], "JPEG")
    assert is_truncated(whole[:2] + segment + whole[2:-40], "JPEG")


def test_bytes_after_the_end_are_no_problem(put):
    for kind in ("JPEG", "PNG"):
        assert kinds(put(f"a.{FORMATS[kind]}", encoded(kind) + b"\0" * 30 + b"camera")) == []


def test_empty_missing_unlinked_and_foreign_files(put, tmp_path):
    assert kinds(put("a.jpg", b"")) == ["empty file"]
    assert kinds(put("a.xml", b""), role="annotation") == ["empty file"]
    assert kinds(put("a.txt", b""), role="annotation") == []  # of YOLO: no object
    assert kinds(tmp_path / "b.jpg") == ["missing image"]
    assert kinds(tmp_path / "b.png", role="mask") == ["missing mask"]
    assert kinds(tmp_path / "b.xml", role="annotation") == ["missing annotation"]
    (tmp_path / "c.jpg").symlink_to(tmp_path / "nowhere")
    assert "link" in check_file(tmp_path / "c.jpg", role="image")[0][0][1]
    assert kinds(put("d.png", b"no image at all")) == ["corrupt"]
    assert kinds(put("d.xml", b"<annotation/>"), role="annotation") == []
    assert kinds(put("d.mat", b"MATLAB"), role="mask") == []
    (tmp_path / "folder.jpg").mkdir()
    assert kinds(tmp_path / "folder.jpg") == ["corrupt"]


def test_a_file_that_may_not_be_read(put, monkeypatch):
    path = put("a.jpg", encoded("JPEG"))

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_bytes", refuse)  # root may read everything
    assert kinds(path) == ["no permission"]


def test_mislabelled_extensions(put):
    assert kinds(put("a.jpg", encoded("PNG"))) == ["wrong extension"]
    assert kinds(put("b.PNG", encoded("PNG"))) == [] and kinds(put("c.jpeg", encoded("JPEG"))) == []
    assert kinds(put("no_extension", encoded("PNG"))) == []


@pytest.mark.parametrize(
    ("mode", "name", "channels", "expected"),
    [
        ("RGB", "a.png", 3, []),
        ("L", "a.png", 3, ["grey"]),
        ("L", "a.png", 1, []),
        ("RGB", "a.png", 1, ["colour"]),
        ("RGBA", "a.png", 3, ["transparent"]),
        ("P", "a.png", 3, ["palette"]),
        ("CMYK", "a.jpg", 3, ["16-bit or CMYK"]),
        ("I;16", "a.png", 3, ["16-bit or CMYK"]),
    ],
)
def test_modes(tmp_path, mode, name, channels, expected):
    picture = Image.fromarray(images(1, (40, 50))[0])
    if mode == "I;16":
        picture = Image.fromarray(np.arange(2000, dtype=np.uint16).reshape(40, 50))
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / name)
    assert kinds(tmp_path / name, channels=channels) == expected
    assert kinds(tmp_path / name, channels=channels, role="mask") == []  # masks are stored in any mode


def test_loose_images_are_found_below_a_folder(tmp_path):
    for name in ("b/2.PNG", "a/1.jpg", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.name for p in images_below(tmp_path)] == ["1.jpg", "2.PNG"]


@pytest.mark.parametrize(("turn", "found"), [(None, []), (1, []), (6, ["turned by EXIF"])])
def test_a_photo_that_exif_turns_is_named_beside_masks(tmp_path, turn, found):
    exif = Image.Exif()
    if turn is not None:
        exif[0x0112] = turn
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert [kind for kind, _ in check_turned(tmp_path / "a.jpg")] == found
