import pytest

from fovea.data.formats.listing import present


@pytest.mark.parametrize("subset", [True, False])
def test_a_list_without_images_is_not_a_data_set_without_images(subset, tmp_path):
    def error(*, path, reason):
        return FileNotFoundError(f"{path} {reason}")

    with pytest.raises(FileNotFoundError, match="No image is listed"):
        present([], tmp_path, subset=subset, error=error)
