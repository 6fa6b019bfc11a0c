import errno
import zipfile

import numpy as np
import pytest

from fovea.files import remove_drafts, remove_written
from fovea.reading import Unreadable, read_npz, readable


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_any_damaged_byte_of_an_archive_is_the_same_error(tmp_path, save):
    file = tmp_path / "test.npz"
    save(file, ids=np.array(["a", "b"]), score=np.zeros(2))
    whole, refused = file.read_bytes(), 0
    for at in range(len(whole)):
        for value in (0, 0xFF, whole[at] ^ 0x08):
            file.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            try:
                read_npz(file)
            except ValueError as error:
                assert "test.npz" in str(error)
                refused += 1
    assert refused > len(whole)


def test_an_array_without_its_archive_is_refused(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"array\.npy"):
        read_npz(tmp_path / "array.npy")


def test_a_draft_is_a_file_or_a_link(tmp_path):
    names = [f".{n:016x}.part" for n in range(3)]
    (tmp_path / names[0]).write_text("half")
    (tmp_path / names[1]).symlink_to(tmp_path)
    (tmp_path / names[2]).mkdir()
    remove_drafts(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [names[2]]


def test_what_is_no_array_in_an_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "test.npz", "w") as archive:
        archive.writestr("score.npy", "no array")
    for keys in ((), ("score",)):
        with pytest.raises(Unreadable, match=r"test\.npz .*score"):
            read_npz(tmp_path / "test.npz", *keys)


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "disk"), FileNotFoundError(2, "gone")])
def test_what_is_no_fault_of_the_content_does_not_advise_to_delete_the_file(error, tmp_path):
    with pytest.raises(type(error)) as info, readable(tmp_path / "a.npy", "array"):
        raise error
    assert "delete" not in str(info.value)
    for damage in (EOFError("cut off"), OSError("could not read bytes")):
        with pytest.raises(ValueError, match=r"a\.npy.*delete"), readable(tmp_path / "a.npy", "array"):
            raise damage


def test_a_size_beyond_the_memory_names_the_file(tmp_path):
    with pytest.raises(MemoryError, match=r"a\.npy"), readable(tmp_path / "a.npy", "array"):
        raise MemoryError


def test_what_is_deleted_lies_in_the_folder_whatever_its_list_says(tmp_path):
    folder = tmp_path / "predict"
    (folder / "annotated").mkdir(parents=True)
    for path in (tmp_path / "mine.txt", folder / "own.txt", folder / "annotated" / "a.jpg"):
        path.write_text("x")
    (folder / "link").symlink_to(tmp_path)
    (folder / "ring").symlink_to("ring")
    listed = ["../mine.txt", str(tmp_path / "mine.txt"), "link/mine.txt", "annotated/a.jpg", "."]
    listed += ["\0", "annotated", "ring/a", "a" * 5000, "\udc80"]
    (folder / ".list").write_text("\n".join(listed), encoding="utf-8", errors="surrogateescape")
    remove_written(folder, ".list")
    assert (tmp_path / "mine.txt").is_file() and (folder / "own.txt").is_file()
    assert not (folder / "annotated").exists() and not (folder / ".list").exists()
