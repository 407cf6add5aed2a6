"""What a daemon has made of the kernel in a namespace, read with ip(8), grep(1) and nft(8)."""

from __future__ import annotations

import json
from typing import Any

from fastvrrp.lab.network import Node

FOREVER_S = 0xFFFF_FFFF
Found = dict[str, Any]
# Of a link: what depends on the order in which links were made, or counts.
PASSING = ("ifindex", "addr_info", "stats", "stats64", "link_index", "link_netnsid")


def objects(node: Node, replace: dict[str, str] | None = None) -> Found:
    """Addresses, routes and rules; `replace`: text that stands for what differs between nodes."""

    def read(*words: str) -> Any:
        output = node.run("ip", "-j", "-d", *words) or "[]"
        for address, name in (replace or {}).items():
            output = output.replace(address, name)
        return json.loads(output)

    found: Found = {}
    for link in read("addr"):
        for address in link["addr_info"]:
            for name in ("valid_life_time", "preferred_life_time"):
                address[name] = min(address[name], 1) if address[name] != FOREVER_S else FOREVER_S
            found[f"address {link['ifname']} {address['local']}/{address['prefixlen']}"] = address
    for family in ("4", "6"):
        for route in read(f"-{family}", "route", "show", "table", "all"):
            route["expires"] = "expires" in route
            words = [family, route.get("table", "main"), route["type"], route["dst"]]
            if route.get("protocol") == "kernel":
                words += [route.get("dev", ""), route.get("prefsrc", "")]
            found[f"route {' '.join(words)}"] = route
        for rule in read(f"-{family}", "rule"):
            found[f"rule {family} {rule['priority']}"] = rule
    return found


def links(node: Node) -> Found:
    """Every link with its type, flags, hardware address and settings."""
    found: Found = {}
    for link in json.loads(node.run("ip", "-j", "-d", "link")):
        kept = {name: value for name, value in link.items() if name not in PASSING}
        kept["flags"] = sorted(kept["flags"])
        found[f"link {link['ifname']}"] = kept
    return found


def sysctls(node: Node) -> Found:
    """Everything below net.ipv4 and net.ipv6 that can be read."""
    directories = ("/proc/sys/net/ipv4", "/proc/sys/net/ipv6")
    output = node.run("grep", "-rs", "", *directories, check=False)
    found: Found = {}
    for line in output.splitlines():
        name, _, value = line.removeprefix("/proc/sys/").partition(":")
        found[f"sysctl {name}"] = value
    return found


def protected(node: Node) -> tuple[set[tuple[str, int]], set[str]]:
    """Of no_accept: hooks with their priority, and the addresses in the sets; a link-local one
    with its interface."""
    hooks, addresses = set(), set()
    for entry in json.loads(node.run("nft", "-j", "list", "ruleset"))["nftables"]:
        if chain := entry.get("chain", {}).get("hook"):
            hooks.add((chain, entry["chain"]["prio"]))
        found = entry.get("set", {})
        if "icmpv6_type" in found.get("type", ""):
            continue
        for element in found.get("elem", ()):
            words = element["concat"] if isinstance(element, dict) else [element]
            addresses.add(" ".join(sorted(words)))
    return hooks, addresses


def differences(theirs: Found, ours: Found) -> Found:
    """What only one of them has, and (theirs, ours) of each field that differs."""
    found: Found = {}
    for name in theirs.keys() | ours.keys():
        one, other = theirs.get(name), ours.get(name)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            fields = sorted(one.keys() | other.keys())
            pairs = {field: (one.get(field), other.get(field)) for field in fields}
            found[name] = {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}
        else:
            found[name] = (one, other)
    return found
