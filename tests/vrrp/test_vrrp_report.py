"""What is told: log lines in keepalived's shapes, notification, clean-up data, event records."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from vrrp_tools import Bench, configuration, instance, vip

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.supervisor.messages import InstanceState
from fastvrrp.vrrp.flapping import BURST
from fastvrrp.vrrp.report import NO_SLOT, Reporter

PEER = bytes((10, 0, 1, 2))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, whatever came in one record."""
    return [line for message in caplog.messages for line in message.splitlines()]


class Told:
    """Notifier and supervisor in one, remembering."""

    def __init__(self) -> None:
        self.notified: list[tuple[Any, ...]] = []
        self.sent: list[InstanceState] = []
        self.records: list[dict[str, Any]] = []

    def instance_state(self, name: str, state: str, priority: int) -> None:
        self.notified.append((name, state, priority))

    def group_state(self, name: str, state: str) -> None:
        self.notified.append((name, state))

    def priority_change(self, name: str, state: str, priority: int) -> None:
        self.notified.append(("priority", name, state, priority))

    def rx_lower_pri(self, name: str, priority: int) -> None:
        self.notified.append(("lower", name, priority))

    def states(self, states: list[InstanceState]) -> None:
        self.sent += states

    def event(self, record: dict[str, Any]) -> None:
        self.records.append(record)


class Scene:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.told = Told()
        self.unsettled = 0
        self.outdated: list[str] = []
        self.reporter = Reporter(
            bench.plane,
            self.told,
            on_committed=bench.plane.confirmed,
            on_unsettled=self._unsettled,
            on_outdated=self.outdated.append,
        )
        self.reporter.notifier = self.told
        self.reporter.subscribed = True
        bench.client.listen(self.reporter)

    def _unsettled(self) -> None:
        self.unsettled += 1

    def hears(self, priority: int, source: bytes = PEER) -> None:
        """An advert of another router for VRID 51 comes in."""
        pdu = _core.encode_advert(
            version=2,
            vrid=51,
            priority=priority,
            interval_cs=100,
            addresses=[bytes((10, 0, 1, 100))],
        )
        engine = self.bench.engine
        _, actions = engine.core.packet(
            pdu,
            link=0,
            source=source,
            destination=bytes((224, 0, 0, 18)),
            ttl=255,
            now_ns=engine.now_ns,
        )
        engine.take(actions)
        self.bench.client.poll()

    def event(self, kind: int, slot: int = 0, **fields: Any) -> None:
        given = {"a": 0, "b": 0, "c": 0, "priority": 100, "address": b""} | fields
        now_ns = self.bench.engine.now_ns
        self.reporter.event(_core.Event(kind, slot, 0, now_ns, reason=0, **given))
        self.reporter.drained()

    def master(self) -> None:
        self.bench.apply(configuration(instance()))
        self.bench.engine.advance(5)
        self.bench.client.poll()

    def record(self, kind: str) -> dict[str, Any]:
        """The last record of a kind, without its time."""
        found = [r for r in self.told.records if r["kind"] == kind][-1]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])
        return {name: value for name, value in found.items() if name not in ("time", "kind")}


@pytest.fixture
def it(bench: Bench, caplog: pytest.LogCaptureFixture) -> Iterator[Scene]:
    with caplog.at_level(logging.INFO):
        yield Scene(bench)


def test_states(it: Scene, caplog: pytest.LogCaptureFixture) -> None:
    it.master()
    it.hears(200)
    assert [line for line in lines(caplog) if "VI_1" in line] == [
        "(VI_1) Entering BACKUP STATE (init)",
        "(VI_1) Receive advertisement timeout",
        "(VI_1) Entering MASTER STATE",
        "(VI_1) Entering BACKUP STATE",
    ]
    assert it.told.notified == [
        ("VI_1", "BACKUP", 100),
        ("VI_1", "MASTER", 100),
        ("VI_1", "BACKUP", 100),
    ]
    assert it.told.sent[-1] == InstanceState("VI_1", "BACKUP", "10.0.1.1")
    assert it.record("state") == {
        "instance": "VI_1",
        "from": "MASTER",
        "to": "BACKUP",
        "reason": "higher priority master",
        "priority": 100,
    }


def test_a_fault_names_its_reason(it: Scene, caplog: pytest.LogCaptureFixture) -> None:
    it.bench.apply(configuration(instance(interface="eth7")))
    assert "(VI_1) Fault: interface down, no source address" in lines(caplog)
    assert "(VI_1) Entering FAULT STATE (init)" in lines(caplog)
    assert it.told.notified == [("VI_1", "FAULT", 100)]


