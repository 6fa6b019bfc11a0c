"""A run is named after its experiment and what the command line changes of that."""

import pytest

from fovea.config import naming
from fovea.config.validate import LABEL


@pytest.mark.parametrize(
    ("words", "name", "end"),
    [
        ([], "base", ""),
        (["model=tiny", "data=mnist"], "base model=tiny data=mnist", "_tiny_mnist"),
        (["experiment=base", "seed=3", "trainer=cpu", "data.root=/x/y", "tags=[a]", "run_dir=z"], "base", ""),
        (["model=timm", "model.name='a/b c'"], "base model=timm model.name=b-c", "_timm_b-c"),
        (["optimizer.lr=0.01", "~callbacks.ema"], "base optimizer.lr=0.01", ""),
        (["data.dataset.csv='/tmp/ä ö/x.csv'"], "base data.dataset.csv=x.csv", ""),
        (["augment.batch={a:[1,2]}", "hydra.mode=RUN"], "base augment.batch=a:-1,2", ""),
        ([f"model.net.x{i}=1" for i in range(30)], None, ""),
    ],
)
def test_what_is_changed_is_the_name(monkeypatch, words, name, end):
    monkeypatch.setattr(naming, "given", words)
    found = naming.changes("base")
    assert name is None or found == name
    assert LABEL.fullmatch(found) and naming.choices() == end


@pytest.mark.parametrize(
    ("name", "words", "after"),
    [
        ("base trainer.max_epochs=1", ["trainer.max_epochs=12", "resume=true"], "base trainer.max_epochs=12"),
        ("base data.batch_size=1 x=2", ["batch_size=3", "x=4"], "base data.batch_size=1 x=4"),
        ("wider net", ["trainer.max_epochs=12"], "wider net"),
    ],
)
def test_the_name_of_a_resumed_run_follows_its_values(name, words, after):
    assert naming.renamed(name, words) == after
