"""What is said of missing data fits what was tried."""

from fovea.data.fetch.missing import FAILED, not_found


def test_after_a_failed_download_another_is_not_proposed(tmp_path):
    facts = {"name": "Shapes", "path": tmp_path / "shapes", "page": "https://shapes.example"}
    before, after = str(not_found(**facts)), str(not_found(**facts, reason=f"{FAILED}: no route to host."))
    assert "data.download=true" in before and "data.download=true" not in after
    for part in (
        "no route to host",
        "there is a network",
        "by hand: ",
        "https://shapes.example",
        "data.root",
    ):
        assert part in after
