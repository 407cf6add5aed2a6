"""The same configuration given to keepalived and to us makes the same table.

keepalived runs in one network namespace, ours is made in another; each case is one virtual server
of the one file that both read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from guest_tools import keepalived, namespace, run

from fastvrrp.config.load import load
from fastvrrp.ipvs import services
from fastvrrp.ipvs.netlink_table import NetlinkTable, open_socket
from fastvrrp.ipvs.objects import Entries
from fastvrrp.ipvs.pool import Pool
from fastvrrp.ipvs.reconcile import reconcile
from keepalived_text import block

SCHEDULERS = (
    *("rr", "wrr", "lc", "wlc", "lblc", "lblcr"),
    *("sh", "dh", "sed", "nq", "mh", "fo", "ovf"),
)
METHODS = {
    "NAT": "NAT",
    "DR": "DR",
    "TUN": "TUN",
    "TUN ipip": "TUN type ipip",
    "TUN gue": "TUN type gue port 6080",
    "TUN gue nocsum": "TUN type gue port 6080 nocsum",
    "TUN gue csum": "TUN type gue port 65535 csum",
    "TUN gue remcsum": "TUN type gue port 1 remcsum",
    "TUN gre": "TUN type gre",
    "TUN gre nocsum": "TUN type gre nocsum",
    "TUN gre csum": "TUN type gre csum",
}
FLAGS = {
    "sh": ("sh-port", "sh-fallback", "flag-3"),
    "mh": ("mh-port", "mh-fallback", "flag-3"),
    "rr": ("flag-1", "flag-2", "flag-3"),
}
PERSISTENCE = {
    "default": ("persistence_timeout",),
    "300": ("persistence_timeout 300",),
    "longest": ("persistence_timeout 2678400",),
    "net": ("persistence_timeout 60", "persistence_granularity 255.255.255.0"),
    "net alone": ("persistence_granularity 255.255.0.0",),
    "host": ("persistence_timeout 60", "persistence_granularity 255.255.255.255"),
}
SERVER4 = "real_server 192.0.2.1 8080"
SERVER6 = "real_server 2001:db8:1::1 8080"


def vs(head: str, *lines: str, server: str = SERVER4) -> str:
    """A virtual server; what is not said is rr, NAT, TCP, one server."""
    text = "\n".join(lines)
    more = [
        line
        for word, line in (
            ("lvs_sched", "lvs_sched rr"),
            ("lvs_method", "lvs_method NAT"),
            ("protocol", "protocol TCP"),
        )
        if f"{word} " not in text.split("real_server")[0]
        and not (word == "protocol" and head.startswith("fwmark"))
    ]
    servers = [] if "real_server" in text else [block(server, "weight 2")]
    return block(f"virtual_server {head}", *more, *lines, *servers)


def beginnings() -> dict[str, str]:
    """Tables at the start: what is up before anything was checked, and the sorry server."""
    sorry = "sorry_server 192.0.2.99 8080"
    checked = block("TCP_CHECK", "connect_timeout 1")
    server = block("real_server 192.0.2.1 8080", "weight 5", checked)
    inhibited = block("real_server 192.0.2.2 8080", "weight 5", "inhibit_on_failure", checked)
    plain = block("real_server 192.0.2.3 8080", "weight 5")
    slow = "delay_loop 3600"  # the first checks come after the comparison
    found = {}
    for name, lines in {
        "idle": (sorry,),
        "idle, inhibited": (sorry, "sorry_server_inhibit"),
        "of another kind": (sorry, "sorry_server_inhibit", "sorry_server_lvs_method DR"),
        "without port": ("sorry_server 192.0.2.99", "sorry_server_inhibit"),
        "none": (),
    }.items():
        found[f"sorry {name}"] = vs("VIP4 8080", slow, *lines, server)
        found[f"sorry {name}, alpha"] = vs("VIP4 8080", slow, "alpha", *lines, server, inhibited)
        found[f"sorry {name}, alpha, some up"] = vs(
            "VIP4 8080", slow, "alpha", *lines, inhibited, server, plain
        )
        found[f"sorry {name}, alpha, quorum"] = vs(
            "VIP4 8080", slow, "alpha", "quorum 6", *lines, inhibited, server, plain
        )
        found[f"sorry {name}, no weight"] = vs(
            "VIP4 8080", slow, *lines, block("real_server 192.0.2.3 8080", "weight 0")
        )
    found["quorum of more than there is"] = vs("VIP4 8080", "quorum 9", plain)
    found["hysteresis"] = vs("VIP4 8080", "quorum 4", "hysteresis 2", sorry, plain)
    found["alpha of a server"] = vs(
        "VIP4 8080",
        slow,
        sorry,
        block("real_server 192.0.2.1 8080", "alpha", checked),
        block("real_server 192.0.2.4 8080", checked),
    )
    return found


def cases() -> dict[str, str]:
    """VIP4, VIP6, MARK and GROUP are each case's own."""
    found = {}
    for name in SCHEDULERS:
        found[f"scheduler {name}"] = vs("VIP4 80", f"lvs_sched {name}")
    for name, flags in FLAGS.items():
        for index, flag in enumerate(flags):
            found[flag if name != "rr" else f"rr {flag}"] = vs("VIP4 80", f"lvs_sched {name}", flag)
            two = [flag, flags[index - 1]]
            found[f"{name} {' '.join(two)}"] = vs("VIP4 80", f"lvs_sched {name}", *two)
        found[f"{name} all flags"] = vs("VIP4 80", f"lvs_sched {name}", *flags)
    for name in ("TCP", "UDP", "SCTP"):
        found[name] = vs("VIP4 80", f"protocol {name}")
        found[f"{name} ipv6"] = vs("VIP6 80", f"protocol {name}", server=SERVER6)
    for name, method in METHODS.items():
        found[name] = vs("VIP4 8080", f"lvs_method {method}")
        found[f"{name} ipv6"] = vs("VIP6 8080", f"lvs_method {method}", server=SERVER6)
        found[f"{name} of a server"] = vs(
            "VIP4 8080",
            block("real_server 192.0.2.1 8080", f"lvs_method {method}"),
            block("real_server 192.0.2.2 8080", "weight 7"),
        )
        found[f"{name} and another port"] = vs("VIP4 80", f"lvs_method {method}")
        found[f"{name} without port"] = vs(
            "VIP4 80", f"lvs_method {method}", server="real_server 192.0.2.1"
        )
        found[f"{name} of a mark"] = vs("fwmark MARK", f"lvs_method {method}")
        if "TUN" in name:
            found[f"{name} to the other family"] = vs(
                "VIP4 8080", f"lvs_method {method}", server=SERVER6
            )
            found[f"{name} of ipv6 to the other family"] = vs(
                "VIP6 8080", f"lvs_method {method}", server=SERVER4
            )
    for name, lines in PERSISTENCE.items():
        found[f"persistence {name}"] = vs("VIP4 80", *lines)
        found[f"persistence of a mark {name}"] = vs("fwmark MARK", *lines)
    for length in (1, 64, 127, 128):
        lines = ("persistence_timeout 60", f"persistence_granularity {length}")
        found[f"persistence ipv6 {length}"] = vs("VIP6 80", *lines, server=SERVER6)
    found["persistence engine"] = vs(
        "VIP4 5060", "protocol UDP", "persistence_timeout 60", "persistence_engine sip"
    )
    found["any port"] = vs("VIP4 0", "persistence_timeout 60", server="real_server 192.0.2.1 0")
    found["any port to one"] = vs("VIP4 0", "persistence_timeout 60")
    found["ops"] = vs("VIP4 53", "protocol UDP", "ops")
    found["ops of a mark"] = vs("fwmark MARK", "ops")
    found["weights"] = vs(
        "VIP4 80",
        "weight 9",
        *(
            block(f"real_server 192.0.2.{n + 1} 80", f"weight {weight}")
            for n, weight in enumerate((0, 1, 253, 65536, 2147483647))
        ),
        block("real_server 192.0.2.9 80"),
    )
    found["thresholds"] = vs(
        "VIP4 80",
        block("real_server 192.0.2.1 80", "uthreshold 100", "lthreshold 50"),
        block("real_server 192.0.2.2 80", "uthreshold 4294967295"),
    )
    found["many servers"] = vs(
        "VIP4 80", *(block(f"real_server 192.0.2.{n} 80", "weight 1") for n in range(1, 200))
    )
    found["mark"] = vs("fwmark MARK")
    found["mark ipv6"] = vs("fwmark MARK", server=SERVER6)
    found["mark with family"] = vs("fwmark MARK", "ip_family inet6", server=SERVER6)
    found["mark, tunnel to the other family"] = vs(
        "fwmark MARK", "ip_family inet", "lvs_method TUN", server=SERVER6
    )
    every_kind = ("VIP4 80", "VIP40-13 81", "VIP416/30 82", "fwmark MARK inet")
    every_kind6 = ("VIP6 80", "VIP610-11f 81", "fwmark MARK inet6")
    for method in ("NAT", "DR", "TUN"):
        for name, lines, address in (
            ("", every_kind, "192.0.2."),
            (" ipv6", every_kind6, "2001:db8:1::"),
        ):
            found[f"group {method}{name}"] = "\n".join(
                (
                    block("virtual_server_group GROUP", *lines),
                    vs(
                        "group GROUP",
                        f"lvs_method {method}",
                        block(f"real_server {address}1 8080"),
                        block(f"real_server {address}2", "weight 3"),
                        block(f"real_server {address}3 80", "weight 4"),
                    ),
                )
            )
    found["group of one port"] = "\n".join(
        (
            block("virtual_server_group GROUP", "VIP4 80", "VIP47 80"),
            vs("group GROUP", server="real_server 192.0.2.1"),
        )
    )
    found |= beginnings()
    return {
        name: text.replace("VIP4", f"10.{number}.0.1")
        .replace("VIP6", f"2001:db8:{number:x}::1")
        .replace("MARK", str(1000 + number))
        .replace("GROUP", f"G{number}")
        for number, (name, text) in enumerate(found.items(), 1)
    }


