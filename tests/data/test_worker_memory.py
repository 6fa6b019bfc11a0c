"""Worker processes do not grow: reading a sample must not copy shared memory page by page."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import psutil
import pytest

from fovea.data.packed import Strings
from helpers.toy_data import Toy, toy_module

COUNT = 50_000


class Many(Toy):
    """Many tiny images with long names."""

    splits = ("train", "val", "test")

    def __init__(self, *, split):
        super().__init__(split=split, count=60)
        self.images, size = None, COUNT if split == "train" else 60
        self.labels = np.arange(size) % 3
        self.ids = Strings([f"{split}/some/folder/with/a/long/name/{i:08d}.jpg" for i in range(size)])
        self.pixels = np.zeros((12, 12, 3), np.uint8)

    def __len__(self):
        return len(self.labels)

    def load(self, index):
        assert self.ids[index].endswith(f"{index:08d}.jpg")
        return {"image": self.pixels, "label": int(self.labels[index])}


class Leaky(Many):
    """Keep a reference to every image that was ever read."""

    kept: ClassVar[list] = []

    def load(self, index):
        self.kept.append(self.pixels.copy())
        return super().load(index)


def private_memory(dataset, epochs):
    """Go through the data and return the private memory of the workers after each epoch, in MB."""
    gc.disable()  # a collection in this process would copy pages too
    data = toy_module(dataset, cache=False, num_workers=2, batch_size=500)
    data.setup()
    loader, found = data.train_dataloader(), []
    for epoch in range(epochs):
        loader.batch_sampler.set_epoch(epoch)
        assert sum(len(batch["index"]) for batch in loader) == COUNT
        workers = psutil.Process().children()
        found.append(sum(written(worker) for worker in workers) / 2**20)
    return found


def written(process):
    """Return the bytes that a process has written and shares with none; pages of files come and go."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup")
    if not rollup.is_file():
        return process.memory_full_info().uss
    lines = dict(line.split(":") for line in rollup.read_text().splitlines()[1:])
    return sum(int(lines[name].split()[0]) for name in ("Private_Dirty", "Swap")) * 1024


def growth(pack, epochs):
    """Measure in a process of its own, whose memory is not full of other tests' remains."""
    path = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    command = [sys.executable, __file__, pack, str(epochs)]
    found = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.alone
def test_workers_do_not_grow_over_epochs():
    private = growth("Many", 8)
    assert len(private) == 8 and private[0] > 1
    # MB of both workers, which read 50,000 samples an epoch. A few pages of the interpreter are copied on
    # first use, then it stands still; copying a list of the names would take twice 5.5 MB.
    assert private[-1] - private[1] < 5.5, private
    leaking = growth("Leaky", 3)
    assert leaking[-1] - leaking[1] > 10, leaking  # the measure sees 0.4 KB a sample


if __name__ == "__main__":
    print(json.dumps(private_memory(globals()[sys.argv[1]], int(sys.argv[2]))))
