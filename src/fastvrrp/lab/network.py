"""A small network to watch routers in: routers and clients plugged into one or more LANs.

Every node is a network namespace; a LAN is a bridge in a namespace of its own, the switch, so
that adverts can be observed at the port they enter by and cables can be pulled. LANs can be
partitioned without the routers noticing a loss of carrier.

    with Network(routers=2, clients=1, lans=2) as net:
        net["r1"].start(...)

LAN n is interface `ethN` of every router; clients sit in LAN 0 only. Router i has host number i,
client i host number 200 + i, in 192.0.2.0/24 and 2001:db8::/64 (LAN 0), 198.51.100.0/24 and
2001:db8:1::/64 (LAN 1), 203.0.113.0/24 and 2001:db8:2::/64 (LAN 2). MAC addresses and hence
link-local addresses are fixed, so that elections by address are predictable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from .namespace import LabError, Namespace

IPV4_LANS = ("192.0.2", "198.51.100", "203.0.113")
IPV6_LANS = ("2001:db8", "2001:db8:1", "2001:db8:2")


def ipv4(lan: int, host: int) -> str:
    """The address of a host number in a LAN."""
    return f"{IPV4_LANS[lan]}.{host}"


def ipv6(lan: int, host: int) -> str:
    """The global address of a host number in a LAN; the digits are those of the IPv4 one."""
    return f"{IPV6_LANS[lan]}::{host}"


def mac(lan: int, host: int) -> str:
    """The hardware address of a host number in a LAN (locally administered)."""
    return f"02:00:5e:00:{lan:02x}:{host:02x}"


def wait_for(
    condition: Callable[[], object], timeout_s: float, what: str, poll_s: float = 0.01
) -> float:
    """Wait until the condition is true and return the seconds it took.

    Raises TimeoutError naming `what` otherwise.
    """
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > timeout_s:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(poll_s)
    return time.monotonic() - begin


class Node(Namespace):
    """A router or a client of a Network."""

    def __init__(self, name: str, host: int) -> None:
        self.host = host
        super().__init__(name)

    def ipv4(self, lan: int = 0) -> str:
        return ipv4(lan, self.host)

    def ipv6(self, lan: int = 0) -> str:
        return ipv6(lan, self.host)

    def mac(self, lan: int = 0) -> str:
        return mac(lan, self.host)

    def link_local(self, lan: int = 0) -> str:
        """EUI-64 of the fixed hardware address."""
        return f"fe80::5eff:fe00:{lan << 8 | self.host:x}"

    def set_link(self, ifname: str, state: str) -> None:
        """Administratively `up` or `down`."""
        self.link("set", index=self.index(ifname), state=state)

    def rename_link(self, ifname: str, new: str) -> None:
        """Rename an interface that may be up (Linux 6.2) or is taken down for the moment."""
        index = self.index(ifname)
        self.link("set", index=index, state="down")
        self.link("set", index=index, ifname=new)
        self.link("set", index=index, state="up")

    def delete_link(self, ifname: str) -> None:
        self.link("del", index=self.index(ifname))

    def delete_address(self, address: str, prefixlen: int, ifname: str = "eth0") -> None:
        self.addr("del", index=self.index(ifname), address=address, prefixlen=prefixlen)


class Network:
    """Routers r1.., clients c1.. and the switch. Use as a context manager, or close()."""

    def __init__(self, *, routers: int = 2, clients: int = 1, lans: int = 1) -> None:
        """Raises LabError when namespaces or links cannot be made."""
        self._nodes: dict[str, Node] = {}
        try:
            self._build(routers, clients, lans)
        except BaseException:  # also Ctrl-C: what was built so far must not stay
            self.close()
            raise

    def _build(self, routers: int, clients: int, lans: int) -> None:
        self._node("switch", 0)
        for lan in range(lans):
            self._bridge(f"lan{lan}")
        for number in range(1, routers + 1):
            self._node(f"r{number}", number)
            for lan in range(lans):
                self.attach(f"r{number}", lan)
        for number in range(1, clients + 1):
            self._node(f"c{number}", 200 + number)
            self.attach(f"c{number}", 0)

    def _node(self, name: str, host: int) -> Node:
        node = self._nodes[name] = Node(name, host)
        # Duplicate address detection would keep new addresses unusable for a second.
        for scope in ("all", "default"):
            node.sysctl(f"net/ipv6/conf/{scope}/accept_dad", 0)
            node.sysctl(f"net/ipv6/conf/{scope}/dad_transmits", 0)
            node.sysctl(f"net/ipv6/conf/{scope}/router_solicitations", 0)
        if name == "switch":
            node.sysctl("net/ipv6/conf/default/disable_ipv6", 1)
        return node

    def _bridge(self, name: str) -> None:
        self["switch"].link("add", ifname=name, kind="bridge", br_mcast_snooping=0, state="up")

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

    @property
    def routers(self) -> list[Node]:
        return [node for name, node in self._nodes.items() if name.startswith("r")]

    def port(self, node: str, lan: int = 0) -> str:
        """The switch's name for the cable of a node in a LAN."""
        return f"{node}-{lan}"

    def ports(self, lan: int = 0) -> list[str]:
        """The switch's ports in a LAN: where a Sniffer in the switch should listen."""
        return [self.port(name, lan) for name in self._nodes if name != "switch"]

    def attach(self, name: str, lan: int, ifname: str | None = None) -> None:
        """Give a node an interface in a LAN, with its addresses, up."""
        node, switch = self[name], self["switch"]
        ifname = ifname or f"eth{lan}"
        port = self.port(name, lan)
        node.link(
            "add",
            ifname=ifname,
            kind="veth",
            address=node.mac(lan),
            peer={"ifname": port, "net_ns_pid": switch.thread_id},
        )
        switch.link("set", index=switch.index(port), master=switch.index(f"lan{lan}"), state="up")
        index = node.index(ifname)
        node.link("set", index=index, state="up")
        node.addr("add", index=index, address=node.ipv4(lan), prefixlen=24)
        node.addr("add", index=index, address=node.ipv6(lan), prefixlen=64)

    def connect(self, left: str, right: str, ifname: str = "direct") -> None:
        """A cable between two nodes without a switch; both ends up, without addresses."""
        a, b = self[left], self[right]
        a.link(
            "add", ifname=ifname, kind="veth", peer={"ifname": ifname, "net_ns_pid": b.thread_id}
        )
        a.set_link(ifname, "up")
        b.set_link(ifname, "up")

    def unplug(self, name: str, lan: int = 0) -> None:
        """Pull the cable at the switch: the node loses its carrier."""
        self["switch"].set_link(self.port(name, lan), "down")

    def plug(self, name: str, lan: int = 0) -> None:
        self["switch"].set_link(self.port(name, lan), "up")

    def partition(self, names: Iterable[str], lan: int = 0) -> None:
        """Put these nodes on an island of their own; nobody loses the carrier.

        The island is a second bridge behind a trunk. Cutting the trunk is one operation, so
        there is no moment in which only some of the nodes have moved.
        """
        switch = self["switch"]
        mainland, island, trunk = f"lan{lan}", f"island{lan}", f"trunk{lan}"
        if not switch.call(switch.route.link_lookup, ifname=island):
            self._bridge(island)
            switch.link("add", ifname=trunk, kind="veth", peer={"ifname": f"{trunk}-"})
            for end, bridge in ((trunk, mainland), (f"{trunk}-", island)):
                switch.link("set", index=switch.index(end), master=switch.index(bridge))
                switch.set_link(end, "up")
        islanders = {self.port(name, lan) for name in names}
        for port in self.ports(lan):
            if found := switch.call(switch.route.link_lookup, ifname=port):
                bridge = island if port in islanders else mainland
                switch.link("set", index=found[0], master=switch.index(bridge))
        switch.set_link(trunk, "down")

    def heal(self, lan: int = 0) -> None:
        """End the partition of a LAN."""
        self["switch"].set_link(f"trunk{lan}", "up")

    def holders(self, address: str) -> list[str]:
        """The routers that have an address, in order of their names."""
        return [node.name for node in self.routers if address in node.addresses()]

    def wait_holder(self, address: str, *names: str, timeout_s: float = 10) -> float:
        """Wait until exactly these routers hold the address; returns the seconds it took.

        Raises TimeoutError that says who holds it instead.
        """
        wanted = list(names)
        try:
            return wait_for(lambda: self.holders(address) == wanted, timeout_s, "")
        except TimeoutError:
            held = self.holders(address)
            raise TimeoutError(
                f"{address} should be on {wanted or 'nobody'} within {timeout_s:g} s, is on {held}"
            ) from None

    def close(self) -> None:
        for node in reversed(self._nodes.values()):
            node.close()
        self._nodes.clear()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


__all__ = ["LabError", "Namespace", "Network", "Node", "ipv4", "ipv6", "mac", "wait_for"]
