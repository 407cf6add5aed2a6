"""The timer wheel: arming, re-arming while nothing is due, and firing in due order."""

from __future__ import annotations

from fastvrrp._core import NEVER, Wheel

from .workload import Maker, Workload

MS = 1_000_000


def dues(count: int, interval_ns: int = 100 * MS) -> list[int]:
    """Deadlines spread evenly over one interval, beginning one interval from now."""
    return [interval_ns + n * interval_ns // count for n in range(count)]


def armed(count: int) -> Wheel:
    wheel = Wheel(count)
    for index, due in enumerate(dues(count)):
        wheel.arm(index, due)
    return wheel


def arming(count: int) -> Workload:
    deadlines = dues(count)

    def run(wheel: Wheel) -> Wheel:
        for index, due in enumerate(deadlines):
            wheel.arm(index, due)
        return wheel

    def check(wheel: Wheel) -> None:
        assert wheel.next_due() <= deadlines[0]
        assert wheel.pop_due(deadlines[-1]) == [(due, n) for n, due in enumerate(deadlines)]

    return Workload(f"arm {count}", "wheel", count, lambda: Wheel(count), run, check)


def firing(count: int) -> Workload:
    """Everything that is due, in the steps in which `next_due` asks to be called."""

    def run(wheel: Wheel) -> list[tuple[int, int]]:
        fired: list[tuple[int, int]] = []
        while (now := wheel.next_due()) != NEVER:
            fired += wheel.pop_due(now)
        return fired

    def check(fired: list[tuple[int, int]]) -> None:
        assert fired == [(due, n) for n, due in enumerate(dues(count))]

    return Workload(f"fire {count}", "wheel", count, lambda: armed(count), run, check)


def moving(count: int) -> Workload:
    """Every deadline moves on by an interval, as when an advert was sent."""

    def run(wheel: Wheel) -> Wheel:
        for index, due in enumerate(dues(count)):
            wheel.arm(index, due + 100 * MS)
        return wheel

    def check(wheel: Wheel) -> None:
        assert wheel.pop_due(200 * MS - 1) == []
        assert len(wheel.pop_due(300 * MS)) == count

    return Workload(f"re-arm {count}", "wheel", count, lambda: armed(count), run, check)


MAKERS = [Maker(make, 16, (255, 4096)) for make in (arming, firing, moving)]
