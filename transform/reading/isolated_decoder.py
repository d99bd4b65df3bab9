"""Decoding compressed pixels in processes of their own, which a damaged file may kill.

The decoders are native libraries: damaged codestreams make them read beyond their buffers, go
round for ever or ask for gigabytes. A process is started when the first compressed slice comes,
serves one slice after the other, and ends with the process that started it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transform.reading.unusable import MachineFaultError

_SCRIPT = Path(__file__).with_name("isolated_decoder_process.py")

# The decoding process gives up by itself long before; this is for one that was stopped.
_ANSWER_SECONDS = 120.0
_PIECE = 1 << 20


class UndecodableError(Exception):
    """A codestream that cannot be decoded.

    Attributes:
      killed: whether it took the decoding process down, by a crash or by taking too long.
    """

    def __init__(self, killed: bool):
        super().__init__("it took down its decoder" if killed else "it cannot be decoded")
        self.killed = killed


class _LostProcessError(Exception):
    """The decoding process is gone, for no reason that has to do with the request."""


class _StuckProcessError(Exception):
    """The decoding process does not answer: it waits for something, and uses no time."""


class _DecoderProcess:
    """One process, used by one thread at a time."""

    def __init__(self, script: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # One frame is decoded by one thread, and idle threads of a maths library cost memory.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._pending = bytearray()

    def _receive(self, deadline: float) -> None:
        """Add what has come to what is pending."""
        ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise _StuckProcessError
        piece = os.read(self._answers.fileno(), _PIECE)
        if not piece:
            raise _LostProcessError
        self._pending += piece

    def _line(self, deadline: float) -> dict[str, Any]:
        while (end := self._pending.find(b"\n")) < 0:
            self._receive(deadline)
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        return json.loads(line)

    def _bytes(self, count: int, deadline: float) -> bytearray:
        while len(self._pending) < count:
            self._receive(deadline)
        # Nothing comes after an answer until the next request.
        found, self._pending = self._pending, bytearray()
        return found

    def decode(self, request: Mapping[str, Any], codestream: bytes) -> np.ndarray:
        """The decoded frame, one-dimensional.

        Raises:
          UndecodableError: the codestream's fault.
          _LostProcessError: not the codestream's fault.
        """
        deadline = time.monotonic() + _ANSWER_SECONDS
        # An answer that nobody asked for would be taken for that of this request.
        if self._pending or select.select([self._answers], [], [], 0)[0]:
            raise _LostProcessError
        try:
            line = json.dumps({**request, "bytes": len(codestream)}).encode()
            self._requests.write(line + b"\n")
            self._requests.write(codestream)
            self._requests.flush()
        except OSError:
            raise _LostProcessError from None
        answer = self._line(deadline)
        if "failed" in answer:
            raise UndecodableError(killed=bool(answer.get("killed")))
        return np.frombuffer(self._bytes(answer["bytes"], deadline), answer["dtype"])

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self.forget()
        self._process.wait()

    def forget(self) -> None:
        """Close the pipes, by which the process ends if nobody else holds them."""
        for pipe in (self._requests, self._answers):
            # What was left to send cannot be sent any more.
            with contextlib.suppress(OSError):
                pipe.close()


class DecoderPool:
    """Decoding processes that wait for work, at most one for each processor."""

    def __init__(self, script: Path = _SCRIPT) -> None:
        """Start nothing yet; `script` is what each process runs."""
        self._script = script
        self._idle: list[_DecoderProcess] = []
        self._free = threading.BoundedSemaphore(os.cpu_count() or 1)

    def decode(self, request: Mapping[str, Any], codestream: bytes) -> np.ndarray:
        """Decode one frame.

        Args:
          request: `syntax` (UID), `plugin` (of pydicom) and `options` (of pydicom's decoders:
            rows, columns, bits_allocated, bits_stored, pixel_representation,
            photometric_interpretation).
          codestream: of one frame.

        Returns:
          [rows * columns], of the type that pydicom decodes to.

        Raises:
          UndecodableError: the codestream cannot be decoded.
          MachineFaultError: no decoding process can be started.
        """
        with self._free:
            # The second try is for a waiting process that somebody ended.
            for _ in range(2):
                process = self._idle.pop() if self._idle else _DecoderProcess(self._script)
                try:
                    frame = process.decode(request, codestream)
                except _LostProcessError:
                    process.end()
                    continue
                except _StuckProcessError:
                    process.end()
                    raise UndecodableError(killed=True) from None
                except UndecodableError:
                    self._idle.append(process)
                    raise
                except BaseException:
                    # Interrupted between a request and its answer.
                    process.end()
                    raise
                self._idle.append(process)
                return frame
        raise MachineFaultError(
            f"the process that decodes compressed pixels ({self._script}) does not run"
        )

    def close(self) -> None:
        """End the processes that wait."""
        while self._idle:
            self._idle.pop().end()

    def forget(self) -> None:
        """Let go of the processes without ending them: they belong to the parent of a fork."""
        while self._idle:
            self._idle.pop().forget()


_pool = DecoderPool()


def _begin_anew_after_fork() -> None:
    global _pool
    _pool.forget()
    _pool = DecoderPool()


os.register_at_fork(after_in_child=_begin_anew_after_fork)
atexit.register(lambda: _pool.close())


def decode_isolated(request: Mapping[str, Any], codestream: bytes) -> np.ndarray:
    """`DecoderPool.decode` of the pool that all readers of this process share."""
    return _pool.decode(request, codestream)
