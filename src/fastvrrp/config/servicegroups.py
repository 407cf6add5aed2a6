"""virtual_server_group: addresses, ranges and firewall marks; and which services meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from fastvrrp.config.blocks import plain_lines
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.node import Node
from fastvrrp.config.servers import ServiceAddress, VirtualServer
from fastvrrp.config.values import canonical, integer, within

FWMARK_MAX = 2**32 - 1
ADDRESSES_MAX = 65536  # of one line: each is a service of the kernel
FAMILIES = {"inet": 4, "inet6": 6}
_KINDS = {4: AF_INET, 6: AF_INET6}
_HINT = "write ADDRESS, FIRST-LAST or ADDRESS/LENGTH, and a port"


class ServiceGroup:
    """A virtual_server_group as read; a firewall mark without family has 0."""

    def __init__(self, name: str, node: Node) -> None:
        self.name = name
        self.node = node
        self.services: list[ServiceAddress] = []
        self.is_used = False

    @property
    def families(self) -> tuple[int, ...]:
        """Those that are written."""
        return tuple(sorted({service.family for service in self.services} - {0}))

    @property
    def has_addresses(self) -> bool:
        return any(service.address is not None for service in self.services)


def number_of(address: str, family: int) -> int:
    """An address as the kernel counts it."""
    return int.from_bytes(inet_pton(_KINDS[family], address), "big")


def address_of(number: int, family: int) -> str:
    return inet_ntop(_KINDS[family], number.to_bytes(4 if family == 4 else 16, "big"))


def read_group(context: Context, node: Node, name: str) -> ServiceGroup:
    """The entries that can be used; what is wrong with others is said."""
    group = ServiceGroup(name, node)
    for line in plain_lines(context, node):
        service = _mark(context, line) if line.words[0] == "fwmark" else _addresses(context, line)
        if service is None:
            continue
        if service in group.services:
            context.warning(line, "listed twice, ignored here", "remove one of the lines")
            continue
        group.services.append(service)
    if not group.services and not node.body:
        context.error(
            node, f"virtual_server_group {shown(name)} is empty", "add ADDRESS PORT", word=1
        )
    return group


def _mark(context: Context, line: Node) -> ServiceAddress | None:
    """fwmark N [inet|inet6]."""
    words = line.words
    mark = within(words[1], 1, FWMARK_MAX) if len(words) > 1 else None
    if mark is None:
        text = "fwmark needs a number" if len(words) < 2 else f"{shown(words[1])} is no fwmark"
        context.error(line, text, f"write fwmark 1 to {FWMARK_MAX}", word=1)
        return None
    family = 0
    if len(words) > 2:
        family = FAMILIES.get(words[2], 0)
        if not family:
            context.unknown(line, "family", FAMILIES, word=2)
            return None
    if len(words) > 3:
        context.extra(line, 3)
    return ServiceAddress(family=family, fwmark=mark)


def _addresses(context: Context, line: Node) -> ServiceAddress | None:
    """ADDRESSES [PORT]."""
    words = line.words
    found = _range(context, line)
    if found is None:
        return None
    address, family, count = found
    port = 0
    if len(words) > 1:
        number = integer(words[1])
        if number is None or not 0 <= number <= 65535:
            context.error(line, f"{shown(words[1])} is not a port", "write 1 to 65535", word=1)
            return None
        port = number
    if len(words) > 2:
        context.extra(line, 2)
    return ServiceAddress(family=family, address=address, count=count, port=port)


def _range(context: Context, line: Node) -> tuple[str, int, int] | None:
    """First address, family, number of addresses."""
    text = line.words[0]
    head, dash, tail = text.partition("-")
    length = ""
    if not dash:
        head, _, length = text.partition("/")
    address, family = canonical(head)
    if not family:
        context.error(line, f"{shown(text)} is not an address", _HINT)
        return None
    first, last = number_of(address, family), None
    if dash:
        last = _last(tail, first, family)
    elif length:
        bits = within(length, 0, 32 if family == 4 else 128)
        if bits is not None:
            span = 1 << ((32 if family == 4 else 128) - bits)
            if first % span:
                begin = address_of(first - first % span, family)
                text = f"{shown(text)} does not begin where its prefix begins"
                context.error(line, text, f"write {begin}/{bits}")
                return None
            last = first + span - 1
    elif "/" not in text:
        last = first
    if last is None or last < first or (dash and last == first):
        context.error(line, f"{shown(text)} is not a range of addresses", _HINT)
        return None
    count = last - first + 1
    if count > ADDRESSES_MAX:
        text = f"{shown(text)} has more than {ADDRESSES_MAX} addresses, each a service"
        context.error(line, text, "write fewer, or balance a firewall mark")
        return None
    return address, family, count


def _last(text: str, first: int, family: int) -> int | None:
    """The end of a range: an address, or only its last part."""
    address, own = canonical(text)
    if own == family:
        return number_of(address, family)
    if family == 4:
        octet = within(text, 0, 255)
        return None if octet is None else first & ~0xFF | octet
    try:
        part = int(text, 16) if len(text) <= 4 and text.isalnum() else None
    except ValueError:
        part = None
    return None if part is None else first & ~0xFFFF | part


class _Span(NamedTuple):
    """Services of one kind and port; last included."""

    first: int
    last: int
    order: int


def check_conflicts(context: Context, servers: Iterable[tuple[VirtualServer, Node]]) -> None:
    """The kernel has each service once."""
    listed = list(servers)
    spans: dict[tuple[object, ...], list[_Span]] = {}
    for order, (server, _) in enumerate(listed):
        for service in server.services:
            if service.address is None:
                key: tuple[object, ...] = ("fwmark", service.family)
                first = service.fwmark
            else:
                key = (server.protocol, service.family, service.port)
                first = number_of(service.address, service.family)
            spans.setdefault(key, []).append(_Span(first, first + service.count - 1, order))
    reported: set[tuple[int, int]] = set()
    for found in spans.values():
        for one, two in _meeting(found):
            pair = min(one.order, two.order), max(one.order, two.order)
            if pair in reported:
                continue
            reported.add(pair)
            (earlier, there), (later, here) = listed[pair[0]], listed[pair[1]]
            context.error(
                here,
                f"{later.name} balances what {earlier.name} balances already"
                if here is not there
                else f"{later.name} lists one service twice",
                f"the first one is at {there.file}:{there.line}; list each service once",
                word=1,
            )


def _meeting(spans: list[_Span]) -> Iterator[tuple[_Span, _Span]]:
    """Pairs that have a service in common; not every one, but one for each span that has any."""
    widest = None
    for span in sorted(spans):
        if widest is not None and span.first <= widest.last:
            yield widest, span
        if widest is None or span.last > widest.last:
            widest = span