def test_a_removed_instance_is_not_notified_here_but_forgotten_by_the_supervisor(
    it: Scene,
) -> None:
    it.master()
    it.told.notified.clear()
    it.bench.apply(configuration())
    assert it.told.notified == []
    assert it.told.sent[-1] == InstanceState("VI_1", "DELETED", "10.0.1.1")
    assert it.record("state")["to"] == "INIT"


def test_at_the_end_instances_are_stopped(it: Scene) -> None:
    it.master()
    it.reporter.stopping = True
    engine = it.bench.engine
    engine.take(engine.core.stop(0, now_ns=engine.now_ns))
    it.bench.client.poll()
    assert it.told.sent[-1].state == "STOPPED"


def test_a_rename_tells_both_names(it: Scene) -> None:
    it.master()
    it.bench.apply(configuration(instance("NEW")))
    it.reporter.renamed("VI_1", it.bench.plane.running["NEW"])
    it.reporter.drained()
    assert it.told.sent[-2:] == [
        InstanceState("VI_1", "DELETED"),
        InstanceState("NEW", "MASTER", "10.0.1.1"),
    ]


def test_priority(it: Scene, caplog: pytest.LogCaptureFixture) -> None:
    it.bench.apply(configuration(instance()))
    it.bench.plane.set_tracking("VI_1", -30, 0)
    it.bench.client.poll()
    assert "(VI_1) Changing effective priority from 100 to 70" in lines(caplog)
    assert it.told.notified[-1] == ("priority", "VI_1", "BACKUP", 70)
    assert it.record("priority") == {"instance": "VI_1", "from": 100, "to": 70}


def test_a_fault_and_its_end_bring_no_priority_of_their_own(it: Scene) -> None:
    """A tracked file that goes from 1 to a fault and back (keepalived tells two transitions)."""
    it.bench.apply(configuration(instance()))
    it.bench.plane.set_tracking("VI_1", 1, 0)
    it.bench.client.poll()
    count = len(it.told.notified)
    for adjust, fault in ((0, _core.FAULT_FILE), (1, 0)):
        it.bench.plane.set_tracking("VI_1", adjust, fault)
        it.bench.client.poll()
    assert it.told.notified[count:] == [
        ("VI_1", "FAULT", 101),
        ("priority", "VI_1", "FAULT", 100),
        ("priority", "VI_1", "FAULT", 101),
        ("VI_1", "BACKUP", 101),
    ]


def test_inferior_master(it: Scene, caplog: pytest.LogCaptureFixture) -> None:
    it.master()
    it.hears(50)
    assert (
        "(VI_1) Received advert from 10.0.1.2 with lower priority 50, ours 100, forcing new "
        "election" in lines(caplog)
    )
    assert it.told.notified[-1] == ("lower", "VI_1", 100)
    assert it.record("inferior") == {"instance": "VI_1", "address": "10.0.1.2", "priority": 50}
    assert it.record("contention") == {
        "instance": "VI_1",
        "address": "10.0.1.2",
        "active": True,
        "won": True,
    }


def test_master_of_a_backup(it: Scene, caplog: pytest.LogCaptureFixture) -> None:
    it.bench.apply(configuration(instance()))
    it.hears(200)
    assert "(VI_1) master is 10.0.1.2, priority 200" in lines(caplog)
    assert it.record("master") == {"instance": "VI_1", "address": "10.0.1.2", "priority": 200}


def test_groups(it: Scene, caplog: pytest.LogCaptureFixture) -> None:
    group = model.SyncGroup(name="G", members=("A", "B"))
    two = (
        instance("A", sync_group="G"),
        instance(
            "B",
            virtual_router_id=52,
            interface="eth1",
            sync_group="G",
            virtual_ipaddress=(vip("10.0.2.100/24"),),
        ),
    )
    it.bench.apply(configuration(*two, sync_groups=(group,)))
    it.bench.engine.advance(10)
    it.bench.client.poll()
    assert "VRRP_Group(G) Syncing instances to MASTER state" in lines(caplog)
    told = it.told.notified
    assert told.index(("G", "MASTER")) > max(
        told.index((name, "MASTER", 100)) for name in ("A", "B")
    )
    assert it.record("group") == {"group": "G", "from": "BACKUP", "to": "MASTER"}


