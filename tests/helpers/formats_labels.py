"""Write small classification data sets, byte for byte in the formats of the official files."""

import struct
from functools import partial
from itertools import count

import numpy as np
from PIL import Image

from helpers.real_formats import (
    images,
    write_cifar10,
    write_fashion_mnist,
    write_flowers102,
    write_folder,
    write_idx,
)

FINE = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
    dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
    leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
    otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
    road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
    sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
"""
COARSE = """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things
    large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals non-insect_invertebrates
    people reptiles small_mammals trees vehicles_1 vehicles_2
"""
FINE, COARSE = FINE.split(), COARSE.split()
ATTRIBUTES = ("Male", "Asian", "White", "Black", "Baby", "Child", "Youth", "Middle Aged", "Senior")


def write_mnist(root, train=60, test=20, suffix=".gz"):
    for prefix, number, seed in (("train", train, 2), ("t10k", test, 3)):
        raw = root / "MNIST" / "raw"
        write_idx(raw / f"{prefix}-images-idx3-ubyte{suffix}", images(number, (28, 28), 1, seed)[..., 0])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte{suffix}", np.arange(number) % 10)


def python2_pickle(value):
    """Pickle as Python 2's cPickle did: protocol 2, 8-bit strings, everything in the memo."""
    memo = count()

    def put(code):
        number = next(memo)
        return code + (b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<i", number))

    def text(raw):
        head = b"U" + bytes([len(raw)]) if len(raw) < 256 else b"T" + struct.pack("<i", len(raw))
        return put(head + raw)

    def array(data):
        start = put(b"cnumpy.core.multiarray\n_reconstruct\n") + put(b"cnumpy\nndarray\n")
        start = put(put(start + put(b"K\x00\x85") + text(b"b") + b"\x87") + b"R")
        kind = put(put(put(b"cnumpy\ndtype\n") + text(b"u1") + b"K\x00K\x01\x87") + b"R")
        kind = kind + put(b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t") + b"b"
        shape = b"".join(whole(n) for n in data.shape)
        return (
            start
            + put(b"(K\x01" + put(shape + b"\x86") + kind + b"\x89" + text(data.tobytes()) + b"t")
            + b"b"
        )

    def whole(n):
        return b"K" + bytes([n]) if n < 256 else b"M" + struct.pack("<H", n)

    def encode(item):
        if isinstance(item, dict):
            return put(b"}") + b"(" + b"".join(encode(k) + encode(v) for k, v in item.items()) + b"u"
        if isinstance(item, list):
            return put(b"]") + b"(" + b"".join(encode(v) for v in item) + b"e"
        if isinstance(item, np.ndarray):
            return array(item)
        return text(item.encode("latin1")) if isinstance(item, str) else whole(int(item))

    return b"\x80\x02" + encode(value) + b"."


def cifar100_pixels(number, seed):
    return images(number, (32, 32), 3, seed)


def write_cifar100(root, train=300, test=100):
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for split, number, seed in (("train", train, 5), ("test", test, 6)):
        fine = [i % 100 for i in range(number)]
        batch = {
            "filenames": [f"image_s_{i:06d}.png" for i in range(number)],
            "batch_label": f"{split}ing batch 1 of 1",
            "fine_labels": fine,
            "coarse_labels": [label // 5 for label in fine],
            "data": cifar100_pixels(number, seed).transpose(0, 3, 1, 2).reshape(number, 3072),
        }
        (folder / split).write_bytes(python2_pickle(batch))
    meta = {"fine_label_names": FINE, "coarse_label_names": COARSE}
    (folder / "meta").write_bytes(python2_pickle(meta))


def car_annotations(rows, *, classes=True):
    """Nest (x1, y1, x2, y2, class, file name) as the devkit does: a struct array (1, N) of 1×1 matrices."""
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", *(["class"] if classes else []), "fname"]
    table = np.empty((1, len(rows)), dtype=[(field, object) for field in fields])
    for i, (*numbers, name) in enumerate(rows):
        values = [np.array([[n]], dtype=np.uint8 if n < 256 else np.uint16) for n in numbers]
        table[0, i] = (*(values if classes else values[:4]), name)
    return {"annotations": table}


def write_stanford_cars(root, per_class=3, size=(20, 24)):
    """Write `per_class` training images and 1 test image of every class; box n starts at n % 5 + 1."""
    from scipy.io import savemat

    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    names = np.array(
        [f"Make Model {i:03d} 2012" for i in range(195)] + ["smart fortwo Convertible 2012"], object
    )
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names[None]})
    pictures = {"train": images(196 * per_class, size, 3, 7), "test": images(196, size, 3, 8)}
    for split, part in pictures.items():
        (folder / f"cars_{split}").mkdir()
        rows = []
        for n, image in enumerate(part, start=1):
            Image.fromarray(image).save(folder / f"cars_{split}" / f"{n:05d}.jpg", quality=95)
            rows.append((n % 5 + 1, 2, 20, 20, (n * 5) % 196 + 1, f"{n:05d}.jpg"))
        if split == "train":
            savemat(folder / "devkit" / "cars_train_annos.mat", car_annotations(rows))
        else:
            savemat(folder / "devkit" / "cars_test_annos.mat", car_annotations(rows, classes=False))
            savemat(folder / "cars_test_annos_withlabels.mat", car_annotations(rows))


def one_hot(labels, classes):
    return np.eye(classes, dtype=np.float32)[labels]


def write_arrays(folder, *, classes, train, test, size, first=0, form="int"):
    """Write x_train.npy, y_train.npy, x_test.npy and y_test.npy; `first` is the number of class 0."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, number, seed in (("train", train, 9), ("test", test, 10)):
        labels = np.arange(number) % classes
        forms = {"int": labels + first, "column": (labels + first)[:, None].astype(np.uint8)}
        forms |= {"float": (labels + first).astype(np.float64), "one_hot": one_hot(labels, classes)}
        np.save(folder / f"x_{split}.npy", images(number, size, 3, seed))
        np.save(folder / f"y_{split}.npy", forms[form])


def write_cars20(root, size=(25, 25), **options):
    """Write the arrays of the lab, whose labels count from 1."""
    options = {"first": 1, **options}
    write_arrays(root / "cars20", classes=20, train=60, test=20, size=size, **options)


def write_cars20_folder(root):
    names = [f"model {i:02d}" for i in range(19)] + ["Citroën C4"]
    for split, number in (("train", 3), ("test", 1)):
        write_folder(root / "cars20" / split, dict.fromkeys(names, number))


def write_lfw_gender(root, size=(10, 10), **options):
    write_arrays(root / "lfw_gender", classes=2, train=30, test=8, size=size, **options)


def write_people(folder, people, size=(25, 25)):
    """Write `people[name]` numbered photos per person, as LFW lays them out."""
    for seed, (name, number) in enumerate(people.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(images(number, size, 3, seed), start=1):
            Image.fromarray(image).save(folder / name / f"{name}_{i:04d}.jpg")


def write_lfw_attributes(path, scores):
    """Write the scores of Kumar et al.: `scores[(person, number)]` is that of Male."""
    lines = [
        "# lfw_attributes.txt\tscores of attribute classifiers",
        "\t".join(("#", "person", "imagenum", *ATTRIBUTES)),
    ]
    for (person, number), male in scores.items():
        cells = [person.replace("_", " "), str(number), repr(male), *(["-0.5"] * (len(ATTRIBUTES) - 1))]
        lines.append("\t".join(cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_cat_breeds(root):
    write_folder(root / "cat_breeds", {"Abyssinian": 9, "Bengal": 10, "Sphynx": 9})


WRITERS = {
    "mnist": write_mnist,
    "fashion_mnist": write_fashion_mnist,
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "flowers102": write_flowers102,
    "stanford_cars": write_stanford_cars,
    "cars20": write_cars20,
    "lfw_gender": write_lfw_gender,
    "cat_breeds": write_cat_breeds,
    "folder": partial(write_folder, counts={"a": 9, "b": 9}),
}
