"""Read the `.wandb` file of an offline run: a LevelDB-style log of `wandb.proto` records."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class Run:
    """What one `.wandb` file holds."""

    folder: Path
    id: str = ""
    project: str = ""
    name: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    notes: str = ""
    exit_code: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    artifacts: dict[str, dict[str, str]] = field(default_factory=dict)  # name → path inside → path on disk

    def values(self, key: str) -> list[Any]:
        """Return every logged value of one key, oldest first."""
        return [row[key] for row in self.history if key in row]

    def table(self, key: str) -> dict[str, Any]:
        """Return the table last logged under `key`, as the artifact that goes with it holds it."""
        assert self.values(key)[-1]["_type"] == "table-file"
        return json.loads(self.staged(f"{key}.table.json").read_text(encoding="utf-8"))

    def staged(self, path: str) -> Path:
        """Return where a file of an artifact waits for its upload."""
        return Path(next(files[path] for files in self.artifacts.values() if path in files))


def runs(directory: Path) -> list[Run]:
    """Read every run below a `wandb` directory, oldest first."""
    return [read(file) for file in sorted(directory.glob("*run-*/run-*.wandb"))]


def read(file: Path) -> Run:
    """Read one `.wandb` file."""
    from wandb.proto import wandb_internal_pb2 as pb

    run = Run(folder=file.parent)
    for data in payloads(file.read_bytes()):
        record = pb.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.project, run.name = record.run.run_id, record.run.project, record.run.display_name
            run.group, run.notes, run.tags = record.run.run_group, record.run.notes, list(record.run.tags)
            _update(run.config, record.run.config.update)
        elif kind == "config":
            _update(run.config, record.config.update)
        elif kind == "history":
            run.history.append(_update({}, record.history.item))
        elif kind == "summary":
            _update(run.summary, record.summary.update)
        elif kind == "files":
            run.files += [f.path for f in record.files.files]
        elif kind == "artifact":
            contents = record.artifact.manifest.contents
            run.artifacts[record.artifact.name] = {entry.path: entry.local_path for entry in contents}
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def payloads(data: bytes) -> Iterator[bytes]:
    """Yield the records of a log; every checksum must hold, and a record cut off at the end is not one."""
    ident, _magic, _version = struct.unpack("<4sHB", data[:7])
    assert ident == b":W&B", f"not a wandb file: it starts with {data[:7]!r}"
    at, whole = 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # a header never straddles two blocks; the rest of this one is padding
            at += BLOCK - at % BLOCK
            continue
        crc, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part = data[at + 7 : at + 7 + length]
        at += 7 + length
        if len(part) < length or kind == 0:
            return
        assert zlib.crc32(part, zlib.crc32(bytes([kind]))) == crc, f"damaged record before byte {at}"
        whole = part if kind in (FULL, FIRST) else whole + part
        if kind in (FULL, LAST):
            yield whole


def _update(target: dict[str, Any], items: Any) -> dict[str, Any]:
    """Apply `key` or `nested_key` → JSON value items."""
    for item in items:
        path, place = list(item.nested_key) or [item.key], target
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = json.loads(item.value_json)
    return target
