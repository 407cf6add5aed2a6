"""`fastvrrp capture` on a real interface, and its judgement on packets of every kind."""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from netns_tools import MS, gratuitous_arp

from fastvrrp._core import encode_advert
from fastvrrp.cli.capture import SENDERS_MAX, Judge, as_json, as_parts
from fastvrrp.lab.network import Network, Node, wait_for
from fastvrrp.lab.packet import Announced, Datagram
from fastvrrp.lab.sniffer import Sniffer

GROUP = "224.0.0.18"


def packed(*addresses: str) -> list[bytes]:
    return [ipaddress.ip_address(a).packed for a in addresses]


def datagram(
    source: str = "192.0.2.1",
    *,
    priority: int = 100,
    interval_cs: int = 10,
    version: int = 3,
    ttl: int = 255,
    destination: str = GROUP,
    vips: tuple[str, ...] = ("192.0.2.100",),
    **more: object,
) -> Datagram:
    src, dst = packed(source, destination)
    pdu = encode_advert(
        version=version,
        vrid=51,
        priority=priority,
        interval_cs=interval_cs,
        addresses=packed(*vips),
        source=src,
        destination=dst,
        **more,
    )
    return Datagram(src, dst, ttl, pdu)


def text(seen) -> str:
    return "".join(part for part, _style in as_parts(seen))


def test_good_adverts_have_gaps_and_no_remarks() -> None:
    judge = Judge()
    first = judge.advert(0, "eth0", False, datagram())
    second = judge.advert(100 * MS, "eth0", False, datagram())
    assert first.notes == ["new sender"]
    assert (second.notes, second.problems) == ([], [])
    record = json.loads(as_json(second))
    assert record == {
        "time": 0.1,
        "interface": "eth0",
        "direction": "in",
        "kind": "advert",
        "source": "192.0.2.1",
        "destination": GROUP,
        "ttl": 255,
        "result": "ok",
        "version": 3,
        "vrid": 51,
        "priority": 100,
        "interval_ms": 100,
        "auth": "none",
        "addresses": ["192.0.2.100"],
        "gap_ms": 100.0,
        "problems": [],
        "notes": [],
    }
    line = text(second)
    assert "eth0 < 192.0.2.1 VRRPv3 vrid 51 priority 100 every 100 ms [192.0.2.100]" in line
    assert line.endswith("+100.0 ms")


def test_late_advert() -> None:
    judge = Judge()
    judge.advert(0, "eth0", False, datagram())
    seen = judge.advert(154 * MS, "eth0", False, datagram())
    assert seen.fields["late_ms"] == 54.0
    assert seen.notes == ["late by 54.0 ms"]
    assert judge.late == 1


def test_goodbye_is_marked_and_the_silence_after_it_is_not_late() -> None:
    judge = Judge()
    judge.advert(0, "eth0", False, datagram())
    goodbye = judge.advert(30 * MS, "eth0", False, datagram(priority=0))
    assert goodbye.notes == ["priority 0: the sender stops"]
    again = judge.advert(9000 * MS, "eth0", False, datagram())
    assert again.notes == ["speaks again"]
    assert "gap_ms" not in again.fields
    assert judge.late == 0


def test_two_masters() -> None:
    """RFC 9568 6.4.3: two that both send, as opposed to one that hands over."""
    judge = Judge()
    judge.advert(0, "eth0", False, datagram("192.0.2.2", priority=90))
    judge.advert(10 * MS, "eth0", False, datagram("192.0.2.1"))
    handover = judge.advert(110 * MS, "eth0", False, datagram("192.0.2.1"))
    assert handover.notes == []
    judge.advert(120 * MS, "eth0", False, datagram("192.0.2.2", priority=90))
    dual = judge.advert(210 * MS, "eth0", False, datagram("192.0.2.1"))
    assert dual.notes == ["two masters: 192.0.2.2 sends too"]
    elsewhere = judge.advert(215 * MS, "eth1", False, datagram("192.0.2.2"))
    assert elsewhere.notes == ["new sender"]


def test_senders_beyond_number_are_forgotten() -> None:
    judge = Judge()
    for number in range(1000):
        source = f"10.0.{number // 250}.{number % 250 + 1}"
        seen = judge.advert(number, "eth0", False, datagram(source, vips=(source,)))
        assert "new sender" in text(seen)
    (flows,) = judge._flows.values()
    assert len(flows) == SENDERS_MAX
    assert "new sender" not in text(judge.advert(1001, "eth0", False, datagram(source)))
    assert "new sender" in text(judge.advert(1002, "eth0", False, datagram("10.0.0.1")))


def test_priority_change_is_noted() -> None:
    judge = Judge()
    judge.advert(0, "eth0", False, datagram(priority=150))
    assert judge.advert(100 * MS, "eth0", False, datagram()).notes == ["priority was 150"]


GOOD = datagram()


def damaged(pdu: bytes) -> Datagram:
    return Datagram(GOOD.source, GOOD.destination, 255, pdu)


