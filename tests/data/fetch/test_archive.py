import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile

import pytest

from fovea.data.fetch import archive
from fovea.data.fetch.archive import extract

GOOD = {"a/b.txt": b"1", "a/c/d.txt": b"2" * 70000, "é.txt": b"", "..dots": b"3"}
KINDS = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open, "": open}


def member(name, kind=tarfile.REGTYPE, link="", content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def write_tar(path, members, kind="gz"):
    with KINDS[kind](path, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def zip_member(name, content=b"x", mode=0o100644):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info, content


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for info, content in members:
            file.writestr(info, content, compress_type=zipfile.ZIP_DEFLATED)
    return path


def contents(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def refused(path, folder, match):
    """Check that an archive is refused, by name, and that nothing at all is left behind."""
    before = sorted(str(p) for p in path.parent.rglob("*"))
    with pytest.raises(ValueError, match=match) as info:
        extract(path, folder)
    assert str(path) in str(info.value)
    assert sorted(str(p) for p in path.parent.rglob("*")) == before


@pytest.mark.parametrize("kind", KINDS)
def test_tar_files_are_unpacked(tmp_path, kind):
    path = write_tar(tmp_path / f"x.tar.{kind}", [member(n, content=c) for n, c in GOOD.items()], kind)
    extract(path, tmp_path / "new" / "out")
    assert contents(tmp_path / "new" / "out") == GOOD


def test_zip_files_are_unpacked(tmp_path):
    folder = zip_member("empty/", b"", stat.S_IFDIR | 0o755)
    members = [
        folder,
        *(zip_member(n, c, mode) for (n, c), mode in zip(GOOD.items(), (0, 0o100644) * 2, strict=True)),
    ]
    extract(write_zip(tmp_path / "x.zip", members), tmp_path / "out")
    assert contents(tmp_path / "out") == GOOD and (tmp_path / "out" / "empty").is_dir()


def test_folders_may_be_entered_whatever_the_archive_says(tmp_path):
    members = [member("a", tarfile.DIRTYPE, mode=0o000), member("a/b", content=b"1", mode=0o4777)]
    extract(write_tar(tmp_path / "x.tgz", [member("./", tarfile.DIRTYPE), *members]), tmp_path / "out")
    assert (tmp_path / "out" / "a").stat().st_mode & 0o700 == 0o700
    assert not (tmp_path / "out" / "a" / "b").stat().st_mode & 0o7111
    assert (tmp_path / "out").stat().st_mode & 0o055 == 0o055


OUTSIDE = ["/evil", "../evil", "a/../../evil", "..", "a/..\\..\\evil", "\\evil", "C:\\evil", "a/../b"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_outside_are_refused(tmp_path, name):
    path = write_tar(tmp_path / "x.tgz", [member("good", content=b"1"), member(name, content=b"1")])
    refused(path, tmp_path / "out", "would land outside")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    refused(path, tmp_path / "out", "would land outside")
    path = write_zip(tmp_path / "x.zip", [zip_member("good"), zip_member(name)])
    refused(path, tmp_path / "out", "would land outside")


LINKS = ["/etc/passwd", "../../evil", "..", "b/../../..", "b/../../x", ""]


@pytest.mark.parametrize("target", LINKS)
def test_links_that_lead_outside_are_refused(tmp_path, target):
    place = "s" if target == ".." else "a/s"
    path = write_tar(
        tmp_path / "x.tgz", [member("a/b/c", content=b"1"), member(place, tarfile.SYMTYPE, target)]
    )
    refused(path, tmp_path / "out", "outside of the folder")
    path = write_zip(tmp_path / "x.zip", [zip_member(place, os.fsencode(target), stat.S_IFLNK | 0o777)])
    refused(path, tmp_path / "out", "outside of the folder")


def test_links_that_stay_inside_are_made(tmp_path):
    members = [
        member("a/file", content=b"1"),
        member("b/link", tarfile.SYMTYPE, "../a/file"),
        member("dir", tarfile.SYMTYPE, "a"),
        member("same", tarfile.LNKTYPE, "a/file"),
    ]
    extract(write_tar(tmp_path / "x.tgz", members), tmp_path / "out")
    out = tmp_path / "out"
    assert os.readlink(out / "b" / "link") == "../a/file" and (out / "b" / "link").read_bytes() == b"1"
    assert (out / "dir" / "file").read_bytes() == b"1" and (out / "same").read_bytes() == b"1"
    path = write_zip(tmp_path / "x.zip", [zip_member("z", b"a/file", stat.S_IFLNK | 0o777)])
    extract(path, out)
    assert (out / "z").read_bytes() == b"1"


def test_nothing_is_written_through_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    link = member("a", tarfile.SYMTYPE, "b")
    for members in ([link, member("a/evil", content=b"1")], [member("a/evil", content=b"1"), link]):
        path = write_tar(tmp_path / "x.tgz", [member("b/x", content=b"1"), *members])
        refused(path, tmp_path / "out", "link and a file or folder at once")
    chain = [member("l", tarfile.SYMTYPE, "."), member("m", tarfile.SYMTYPE, "l/..")]
    refused(write_tar(tmp_path / "x.tgz", chain), tmp_path / "out", "outside of the folder")
    nested = [
        member("a", tarfile.SYMTYPE, "b"),
        member("a/c", tarfile.SYMTYPE, "../b"),
        member("b", content=b"1"),
    ]
    refused(write_tar(tmp_path / "x.tgz", nested), tmp_path / "out", "at once")
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "later", "h"])
def test_hard_links_to_anything_but_an_earlier_file_are_refused(tmp_path, target):
    path = write_tar(
        tmp_path / "x.tgz", [member("h", tarfile.LNKTYPE, target), member("later", content=b"1")]
    )
    refused(path, tmp_path / "out", r"'(h|/etc/passwd|\.\./x)' (links to|would land outside)")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"])
def test_devices_and_pipes_are_refused(tmp_path, kind):
    path = write_tar(tmp_path / "x.tgz", [member("good", content=b"1"), member("dev/sda", kind)])
    refused(path, tmp_path / "out", "'dev/sda' is a device" if kind != b"Z" else "dev/sda")
    for mode in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK):
        path = write_zip(tmp_path / "x.zip", [zip_member("dev/sda", b"", mode | 0o644)])
        refused(path, tmp_path / "out", "'dev/sda' is a device")


def test_bombs_are_refused_by_what_they_hold_not_by_what_they_say(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "BYTES", 1 << 20)
    zeros = b"\0" * (3 << 20)
    message = "'bomb' swells the contents above 1,048,576 bytes"
    refused(write_tar(tmp_path / "x.tgz", [member("bomb", content=zeros)]), tmp_path / "out", message)
    path = write_zip(tmp_path / "x.zip", [zip_member("bomb", zeros)])
    refused(path, tmp_path / "out", message)
    extract(
        write_tar(tmp_path / "ok.tar", [member("f", content=zeros)], ""), tmp_path / "ok"
    )  # as large as it is


def test_a_zip_that_lies_about_its_size_is_no_way_around(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "BYTES", 1 << 20)
    path = write_zip(tmp_path / "x.zip", [zip_member("bomb", b"\0" * (3 << 20))])
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    path.write_bytes(data)
    refused(path, tmp_path / "out", "damaged|swells")


def test_many_small_members_and_copies_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "BYTES", 1 << 20)
    links = [member(f"h{i}", tarfile.LNKTYPE, "f") for i in range(20)]
    path = write_tar(tmp_path / "x.tgz", [member("f", content=b"\0" * (100 << 10)), *links])
    refused(path, tmp_path / "out", "'h[0-9]+' swells")
    monkeypatch.setattr(archive, "MEMBERS", 10)
    path = write_tar(tmp_path / "x.tgz", [member(f"e{i}") for i in range(11)])
    refused(path, tmp_path / "out", "'e10' is number 11: an archive may have 10")
    refused(
        write_zip(tmp_path / "x.zip", [zip_member(f"e{i}") for i in range(11)]),
        tmp_path / "out",
        "'e10' is number",
    )


