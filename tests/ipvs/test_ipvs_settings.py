"""Sync daemons and timeouts are as they are wanted, whoever changes them."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from table_contract import D1, K4, S4, add, destination, done, put

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs.journal import Journal
from fastvrrp.ipvs.memory_table import MemoryTable
from fastvrrp.ipvs.objects import Daemon, Method, Role
from fastvrrp.ipvs.upkeep import Upkeep
from looping import Run

MASTER = Daemon(Role.MASTER, "eth0", 7)
BACKUP = Daemon(Role.BACKUP, "eth0", 7)
NOTHING = Timeouts()
CHANGES = {"start_daemon", "stop_daemon", "set_timeouts"}


class Table(MemoryTable):
    """Can be told that it cannot be asked."""

    trouble = 0  # errno

    async def daemons(self) -> dict[Role, Daemon]:
        self._fail()
        return await super().daemons()

    async def timeouts(self) -> Timeouts:
        self._fail()
        return await super().timeouts()

    async def stop_daemon(self, role: Role) -> None:
        self._fail()
        await super().stop_daemon(role)

    def _fail(self) -> None:
        if self.trouble:
            raise OSError(self.trouble, os.strerror(self.trouble))


class World:
    def __init__(self, directory: Path) -> None:
        self.table = Table()
        self.file = directory / "journal"
        self.upkeep = Upkeep(self.table, Journal(self.file))

    async def running(self) -> dict[Role, tuple[str, int]]:
        return {role: (found.interface, found.id) for role, found in self.table._daemons.items()}

    def changes(self) -> list[str]:
        """What was asked for since the last time."""
        found = [str(entry) for entry in self.table.log if entry in CHANGES]
        self.table.log.clear()
        return found

    async def crash(self) -> None:
        await self.upkeep.close()
        self.upkeep = Upkeep(self.table, Journal(self.file))
        await self.upkeep.start()


Scene = Callable[[World], Awaitable[None]]
Play = Callable[[Scene], None]


@pytest.fixture
def play(run: Run, tmp_path: Path) -> Play:
    def runner(scene: Scene) -> None:
        async def main() -> None:
            world = World(tmp_path)
            await world.upkeep.start()
            try:
                await scene(world)
            finally:
                await world.upkeep.close()

        run(main())

    return runner


def test_nothing_is_wanted(play: Play) -> None:
    """What others set is theirs."""

    async def scene(world: World) -> None:
        await world.table.start_daemon(MASTER)
        await world.table.set_timeouts(Timeouts(tcp_s=5))
        world.changes()
        await world.upkeep.want_settings(NOTHING, {})
        await world.upkeep.look()
        await world.upkeep.clear()
        assert world.changes() == []

    play(scene)


def test_daemons_start_change_and_stop(play: Play) -> None:
    async def scene(world: World) -> None:
        want = world.upkeep.want_settings
        await want(NOTHING, {Role.BACKUP: BACKUP})
        assert await world.running() == {Role.BACKUP: ("eth0", 7)}
        assert Journal(world.file).read().daemons == (Role.BACKUP,)
        await want(NOTHING, {Role.MASTER: MASTER})
        assert await world.running() == {Role.MASTER: ("eth0", 7)}
        await want(NOTHING, {Role.MASTER: MASTER._replace(id=8), Role.BACKUP: BACKUP})
        assert await world.running() == {Role.MASTER: ("eth0", 8), Role.BACKUP: ("eth0", 7)}
        world.changes()
        await want(NOTHING, {Role.MASTER: MASTER._replace(id=8), Role.BACKUP: BACKUP})
        assert world.changes() == []
        await world.upkeep.clear()
        assert await world.running() == {}
        assert not world.file.exists()

    play(scene)


def test_a_default_instead_of_a_value(play: Play) -> None:
    """The kernel shows a length either way; which was asked for is remembered."""

    async def scene(world: World) -> None:
        await world.upkeep.want_settings(NOTHING, {Role.MASTER: MASTER._replace(maxlen=1000)})
        await world.upkeep.want_settings(NOTHING, {Role.MASTER: MASTER})
        assert world.table._daemons[Role.MASTER].maxlen == 1472

    play(scene)


def test_what_others_do_to_daemons(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.upkeep.want_settings(NOTHING, {Role.MASTER: MASTER})
        await world.table.start_daemon(BACKUP)
        await world.table.stop_daemon(Role.MASTER)
        await world.upkeep.look()
        assert (await world.running()).keys() == {Role.MASTER, Role.BACKUP}
        await world.table.stop_daemon(Role.MASTER)
        await world.table.start_daemon(MASTER._replace(id=99))
        await world.upkeep.look()
        assert (await world.running())[Role.MASTER] == ("eth0", 7)
        await world.upkeep.clear()
        assert (await world.running()).keys() == {Role.BACKUP}

    play(scene)


def test_daemons_after_a_crash(play: Play) -> None:
    async def scene(world: World) -> None:
        both = {Role.MASTER: MASTER, Role.BACKUP: BACKUP}
        await world.upkeep.want_settings(NOTHING, both)
        await world.crash()
        world.changes()
        await world.upkeep.want_settings(NOTHING, both)
        assert world.changes() == []
        await world.crash()
        await world.upkeep.want_settings(NOTHING, {Role.BACKUP: BACKUP})
        assert world.changes() == ["stop_daemon"]
        assert (await world.running()).keys() == {Role.BACKUP}

    play(scene)


def test_a_daemon_that_cannot_start(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """An interface may come later."""

    async def scene(world: World) -> None:
        later = {Role.MASTER: Daemon(Role.MASTER, "eth9")}
        for _ in range(3):
            await world.upkeep.want_settings(NOTHING, later)
        world.table._interfaces |= {"eth9"}
        await world.upkeep.look()
        assert (await world.running()).keys() == {Role.MASTER}

    play(scene)
    assert [r.getMessage() for r in caplog.records] == [
        "cannot start the master sync daemon on eth9: No such device"
    ]


def test_a_daemon_beside_servers_of_another_family(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(world: World) -> None:
        mixed = destination("2001:db8::9", method=Method.TUNNEL)
        await done(world.table, add(S4), put(K4, D1), put(K4, mixed))
        await world.upkeep.want_settings(NOTHING, {Role.MASTER: MASTER})

    play(scene)
    assert "not while a service has destinations of another family" in caplog.text


def test_daemons_that_cannot_be_asked_for(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(world: World) -> None:
        world.table.trouble = errno.EPERM
        for _ in range(2):
            await world.upkeep.want_settings(Timeouts(udp_s=5), {Role.MASTER: MASTER})
        world.table.trouble = 0
        await world.upkeep.look()
        assert (await world.running()).keys() == {Role.MASTER}
        assert (await world.table.timeouts()).udp_s == 5

    play(scene)
    assert sorted(r.getMessage() for r in caplog.records) == [
        "cannot ask for the sync daemons: Operation not permitted",
        "cannot set the IPVS timeouts: Operation not permitted",
    ]


def test_a_daemon_that_does_not_stop(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(Table):
        async def daemons(self) -> dict[Role, Daemon]:
            return await MemoryTable.daemons(self)

    async def scene(world: World) -> None:
        world.table = Stubborn()
        await world.crash()
        await world.upkeep.want_settings(NOTHING, {Role.MASTER: MASTER})
        world.table.trouble = errno.ENOMEM
        await world.upkeep.want_settings(NOTHING, {})
        assert (await world.running()).keys() == {Role.MASTER}
        assert Journal(world.file).read().daemons == (Role.MASTER,)
        world.table.trouble = 0
        await world.upkeep.look()
        assert await world.running() == {}

    play(scene)
    assert caplog.text.count("cannot stop the master sync daemon") == 1


def test_a_daemon_that_stopped_meanwhile(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    class Quick(Table):
        async def stop_daemon(self, role: Role) -> None:
            await MemoryTable.stop_daemon(self, role)
            await MemoryTable.stop_daemon(self, role)

    async def scene(world: World) -> None:
        world.table = Quick()
        await world.crash()
        await world.upkeep.want_settings(NOTHING, {Role.MASTER: MASTER})
        await world.upkeep.want_settings(NOTHING, {})
        assert Journal(world.file).read().daemons == ()

    play(scene)
    assert caplog.text == ""


def test_timeouts(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.upkeep.want_settings(Timeouts(tcp_s=7200, udp_s=30), {})
        assert await world.table.timeouts() == Timeouts(tcp_s=7200, tcpfin_s=120, udp_s=30)
        world.changes()
        await world.upkeep.look()
        assert world.changes() == []
        await world.table.set_timeouts(Timeouts(tcp_s=1, tcpfin_s=2))
        await world.upkeep.look()
        assert await world.table.timeouts() == Timeouts(tcp_s=7200, tcpfin_s=2, udp_s=30)

    play(scene)


def test_timeouts_become_what_they_were(play: Play) -> None:
    """When a reload no longer names them, and at the end; also those of a process that crashed."""

    async def scene(world: World) -> None:
        await world.table.set_timeouts(Timeouts(tcp_s=600))
        await world.upkeep.want_settings(Timeouts(tcp_s=7200, udp_s=30), {})
        assert Journal(world.file).read().timeouts == Timeouts(tcp_s=600, udp_s=300)
        await world.upkeep.want_settings(Timeouts(tcp_s=7200, tcpfin_s=60), {})
        assert await world.table.timeouts() == Timeouts(tcp_s=7200, tcpfin_s=60, udp_s=300)
        await world.table.set_timeouts(Timeouts(udp_s=5))  # another program's affair by now
        await world.crash()
        await world.upkeep.want_settings(Timeouts(tcp_s=77), {})
        assert await world.table.timeouts() == Timeouts(tcp_s=77, tcpfin_s=120, udp_s=5)
        await world.upkeep.clear()
        assert await world.table.timeouts() == Timeouts(tcp_s=600, tcpfin_s=120, udp_s=5)
        assert not world.file.exists()

    play(scene)


def test_what_timeouts_were_is_kept_until_they_are_so(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.upkeep.want_settings(Timeouts(udp_s=5), {})
        world.table.trouble = errno.EPERM
        await world.upkeep.clear()
        assert Journal(world.file).read().timeouts == Timeouts(udp_s=300)
        world.table.trouble = 0
        await world.crash()
        await world.upkeep.clear()
        assert await world.table.timeouts() == Timeouts(tcp_s=900, tcpfin_s=120, udp_s=300)
        assert not world.file.exists()

    play(scene)
