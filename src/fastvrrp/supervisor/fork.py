"""Starting one of our own modules as a process by fork(2) alone, while the daemon begins.

A fresh interpreter would import again what this one has imported already: half of a start, and
memory of its own. Only for the first steps: there is no thread and no event loop yet, nothing
that a fork would leave half alive. What is started later (`launch.execute`) is a new interpreter.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from fastvrrp.supervisor.launch import PYTHON, Process, execute


class Forked:
    """The part of a subprocess.Popen that is used here (`launch.Process`)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def kill(self) -> None:
        """SIGKILL. Until it is collected the number stays its own."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Collect it; its return code as subprocess gives it."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def launch(
    argv: Sequence[str], *, pass_fds: Sequence[int], cwd: str | None = None, mute: bool = False
) -> Process:
    """As `launch.execute`; a module of ours that Python is to run is run by a fork of this process.

    Raises OSError.
    """
    if tuple(argv[: len(PYTHON)]) != PYTHON:
        return execute(argv, pass_fds=pass_fds, cwd=cwd, mute=mute)
    module, *arguments = argv[len(PYTHON) :]
    sys.stdout.flush()
    # A signal that comes in between must not find our handlers in the new process.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    gc.freeze()  # a collection would write to all that both processes could have in common
    try:
        pid = os.fork()
        if pid == 0:
            _begin(module, arguments, pass_fds, cwd, mute)
        with contextlib.suppress(OSError):  # both do it: whoever comes first
            os.setpgid(pid, pid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Forked(pid)


def _begin(
    module: str, arguments: Sequence[str], fds: Sequence[int], cwd: str | None, mute: bool
) -> NoReturn:
    """The new process: as if it had been executed. Nothing ever returns into what it was."""
    code = 1
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        _forget_handlers()
        _leave_log()
        _keep_only(fds, mute=mute)
        if cwd is not None:
            os.chdir(cwd)
        if not sys.flags.safe_path:
            del sys.path[0]  # as -P: the working directory, or where our script is
        sys.argv = [module, *arguments]
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        code = _run(module)
    except BaseException:  # there is nobody to pass it on to: what called us is another process
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _forget_handlers() -> None:
    """What execve(2) does: handlers go, ignored signals stay ignored."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as an interpreter begins


def _leave_log() -> None:
    """Close what the log goes to: whoever did it later would close a descriptor of that number."""
    if "logging" not in sys.modules:
        return
    import logging

    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()


def _keep_only(fds: Sequence[int], *, mute: bool) -> None:
    """Close everything but the standard streams and `fds`. Raises OSError."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    if mute:
        os.dup2(null, 1)
    highest = max(int(number) for number in os.listdir("/proc/self/fd"))  # noqa: PTH208 (numbers)
    begin = 3
    for fd in sorted(fds):
        os.closerange(begin, fd)
        begin = fd + 1
    os.closerange(begin, highest + 1)


def _run(module: str) -> int:
    """What `python -m MODULE` does; its exit code."""
    gc.disable()
    found = importlib.import_module(module)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{module}.__main__")
    gc.enable()
    try:
        code: object = found.main()
    except SystemExit as exc:
        code = exc.code
    if isinstance(code, int):
        return code
    if code is not None:
        print(code, file=sys.stderr)
    return 0 if code is None else 1
