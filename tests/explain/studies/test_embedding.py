import pytest
import torch
from torch import nn

from fovea.explain.studies.embedding import EmbeddingStudy
from fovea.explain.studies.features import features, pca
from fovea.models.mlp import MLP
from helpers.inner_nets import untouched
from helpers.toy_inside import html, read_csv, repeats, toy_subject

pytestmark = pytest.mark.slow


def test_the_coordinates_are_those_of_the_features(tmp_path):
    subject = toy_subject(count=12, unreadable=(3,))
    with untouched(subject.net):
        blocks = EmbeddingStudy(limit=10)(subject, tmp_path)
    rows = read_csv(tmp_path / "embedding.csv")
    kept = [i for i in range(10) if i != 3]
    assert [row["image"] for row in rows] == [subject.ids[i] for i in kept]
    given = features(subject.net, subject.load(kept).image)
    found = torch.tensor([[float(row["pca_1"]), float(row["pca_2"])] for row in rows])
    torch.testing.assert_close(found, pca(given, 2).project(given).float(), atol=1e-4, rtol=1e-4)
    assert [row["class"] for row in rows] == [f"class {i % 5}" for i in kept]
    text = html(blocks)
    assert "perplexity 2.67, for 30 asks for more images" in text and "Coloured by the true classes." in text


def test_a_hundred_classes_and_more_have_a_legend(tmp_path):
    net = MLP(num_classes=120, image_size=4, hidden=(8,))
    blocks = EmbeddingStudy()(toy_subject(net, count=240, size=4, classes=120, batch=64), tmp_path)
    assert (tmp_path / "embedding.png").stat().st_size > 10_000 and "240 images" in html(blocks)


def test_few_images_and_unknown_classes(tmp_path):
    blocks = EmbeddingStudy()(toy_subject(count=3, known=False), tmp_path)
    assert "t-SNE needs four images" in html(blocks) and "predicted classes" in html(blocks)
    assert read_csv(tmp_path / "embedding.csv")[0]["tsne_1"] == ""
    with pytest.raises(ValueError, match="2 images"):
        EmbeddingStudy()(toy_subject(count=2), tmp_path)
    with pytest.raises(ValueError, match="forward_features"):
        EmbeddingStudy()(toy_subject(nn.Flatten()), tmp_path)


def test_a_seed_repeats(tmp_path):
    assert repeats(EmbeddingStudy(seed=1), toy_subject(count=8), tmp_path)
