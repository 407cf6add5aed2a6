"""What a block of configuration keeps in few bytes is played and sent as it was given."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from fastvrrp._core import (
    OK_EXIST,
    OK_GONE,
    AddressItem,
    AddressKey,
    Instance,
    build_announcement,
    pack_program,
)

_CLASSES = st.sampled_from([0, OK_EXIST, OK_GONE, OK_EXIST | OK_GONE])
_FAMILIES = st.sampled_from([4, 6])
_INDEXES = st.integers(1, 2**31 - 1)


@st.composite
def addresses(draw: st.DrawFn) -> AddressItem:
    family = draw(_FAMILIES)
    size = 4 if family == 4 else 16
    raw = draw(st.binary(min_size=size, max_size=size))
    return AddressItem(
        "V",
        AddressKey(draw(_INDEXES), family, raw, draw(st.sampled_from([0, 24, 8 * size]))),
        "eth0",
        scope=draw(st.integers(0, 255)),
        nodad=draw(st.booleans()),
        native=draw(st.booleans()),
    )


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Of an address, as it is or with some byte changed, or of anything else."""
    item = draw(addresses())
    request = bytearray(draw(st.sampled_from([item.add, item.delete])))
    kind = draw(st.sampled_from(["plain", "changed", "cut", "longer", "other"]))
    if kind == "changed":
        request[draw(st.integers(4, len(request) - 1))] = draw(st.integers(0, 255))
    elif kind == "cut":
        del request[draw(st.integers(16, len(request) - 1)) :]
    elif kind == "longer":
        request += draw(st.binary(min_size=1, max_size=120))
    elif kind == "other":
        request[4:] = draw(st.binary(min_size=12, max_size=200))
    return struct.pack("=I", len(request)) + bytes(request[4:])


@st.composite
def announcements(draw: st.DrawFn) -> bytes:
    family = draw(_FAMILIES)
    size = 4 if family == 4 else 16
    record = bytearray(
        build_announcement(
            family=family,
            address=draw(st.binary(min_size=size, max_size=size)),
            ifindex=draw(_INDEXES),
            mac=draw(st.binary(min_size=6, max_size=6)),
            request=draw(st.integers(0, 65535)),
            router=draw(st.booleans()),
            new=draw(st.booleans()),
            extra=draw(st.booleans()),
        )
    )
    if draw(st.booleans()):
        record[draw(st.integers(12, len(record) - 1))] = draw(st.integers(0, 255))
    return bytes(record)


def made(*, up: bytes = b"", down: bytes = b"", announce: bytes = b"") -> Instance:
    return Instance(
        slot=0,
        vrid=1,
        family=4,
        version=3,
        priority=100,
        advert_int_ns=10**9,
        link=0,
        destination=b"\xe0\0\0\x12",
        addresses=[bytes((10, 0, 0, 1))],
        up=up,
        down=down,
        announce=announce,
    )


@settings(max_examples=400)
@given(st.lists(st.tuples(requests(), _CLASSES), max_size=5), st.lists(announcements(), max_size=5))
def test_nothing_is_lost(program: list[tuple[bytes, int]], records: list[bytes]) -> None:
    packed, joined = pack_program(program), b"".join(records)
    content = made(up=packed, down=packed, announce=joined).content
    assert content[2] == joined
    assert content[3] == content[4] == packed


@given(addresses())
def test_an_address_without_options_is_kept_in_few_bytes(item: AddressItem) -> None:
    size = made().size
    address = len(item.key.address)
    for request in (item.add, item.delete):
        assert made(up=pack_program([(request, OK_EXIST)])).size - size == 8 + address
    record = build_announcement(
        family=item.key.family, address=item.key.address, ifindex=1, mac=bytes(6)
    )
    assert made(announce=record).size - size == 12 + 6 + address
