"""Evaluate a trained run on one of its splits: `python src/eval.py run=DIR`."""

from fovea.config.cli import command

if __name__ == "__main__":
    command("eval")
