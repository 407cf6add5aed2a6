"""A tracked file that is rewritten all the time: what is in between is not a value."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from fastvrrp.config import model
from fastvrrp.track.file import FileWatcher


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 3
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.005)


def test_a_rewritten_file_is_never_empty(tmp_path: Path) -> None:
    """A maintenance switch with weight 0 must not flap because a tool writes 1 again and again."""
    path = tmp_path / "switch"
    path.write_text("1\n")

    def rewrite() -> None:
        for _ in range(500):
            path.write_text("1\n")

    async def scene() -> None:
        seen: list[int] = []
        definition = model.TrackFile(name="switch", file=str(path), weight=0)
        watcher = FileWatcher([definition], lambda name: seen.append(watcher.value(name)))
        watcher.start()
        await asyncio.to_thread(rewrite)
        path.write_text("2\n")
        await until(lambda: seen)
        assert seen == [2]
        path.write_text("")  # on purpose, and it stays so
        await until(lambda: len(seen) > 1)
        assert seen == [2, 0]
        await watcher.stop()

    asyncio.run(scene())
