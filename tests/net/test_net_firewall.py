"""no_accept with nftables, shown with real packets; entering a namespace."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest
from net_tools import ip, ip_json, run, wait_until

from fastvrrp.config.model import Configuration, GlobalDefs, VirtualAddress, VrrpInstance
from fastvrrp.net import namespace as net_namespace
from fastvrrp.net.firewall import Firewall, FirewallError, is_needed, removal, ruleset


def configuration(
    *addresses: str, accept: bool = False, priority: int = 100, table: str | None = None
) -> Configuration:
    return Configuration(
        global_defs=GlobalDefs(nftables=table),
        vrrp_instances=(
            VrrpInstance(
                name="VI",
                virtual_router_id=1,
                family=4,
                version=3,
                interface="v0",
                accept=accept,
                priority=priority,
                virtual_ipaddress=tuple(
                    VirtualAddress(
                        address=address,
                        prefixlen=128 if ":" in address else 32,
                        family=6 if ":" in address else 4,
                    )
                    for address in addresses
                ),
            ),
        ),
    )


async def runner(argv: Sequence[str], stdin: bytes) -> tuple[int, bytes]:
    done = await asyncio.to_thread(
        subprocess.run, argv, input=stdin, capture_output=True, check=False
    )
    return done.returncode, done.stderr


def test_only_non_owners_without_accept_need_it() -> None:
    assert is_needed(configuration("10.0.0.1"))
    assert not is_needed(configuration("10.0.0.1", accept=True))
    assert not is_needed(configuration("10.0.0.1", priority=255))
    assert not is_needed(configuration())


def test_ruleset_sorts_addresses_into_sets() -> None:
    text = ruleset(configuration("10.0.0.1", "2001:db8::1", "fe80::1")).decode()
    assert text.startswith("add table inet fastvrrp\ndelete table inet fastvrrp\n")
    assert "elements = { 10.0.0.1 }" in text
    assert "elements = { 2001:db8::1 }" in text
    assert 'elements = { "v0" . fe80::1 }' in text


def test_priority_and_counters() -> None:
    """nftables_priority of both chains, nftables_counters in every rule."""
    wanted = msgspec.structs.replace(
        configuration("10.0.0.1"), global_defs=GlobalDefs(nftables_priority=-7)
    )
    lines = ruleset(wanted).decode().split("\n")
    assert [line.split("priority ")[1] for line in lines if "hook" in line] == [
        "-7; policy accept;"
    ] * 2
    assert "counter" not in ruleset(wanted).decode()
    wanted = msgspec.structs.replace(wanted, global_defs=GlobalDefs(nftables_counters=True))
    verdicts = [
        line.split()[-2:]
        for line in ruleset(wanted).decode().split("\n")
        if line.endswith((" accept", " drop"))
    ]
    assert verdicts == [["counter", "accept"], *[["counter", "drop"]] * 3] * 2


@pytest.mark.parametrize("name", ["x; flush ruleset", "", "a b", "1abc", "x" * 40, "a\n"])
def test_names_that_nft_would_read_differently_are_refused(name: str) -> None:
    with pytest.raises(FirewallError, match="table"):
        removal(name)


def test_nothing_runs_when_nothing_changed() -> None:
    scripts: list[bytes] = []

    async def recording(argv: Sequence[str], stdin: bytes) -> tuple[int, bytes]:
        scripts.append(stdin)
        return 0, b""

    async def main() -> None:
        firewall = Firewall(recording)
        assert not await firewall.apply(configuration("10.0.0.1", accept=True))
        assert await firewall.apply(configuration("10.0.0.1"))
        assert not await firewall.apply(configuration("10.0.0.1"))
        assert firewall.table == "fastvrrp"
        assert await firewall.apply(configuration("10.0.0.1", table="other"))
        assert await firewall.apply(configuration("10.0.0.1", accept=True))
        assert firewall.table is None
        assert not await firewall.remove()

    asyncio.run(main())
    assert len(scripts) == 3
    assert scripts[1].startswith(removal("fastvrrp"))
    assert scripts[2] == removal("other")


def test_a_refusal_is_reported_and_leaves_the_state() -> None:
    async def refusing(argv: Sequence[str], stdin: bytes) -> tuple[int, bytes]:
        return 1, b"Error: Operation not permitted\n"

    firewall = Firewall(refusing)
    with pytest.raises(FirewallError, match="Operation not permitted"):
        asyncio.run(firewall.apply(configuration("10.0.0.1")))
    assert firewall.table is None


@pytest.fixture
def neighbour(link: Callable[..., int]) -> Iterator[str]:
    """v0 here; its other end with 10.0.0.2 and fe80::2 in a namespace of its own."""
    name = f"net-{os.getpid()}-peer"
    run("ip", "netns", "add", name)
    try:
        link("v0", "10.0.0.9/24", "2001:db8::9/64")
        ip(f"link set v0p netns {name}")
        inside = ("ip", "-n", name)
        run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.v0p.accept_dad=0")
        run(*inside, "link", "set", "v0p", "up")
        run(*inside, "addr", "add", "10.0.0.2/24", "dev", "v0p")
        run(*inside, "addr", "add", "2001:db8::2/64", "dev", "v0p")
        yield name
    finally:
        run("ip", "netns", "del", name)


def pings(name: str, address: str) -> bool:
    argv = ["ip", "netns", "exec", name, "ping", "-n", "-q", "-c1", "-W0.3", address]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def knows(name: str, address: str) -> bool:
    """Whether address resolution succeeded there."""
    shown = ip_json(f"-n {name} neigh show {address} dev v0p")
    return any("lladdr" in entry for entry in shown)


@pytest.mark.netns
def test_vips_do_not_answer_but_resolve(neighbour: str) -> None:
    """Dropped are IP packets to and from the VIPs; ARP and neighbour discovery work."""
    vips = ("10.0.0.1", "2001:db8::1", "fe80::100%v0p")
    ip("addr add 10.0.0.1/32 dev v0")
    ip("addr add 2001:db8::1/128 dev v0 nodad")
    ip("addr add fe80::100/64 dev v0 nodad")
    for address in (*vips, "10.0.0.9", "2001:db8::9"):
        wait_until(lambda address=address: pings(neighbour, address))
    run("ip", "-n", neighbour, "neigh", "flush", "all")

    protected = configuration("10.0.0.1", "2001:db8::1", "fe80::100")
    firewall = Firewall(runner)
    asyncio.run(firewall.apply(protected))
    for address in vips:
        assert not pings(neighbour, address), address
        wait_until(lambda address=address: knows(neighbour, address.partition("%")[0]))
    wait_until(lambda: pings(neighbour, "10.0.0.9"))
    wait_until(lambda: pings(neighbour, "2001:db8::9"))
    out = ["ping", "-n", "-q", "-c1", "-W0.3", "-I", "10.0.0.1", "10.0.0.2"]
    assert subprocess.run(out, capture_output=True, check=False).returncode != 0

    asyncio.run(firewall.remove())
    assert run("nft", "list", "tables") == ""
    wait_until(lambda: pings(neighbour, "10.0.0.1"))


@pytest.mark.netns
def test_a_backup_still_reaches_the_master(neighbour: str) -> None:
    """The sets hold the VIPs always: traffic of a backup to the master's VIP is not touched."""
    run("ip", "-n", neighbour, "addr", "add", "10.0.0.1/32", "dev", "v0p")
    asyncio.run(Firewall(runner).apply(configuration("10.0.0.1")))
    argv = ["ping", "-n", "-q", "-c1", "-W0.3", "10.0.0.1"]
    wait_until(lambda: subprocess.run(argv, capture_output=True, check=False).returncode == 0)


@pytest.mark.netns
def test_entering_a_namespace(namespace: str) -> None:
    assert run("ip", "netns", "identify").strip() == namespace
    for name in ("net-does-not-exist", "../x", "", ".."):
        with pytest.raises(net_namespace.NamespaceError):
            net_namespace.enter(name)
    with pytest.raises(net_namespace.NamespaceError, match="ip netns add net-nope"):
        net_namespace.enter("net-nope")
