"""Time `src/train.py` against the hand-written loop, from start to exit, in turns.

`python benchmarks/whole_process.py` prints the median seconds of each and the ratio of the pairs. Both do the
same work: train, validate, keep the best weights, test; ours also writes the report. Close
other programs first; two CPU-heavy processes disturb each other far more than twofold.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CASES = {
    "mlp": ["experiment=mlp_digits", "data.val_fraction=0.1", "data.test_fraction=0.1"],
    "resnet18": ["model.name=resnet18"],
    "vit_tiny": ["model.name=vit_tiny_patch16_224"],
}
PHOTOS = [
    "experiment=folder", "model.pretrained=false", "augment=none", "finetune=none", "optimizer=adam",
    "scheduler=none", "data.image_size=64", "data.crop_pct=1.0", "data.batch_size=64", "trainer.max_epochs=1",
]  # fmt: skip
TARGETS = {("resnet18", "auto"): 0.80, ("vit_tiny", "auto"): 0.95, ("resnet18", "32-true"): 1.10,
           ("vit_tiny", "32-true"): 1.10, ("mlp", "32-true"): 1.20}  # fmt: skip


def make_photos(root: Path) -> None:
    """Write 2,000 + 200 + 200 JPEGs of 64 px: coloured noise with a class-dependent stripe."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 2000), ("val", 200), ("test", 200)):
        for i in range(count):
            image = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (64, 64))
            image[:, 6 * (i % 10) : 6 * (i % 10) + 4] = 255
            file = root / split / f"class_{i % 10}" / f"{i}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), image)


def seconds(command: list[str], cwd: Path) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    taken = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1, help="pairs that are not counted, first")
    parser.add_argument("--cases", default="mlp,resnet18,vit_tiny")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_photos(work / "photos")
        print(f"{'case':10} {'precision':10} {'ours s':>8} {'loop s':>8} {'ratio':>6}  (min - max)  target")
        for case in options.cases.split(","):
            for precision in ["32-true"] if case == "mlp" else ["32-true", "auto"]:
                report(case, precision, work, options.repeats, options.warmup)


def report(case: str, precision: str, work: Path, repeats: int, warmup: int) -> None:
    floor = [sys.executable, str(ROOT / "benchmarks" / "plain_loop.py"), case]
    ours = [sys.executable, str(ROOT / "src" / "train.py"), *CASES[case], f"trainer.precision={precision}"]
    if case != "mlp":
        floor.append(str(work / "photos"))
        ours[2:2] = [*PHOTOS, f"data.root={work / 'photos'}"]
    pairs = [(seconds(ours, work), seconds(floor, work)) for _ in range(warmup + repeats)][warmup:]
    ratios = [a / b for a, b in pairs]
    a, b = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    print(
        f"{case:10} {precision:10} {a:8.2f} {b:8.2f} {statistics.median(ratios):6.2f}  "
        f"({min(ratios):.2f} - {max(ratios):.2f})  <= {TARGETS[case, precision]:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
