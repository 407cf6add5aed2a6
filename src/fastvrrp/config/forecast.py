"""Says who is master of each virtual router, and who after each single failure, in few lines.

Virtual routers of which the same is to be said are one paragraph, however many they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fastvrrp.config.elections import (
    OF_A_GROUP,
    ROUTER,
    Effects,
    Failure,
    Outcome,
    VirtualRouter,
    effects_of_failures,
    outcomes,
)
from fastvrrp.config.influences import FAULT, INTERFACE

PARAGRAPHS_MAX = 20
NAMES_MAX = 3
UNKNOWN = "the one with the higher address"
NOBODY = "nobody"

# router, kind, and who is master then
_Change = tuple[str, str, str]


class _Paragraph(NamedTuple):
    """Virtual routers of which the same is said."""

    ids: list[int]
    names: dict[_Change, dict[str, None]]  # of what fails, in the order of the file


def forecast(found: Sequence[VirtualRouter]) -> Iterator[str]:
    """The lines about all virtual routers that more than one router has."""
    effects = effects_of_failures(found)
    paragraphs: dict[tuple[object, ...], _Paragraph] = {}
    for virtual in found:
        if len(virtual.members) > 1:
            _add(paragraphs, virtual, effects)
    for number, ((family, order, _), paragraph) in enumerate(paragraphs.items()):
        if number == PARAGRAPHS_MAX:
            rest = list(paragraphs.values())[PARAGRAPHS_MAX:]
            count = sum(len(paragraph.ids) for paragraph in rest)
            yield f"... and {count} more virtual routers, of {len(rest)} kinds"
            return
        yield f"{_which(paragraph.ids)}, IPv{family}: {order}"
        yield from _failures(paragraph.names)


def _which(ids: Sequence[int]) -> str:
    """One number may be that of several virtual routers, on different links."""
    if len(ids) == 1:
        return f"virtual router {ids[0]}"
    count = "" if len(set(ids)) == len(ids) else f" ({len(ids)} of them)"
    return f"virtual routers {ranges(ids)}{count}"


def _add(
    paragraphs: dict[tuple[object, ...], _Paragraph],
    virtual: VirtualRouter,
    effects: Mapping[tuple[str, str], Effects],
) -> None:
    """Put a virtual router where it belongs."""
    names: dict[_Change, dict[str, None]] = {}
    quiet = {member.router.name for member in virtual.members}
    normal = virtual.normal()
    found = list(outcomes(virtual, effects))
    for failure, outcome in found:
        if outcome.master != normal.master or failure.router == _name(virtual, normal):
            quiet.discard(failure.router)
    for failure, outcome in found:
        if failure.router in quiet:
            change = (failure.router, "", _name(virtual, outcome))
        else:
            change = (failure.router, failure.kind, _told(virtual, failure, outcome))
        names.setdefault(change, {})[failure.name] = None
    key = (virtual.family, _order(virtual, normal), frozenset(names))
    paragraph = paragraphs.setdefault(key, _Paragraph([], {}))
    paragraph.ids.append(virtual.vrid)
    for change, told in names.items():
        paragraph.names.setdefault(change, {}).update(told)


def _name(virtual: VirtualRouter, outcome: Outcome) -> str:
    if outcome.master is None:
        return NOBODY
    return UNKNOWN if outcome.master < 0 else virtual.members[outcome.master].router.name


def _told(virtual: VirtualRouter, failure: Failure, outcome: Outcome) -> str:
    """Who is master then, with the priority that the router where it failed still has."""
    name = _name(virtual, outcome)
    for member, left in zip(virtual.members, outcome.priorities, strict=True):
        if member.router.name == failure.router and left not in (FAULT, member.reach.normal):
            return f"{name} ({failure.router} has priority {left} then)"
    return name


def _order(virtual: VirtualRouter, normal: Outcome) -> str:
    ranked = sorted(
        range(len(virtual.members)), key=lambda i: (i != normal.master, -normal.priorities[i])
    )
    told = ", then ".join(
        f"{virtual.members[i].router.name} (priority {normal.priorities[i]})" for i in ranked
    )
    if normal.master is not None and normal.master < 0:
        return f"the higher source address is master of {told}"
    return f"master is {told}"


def _failures(names: Mapping[_Change, Iterable[str]]) -> Iterator[str]:
    for (router, kind, master), told in names.items():
        if kind == ROUTER:
            what = f"without {router}"
        elif kind:
            what = f"{router} without {_things(kind, list(told))}"
        else:
            what = f"whatever fails on {router}"
        yield f"  {what}: {master}"


def _things(kind: str, names: Sequence[str]) -> str:
    """`interface eth0`, or how many there are in all these virtual routers."""
    word = kind.replace("_", " ")
    if names == [OF_A_GROUP]:
        return f"an {word} {OF_A_GROUP}" if kind == INTERFACE else word
    if len(names) <= NAMES_MAX:
        return f"{word} {' or '.join(names)}"
    return f"its {word}"


def ranges(numbers: Iterable[int]) -> str:
    """`1-4, 7`: numbers in order, neighbours together."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