CASES = cases()


class Tables(NamedTuple):
    """What both made of all cases: as dumped, and as `ipvsadm -Sn` shows it."""

    ours: Entries
    theirs: Entries
    our_text: list[str]
    their_text: list[str]
    owners: dict[str, Entries]  # what we wanted, by virtual server
    left: Entries  # after keepalived's end


def ipvsadm(name: str) -> list[str]:
    return run("ip", "netns", "exec", name, "ipvsadm", "-Sn").splitlines()


def desired(file: Path) -> dict[str, Entries]:
    """What each virtual server of a file wants at the start."""
    loaded = load(file)
    assert loaded.configuration is not None, [str(m) for m in loaded.messages]
    found = {}
    for server in loaded.configuration.ipvs.virtual_servers:
        pool = Pool(server)
        pool.start()
        found[server.name] = services.entries(server, pool.desired())
    return found


async def settled(table: NetlinkTable, count: int) -> Entries:
    """The table once it has so many services and has not changed for a moment."""
    before: Entries = {}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = await table.dump()
        if len(found) >= count and found == before:
            return found
        before = found
        await asyncio.sleep(0.3)
    return before


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    directory = tmp_path_factory.mktemp("keepalived")
    file = directory / "keepalived.conf"
    file.write_text("\n".join(CASES.values()))
    owners = desired(file)
    wanted = {key: entry for entries in owners.values() for key, entry in entries.items()}

    async def ours(name: str) -> Entries:
        table = NetlinkTable(open_socket(name))
        assert await table.apply(reconcile(wanted, {}, wanted)) == []
        found = await table.dump()
        table.close()
        return found

    async def theirs(name: str, count: int) -> Entries:
        table = NetlinkTable(open_socket(name))
        found = await settled(table, count)
        table.close()
        return found

    with namespace() as one, namespace() as other:
        our_table = asyncio.run(ours(one))
        our_text = ipvsadm(one)
        with keepalived(other, directory, file):
            their_table = asyncio.run(theirs(other, len(wanted)))
            their_text = ipvsadm(other)
        left = asyncio.run(theirs(other, 0))
        yield Tables(our_table, their_table, our_text, their_text, owners, left)


