"""Takes away what a daemon left in the kernel: exactly what its journal lists and our mark shows.

Synchronous and idempotent: run at every start, by the supervisor after a crash, and by
`fastvrrp clean`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from fastvrrp.net import nftables, sysctl, wire
from fastvrrp.net.addresses import delete_address
from fastvrrp.net.devices import deletions, failures
from fastvrrp.net.firewall import valid_table_name
from fastvrrp.net.journal import Contents, Entry, Journal, JournalError, VirtualDevice
from fastvrrp.net.objects import (
    Address,
    Link,
    decode_address,
    decode_route,
    decode_rule,
)
from fastvrrp.net.observed import kernel_marks_addresses
from fastvrrp.net.programs import prefix_text, rule_text
from fastvrrp.net.rtnl import RtnlSocket

_ACKNOWLEDGED = wire.NLM_F_REQUEST | wire.NLM_F_ACK


class Cleaned(NamedTuple):
    """What a clean-up did, one line each."""

    removed: tuple[str, ...]
    problems: tuple[str, ...]


class _Removal(NamedTuple):
    message: bytes
    text: str


def clean_up(path: str | os.PathLike[str], netlink: RtnlSocket | None = None) -> Cleaned:
    """Remove leftovers listed in the journal at `path`, then the journal.

    Never raises for a bad journal or a refusing kernel: these are problems in the result, and
    the journal stays for the next attempt. A journal that is not trustworthy (damaged, foreign,
    writable by others) is refused as a whole.
    """
    journal = Journal(path)
    try:
        contents = journal.read()
    except JournalError as error:
        return Cleaned((), (f"refused: {error}",))
    if contents is None:
        return Cleaned((), ())
    removed: list[str] = []
    problems: list[str] = []
    try:
        if netlink is None:
            with RtnlSocket() as own:
                _clean_kernel(contents, own, removed, problems)
        else:
            _clean_kernel(contents, netlink, removed, problems)
    except OSError as error:
        problems.append(f"netlink: {error.strerror or error}")
    for table in contents.nft_tables:
        _clean_nft(table, removed, problems)
    _restore_settings(contents.settings, removed, problems)
    if not problems:
        try:
            journal.remove()
        except OSError as error:
            problems.append(f"cannot remove {journal.path}: {error.strerror}")
    return Cleaned(tuple(removed), tuple(problems))


def _clean_kernel(
    contents: Contents, netlink: RtnlSocket, removed: list[str], problems: list[str]
) -> None:
    links = netlink.links() if contents.addresses or contents.devices else {}
    removals: list[_Removal] = []
    if contents.rules:
        removals += _rules(contents, netlink)
    if contents.routes:
        removals += _routes(contents, netlink)
    if contents.addresses:
        removals += _addresses(contents.addresses, netlink, links)
    requests = [(removal.message, wire.OK_GONE) for removal in removals]
    results = list(zip([r.text for r in removals], netlink.play(requests), strict=True))
    found = _devices(contents.devices, links.values())
    answers = netlink.play(deletions(found, links.values()))
    results += zip([f"link {link.name}" for link in found], failures(found, answers), strict=True)
    for text, error in results:
        if error:
            problems.append(f"{text}: {os.strerror(error)}")
        else:
            removed.append(text)


def _rules(contents: Contents, netlink: RtnlSocket) -> list[_Removal]:
    wanted = set(contents.rules)
    found = []
    for dumped in netlink.dump_kind("rules"):
        data = memoryview(dumped.message)
        key = decode_rule(data, wire.HEADER_SIZE, len(data))
        if key is not None and key.protocol == wire.PROTOCOL and key in wanted:
            found.append(_back(dumped.message, wire.RTM_DELRULE, rule_text(key)))
    return found


def _routes(contents: Contents, netlink: RtnlSocket) -> list[_Removal]:
    wanted = set(contents.routes)
    found = []
    for dumped in netlink.dump_kind("routes"):
        data = memoryview(dumped.message)
        route = decode_route(data, wire.HEADER_SIZE, len(data))
        if route is not None and route.key.protocol == wire.PROTOCOL and route.key in wanted:
            key = route.key
            text = f"route {prefix_text(key.destination, key.destination_len)} table {key.table}"
            found.append(_back(dumped.message, wire.RTM_DELROUTE, text))
    return found


def _back(message: bytes, kind: int, text: str) -> _Removal:
    """What the kernel showed, sent back as its own deletion: nothing else can match."""
    return _Removal(wire.retyped(message, kind, _ACKNOWLEDGED), text)


def _addresses(
    entries: Iterable[Entry], netlink: RtnlSocket, links: dict[int, Link]
) -> list[_Removal]:
    wanted: dict[tuple[int, bytes, int], list[Entry]] = {}
    for entry in entries:
        wanted.setdefault((entry.family, entry.address, entry.prefixlen), []).append(entry)
    marks = kernel_marks_addresses()
    found = []
    for dumped in netlink.dump_kind("addresses"):
        data = memoryview(dumped.message)
        address = decode_address(data, wire.HEADER_SIZE, len(data))
        link = None if address is None else links.get(address.key.ifindex)
        if address is None or link is None:
            continue
        key = address.key
        listed = wanted.get((key.family, key.address, key.prefixlen), ())
        if any(_same_address(entry, address, link, marks) for entry in listed):
            text = f"address {prefix_text(key.address, key.prefixlen)} dev {link.name}"
            found.append(_Removal(delete_address(key), text))
    found.reverse()  # secondary addresses before their primary
    return found


def _same_address(entry: Entry, address: Address, link: Link, marks: bool) -> bool:
    same_name = entry.interface == link.name or entry.interface in link.altnames
    if marks:
        return address.protocol == wire.PROTOCOL and (same_name or entry.ifindex == link.ifindex)
    return same_name


def _devices(wanted: Iterable[VirtualDevice], links: Iterable[Link]) -> list[Link]:
    """An ipvlan has the MAC address of its parent: its name and kind must do."""
    listed = set(wanted)
    return [
        link
        for link in links
        if VirtualDevice(link.name, link.mac, link.kind) in listed
        or VirtualDevice(link.name, b"", link.kind) in listed
    ]


def _clean_nft(table: str, removed: list[str], problems: list[str]) -> None:
    if not valid_table_name(table):
        problems.append(f"refused: {table!r} is not a table name")
        return
    try:
        nftables.commit([nftables.delete_table(table)])
    except nftables.NoNftables:
        return  # not there
    except OSError as error:
        problems.append(f"nft table {table}: {error.strerror or error}")
    else:
        removed.append(f"nft table {table}")


def _restore_settings(
    settings: Iterable[sysctl.Setting], removed: list[str], problems: list[str]
) -> None:
    for setting in reversed(tuple(settings)):
        try:
            restored, failed = sysctl.restore((setting,))
        except (ValueError, OSError) as error:
            problems.append(f"refused: {error}")
            continue
        removed += restored
        problems += failed
