"""Routers that follow virtual servers (track_virtual_server): whole daemons, and a peer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from daemon_tools import Daemon, Servers, wait_for
from guest_tools import ip, namespace

from keepalived_text import block

ONE, TWO = ("127.0.0.2", 80), ("127.0.0.3", 80)
WEB, DNS = "192.0.2.80 80", "group dns"
BASE = 150
PEER = 120


def virtual(
    head: str, protocol: str, *places: tuple[str, int], quorum: int = 1, real: str = ""
) -> str:
    """Its real servers are at these places, or, with `real`, are checked there."""
    return block(
        f"virtual_server {head}",
        *("lvs_sched rr", "lvs_method NAT", f"quorum {quorum}"),
        *(() if head.startswith("fwmark") else (f"protocol {protocol}",)),
        *("delay_loop 1", "warmup 0", "retry 0"),
        *(
            block(
                f"real_server {real or address} 80",
                block("TCP_CHECK", f"connect_ip {address}", f"connect_port {port}"),
            )
            for address, port in places
        ),
    )


def router(priority: int, *tracked: str) -> str:
    return block(
        "vrrp_instance V1",
        *("interface lan", "virtual_router_id 61", "version 3", f"priority {priority}"),
        *("advert_int 0.2", block("virtual_ipaddress", "10.3.0.100/24")),
        *([block("track_virtual_server", *tracked)] if tracked else []),
    )


SERVERS = virtual(WEB, "TCP", ONE, TWO)


class Pair:
    """Two routers on one LAN; the first has the servers, and follows them."""

    def __init__(self, balancer: Daemon, peer: Daemon, servers: Servers) -> None:
        self.balancer = balancer
        self.peer = peer
        self.servers = servers

    def start(self, text: str) -> None:
        self.peer.start(router(PEER))
        self.balancer.start(text)

    def is_(self, state: str, priority: int, *, master: bool) -> None:
        """Wait until the balancer is so, and the peer what is left for it."""

        def now() -> tuple[Any, ...]:
            one, two = (daemon.status()["instances"][0] for daemon in (self.balancer, self.peer))
            return one["state"], one["effective_priority"], two["state"]

        wanted = (state, priority, "BACKUP" if master else "MASTER")
        seen: list[tuple[Any, ...]] = []

        def reached() -> bool:
            seen[:] = [now()]
            return seen == [wanted]

        try:
            wait_for(reached, str(wanted))
        except AssertionError:
            assert seen == [wanted], "in the end"

    def tracked(self, name: str) -> Any:
        """Whether it is up, as far as is known; None when it is not tracked."""
        found = {one["name"]: one["up"] for one in self.balancer.status()["trackers"]}
        return found.get(name)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        one, two = (stack.enter_context(namespace()) for _ in range(2))
        ip(f"-n {one} link add lan type veth peer name lan netns {two}")
        for number, name in enumerate((one, two), 1):
            ip(f"-n {name} address add 10.3.0.{number}/24 dev lan")
            ip(f"-n {name} link set lan up")
        servers = stack.enter_context(Servers(one))
        servers.up(ONE, TWO)
        daemons = []
        for name in (one, two):
            directory = tmp_path / name
            directory.mkdir()
            daemons.append(stack.enter_context(Daemon(name, directory)))
        yield Pair(*daemons, servers)


def test_the_peer_takes_over_when_servers_die(pair: Pair) -> None:
    """A weight; what a crash of either process, and a reload, make of it."""
    text = SERVERS + router(BASE, f"{WEB} weight -40")
    pair.start(text)
    pair.is_("MASTER", BASE, master=True)
    pair.servers.down(ONE)
    pair.servers.down(TWO)
    pair.is_("BACKUP", BASE - 40, master=False)
    assert pair.tracked("[192.0.2.80]:tcp:80") is False

    pair.balancer.kill("ipvs")
    restarts = lambda name: pair.balancer.status()["daemon"][name]["restarts"]  # noqa: E731
    wait_for(lambda: restarts("ipvs") == 1, "the next process")
    wait_for(lambda: pair.balancer.status()["daemon"]["ipvs"]["state"] == "running", "running")
    pair.is_("BACKUP", BASE - 40, master=False)
    states = [line for line in pair.balancer.log().splitlines() if "Entering MASTER" in line]
    assert len(states) == 1, "it was not master between the two lives"

    pair.balancer.kill("vrrp")
    wait_for(lambda: restarts("vrrp") == 1, "the next process")
    wait_for(lambda: pair.balancer.status()["daemon"]["vrrp"]["state"] == "running", "running")
    pair.is_("BACKUP", BASE - 40, master=False)
    states = [line for line in pair.balancer.log().splitlines() if "Entering MASTER" in line]
    assert len(states) == 1, "the new one knows at once"

    assert pair.balancer.reload(SERVERS + router(BASE, f"{WEB} weight -20"))["ok"] is True
    pair.is_("MASTER", BASE - 20, master=True)
    pair.servers.up(ONE)
    pair.is_("MASTER", BASE, master=True)
    assert pair.balancer.reload(SERVERS + router(BASE - 60, f"{WEB} weight 50"))["ok"] is True
    pair.is_("MASTER", BASE - 10, master=True)
    pair.servers.down(ONE)
    pair.is_("BACKUP", BASE - 60, master=False)
    assert pair.balancer.stop() == 0


def test_without_weight_it_is_a_fault(pair: Pair) -> None:
    """And with reverse the other way round; a tracker that comes and goes by reload."""
    servers = virtual(WEB, "TCP", ONE, TWO, quorum=2)
    pair.start(servers + router(BASE, WEB))
    pair.is_("MASTER", BASE, master=True)
    pair.servers.down(TWO)
    pair.is_("FAULT", BASE, master=False)
    instance = pair.balancer.status()["instances"][0]
    assert instance["fault"] == ["virtual server"]

    # Not followed any more, then up behind its back, then followed again.
    assert pair.balancer.reload(servers + router(BASE))["ok"] is True
    pair.is_("MASTER", BASE, master=True)
    pair.servers.up(TWO)
    wait_for(lambda: pair.balancer.status()["virtual_servers"][0]["up"], "quorum")
    faults = pair.balancer.log().count("Entering FAULT")
    assert pair.balancer.reload(servers + router(BASE, WEB))["ok"] is True
    wait_for(lambda: pair.tracked("[192.0.2.80]:tcp:80"), "followed again")
    pair.is_("MASTER", BASE, master=True)
    assert pair.balancer.log().count("Entering FAULT") == faults, "nothing old is believed"

    assert pair.balancer.reload(servers + router(BASE, f"{WEB} reverse"))["ok"] is True
    pair.is_("FAULT", BASE, master=False)
    pair.servers.down(ONE)
    pair.is_("MASTER", BASE, master=True)
    assert pair.balancer.reload(servers + router(BASE, f"{WEB} weight 40 reverse"))["ok"] is True
    pair.servers.up(ONE)
    pair.is_("BACKUP", BASE - 40, master=False)


def test_several_that_go_together(pair: Pair) -> None:
    """Both protocols of a group, which are told apart; both families of a mark, which are one."""
    servers = "\n".join(
        (
            block("virtual_server_group dns", "192.0.2.53 53"),
            virtual(DNS, "TCP", ONE),
            virtual(DNS, "UDP", TWO),
            virtual("fwmark 7", "TCP", ONE),
            virtual("fwmark 7", "TCP", TWO, real="2001:db8::2"),
        )
    )
    weights = (f"{DNS} tcp weight -3", f"{DNS} udp weight -5", "fwmark 7 weight -10")
    pair.start(servers + "\n" + router(BASE, *weights))
    pair.is_("MASTER", BASE, master=True)
    pair.servers.down(TWO)
    pair.is_("MASTER", BASE - 15, master=True)
    pair.servers.down(ONE)
    pair.is_("MASTER", BASE - 18, master=True)
    pair.servers.up(TWO)
    pair.is_("MASTER", BASE - 13, master=True)
    assert pair.tracked("FWM 7") is False, "of one family"
    pair.servers.up(ONE)
    pair.is_("MASTER", BASE, master=True)
