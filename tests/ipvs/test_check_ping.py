"""PING_CHECK against the kernel's echoes, and the range of groups that may ask for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probing import DOWN, LOCAL, MS, UP, abandoned, attempt, connection, surroundings

from fastvrrp.config.servers import PingCheck
from fastvrrp.ipvs.checks.base import Surroundings, make_probe
from fastvrrp.ipvs.checks.ping import PingProbe, judge
from fastvrrp.ipvs.ping_range import PingRange, widened
from fastvrrp.lab.namespace import Namespace
from fastvrrp.lab.network import Network
from looping import Run

pytestmark = pytest.mark.netns

SYSCTL = Path("/proc/sys/net/ipv4/ping_group_range")


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """r1 asks r2. Everybody may."""
    with Network(routers=2, clients=0) as made:
        made["r1"].sysctl("net/ipv4/ping_group_range", "0 2147483647")
        for family in ("ipv4", "ipv6"):
            made["r1"].sysctl(f"net/{family}/neigh/eth0/retrans_time_ms", 50)
        yield made


def ping(address: str, **more: int) -> PingCheck:
    more.setdefault("timeout_ns", 3000 * MS)
    return PingCheck(connection=connection(0, address, **more))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.2", (UP, "echo reply")),
        ("2001:db8::2", (UP, "echo reply")),
        ("127.0.0.1", (UP, "echo reply")),
        ("192.0.2.77", (DOWN, "no route to host")),
        ("2001:db8::77", (DOWN, "no route to host")),
        ("10.1.1.1", (DOWN, "network is unreachable")),
    ],
)
def test_echoes(run: Run, network: Network, address: str, expected: tuple[object, str]) -> None:
    async def scene() -> None:
        probe = make_probe(ping(address), surroundings())
        for _ in range(2):
            assert (await attempt(probe))[:2] == expected

    network["r1"].call(run, scene())


def test_silence(run: Run, network: Network) -> None:
    async def scene() -> None:
        probe = make_probe(ping("192.0.2.2", timeout_ns=100 * MS), surroundings())
        assert (await attempt(probe))[:2] == (DOWN, "no answer in time")

    network["r2"].sysctl("net/ipv4/icmp_echo_ignore_all", 1)
    try:
        network["r1"].call(run, scene())
    finally:
        network["r2"].sysctl("net/ipv4/icmp_echo_ignore_all", 0)


def test_many_at_once_are_not_mixed_up(run: Run, network: Network) -> None:
    async def scene() -> None:
        around = surroundings()
        probes = [make_probe(ping(f"192.0.2.{2 if n % 2 else 99}"), around) for n in range(60)]
        outcomes = await asyncio.gather(*(attempt(probe) for probe in probes))
        assert [outcome.verdict for outcome in outcomes] == [DOWN, UP] * 30

    network["r1"].call(run, scene())


def test_cancelled(run: Run, network: Network) -> None:
    async def scene() -> None:
        probe = make_probe(ping("192.0.2.2"), surroundings())
        await abandoned(probe, 0)
        assert (await attempt(probe)).verdict is UP
        probe = make_probe(ping("192.0.2.77"), surroundings())
        await abandoned(probe, 0.01)

    network["r1"].call(run, scene())


def test_who_may_not_ask_knows_nothing(run: Run, network: Network) -> None:
    async def scene() -> None:
        probe = make_probe(ping("127.0.0.1"), surroundings())
        assert (await attempt(probe))[:2] == (LOCAL, "permission denied")

    network["r2"].call(run, scene())


def test_sequence_numbers_wrap() -> None:
    loop = asyncio.new_event_loop()
    try:
        probe = PingProbe(ping("127.0.0.1"), Surroundings(loop=loop))
        numbers = [int.from_bytes(probe.question()[6:8], "big") for _ in range(0x10001)]
    finally:
        loop.close()
    assert sorted(numbers[:0x10000]) == list(range(0x10000))
    assert numbers[0] == numbers[0x10000]


@given(data=st.binary(max_size=80), reply=st.sampled_from([0, 129]), sequence=st.integers(0, 65535))
def test_only_the_reply_is_taken(data: bytes, reply: int, sequence: int) -> None:
    good = bytes((reply, 0, 1, 2, 3, 4)) + sequence.to_bytes(2, "big")
    assert judge(good + data, reply, sequence)[0] is UP
    assert judge(good[:7], reply, sequence)[0] is DOWN
    if data[:1] != good[:1] or data[6:8] != good[6:8]:
        assert judge(data, reply, sequence)[0] is DOWN


# ---------------------------------------------------------------------- ping_group_range


@pytest.fixture
def space() -> Iterator[Namespace]:
    """A kernel's default: nobody may ask."""
    with Namespace("range") as made:
        yield made


def current() -> str:
    return " ".join(SYSCTL.read_text().split())


def test_the_range_is_opened_and_restored(run: Run, space: Namespace, tmp_path: Path) -> None:
    async def scene() -> None:
        assert (await attempt(make_probe(ping("127.0.0.1"), surroundings()))).verdict is UP
        assert (await attempt(make_probe(ping("::1"), surroundings()))).verdict is UP

    def life() -> None:
        before = current()
        assert before == "1 0"
        ours = PingRange(tmp_path / "note")
        ours.set(False)
        assert current() == before
        ours.set(True)
        ours.set(True)
        assert current() == "0 0"
        run(scene())
        # another process, after this one was killed
        theirs = PingRange(tmp_path / "note")
        theirs.set(True)
        assert current() == "0 0"
        theirs.set(False)
        theirs.set(False)
        assert current() == before
        assert list(tmp_path.iterdir()) == []

    space.call(life)


def test_others_stay_allowed(space: Namespace, tmp_path: Path) -> None:
    def life() -> None:
        SYSCTL.write_text("100 200")
        ours = PingRange(tmp_path / "note")
        ours.set(True)
        assert current() == "0 200"
        ours.set(False)
        assert current() == "100 200"

    space.call(life)


def test_what_need_not_be_opened_is_not_touched(space: Namespace, tmp_path: Path) -> None:
    def life() -> None:
        SYSCTL.write_text("0 5")
        ours = PingRange(tmp_path / "note")
        ours.set(True)
        assert list(tmp_path.iterdir()) == []
        ours.set(False)
        assert current() == "0 5"

    space.call(life)


def test_a_later_wish_of_somebody_else_counts(space: Namespace, tmp_path: Path) -> None:
    def life() -> None:
        ours = PingRange(tmp_path / "note")
        ours.set(True)
        SYSCTL.write_text("0 7")
        ours.set(False)
        assert current() == "0 7"
        assert list(tmp_path.iterdir()) == []

    space.call(life)


def test_what_cannot_be_changed_is_logged(
    space: Namespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sysctl = tmp_path / "sysctl"

    def life() -> None:
        PingRange(tmp_path / "note", sysctl).set(True)
        sysctl.write_text("what?")
        PingRange(tmp_path / "note", sysctl).set(True)
        (tmp_path / "note").write_text("1 0 0")
        PingRange(tmp_path / "note", sysctl).set(False)

    space.call(life)
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 3


@given(low=st.integers(0, 9), high=st.integers(0, 9), group=st.integers(0, 9))
def test_widened(low: int, high: int, group: int) -> None:
    before = set(range(low, high + 1))
    first, last = widened(low, high, group)
    after = set(range(first, last + 1))
    assert after >= before | {group}
    assert {first, last} <= before | {group}