def test_groups_after_lost_events(it: Scene) -> None:
    group = model.SyncGroup(name="G", members=("VI_1",))
    it.bench.apply(configuration(instance(sync_group="G"), sync_groups=(group,)))
    it.bench.engine.advance(5)
    it.bench.engine.queue.clear()
    it.bench.engine.lost = True
    it.bench.client.poll()
    assert it.told.notified[-2:] == [("VI_1", "MASTER", 100), ("G", "MASTER")]


@pytest.mark.parametrize(
    ("kind", "fields", "line", "name", "record"),
    [
        (
            _core.EV_LATE,
            {"a": 2_500_000_000},
            "(VI_1) this machine stood still: 2500 ms late",
            "late",
            {"instance": "VI_1", "late_ms": 2500.0},
        ),
        (
            _core.EV_RX_ERROR,
            {"a": _core.RX_NAMES.index("auth_failure"), "b": 3, "address": PEER},
            "(VI_1) rejected an advert from 10.0.1.2: auth_failure (3 so far)",
            "rejected",
            {"instance": "VI_1", "cause": "auth_failure", "count": 3},
        ),
        (
            _core.EV_RX_ERROR,
            {"slot": NO_SLOT, "a": _core.RX_NAMES.index("length_err"), "b": 1, "c": 0},
            "interface eth0 rejected an advert: length_err (1 so far)",
            "rejected",
            {"instance": None, "cause": "length_err", "count": 1},
        ),
        (
            _core.EV_INTERVAL_MISMATCH,
            {"a": 100_000_000, "b": 1_000_000_000},
            "(VI_1) the master advertises every 100 ms, we are configured for 1000 ms",
            "interval",
            {"instance": "VI_1", "theirs_ms": 100.0, "ours_ms": 1000.0},
        ),
        (
            _core.EV_ADDR_MISMATCH,
            {"a": 2, "b": 1, "address": PEER},
            "(VI_1) 10.0.1.2 advertises other addresses than ours (2, ours 1)",
            "addresses",
            {"instance": "VI_1", "address": "10.0.1.2"},
        ),
        (
            _core.EV_PLAYED,
            {"a": 13, "b": 2, "c": _core.P_UP},
            "(VI_1) 2 addresses, routes or rules could not be added: Permission denied",
            "applied",
            {"instance": "VI_1", "up": True, "failed": 2, "error": "Permission denied"},
        ),
        (
            _core.EV_SEND_ERROR,
            {"slot": NO_SLOT, "a": 105, "b": 7},
            "adverts could not be sent (7 so far): No buffer space available",
            "send-error",
            {"instance": None, "error": "No buffer space available", "count": 7},
        ),
        (
            _core.EV_LINK,
            {"a": 1, "b": 0},
            "eth0 is down",
            "tracker",
            {"tracker": "interface", "name": "eth0", "up": False, "detail": ""},
        ),
        (
            _core.EV_DUAL_MASTER,
            {"a": 0, "b": 1, "address": PEER},
            "(VI_1) the only master again",
            "contention",
            {"instance": "VI_1", "address": "10.0.1.2", "active": False, "won": True},
        ),
    ],
)
def test_each_event_has_its_line_and_its_record(
    it: Scene,
    caplog: pytest.LogCaptureFixture,
    kind: int,
    fields: dict[str, Any],
    line: str,
    name: str,
    record: dict[str, Any],
) -> None:
    it.bench.apply(configuration(instance()))
    it.event(kind, **fields)
    assert line in lines(caplog)
    assert it.record(name) == record


def test_every_event_of_the_core_is_known() -> None:
    from fastvrrp.vrrp.report import _HANDLERS

    of_client = {_core.EV_STATE, _core.EV_COMMITTED, _core.EV_STOPPED}
    kinds = {getattr(_core, name) for name in dir(_core) if name.startswith("EV_")}
    assert kinds - of_client == set(_HANDLERS)


def test_a_failed_removal_is_looked_after(it: Scene) -> None:
    it.bench.apply(configuration(instance()))
    it.event(_core.EV_PLAYED, a=13, b=1, c=_core.P_UP)
    assert it.unsettled == 0
    it.event(_core.EV_PLAYED, a=13, b=1, c=_core.P_DOWN)
    assert it.unsettled == 1


def test_a_removal_that_may_have_failed_unheard_is_looked_after(it: Scene) -> None:
    it.bench.apply(configuration(instance()))
    it.bench.engine.lost = True
    it.bench.client.poll()
    assert it.unsettled == 1


