import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from fovea.config.command_line import bracketed
from fovea.errors import UsageError
from fovea.explain import command as explain
from fovea.explain import open as explain_models
from fovea.explain.core.class_choice import Asked, ClassQuestions
from fovea.explain.core.model import Subject, Views
from fovea.explain.core.pixels import Pixels
from fovea.explain.methods.eigen_cam import EigenCAM
from fovea.explain.methods.grad_cam import GradCAM
from fovea.explain.methods.rollout import Rollout
from fovea.explain.methods.saliency import InputTimesGradient, Saliency
from fovea.explain.open import Opened
from fovea.explain.run import images as explain_images
from fovea.explain.run import methods as explain_methods
from fovea.explain.run.images import Images, chunks
from fovea.explain.run.mapper import UNKNOWN, Mapper
from fovea.explain.run.methods import Way
from fovea.explain.run.output import LIST, Folder
from fovea.explain.run.reader import Reader
from fovea.explain.view.attribution import Explained, Seen
from helpers import explained_nets

HOW = {
    "image_size": [8, 12],
    "channels": 3,
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "interpolation": "bilinear",
    "crop_pct": 1.0,
}


def opened(name="net", source="a", classes=("cat", "dog"), **how):
    return Opened(
        name=name,
        net=nn.Identity(),
        classes=list(classes),
        preprocessing=HOW | how,
        source=source,
        selector=ClassQuestions,
    )


def images(count=3, **changes):
    samples = np.random.default_rng(0).integers(0, 256, (count, 16, 24, 3), dtype=np.uint8)
    found = Images(
        ids=[f"{i}.png" for i in range(count)],
        truth=["dog", None, "bird", *[None] * count][:count],
        sample=lambda row: {"image": samples[row]},
        about="here",
        names=["dog", "cat", "bird"],
    )
    return replace(found, **changes)


def subject(net, target="predicted", classes=5):
    names = [str(i) for i in range(classes)]
    return Subject(
        name="net",
        net=net,
        device=torch.device("cpu"),
        classes=names,
        pixels=Pixels(mean=[0.5] * 3, std=[0.2] * 3),
        size=(64, 64),
        ids=["a", "b"],
        load=lambda rows: None,
        questions=ClassQuestions(classes=names, target=target),
    )


def views(label=(-1, -1), dtype=torch.float32):
    return Views(image=explained_nets.images(2).to(dtype), rows=[0, 1], label=torch.tensor(label))


def test_lists_without_brackets():
    keys = ("run", "method", "model.name", "layer")
    given = ["run=logs/a,logs/b=1", "method=cam", "model.name=[a,b]", "target=a,b", "layer='x,y'", "-m"]
    assert bracketed(given, keys) == ["run=[logs/a,'logs/b=1']", *given[1:]]
    assert bracketed(["method=cam, grad_cam,"], keys) == ["method=[cam,grad_cam]"]


def test_models_of_one_name_are_told_apart():
    models = [opened("vit", "logs/s/0"), opened("vit", "logs/s/1"), opened("a/b", "x"), opened("vit", "t/1")]
    names = explain_models._told_apart(models)
    assert names[0] == "vit_0" and names[2] == "a_b"
    assert len(set(names)) == 4 and not any("/" in name for name in names)


def test_a_model_sees_images_in_its_own_way():
    reader = Reader(images(), opened(classes=("cat", "dog")))
    found, pictures = reader.views({2: images().sample(2), 0: images().sample(0)})
    assert found.rows == [2, 0] and found.label.tolist() == [-1, 1]  # it knows no birds
    assert found.image.shape == (2, 3, 8, 12) and pictures.shape == (2, 8, 12, 3)
    decoded = Pixels(mean=HOW["mean"], std=HOW["std"]).decode(found.image)
    np.testing.assert_allclose(decoded.permute(0, 2, 3, 1) * 255, pictures, atol=1e-3)
    grey = Reader(images(), opened(channels=1, mean=[0.5], std=[0.5]))
    found, pictures = grey.views({0: images().sample(0)})
    assert found.image.shape == (1, 1, 8, 12) and pictures.shape == (1, 8, 12, 3)


