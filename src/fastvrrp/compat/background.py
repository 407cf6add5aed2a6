"""Running something as a daemon: daemon(7), with a parent that waits until it is ready.

So whoever started it may use what it does as soon as the command is back, and learns from the exit
code that nothing runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_INTERNAL = 70


class Readiness:
    """The daemon's end: `tell` lets the parent go; `handler` shows it errors until then."""

    def __init__(self, pipe: int, stderr: int) -> None:
        self._pipe = pipe
        self.handler = logging.StreamHandler(os.fdopen(stderr, "w", errors="backslashreplace"))
        self.handler.setLevel(logging.ERROR)
        self.handler.setFormatter(logging.Formatter("%(message)s"))

    def tell(self, code: int = 0) -> None:
        """It works, or it has ended with a code. Only the first call counts."""
        if self._pipe < 0:
            return
        logging.getLogger().removeHandler(self.handler)
        stream = self.handler.stream
        self.handler.close()
        with contextlib.suppress(OSError):  # a terminal that is gone
            stream.close()
        with contextlib.suppress(OSError):  # a parent that is gone
            os.write(self._pipe, str(code).encode())
        os.close(self._pipe)
        self._pipe = -1


def run(main: Callable[[Readiness], int]) -> int:
    """Run `main` in the background. Returns here, in the caller: 0 as soon as it is ready, or the
    code it ended with before. Raises OSError when there cannot be another process."""
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    first = os.fork()
    if first == 0:
        os.close(reader)
        _become_daemon(main, writer)
    os.close(writer)
    os.waitpid(first, 0)
    with open(reader, "rb") as pipe:  # noqa: PTH123 (a descriptor)
        said = pipe.read()
    return int(said) if said else EXIT_INTERNAL


def _become_daemon(main: Callable[[Readiness], int], pipe: int) -> NoReturn:
    """In the first child. Nothing ever returns into what it was."""
    code = EXIT_INTERNAL
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)  # so that the daemon is no session leader and gets no terminal
        os.chdir("/")
        errors = os.dup(2)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.close(null)
        readiness = Readiness(pipe, errors)
        code = main(readiness)
        readiness.tell(code)
    except SystemExit as exc:  # a signal that came very early
        code = exc.code if isinstance(exc.code, int) else EXIT_INTERNAL
    except BaseException:  # there is nobody to pass it on to: what called us is another process
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)
