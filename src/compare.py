"""Compare trained runs: `python src/compare.py runs=DIR|'GLOB'`."""

from fovea.config.cli import command

if __name__ == "__main__":
    command("compare")
