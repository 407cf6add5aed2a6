"""The rest of IPVS on the byte level: family number, sync daemons, timeouts, flush.

Beside `wire`, which has services and destinations. Numbers are those of linux/ip_vs.h and
linux/genetlink.h.
"""

from __future__ import annotations

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs.objects import Daemon, Role
from fastvrrp.ipvs.wire import U16, message
from fastvrrp.ipvs.wire_reading import nested, required, u16_of
from fastvrrp.net.wire import (
    NLM_F_DUMP,
    MalformedMessage,
    attribute,
    attributes,
    of_size,
    read_string,
    read_u8,
    read_u32,
    string,
    u8,
    u32,
)

# linux/genetlink.h: how a family's number is found
GENL_ID_CTRL = 16
CTRL_CMD_GETFAMILY = 3
CTRL_ATTR_FAMILY_ID = 1
CTRL_ATTR_FAMILY_NAME = 2
FAMILY_NAME = "IPVS"  # IPVS_GENL_NAME

# IPVS_CMD_*
NEW_DAEMON = 9
DEL_DAEMON = 10
GET_DAEMON = 11
SET_CONFIG = 12
GET_CONFIG = 13
FLUSH = 17

# IPVS_CMD_ATTR_*
_DAEMON = 3
_TIMEOUT_TCP = 4
_TIMEOUT_TCP_FIN = 5
_TIMEOUT_UDP = 6

# IPVS_DAEMON_ATTR_*
_DAEMON_STATE = 1
_DAEMON_MCAST_IFN = 2
_DAEMON_SYNC_ID = 3
_DAEMON_SYNC_MAXLEN = 4
_DAEMON_MCAST_GROUP = 5
_DAEMON_MCAST_GROUP6 = 6
_DAEMON_MCAST_PORT = 7
_DAEMON_MCAST_TTL = 8


def family_request(sequence: int) -> bytes:
    """Asks for the number of the family; the kernel loads IPVS for it."""
    body = string(CTRL_ATTR_FAMILY_NAME, FAMILY_NAME)
    return message(CTRL_CMD_GETFAMILY, 0, GENL_ID_CTRL, sequence, body=body)


def decode_family(body: bytes) -> int:
    """Raises MalformedMessage."""
    found = attributes(memoryview(body), 0, len(body))
    return u16_of(required(found, CTRL_ATTR_FAMILY_ID))


def start_daemon_request(daemon: Daemon, family_id: int, sequence: int) -> bytes:
    body = (
        u32(_DAEMON_STATE, daemon.role)
        + string(_DAEMON_MCAST_IFN, daemon.interface)
        + u32(_DAEMON_SYNC_ID, daemon.id)
    )
    if daemon.maxlen:
        body += U16.pack(6, _DAEMON_SYNC_MAXLEN, daemon.maxlen)
    if daemon.group:
        kind = _DAEMON_MCAST_GROUP if len(daemon.group) == 4 else _DAEMON_MCAST_GROUP6
        body += attribute(kind, daemon.group)
    if daemon.port:
        body += U16.pack(6, _DAEMON_MCAST_PORT, daemon.port)
    if daemon.ttl:
        body += u8(_DAEMON_MCAST_TTL, daemon.ttl)
    return message(NEW_DAEMON, 0, family_id, sequence, body=attribute(_DAEMON, body))


def stop_daemon_request(role: Role, family_id: int, sequence: int) -> bytes:
    body = attribute(_DAEMON, u32(_DAEMON_STATE, role))
    return message(DEL_DAEMON, 0, family_id, sequence, body=body)


def daemons_request(family_id: int, sequence: int) -> bytes:
    return message(GET_DAEMON, NLM_F_DUMP, family_id, sequence)


def decode_daemon(body: bytes) -> Daemon:
    """Raises MalformedMessage."""
    found = nested(body, _DAEMON)
    try:
        role = Role(read_u32(required(found, _DAEMON_STATE)))
    except ValueError as error:
        raise MalformedMessage("sync daemon of an unknown role") from error
    group = b""
    if _DAEMON_MCAST_GROUP in found:
        group = of_size(found[_DAEMON_MCAST_GROUP], 4)
    elif _DAEMON_MCAST_GROUP6 in found:
        group = of_size(found[_DAEMON_MCAST_GROUP6], 16)
    return Daemon(
        role,
        read_string(required(found, _DAEMON_MCAST_IFN)),
        id=read_u32(required(found, _DAEMON_SYNC_ID)),
        # The rest since Linux 4.3
        maxlen=u16_of(found.get(_DAEMON_SYNC_MAXLEN, b"\0\0")),
        group=group,
        port=u16_of(found.get(_DAEMON_MCAST_PORT, b"\0\0")),
        ttl=read_u8(found.get(_DAEMON_MCAST_TTL, b"\0")),
    )


def set_timeouts_request(timeouts: Timeouts, family_id: int, sequence: int) -> bytes:
    """0 leaves a timeout as it is."""
    body = (
        u32(_TIMEOUT_TCP, timeouts.tcp_s)
        + u32(_TIMEOUT_TCP_FIN, timeouts.tcpfin_s)
        + u32(_TIMEOUT_UDP, timeouts.udp_s)
    )
    return message(SET_CONFIG, 0, family_id, sequence, body=body)


def timeouts_request(family_id: int, sequence: int) -> bytes:
    return message(GET_CONFIG, 0, family_id, sequence)


def decode_timeouts(body: bytes) -> Timeouts:
    """Raises MalformedMessage."""
    found = attributes(memoryview(body), 0, len(body))
    return Timeouts(
        tcp_s=read_u32(found.get(_TIMEOUT_TCP, bytes(4))),
        tcpfin_s=read_u32(found.get(_TIMEOUT_TCP_FIN, bytes(4))),
        udp_s=read_u32(found.get(_TIMEOUT_UDP, bytes(4))),
    )


def flush_request(family_id: int, sequence: int) -> bytes:
    return message(FLUSH, 0, family_id, sequence)
