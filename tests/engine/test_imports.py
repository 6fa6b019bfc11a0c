import subprocess
import sys

import pytest

from helpers import runs

HEAVY = (
    "{'torch', 'lightning', 'torchmetrics', 'timm', 'numpy', 'scipy', 'cv2', 'albumentations', 'matplotlib'}"
)


def python(code, *args):
    """Run code in a process of its own with the suite at hand; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        cwd=runs.ROOT / "src",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_metrics_come_without_the_parts_of_scipy_that_no_run_needs():
    out = python(
        "import sys\n"
        "from fovea.engine import imports\n"
        "imports.import_torchmetrics_fast()\n"
        "assert 'torchmetrics' in sys.modules\n"
        "print([m for m in ('scipy.signal', 'scipy.stats', 'scipy.optimize') if m in sys.modules])\n"
        "import scipy\n"
        "assert 'signal' not in vars(scipy)\n"
        "import scipy.signal\n"
        "print(scipy.signal.convolve([1, 2], [1, 3]).tolist(), scipy.signal.__file__ is not None)\n"
        "from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score\n"
        "import torch\n"
        "print(float(MulticlassAccuracy(2)(torch.tensor([0, 1]), torch.tensor([0, 1]))))\n"
    )
    assert out.splitlines() == ["[]", "[1, 5, 6] True", "1.0"]


def test_what_is_there_already_stays():
    out = python(
        "import scipy.signal as real, sys\n"
        "from fovea.engine import imports\n"
        "imports.import_torchmetrics_fast()\n"
        "imports.import_torchmetrics_fast()\n"
        "print(sys.modules['scipy.signal'] is real, 'torchmetrics' in sys.modules)"
    )
    assert out == "True False\n"


COMMAND = (
    "import sys\n"
    "from fovea.config.cli import command\n"
    "sys.argv[0] = 'train.py'\n"
    "try:\n"
    "    command('train')\n"
    "except SystemExit as stop:\n"
    f"    print('\\n##', stop.code, sorted({HEAVY} & set(sys.modules)))"
)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--cfg", "job"], 0),
        (["optimizer.lrr=1"], 2),
        (["model=vitt"], 2),
        (["optimizer.lr=-1"], 2),
        (["data.batch_size=many"], 2),
        (["trainer.precision=17"], 2),
        (["resume=true"], 2),
        (["-m", "run_dir=x"], 2),
    ],
)
def test_no_heavy_library_before_there_is_something_to_compute(arguments, code):
    assert python(COMMAND, *arguments).rstrip().splitlines()[-1] == f"## {code} []"
