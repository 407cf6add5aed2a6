"""What is possible, but hardly meant: settings that keepalived takes without a word.

Each function looks at one instance as it is in the model and says what is wrong at the place where
it is written. Nothing is said that a good file might have: where the machine's interfaces and
addresses are not known, nothing that depends on them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from fastvrrp.config.context import Context
from fastvrrp.config.hostaddresses import BITS, Networks, number_of
from fastvrrp.config.model import (
    OWNER,
    Position,
    Severity,
    SyncGroup,
    Tracked,
    VirtualAddress,
    VirtualRoute,
    VrrpInstance,
)
from fastvrrp.config.node import Node
from fastvrrp.config.taken import TakenNode, Unread

Instances = Sequence[tuple[VrrpInstance, Node]]

_BROADCAST_PREFIX_MAX = 30  # RFC 3021: networks of two addresses have none to spare
_LINK_LOCAL = 0x3FA  # the first ten bits, RFC 4291 2.4


def lint(
    context: Context,
    instances: Instances,
    groups: Mapping[str, SyncGroup],
    routes: Sequence[VirtualRoute],
) -> None:
    """Everything about instances; `routes` are static ones."""
    machine = _Machine(context, instances)
    for instance, node in instances:
        _special_addresses(context, instance)
        if instance.unicast_peers:
            _own_peer(context, machine, instance, node)
        if (
            instance.sync_group is not None
            or instance.track_interface
            or instance.track_script
            or instance.track_process
            or instance.track_file
            or instance.track_virtual_server
        ):
            _weights(context, instance, node, groups)
        if instance.interface is not None and context.is_here(instance.interface):
            if not instance.unicast_peers and not instance.unicast_fault_no_peer:
                _multicast(context, instance, instance.interface, node)
            if instance.priority == OWNER:
                _owner(context, machine, instance, node)
            elif instance.source is None:
                _only_address(context, machine, instance)
            else:
                _source(context, machine, instance, node)
            _networks(context, machine, instance, routes)


def _multicast(context: Context, instance: VrrpInstance, interface: str, node: Node) -> None:
    """Without it the instance would hear nobody, and is in FAULT."""
    if context.lacks_multicast(interface):
        _warn(
            context,
            _place(node, "interface"),
            f"{instance.name}: the interface {interface} takes no multicast: FAULT until it does",
            f"ip link set {interface} multicast on, or list unicast_peer",
        )


class _Link:
    """The addresses of one family that an interface has: its own, and virtual ones."""

    def __init__(self, family: int) -> None:
        self.own: dict[int, int] = {}  # number -> prefix length
        self.networks = Networks(family)
        self.virtual: set[int] = set()
        self.virtual_networks = Networks(family)
        self._family = family
        self._knows_networks: dict[bool, bool] = {}  # by whether it is about link-local addresses

    def knows(self, number: int) -> bool:
        """Whether it has addresses that can be compared: link-local ones with link-local ones."""
        return any(self._alike(number))

    def knows_networks(self, number: int) -> bool:
        """Whether they say what is on the link: single hosts, as DHCPv6 and clouds give them, do
        not. To be asked when all of `own` are known."""
        is_local = self._family == 6 and number >> 118 == _LINK_LOCAL
        known = self._knows_networks.get(is_local)
        if known is None:
            known = 0 < max(self._alike(number), default=0) < BITS[self._family]
            self._knows_networks[is_local] = known
        return known

    def _alike(self, number: int) -> Collection[int]:
        if self._family == 4:
            return self.own.values()
        is_local = number >> 118 == _LINK_LOCAL
        return [n for own, n in self.own.items() if (own >> 118 == _LINK_LOCAL) == is_local]


class _Machine:
    """What is known of the interfaces. Virtual addresses that this program put there are not
    theirs; those of another daemon look as if they were."""

    def __init__(self, context: Context, instances: Instances) -> None:
        self._links: dict[tuple[str, int], _Link] = {}
        self._numbers: dict[str, int] = {}
        self.every: set[tuple[int, int]] = set()  # all addresses, with their family
        if not any(
            instance.interface and context.is_here(instance.interface) for instance, _ in instances
        ):
            return
        for interface, addresses in context.addresses().items():
            for known in addresses:
                self.every.add((known.family, known.number))
                if not known.is_ours:
                    link = self.link(interface, known.family)
                    link.own[known.number] = known.prefixlen
                    link.networks.add(known.number, known.prefixlen)
        for instance, _ in instances:
            interface = instance.interface or ""
            for address in instance.virtual_ipaddress + instance.virtual_ipaddress_excluded:
                family = address.family
                link = self.link(address.dev or interface, family)
                number = self.number(address)
                link.virtual.add(number)
                if address.prefixlen < BITS[family]:
                    link.virtual_networks.add(number, address.prefixlen)

    def link(self, interface: str, family: int) -> _Link:
        link = self._links.get((interface, family))
        if link is None:
            link = self._links[interface, family] = _Link(family)
        return link

    def number(self, address: VirtualAddress) -> int:
        """Of a virtual address, which is asked for by several rules."""
        text = address.address
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = number_of(text, address.family)
        return number

    def has(self, number: int, family: int) -> bool:
        """Whether an address is the machine's own."""
        return (family, number) in self.every and any(
            number in link.own for (_, kind), link in self._links.items() if kind == family
        )


