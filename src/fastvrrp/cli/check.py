"""`fastvrrp check`: says what is wrong with configuration files, and with several together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastvrrp.words import counted

if TYPE_CHECKING:
    import argparse

    from fastvrrp.config.elections import Router
    from fastvrrp.config.model import Configuration, Loaded, Message

DESCRIPTION = """\
Checks configuration files without running them and without touching the system.

Every message is one line, FILE:LINE:COLUMN: error|warning: what is wrong; what would be right.
An error keeps the daemon from starting. A warning names what does not do what it says, for
instance a value that is out of range and the one that is used instead.

With the files of several routers they are also compared: the same virtual router needs the same
version, interval, password and addresses everywhere and different priorities. The result says
who will be master, and who after each single failure: of a router, an interface, a script. This
machine's interfaces, accounts and scripts are not looked at then.

One file can serve several routers (lines that begin with @ID, `nodes:` in YAML); name the routers
with --config-id, and each is checked. A directory stands for its .conf, .yaml and .yml files.

exit status:
  0  valid, perhaps with warnings
  1  errors
  2  the command line is wrong"""

EXAMPLES = (
    "fastvrrp check /etc/keepalived/keepalived.conf        # this router",
    "fastvrrp check r1/keepalived.conf r2/keepalived.conf  # do the two fit together?",
    "fastvrrp check pair.conf --config-id r1 --config-id r2  # one file for both",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="configuration of one router")
    parser.add_argument(
        "--config-id",
        action="append",
        metavar="ID",
        help="apply the lines of @ID (default: the host name up to its first dot); repeatable",
    )


def run(args: argparse.Namespace) -> int:
    """Check the files of the command line; returns the exit status."""
    from fastvrrp.config.host import OtherHost
    from fastvrrp.config.load import load

    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # a file may contain what a terminal cannot show
    ids: Sequence[str | None] = args.config_id or [None]
    several = len(args.files) * len(ids) > 1
    host = OtherHost() if several else None
    routers: list[Router] = []
    shown: set[Message] = set()
    failed = False
    for file in dict.fromkeys(args.files):
        for config_id in dict.fromkeys(ids):
            loaded = load(file, config_id=config_id, host=host)
            name = f"{file} as {config_id}" if config_id and len(ids) > 1 else file
            _show(loaded.messages, shown)
            print(_summary(name, loaded))
            failed |= loaded.configuration is None
            if several and loaded.configuration is not None:
                from fastvrrp.config.elections import Router

                routers.append(Router(name, loaded.configuration))
    if len(routers) > 1:
        failed |= _compare(routers, shown)
    return 1 if failed else 0


def _compare(routers: Sequence[Router], shown: set[Message]) -> bool:
    """Say how the routers fit together; returns whether there are errors."""
    from fastvrrp.config.cross import check_routers
    from fastvrrp.config.elections import virtual_routers
    from fastvrrp.config.forecast import forecast

    found = virtual_routers(routers)
    messages = check_routers(routers, found)
    _show(messages, shown)
    disagree = any(message.severity.value == "error" for message in messages)
    if not disagree:
        for line in forecast(found):
            print(line)
    print(f"{len(routers)} routers: {_counted(messages) or 'they fit together'}")
    return disagree


def _show(messages: Sequence[Message], shown: set[Message]) -> None:
    """Each message once, though a file may be read for several routers."""
    new = []
    for message in messages:
        before = len(shown)
        shown.add(message)
        if len(shown) > before:
            new.append(str(message))
    if new:
        print("\n".join(new))


def _counted(messages: Sequence[Message]) -> str:
    errors = sum(message.severity.value == "error" for message in messages)
    parts = []
    if errors:
        parts.append(counted(errors, "error"))
    if len(messages) > errors:
        parts.append(counted(len(messages) - errors, "warning"))
    return ", ".join(parts)


def _contents(configuration: Configuration) -> str:
    parts = [counted(len(configuration.vrrp_instances), "instance")]
    if configuration.sync_groups:
        parts.append(counted(len(configuration.sync_groups), "sync group"))
    addresses = sum(
        len(instance.virtual_ipaddress) + len(instance.virtual_ipaddress_excluded)
        for instance in configuration.vrrp_instances
    )
    parts.append(counted(addresses, "virtual address", "virtual addresses"))
    services = configuration.ipvs.virtual_servers
    if services:
        parts.append(counted(len(services), "virtual server"))
        parts.append(counted(sum(len(s.real_servers) for s in services), "real server"))
    return ", ".join(parts)


def _summary(name: str, loaded: Loaded) -> str:
    said = _counted(loaded.messages)
    if loaded.configuration is None:
        return f"{name}: not valid, {said}"
    text = f"{name}: valid, {_contents(loaded.configuration)}"
    return f"{text}; {said}" if said else text