@pytest.mark.parametrize("name", CASES)
def test_same_services_and_destinations(tables: Tables, name: str) -> None:
    number = list(CASES).index(name) + 1
    marks = (f"10.{number}.0.", f"2001:db8:{number:x}::1", f"FWM {1000 + number}")

    def of_case(entries: Entries) -> Entries:
        return {
            key: entry
            for key, entry in entries.items()
            if str(key) == marks[2] or str(key).startswith((f"[{marks[0]}", f"[{marks[1]}"))
        }

    ours, theirs = of_case(tables.ours), of_case(tables.theirs)
    assert ours
    assert ours == theirs


def test_nothing_else_is_there(tables: Tables) -> None:
    assert tables.ours.keys() == tables.theirs.keys()
    assert {key for entries in tables.owners.values() for key in entries} == tables.ours.keys()


def test_destinations_are_in_the_same_order(tables: Tables) -> None:
    """Schedulers that hash choose by it."""
    orders = [
        {key: list(entry.destinations) for key, entry in table.items()}
        for table in (tables.ours, tables.theirs)
    ]
    assert orders[0] == orders[1]


def test_ipvsadm_shows_the_same(tables: Tables) -> None:
    assert tables.our_text == tables.their_text
    assert len(tables.our_text) > 300


def test_keepalived_leaves_nothing_at_its_end(tables: Tables) -> None:
    assert tables.left == {}