def test_boxes_and_masks_follow_the_image():
    sample = images().sample(0) | {
        "boxes": np.array([[0, 0, 12, 8]], np.float32),
        "labels": np.array([0]),
        "mask": np.eye(16, 24, dtype=np.uint8),
    }
    found, _ = Reader(images(), opened(classes=("cat", "dog"))).views({0: sample})
    assert found.boxes[0].tolist() == [[0, 0, 6, 4]]
    assert found.box_labels[0].tolist() == [1]  # dog, in the order of the model
    assert found.mask.shape == (1, 8, 12) and found.mask.dtype == torch.int64


def test_unreadable_images_are_named_and_the_rest_goes_on(monkeypatch):
    good = images()

    def sample(row):
        if row == 1:
            raise ValueError("it is damaged")
        return good.sample(row)

    failed = []
    broken = replace(good, sample=sample)
    assert [list(c) for c in chunks(broken, size=2, failed=failed)] == [[0, 2]]
    assert failed == ["1.png: it is damaged"]
    assert Reader(broken, opened()).load([0, 1, 2]).rows == [0, 2]
    assert Reader(broken, opened()).load([1]).rows == []
    monkeypatch.setattr(explain_images, "MEMORY", 1)  # large photos end a chunk early
    assert [list(c) for c in chunks(good, size=9, failed=[])] == [[0], [1], [2]]


def test_at_most_so_many_images_of_all_classes():
    many = images(9, truth=["cat"] * 7 + ["dog"] * 2)
    some = explain_images._some(many, 4)
    assert sorted(some.truth) == ["cat", "cat", "dog", "dog"]
    assert [many.sample(int(i[0]))["image"][0, 0, 0] for i in some.ids] == [
        some.sample(i)["image"][0, 0, 0] for i in range(4)
    ]
    assert explain_images._some(images(9, truth=[None] * 9), 2).ids == ["0.png", "1.png"]
    assert explain_images._some(many, None) is many


def test_every_class_has_its_map():
    net = explained_nets.built("our_tiny")
    ways = [Way(name="saliency", call=Saliency()), Way(name="eigen_cam", call=EigenCAM())]
    mapper = Mapper(subject(net, "top-2"), [*ways, Way(name="input", call=InputTimesGradient())])
    best, found = mapper(views())
    assert [[s.method for s in row] for row in found] == 2 * [
        ["saliency", "saliency", "eigen_cam", "input", "input"]
    ]
    assert found[1][0].asked == best[1] and found[0][2].asked is None
    assert [s.signed for s in found[0]] == [False, False, False, True, True]
    alone = Saliency()(net, views().image[1:], subject(net).questions.target([found[1][1].asked]))
    np.testing.assert_allclose(found[1][1].map, alone[0], rtol=1e-4, atol=1e-6)


def test_an_image_without_true_class_has_no_map_for_it():
    mapper = Mapper(subject(explained_nets.built("our_tiny"), "true"), [Way(name="s", call=Saliency())])
    _, found = mapper(views(label=(-1, 3)))
    assert found[0][0].map is None and found[0][0].problem == UNKNOWN
    assert found[1][0].asked.label == 3 and found[1][0].map is not None


def test_a_method_that_a_net_cannot_give_says_so_once(monkeypatch):
    tried = []

    class Never(Rollout):
        def __call__(self, *args):
            tried.append(args)
            return super().__call__(*args)

    monkeypatch.setattr("fovea.explain.run.mapper.possible", lambda net, image, target: ["grad_cam"])
    net = explained_nets.built("our_tiny")
    mapper = Mapper(subject(net), [Way(name="rollout", call=Never()), Way(name="grad_cam", call=GradCAM())])
    before = explained_nets.state_of(net)
    for _ in range(2):
        _, found = mapper(views())
        assert "has no attention" in found[0][0].problem and found[0][1].map.shape == (64, 64)
    assert len(tried) == 1 and mapper.worked == {"grad_cam"}
    why, can = mapper.report()
    assert why.startswith("net: rollout: Tiny has no attention") and can == "net gives grad_cam"
    assert mapper.report() == []
    explained_nets.assert_unchanged(net, before)


