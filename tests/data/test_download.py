import functools
import hashlib
import http.server
import io
import socket
import tarfile
import threading
import time

import pytest

from fovea.data import download
from fovea.data.datasets.cifar10 import CIFAR10
from fovea.data.datasets.fashion_mnist import FashionMNIST
from fovea.data.datasets.flowers102 import Flowers102

CONTENT = b"some bytes" * 1000
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path):
    """Serve files of a folder on this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "good").write_bytes(CONTENT)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *a: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http_server.server_port}/"
        http_server.shutdown()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("FOVEA_TIMEOUT", "0.5")


@pytest.mark.parametrize("checksum", [MD5, SHA256])
def test_a_checked_file_arrives_whole_and_alone(server, tmp_path, checksum):
    target = tmp_path / "new" / "file"
    download.fetch([server + "absent", server + "good"], target, expected=checksum)
    assert target.read_bytes() == CONTENT and [p.name for p in target.parent.iterdir()] == ["file"]


def test_a_wrong_file_is_never_put_in_place(server, tmp_path):
    target = tmp_path / "new" / "file"
    with pytest.raises(OSError, match=r"damaged.*expected 0000"):
        download.fetch([server + "good"], target, expected="0" * 64)
    assert list(target.parent.iterdir()) == []


def test_a_silent_server_is_left_after_the_timeout(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(OSError, match="timed out"):
            download.fetch([f"http://127.0.0.1:{silent.getsockname()[1]}/x"], tmp_path / "x", expected=MD5)
        assert time.monotonic() - start < 5


def test_a_silent_name_server_is_left_after_the_timeout(tmp_path, monkeypatch):
    monkeypatch.setattr(download.urllib.request, "getproxies", dict)
    monkeypatch.setattr(download.socket, "getaddrinfo", lambda *a: time.sleep(30))
    start = time.monotonic()
    with pytest.raises(OSError, match=r"no answer about nowhere\.invalid within 0\.5 s"):
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
        "data.download=true",
        "https://",
        "experiment=vit_digits",
    ):
        assert part in str(info.value)


def _tar(path, **members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("UP", "../"))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_archives_unpack_below_their_folder_only(tmp_path):
    _tar(tmp_path / "good.tgz", **{"a/b": b"1", "c": b"2"})
    download.extract(tmp_path / "good.tgz", tmp_path / "out")
    assert (tmp_path / "out" / "a" / "b").read_bytes() == b"1"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "c"]
    _tar(tmp_path / "bad.tgz", UPUPevil=b"1")
    with pytest.raises(tarfile.OutsideDestinationError):
        download.extract(tmp_path / "bad.tgz", tmp_path / "out2" / "deep")
    assert not list(tmp_path.rglob("evil"))
