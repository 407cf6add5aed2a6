"""Order, arguments and completeness of notifications."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from notify_helpers import Fake, configuration, instance

from fastvrrp.config import model
from fastvrrp.namelist import NameList
from fastvrrp.notify import scripts as scripts_module
from fastvrrp.notify.queue import Notifier
from fastvrrp.notify.scripts import Call, ScriptQueue
from fastvrrp.supervisor.runner import Executor, RunnerService
from fastvrrp.track.runner import RunnerClient
from looping import Run, S, command, until

FULL = model.Notify(
    notify=command("/n"),
    notify_master=command("/master", "arg"),
    notify_backup=command("/backup"),
    notify_fault=command("/fault"),
    notify_stop=command("/stop"),
)


def test_arguments_and_order(run: Run) -> None:
    group = model.SyncGroup(name="G", members=("A",), notify=model.Notify(notify=command("/g")))
    config = configuration(instance("A", FULL), groups=[group])

    async def scene() -> None:
        fake = Fake()
        notifier = Notifier(config, fake)
        await notifier.start()
        for state, priority in (("BACKUP", 100), ("MASTER", 120), ("FAULT", 90)):
            notifier.instance_state("A", state, priority)
            notifier.group_state("G", state)
        await until(lambda: len(fake.ended) == 9)
        assert [argv for argv in fake.ended if argv[0] != "/g"] == [
            ("/backup",),
            ("/n", "INSTANCE", "A", "BACKUP", "100"),
            ("/master", "arg"),
            ("/n", "INSTANCE", "A", "MASTER", "120"),
            ("/fault",),
            ("/n", "INSTANCE", "A", "FAULT", "90"),
        ]
        assert [argv for argv in fake.ended if argv[0] == "/g"] == [
            ("/g", "GROUP", "G", state, "0") for state in ("BACKUP", "MASTER", "FAULT")
        ]
        fake.ended.clear()
        await notifier.stop_all({"A": 95})
        assert fake.ended == [
            ("/stop",),
            ("/n", "INSTANCE", "A", "STOP", "95"),
            ("/g", "GROUP", "G", "STOP", "0"),
        ]
        notifier.instance_state("A", "MASTER", 100)
        assert all(q["idle"] for q in notifier.status()["queues"])

    run(scene())


def test_the_configuration_is_not_kept(run: Run) -> None:
    """There may be thousands of instances in it."""

    async def scene() -> None:
        first, second = configuration(instance("V")), configuration(instance("V"))
        counts = [sys.getrefcount(first), sys.getrefcount(second)]
        notifier = Notifier(first, Fake())
        await notifier.start()
        await notifier.reload(second)
        assert [sys.getrefcount(first), sys.getrefcount(second)] == counts
        await notifier.stop_all()

    run(scene())


@pytest.mark.parametrize(
    ("names", "is_used"), [(["A", "B"], True), (["B", "A"], False), (["AB"], False), (["A"], False)]
)
def test_names_that_somebody_keeps_anyway_are_shared(
    run: Run, names: list[str], is_used: bool
) -> None:
    """Of those that nobody is told of, which are most of thousands."""

    async def scene() -> None:
        kept, runner = NameList(names), Fake()
        count = sys.getrefcount(kept)
        notifier = Notifier(configuration(instance("A"), instance("B")), runner)
        notifier.instance_state("B", "MASTER", 100)
        notifier.share(kept)
        assert sys.getrefcount(kept) == count + is_used
        notify = model.Notify(notify=command("/n"))
        await notifier.reload(configuration(instance("A", notify), instance("B", notify)))
        assert sys.getrefcount(kept) == count
        for name in "BA":  # the one has been told before
            notifier.instance_state(name, "MASTER", 100)
        await until(lambda: runner.ended)
        await notifier.stop_all()
        assert runner.ended[0] == ("/n", "INSTANCE", "A", "MASTER", "100")

    run(scene())


def test_nobody_is_told_the_same_state_twice(run: Run) -> None:
    events: list[dict[str, Any]] = []

    async def scene() -> None:
        fake = Fake()
        notifier = Notifier(configuration(instance("A", FULL)), fake, events=events.append)
        await notifier.start()
        for state in ("INIT", "BACKUP", "BACKUP", "INIT", "MASTER", "MASTER"):
            notifier.instance_state("A", state, 100)
        await until(lambda: len(fake.ended) == 4)
        assert [e["state"] for e in events] == ["BACKUP", "MASTER"]
        assert [e["sequence"] for e in events] == [1, 2]
        await notifier.stop_all()
        assert len(fake.ended) == 6

    run(scene())


def test_slow_script_keeps_the_order_and_the_final_state(run: Run) -> None:
    async def scene() -> None:
        fake = Fake(held=True)
        notifier = Notifier(configuration(instance("A", FULL), instance("B", FULL)), fake)
        await notifier.start()
        for state in ("BACKUP", "MASTER", "FAULT", "BACKUP"):
            notifier.instance_state("A", state, 100)
        notifier.instance_state("B", "MASTER", 50)
        await until(lambda: len(fake.started) == 2)
        # Other instances do not wait for this one's script; its own do.
        assert fake.started == [("/backup",), ("/master", "arg")]
        while len(fake.ended) < 10:
            fake.release()
            await asyncio.sleep(0.002)
        mine = [argv for argv in fake.ended if "B" not in argv]
        mine.remove(("/master", "arg"))
        assert [argv[3] for argv in mine if len(argv) == 5] == [
            "BACKUP",
            "MASTER",
            "FAULT",
            "BACKUP",
        ]
        fake.held = False
        await notifier.stop_all()

    run(scene())


def test_late_transitions_are_skipped_but_never_the_last(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts_module, "BEHIND_S", 0.05)

    async def scene() -> None:
        fake = Fake(held=True)
        notifier = Notifier(configuration(instance("A", FULL)), fake)
        await notifier.start()
        notifier.instance_state("A", "BACKUP", 1)
        await until(lambda: fake.started)
        for state, priority in (("MASTER", 2), ("FAULT", 3), ("BACKUP", 4), ("MASTER", 5)):
            notifier.instance_state("A", state, priority)
        await asyncio.sleep(0.06)
        while len(fake.ended) < 4:
            fake.release()
            await asyncio.sleep(0.002)
        assert fake.ended == [
            ("/backup",),
            ("/n", "INSTANCE", "A", "BACKUP", "1"),
            ("/master", "arg"),
            ("/n", "INSTANCE", "A", "MASTER", "5"),
        ]
        assert notifier.status()["queues"][0]["skipped"] == 3
        fake.held = False
        await notifier.stop_all()

    run(scene())


def test_hung_script_is_killed_when_somebody_waits(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scripts_module, "OVERDUE_S", 0.1)

    async def scene() -> None:
        fake = Fake(held=True)
        notifier = Notifier(configuration(instance("A", FULL)), fake)
        await notifier.start()
        notifier.instance_state("A", "BACKUP", 1)
        await asyncio.sleep(0.15)
        assert fake.cancelled == []  # nobody waits
        notifier.instance_state("A", "MASTER", 2)
        await until(lambda: len(fake.cancelled) == 2)
        fake.held = False
        fake.release()
        await until(lambda: fake.ended[-1:] == [("/n", "INSTANCE", "A", "MASTER", "2")])
        await notifier.stop_all()

    run(scene())
    assert "is killed" in caplog.text


def test_stop_does_not_wait_for_long(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts_module, "STOP_LIMIT_S", 0.15)

    async def scene() -> None:
        fake = Fake(held=True)
        names = [f"I{n}" for n in range(20)]
        group = model.SyncGroup(name="G", members=("I0",), notify=FULL)
        config = configuration(*(instance(n, FULL) for n in names), groups=[group])
        notifier = Notifier(config, fake)
        await notifier.start()
        for name in names:
            notifier.instance_state(name, "BACKUP", 1)
            notifier.instance_state(name, "MASTER", 1)
        await until(lambda: len(fake.started) == 20)
        start = time.monotonic()
        await notifier.stop_all()
        # The running one, notify_stop and notify; for the group the last two only.
        assert time.monotonic() - start < 5 * 0.15 + 0.5
        assert len(fake.cancelled) == 20
        stops = [argv for argv in fake.started if argv[-2:-1] == ("STOP",)]
        assert len(stops) == 21
        assert stops[-1][1] == "GROUP"
        assert not any("MASTER" in argv for argv in fake.started)
        assert set(fake.timeouts_ns[20:]) == {int(0.15 * S)}

    run(scene())


def test_rx_lower_pri_does_not_pile_up(run: Run) -> None:
    notify = model.Notify(
        notify_master=command("/master"), notify_master_rx_lower_pri=command("/rx", "x")
    )

    async def scene() -> None:
        fake = Fake(held=True)
        notifier = Notifier(configuration(instance("A", notify)), fake)
        await notifier.start()
        notifier.instance_state("A", "MASTER", 100)
        for _ in range(1000):
            notifier.rx_lower_pri("A", 100)
        while len(fake.ended) < 2:
            fake.release()
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.01)
        assert fake.started == [("/master",), ("/rx", "x")]
        notifier.rx_lower_pri("A", 100)
        await until(lambda: len(fake.started) == 3)
        fake.held = False
        fake.release()
        await notifier.stop_all()

    run(scene())


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize(
    ("notify", "expected"),
    [
        (FULL, [("/fault",), ("/n", "INSTANCE", "A", "FAULT", "100")]),
        (
            model.Notify(notify=command("/n"), report_deleted=True),
            [("/n", "INSTANCE", "A", "DELETED", "100")],
        ),
        (model.Notify(notify_deleted=command("/d")), [("/d",)]),
    ],
)
def test_deleted_instance(
    run: Run, order: str, notify: model.Notify, expected: list[tuple[str, ...]]
) -> None:
    async def scene() -> None:
        fake = Fake()
        notifier = Notifier(configuration(instance("A", notify)), fake)
        await notifier.start()
        notifier.instance_state("A", "MASTER", 100)
        await until(lambda: all(q["idle"] for q in notifier.status()["queues"]))
        fake.ended.clear()
        if order == "before":
            notifier.instance_deleted("A", 100)
        await notifier.reload(configuration(instance("B")))
        if order == "after":
            notifier.instance_deleted("A", 100)
        await until(lambda: len(fake.ended) == len(expected))
        assert fake.ended == expected
        await notifier.stop_all()
        assert fake.ended == expected  # a deleted instance does not stop

    run(scene())


def test_reload_does_not_repeat_and_uses_new_scripts(run: Run) -> None:
    changed = model.Notify(notify=command("/new"))

    async def scene() -> None:
        fake = Fake()
        notifier = Notifier(configuration(instance("A", FULL)), fake)
        await notifier.start()
        notifier.instance_state("A", "MASTER", 100)
        await notifier.reload(configuration(instance("A", changed), instance("B", changed)))
        notifier.instance_state("A", "MASTER", 100)
        notifier.instance_state("B", "BACKUP", 100)
        notifier.instance_state("A", "BACKUP", 100)
        await until(lambda: len(fake.ended) == 4)
        assert sorted(fake.ended) == [
            ("/master", "arg"),
            ("/n", "INSTANCE", "A", "MASTER", "100"),
            ("/new", "INSTANCE", "A", "BACKUP", "100"),
            ("/new", "INSTANCE", "B", "BACKUP", "100"),
        ]
        await notifier.stop_all()

    run(scene())


def test_undone_reload_repeats_nothing(run: Run) -> None:
    config = configuration(instance("A", FULL))

    async def scene() -> None:
        fake = Fake()
        notifier = Notifier(config, fake)
        await notifier.start()
        notifier.instance_state("A", "MASTER", 100)
        await until(lambda: len(fake.ended) == 2)
        await notifier.reload(configuration())
        await notifier.reload(config)
        notifier.instance_state("A", "MASTER", 100)
        notifier.instance_state("A", "BACKUP", 100)
        await until(lambda: len(fake.ended) == 4)
        assert fake.ended[2:] == [("/backup",), ("/n", "INSTANCE", "A", "BACKUP", "100")]
        await notifier.stop_all()

    run(scene())


def test_unknown_names_are_harmless(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        notifier = Notifier(configuration(), Fake())
        await notifier.start()
        notifier.instance_state("X", "MASTER", 1)
        notifier.group_state("X", "MASTER")
        notifier.priority_change("X", "MASTER", 1)
        notifier.rx_lower_pri("X", 1)
        notifier.instance_deleted("X")
        await notifier.stop_all()
        await notifier.stop_all()

    run(scene())
    assert len(caplog.records) == 5


def test_real_scripts_through_the_socket(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = tmp_path / "notify.sh"
    script.write_text(f'#!/bin/sh\nsleep 0.0$4\necho "$@" >> {log}\n')
    script.chmod(0o755)
    config = configuration(instance("A", model.Notify(notify=command(str(script)))))

    async def scene() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        executor = Executor()
        service = RunnerService(theirs, executor)
        client = RunnerClient(ours)
        notifier = Notifier(config, client)
        await notifier.start()
        # The later, the faster: only the queue keeps them in order.
        for state, priority in (("BACKUP", 9), ("MASTER", 5), ("FAULT", 1)):
            notifier.instance_state("A", state, priority)
        await until(lambda: log.exists() and log.read_text().count("\n") == 3)
        await notifier.stop_all({"A": 0})
        client.close()
        await service.close()
        await executor.close()

    run(scene())
    assert log.read_text().splitlines() == [
        "INSTANCE A BACKUP 9",
        "INSTANCE A MASTER 5",
        "INSTANCE A FAULT 1",
        "INSTANCE A STOP 0",
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["MASTER", "BACKUP", "FAULT"]), st.booleans()), max_size=20),
    st.integers(1, 5),
)
def test_whatever_happens_the_final_state_runs_last(
    steps: list[tuple[str, bool]], pending_max: int
) -> None:
    """Any mix of transitions and endings of scripts, with a queue that overflows."""

    async def scene() -> None:
        fake = Fake(held=True)
        queue = ScriptQueue("A", fake, clock=time.monotonic_ns)
        order: list[str] = []
        for number, (state, release) in enumerate(steps):
            name = f"{state}{number}"
            order.append(name)
            queue.put(name, (Call(command(name)),))
            if release:
                fake.release()
            await asyncio.sleep(0)
        fake.held = False
        while not queue.idle:
            fake.release()
            await asyncio.sleep(0)
        ran = [argv[0] for argv in fake.started]
        assert ran[-1:] == order[-1:]
        positions = [order.index(name) for name in ran]
        assert positions == sorted(set(positions))
        assert len(ran) + queue.skipped == len(order)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripts_module, "PENDING_MAX", pending_max)
        asyncio.run(scene())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["UP", "DOWN", ""]), st.booleans()),
        max_size=25,
    ),
    st.integers(1, 4),
)
def test_the_final_state_of_every_subject_is_run(
    steps: list[tuple[str, str, bool]], pending_max: int
) -> None:
    """One queue of several: what is skipped is skipped for a newer state of the same subject."""

    async def scene() -> None:
        fake = Fake(held=True)
        queue = ScriptQueue("V", fake, clock=time.monotonic_ns)
        order: list[str] = []
        final: dict[str, str] = {}
        for number, (subject, state, release) in enumerate(steps):
            name = f"{subject}{state}{number}"
            order.append(name)
            if state:
                final[subject] = name
            queue.put(state, (Call(command(name)),), subject)
            if release:
                fake.release()
            await asyncio.sleep(0)
        fake.held = False
        while not queue.idle:
            fake.release()
            await asyncio.sleep(0)
        ran = [argv[0] for argv in fake.started]
        positions = [order.index(name) for name in ran]
        assert positions == sorted(set(positions))
        assert set(final.values()) <= set(ran)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripts_module, "PENDING_MAX", pending_max)
        asyncio.run(scene())
