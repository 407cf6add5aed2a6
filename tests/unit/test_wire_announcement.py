"""Gratuitous ARP and unsolicited neighbour advertisements (RFC 9568 6.4.1, RFC 4861 4.4)."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from fastvrrp._core import build_announcement
from model.driver import VIP4, VIP6

MAC = bytes.fromhex("00005e00010a")
MAC_TEXT = "00:00:5e:00:01:0a"
HEADER = 12


def frame(record: bytes) -> bytes:
    """The frame of one record, whose header must say what follows."""
    ifindex = int.from_bytes(record[:4], "little")
    length = int.from_bytes(record[4:6], "little")
    request = int.from_bytes(record[6:8], "little")
    assert (ifindex, request) == (7, 3)
    assert len(record) == HEADER + length
    return record[HEADER:]


def record(family: int, address: bytes, **change: Any) -> bytes:
    return build_announcement(
        family=family, address=address, ifindex=7, mac=MAC, request=3, **change
    )


def test_81_gratuitous_arp() -> None:
    """RFC 9568 6.4.1, errata 7947/7949: broadcast request, sender and target IP are the VIP."""
    theirs = Ether(src=MAC_TEXT, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op="who-has", hwsrc=MAC_TEXT, psrc="192.0.2.1", hwdst="ff:ff:ff:ff:ff:ff", pdst="192.0.2.1"
    )
    assert frame(record(4, VIP4)) == bytes(theirs)


@pytest.mark.parametrize("router", [True, False])
def test_82_unsolicited_neighbour_advertisement(router: bool) -> None:
    """RFC 9568 6.4.1: R as the host forwards, S=0, O=1, target link-layer option, hop limit 255."""
    theirs = (
        Ether(src=MAC_TEXT, dst="33:33:00:00:00:01")
        / IPv6(src="fe80::100", dst="ff02::1", hlim=255, tc=0xC0)
        / ICMPv6ND_NA(R=int(router), S=0, O=1, tgt="fe80::100")
        / ICMPv6NDOptDstLLAddr(lladdr=MAC_TEXT)
    )
    assert frame(record(6, VIP6, router=router)) == bytes(theirs)


def test_new_and_family_marks() -> None:
    assert [record(4, VIP4, new=n)[8] & 1 for n in (False, True)] == [0, 1]
    assert [record(4, VIP4)[8] & 2, record(6, VIP6)[8] & 2] == [0, 2]


@pytest.mark.parametrize("mac", [b"", MAC[:5], MAC + b"\0", bytes(20)])
def test_only_ethernet_can_be_announced(mac: bytes) -> None:
    """An InfiniBand or tunnel address has no place in the frame: told, not truncated."""
    with pytest.raises(ValueError, match="link-layer address"):
        build_announcement(family=4, address=VIP4, ifindex=7, mac=mac)


@pytest.mark.parametrize(("family", "address"), [(4, VIP6), (6, VIP4), (4, b"")])
def test_address_must_fit_the_family(family: int, address: bytes) -> None:
    with pytest.raises(ValueError, match="family"):
        build_announcement(family=family, address=address, ifindex=7, mac=MAC)
