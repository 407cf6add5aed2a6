"""A socket filter that keeps foreign routes in the kernel (classic BPF, linux/filter.h)."""

from __future__ import annotations

import ctypes
import socket
import struct

from fastvrrp.net import wire

_SO_ATTACH_FILTER = 26


def _route_filter() -> bytes:
    """A classic BPF program that lets through every message but foreign routes.

    A router with a full table sees thousands of route changes per second; only those with our
    protocol number concern us, and those that replace a route, because the replaced one may be
    ours and is not mentioned. BPF loads words in network order, netlink is in host order.
    """

    def swapped(value: int) -> int:
        return socket.htons(value)

    ld_h, ld_b, jeq, jset, ret = 0x28, 0x30, 0x15, 0x45, 0x06
    accept, drop = 0xFFFFFFFF, 0
    code = (
        (ld_h, 0, 0, 4),  # nlmsg_type
        (jeq, 1, 0, swapped(wire.RTM_NEWROUTE)),
        (jeq, 0, 4, swapped(wire.RTM_DELROUTE)),
        (ld_b, 0, 0, wire.HEADER_SIZE + 5),  # rtm_protocol
        (jeq, 2, 0, wire.PROTOCOL),
        (ld_h, 0, 0, 6),  # nlmsg_flags
        (jset, 0, 1, swapped(wire.NLM_F_REPLACE)),
        (ret, 0, 0, accept),
        (ret, 0, 0, drop),
    )
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def attach_route_filter(sock: socket.socket) -> None:
    """Raises OSError."""
    program = _route_filter()
    buffer = ctypes.create_string_buffer(program)
    # struct sock_fprog: unsigned short, padding, pointer
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
