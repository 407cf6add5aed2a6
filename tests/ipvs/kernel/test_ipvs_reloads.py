"""Configurations that change while a server is down: the table beside keepalived's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from lvs_scene import METHODS, Scene, Table, compare, destinations

from keepalived_text import block

VIP = METHODS["NAT"][4]
VIP2 = "192.0.2.101-103"
STILL_S = 3.5  # every check has been repeated until it counts
CHECK = block("TCP_CHECK", "connect_port 80")
SORRY = "sorry_server 192.0.2.201 8080"
METHOD, SCHEDULER = "lvs_method NAT", "lvs_sched wrr"

Services = Mapping[str, tuple[str, ...]]  # port or other head -> what is in the block


def real(number: int, *lines: str) -> str:
    return block(f"real_server 192.0.2.{number} 80", *lines, CHECK)


def configuration(services: Services, group: tuple[str, ...] = (f"{VIP} 900",)) -> str:
    blocks = []
    for head, lines in services.items():
        said = [line.split()[0] for line in lines]
        blocks.append(
            block(
                f"virtual_server {f'{VIP} {head}' if head.isdecimal() else head}",
                *("delay_loop 1", "warmup 0", "connect_timeout 3", "retry 1"),
                *("delay_before_retry 1", "protocol TCP"),
                *(line for line in (METHOD, SCHEDULER) if line.split()[0] not in said),
                *lines,
            )
        )
    return "\n".join((block("virtual_server_group G", *group), *blocks))


FIRST: Services = {
    "1001": (real(2), real(3), real(4)),
    "1002": ("quorum 2", SORRY, real(2), real(3), real(4)),
    "1003": ("inhibit_on_failure", real(2), real(3)),
    "1004": (SORRY, real(3)),
    "1005": ("persistence_timeout 60", real(2), real(3)),
    "group G": (real(2), real(3)),
}

# what happens -> the configuration from then on, and the entries of the group
CHANGES: dict[str, tuple[Services, tuple[str, ...]]] = {}


def change(
    what: str,
    changed: Services,
    without: tuple[str, ...] = (),
    group: tuple[str, ...] | None = None,
) -> None:
    """One more reload, of what the last one made."""
    before, entries = next(reversed(CHANGES.values())) if CHANGES else (FIRST, (f"{VIP} 900",))
    services = {head: lines for head, lines in before.items() if head not in without}
    CHANGES[what] = ({**services, **changed}, group or entries)


change("nothing", {})
change(
    "weights",
    {
        "1001": (real(2, "weight 5"), real(3, "weight 6"), real(4)),
        "1003": ("inhibit_on_failure", real(2, "weight 3"), real(3, "weight 4")),
        "group G": (real(2, "weight 9"), real(3)),
    },
)
change(
    "servers come and go",
    {
        "1001": (real(2, "weight 5"), real(3, "weight 6")),
        "1002": ("quorum 2", SORRY, real(2), real(3)),
        "1003": ("inhibit_on_failure", real(2), real(3), real(4)),
        "1004": (SORRY, real(3), real(4)),
    },
)
change(
    "how packets are forwarded",
    {
        "1001": ("lvs_method DR", real(2, "weight 5"), real(3, "weight 6")),
        "1003": ("inhibit_on_failure", real(2, "lvs_method TUN"), real(3), real(4)),
    },
)
change(
    "how servers are chosen",
    {
        "1004": ("lvs_sched mh", "mh-port", SORRY, real(3), real(4)),
        "1005": ("persistence_timeout 90", "persistence_granularity 255.255.255.0", real(2)),
        "1003": ("lvs_sched sh", "inhibit_on_failure", real(2), real(3), real(4)),
    },
)
change(
    "quorum and sorry server",
    {
        "1002": ("quorum 1", SORRY, real(2), real(3)),
        "1005": ("quorum 2", "sorry_server 192.0.2.202 8080", real(2), real(3)),
        "1004": (real(3), real(4)),
    },
)
change(
    "thresholds and inhibit_on_failure",
    {
        "1002": (SORRY, real(2, "uthreshold 20", "lthreshold 10"), real(3, "inhibit_on_failure")),
        "1003": ("lvs_sched sh", real(2), real(3), real(4)),
    },
)
change("a service goes, two come", {"1006": (real(2), real(3)), "fwmark 5": (real(2),)}, ("1001",))
change("the group", {}, group=(f"{VIP} 901", f"{VIP} 900", "fwmark 90"))


def group_of(table: Table) -> list[str]:
    """The services of the group that have its first server."""
    return [line.split()[2] for line in table if line.endswith("-r 192.0.2.2:80 -m -w 9")]


def story(scene: Scene) -> None:
    def everybody(table: Table) -> bool:
        return len(destinations(table, f"-t {VIP}:1001")) == 3

    scene.daemon.start(configuration(FIRST))
    scene.after("all are up", everybody, STILL_S)
    scene.stop_serving("r3", "web")
    scene.after("r3 is gone", lambda table: not everybody(table), STILL_S)
    for what, made in CHANGES.items():
        scene.daemon.reload(configuration(*made))
        scene.after(what, lambda table: True, STILL_S)
    scene.serve("r3", "web")
    scene.after("r3 is back", lambda table: f"-t {VIP}:1006 -r 192.0.2.3:80" in str(table), STILL_S)
    if scene.daemon.kind == "fastvrrp":  # keepalived leaves services of a changed group behind
        services, _ = next(reversed(CHANGES.values()))
        scene.daemon.reload(configuration(services, (f"{VIP} 901", f"{VIP2} 900")))
        wanted = [f"{VIP}:901", *(f"192.0.2.{number}:900" for number in (101, 102, 103))]
        scene.reach("other entries", lambda table: group_of(table) == wanted)
    scene.stop()
    if scene.daemon.kind == "fastvrrp":
        assert scene.table() == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_reloads(scene: Scene) -> None:
    compare(scene, story)
