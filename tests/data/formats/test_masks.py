import re
import time

import numpy as np
import pytest
from PIL import Image

from fovea.data.formats.masks import read_mask
from fovea.ops.palette import voc_palette

COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], dtype=np.uint8)
LABELS = np.array([[0, 1, 2], [255, 1, 0]], dtype=np.uint8)


def save(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels) if mode is None else Image.fromarray(pixels).convert(mode)
    image.save(path, **options)
    return path


def palette_png(path, indices, colours, **options):
    image = Image.fromarray(indices, "P")
    image.putpalette(colours.reshape(-1).tolist())
    image.save(path, **options)
    return path


def test_the_palette_is_that_of_voc():
    wanted = {
        0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128),
        20: (0, 64, 128), 255: (224, 224, 192),
    }  # fmt: skip
    colours = voc_palette(256)
    assert colours.dtype == np.uint8 and len({tuple(c) for c in colours.tolist()}) == 256
    assert {k: tuple(colours[k].tolist()) for k in wanted} == wanted


def test_a_palette_image_counts_by_its_indices(tmp_path):
    path = palette_png(tmp_path / "m.png", LABELS, voc_palette(256))
    mask = read_mask(path, num_classes=3)
    assert mask.dtype == np.uint8 and np.array_equal(mask, LABELS)
    assert np.array_equal(read_mask(path, num_classes=3, colours=voc_palette(3)), LABELS)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_palette_or_grey_are_values_too(tmp_path, bits):
    labels = np.array([[0, 1, 1], [1, 0, 1]], dtype=np.uint8) if bits == 1 else LABELS % 4
    path = palette_png(tmp_path / "p.png", labels, voc_palette(2**bits), bits=bits)
    assert path.read_bytes()[24] == bits and np.array_equal(read_mask(path, num_classes=4), labels)
    grey = tmp_path / "g.png"
    write_grey_png(grey, labels, bits)
    assert np.array_equal(read_mask(grey, num_classes=4), labels)


