"""Entries of virtual_ipaddress, virtual_ipaddress_excluded and static_ipaddress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastvrrp.config.blocks import Entry, plain_lines
from fastvrrp.config.context import HAS_NONE, Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.keywords import WORKS_WITHOUT, Block, table
from fastvrrp.config.model import FOREVER_S, VirtualAddress
from fastvrrp.config.node import Node
from fastvrrp.config.values import canonical, integer, interface_name, is_multicast, within

OPTIONS = "vrrp_instance/virtual_ipaddress"
LABEL_BYTES_MAX = 15  # IFNAMSIZ - 1, linux/if.h
BROADCAST_PREFIX_MAX = 30  # longer prefixes have no broadcast address
_FLAGS = {
    "home": ("home", True),
    "-nodad": ("nodad", False),
    "mngtmpaddr": ("mngtmpaddr", True),
    "noprefixroute": ("noprefixroute", True),
    "autojoin": ("autojoin", True),
    "no_track": ("no_track", True),
    "use_vmac": ("use_vmac", True),
}
_NOBODYS = frozenset(("0.0.0.0", "::", "255.255.255.255"))
_IPV6_ONLY = frozenset(("home", "-nodad", "mngtmpaddr"))
_STATIC_ONLY = frozenset(("track_group",))
_NOT_STATIC = frozenset(("no_track", "use_vmac"))


def read_addresses(context: Context, node: Node) -> list[Entry]:
    """The addresses of an instance; `dev` is None where the instance's interface is meant."""
    return _read(context, node, is_static=False)


def read_static_addresses(context: Context, node: Node) -> list[Entry]:
    return _read(context, node, is_static=True)


def _read(context: Context, node: Node, *, is_static: bool) -> list[Entry]:
    found = []
    for line in plain_lines(context, node):
        address = _entry(context, line, is_static)
        if address is not None:
            found.append(Entry(address, line))
    return found


Seen = set[tuple[str, int, str | None]]


def distinct(context: Context, entries: Iterable[Entry], seen: Seen) -> Iterator[Entry]:
    """Each address once, with a warning about further ones; `seen` are those of other lists."""
    for entry in entries:
        address = entry.value
        key = address.address, address.prefixlen, address.dev
        if key in seen:
            context.warning(
                entry.node, f"{address.address} is listed twice", "remove one of the lines"
            )
        else:
            seen.add(key)
            yield entry


def prefixed(
    context: Context, node: Node, text: str, *, word: int = 0, left_out: str = ""
) -> tuple[str, int, int] | None:
    """ADDR[/LEN]: address, length, family. A bad length becomes the longest, as in keepalived.

    No address is an error, or where `left_out` names what goes with it, a warning.
    """
    head, slash, tail = text.partition("/")
    address, family = canonical(head)
    if not family:
        tell = context.warning if left_out else context.error
        tell(
            node,
            f"{shown(text)} is not an address{f', {left_out} is left out' if left_out else ''}",
            "write ADDRESS or ADDRESS/LENGTH",
            word=word,
        )
        return None
    longest = 32 if family == 4 else 128
    if not slash or not tail:
        return address, longest, family
    length = within(tail, 0, longest)
    if length is None:
        context.warning(
            node,
            f"{shown(tail)} is not a prefix length, using {longest}",
            f"write 0 to {longest}",
            word=word,
        )
        length = longest
    return address, length, family


def is_usable(address: str, family: int) -> bool:
    """Whether an interface can have it."""
    return not (is_multicast(address, family) or address in _NOBODYS)


def _entry(context: Context, node: Node, is_static: bool) -> VirtualAddress | None:
    parsed = prefixed(context, node, node.words[0])
    if parsed is None:
        return None
    address, prefixlen, family = parsed
    if not is_usable(address, family):
        context.error(
            node, f"{address} cannot be the address of an interface", "write a unicast address"
        )
        return None
    fields: dict[str, Any] = {
        "address": address,
        "prefixlen": prefixlen,
        "family": family,
        "position": node.position(),
    }
    if len(node.words) > 1 and not _options(context, node, fields, is_static):
        return None
    return VirtualAddress(**fields)


