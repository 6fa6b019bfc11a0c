import hashlib
import http.server
import logging
import multiprocessing
import socket
import tarfile
import threading
import time
from pathlib import Path

import pytest

from fovea.data.datasets.caltech3 import Caltech3
from fovea.data.datasets.cifar10 import CIFAR10
from fovea.data.datasets.cifar100 import CIFAR100
from fovea.data.datasets.coco import COCO
from fovea.data.datasets.fashion_mnist import FashionMNIST
from fovea.data.datasets.flowers102 import Flowers102
from fovea.data.datasets.oxford_pets import OxfordPets
from fovea.data.datasets.voc import VOC
from fovea.data.fetch import download, missing, progress

CONTENT = b"some bytes" * 1000
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve `/good` and misbehave as the server's `behave` says; note what was asked for."""

    def do_GET(self):
        server, have = self.server, self.headers.get("Range")
        server.asked.append((self.path, have))
        if self.path != "/good" or (server.behave["busy"] and len(server.asked) <= server.behave["busy"]):
            return self.send_error(404 if self.path != "/good" else 503)
        start = int(have.removeprefix("bytes=").rstrip("-")) if have and server.behave["ranges"] else 0
        if start >= len(server.content) > 0 and have:
            return self.send_error(416)
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            shift = server.behave["shift"]
            self.send_header(
                "Content-Range", f"bytes {start + shift}-{len(server.content) - 1}/{len(server.content)}"
            )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        breaks = server.behave["breaks"].pop(0) if server.behave["breaks"] else None
        self.wfile.write(body[:breaks])
        if server.behave["slow"]:
            self.wfile.flush()
            time.sleep(server.behave["slow"])

    def log_message(self, *args):
        pass


