"""Notify FIFOs: lines, ownership, full pipes, reader programs."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import pwd
import stat
from pathlib import Path

import pytest
from notify_helpers import Fake, configuration, instance

from fastvrrp.config import model
from fastvrrp.notify import fifo as fifo_module
from fastvrrp.notify.fifo import FifoError, FifoWriter, open_checked, prepare
from fastvrrp.notify.queue import Notifier
from fastvrrp.supervisor.runner import Executor
from looping import Run, command, until

F_SETPIPE_SZ = 1031  # include/uapi/linux/fcntl.h
PRIORITIES = model.Notify(notify_priority_changes=True)


def reader(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def read_lines(fd: int) -> list[str]:
    data = b""
    while True:
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            break
        if not chunk:
            break
        data += chunk
    assert data.endswith(b"\n") or not data
    return data.decode().splitlines()


def test_lines(run: Run, tmp_path: Path) -> None:
    both, vrrp = tmp_path / "both", tmp_path / "vrrp"
    group = model.SyncGroup(name="my group", members=("A",))
    config = configuration(
        instance("A", PRIORITIES),
        instance("B"),
        groups=[group],
        notify_fifo=model.Fifo(path=str(both)),
        vrrp_notify_fifo=model.Fifo(path=str(vrrp)),
    )

    async def scene() -> None:
        notifier = Notifier(config, Fake())
        await notifier.start()
        fds = [reader(both), reader(vrrp)]
        notifier.instance_state("A", "BACKUP", 100)
        notifier.instance_state("B", "BACKUP", 50)
        notifier.group_state("my group", "BACKUP")
        notifier.priority_change("A", "BACKUP", 110)
        notifier.priority_change("B", "BACKUP", 60)
        notifier.priority_change("A", "FAULT", 111)
        notifier.instance_state("A", "MASTER", 110)
        notifier.priority_change("A", "MASTER", 90)
        notifier.rx_lower_pri("A", 90)
        await notifier.stop_all()
        expected = [
            'INSTANCE "A" BACKUP 100',
            'INSTANCE "B" BACKUP 50',
            'GROUP "my group" BACKUP 0',
            'INSTANCE "A" BACKUP_PRIORITY 110',
            'INSTANCE "A" MASTER 110',
            'INSTANCE "A" MASTER_PRIORITY 90',
            'INSTANCE "A" MASTER_RX_LOWER_PRI 90',
            'INSTANCE "A" STOP 90',
            'INSTANCE "B" STOP 60',
            'GROUP "my group" STOP 0',
        ]
        for fd in fds:
            assert read_lines(fd) == expected
            os.close(fd)

    run(scene())
    assert not both.exists()  # created by us, so removed by us


def test_lines_before_the_start_are_not_lost(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    config = configuration(instance("A"), notify_fifo=model.Fifo(path=str(path)))

    async def scene() -> None:
        notifier = Notifier(config, Fake())
        notifier.instance_state("A", "BACKUP", 100)
        notifier.instance_state("A", "MASTER", 100)
        await notifier.start()
        fd = reader(path)
        assert read_lines(fd) == ['INSTANCE "A" MASTER 100']
        os.close(fd)
        await notifier.stop_all()

    run(scene())


def test_full_pipe_keeps_the_last_state_of_everybody(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    names = [f"I{n}" for n in range(300)]
    config = configuration(
        *(instance(name, PRIORITIES) for name in names), notify_fifo=model.Fifo(path=str(path))
    )

    async def scene() -> None:
        notifier = Notifier(config, Fake())
        await notifier.start()
        fd = reader(path)
        fcntl.fcntl(fd, F_SETPIPE_SZ, 4096)
        final: dict[str, str] = {}
        for turn in range(7):
            for number, name in enumerate(names):
                state = ("BACKUP", "MASTER", "FAULT")[(turn + number) % 3]
                final[name] = f'INSTANCE "{name}" {state} {turn}'
                notifier.instance_state(name, state, turn)
                notifier.rx_lower_pri(name, turn)
        assert notifier.status()["fifos"][0]["dropped"] > 1000
        last: dict[str, str] = {}
        while last != final:
            for line in read_lines(fd):
                last[line.split('"')[1]] = line
            await asyncio.sleep(0.001)
        # And it goes on as before.
        notifier.instance_state("I0", "MASTER", 77)
        notifier.instance_state("I0", "BACKUP", 78)
        assert read_lines(fd) == ['INSTANCE "I0" MASTER 77', 'INSTANCE "I0" BACKUP 78']
        os.close(fd)
        await notifier.stop_all()

    run(scene())


def test_a_line_longer_than_the_pipe_arrives_in_one_piece(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    long = "x" * 10_000
    config = configuration(instance(long), instance("B"), notify_fifo=model.Fifo(path=str(path)))

    async def scene() -> None:
        notifier = Notifier(config, Fake())
        await notifier.start()
        fd = reader(path)
        fcntl.fcntl(fd, F_SETPIPE_SZ, 4096)
        notifier.instance_state(long, "MASTER", 1)
        notifier.instance_state("B", "MASTER", 2)
        data = b""
        while data.count(b"\n") < 2:
            try:
                data += os.read(fd, 65536)
            except BlockingIOError:
                await asyncio.sleep(0.001)
        assert data.decode() == f'INSTANCE "{long}" MASTER 1\nINSTANCE "B" MASTER 2\n'
        os.close(fd)
        await notifier.stop_all()

    run(scene())


def test_names_cannot_forge_lines(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    config = configuration(instance("A\nGROUP"), notify_fifo=model.Fifo(path=str(path)))

    async def scene() -> None:
        notifier = Notifier(config, Fake())
        await notifier.start()
        fd = reader(path)
        notifier.instance_state("A\nGROUP", "MASTER", 1)
        assert read_lines(fd) == ['INSTANCE "A?GROUP" MASTER 1']
        os.close(fd)
        await notifier.stop_all()

    run(scene())


def test_mode_and_owner(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    entry = pwd.getpwnam("nobody")
    account = model.Account(user="nobody", uid=entry.pw_uid, gid=entry.pw_gid)
    old = os.umask(0o777)
    try:
        fifo = model.Fifo(path=str(path), account=account)
        created = prepare(fifo)
    finally:
        os.umask(old)
    fd = open_checked(fifo, created=created)
    os.close(fd)
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert (status.st_uid, status.st_gid) == (entry.pw_uid, entry.pw_gid)
    # It is accepted again as its own account's, and refused as anybody else's.
    os.close(open_checked(fifo, created=False))
    with pytest.raises(FifoError, match="belongs to uid"):
        open_checked(model.Fifo(path=str(path)), created=False)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_fifo_that_cannot_be_given_away_is_not_left_behind(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A daemon without root may not change its owner."""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    path = tmp_path / "fifo"
    account = model.Account(user="nobody", uid=65534, gid=65534)

    async def scene() -> None:
        fifo = model.Fifo(path=str(path), account=account)
        writer = FifoWriter(fifo, Fake(), script_account=None)
        before = descriptors()
        await writer.open()
        assert not writer.is_open
        assert descriptors() == before
        await writer.close()

    run(scene())
    assert not path.exists()
    assert "Operation not permitted" in caplog.text


