"""Write images with boxes of one's own in the three formats that people have."""

import json
import re

import pytest
from PIL import Image

from fovea.data.datasets.coco_folder import CocoFolder
from fovea.data.datasets.voc_folder import VocFolder
from fovea.data.datasets.yolo_folder import YoloFolder
from helpers.formats_boxes import voc_xml

CLASSES = ["cat", "dog"]
SIZE = (50, 40)  # width and height
OBJECTS = {  # of each image: class and x1 y1 x2 y2 in pixels
    "a": [("dog", (5, 10, 25, 30)), ("cat", (0, 0, 50, 40))],
    "b": [],
    "c": [("cat", (10, 5, 20, 35))],
}
SPLITS = {"train": ["a", "b", "c"], "val": ["a"]}


def photo(path, size=SIZE, exif=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(path, format="JPEG", **({"exif": exif} if exif else {}))


def write_voc(root, objects=OBJECTS, *, splits=None, suffix=".jpg"):
    for name, found in objects.items():
        photo(root / "JPEGImages" / f"{name}{suffix}")
        inclusive = [
            {"name": label, "difficult": 0, "box": (x1 + 1, y1 + 1, x2, y2)}
            for label, (x1, y1, x2, y2) in found
        ]
        path = root / "Annotations" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(voc_xml(name, inclusive, width=SIZE[0], height=SIZE[1]))
    for split, names in (splits or {}).items():
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names))


def yolo_lines(found):
    width, height = SIZE
    lines = [
        f"{CLASSES.index(label)} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} "
        f"{(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}"
        for label, (x1, y1, x2, y2) in found
    ]
    return "\n".join(lines)


def write_yolo(root, objects=OBJECTS, *, splits=SPLITS, suffix=".jpg"):
    for split, names in splits.items():
        for name in names:
            photo(root / "images" / split / f"{name}{suffix}")
            path = root / "labels" / split / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            if objects[name]:  # an image without objects has no file
                path.write_text(yolo_lines(objects[name]))
    (root / "data.yaml").write_text(
        f"path: /not/here\ntrain: images/train\nval: images/val\nnames: {CLASSES}\n"
    )


def coco_document(objects, ids=(3, 7)):
    images, annotations = [], []
    for k, (name, found) in enumerate(objects.items()):
        images.append({"id": 10 * k, "file_name": f"{name}.jpg", "width": SIZE[0], "height": SIZE[1]})
        annotations += [
            {"id": len(annotations) + n, "image_id": 10 * k, "category_id": ids[CLASSES.index(label)],
             "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
            for n, (label, (x1, y1, x2, y2)) in enumerate(found)
        ]  # fmt: skip
    categories = [{"id": i, "name": name} for i, name in zip(ids, CLASSES, strict=True)]
    return {"images": images, "annotations": annotations, "categories": categories[::-1]}


def write_coco(root, objects=OBJECTS, *, splits=SPLITS):
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        for name in names:
            photo(root / split / f"{name}.jpg")
        document = coco_document({name: objects[name] for name in names})
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))


def edit_json(root, change, split="train"):
    """Change the JSON document that `write_coco` wrote."""
    path = root / "annotations" / f"instances_{split}.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def state_size(root, width, height):
    """Let every annotation of a root state another size than its photo has; YOLO's files state none."""
    for path in root.glob("Annotations/*.xml"):
        text = re.sub(r"<width>.*?</width>", f"<width>{width}</width>", path.read_text())
        path.write_text(re.sub(r"<height>.*?</height>", f"<height>{height}</height>", text))
    if (root / "annotations").is_dir():
        edit_json(root, lambda d: [row.update(width=width, height=height) for row in d["images"]])


MANY = {str(i): OBJECTS["ac"[i % 2]] for i in range(24)}  # enough for three splits
CELLS = {name: [("RBC" if k == "cat" else "WBC", box) for k, box in found] for name, found in MANY.items()}
SPLIT = {"train": list(MANY)[:16], "val": list(MANY)[16:20], "test": list(MANY)[20:]}
WRITERS = {
    "voc_folder": lambda root: write_voc(root, MANY),
    "yolo_folder": lambda root: write_yolo(
        root, MANY, splits={"train": list(MANY)[:16], "val": list(MANY)[16:]}
    ),
    "coco_folder": lambda root: write_coco(root, MANY, splits=SPLIT),
    "bccd": lambda root: write_voc(root / "bccd", CELLS, splits=SPLIT),
}

KINDS = {"voc": (VocFolder, write_voc), "yolo": (YoloFolder, write_yolo), "coco": (CocoFolder, write_coco)}
of_each_kind = pytest.mark.parametrize("kind", KINDS)
