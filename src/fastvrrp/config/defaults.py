"""What global_defs gives to instances and virtual servers: one object per state of it, shared."""

from __future__ import annotations

from fastvrrp.config.blocks import Entries, get
from fastvrrp.config.model import Garp, Notify

MCAST_GROUP4 = "224.0.0.18"  # RFC 9568 5.1.1.2
MCAST_GROUP6 = "ff02::12"  # RFC 9568 5.1.2.2


class Defaults:
    """Resolved per-instance defaults out of the global_defs read so far."""

    def __init__(self, entries: Entries) -> None:
        self.version: int = get(entries, "vrrp_version", 2)
        self.strict_mode: bool = get(entries, "vrrp_strict", False)
        self.mcast4: str = get(entries, "vrrp_mcast_group4", MCAST_GROUP4)
        self.mcast6: str = get(entries, "vrrp_mcast_group6", MCAST_GROUP6)
        self.down_timer_adverts: int = get(entries, "vrrp_down_timer_adverts", 3)
        self.lower_prio_no_advert: bool = get(entries, "vrrp_lower_prio_no_advert", False)
        self.higher_prio_send_advert: bool = get(entries, "vrrp_higher_prio_send_advert", True)
        self.owner_ignore_adverts: bool = get(entries, "vrrp_owner_ignore_adverts", False)
        self.skip_check_adv_addr: bool = get(entries, "vrrp_skip_check_adv_addr", False)
        self.check_unicast_src = "vrrp_check_unicast_src" in entries
        self.v3_checksum_as_v2 = "v3_checksum_as_v2" in entries
        self.rx_policy: int | str = get(entries, "vrrp_rx_bufs_policy", 0)  # bytes, MTU, ADVERT
        self.rx_multiplier: int = get(entries, "vrrp_rx_bufs_multiplier", 3)
        self.notify_priority_changes: bool = get(entries, "vrrp_notify_priority_changes", False)
        everything = get(entries, "smtp_alert", False)
        self.smtp_alert: bool = get(entries, "smtp_alert_vrrp", everything)
        checkers = get(entries, "smtp_alert_checker", get(entries, "smtp_alert"))
        self.smtp_alert_virtual_server: bool = bool(checkers)
        self.smtp_alert_real_server: bool = True if checkers is None else checkers
        self.checker_log_all_failures: bool = get(entries, "checker_log_all_failures", False)
        self.garp = _garp(entries)
        # What applies to an instance that says nothing of its own about it, see instance.py.
        self.quiet = {
            "nopreempt": False,
            "preempt_delay_ns": 0,
            "accept": True,
            "down_timer_adverts": self.down_timer_adverts,
            "lower_prio_no_advert": self.lower_prio_no_advert,
            "higher_prio_send_advert": self.higher_prio_send_advert,
            "skip_check_adv_addr": self.skip_check_adv_addr,
        }
        self.notify = Notify(
            notify_priority_changes=self.notify_priority_changes, smtp_alert=self.smtp_alert
        )


def _garp(entries: Entries) -> Garp:
    """The lower_prio settings follow the global master settings, as in keepalived."""
    is_least = get(entries, "vrrp_min_garp", False)
    delay_s = get(entries, "vrrp_garp_master_delay", 0 if is_least else 5)
    repeat = get(entries, "vrrp_garp_master_repeat", 1 if is_least else 5)
    extra_all, extra_s = get(entries, "vrrp_garp_extra_if", (False, 0))
    return Garp(
        master_delay_s=delay_s,
        master_repeat=repeat,
        master_refresh_s=get(entries, "vrrp_garp_master_refresh", 0),
        master_refresh_repeat=get(entries, "vrrp_garp_master_refresh_repeat", 1),
        lower_prio_delay_s=get(entries, "vrrp_garp_lower_prio_delay", delay_s),
        lower_prio_repeat=get(entries, "vrrp_garp_lower_prio_repeat", repeat),
        extra_if_s=extra_s,
        extra_if_all=extra_all,
    )
