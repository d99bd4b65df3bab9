"""A version of the code for TFX's cache: TFX hashes parameters, not the functions they name."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_SOURCES = (".py", ".pbtxt", ".j2")


@functools.cache
def code_version(*folders: str) -> str:
    """A hash of the source files below folders of the distribution, such as "transform"."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((_ROOT / folder).rglob("*")):
            if path.suffix in _SOURCES:
                digest.update(f"{path.relative_to(_ROOT)}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
