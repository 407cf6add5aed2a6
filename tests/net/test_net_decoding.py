"""What decoders make of odd and damaged messages (tests/fuzz invents more), and what is kept."""

from __future__ import annotations

import pytest

from canned_netlink import canned
from fastvrrp.net import objects, wire
from fastvrrp.net.follower import Follower
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
)
from fastvrrp.net.observed import Observed, kernel_marks_addresses, primary_source

LINK = wire.IFINFOMSG.pack(0, 1, 7, 0x1043, 0) + b"".join(
    (
        wire.string(3, "eth0"),
        wire.attribute(1, b"\x02\0\0\0\0\x01"),
        wire.u32(4, 1500),
        wire.attribute(18, wire.string(1, "veth")),
        wire.attribute(52, wire.string(53, "uplink") + wire.string(53, "outside")),
    )
)


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


def test_an_event_of_a_wireless_driver_does_not_change_the_link() -> None:
    """It has the form of RTM_NEWLINK, but neither hardware address nor MTU nor anything else:
    net/wireless/wext-core.c, rtnetlink_ifinfo_prep."""
    follower = Follower()
    assert follower.datagram(memoryview(wire.message(wire.RTM_NEWLINK, 0, LINK)))
    before = follower.observed.links[7]
    event = wire.IFINFOMSG.pack(0, 1, 7, 0x1043, 0) + wire.string(3, "eth0")
    event += wire.attribute(11, bytes(24))  # IFLA_WIRELESS
    assert follower.datagram(memoryview(wire.message(wire.RTM_NEWLINK, 0, event)))
    assert follower.observed.links == {7: before}
    assert follower.rejected == 0


def address_message(last: int, *, length: int = 24, address: bytes = b"\x0a\0\0") -> bytes:
    body = wire.IFADDRMSG.pack(2, length, 0, 0, 1) + wire.attribute(2, address + bytes((last,)))
    return wire.message(wire.RTM_NEWADDR, 0, body)


@pytest.mark.parametrize(
    "bad", [address_message(1, length=33), address_message(1, address=b"\x0a\0"), b""]
)
def test_a_damaged_object_costs_no_other(bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
    follower = Follower()
    assert follower.datagram(memoryview(address_message(8) + bad + address_message(9)))
    known = sorted(address.key.address[-1] for address in follower.observed.all_addresses())
    assert known == [8, 9]
    assert follower.rejected == len(caplog.records) == bool(bad)


def test_damaged_framing_is_reported() -> None:
    """What came behind is unknown: the tables have to be read again."""
    follower = Follower()
    assert not follower.datagram(memoryview(address_message(8) + address_message(9)[:-4]))
    assert len(list(follower.observed.all_addresses())) == 1


def test_a_gateway_of_no_family_is_refused() -> None:
    body = wire.RTMSG.pack(2, 0, 0, 0, 254, 18, 0, 1, 0) + wire.attribute(5, b"\x0a\0\0")
    with pytest.raises(wire.MalformedMessage, match="gateway"):
        decode_route(memoryview(body), 0, len(body))


def test_a_dump_that_fails_half_way_is_no_table() -> None:
    """The kernel says so only in the NLMSG_DONE at the end (linux/netlink.h)."""
    part = address_message(8)
    part = wire.with_sequence(part, 1)
    for code, complete in ((0, True), (-105, False)):
        done = wire.message(wire.NLMSG_DONE, 0, wire.I32.pack(code), 1)
        with canned(part, done) as rtnl:
            if complete:
                assert [one.message for one in rtnl.dump(wire.RTM_GETADDR, bytes(8))] == [part]
            else:
                with pytest.raises(OSError, match="No buffer space"):
                    rtnl.dump(wire.RTM_GETADDR, bytes(8))


@pytest.mark.parametrize("payload", [b"", b"\0\0", wire.I32.pack(5)])
def test_an_answer_that_is_none_is_an_error(payload: bytes) -> None:
    rtnl = canned(wire.message(wire.NLMSG_ERROR, 0, payload, 1))
    with rtnl, pytest.raises(OSError, match="answer"):
        rtnl.play([(address_message(1), 0)])


def test_the_table_of_a_vrf_device() -> None:
    """IFLA_VRF_TABLE; known by every name of the device, for as long as it is there."""
    data = wire.attribute(objects.IFLA_INFO_DATA, wire.u32(objects.IFLA_VRF_TABLE, 1000))
    info = wire.string(objects.IFLA_INFO_KIND, "vrf") + data
    body = wire.IFINFOMSG.pack(0, 1, 9, 0, 0) + wire.string(objects.IFLA_IFNAME, "blue")
    body += wire.attribute(objects.IFLA_LINKINFO, info)
    found = objects.decode_link(memoryview(body), 0, len(body))
    assert found is not None
    assert (found.kind, found.vrf_table) == ("vrf", 1000)
    observed = Observed(marks_addresses=True)
    observed.put_link(found)
    assert observed.vrf_tables == {"blue": 1000}
    observed.put_link(found._replace(name="red"))
    assert observed.vrf_tables == {"red": 1000}
    observed.drop_link(9)
    assert observed.vrf_tables == {}


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
