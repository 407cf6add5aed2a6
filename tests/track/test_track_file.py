"""Tracked files with real inotify."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvrrp.config import model
from fastvrrp.track import file as file_module
from fastvrrp.track.file import FileWatcher, ValueOutOfRange, initialise, parse, read_value
from looping import Run, until


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"5", 5),
        (b"-12\n", -12),
        (b"+7\n", 7),
        (b" \t 0x1F rest", 31),
        (b"-0X10", -16),
        (b"010", 8),
        (b"08", 0),
        (b"0", 0),
        (b"12abc", 12),
        (b"", None),
        (b"\n", None),
        (b"abc", None),
        (b"--1", None),
        (b"2147483647", 2**31 - 1),
        (b"-2147483648", -(2**31)),
    ],
)
def test_parse(content: bytes, value: int | None) -> None:
    assert parse(content) == value


@pytest.mark.parametrize("content", [b"99999999999", b"0xffffffff", b"-2147483649"])
def test_numbers_out_of_range_change_nothing(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """keepalived 2.2.7 ignores them, with a log line."""
    with pytest.raises(ValueOutOfRange):
        parse(content)
    path = tmp_path / "f"
    path.write_bytes(content)
    assert read_value(str(path), 7) == 7
    assert "is out of range; it still counts as 7" in caplog.text


@given(st.integers(-(2**31), 2**31 - 1))
def test_parse_reads_what_was_written(value: int) -> None:
    assert parse(f"{value}\n".encode()) == value
    assert parse(f"{value:#x}".encode()) == value


@given(st.binary(max_size=200))
def test_parse_survives_anything(content: bytes) -> None:
    try:
        value = parse(content)
    except ValueOutOfRange:
        return
    assert value is None or abs(value) <= 2**31


def test_values_of_what_is_no_ordinary_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_value(str(tmp_path / "missing")) == 0
    assert not caplog.records
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("hello")
    for name in ("fifo", "text"):
        assert read_value(str(tmp_path / name)) == 0
    assert read_value(str(tmp_path)) == 0
    assert len(caplog.records) == 3


def test_init_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    initialise(model.TrackFile(name="f", file=str(path)))
    assert not path.exists()
    initialise(model.TrackFile(name="f", file=str(path), init_value=12))
    assert read_value(str(path)) == 12
    assert path.stat().st_mode & 0o137 == 0
    initialise(model.TrackFile(name="f", file=str(path), init_value=13))
    assert read_value(str(path)) == 12
    initialise(model.TrackFile(name="f", file=str(path), init_value=-1, init_overwrite=True))
    assert read_value(str(path)) == -1


@pytest.mark.parametrize("link", ["symbolic", "dangling", "hard"])
def test_init_file_follows_no_link(
    tmp_path: Path, link: str, caplog: pytest.LogCaptureFixture
) -> None:
    victim = tmp_path / "victim"
    path = tmp_path / "f"
    if link != "dangling":
        victim.write_text("precious")
    if link == "hard":
        path.hardlink_to(victim)
    else:
        path.symlink_to(victim)
    initialise(model.TrackFile(name="f", file=str(path), init_value=1, init_overwrite=True))
    assert (victim.read_text() if victim.exists() else None) == (
        None if link == "dangling" else "precious"
    )
    assert len(caplog.records) == 1


class Watched:
    """A watcher with the log of what it told."""

    def __init__(self, *paths: Path) -> None:
        self.log: list[tuple[str, int]] = []
        definitions = [model.TrackFile(name=path.name, file=str(path)) for path in paths]
        self.watcher = FileWatcher(definitions, self.changed)

    def changed(self, name: str) -> None:
        self.log.append((name, self.watcher.value(name)))


def test_write_move_delete(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "LOOK_PERIOD_S", 60.0)  # inotify alone must do
    path = tmp_path / "f"
    path.write_text("1")

    async def scene() -> None:
        watched = Watched(path)
        assert watched.watcher.value("f") == 1
        watched.watcher.start()
        with path.open("w") as stream:
            stream.write("2")
            stream.flush()
            await asyncio.sleep(0.05)
            assert watched.log == []  # not before it is closed
        await until(lambda: watched.log == [("f", 2)])
        (tmp_path / "new").write_text("3")
        (tmp_path / "new").rename(path)
        await until(lambda: watched.log[1:] == [("f", 3)])
        path.unlink()
        await until(lambda: watched.log[2:] == [("f", 0)])
        path.write_text("-4")
        await until(lambda: watched.log[3:] == [("f", -4)])
        path.rename(tmp_path / "elsewhere")
        await until(lambda: watched.log[4:] == [("f", 0)])
        await watched.watcher.stop()

    run(scene())


def test_neighbours_do_not_matter(run: Run, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"

    async def scene() -> None:
        watched = Watched(one, two)
        watched.watcher.start()
        (tmp_path / "other").write_text("9")
        two.write_text("2")
        await until(lambda: watched.log == [("two", 2)])
        assert watched.watcher.value("one") == 0
        assert [s["watched"] for s in watched.watcher.status()] == [True, True]
        await watched.watcher.stop()

    run(scene())


def test_directory_that_comes_and_goes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "LOOK_PERIOD_S", 0.05)
    directory = tmp_path / "later"
    path = directory / "f"

    async def scene() -> None:
        watched = Watched(path)
        watched.watcher.start()
        directory.mkdir()
        path.write_text("5")
        await until(lambda: watched.log == [("f", 5)])
        path.unlink()
        directory.rmdir()
        await until(lambda: watched.log[1:] == [("f", 0)])
        directory.mkdir()
        path.write_text("6")
        await until(lambda: watched.log[2:] == [("f", 6)])
        directory.rename(tmp_path / "gone")
        await until(lambda: watched.log[3:] == [("f", 0)])
        await watched.watcher.stop()

    run(scene())


def test_change_behind_a_symbolic_link(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "LOOK_PERIOD_S", 0.05)
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "f").write_text("1")
    link = tmp_path / "f"
    link.symlink_to(real / "f")

    async def scene() -> None:
        watched = Watched(link)
        watched.watcher.start()
        (real / "f").write_text("8")
        await until(lambda: watched.log == [("f", 8)])
        await watched.watcher.stop()

    run(scene())


@contextlib.contextmanager
def no_descriptor_free() -> Iterator[None]:
    """As in a process of thousands of sockets."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.dup(0)
    os.close(highest)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_without_a_free_descriptor_a_file_keeps_its_value(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is known of it then: 0 would change priorities, weights of servers, or fail them.
    What it holds counts as soon as it can be read, and so does that it is gone."""
    monkeypatch.setattr(file_module, "LOOK_PERIOD_S", 0.05)
    written, gone = tmp_path / "written", tmp_path / "gone"
    for path in (written, gone):
        path.write_text("-30")
    spare = written.with_name("spare")
    spare.write_text("-20")

    async def scene() -> None:
        watched = Watched(written, gone)
        watched.watcher.start()
        with no_descriptor_free():
            spare.rename(written)
            gone.unlink()
            await asyncio.sleep(0.3)
            assert watched.log == []
            started = Watched(written)
            started.watcher.start()
            assert started.watcher.value("written") == 0
        await until(lambda: len(watched.log) == 2)
        assert sorted(watched.log) == [("gone", 0), ("written", -20)]
        await until(lambda: started.log == [("written", -20)])
        await watched.watcher.stop()
        await started.watcher.stop()

    run(scene())
    told = [record.getMessage() for record in caplog.records if "it still" in record.getMessage()]
    assert len(told) == 3, "once for each, however often it is looked at"


def test_a_directory_with_two_names(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has one watch for both."""
    monkeypatch.setattr(file_module, "LOOK_PERIOD_S", 60.0)
    real, other = tmp_path / "real", tmp_path / "other"
    real.mkdir()
    other.symlink_to(real)

    async def scene() -> None:
        watched = Watched(real / "one", other / "two")
        watched.watcher.start()
        for name, value in (("one", 1), ("two", 2), ("one", 3)):
            (real / name).write_text(str(value))
            await until(lambda name=name, value=value: watched.log[-1:] == [(name, value)])
        await watched.watcher.stop()

    run(scene())


def test_a_file_emptied_over_and_over_waits_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a writer empties it, one look is due; and none after the end."""
    monkeypatch.setattr(file_module, "LOOK_PERIOD_S", 60.0)
    monkeypatch.setattr(file_module, "EMPTY_S", 60.0)
    path = tmp_path / "f"
    path.write_text("5")

    async def scene() -> None:
        watched = Watched(path)
        watched.watcher.start()
        loop = asyncio.get_running_loop()
        due: list[asyncio.TimerHandle] = []
        later = loop.call_later

        def counted(*arguments: Any) -> asyncio.TimerHandle:
            due.append(later(*arguments))
            return due[-1]

        watched.watcher._loop = SimpleNamespace(  # type: ignore[assignment]
            call_later=counted, remove_reader=loop.remove_reader
        )
        for _ in range(5):
            count = len(due)
            path.write_text("")
            await until(lambda count=count: len(due) > count)
        assert [handle.cancelled() for handle in due[:-1]] == [True] * (len(due) - 1)
        assert not due[-1].cancelled()
        await watched.watcher.stop()
        assert due[-1].cancelled()
        assert watched.log == []

    run(scene())


def test_redefine_follows_other_files(run: Run, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    two.write_text("2")

    async def scene() -> None:
        watched = Watched(one)
        watched.watcher.start()
        await watched.watcher.redefine([model.TrackFile(name="two", file=str(two), init_value=9)])
        assert watched.watcher.value("two") == 2
        two.write_text("3")
        await until(lambda: watched.log == [("two", 3)])
        await watched.watcher.stop()

    run(scene())
