"""Write small data sets, byte for byte in the formats of the official files."""

import gzip
import struct

import numpy as np
from PIL import Image


def images(count, size, channels=3, seed=0):
    """Smooth random images (count, *size, channels), which JPEG keeps nearly unchanged."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 3, 3, channels)).astype(np.uint8)
    modes = {1: "L", 3: "RGB"}
    out = []
    for image in coarse:
        pixels = image[..., 0] if channels == 1 else image
        big = Image.fromarray(pixels, modes[channels]).resize(size[::-1], Image.Resampling.BICUBIC)
        out.append(np.asarray(big).reshape(*size, channels))
    return np.stack(out)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_fashion_mnist(root, train=60, test=20, suffix=".gz"):
    for prefix, count, seed in (("train", train, 0), ("t10k", test, 1)):
        raw = root / "FashionMNIST" / "raw"
        write_idx(raw / f"{prefix}-images-idx3-ubyte{suffix}", images(count, (28, 28), 1, seed)[..., 0])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte{suffix}", np.arange(count) % 10)


def _short(text):
    return b"U" + bytes([len(text)]) + text.encode("latin1")


def _number(value):
    return b"J" + struct.pack("<i", value)


def cifar_pickle(data, labels, name="training batch 1 of 5"):
    """Pickle as Python 2 did (protocol 2, 8-bit strings), which today's pickle module cannot write."""
    raw = data.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + b"K\x00\x85" + _short("b") + b"\x87R"
        b"(K\x01" + _number(data.shape[0]) + _number(data.shape[1]) + b"\x86"
        b"cnumpy\ndtype\n" + _short("u1") + b"K\x00K\x01\x87R"
        b"(K\x03" + _short("|") + b"NNN" + _number(-1) + _number(-1) + b"K\x00tb"
        b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(_short(f"image_s_{i:06d}.png") for i in range(len(labels))) + b"e"
    body = _short("batch_label") + _short(name) + _short("labels") + numbers
    return b"\x80\x02}(" + body + _short("data") + array + _short("filenames") + names + b"u."


def write_cifar10(root, per_file=20):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pixels = images(per_file, (32, 32), 3, number).transpose(0, 3, 1, 2).reshape(per_file, 3072)
        (folder / name).write_bytes(cifar_pickle(pixels, np.arange(per_file) % 10))


def write_flowers102(root, size=(40, 50)):
    """Write 3 images for each of the 102 classes: one for each split, in scattered order."""
    from scipy.io import savemat

    folder = root / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    order = np.random.default_rng(0).permutation(306) + 1
    labels = np.zeros(306, dtype=np.uint8)
    for split in range(3):
        labels[order[split * 102 : split * 102 + 102] - 1] = np.arange(1, 103)
    ids = {"trnid": order[:102], "valid": order[102:204], "tstid": order[204:]}
    savemat(folder / "imagelabels.mat", {"labels": labels[None]})
    savemat(folder / "setid.mat", {key: value[None].astype(np.uint16) for key, value in ids.items()})
    for number, image in enumerate(images(306, size), start=1):
        Image.fromarray(image).save(folder / "jpg" / f"image_{number:05d}.jpg", quality=95)
    return labels, ids


def write_folder(root, counts, size=(20, 24)):
    """Write `counts[class]` JPEG files below root/<class>."""
    for seed, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images(count, size, 3, seed) if count else []):
            Image.fromarray(image).save(root / name / f"{number:03d}.jpg")
