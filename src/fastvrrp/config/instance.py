"""vrrp_instance: from what is written to what applies.

The order of the fix-ups is keepalived's, because one decides about the next: version, state and
priority, preemption, strict mode, addresses, authentication, trackers.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fastvrrp.config.addressing import addressing, family_settings, first_family, receive_buffer
from fastvrrp.config.authentication import authentication
from fastvrrp.config.blocks import Entries, get
from fastvrrp.config.context import Context
from fastvrrp.config.defaults import Defaults
from fastvrrp.config.model import NS_PER_S, OWNER, Garp
from fastvrrp.config.node import Node, fresh
from fastvrrp.config.vmac import KEYWORDS as VIRTUAL_DEVICE
from fastvrrp.config.vmac import virtual_device

PRIORITY_DEFAULT = 100
VRID_MAX = 255
NS_PER_CS = NS_PER_S // 100
V3_INTERVAL_MAX_NS = 4095 * NS_PER_CS  # 12 bits of centiseconds, RFC 9568 5.2.7
LOOPBACKS = frozenset(("lo",))
_GARP_FIELDS = {
    "garp_master_delay": "master_delay_s",
    "garp_master_repeat": "master_repeat",
    "garp_master_refresh": "master_refresh_s",
    "garp_master_refresh_repeat": "master_refresh_repeat",
    "garp_lower_prio_delay": "lower_prio_delay_s",
    "garp_lower_prio_repeat": "lower_prio_repeat",
}
_FLAGS = frozenset(
    ("track_src_ip", "unicast_fault_no_peer", "promote_secondaries", "dont_track_primary")
)


# Keywords that `_preemption`, `_relaxed` and skip_check_adv_addr read: most instances have none,
# and large files have thousands of instances.
_BEHAVIOUR = frozenset(
    (
        "nopreempt",
        "preempt",
        "preempt_delay",
        "timer_expired_backup",
        "down_timer_adverts",
        "accept",
        "no_accept",
        "lower_prio_no_advert",
        "higher_prio_send_advert",
        "skip_check_adv_addr",
    )
)


class RawInstance(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A vrrp_instance block, not read yet, with the defaults that apply where it stands."""

    name: str
    node: Node
    defaults: Defaults
    order: int


