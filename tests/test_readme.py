"""What the documentation tells users to type exists and composes."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from fovea.config.command_line import rewrite
from fovea.config.overrides import parse
from fovea.config.paths import CONF, ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
COMMAND = re.compile(r"python (src/\w+\.py[^`#\n]*)")
FOLLOWED = ROOT / "docs" / "extending.md"  # test_extending runs its commands
COMMANDS = sorted({m.strip() for page in PAGES if page != FOLLOWED for m in COMMAND.findall(TEXT[page])})
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command):
    script, *words = shlex.split(command)
    assert (ROOT / script).is_file()
    name = Path(script).stem
    if words[:1] in (["--help"], ["--cfg"], ["--hydra-help"]):
        return
    words = rewrite(words) if name == "train" else words
    line = parse(words)
    singles = [o.input_line for o in line.overrides if not o.is_sweep_override()]
    grids = [o for o in line.overrides if o.is_sweep_override() and not o.is_interval_sweep()]
    swept = [[f"{o.key_or_group}={v}" for v in o.sweep_string_iterator()] for o in grids]
    with initialize_config_dir(str(CONF)):
        compose(name, overrides=singles + [values[0] for values in swept])
        for values in swept:
            for value in values:
                compose(name, overrides=[*singles, value])


def test_every_experiment_is_in_the_table_of_results():
    results = TEXT[ROOT / "docs" / "results.md"]
    for name in EXPERIMENTS:
        head = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").split("defaults:")[0]
        (row,) = [line for line in results.splitlines() if line.startswith(f"| `{name}` |")]
        assert ("not measured yet" in row) == ("not measured yet" in head), name


def test_the_readme_names_measured_experiments_only_with_their_figures():
    for name in re.findall(r"^\| `(\w+)` \|", TEXT[ROOT / "README.md"], flags=re.MULTILINE):
        if name in EXPERIMENTS:
            head = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
            assert "not measured yet" not in head, name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_pictures_exist(page):
    targets = re.findall(r"\]\(([^)#]+?)\)", TEXT[page])
    missing = [t for t in targets if not t.startswith("http") and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", TEXT[page], flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_open_with_command_and_measurement(name):
    head = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").split("defaults:")[0]
    assert "# python src/train.py" in head
    assert "# Measured:" in head
