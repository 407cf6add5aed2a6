"""The bytes of IPVS: what we send read by pyroute2, what the kernel sends read by us."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable

import pytest
from fake_kernel import (
    FAMILY_ID,
    Request,
    daemon_message,
    destination_message,
    service_message,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs import wire, wire_reading, wire_settings
from fastvrrp.ipvs.objects import (
    HASHED,
    Counters,
    Daemon,
    Destination,
    DestinationKey,
    DestinationStatistics,
    Method,
    Role,
    Service,
    ServiceKey,
    Tunnel,
)
from fastvrrp.ipvs.table import Operation, Verb
from fastvrrp.net.wire import attribute, frames
from fastvrrp.net.wire import message as net_message

pytestmark = pytest.mark.computing

U16, U32, U64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**60)
GENERIC = 4  # bytes of struct genlmsghdr


def packed(family: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=4 if family == 4 else 16, max_size=4 if family == 4 else 16)


@st.composite
def service_keys(draw: st.DrawFn) -> ServiceKey:
    family = draw(st.sampled_from((4, 6)))
    if draw(st.booleans()):
        return ServiceKey(family, 0, b"", 0, draw(st.integers(1, 2**32 - 1)))
    protocol = draw(st.sampled_from((6, 17, 132)))
    return ServiceKey(family, protocol, draw(packed(family)), draw(U16))


@st.composite
def services(draw: st.DrawFn) -> Service:
    key = draw(service_keys())
    name = st.text("abcdefghij-", min_size=1, max_size=15)
    return Service(
        key,
        draw(name),
        draw(U32) & ~HASHED,
        draw(U32),
        draw(U32 if key.family == 4 else st.integers(1, 128)),
        draw(st.just("") | name),
    )


@st.composite
def destinations(draw: st.DrawFn) -> Destination:
    family = draw(st.sampled_from((4, 6)))
    return Destination(
        DestinationKey(family, draw(packed(family)), draw(U16)),
        draw(U32),
        draw(st.sampled_from(Method)),
        draw(U32),
        draw(U32),
        draw(st.sampled_from(Tunnel)),
        draw(U16),
        draw(U16),
    )


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    verb = draw(st.sampled_from(Verb))
    if verb in (Verb.ADD_SERVICE, Verb.EDIT_SERVICE):
        service = draw(services())
        return Operation(verb, service.key, service)
    key = draw(service_keys())
    if verb is Verb.DELETE_SERVICE:
        return Operation(verb, key)
    made = draw(destinations())
    if verb is Verb.DELETE_DESTINATION:
        made = Destination(made.key)
    return Operation(verb, key, None, made)


@settings(deadline=None)
@given(wanted=st.lists(operations(), max_size=6), sequence=st.integers(1, 2**31))
def test_requests_say_what_was_meant(wanted: list[Operation], sequence: int) -> None:
    data = memoryview(wire.encode(wanted, FAMILY_ID, sequence) + wire.end_request(7))
    *found, end = frames(data)
    assert (end.kind, end.flags, end.sequence) == (1, 0x5, 7)  # NLMSG_NOOP, REQUEST, ACK
    assert [frame.sequence for frame in found] == [sequence + n for n in range(len(wanted))]
    assert {frame.kind for frame in found} <= {FAMILY_ID}
    assert {frame.flags for frame in found} <= {0x1}
    read = [Request(bytes(data[frame.offset : frame.end])).operation() for frame in found]
    assert read == wanted


@settings(deadline=None)
@given(key=service_keys())
def test_questions_for_destinations_name_their_service(key: ServiceKey) -> None:
    data = wire.destinations_request(key, FAMILY_ID, 3)
    [frame] = frames(memoryview(data))
    assert frame.flags == 0x301  # REQUEST, ROOT, MATCH
    assert Request(data).service_key() == key


@settings(deadline=None)
@given(
    made=st.builds(
        Daemon,
        st.sampled_from(Role),
        st.text("abc0.-", min_size=1, max_size=15),
        st.integers(0, 255),
        U16,
        st.just(b"") | packed(4) | packed(6),
        U16,
        st.integers(0, 255),
    )
)
def test_daemons(made: Daemon) -> None:
    assert Request(wire_settings.start_daemon_request(made, FAMILY_ID, 1)).daemon() == made
    asked = Request(wire_settings.stop_daemon_request(made.role, FAMILY_ID, 1)).daemon()
    assert asked.role == made.role
    running = made if made.group else made._replace(group=bytes((224, 0, 0, 81)))
    assert wire_settings.decode_daemon(daemon_message(running)[GENERIC:]) == running


@given(tcp=U32, tcpfin=U32, udp=U32)
def test_timeouts(tcp: int, tcpfin: int, udp: int) -> None:
    made = Timeouts(tcp_s=tcp, tcpfin_s=tcpfin, udp_s=udp)
    data = wire_settings.set_timeouts_request(made, FAMILY_ID, 1)
    assert Request(data).timeouts() == made
    assert wire_settings.decode_timeouts(data[20:]) == made


# -- from the kernel


@settings(deadline=None)
@given(made=services(), padded=st.booleans(), value=U64)
def test_services_are_read(made: Service, *, padded: bool, value: int) -> None:
    body = service_message(made, padded=padded, value=value)[GENERIC:]
    expected = Counters(*((value * n) & (2**64 - 1) for n in range(1, 11)))
    assert wire_reading.decode_service(body) == (made, expected)


@settings(deadline=None)
@given(made=destinations(), counts=st.tuples(U32, U32, U32), value=U64, padded=st.booleans())
def test_destinations_are_read(
    made: Destination, counts: tuple[int, int, int], value: int, *, padded: bool
) -> None:
    body = destination_message(made, padded=padded, counts=counts, value=value)[GENERIC:]
    expected = DestinationStatistics(*counts, Counters(*(value * n for n in range(1, 11))))
    assert wire_reading.decode_destination(body, 4) == made
    assert wire_reading.decode_statistics(body, 4) == (made, expected)
    assert wire_reading._destination_in_any_order(body, 4) == (made, expected)


def shuffled(body: bytes, order: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """The attributes of a message in another order."""
    parts = []
    offset = 4
    while offset < len(body):
        length = (struct.unpack_from("=H", body, offset)[0] + 3) & ~3
        parts.append(body[offset : offset + length])
        offset += length
    return attribute(2, b"".join(order(parts)))


@settings(deadline=None)
@given(made=destinations(), dice=st.randoms(use_true_random=False))
def test_another_order_is_read_as_well(made: Destination, dice: object) -> None:
    body = destination_message(made, counts=(1, 2, 3), value=5)[GENERIC:]

    def order(parts: list[bytes]) -> list[bytes]:
        dice.shuffle(parts)  # type: ignore[attr-defined]
        return parts

    other = shuffled(body, order)
    assert wire_reading.decode_statistics(other, 4) == wire_reading.decode_statistics(body, 4)
    assert wire_reading.decode_destination(other, 4) == made


def test_a_kernel_that_does_not_say_the_family() -> None:
    """Before 3.18 it was the service's."""
    made = Destination(DestinationKey(6, bytes(range(16)), 80))
    body = shuffled(
        destination_message(made)[GENERIC:],
        lambda parts: [part for part in parts if part[2] != wire.DEST_ADDR_FAMILY],
    )
    assert wire_reading.decode_destination(body, 6) == made


