"""Get, check, show or measure data: `python src/data.py data=NAME action=prepare|check|preview|stats`."""

from fovea.config.cli import command

if __name__ == "__main__":
    command("data")