def _warn(context: Context, at: Position, text: str, hint: str) -> None:
    context.diagnostics.add(at, Severity.WARNING, text, hint)


def _place(node: Node, keyword: str, word: int = 1) -> Position:
    """Where a keyword of a block stands last, else where the block does."""
    if isinstance(node, TakenNode):
        return node.somewhere
    for line in reversed(node.body or []):
        if line.words[0] == keyword:
            return line.position(word)
    return node.position(1)


def _is_written(node: Node, keyword: str) -> bool:
    if isinstance(node, TakenNode):
        return True  # the hint that depends on it is the one of the last time
    return any(line.words[0] == keyword for line in node.body or ())


def _line(node: Node, keyword: str, address: str) -> Position:
    """Where an address stands at the beginning of a line of a block in an instance."""
    if isinstance(node, TakenNode):
        return node.somewhere
    for block in node.body or ():
        for line in (block.body or ()) if block.words[0] == keyword else ():
            if line.words[0].partition("/")[0] == address:
                return line.position()
    return _place(node, keyword, 0)


def _at(address: VirtualAddress, instance: VrrpInstance) -> Position:
    return address.position or instance.position or Position(file="", line=1)


def _special_addresses(context: Context, instance: VrrpInstance) -> None:
    """The network's own address and its broadcast address are no host's (RFC 1122 3.2.1.3)."""
    for address in instance.virtual_ipaddress + instance.virtual_ipaddress_excluded:
        if address.prefixlen > _BROADCAST_PREFIX_MAX or address.family != 4:
            continue
        hosts = (1 << (32 - address.prefixlen)) - 1
        host = number_of(address.address, 4) & hosts
        if host in (0, hosts) and address.peer is None:
            what = "broadcast" if host else "network"
            _warn(
                context,
                _at(address, instance),
                f"{instance.name}: {address.address} is the {what} address of its "
                f"/{address.prefixlen}, which no host can have",
                "correct the address or the prefix length",
            )


def _own_peer(context: Context, machine: _Machine, instance: VrrpInstance, node: Node) -> None:
    """Nothing is heard of oneself."""
    family = instance.family
    for peer in instance.unicast_peers:
        if peer.address == instance.source or machine.has(number_of(peer.address, family), family):
            _warn(
                context,
                _line(node, "unicast_peer", peer.address),
                f"{instance.name}: the peer {peer.address} is this router itself",
                "list the other routers only",
            )


def _tracked(instance: VrrpInstance) -> Iterator[Tracked]:
    yield from instance.track_interface
    yield from instance.track_script
    yield from instance.track_process
    yield from instance.track_file
    yield from instance.track_virtual_server


def _weights(
    context: Context, instance: VrrpInstance, node: Node, groups: Mapping[str, SyncGroup]
) -> None:
    """A priority has room from 1 to 254: what would go further changes nothing."""
    # with what it needs slow to load, and rarely needed
    from fastvrrp.config.influences import influences, useless

    if instance.priority == OWNER:
        return  # said where they are read
    places = {each.name: each.position for each in _tracked(instance)}
    group = groups.get(instance.sync_group or "")
    for each in useless(instance, influences(instance, group)):
        bound = "higher than 254" if instance.priority > OWNER // 2 else "lower than 1"
        _warn(
            context,
            places.get(each.name) or _place(node, "priority"),
            f"{instance.name}: the weight of {each.name} never changes anything: "
            f"priority {instance.priority} cannot get {bound}",
            "leave room for the weights",
        )


