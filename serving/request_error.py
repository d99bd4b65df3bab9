"""Why a request is refused: a gRPC status code and one line."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

import grpc
import tensorflow as tf

# gRPC carries the message in a header, and servers and proxies cut or refuse headers of a few
# kilobytes.
_MAX_MESSAGE_CHARACTERS = 300

_log = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}

# "Graph execution error: ... defined at (most recent call last):\n<stack traces unavailable>\n
# CAUSE\n\t [[{{node NAME}}]] [Op:NAME]", with the trace and an empty line in a process that has it.
_BEFORE_CAUSE = re.compile(r"<stack traces unavailable>\n|\n\n")
_NODE_NOTE = re.compile(r"\{\{.*?\}\}")
# A check that the graph itself makes.
_ASSERTION = re.compile(r"assertion failed: \[(.*)\]", re.DOTALL)
_ECHOED_VALUE = re.compile(r", value: '.*", re.DOTALL)


class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
      code: the gRPC status.
      message: one line for the person who sent the request.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
        if len(line) > _MAX_MESSAGE_CHARACTERS:
            line = line[: _MAX_MESSAGE_CHARACTERS - 3] + "..."
        super().__init__(f"{code.name}: {line}")
        self.code = code
        self.message = line


def invalid(message: str) -> RequestError:
    """The error of a request that can never succeed as it was sent."""
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _cause(text: str) -> str:
    """The sentence that says what went wrong, out of TensorFlow's report of several lines."""
    # A parser repeats the bytes it could not parse, which may be megabytes of somebody's scan.
    without_value = _ECHOED_VALUE.sub("", text)
    cause = _BEFORE_CAUSE.split(without_value.split("\n\t [[", 1)[0])[-1]
    cause = _NODE_NOTE.sub("", cause).strip()
    failed = _ASSERTION.fullmatch(cause)
    return failed[1] if failed else cause


@contextlib.contextmanager
def graph_errors() -> Iterator[None]:
    """Turn the errors of a running TensorFlow graph into request errors of the same code.

    Raises:
      RequestError: for every error of TensorFlow's runtime inside the block.
    """
    try:
        yield
    except tf.errors.OpError as error:
        code = _CODES.get(error.error_code, grpc.StatusCode.INTERNAL)
        raise RequestError(code, _cause(error.message)) from error
    except UnicodeDecodeError as error:
        # TensorFlow fails to build the Python exception where its message repeats bytes of the
        # request that are not UTF-8; only a refused input does that.
        raise invalid(_cause(error.object.decode("utf-8", "replace"))) from error


@contextlib.contextmanager
def answered_through(context: grpc.ServicerContext) -> Iterator[None]:
    """Answer a call with the status of the request error that the block raises.

    Any other error is a fault of this server: it goes to the log, and the caller gets INTERNAL.
    """
    try:
        yield
    except RequestError as error:
        refusal = error
    except Exception:
        _log.exception("a call failed")
        refusal = RequestError(grpc.StatusCode.INTERNAL, "the server failed; see its log")
    else:
        return
    context.abort(refusal.code, refusal.message)
