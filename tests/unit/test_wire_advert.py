"""The advert codec: golden bytes, agreement with scapy and tshark, every prefix, every flipped bit.

RFC 9568 5, RFC 3768 5.3, RFC 2338 5.3.10. Numbers in names are those of the conformance list.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vrrp import VRRP, VRRPv3
from scapy.packet import Packet
from scapy.utils import PcapWriter

from fastvrrp._core import (
    F_CHECKSUM_AS_V2,
    RX_NAMES,
    checksum,
    decode_advert,
    encode_advert,
)
from model.driver import MULTICAST4, MULTICAST6, VIP4, VIP6, Driver, instance, own

OK, LENGTH, CHECKSUM = (RX_NAMES.index(n) for n in ("advert_rcvd", "length_err", "checksum_err"))
SOURCE4 = own(2)
SOURCE6 = own(2, 6)
GLOBAL6 = bytes.fromhex("20010db8000000000000000000000001")


def build(**change: object) -> bytes:
    values: dict[str, object] = {
        "version": 3,
        "vrid": 51,
        "priority": 100,
        "interval_cs": 100,
        "addresses": [VIP4],
        "source": SOURCE4,
        "destination": MULTICAST4,
    }
    values.update(change)
    return encode_advert(**values)  # type: ignore[arg-type]


V2 = build(version=2)
V2_PASS = build(version=2, auth_type=1, auth_data=b"secret", priority=255, vrid=1)
V3 = build()
V3_PLAIN = build(checksum_as_v2=True, addresses=[VIP4, own(9)])
V3_V6 = build(addresses=[VIP6, GLOBAL6], source=SOURCE6, destination=MULTICAST6, interval_cs=4095)
ALL = {"v2": V2, "v2 PASS": V2_PASS, "v3": V3, "v3 plain": V3_PLAIN, "v3 IPv6": V3_V6}


def ends(pdu: bytes) -> tuple[bytes, bytes]:
    return (SOURCE6, MULTICAST6) if pdu is V3_V6 else (SOURCE4, MULTICAST4)


def decode(pdu: bytes, like: bytes) -> int:
    source, destination = ends(like)
    return decode_advert(pdu, source=source, destination=destination)[0]


@pytest.mark.parametrize(
    ("pdu", "golden"),
    [
        (V2, "213364010001b8c8 c0000201 0000000000000000"),
        (V2_PASS, "2101ff010101e0ad c0000201 7365637265740000"),
        (V3, "313364010064bdd4 c0000201"),
        (V3_PLAIN, "3133640200649e5b c0000201 0a000009"),
        (
            V3_V6,
            "313364020fff2f60 fe800000000000000000000000000100 20010db8000000000000000000000001",
        ),
    ],
    ids=ALL,
)
def test_golden_bytes(pdu: bytes, golden: str) -> None:
    """RFC 9568 5.1, RFC 3768 5.1: checksums computed by hand from RFC 1071."""
    assert pdu.hex() == golden.replace(" ", "")


def test_01_type_and_version_octet() -> None:
    """RFC 9568 5.2.1, 5.2.2; RFC 3768 5.3.1, 5.3.2."""
    assert V3[0] == V3_V6[0] == 0x31
    assert V2[0] == V2_PASS[0] == 0x21


def test_09_reserve_nibble_is_zero() -> None:
    """RFC 9568 5.2.6 [M]: even with the largest interval."""
    assert V3_V6[4:6] == b"\x0f\xff"


@pytest.mark.parametrize("interval_cs", [1, 10, 100, 255, 256, 4095])
def test_10_interval_in_centiseconds(interval_cs: int) -> None:
    """RFC 9568 5.2.7: 12 bits."""
    pdu = build(interval_cs=interval_cs)
    assert int.from_bytes(pdu[4:6], "big") == interval_cs


@pytest.mark.parametrize("interval_cs", [0, 4096])
def test_10_interval_out_of_range_is_refused(interval_cs: int) -> None:
    """RFC 9568 erratum 8301: 1..4095."""
    with pytest.raises(ValueError, match="centiseconds"):
        build(interval_cs=interval_cs)


@pytest.mark.parametrize("interval_cs", [0, 50, 25600])
def test_19_v2_interval_in_whole_seconds(interval_cs: int) -> None:
    """RFC 3768 5.3.7."""
    with pytest.raises(ValueError, match="whole seconds"):
        build(version=2, interval_cs=interval_cs)


@pytest.mark.parametrize("count", [0, 1, 2, 20, 255])
def test_11_count_and_length_agree(count: int) -> None:
    """RFC 9568 5.2.5, 5.2.9: 8 + 4n or 8 + 16n; version 2 carries 8 octets more."""
    four = [bytes((192, 0, 2, n)) for n in range(count)]
    six = [VIP6[:15] + bytes((n,)) for n in range(count)]
    assert len(build(addresses=four)) == 8 + 4 * count
    assert len(build(addresses=four, version=2)) == 16 + 4 * count
    pdu = build(addresses=six, source=SOURCE6, destination=MULTICAST6)
    assert len(pdu) == 8 + 16 * count
    assert pdu[3] == count


def test_12_configured_order_is_kept() -> None:
    """RFC 9568 5.2.9."""
    addresses = [bytes((192, 0, 2, n)) for n in (9, 1, 200, 3)]
    code, advert = decode_advert(build(addresses=addresses), source=SOURCE4, destination=MULTICAST4)
    assert (code, advert and advert.addresses) == (OK, tuple(addresses))


def test_14_families_never_mix() -> None:
    """RFC 9568 5.2.9 [M]."""
    with pytest.raises(ValueError, match="is not 4 bytes"):
        build(addresses=[VIP4, VIP6])


def test_15_both_checksums_of_ipv4() -> None:
    """RFC 9568 5.2.8: message only; RFC 5798 5.2.8: with pseudo-header. Both are understood."""
    plain = build(checksum_as_v2=True)
    assert checksum(plain) == 0
    pseudo = SOURCE4 + MULTICAST4 + b"\0\x70" + len(V3).to_bytes(2, "big")
    assert checksum(pseudo + V3) == 0
    assert checksum(V3) != 0
    for pdu in (V3, plain):
        assert decode(pdu, V3) == OK
    broken = bytes((*V3[:6], V3[6] ^ 1, *V3[7:]))
    assert decode(broken, V3) == CHECKSUM


def test_16_ipv6_needs_the_pseudo_header() -> None:
    """RFC 9568 5.2.8: next header 112, upper-layer length in network order."""
    length = len(V3_V6).to_bytes(4, "big")
    assert checksum(SOURCE6 + MULTICAST6 + length + b"\0\0\0\x70" + V3_V6) == 0
    message_only = bytearray(V3_V6)
    message_only[6:8] = b"\0\0"
    message_only[6:8] = checksum(bytes(message_only)).to_bytes(2, "big")
    assert decode(bytes(message_only), V3_V6) == CHECKSUM


def test_17_priorities_on_the_wire() -> None:
    """RFC 9568 5.2.4 [M]: 0..255, the octet is what was asked for."""
    driver = Driver()
    driver.add(instance(priority=100))
    for priority in (0, 1, 100, 254, 255):
        pdu = driver.core.advert_bytes(0, priority)
        assert pdu[2] == priority
        assert decode(pdu, V3) == OK


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("flags", [0, F_CHECKSUM_AS_V2])
@pytest.mark.parametrize("family", [4, 6])
def test_patched_priority_equals_fresh_encoding(version: int, flags: int, family: int) -> None:
    """The incremental checksum is that of the whole packet, for every priority."""
    driver = Driver()
    driver.add(instance(version=version, flags=flags, family=family))
    vip, destination = (VIP4, MULTICAST4) if family == 4 else (VIP6, MULTICAST6)
    for priority in range(256):
        fresh = encode_advert(
            version=version,
            vrid=10,
            priority=priority,
            interval_cs=100,
            addresses=[vip],
            source=own(2, family),
            destination=destination,
            checksum_as_v2=bool(flags),
        )
        assert driver.core.advert_bytes(0, priority) == fresh


def test_19_v2_without_authentication_is_zeroed() -> None:
    """RFC 3768 5.3.6-5.3.10: type 0, data zero, checksum over the message only."""
    assert V2[4] == 0
    assert V2[-8:] == bytes(8)
    assert checksum(V2) == 0


def test_20_password_is_zero_padded() -> None:
    """RFC 2338 5.3.10; eight characters are the most."""
    assert V2_PASS[-8:] == b"secret\0\0"
    assert build(version=2, auth_type=1, auth_data=b"12345678")[-8:] == b"12345678"


# ---- decoding anything ----


@pytest.mark.parametrize("name", ALL)
def test_25_every_prefix_is_rejected(name: str) -> None:
    """RFC 9568 7.1 [M]: 0..n-1 octets."""
    pdu = ALL[name]
    for n in range(len(pdu)):
        code, advert = decode_advert(pdu[:n], source=ends(pdu)[0], destination=ends(pdu)[1])
        assert (code, advert) == (LENGTH, None), n


@pytest.mark.parametrize("name", ALL)
def test_27_every_flipped_bit_is_rejected(name: str) -> None:
    """RFC 9568 7.1, 5.2.8 [M]: the checksum covers every bit of the message."""
    pdu = ALL[name]
    assert decode(pdu, pdu) == OK
    for bit in range(8 * len(pdu)):
        broken = bytearray(pdu)
        broken[bit // 8] ^= 0x80 >> bit % 8
        assert decode(bytes(broken), pdu) != OK, bit


@pytest.mark.parametrize("name", ALL)
def test_26_padding_is_tolerated(name: str) -> None:
    """Ethernet pads short frames: what the header declares counts, the rest is not looked at."""
    pdu = ALL[name]
    assert decode(pdu + bytes(18), pdu) == OK
    assert decode(pdu + b"\xff" * 100, pdu) == OK


@given(st.binary(max_size=64), st.sampled_from([SOURCE4, SOURCE6, b""]))
def test_decode_survives_anything(data: bytes, source: bytes) -> None:
    code, advert = decode_advert(data, source=source, destination=source)
    assert 0 <= code < len(RX_NAMES)
    assert advert is not None or code != OK


def addresses_of(family: int) -> st.SearchStrategy[list[bytes]]:
    size = 4 if family == 4 else 16
    return st.lists(st.binary(min_size=size, max_size=size), min_size=1, max_size=20)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    family = data.draw(st.sampled_from([4, 6]))
    version = data.draw(st.sampled_from([2, 3]))
    addresses = data.draw(addresses_of(family))
    seconds = data.draw(st.integers(1, 255))
    interval_cs = seconds * 100 if version == 2 else data.draw(st.integers(1, 4095))
    vrid, priority = data.draw(st.integers(1, 255)), data.draw(st.integers(0, 255))
    auth = data.draw(st.binary(max_size=8)) if version == 2 else b""
    source, destination = own(7, family), MULTICAST4 if family == 4 else MULTICAST6
    pdu = encode_advert(
        version=version,
        vrid=vrid,
        priority=priority,
        interval_cs=interval_cs,
        addresses=addresses,
        source=source,
        destination=destination,
        auth_type=1 if auth else 0,
        auth_data=auth,
    )
    code, advert = decode_advert(pdu, source=source, destination=destination)
    assert code == OK
    assert advert is not None
    assert advert == (
        version,
        1,
        vrid,
        priority,
        len(addresses),
        interval_cs,
        1 if auth else 0,
        auth.ljust(8, b"\0") if version == 2 else b"",
        tuple(addresses),
    )


# ---- other people's codecs ----


@pytest.mark.parametrize(("version", "family"), [(2, 4), (3, 4), (3, 6)])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_scapy_builds_the_same_bytes(version: int, family: int, count: int) -> None:
    last = range(1, count + 1)
    below: Packet
    if family == 4:
        texts = [f"192.0.2.{n}" for n in last]
        packed = [bytes((192, 0, 2, n)) for n in last]
        below = IP(src="10.0.0.2", dst="224.0.0.18", ttl=255, proto=112)
    else:
        texts = [f"fe80::{n:x}" for n in last]
        packed = [bytes.fromhex("fe80") + bytes(13) + bytes((n,)) for n in last]
        below = IPv6(src="fe80::2", dst="ff02::12", hlim=255, nh=112)
    layer: Packet
    if version == 2:
        layer = VRRP(vrid=7, priority=120, adv=3, addrlist=texts, auth1=0, auth2=0)
    else:
        layer = VRRPv3(vrid=7, priority=120, adv=33, addrlist=texts, res=0)
    theirs = bytes(below / layer)[20 if family == 4 else 40 :]
    ours = encode_advert(
        version=version,
        vrid=7,
        priority=120,
        interval_cs=300 if version == 2 else 33,
        addresses=packed,
        source=own(2, family),
        destination=MULTICAST4 if family == 4 else MULTICAST6,
    )
    assert ours == theirs


def test_scapy_reads_ours() -> None:
    layer = IP(bytes(IP(src="10.0.0.2", dst="224.0.0.18", proto=112) / V3))[VRRPv3]
    assert (layer.version, layer.vrid, layer.priority, layer.adv) == (3, 51, 100, 100)
    assert layer.addrlist == ["192.0.2.1"]
    layer = VRRP(V2_PASS)
    assert (layer.version, layer.vrid, layer.priority, layer.authtype) == (2, 1, 255, 1)
    assert layer.auth1.to_bytes(4, "big") + layer.auth2.to_bytes(4, "big") == b"secret\0\0"


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_tshark_finds_no_fault(tmp_path: Path) -> None:
    """Wireshark's dissector verifies checksums, lengths and authentication data on its own."""
    capture = tmp_path / "adverts.pcap"
    four = Ether(src="02:00:00:00:00:01", dst="01:00:5e:00:00:12") / IP(
        src="10.0.0.2", dst="224.0.0.18", ttl=255, proto=112
    )
    six = Ether(src="02:00:00:00:00:01", dst="33:33:00:00:00:12") / IPv6(
        src="fe80::2", dst="ff02::12", hlim=255, nh=112
    )
    with PcapWriter(str(capture), linktype=1) as out:
        for pdu in (V2, V2_PASS, V3, V3_V6):
            out.write((six if pdu is V3_V6 else four) / pdu)
    reply = subprocess.run(
        ["tshark", "-r", str(capture), "-o", "vrrp.v3_checksum_as_in_v2:FALSE", "-T", "json"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    packets = [p["_source"]["layers"]["vrrp"] for p in json.loads(reply.stdout)]
    assert [p["vrrp.checksum.status"] for p in packets] == ["1", "1", "1", "1"]
    assert [p["vrrp.prio"] for p in packets] == ["100", "255", "100", "100"]
    assert packets[1]["vrrp.auth_type"] == "1"
    assert packets[3]["vrrp.short_adver_int"] == "4095"
    assert b"Malformed" not in reply.stdout
