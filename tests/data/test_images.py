import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from fovea.data.images import _decode_any, _is_ordinary, read_image, read_size
from helpers.real_formats import images

PHOTO = images(1, (37, 52), 3, seed=4)[0]
GREY = images(1, (37, 52), 1, seed=4)[0]


def save(path, array, **options):
    Image.fromarray(array.squeeze()).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.ppm", "写真 é.png"])
@pytest.mark.parametrize("array", [PHOTO, GREY], ids=["colour", "grey"])
def test_lossless_formats_come_back_exactly(tmp_path, name, array):
    path = save(tmp_path / name, array)
    assert np.array_equal(read_image(path), np.broadcast_to(array, PHOTO.shape))
    assert read_image(path).dtype == np.uint8


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}, {"subsampling": 0}])
@pytest.mark.parametrize("array", [PHOTO, GREY], ids=["colour", "grey"])
def test_the_fast_path_equals_pillow_on_jpeg(tmp_path, options, array):
    path = save(tmp_path / "a.jpg", array, **options)
    assert _is_ordinary(path.read_bytes())
    slow = _decode_any(path.read_bytes())
    assert np.array_equal(read_image(path, channels=slow.shape[2]), slow)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a{suffix}", PHOTO, exif=exif)
    image = read_image(path)
    undo = {1: 0, 2: "fh", 3: 2, 4: "fv", 5: "t", 6: 3, 7: "at", 8: 1}[orientation]
    upright = {
        "fh": lambda a: a[:, ::-1],
        "fv": lambda a: a[::-1],
        "t": lambda a: a.transpose(1, 0, 2),
        "at": lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    }.get(undo, lambda a: np.rot90(a, undo))(PHOTO)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < (3 if suffix == ".jpg" else 1e-9)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".avif", ".gif"])
def test_the_size_in_the_header_is_that_of_the_photo_as_it_is_read(tmp_path, suffix):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {} if suffix == ".gif" else {"exif": exif}
        path = save(tmp_path / f"{orientation}{suffix}", PHOTO, **options)
        assert read_size(path) == read_image(path).shape[1::-1]
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=rf"8{suffix} has no readable header"):
        read_size(path)


def test_transparent_pixels_show_white(tmp_path):
    alpha = np.zeros((37, 52, 1), np.uint8)
    alpha[:, 26:] = 255
    alpha[0] = 128
    path = save(tmp_path / "a.png", np.concatenate([PHOTO, alpha], axis=2))
    image = read_image(path)
    assert (image[1:, :26] == 255).all() and np.array_equal(image[1:, 26:], PHOTO[1:, 26:])
    assert np.abs(image[0] - (PHOTO[0] * (128 / 255) + 255 * (127 / 255))).max() <= 0.51
    grey = save(tmp_path / "la.png", GREY)
    Image.merge("LA", (Image.fromarray(GREY[..., 0]), Image.fromarray(alpha[..., 0]))).save(grey)
    assert (read_image(grey)[1:, :26] == 255).all()
    assert np.array_equal(read_image(grey, channels=1)[1:, 26:], GREY[1:, 26:])


def test_palettes_and_their_transparency(tmp_path):
    palette = Image.fromarray(PHOTO).quantize(16)
    palette.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(palette.convert("RGB")))
    palette.save(tmp_path / "b.png", transparency=0)
    clear = np.asarray(palette) == 0
    assert (read_image(tmp_path / "b.png")[clear] == 255).all()


def test_a_transparent_colour_of_an_rgb_png_shows_white(tmp_path):
    array = PHOTO.copy()
    array[:5] = (7, 8, 9)
    Image.fromarray(array).save(tmp_path / "a.png", transparency=(7, 8, 9))
    assert (read_image(tmp_path / "a.png")[:5] == 255).all()


def test_a_transparent_grey_level_shows_white(tmp_path):
    array = GREY.copy()
    array[:5] = 9
    Image.fromarray(array[..., 0]).save(tmp_path / "a.png", transparency=9)
    assert (read_image(tmp_path / "a.png")[:5] == 255).all()


def test_one_bit_images(tmp_path):
    Image.fromarray(GREY[..., 0] > 127).save(tmp_path / "a.png")
    assert np.array_equal(
        read_image(tmp_path / "a.png", channels=1)[..., 0], (GREY[..., 0] > 127) * np.uint8(255)
    )


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, suffix):
    deep = np.linspace(0, 65535, 40 * 50).reshape(40, 50).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / f"a{suffix}"), deep)
    image = read_image(tmp_path / f"a{suffix}", channels=1)[..., 0]
    assert np.array_equal(image, np.rint(deep / 257).astype(np.uint8))


def test_sixteen_bit_colour_is_scaled(tmp_path):
    deep = PHOTO.astype(np.uint16) * 257
    assert cv2.imwrite(str(tmp_path / "a.png"), deep[..., ::-1])
    assert np.array_equal(read_image(tmp_path / "a.png"), PHOTO)


