"""Write small detection and caption data sets, byte for byte in the formats of the official files."""

import json

import numpy as np
from PIL import Image

from helpers.real_formats import images

VOC_XML = """<annotation>
\t<folder>VOC{year}</folder>
\t<filename>{name}.jpg</filename>
\t<source>
\t\t<database>The VOC{year} Database</database>
\t\t<annotation>PASCAL VOC{year}</annotation>
\t\t<image>flickr</image>
\t</source>
\t<size>
\t\t<width>{width}</width>
\t\t<height>{height}</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>1</segmented>
{objects}</annotation>
"""
VOC_OBJECT = """\t<object>
\t\t<name>{name}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>{difficult}</difficult>
\t\t<bndbox>
\t\t\t<xmin>{box[0]}</xmin>
\t\t\t<ymin>{box[1]}</ymin>
\t\t\t<xmax>{box[2]}</xmax>
\t\t\t<ymax>{box[3]}</ymax>
\t\t</bndbox>
{parts}\t</object>
"""
VOC_PART = """\t\t<part>
\t\t\t<name>{name}</name>
\t\t\t<bndbox>
\t\t\t\t<xmin>{box[0]}</xmin>
\t\t\t\t<ymin>{box[1]}</ymin>
\t\t\t\t<xmax>{box[2]}</xmax>
\t\t\t\t<ymax>{box[3]}</ymax>
\t\t\t</bndbox>
\t\t</part>
"""
PERSON = {"name": "person", "difficult": 0, "box": (1, 3, 30, 28), "parts": [("head", (9, 3, 15, 10))]}
FRACTION = {"name": "dog", "difficult": 1, "box": (11, "5.70000076293945", 44, 40)}
CAPTIONS = (
    "A man riding a wave on top of a surfboard.",
    "Don't  stop:\nthe SURFER rides on. ",
    "Two dogs, one cat!",
)
COUNTS_2007 = {"train": 9, "val": 4, "test": 4}
COUNTS_2012 = {"train": 12, "val": 4}


def jpeg(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)


def voc_objects(number):
    """No object, a person with a part, or a person and a difficult dog with a fractional corner."""
    return [[], [PERSON], [PERSON, FRACTION]][number % 3]


def voc_xml(name, objects, year=2012, width=50, height=40):
    text = ""
    for item in objects:
        parts = "".join(VOC_PART.format(name=part, box=box) for part, box in item.get("parts", []))
        text += VOC_OBJECT.format(**{**item, "parts": parts})
    return VOC_XML.format(name=name, year=year, objects=text, width=width, height=height)


def palette_png(path, values):
    """Save indices with the official palette, as the official masks are saved."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    for number in range(256):
        for bit in range(8):
            for channel in range(3):
                colours[number, channel] |= ((number >> (3 * bit + channel)) & 1) << (7 - bit)
    image = Image.fromarray(values.astype(np.uint8), "P")
    image.putpalette(colours.reshape(-1).tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def voc_masks(size=(40, 50)):
    """A person (15) and a dog (12) with a void border between them."""
    classes, objects = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    classes[2:28, 0:20], objects[2:28, 0:20] = 15, 1
    classes[10:30, 22:40], objects[10:30, 22:40] = 12, 2
    classes[2:30, 20:22], objects[2:30, 20:22] = 255, 255
    return classes, objects


def write_voc(root, year=2012, counts=None, size=(40, 50)):
    folder = root / "VOCdevkit" / f"VOC{year}"
    number = 0
    for part, count in (counts or (COUNTS_2007 if year == 2007 else COUNTS_2012)).items():
        names = [f"{year}_{number + i:06d}" for i in range(count)]
        for kind in ("Main", "Segmentation"):
            (folder / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
            (folder / "ImageSets" / kind / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
        for i, (name, image) in enumerate(zip(names, images(count, size, seed=number), strict=True)):
            jpeg(folder / "JPEGImages" / f"{name}.jpg", image)
            (folder / "Annotations").mkdir(exist_ok=True)
            (folder / "Annotations" / f"{name}.xml").write_text(
                voc_xml(name, voc_objects(i), year, size[1], size[0])
            )
            classes, objects = voc_masks(size)
            palette_png(folder / "SegmentationClass" / f"{name}.png", classes)
            palette_png(folder / "SegmentationObject" / f"{name}.png", objects)
        number += count
    return folder


def write_caltech101(root, counts=(9, 9, 9), size=(40, 60)):
    """Write the original layout; the n-th box of a class has top 2 + n, bottom 30, left 5, right 50."""
    from scipy.io import savemat

    folders = (("airplanes", "Airplanes_Side_2"), ("Faces", "Faces_2"), ("Motorbikes", "Motorbikes_16"))
    base = root / "caltech101"
    for seed, ((name, annotations), count) in enumerate(zip(folders, counts, strict=True)):
        (base / "Annotations" / annotations).mkdir(parents=True)
        for n, image in enumerate(images(count, size, seed=seed), start=1):
            jpeg(base / "101_ObjectCategories" / name / f"image_{n:04d}.jpg", image)
            box = np.array([[2 + n, 30, 5, 50]], dtype=np.uint8 if n % 2 else np.uint16)
            contour = np.array([[0.5, 45.2, 44.1, 0.5], [0.5, 0.7, 27.3, 0.5]])
            path = base / "Annotations" / annotations / f"annotation_{n:04d}.mat"
            savemat(path, {"box_coord": box, "obj_contour": contour})
    return base


def write_caltech3(root, counts=(9, 9, 9), size=(40, 60), header=False, label=True):
    """Write the course layout, with the same boxes as in `write_caltech101`."""
    base = root / "caltech3"
    (base / "annotations").mkdir(parents=True)
    for seed, (name, count) in enumerate(zip(("airplane", "face", "motorcycle"), counts, strict=True)):
        lines = ["filename,startX,startY,endX,endY" + ",label" * label] if header else []
        for n, image in enumerate(images(count, size, seed=seed), start=1):
            jpeg(base / "images" / name / f"image_{n:04d}.jpg", image)
            lines.append(f"image_{n:04d}.jpg,5,{2 + n},50,30" + f",{name}" * label)
        (base / "annotations" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return base


def coco_categories():
    """The official 80 categories, whose ids have gaps, in an order that is not that of the ids."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights as Weights

    names = Weights.COCO_V1.meta["categories"]
    rows = [
        {"supercategory": "thing", "id": number, "name": name}
        for number, name in enumerate(names)
        if name not in ("__background__", "N/A")
    ]
    return rows[::-1]


