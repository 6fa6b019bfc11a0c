"""Write small data sets of photos with masks, byte for byte in the formats of the official files."""

import numpy as np
from PIL import Image

from fovea.data.datasets.camvid import COLOURS, LABELS, STILLS
from fovea.data.datasets.isic import FOLDERS
from fovea.data.datasets.oxford_pets import BREEDS
from helpers.real_formats import images

SIZE = (24, 32)  # height and width


def photo(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def trimap(number, size=SIZE):
    """2 around, 3 as a border, 1 inside; the place depends on the number."""
    mask = np.full(size, 2, dtype=np.uint8)
    mask[4:16, 5 + number % 5 : 20 + number % 5] = 3
    mask[6:14, 7 + number % 5 : 18 + number % 5] = 1
    return mask


def write_pets(root, per_breed=3):
    """Write the pets: the first image of each breed and split is listed in scattered order."""
    folder = root / "oxford-iiit-pet"
    rng, number = np.random.default_rng(0), 0
    of_species = {True: 0, False: 0}
    lines = {"trainval": [], "test": []}
    pixels = images(37 * per_breed * 2, SIZE)
    for breed, name in enumerate(BREEDS, start=1):
        cat = name[0].isupper()
        of_species[cat] += 1
        for i in range(per_breed * 2):
            file = f"{name}_{i * 7 + 1}"
            photo(folder / "images" / f"{file}.jpg", pixels[number], quality=95)
            photo(folder / "annotations" / "trimaps" / f"{file}.png", trimap(number))
            line = f"{file} {breed} {1 if cat else 2} {of_species[cat]}"
            lines["trainval" if i < per_breed else "test"].append(line)
            number += 1
    for split, rows in lines.items():
        order = rng.permutation(len(rows))
        text = "".join(f"{rows[i]}\n" for i in order)
        (folder / "annotations" / f"{split}.txt").write_text(text)
    header = "#Image CLASS-ID SPECIES BREED ID\n"
    (folder / "annotations" / "list.txt").write_text(header + "\n".join(lines["trainval"] + lines["test"]))
    (folder / "annotations" / "trimaps" / "._Abyssinian_1.png").write_bytes(b"left by another system")
    (folder / "images" / "Abyssinian_100.mat").write_bytes(b"MATLAB 5.0")
    return folder


def lesion(number, size=SIZE):
    mask = np.zeros(size, dtype=np.uint8)
    mask[3 : 10 + number % 4, 4:20] = 255
    return mask


def write_isic(root, year=2018, count=12):
    """Write all splits of a year as the archives unpack."""
    suffix = "_Segmentation.png" if year == 2016 else "_segmentation.png"
    start = 0
    for split, (data, truth) in FOLDERS[year].items():
        pixels = images(count, SIZE, seed=year)
        for i in range(count if split == "train" else 3):
            name = f"ISIC_{start + i:07d}"
            photo(root / "isic" / data / f"{name}.jpg", pixels[i], quality=95)
            photo(root / "isic" / truth / f"{name}{suffix}", lesion(i))
            if year == 2017:
                photo(root / "isic" / data / f"{name}_superpixels.png", pixels[i])
        if year == 2017:
            (root / "isic" / data / f"{data}_metadata.csv").write_text("image_id,age_approximate,sex\n")
        else:
            (root / "isic" / data / "LICENSE.txt").write_text("…")
        start += 100
    return root / "isic"


def street(number, size=SIZE):
    """Return labels 0…11, each in a stripe, shifted by the number."""
    row = (np.arange(size[1]) // 2 + number) % 12
    return np.repeat(row[None], size[0], axis=0).astype(np.uint8)


TRAIN = [
    *(f"0001TP_{n:06d}" for n in range(6690, 6870, 30)),
    "0001TP_008520",
    "0006R0_f00930",
    "0016E5_07920",
]
FRAMES = {
    "train": [*TRAIN, "0006R0_f03930", "0016E5_00390", "0016E5_08190"],
    "val": ["0016E5_07959", "0016E5_08033", "0016E5_08159"],
    "test": ["0001TP_008550", "0001TP_010380", "Seq05VD_f00000", "Seq05VD_f05100"],
}


def write_camvid(root):
    """Write the reduced frames: 8-bit grey masks with values 0 to 11, and the lists beside them."""
    folder = root / "CamVid"
    for split, names in FRAMES.items():
        for number, (name, pixels) in enumerate(zip(names, images(len(names), SIZE), strict=True)):
            photo(folder / split / f"{name}.png", pixels)
            photo(folder / f"{split}annot" / f"{name}.png", street(number))
        lines = (
            f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n" for name in names
        )
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


def painted(number, size=SIZE):
    """Return RGB colours (H, W, 3) in which each of the 32 classes has one column, and their rows (W,)."""
    rows = (np.arange(size[1]) + number) % 32
    colours = np.array([value[:3] for value in COLOURS.values()], dtype=np.uint8)
    return np.repeat(colours[rows][None], size[0], axis=0), rows


def write_camvid_original(root):
    """Write the original frames: all in one folder, masks in colour."""
    folder, names = root / "CamVid", sorted(name for names in FRAMES.values() for name in names)
    for number, (name, pixels) in enumerate(zip(names, images(len(names), SIZE), strict=True)):
        photo(folder / STILLS / f"{name}.png", pixels)
        photo(folder / LABELS / f"{name}_L.png", painted(number)[0])
    return names


def write_photos(root, count=20):
    for number, pixels in enumerate(images(count, SIZE)):
        photo(root / ("2019" if number % 2 else "2020/May — Zürich") / f"{number:03d}.jpg", pixels)


def write_mask_folder(root, count=24):
    for number, pixels in enumerate(images(count, SIZE)):
        photo(root / "images" / f"{number:03d}.jpg", pixels)
        mask = np.zeros(SIZE, np.uint8)
        mask[2:9, 3:9] = 1
        photo(root / "masks" / f"{number:03d}.png", mask)


WRITERS = {
    "mask_folder": write_mask_folder,
    "oxford_pets": write_pets,
    "oxford_cats": write_pets,
    "pets_trimaps": write_pets,
    "isic": write_isic,
    "camvid": write_camvid,
    "photos": write_photos,
}
