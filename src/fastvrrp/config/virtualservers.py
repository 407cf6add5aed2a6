"""virtual_server: from what is written to what applies, with keepalived's fix-ups, each said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from fastvrrp.config.blocks import Entries, get, listed_blocks, read_block
from fastvrrp.config.checks import Settings, Surroundings, check_pace
from fastvrrp.config.context import Context
from fastvrrp.config.defaults import Defaults
from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.lvsreaders import PERSISTENCE_S
from fastvrrp.config.node import Node, fresh
from fastvrrp.config.realservers import RealServers, Service, check_family, endpoint, port_to
from fastvrrp.config.remembered import Blocks
from fastvrrp.config.scripts import Scripts
from fastvrrp.config.servers import (
    Forwarding,
    RealServer,
    ServiceAddress,
    SorryServer,
    VirtualServer,
    kinds,
)
from fastvrrp.config.servicegroups import FAMILIES, FWMARK_MAX, ServiceGroup
from fastvrrp.config.taken import TakenNode
from fastvrrp.config.trackers import Trackers
from fastvrrp.config.values import within

PATH = "virtual_server"
FLAGS = {
    "flag-1": "flag-1",
    "flag-2": "flag-2",
    "flag-3": "flag-3",
    "sh-fallback": "flag-1",
    "sh-port": "flag-2",
    "mh-fallback": "flag-1",
    "mh-port": "flag-2",
}
_LEVELS = frozenset(  # keywords of Settings that a virtual server has with a value
    ("delay_loop", "connect_timeout", "retry", "delay_before_retry", "warmup", "virtualhost")
)


class RawVirtualServer(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A virtual_server block, not read yet, with the defaults that apply where it stands."""

    node: Node
    defaults: Defaults
    order: int


class VirtualServers:
    """Makes the virtual servers of a configuration."""

    def __init__(
        self,
        context: Context,
        scripts: Scripts,
        trackers: Trackers,
        groups: Mapping[str, ServiceGroup],
        blocks: Blocks,
    ) -> None:
        self.context = context
        self.scripts = scripts
        self.trackers = trackers
        self.real_servers = RealServers(context)
        self._groups = groups
        self._blocks = blocks
        self._uses: dict[str, int] = {}  # of groups

    def build(self, raw: RawVirtualServer) -> VirtualServer | None:
        """The virtual server; None after an error, or where there is nothing to balance."""
        if isinstance(raw.node, TakenNode):
            return self._blocks.server(raw.node, raw.defaults)
        errors = self.context.diagnostics.errors
        services = self._services(raw.node)
        entries = read_block(self.context, raw.node, PATH, {})
        if not services:
            return None
        group, use = None, 0
        if raw.node.words[1] == "group":
            group = fresh(raw.node.words[2])
            use = self._uses.get(group, 0)
            self._uses[group] = use + 1
        made = VirtualServerBuilder(self, raw, entries, services, group, use).build()
        return made if self.context.diagnostics.errors == errors else None

    def _services(self, node: Node) -> tuple[ServiceAddress, ...]:
        """What is balanced; a firewall mark without family has 0."""
        context, words = self.context, node.words
        if len(words) < 2:
            text = "virtual_server needs an address"
            context.error(node, text, "write virtual_server ADDRESS PORT { ... }")
            return ()
        if words[1] not in ("fwmark", "group"):
            place = endpoint(context, node)
            if place is None:
                return ()
            return (
                ServiceAddress(
                    family=place.family, address=fresh(place.address), port=place.port or 0
                ),
            )
        if len(words) == 2:
            context.error(node, f"{words[1]} needs a value", f"write {words[1]} VALUE", word=1)
            return ()
        if len(words) > 3:
            context.extra(node, 3)
        if words[1] == "group":
            return self._group(node)
        mark = within(words[2], 1, FWMARK_MAX)
        if mark is None:
            text = f"{shown(words[2])} is not a firewall mark"
            context.error(node, text, f"write 1 to {FWMARK_MAX}", word=2)
            return ()
        return (ServiceAddress(family=0, fwmark=mark),)

    def _group(self, node: Node) -> tuple[ServiceAddress, ...]:
        name = node.words[2]
        self.context.asks += 1
        group = self._groups.get(name)
        if group is None:
            self.context.error(
                node,
                f"there is no virtual_server_group {shown(name)}",
                suggestion(name, self._groups) or f"define virtual_server_group {name}",
                word=2,
            )
            return ()
        group.is_used = True
        return tuple(group.services)


