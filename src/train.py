"""Train one experiment, or sweep over several: `python src/train.py --help`."""

from fovea.config.cli import command

if __name__ == "__main__":
    command("train")