@pytest.mark.parametrize("kind", ["file", "symlink", "directory", "dangling"])
def test_planted_files_are_refused(run: Run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "fifo"
    target = tmp_path / "target"
    os.mkfifo(target)
    match kind:
        case "file":
            path.write_text("x")
        case "symlink":
            path.symlink_to(target)
        case "dangling":
            path.symlink_to(tmp_path / "nothing")
        case "directory":
            path.mkdir()
    config = configuration(instance("A"), notify_fifo=model.Fifo(path=str(path)))

    async def scene() -> None:
        notifier = Notifier(config, Fake())
        await notifier.start()
        assert not notifier.status()["fifos"][0]["open"]
        notifier.instance_state("A", "MASTER", 1)
        await notifier.stop_all()

    run(scene())
    assert path.is_symlink() or path.exists()
    assert not (tmp_path / "nothing").exists()
    if kind == "file":
        assert path.read_text() == "x"


def test_existing_fifo_is_used_and_kept(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o600)
    config = configuration(instance("A"), notify_fifo=model.Fifo(path=str(path)))

    async def scene() -> None:
        fd = reader(path)
        notifier = Notifier(config, Fake())
        await notifier.start()
        notifier.instance_state("A", "MASTER", 1)
        await notifier.stop_all()
        assert read_lines(fd) == ['INSTANCE "A" MASTER 1', 'INSTANCE "A" STOP 1']
        os.close(fd)

    run(scene())
    assert path.exists()


def test_reload_keeps_or_replaces_fifo_and_reader(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fifo_module, "DRAIN_LIMIT_S", 0.1)  # nobody reads the second one
    one, two = tmp_path / "one", tmp_path / "two"
    script = command("/reader", "-v")
    before = configuration(instance("A"), notify_fifo=model.Fifo(path=str(one), script=script))
    same = configuration(
        instance("A"),
        notify_fifo=model.Fifo(path=str(one), script=script),
        fifo_write_vrrp_states_on_reload=True,
    )
    other = configuration(instance("A"), notify_fifo=model.Fifo(path=str(two), script=script))

    async def scene() -> None:
        fake = Fake()
        notifier = Notifier(before, fake)
        await notifier.start()
        assert fake.readers == {1: ("/reader", "-v", str(one))}
        fd = reader(one)
        notifier.instance_state("A", "MASTER", 1)
        await notifier.reload(same)
        assert fake.terminated == []
        assert read_lines(fd) == ['INSTANCE "A" MASTER 1'] * 2
        await notifier.reload(other)
        os.close(fd)
        assert fake.terminated == [1]
        assert fake.readers[2] == ("/reader", "-v", str(two))
        assert not one.exists()
        await notifier.stop_all()
        assert fake.terminated == [1, 2]

    run(scene())


def test_real_reader_sees_everything_until_the_end(run: Run, tmp_path: Path) -> None:
    path, log = tmp_path / "fifo", tmp_path / "log"
    script = tmp_path / "reader.sh"
    script.write_text(f'#!/bin/sh\nwhile read -r line; do echo "$line" >> {log}; done < "$1"\n')
    script.chmod(0o755)
    config = configuration(
        instance("A"),
        notify_fifo=model.Fifo(path=str(path), script=command(str(script))),
    )

    async def scene() -> None:
        executor = Executor()
        notifier = Notifier(config, executor)
        await notifier.start()
        assert len(executor.pids) == 1
        notifier.instance_state("A", "BACKUP", 1)
        notifier.instance_state("A", "MASTER", 2)
        await notifier.stop_all({"A": 3})
        assert not executor.pids
        await executor.close()

    run(scene())
    assert log.read_text().splitlines() == [
        'INSTANCE "A" BACKUP 1',
        'INSTANCE "A" MASTER 2',
        'INSTANCE "A" STOP 3',
    ]


def test_reader_that_cannot_start_leaves_the_fifo_usable(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"

    async def scene() -> None:
        executor = Executor()
        fifo = model.Fifo(path=str(path), script=command(str(tmp_path / "missing")))
        writer = FifoWriter(fifo, executor, script_account=None)
        await writer.open()
        assert writer.is_open
        fd = reader(path)
        writer.write("A", "line", final=True)
        assert read_lines(fd) == ["line"]
        os.close(fd)
        await writer.close()
        await until(lambda: not path.exists())
        await executor.close()

    run(scene())
