import os

import pytest

from fovea.data.datasets.folder import Folder
from fovea.data.formats import listing
from fovea.data.formats.listing import list_images, present


@pytest.mark.parametrize("subset", [True, False])
def test_a_list_without_images_is_not_a_data_set_without_images(subset, tmp_path):
    def error(*, path, reason):
        return FileNotFoundError(f"{path} {reason}")

    with pytest.raises(FileNotFoundError, match="No image is listed"):
        present([], tmp_path, subset=subset, error=error)


def test_the_whole_disk_and_what_may_not_be_read_are_told_with_the_way_out(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"^/ is the root of the whole file system: give"):
        Folder.find_classes(root="/")
    (tmp_path / "cat" / "private").mkdir(parents=True)
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("private/"):
            raise PermissionError(13, "denied", str(path))
        return scandir(path)

    monkeypatch.setattr(listing.os, "scandir", lambda path: refusing(f"{path}/"))
    with pytest.raises(ValueError, match=rf"{tmp_path}/cat/private may not be read.*data\.root"):
        list_images(tmp_path / "cat", root=tmp_path)