@pytest.fixture
def http_server():
    """Serve on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.asked = CONTENT, []
        server.behave = {"ranges": True, "breaks": [], "busy": 0, "slow": 0, "shift": 0}
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(http_server):
    return f"http://127.0.0.1:{http_server.server_port}/"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("FOVEA_TIMEOUT", "0.5")
    monkeypatch.setattr(download, "PAUSE", 0.01)


@pytest.mark.parametrize("checksum", [MD5, SHA256])
def test_a_checked_file_arrives_whole_and_alone(server, tmp_path, checksum):
    target = tmp_path / "new" / "file"
    download.fetch([server + "absent", server + "good"], target, expected=checksum)
    assert target.read_bytes() == CONTENT and [p.name for p in target.parent.iterdir()] == ["file"]


def test_a_wrong_file_is_never_put_in_place(server, tmp_path):
    target = tmp_path / "new" / "file"
    with pytest.raises(OSError, match=r"damaged.*expected 0000.*deleted"):
        download.fetch([server + "good"], target, expected="0" * 64)
    assert list(target.parent.iterdir()) == []


ARCHIVES = {
    CIFAR10: "cifar-10-python.tar.gz",
    CIFAR100: "cifar-100-python.tar.gz",
    Flowers102: "flowers-102/102flowers.tgz",
    OxfordPets: "oxford-iiit-pet/images.tar.gz",
    VOC: "VOCtrainval_11-May-2012.tar",
    COCO: "coco/train2017.zip",
    Caltech3: "caltech101/caltech-101.zip",
}


@pytest.mark.parametrize("dataset", ARCHIVES)
def test_an_archive_placed_by_hand_is_checked_and_stays(tmp_path, monkeypatch, dataset):
    monkeypatch.setattr(download, "_receive", lambda *args: pytest.fail("it was downloaded"))
    path = tmp_path / ARCHIVES[dataset]
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("evil"))
    before, found = path.read_bytes(), download.digest(path, kind="md5")
    with pytest.raises(
        ValueError, match=rf"{found}, expected [0-9a-f]{{32}}.*delete it.*download=true"
    ) as info:
        dataset.prepare(root=tmp_path)
    assert str(path) in str(info.value) and path.read_bytes() == before
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


@pytest.mark.alone
def test_a_silent_server_is_left_after_the_timeout(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(OSError, match="timed out"):
            download.fetch([f"http://127.0.0.1:{silent.getsockname()[1]}/x"], tmp_path / "x", expected=MD5)
        assert time.monotonic() - start < 5


@pytest.mark.alone
def test_a_silent_name_server_is_left_after_the_timeout(tmp_path, monkeypatch):
    monkeypatch.setattr(download.urllib.request, "getproxies", dict)
    monkeypatch.setattr(download.socket, "getaddrinfo", lambda *a: time.sleep(30))
    start = time.monotonic()
    with pytest.raises(OSError, match=r"nowhere\.invalid .*0\.5 s"):
        download.fetch(["http://nowhere.invalid/x"], tmp_path / "x", expected=MD5)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("dataset", [FashionMNIST, CIFAR10, Flowers102])
def test_a_failed_download_gives_the_same_clear_message(tmp_path, monkeypatch, dataset):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(download, "_receive", offline)
    with pytest.raises(FileNotFoundError) as info:
        dataset(root=tmp_path, split="train", download=True)
    for part in (
        str(tmp_path),
        "no route to host",
        "try again",
        "https://",
        "experiment=vit_digits",
    ):
        assert part in str(info.value)


def _part(target, content):
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.write_bytes(content)
    return part


def _alone(target):
    return target.read_bytes() == CONTENT and [p.name for p in target.parent.iterdir()] == [target.name]


def test_a_download_goes_on_where_it_broke(server, http_server, tmp_path):
    http_server.behave["breaks"] = [3000, 1000]
    target = tmp_path / "new" / "file"
    download.fetch([server + "good"], target, expected=SHA256)
    assert _alone(target)
    assert [have for _, have in http_server.asked] == [None, "bytes=3000-", "bytes=4000-"]


def test_what_arrived_stays_for_the_next_call(server, http_server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    http_server.behave["breaks"] = [3000]
    target = tmp_path / "new" / "file"
    with pytest.raises(OSError, match=r"3,000 of 10,000"):
        download.fetch([server + "good"], target, expected=MD5)
    assert [p.name for p in target.parent.iterdir()] == ["file.part"]
    assert (target.parent / "file.part").read_bytes() == CONTENT[:3000]
    download.fetch([server + "good"], target, expected=MD5)
    assert _alone(target) and http_server.asked[-1] == ("/good", "bytes=3000-")


def test_a_silence_in_the_middle_loses_nothing(server, http_server, tmp_path, monkeypatch):
    http_server.behave.update(breaks=[3000], slow=1.0)
    target = tmp_path / "new" / "file"
    with pytest.raises(OSError, match="timed out"):
        monkeypatch.setattr(download, "TRIES", 1)
        download.fetch([server + "good"], target, expected=MD5)
    assert (target.parent / "file.part").read_bytes() == CONTENT[:3000]


def test_a_server_that_cannot_go_on_starts_again(server, http_server, tmp_path):
    http_server.behave["ranges"] = False
    target = tmp_path / "new" / "file"
    _part(target, b"x" * 12_000)
    download.fetch([server + "good"], target, expected=MD5)
    assert _alone(target) and len(http_server.asked) == 1


def test_a_server_that_sends_another_part_is_asked_again_from_the_start(server, http_server, tmp_path):
    http_server.behave["shift"] = 5
    target = tmp_path / "new" / "file"
    _part(target, CONTENT[:3000])
    download.fetch([server + "good"], target, expected=MD5)
    assert _alone(target) and [have for _, have in http_server.asked] == ["bytes=3000-", None]


def test_a_complete_or_wrong_part_is_finished_or_fetched_anew(server, http_server, tmp_path):
    target = tmp_path / "new" / "file"
    _part(target, CONTENT)
    download.fetch([server + "good"], target, expected=MD5)
    assert _alone(target) and len(http_server.asked) == 1
    target.unlink()
    _part(target, b"of another version")
    download.fetch([server + "good"], target, expected=MD5)
    assert _alone(target) and [have for _, have in http_server.asked[1:]] == ["bytes=18-", None]


def test_a_busy_server_is_asked_again_and_an_absent_file_is_not(server, http_server, tmp_path):
    http_server.behave["busy"] = 2
    download.fetch([server + "good"], tmp_path / "new" / "file", expected=MD5)
    assert len(http_server.asked) == 3
    http_server.asked.clear()
    with pytest.raises(OSError, match="404"):
        download.fetch([server + "absent"], tmp_path / "none" / "file", expected=MD5)
    assert len(http_server.asked) == 1 and list((tmp_path / "none").iterdir()) == []


def test_a_server_that_is_always_busy_is_given_up(server, http_server, tmp_path):
    http_server.behave["busy"] = 1000
    with pytest.raises(OSError, match="503"):
        download.fetch([server + "good"], tmp_path / "file", expected=MD5)
    assert len(http_server.asked) == download.TRIES


def _fetch(url, target, start):
    start.wait()
    download.fetch([url], Path(target), expected=MD5)


def test_processes_that_fetch_one_file_share_it(server, http_server, tmp_path):
    http_server.behave["slow"] = 0.2
    target = tmp_path / "new" / "file"
    context = multiprocessing.get_context("fork")
    start = context.Event()
    workers = [context.Process(target=_fetch, args=(server + "good", target, start)) for _ in range(4)]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join(20)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert _alone(target) and len(http_server.asked) == 1


def test_without_locks_each_process_has_its_own_part(server, tmp_path, monkeypatch):
    def unsupported(part):
        raise OSError("no locks here")

    monkeypatch.setattr(download, "_lock", unsupported)
    target = tmp_path / "new" / "file"
    theirs = _part(target, b"another process writes this")
    download.fetch([server + "good"], target, expected=MD5)
    assert target.read_bytes() == CONTENT and theirs.read_bytes() == b"another process writes this"
    assert len(list(target.parent.iterdir())) == 2


def test_progress_is_told_for_large_files_only(server, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "EVERY", 0)
    download.fetch([server + "good"], tmp_path / "a", expected=MD5)
    assert not [r for r in caplog.records if r.name == progress.__name__]
    monkeypatch.setattr(progress, "SMALL", 100)
    download.fetch([server + "good"], tmp_path / "b", expected=MD5)
    assert "b: 0 MB of 0 MB (100%)" in caplog.text


def test_a_terminal_shows_a_bar(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SMALL", 100)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    download.fetch([server + "good"], tmp_path / "a[b]", expected=MD5)
    assert "a[b]" in capsys.readouterr().err


def test_missing_data_is_told_with_what_is_there(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / "sub").mkdir()
    error = str(
        missing.not_found(
            name="X",
            path=tmp_path / "x" / "y.png",
            page="https://x.org",
            reason="Why.",
            layout="x/*.png\nx/y",
        )
    )
    assert f"looked for {tmp_path}/x/y.png. Why." in error
    assert f"{tmp_path} holds 0.txt, 1.txt" in error and "7.txt, … (11)" in error
    assert "\n      x/*.png\n      x/y\n" in error and "data.download=true" in error
    assert "https://x.org" in error and "experiment=vit_digits" in error
    empty = str(
        missing.not_found(
            name="X", path=tmp_path / "sub" / "y", page="https://x.org", layout="y", download=False
        )
    )
    assert f"{tmp_path}/sub is empty" in empty and "data.download" not in empty
    assert "https://x.org" in empty and "data.root" in empty


def test_a_part_that_cannot_be_locked_is_not_left_behind(server, http_server, tmp_path, monkeypatch):
    def unsupported(part):
        raise OSError("no locks here")

    monkeypatch.setattr(download, "_lock", unsupported)
    monkeypatch.setattr(download, "TRIES", 1)
    http_server.behave["breaks"] = [3000]
    with pytest.raises(OSError, match="broke after 3,000"):
        download.fetch([server + "good"], tmp_path / "new" / "file", expected=MD5)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_may_not_be_written_is_named(server, tmp_path, monkeypatch):
    def forbidden(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(download, "_lock", forbidden)
    monkeypatch.setattr(Path, "touch", forbidden)
    with pytest.raises(PermissionError, match=r"file\..*part"):
        download.fetch([server + "good"], tmp_path / "file", expected=MD5)