class InstanceBuilder:
    """One instance being made."""

    def __init__(self, raw: RawInstance, entries: Entries, context: Context) -> None:
        self.context = context
        self.name = fresh(raw.name)
        self.node = raw.node
        self.entries = entries
        self.defaults = raw.defaults
        self.order = raw.order
        self.fields: dict[str, Any] = {}
        self.strict: bool = get(entries, "strict_mode", raw.defaults.strict_mode)
        self.priority = PRIORITY_DEFAULT
        self.state = "BACKUP"
        self.version = 2
        self.family, self.decided_by = first_family(entries)

    def warning(self, text: str, hint: str, keyword: str | None = None) -> None:
        """A warning about this instance, at a keyword of it if one is named."""
        entry = self.entries.get(keyword) if keyword else None
        node = entry.node if entry is not None else self.node
        word = 1 if entry is None or len(node.words) > 1 else 0
        self.context.warning(node, f"{self.name}: {text}", hint, word=word)

    def error(self, text: str, hint: str, keyword: str | None = None) -> None:
        entry = self.entries.get(keyword) if keyword else None
        node = entry.node if entry is not None else self.node
        word = 1 if entry is None or len(node.words) > 1 else 0
        self.context.error(node, f"{self.name}: {text}", hint, word=word)

    def written(self, keyword: str) -> bool:
        """Whether the keyword is in the block, though its value may have been unusable."""
        return any(line.words[0] == keyword for line in self.node.body or ())

    def settings(self) -> dict[str, Any]:
        """The fields that follow from keywords which instances may have in common."""
        entries, fields = self.entries, self.fields
        self._state_and_priority()
        fields.update(family_settings(self))
        self._interface()
        self._interval()
        if self.strict or not _BEHAVIOUR.isdisjoint(entries):
            self._preemption()
            if self.strict:
                self._strict()
            else:
                self._relaxed()
            fields["skip_check_adv_addr"] = get(
                entries, "skip_check_adv_addr", self.defaults.skip_check_adv_addr
            )
        else:
            fields.update(self.defaults.quiet)
        self._owner_settings()
        fields["garp"] = self._garp()
        if not VIRTUAL_DEVICE.isdisjoint(entries):
            fields.update(virtual_device(self))
        return fields

    def own(self) -> dict[str, Any]:
        """The fields that no other instance has."""
        entries = self.entries
        own: dict[str, Any] = {"name": self.name, "position": self.node.position(1)}
        if "virtual_router_id" in entries:
            own["virtual_router_id"] = entries["virtual_router_id"].value
        elif not self.written("virtual_router_id"):
            self.error("virtual_router_id is missing", "add virtual_router_id 1 to 255")
        own.update(addressing(self))
        is_unicast = own.get("unicast_peers") and own.get("source")
        if not is_unicast and "interface" not in entries and not self.written("interface"):
            self.error(
                "interface is missing",
                "add interface IF; only unicast with unicast_src_ip works without",
            )
        if "track_src_ip" in entries and not own.get("source"):
            self.warning(
                "track_src_ip needs a configured source", "add unicast_src_ip", "track_src_ip"
            )
        if "old_unicast_checksum" in entries:
            own["old_unicast_checksum"] = self._old_checksum()
        if "authentication" in entries:
            own.update(authentication(self))
        if self.defaults.rx_policy or "kernel_rx_buf_size" in entries:
            own["kernel_rx_buf_size"] = receive_buffer(self, len(own["virtual_ipaddress"]))
        return own

    def _state_and_priority(self) -> None:
        entries, fields = self.entries, self.fields
        state = get(entries, "state")
        priority = get(entries, "priority")
        if priority is None:
            owner = state == "MASTER" and not self.written("priority")
            priority = OWNER if owner else PRIORITY_DEFAULT
        if state is None:
            state = "MASTER" if priority == OWNER and not self.written("state") else "BACKUP"
        fields["priority"] = self.priority = priority
        if self.strict and (state == "MASTER") != (priority == OWNER):
            self.warning(
                "in strict mode state MASTER and priority 255 belong together",
                "set both or neither",
                "state",
            )
            state = "MASTER" if priority == OWNER else "BACKUP"
        fields["state"] = self.state = state

    def _interface(self) -> None:
        entries, fields = self.entries, self.fields
        interface = get(entries, "interface")
        if interface in LOOPBACKS:
            self.error("a loopback interface cannot carry VRRP", "name another one", "interface")
        elif interface is not None:
            fields["interface"] = interface
            self.context.check_interface(entries["interface"].node, interface)
        if "vrf" in entries:
            if interface is None:
                fields["vrf"] = entries["vrf"].value
            else:
                self.warning("vrf is ignored beside interface", "keep one of them", "vrf")
        for name in _FLAGS & entries.keys():
            fields[name] = True

    def _interval(self) -> None:
        """RFC 3768: whole seconds. RFC 9568: centiseconds, 12 bits."""
        interval_ns = get(self.entries, "advert_int")
        if interval_ns is None:
            return
        if self.version == 2:
            used_ns = max((interval_ns + NS_PER_S // 2) // NS_PER_S, 1) * NS_PER_S
            want = "VRRPv2 knows whole seconds; write one, or version 3"
        else:
            used_ns = (interval_ns + NS_PER_CS // 2) // NS_PER_CS * NS_PER_CS
            used_ns = min(used_ns, V3_INTERVAL_MAX_NS)
            want = "VRRPv3 knows 0.01 to 40.95 seconds in steps of 0.01"
        if used_ns != interval_ns:
            self.warning(f"advert_int becomes {used_ns / NS_PER_S:g}", want, "advert_int")
        self.fields["advert_int_ns"] = used_ns

    def _preemption(self) -> None:
        entries, fields = self.entries, self.fields
        nopreempt = "nopreempt" in entries
        if nopreempt and "preempt" in entries:
            order = list(entries)
            nopreempt = order.index("nopreempt") > order.index("preempt")
        if nopreempt and self.priority == OWNER:
            self.warning("nopreempt is ignored for priority 255", "remove it", "nopreempt")
            nopreempt = False
        if nopreempt and self.state == "MASTER":
            self.warning(
                "nopreempt is ignored with state MASTER", "write state BACKUP", "nopreempt"
            )
            nopreempt = False
        delay_ns = get(entries, "preempt_delay", 0)
        if delay_ns:
            reason = ""
            if self.strict:
                reason = "in strict mode"
            elif nopreempt:
                reason = "with nopreempt"
            elif self.state == "MASTER":
                reason = "with state MASTER"
            if reason:
                hint = "write state BACKUP" if self.state == "MASTER" else "remove one of them"
                self.warning(f"preempt_delay is ignored {reason}", hint, "preempt_delay")
                delay_ns = 0
        fields["nopreempt"] = nopreempt
        fields["preempt_delay_ns"] = delay_ns
        assumed = get(entries, "timer_expired_backup")
        if assumed is not None:
            if nopreempt:
                fields["timer_expired_backup"] = 254 if assumed < 0 else assumed
            else:
                self.warning(
                    "timer_expired_backup needs nopreempt, ignored",
                    "add nopreempt",
                    "timer_expired_backup",
                )

    def _relaxed(self) -> None:
        entries, fields, defaults = self.entries, self.fields, self.defaults
        fields["down_timer_adverts"] = get(
            entries, "down_timer_adverts", defaults.down_timer_adverts
        )
        accept = True
        if "no_accept" in entries:
            order = list(entries)
            accept = "accept" in entries and order.index("accept") > order.index("no_accept")
        fields["accept"] = accept
        fields["lower_prio_no_advert"] = get(
            entries, "lower_prio_no_advert", defaults.lower_prio_no_advert
        )
        fields["higher_prio_send_advert"] = get(
            entries, "higher_prio_send_advert", defaults.higher_prio_send_advert
        )

    def _strict(self) -> None:
        """What strict mode forces, and what it takes away (with a warning if it was written)."""
        entries, fields = self.entries, self.fields
        fields["strict_mode"] = True
        fields["down_timer_adverts"] = 3
        if get(entries, "down_timer_adverts", 3) != 3:
            self.warning("strict mode uses 3", "remove the line", "down_timer_adverts")
        fields["lower_prio_no_advert"] = True
        if get(entries, "lower_prio_no_advert", True) is False:
            self.warning(
                "strict mode turns lower_prio_no_advert on",
                "remove the line",
                "lower_prio_no_advert",
            )
        fields["higher_prio_send_advert"] = False
        if get(entries, "higher_prio_send_advert", False):
            self.warning(
                "strict mode turns higher_prio_send_advert off",
                "remove the line",
                "higher_prio_send_advert",
            )
        accept = self.priority == OWNER
        if "accept" in entries and not accept:
            if self.version == 2:
                self.warning(
                    "strict mode of version 2 turns accept off (RFC 3768)",
                    "remove the line, or write version 3",
                    "accept",
                )
            else:
                accept = True
        fields["accept"] = accept

    def _owner_settings(self) -> None:
        entries, fields, defaults = self.entries, self.fields, self.defaults
        if self.priority == OWNER:
            # keepalived takes the mere presence of the keyword as on.
            fields["owner_ignore_adverts"] = (
                "owner_ignore_adverts" in entries or self.strict or defaults.owner_ignore_adverts
            )
        elif get(entries, "owner_ignore_adverts", False):
            self.warning(
                "owner_ignore_adverts needs priority 255, ignored",
                "remove it",
                "owner_ignore_adverts",
            )
        as_v2 = get(entries, "v3_checksum_as_v2", defaults.v3_checksum_as_v2)
        if as_v2 and self.version == 3 and self.family == 4:
            fields["v3_checksum_as_v2"] = True
        elif as_v2 and "v3_checksum_as_v2" in entries:
            self.warning(
                "v3_checksum_as_v2 is for version 3 over IPv4, ignored",
                "remove it",
                "v3_checksum_as_v2",
            )

    def _old_checksum(self) -> str:
        """Without an argument it is always sent; keepalived's default is to do as the peer does."""
        if self.version == 3 and self.family == 4 and "unicast_peer" in self.entries:
            return get(self.entries, "old_unicast_checksum") or "always"
        self.warning(
            "old_unicast_checksum is for version 3 over IPv4 with unicast_peer, ignored",
            "remove it",
            "old_unicast_checksum",
        )
        return "auto"

    def _garp(self) -> Garp:
        entries, defaults = self.entries, self.defaults.garp
        own = _GARP_FIELDS.keys() & entries.keys()
        if not own and "garp_extra_if" not in entries and not self.strict:
            return defaults
        values = {name: getattr(defaults, name) for name in Garp.__struct_fields__}
        for name in own:
            values[_GARP_FIELDS[name]] = entries[name].value
        if "garp_extra_if" in entries:
            values["extra_if_all"], values["extra_if_s"] = entries["garp_extra_if"].value
        if self.strict:
            for name in ("garp_lower_prio_delay", "garp_lower_prio_repeat"):
                if get(entries, name, 0):
                    self.warning(f"strict mode sets {name} to 0", "remove the line", name)
            values["lower_prio_delay_s"] = values["lower_prio_repeat"] = 0
        return Garp(**values)
