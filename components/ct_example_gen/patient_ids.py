"""Patient ids: in examples, logs and pages a patient is a keyed hash, not a name or a number."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from transform.errors import ConfigError

ENVIRONMENT = "env:"
KEY_BYTES = 32

_DIGITS = 20


def load_key(reference: str) -> bytes:
    """The key of the hashes.

    The key itself would end in the metadata store if it were passed to a step, so that steps are
    told where it is.

    Args:
      reference: `env:NAME` for an environment variable, else a file.

    Raises:
      ConfigError: the variable is empty, or the file is missing, unreadable or too short.
    """
    if reference.startswith(ENVIRONMENT):
        name = reference.removeprefix(ENVIRONMENT)
        key = os.environ.get(name, "").encode()
        if len(key) < KEY_BYTES // 2:
            raise ConfigError(f"{name} holds no key for the patient ids: at least 16 characters")
        return key
    path = Path(reference)
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"{path}: the key of the patient ids cannot be read: {error.strerror}"
        ) from None
    if len(key) < KEY_BYTES // 2:
        raise ConfigError(f"{path}: too short for the key of the patient ids (16 bytes or more)")
    return key


def make_key(path: Path) -> None:
    """Write a new key where there is none, whole or not at all.

    Of two processes that do so at the same time, both go on with one key.

    Raises:
      ConfigError: it cannot be written.
    """
    try:
        if not path.exists():
            _write_key(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: the key of the patient ids cannot be made: {error.strerror}"
        ) from None


def _write_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
    try:
        os.link(unfinished, path)
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()


def key_fingerprint(key: bytes) -> str:
    """Tells one key from another without giving it away; for caches."""
    return hashlib.sha256(b"ctnet patient key " + key).hexdigest()[:16]


def pseudonym(patient_id: str, key: bytes) -> str:
    """What a patient is called everywhere: HMAC-SHA256 of the id, 80 bits of it in hex."""
    return "p" + hmac.new(key, patient_id.encode(), hashlib.sha256).hexdigest()[:_DIGITS]
