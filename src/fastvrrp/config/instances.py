"""The instances of a configuration: what many of them say alike is looked at once.

Each block becomes an instance by `instance.InstanceBuilder`, or by another one of which it differs
in a few words (`alike`), or as it was the last time (`remembered`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from fastvrrp.config.addresses import is_usable
from fastvrrp.config.alike import Alike, Shape
from fastvrrp.config.blocks import Entry, LineReader, read_block
from fastvrrp.config.context import Context
from fastvrrp.config.defaults import Defaults
from fastvrrp.config.instance import VRID_MAX, InstanceBuilder, RawInstance
from fastvrrp.config.model import VirtualAddress, VrrpInstance
from fastvrrp.config.node import fresh
from fastvrrp.config.notifying import NOTIFICATIONS, build_notify
from fastvrrp.config.remembered import Blocks
from fastvrrp.config.scripts import Scripts
from fastvrrp.config.taken import TakenNode, Unread
from fastvrrp.config.trackers import KINDS, Trackers
from fastvrrp.config.tracking import instance_tracking
from fastvrrp.config.values import canonical

_TRACKING = frozenset(KINDS)
# Keywords that say something about one instance alone. What all others say together is looked at
# once for all instances that say the same.
_OWN = frozenset(
    (
        "virtual_router_id",
        "virtual_ipaddress",
        "virtual_ipaddress_excluded",
        "virtual_routes",
        "virtual_rules",
        "unicast_peer",
        "unicast_src_ip",
        "mcast_src_ip",
        "authentication",
        *_TRACKING,
        *NOTIFICATIONS,
    )
)
# Of these and a few others more comes than what is the instance's own, or more than its address and
# number decide about it.
_INVOLVED = (_OWN - {"virtual_router_id", "virtual_ipaddress"}) | {
    "kernel_rx_buf_size",
    "lvs_sync_daemon_interface",
    "old_unicast_checksum",
    "strict_mode",
    "track_src_ip",
}


class _Model(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What came of one of the blocks that are written alike (`alike.Shape`): an instance and its
    address. `asks`: see Context."""

    shape: Shape  # kept, so that no other one has its id
    defaults: Defaults
    instance: VrrpInstance
    address: VirtualAddress
    asks: int


class Instances:
    """Makes the instances of a configuration."""

    def __init__(
        self,
        context: Context,
        lines: Mapping[str, LineReader],
        trackers: Trackers,
        scripts: Scripts,
        blocks: Blocks,
    ) -> None:
        self.context = context
        self._blocks = blocks
        self.lines = lines
        self.trackers = trackers
        self.scripts = scripts
        self.sync_daemons: list[tuple[str, Entry]] = []  # lvs_sync_daemon_interface, by instance
        # What was written, and where it counts -> an instance of which only the own parts change.
        # Whether more than these words decided about it (Context.asks) goes with it.
        self._alike: dict[tuple[object, ...], tuple[VrrpInstance, bool]] = {}
        self._models: dict[int, _Model] = {}  # by id of the shape

    def build(
        self, raw: RawInstance, *, sync_group: str | None, weights_allowed: bool
    ) -> VrrpInstance | None:
        """The instance, or None after an error. `weights_allowed` is false in a sync group
        without sync_group_tracking_weight."""
        if isinstance(raw.node, TakenNode):
            return self._again(raw, raw.node, sync_group, weights_allowed)
        diagnostics, context = self.context.diagnostics, self.context
        errors, before = diagnostics.errors, (diagnostics.count, context.asks)
        body = raw.node.body
        if type(body) is Alike:
            instance = self._like_another(raw, body, sync_group)
            if instance is not None:
                return instance
        entries = read_block(self.context, raw.node, "vrrp_instance", self.lines)
        builder = InstanceBuilder(raw, entries, self.context)
        key = (
            builder.family,
            raw.defaults,
            *[line.words for line in raw.node.body or () if line.words[0] not in _OWN],
        )
        found = self._alike.get(key)
        if found is None:
            said, asks = diagnostics.count, context.asks
            base = VrrpInstance(name="", virtual_router_id=0, **builder.settings())
            if diagnostics.count == said:
                self._alike[key] = base, context.asks != asks
        else:
            base, has_asked = found
            context.asks += has_asked
            builder.version, builder.priority = base.version, base.priority
        own = builder.own()
        if not _TRACKING.isdisjoint(entries):
            said = diagnostics.count
            own.update(instance_tracking(builder, self.trackers, weights_allowed))
            context.asks += diagnostics.count != said  # by what trackers are elsewhere
        own["notify"] = build_notify(entries, raw.defaults, self.scripts)
        own["sync_group"] = sync_group
        if "lvs_sync_daemon_interface" in entries:
            context.asks += 1
            self.sync_daemons.append((builder.name, entries["lvs_sync_daemon_interface"]))
        if diagnostics.errors > errors or "virtual_router_id" not in own:
            return None
        instance = replace(base, **own)
        if type(body) is Alike and diagnostics.count == before[0]:
            self._keep(raw, body.shape, builder, instance, context.asks - before[1])
        return instance

    def _keep(
        self,
        raw: RawInstance,
        shape: Shape,
        builder: InstanceBuilder,
        instance: VrrpInstance,
        asks: int,
    ) -> None:
        """Others are like this instance, of which nothing was said."""
        if not builder.strict and _INVOLVED.isdisjoint(builder.entries):
            (address,) = instance.virtual_ipaddress  # of a shape there is one
            self._models[id(shape)] = _Model(shape, raw.defaults, instance, address, asks)

    def _like_another(
        self, raw: RawInstance, body: Alike, sync_group: str | None
    ) -> VrrpInstance | None:
        """An instance of which only name, number and address are new; None if it has to be looked
        at as any other."""
        model = self._models.get(id(body.shape))
        if model is None or model.defaults is not raw.defaults:
            return None
        address, family = canonical(body.address)
        vrid = int(body.vrid)
        if family != model.address.family or vrid > VRID_MAX or not is_usable(address, family):
            return None
        self.context.asks += model.asks
        own = replace(model.address, address=address, position=body.address_place())
        return replace(
            model.instance,
            name=fresh(raw.name),
            virtual_router_id=vrid,
            position=raw.node.position(1),
            virtual_ipaddress=(own,),
            sync_group=sync_group,
        )

    def _again(
        self, raw: RawInstance, node: TakenNode, sync_group: str | None, weights_allowed: bool
    ) -> VrrpInstance:
        """As the last time. Raises Unread where it would be another one now."""
        instance = self._blocks.instance(node, raw.defaults, sync_group)
        if any(getattr(instance, kind) for kind in KINDS):
            self._blocks.compare_tracking(node, self.trackers, weights_allowed)
            if not self.trackers.refer(instance, raw.order):
                raise Unread
        return instance
