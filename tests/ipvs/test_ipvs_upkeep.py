"""The table is as it is wanted: changes, foreign changes, refusals, crashes, the end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from table_contract import (
    D1,
    D2,
    K4,
    S4,
    add,
    change,
    delete,
    destination,
    done,
    drop,
    put,
    service_key,
)

from fastvrrp.ipvs import upkeep as module
from fastvrrp.ipvs.journal import Contents, Journal
from fastvrrp.ipvs.memory_table import MemoryTable
from fastvrrp.ipvs.objects import (
    Destination,
    Entries,
    Entry,
    Service,
    ServiceKey,
)
from fastvrrp.ipvs.table import Failure, Operation, Verb
from fastvrrp.ipvs.upkeep import Upkeep
from looping import Run, until

K5, K6, K7 = (service_key(f"192.0.2.{n}") for n in (5, 6, 7))
HEAVY = D1._replace(weight=9)


def entry(key: ServiceKey, *destinations: Destination, scheduler: str = "rr") -> Entry:
    return Entry(Service(key, scheduler), {made.key: made for made in destinations})


def wanted(*entries: Entry) -> Entries:
    return {made.service.key: made for made in entries}


class Table(MemoryTable):
    """Counts its calls; can be told that it cannot be asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.trouble = 0  # errno

    async def apply(self, operations: Iterable[Operation]) -> list[Failure]:
        self.calls += 1
        await asyncio.sleep(0)
        if self.trouble:
            raise OSError(self.trouble, os.strerror(self.trouble))
        return await super().apply(operations)

    async def services(self) -> dict[ServiceKey, Service]:
        await asyncio.sleep(0)
        if self.trouble:
            raise OSError(self.trouble, os.strerror(self.trouble))
        return await super().services()


class World:
    """A table, a journal, and an upkeep of it. `table` can be changed as another program would."""

    def __init__(self, directory: Path) -> None:
        self.table = Table()
        self.file = directory / "ipvs.journal"
        self.upkeep = self.made()

    def made(self, **more: float) -> Upkeep:
        return Upkeep(self.table, Journal(self.file), **more)

    @property
    def kept(self) -> Contents:
        """The journal, as the next process would read it."""
        return Journal(self.file).read()

    async def start(self, *entries: Entry) -> None:
        await self.upkeep.start()
        self.upkeep.want_all({"V": wanted(*entries)} if entries else {})
        await self.upkeep.settled()

    async def crash(self) -> None:
        """The process is gone, another one begins."""
        await self.upkeep.close()
        self.upkeep = self.made()
        self.table.log.clear()

    async def look(self) -> None:
        await self.upkeep.look()
        await self.upkeep.settled()


Scene = Callable[[World], Awaitable[None]]
Play = Callable[[Scene], None]


@pytest.fixture
def play(run: Run, tmp_path: Path) -> Play:
    def runner(scene: Scene) -> None:
        async def main() -> None:
            world = World(tmp_path)
            try:
                await scene(world)
            finally:
                await world.upkeep.close()

        run(main())

    return runner


def test_what_is_wanted_is_there(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1, D2), entry(K5))
        assert await world.table.dump() == wanted(entry(K4, D1, D2), entry(K5))
        assert set(world.kept.services) == {K4, K5}
        assert world.table.calls == 1

    play(scene)


def test_the_journal_is_written_before_a_service_is_added(play: Play) -> None:
    async def scene(world: World) -> None:
        seen = []

        class Watching(Table):
            async def apply(self, operations: Iterable[Operation]) -> list[Failure]:
                seen.append(set(world.kept.services))
                return await super().apply(operations)

        world.table = Watching()
        await world.crash()
        await world.start(entry(K4, D1))
        world.upkeep.want_all({"V": wanted(entry(K5, D1))})
        await world.upkeep.settled()
        assert seen == [{K4}, {K4, K5}]
        assert set(world.kept.services) == {K5}

    play(scene)


def test_one_weight_is_one_operation(play: Play) -> None:
    many = [destination(port=n) for n in range(1, 300)]

    async def scene(world: World) -> None:
        await world.start(entry(K4, *many), entry(K5, *many))
        world.table.log.clear()
        many[7] = many[7]._replace(weight=5)
        world.upkeep.want_all({"V": wanted(entry(K4, *many), entry(K5, *many[:0]))})
        world.upkeep.want("V", wanted(entry(K4, *many), entry(K5, D1)))
        await world.upkeep.settled()
        assert world.table.log[0] == change(K4, many[7])
        assert [o for o in world.table.log if isinstance(o, Operation) and o.key == K4] == [
            change(K4, many[7])
        ]

    play(scene)


