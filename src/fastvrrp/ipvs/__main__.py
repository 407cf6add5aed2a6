"""Entry point of the IPVS process; only the supervisor starts it."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from fastvrrp.ipvs.daemon import Daemon
from fastvrrp.supervisor.link import Arguments, adopt
from fastvrrp.supervisor.roles import IPVS


async def _run(arguments: Arguments) -> int:
    return await Daemon(arguments).run()


def main() -> int:
    """Run until the supervisor says stop; returns the exit code."""
    arguments = adopt(role=IPVS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(arguments))


if __name__ == "__main__":
    sys.exit(main())
