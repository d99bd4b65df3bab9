"""The process that decodes compressed pixels; run as a script by `isolated_decoder`.

It imports nothing of this project, so that it starts in a fraction of a second and stays small. A
first process holds the decoders and forks a second one that decodes; when a damaged codestream
kills the second, the first says so and forks another at once.

A request is a line of JSON (`syntax`, `plugin`, `bytes`, and pydicom's options) and the codestream
of one frame. An answer is a line of JSON: `dtype` and `bytes` with the decoded frame after it, or
`failed` where it cannot be decoded.
"""

import ctypes
import json
import os
import resource
import signal
import struct
from typing import Any, BinaryIO

# Beyond what the process has when it starts.
MEMORY_BYTES = 1 << 30
CPU_SECONDS = 10.0

_PR_SET_PDEATHSIG = 1


def _encapsulated(codestream: bytes) -> bytes:
    """PixelData of one frame: an empty offset table and one fragment (DICOM PS3.5 A.4)."""
    padding = b"\0" * (len(codestream) % 2)
    length = len(codestream) + len(padding)
    return (
        b"\xfe\xff\x00\xe0\0\0\0\0"
        + struct.pack("<HHL", 0xFFFE, 0xE000, length)
        + (codestream + padding)
    )


def _decode(request: dict[str, Any], codestream: bytes) -> tuple[str, bytes]:
    from pydicom.pixels import get_decoder

    decoder = get_decoder(request["syntax"])
    options = {
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "pixel_keyword": "PixelData",
        **request["options"],
    }
    frame, _ = decoder.as_array(
        _encapsulated(codestream),
        index=0,
        raw=True,
        decoding_plugin=request["plugin"],
        **options,
    )
    return frame.dtype.str, frame.tobytes()


def _limit(parent: int) -> None:
    """Bound what this process may take, and let it die with the one that forked it."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    limit = now + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    while line := requests.readline():
        request = json.loads(line)
        codestream = requests.read(request["bytes"])
        # Processor time, not the clock's: a busy machine must not make a slice unreadable.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        answer: dict[str, Any]
        try:
            dtype, frame = _decode(request, codestream)
            answer = {"dtype": dtype, "bytes": len(frame)}
        except Exception:
            answer, frame = {"failed": True}, b""
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(json.dumps(answer).encode() + b"\n" + frame)
        answers.flush()


def main() -> None:
    """Decode what comes on standard input until it is closed."""
    # Decoders write to standard output and standard error as they like.
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    # Interrupting the program from the terminal is the parent's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    import logging
    import warnings

    # Loaded before the fork, with every plug-in, so that a new decoding process costs next to
    # nothing.
    import pydicom.pixels.decoders  # noqa: F401

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)

    parent = os.getpid()
    while True:
        child = os.fork()
        if child == 0:
            _limit(parent)
            # Unbuffered beyond one request, since the next one may be for another process.
            _serve(os.fdopen(0, "rb"), answers)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return
        answers.write(json.dumps({"failed": True, "killed": True}).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