def test_equal_wishes_are_no_work(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1))
        calls = world.table.calls
        world.upkeep.want_all({"V": wanted(entry(K4, D1))})
        world.upkeep.want("V", wanted(entry(K4, D1)))
        await world.upkeep.settled()
        assert world.table.calls == calls
        world.upkeep.want_all({})
        await world.upkeep.settled()
        assert await world.table.dump() == {}

    play(scene)


def test_changes_of_one_turn_go_together(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start()
        for number, key in enumerate((K4, K5, K6)):
            world.upkeep.want(f"V{number}", wanted(entry(key, D1)))
        await world.upkeep.settled()
        assert world.table.calls == 1
        assert len(await world.table.services()) == 3

    play(scene)


def test_wishes_that_come_during_the_work(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.upkeep.start()
        for weight in range(1, 20):
            world.upkeep.want("V", wanted(entry(K4, D1._replace(weight=weight))))
            await asyncio.sleep(0)
        await world.upkeep.settled()
        assert (await world.table.destinations([K4]))[K4] == {D1.key: D1._replace(weight=19)}

    play(scene)


def test_a_service_moves_from_one_virtual_server_to_another(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.upkeep.start()
        for before, after in (("A", "B"), ("B", "A")):
            world.upkeep.want_all({before: wanted(entry(K4, D1)), after: {}})
            await world.upkeep.settled()
            world.table.log.clear()
            world.upkeep.want_all({before: {}, after: wanted(entry(K4, D1))})
            await world.upkeep.settled()
            assert world.table.log == []
            world.upkeep.want_all({after: wanted(entry(K4, HEAVY))})
            await world.upkeep.settled()
            assert world.table.log == [change(K4, HEAVY)]

    play(scene)


# -- after a crash


def test_the_next_process_takes_over_without_a_change(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1, D2), entry(K5))
        await world.crash()
        found = await world.upkeep.start()
        assert found == wanted(entry(K4, D1, D2), entry(K5))
        world.upkeep.want_all({"V": found})
        await world.upkeep.settled()
        assert world.table.log == []
        await world.look()
        assert world.upkeep.mended == 0

    play(scene)


def test_what_the_configuration_lost_meanwhile_goes(play: Play) -> None:
    """Ours only: the same service made by somebody else is not known to the journal."""

    async def scene(world: World) -> None:
        await world.start(entry(K4, D1), entry(K5, D1))
        await done(world.table, add(Service(K6)), put(K6, D2))
        await world.crash()
        await world.start(entry(K4, HEAVY, D2))
        assert world.table.log == [change(K4, HEAVY), put(K4, D2), delete(K5)]
        assert (await world.table.services()).keys() == {K4, K6}
        assert set(world.kept.services) == {K4}

    play(scene)


def test_without_a_journal_nothing_is_ours_but_what_is_wanted(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1), entry(K5, D1))
        world.file.write_text("{")
        await world.crash()
        await world.start(entry(K4, D1))
        assert world.table.log == []
        assert (await world.table.services()).keys() == {K4, K5}

    play(scene)
    assert "not a journal" in caplog.text


def test_what_others_removed_is_ours_no_more(play: Play) -> None:
    """Whoever makes it again may keep it, though the process ended before it noticed."""

    async def scene(world: World) -> None:
        await world.start(entry(K4, D1), entry(K5, D1))
        await done(world.table, delete(K4))
        await world.crash()
        await world.upkeep.start()
        await world.crash()
        await done(world.table, add(Service(K4, "sh")))
        await world.start(entry(K5, D1))
        assert (await world.table.services()).keys() == {K4, K5}

    play(scene)


def test_flush_at_the_start_spares_what_is_wanted(play: Play) -> None:
    """lvs_flush: what nobody wants goes, whoever made it; the rest keeps its connections."""

    async def scene(world: World) -> None:
        await done(world.table, add(S4), put(K4, D1), add(Service(K5)), add(Service(K6)))
        world.table.log.clear()
        await world.upkeep.start(flush=True)
        world.upkeep.want_all({"V": wanted(entry(K4, D1, scheduler="wlc"))})
        await world.upkeep.settled()
        assert sorted(world.table.log, key=str) == [delete(K5), delete(K6)]

    play(scene)


# -- other programs

FOREIGN: dict[str, Sequence[Operation]] = {
    "weight": [change(K4, HEAVY)],
    "destination removed": [drop(K4, D1)],
    "destination added": [put(K4, destination(port=9))],
    "service edited": [Operation(Verb.EDIT_SERVICE, K4, Service(K4, "sh"))],
    "service removed": [delete(K4)],
    "service made anew": [delete(K4), add(Service(K4, "sh")), put(K4, HEAVY)],
    "everything": [delete(K4), delete(K5)],
}


@pytest.mark.parametrize("case", FOREIGN.values(), ids=FOREIGN)
def test_what_others_change_is_put_right(
    play: Play, caplog: pytest.LogCaptureFixture, case: Sequence[Operation]
) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1, D2), entry(K5, D1))
        await done(world.table, add(Service(K6)), *case)
        await world.look()
        expected = wanted(entry(K4, D1, D2), entry(K5, D1))
        assert await world.table.dump() == {**expected, K6: Entry(Service(K6), {})}
        mended = world.upkeep.mended
        assert mended >= 1
        await world.look()
        assert world.upkeep.mended == mended

    play(scene)
    assert f"another program changed {K4}" in caplog.text


