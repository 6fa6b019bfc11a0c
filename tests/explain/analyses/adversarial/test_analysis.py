import pytest
import torch
from torch import nn

from fovea.explain.analyses.adversarial.analysis import AdversarialAnalysis
from helpers.explained_nets import untouched
from helpers.toy_inside import html, read_csv, repeats, toy_model

pytestmark = pytest.mark.slow
ATTACKS = ["ascent", "FGSM", "PGD Linf"]


def test_the_table_says_what_the_net_says(tmp_path):
    model = toy_model(known=False)
    with untouched(model.net):
        blocks = AdversarialAnalysis(eps=16, limit=4, pictured=1)(model, tmp_path)
    rows = read_csv(tmp_path / "adversarial.csv")
    assert [row["attack"] for row in rows] == ATTACKS * 4 and len(list(tmp_path.glob("*.png"))) == 1
    with torch.no_grad():
        probs = model.net(model.load(range(4)).image).softmax(1)
    for i, row in enumerate(rows[::3]):
        assert row["before"] == row["class"] == f"class {int(probs[i // 1].argmax())}"
        assert float(row["p_before"]) == pytest.approx(probs[i].max().item(), abs=1e-5)
        assert row["aim"] == f"class {int(probs[i].topk(2).indices[1])}" and row["class_is"] == "predicted"
    for row in rows:
        wanted = row["after"] == row["aim"] if row["aim"] else row["after"] != row["class"]
        assert row["attacked"] == "1" and row["success"] == str(int(wanted))
        assert row["attack"] == "ascent" or float(row["linf"]) <= 16 / 255 + 1e-6
    table = blocks[1]
    for line in table.rows:
        own = [row for row in rows if row["attack"] == line[0]]
        assert line[5] == pytest.approx(sum(int(row["success"]) for row in own) / 4)
        assert line[6] == pytest.approx(sum(float(row["l2"]) for row in own) / 4)
    assert "predicted ones" in html(blocks)


def test_what_is_wrong_already_is_not_attacked(tmp_path):
    model = toy_model()
    blocks = AdversarialAnalysis(pictured=0)(model, tmp_path)
    with torch.no_grad():
        right = model.net(model.load(range(5)).image).argmax(1) == torch.arange(5)
    fgsm = [row for row in read_csv(tmp_path / "adversarial.csv") if row["attack"] == "FGSM"]
    assert [row["attacked"] == "1" for row in fgsm] == right.tolist()
    assert all((row["success"] == "") == (row["attacked"] == "0") for row in fgsm)
    assert "the true ones." in html(blocks)


def test_a_target_is_that_of_every_attack(tmp_path):
    AdversarialAnalysis(target="class 2", limit=2)(toy_model(), tmp_path)
    assert {row["aim"] for row in read_csv(tmp_path / "adversarial.csv")} == {"class 2"}
    with pytest.raises(ValueError, match="class 2"):
        AdversarialAnalysis(target="klass 2")(toy_model(), tmp_path)


def test_a_seed_repeats_and_the_net_survives_errors(tmp_path):
    model = toy_model()
    assert repeats(AdversarialAnalysis(limit=3), model, tmp_path)
    with untouched(model.net), pytest.raises(ValueError, match="eps"):
        AdversarialAnalysis(eps=0)(model, tmp_path)
    with pytest.raises(ValueError, match="logits"):
        AdversarialAnalysis()(toy_model(nn.Conv2d(3, 5, 1)), tmp_path)