def coco_annotations(image_id, number, size):
    """No object; a rectangle; a polygon of two parts, a box without area and a crowd, beside each other."""
    height, width = size
    base = {"image_id": image_id, "iscrowd": 0}
    square = {
        "segmentation": [[2, 3, 12, 3, 12, 9, 2, 9]],
        "area": 60.0,
        "bbox": [2, 3, 10, 6],
        "category_id": 90,
    }
    parts = {
        "segmentation": [[20.0, 5.0, 24.0, 5.0, 24.0, 9.0, 20.0, 9.0], [30, 5, 32, 5, 32, 7, 30, 7]],
        "area": 20.0,
        "bbox": [20.0, 5.0, 12.0, 4.0],
        "category_id": 1,
    }
    flat = {
        "segmentation": [[1, 1, 5, 1, 5, 1]],
        "area": 0.0,
        "bbox": [1.0, 1.0, 4.0, 0.0],
        "category_id": 13,
    }
    runs = [height * 10, 7, height * (width - 10) - 7]  # 7 pixels down the 11th column
    crowd = {
        "segmentation": {"counts": runs, "size": [height, width]},
        "area": 7,
        "bbox": [10, 0, 1, 7],
        "category_id": 3,
        "iscrowd": 1,
    }
    chosen = [[], [square], [parts, flat, crowd, square]][number % 3]
    return [{**base, **item, "id": image_id * 10 + i} for i, item in enumerate(chosen)]


def coco_document(ids, annotations, size=(40, 50), **lists):
    rows = [
        {
            "license": 4,
            "file_name": f"{number:012d}.jpg",
            "coco_url": f"http://images.cocodataset.org/train2017/{number:012d}.jpg",
            "height": size[0],
            "width": size[1],
            "date_captured": "2013-11-14 11:18:45",
            "flickr_url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg",
            "id": number,
        }
        for number in ids
    ]
    info = {
        "description": "COCO 2017 Dataset",
        "url": "http://cocodataset.org",
        "version": "1.0",
        "year": 2017,
    }
    licences = [
        {"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}
    ]
    return {"info": info, "licenses": licences, "images": rows, "annotations": annotations, **lists}


def write_coco(root, train=12, val=4, size=(40, 50), captions=True):
    """Write images with ids 9, 16, 23, … and both kinds of annotations, those of one image scattered."""
    base = root / "coco"
    (base / "annotations").mkdir(parents=True)
    for name, count, first in (("train2017", train, 9), ("val2017", val, 1000)):
        ids = [first + 7 * i for i in range(count)]
        for number, image in zip(ids, images(count, size, seed=first), strict=True):
            jpeg(base / name / f"{number:012d}.jpg", image)
        found = [row for i, number in enumerate(ids) for row in coco_annotations(number, i, size)]
        found.sort(key=lambda row: row["id"] % 10)
        document = coco_document(ids, found, size, categories=coco_categories())
        (base / "annotations" / f"instances_{name}.json").write_text(json.dumps(document))
        rows = [
            {"image_id": number, "id": number * 10 + k, "caption": f"{CAPTIONS[k % 3]} {number}"}
            for k in range(5)
            for number in reversed(ids)
        ]
        (base / "annotations" / f"captions_{name}.json").write_text(
            json.dumps(coco_document(ids, rows, size))
        )
    return base


def write_csv(root, labels=("cat", "dog"), count=9, size=(20, 24)):
    """Write root/table.csv with `count` images of each label below root/photos."""
    lines = ["path,label"]
    for seed, label in enumerate(labels):
        for n, image in enumerate(images(count, size, seed=seed)):
            jpeg(root / "photos" / f"{label}{n}.jpg", image)
            lines.append(f"photos/{label}{n}.jpg,{label}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")


WRITERS = {
    "caltech3": write_caltech101,
    "voc2007": lambda root: write_voc(root, 2007),
    "voc2007_masks": lambda root: write_voc(root, 2007),
    "voc2012": lambda root: write_voc(root, 2012),
    "voc2012_masks": lambda root: write_voc(root, 2012),
    "coco": write_coco,
    "coco_captions": write_coco,
    "csv": write_csv,
}
