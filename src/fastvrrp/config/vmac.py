"""Virtual devices of an instance: use_vmac, vmac_xmit_base, use_vmac_addr, use_ipvlan."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastvrrp.config import lookups
from fastvrrp.config.addresses import prefixed
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.keywords import table
from fastvrrp.config.model import Ipvlan, Vmac
from fastvrrp.config.values import canonical, interface_name

if TYPE_CHECKING:
    from fastvrrp.config.blocks import Entries
    from fastvrrp.config.context import Context
    from fastvrrp.config.instance import InstanceBuilder
    from fastvrrp.config.node import Node

KEYWORDS = frozenset(("use_vmac", "use_vmac_addr", "vmac_xmit_base", "use_ipvlan"))
_MAC = re.compile(r"([0-9a-fA-F]{1,2}:){4,5}[0-9a-fA-F]{1,2}$")
_VIRTUAL_MAC = re.compile(r"00:00:5e:00:0([12]):([0-9a-f]{2})$")
_IPVLAN_MODES = ("bridge", "private", "vepa")
_NAMING = ("name", "group")
_SOURCES = frozenset(("mcast_src_ip", "unicast_src_ip"))


def virtual_device(builder: InstanceBuilder) -> dict[str, Any]:
    """The fields `vmac`, `use_vmac_addr` and `ipvlan` of an instance that names one of KEYWORDS."""
    entries = builder.entries
    fields: dict[str, Any] = {}
    if "use_vmac_addr" in entries:
        fields["use_vmac_addr"] = True
    for name in ("use_vmac", "use_ipvlan"):
        if name in entries and "interface" not in entries:
            builder.warning(f"{name} needs an interface, ignored", "add interface IF", name)
            return fields
    if "use_vmac" in entries:
        vmac = read_vmac(builder.context, entries)
        if builder.strict and vmac.address is not None:
            builder.warning(
                "strict mode uses the address of RFC 9568 7.3", "leave the MAC out", "use_vmac"
            )
            vmac = Vmac(name=vmac.name, group=vmac.group, xmit_base=vmac.xmit_base)
        if builder.strict and vmac.xmit_base:
            builder.warning(
                "vmac_xmit_base is ignored in strict mode", "remove it", "vmac_xmit_base"
            )
            vmac = Vmac(name=vmac.name, address=vmac.address, group=vmac.group)
        fields["vmac"] = _without_foreign_mac(builder, vmac)
        if "use_ipvlan" in entries:
            builder.warning("use_ipvlan is ignored beside use_vmac", "keep one", "use_ipvlan")
        return fields
    if "vmac_xmit_base" in entries:
        builder.warning("vmac_xmit_base needs use_vmac, ignored", "remove it", "vmac_xmit_base")
    if "use_ipvlan" in entries:
        ipvlan = fields["ipvlan"] = read_ipvlan(builder.context, entries, builder.family)
        if builder.family == 4 and ipvlan.address is None and not _SOURCES & entries.keys():
            builder.warning(
                "an IPv4 ipvlan without an address has no source of adverts: FAULT",
                "write use_ipvlan ADDRESS/LENGTH",
                "use_ipvlan",
            )
    return fields


def _without_foreign_mac(builder: InstanceBuilder, vmac: Vmac) -> Vmac:
    """RFC 9568 7.3: each VRID and family has a MAC address; another's may be used on this link: as
    in keepalived, it is not taken."""
    found = _VIRTUAL_MAC.match(vmac.address or "")
    vrid = builder.entries.get("virtual_router_id")
    if found is None or vrid is None:
        return vmac
    family, owner = 4 if found[1] == "1" else 6, int(found[2], 16)
    if (family, owner) == (builder.family, vrid.value):
        return vmac
    builder.warning(
        f"{vmac.address} is the MAC address of VRID {owner} for IPv{family}, not this one: ignored",
        "leave it out, or write one of your own",
        "use_vmac",
    )
    return Vmac(name=vmac.name, group=vmac.group, xmit_base=vmac.xmit_base)


def read_vmac(context: Context, entries: Entries) -> Vmac:
    """[[name] IFNAME] [MAC] [netlink_notify_msg] [group ID], in any order; and vmac_xmit_base."""
    node = entries["use_vmac"].node
    words = node.words
    naming = _Naming(context, node)
    address = None
    index = 1
    while index < len(words):
        word = words[index]
        if _MAC.match(word):
            address = _mac(context, node, index)
        elif word == "netlink_notify_msg":
            row = table()["vrrp_instance/use_vmac"][word]
            context.warning(node, row.no_effect(), "remove it", word=index)
        else:
            index = naming.read(index)
        index += 1
    return Vmac(
        name=naming.name,
        address=address,
        group=naming.group,
        xmit_base="vmac_xmit_base" in entries,
    )


def read_ipvlan(context: Context, entries: Entries, family: int) -> Ipvlan:
    """[[name] IFNAME] [ADDR[/LEN]] [bridge|private|vepa] [group ID], in any order."""
    node = entries["use_ipvlan"].node
    words = node.words
    naming = _Naming(context, node)
    address, prefixlen, mode = None, 0, "bridge"
    index = 1
    while index < len(words):
        word = words[index]
        if word in _IPVLAN_MODES:
            mode = word
        elif canonical(word.partition("/")[0])[1]:
            parsed = prefixed(context, node, word, word=index)
            if parsed is not None and parsed[2] != family:
                context.error(
                    node,
                    f"the address {parsed[0]} of the ipvlan is of another family",
                    f"write an IPv{family} address",
                    word=index,
                )
            elif parsed is not None:
                address, prefixlen, _ = parsed
        else:
            index = naming.read(index)
        index += 1
    return Ipvlan(
        name=naming.name, address=address, prefixlen=prefixlen, mode=mode, group=naming.group
    )


class _Naming:
    """`[name] IFNAME` and `group ID` among other words."""

    def __init__(self, context: Context, node: Node) -> None:
        self._context = context
        self._node = node
        self.name: str | None = None
        self.group: int | None = None

    def read(self, index: int) -> int:
        """Take the word at `index`, with its value if it has one; returns the last one's index."""
        context, node = self._context, self._node
        word = node.words[index]
        if word in _NAMING and index + 1 < len(node.words):
            index += 1
            if word == "group":
                self.group = lookups.named(
                    context, node, index, "group", "link group", lookups.U32_MAX
                )
            elif interface_name(context, node, node.words[index], word=index):
                self.name = node.words[index]
        elif self.name is not None:
            context.unknown(node, "option", _NAMING, word=index)
        elif interface_name(context, node, word, word=index):
            self.name = word
        return index


def _mac(context: Context, node: Node, index: int) -> str | None:
    """A unicast address of 5 or 6 octets, in lower case."""
    text = node.words[index]
    octets = [int(octet, 16) for octet in text.split(":")]
    if octets[0] & 1:
        context.error(
            node,
            f"{shown(text)} is a multicast address",
            "write a MAC address whose first octet is even",
            word=index,
        )
        return None
    return ":".join(f"{octet:02x}" for octet in octets)
