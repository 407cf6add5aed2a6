"""no_accept with nftables, shown with real packets; entering a namespace."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest
from net_tools import ip, ip_json, run, wait_until

from fastvrrp.config.model import (
    Configuration,
    Device,
    GlobalDefs,
    VirtualAddress,
    VrrpInstance,
)
from fastvrrp.net import namespace as net_namespace
from fastvrrp.net import nftables
from fastvrrp.net.firewall import FirewallError, is_needed, removal, ruleset
from fastvrrp.net.tablekeeper import Firewall


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


async def commit(messages: Sequence[nftables.Message]) -> None:
    """In this thread, which is the one in the namespace."""
    nftables.commit(messages)


def test_only_non_owners_without_accept_need_it() -> None:
    assert is_needed(configuration("10.0.0.1"))
    assert not is_needed(configuration("10.0.0.1", accept=True))
    assert not is_needed(configuration("10.0.0.1", priority=255))
    assert not is_needed(configuration())


IN_WORDS = """\
table inet fastvrrp {
	set vips4 {
		type ipv4_addr
		elements = { 10.0.0.1 }
	}

	set vips6 {
		type ipv6_addr
		elements = { 2001:db8::1 }
	}

	set vips6_link_local {
		type ifname . ipv6_addr
		elements = { "v0" . fe80::1 }
	}

	set virtual_macs {
		type ifname
		elements = { "vrrp.1" }
	}

	chain silence {
		type filter hook output priority filter - 8; policy accept;
		oifname @virtual_macs ip protocol igmp counter packets 0 bytes 0 drop
		oifname @virtual_macs icmpv6 type { mld-listener-report, mld-listener-done, \
nd-router-solicit, mld2-listener-report } counter packets 0 bytes 0 drop
	}

	chain in {
		type filter hook input priority filter - 7; policy accept;
		icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, \
nd-neighbor-advert, nd-redirect } counter packets 0 bytes 0 accept
		ip daddr @vips4 counter packets 0 bytes 0 drop
		ip6 daddr @vips6 counter packets 0 bytes 0 drop
		iifname . ip6 daddr @vips6_link_local counter packets 0 bytes 0 drop
	}

	chain out {
		type filter hook output priority filter - 7; policy accept;
		icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, \
nd-neighbor-advert, nd-redirect } counter packets 0 bytes 0 accept
		ip saddr @vips4 counter packets 0 bytes 0 drop
		ip6 saddr @vips6 counter packets 0 bytes 0 drop
		oifname . ip6 saddr @vips6_link_local counter packets 0 bytes 0 drop
	}
}
"""


@pytest.mark.netns
def test_nft_reads_what_we_wrote(namespace: str) -> None:
    """Sets by kind of address, nftables_priority of the chains, nftables_counters in every rule;
    replaced as a whole, without counters; thousands of addresses; nothing of others is touched."""
    run("nft", "add", "table", "inet", "other")
    mac = nftables_device("vrrp.1")
    defs = GlobalDefs(nftables_priority=-7, nftables_counters=True)
    wanted = msgspec.structs.replace(
        configuration("10.0.0.1", "2001:db8::1", "fe80::1"), global_defs=defs, devices=(mac,)
    )
    nftables.commit(ruleset(wanted))
    assert run("nft", "list", "table", "inet", "fastvrrp") == IN_WORDS

    many = [f"10.{n >> 8}.{n & 255}.1" for n in range(5000)]
    nftables.commit(ruleset(configuration(*many)))
    text = run("nft", "list", "table", "inet", "fastvrrp")
    assert set(re.findall(r"10\.\d+\.\d+\.1", text)) == set(many)
    assert "counter" not in text
    assert "silence" not in text

    nftables.commit(removal("fastvrrp"))
    nftables.commit(removal("fastvrrp"))
    assert run("nft", "list", "tables") == "table inet other\n"
    with pytest.raises(nftables.NoNftables):
        nftables.commit([nftables.delete_table("fastvrrp")])


def nftables_device(name: str) -> Device:
    return Device(name=name, kind="macvlan", parent="v0", mac=bytes.fromhex("00005e000101"))


@pytest.mark.parametrize("name", ["x; flush ruleset", "", "a b", "1abc", "x" * 40, "a\n"])
def test_names_that_no_table_may_have_are_refused(name: str) -> None:
    with pytest.raises(FirewallError, match="table"):
        removal(name)


def test_nothing_runs_when_nothing_changed() -> None:
    scripts: list[Sequence[nftables.Message]] = []

    async def recording(messages: Sequence[nftables.Message]) -> None:
        scripts.append(messages)

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
    assert scripts[1][:2] == removal("fastvrrp")
    assert scripts[2] == removal("other")


def test_a_refusal_is_reported_and_leaves_the_state() -> None:
    async def refusing(messages: Sequence[nftables.Message]) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    firewall = Firewall(refusing)
    with pytest.raises(FirewallError, match=r"^nftables: Operation not permitted$"):
        asyncio.run(firewall.apply(configuration("10.0.0.1")))
    assert firewall.table is None


@pytest.mark.netns
def test_it_is_made_again_when_somebody_changed_it(namespace: str) -> None:
    """Taken away, emptied, or replaced by another; tables of others are nobody's business."""

    async def main() -> None:
        firewall = Firewall(commit)
        assert not await firewall.repair()
        await firewall.apply(configuration("10.0.0.1"))
        text = run("nft", "list", "ruleset")
        for damage in (
            "flush ruleset",
            "flush table inet fastvrrp",
            "flush chain inet fastvrrp in",
            "delete table inet fastvrrp; add table inet fastvrrp",
        ):
            run("nft", damage)
            assert await firewall.repair(), damage
            assert run("nft", "list", "ruleset") == text
            assert not await firewall.repair()
        run("nft", "add table inet other; add chain inet other c; delete table inet other")
        assert not await firewall.repair()
        await firewall.remove()
        assert not await firewall.repair()
        assert run("nft", "list", "ruleset") == ""

    asyncio.run(main())


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
    firewall = Firewall(commit)
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
    asyncio.run(Firewall(commit).apply(configuration("10.0.0.1")))
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
