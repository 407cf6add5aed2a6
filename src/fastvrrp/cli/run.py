"""`fastvrrp run`: the daemon, in the foreground."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from fastvrrp.cli.common import DEFAULT_RUN_DIR

if TYPE_CHECKING:
    import argparse

NATIVE = Path("/etc/fastvrrp/fastvrrp.yaml")
KEEPALIVED = Path("/etc/keepalived/keepalived.conf")

PARTS = ("vrrp", "ipvs")

DESCRIPTION = f"""\
Run the daemon in the foreground until SIGTERM or SIGINT, logging to stderr.

A file with errors starts nothing; `fastvrrp check` shows them all.
Without -f the file is {NATIVE} if there is one,
else {KEEPALIVED}.

signals:
  SIGTERM, SIGINT           stop in order: the other router takes over at once,
                            then the virtual servers are removed
  SIGHUP                    reload (`fastvrrp reload` also shows what came of it)
  SIGUSR1                   write the state to DIR/keepalived.data, keepalived_check.data
  SIGUSR2                   write the statistics to DIR/keepalived.stats
  SIGRTMIN+2                write both as JSON to DIR/keepalived.json, keepalived_check.json

exit status:
  0  stopped in order
  1  the configuration has errors, or the daemon cannot start
  2  the command line is wrong, or the configuration cannot be run
  4  a permission is missing (raw sockets need root or CAP_NET_RAW and CAP_NET_ADMIN)"""

EXAMPLES = (
    "fastvrrp run                                         # the usual files",
    "fastvrrp run -f ./pair.conf --run-dir /run/vrrp-test # a second daemon, for a test",
    "fastvrrp run --config-id node2                       # lines marked @node2 apply",
    "fastvrrp run --only ipvs                             # a balancer, somebody else's routers",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from fastvrrp.supervisor import logs

    parser.add_argument(
        "-f",
        "--file",
        type=Path,
        metavar="FILE",
        help="configuration file, in the native format if it ends in .yaml or .yml; or a directory",
    )
    parser.add_argument(
        "--run-dir",
        type=Path,
        default=DEFAULT_RUN_DIR,
        metavar="DIR",
        help="directory for sockets and state, created with mode 0750 (default: %(default)s)",
    )
    parser.add_argument(
        "--only",
        choices=PARTS,
        help="run only this part of the configuration: routers, or virtual servers",
    )
    parser.add_argument(
        "--log-level",
        choices=logs.LEVELS,
        default="info",
        help="least level that is logged (default: %(default)s)",
    )
    parser.add_argument(
        "--log-format",
        choices=logs.FORMATS,
        default="text",
        help="json: one object per line (default: %(default)s)",
    )
    parser.add_argument(
        "--config-id",
        metavar="ID",
        help="which `@ID` lines of the file apply (default: the host name)",
    )


_NAMES = {
    "-f": "file",
    "--file": "file",
    "--run-dir": "run_dir",
    "--only": "only",
    "--log-level": "log_level",
    "--log-format": "log_format",
    "--config-id": "config_id",
}


def quick(words: Sequence[str]) -> SimpleNamespace | None:
    """What `add_arguments` makes of plain options with values; None: something is not as plain.

    A router is to advertise before argparse would be loaded.
    """
    args = SimpleNamespace(
        command="run",
        file=None,
        run_dir=DEFAULT_RUN_DIR,
        only=None,
        log_level="info",
        log_format="text",
        config_id=None,
    )
    for option, value in zip(words[::2], words[1::2], strict=False):
        name = _NAMES.get(option, "")
        if not name or value[:1] == "-" or value not in _possible(name, value):
            return None
        setattr(args, name, Path(value) if name in ("file", "run_dir") else value)
    return args if len(words) % 2 == 0 else None


def _possible(name: str, value: str) -> Sequence[str]:
    if name == "only":
        return PARTS
    if name in ("log_level", "log_format"):
        from fastvrrp.supervisor import logs

        return logs.LEVELS if name == "log_level" else logs.FORMATS
    return (value,)


def default_file() -> Path:
    """The file that is read without -f."""
    return NATIVE if NATIVE.exists() else KEEPALIVED


def run(args: argparse.Namespace) -> int:
    from fastvrrp.supervisor.early import Early, one_processor
    from fastvrrp.supervisor.reading import Wanted

    file: Path = args.file or default_file()
    wanted = Wanted(file=file.absolute(), config_id=args.config_id, only=args.only)
    with contextlib.closing(Early()) as early:
        if not one_processor():
            early.read(wanted)  # while what comes next is loaded
        from fastvrrp.supervisor import start
        from fastvrrp.supervisor.destinations import Destinations

        log = Destinations(level=args.log_level, form=args.log_format)
        return start.run(start.Options(wanted=wanted, run_dir=args.run_dir, log=log), early)
