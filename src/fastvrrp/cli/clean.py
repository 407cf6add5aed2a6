"""`fastvrrp clean`: remove what a killed daemon left in the kernel. ExecStopPost of the unit."""

from __future__ import annotations

import argparse
import contextlib

from fastvrrp.cli.common import add_run_dir, fail

DESCRIPTION = """\
Remove the addresses, routes and rules that a daemon which was killed left behind.

They are listed in DIR/journal; nothing else is touched. A daemon that starts does this
itself, so it is needed only when none will start. While a daemon runs this is refused."""

EXAMPLES = (
    "fastvrrp clean                           # after `kill -9`, with no restart to come",
    "fastvrrp clean --run-dir /run/vrrp-test  # of a daemon with another run directory",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_dir(parser)


def run(args: argparse.Namespace) -> int:
    from fastvrrp.supervisor import logs
    from fastvrrp.supervisor.janitor import clean_journal
    from fastvrrp.supervisor.rundir import RunDirError, acquire

    logs.setup(process="clean")
    if not args.run_dir.exists():
        return 0  # never started, or systemd removed it: nothing can be left
    try:
        run_dir = acquire(args.run_dir, create=False)
    except RunDirError as exc:
        return fail(str(exc))
    with contextlib.closing(run_dir):
        return 0 if clean_journal(run_dir.journal) else 1
