import torch
from torchvision.ops import box_iou

from fovea.models.detectors._samples import classify, sample

BOXES = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [4, 0, 14, 10], [30, 30, 40, 40], [50, 50, 60, 60],
                      [70, 70, 80, 80], [0, 50, 10, 60]])  # fmt: skip
KNOWN = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}
NONE = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}


def draw(boxes, objects, **options):
    usual = {"positive": 0.6, "negative": 0.3, "number": 8, "ratio": 1.0, "background": 2}
    return sample(boxes, objects, **(usual | options))


def test_boxes_are_called_what_they_overlap_and_those_between_are_left_out():
    found = draw([BOXES, BOXES], [KNOWN, NONE], ratio=2.0)
    assert [len(one) for one in found.boxes] == [6, 2]  # 2 positive, 4 negative; 2 for an image without any
    assert found.labels.tolist() == [1, 1, 2, 2, 2, 2, 2, 2]
    overlap = box_iou(found.boxes[0], KNOWN["boxes"])[:, 0]
    assert bool((overlap[:2] >= 0.6).all()) and bool((overlap[2:] < 0.3).all())
    assert not any((box == BOXES[2]).all() for box in found.boxes[0])  # overlaps by 0.43


def test_numbers_are_capped():
    found = draw([BOXES], [KNOWN], number=2, ratio=1.0)
    assert found.labels.tolist() == [1, 2]
    assert draw([BOXES], [KNOWN], background=None).labels.tolist() == [1, 1]
    assert not len(draw([BOXES], [NONE], background=None).labels)


def test_boxes_are_resampled_to_one_size():
    """The whole image halved is the mean of each two by two pixels; parts are what they are at once."""
    image = torch.rand(2, 3, 8, 8)
    boxes = [torch.tensor([[0.0, 0, 8, 8]])] * 2
    half = torch.nn.functional.avg_pool2d(image, 2)
    with torch.no_grad():
        torch.testing.assert_close(classify(lambda crop: crop, image, boxes, size=(4, 4)), half)
        many = [torch.rand(9000, 2).repeat(1, 2) + torch.tensor([0.0, 0, 3, 3]) for _ in range(2)]
        parts = classify(lambda crop: crop.mean(dim=(1, 2, 3)), image, many, size=(4, 4))
    whole = classify(lambda crop: crop.mean(dim=(1, 2, 3)), image, many, size=(4, 4))
    torch.testing.assert_close(parts, whole)
