"""Prepare, check, preview or measure data: `python src/data.py data=NAME action=prepare|check|…`."""

from fovea.config.cli import command

if __name__ == "__main__":
    command("data")
