"""A photo means the same to every reader: predict, the exported example, evaluation and explanations."""

import csv
import importlib.util
import json
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from fovea.data.datasets.folder import Folder
from helpers.real_formats import images

PHOTO = images(1, (37, 52), 3, seed=4)[0]
ALPHA = np.tile(np.linspace(0, 255, 52).astype(np.uint8), (37, 1))


def odd(folder):
    """Write one photo in every way in which people have them."""
    folder.mkdir(parents=True)
    colour, alpha = Image.fromarray(PHOTO), Image.fromarray(ALPHA)
    grey, palette, turned = colour.convert("L"), colour.quantize(16), Image.Exif()
    turned[0x0112] = 6
    clear = Image.merge("RGBA", (*colour.split(), alpha))
    written = {
        "rgb.png": colour, "rgb.bmp": colour, "rgb.gif": colour, "rgb.tga": colour, "rgb.jp2": colour,
        "rgb.webp": colour, "rgb.avif": colour, "rgb.ppm": colour, "rgb.jfif": colour, "grey.jpg": grey,
        "alpha.png": clear, "alpha.webp": clear, "alpha.tiff": clear, "alpha.tga": clear,
        "grey_alpha.png": Image.merge("LA", (grey, alpha)), "palette.png": palette, "palette.gif": palette,
        "palette_alpha.png": clear.quantize(16), "cmyk.jpg": colour.convert("CMYK"),
        "cmyk.tiff": colour.convert("CMYK"), "lab.tiff": colour.convert("LAB"),
        "one_bit.png": colour.convert("1"), "one_bit.tiff": colour.convert("1"),
        "float.tiff": Image.fromarray(np.asarray(grey, dtype=np.float32) / 255),
    }  # fmt: skip
    for name, image in written.items():
        image.save(folder / name)
    for name in ("turned.jpg", "turned.png", "turned.webp", "turned.tiff"):
        colour.save(folder / name, exif=turned)
    palette.save(folder / "palette_transparent.png", transparency=3)
    grey.save(folder / "grey_transparent.png", transparency=int(np.asarray(grey)[0, 0]))
    colour.save(folder / "transparent.png", transparency=tuple(map(int, PHOTO[0, 0])))
    deep = np.dstack([PHOTO[..., ::-1], ALPHA]).astype(np.uint16) * 257
    for name, pixels in (("grey", deep[..., 0]), ("rgb", deep[..., :3]), ("rgba", deep)):
        for suffix in (".png", ".tiff"):
            assert cv2.imwrite(str(folder / f"{name}_16{suffix}"), pixels)
    return sorted(folder.iterdir())


def example_of(folder, monkeypatch):
    """Import the example of an exported folder, as a process started there does."""
    monkeypatch.syspath_prepend(str(folder))
    for name in ("images", "placement"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location("exported_example", folder / "predict_example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_every_reader_sees_the_same_photo(untrained_run, call, tmp_path, monkeypatch):
    paths = odd(tmp_path / "photos" / "cat")
    call("export", run=untrained_run, format="torchscript", images=8, rounds=1)
    folder = untrained_run / "export" / "torchscript"
    about, example = json.loads((folder / "export.json").read_text()), example_of(folder, monkeypatch)
    model = example.open_model(folder / about["file"], about)
    call("predict", run=untrained_run, input=tmp_path / "photos", annotate=False)
    with (untrained_run / "predict" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    Image.fromarray(PHOTO).save(tmp_path / "second.png")
    (tmp_path / "photos" / "dog").mkdir()
    (tmp_path / "second.png").rename(tmp_path / "photos" / "dog" / "second.png")
    data = Folder(root=tmp_path / "photos")
    trained = {str(data.paths[i]): data.load(i)["image"] for i in range(len(data))}
    assert len(paths) == len(rows) == len(trained) - 1 > 35
    for path in map(str, paths):
        image = example.read_image(path)
        assert np.array_equal(image, trained[path]), path
        (scores,) = model(example.preprocess(image, about["preprocessing"])).values()
        probability = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        assert float(rows[path]["probability"]) == pytest.approx(probability.max(), abs=1e-5), path
        assert rows[path]["predicted"] == about["classes"][int(scores.argmax())]
    assert len({row["probability"] for row in rows.values()}) > 15  # they differ where they should
