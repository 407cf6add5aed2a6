"""Receive rules 22-43 and 101-103 of the conformance list, one test each.

Every rejection leaves state, timers and master untouched and counts one under its own cause; every
positive counterpart is accepted by the same instance, so that a test cannot pass by rejecting all.
"""

from __future__ import annotations

from typing import Any

import pytest

from fastvrrp import _core
from fastvrrp._core import RX_NAMES, encode_advert
from model.driver import (
    MULTICAST4,
    MULTICAST6,
    SECOND,
    VIP4,
    VIP6,
    Driver,
    events,
    instance,
    own,
    sent,
)

GLOBAL6 = bytes.fromhex("20010db8000000000000000000000001")


def pdu(**change: Any) -> bytes:
    values: dict[str, Any] = {
        "version": 3,
        "vrid": 10,
        "priority": 150,
        "interval_cs": 100,
        "addresses": [VIP4],
        "source": own(1),
        "destination": MULTICAST4,
    }
    values.update(change)
    return encode_advert(**values)


def recount(packet: bytes, source: bytes, destination: bytes) -> bytes:
    """The packet with a right checksum (RFC 9568 5.2.8)."""
    body = packet[:6] + b"\0\0" + packet[8:]
    if len(source) == 4:
        pseudo = source + destination + b"\0\x70" + len(body).to_bytes(2, "big")
    else:
        pseudo = source + destination + len(body).to_bytes(4, "big") + b"\0\0\0\x70"
    if body[0] >> 4 == 2:
        pseudo = b""
    return body[:6] + _core.checksum(pseudo + body).to_bytes(2, "big") + body[8:]


def standing(driver: Driver, slot: int = 0) -> tuple[Any, ...]:
    """Everything a rejected packet must leave alone."""
    status = driver.status(slot)
    return (*status[:-1], driver.core.next_due_ns())


