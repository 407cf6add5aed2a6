"""Two routers with interfaces of every kind that a virtual device can lie on, and what they make.

Cables lead from one router straight to the other: whatever one sends is seen as the other gets it.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from typing import Any

from fastvrrp.lab.network import Node
from keepalived_text import config, instance

CABLES = 8
# Interfaces below virtual MAC devices, in the order of their VRIDs, and the cables they lie on.
PARENTS = ("eth0", "vlan10", "bond0", "br0", "mv0", "eth5")
FIRST_VRID, IPVLAN4_VRID, IPVLAN6_VRID = 51, 61, 62
_FOREVER_S = 0xFFFF_FFFF
# Of a link: numbers that differ by chance, or that an observer changes.
_IRRELEVANT = frozenset(("ifindex", "link_index", "addr_info", "promiscuity", "qdisc", "txqlen"))
_ARP = bytes.fromhex("0001 0800 06 04")  # RFC 826: Ethernet, IPv4, lengths; the operation follows

Found = dict[str, Any]


def pair() -> tuple[Node, Node]:
    """The routers, with everything up and addressed. Close both."""
    nodes = (Node("r1", 1), Node("r2", 2))
    for number in range(CABLES):
        nodes[0].link(
            "add",
            ifname=f"eth{number}",
            kind="veth",
            address=f"02:00:00:00:01:0{number}",
            peer={
                "ifname": f"eth{number}",
                "net_ns_pid": nodes[1].thread_id,
                "address": f"02:00:00:00:02:0{number}",
            },
        )
    for node in nodes:
        for scope in ("all", "default"):
            node.sysctl(f"net/ipv6/conf/{scope}/accept_dad", 0)
            node.sysctl(f"net/ipv6/conf/{scope}/router_solicitations", 0)
        for line in _lines(node.host):
            node.run("ip", *line.split())
    return nodes


def _lines(host: int) -> list[str]:
    up = [number for number in range(CABLES) if number != 2]  # a bond takes what is down
    lines = [f"link set eth{number} up" for number in up]
    lines += [
        "link add vlan10 link eth1 type vlan id 10",
        "link add bond0 type bond mode active-backup miimon 100",
        "link set eth2 master bond0",
        f"link add br0 address 02:00:00:00:0{host}:13 type bridge",
        "link set eth3 master br0",
        f"link add mv0 link eth4 address 02:00:00:00:0{host}:14 type macvlan mode bridge",
        f"link add blue address 02:00:00:00:0{host}:20 type vrf table 1000",
        "link set blue up",
        "link set eth5 master blue",
        "link set eth0 mtu 1400",
        "link set vlan10 group 7",
    ]
    for number, name in enumerate((*PARENTS, "eth6", "eth7")):
        lines += [
            f"link set {name} up",
            f"address add 10.{number}.0.{host}/24 dev {name}",
            f"address add fd00:{number}::{host}/64 dev {name} nodad",
        ]
    return lines


def text(host: int, priority: int) -> str:
    """A virtual MAC device for each family on each parent; and two ipvlans."""

    def router(name: str, vrid: int, interface: str, *more: str, vips: tuple[str, ...]) -> str:
        return instance(
            *more,
            name=name,
            vrid=vrid,
            interface=interface,
            priority=priority,
            advert_int=0.5,
            vips=vips,
        )

    blocks = []
    for number, name in enumerate(PARENTS):
        vrid = FIRST_VRID + number
        six = (f"fe80::{number}:100/64", f"fd00:{number}::100/64")
        blocks.append(router(f"V4_{name}", vrid, name, "use_vmac", vips=(f"10.{number}.0.100/24",)))
        blocks.append(router(f"V6_{name}", vrid, name, "use_vmac", vips=six))
    own = f"use_ipvlan ipv4 10.6.0.2{host}/24"
    blocks.append(router("I4", IPVLAN4_VRID, "eth6", own, vips=("10.6.0.100/24",)))
    six = ("fe80::7:100/64", "fd00:7::100/64")
    blocks.append(router("I6", IPVLAN6_VRID, "eth7", "use_ipvlan private ipv6", vips=six))
    return config(*blocks)


INSTANCES = len(PARENTS) * 2 + 2
LAST_VIP = "fd00:7::100"


def kernel(node: Node) -> Found:
    """Links and their addresses, settings; the node's own addresses under common names."""
    shown = _without_host(node.run("ip", "-d", "-j", "addr"), node.host)
    found: Found = {}
    for link in json.loads(shown):
        name = link["ifname"]
        kind = link.pop("linkinfo", {})
        if kind.get("info_kind") in ("macvlan", "ipvlan"):
            link["kind"] = kind
        for address in link["addr_info"]:
            for field in ("valid_life_time", "preferred_life_time"):
                address[field] = min(address[field], 1) if address[field] != _FOREVER_S else -1
            found[f"address {name} {address['local']}/{address['prefixlen']}"] = address
        found[f"link {name}"] = {k: v for k, v in link.items() if k not in _IRRELEVANT}
    settings = node.run("sysctl", "net.ipv4.conf", "net.ipv6.conf", check=False)
    for line in settings.splitlines():
        setting, equals, value = line.partition(" = ")
        if equals:
            found[setting] = value
    return found


def _without_host(shown: str, host: int) -> str:
    """Addresses that say which router it is, as both would have them."""
    for pattern, common in (
        (rf"02:00:00:00:0{host}:", "own:mac:"),
        (rf'"10\.(\d)\.0\.(2?){host}"', r'"10.\1.0.\2own"'),
        (rf'"fd00:(\d?):*{host}"', r'"fd00:\1::own"'),
        (rf"fe80::ff:fe00:{host}", "fe80::own:"),
        (rf"fe80::200:0:100:{host}0", "fe80::ipvlan:own:"),
    ):
        shown = re.sub(pattern, common, shown)
    return shown


def differences(theirs: Found, ours: Found) -> Found:
    """(theirs, ours) of what differs, by its name, that of a link's field behind the link's."""
    found: Found = {}
    for name in theirs.keys() | ours.keys():
        one, other = theirs.get(name), ours.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            for field in one.keys() | other.keys():
                if one.get(field) != other.get(field):
                    found[f"{name} {field}"] = (one.get(field), other.get(field))
        elif one != other:
            found[name] = (one, other)
    return found


def who_answers(node: Node, interface: str, address: str, mac: str) -> set[str]:
    """The MAC addresses in all answers to ARP requests for `address`, at least until `mac` has
    answered three: by then all others have answered the first, whichever order they answer in.
    Raises TimeoutError where it does not."""
    shown = json.loads(node.run("ip", "-j", "link", "show", "dev", interface))
    own = bytes.fromhex(shown[0]["address"].replace(":", ""))
    whose = ipaddress.IPv4Address(address).packed
    request = b"\xff" * 6 + own + b"\x08\x06" + _ARP + b"\0\1" + own + bytes(10) + whose

    def ask() -> set[str]:
        answers: list[str] = []
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as sock:
            sock.bind((interface, 0x0806))
            sock.settimeout(10)
            for _ in range(3):
                sock.send(request)
            while answers.count(mac) < 3:
                body = sock.recv(200)[14:]
                if body[6:8] == b"\0\2" and body[14:18] == whose:
                    answers.append(body[8:14].hex(":"))
        return set(answers)

    return node.call(ask)
