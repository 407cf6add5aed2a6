"""A slow, independent model of one router, from RFC 9568, RFC 3768 and keepalived's behaviour.

It shares no code and no structure with the compiled core: dictionaries, sets of words, and one
method per paragraph. The property tests run both side by side and compare state, effective
priority, timers and what is sent. Times are integer nanoseconds; the kernel answers at once.

Left out on purpose: contention reports and what a router does about its own lateness. Neither
document describes them; they have tests of their own. Of this project's own rules only the pacing
of answers and of the announcements that go with them is here (ANSWERS_PER_INTERVAL, QUIET).
"""

from __future__ import annotations

from dataclasses import dataclass, field

SECOND = 1_000_000_000
INIT, BACKUP, MASTER, FAULT = "INIT", "BACKUP", "MASTER", "FAULT"
ANSWERS_PER_INTERVAL = 4
QUIET = SECOND  # at least, between announcements that others' adverts cause
AWAIT = "await"


@dataclass
class Config:
    """One virtual router as configured."""

    priority: int = 100
    version: int = 3
    interval: int = SECOND
    address: int = 0  # own source address as an unsigned integer (RFC 9568 6.4.3)
    nopreempt: bool = False
    preempt_delay: int = 0
    want_master: bool = False
    down_adverts: int = 3
    hold_until: int = 0
    lower_prio_no_advert: bool = False
    higher_prio_send_advert: bool = False
    garp_repeat: int = 5
    garp_delay: int = 5 * SECOND
    refresh: int = 0
    refresh_repeat: int = 1
    lower_repeat: int = 5
    lower_delay: int = 5 * SECOND
    group: int = -1
    link: int = 0
    # (link, weight, reverse) of tracked links
    tracks: list[tuple[int, int, bool]] = field(default_factory=list)
    faults: set[str] = field(default_factory=set)


