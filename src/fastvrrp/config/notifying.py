"""Notification settings of instances and sync groups."""

from __future__ import annotations

from fastvrrp.config.blocks import Entries, get
from fastvrrp.config.defaults import Defaults
from fastvrrp.config.model import Command, Notify
from fastvrrp.config.scripts import Scripts

_SCRIPTS = (
    "notify",
    "notify_master",
    "notify_backup",
    "notify_fault",
    "notify_stop",
    "notify_deleted",
    "notify_master_rx_lower_pri",
)
NOTIFICATIONS = frozenset((*_SCRIPTS, "notify_priority_changes", "smtp_alert"))


def build_notify(entries: Entries, defaults: Defaults, scripts: Scripts) -> Notify:
    """Commands that cannot run are left out; whoever looked at them has said so."""
    if NOTIFICATIONS.isdisjoint(entries):
        return defaults.notify
    commands: dict[str, Command | None] = {}
    report_deleted = False
    for keyword in _SCRIPTS:
        draft = get(entries, keyword)
        if keyword == "notify_deleted" and draft is not None:
            report_deleted = True
        if draft is not None and draft is not True:
            commands[keyword] = scripts.command(draft)
    return Notify(
        **commands,
        report_deleted=report_deleted,
        notify_priority_changes=get(
            entries, "notify_priority_changes", defaults.notify_priority_changes
        ),
        smtp_alert=get(entries, "smtp_alert", defaults.smtp_alert),
    )
