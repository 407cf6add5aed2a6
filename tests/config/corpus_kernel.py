"""What keepalived and fastvrrp make of a file in the kernel: as backup, as master, after a stop.

Each daemon has a namespace of its own with the same interfaces, addresses and hardware addresses.
A peer sends adverts of a higher priority for every virtual router of the file, then gives up; then
both daemons are stopped. After each step addresses, routes, rules, links, firewall and settings
are read in both. All steps wait for what the logs say, so that many files can be tried at a time.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corpus import SERVER, Case
from corpus_choice import unmeant

from fastvrrp._core import encode_advert
from fastvrrp.config.load import load
from fastvrrp.config.model import OWNER, Configuration, VrrpInstance
from fastvrrp.lab.daemons import Daemon, Fastvrrp, Keepalived
from fastvrrp.lab.namespace import Namespace
from fastvrrp.lab.network import Node, wait_for
from kernel_state import Found, differences, links, objects, protected, sysctls

PORTS = ("lan0", "lan1")
PEER_PRIORITY = 254
PEER_INTERVAL_S = 0.2
NS_PER_CENTISECOND = 10_000_000
PEER4, PEER6 = "10.9.255.254", "fe80::ffff"
GROUP6 = "ff02::12"
PROCESS = "no-such-process"  # one that there is keepalived sees in some kernels only
NEIGHBOURS = ("10.0.0.2", "10.0.0.3")
PATIENCE_S = 12  # until instances are where they should be
LOOKS, PAUSE_S = 6, 0.4  # how often the kernel is read until both look the same
_STATE = "(?i:(MASTER|BACKUP|FAULT|INIT) state)"
ENTERED = re.compile(rf"\((\S+)\) .*?(?:[Ee]ntering|going to) {_STATE}")


@dataclass(frozen=True)
class Tried:
    """What came of one file: by step (`left`: what fastvrrp leaves behind), what differs
    (keepalived's, ours), and how many objects keepalived changed; the reasons of what differs on
    purpose. `refused`: fastvrrp does not run with it."""

    case: Case
    differences: dict[str, Found] = field(default_factory=dict)
    effects: dict[str, int] = field(default_factory=dict)
    meant: frozenset[str] = frozenset()
    seconds: float = 0.0
    refused: bool = False


def text_of(case: Case, directory: Path) -> str:
    """The file with a directory of its own instead of /tmp, without virtual servers, with a process
    that is not there, and with a network for each virtual router: of two that take over together
    either may be the first, whose address is then primary."""
    text = case.text.replace(SERVER, "")
    for number, address in enumerate(NEIGHBOURS):
        text = text.replace(f"{address}/24", f"10.0.{20 + number}.1/24")
    text = text.replace("process nginx", f"process {PROCESS}")
    return text.replace("/tmp/", f"{directory}/")


class NamedKeepalived(Keepalived):
    """keepalived with all its files in its own directory."""

    def argv(self) -> Sequence[str]:
        return [*super().argv(), "-b", f"{self.directory}/bfd.pid"]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "TMPDIR": str(self.directory)}


class DropIn(Fastvrrp):
    """fastvrrp with keepalived's own command line."""

    def argv(self) -> Sequence[str]:
        d = self.directory
        options = ["-n", "-l", "-G", "-P", "-D", "-f", str(self.config), "-p", f"{d}/parent.pid"]
        options += ["-r", f"{d}/vrrp.pid", "-c", f"{d}/checkers.pid"]
        return [sys.executable, "-m", "fastvrrp", "keepalived", *options, "--run-dir", f"{d}/run"]


class Peer:
    """Sends adverts for the virtual routers of a file into the ports of one router."""

    def __init__(self, configuration: Configuration, sockets: dict[str, socket.socket]) -> None:
        self._alive = list(self._frames(configuration, sockets, PEER_PRIORITY))
        self._last = list(self._frames(configuration, sockets, 0))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _frames(
        self, configuration: Configuration, sockets: dict[str, socket.socket], priority: int
    ) -> Iterator[tuple[socket.socket, bytes]]:
        for instance in configuration.vrrp_instances:
            if instance.priority == OWNER:
                continue
            for name in [instance.interface] if instance.interface else sockets:
                if name in sockets:
                    for source, destination in _ends(instance):
                        frame = _frame(instance, source, destination, priority)
                        yield sockets[name], frame

    def _send(self) -> None:
        while not self._over.wait(PEER_INTERVAL_S):
            self._out(self._alive)

    @staticmethod
    def _out(frames: list[tuple[socket.socket, bytes]]) -> None:
        for sock, frame in frames:
            with contextlib.suppress(OSError):  # the link is down, or gone
                sock.send(frame)

    def give_up(self) -> None:
        """Priority 0, and silence."""
        self._over.set()
        self._thread.join()
        self._out(self._last)
        self._last = []


def _ends(instance: VrrpInstance) -> Iterator[tuple[str, str]]:
    """Source and destination of the peer's adverts."""
    own = {4: "10.9.0.1", 6: "2001:db8:9::1"}[instance.family]
    for peer in instance.unicast_peers:
        yield peer.address, instance.source or own
    if not instance.unicast_peers:
        yield ((PEER6, GROUP6) if instance.family == 6 else (PEER4, instance.mcast_dst_ip))


def _frame(instance: VrrpInstance, source: str, destination: str, priority: int) -> bytes:
    """An advert in an Ethernet frame."""
    ends = [ipaddress.ip_address(end) for end in (source, destination)]
    pdu = encode_advert(
        version=instance.version,
        vrid=instance.virtual_router_id,
        priority=priority,
        interval_cs=max(1, instance.advert_int_ns // NS_PER_CENTISECOND),
        addresses=[
            ipaddress.ip_address(address.address).packed
            for address in instance.virtual_ipaddress
            if address.family == instance.family
        ],
        source=ends[0].packed,
        destination=ends[1].packed,
        auth_type=instance.auth_type,
        auth_data=instance.auth_pass,
        checksum_as_v2=instance.v3_checksum_as_v2,
    )
    to, group = bytes.fromhex("02005e000001"), ends[1].packed
    if ends[1].is_multicast:
        v6 = instance.family == 6
        to = (
            b"\x33\x33" + group[-4:]
            if v6
            else b"\x01\x00\x5e" + bytes([group[1] & 127]) + group[2:]
        )
    head = to + bytes.fromhex("02005e00ffff")
    if instance.family == 6:
        ip = b"\x60\0\0\0" + len(pdu).to_bytes(2, "big") + bytes([112, 255])
        return head + b"\x86\xdd" + ip + ends[0].packed + group + pdu
    ip = b"\x45\xc0" + (20 + len(pdu)).to_bytes(2, "big") + b"\0\0\0\0" + bytes([255, 112, 0, 0])
    ip += ends[0].packed + group
    return head + b"\x08\x00" + ip[:10] + _checksum(ip) + ip[12:] + pdu


def _checksum(header: bytes) -> bytes:
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


class Room:
    """A switch for one file after the other; two routers are made anew for each."""

    def __init__(self, name: str) -> None:
        self.switch = Namespace(f"{name}-switch")
        self.switch.sysctl("net/ipv6/conf/default/disable_ipv6", 1)
        self._ports = itertools.count()  # the kernel takes those of the last file away in its time

    def close(self) -> None:
        self.switch.close()

    @contextlib.contextmanager
    def router(self, name: str) -> Iterator[tuple[Node, dict[str, socket.socket]]]:
        """A namespace with lan0 and lan1, and sockets on their other ends."""
        node = Node(name, 1)
        sockets: dict[str, socket.socket] = {}
        try:
            for scope in ("all", "default"):
                node.sysctl(f"net/ipv6/conf/{scope}/accept_dad", 0)
                node.sysctl(f"net/ipv6/conf/{scope}/dad_transmits", 0)
                node.sysctl(f"net/ipv6/conf/{scope}/router_solicitations", 0)
            for number, lan in enumerate(PORTS):
                port = f"port{next(self._ports)}"
                peer = {"ifname": port, "net_ns_pid": self.switch.thread_id}
                address = f"02:00:5e:00:00:0{number + 1}"
                node.link("add", ifname=lan, kind="veth", address=address, peer=peer)
                self.switch.link("set", index=self.switch.index(port), state="up")
                node.set_link(lan, "up")
                sockets[lan] = self.switch.call(_open, port)
            index = node.index(PORTS[0])
            node.addr("add", index=index, address="10.9.0.1", prefixlen=16)
            node.addr("add", index=index, address="2001:db8:9::1", prefixlen=64)
            wait_for(lambda: _link_local(node) == set(PORTS), 5, "link-local addresses")
            yield node, sockets
        finally:
            for sock in sockets.values():
                sock.close()
            node.close()


def _link_local(node: Node) -> set[str]:
    table = node.call(Path("/proc/thread-self/net/if_inet6").read_text)
    return {line.split()[-1] for line in table.splitlines() if line.startswith("fe80")}


def _open(port: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((port, 0))
    return sock


def states(daemon: Daemon) -> dict[str, str]:
    """The last state of each instance that its log tells."""
    return {name: state.upper() for name, state in ENTERED.findall(daemon.log())}


def look(node: Node, daemon: Daemon | None = None) -> Found:
    """Everything that is compared."""
    found: Found = {**objects(node), **links(node), **sysctls(node)}
    hooks, addresses = protected(node)
    found |= {f"firewall hook {hook} {priority}": True for hook, priority in hooks}
    found |= {f"firewall address {address}": True for address in addresses}
    if daemon is not None:
        found["alive"] = daemon.alive
        found |= {f"state {name}": state for name, state in states(daemon).items()}
    return found


def compare(
    read: Callable[[], tuple[Found, Found]], step: str, met: set[str]
) -> tuple[Found, Found]:
    """What differs when it has had time to become the same; and what keepalived has."""
    for attempt in range(LOOKS):
        time.sleep(PAUSE_S)
        theirs, ours = read()
        found = unmeant(step, differences(theirs, ours), met)
        if not found or attempt == LOOKS - 1:
            break
    return found, theirs


def attempt(case: Case, room: Room, directory: Path) -> Tried:
    """Run both daemons with a file."""
    begin = time.monotonic()
    directory.mkdir(parents=True)
    (directory / "x").write_text("")  # the file that is tracked
    text = text_of(case, directory)
    (directory / "k.conf").write_text(text)
    with (
        room.router("k") as (their_node, their_sockets),
        room.router("f") as (our_node, our_sockets),
    ):
        loaded = our_node.call(load, directory / "k.conf", environ={}, tolerant=True)
        if loaded.configuration is None:
            return Tried(case, refused=True)
        untouched = look(their_node)
        peers = [Peer(loaded.configuration, s) for s in (their_sockets, our_sockets)]
        daemons = NamedKeepalived(their_node, directory / "k"), DropIn(our_node, directory / "f")
        names = {instance.name for instance in loaded.configuration.vrrp_instances}
        owners = {i.name for i in loaded.configuration.vrrp_instances if i.priority == OWNER}
        found: dict[str, Found] = {}
        effects: dict[str, int] = {}
        met: set[str] = set()

        def read() -> tuple[Found, Found]:
            return look(their_node, daemons[0]), look(our_node, daemons[1])

        def reached(*wanted: str) -> Callable[[], bool]:
            def there() -> bool:
                for daemon in daemons:
                    told = states(daemon)
                    if daemon.alive and not all(
                        told.get(name) in (*wanted, *(("MASTER",) if name in owners else ()))
                        for name in names
                    ):
                        return False
                return states(daemons[0]) == states(daemons[1])

            return there

        try:
            for daemon in daemons:
                daemon.start(text)
            for step, wanted in (("backup", ("BACKUP", "FAULT")), ("master", ("MASTER", "FAULT"))):
                with contextlib.suppress(TimeoutError):  # what differs is told below
                    wait_for(reached(*wanted), PATIENCE_S, step, 0.1)
                found[step], theirs = compare(read, step, met)
                effects[step] = len(differences(theirs, untouched))
                for peer in peers:
                    peer.give_up()
            for daemon in daemons:
                if daemon.alive:
                    daemon.process.terminate()
            status = [daemon.process.wait(20) for daemon in daemons]
            theirs, ours = look(their_node), look(our_node)
            theirs["exit status"], ours["exit status"] = status
            found["stopped"] = unmeant("stopped", differences(theirs, ours), met)
            untouched["exit status"] = 0
            found["left"] = unmeant("left", differences(untouched, ours), met)
        finally:
            for peer in peers:
                peer.give_up()
            for daemon in daemons:
                daemon.close()
    seconds = time.monotonic() - begin
    found = {step: what for step, what in found.items() if what}
    return Tried(case, found, effects, frozenset(met), seconds)


def run(
    chosen: Sequence[Case],
    directory: Path,
    at_a_time: int,
    tell: Callable[[Tried], None] = lambda tried: None,
) -> list[Tried]:
    """Try many files, some at a time."""
    done: list[Tried] = []
    todo = list(enumerate(chosen))[::-1]
    failed: list[BaseException] = []

    def work(number: int) -> None:
        room = Room(f"room{number}")
        try:
            while todo and not failed:
                index, case = todo.pop()
                tried = attempt(case, room, directory / str(index))
                done.append(tried)
                tell(tried)
        except BaseException as error:  # whatever it is, it is raised where this was called
            failed.append(error)
        finally:
            room.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(at_a_time)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return done
