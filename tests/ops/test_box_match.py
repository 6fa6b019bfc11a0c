import pytest
import torch
from torchvision.ops import box_iou

from fovea.ops.box_match import match, padded

NAN = float("nan")


def by_hand(found, true, *, threshold, iou):
    """Match one image in loops."""
    true = [t for t in true.tolist() if t[4] == t[4]]
    taken, right, wrong = set(), 0, 0
    for box in found.tolist():
        if box[4] < max(threshold, 1e-9):
            continue
        overlaps = [
            float(box_iou(torch.tensor([box[:4]]), torch.tensor([t[:4]]))) if t[4] == box[5] else 0.0
            for t in true
        ]
        free = [i for i in range(len(true)) if i not in taken]
        best = max(free, key=lambda i: overlaps[i], default=None)
        if best is None or overlaps[best] < iou:
            wrong += 1
        elif true[best][5]:
            continue
        else:
            taken.add(best)
            right += 1
    return right, wrong, sum(not t[5] for t in true) - right


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_counts_equal_those_of_plain_loops(threshold):
    draw = torch.Generator().manual_seed(0)
    corner = torch.rand(20, 12, 2, generator=draw) * 20
    boxes = torch.cat([corner, corner + 8 + 8 * torch.rand(20, 12, 2, generator=draw)], dim=2)
    true = torch.cat(
        [
            boxes[:, :5],
            torch.randint(2, (20, 5, 1), generator=draw),
            torch.rand(20, 5, 1, generator=draw) < 0.2,
        ],
        dim=2,
    )
    true[::3, 3:] = NAN
    true[0] = NAN
    score = torch.rand(20, 12, 1, generator=draw).sort(dim=1, descending=True)[0]
    score[:, 10:] = 0
    found = torch.cat([boxes, score, torch.randint(2, (20, 12, 1), generator=draw)], dim=2)
    found[:, :5, :4] += torch.randn(20, 5, 4, generator=draw)
    counts = match(found, true, threshold=threshold, iou=0.5)
    for i in range(20):
        expected = by_hand(found[i], true[i], threshold=threshold, iou=0.5)
        assert tuple(int(c[i]) for c in counts) == expected
    right, wrong, missed = counts
    torch.testing.assert_close(
        counts.f1[1:], (2 * right / (2 * right + wrong + missed))[1:].float(), equal_nan=True
    )


def test_nothing_found_where_nothing_is_counts_as_right():
    none = torch.full((1, 0, 6), NAN)
    found = torch.zeros(1, 3, 6)
    assert match(found, none, threshold=0.5, iou=0.5).f1.tolist() == [1.0]
    found[0, 0] = torch.tensor([0.0, 0, 5, 5, 0.9, 0])
    assert match(found, none, threshold=0.5, iou=0.5).f1.tolist() == [0.0]


def test_true_boxes_are_padded_with_nan():
    boxes, labels = (
        [torch.ones(2, 4), torch.zeros(0, 4)],
        [torch.tensor([1, 0]), torch.tensor([], dtype=torch.int64)],
    )
    out = padded(boxes, labels, [torch.tensor([True, False]), torch.zeros(0, dtype=torch.bool)])
    assert (
        out.shape == (2, 2, 6) and out[0, :, 4:].tolist() == [[1, 1], [0, 0]] and bool(out[1].isnan().all())
    )
