"""Real servers that go and come: the table of every kind of virtual server, beside keepalived's."""

from __future__ import annotations

import pytest
from lvs_scene import METHODS, SERVERS, Scene, Table, compare, destinations

from keepalived_text import block

VIP = METHODS["NAT"][4]
VIP6 = METHODS["NAT"][6]
OTHER = "192.0.2.101"
SORRY = "sorry_server 192.0.2.201 8080"
CHECK = block("TCP_CHECK", "connect_port 80")  # whatever the service's port makes of the server's
STILL_S = 3.5  # every check has been repeated until it counts


def real(number: int, *lines: str, port: str = "80", checked: bool = True) -> str:
    """The real server of this number: 2, 3, 4."""
    checks = [CHECK] if checked else []
    return block(f"real_server 192.0.2.{number} {port}", *lines, *checks)


def real6(number: int, *lines: str) -> str:
    return block(f"real_server 2001:db8::{number} 80", *lines, CHECK)


THREE = tuple(real(number) for number in (2, 3, 4))
INHIBITED = tuple(real(number, "inhibit_on_failure") for number in (2, 3, 4))

# name -> what stands in a virtual_server block
CASES: dict[str, tuple[str, ...]] = {
    "plain": THREE,
    "no servers": (),
    "one unchecked": (real(2), real(3, checked=False), real(4)),
    "weights": (real(2, "weight 5"), real(3, "weight 3"), real(4, "weight 0")),
    "sorry": (SORRY, *THREE),
    "sorry inhibited": (SORRY, "sorry_server_inhibit", *THREE),
    "sorry by tunnel": ("sorry_server 192.0.2.201", "sorry_server_lvs_method TUN", *THREE),
    "sorry alone": (SORRY,),
    "quorum 2": ("quorum 2", *THREE),
    "quorum 2, sorry": ("quorum 2", SORRY, *THREE),
    "quorum 2, hysteresis, sorry": ("quorum 2", "hysteresis 1", SORRY, *THREE),
    "quorum of weights": (
        "quorum 6",
        "hysteresis 1",
        SORRY,
        real(2, "weight 5"),
        real(3, "weight 3"),
        real(4, "weight 2"),
    ),
    "quorum never met": ("quorum 9", SORRY, *THREE),
    "inhibited": INHIBITED,
    "inhibited, as all": ("inhibit_on_failure", *THREE),
    "one inhibited": (real(2, "inhibit_on_failure", "weight 7"), real(3), real(4)),
    "inhibited, sorry": (SORRY, *INHIBITED),
    "inhibited, quorum, sorry inhibited": (
        "quorum 2",
        SORRY,
        "sorry_server_inhibit",
        *INHIBITED,
    ),
    "alpha": ("alpha", *THREE),
    "alpha, sorry": ("alpha", SORRY, *THREE),
    "alpha, inhibited": ("alpha", *INHIBITED),
    "alpha of one": (real(2, "alpha"), real(3), real(4)),
    "alpha, quorum": ("alpha", "quorum 2", SORRY, *THREE),
    "omega": ("omega", *THREE),
    "two checkers": (
        block("real_server 192.0.2.2 80", CHECK, block("PING_CHECK")),
        real(3),
        real(4),
    ),
    "persistent": ("persistence_timeout 60", SORRY, *THREE),
    "direct": ("lvs_method DR", "sorry_server 192.0.2.201", *THREE),
    "own method": (real(2, "lvs_method TUN"), real(3, "lvs_method DR"), real(4)),
    "thresholds": (real(2, "uthreshold 10", "lthreshold 5"), real(3), real(4)),
    "maglev": ("lvs_sched mh", "mh-port", "mh-fallback", "inhibit_on_failure", *THREE),
}


def virtual(head: str, *lines: str) -> str:
    method = () if any(line.startswith("lvs_method") for line in lines) else ("lvs_method NAT",)
    scheduler = () if any(line.startswith("lvs_sched") for line in lines) else ("lvs_sched wrr",)
    protocol = () if head.startswith("fwmark") else ("protocol TCP",)
    return block(
        f"virtual_server {head}",
        *("delay_loop 1", "warmup 0", "connect_timeout 3", "retry 1", "delay_before_retry 1"),
        *scheduler,
        *method,
        *protocol,
        *lines,
    )


def configuration() -> str:
    group = block(
        "virtual_server_group G",
        f"{VIP} 900",
        f"{OTHER}-103 900",
        "fwmark 90",
    )
    ports = {name: 1000 + number for number, name in enumerate(CASES)}
    services = [virtual(f"{VIP} {ports[name]}", *lines) for name, lines in CASES.items()]
    services += [
        virtual("group G", SORRY, "quorum 2", *THREE),
        virtual("fwmark 7", "sorry_server 192.0.2.201", *(real(n, port="") for n in (2, 3, 4))),
        virtual(f"{VIP6} 80", "sorry_server 2001:db8::201 80", *(real6(n) for n in (2, 3, 4))),
        virtual(f"{VIP6} 81", "alpha", "inhibit_on_failure", *(real6(n) for n in (2, 3, 4))),
    ]
    return "\n".join((group, *services))


def story(scene: Scene) -> None:
    plain = f"-t {VIP}:{1000 + list(CASES).index('plain')}"

    def after(what: str, *there: str) -> None:
        wanted = {f"{scene.servers[name].ipv4()}:80" for name in there}

        def reached(table: Table) -> bool:
            return destinations(table, plain).keys() == wanted

        scene.after(what, reached, STILL_S)

    scene.daemon.start(configuration())
    after("all are up", *SERVERS)
    scene.stop_serving("r2", "web")
    after("r2 is gone", "r3", "r4")
    scene.stop_serving("r3", "web")
    after("r3 is gone, too", "r4")
    scene.stop_serving("r4", "web")
    after("none is left")
    scene.serve("r3", "web")
    after("r3 is back", "r3")
    scene.serve("r2", "web")
    after("r2 is back", "r2", "r3")
    scene.serve("r4", "web")
    after("all are back", *SERVERS)
    scene.stop()
    assert scene.table() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_servers_go_and_come(scene: Scene) -> None:
    compare(scene, story)


def dead_at_start(scene: Scene) -> None:
    """With nobody there; then one comes."""
    for name in SERVERS:
        scene.stop_serving(name, "web")
    scene.daemon.start(configuration())
    plain = f"-t {VIP}:{1000 + list(CASES).index('plain')}"
    scene.after("none is there", lambda table: destinations(table, plain) == {}, STILL_S)
    scene.serve("r4", "web")
    scene.after("r4 comes", lambda table: len(destinations(table, plain)) == 1, STILL_S)
    scene.stop()
    assert scene.table() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nobody_is_there_at_first(scene: Scene) -> None:
    compare(scene, dead_at_start)
