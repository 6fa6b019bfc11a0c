"""What the published data sets have in common: preparing them, and what stops that."""

import errno
from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from fovea.data.sources import Published

CONF = Path(__file__).parents[3] / "conf" / "data"
NAMES = {
    str(target)
    for path in CONF.glob("*.yaml")
    if (target := OmegaConf.select(OmegaConf.load(path), "dataset._target_"))
}
OWNERS = sorted((owner for owner in map(get_class, NAMES) if issubclass(owner, Published)), key=str)


@pytest.mark.parametrize("owner", OWNERS)
def test_a_folder_that_cannot_be_looked_into_is_told_whatever_the_data(owner, tmp_path):
    with pytest.raises(OSError, match="name too long") as info:
        owner.prepare(root=tmp_path / ("x" * 300))
    assert owner.offered == ("try again" in str(info.value))
    assert owner.offered or info.value.errno == errno.ENAMETOOLONG  # nothing was downloaded that could fail


@pytest.mark.parametrize("owner", [owner for owner in OWNERS if owner.offered])
def test_a_root_that_cannot_be_made_says_how_to_get_the_data_by_hand(owner, tmp_path):
    (tmp_path / "root").symlink_to("/proc/nothing")
    with pytest.raises(FileNotFoundError, match="by hand"):
        owner.prepare(root=tmp_path / "root" / "below")
