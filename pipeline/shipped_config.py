"""The configurations that ship with ctnet."""

from importlib import resources
from pathlib import Path


def shipped_config(name: str) -> Path:
    """The path of a configuration in `configs/`, such as "demo"."""
    with resources.as_file(resources.files("configs") / f"{name}.yaml") as path:
        return path
