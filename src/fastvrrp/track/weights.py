"""Arithmetic of trackers: contributions to a priority, fault reasons, rise/fall counting.

Pure: no clock, no I/O. Interface tracking uses the same table inside the core; everything else
(scripts, processes, files) is summed here and reaches the core as one number and a bit mask.

Where keepalived's behaviour and its manual differ, the behaviour rules, with two exceptions that
are written where they apply: `init_fail` (see `RiseFall.initial`) and the awaiting of first
results by trackers with `reverse` (see `total`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple

from fastvrrp.config import model

# Fault reason bits, equal to the constants of the same name in fastvrrp._core (a test compares
# them): this module must be usable without the compiled core.
FAULT_SCRIPT = 4
FAULT_FILE = 8
FAULT_PROCESS = 16
FAULT_AWAIT = 128
FAULT_SERVER = 512
FAULT_STATIC = 1024

OWNER_PRIORITY = 255  # RFC 9568 5.2.4: the address owner's priority never changes

FILE_FAULT = -254  # a file contribution this low, or lower, is a fault
FILE_ADJUST_MAX = 253


class Kind(Enum):
    """What is tracked. The value is the word used in status output."""

    SCRIPT = "script"
    PROCESS = "process"
    FILE = "file"
    SERVER = "virtual_server"  # up: it has quorum
    STATIC = "track_group"  # up: its static objects are all there, on interfaces that work


FAULT_OF = {
    Kind.SCRIPT: FAULT_SCRIPT,
    Kind.PROCESS: FAULT_PROCESS,
    Kind.FILE: FAULT_FILE,
    Kind.SERVER: FAULT_SERVER,
    Kind.STATIC: FAULT_STATIC,
}


class Binding(NamedTuple):
    """One tracker as one instance sees it."""

    kind: Kind
    name: str
    weight: int
    reverse: bool


class Effect(NamedTuple):
    """What a tracker does to an instance: a priority adjustment and fault reason bits."""

    adjust: int
    fault: int


NO_EFFECT = Effect(0, 0)


def contribution(up: bool, weight: int, reverse: bool) -> int:
    """Priority adjustment of an up/down object (interface, script, process); 0 for weight 0.

    A positive weight counts while the object is up, a negative one while it is down; `reverse`
    changes the sign of what is counted, not when.
    """
    counts = up if weight > 0 else not up
    if not counts:
        return 0
    return -weight if reverse else weight


def is_fault(up: bool, weight: int, reverse: bool) -> bool:
    """Whether an up/down object with weight 0 is a reason for FAULT; never with a weight."""
    return weight == 0 and up == reverse


def file_effect(value: int, weight: int, reverse: bool) -> Effect:
    """Effect of a tracked file with this value.

    Weight 0: any value but 0 is a fault (with `reverse` 0 is). Otherwise value * weight, where
    -254 or less is a fault and more than 253 counts as 253.
    """
    if weight == 0:
        faulty = (value == 0) if reverse else (value != 0)
        return Effect(0, FAULT_FILE if faulty else 0)
    product = value * weight
    if reverse:
        product = -product
    if product <= FILE_FAULT:
        return Effect(0, FAULT_FILE)
    return Effect(min(product, FILE_ADJUST_MAX), 0)


def effect(binding: Binding, state: bool | int | None) -> Effect:
    """Effect of one tracker: `state` is up/down, a file's value, or None before the first result.

    Before the first result a weighted tracker changes nothing, and a tracker with weight 0 keeps
    the instance in INIT (FAULT_AWAIT) whether or not it is reversed.
    """
    if state is None:
        return Effect(0, FAULT_AWAIT if binding.weight == 0 else 0)
    if binding.kind is Kind.FILE:
        return file_effect(int(state), binding.weight, binding.reverse)
    up = bool(state)
    if is_fault(up, binding.weight, binding.reverse):
        return Effect(0, FAULT_OF[binding.kind])
    return Effect(contribution(up, binding.weight, binding.reverse), 0)


def total(
    bindings: Iterable[Binding], state_of: Callable[[Kind, str], bool | int | None]
) -> Effect:
    """Sum of all adjustments and union of all fault reasons of an instance.

    The sum is not clamped: the core adds it to the base priority and the interface weights and
    clamps the result to 1..254.
    """
    adjust = 0
    fault = 0
    for binding in bindings:
        one = effect(binding, state_of(binding.kind, binding.name))
        adjust += one.adjust
        fault |= one.fault
    return Effect(adjust, fault)


def bindings_of(instance: model.VrrpInstance, group: model.SyncGroup | None) -> tuple[Binding, ...]:
    """Every tracker but interfaces that acts on an instance, its sync group's included.

    A tracker named by both has the group's weight, unless the instance says weight 0. An address
    owner keeps only trackers with weight 0. A member of a group without
    `sync_group_tracking_weight` must not leave the common priority by itself: its own weighted
    scripts and virtual servers do not count, and a file with weight 1 acts as with weight 0 while
    other weighted files do not count.
    """
    if group is None and not (
        instance.track_script
        or instance.track_process
        or instance.track_file
        or instance.track_virtual_server
        or instance.track_groups
    ):
        return ()  # of thousands, most have none
    own: dict[tuple[Kind, str], Binding] = {}
    common = group is not None and not group.sync_group_tracking_weight
    for binding in _listed(instance):
        if common and binding.weight != 0 and binding.kind is not Kind.PROCESS:
            if binding.kind is not Kind.FILE or binding.weight != 1:
                continue
            binding = binding._replace(weight=0)
        own[binding.kind, binding.name] = binding
    if group is not None:
        for binding in _listed(group):
            key = (binding.kind, binding.name)
            if key not in own or own[key].weight != 0:
                own[key] = binding
    if instance.priority == OWNER_PRIORITY:
        own = {key: binding for key, binding in own.items() if binding.weight == 0}
    statics = [Binding(Kind.STATIC, name, 0, False) for name in instance.track_groups]
    return (*own.values(), *statics)


def _listed(holder: model.VrrpInstance | model.SyncGroup) -> Iterable[Binding]:
    for kind, entries in (
        (Kind.SCRIPT, holder.track_script),
        (Kind.PROCESS, holder.track_process),
        (Kind.FILE, holder.track_file),
        (Kind.SERVER, holder.track_virtual_server),
    ):
        for entry in entries:
            yield Binding(kind, entry.name, entry.weight, entry.reverse)


class RiseFall(NamedTuple):
    """keepalived's result counter of a script: 0..rise+fall-1, up from `rise` on.

    `result` None means that nothing is known yet: the first result then decides alone.
    """

    rise: int
    fall: int
    result: int | None = None

    @classmethod
    def initial(cls, rise: int, fall: int, *, init_fail: bool = False) -> RiseFall:
        """The counter at start. With `init_fail` the script counts as failed until it has
        succeeded `rise` times in a row (keepalived documents this but loses the flag when a
        track_script names the script)."""
        return cls(rise, fall, 0 if init_fail else None)

    @property
    def top(self) -> int:
        return self.rise + self.fall - 1

    @property
    def up(self) -> bool | None:
        return None if self.result is None else self.result >= self.rise

    def after(self, success: bool) -> RiseFall:
        """The counter after one more result."""
        result = self.result
        if result is None:
            return self._replace(result=self.top if success else 0)
        if success:
            # One below `rise` the next success makes it up, and up starts with full credit.
            return self._replace(result=result + 1 if result < self.rise - 1 else self.top)
        return self._replace(result=result - 1 if result > self.rise else 0)

    def rescaled(self, rise: int, fall: int) -> RiseFall:
        """The same state and the same share of progress under a new rise and fall (reload)."""
        if self.result is None:
            return RiseFall(rise, fall)
        if self.result < self.rise:
            # At most rise-1: the state itself must not change by a reload.
            return RiseFall(rise, fall, self.result * rise // self.rise)
        credit = self.result - self.rise  # 0..fall-1 failures still forgiven
        share = fall - 1 if credit == self.fall - 1 else credit * fall // self.fall
        return RiseFall(rise, fall, rise + share)
