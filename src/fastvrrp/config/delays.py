"""interface_up_down_delays: how long an interface must be down or up before instances react."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fastvrrp.config.blocks import Entry, plain_lines
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.model import NS_PER_S, InterfaceDelay, VrrpInstance
from fastvrrp.config.node import Node
from fastvrrp.config.values import interface_name, time_ns

DELAY_MAX_S = 255
NS_PER_MS = 1_000_000


def read_delays(context: Context, node: Node) -> list[Entry]:
    """Lines IF DOWN [UP], in seconds. Values are InterfaceDelay."""
    entries: list[Entry] = []
    for line in plain_lines(context, node):
        words = line.words
        if not interface_name(context, line, words[0], word=0):
            continue
        context.check_interface(line, words[0], word=0)
        if len(words) < 2:
            context.error(line, f"{words[0]} needs a delay", "write IF DOWN [UP], seconds", word=0)
            continue
        if len(words) > 3:
            context.extra(line, 3)
        delays = [_delay(context, line, index) for index in range(1, min(len(words), 3))]
        down_ns, up_ns = (*delays, 0)[:2]
        if down_ns is None or up_ns is None:
            continue
        if len(words) == 2:
            context.warning(
                line,
                f"{words[0]} has no delay for going up, as in keepalived, whose manual says else",
                f"write {words[0]} {words[1]} {words[1]} for both",
                word=0,
            )
        delay = InterfaceDelay(interface=words[0], down_ns=down_ns, up_ns=up_ns)
        entries = [entry for entry in entries if entry.value.interface != words[0]]
        entries.append(Entry(delay, line))
    return entries


def _delay(context: Context, line: Node, index: int) -> int | None:
    value = time_ns(line.words[index])
    if value is None or value > DELAY_MAX_S * NS_PER_S:
        context.error(
            line,
            f"{shown(line.words[index])} is not a delay",
            f"write 0 to {DELAY_MAX_S} seconds",
            word=index,
        )
        return None
    return value


def bounded(
    context: Context, entries: Iterable[Entry], instances: Iterable[VrrpInstance]
) -> tuple[InterfaceDelay, ...]:
    """The delays, each shorter than the time after which a backup that hears nothing takes over:
    otherwise one whose own cable is pulled would do so."""
    entries = list(entries)
    limits: dict[str, tuple[int, str]] = {}
    for instance in instances if entries else ():
        limit_ns = (instance.down_timer_adverts - 1) * instance.advert_int_ns - NS_PER_MS
        for name in _interfaces(instance):
            limit = limit_ns, instance.name
            limits[name] = min(limits.get(name, limit), limit)
    delays = []
    for entry in entries:
        delay = entry.value
        limit_ns, who = limits.get(delay.interface, (DELAY_MAX_S * NS_PER_S, ""))
        limit_ns = max(limit_ns, 0)
        if max(delay.down_ns, delay.up_ns) > limit_ns:
            context.warning(
                entry.node,
                f"a delay is too long for {who}, whose adverts may be missed before it is over; "
                f"using {limit_ns / NS_PER_S:g}",
                f"write up to {limit_ns / NS_PER_S:g} seconds",
                word=1,
            )
            delay = msgspec.structs.replace(
                delay, down_ns=min(delay.down_ns, limit_ns), up_ns=min(delay.up_ns, limit_ns)
            )
        delays.append(delay)
    return tuple(delays)


def _interfaces(instance: VrrpInstance) -> set[str]:
    """Interfaces whose state matters to an instance."""
    names: set[str | None] = {
        instance.interface,
        *(tracked.name for tracked in instance.track_interface),
    }
    for address in (*instance.virtual_ipaddress, *instance.virtual_ipaddress_excluded):
        names.add(address.dev)
    for route in instance.virtual_routes:
        names.update((route.dev, *(hop.dev for hop in route.nexthops)))
    for rule in instance.virtual_rules:
        names.update((rule.iif, rule.oif))
    return {name for name in names if name is not None}