def _owner(context: Context, machine: _Machine, instance: VrrpInstance, node: Node) -> None:
    """RFC 9568 5.2.4: 255 is for the router that has the addresses anyway."""
    for address in instance.virtual_ipaddress:
        interface = address.dev or instance.interface or ""
        link = machine.link(interface, address.family)
        if not link.own or machine.number(address) in link.own:
            continue
        if context.diagnostics.passes():
            return
        hint = f"write priority 254 or less, or give {address.address} to {interface}"
        if not _is_written(node, "priority"):
            hint = "write a priority from 1 to 254; state MASTER alone means 255"
        _warn(
            context,
            _place(node, "priority" if _is_written(node, "priority") else "state"),
            f"{instance.name}: priority 255 says that this router owns its addresses, "
            f"but {interface} has no {address.address}",
            hint,
        )
        return


def _only_address(context: Context, machine: _Machine, instance: VrrpInstance) -> None:
    """A router whose only address is the virtual one owns it. More than one is not judged: what
    another daemon put there looks like the host's own. IPv6 has its link-local address."""
    if instance.family != 4 or instance.interface is None:
        return
    own = machine.link(instance.interface, 4).own
    if not own or not own.keys() <= machine.link(instance.interface, 4).virtual:
        return
    for address in instance.virtual_ipaddress:
        if address.dev not in (None, instance.interface):
            continue
        if machine.number(address) in own:
            _warn(
                context,
                _at(address, instance),
                f"{instance.name}: {instance.interface} itself has {address.address} and no "
                "other address, so this router owns it",
                f"write priority 255, or give {instance.interface} another address",
            )
            return


def _source(context: Context, machine: _Machine, instance: VrrpInstance, node: Node) -> None:
    """Adverts cannot be sent from somebody else's address."""
    family, source = instance.family, instance.source or ""
    number = number_of(source, family)
    is_known = machine.link(instance.interface or "", family).knows(number)
    if not is_known or (family, number) in machine.every:
        return
    found = False
    for keyword in ("unicast_src_ip", "mcast_src_ip"):
        text = f"{instance.name}: {keyword} {source} is no address of this machine"
        if _is_said_of(node, keyword, source, text):
            found = True
            _warn(context, _place(node, keyword), text, "write an address of this router")
    if not found and isinstance(node, TakenNode):
        raise Unread


def _is_said_of(node: Node, keyword: str, word: str, text: str) -> bool:
    """Whether a keyword is written with this word; of a block that was not read, whether this text
    was said of it the last time."""
    if isinstance(node, TakenNode):
        return node.has_been_told(text)
    return any(line.words[0] == keyword and word in line.words[1] for line in node.body or ())


def _are_routed(routes: Sequence[VirtualRoute], family: int) -> bool:
    return bool(routes) and any(route.family == family for route in routes)


def _networks(
    context: Context, machine: _Machine, instance: VrrpInstance, routes: Sequence[VirtualRoute]
) -> None:
    """An address outside the networks of its interface is found by nobody there, unless another
    virtual address or a route brings its network along. Who writes `dev` knows what he does."""
    for address in instance.virtual_ipaddress:
        family = address.family
        if address.dev is not None or address.peer is not None:
            continue
        link = machine.link(instance.interface or "", family)
        if not link.own:
            continue
        number = machine.number(address)
        if (
            not link.knows_networks(number)
            or link.networks.cover(number)
            or link.virtual_networks.cover(number, but=address.prefixlen)
            or _are_routed(instance.virtual_routes, family)
            or _are_routed(routes, family)
        ):
            continue
        if context.diagnostics.passes():
            return
        _warn(
            context,
            _at(address, instance),
            f"{instance.name}: {address.address} is in no network of {instance.interface} "
            f"({link.networks})",
            f"correct it, or write dev {instance.interface} if its network is on that link, too",
        )
        return