def test_headers_count_too(tmp_path, monkeypatch):
    monkeypatch.setattr("fovea.data.fetch.archive.HEADER", 1 << 20)
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
    with gzip.open(tmp_path / "x.tgz", "wb") as file:
        file.write(member("first")[0].tobuf(tarfile.GNU_FORMAT))
        file.write(info.tobuf(tarfile.GNU_FORMAT) + b"a" * (2 << 20))
    refused(tmp_path / "x.tgz", tmp_path / "out", "'first' is followed by a header of 2,097,152 bytes")


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_cut_off_is_damaged_and_leaves_nothing(tmp_path, kind):
    content = os.urandom(30000)
    path = write_tar(tmp_path / "x.tar", [member("a", content=content), member("b", content=content)], kind)
    whole = path.read_bytes()
    for keep in (0.3, 0.7):
        path.write_bytes(whole[: int(len(whole) * keep)])
        refused(path, tmp_path / "out", r"is damaged or no zip or tar file(.|\n)*delete it")


def test_damage_in_the_middle_is_found(tmp_path):
    path = write_tar(tmp_path / "x.tar", [member("a", content=b"1" * 600), member("b", content=b"2")], "")
    data = bytearray(path.read_bytes())
    data[1536:1546] = b"\xff" * 10  # the header of b
    path.write_bytes(data)
    refused(path, tmp_path / "out", "no header after member 'a'")
    path = write_zip(tmp_path / "x.zip", [zip_member("a", os.urandom(5000))])
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    refused(path, tmp_path / "out", "is damaged")
    path = tmp_path / "x.tgz"
    write_tar(path, [member("a", content=os.urandom(5000))])
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # the checksum at the end
    path.write_bytes(data)
    refused(path, tmp_path / "out", "is damaged")


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>" * 50, b"PK\x03\x04 nonsense", b"\x1f\x8bnonsense"]
)
def test_what_is_no_archive_is_named(tmp_path, content):
    path = tmp_path / "x.tgz"
    path.write_bytes(content)
    refused(path, tmp_path / "out", "is damaged or no zip or tar file")


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["d"] * 3000)])
def test_names_that_no_disk_takes_are_told(tmp_path, name):
    refused(write_tar(tmp_path / "x.tar.gz", [member(name, content=b"x")]), tmp_path / "out", "longer name")


