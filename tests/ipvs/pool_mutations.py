"""Defects planted in the source of the pool, and the search for each by random lives."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from pool_lives import random_life

from fastvrrp.ipvs import pool

MOST_LIVES = 2000


class Mutation(NamedTuple):
    name: str
    old: str
    new: str


MUTATIONS = (
    Mutation(
        "quorum is gained without hysteresis",
        "self.live_weight >= vs.quorum + vs.hysteresis\n        if changed",
        "self.live_weight >= vs.quorum\n        if changed",
    ),
    Mutation(
        "quorum is there at the start without hysteresis",
        "virtual_server.quorum + virtual_server.hysteresis",
        "virtual_server.quorum",
    ),
    Mutation(
        "quorum is lost at its lower bound",
        "self.live_weight < vs.quorum - vs.hysteresis",
        "self.live_weight <= vs.quorum - vs.hysteresis",
    ),
    Mutation(
        "quorum is lost without hysteresis",
        "self.live_weight < vs.quorum - vs.hysteresis",
        "self.live_weight < vs.quorum",
    ),
    Mutation(
        "the sorry server serves with weight 0",
        "Wanted(sorry, SORRY_WEIGHT)",
        "Wanted(sorry, 0)",
    ),
    Mutation(
        "servers stay beside the sorry server",
        "if member.up and serving:",
        "if member.up:",
    ),
    Mutation(
        "inhibited servers leave the table while the sorry server serves",
        "elif member.server.inhibit_on_failure:",
        "elif member.server.inhibit_on_failure and serving:",
    ),
    Mutation(
        "an idle sorry server takes the place of a real server",
        "elif sorry.inhibit and key not in wanted:",
        "elif sorry.inhibit:",
    ),
    Mutation(
        "an idle sorry server leaves the table",
        "elif sorry.inhibit and key not in wanted:",
        "elif False:",
    ),
    Mutation(
        "one good check is enough",
        "        return not self.failed\n",
        "        return len(self.failed) < max(len(self.server.checks), 1)\n",
    ),
    Mutation(
        "weights do not move the quorum",
        "            self.live_weight += member.weight - before\n",
        "            pass\n",
    ),
    Mutation(
        "weights of failed servers move the quorum",
        "        if member.up:\n            self.live_weight += member.weight - before\n",
        "        if True:\n            self.live_weight += member.weight - before\n",
    ),
    Mutation(
        "weights are not clamped below",
        "min(max(total, 0), WEIGHT_MAX)",
        "min(total, WEIGHT_MAX)",
    ),
    Mutation(
        "weights are not clamped above",
        "min(max(total, 0), WEIGHT_MAX)",
        "max(total, 0)",
    ),
    Mutation(
        "weights are clamped one after the other",
        "absolute - configured\n",
        "absolute - configured\n            total = max(total, 0)\n",
    ),
    Mutation(
        "a weight that is said is added",
        "absolute - configured",
        "absolute",
    ),
    Mutation(
        "a reload forgets failures",
        "            if origin in old.failed:\n                failed.add(position)\n",
        "",
    ),
    Mutation(
        "a reload forgets weights",
        "sources[position] = old.sources[origin]",
        "pass",
    ),
    Mutation(
        "another check brings a failed server back",
        "rs.checks[p].schedule.alpha or not held_down",
        "rs.checks[p].schedule.alpha",
    ),
    Mutation(
        "alpha does not matter in a reload",
        "rs.checks[p].schedule.alpha or not held_down",
        "not held_down",
    ),
    Mutation(
        "a new check takes a working server out",
        "        if not old.up:\n            held_down",
        "        if True:\n            held_down",
    ),
    Mutation(
        "removed servers are not told",
        "if key not in kept and member.up:",
        "if False:",
    ),
    Mutation(
        "removed servers are told although they were down",
        "if key not in kept and member.up:",
        "if key not in kept:",
    ),
    Mutation(
        "alpha does not matter at the start",
        "    return [k for k, check in enumerate(server.checks) if check.schedule.alpha]\n",
        "    return []\n",
    ),
    Mutation(
        "a sorry server that is replaced stays",
        "if sorry is not None and (now is None or _place(now) != _place(sorry)):",
        "if sorry is not None and now is None:",
    ),
    Mutation(
        "a sorry server that comes with a reload is not told",
        "if now is not None and (sorry is None or _place(now) != _place(sorry)):",
        "if now is not None and sorry is None and changed:",
    ),
    Mutation(
        "the first failure is told of every check",
        "        if not up and not member.known:\n            member.known = True\n",
        "        if not up and not member.known:\n",
    ),
    Mutation(
        "a reload forgets that the first failure was told",
        "        member.known = old.known or member.up\n",
        "",
    ),
    Mutation(
        "the end forgets the quorum",
        "actions.append(self._quorum_action(why))",
        "pass",
    ),
    Mutation(
        "the table is not empty at the end",
        "        if self._stopped:\n            return []\n        sorry",
        "        sorry",
    ),
)


def mutant(planted: Mutation) -> Any:
    """The class with this defect. Raises ValueError when the source no longer has the place."""
    source = inspect.getsource(pool)
    if source.count(planted.old) != 1:
        raise ValueError(f"{planted.name}: {source.count(planted.old)} places in pool.py")
    # what lives compare, the actions, stay those of the module itself
    changed = source.replace(planted.old, planted.new)
    names = dict(vars(pool))
    exec(changed[changed.index("class _Member:") :], names)  # noqa: S102 - our own source
    return names["Pool"]


def found(planted: Mutation) -> int:
    """The first seed that finds it; -1: none does."""
    kind = mutant(planted)
    for seed in range(MOST_LIVES):
        try:
            random_life(seed, kind)
        except AssertionError:
            return seed
    return -1