def _options(context: Context, node: Node, fields: dict[str, Any], is_static: bool) -> bool:
    """Whether the entry can be used."""
    known: Block = table()[OPTIONS]
    forbidden = _NOT_STATIC if is_static else _STATIC_ONLY
    words = node.words
    good = True
    index = 1
    while index < len(words):
        option = words[index]
        row = known.get(option)
        if row is None or option[:1] == "(" or option in forbidden:
            others = [k for k in known if k not in forbidden]
            ignored = context.is_tolerant
            context.unknown(node, "option", others, word=index, is_ignored=ignored)
            if not ignored:
                return False
            index += 1
            continue
        if row.effect != "done":
            context.warning(node, row.no_effect(), WORKS_WITHOUT, word=index)
        if option in _FLAGS:
            if option in _IPV6_ONLY and fields["family"] == 4:
                context.warning(
                    node, f"{option} is for IPv6 addresses, ignored", "remove it", word=index
                )
            else:
                name, value = _FLAGS[option]
                fields[name] = value
            index += 1
            continue
        if index + 1 >= len(words):
            context.error(node, f"{option}{HAS_NONE}", f"write {option} {row.syntax}", word=index)
            return False
        good = _valued(context, node, option, index + 1, fields) and good
        index += 2
    return good


def _valued(context: Context, node: Node, option: str, index: int, fields: dict[str, Any]) -> bool:
    value = node.words[index]
    family: int = fields["family"]
    if option in ("label", "scope", "brd", "broadcast") and family == 6:
        context.warning(
            node, f"{option} is for IPv4 addresses, ignored", "remove it", word=index - 1
        )
        return True
    if option == "dev":
        if not interface_name(context, node, value, word=index):
            return False
        if "dev" in fields:
            context.error(node, "dev is given twice", "keep one of them", word=index - 1)
            return False
        context.check_interface(node, value, word=index)
        fields["dev"] = value
    elif option == "label":
        if not value or len(value.encode()) > LABEL_BYTES_MAX:
            context.error(
                node,
                f"the label {shown(value)} is too long",
                f"write at most {LABEL_BYTES_MAX} bytes",
                word=index,
            )
            return False
        fields["label"] = value
    elif option == "scope":
        fields["scope"] = scope(context, node, value, index, default=0)
    elif option in ("brd", "broadcast"):
        return _broadcast(context, node, value, index, fields)
    elif option == "peer":
        return _peer(context, node, value, index, fields)
    elif option == "preferred_lft":
        seconds = FOREVER_S if value == "forever" else within(value, 0, FOREVER_S)
        if seconds is None:
            context.warning(
                node,
                f"preferred_lft cannot be {shown(value)}, ignored",
                "write seconds or forever",
                word=index,
            )
        else:
            fields["preferred_lft_s"] = seconds
    elif option == "track_group":
        fields["track_group"] = value
    return True


def scope(
    context: Context, node: Node, value: str, index: int, *, default: int | None
) -> int | None:
    """A scope by name (rt_scopes) or number; a bad one becomes `default`."""
    number = context.names("rt_scopes").get(value)
    if number is None:
        number = integer(value)
    if number is None or not 0 <= number <= 255:
        used = "using global" if default == 0 else "ignored"
        context.warning(
            node,
            f"there is no scope {shown(value)}, {used}",
            "write global, site, link, host or 0 to 255",
            word=index,
        )
        return default
    return number


def _broadcast(
    context: Context, node: Node, value: str, index: int, fields: dict[str, Any]
) -> bool:
    if value in ("+", "-"):
        if fields["prefixlen"] > BROADCAST_PREFIX_MAX:
            context.warning(
                node,
                f"a /{fields['prefixlen']} has no broadcast address, ignored",
                f"write a prefix length of at most {BROADCAST_PREFIX_MAX}",
                word=index,
            )
            return True
        import ipaddress  # slow to load, and rarely needed

        network = ipaddress.ip_network(f"{fields['address']}/{fields['prefixlen']}", strict=False)
        chosen = network.broadcast_address if value == "+" else network.network_address
        fields["broadcast"] = str(chosen)
        return True
    address, family = canonical(value)
    if family != 4:
        context.error(
            node,
            f"{shown(value)} is not a broadcast address",
            "write an IPv4 address, + or -",
            word=index,
        )
        return False
    fields["broadcast"] = address
    return True


def _peer(context: Context, node: Node, value: str, index: int, fields: dict[str, Any]) -> bool:
    left_out = "the peer" if context.is_tolerant else ""
    parsed = prefixed(context, node, value, word=index, left_out=left_out)
    if parsed is None:
        return context.is_tolerant
    address, length, family = parsed
    if family != fields["family"]:
        context.error(
            node,
            f"the peer {address} is of another family",
            f"write an IPv{fields['family']} address",
            word=index,
        )
        return False
    longest = 32 if family == 4 else 128
    if fields["prefixlen"] != longest:
        context.warning(
            node,
            f"the prefix length of {fields['address']} is ignored beside a peer",
            "write the length behind the peer",
        )
        fields["prefixlen"] = longest
    fields["peer"] = address
    fields["peer_prefixlen"] = length
    return True