def test_float_images_are_scaled(tmp_path):
    Image.fromarray(GREY[..., 0].astype(np.float32) / 255).save(tmp_path / "a.tiff")
    assert np.array_equal(read_image(tmp_path / "a.tiff", channels=1), GREY)


def test_cmyk_keeps_its_colours(tmp_path):
    for suffix in (".jpg", ".tiff"):
        Image.fromarray(PHOTO).convert("CMYK").save(tmp_path / f"a{suffix}", quality=95)
        image = read_image(tmp_path / f"a{suffix}")
        assert np.abs(image.astype(int) - PHOTO).mean() < 4


def test_gif_and_webp_give_their_first_frame(tmp_path):
    frames = [Image.fromarray(a) for a in images(3, (37, 52), 3, seed=9)]
    for suffix, options in ((".gif", {}), (".webp", {"lossless": True})):
        path = tmp_path / f"a{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        first = Image.open(path).convert("RGB")
        assert np.array_equal(read_image(path), np.asarray(first))


def test_grey_is_the_same_luma_for_every_decoder(tmp_path):
    png, bmp = save(tmp_path / "a.png", PHOTO), save(tmp_path / "a.bmp", PHOTO)
    luma = PHOTO @ np.array([0.299, 0.587, 0.114])
    grey = read_image(png, channels=1)
    assert np.array_equal(grey, read_image(bmp, channels=1)) and grey.shape == (37, 52, 1)
    assert np.abs(grey[..., 0] - luma).max() <= 0.51


def _junk(suffix):
    buffer = io.BytesIO()
    Image.fromarray(images(1, (200, 200))[0]).save(
        buffer, {"jpg": "JPEG", "png": "PNG", "gif": "GIF"}[suffix]
    )
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif"])
@pytest.mark.parametrize("keep", [0, 1, 20, 0.5, -40])
def test_damaged_files_are_named(tmp_path, suffix, keep):
    data = _junk(suffix)
    cut = data[: int(len(data) * keep) if isinstance(keep, float) else keep]
    path = tmp_path / f"café.{suffix}"
    path.write_bytes(cut)
    with pytest.raises(ValueError, match="café"):
        read_image(path)


def test_a_png_with_a_flipped_bit_is_refused(tmp_path):
    data = bytearray(_junk("png"))
    data[len(data) // 2] ^= 16
    (tmp_path / "flipped.png").write_bytes(data)
    with pytest.raises(ValueError, match="flipped"):
        read_image(tmp_path / "flipped.png")


def test_text_a_broken_header_and_a_wrong_size_are_refused(tmp_path):
    path = tmp_path / "a.png"
    header = struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0)
    for content in (
        b"hello",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 80,
        b"\xff\xd8\xff\xe0" + b"\0" * 50 + b"\xff\xd9",
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a.png"):
            read_image(path)
    chunk = b"IHDR" + header
    bad = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk) ^ 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bad + b"\0\0\0\0IEND\xaeB`\x82")
    with pytest.raises(ValueError, match=r"a.png"):
        read_image(path)


def test_missing_file_and_wrong_channels(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_image(tmp_path / "nothing.jpg")
    with pytest.raises(ValueError, match="channels=4"):
        read_image(tmp_path / "nothing.jpg", channels=4)


def test_an_image_that_claims_to_be_beyond_all_limits_is_named(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0" * 100)) + chunk(b"IEND", b"")
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(ValueError, match=r"huge\.png cannot be read"):
        read_image(path)


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "area"])
def test_a_large_photo_is_decoded_small_to_one_grey_level(tmp_path, interpolation):
    from fovea.data.preprocess import Preprocess

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
    photo = cv2.resize(coarse, (3584, 2688), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    photo = np.clip(photo + rng.integers(-20, 20, photo.shape), 0, 255).astype(np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    how = {"image_size": [48, 48], "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "crop_pct": 0.875}
    preprocess = Preprocess(how | {"interpolation": interpolation})
    for name, image, options in (
        ("a.jpg", Image.fromarray(photo), {}),
        ("grey.jpg", Image.fromarray(photo).convert("L"), {}),
        ("turned.jpg", Image.fromarray(photo), {"exif": turned}),
        ("odd.jpg", Image.fromarray(photo[:-1]), {}),
        ("cmyk.jpg", Image.fromarray(photo).convert("CMYK"), {}),
        ("a.png", Image.fromarray(photo), {"compress_level": 0}),
    ):
        image.save(tmp_path / name, **options)
        whole = read_image(tmp_path / name)
        small = read_image(tmp_path / name, enough=preprocess.enough)
        reduced = name not in ("odd.jpg", "a.png") and interpolation != "area"
        assert small.shape[0] == whole.shape[0] // (2 if reduced else 1)
        difference = preprocess.to_array(whole).astype(int) - preprocess.to_array(tmp_path / name)
        assert np.abs(difference).max() <= 1
