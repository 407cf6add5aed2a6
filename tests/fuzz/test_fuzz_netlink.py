"""Damaged, truncated, reordered and invented rtnetlink messages, grown from a real kernel's."""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netlink_target import TABLES, Followed, fuzz_netlink, messages, seeds

from fastvrrp.net import wire
from fastvrrp.net.follower import Follower

SEEDS = seeds()
MESSAGES = [message for seed in SEEDS for message in messages(seed)]
BOUNDED = settings(
    deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow], database=None
)


def test_the_seeds_are_what_a_kernel_says() -> None:
    """Every kind of message is among them and is understood; otherwise the rest shows nothing."""
    follower = Follower()
    kinds = set()
    for seed in SEEDS:
        for frame in wire.frames(memoryview(seed)):
            kinds.add(frame.kind)
        assert follower.datagram(memoryview(seed))
    assert follower.rejected == 0
    for new, delete in (
        (wire.RTM_NEWLINK, wire.RTM_DELLINK),
        (wire.RTM_NEWADDR, wire.RTM_DELADDR),
        (wire.RTM_NEWROUTE, wire.RTM_DELROUTE),
        (wire.RTM_NEWRULE, wire.RTM_DELRULE),
        (wire.NLMSG_ERROR, wire.NLMSG_DONE),
    ):
        assert {new, delete} <= kinds
    for seed in SEEDS:
        fuzz_netlink(seed)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A few real messages with a few mistakes in them."""
    chosen = draw(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6))
    data = bytearray(b"".join(chosen))
    for _ in range(draw(st.integers(0, 6))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(("flip", "length", "cut", "drop", "insert"))):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "length":  # of a message or an attribute, where attributes are aligned
                at &= ~3
                value = draw(st.sampled_from((0, 1, 3, 4, 5, 8, 12, 20, 0x7FFF, 0xFFFF)))
                data[at : at + 2] = struct.pack("=H", value)[: len(data) - at]
            case "cut":
                del data[at:]
            case "drop":
                del data[at : at + draw(st.integers(1, 8))]
            case _:
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


@BOUNDED
@given(damaged())
def test_damaged_messages(data: bytes) -> None:
    fuzz_netlink(data)


@BOUNDED
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    fuzz_netlink(data)


@BOUNDED
@given(
    st.sampled_from(
        (wire.RTM_NEWLINK, wire.RTM_NEWADDR, wire.RTM_DELADDR, wire.RTM_NEWROUTE, wire.RTM_NEWRULE)
    ),
    st.sampled_from((2, 10, 0)),
    st.binary(min_size=7, max_size=15),
    st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=20)), max_size=8),
)
def test_any_attributes(
    kind: int, family: int, rest: bytes, attributes: list[tuple[int, bytes]]
) -> None:
    """Framed well, and nonsense inside."""
    body = bytes((family,)) + rest
    body += b"".join(wire.attribute(number, payload) for number, payload in attributes)
    fuzz_netlink(wire.message(kind, wire.NLM_F_REPLACE, body))


@BOUNDED
@given(st.lists(st.sampled_from(MESSAGES), max_size=40))
def test_real_messages_in_any_order(told: list[bytes]) -> None:
    """Events of lost, repeated and outdated kinds: what is known is what was told, always."""
    followed = Followed()
    for message in told:
        assert followed.take(message)
    followed.check()
    assert followed.follower.rejected == 0


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_every_truncation_of_the_seeds_first_messages(seed: int) -> None:
    start = messages(SEEDS[seed])[0]
    for size in range(0, len(start), 1 + len(start) // 400):
        fuzz_netlink(start[:size])


def test_the_target_can_fail() -> None:
    """A fuzz target that accepts everything shows nothing: here each address is its own peer."""
    from fastvrrp.net import follower

    kind, applied = follower._TABLES["addresses"]

    def careless(data: memoryview, start: int, end: int) -> object:
        address = kind(data, start, end)
        return address and address._replace(key=address.key._replace(peer=address.key.address))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(follower._TABLES, "addresses", (careless, applied))
        with pytest.raises(AssertionError):
            fuzz_netlink(b"".join(MESSAGES))
    assert set(follower._TABLES) == set(TABLES)