def write_grey_png(path, labels, bits):
    """Write a grey PNG of few bits, which Pillow cannot."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b""
    for row in labels:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    header = struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], bits, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def test_deep_grey_and_grey_with_alpha_or_stored_thrice(tmp_path):
    deep = save(tmp_path / "deep.png", LABELS.astype(np.uint16))
    assert deep.read_bytes()[24] == 16 and np.array_equal(read_mask(deep, num_classes=3), LABELS)
    for mode in ("LA", "RGB", "RGBA"):
        path = save(tmp_path / f"{mode}.png", LABELS, mode)
        assert np.array_equal(read_mask(path, num_classes=3), LABELS)
    binary = save(tmp_path / "binary.png", np.array([[0, 65535]], dtype=np.uint16))
    assert read_mask(binary, num_classes=2, values={65535: 1}).tolist() == [[0, 1]]
    wrong = save(tmp_path / "wrong.png", np.array([[0, 1], [1, 700]], dtype=np.uint16))
    with pytest.raises(ValueError, match=r"wrong.png .* 700 at x=1, y=1"):
        read_mask(wrong, num_classes=2)


def test_values_are_mapped_kept_or_refused(tmp_path):
    path = save(tmp_path / "m.png", np.array([[0, 255, 1]], dtype=np.uint8))
    assert read_mask(path, num_classes=2, values={255: 1}).tolist() == [[0, 1, 1]]
    assert read_mask(path, num_classes=2).tolist() == [[0, 255, 1]]
    with pytest.raises(ValueError, match=r"value 0 at x=0, y=0.*expected 1, 255;"):
        read_mask(path, num_classes=2, values={0: -1})


def test_a_value_that_is_no_class_is_named_with_its_place(tmp_path):
    labels = np.zeros((5, 7), dtype=np.uint8)
    labels[3, 4] = labels[4, 0] = 9
    path = save(tmp_path / "müsk.png", labels)
    with pytest.raises(ValueError, match=r"müsk.png .* 9 at x=4, y=3.*expected 0 to 2, 255;.*\(3\)"):
        read_mask(path, num_classes=3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_looked_up(tmp_path, mode):
    rows = np.array([[2, 1], [0, 2]])
    if mode == "P":  # whose indices say something else
        path = palette_png(tmp_path / "m.png", np.array([[0, 1], [2, 0]], dtype=np.uint8), COLOURS[[2, 1, 0]])
    else:
        path = save(tmp_path / "m.png", COLOURS[rows], mode)
    assert np.array_equal(read_mask(path, num_classes=3, colours=COLOURS), rows)
    reduced = read_mask(path, num_classes=2, colours=COLOURS, values={0: 255, 1: 0, 2: 1})
    assert np.array_equal(reduced, np.array([255, 0, 1])[rows])


def test_an_unknown_colour_is_named_with_its_place(tmp_path):
    pixels = COLOURS[np.zeros((4, 4), dtype=int)].copy()
    pixels[2, 1] = (1, 2, 3)
    path = save(tmp_path / "m.png", pixels)
    with pytest.raises(
        ValueError, match=re.escape("m.png has the colour (1, 2, 3) (red, green, blue) at x=1, y=2")
    ):
        read_mask(path, num_classes=3, colours=COLOURS)
    with pytest.raises(ValueError, match="colour"):
        read_mask(path, num_classes=3)


def test_damaged_files_are_named(tmp_path):
    path = save(tmp_path / "m.png", np.random.default_rng(0).integers(0, 3, (50, 50)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"m.png cannot be read"):
        read_mask(path, num_classes=3)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"m.png is empty"):
        read_mask(path, num_classes=3)
    with pytest.raises(FileNotFoundError, match=r"gone.png"):
        read_mask(tmp_path / "gone.png", num_classes=3)
    floats = tmp_path / "f.tif"
    Image.fromarray(np.array([[0.5]], dtype=np.float32)).save(floats)
    with pytest.raises(ValueError, match=r"f.tif .* 0.5"):
        read_mask(floats, num_classes=3)


@pytest.mark.alone
def test_a_large_colour_mask_takes_no_loop_over_pixels(tmp_path):
    rows = np.repeat(np.repeat(np.arange(600) % 3, 3)[None], 1200, axis=0)
    path = save(tmp_path / "m.png", COLOURS[rows], compress_level=1)
    read_mask(path, num_classes=3, colours=COLOURS)
    start = time.perf_counter()
    mask = read_mask(path, num_classes=3, colours=COLOURS)
    assert time.perf_counter() - start < 1 and np.array_equal(mask, rows)


def test_a_mask_in_the_transparency_alone_is_refused(tmp_path):
    alpha = np.where(LABELS == 1, 255, 0).astype(np.uint8)
    for name, planes in (("rgba", [alpha * 0 + 255] * 3), ("la", [alpha * 0])):
        path = save(tmp_path / f"{name}.png", np.dstack([*planes, alpha]))
        with pytest.raises(ValueError, match=rf"{name}\.png .*transparency"):
            read_mask(path, num_classes=2)
    read_mask(save(tmp_path / "a.png", np.dstack([LABELS % 2] * 3 + [alpha])), num_classes=2)


@pytest.mark.parametrize(
    "options", [{"suffix": ".jpg"}, {"suffix": ".webp"}, {"suffix": ".tif", "compression": "jpeg"}]
)
def test_a_lossy_mask_is_refused_even_where_all_its_values_are_classes(tmp_path, options):
    mask = np.zeros((16, 20), np.uint8)
    mask[4:12, 5:14] = 1  # JPEG gives 0 everywhere, WebP 1 in most places
    path = save(tmp_path / f"a{options.pop('suffix')}", mask, **options)
    with pytest.raises(ValueError, match=rf"{path.name} is compressed as \w+ with loss.*PNG"):
        read_mask(path, num_classes=2)


def test_a_lossless_webp_is_a_mask(tmp_path):
    path = save(tmp_path / "a.webp", LABELS, lossless=True)
    assert np.array_equal(read_mask(path, num_classes=int(LABELS.max()) + 1), LABELS)
