"""Time the generated scenes on one core: `OMP_NUM_THREADS=1 python benchmarks/scenes.py`.

Prints scenes per second of CPU time with the picture and the annotations and, measured in turns with it, the
floor: how fast numpy draws as many random bytes. Median of `--repeats` rounds of `--scenes` scenes.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from fovea.data.datasets.scenes import Scenes

TARGET = 1500  # scenes of 64 × 64 per second, with everything


def seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def report(size: int, difficulty: float, annotation: str, count: int, repeats: int) -> None:
    scenes = Scenes(image_size=size, difficulty=difficulty, annotation=annotation)
    scenes.load(0)  # tables and tiles are made once
    made = scenes.load_many(np.arange(8))
    size_of = sum(v.nbytes for v in made.values() if isinstance(v, np.ndarray)) // 8
    rng = np.random.default_rng(0)
    ours, floor = [], []
    for i in range(repeats):
        indices = np.arange(i * count, (i + 1) * count)
        ours.append(seconds(lambda indices=indices: scenes.load_many(indices)) / count)
        floor.append(seconds(lambda: [rng.bytes(size_of) for _ in range(count)]) / count)
    a, b = statistics.median(ours), statistics.median(floor)
    target = f"  >= {TARGET}" if size == 64 and annotation == "all" else ""
    print(
        f"{size:5} {difficulty:10.1f} {annotation:9} {1 / a:9.0f} {1 / b:9.0f} {a / b:7.1f}{target}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scenes", type=int, default=1024, help="per round, of 64 × 64")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    print(f"{'size':>5} {'difficulty':>10} {'what':9} {'scenes/s':>9} {'floor/s':>9} {'ratio':>7}  target")
    for difficulty in (0.0, 0.5, 1.0):
        report(64, difficulty, "all", options.scenes, options.repeats)
    for annotation in ("label", "boxes", "masks", "captions"):
        report(64, 0.5, annotation, options.scenes, options.repeats)
    for size in (32, 128, 224):
        report(size, 0.5, "all", max(8, options.scenes * 64**2 // size**2), options.repeats)


if __name__ == "__main__":
    main()
