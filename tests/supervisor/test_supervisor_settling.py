"""When memory is settled: in a pause between changes, and also when they leave none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastvrrp.supervisor.settling import LATEST_S, Settling
from looping import Clockwork

PAUSE_S = 0.5


def play(story: Callable[[list[float]], Coroutine[Any, Any, None]]) -> list[float]:
    """When memory was settled while the story was told."""
    settled: list[float] = []
    with asyncio.Runner(loop_factory=Clockwork) as runner:
        runner.run(story(settled))
    return settled


def noting(settled: list[float], changing: Callable[[], bool] = lambda: False) -> Settling:
    now = asyncio.get_running_loop().time
    return Settling(lambda: settled.append(round(now(), 3)), PAUSE_S, is_changing=changing)


def test_once_after_several_changes() -> None:
    async def story(settled: list[float]) -> None:
        settling = noting(settled)
        for _ in range(3):
            settling.soon()
            await asyncio.sleep(0.2)
            assert settling.is_due
        await asyncio.sleep(60)
        assert not settling.is_due

    assert play(story) == [0.4 + PAUSE_S]


def test_changes_without_a_pause_do_not_put_it_off_for_ever() -> None:
    async def story(settled: list[float]) -> None:
        settling = noting(settled)
        for _ in range(50):
            settling.soon()
            await asyncio.sleep(0.3)
        await asyncio.sleep(60)

    # What changes behind one counts for the next, and after the last there is a pause.
    assert play(story) == [LATEST_S, 5.1 + LATEST_S, 49 * 0.3 + PAUSE_S]


def test_a_change_under_way_is_not_interrupted() -> None:
    """At its end it is high time."""

    async def story(settled: list[float]) -> None:
        under_way = False
        settling = noting(settled, lambda: under_way)
        for _ in range(int(LATEST_S / 0.4)):  # the last one begins before it is time
            settling.soon()
            await asyncio.sleep(0.4)
        under_way = True
        await asyncio.sleep(3)
        under_way = False
        settling.soon()
        await asyncio.sleep(60)

    assert play(story) == [round(int(LATEST_S / 0.4) * 0.4 + 3, 3)]


def test_changes_that_wait_for_each_other_do_not_put_it_off() -> None:
    """Each begins as soon as the one before has ended, as reloads do."""

    async def story(settled: list[float]) -> None:
        loop = asyncio.get_running_loop()
        changing = asyncio.Lock()
        settling = noting(settled, changing.locked)

        async def change() -> None:
            async with changing:
                await asyncio.sleep(0.4)
                settling.soon()

        under_way = set()
        while loop.time() < 3 * LATEST_S:
            while len(under_way) < 2:  # one of them waits
                task = loop.create_task(change())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(0.1)
        assert len(settled) == 2
        assert [round(at / 0.4, 3) % 1 for at in settled] == [0, 0], "between two of them"

    play(story)


def test_not_after_the_end() -> None:
    async def story(settled: list[float]) -> None:
        settling = noting(settled)
        settling.soon()
        assert settling.is_due
        settling.close()
        assert not settling.is_due
        await asyncio.sleep(60)

    assert play(story) == []
