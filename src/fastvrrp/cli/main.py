"""The `fastvrrp` command: finds the subcommand, imports only that one, runs it.

A subcommand is a module with a DESCRIPTION, EXAMPLES (whole command lines with a `# comment`),
`add_arguments(parser)`, and `run(args) -> int`, the exit code.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from fastvrrp import __version__


class Command(NamedTuple):
    module: str
    summary: str
    leaves_nothing: bool = False  # but memory, when it has run


COMMANDS = {
    "run": Command("fastvrrp.cli.run", "run the daemon in the foreground"),
    "check": Command("fastvrrp.cli.check", "check configuration files without running them", True),
    "status": Command("fastvrrp.cli.status", "show who is master, and why"),
    "reload": Command("fastvrrp.cli.reload", "have the daemon read its configuration again"),
    "events": Command("fastvrrp.cli.events", "follow what happens, live"),
    "lab": Command("fastvrrp.cli.lab", "two routers on this machine: watch a failover"),
    "capture": Command("fastvrrp.cli.capture", "decode the adverts on an interface, live"),
    "convert": Command("fastvrrp.cli.convert", "from keepalived.conf to YAML, or back"),
    "keepalived": Command("fastvrrp.cli.keepalived", "run with keepalived's own command line"),
    "genhash": Command("fastvrrp.cli.genhash", "the digest of a page, for HTTP_GET and SSL_GET"),
    "clean": Command("fastvrrp.cli.clean", "remove what a killed daemon left in the kernel"),
}

EPILOG = """\
examples:
  fastvrrp lab                                    # see an address move, no configuration needed
  fastvrrp check /etc/keepalived/keepalived.conf  # what is wrong with it, and where
  fastvrrp run -f /etc/keepalived/keepalived.conf # be the router
  fastvrrp status                                 # who is master

`fastvrrp COMMAND --help` explains each command."""


class Parser(argparse.ArgumentParser):
    """The whole command line; `commands` are the parsers of the subcommands by name."""

    commands: Mapping[str, argparse.ArgumentParser]

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"fastvrrp: {message}\n")


def _chosen(argv: Sequence[str]) -> str | None:
    """The subcommand's name: the first word that is not an option."""
    return next((word for word in argv if not word.startswith("-")), None)


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
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"fastvrrp {__version__}"
    parser.add_argument("-V", "--version", action="version", version=version)
    subparsers = parser.add_subparsers(
        dest="command",
        metavar="COMMAND",
        title="commands",
        prog=parser.prog,  # asked to find it out, argparse would import shutil for the width
        parser_class=argparse.ArgumentParser,
    )
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=command.summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        # The others are listed, but their modules not imported: help has to be quick.
        if name == chosen:
            module = importlib.import_module(command.module)
            subparser.description = module.DESCRIPTION
            subparser.epilog = "\n  ".join(("examples:", *module.EXAMPLES))
            module.add_arguments(subparser)
    parser.commands = subparsers.choices
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code (2: the command line is wrong)."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["keepalived"] and words[1:] not in (["--help"], ["-h"]):
        compat = importlib.import_module("fastvrrp.compat.main")  # options of another kind
        return int(compat.main(words[1:]))
    chosen = _chosen(words)
    parser = build_parser(chosen)
    if chosen is not None and chosen not in COMMANDS:
        if words[0].startswith("-"):
            parser.error("options come behind a command, as in: fastvrrp run -f FILE")
        parser.error(_unknown(chosen))
    args, more = parser.parse_known_args(words)
    if more:
        (parser.commands[chosen] if chosen else parser).error(_odd(more[0]))
    if args.command is None:
        parser.print_help()
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
    takes as long as a tenth of the work."""
    code = main()
    command = COMMANDS.get(_chosen(sys.argv[1:]) or "")
    if command is not None and command.leaves_nothing:
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