def test_looking_changes_nothing_that_is_right(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1, D2), entry(K5, D1))
        world.table.log.clear()
        await world.look()
        await world.look()
        assert world.table.log == []
        assert world.upkeep.mended == 0

    play(scene)


def test_rounds_of_looks_go_on_by_themselves(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.upkeep.close()
        world.upkeep = world.made(round_s=0.02)
        await world.start(entry(K4, D1))
        await done(world.table, delete(K4))
        await until(lambda: world.table._services)
        world.table.trouble = errno.ENOMEM
        await asyncio.sleep(0.1)
        world.table.trouble = 0
        await done(world.table, delete(K4))
        await until(lambda: world.table._services)

    play(scene)


def test_many_foreign_changes_are_few_lines(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(world: World) -> None:
        await world.start(*(entry(service_key(port=n), D1) for n in range(1, 200)))
        await world.table.flush()
        await world.look()
        assert len(await world.table.services()) == 199
        assert world.upkeep.mended == 199

    play(scene)
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(lines) == module.SHOWN + 1
    assert "194 more" in lines[-1]


RACES: dict[str, tuple[Sequence[Operation], Entry]] = {
    "service is there": ([add(Service(K5, "sh")), put(K5, HEAVY)], entry(K5, D1)),
    "service is gone": ([delete(K4)], entry(K4, D1, D2, scheduler="wlc")),
    "service of a new destination is gone": ([delete(K4)], entry(K4, D1, D2)),
    "destination is there": ([put(K4, D2._replace(weight=7))], entry(K4, D1, D2)),
    "destination is gone": ([drop(K4, D1)], entry(K4, HEAVY)),
    "destination to remove is gone": ([drop(K4, D1)], entry(K4, D2)),
    "destination goes and is back": ([drop(K4, D1), put(K4, D1)], entry(K4, HEAVY)),
}


@pytest.mark.parametrize("case", RACES.values(), ids=RACES)
def test_a_table_that_is_not_as_it_was(play: Play, case: tuple[Sequence[Operation], Entry]) -> None:
    """Others were quicker than the next look: noticed at once, and put right."""
    foreign, want = case

    async def scene(world: World) -> None:
        await world.start(entry(K4, D1))
        await done(world.table, *foreign)
        world.upkeep.want("V", wanted(want))
        await world.upkeep.settled()
        assert (await world.table.dump())[want.service.key] == want
        assert world.upkeep.refused == {}

    play(scene)


def test_a_service_to_remove_that_is_gone(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1))
        await done(world.table, delete(K4))
        world.upkeep.want_all({})
        await world.upkeep.settled()
        assert world.kept.services == ()

    play(scene)


# -- what the kernel refuses

BAD_SERVICE = entry(K4, D1, D2, scheduler="nope")
BAD = destination("224.0.0.1")


def test_a_service_that_is_refused(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, the others go on; when the kernel can, the service is there."""

    async def scene(world: World) -> None:
        await world.start(BAD_SERVICE, entry(K5, D1))
        assert (await world.table.dump()) == wanted(entry(K5, D1))
        [(key, failures)] = world.upkeep.refused.items()
        assert key == K4
        assert {name: f.errno for name, f in failures.items()} == {None: errno.ENOENT}
        for _ in range(3):
            await world.look()
        assert world.upkeep.mended == 0
        world.upkeep.want("V", wanted(entry(K4, D1), entry(K5, D1)))
        await world.upkeep.settled()
        assert world.upkeep.refused == {}
        assert (await world.table.dump()) == wanted(entry(K4, D1), entry(K5, D1))

    play(scene)
    lines = [r.getMessage() for r in caplog.records]
    assert lines == [
        "the kernel refused: add service [192.0.2.1]:tcp:80: No such file or directory"
    ]


def test_a_destination_that_is_refused(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1, BAD, D2))
        assert (await world.table.destinations([K4]))[K4].keys() == {D1.key, D2.key}
        await world.look()
        world.upkeep.want("V", wanted(entry(K4, HEAVY, BAD)))
        await world.upkeep.settled()
        assert (await world.table.destinations([K4]))[K4] == {D1.key: HEAVY}
        assert world.upkeep.refused.keys() == {K4}
        world.upkeep.want("V", wanted(entry(K4, HEAVY)))
        await world.upkeep.settled()
        assert world.upkeep.refused == {}

    play(scene)
    assert caplog.text.count("the kernel refused") == 1
    assert "add destination [224.0.0.1]:80 of [192.0.2.1]:tcp:80: Invalid argument" in caplog.text


def test_an_edit_that_is_refused_leaves_the_service(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1))
        world.upkeep.want("V", wanted(entry(K4, D1, D2, scheduler="nope")))
        await world.upkeep.settled()
        assert await world.table.dump() == wanted(entry(K4, D1, D2))
        assert world.upkeep.refused.keys() == {K4}

    play(scene)


def test_what_others_do_beside_a_refusal_is_put_right(play: Play) -> None:
    """Within one look, though what is refused is tried again in it."""

    async def scene(world: World) -> None:
        await world.start(entry(K4, D1))
        world.upkeep.want("V", wanted(entry(K4, D1, scheduler="nope")))
        await world.look()
        await done(world.table, put(K4, D2))
        await world.look()
        assert await world.table.dump() == wanted(entry(K4, D1))

    play(scene)


def test_many_refusals_are_few_lines(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, *(destination("224.0.0.1", n) for n in range(1, 100))))
        assert len(world.upkeep.refused[K4]) == 99

    play(scene)
    assert len(caplog.records) == module.SHOWN + 1
    assert "94 more" in caplog.text


def test_a_kernel_that_cannot_be_asked(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, what was wanted comes when it can; nothing waits for it forever."""

    async def scene(world: World) -> None:
        await world.upkeep.close()
        world.upkeep = world.made(retry_s=0.01)
        await world.start(entry(K4, D1))
        world.table.trouble = errno.ENOBUFS
        world.upkeep.want("V", wanted(entry(K4, HEAVY), entry(K5, D1)))
        await world.upkeep.settled()
        await asyncio.sleep(0.05)
        world.table.trouble = 0
        expected = wanted(entry(K4, HEAVY), entry(K5, D1))
        async with asyncio.timeout(3):
            while await world.table.dump() != expected:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    play(scene)
    assert caplog.text.count("cannot ask the kernel") == 1


def test_a_start_without_a_kernel(play: Play) -> None:
    async def scene(world: World) -> None:
        world.table.trouble = errno.ENOENT

        class Silent(Table):
            async def dump(self) -> Entries:
                raise OSError(errno.ENOENT, "no IPVS")

        upkeep = Upkeep(Silent(), Journal(world.file))
        with pytest.raises(FileNotFoundError):
            await upkeep.start()
        await upkeep.close()

    play(scene)


def test_a_journal_that_cannot_be_written(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(world: World) -> None:
        world.file.mkdir()
        await world.start(entry(K4, D1))
        world.upkeep.want("V", wanted(entry(K4, D1), entry(K5, D1)))
        await world.upkeep.settled()
        assert len(await world.table.services()) == 2
        world.file.rmdir()
        world.upkeep.want("V", wanted(entry(K4, D1)))
        await world.upkeep.settled()
        assert world.kept.services == (K4,)

    play(scene)
    assert caplog.text.count("cannot write") == 1


# -- the end


def test_clear_takes_ours_away(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1), entry(K5, D1))
        await done(world.table, add(Service(K6)))
        world.table.log.clear()
        await world.upkeep.clear()
        assert (await world.table.services()).keys() == {K6}
        assert sorted(world.table.log, key=str) == [delete(K4), delete(K5)]
        assert not world.file.exists()

    play(scene)


def test_clear_with_flush(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1), entry(K5, D1))
        await done(world.table, add(Service(K6)))
        world.table.log.clear()
        await world.upkeep.clear(flush=True)
        assert await world.table.services() == {}
        assert world.table.log == ["flush"]
        assert not world.file.exists()

    play(scene)


def test_clear_without_a_kernel_comes_to_its_end(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1))
        world.table.trouble = errno.EPERM
        await world.upkeep.clear()
        assert set(world.kept.services) == {K4}

    play(scene)


