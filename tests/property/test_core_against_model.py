"""The compiled core against the independent model: random lives of one router, time included.

Every operation is given to both; after each one state, effective priority, learned interval, skew
time, next deadline, adverts and announcements must agree. At any time everything may go on in
another core, which must make no difference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastvrrp import _core
from model.driver import MS, SECOND, VIP4, Driver, announced, instance, own, sent
from model.vrrp_model import AWAIT, Config, Router

pytestmark = [pytest.mark.computing, pytest.mark.timeout(600)]

OWN = 5  # last byte of this router's address
LINKS = 3
FAULT_BITS = {
    "script": _core.FAULT_SCRIPT,
    "file": _core.FAULT_FILE,
    AWAIT: _core.FAULT_AWAIT,
}
# few values, so that ties happen
PRIORITIES = st.sampled_from([1, 2, 50, 99, 100, 101, 150, 200, 254, 255])
RX_PRIORITIES = st.one_of(st.just(0), PRIORITIES)
INTERVALS = st.sampled_from([10 * MS, 100 * MS, 330 * MS, SECOND, 3 * SECOND])
WEIGHTS = st.sampled_from([-100, -50, -1, 0, 0, 1, 50, 150])
DELAYS = st.sampled_from([0, 0, 300 * MS, 2 * SECOND, 5 * SECOND])


@st.composite
def configs(draw: st.DrawFn, *, grouped: bool) -> dict[int, Config]:
    made = {}
    for slot in range(draw(st.integers(2, 3)) if grouped else 1):
        version = draw(st.sampled_from([2, 3, 3]))
        interval = draw(st.sampled_from([1, 2])) * SECOND if version == 2 else draw(INTERVALS)
        nopreempt = draw(st.booleans())
        made[slot] = Config(
            priority=draw(PRIORITIES),
            version=version,
            interval=interval,
            address=int.from_bytes(own(OWN), "big"),
            nopreempt=nopreempt,
            preempt_delay=0 if nopreempt else draw(DELAYS),
            want_master=draw(st.booleans()),
            down_adverts=draw(st.sampled_from([1, 2, 3, 3, 5])),
            hold_until=draw(st.sampled_from([0, 0, 0, 700 * MS, 4 * SECOND])),
            lower_prio_no_advert=draw(st.booleans()),
            higher_prio_send_advert=draw(st.booleans()),
            garp_repeat=draw(st.integers(1, 5)),
            garp_delay=draw(DELAYS),
            refresh=draw(st.sampled_from([0, 0, 1 * SECOND, 7 * SECOND])),
            refresh_repeat=draw(st.integers(1, 2)),
            lower_repeat=draw(st.integers(0, 5)),
            lower_delay=draw(DELAYS),
            group=0 if grouped else -1,
            link=draw(st.integers(0, 1)),
            tracks=draw(
                st.lists(st.tuples(st.integers(0, LINKS - 1), WEIGHTS, st.booleans()), max_size=2)
            ),
            faults=draw(st.sets(st.sampled_from(sorted(FAULT_BITS)), max_size=1)),
        )
    return made


SLOTS = st.integers(0, 2)
# what a reload changes; version 2 takes whole seconds of the interval
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "priority": PRIORITIES,
        "interval": INTERVALS,
        "nopreempt": st.booleans(),
        "preempt_delay": DELAYS,
        "down_adverts": st.sampled_from([1, 2, 3, 5]),
        "lower_prio_no_advert": st.booleans(),
        "higher_prio_send_advert": st.booleans(),
        "garp_repeat": st.integers(1, 5),
        "garp_delay": DELAYS,
        "refresh": st.sampled_from([0, SECOND, 7 * SECOND]),
        "lower_repeat": st.integers(0, 5),
        "lower_delay": DELAYS,
        "tracks": st.lists(
            st.tuples(st.integers(0, LINKS - 1), WEIGHTS, st.booleans()), max_size=2
        ),
        "faults": st.sets(st.sampled_from(sorted(FAULT_BITS)), max_size=1),
    },
)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(0, 4 * SECOND)),
        st.tuples(st.just("advance"), st.sampled_from([1, 5 * MS, 200 * MS, 9 * SECOND])),
        st.tuples(st.just("next"), st.integers(-1, 1)),
        st.tuples(st.just("hear"), SLOTS, RX_PRIORITIES, INTERVALS, st.integers(4, 6)),
        st.tuples(st.just("hear"), SLOTS, RX_PRIORITIES, st.none(), st.integers(4, 6)),
        st.tuples(st.just("duel"), SLOTS, st.sampled_from([50 * MS, 300 * MS, 1200 * MS])),
        st.tuples(st.just("adjust"), SLOTS, st.sampled_from([-254, -60, -1, 0, 1, 60, 254])),
        st.tuples(st.just("fault"), SLOTS, st.sampled_from(sorted(FAULT_BITS)), st.booleans()),
        st.tuples(st.just("link"), st.integers(0, LINKS - 1), st.booleans()),
        st.tuples(st.just("stop"), SLOTS),
        st.tuples(st.just("reload"), SLOTS, CHANGES),
        st.tuples(st.just("reload"), SLOTS, CHANGES),
        st.tuples(st.just("remove"), SLOTS),
        st.tuples(st.just("hand over")),
    ),
    max_size=30,
)


def record(slot: int, config: Config) -> _core.Instance:
    flags = 0
    for wanted, flag in (
        (config.nopreempt, _core.F_NOPREEMPT),
        (config.want_master, _core.F_WANT_MASTER),
        (config.lower_prio_no_advert, _core.F_LOWER_PRIO_NO_ADVERT),
        (config.higher_prio_send_advert, _core.F_HIGHER_PRIO_SEND_ADVERT),
    ):
        flags |= flag if wanted else 0
    fault = 0
    for word in config.faults:
        fault |= FAULT_BITS[word]
    return instance(
        slot,
        vrid=10 + slot,
        version=config.version,
        priority=config.priority,
        advert_int_ns=config.interval,
        link=config.link,
        source=own(OWN),
        flags=flags,
        group=config.group,
        preempt_delay_ns=config.preempt_delay,
        down_timer_adverts=config.down_adverts,
        hold_until_ns=config.hold_until,
        garp_master_repeat=config.garp_repeat,
        garp_master_delay_ns=config.garp_delay,
        garp_master_refresh_ns=config.refresh,
        garp_master_refresh_repeat=config.refresh_repeat,
        garp_lower_prio_repeat=config.lower_repeat,
        garp_lower_prio_delay_ns=config.lower_delay,
        tracks=config.tracks,
        fault=fault,
    )


class Pair:
    """The core and the model, fed alike."""

    def __init__(self, made: dict[int, Config]) -> None:
        self.driver = Driver(links_up=(), instances=4, links=LINKS, groups=1)
        self.model = Router()
        self.configs = dict(made)
        self.before: dict[int, tuple[list[int], list[int]]] = {}  # of instances that were removed
        for link in range(LINKS):
            self.driver.link(link, up=True)
            self.model.links[link] = True
        self.driver.add(*[record(slot, config) for slot, config in made.items()])
        self.model.add(made, 0)

    def apply(self, operation: tuple[Any, ...]) -> None:
        name, *rest = operation
        now = self.driver.now
        if name == "advance":
            self.advance(now + rest[0])
        elif name == "next":
            due = self.model.next_due()
            if due is not None:
                self.advance(max(now, due + rest[0]))
        elif name == "link":
            self.driver.link(rest[0], up=rest[1])
            self.model.link(rest[0], rest[1], now)
        elif name == "reload":
            self.reload(*rest)
        elif name == "hand over":
            self.hand_over()
        elif rest[0] in self.model.instances:
            self.apply_to(name, *rest)

    def hand_over(self) -> None:
        """To a core that knows the links and nothing else."""
        old, now = self.driver.core, self.driver.now
        new = _core.Core(instances=4, links=LINKS, groups=1, now_ns=now)
        for link, up in self.model.links.items():
            new.link(link, ifindex=link + 2, up=up, now_ns=now)
        assert old.hand_over(new, sorted(self.model.instances), now_ns=now) == []
        assert old.next_due_ns() == _core.NEVER
        assert old.group_state(0) == _core.INIT
        assert old.illegal_transitions() == 0
        self.driver.core = new

    def advance(self, when: int) -> None:
        self.driver.advance_to(when)
        self.model.advance(when)

    def apply_to(self, name: str, slot: int, *rest: Any) -> None:
        now = self.driver.now
        config = self.configs[slot]
        if name == "hear":
            priority, interval, who = rest
            if interval is None:
                interval = config.interval
            if config.version == 2 and interval % SECOND:
                return
            who = who if who != OWN else 200
            self.driver.hear_code(
                priority,
                slot=slot,
                vrid=10 + slot,
                version=config.version,
                interval_ns=interval,
                link=config.link,
                source=own(who),
                addresses=[VIP4],
            )
            address = int.from_bytes(own(who), "big")
            self.model.instances[slot].hear(now, priority, interval, address)
        elif name == "duel":  # an inferior router that does not give up
            for _ in range(3):
                self.apply_to("hear", slot, 1, None, OWN - 1)
                self.advance(self.driver.now + rest[0])
        elif name == "adjust":
            self.driver.adjust(rest[0], slot)
            self.model.adjust(slot, rest[0], now)
        elif name == "fault":
            bit = FAULT_BITS[rest[0]]
            self.driver.fault(slot, set=bit if rest[1] else 0, clear=0 if rest[1] else bit)
            self.model.fault(slot, rest[0], rest[1], now)
        elif name == "remove":
            gone = self.model.instances[slot]
            self.driver.add(remove=[slot])
            self.model.commit({}, {slot}, now)
            self.before[slot] = (gone.sent, gone.announced)
        elif name == "stop" and config.group < 0:
            self.driver.stop(slot)
            self.model.stop(slot)

    def reload(self, slot: int, change: dict[str, Any]) -> None:
        """Changes an instance; one that was removed comes back."""
        if slot not in self.configs:
            return
        known = self.model.instances.get(slot)
        if known is not None and known.stopped:
            return
        values = dict(change)
        config = replace(self.configs[slot], **values)
        if config.nopreempt:
            config = replace(config, preempt_delay=0)
        if config.version == 2:
            config = replace(config, interval=max(1, config.interval // SECOND) * SECOND)
        self.configs[slot] = config
        self.driver.add(record(slot, config))
        self.model.commit({slot: config}, set(), self.driver.now)
        if known is None:
            made = self.model.instances[slot]
            made.sent[:0], made.announced[:0] = self.before[slot]

    def compare(self, after: object) -> None:
        for slot, expected in self.model.instances.items():
            got = self.driver.status(slot)
            context = (after, slot, self.driver.now)
            assert _core.STATE_NAMES[got.state] == expected.state, context
            assert got.effective_priority == expected.priority, context
            due = min(expected.timers.values(), default=_core.NEVER)
            assert got.next_due_ns == due, (context, expected.timers)
            if expected.state == "BACKUP":
                assert got.master_advert_int_ns == expected.master_interval, context
                assert got.skew_time_ns == expected.skew(), context
                assert got.master_down_interval_ns == expected.down_interval(), context
            assert sent(self.driver.log, slot) == expected.sent, context
            assert announced(self.driver.log, slot) == expected.announced, context
        assert self.driver.core.illegal_transitions() == 0, after


def live(made: dict[int, Config], operations: list[tuple[Any, ...]]) -> None:
    pair = Pair(made)
    pair.compare("start")
    for operation in operations:
        pair.apply(operation)
        pair.compare(operation)


LIFE = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@LIFE
@given(configs(grouped=False), OPERATIONS)
def test_one_instance(made: dict[int, Config], operations: list[tuple[Any, ...]]) -> None:
    """RFC 9568 6.4, RFC 3768 6.4; keepalived's start, preemption, tracking, announcements."""
    live(made, operations)


@LIFE
@given(configs(grouped=True), OPERATIONS)
def test_a_sync_group(made: dict[int, Config], operations: list[tuple[Any, ...]]) -> None:
    """Sync group rules: together to MASTER, together down, FAULT while one member is faulty."""
    live(made, operations)
