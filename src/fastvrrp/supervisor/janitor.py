"""After a VRRP process that died: hand its routers over and undo its work in the kernel.

First an advert with priority 0 for every instance it was master of, so that a backup takes over
after its skew time instead of three intervals (RFC 9568 6.4.3); then every address, route and
rule listed in the journal. Used by the supervisor; `fastvrrp clean` does the second half alone,
because after a kill -9 of everything nobody knows any more who was master.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fastvrrp.config import model
from fastvrrp.supervisor.held import Part
from fastvrrp.supervisor.messages import InstanceState

log = logging.getLogger(__name__)

VRRP_PROTOCOL = 112  # IANA protocol number, RFC 9568 5.1.1.4
MULTICAST_V4 = "224.0.0.18"  # RFC 9568 5.1.1.2
MULTICAST_V6 = "ff02::12"  # RFC 9568 5.1.2.2
_NS_PER_CENTISECOND = 10_000_000
_INTERVAL_LIMIT_CS = 4095  # 12 bits, RFC 9568 5.2.7


async def clean_up(configuration: Part, states: Sequence[InstanceState], journal: Path) -> None:
    """Priority 0 for the masters among `states`, then everything in the journal removed.

    Never raises for what the network or the kernel says, nor if there is no memory for the
    configuration, or it is damaged: each failure is logged and the rest done.
    """
    masters = {state.name: state for state in states if state.state == "MASTER"}
    if masters:
        from fastvrrp.vrrp.apart import memory_apart  # `load` has loaded it

        try:
            with memory_apart():  # a supervisor has seen no model yet, and need not stay as large
                sent = resign_all(configuration.decode().vrrp_instances, masters)
        except (MemoryError, ValueError, msgspec.MsgspecError) as exc:
            log.error("no priority 0 for %d masters: %s", len(masters), str(exc) or "no memory")
        else:
            log.warning("sent priority 0 for %d of %d masters", sent, len(masters))
    await clean_leftovers(journal)


def load() -> None:
    """Import what `clean_up` needs: when a process dies, our files may be another version's, or
    gone. Not at a start, which it would make longer."""
    import fastvrrp._core
    import fastvrrp.net.janitor
    import fastvrrp.vrrp.apart  # noqa: F401


def resign_all(
    instances: Sequence[model.VrrpInstance], masters: Mapping[str, InstanceState]
) -> int:
    """Priority 0 for those of `instances` whose names are in `masters`; returns for how many."""
    return sum(
        resign(instance, masters[instance.name].source)
        for instance in instances
        if instance.name in masters
    )


async def clean_leftovers(journal: Path) -> None:
    """`clean_journal` in a thread; without a journal not even its code is loaded."""
    if os.path.lexists(journal):  # noqa: ASYNC240 (the run directory is in memory)
        await asyncio.to_thread(clean_journal, journal)


def clean_journal(journal: Path) -> bool:
    """Remove what the journal lists; logs each object. Returns whether that worked."""
    # Here, because it brings netlink code along that a start does not wait for.
    from fastvrrp.net.janitor import clean_up as clean_kernel

    result = clean_kernel(journal)
    for line in result.removed:
        log.warning("removed what a crash left over: %s", line)
    for line in result.problems:
        log.error("cannot remove what a crash left over: %s", line)
    return not result.problems


def resign(instance: model.VrrpInstance, source: str = "") -> bool:
    """Send one advert with priority 0 for `instance` to all its receivers; False if none went.

    `source` is the address its adverts came from, "" when unknown: then the kernel's choice.
    """
    destinations = [peer.address for peer in instance.unicast_peers]
    if not destinations:
        destinations = [_multicast_group(instance)]
    sent = False
    for destination in destinations:
        try:
            _send(instance, source or instance.source or "", destination)
        except (OSError, ValueError) as exc:
            log.warning("(%s) priority 0 to %s: %s", instance.name, destination, exc)
        else:
            sent = True
    return sent


def _multicast_group(instance: model.VrrpInstance) -> str:
    if instance.family == 6:
        return instance.mcast_dst_ip if ":" in instance.mcast_dst_ip else MULTICAST_V6
    return instance.mcast_dst_ip or MULTICAST_V4


def _send(instance: model.VrrpInstance, source: str, destination: str) -> None:
    family = socket.AF_INET6 if instance.family == 6 else socket.AF_INET
    multicast = ipaddress.ip_address(destination.partition("%")[0]).is_multicast
    ttl = 255 if multicast else instance.unicast_ttl
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, VRRP_PROTOCOL) as sock:
        sock.setblocking(False)
        scope = 0
        if instance.interface is not None:
            scope = socket.if_nametoindex(instance.interface)
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, instance.interface.encode() + b"\0"
            )
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            # Class selector 6, internetwork control, as routing protocols use.
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xC0)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ttl)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0xC0)
        own = source or _kernel_source(family, instance.interface, destination, scope)
        sock.bind(_endpoint(own, scope))
        sock.sendto(
            resignation(instance, source=own, destination=destination),
            _endpoint(destination, scope),
        )


def _endpoint(address: str, scope: int) -> tuple[str, int] | tuple[str, int, int, int]:
    bare = address.partition("%")[0]
    if ":" not in bare:
        return bare, 0
    ip = ipaddress.IPv6Address(bare)
    needs_scope = ip.is_link_local or ip.is_multicast
    return bare, 0, 0, scope if needs_scope else 0


def _kernel_source(
    family: socket.AddressFamily, interface: str | None, destination: str, scope: int
) -> str:
    """The address the kernel would send from: it takes part in the checksum, so ask first."""
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        if interface is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        endpoint = _endpoint(destination, scope)
        sock.connect((endpoint[0], VRRP_PROTOCOL, *endpoint[2:]))
        return str(sock.getsockname()[0]).partition("%")[0]


def resignation(instance: model.VrrpInstance, *, source: str, destination: str) -> bytes:
    """The advert with priority 0 of `instance` (RFC 9568 5.2.4, RFC 3768 5.3.4)."""
    from fastvrrp import _core

    interval_cs = instance.advert_int_ns // _NS_PER_CENTISECOND
    if instance.version == 3:
        interval_cs = min(interval_cs, _INTERVAL_LIMIT_CS)
    addresses = [
        ipaddress.ip_address(address.address).packed
        for address in instance.virtual_ipaddress
        if address.family == instance.family
    ]
    return _core.encode_advert(
        version=instance.version,
        vrid=instance.virtual_router_id,
        priority=0,
        interval_cs=max(1, interval_cs),
        addresses=addresses,
        source=ipaddress.ip_address(source.partition("%")[0]).packed,
        destination=ipaddress.ip_address(destination.partition("%")[0]).packed,
        auth_type=instance.auth_type,
        auth_data=instance.auth_pass,
        checksum_as_v2=instance.v3_checksum_as_v2,
    )