class VirtualServerBuilder:
    """One virtual server being made."""

    def __init__(
        self,
        servers: VirtualServers,
        raw: RawVirtualServer,
        entries: Entries,
        services: tuple[ServiceAddress, ...],
        group: str | None,
        use: int,
    ) -> None:
        """`use` is the number of virtual servers above that have the same group."""
        self.context = servers.context
        self.servers = servers
        self.node = raw.node
        self.defaults = raw.defaults
        self.order = raw.order
        self.entries = entries
        self.services = services
        self.group = group
        self.has_addresses = any(service.address is not None for service in services)
        self.has_marks = any(service.fwmark for service in services)
        self.protocol = get(entries, "protocol", "UDP" if self.has_addresses else "TCP")
        self.name = self._name(use)

    def warning(self, text: str, hint: str, keyword: str | None = None) -> None:
        """A warning about this virtual server, at a keyword of it if one is named."""
        entry = self.entries.get(keyword) if keyword else None
        node = entry.node if entry is not None else self.node
        word = 1 if entry is None or len(node.words) > 1 else 0
        self.context.warning(node, f"{self.name}: {text}", hint, word=word)

    def _name(self, use: int) -> str:
        if self.group is not None:
            return f"[{self.group}]:{use}"
        (service,) = self.services
        if service.address is None:
            return f"FWM {service.fwmark}"
        return f"[{service.address}]:{self.protocol.lower()}:{service.port}"

    def build(self) -> VirtualServer | None:
        """None where there is nothing to balance."""
        entries, scripts = self.entries, self.servers.scripts
        nodes = listed_blocks(entries, "real_server")
        if not nodes:
            self.warning("it has no real_server, ignored", "add real_server ADDRESS PORT { ... }")
            return None
        scheduling = self._scheduling()
        service = self._service()
        around = Surroundings(self.context, scripts, self.servers.trackers, self.name, self.order)
        real_servers = self.servers.real_servers.build(nodes, service, around)
        sorry_server = self._sorry_server(service, real_servers)
        family = self._family(service, real_servers, sorry_server)
        persistence = self._persistence(family)
        quorum, hysteresis = self._quorum(real_servers)
        return VirtualServer(
            name=self.name,
            services=tuple(
                [
                    s if s.family else msgspec.structs.replace(s, family=family)
                    for s in self.services
                ]
            ),
            group=self.group,
            protocol=self.protocol if self.has_addresses else "TCP",
            ha_suspend="ha_suspend" in entries and self._may_suspend(),
            alpha=service.settings.alpha,
            omega="omega" in entries,
            quorum=quorum,
            hysteresis=hysteresis,
            quorum_up=scripts.command(get(entries, "quorum_up")),
            quorum_down=scripts.command(get(entries, "quorum_down")),
            smtp_alert=get(entries, "smtp_alert", self.defaults.smtp_alert_virtual_server),
            sorry_server=sorry_server,
            real_servers=cast("tuple[RealServer, ...]", real_servers),
            position=self.node.position(1),
            **scheduling,
            **persistence,
        )

    def _scheduling(self) -> dict[str, Any]:
        """Protocol, scheduler, its flags; keepalived's defaults are used aloud."""
        entries = self.entries
        if self.has_addresses and not self._is_written("protocol"):
            self.warning("no protocol, using UDP", "add protocol TCP, UDP or SCTP")
        elif "protocol" in entries and not self.has_addresses:
            self.warning("protocol means nothing with firewall marks", "remove it", "protocol")
        scheduler = get(entries, "lvs_sched")
        if scheduler is None:
            if not self._is_written("lvs_sched", "lb_algo"):
                self.warning("no lvs_sched, using wlc", "add lvs_sched NAME")
            scheduler = "wlc"
        flags: set[str] = set()
        for word in FLAGS.keys() & entries.keys():
            owner, _, _ = word.partition("-")
            if owner in ("flag", scheduler):
                flags.add(FLAGS[word])
            else:
                text = f"{word} is for the scheduler {owner}, ignored"
                self.warning(text, f"write lvs_sched {owner}, or remove it", word)
        one_packet = "ops" in entries
        if one_packet and self.has_addresses and self.protocol != "UDP":
            self.warning("ops needs UDP, ignored", "write protocol UDP, or remove it", "ops")
            one_packet = False
        return {"scheduler": scheduler, "flags": tuple(sorted(flags)), "one_packet": one_packet}

    def _is_written(self, *keywords: str) -> bool:
        """Whether a keyword is in the block, though its value may have been unusable."""
        return any(line.words[0] in keywords for line in self.node.body or ())

    def _service(self) -> Service:
        """What the real servers inherit."""
        entries = self.entries
        forwarding = get(entries, "lvs_method")
        if forwarding is None:
            if not self._is_written("lvs_method", "lb_kind"):
                self.warning("no lvs_method, using NAT", "add lvs_method NAT, DR or TUN")
            forwarding = Forwarding()
        ports = {service.port for service in self.services if service.address is not None}
        any_port = ports.pop() if len(ports) == 1 else 0
        own = {name: entries[name] for name in _LEVELS & entries.keys()}
        settings = Settings(
            alpha="alpha" in entries,
            log_all_failures=self.defaults.checker_log_all_failures,
            service_delay_loop_ns=get(entries, "delay_loop", Settings().delay_loop_ns),
        )
        within = settings.within(own)
        check_pace(self.context, own, settings, within)
        return Service(
            port=None if self.group is not None else any_port,
            any_port=any_port,
            is_fwmark=not self.has_addresses,
            families=self._families(),
            forwarding=forwarding,
            weight=get(entries, "weight", 1),
            inhibit_on_failure="inhibit_on_failure" in entries,
            smtp_alert=self.defaults.smtp_alert_real_server,
            settings=within,
        )

    def _families(self) -> tuple[int, ...]:
        """Families that are written, of addresses, marks or ip_family."""
        found = {service.family for service in self.services} - {0}
        wish = FAMILIES.get(get(self.entries, "ip_family", ""), 0)
        if wish and found and found != {wish}:
            text = "ip_family contradicts the addresses, ignored"
            self.warning(text, "remove it", "ip_family")
        elif wish:
            found = {wish}
        if not found:
            found = {get(self.entries, "persistence_granularity", (0, 0))[1]} - {0}
        return tuple(sorted(found))

    def _family(
        self, service: Service, real_servers: Sequence[RealServer], sorry: SorryServer | None
    ) -> int:
        """Of firewall marks that name none: as the servers have it."""
        if service.families:
            if len(service.families) > 1 and any(not s.family for s in self.services):
                self.context.error(
                    self.node,
                    f"{self.name}: the firewall marks of a group with both families need one each",
                    "write fwmark N inet or fwmark N inet6",
                    word=1,
                )
            return service.families[0]
        servers: list[RealServer | SorryServer] = [server for server, _ in kinds(real_servers)]
        if sorry is not None:
            servers.append(sorry)
        plain = {server.family for server in servers if server.forwarding.method != "TUN"}
        if len(plain) > 1:
            self.context.error(
                self.node,
                f"{self.name}: its servers are of both families",
                "write addresses of one family, or lvs_method TUN",
                word=1,
            )
        if not plain and "persistence_granularity" in self.entries:
            return 6  # a number: a netmask has been looked at
        found = plain or {server.family for server in servers}
        return found.pop() if len(found) == 1 else 4

    def _persistence(self, family: int) -> dict[str, Any]:
        entries = self.entries
        timeout_s = get(entries, "persistence_timeout", 0)
        granularity = None
        if "persistence_granularity" in entries:
            timeout_s = timeout_s or PERSISTENCE_S
            length, own = entries["persistence_granularity"].value
            longest = 32 if family == 4 else 128
            if length > longest or own not in (0, family) or (family == 6 and not length):
                self.context.error(
                    entries["persistence_granularity"].node,
                    f"{self.name}: not a persistence_granularity of an IPv{family} service",
                    "write a netmask, or 0 to 32" if family == 4 else "write 1 to 128",
                    word=1,
                )
            elif length < longest:
                granularity = length
                if not own and family == 4:
                    text = (
                        f"{length} is a prefix length; keepalived would take it as 0.0.0.{length}"
                    )
                    self.warning(text, "write a netmask", "persistence_granularity")
        if not timeout_s and any(s.address is not None and not s.port for s in self.services):
            timeout_s = PERSISTENCE_S
            self.warning(
                f"a service of all ports must be persistent, using {timeout_s} seconds",
                "write a port, or persistence_timeout SECONDS",
            )
        engine = get(entries, "persistence_engine")
        if engine is not None and not timeout_s:
            text = "persistence_engine means nothing without persistence, ignored"
            self.warning(text, "add persistence_timeout SECONDS", "persistence_engine")
            engine = None
        return {
            "persistence_timeout_s": timeout_s,
            "persistence_granularity": granularity,
            "persistence_engine": engine,
        }

    def _may_suspend(self) -> bool:
        if self.group is None and not self.has_marks:
            return True
        what = "a group" if self.group is not None else "a firewall mark"
        self.warning(f"ha_suspend knows no address of {what}, ignored", "remove it", "ha_suspend")
        return False

    def _quorum(self, real_servers: Sequence[RealServer]) -> tuple[int, int]:
        """Quorum and hysteresis within what the weights allow."""
        quorum: int = get(self.entries, "quorum", 1)
        hysteresis: int = get(self.entries, "hysteresis", 0)
        total = sum([server.weight * count for server, count in kinds(real_servers)])
        if real_servers and not total:
            text = "no real_server has a weight: it is not used, and there is no quorum"
            self.warning(text, "write weight 1 or more, unless that is meant")
        elif quorum > total > 0:
            text = f"quorum {quorum} is more than all weights together, using {total}"
            self.warning(text, f"write 1 to {total}", "quorum")
            quorum = total
        if hysteresis >= quorum and hysteresis:
            text = f"hysteresis {hysteresis} must be less than the quorum, using {quorum - 1}"
            self.warning(text, f"write 0 to {quorum - 1}", "hysteresis")
            hysteresis = quorum - 1
        return quorum, hysteresis

    def _sorry_server(
        self, service: Service, real_servers: Sequence[RealServer]
    ) -> SorryServer | None:
        entries = self.entries
        if "sorry_server" not in entries:
            for keyword in ("sorry_server_inhibit", "sorry_server_lvs_method"):
                if keyword in entries:
                    text = f"{keyword} means nothing without sorry_server"
                    self.warning(text, "add sorry_server ADDRESS PORT", keyword)
            return None
        node = entries["sorry_server"].node
        place = endpoint(self.context, node)
        if place is None:
            return None
        forwarding = get(entries, "sorry_server_lvs_method", service.forwarding)
        check_family(self.context, node, place, forwarding, service)
        port = place.port or 0  # as written, also where a real server has the service's
        if forwarding.method != "NAT":
            port = port_to(self.context, node, place.port, forwarding, service)
        inhibit = "sorry_server_inhibit" in entries
        twin = next((s for s in real_servers if (s.address, s.port) == (place.address, port)), None)
        if twin is not None and twin.inhibit_on_failure != inhibit:
            text = "the sorry_server is a real_server, too, whose inhibit_on_failure counts"
            self.warning(text, "inhibit both or none", "sorry_server")
            inhibit = twin.inhibit_on_failure
        return SorryServer(
            address=fresh(place.address),
            port=port,
            family=place.family,
            forwarding=forwarding,
            inhibit=inhibit,
        )
