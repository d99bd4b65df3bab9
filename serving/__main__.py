"""Run the embedded server as a process: `python -m serving MODEL_DIR --port PORT`.

When it answers, it prints one line, `serving NAME version N at HOST:PORT`, and with the REST API a
second, `REST at URL`; SIGTERM or SIGINT lets the calls in flight finish and ends it with exit code
0. What happens to versions afterwards goes to stderr.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from serving.serve_command import serve
from transform.errors import ConfigError, CtnetError

_FAILED = 1
_BAD_USAGE = 2


def main(arguments: list[str] | None = None) -> NoReturn:
    """Serve until a signal ends it.

    Args:
      arguments: the command line without the program; None for that of the process.

    Raises:
      SystemExit: 0 after a signal; 2 for an option, a model folder or an address that cannot be
        used; else 1.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(serve)
    try:
        app(arguments, prog_name="python -m serving")
    except CtnetError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(_BAD_USAGE if isinstance(error, ConfigError) else _FAILED)
    sys.exit(0)


if __name__ == "__main__":
    main()