def test_floods_are_logged_in_moderation_and_told_completely(
    it: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    it.bench.apply(configuration(instance()))
    for count in range(100):
        it.event(_core.EV_RX_ERROR, a=5, b=count, address=bytes((10, 0, 1, count)))
    assert len([m for m in lines(caplog) if "rejected" in m]) == 5
    assert len([r for r in it.told.records if r["kind"] == "rejected"]) == 100


def test_the_next_instance_in_a_slot_inherits_no_flood(
    it: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    it.master()
    for priority in (200, 0) * BURST:
        it.hears(priority)
        it.bench.engine.advance(5)
        it.bench.client.poll()
    assert it.reporter.settle()
    it.bench.apply(configuration())
    assert not it.reporter.settle()
    it.bench.apply(configuration(instance("NEXT")))
    assert it.bench.plane.running["NEXT"].slot == 0
    assert "(NEXT) Entering BACKUP STATE (init)" in lines(caplog)


def test_a_transition_makes_no_objects_of_all_addresses(
    it: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    it.bench.apply(configuration(instance()))
    it.bench.engine.advance(5)
    asked: list[str] = []
    monkeypatch.setattr(it.bench.plane.desired, "get", asked.append)
    it.bench.client.poll()
    assert it.told.sent[-1] == InstanceState("VI_1", "MASTER", "10.0.1.1")
    assert asked == []


def test_without_a_listener_no_record_is_made(it: Scene) -> None:
    it.reporter.subscribed = False
    it.master()
    assert it.told.records == []


def test_a_changed_router_flag_is_noticed_at_the_next_transition(it: Scene) -> None:
    wanted = instance(family=6, version=3, virtual_ipaddress=(vip("2001:db8::100/64"),))
    it.bench.apply(configuration(wanted))
    assert it.outdated == []
    it.bench.forwarding.add("eth0")
    it.bench.engine.advance(5)
    it.bench.client.poll()
    assert it.outdated == ["VI_1"]


def test_unknown_virtual_routers(it: Scene, caplog: pytest.LogCaptureFixture) -> None:
    for count in (0, 7, 7, 9):
        it.reporter.unknown_vrids(count)
    assert [m for m in lines(caplog) if "unknown" in m] == [
        "7 adverts of unknown virtual routers (7 so far); fastvrrp capture shows them",
        "2 adverts of unknown virtual routers (9 so far); fastvrrp capture shows them",
    ]


def test_a_batch_is_one_record_of_many_lines(it: Scene, caplog: pytest.LogCaptureFixture) -> None:
    many = [
        instance(f"VI_{n}", virtual_router_id=n, virtual_ipaddress=(vip(f"10.0.1.{n}/24"),))
        for n in range(10, 60)
    ]
    it.bench.apply(configuration(*many))
    it.bench.engine.advance(5)
    caplog.clear()
    it.bench.client.poll()
    (record,) = caplog.records
    assert record.lines[:2] == [  # type: ignore[attr-defined]
        "(VI_10) Receive advertisement timeout",
        "(VI_10) Entering MASTER STATE",
    ]
    assert len(lines(caplog)) == 2 * len(many)


def test_lines_of_several_levels_keep_their_order(
    it: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    it.master()
    caplog.clear()
    it.bench.engine.take(
        it.bench.engine.core.link(0, ifindex=1, up=False, now_ns=it.bench.engine.now_ns)
    )
    it.bench.client.poll()
    assert [(r.levelname, r.message) for r in caplog.records if "VI_1" in r.message] == [
        ("WARNING", "(VI_1) Fault: interface down"),
        ("INFO", "(VI_1) Entering FAULT STATE"),
    ]


def test_the_forwarding_setting_is_read_once_per_batch(it: Scene) -> None:
    asked: list[str] = []
    it.bench.plane._forwarding = lambda name: not asked.append(name)  # type: ignore[func-returns-value]
    many = [
        instance(
            f"VI_{n}",
            virtual_router_id=n,
            family=6,
            version=3,
            virtual_ipaddress=(vip(f"2001:db8::{n}/64"),),
        )
        for n in range(10, 40)
    ]
    it.bench.apply(configuration(*many))
    asked.clear()
    it.bench.engine.advance(5)
    it.bench.client.poll()
    assert asked == ["eth0"]
    assert it.outdated == []
