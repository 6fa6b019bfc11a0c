from pathlib import Path

import pytest

from fovea.data.datasets.folder import Folder
from fovea.data.formats.listing import list_images, present


@pytest.mark.parametrize("subset", [True, False])
def test_a_list_without_images_is_not_a_data_set_without_images(subset, tmp_path):
    def error(*, path, reason):
        return FileNotFoundError(f"{path} {reason}")

    with pytest.raises(FileNotFoundError, match="No image is listed"):
        present([], tmp_path, subset=subset, error=error)


def test_the_whole_disk_is_no_data_set():
    with pytest.raises(ValueError, match=r"^/ is the root of the whole file system: give"):
        Folder.find_classes(root="/")
    with pytest.raises(ValueError, match=r"^/ is the root of the whole file system: give"):
        list_images(Path("/"), root=Path("/"))
