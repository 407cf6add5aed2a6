"""The `fastvrrp` command: finds the subcommand, imports only that one, runs it.

A file of a few instances is read in less time than it takes to load argparse, so checks without
options do without it; so does a daemon with plain options.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NoReturn

import fastvrrp.instead  # noqa: F401 (pathlib without what it does not need)
from fastvrrp import streams
from fastvrrp.cli.commands import COMMANDS


def _arguments(words: Sequence[str]) -> Any:
    """What the words mean, as argparse gives it; None if they ask for nothing."""
    if len(words) > 1 and words[0] == "check" and not any(word[:1] == "-" for word in words):
        return SimpleNamespace(command="check", files=words[1:], config_id=None)
    if words[:1] == ["run"]:
        from fastvrrp.cli.run import quick

        args = quick(words[1:])
        if args is not None:
            return args
    from fastvrrp.cli.parser import parse

    return parse(words)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code (2: the command line is wrong)."""
    streams.complete()
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["keepalived"] and words[1:] not in (["--help"], ["-h"]):
        compat = importlib.import_module("fastvrrp.compat.main")  # options of another kind
        return int(compat.main(words[1:]))
    args = _arguments(words)
    if args is None:
        return 0
    try:
        code: int = importlib.import_module(COMMANDS[args.command].module).run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has enough; keep the interpreter from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def entry() -> NoReturn:
    """`main` as a process: one that leaves nothing but memory behind does not tidy it up, which
    takes as long as a tenth of the work, and does not look for garbage either."""
    command = COMMANDS.get(next((word for word in sys.argv[1:] if word[:1] != "-"), ""))
    if command is not None and (command.leaves_nothing or command is COMMANDS["run"]):
        gc.disable()  # a daemon enables it when its modules are loaded, which are made for good
    code = main()
    if command is not None and command.leaves_nothing:
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
