"""Asking again: when, how often and after what wait gRPC repeats a request by itself.

gRPC's own retries (https://github.com/grpc/proposal/blob/master/A6-client-retries.md) are used:
they stay within the request's deadline, spread clients by jitter, heed what a server says of when
to come back, and never repeat a request whose answer has begun to arrive.
"""

from __future__ import annotations

import json

MAX_RETRIES = 4
"""gRPC makes no more than five attempts, whatever it is asked."""

RETRIES = MAX_RETRIES
"""How often a request is repeated unless a caller says otherwise; about five seconds of waiting."""

_FIRST_WAIT = "0.2s"
_LONGEST_WAIT = "5s"
_GROWTH = 2.5


def retry_options(retries: int, max_message_bytes: int) -> list[tuple[str, int | str]]:
    """Options of a gRPC channel that repeats requests answered with UNAVAILABLE, and no others.

    The waits grow exponentially from 0.2 s and differ from client to client.

    Args:
      retries: repetitions of a request, 0 for none.
      max_message_bytes: the largest request, in bytes.

    Raises:
      ValueError: fewer than 0 retries or more than MAX_RETRIES.
    """
    if not 0 <= retries <= MAX_RETRIES:
        raise ValueError(f"retries must be from 0 to {MAX_RETRIES}, got {retries}")
    if retries == 0:
        return []
    policy = {
        "maxAttempts": 1 + retries,
        "initialBackoff": _FIRST_WAIT,
        "maxBackoff": _LONGEST_WAIT,
        "backoffMultiplier": _GROWTH,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
    return [
        ("grpc.service_config", json.dumps(config)),
        # gRPC quietly gives up retries of requests that outgrow this, which is 256 KiB by default.
        ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
    ]
