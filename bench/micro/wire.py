"""Checksum, encoding and decoding of adverts through the typed Python functions.

Each figure includes one Python call; `advert_size` of the name is the length of the PDU.
"""

from __future__ import annotations

from fastvrrp import _core

from .workload import Maker, Workload

SOURCE = bytes((10, 0, 0, 1))
GROUP = bytes((224, 0, 0, 18))
VRID, PRIORITY, INTERVAL_CS = 7, 200, 10


def virtual_addresses(count: int) -> list[bytes]:
    return [bytes((192, 0, 2, n + 1)) for n in range(count)]


def encode(
    addresses: list[bytes],
    vrid: int = VRID,
    priority: int = PRIORITY,
    interval_cs: int = INTERVAL_CS,
    source: bytes = SOURCE,
) -> bytes:
    """A PDU of version 3 to the multicast group."""
    advert = {"vrid": vrid, "priority": priority, "interval_cs": interval_cs}
    return _core.encode_advert(
        version=3, **advert, addresses=addresses, source=source, destination=GROUP
    )


def checksum(size: int) -> Workload:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    words = sum(int.from_bytes(data[k : k + 2].ljust(2, b"\0"), "big") for k in range(0, size, 2))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)

    def check(result: int) -> None:
        assert result == words ^ 0xFFFF

    return Workload(f"checksum of {size} bytes", "wire", 1, lambda: data, _core.checksum, check)


def encoding(count: int) -> Workload:
    addresses = virtual_addresses(count)

    def check(pdu: bytes) -> None:
        assert len(pdu) == 8 + 4 * count
        code, advert = _core.decode_advert(pdu, source=SOURCE, destination=GROUP)
        assert code == 0
        assert advert is not None
        assert (advert.vrid, advert.priority, advert.addresses) == (
            VRID,
            PRIORITY,
            tuple(addresses),
        )

    return Workload(f"encode, {count} addresses", "wire", 1, lambda: addresses, encode, check)


def decoding(count: int) -> Workload:
    addresses = virtual_addresses(count)

    def run(pdu: bytes) -> tuple[int, _core.Advert | None]:
        return _core.decode_advert(pdu, source=SOURCE, destination=GROUP)

    def check(result: tuple[int, _core.Advert | None]) -> None:
        code, advert = result
        assert code == 0
        assert advert is not None
        assert advert.interval_cs == INTERVAL_CS
        assert advert.addresses == tuple(addresses)

    return Workload(f"decode, {count} addresses", "wire", 1, lambda: encode(addresses), run, check)


MAKERS = [
    Maker(checksum, 12, (12, 40, 1480)),
    Maker(encoding, 1, (1, 20)),
    Maker(decoding, 1, (1, 20)),
]
