import numpy as np
import pytest

from fovea.data.datasets.camvid import CLASSES, COLOURS, LABELS, PALETTE, STILLS, CamVid
from helpers.formats_masks import FRAMES, SIZE, painted, photo, street, write_camvid, write_camvid_original

# how the 32 classes are usually reduced, by name
GROUPS = {
    "Sky": "Sky", "Building": "Building Wall Bridge Tunnel Archway", "Pole": "Column_Pole TrafficCone",
    "Road": "Road LaneMkgsDriv LaneMkgsNonDriv", "Pavement": "Sidewalk ParkingBlock RoadShoulder",
    "Tree": "Tree VegetationMisc", "SignSymbol": "SignSymbol Misc_Text TrafficLight", "Fence": "Fence",
    "Car": "Car SUVPickupTruck Truck_Bus Train OtherMoving",
    "Pedestrian": "Pedestrian Child CartLuggagePram Animal",
    "Bicyclist": "Bicyclist MotorcycleScooter", "Unlabelled": "Void",
}  # fmt: skip


def test_the_reduced_frames_have_twelve_classes_or_eleven(tmp_path):
    write_camvid(tmp_path)
    for split, names in FRAMES.items():
        data = CamVid(root=tmp_path, split=split, subset=True)
        assert list(data.ids) == [f"{split}/{name}.png" for name in sorted(names)]
        order = sorted(range(len(names)), key=names.__getitem__)
        for i, number in enumerate(order):
            sample = data.load(i)
            assert sample["image"].shape == (*SIZE, 3) and np.array_equal(sample["mask"], street(number))
    assert (
        data.classes == CLASSES and len(CLASSES) == 12 and data.targets == ("mask",) and data.labels is None
    )
    ignoring = CamVid(root=tmp_path, void="ignore", subset=True)
    labels = street(0)
    assert len(ignoring.classes) == 11 and ignoring.palette.shape == (11, 3)
    assert np.array_equal(ignoring.load(0)["mask"], np.where(labels == 11, 255, labels))


def test_the_original_colours_are_reduced_by_name(tmp_path):
    names = write_camvid_original(tmp_path)
    classes = [next(c for c, group in GROUPS.items() if name in group.split()) for name in COLOURS]
    for void in ("class", "ignore"):
        data = CamVid(root=tmp_path, void=void, subset=True)
        for i, name in enumerate(data.ids):
            _, rows = painted(names.index(name.removeprefix(f"{STILLS}/").removesuffix(".png")))
            wanted = [CLASSES.index(classes[row]) for row in rows]
            wanted = [255 if k == 11 and void == "ignore" else k for k in wanted]
            assert np.array_equal(data.load(i)["mask"], np.repeat([wanted], SIZE[0], axis=0))
    assert len({value[:3] for value in COLOURS.values()}) == 32
    for name, colour in zip(CLASSES[:4], PALETTE, strict=False):
        key = {"Pole": "Column_Pole"}.get(name, name)
        assert COLOURS[key][:3] == colour


def test_the_original_frames_are_split_as_published(tmp_path):
    write_camvid_original(tmp_path)
    for split, names in FRAMES.items():
        data = CamVid(root=tmp_path, split=split, subset=True)
        assert list(data.ids) == [f"{STILLS}/{name}.png" for name in sorted(names)]
    assert data.files(0)["mask"] == tmp_path / "CamVid" / LABELS / "0001TP_008550_L.png"


def test_the_published_division_has_the_official_counts():
    from pathlib import Path

    from fovea.data.datasets.camvid import _published_split

    names = [f"0001TP_{n:06d}" for n in range(6690, 10381, 30)] + [
        f"Seq05VD_f{n:05d}" for n in range(0, 5101, 30)
    ]
    names += [f"0006R0_f{n:05d}" for n in range(930, 3931, 30)]
    names += [f"0016E5_{n:05d}" for n in range(7959, 8160, 2)]
    splits = [_published_split(name, Path("x")) for name in names]
    assert splits.count("val") == 101 and splits.count("test") == 233
    assert splits.count("train") == 367 - 204  # the other frames of 0016E5


def test_lists_beside_the_original_decide(tmp_path):
    write_camvid_original(tmp_path)
    folder = tmp_path / "CamVid"
    (folder / "train.txt").write_text("Seq05VD_f05100\n/x/y/0016E5_07959.png /x/z/0016E5_07959_L.png\n")
    data = CamVid(root=tmp_path, subset=True)
    assert list(data.ids) == [f"{STILLS}/Seq05VD_f05100.png", f"{STILLS}/0016E5_07959.png"]
    (folder / "train.txt").write_text("0006R0_f00930\n0006R0_f00930\n")
    with pytest.raises(ValueError, match=r"train.txt names 0006R0_f00930 twice"):
        CamVid(root=tmp_path, subset=True)
    (folder / "train.txt").write_text("0006R0_f99999\n")
    with pytest.raises(FileNotFoundError, match=r"0006R0_f99999.png(.|\n)*train.txt names it"):
        CamVid(root=tmp_path, subset=True)


def test_a_frame_of_no_sequence_is_named(tmp_path):
    write_camvid_original(tmp_path)
    photo(tmp_path / "CamVid" / STILLS / "holiday.png", street(0))
    with pytest.raises(ValueError, match=r"holiday.png is not a frame"):
        CamVid(root=tmp_path, subset=True)


@pytest.mark.parametrize("write", [write_camvid, write_camvid_original])
def test_bad_masks_are_named(tmp_path, write):
    write(tmp_path)
    data = CamVid(root=tmp_path, subset=True)
    path, original = data.masks[0], write is write_camvid_original
    wrong = painted(0)[0] if original else street(0)
    wrong[4, 5] = (1, 2, 3) if original else 12
    photo(path, wrong)
    problem = r"colour \(1, 2, 3\)" if original else "value 12"
    with pytest.raises(ValueError, match=f"{path.name} has the {problem}.* at x=5, y=4"):
        data.load(0)
    photo(path, street(0, size=(12, 16)) if not original else painted(0, size=(12, 16))[0])
    with pytest.raises(ValueError, match=f"{path.name} is 16×12 pixels but its image 32×24"):
        data.load(0)
    photo(path.with_name("extra.png"), street(0))
    assert [extra.name for extra in data.extra_files()] == ["extra.png"]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.name}. 1 of 12 frames have no mask"):
        CamVid(root=tmp_path, subset=True)


def test_the_official_counts_are_asked_for(tmp_path):
    write_camvid(tmp_path)
    for split, official in (("train", 367), ("val", 101), ("test", 233)):
        with pytest.raises(ValueError, match=f"CamVid {split} has .* officially {official}"):
            CamVid(root=tmp_path, split=split)


def test_missing_data_and_wrong_options_are_told(tmp_path):
    for download in (False, True):
        with pytest.raises(FileNotFoundError, match=r"git clone https(.|\n)*experiment=vit_digits") as info:
            CamVid(root=tmp_path, download=download)
        assert STILLS in str(info.value) and "trainannot" in str(info.value)
    write_camvid(tmp_path)
    assert len(CamVid(root=tmp_path, download=True, subset=True)) == 12
    with pytest.raises(ValueError, match="void='drop' is unknown"):
        CamVid(root=tmp_path, void="drop")
    with pytest.raises(ValueError, match="split='all' is unknown"):
        CamVid(root=tmp_path, split="all")