class Instance:
    """A virtual router at run time."""

    def __init__(self, router: Router, config: Config) -> None:
        self.router = router
        self.config = config
        self.state = INIT
        self.master_interval = config.interval
        self.adjust = 0
        self.faults = set(config.faults)
        self.stopped = False
        self.timers: dict[str, int] = {}  # advert, down, garp, refresh
        self.preempt_from: int | None = None  # preempt_delay runs until then
        self.wants = False  # timer expired, waiting for the sync group
        self.silent_until = {"zero": 0, "lower": 0}  # pacing of answers
        self.quiet_until = 0
        self.second_burst = 0
        self.master_known = False
        self.sent: list[int] = []
        self.announced: list[int] = []
        self.priority = self.effective()

    # ---- arithmetic ----

    def skew(self) -> int:
        """RFC 9568 6.1; RFC 3768 6.1."""
        unit = SECOND if self.config.version == 2 else self.master_interval
        return (256 - self.priority) * unit // 256

    def down_interval(self) -> int:
        return self.config.down_adverts * self.master_interval + self.skew()

    def effective(self) -> int:
        """Base and weights, clamped to 1..254; an owner's priority never changes."""
        config = self.config
        if config.priority == 255:
            return 255
        total = config.priority + self.adjust
        for link, weight, reverse in config.tracks:
            up = self.router.links.get(link, False)
            if (weight > 0 and up) or (weight < 0 and not up):
                total += -weight if reverse else weight
        return min(254, max(1, total))

    def reprioritise(self, now: int) -> None:
        """Changing the effective priority of a backup shifts its running timer."""
        before = self.skew()
        self.priority = self.effective()
        if "down" in self.timers:
            self.timers["down"] = max(now, self.timers["down"] + self.skew() - before)

    def observe_links(self, now: int) -> None:
        self.faults -= {"link", "track"}
        if not self.router.links.get(self.config.link, False):
            self.faults.add("link")
        for link, weight, reverse in self.config.tracks:
            if weight == 0 and self.router.links.get(link, False) == reverse:
                self.faults.add("track")
        self.reprioritise(now)

    # ---- states ----

    def enter_backup(self, now: int, delay: int | None = None) -> None:
        self.state = BACKUP
        self.wants = False
        self.preempt_from = None
        start = max(now, self.config.hold_until)  # start-up delays shift the timer
        self.timers = {"down": start + (self.down_interval() if delay is None else delay)}

    def start(self, now: int) -> None:
        """From INIT or FAULT. `state MASTER`: an owner waits 1 us, anybody else, at start only,
        one interval and the least skew."""
        first_time = self.state == INIT
        self.master_interval = self.config.interval
        delay = None
        if self.config.want_master and self.config.priority == 255:
            delay = 1000
        elif self.config.want_master and first_time:
            unit = SECOND if self.config.version == 2 else self.config.interval
            delay = self.config.interval + unit // 256
        self.enter_backup(now, delay)

    def enter_master(self, now: int) -> None:
        self.state = MASTER
        self.master_known = False
        self.wants = False
        self.preempt_from = None
        self.master_interval = self.config.interval  # it returns to its own
        self.sent.append(self.priority)
        self.timers = {"advert": now + self.config.interval}
        self.burst(now, self.config.garp_repeat, self.config.garp_delay)
        if self.config.refresh:
            self.timers["refresh"] = now + self.config.refresh

    def burst(self, now: int, repeat: int, delay: int) -> None:
        if not repeat:
            return
        self.announced.append(repeat)
        if delay:
            self.timers["garp"] = now + delay
            self.second_burst = repeat

    def leave(self, state: str) -> None:
        """To FAULT or INIT: a master says goodbye with priority 0, twice on a fault."""
        if self.state == MASTER:
            self.sent += [0, 0] if state == FAULT else [0]
        self.state = state
        self.master_known = False
        self.timers = {}
        self.wants = False
        self.preempt_from = None
        self.master_interval = self.config.interval

    # ---- received adverts: RFC 9568 6.4.2, 6.4.3; RFC 3768 6.4.2, 6.4.3 ----

    def hear(self, now: int, priority: int, interval: int, address: int) -> None:
        if self.state not in (BACKUP, MASTER) or now < self.config.hold_until:
            return
        if self.config.version == 2 and interval != self.config.interval:
            return
        if self.state == BACKUP:
            self.hear_as_backup(now, priority, interval)
        else:
            self.hear_as_master(now, priority, interval, address)

    def hear_as_backup(self, now: int, priority: int, interval: int) -> None:
        if priority == 0:
            self.preempt_from = None
            if not self.wants:  # a member that waits for its group goes on waiting
                self.timers["down"] = now + self.skew()
            return
        # an owner always preempts (RFC 9568 6.1)
        stays = self.config.nopreempt and self.config.priority != 255
        accepted = priority >= self.priority or stays
        if accepted:
            self.preempt_from = None
        elif self.config.preempt_delay:
            if self.preempt_from is None:
                self.preempt_from = now + self.config.preempt_delay
            accepted = now < self.preempt_from
        if accepted:
            self.master_known = True
            self.master_interval = interval
            self.wants = False
            self.timers["down"] = now + self.down_interval()
            for member in self.router.members(self):  # one that came when they were masters
                if member.state == MASTER:
                    member.enter_backup(now)

    def may_answer(self, now: int, kind: str) -> bool:
        if now < self.silent_until[kind]:
            return False
        self.silent_until[kind] = now + self.config.interval // ANSWERS_PER_INTERVAL
        return True

    def hear_as_master(self, now: int, priority: int, interval: int, address: int) -> None:
        config = self.config
        if priority == 0:
            if self.may_answer(now, "zero"):
                self.sent.append(self.priority)
                self.timers["advert"] = now + config.interval
                self.announce_again(now)
        elif (priority, address) > (self.priority, config.address):
            if config.higher_prio_send_advert:
                self.sent.append(self.priority)
            self.master_interval = interval
            self.enter_backup(now)
            self.master_known = True
            for member in self.router.members(self):
                if member.state == MASTER:
                    member.enter_backup(now)
        else:
            self.announce_again(now)
            if self.may_answer(now, "lower") and not config.lower_prio_no_advert:
                self.sent.append(self.priority)

    def announce_again(self, now: int) -> None:
        """Another router was believed to be master: every member of the group announces."""
        for member in self.router.members(self):
            if member.state != MASTER or not member.config.lower_repeat:
                continue
            if now < member.quiet_until:
                if "garp" not in member.timers:  # made up for afterwards
                    member.timers["garp"] = member.quiet_until
                    member.second_burst = member.config.lower_repeat
            else:
                member.quiet_until = now + max(QUIET, member.config.interval)
                member.burst(now, member.config.lower_repeat, member.config.lower_delay)

    # ---- reload ----

    def adopt(self, config: Config, now: int) -> None:
        """A changed configuration of a running instance: state, master and running timers stay;
        what was shortened counts from now. Trackers report anew."""
        old, self.config = self.config, config
        self.adjust = 0
        self.faults = set(config.faults)
        if self.state != BACKUP or config.version == 2 or not self.master_known:
            self.master_interval = config.interval
        if self.state == MASTER:
            self.timers["advert"] = min(self.timers["advert"], now + config.interval)
            refresh = self.timers.pop("refresh", now + config.refresh)
            if config.refresh:
                self.timers["refresh"] = min(refresh, now + config.refresh)
        elif (
            "down" in self.timers
            and config.interval != old.interval
            and (config.version == 2 or not self.master_known)
        ):
            self.timers["down"] = now + self.down_interval()


