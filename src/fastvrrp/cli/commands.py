"""The subcommands of `fastvrrp`.

Each is a module with a DESCRIPTION, EXAMPLES (whole command lines with a `# comment`),
`add_arguments(parser)`, and `run(args) -> int`, the exit code.
"""

from __future__ import annotations

from typing import NamedTuple


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
