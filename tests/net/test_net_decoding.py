"""Decoders and the observed state survive anything: damaged messages, odd names, old kernels."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvrrp.net import wire
from fastvrrp.net.objects import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_SECONDARY,
    IFA_F_TENTATIVE,
    Address,
    AddressKey,
    Link,
    decode_address,
    decode_link,
    decode_route,
    decode_rule,
)
from fastvrrp.net.observed import Observed, kernel_marks_addresses, primary_source

DECODERS = (decode_link, decode_address, decode_route, decode_rule)
LINK = wire.IFINFOMSG.pack(0, 1, 7, 0x1043, 0) + b"".join(
    (
        wire.string(3, "eth0"),
        wire.attribute(1, b"\x02\0\0\0\0\x01"),
        wire.u32(4, 1500),
        wire.attribute(18, wire.string(1, "veth")),
        wire.attribute(52, wire.string(53, "uplink") + wire.string(53, "outside")),
    )
)


@given(st.binary(max_size=300))
def test_random_bytes_never_crash_a_decoder(data: bytes) -> None:
    """Either a value, or None, or MalformedMessage: nothing else, nothing read outside."""
    view = memoryview(data)
    for decode in DECODERS:
        try:
            decode(view, 0, len(data))
        except wire.MalformedMessage:
            continue
    try:
        for frame in wire.frames(view):
            assert frame.end <= len(data)
    except wire.MalformedMessage:
        pass


@settings(max_examples=60)
@given(st.integers(0, len(LINK) * 8 - 1))
def test_bit_flips_never_crash_the_link_decoder(bit: int) -> None:
    damaged = bytearray(LINK)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        link = decode_link(memoryview(damaged), 0, len(damaged))
    except wire.MalformedMessage:
        return
    assert link is None or isinstance(link.name, str)


def test_every_prefix_of_a_link_message() -> None:
    for size in range(len(LINK)):
        try:
            decode_link(memoryview(LINK), 0, size)
        except wire.MalformedMessage:
            continue
    whole = decode_link(memoryview(LINK), 0, len(LINK))
    assert whole is not None
    assert whole.altnames == ("uplink", "outside")
    assert (whole.kind, whole.mtu, whole.up) == ("veth", 1500, True)


def test_a_length_that_leaves_the_message_is_refused() -> None:
    bad = wire.IFADDRMSG.pack(2, 24, 0, 0, 1) + b"\xff\0\x02\0\x0a\0\0\x01"
    with pytest.raises(wire.MalformedMessage):
        decode_address(memoryview(bad), 0, len(bad))


def test_bridge_messages_are_not_links() -> None:
    body = wire.IFINFOMSG.pack(7, 1, 7, 0, 0) + wire.string(3, "eth0")
    assert decode_link(memoryview(body), 0, len(body)) is None


def test_a_parent_in_another_namespace_is_not_a_parent_here() -> None:
    body = wire.IFINFOMSG.pack(0, 1, 7, 0, 0) + wire.string(3, "eth0") + wire.u32(5, 9)
    here = decode_link(memoryview(body), 0, len(body))
    assert here is not None
    assert here.parent == 9
    body += wire.u32(37, 0)
    there = decode_link(memoryview(body), 0, len(body))
    assert there is not None
    assert there.parent == 0


def link(index: int, name: str, *altnames: str) -> Link:
    return Link(index, name, 0, b"", 1500, "", 0, 0, altnames, 1)


def test_names_follow_renames_that_cross() -> None:
    """Two interfaces swap names; the events come one after the other."""
    observed = Observed()
    observed.put_link(link(1, "a", "x"))
    observed.put_link(link(2, "b"))
    observed.put_link(link(1, "tmp"))
    observed.put_link(link(2, "a"))
    observed.put_link(link(1, "b"))
    assert observed.interfaces == {"a": 2, "b": 1}
    observed.drop_link(2)
    observed.drop_link(2)
    assert observed.interfaces == {"b": 1}
    assert observed.link_by_name("b") == link(1, "b")
    assert observed.link_by_name("a") is None


def known(*addresses: tuple[int, bytes, int]) -> Observed:
    observed = Observed()
    for family, packed, flags in addresses:
        key = AddressKey(2, family, packed, 24 if family == 4 else 64)
        observed.put_address(Address(key, flags, 0, None, ""))
    return observed


def link_local(last: int) -> bytes:
    return b"\xfe\x80" + bytes(13) + bytes((last,))


def test_primary_source_prefers_primary_and_usable_addresses() -> None:
    """RFC 9568 5.1.1.1 (primary IPv4 address), 5.1.2.1 (link-local IPv6 address)."""
    observed = known(
        (4, b"\x0a\0\0\x01", IFA_F_SECONDARY),
        (4, b"\x0a\0\0\x02", 0),
        (6, b"\x20\x01" + bytes(14), 0),
        (6, link_local(1), IFA_F_TENTATIVE),
        (6, link_local(2), IFA_F_DADFAILED | IFA_F_TENTATIVE),
        (6, link_local(3), IFA_F_DEPRECATED),
        (6, link_local(4), 0),
    )
    assert primary_source(observed, 2, 4) == b"\x0a\0\0\x02"
    assert primary_source(observed, 2, 4, {b"\x0a\0\0\x02"}) == b"\x0a\0\0\x01"
    assert primary_source(observed, 2, 6) == link_local(4)
    assert primary_source(observed, 2, 6, {link_local(4)}) == link_local(3)
    assert primary_source(observed, 2, 6, {link_local(4), link_local(3)}) == b""
    assert primary_source(observed, 3, 4) == b""


@pytest.mark.parametrize(
    ("release", "marks"),
    [
        ("5.17.0-1-amd64", False),
        ("5.18.0", True),
        ("6.1.0-18-cloud-amd64", True),
        ("4.19.0", False),
        ("odd", False),
    ],
)
def test_kernels_that_keep_the_mark(release: str, marks: bool) -> None:
    assert kernel_marks_addresses(release) is marks


def test_the_applier_takes_our_programs() -> None:
    """The compiled core and this package mean the same by their constants."""
    from fastvrrp import _core
    from fastvrrp.net.addresses import delete_address

    assert (wire.OK_EXIST, wire.OK_GONE) == (_core.OK_EXIST, _core.OK_GONE)
    request = delete_address(AddressKey(2, 4, b"\x0a\0\0\x01", 32))
    assert request in _core.pack_program([(request, wire.OK_GONE)])
