import pytest
import torch

from fovea.explain.analyses.features import head_input
from fovea.explain.analyses.neighbours import NeighbourAnalysis
from helpers.explained_nets import untouched
from helpers.toy_inside import read_csv, repeats, toy_model

pytestmark = pytest.mark.slow


def test_it_writes_the_nearest_and_how_often_their_class_is_the_same(tmp_path):
    model = toy_model(count=11, unreadable=(4,))
    with untouched(model.net):
        blocks = NeighbourAnalysis(k=3, metric="euclidean")(model, tmp_path)
    kept = torch.tensor([i for i in range(11) if i != 4])
    given = head_input(model.net, model.load(kept.tolist()).image)[0].double()
    far = torch.cdist(given, given).fill_diagonal_(torch.inf)
    nearest = kept[far.argsort(dim=1)[:, :3]]  # (10, 3)
    rows = read_csv(tmp_path / "neighbours.csv")
    assert [row["neighbour"] for row in rows] == [model.ids[i] for i in nearest.flatten().tolist()]
    assert float(rows[0]["distance"]) == pytest.approx(far[0].min().item(), rel=1e-4)
    same = (nearest % 5 == (kept % 5)[:, None]).double()
    everything = blocks[1].rows[0]
    assert everything[:2] == ["all", 10]
    assert everything[2:4] == pytest.approx([same[:, 0].mean().item(), same.mean().item()])
    others = [sum((kept % 5) == c) - 1 for c in kept % 5]
    assert everything[4] == pytest.approx(sum(others).item() / 10 / 9)


def test_few_images_and_none(tmp_path):
    blocks = NeighbourAnalysis(k=9)(toy_model(count=3, known=False), tmp_path)
    assert "only 2 " in blocks[0].text and "predicted classes" in blocks[0].text
    with pytest.raises(ValueError, match="no neighbours"):
        NeighbourAnalysis()(toy_model(count=1), tmp_path)
    with pytest.raises(ValueError, match="no images"):
        NeighbourAnalysis()(toy_model(count=0), tmp_path)


def test_it_repeats(tmp_path):
    assert repeats(NeighbourAnalysis(k=2), toy_model(), tmp_path)
