"""Show what models look at: `python src/explain.py run=DIR input=PATH method=grad_cam,rollout`."""

from fovea.config.cli import command

if __name__ == "__main__":
    command("explain")
