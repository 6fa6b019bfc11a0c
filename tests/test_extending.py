"""docs/extending.md, followed word for word in a copy of the repository."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from fovea.config.paths import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:^`([\w./]+)`:\n)?^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def blocks():
    """Yield (path, text) of every file and (None, text) of every list of commands, in order."""
    for path, language, text in BLOCK.findall(PAGE):
        assert bool(path) == bool(language), f"a block without its path: {text[:60]}"
        yield path or None, text


def test_the_names_are_new():
    taken = [path for path, _ in blocks() if path and (ROOT / path).exists()]
    assert taken == []


@pytest.mark.slow
def test_every_file_and_command_works_as_it_stands(tmp_path):
    for folder in ("src", "conf", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = 0
    for path, text in blocks():
        if path is not None:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
            continue
        for line in text.splitlines():
            python, *words = shlex.split(line)
            assert python == "python"
            done = subprocess.run(
                [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            ran += 1
    assert ran == len(re.findall(r"^python ", PAGE, flags=re.MULTILINE))