class Router:
    """All instances of one router, with their links and sync groups."""

    def __init__(self) -> None:
        self.instances: dict[int, Instance] = {}
        self.links: dict[int, bool] = {}

    def add(self, configs: dict[int, Config], now: int) -> None:
        for slot, config in configs.items():
            self.instances[slot] = Instance(self, config)
            self.instances[slot].observe_links(now)
        for instance in self.instances.values():
            self.settle(instance, now)

    def commit(self, configs: dict[int, Config], removed: set[int], now: int) -> None:
        """One reload: instances that go, come, and change."""
        for slot in removed:
            self.instances.pop(slot).leave(INIT)
        for slot, config in configs.items():
            if slot in self.instances:
                self.instances[slot].adopt(config, now)
            else:
                self.instances[slot] = Instance(self, config)
        for slot in configs:
            self.instances[slot].observe_links(now)
        for instance in list(self.instances.values()):
            if not instance.stopped:
                self.settle(instance, now)

    def members(self, instance: Instance) -> list[Instance]:
        group = instance.config.group
        if group < 0:
            return [instance]
        return [i for i in self.instances.values() if i.config.group == group]

    def settle(self, changed: Instance, now: int) -> None:
        """States follow the fault reasons, and every member of a group follows the group."""
        members = [m for m in self.members(changed) if not m.stopped]
        faulty = any(m.faults - {AWAIT} for m in members)
        waiting = any(AWAIT in m.faults and m.state in (INIT, FAULT) for m in members)
        for member in members:
            unknown = member.state == INIT and member.faults == {AWAIT}
            if faulty and not unknown:
                if member.state != FAULT:
                    member.leave(FAULT)
            elif not faulty and not waiting and member.state in (INIT, FAULT):
                member.start(now)

    def link(self, link: int, up: bool, now: int) -> None:
        self.links[link] = up
        running = [i for i in self.instances.values() if not i.stopped]
        for instance in running:
            instance.observe_links(now)
        for instance in running:
            self.settle(instance, now)

    def fault(self, slot: int, word: str, present: bool, now: int) -> None:
        instance = self.instances[slot]
        (instance.faults.add if present else instance.faults.discard)(word)
        self.settle(instance, now)

    def adjust(self, slot: int, total: int, now: int) -> None:
        self.instances[slot].adjust = total
        self.instances[slot].reprioritise(now)

    def stop(self, slot: int) -> None:
        self.instances[slot].leave(INIT)
        self.instances[slot].stopped = True

    def expire(self, instance: Instance, now: int) -> None:
        """A member may become master only if all other members want to; then all do, together."""
        members = self.members(instance)
        instance.wants = True
        if all(m.wants or m.state == MASTER for m in members):
            for member in members:
                if member.state != MASTER:
                    member.enter_master(now)
        else:
            instance.timers["down"] = now + instance.down_interval()

    def next_due(self) -> int | None:
        due = [when for i in self.instances.values() for when in i.timers.values()]
        return min(due, default=None)

    def advance(self, now: int) -> None:
        """Fires what is due up to now, in order."""
        while True:
            due = [
                (when, slot, name)
                for slot, instance in self.instances.items()
                for name, when in instance.timers.items()
                if when <= now
            ]
            if not due:
                return
            when, slot, name = min(due)
            self.fire(self.instances[slot], name, when)

    def fire(self, instance: Instance, name: str, now: int) -> None:
        config = instance.config
        if name == "down":
            self.expire(instance, now)
        elif name == "advert":
            instance.sent.append(instance.priority)
            instance.timers["advert"] = now + config.interval
        elif name == "garp":
            del instance.timers["garp"]
            instance.announced.append(instance.second_burst)
        else:
            instance.announced.append(config.refresh_repeat)
            instance.timers["refresh"] = now + config.refresh
