"""Export a trained run for use without this suite: `python src/export.py run=DIR format=onnx`."""

from fovea.config.cli import command

if __name__ == "__main__":
    command("export")
