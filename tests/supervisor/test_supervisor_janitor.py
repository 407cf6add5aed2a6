"""The janitor: priority 0 on a real wire, for those who were master and for nobody else."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from supervised import wait_for

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.supervisor import janitor
from fastvrrp.supervisor.held import Held, Part, Stowed
from fastvrrp.supervisor.messages import InstanceState

ROUTER = "sup-router"
PEER = "sup-peer"


def vip(address: str, family: int = 4) -> model.VirtualAddress:
    return model.VirtualAddress(address=address, prefixlen=24 if family == 4 else 64, family=family)


def instance(name: str, **changes: object) -> model.VrrpInstance:
    values: dict[str, object] = {
        "virtual_router_id": 51,
        "family": 4,
        "version": 3,
        "interface": "sup0",
        "priority": 150,
        "virtual_ipaddress": (vip("192.0.2.100"), vip("192.0.2.101")),
    }
    return model.VrrpInstance(name=name, **(values | changes))  # type: ignore[arg-type]


V6 = {
    "family": 6,
    "virtual_ipaddress": (vip("fe80::100", 6), vip("2001:db8::100", 6)),
    "mcast_dst_ip": "ff02::12",
}


# ---------------------------------------------------------------------- the PDU


@pytest.mark.parametrize("checksum_as_v2", [False, True])
def test_resignation_v3(checksum_as_v2: bool) -> None:
    """RFC 9568 5.2.4: priority 0; everything else as in the adverts before."""
    pdu = janitor.resignation(
        instance("V", advert_int_ns=250_000_000, v3_checksum_as_v2=checksum_as_v2),
        source="192.0.2.1",
        destination="224.0.0.18",
    )
    code, advert = _core.decode_advert(
        pdu,
        source=ipaddress.ip_address("192.0.2.1").packed,
        destination=ipaddress.ip_address("224.0.0.18").packed,
    )
    assert (code, advert is not None) == (0, True)
    assert advert is not None
    assert (advert.version, advert.vrid, advert.priority, advert.interval_cs) == (3, 51, 0, 25)
    assert advert.addresses == (b"\xc0\x00\x02\x64", b"\xc0\x00\x02\x65")


def test_resignation_v2_keeps_its_password_and_interval() -> None:
    """RFC 2338 5.3: a v2 receiver that expects PASS refuses anything else."""
    pdu = janitor.resignation(
        instance("V", version=2, auth_type=1, auth_pass=b"secret\0\0", advert_int_ns=100 * 10**9),
        source="192.0.2.1",
        destination="224.0.0.18",
    )
    code, advert = _core.decode_advert(pdu)
    assert code == 0
    assert advert is not None
    assert (advert.version, advert.priority, advert.interval_cs) == (2, 0, 10_000)
    assert (advert.auth_type, advert.auth_data) == (1, b"secret\0\0")


# ---------------------------------------------------------------------- the wire


def ip(*arguments: str) -> str:
    command = ["ip", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def multicast_routes(name: str) -> str:
    return ip("-n", name, "-6", "route", "show", "table", "all", "type", "multicast")


@pytest.fixture
def wire() -> Iterator[None]:
    """ROUTER sup0 --- veth --- sup0 PEER."""
    names = [f"{name}-{os.getpid()}" for name in (ROUTER, PEER)]
    try:
        for name in names:
            ip("netns", "add", name)
        ip(
            *("link", "add", "sup0", "netns", names[0], "type", "veth"),
            *("peer", "name", "sup0", "netns", names[1]),
        )
        for name, host in zip(names, ("1", "2"), strict=True):
            ip("-n", name, "address", "add", f"192.0.2.{host}/24", "dev", "sup0")
            ip("-n", name, "address", "add", f"fe80::{host}/64", "dev", "sup0", "nodad")
            ip("-n", name, "link", "set", "sup0", "up")
        for name in names:
            wait_for(lambda name=name: "ff00::/8" in multicast_routes(name), "IPv6 is up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


LISTEN = """
    import socket, struct, sys
    family = socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_RAW, 112)
    index = socket.if_nametoindex("sup0")
    if family == socket.AF_INET:
        group = socket.inet_aton("224.0.0.18") + struct.pack("@4xi", index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    else:
        group = socket.inet_pton(family, "ff02::12") + struct.pack("@I", index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    sock.settimeout(3)
    print("listening", flush=True)
    data, ancillary, _, sender = sock.recvmsg(2000, 200)
    if family == socket.AF_INET:
        ttl, destination = data[8], socket.inet_ntoa(data[16:20])
        data = data[(data[0] & 15) * 4:]
    else:
        ttl, destination = struct.unpack("i", ancillary[0][2])[0], "ff02::12"
    print(sender[0].partition("%")[0], ttl, destination, data.hex())
    sock.settimeout(0.2)
    try:
        sock.recv(2000)
        print("more")
    except TimeoutError:
        print("nothing more")
"""

SEND = """
    import asyncio, sys
    from pathlib import Path
    import msgspec
    from fastvrrp.config import model
    from fastvrrp.supervisor import janitor
    from fastvrrp.supervisor.messages import InstanceState
    from fastvrrp.supervisor.held import Held
    read = sys.stdin.buffer.read()
    configuration, states = msgspec.msgpack.decode(
        read, type=tuple[model.Configuration, list[InstanceState]])
    asyncio.run(janitor.clean_up(Held.of(configuration).parts["vrrp"], states, Path(sys.argv[1])))
"""


def inside(name: str) -> list[str]:
    return ["ip", "netns", "exec", f"{name}-{os.getpid()}", sys.executable, "-c"]


def resigned(
    tmp_path: Path, family: int, instances: list[model.VrrpInstance], states: list[InstanceState]
) -> tuple[list[str], str]:
    """What the peer hears when the janitor of the router runs."""
    listener = subprocess.Popen(
        [*inside(PEER), textwrap.dedent(LISTEN), str(family)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listener.stdout is not None
    assert listener.stdout.readline() == "listening\n"
    configuration = model.Configuration(vrrp_instances=tuple(instances))
    subprocess.run(
        [*inside(ROUTER), textwrap.dedent(SEND), str(tmp_path / "journal")],
        input=msgspec.msgpack.encode((configuration, states)),
        check=True,
    )
    out, _ = listener.communicate(timeout=10)
    heard, rest = out.splitlines()
    return heard.split(), rest


@pytest.mark.netns
@pytest.mark.parametrize("source", ["", "192.0.2.1"])
def test_masters_resign_on_the_wire(wire: None, tmp_path: Path, source: str) -> None:
    backup = instance("B", virtual_router_id=52)
    states = [InstanceState("V", "MASTER", source), InstanceState("B", "BACKUP", source)]
    (sender, ttl, destination, data), rest = resigned(tmp_path, 4, [instance("V"), backup], states)
    assert (sender, ttl, destination) == ("192.0.2.1", "255", "224.0.0.18")
    code, advert = _core.decode_advert(
        bytes.fromhex(data),
        source=socket.inet_aton(sender),
        destination=socket.inet_aton(destination),
    )
    assert code == 0
    assert advert is not None
    assert (advert.vrid, advert.priority) == (51, 0)
    assert rest == "nothing more", "the backup has nothing to resign from"


@pytest.mark.netns
def test_ipv6_masters_resign(wire: None, tmp_path: Path) -> None:
    states = [InstanceState("V", "MASTER", "fe80::1")]
    (sender, ttl, destination, data), _ = resigned(tmp_path, 6, [instance("V", **V6)], states)
    assert (sender, ttl) == ("fe80::1", "255")
    code, advert = _core.decode_advert(
        bytes.fromhex(data),
        source=ipaddress.ip_address(sender).packed,
        destination=ipaddress.ip_address(destination).packed,
    )
    assert code == 0
    assert advert is not None
    assert (advert.vrid, advert.priority) == (51, 0)


@pytest.mark.netns
def test_unicast_masters_resign_to_their_peers(wire: None, tmp_path: Path) -> None:
    unicast = instance(
        "V",
        source="192.0.2.1",
        unicast_peers=(model.UnicastPeer(address="192.0.2.2"),),
        unicast_ttl=64,
    )
    (sender, ttl, destination, _), _ = resigned(
        tmp_path, 4, [unicast], [InstanceState("V", "MASTER")]
    )
    assert (sender, ttl, destination) == ("192.0.2.1", "64", "192.0.2.2")


def test_an_interface_that_is_gone_does_not_stop_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configuration = model.Configuration(vrrp_instances=(instance("V", interface="sup-absent"),))
    states = [InstanceState("V", "MASTER", "192.0.2.1")]
    asyncio.run(
        janitor.clean_up(Held.of(configuration).parts["vrrp"], states, tmp_path / "journal")
    )
    assert "(V) priority 0 to 224.0.0.18" in caplog.text
    assert "sent priority 0 for 0 of 1 masters" in caplog.text


class Short(Stowed):
    def get(self) -> bytes:
        raise MemoryError


@pytest.mark.parametrize("kept", [Short(), Stowed(b"nothing", is_packed=True), Stowed(b"\xc1")])
def test_the_kernel_is_cleaned_up_without_a_configuration(
    kept: Stowed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory is too short for it, or it is damaged."""
    cleaned: list[Path] = []
    journal = tmp_path / "journal"
    journal.touch()
    monkeypatch.setattr(janitor, "clean_journal", cleaned.append)
    asyncio.run(janitor.clean_up(Part(data=kept), [InstanceState("V", "MASTER")], journal))
    assert cleaned == [journal]
    assert "no priority 0 for 1 masters: " in caplog.text
