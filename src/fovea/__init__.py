"""An experiment suite for computer vision on PyTorch Lightning and Hydra."""

__version__ = "0.1.0"
