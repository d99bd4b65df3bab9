"""What an error of TensorFlow says in one line, and whether it is about a file, memory or a peer.

TensorFlow's file systems, its allocators and its collective operations raise the same classes, so
that only the words tell them apart.
"""

from __future__ import annotations

import re

# What TensorFlow adds to the words of whoever failed.
_OPERATION = re.compile(r"\{\{function_node .*?\}\}|\[Op:\w+\]( name: )?")
# Lines of the trace of a graph's operation.
_TRACE = ("Graph execution error", "Detected at node", 'File "', "Hint: ", "[[{{", "[[node")
_LINE = 600

# Not behind a slash, where it would be the name of a folder.
_MEMORY = re.compile(r"\bOOM\b|(?<![/\w.-])memory\b(?!/)", re.IGNORECASE)
_PEER = re.compile(
    r"collective op|incarnation|remote target|coordination service|heartbeat|(from|to) the peer",
    re.IGNORECASE,
)


def said_by(error: BaseException) -> str:
    """The words of an error in one line, without the trace of the graph that it came through."""
    text = _OPERATION.sub("", getattr(error, "message", None) or str(error))
    lines = (" ".join(line.split()) for line in text.splitlines())
    said = " ".join(line for line in lines if line and not line.startswith(_TRACE))
    return said if len(said) <= _LINE else f"{said[:_LINE]} ..."


def is_about_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left."""
    return _MEMORY.search(said_by(error)) is not None


def is_about_peer(error: BaseException) -> bool:
    """Whether an operation that several workers share failed."""
    return _PEER.search(said_by(error)) is not None
