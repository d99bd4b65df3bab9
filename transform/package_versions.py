"""The versions of what decides, beside data, code and seed, what a model becomes."""

from __future__ import annotations

import importlib.metadata
import platform

PYTHON = "python"
PACKAGES = ("tensorflow", "tf-keras", "tfx", "tensorflow-transform", "numpy")


def package_versions() -> dict[str, str]:
    """Versions installed here, by name: of Python and of the packages."""
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {PYTHON: platform.python_version(), **versions}
