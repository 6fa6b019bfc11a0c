"""Batches with every kind of annotation: the same for any number of workers, cached or not."""

import os
from functools import partial

import numpy as np
import pytest
import torch

from fovea.data.loading import SampleBatches, TensorBatches
from fovea.ops.augment import HorizontalFlip, RandomShift
from helpers.annotated_scene import agree, scene
from helpers.record_batches import fit, same
from helpers.toy_data import Toy, toy_module

WORDS = ["a", "red", "blue", "dog", "cat"]


class Marked(Toy):
    """Scenes with all annotations, of several sizes, given one by one."""

    targets = ("label", "boxes", "labels", "ignore", "mask", "instances", "keypoints", "captions")

    def __init__(self, *, split="all", count=60, bad=()):
        super().__init__(split=split, count=count)
        self.images, self.count, self.bad = None, count, bad
        self.palette = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)

    def __len__(self):
        return self.count

    def sentences(self, index):
        return [f"a {WORDS[1 + (index + k) % 2]} {WORDS[3 + index % 2]}" for k in range(1 + index % 3)]

    def load(self, index):
        if index in self.bad:
            raise ValueError(f"{self.ids[index]} is damaged")
        sample = scene(40 + index % 3 * 8, 60 + index % 2 * 10, 3)
        sample["image"] = np.maximum(sample["image"], index)
        count = index % 4
        sample["boxes"], sample["labels"] = sample["boxes"][:count], sample["labels"][:count]
        sample["ignore"] = sample["ignore"][:count]
        sample["instances"][sample["instances"] > count] = 0
        return {**sample, "label": int(self.labels[index]), "captions": self.sentences(index)}


def module(bad=(), sample=False, **options):
    import albumentations as A

    crop = {
        "crop": A.RandomResizedCrop(size=(32, 40), scale=(0.4, 1)),
        "turn": A.Affine(rotate=(-9, 9), p=0.5),
    }
    return toy_module(
        partial(Marked, bad=bad),
        image_size=[32, 40],
        augment_sample=crop if sample else {},
        augment_batch={"shift": RandomShift(), "flip": HorizontalFlip()},
        **options,
    )


def flat(seen):
    """Lists of tensors as tensors, so that runs can be compared."""
    out = {stage: [dict(b) for b in batches] for stage, batches in seen.items()}
    for batches in out.values():
        for batch in batches:
            for key in ("boxes", "labels", "ignore"):
                if key in batch:
                    batch[f"{key}_counts"] = torch.tensor([len(v) for v in batch[key]])
                    batch[key] = torch.cat(batch[key])
            batch["keypoints"] = batch["keypoints"].nan_to_num(-1)
    return out


@pytest.mark.parametrize("sample", [True, False])
def test_all_targets_are_the_same_for_any_workers_and_cache(sample):
    reference = flat(fit(module(sample=sample, cache=False)))
    assert len(reference["train"]) == 8
    for options in ({"cache": True}, {"cache": False, "num_workers": 2}, {"cache": True, "num_workers": 1}):
        assert same(reference, flat(fit(module(sample=sample, **options)))), options
    assert not same(
        {"x": [{"boxes": b["boxes"]} for b in reference["train"][:4]]},
        {"x": [{"boxes": b["boxes"]} for b in reference["train"][4:]]},
    )


@pytest.mark.parametrize("sample", [True, False])
def test_targets_fit_their_images_after_augmentation(sample):
    data = module(sample=sample)
    seen = fit(data, epochs=1)
    plain = torch.tensor(data.preprocessing["std"]).view(1, 3, 1, 1), torch.tensor(data.preprocessing["mean"])
    for batch in [*seen["train"], *seen["val"]]:
        assert batch["mask"].dtype == batch["instances"].dtype == torch.int64
        assert batch["mask"].shape == (len(batch["image"]), 32, 40) and len(batch["boxes"]) == len(
            batch["image"]
        )
        image = (batch["image"] * plain[0] + plain[1].view(1, 3, 1, 1)) * 255
        for i in range(len(image)):
            keys = ("mask", "instances", "boxes", "labels", "ignore")
            one = {k: batch[k][i].numpy() for k in keys}
            if not sample:  # a turned object has a looser box
                agree(
                    {**one, "image": image[i].permute(1, 2, 0).numpy(), "keypoints": np.full((1, 2), np.nan)}
                )
            assert len(one["boxes"]) == len(one["labels"]) == len(one["ignore"])


