"""The embedded server as a program that ends when the process that started it does.

A step that is killed cannot end its server, which would hold its memory and port for ever.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve, with the parent's process id before the server's own arguments."""
    parent = int(sys.argv.pop(1))
    if sys.platform == "linux":
        # The kernel means the thread that started it, which is the step's.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It was gone before this process could ask to be told.
        sys.exit(1)
    runpy.run_module("serving", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
