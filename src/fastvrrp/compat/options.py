"""keepalived's command line options, and reading a command line the way getopt_long does.

What is particular about it: long options may be shortened, short ones joined (`-nl`), and a value
that is optional counts only when it is attached (`-tFILE`, `--config-test=FILE`). Python's getopt
knows the last only from 3.14 on, argparse not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Value(Enum):
    """Whether an option has a value."""

    NONE = ""
    REQUIRED = "="
    OPTIONAL = "[=]"


class Option(NamedTuple):
    """One option. `short` is a letter or empty; `without`: why it has no effect, else empty."""

    long: str
    short: str = ""
    value: Value = Value.NONE
    metavar: str = ""
    meaning: str = ""
    without: str = ""


NO_BFD = "there is no BFD process"
NO_MEMORY_CHECK = "it is for keepalived's own memory checker"

OPTIONS = (
    Option("use-file", "f", Value.REQUIRED, "FILE", "configuration file"),
    Option("vrrp", "P", meaning="only routers: no virtual servers"),
    Option("check", "C", meaning="only virtual servers: no routers"),
    Option("no_bfd", "B", meaning="no BFD"),
    Option("all", without="a process starts when a configuration gives it something to do"),
    Option("log-console", "l", meaning="log to the console as well (with -n)"),
    Option("log-detail", "D", meaning="more in the log: twice, for debugging"),
    Option("log-facility", "S", Value.REQUIRED, "FACILITY", "syslog: 0-7, local0-7, user, daemon"),
    Option("log-file", "g", Value.OPTIONAL, "FILE", "log to files as well, one for each process"),
    Option("flush-log-file", meaning="every line of them is written at once, always"),
    Option("no-syslog", "G", meaning="do not log to syslog"),
    Option("umask", "u", Value.REQUIRED, "MASK", "for the files that are created"),
    Option("release-vips", "X", meaning="addresses are always released by a backup"),
    Option(
        "dont-release-vrrp",
        "V",
        without="addresses that stay behind a daemon that has gone are a second master",
    ),
    Option("dont-release-ipvs", "I", meaning="leave the IPVS table in place at a stop"),
    Option("dont-respawn", "R", meaning="end when a child process ends"),
    Option("dont-fork", "n", meaning="stay in the foreground"),
    Option("dump-conf", "d", without="SIGUSR1 writes it to keepalived.data"),
    Option("pid", "p", Value.REQUIRED, "FILE", "pid file of the daemon"),
    Option("vrrp_pid", "r", Value.REQUIRED, "FILE", "pid file of the VRRP process"),
    Option("checkers_pid", "c", Value.REQUIRED, "FILE", "pid file of the IPVS process"),
    Option("bfd_pid", "b", Value.REQUIRED, "FILE", without=NO_BFD),
    Option("genhash", "T", meaning="be genhash; the first option"),
    Option("address-monitoring", "a", without="`ip monitor address` shows them"),
    Option("namespace", "s", Value.REQUIRED, "NAME", "run in this network namespace"),
    Option("core-dump", "m", meaning="dump core, however large"),
    Option("core-dump-pattern", "M", Value.OPTIONAL, "PATTERN", "and set core_pattern"),
    Option("all-config", "e", meaning="every include has to be there and readable"),
    Option("config-id", "i", Value.REQUIRED, "ID", "which `@ID` lines of the file apply"),
    Option("snmp", "x", without="SNMP is not built yet"),
    Option("snmp-agent-socket", "A", Value.REQUIRED, "SPEC", without="SNMP is not built yet"),
    Option("signum", "", Value.REQUIRED, "NAME", "print the number of a signal"),
    Option("config-test", "t", Value.OPTIONAL, "FILE", "check the configuration, messages to FILE"),
    Option("config-fd", "", Value.REQUIRED, "N", without="it is for keepalived itself"),
    Option("ignore-sigint", meaning="SIGINT does not stop the daemon"),
    Option("perf", "", Value.OPTIONAL, "WHEN", without="perf(1) can record any process"),
    Option("debug", "", Value.OPTIONAL, "LETTERS", without="-DD logs for debugging"),
    Option("no-mem-check", without=NO_MEMORY_CHECK),
    Option("mem-check-log", "L", without=NO_MEMORY_CHECK),
    Option("openssl-mem-check", "O", without=NO_MEMORY_CHECK),
    Option("version", "v", meaning="print the version"),
    Option("help", "h", meaning="print this"),
    Option("run-dir", "", Value.REQUIRED, "DIR", "run directory (fastvrrp's own option)"),
)
_LONG = {option.long: option for option in OPTIONS}
_SHORT = {option.short: option for option in OPTIONS if option.short}


class UsageError(Exception):
    """The command line is wrong; the text says where."""


@dataclass
class Given:
    """A command line: values by long name, the last one counts; how often; words that were none."""

    values: dict[str, str | None] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    stray: list[str] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str) -> str | None:
        return self.values.get(name)

    def add(self, option: Option, value: str | None) -> None:
        if option.value is Value.REQUIRED and not value:
            raise UsageError(f"--{option.long} needs a value")
        self.values[option.long] = value
        self.count[option.long] = self.count.get(option.long, 0) + 1


def read(words: Sequence[str]) -> Given:
    """Read a command line without the program's name. Raises UsageError."""
    given = Given()
    rest = iter(words)
    for word in rest:
        if word == "--":
            given.stray += rest
        elif word.startswith("--"):
            name, has_value, value = word[2:].partition("=")
            option = _long(name)
            if option.value is Value.NONE and has_value:
                raise UsageError(f"--{option.long} takes no value")
            text = value if has_value else None
            if option.value is Value.REQUIRED and text is None:
                text = next(rest, None)
            given.add(option, text)
        elif word.startswith("-") and word != "-":
            _letters(word[1:], rest, given)
        else:
            given.stray.append(word)
    return given


def _letters(letters: str, rest: Iterator[str], given: Given) -> None:
    for at, letter in enumerate(letters):
        option = _SHORT.get(letter)
        if option is None:
            raise UsageError(f"unknown option -{letter}")
        if option.value is Value.NONE:
            given.add(option, None)
            continue
        attached = letters[at + 1 :] or None
        if option.value is Value.REQUIRED and attached is None:
            attached = next(rest, None)
        given.add(option, attached)
        return


def _long(name: str) -> Option:
    if name in _LONG:
        return _LONG[name]
    close = [option for option in OPTIONS if option.long.startswith(name)] if name else []
    if len(close) != 1:
        names = ", ".join(f"--{option.long}" for option in close)
        raise UsageError(f"--{name} may be {names}" if close else f"unknown option --{name}")
    return close[0]


def usage(program: str) -> str:
    """What --help prints."""
    lines = [f"Usage: {program} [OPTION...]", ""]
    for option in OPTIONS:
        value = option.metavar and {
            Value.REQUIRED: f"={option.metavar}",
            Value.OPTIONAL: f"[={option.metavar}]",
        }.get(option.value, "")
        short = f"-{option.short}," if option.short else "   "
        text = option.meaning or f"without effect: {option.without}"
        head = f"  {short} --{option.long}{value}"
        lines.append(f"{head:<34}{text}" if len(head) < 33 else f"{head}\n{'':<34}{text}")
    return "\n".join(lines) + "\n"
