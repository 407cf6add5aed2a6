"""What global_defs, the SSL block and the top level say about the ipvs process as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastvrrp.config.blocks import Entries, Entry, get
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.keywords import table
from fastvrrp.config.model import VrrpInstance
from fastvrrp.config.node import Node
from fastvrrp.config.servers import Ipvs, SyncDaemon, Timeouts, TlsContext, VirtualServer
from fastvrrp.config.values import bare_address, interface_name, is_multicast, within

_OPTIONS = "global_defs/lvs_sync_daemon"
_NUMBERS = ("id", "maxlen", "port", "ttl")


def ipvs_settings(
    top: Entries,
    entries: Entries,
    tls: Entries,
    daemon: SyncDaemon | None,
    virtual_servers: tuple[VirtualServer, ...],
) -> Ipvs:
    """The load balancer's part. `top` has the statements outside all blocks, `entries` those
    of global_defs, `tls` those of SSL."""
    return Ipvs(
        virtual_servers=virtual_servers,
        sync_daemon=daemon,
        timeouts=get(entries, "lvs_timeouts", Timeouts()),
        flush="lvs_flush" in entries,
        flush_on_stop=_flush_on_stop(entries),
        tls=TlsContext(**{name: entry.value for name, entry in tls.items()}),
        no_checker_emails=get(entries, "no_checker_emails", False),
        rs_init_notifies=get(entries, "rs_init_notifies", False),
        priority=get(entries, "checker_priority", 0),
        rt_priority=get(entries, "checker_rt_priority", 0),
        rlimit_rttime_us=get(entries, "checker_rlimit_rttime", Ipvs().rlimit_rttime_us),
        cpu_affinity=get(entries, "checker_cpu_affinity", ()),
        no_swap="checker_no_swap" in entries,
        net_namespace=get(top, "net_namespace_ipvs"),
    )


def _flush_on_stop(entries: Entries) -> str | None:
    """The keyword alone means everything in the table."""
    entry = entries.get("lvs_flush_on_stop")
    return (entry.value or "all") if entry is not None else None


def sync_daemon(
    context: Context,
    top: Entries,
    entries: Entries,
    instances: Mapping[str, VrrpInstance],
    written: Sequence[tuple[str, Entry]],
) -> SyncDaemon | None:
    """lvs_sync_daemon IF [[inst] INSTANCE] [OPTION VALUE ...] of global_defs, or the first
    lvs_sync_daemon_interface `written` in an instance. Its interface is in the namespace of the
    IPVS table."""
    is_here = "net_namespace_ipvs" not in top
    entry = entries.get("lvs_sync_daemon")
    for _, other in written if entry is not None else written[1:]:
        text = "the daemon is configured already, ignored here"
        context.warning(other.node, text, "keep lvs_sync_daemon in global_defs")
    if entry is None:
        if not written:
            return None
        name, found = written[0]
        if is_here:
            context.check_interface(found.node, found.value)
        return SyncDaemon(interface=found.value, instance=name) if name in instances else None
    node, words = entry.node, entry.node.words
    if not interface_name(context, node, words[1]):
        return None
    if is_here:
        context.check_interface(node, words[1])
    known = table()[_OPTIONS]
    fields: dict[str, Any] = {}
    index = 2
    while index < len(words):
        word = words[index]
        if word not in known:
            if index > 2:
                context.unknown(node, "option", known, word=index)
                return None
            fields["instance"] = _instance(context, node, index, instances)
            index += 1
            continue
        if index + 1 == len(words):
            text = f"{word} needs a value"
            context.error(node, text, f"write {word} {known[word].syntax}", word=index)
            return None
        _option(context, node, index, fields, instances)
        index += 2
    chosen: str | None = fields.get("instance")
    if chosen is not None and "id" not in fields:
        fields["id"] = instances[chosen].virtual_router_id
    return SyncDaemon(interface=words[1], **fields)


def _instance(
    context: Context, node: Node, index: int, instances: Mapping[str, VrrpInstance]
) -> str | None:
    name = node.words[index]
    if name in instances:
        return name
    context.error(
        node,
        f"there is no vrrp_instance {shown(name)}",
        suggestion(name, instances) or "name an existing instance",
        word=index,
    )
    return None


def _option(
    context: Context,
    node: Node,
    index: int,
    fields: dict[str, Any],
    instances: Mapping[str, VrrpInstance],
) -> None:
    """One option with its value; keepalived goes on with the default of a bad one."""
    word, text = node.words[index], node.words[index + 1]
    if word == "inst":
        fields["instance"] = _instance(context, node, index + 1, instances)
        return
    row = table()[_OPTIONS][word]
    if word == "group":
        address, family = bare_address(context, node, word=index + 1)
        if family and is_multicast(address, family):
            fields["group"] = address
            return
        want = "a multicast address"
    else:
        low, _, high = row.range.partition("..")
        value = within(text, int(low), int(high))
        if value is not None:
            fields[word] = value
            return
        want = f"a number from {low} to {high}"
    context.warning(
        node,
        f"{word} is not {want}: {shown(text)}, using {row.default}",
        f"write {want}",
        word=index + 1,
    )
