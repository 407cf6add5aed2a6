"""The core's own loops, without a Python call for each operation.

Against the figures of `wire`, `wheel` and `core` these show what the core costs the engine, which
calls it from C.
"""

from __future__ import annotations

from fastvrrp import _core
from fastvrrp._core import Wheel

from .core import INTERVAL_NS, MS, OTHER, Router, adverts, backups, masters
from .wheel import armed
from .wire import GROUP
from .workload import Maker, Workload

ROUNDS = 20
WIRE_ROUNDS = 10_000


def wire(count: int) -> Workload:
    """A checksum, an encoding and a decoding with its checks, `count` addresses each."""

    def check(spent: dict[str, int]) -> None:
        assert all(spent[name] > 0 for name in ("checksum", "encode", "decode"))

    return Workload(
        f"checksum + encode + decode, {count} addresses",
        "C loops",
        WIRE_ROUNDS,
        lambda: WIRE_ROUNDS,
        lambda rounds: _core.bench_wire(rounds, count),
        check,
    )


def wheel(count: int) -> Workload:
    """Fire what is due in each millisecond and arm it again an interval later."""
    steps = ROUNDS * 100

    def run(made: Wheel) -> tuple[int, int]:
        return _core.bench_wheel(
            made, now_ns=100 * MS - 1, rounds=steps, step_ns=MS, spread_ns=100 * MS
        )

    def check(result: tuple[int, int]) -> None:
        assert result[1] == ROUNDS * count

    return Workload(
        f"fire and re-arm, {count} deadlines",
        "C loops",
        ROUNDS * count,
        lambda: armed(count),
        run,
        check,
    )


def packets(count: int) -> Workload:
    heard = [(link, OTHER, GROUP, 255, pdu) for link, pdu in adverts(count, 200)]

    def run(router: Router) -> tuple[int, int, int]:
        return _core.bench_feed(router.core, heard, now_ns=MS, step_ns=INTERVAL_NS, rounds=ROUNDS)

    def check(result: tuple[int, int, int]) -> None:
        assert result[1] == ROUNDS * count

    return Workload(
        f"advert heard as backup, {count} instances",
        "C loops",
        ROUNDS * count,
        lambda: backups(count),
        run,
        check,
    )


def ticks(count: int) -> Workload:
    def run(router: Router) -> tuple[int, int, int]:
        return _core.bench_run(router.core, router.now + ROUNDS * INTERVAL_NS)

    def check(result: tuple[int, int, int]) -> None:
        assert result[2] >= ROUNDS * count  # adverts, and announcements at their times

    return Workload(
        f"advert due as master, {count} instances",
        "C loops",
        ROUNDS * count,
        lambda: masters(count),
        run,
        check,
    )


MAKERS = [Maker(wire, 1, (1, 20)), *(Maker(m, 8, (255, 4096)) for m in (wheel, packets, ticks))]
