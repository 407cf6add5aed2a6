"""The command line of `fastvrrp`: which words are possible, and what is said of those that are not.

Loaded only where the words have to be looked at, see `main`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from fastvrrp import __version__
from fastvrrp.cli.commands import COMMANDS

EPILOG = """\
examples:
  fastvrrp lab                                    # see an address move, no configuration needed
  fastvrrp check /etc/keepalived/keepalived.conf  # what is wrong with it, and where
  fastvrrp run -f /etc/keepalived/keepalived.conf # be the router
  fastvrrp status                                 # who is master

`fastvrrp COMMAND --help` explains each command."""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal. To find that out, argparse would import shutil for every command
    line, which knows about compression, too."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """COLUMNS, else of the terminal that the output goes to, else 80."""
    given = os.environ.get("COLUMNS", "")
    columns = int(given) if given.isdecimal() else 0
    if not columns:
        try:
            columns = os.get_terminal_size(1).columns
        except OSError:
            columns = 0
    return columns or 80


class Parser(argparse.ArgumentParser):
    """The whole command line; `commands` are the parsers of the subcommands by name."""

    commands: Mapping[str, argparse.ArgumentParser]

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"fastvrrp: {message}\n")


def _unknown(name: str) -> str:
    import difflib  # nothing else needs it

    close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(COMMANDS)}"
    return f"unknown command {name!r}; {hint}"


def _odd(word: str) -> str:
    return f"unknown option {word}" if word.startswith("-") else f"{word!r} is one word too many"


def build_parser(chosen: str | None) -> Parser:
    """The parser with all commands listed, and the arguments of the chosen one."""
    parser = Parser(
        prog="fastvrrp",
        description="VRRP routers that share addresses (RFC 9568), configured like keepalived.",
        epilog=EPILOG,
        formatter_class=Formatter,
    )
    version = f"fastvrrp {__version__}"
    parser.add_argument("-V", "--version", action="version", version=version)
    subparsers = parser.add_subparsers(
        dest="command",
        metavar="COMMAND",
        title="commands",
        prog=parser.prog,  # asked to find it out, argparse would make a formatter of its own
        parser_class=argparse.ArgumentParser,
    )
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.summary, formatter_class=Formatter)
        # The others are listed, but their modules not imported: help has to be quick.
        if name == chosen:
            _fill(subparser, name)
    parser.commands = subparsers.choices
    return parser


def _fill(parser: argparse.ArgumentParser, name: str) -> None:
    module = importlib.import_module(COMMANDS[name].module)
    parser.description = module.DESCRIPTION
    parser.epilog = "\n  ".join(("examples:", *module.EXAMPLES))
    module.add_arguments(parser)


def parse(words: Sequence[str]) -> argparse.Namespace | None:
    """What the words mean; None if they ask for nothing. Ends the process, with code 2, if they
    mean nothing, and after help or the version."""
    if words and words[0] in COMMANDS:
        # as its part of the whole would do it, which is slow to make
        only = argparse.ArgumentParser(prog=f"fastvrrp {words[0]}", formatter_class=Formatter)
        _fill(only, words[0])
        args, more = only.parse_known_args(words[1:])
        if more:
            only.error(_odd(more[0]))
        args.command = words[0]
        return args
    named = next((word for word in words if not word.startswith("-")), None)
    parser = build_parser(named)
    if named is not None and named not in COMMANDS:
        if words[0].startswith("-"):
            parser.error("options come behind a command, as in: fastvrrp run -f FILE")
        parser.error(_unknown(named))
    args, more = parser.parse_known_args(words)
    if more:
        (parser.commands[named] if named else parser).error(_odd(more[0]))
    if args.command is None:
        parser.print_help()
        return None
    return args
