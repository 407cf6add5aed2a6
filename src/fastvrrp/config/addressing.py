"""Family, version, source, peers and addresses of an instance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastvrrp.config.addresses import Seen, distinct
from fastvrrp.config.blocks import Entries, Entry, get, listed, plain_lines
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.model import OWNER, UnicastPeer, VirtualAddress
from fastvrrp.config.node import Node
from fastvrrp.config.values import bare_address, is_multicast, within

if TYPE_CHECKING:
    from fastvrrp.config.instance import InstanceBuilder

ADDRESSES_MAX = 255  # one octet in the packet, RFC 9568 5.2.5
MTU_DEFAULT = 1500
# Bytes of a packet that are not addresses: IP header, VRRP header, and what keepalived keeps free
# for an authentication header (RFC 4302), so that both agree on which addresses are advertised.
_OVERHEAD = {4: 20 + 8 + 24, 6: 40 + 8 + 24}
_ADDRESS_BYTES = {4: 4, 6: 16}
TTL_MAX = 255
_SOURCES = frozenset(("mcast_src_ip", "unicast_src_ip"))
_UNICAST = _SOURCES | {"unicast_peer", "unicast_ttl"}


def read_peers(context: Context, node: Node) -> list[Entry]:
    """unicast_peer: ADDR [min_ttl N] [max_ttl N]. Values are (UnicastPeer, family)."""
    entries: list[Entry] = []
    seen: set[str] = set()
    for line in plain_lines(context, node):
        address, family = bare_address(context, line, word=0)
        if not family:
            context.error(
                line,
                f"{shown(line.words[0])} is not the address of a peer",
                "write an IPv4 or IPv6 address",
            )
            continue
        if address in seen:
            context.warning(line, f"the peer {address} is listed twice", "remove one of the lines")
            continue
        seen.add(address)
        limits = {"min_ttl": 0, "max_ttl": TTL_MAX}
        index = 1
        while index < len(line.words):
            option = line.words[index]
            if option not in limits:
                context.unknown(line, "option", limits, word=index)
                break
            following = line.words[index + 1 : index + 2]
            value = within(following[0], 0, TTL_MAX) if following else None
            if value is None:
                context.error(
                    line, f"{option} needs a number", f"write {option} 0 to {TTL_MAX}", word=index
                )
                break
            limits[option] = value
            index += 2
        if limits["min_ttl"] > limits["max_ttl"]:
            context.warning(
                line,
                f"no advert of {address} is accepted: min_ttl is more than max_ttl",
                "write min_ttl up to max_ttl",
            )
        entries.append(Entry((UnicastPeer(address=address, **limits), family), line))
    return entries


def first_family(entries: Entries) -> tuple[int, str]:
    """What is written first decides: family and the keyword that did."""
    for name, entry in entries.items():
        value = entry.value
        if name == "virtual_ipaddress" and value:
            return value[0].value.family, name
        if name == "unicast_peer" and value:
            return value[0].value[1], name
        if name in ("mcast_src_ip", "unicast_src_ip", "mcast_dst_ip"):
            return value[1], name
        if name == "native_ipv6":
            return 6, name
    excluded = entries.get("virtual_ipaddress_excluded")
    if excluded is not None and excluded.value:
        return excluded.value[0].value.family, "virtual_ipaddress_excluded"
    return 4, ""


def _version(builder: InstanceBuilder) -> int:
    """IPv6 means version 3, unless version 2 was written before the first IPv6 address."""
    entries = builder.entries
    written = get(entries, "version")
    if builder.family == 4:
        return builder.defaults.version if written is None else int(written)
    if written != 2:
        return 3
    order = list(entries)
    if builder.strict or order.index("version") > order.index(builder.decided_by):
        builder.warning("IPv6 needs version 3, which is used", "write version 3", "version")
        return 3
    builder.warning(
        "VRRPv2 over IPv6 is an extension of keepalived", "write version 3 on all nodes", "version"
    )
    return 2


def _source(builder: InstanceBuilder) -> str | None:
    """mcast_src_ip or unicast_src_ip; the one written last counts, as in keepalived."""
    chosen = None
    for name in builder.entries:
        if name not in _SOURCES:
            continue
        address, family = builder.entries[name].value
        if family == builder.family:
            chosen = address
        else:
            builder.error(
                f"{name} {address} is not an IPv{builder.family} address",
                "all addresses of an instance are of one family",
                name,
            )
    return chosen


def _peers(builder: InstanceBuilder) -> tuple[UnicastPeer, ...]:
    peers = []
    for entry in listed(builder.entries, "unicast_peer"):
        peer, family = entry.value
        if family == builder.family:
            peers.append(peer)
        else:
            builder.context.error(
                entry.node,
                f"{builder.name}: the peer {peer.address} is not an IPv{builder.family} address",
                "all addresses of an instance are of one family",
            )
    return tuple(peers)


def _destination(builder: InstanceBuilder) -> str:
    default = builder.defaults.mcast4 if builder.family == 4 else builder.defaults.mcast6
    entry = builder.entries.get("mcast_dst_ip")
    if entry is None:
        return default
    address, family = entry.value
    if family != builder.family or not is_multicast(address, family):
        builder.warning(
            f"mcast_dst_ip {address} is not an IPv{builder.family} multicast address, "
            f"using {default}",
            "write a multicast address",
            "mcast_dst_ip",
        )
        return default
    return str(address)


def family_settings(builder: InstanceBuilder) -> dict[str, Any]:
    """The fields that follow from the family, and from settings about addressing."""
    entries = builder.entries
    builder.version = _version(builder)
    fields: dict[str, Any] = {
        "family": builder.family,
        "version": builder.version,
        "mcast_dst_ip": _destination(builder),
        "check_unicast_src": builder.defaults.check_unicast_src or "check_unicast_src" in entries,
    }
    if "native_ipv6" in entries:
        builder.warning("native_ipv6 is an old keyword", "remove it", "native_ipv6")
    return fields


def addressing(builder: InstanceBuilder) -> dict[str, Any]:
    """The fields of the instance that are addresses, and what follows from them."""
    entries = builder.entries
    fields: dict[str, Any] = {}
    if not _UNICAST.isdisjoint(entries):
        _unicast(builder, fields)
    advertised, excluded = _addresses(builder)
    fields["virtual_ipaddress"] = advertised
    fields["virtual_ipaddress_excluded"] = excluded
    if fields.get("source") is not None and builder.priority != OWNER:
        _check_source(builder, fields["source"], (*advertised, *excluded))
    for name in ("virtual_routes", "virtual_rules"):
        if name in entries:
            fields[name] = tuple(entry.value for entry in entries[name].value)
    return fields


def receive_buffer(builder: InstanceBuilder, addresses: int) -> int:
    """Bytes that an instance with so many addresses adds to the receive buffer of its sockets
    (kernel_rx_buf_size, vrrp_rx_bufs_policy)."""
    defaults = builder.defaults
    written = get(builder.entries, "kernel_rx_buf_size", defaults.rx_policy)
    if isinstance(written, int):
        return written
    if written == "MTU":
        size = builder.context.mtu(get(builder.entries, "interface")) or MTU_DEFAULT
    else:
        size = _OVERHEAD[builder.family] + addresses * _ADDRESS_BYTES[builder.family]
    return size * defaults.rx_multiplier


def _check_source(
    builder: InstanceBuilder, source: str, addresses: Iterable[VirtualAddress]
) -> None:
    """Only the address owner has a virtual address while it is backup."""
    if all(address.address != source for address in addresses):
        return
    name = next(name for name in reversed(builder.entries) if name in _SOURCES)
    builder.warning(
        f"{name} {source} is a virtual address, which this router does not have as backup",
        "use an address that it keeps; only the owner of the address has priority 255",
        name,
    )


def _unicast(builder: InstanceBuilder, fields: dict[str, Any]) -> None:
    entries = builder.entries
    fields["source"] = _source(builder)
    fields["unicast_peers"] = peers = _peers(builder)
    if any(peer.min_ttl > 0 or peer.max_ttl < TTL_MAX for peer in peers):
        fields["check_unicast_src"] = True
    if "unicast_ttl" in entries:
        if peers:
            fields["unicast_ttl"] = entries["unicast_ttl"].value
        else:
            builder.warning("unicast_ttl needs peers, ignored", "add unicast_peer", "unicast_ttl")
    if peers and builder.strict:
        builder.warning(
            "strict mode knows no unicast, newer keepalived refuses it",
            "remove strict_mode or unicast_peer",
            "unicast_peer",
        )
    if not peers and ("unicast_peer" in entries or "unicast_src_ip" in entries):
        name = "unicast_src_ip" if "unicast_src_ip" in entries else "unicast_peer"
        if "unicast_fault_no_peer" in entries:
            builder.warning("without a peer the instance faults", "add unicast_peer", name)
        else:
            builder.warning(
                "no peers: adverts are sent by multicast",
                "add unicast_peer, or write mcast_src_ip",
                name,
            )


def _addresses(
    builder: InstanceBuilder,
) -> tuple[tuple[VirtualAddress, ...], tuple[VirtualAddress, ...]]:
    """Advertised and excluded addresses; what does not fit into an advert is excluded."""
    entries, family = builder.entries, builder.family
    written = listed(entries, "virtual_ipaddress")
    if len(written) == 1 and "virtual_ipaddress_excluded" not in entries and not builder.strict:
        only: VirtualAddress = written[0].value  # as in most of thousands of instances
        if only.family == family:
            return (only,), ()
    advertised: list[VirtualAddress] = []
    excluded: list[VirtualAddress] = []
    seen: Seen = set()
    for entry in distinct(builder.context, written, seen):
        address = entry.value
        if address.family == family:
            advertised.append(address)
            continue
        builder.context.warning(
            entry.node,
            f"{builder.name}: {address.address} is not an IPv{family} address, "
            "not advertised but kept",
            "move it to virtual_ipaddress_excluded, or to an instance of its own",
        )
        excluded.append(address)
    if not advertised:
        _without_address(builder)
    most = ADDRESSES_MAX
    if len(advertised) > 50:  # fewer fit into any packet
        mtu = builder.context.mtu(get(entries, "interface"))
        room = (mtu or MTU_DEFAULT) - _OVERHEAD[family]
        most = max(min(ADDRESSES_MAX, room // _ADDRESS_BYTES[family]), 1)
    if len(advertised) > most:
        builder.warning(
            f"{len(advertised)} addresses do not fit into an advert, "
            f"those after the first {most} are not advertised but kept",
            "move them to virtual_ipaddress_excluded",
            "virtual_ipaddress",
        )
        excluded = advertised[most:] + excluded
        del advertised[most:]
    if builder.strict and family == 6 and advertised:
        # RFC 9568 5.2.9: the first address is the link-local one of the virtual router.
        first = advertised[0].address
        if not first.startswith(("fe8", "fe9", "fea", "feb")):
            builder.warning(
                f"the first IPv6 address is not link-local: {first}",
                "begin with an fe80: address",
                "virtual_ipaddress",
            )
    if "virtual_ipaddress_excluded" in entries:
        further = listed(entries, "virtual_ipaddress_excluded")
        excluded += [entry.value for entry in distinct(builder.context, further, seen)]
    return tuple(advertised), tuple(excluded)


def _without_address(builder: InstanceBuilder) -> None:
    entries = builder.entries
    allowed = "no_virtual_ipaddress" in entries and not builder.strict
    if allowed:
        return
    body = entries.get("virtual_ipaddress")
    if body is not None and body.node.body:
        return  # there are some, but none is usable, which has been said
    if builder.version == 3 or builder.strict:
        builder.error(
            "there is no virtual address",
            "add virtual_ipaddress { ADDRESS }, or no_virtual_ipaddress",
        )
    else:
        builder.warning("there is no virtual address", "add virtual_ipaddress { ADDRESS }")
