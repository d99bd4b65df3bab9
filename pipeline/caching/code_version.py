"""A version of the code for TFX's cache: TFX hashes parameters, not the functions they name."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# Another version of these may give other numbers from the same code, whatever the step.
EVERY_STEP = (
    "tensorflow",
    "tf-keras",
    "tfx",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "numpy",
    "pillow",
    "pydicom",
    "pyjpegls",
    "pylibjpeg-openjpeg",
    "python-gdcm",
    "nibabel",
    "scipy",
    "isal",
)
_SOURCES = (".py", ".pbtxt", ".j2")


def hash_sources(root: Path, places: Iterable[str]) -> str:
    """A hash of the names and contents of source files, in whatever order they are given.

    Args:
      root: what the places and the hashed names are relative to.
      places: files, or folders whose source files all count.

    Raises:
      FileNotFoundError: there is no such place, so that its changes would go unnoticed.
    """
    paths: set[Path] = set()
    for place in places:
        path = root / place
        if not path.exists():
            raise FileNotFoundError(f"{path}: not in the distribution")
        found = path.rglob("*") if path.is_dir() else [path]
        paths.update(one for one in found if one.suffix in _SOURCES)
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


@functools.cache
def code_version(*places: str, packages: tuple[str, ...] = ()) -> str:
    """A hash of files and folders of the distribution, and of the versions of packages.

    Args:
      *places: such as "trainer" or "setup.py".
      packages: distributions that count beside `EVERY_STEP`.
    """
    names = (*EVERY_STEP, *packages)
    versions = " ".join(f"{name}=={importlib.metadata.version(name)}" for name in names)
    sources = hash_sources(_ROOT, places)
    return hashlib.sha256(f"{sources} {versions}".encode()).hexdigest()[:16]
