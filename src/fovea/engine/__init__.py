"""Compose, build and run; the only part of the suite that imports hydra."""
