import pytest
import torch

from fovea.explain.studies.features import euclidean, features
from fovea.explain.studies.neighbours import NeighbourStudy
from helpers.inner_nets import untouched
from helpers.toy_inside import read_csv, repeats, toy_subject

pytestmark = pytest.mark.slow


def test_the_nearest_and_their_agreement_are_those_of_brute_force(tmp_path):
    subject = toy_subject(count=11, unreadable=(4,))
    with untouched(subject.net):
        blocks = NeighbourStudy(k=3, metric=euclidean)(subject, tmp_path)
    kept = torch.tensor([i for i in range(11) if i != 4])
    given = features(subject.net, subject.load(kept.tolist()).image).double()
    far = torch.cdist(given, given).fill_diagonal_(torch.inf)
    nearest = kept[far.argsort(dim=1)[:, :3]]  # (10, 3)
    rows = read_csv(tmp_path / "neighbours.csv")
    assert [row["neighbour"] for row in rows] == [subject.ids[i] for i in nearest.flatten().tolist()]
    assert float(rows[0]["distance"]) == pytest.approx(far[0].min().item(), rel=1e-4)
    same = (nearest % 5 == (kept % 5)[:, None]).double()
    everything = blocks[1].rows[0]
    assert everything[:2] == ["all", 10]
    assert everything[2:4] == pytest.approx([same[:, 0].mean().item(), same.mean().item()])
    others = [sum((kept % 5) == c) - 1 for c in kept % 5]
    assert everything[4] == pytest.approx(sum(others).item() / 10 / 9)


def test_few_images_and_none(tmp_path):
    blocks = NeighbourStudy(k=9)(toy_subject(count=3, known=False), tmp_path)
    assert "only 2 others" in blocks[0].text and "predicted classes" in blocks[0].text
    with pytest.raises(ValueError, match="no neighbours"):
        NeighbourStudy()(toy_subject(count=1), tmp_path)
    with pytest.raises(ValueError, match="no images"):
        NeighbourStudy()(toy_subject(count=0), tmp_path)


def test_it_repeats(tmp_path):
    assert repeats(NeighbourStudy(k=2), toy_subject(), tmp_path)