def test_captions_become_token_ids_of_one_reference():
    data = module()
    seen = fit(data, epochs=3)
    drawn = {}
    for batch in seen["train"]:
        for row, texts, index in zip(
            batch["caption"], batch["captions"], batch["index"].tolist(), strict=True
        ):
            words = data.vocabulary.decode(row)
            assert words in texts and row.dtype == torch.int64
            drawn.setdefault(index, set()).add(words)
    assert any(len(found) > 1 for found in drawn.values())  # other references in other epochs
    assert data.labelling()["vocabulary"] == list(data.vocabulary.words)
    assert data.labelling()["palette"] == [[0, 0, 0], [255, 0, 0], [0, 255, 0]]


def test_only_wanted_targets_are_served():
    batch = fit(module(targets=["boxes", "grey"]), epochs=1)["train"][0]
    assert set(batch) == {"image", "grey", "boxes", "labels", "ignore", "index", "epoch"}
    assert batch["grey"].shape == (8, 1, 32, 40) and 0 <= batch["grey"].min() <= batch["grey"].max() <= 1
    assert set(fit(module(targets=["label"]), epochs=1)["val"][0]) == {"image", "label", "index", "epoch"}


def test_grey_is_the_luma_of_the_augmented_image():
    data = module(targets=["grey"])
    batch = fit(data, epochs=1)["train"][0]
    std, mean = (torch.tensor(data.preprocessing[key]).view(1, 3, 1, 1) for key in ("std", "mean"))
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    luma = ((batch["image"] * std + mean) * weights).sum(1, keepdim=True)
    assert (batch["grey"] - luma).abs().max() < 0.01


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("sample", [True, False])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_stops_the_run_and_is_named(cache, sample, workers):
    data = module(bad=(7, 8, 20), cache=cache, sample=sample, num_workers=workers)
    with pytest.raises(ValueError, match=r"^all/000\d\d is damaged \(data\.on_error=skip leaves [a-z ]*\)$"):
        fit(data, epochs=1)


@pytest.mark.parametrize("sample", [True, False])
def test_damaged_images_are_left_out_and_counted(sample):
    bad = tuple(range(0, 60, 5))
    runs = []
    for options in ({"cache": False}, {"cache": True}, {"cache": False, "num_workers": 2}):
        data = module(bad=bad, sample=sample, on_error="skip", **options)
        seen = fit(data, epochs=2)
        runs.append(flat(seen))
        served = {data.train.ids[i] for b in seen["train"] for i in b["index"].tolist()}
        tested = [data.test.ids[i] for b in seen["test"] for i in b["index"].tolist()]
        names = {f"all/{i:05d}" for i in bad}
        assert served and not served & names and all(len(b["index"]) == 8 for b in seen["train"])
        assert sorted(tested) == sorted(set(data.test.ids) - names)
        found = data.summary()
        assert set(found["skipped"]["test"]) == names & set(data.test.ids)
        assert set(found["skipped"]["train"]) <= names & set(data.train.ids) and found["skipped"]["train"]
        assert found["num_skipped"] == sum(map(len, found["skipped"].values()))
    assert same(runs[0], runs[1]) and same(runs[0], runs[2])


def test_nothing_readable_is_an_error_even_when_skipping():
    for cache in (True, False):
        with pytest.raises(ValueError, match="can be read"):
            fit(module(bad=range(60), on_error="skip", cache=cache), epochs=1)


def test_a_file_that_vanishes_between_listing_and_reading_is_named(tmp_path):
    from fovea.data.datasets.folder import Folder
    from helpers.real_formats import write_folder

    write_folder(tmp_path, {"a": 9, "b": 9})
    data = toy_module(partial(Folder, root=tmp_path), num_classes=2, batch_size=4, cache=False)
    data.setup()
    os.remove(tmp_path / data.train.ids[3])
    with pytest.raises(ValueError, match=data.train.ids[3].replace(".", r"\.")):
        fit(data, epochs=1)


def test_an_endless_set_gives_new_images_every_epoch_and_the_same_in_every_run():
    class Endless(Toy):
        endless = True

        def __init__(self, *, split="all"):
            super().__init__(split=split)
            self.images = None

        def __len__(self):
            return 60

        def load(self, index):
            return {"image": np.full((12, 12, 3), index % 251, np.uint8), "label": index % 3}

    data = toy_module(Endless, mean=[0.0] * 3, std=[1.0] * 3)
    seen = fit(data, epochs=2)
    for batch in seen["train"]:
        expected = (data.train.indices[batch["index"].numpy()] + 60 * batch["epoch"]) % 251
        assert np.array_equal((batch["image"][:, 0, 0, 0] * 255).round().numpy().astype(int), expected)
    assert isinstance(data._batches["train"], SampleBatches) and isinstance(
        data._batches["val"], TensorBatches
    )
    assert same(seen, fit(toy_module(Endless, mean=[0.0] * 3, std=[1.0] * 3), epochs=2))
