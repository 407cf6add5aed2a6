"""Defects planted in the source of the state machine, and the search for each of them by the swarm.

One copy of the core is built with all of them, each behind a condition; `found()` switches one on
and lives seeds until a rule is broken. Run as a program by test_sim_mutations.py, with that core:
prints a JSON line per defect.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "mutations"
MOST_SEEDS = 400


class Mutation(NamedTuple):
    """`old` in core/`file` becomes `new`, in which MUTANT is true while this one is switched on.
    `rules`: those of fastvrrp.sim.checkers that say what is wrong."""

    name: str
    file: str
    old: str
    new: str
    rules: frozenset[str]


def mutation(name: str, file: str, old: str, new: str, *rules: str) -> Mutation:
    return Mutation(name, file, old, new, frozenset(rules))


MUTATIONS = (
    mutation(
        "a master does not yield to a better one",
        "fsm.pxi",
        "if a.priority > v.priority or (a.priority == v.priority and order > 0):",
        "if not MUTANT and (a.priority > v.priority or (a.priority == v.priority and order > 0)):",
        "rivals",
        "one master",
        "election",
    ),
    mutation(
        "equal priorities: nobody yields",
        "fsm.pxi",
        "    cdef int order = compare_address(source, g.source, g.alen)",
        "    cdef int order = 0 if MUTANT else compare_address(source, g.source, g.alen)",
        "rivals",
        "one master",
        "election",
    ),
    mutation(
        "a backup never preempts",
        "fsm.pxi",
        "    if a.priority < v.priority and (",
        "    if not MUTANT and a.priority < v.priority and (",
        "right master",
        "asleep",
    ),
    mutation(
        "a backup ignores priority 0",
        "fsm.pxi",
        "        if not v.wants_master:\n            set_due(c, i, D_DOWN, now + skew_time(c, i))",
        "        if not v.wants_master and not MUTANT:\n"
        "            set_due(c, i, D_DOWN, now + skew_time(c, i))",
        "skew",
    ),
    mutation(
        "an advert does not restart the timer",
        "fsm.pxi",
        "    memcpy(v.master, source, g.alen)\n"
        "    set_due(c, i, D_DOWN, now + master_down_interval",
        "    memcpy(v.master, source, g.alen)\n    if not MUTANT:\n"
        "        set_due(c, i, D_DOWN, now + master_down_interval",
        "stable",
        "rivals",
        "hasty",
    ),
    mutation(
        "the master's interval does not count",
        "fsm.pxi",
        "    return c.cfg[i].down_adverts * c.vr[i].master_int_ns +",
        "    return c.cfg[i].down_adverts * (\n"
        "        c.cfg[i].advert_int_ns if MUTANT else c.vr[i].master_int_ns) +",
        "stable",
        "asleep",
        "hasty",
    ),
    mutation(
        "no goodbye",
        "fsm.pxi",
        "        if new == S_FAULT or new == S_INIT: ",
        "        if (new == S_FAULT or new == S_INIT) and not MUTANT: ",
        "goodbye",
    ),
    mutation(
        "addresses are not taken away",
        "fsm.pxi",
        "        emit_play(c, i, P_DOWN, now, out)",
        "        if not MUTANT:\n            emit_play(c, i, P_DOWN, now, out)",
        "addresses",
    ),
    mutation(
        "announced before the kernel has it",
        "fsm.pxi",
        "        emit_play(c, i, P_UP, now, out)\n        set_due(c, i, D_ADVERT",
        "        if MUTANT:\n            emit_announce(c, i, 1, 0, now, out)\n"
        "        emit_play(c, i, P_UP, now, out)\n        set_due(c, i, D_ADVERT",
        "unheld",
    ),
    mutation(
        "not announced",
        "fsm.pxi",
        "    if not v.resumed:\n"
        "        emit_announce(c, i, g.garp_repeat, v.announce_mask, now, out)",
        "    if not v.resumed and not MUTANT:\n"
        "        emit_announce(c, i, g.garp_repeat, v.announce_mask, now, out)",
        "announce",
        "neighbours",
    ),
    mutation(
        "the winner of a contention is silent",
        "fsm.pxi",
        "        if may_announce(v):                             # conformance 85",
        "        if may_announce(v) and not MUTANT:              # conformance 85",
        "winner",
    ),
    mutation(
        "announces in the middle of its own pause",
        "fsm.pxi",
        "    return v.vips == 2 and not v.resumed and",
        "    return v.vips == 2 and (MUTANT or not v.resumed) and",
        "stale",
    ),
    mutation(
        "answers are not paced",
        "fsm.pxi",
        "    answer = now >= limits.answer_after_ns",
        "    answer = MUTANT or now >= limits.answer_after_ns",
        "bounded",
    ),
    mutation(
        "weights lead below priority 1",
        "fsm.pxi",
        "    elif p < 1:\n        p = 1",
        "    elif p < 1:\n        p = 0 if MUTANT else 1",
        "speaker",
        "goodbye",
        "uniform",
        "one master",
    ),
    mutation(
        "an interface that is down is no fault",
        "fsm.pxi",
        "    if not g.flags & F_DONT_TRACK_PRIMARY and not c.link[g.link].up:",
        "    if not MUTANT and not g.flags & F_DONT_TRACK_PRIMARY and not c.link[g.link].up:",
        "cut off",
    ),
    mutation(
        "FAULT is not left",
        "fsm.pxi",
        "        elif v.state == S_FAULT:\n            vr_enter_backup",
        "        elif v.state == S_FAULT and not MUTANT:\n            vr_enter_backup",
        "right master",
        "one master",
    ),
    mutation(
        "a group does not follow the member that yields",
        "fsm.pxi",
        "now, out)\n        if g.group != NONE:\n"
        "            group_backup(c, g.group, now, out)\n        return",
        "now, out)\n        if g.group != NONE and not MUTANT:\n"
        "            group_backup(c, g.group, now, out)\n        return",
        "uniform",
    ),
    mutation(
        "a group's fault stays with its member",
        "group.pxi",
        "        if faulty and own == 0:",
        "        if faulty and own == 0 and not MUTANT:",
        "uniform",
    ),
    mutation(
        "a reload announces with the old program's answer",
        "step.pxi",
        "            v.generation += 1                           # the old",
        "            v.generation += 0 if MUTANT else 1          # the old",
        "unheld",
        "announce",
    ),
    mutation(
        "a second reload swallows the first one's announcement",
        "step.pxi",
        "        owed = v.vips != 2",
        "        owed = False if MUTANT else v.vips != 2",
        "announce",
        "neighbours",
    ),
    mutation(
        "an earlier deadline does not reach the wheel",
        "fsm.pxi",
        "    if when < c.vr[i].node.due:\n        wheel_arm",
        "    if when < c.vr[i].node.due and not (MUTANT and c.vr[i].node.due != FV_NEVER):\n"
        "        wheel_arm",
        "overdue",
        "skew",
        "beat",
        "one master",
        "right master",
        "announce",
        "neighbours",
    ),
    mutation(
        "of equal priorities the smaller address stays",
        "fsm.pxi",
        "compare_address(source, g.source, g.alen)",
        "(-1 if MUTANT else 1) * compare_address(source, g.source, g.alen)",
        "election",
    ),
    mutation(
        "of equal priorities both yield",
        "fsm.pxi",
        "(a.priority == v.priority and order > 0)",
        "(a.priority == v.priority and (MUTANT or order > 0))",
        "election",
    ),
    mutation(
        "nopreempt does not matter",
        "fsm.pxi",
        "(not g.flags & F_NOPREEMPT or is_owner(c, i)):",
        "(MUTANT or not g.flags & F_NOPREEMPT or is_owner(c, i)):",
        "hasty",
    ),
    mutation(
        "preempt_delay does not matter",
        "fsm.pxi",
        "        if g.preempt_delay_ns == 0 or",
        "        if MUTANT or g.preempt_delay_ns == 0 or",
        "hasty",
    ),
    mutation(
        "twice the silence is waited for",
        "fsm.pxi",
        "    return c.cfg[i].down_adverts * (",
        "    return (2 if MUTANT else 1) * c.cfg[i].down_adverts * (",
        "asleep",
    ),
    mutation(
        "one member's silence makes a group master",
        "group.pxi",
        "        if c.vr[i].state != S_MASTER and not (",
        "        if not MUTANT and c.vr[i].state != S_MASTER and not (",
        "hasty",
    ),
    mutation(
        "the configured priority is advertised, not the effective one",
        "fsm.pxi",
        "    a = emit(out, A_TX, i, now)\n    a.priority = priority",
        "    a = emit(out, A_TX, i, now)\n"
        "    a.priority = c.cfg[i].priority if MUTANT and priority else priority",
        "wire",
    ),
    mutation(
        "adverts come twice as often",
        "fsm.pxi",
        "    v.due[D_ADVERT] += step\n",
        "    v.due[D_ADVERT] += step / 2 if MUTANT else step\n",
        "pace",
    ),
    mutation(
        "adverts come a tenth too late",
        "fsm.pxi",
        "set_due(c, i, D_ADVERT, now + g.advert_int_ns - advert_phase(c, i, now))",
        "set_due(c, i, D_ADVERT, now + g.advert_int_ns * (11 if MUTANT else 10) / 10"
        " - advert_phase(c, i, now))",
        "beat",
    ),
    mutation(
        "announcements that others cause are not paced",
        "fsm.pxi",
        "    if now < limits.announce_after_ns:",
        "    if not MUTANT and now < limits.announce_after_ns:",
        "bounded",
    ),
    mutation(
        "every packet of another master is told",
        "fsm.pxi",
        "    if (changed or v.master_untold) and now < v.master_told_ns:",
        "    if not MUTANT and (changed or v.master_untold) and now < v.master_told_ns:",
        "bounded",
    ),
    mutation(
        "every rejected packet is told",
        "receive.pxi",
        "    if limits.logged & (<u32> 1 << cause):",
        "    if not MUTANT and limits.logged & (<u32> 1 << cause):",
        "bounded",
    ),
    mutation(
        "a contention has no end",
        "fsm.pxi",
        "    if v.contention and now >= c.limits[i].contention_until_ns:",
        "    if not MUTANT and v.contention and now >= c.limits[i].contention_until_ns:",
        "events",
    ),
    mutation(
        "any TTL will do",
        "receive.pxi",
        "    if not g.flags & F_UNICAST and ttl != 255:",
        "    if not MUTANT and not g.flags & F_UNICAST and ttl != 255:",
        "gullible",
    ),
    mutation(
        "any version will do",
        "receive.pxi",
        "    if a.version != g.version:",
        "    if not MUTANT and a.version != g.version:",
        "gullible",
    ),
    mutation(
        "any interval of version 2 will do",
        "receive.pxi",
        "        if a.interval_ns != g.advert_int_ns:\n            return",
        "        if not MUTANT and a.interval_ns != g.advert_int_ns:\n            return",
        "gullible",
    ),
    mutation(
        "any checksum will do",
        "receive.pxi",
        "    if not advert_checksum_ok(data, a, g.alen, source, destination,",
        "    if not MUTANT and not advert_checksum_ok(data, a, g.alen, source, destination,",
        "gullible",
    ),
    mutation(
        "its own adverts are another router's",
        "receive.pxi",
        "    if g.has_source and fv_same(source, g.source, g.alen):",
        "    if not MUTANT and g.has_source and fv_same(source, g.source, g.alen):",
        "gullible",
    ),
    mutation(
        "the phase of a burst is added, not taken off",
        "fsm.pxi",
        " - advert_phase(c, i, now))",
        " + (1 if MUTANT else -1) * advert_phase(c, i, now))",
        "beat",
    ),
)


def build() -> Path:
    """The package with all mutations in it, none switched on; returns its source root."""
    shutil.rmtree(PLACE, ignore_errors=True)
    leave = shutil.ignore_patterns("*.so", "_core.c", "__pycache__")
    shutil.copytree(ROOT / "src" / "fastvrrp", PLACE / "src" / "fastvrrp", ignore=leave)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, PLACE)
    core = PLACE / "src" / "fastvrrp" / "core"
    for number, planted in enumerate(MUTATIONS, 1):
        plant(core / planted.file, planted, number)
    shim = core / "shim.h"
    shim.write_text(
        shim.read_text().replace(
            "#include <stdint.h>", "#include <stdint.h>\nstatic int fv_mutant;", 1
        )
    )
    system = core / "sys.pxi"
    declared = "    int fv_mutant\n    u32 fv_load_u32(const u32 *p)"
    system.write_text(system.read_text().replace("    u32 fv_load_u32(const u32 *p)", declared, 1))
    surface = core / "pybench.pxi"
    switch = "\n\ndef switch_mutation(int number):\n    global fv_mutant\n    fv_mutant = number\n"
    surface.write_text(surface.read_text() + switch)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=PLACE,
        env={"PATH": "/usr/bin:/bin", "FASTVRRP_DEBUG": "1"},
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return PLACE / "src"


def plant(file: Path, planted: Mutation, number: int) -> None:
    """Raises ValueError when the source no longer has the place."""
    text = file.read_text()
    if text.count(planted.old) != 1:
        raise ValueError(f"{planted.name}: {text.count(planted.old)} places in {file.name}")
    file.write_text(
        text.replace(planted.old, planted.new.replace("MUTANT", f"(fv_mutant == {number})"))
    )


def found(number: int) -> tuple[int, str]:
    """The first seed that finds the mutation, and the rule; seed 0: none of them does."""
    from fastvrrp import _core
    from fastvrrp.sim.checkers import Violation
    from fastvrrp.sim.swarm import run

    _core.switch_mutation(number)  # type: ignore[attr-defined]
    for seed in range(1, MOST_SEEDS + 1):
        try:
            run(seed)
        except Violation as violation:
            return seed, violation.rule
    return 0, ""


def main() -> None:
    for number in map(int, sys.argv[1:] or range(1, len(MUTATIONS) + 1)):
        seed, rule = found(number)
        print(json.dumps({"number": number, "seed": seed, "rule": rule}), flush=True)


if __name__ == "__main__":
    main()
