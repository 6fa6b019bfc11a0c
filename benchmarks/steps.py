"""Time the steps of trainings, and print ratios: what several scripts of this folder share."""

import statistics
import tempfile
import time
from itertools import pairwise

import lightning.pytorch as L


class Clock(L.Callback):
    """Keep the CPU time at the start of each step."""

    def __init__(self):
        self.times = []

    def on_train_batch_start(self, *args):
        self.times.append(time.process_time())


def fitted(task, loader):
    """Train for one epoch by a Trainer with nothing around it; return the median seconds of a step."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, callbacks=[clock],
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(task, loader)
    return median_step(clock.times)


def median_step(times):
    """Return the median seconds from the start of a step to that of the next."""
    return statistics.median(b - a for a, b in pairwise(times))


def show(name, ratios, target):
    """Print the median of ratios, and each of them."""
    each = " ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"{name:<44} ratio {statistics.median(ratios):.3f} (target {target}), rounds: {each}", flush=True)
