"""`fastvrrp keepalived`: the daemon behind keepalived's own command line."""

from __future__ import annotations

import argparse

from fastvrrp.compat.options import usage

DESCRIPTION = f"""\
Takes keepalived's options, signals, exit codes and PID files, so that whatever starts keepalived
starts this instead: unit files, container entry points, configuration management. Also installed
as the program fastvrrp-keepalived. Options without effect are told in one line of the log.

{usage("fastvrrp keepalived")}"""

EXAMPLES = (
    "fastvrrp keepalived -n -l -f /etc/keepalived/keepalived.conf  # as in a container",
    "fastvrrp keepalived -t -f /etc/keepalived/keepalived.conf     # exit status as keepalived's",
    "fastvrrp keepalived -D -S 1 -p /run/keepalived.pid            # in the background",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "fastvrrp keepalived [KEEPALIVED'S OPTIONS]"


def run(args: argparse.Namespace) -> int:
    """Without options; with any, `main` does not read them as ours."""
    from fastvrrp.compat.main import main

    return main([])
