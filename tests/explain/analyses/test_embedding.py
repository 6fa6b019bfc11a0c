import pytest
import torch
from torch import nn

from fovea.explain.analyses.embedding import EmbeddingAnalysis
from fovea.explain.analyses.features import head_input, pca
from fovea.models.mlp import MLP
from helpers.explained_nets import untouched
from helpers.toy_inside import html, read_csv, repeats, toy_model

pytestmark = pytest.mark.slow


def test_it_writes_the_coordinates_of_the_features(tmp_path):
    model = toy_model(count=12, unreadable=(3,))
    with untouched(model.net):
        blocks = EmbeddingAnalysis(limit=10)(model, tmp_path)
    rows = read_csv(tmp_path / "embedding.csv")
    kept = [i for i in range(10) if i != 3]
    assert [row["image"] for row in rows] == [model.ids[i] for i in kept]
    features, _ = head_input(model.net, model.load(kept).image)
    found = torch.tensor([[float(row["pca_1"]), float(row["pca_2"])] for row in rows])
    torch.testing.assert_close(found, pca(features, 2)[0].float(), atol=1e-4, rtol=1e-4)
    assert [row["class"] for row in rows] == [f"class {i % 5}" for i in kept]
    text = html(blocks)
    assert "perplexity 2.67" in text and "the true classes" in text


def test_a_hundred_classes_and_more_have_a_legend(tmp_path):
    net = MLP(num_classes=120, image_size=4, hidden=(8,))
    blocks = EmbeddingAnalysis()(toy_model(net, count=130, size=4, classes=120, batch=64), tmp_path)
    assert (tmp_path / "embedding.png").stat().st_size > 10_000 and "130 images" in html(blocks)


def test_few_images_and_unknown_classes(tmp_path):
    blocks = EmbeddingAnalysis()(toy_model(count=3, known=False), tmp_path)
    assert "t-SNE needs four images" in html(blocks) and "predicted classes" in html(blocks)
    assert read_csv(tmp_path / "embedding.csv")[0]["tsne_1"] == ""
    with pytest.raises(ValueError, match="2 images"):
        EmbeddingAnalysis()(toy_model(count=2), tmp_path)
    with pytest.raises(ValueError, match="forward_features"):
        EmbeddingAnalysis()(toy_model(nn.Flatten()), tmp_path)


def test_a_seed_repeats(tmp_path):
    assert repeats(EmbeddingAnalysis(seed=1), toy_model(count=8), tmp_path)
