"""Entry point of the VRRP process; only the supervisor starts it."""

from __future__ import annotations

import sys

from fastvrrp.light import asyncio_without_tls, uvloop_without_tls

asyncio_without_tls()  # before anything else imports it: a new interpreter needs no OpenSSL either

import asyncio  # noqa: E402

from fastvrrp.config import compact  # noqa: E402
from fastvrrp.supervisor.link import Arguments, adopt  # noqa: E402
from fastvrrp.vrrp.daemon import Daemon  # noqa: E402


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