@pytest.fixture(params=["BACKUP", "MASTER"])
def driver(request: pytest.FixtureRequest) -> Driver:
    made = Driver()
    made.add(instance())
    if request.param == "MASTER":
        made.become_master()
    else:
        made.advance(SECOND // 3)
    return made


def start(**change: Any) -> Driver:
    made = Driver()
    made.add(instance(**change))
    made.advance(SECOND // 3)
    return made


def rejected(driver: Driver, cause: str, packet: bytes, *, slot: int = 0, **how: Any) -> None:
    """`packet` is dropped for `cause`, counted once, and changes nothing."""
    before, counters = standing(driver, slot), driver.status(slot).counters
    code, actions = driver.feed(packet, **how)
    assert RX_NAMES[code] == cause
    assert standing(driver, slot) == before
    assert all(a.name == "event" for a in actions)
    after = driver.status(slot).counters
    assert after == {**counters, cause: counters[cause] + 1}


def unowned(driver: Driver, cause: str, packet: bytes, **how: Any) -> None:
    """`packet` belongs to no instance: the core's own counter goes up, no instance's."""
    before, counters = standing(driver), driver.status().counters
    total = driver.core.unowned()
    code, actions = driver.feed(packet, **how)
    assert RX_NAMES[code] == cause
    assert standing(driver) == before
    assert driver.status().counters == counters
    assert driver.core.unowned() == {**total, cause: total[cause] + 1}
    assert sent(actions) == []


def accepted(driver: Driver, packet: bytes, *, slot: int = 0, **how: Any) -> None:
    counters = driver.status(slot).counters
    code, _ = driver.feed(packet, **how)
    assert RX_NAMES[code] == "advert_rcvd"
    assert driver.status(slot).counters["advert_rcvd"] == counters["advert_rcvd"] + 1


@pytest.mark.parametrize("ttl", [254, 1, 0])
def test_22_ttl_must_be_255(driver: Driver, ttl: int) -> None:
    """RFC 9568 7.1 [M]: whoever is not on this link cannot speak."""
    rejected(driver, "ttl_err", pdu(), ttl=ttl)
    accepted(driver, pdu(), ttl=255)


def test_22_hop_limit_must_be_255() -> None:
    """RFC 9568 7.1 [M], IPv6."""
    made = start(family=6)
    packet = pdu(addresses=[VIP6], source=own(1, 6), destination=MULTICAST6)
    rejected(made, "ttl_err", packet, source=own(1, 6), ttl=254)
    accepted(made, packet, source=own(1, 6))


def test_23_other_version(driver: Driver) -> None:
    """RFC 9568 7.1 [M]."""
    rejected(driver, "version_err", pdu(version=2))
    for version in (0, 1, 4, 15):
        broken = bytes((version << 4 | 1,)) + pdu()[1:]
        rejected(driver, "version_err", recount(broken, own(1), MULTICAST4))
    accepted(driver, pdu())


@pytest.mark.parametrize("kind", [0, *range(2, 16)])
def test_24_type_must_be_advertisement(driver: Driver, kind: int) -> None:
    """RFC 9568 5.2.2, 7.1 [M]."""
    broken = bytes((0x30 | kind,)) + pdu()[1:]
    rejected(driver, "invalid_type_rcvd", recount(broken, own(1), MULTICAST4))


def test_25_truncated_anywhere(driver: Driver) -> None:
    """RFC 9568 7.1 [M]: also when the checksum of the shorter packet would be right."""
    whole = pdu(addresses=[VIP4, own(9)])
    for n in range(2):
        unowned(driver, "length_err", whole[:n])
    for n in range(2, len(whole)):
        rejected(driver, "length_err", whole[:n])
    short = recount(whole[:-4], own(1), MULTICAST4)
    rejected(driver, "length_err", short)


def test_26_ethernet_padding() -> None:
    """What the header declares is what counts; Ethernet pads to 60 octets."""
    made = start()
    accepted(made, pdu() + bytes(14))


def test_27_every_flipped_bit(driver: Driver) -> None:
    """RFC 9568 7.1, 5.2.8 [M]: whatever it hits, nothing moves."""
    whole = pdu()
    for bit in range(8 * len(whole)):
        broken = bytearray(whole)
        broken[bit // 8] ^= 0x80 >> bit % 8
        before = standing(driver)
        code, actions = driver.feed(bytes(broken))
        assert code != 0, bit
        assert standing(driver) == before
        assert sent(actions) == []
    assert driver.count("advert_rcvd") == 0


def test_28_either_ipv4_checksum(driver: Driver) -> None:
    """RFC 9568 5.2.8 and RFC 5798 5.2.8: both accepted, the new form counted; neither: dropped."""
    accepted(driver, pdu(priority=50))
    assert driver.count("checksum_without_pseudo_header") == 0
    accepted(driver, pdu(priority=50, checksum_as_v2=True))
    assert driver.count("checksum_without_pseudo_header") == 1
    broken = pdu()[:6] + b"\x12\x34" + pdu()[8:]
    rejected(driver, "checksum_err", broken)


def test_28_ipv6_knows_one_checksum() -> None:
    """RFC 9568 5.2.8: message-only is wrong for IPv6."""
    made = start(family=6)
    packet = pdu(addresses=[VIP6], source=own(1, 6), destination=MULTICAST6)
    body = packet[:6] + b"\0\0" + packet[8:]
    plain = body[:6] + _core.checksum(body).to_bytes(2, "big") + body[8:]
    rejected(made, "checksum_err", plain, source=own(1, 6))
    accepted(made, packet, source=own(1, 6))


def test_28_checksum_covers_the_addresses_of_the_network_header(driver: Driver) -> None:
    """A packet moved to another sender does not verify (pseudo-header)."""
    rejected(driver, "checksum_err", pdu(), source=own(3))


def test_29_unknown_vrid(driver: Driver) -> None:
    """RFC 9568 7.1 [M]: another virtual router's business."""
    unowned(driver, "vrid_err", pdu(vrid=11))


def test_30_no_leak_between_interfaces() -> None:
    """RFC 9568 7.1: the same VRID on two links is two virtual routers."""
    made = Driver(links_up=(0, 1))
    made.add(instance(0, link=0), instance(1, link=1))
    made.advance(SECOND)
    before = standing(made, 1)
    accepted(made, pdu(), slot=0, link=0)
    assert standing(made, 1)[:-1] == before[:-1]
    assert made.count("advert_rcvd", 1) == 0
    unowned(made, "vrid_err", pdu(), link=2)


def test_31_vrid_range() -> None:
    """RFC 9568 6.1: 1..255; 0 is nobody's."""
    for vrid in (1, 255):
        made = start(vrid=vrid)
        accepted(made, pdu(vrid=vrid))
    made = start()
    unowned(made, "vrid_err", recount(b"\x31\x00" + pdu()[2:], own(1), MULTICAST4))
    for vrid in (0, 256):
        with pytest.raises(ValueError, match="vrid"):
            instance(vrid=vrid)


def test_32_families_are_independent() -> None:
    """RFC 9568 1, 6.1: VRID 10 for IPv4 and VRID 10 for IPv6 share a link and nothing else."""
    made = Driver()
    made.add(instance(0), instance(1, family=6))
    made.advance(SECOND)
    before = standing(made, 1)
    accepted(made, pdu(), slot=0)
    assert standing(made, 1)[:-1] == before[:-1]
    packet = pdu(addresses=[VIP6], source=own(1, 6), destination=MULTICAST6)
    accepted(made, packet, slot=1, source=own(1, 6))
    assert made.count("advert_rcvd", 0) == made.count("advert_rcvd", 1) == 1


def test_33_count_zero(driver: Driver) -> None:
    """RFC 9568 5.2.5 [M]."""
    rejected(driver, "count_err", pdu(addresses=[]))


@pytest.mark.parametrize("high_nibble", [0, 0xF0])
def test_34_interval_zero(driver: Driver, high_nibble: int) -> None:
    """RFC 9568 erratum 8301: with it the peer would be declared dead at once."""
    broken = pdu()[:4] + bytes((high_nibble, 0)) + pdu()[6:]
    rejected(driver, "advert_interval_err", recount(broken, own(1), MULTICAST4))


def test_35_first_ipv6_address_may_be_global() -> None:
    """RFC 9568 5.2.9 binds the sender. keepalived outside strict mode sends such lists, so they
    are accepted, and reported as a different address list."""
    made = start(family=6)
    packet = pdu(addresses=[GLOBAL6], source=own(1, 6), destination=MULTICAST6)
    accepted(made, packet, source=own(1, 6))
    assert made.count("addr_list_err") == 1


def test_36_addresses_of_the_other_family() -> None:
    """RFC 9568 5.2.9: an IPv4 list below an IPv6 header is too short for its count."""
    made = start(family=6)
    packet = pdu(addresses=[VIP4], source=own(1), destination=MULTICAST4)
    fixed = recount(packet, own(1, 6), MULTICAST6)
    rejected(made, "length_err", fixed, source=own(1, 6))


def test_37_reserve_bits_are_ignored(driver: Driver) -> None:
    """RFC 9568 5.2.6 [M]."""
    marked = pdu(priority=50)[:4] + bytes((0xF0, 100)) + pdu()[6:]
    accepted(driver, recount(marked, own(1), MULTICAST4))
    assert driver.count("interval_mismatch") == 0


def test_38_other_interval_is_used_and_reported() -> None:
    """RFC 9568 7.1 [S]: counted, told once, and the packet counts."""
    made = start()
    for _ in range(3):
        accepted(made, pdu(interval_cs=33))
    assert made.count("interval_mismatch") == 3
    assert made.status().master_advert_int_ns == 330_000_000
    told = events(made.log, _core.EV_INTERVAL_MISMATCH)
    assert [(e.a, e.b, e.address) for e in told] == [(330_000_000, SECOND, own(1))]


@pytest.mark.parametrize(
    ("theirs", "mismatch"),
    [
        ([VIP4, own(9)], False),
        ([own(9), VIP4], False),
        ([VIP4], True),
        ([VIP4, own(8)], True),
        ([VIP4, own(9), own(8)], True),
    ],
)
def test_39_other_address_list_is_reported(theirs: list[bytes], mismatch: bool) -> None:
    """RFC 9568 7.1 [m]: as a set; counted, told, and the packet counts."""
    made = start(addresses=[VIP4, own(9)])
    accepted(made, pdu(addresses=theirs))
    assert made.count("addr_list_err") == int(mismatch)
    assert len(events(made.log, _core.EV_ADDR_MISMATCH)) == int(mismatch)
    assert made.status().master_address == own(1)


def test_39_skip_check_adv_addr() -> None:
    """keepalived: the list of a master that was checked once is not compared again."""
    made = start(flags=_core.F_SKIP_CHECK_ADV_ADDR)
    accepted(made, pdu(addresses=[own(9)]))
    accepted(made, pdu(addresses=[own(9)]))
    assert made.count("addr_list_err") == 1
    accepted(made, pdu(addresses=[own(9)], source=own(3)), source=own(3))
    assert made.count("addr_list_err") == 2


def test_40_owner_lets_the_election_run() -> None:
    """RFC 9568 7.1 with erratum 8298: not dropped, unless owner_ignore_adverts says so."""
    made = start(priority=255)
    accepted(made, pdu())
    made = start(priority=255, flags=_core.F_OWNER_IGNORE_ADVERTS)
    rejected(made, "owner_ignored", pdu())


def test_41_own_packet_comes_back(driver: Driver) -> None:
    """A bridge or hub that echoes: never an election with oneself."""
    rejected(driver, "own_looped", pdu(source=own(2)), source=own(2))


def unicast(**change: Any) -> Driver:
    peers = [(own(1), 0, 255), (own(5), 100, 200)]
    return start(**{"flags": _core.F_UNICAST, "peers": peers, **change})


def test_42_unicast_destination_on_a_multicast_instance(driver: Driver) -> None:
    """Only a unicast instance listens to unicast."""
    packet = pdu(destination=own(2))
    rejected(driver, "cast_kind_err", packet, destination=own(2))


def test_42_unicast_from_a_listed_peer() -> None:
    """Listed peers only, whatever check_unicast_src says, each within its own TTL range."""
    made = unicast()
    rejected(
        made,
        "unknown_peer",
        pdu(source=own(3), destination=own(2)),
        source=own(3),
        destination=own(2),
    )
    accepted(made, pdu(destination=own(2)), destination=own(2), ttl=3)
    far = pdu(source=own(5), destination=own(2))
    for ttl in (99, 201):
        rejected(made, "ttl_err", far, source=own(5), destination=own(2), ttl=ttl)
    for ttl in (100, 200):
        accepted(made, far, source=own(5), destination=own(2), ttl=ttl)


def test_checksum_of_old_unicast() -> None:
    """keepalived before 1.3.7 sums its multicast group wherever an advert goes. It is accepted from
    unicast peers and answered in kind (`auto`), always sent (F_OLD_CHECKSUM) or refused."""

    def right(driver: Driver) -> bytes:
        return recount(driver.core.advert_bytes(0, 100, own(1)), own(2), own(1))

    def old(driver: Driver) -> bytes:
        return recount(driver.core.advert_bytes(0, 100, own(1)), own(2), MULTICAST4)

    made = start(flags=_core.F_UNICAST, peers=[(own(1), 0, 255)])
    assert made.core.advert_bytes(0, 100, own(1)) == right(made) != old(made)
    accepted(made, pdu(), destination=own(2))  # made for the group
    assert made.core.advert_bytes(0, 100, own(1)) == old(made)
    accepted(made, pdu(destination=own(2)), destination=own(2))
    assert made.core.advert_bytes(0, 100, own(1)) == right(made)

    several = unicast()  # one that speaks so is enough: the others understand both
    accepted(several, pdu(), destination=own(2))
    accepted(several, pdu(destination=own(2)), destination=own(2))
    assert several.core.advert_bytes(0, 100, own(1)) == old(several)

    always = unicast(flags=_core.F_UNICAST | _core.F_OLD_CHECKSUM)
    assert always.core.advert_bytes(0, 100, own(1)) == old(always)
    never = unicast(flags=_core.F_UNICAST | _core.F_NO_OLD_CHECKSUM)
    rejected(never, "checksum_err", pdu(), destination=own(2))
    accepted(never, pdu(destination=own(2)), destination=own(2))


def test_43_multicast_on_a_unicast_instance() -> None:
    """It has a peer list and hears nobody else."""
    rejected(unicast(), "cast_kind_err", pdu())


def test_44_a_flood_is_told_once() -> None:
    """RFC 9568 7.1: logs are limited by cause, and forged senders do not reset the limit."""
    made = start()
    broken = pdu()[:6] + b"\x12\x34" + pdu()[8:]
    for n in range(2000):
        made.feed(broken, source=bytes((10, 0, n >> 8, n & 255)))
    assert made.count("checksum_err") + made.count("own_looped") == 2000
    assert len(events(made.log, _core.EV_RX_ERROR)) == 1
    made.hear(150)
    made.advance(61 * SECOND)
    made.feed(broken)
    told = events(made.log, _core.EV_RX_ERROR)
    assert [e.b for e in told] == [1, made.count("checksum_err")]


def test_44_unowned_flood_is_told_once() -> None:
    made = start()
    for _ in range(100):
        made.feed(b"\x31")
    assert made.core.unowned()["length_err"] == 100
    assert len(events(made.log, _core.EV_RX_ERROR)) == 1


@pytest.mark.parametrize("state", ["FAULT", "INIT", "hold"])
def test_adverts_mean_nothing_in_init_fault_and_start_delay(state: str) -> None:
    """RFC 9568 6.4.1; keepalived's vrrp_startup_delay."""
    made = Driver(links_up=() if state == "FAULT" else (0,))
    made.add(
        instance(
            fault=_core.FAULT_AWAIT if state == "INIT" else 0,
            hold_until_ns=10 * SECOND if state == "hold" else 0,
        )
    )
    assert made.state() == ("BACKUP" if state == "hold" else state)
    rejected(made, "ignored_in_state", pdu())


# ---- version 2 only: RFC 3768 7.1 ----


def v2(**change: Any) -> bytes:
    return pdu(version=2, **change)


def test_101_authentication_type_must_fit() -> None:
    """RFC 3768 7.1 [M]: other type dropped; with type 0 the data field means nothing."""
    made = start(version=2)
    rejected(made, "authtype_mismatch", v2(auth_type=1, auth_data=b"secret"))
    noise = v2()[:-8] + b"whatever"
    accepted(made, recount(noise, own(1), MULTICAST4))
    made = start(version=2, auth_type=1, auth_data=b"secret")
    rejected(made, "authtype_mismatch", v2())


def test_101_password_must_fit() -> None:
    """RFC 2338 5.3.6.2 and 7.1, all eight characters."""
    made = start(version=2, auth_type=1, auth_data=b"secret78")
    for wrong in (b"secret79", b"Secret78", b"secret", b""):
        rejected(made, "auth_failure", v2(auth_type=1, auth_data=wrong))
    accepted(made, v2(auth_type=1, auth_data=b"secret78"))


def test_102_address_list_of_version_2() -> None:
    """keepalived rules where RFC 3768 7.1 says "drop": the mismatch is counted, the advert used."""
    made = start(version=2)
    accepted(made, v2(addresses=[own(9)]))
    assert made.count("addr_list_err") == 1


def test_103_interval_of_version_2_must_fit() -> None:
    """RFC 3768 7.1 [M]."""
    made = start(version=2)
    rejected(made, "advert_interval_err", v2(interval_cs=200))
    accepted(made, v2())


def test_several_instances_share_a_vrid_by_group_or_peer() -> None:
    """keepalived: same link and VRID, other mcast_dst_ip or other unicast peers."""
    other = bytes((224, 0, 0, 99))
    made = Driver()
    made.add(
        instance(0),
        instance(1, destination=other),
        instance(2, flags=_core.F_UNICAST, peers=[(own(1), 0, 255)]),
        instance(3, flags=_core.F_UNICAST, peers=[(own(4), 0, 255)]),
    )
    accepted(made, pdu(), slot=0)
    accepted(made, pdu(destination=other), slot=1, destination=other)
    accepted(made, pdu(destination=own(2)), slot=2, destination=own(2))
    accepted(
        made,
        pdu(source=own(4), destination=own(2)),
        slot=3,
        source=own(4),
        destination=own(2),
    )
    assert [made.count("advert_rcvd", k) for k in range(4)] == [1, 1, 1, 1]
