"""Whatever bytes arrive as a VRRP message: the compiled decoder beside one written from the RFCs.

`fuzz_advert(data)` raises when they disagree, or when a running instance takes what the decoder
rejects. The reference is Python, so that a coverage-guided fuzzer sees its paths.
"""

from __future__ import annotations

from fastvrrp import _core
from fastvrrp._core import RX_NAMES, checksum, decode_advert, encode_advert
from model.driver import MS, MULTICAST4, MULTICAST6, VIP4, VIP6, Driver, instance, own

NETWORKS = ((own(1), MULTICAST4, VIP4), (own(1, 6), MULTICAST6, VIP6))


def seeds() -> list[bytes]:
    """Well-formed adverts of every kind; the first byte chooses the network header."""
    made = []
    for six, (source, destination, address) in enumerate(NETWORKS):
        for version in (2, 3) if not six else (3,):
            for count in (1, 3, 20):
                for priority in (0, 100, 255):
                    pdu = encode_advert(
                        version=version,
                        vrid=10,
                        priority=priority,
                        interval_cs=100,
                        addresses=[address[:-1] + bytes((n + 1,)) for n in range(count)],
                        source=source,
                        destination=destination,
                        auth_type=version == 2 and count == 3,
                        auth_data=b"secret" if version == 2 else b"",
                    )
                    made.append(bytes((six,)) + pdu)
    return made


def reference(pdu: bytes, source: bytes, destination: bytes) -> tuple[str, tuple[object, ...]]:
    """RFC 9568 5.1, 7.1; RFC 3768 5.3, 7.1: what is wrong, or what it says."""
    width = len(source)
    if len(pdu) < 8:
        return "length_err", ()
    version, kind, count = pdu[0] >> 4, pdu[0] & 15, pdu[3]
    if version not in (2, 3):
        return "version_err", ()
    if kind != 1:
        return "invalid_type_rcvd", ()
    size = 8 + count * width + (8 if version == 2 else 0)
    if len(pdu) < size:
        return "length_err", ()
    body = pdu[:size]
    pseudo = source + destination + size.to_bytes(4, "big") + bytes((0, 0, 0, 112))
    if version == 2:
        good = checksum(body) == 0
    elif width == 4:
        good = checksum(body) == 0 or checksum(pseudo + body) == 0
    else:
        good = checksum(pseudo + body) == 0
    interval = pdu[5] * 100 if version == 2 else int.from_bytes(pdu[4:6], "big") & 0xFFF
    addresses = tuple(body[8 + n * width : 8 + (n + 1) * width] for n in range(count))
    authentication = body[-8:] if version == 2 else b""
    said = (version, kind, pdu[1], pdu[2], count, interval, addresses, authentication)
    return ("advert_rcvd" if good else "checksum_err"), said


def fuzz_advert(data: bytes) -> None:
    six = data[:1] > b"\x7f" or data[:1] == b"\x01"
    source, destination, _ = NETWORKS[six]
    pdu = data[1:]
    code, advert = decode_advert(pdu, source=source, destination=destination)
    expected, said = reference(pdu, source, destination)
    assert RX_NAMES[code] == expected, (RX_NAMES[code], expected)
    if advert is not None:
        got = (*advert[:6], advert.addresses, advert.auth_data)
        assert got == said, (got, said)
    _receive(pdu, code, family=6 if six else 4)


def _receive(pdu: bytes, code: int, *, family: int) -> None:
    """What is wrong with a message is wrong for every state, and moves none of them."""
    for priority in (1, 255):
        driver = Driver()
        driver.add(instance(family=family, priority=priority))
        if priority == 255:
            driver.become_master()
        driver.advance(10 * MS)
        before = driver.core.next_due_ns(), driver.state()
        source = own(1, family)
        received, actions = driver.feed(pdu, source=source)
        assert driver.core.illegal_transitions() == 0
        if code:
            assert received, "taken although malformed"
        if received:
            assert (driver.core.next_due_ns(), driver.state()) == before
            assert all(action.name == "event" for action in actions)
        driver.advance(100 * MS)
        assert driver.state() in _core.STATE_NAMES
