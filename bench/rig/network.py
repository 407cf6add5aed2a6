"""Two routers joined by as many cables as their instances need, and optionally a third host.

`Wires` joins the routers directly by veth pairs, 255 instances on each: nothing is between the
sender and the receiver. `Hub` puts both routers and a stranger on one bridge.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.configuration import Place, link_count, places
from fastvrrp.lab.namespace import Namespace

GROUP_MAC = "01005e000012"  # of 224.0.0.18, as /proc/net/dev_mcast writes it


@dataclass(frozen=True)
class Traffic:
    """Packets of a router's interfaces since they were made."""

    sent: int
    received: int


class Router:
    """A namespace with its interfaces PREFIX0, PREFIX1, ..."""

    def __init__(self, namespace: Namespace, prefix: str, links: int, host: int) -> None:
        self.namespace = namespace
        self.interfaces = [f"{prefix}{n}" for n in range(links)]
        self.host = host
        for scope in ("all", "default"):
            namespace.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 1)

    def address(self, link: int) -> str:
        return f"172.16.{link}.{self.host}"

    def proc(self, name: str) -> str:
        """A file of /proc/net in this namespace, read from outside."""
        return Path(f"{Path(self.namespace.path).parents[1]}/net/{name}").read_text()

    def bring_up(self) -> None:
        for link, name in enumerate(self.interfaces):
            index = self.namespace.index(name)
            self.namespace.addr("add", index=index, address=self.address(link), prefixlen=24)
            self.namespace.link("set", index=index, state="up")

    def ifindexes(self) -> dict[int, int]:
        """Number of the link by ifindex."""
        return {self.namespace.index(name): link for link, name in enumerate(self.interfaces)}

    def listening(self) -> bool:
        """Whether every interface has joined the VRRP group, by whatever kind of socket."""
        return self.proc("dev_mcast").count(GROUP_MAC) >= len(self.interfaces)

    def traffic(self) -> Traffic:
        sent = received = 0
        wanted = set(self.interfaces)
        for line in self.proc("dev").splitlines():
            name, _, counters = line.partition(":")
            if name.strip() in wanted:
                fields = counters.split()
                received += int(fields[1])
                sent += int(fields[9])
        return Traffic(sent, received)


class Network(ABC):
    """Routers `a` and `b`. Use as a context manager."""

    def __init__(self, instances: int) -> None:
        self.places: list[Place] = places(instances)
        self.links = link_count(instances)
        with ExitStack() as stack:  # what was built so far goes when the rest fails
            self._stack = stack
            self._build()
            self._stack = stack.pop_all()

    def _namespace(self, name: str) -> Namespace:
        return self._stack.enter_context(Namespace(f"bch-{name}"))

    def _router(self, name: str, host: int) -> Router:
        return Router(self._namespace(name), name, self.links, host)

    def _build(self) -> None:
        self.a = self._router("a", 1)
        self.b = self._router("b", 2)
        self._connect()
        self.a.bring_up()
        self.b.bring_up()

    @abstractmethod
    def _connect(self) -> None:
        """Give both routers their interfaces."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


class Wires(Network):
    """One veth pair for each link."""

    def _connect(self) -> None:
        for name, peer in zip(self.a.interfaces, self.b.interfaces, strict=True):
            self.a.namespace.link(
                "add",
                ifname=name,
                kind="veth",
                peer={"ifname": peer, "net_ns_pid": self.b.namespace.thread_id},
            )


class Hub(Network):
    """A bridge for each link, with a third host `stranger` on it."""

    def _connect(self) -> None:
        self.stranger = self._router("c", 3)
        hub = self._namespace("hub")
        hub.sysctl("net/ipv6/conf/default/disable_ipv6", 1)
        for link in range(self.links):
            bridge = f"br{link}"
            hub.link("add", ifname=bridge, kind="bridge", br_mcast_snooping=0, state="up")
            for router in (self.a, self.b, self.stranger):
                name = router.interfaces[link]
                router.namespace.link(
                    "add",
                    ifname=name,
                    kind="veth",
                    peer={"ifname": f"port-{name}", "net_ns_pid": hub.thread_id},
                )
                port = hub.index(f"port-{name}")
                hub.link("set", index=port, master=hub.index(bridge), state="up")
        self.stranger.bring_up()
