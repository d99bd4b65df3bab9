"""Beam's Flink job server, with a Flink inside: fetched once, checked, and kept in a cache.

The server is put together from the parts that `flink_job_server.lock` names, because that way each
has a checksum of ours. A small jar names them all and the class to start, so that
`java -jar flink-job-server.jar` and Beam's `--flink_job_server_jar` take the whole for one file.

`python -m pipeline.runners.flink_job_server` fetches what is missing and prints the jar's path.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

from transform.errors import ConfigError, CtnetError

FLINK_VERSION = "1.19"
"""What Beam's `--flink_version` must say beside `--flink_job_server_jar`."""

LOCK = Path(__file__).with_name("flink_job_server.lock")
MAVEN_CENTRAL = "https://repo1.maven.org/maven2"
REPOSITORY_ENVIRONMENT = "MAVEN_REPOSITORY"
"""Names the variable with the address of another Maven repository, a mirror for one."""

JAR = "flink-job-server.jar"

_MAIN = "org.apache.beam.runners.flink.FlinkJobServerDriver"
# Flink's serializers look into these, which Java closes since version 17.
_OPENED = " ".join(
    f"java.base/{package}"
    for package in (
        "java.io",
        "java.lang",
        "java.net",
        "java.nio",
        "java.time",
        "java.util",
        "java.util.concurrent",
        "sun.nio.ch",
    )
)
_MANIFEST_LINE = 72
_CHUNK = 2**20
_AT_ONCE = 8
_SECONDS_WITHOUT_A_BYTE = 60
# Else the jar would be another each time.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Part:
    """One jar of the server.

    Attributes:
      sha256: in hexadecimal.
      path: in a Maven repository.
    """

    sha256: str
    path: str

    @property
    def name(self) -> str:
        """Of the file."""
        return self.path.rpartition("/")[2]


def read_lock(lock: Path = LOCK) -> list[Part]:
    """The parts that a lock names."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    fields = [line.split() for line in lines if line and not line.startswith("#")]
    return [Part(sha256, path) for sha256, path in fields]


def cached_jar(lock: Path = LOCK) -> Path:
    """Where the jar is once it has been fetched; another lock has another folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    return cache / "ctnet" / f"flink-job-server-{version}" / JAR


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file that appears under its name when the block ends without an error, or not at all."""
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _is_there(part: Part, folder: Path) -> bool:
    try:
        with (folder / part.name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == part.sha256
    except FileNotFoundError:
        return False


def _fetch_part(part: Part, folder: Path, repository: str) -> None:
    if _is_there(part, folder):
        return
    address = f"{repository}/{part.path}"
    digest = hashlib.sha256()
    try:
        with (
            _whole(folder / part.name) as unfinished,
            urllib.request.urlopen(address, timeout=_SECONDS_WITHOUT_A_BYTE) as answer,
            unfinished.open("wb") as file,
        ):
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
            if digest.hexdigest() != part.sha256:
                raise CtnetError(
                    f"{address}: its SHA-256 is {digest.hexdigest()}, but {LOCK.name} says "
                    f"{part.sha256}; nothing of it was kept, try another {REPOSITORY_ENVIRONMENT}"
                )
    except urllib.error.HTTPError as error:
        raise CtnetError(
            f"{address}: the repository answers {error.code} ({error.reason}); name one that has "
            f"it in {REPOSITORY_ENVIRONMENT}"
        ) from None
    # A URLError is an OSError, as a full disk is; a connection that ends early is neither.
    except (OSError, http.client.HTTPException) as error:
        raise CtnetError(
            f"{address}: cannot be fetched ({error}); look at the network and at the disk, or name "
            f"another Maven repository in {REPOSITORY_ENVIRONMENT}"
        ) from None


def _manifest_line(name: str, value: str) -> bytes:
    """A line of a jar's manifest, which goes on behind a space after 72 bytes (JAR specification).

    Args:
      name: in ASCII, as the value.
    """
    rest = f"{name}: {value}".encode("ascii")
    lines = [rest[:_MANIFEST_LINE]]
    rest = rest[_MANIFEST_LINE:]
    while rest:
        lines.append(b" " + rest[: _MANIFEST_LINE - 1])
        rest = rest[_MANIFEST_LINE - 1 :]
    return b"\r\n".join(lines) + b"\r\n"


def _write_jar(path: Path, parts: list[Part]) -> None:
    manifest = b"".join(
        _manifest_line(name, value)
        for name, value in (
            ("Manifest-Version", "1.0"),
            ("Main-Class", _MAIN),
            ("Add-Opens", _OPENED),
            ("Class-Path", " ".join(part.name for part in parts)),
        )
    )
    with _whole(path) as unfinished, zipfile.ZipFile(unfinished, "w") as jar:
        jar.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF", _DATE), manifest + b"\r\n")


def fetch(repository: str | None = None, lock: Path = LOCK) -> Path:
    """Fetch what the cache lacks; what is there is checked again.

    Args:
      repository: address of a Maven repository; None: what MAVEN_REPOSITORY says, or Maven Central.
      lock: names the parts.

    Returns:
      The jar.

    Raises:
      ConfigError: the cache cannot be written.
      CtnetError: a part cannot be fetched, or is not what the lock says.
    """
    repository = repository or os.environ.get(REPOSITORY_ENVIRONMENT) or MAVEN_CENTRAL
    jar = cached_jar(lock)
    parts = read_lock(lock)
    try:
        jar.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{jar.parent}: cannot be made ({error.strerror}); name another cache in XDG_CACHE_HOME"
        ) from None
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        fetching = [
            pool.submit(_fetch_part, part, jar.parent, repository.rstrip("/")) for part in parts
        ]
        try:
            for one in concurrent.futures.as_completed(fetching):
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    # Written last: where it is, all the others are.
    _write_jar(jar, parts)
    return jar


def main() -> int:
    """Fetch the server and print the path of its jar."""
    try:
        sys.stdout.write(f"{fetch()}\n")
    except CtnetError as error:
        sys.stderr.write(f"ctnet: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
