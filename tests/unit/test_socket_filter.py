"""The socket filters: what passes is exactly what the receive rules may need.

Programs run in an interpreter written from the kernel's description (Documentation/networking/
filter.rst), apart from the IPv4 ones, which the kernel itself also runs on a pair of local sockets.
"""

from __future__ import annotations

import ctypes
import itertools
import socket
import struct
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fastvrrp import _core

SO_ATTACH_FILTER = 26  # asm-generic/socket.h
AD_OFF, AD_RANDOM, NET_OFF = 0xFFFFF000, 56, 0xFFF00000  # linux/filter.h
VRIDS = st.sets(st.integers(0, 255))


def run(program: bytes, data: bytes, *, hop_limit: int = 255, random: int = 1) -> int:
    """Bytes of a packet that a filter lets through."""
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    a = x = pc = 0
    memory = [0] * 16
    loads: dict[int, Callable[[int], int]] = {
        0x20: {AD_OFF + AD_RANDOM: random}.__getitem__,
        0x30: lambda k: hop_limit if k == NET_OFF + 7 else data[k],
        0x50: lambda k: data[x + k],
        0x00: lambda k: k,
        0x60: lambda k: memory[k],
    }
    for _ in range(len(code)):
        op, jt, jf, k = code[pc]
        pc += 1
        try:
            if op in loads:
                a = loads[op](k)
            elif op == 0xB1:
                x = 4 * (data[k] & 15)
            elif op == 0x06:
                return k
            elif op == 0x02:
                memory[k] = a
            elif op == 0x07:
                x = a
            elif op == 0x54:
                a &= k
            elif op in (0x74, 0x7C):
                a >>= k if op == 0x74 else x
            elif op == 0x05:
                pc += k
            elif op in (0x15, 0x45):
                pc += jt if (a == k if op == 0x15 else a & k) else jf
            else:
                raise AssertionError(f"no such instruction: {op:#x}")
        except IndexError:
            return 0  # a load beyond the packet drops it
    raise AssertionError("a filter without end")


def packet(vrid: int, *, family: int = 4, ttl: int = 255, options: int = 0) -> bytes:
    pdu = bytes((0x31, vrid, 100, 1, 0, 100, 0, 0, 10, 0, 0, 1))
    if family == 6:
        return pdu
    head = bytes((0x45 + options, 0xC0, 0, 32 + 4 * options, 0, 0, 0, 0, ttl, 112, 0, 0))
    return head + bytes(8 + 4 * options) + pdu


@pytest.mark.parametrize("family", [4, 6])
@given(vrids=VRIDS)
def test_29_only_the_vrids_of_the_link_pass(family: int, vrids: set[int]) -> None:
    program = _core.socket_filter(family=family, vrids=bytes(vrids))
    assert len(program) <= 64 * 8
    passed = {v for v in range(256) if run(program, packet(v, family=family))}
    assert passed == vrids


@given(vrids=VRIDS, options=st.integers(0, 10))
def test_the_kernel_agrees(vrids: set[int], options: int) -> None:
    """On a pair of UNIX sockets: 256 VRIDs, IPv4 headers with options."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        program = _core.socket_filter(family=4, vrids=bytes(vrids))
        attach(far, program)
        far.setblocking(False)
        passed = set()
        for vrid in range(256):
            near.send(packet(vrid, options=options))
            try:
                received = far.recv(100)
            except BlockingIOError:
                continue
            assert received == packet(vrid, options=options)
            passed.add(vrid)
    assert passed == vrids


def attach(sock: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program)
    head = struct.pack("HL", len(program) // 8, ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)


@pytest.mark.parametrize("family", [4, 6])
def test_22_another_ttl_passes_now_and_then(family: int) -> None:
    """One in eight, so that a mistake of the network is still noticed; 255 always."""
    program = _core.socket_filter(family=family, vrids=bytes((7,)), any_ttl=False)
    for ttl, random in itertools.product(range(256), range(16)):
        data = packet(7, family=family, ttl=ttl)
        passed = run(program, data, hop_limit=ttl, random=random) > 0
        assert passed == (ttl == 255 or random % 8 == 0)


def test_unicast_links_let_every_ttl_pass() -> None:
    program = _core.socket_filter(family=4, vrids=bytes((7,)), any_ttl=True)
    assert all(run(program, packet(7, ttl=ttl)) for ttl in range(256))


def test_without_a_set_every_vrid_passes() -> None:
    for family, any_ttl in itertools.product((4, 6), (False, True)):
        program = _core.socket_filter(family=family, any_ttl=any_ttl)
        assert all(run(program, packet(v, family=family)) for v in range(256))


@pytest.mark.parametrize("family", [4, 6])
def test_what_has_no_vrid_is_dropped(family: int) -> None:
    program = _core.socket_filter(family=family, vrids=bytes(range(256)))
    whole = packet(7, family=family)
    first = 22 if family == 4 else 2  # the shortest that has one
    for length in range(len(whole)):
        assert (run(program, whole[:length]) > 0) == (length >= first)
