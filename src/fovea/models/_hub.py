"""Fetch published weights within a time limit, or say what to do instead."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

DEFAULT_TIMEOUT = 10.0


def timeout() -> float:
    """Return how many seconds a silent server is waited for: FOVEA_TIMEOUT."""
    text = os.environ.get("FOVEA_TIMEOUT") or str(DEFAULT_TIMEOUT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ValueError(f"FOVEA_TIMEOUT={text!r} is not a positive number of seconds: try FOVEA_TIMEOUT=10")
    return seconds


@contextmanager
def fetching(name: str, config: Any) -> Iterator[None]:
    """Bound every wait for the weights that timm's `config` describes; cached files need no network.

    The hub's client retries five times a file, 46 s in all where names do not resolve, so one request
    decides beforehand whether it may go online at all.
    """
    from huggingface_hub import constants

    seconds = timeout()
    online = not (constants.HF_HUB_OFFLINE or _cached(config)) and _answers(_url(config), seconds)
    limits = {
        "HF_HUB_OFFLINE": not online,
        "HF_HUB_ETAG_TIMEOUT": seconds,
        "HF_HUB_DOWNLOAD_TIMEOUT": seconds,
    }
    before = {key: getattr(constants, key) for key in limits}, socket.getdefaulttimeout()
    try:
        for key, value in limits.items():
            setattr(constants, key, value)
        if not online and not config.hf_hub_id and not _cached(config):
            raise FileNotFoundError(f"no answer from {_url(config)}")
        socket.setdefaulttimeout(seconds)  # torch.hub, which serves the rest, has no limit of its own
        yield
    except Exception as error:
        if not _is_network(error):
            raise
        raise FileNotFoundError(_remedies(name, config, seconds)) from error
    finally:
        for key, value in before[0].items():
            setattr(constants, key, value)
        socket.setdefaulttimeout(before[1])


def fetch(name: str, url: str) -> Path:
    """Return the file of `url` in torch's cache, downloaded and checked if it is not there yet."""
    from torch.hub import download_url_to_file, get_dir

    path = Path(get_dir()) / "checkpoints" / os.path.basename(url)
    if not path.is_file():
        with fetching(name, SimpleNamespace(hf_hub_id=None, hf_hub_filename=None, url=url)):
            path.parent.mkdir(parents=True, exist_ok=True)
            digest = path.stem.rpartition("-")[2]  # torchvision puts the start of it into the name
            download_url_to_file(url, str(path), hash_prefix=digest, progress=False)
    return path


def _is_network(error: Exception) -> bool:
    """Distinguish errors of the network and the cache from those of wrong arguments."""
    return isinstance(error, OSError) or type(error).__module__.startswith(
        ("httpx", "huggingface_hub", "http.")
    )


def _files(config: Any) -> list[str]:
    return [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]


def _url(config: Any) -> str:
    from huggingface_hub import hf_hub_url

    if not config.hf_hub_id:
        return str(config.url)
    repo, _, revision = config.hf_hub_id.partition("@")
    return hf_hub_url(repo, _files(config)[0], revision=revision or None)


def _cached(config: Any) -> bool:
    from huggingface_hub import try_to_load_from_cache

    if config.hf_hub_id:
        repo, _, revision = config.hf_hub_id.partition("@")
        found = (try_to_load_from_cache(repo, file, revision=revision or None) for file in _files(config))
        return any(isinstance(path, str) for path in found)
    from torch.hub import get_dir

    return os.path.exists(os.path.join(get_dir(), "checkpoints", os.path.basename(config.url or "none")))


def _answers(url: str, seconds: float) -> bool:
    """Ask once, through the client that will download, so that proxies count; any reply will do."""
    from huggingface_hub.utils import get_session

    replied = threading.Event()

    def ask() -> None:
        try:
            get_session().head(url, timeout=seconds)
            replied.set()
        except Exception:  # each client has its own errors, and none of them is an answer
            return

    thread = threading.Thread(target=ask, daemon=True)  # looking up a name has no time limit of its own
    thread.start()
    thread.join(seconds)
    return replied.is_set()


def _remedies(name: str, config: Any, seconds: float) -> str:
    weights, url = config.hf_hub_id or config.url, _url(config)
    return (
        f"the weights {weights} of model.name={name} are not on this machine and {url} cannot be "
        f"fetched (waited up to {seconds:g} s, FOVEA_TIMEOUT). Connect once (they are then cached); or train "
        "from random values with model.pretrained=false; or give a file of weights with model.checkpoint=PATH"
    )
