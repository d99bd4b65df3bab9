"""How many bytes of requests are in the server at once, gRPC and REST together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import grpc

from serving.request_error import RequestError
from serving.server_options import MAX_PENDING_BYTES


class PendingBytes:
    """A budget of bytes that the requests share which wait or are computed; threads share it.

    Requests that are still arriving have half of it: who sends slowly leaves the other half to the
    rest.
    """

    def __init__(self, limit: int = MAX_PENDING_BYTES):
        """Begin with nothing pending.

        Args:
          limit: the most bytes; a request that is alone may have more.
        """
        self._limit = limit
        self._arriving_limit = limit // 2
        self._whole = 0
        self._arriving = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def claim(self, size: int) -> Iterator[None]:
        """Count a request that is there until the block ends.

        Args:
          size: in bytes; nothing always has room.

        Raises:
          RequestError: RESOURCE_EXHAUSTED where there is no room.
        """
        with self._lock:
            self._check(size, self._arriving)
            self._whole += size
        try:
            yield
        finally:
            with self._lock:
                self._whole -= size

    @contextlib.contextmanager
    def arriving(self) -> Iterator[ArrivingClaim]:
        """Count a request that comes in bit by bit until the block ends."""
        claim = ArrivingClaim(self)
        try:
            yield claim
        finally:
            with self._lock:
                if claim.whole:
                    self._whole -= claim.size
                else:
                    self._arriving -= claim.size

    def _check(self, size: int, arriving: int) -> None:
        """Whether a request has room beside the others, of which so many bytes are arriving."""
        # One that arrives alone may have more than the half, which is not the others' loss.
        others = self._whole + min(arriving, self._arriving_limit)
        if size and others and others + size > self._limit:
            raise _exhausted(others, "pending", self._limit)

    def _add(self, claim: ArrivingClaim, size: int) -> None:
        with self._lock:
            others = self._arriving - claim.size
            if others and self._arriving + size > self._arriving_limit:
                raise _exhausted(others, "still arriving", self._arriving_limit)
            self._check(claim.size + size, others)
            self._arriving += size
            claim.size += size

    def _arrived(self, claim: ArrivingClaim) -> None:
        with self._lock:
            self._check(claim.size, self._arriving - claim.size)
            self._arriving -= claim.size
            self._whole += claim.size
            claim.whole = True


class ArrivingClaim:
    """The share of one request that comes in bit by bit.

    Attributes:
      size: in bytes.
      whole: whether all of it is there.
    """

    def __init__(self, budget: PendingBytes):
        self.size = 0
        self.whole = False
        self._budget = budget

    def add(self, size: int) -> None:
        """Count more bytes that have arrived.

        Raises:
          RequestError: RESOURCE_EXHAUSTED where there is no room for them.
        """
        self._budget._add(self, size)

    def arrived(self) -> None:
        """Count the request from now on as one that waits or is computed.

        Raises:
          RequestError: RESOURCE_EXHAUSTED where there is no room for it any more.
        """
        self._budget._arrived(self)


def _exhausted(others: int, state: str, limit: int) -> RequestError:
    return RequestError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"{others} bytes of other requests are {state}, of at most {limit}; try again later",
    )