@pytest.mark.parametrize("name", ["our_tiny", "our_vit"])
def test_a_net_in_half_precision(name):
    net = explained_nets.built(name).bfloat16()
    ways = [Way(name="g", call=GradCAM()), Way(name="s", call=Saliency()), Way(name="e", call=EigenCAM())]
    ways += [Way(name="r", call=Rollout())] if name == "our_vit" else []
    _, found = Mapper(subject(net), ways)(views())
    assert [s.problem for s in found[0]] == [None] * len(ways)
    assert all(s.map.dtype == np.float32 for s in found[0])


def test_which_methods_a_net_gives(monkeypatch):
    monkeypatch.setattr(
        explain_methods, "members", lambda group: ["eigen_cam", "rollout", "saliency", "score_cam"]
    )
    passes = []
    net = explained_nets.built("our_tiny")
    net.register_forward_hook(lambda *_: passes.append(1))
    assert explain_methods.possible(net, views().image[:1]) == ["eigen_cam", "saliency", "score_cam"]
    assert len(passes) < 12  # score_cam alone takes one for every channel
    assert not net._forward_pre_hooks


def test_one_method_for_every_layer():
    node = {"_target_": "fovea.explain.methods.grad_cam.GradCAM", "layer": "${layer}"}
    config = OmegaConf.create({"layer": ["features.0", "nowhere"], "method": {"grad_cam": node}})
    ways, studies = explain_methods.make(config)
    assert [(w.key, w.layer, w.path) for w in ways] == [
        ("grad_cam__features.0", "features.0", "features.0"),
        ("grad_cam__nowhere", "nowhere", "nowhere"),
    ]
    assert not studies
    with pytest.raises(UsageError, match=r"layer=features\.0.*near it are"):
        explain_methods.check_layers(ways[:1], [nn.Sequential(nn.ReLU())])
    config.layer = None
    assert [(w.key, w.layer) for w in explain_methods.make(config)[0]] == [("grad_cam", None)]


def test_only_what_a_call_wrote_is_removed(tmp_path):
    asked = Asked(1, "dog, hound", 0.5)
    seen = [
        Seen(method="cam", asked=asked, map=np.eye(3, dtype=np.float32)),
        Seen(method="rollout", problem="no"),
    ]
    shown = Explained(
        model="net", id="x/a.png", picture=np.zeros((3, 3, 3), np.uint8), predicted=asked, seen=seen
    )
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "mine.npy").write_bytes(b"x")
    folder = Folder(tmp_path, parts=["filters"], ids=["x/a.png", "y/a.png"], several=True)
    folder.add(shown)
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters" / "f.png").write_bytes(b"y")
    folder.close()
    with (tmp_path / "explain.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["map"] == "maps/net/x__a.png__cam__1_dog.npy" and rows[1]["problem"] == "no"
    np.testing.assert_array_equal(np.load(tmp_path / rows[0]["map"]), np.eye(3))
    with (tmp_path / LIST).open("a") as file:
        file.write("../precious\n")
    (tmp_path.parent / "precious").write_text("keep")
    Folder(tmp_path, parts=[], ids=["b.png"], several=False).close()
    assert not (tmp_path / "filters").exists() and not (tmp_path / "maps" / "net").exists()
    assert (tmp_path / "maps" / "mine.npy").is_file() and (tmp_path.parent / "precious").is_file()


def test_where_results_go(tmp_path):
    def at(**keys):
        base = {"run": None, "output": None, "paths": {"logs": "logs"}}
        return explain.output(OmegaConf.create(base | keys))

    assert str(at(run="logs/a")) == "logs/a/explain" and str(at(output="x", run="a")) == "x"
    for several in (at(run=["a", "b"]), at(model={"name": "x"}), at(run="a", model={"name": "x"})):
        assert several.parts[:2] == ("logs", "explain")
