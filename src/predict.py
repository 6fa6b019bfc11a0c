"""Predict any images with a trained run: `python src/predict.py run=DIR input=PATH`."""

from fovea.config.cli import command

if __name__ == "__main__":
    command("predict")
