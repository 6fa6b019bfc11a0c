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
