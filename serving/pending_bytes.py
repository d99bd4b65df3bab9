"""How many bytes of requests are in the server at once, gRPC and REST together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import grpc

from serving.request_error import RequestError
from serving.server_options import MAX_PENDING_BYTES


class PendingBytes:
    """A budget of bytes that the requests share which wait or are computed; threads share it."""

    def __init__(self, limit: int = MAX_PENDING_BYTES):
        """Begin with nothing pending.

        Args:
          limit: the most bytes; a request that is alone may have more.
        """
        self._limit = limit
        self._pending = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def claim(self, size: int = 0) -> Iterator[Claim]:
        """Count the bytes of one request until the block ends.

        Args:
          size: what is known of it already, in bytes.

        Raises:
          RequestError: RESOURCE_EXHAUSTED where there is no room.
        """
        claim = Claim(self)
        try:
            claim.add(size)
            yield claim
        finally:
            with self._lock:
                self._pending -= claim.size

    def _take(self, claim: Claim, size: int) -> None:
        with self._lock:
            others = self._pending - claim.size
            if others and self._pending + size > self._limit:
                raise RequestError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{others} bytes of other requests are pending, of at most {self._limit}; try"
                    " again later",
                )
            self._pending += size
            claim.size += size


class Claim:
    """The share of one request.

    Attributes:
      size: in bytes.
    """

    def __init__(self, budget: PendingBytes):
        self.size = 0
        self._budget = budget

    def add(self, size: int) -> None:
        """Count more bytes of the same request.

        Raises:
          RequestError: RESOURCE_EXHAUSTED where there is no room for them.
        """
        self._budget._take(self, size)
