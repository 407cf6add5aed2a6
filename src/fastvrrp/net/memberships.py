"""IPv6 multicast groups that switches must hear of from one interface for another one.

A virtual MAC device sends no multicast listener reports (net.firewall), so switches that listen
to them would not bring questions for its IPv6 addresses (RFC 4861 7.2) to this port. The parent
reports the solicited-node groups instead, as long as the device exists: a backup that hears
questions has nothing to answer.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Mapping

from fastvrrp.config.model import Configuration
from fastvrrp.net.addresses import packed
from fastvrrp.net.devices import MACVLAN

log = logging.getLogger(__name__)

PER_SOCKET = 64  # groups; net.core.optmem_max bounds what one socket may join
_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")
_MEMBERSHIP = struct.Struct("=16sI")  # struct ipv6_mreq


def solicited_node(address: bytes) -> bytes:
    """The group in which neighbours ask for an address, RFC 4291 2.7.1."""
    return _SOLICITED_NODE + address[13:]


def solicited(configuration: Configuration) -> dict[str, frozenset[bytes]]:
    """Groups by parent that a resolved configuration's virtual MAC devices need."""
    parents = {d.name: d.parent for d in configuration.devices if d.kind == MACVLAN}
    found: dict[str, set[bytes]] = {}
    for instance in configuration.vrrp_instances if parents else ():
        for address in (*instance.virtual_ipaddress, *instance.virtual_ipaddress_excluded):
            parent = parents.get(address.dev or "")
            if parent is not None and address.family == 6:
                groups = found.setdefault(parent, set())
                groups.add(solicited_node(packed(address.address, 6)))
    return {parent: frozenset(groups) for parent, groups in found.items()}


class Memberships:
    """Keeps the groups joined. Close it."""

    def __init__(self) -> None:
        self._joined: dict[int, tuple[frozenset[bytes], list[socket.socket]]] = {}

    def keep(self, wanted: Mapping[int, frozenset[bytes]]) -> None:
        """Be a member of exactly these, by ifindex. What the kernel refuses is logged."""
        for ifindex in list(self._joined):
            if self._joined[ifindex][0] != wanted.get(ifindex):
                self._leave(ifindex)
        for ifindex, groups in wanted.items():
            if ifindex not in self._joined:
                self._joined[ifindex] = (groups, self._join(ifindex, sorted(groups)))

    def close(self) -> None:
        for ifindex in list(self._joined):
            self._leave(ifindex)

    def _join(self, ifindex: int, groups: list[bytes]) -> list[socket.socket]:
        sockets: list[socket.socket] = []
        try:
            for start in range(0, len(groups), PER_SOCKET):
                sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                sockets.append(sock)
                for group in groups[start : start + PER_SOCKET]:
                    member = _MEMBERSHIP.pack(group, ifindex)
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        except OSError as exc:
            log.warning("cannot join IPv6 groups on interface %d: %s", ifindex, exc.strerror)
        return sockets

    def _leave(self, ifindex: int) -> None:
        for sock in self._joined.pop(ifindex)[1]:
            sock.close()