def test_a_zip_with_a_member_without_a_name_is_told(tmp_path):
    refused(write_zip(tmp_path / "x.zip", [zip_member("")]), tmp_path / "out", "damaged")


def test_encrypted_files_and_names_used_twice_are_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", [zip_member("secret")])
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refused(path, tmp_path / "out", "'secret' is encrypted")
    for members in ([member("a", content=b"1"), member("a/b", content=b"1")], [member("a/b"), member("a")]):
        refused(write_tar(tmp_path / "x.tgz", members), tmp_path / "out", "is a file and a folder at once")


def test_existing_files_stay(tmp_path, caplog):
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "mine.txt").write_bytes(b"mine")
    (out / "a" / "b.txt").write_bytes(b"edited")
    (out / "..dots").write_bytes(b"3")
    path = write_tar(tmp_path / "x.tgz", [member(n, content=c) for n, c in GOOD.items()])
    stamp = (out / "..dots").stat().st_mtime_ns
    extract(path, out)
    assert contents(out) == {**GOOD, "a/mine.txt": b"mine", "a/b.txt.orig": b"edited"}
    assert "b.txt.orig" in caplog.text and (out / "..dots").stat().st_mtime_ns == stamp
    extract(path, out)
    (out / "a" / "b.txt").write_bytes(b"again")
    extract(path, out)
    assert contents(out)["a/b.txt.orig1"] == b"again" and contents(out)["a/b.txt.orig"] == b"edited"


def test_a_new_folder_appears_in_one_step(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "x.tgz", [member(n, content=c) for n, c in GOOD.items()])
    moves = []
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda a, b: (moves.append(str(b)), rename(a, b)))
    extract(path, tmp_path / "out")
    assert moves == [str(tmp_path / "out")]


def test_a_target_on_another_disk_is_reached_through_its_link(tmp_path, monkeypatch):
    import errno

    def elsewhere(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    path = write_tar(tmp_path / "x.tgz", [member(n, content=c) for n, c in GOOD.items()])
    monkeypatch.setattr("fovea.data.fetch.archive.os.rename", elsewhere)
    extract(path, tmp_path / "out")
    assert contents(tmp_path / "out") == GOOD