def test_a_kernel_without_wide_counters() -> None:
    made = Destination(DestinationKey(4, bytes(4), 80))
    body = shuffled(
        destination_message(made, counts=(1, 2, 3))[GENERIC:],
        lambda parts: [part for part in parts if part[2] != wire.DEST_STATS64],
    )
    expected = DestinationStatistics(1, 2, 3, Counters())
    assert wire_reading.decode_statistics(body, 4) == (made, expected)


SERVICE = service_message(Service(ServiceKey(4, 6, bytes(4), 80), engine="sip"))
DESTINATION = destination_message(Destination(DestinationKey(6, bytes(16), 80)))
DAEMON = daemon_message(Daemon(Role.MASTER, "eth0", group=bytes((224, 0, 0, 81))))
READERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "service": (SERVICE, wire_reading.decode_service),
    "destination": (DESTINATION, lambda body: wire_reading.decode_destination(body, 4)),
    "statistics": (DESTINATION, lambda body: wire_reading.decode_statistics(body, 4)),
    "daemon": (DAEMON, wire_settings.decode_daemon),
    "timeouts": (bytes(4) + attribute(4, bytes(4)), wire_settings.decode_timeouts),
    "family": (bytes(4) + attribute(1, bytes(2)), wire_settings.decode_family),
}


@pytest.mark.parametrize("name", READERS)
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_damaged_messages_are_refused_or_read(name: str, data: st.DataObject) -> None:
    """Never anything but OSError, whatever bytes come."""
    message, read = READERS[name]
    body = bytearray(message[GENERIC:])
    for _ in range(data.draw(st.integers(0, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(body[: data.draw(st.integers(0, len(body)))])
    with contextlib.suppress(OSError):
        read(damaged)


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=200), number=st.integers(0, 3))
def test_damaged_datagrams(data: bytes, number: int) -> None:
    for look in (
        lambda: wire_reading.ends(data, number),
        lambda: list(wire_reading.bodies(data, number)),
        lambda: list(wire_reading.refusals(data)),
    ):
        with contextlib.suppress(OSError):
            look()


def test_answers_of_other_requests_are_passed_over() -> None:
    data = (
        net_message(FAMILY_ID, 0, bytes(4) + b"ours", 5)
        + net_message(FAMILY_ID, 0, bytes(4) + b"late", 4)
        + net_message(2, 0, struct.pack("=i", -13) + bytes(16), 4)
    )
    assert list(wire_reading.bodies(data, 5)) == [b"ours"]
    assert list(wire_reading.refusals(data)) == [(4, 13)]
    assert not wire_reading.ends(data, 5)
    assert wire_reading.ends(data, 4)
    with pytest.raises(PermissionError):
        list(wire_reading.bodies(data, 4))
