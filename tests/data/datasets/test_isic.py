import numpy as np
import pytest

from fovea.data.datasets.isic import FOLDERS, ISIC
from helpers.formats_masks import SIZE, lesion, photo, write_isic
from helpers.real_formats import images

SUFFIX = {2016: "_Segmentation.png", 2017: "_segmentation.png", 2018: "_segmentation.png"}


@pytest.mark.parametrize("year", [2016, 2017, 2018])
def test_reads_the_archives_as_they_unpack(tmp_path, year):
    write_isic(tmp_path, year)
    assert ISIC.find_splits(year=year) == tuple(FOLDERS[year])
    seen = set()
    for split, count in (("train", 12), ("val", 3), ("test", 3)):
        if split not in FOLDERS[year]:
            continue
        data = ISIC(root=tmp_path, year=year, split=split, subset=True)
        assert len(data) == count and not seen & set(data.ids)
        seen |= set(data.ids)
        for i in range(count):
            sample = data.load(i)
            assert set(sample) == {"image", "mask"} and sample["image"].shape == (*SIZE, 3)
            assert np.array_equal(sample["mask"], lesion(i) // 255) and sample["mask"].dtype == np.uint8
    assert data.classes == ["background", "lesion"] and data.targets == ("mask",)
    assert not any("superpixels" in name or name.endswith(".csv") for name in seen)
    files = ISIC(root=tmp_path, year=year, subset=True).files(0)
    assert files["image"] == tmp_path / "isic" / FOLDERS[year]["train"][0] / "ISIC_0000000.jpg"
    assert files["mask"].name == f"ISIC_0000000{SUFFIX[year]}" and files["mask"].is_file()


def test_the_official_counts_are_asked_for(tmp_path):
    write_isic(tmp_path, 2017)
    for split, official in (("train", 2000), ("val", 150), ("test", 600)):
        with pytest.raises(ValueError, match=f"ISIC 2017 {split} has .* officially {official}"):
            ISIC(root=tmp_path, year=2017, split=split)


def test_a_missing_mask_and_one_too_many_are_named(tmp_path):
    folder = write_isic(tmp_path, 2018)
    data = ISIC(root=tmp_path, subset=True)
    assert data.extra_files() == []
    truth = folder / FOLDERS[2018]["train"][1]
    photo(truth / "ISIC_0000777_segmentation.png", lesion(0))
    (truth / "ISIC_0000003_segmentation.png").unlink()
    assert data.extra_files() == [truth / "ISIC_0000777_segmentation.png"]
    with pytest.raises(FileNotFoundError, match=r"ISIC_0000003_segmentation.png. 1 of 12"):
        ISIC(root=tmp_path, subset=True)


def test_bad_masks_are_named(tmp_path):
    folder = write_isic(tmp_path, 2018)
    data, path = ISIC(root=tmp_path, subset=True), folder / FOLDERS[2018]["train"][1]
    mask = lesion(0)
    mask[2, 3] = 128
    photo(path / "ISIC_0000000_segmentation.png", mask)
    with pytest.raises(ValueError, match=r"ISIC_0000000_segmentation.png .*128 at x=3, y=2"):
        data.load(0)
    photo(path / "ISIC_0000001_segmentation.png", lesion(0, size=(30, 32)))
    with pytest.raises(ValueError, match=r"ISIC_0000001_segmentation.png .*32×30.*32×24"):
        data.load(1)


def test_missing_folders_are_told_with_the_layout_and_the_page(tmp_path):
    with pytest.raises(FileNotFoundError, match="experiment=vit_digits") as info:
        ISIC(root=tmp_path, year=2016)
    for part in (
        "ISBI2016_ISIC_Part1_Training_Data",
        "https://challenge.isic-archive.com/data/#2016",
        "by hand",
    ):
        assert part in str(info.value)
    assert "data.download=true" not in str(info.value)
    with pytest.raises(FileNotFoundError, match="by hand"):
        ISIC(root=tmp_path, year=2016, download=True)
    write_isic(tmp_path, 2016)
    assert len(ISIC(root=tmp_path, year=2016, download=True, subset=True)) == 12
    for image in (tmp_path / "isic" / FOLDERS[2016]["test"][0]).glob("*.jpg"):
        image.unlink()
    with pytest.raises(FileNotFoundError, match=r"Part1_Test_Data"):
        ISIC(root=tmp_path, year=2016, split="test", subset=True)


def test_options_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"year=2019 .*2016, 2017, 2018"):
        ISIC(root=tmp_path, year=2019)
    with pytest.raises(ValueError, match="split='val' is unknown"):
        ISIC(root=tmp_path, year=2016, split="val")


@pytest.mark.slow
def test_a_photo_of_24_million_pixels_is_read(tmp_path):
    folder = write_isic(tmp_path, 2018, count=3)
    data = ISIC(root=tmp_path, subset=True)
    big = np.repeat(np.repeat(images(1, (40, 60))[0], 100, axis=0), 100, axis=1)
    mask = np.zeros((4000, 6000), dtype=np.uint8)
    mask[1000:2000, 3000:5000] = 255
    photo(data.paths[0], big)
    photo(folder / FOLDERS[2018]["train"][1] / "ISIC_0000000_segmentation.png", mask, compress_level=1)
    sample = data.load(0)
    assert sample["image"].shape == (4000, 6000, 3) and int(sample["mask"].sum()) == 2_000_000
