"""FILE_CHECK: what values mean, and that changes count at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from probing import DOWN, LOCAL, UP, attempt, surroundings

from fastvrrp.config.model import TrackFile
from fastvrrp.config.servers import FileCheck
from fastvrrp.ipvs.checks.base import FollowingProbe, Outcome, Verdict, make_probe
from fastvrrp.ipvs.checks.file import judge
from fastvrrp.ipvs.files import TrackedFiles
from looping import Run, until

TOP = 2**31


@pytest.mark.parametrize(
    ("value", "weight", "reverse", "verdict", "adds"),
    [
        (0, 1, False, UP, 0),
        (5, 1, False, UP, 5),
        (-5, 3, False, UP, -15),
        (5, -3, False, UP, -15),
        (5, 3, True, UP, -15),
        (-5, 3, True, UP, 15),
        (0, 0, False, UP, 0),
        (1, 0, False, DOWN, 0),
        (-1, 0, False, DOWN, 0),
        (0, 0, True, DOWN, 0),
        (9, 0, True, UP, 0),
        (-TOP + 1, 1, False, UP, -TOP + 1),
        (-TOP, 1, False, DOWN, 0),
        (TOP // 2, -2, False, DOWN, 0),
        (TOP // 2, 2, True, DOWN, 0),
        (TOP - 1, TOP - 1, False, UP, (TOP - 1) ** 2),
        (TOP - 1, -TOP + 1, False, DOWN, 0),
    ],
)
def test_values(value: int, weight: int, reverse: bool, verdict: Verdict, adds: int) -> None:
    outcome = judge(value, FileCheck(track_file="f", weight=weight, reverse=reverse))
    assert (outcome.verdict, outcome.adds(10)) == (verdict, adds)
    assert f"value {value}" in outcome.detail


def test_changes_are_told_at_once(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "load"
    path.write_text("3")

    async def scene() -> None:
        files = TrackedFiles([TrackFile(name="load", file=str(path))])
        files.start()
        around = surroundings(files=files)
        twice = FileCheck(track_file="load", weight=2)
        other = FileCheck(track_file="load", weight=0)
        probes = [make_probe(check, around) for check in (twice, other)]
        told = []
        for number, probe in enumerate(probes):
            assert isinstance(probe, FollowingProbe)
            probe.follow(lambda number=number: told.append(number))
        assert [(await attempt(probe))[:4:3] for probe in probes] == [(UP, 6), (DOWN, 0)]
        path.write_text("0")
        await until(lambda: told == [0, 1])
        assert [(await attempt(probe)).verdict for probe in probes] == [UP, UP]
        assert isinstance(probes[0], FollowingProbe)
        probes[0].follow(None)
        probes[0].follow(None)
        path.write_text("8")
        await until(lambda: told == [0, 1, 1])
        assert (await attempt(probes[0])).weight == 16
        await files.stop()

    run(scene())


def test_the_file_is_created(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new"

    async def scene() -> None:
        files = TrackedFiles([TrackFile(name="new", file=str(path), init_value=4)])
        assert files.value("new") == 4
        assert path.read_text() == "4\n"

    run(scene())


def test_a_reload(run: Run, tmp_path: Path) -> None:
    """What names another file now, or none, is told to its followers; nothing is created."""
    for name in "ab":
        (tmp_path / name).write_text(name.translate({97: "1", 98: "2"}))

    def defined(**names: str) -> list[TrackFile]:
        return [
            TrackFile(name=name, file=str(tmp_path / file), init_value=7)
            for name, file in names.items()
        ]

    async def scene() -> None:
        files = TrackedFiles(defined(x="a", y="b"))
        files.start()
        told = []
        for name in "xyz":
            files.follow(name, lambda name=name: told.append(name))
        probe = make_probe(FileCheck(track_file="x"), surroundings(files=files))
        assert (await attempt(probe)).weight == 1
        await files.redefine(defined(x="a", y="b"))
        assert told == []
        await files.redefine(defined(x="b", y="b", z="missing"))
        assert sorted(set(told)) == ["x", "z"]
        assert (await attempt(probe)).weight == 2
        assert not (tmp_path / "missing").exists()
        await files.redefine([])
        assert (await attempt(probe)).verdict is LOCAL
        await files.stop()

    run(scene())


def test_cancelled(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        files = TrackedFiles([TrackFile(name="f", file=str(tmp_path / "f"))])
        probe = make_probe(FileCheck(track_file="f"), surroundings(files=files))
        outcomes: list[Outcome] = []
        probe.start(0, outcomes.append)
        probe.cancel()
        probe.start(0, outcomes.append)
        await asyncio.sleep(0.02)
        assert len(outcomes) == 1
        probe.cancel()

    run(scene())
