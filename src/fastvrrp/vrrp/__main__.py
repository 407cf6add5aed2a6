"""Entry point of the VRRP process; only the supervisor starts it."""

from __future__ import annotations

import asyncio
import sys

from fastvrrp.config import compact
from fastvrrp.light import uvloop_without_tls
from fastvrrp.supervisor.link import Arguments, adopt
from fastvrrp.vrrp.daemon import Daemon


async def _run(arguments: Arguments) -> int:
    return await Daemon(arguments).run()


def main() -> int:
    """Run until the supervisor says stop; returns the exit code."""
    arguments = adopt()
    compact.warm_up()  # while the configuration is being read
    with asyncio.Runner(loop_factory=uvloop_without_tls().new_event_loop) as runner:
        return runner.run(_run(arguments))


if __name__ == "__main__":
    sys.exit(main())
