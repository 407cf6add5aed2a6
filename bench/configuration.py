"""keepalived.conf files with many instances, the same for every daemon that is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PER_LINK = 255  # VRIDs of one address family on one link
VIP_PREFIX = "10."


@dataclass(frozen=True)
class Place:
    """Where an instance lives: number of its link, VRID, virtual address."""

    link: int
    vrid: int
    vip: str


def places(count: int, per_link: int = PER_LINK) -> list[Place]:
    """`count` instances spread evenly over as few links as hold them."""
    links = max(1, math.ceil(count / per_link))
    each = math.ceil(count / links)
    return [
        Place(n // each, n % each + 1, f"{VIP_PREFIX}{n // each}.0.{n % each + 1}")
        for n in range(count)
    ]


def link_count(count: int, per_link: int = PER_LINK) -> int:
    return max(1, math.ceil(count / per_link))


def render(
    where: Sequence[Place],
    interfaces: Sequence[str],
    *,
    state: str,
    priority: int,
    interval_s: float,
    version: int = 3,
    global_lines: Sequence[str] = (),
) -> str:
    """The file. `interfaces` are indexed by the link numbers; `global_lines` go to global_defs."""
    lines = ["global_defs {", "    router_id bench", f"    vrrp_version {version}"]
    lines += [f"    {line}" for line in global_lines]
    lines.append("}")
    for place in where:
        lines += [
            f"vrrp_instance V{place.link}_{place.vrid} {{",
            f"    state {state}",
            f"    interface {interfaces[place.link]}",
            f"    virtual_router_id {place.vrid}",
            f"    priority {priority}",
            f"    advert_int {interval_s:g}",
            "    virtual_ipaddress {",
            f"        {place.vip}/32",
            "    }",
            "}",
        ]
    return "\n".join(lines) + "\n"