@pytest.mark.parametrize(
    ("packet", "problem"),
    [
        (datagram(ttl=64), "TTL 64, not 255"),
        (damaged(GOOD.pdu[:-1]), "truncated"),
        (damaged(b""), "truncated"),
        (damaged(GOOD.pdu[:-1] + b"\xff"), "checksum wrong"),
        (damaged(b"\x41" + GOOD.pdu[1:]), "unknown version"),
        (damaged(b"\x32" + GOOD.pdu[1:]), "not an advert"),
    ],
)
def test_problems(packet: Datagram, problem: str) -> None:
    """RFC 9568 7.1: what a receiver must check."""
    judge = Judge()
    seen = judge.advert(0, "eth0", False, packet)
    assert seen.problems == [problem]
    assert problem in text(seen)
    assert judge.bad == 1


def test_unicast_may_have_any_ttl_and_shows_its_destination() -> None:
    seen = Judge().advert(0, "eth0", False, datagram(destination="192.0.2.2", ttl=64))
    assert seen.problems == []
    assert "192.0.2.1 to 192.0.2.2 VRRPv3" in text(seen)


def test_password_is_never_shown() -> None:
    packet = datagram(version=2, interval_cs=100, auth_type=1, auth_data=b"s3cr3t99")
    seen = Judge().advert(0, "eth0", False, packet)
    assert "auth pass" in text(seen)
    assert seen.fields["auth"] == "pass"
    assert "s3cr3t" not in text(seen) + as_json(seen)


def test_ipv6() -> None:
    packet = datagram("fe80::1", destination="ff02::12", vips=("fe80::100", "2001:db8::100"))
    seen = Judge().advert(0, "eth0", True, packet)
    assert seen.problems == []
    assert "eth0 > fe80::1 VRRPv3" in text(seen)
    assert seen.fields["addresses"] == ["fe80::100", "2001:db8::100"]


def test_announcement_line() -> None:
    seen = Judge().announcement(0, "eth0", False, Announced(4, "192.0.2.100", "02:00:5e:00:00:01"))
    assert text(seen).endswith("gratuitous ARP: 192.0.2.100 is at 02:00:5e:00:00:01")


def send(node: Node, packets: int, interval_s: float) -> None:
    """Multicast some adverts from a node with a plain raw socket."""
    pdu = datagram(node.ipv4()).pdu
    sock = node.call(socket.socket, socket.AF_INET, socket.SOCK_RAW, 112)
    with sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(node.ipv4()))
        for _ in range(packets):
            sock.sendto(pdu, (GROUP, 0))
            time.sleep(interval_s)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(clients=0) as net:
        yield net


def capture(node: Node, output: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start `fastvrrp capture` in a node and wait until it listens."""
    with output.open("wb") as file:
        program = node.start([sys.executable, "-m", "fastvrrp", "capture", *options], output=file)
    table = Path(f"/proc/{program.pid}/net/packet")
    # "sk RefCnt Type Proto ...": it hears something from when it is bound to ETH_P_ALL on.
    wait_for(lambda: re.search(r"^\S+ +\d+ +3 +0003 ", table.read_text(), re.M), 15, "capture")
    return program


@pytest.mark.netns
def test_command_shows_adverts_of_the_wire(network: Network, tmp_path: Path) -> None:
    output = tmp_path / "out"
    program = capture(network["r2"], output, "-i", "eth0", "--json", "--count", "3")
    with Sniffer(network["r2"], ports=["eth0"]) as sniffer:
        send(network["r1"], 4, 0.1)
        assert program.wait(5) == 0
        times = [a.time_ns for a in sniffer.adverts()]
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert [r["source"] for r in records] == [network["r1"].ipv4()] * 3
    assert [r["direction"] for r in records] == ["in"] * 3
    assert all(r["result"] == "ok" and r["ttl"] == 255 for r in records)
    gaps = [(b - a) / MS for a, b in itertools.pairwise(times)]
    assert [r["gap_ms"] for r in records[1:]] == pytest.approx(gaps[:2], abs=1)


@pytest.mark.netns
def test_command_shows_own_adverts_and_announcements(network: Network, tmp_path: Path) -> None:
    output = tmp_path / "out"
    program = capture(network["r1"], output, "--garp", "--duration", "1.5")
    node = network["r1"]
    send(node, 2, 0.1)
    gratuitous_arp(node, "192.0.2.100")
    gratuitous_arp(node, node.ipv4())  # not a virtual address
    assert program.wait(10) == 0
    lines = output.read_text().splitlines()
    assert len(lines) == 4
    assert f"eth0 > {node.ipv4()} VRRPv3 vrid 51 priority 100 every 100 ms" in lines[0]
    assert lines[2].endswith(f"eth0 > gratuitous ARP: 192.0.2.100 is at {node.mac()}")
    assert lines[3].startswith("2 adverts in 1.")
    gap = re.search(r"\+(\d+\.\d) ms", lines[1])
    assert gap is not None
    # The second was as late as this machine made it; above 110 ms it is called so.
    assert lines[3].endswith(f" {int(float(gap[1]) > 110)} late, 0 with problems")


@pytest.mark.netns
def test_command_without_adverts(network: Network, tmp_path: Path) -> None:
    program = capture(network["r1"], tmp_path / "out", "--json", "--duration", "0.2")
    assert program.wait(5) == 1
    assert (tmp_path / "out").read_text() == ""


@pytest.mark.netns
def test_command_names_the_interfaces_there_are(network: Network) -> None:
    done = network["r1"].call(
        subprocess.run,
        [sys.executable, "-m", "fastvrrp", "capture", "-i", "eth9"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "fastvrrp: capture: no interface eth9; there are lo, eth0\n"