def test_close_leaves_the_table(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(K4, D1))
        await world.upkeep.close()
        assert await world.table.dump() == wanted(entry(K4, D1))
        assert set(world.kept.services) == {K4}

    play(scene)


# -- any story

keys = st.sampled_from([K4, K5, K6])
made_entries = st.builds(
    lambda key, scheduler, weights: entry(
        key,
        *(destination(port=port, weight=weight) for port, weight in weights.items()),
        scheduler=scheduler,
    ),
    keys,
    st.sampled_from(["rr", "wlc", "nope"]),
    st.dictionaries(st.integers(1, 3), st.integers(0, 2), max_size=3),
)
wishes = st.lists(made_entries, max_size=3).map(lambda found: wanted(*found))
foreign = st.one_of(
    st.builds(delete, keys),
    st.builds(lambda key: add(Service(key, "sh")), st.sampled_from([K4, K5, K6, K7])),
    st.builds(
        lambda verb, key, port, weight: verb(key, destination(port=port, weight=weight)),
        st.sampled_from([put, change, drop]),
        st.sampled_from([K4, K5, K6, K7]),
        st.integers(1, 4),
        st.integers(0, 2),
    ),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("want"), wishes),
        st.tuples(st.just("foreign"), foreign),
        st.tuples(st.sampled_from(["look", "crash", "turn"]), st.none()),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=150)
@given(story=steps)
@example(  # found: a destination was left for a round in a service whose edit is refused
    [
        ("want", wanted(entry(K5))),
        ("look", None),
        ("want", wanted(entry(K5, scheduler="nope"))),
        ("look", None),
        ("foreign", put(K5, destination(port=1, weight=0))),
    ]
)
@example(  # found: a service that others removed was still in the journal
    [
        ("want", wanted(entry(K4))),
        ("look", None),
        ("want", {}),
        ("foreign", delete(K4)),
        ("crash", None),
    ]
)
def test_whatever_happens_the_table_is_as_wanted(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, object]]
) -> None:
    """In any order of wishes, foreign changes and crashes: in the end ours is as wanted, and K7,
    which never was ours, as others made it."""

    async def scene() -> None:
        world = World(tmp_path_factory.mktemp("story"))
        other = MemoryTable()
        wish: Entries = {}
        await world.start()
        for kind, what in story:
            if kind == "want":
                wish = what  # type: ignore[assignment]
                world.upkeep.want_all({"V": wish})
            elif kind == "foreign":
                await MemoryTable.apply(world.table, [what])  # type: ignore[list-item]
                if what.key == K7:  # type: ignore[attr-defined]
                    await other.apply([what])  # type: ignore[list-item]
            elif kind == "look":
                await world.look()
            elif kind == "crash":
                await world.crash()
                await world.upkeep.start()
                world.upkeep.want_all({"V": wish})
            else:
                await asyncio.sleep(0)
        await world.upkeep.settled()
        await world.look()
        found = await world.table.dump()
        others = await other.dump()
        assert found.get(K7) == others.get(K7)
        for key, want in wish.items():
            if want.service.scheduler == "nope":
                # It was refused; what is there of it has another's scheduler.
                assert key in world.upkeep.refused
                assert key not in found or found[key].destinations == want.destinations
            else:
                assert found[key] == want
        ours = set(world.kept.services)
        assert ours <= wish.keys()
        await world.upkeep.clear()
        assert (await world.table.services()).keys() == found.keys() - ours
        await world.upkeep.close()

    asyncio.run(scene())
