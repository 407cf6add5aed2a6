"""Checkers of a real server: from what is written to what applies.

What every checker has in common is here: where it connects to, when it runs, and how it becomes
part of a model that other real servers can share (`Draft`). What is particular to one kind is in
checkkinds.py.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from fastvrrp.config.blocks import Entries, get
from fastvrrp.config.context import Context
from fastvrrp.config.model import NS_PER_S, Position
from fastvrrp.config.node import Node
from fastvrrp.config.scripts import Scripts
from fastvrrp.config.servers import (
    CONNECT_TIMEOUT_NS,
    DELAY_LOOP_NS,
    Connection,
    Schedule,
)
from fastvrrp.config.trackers import Trackers


class Settings(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a virtual server gives its real servers and they their checkers; None: not said."""

    delay_loop_ns: int = DELAY_LOOP_NS
    connect_timeout_ns: int = CONNECT_TIMEOUT_NS
    retry: int | None = None
    delay_before_retry_ns: int | None = None
    warmup_ns: int | None = None
    alpha: bool = False
    log_all_failures: bool = False
    virtualhost: str | None = None
    service_delay_loop_ns: int = DELAY_LOOP_NS  # the virtual server's, whoever else says another

    def within(self, entries: Entries) -> Settings:
        """The settings one level further in, where `entries` stand."""
        return Settings(
            delay_loop_ns=get(entries, "delay_loop", self.delay_loop_ns),
            connect_timeout_ns=get(entries, "connect_timeout", self.connect_timeout_ns),
            retry=get(entries, "retry", self.retry),
            delay_before_retry_ns=get(entries, "delay_before_retry", self.delay_before_retry_ns),
            warmup_ns=get(entries, "warmup", self.warmup_ns),
            alpha=get(entries, "alpha", self.alpha),
            log_all_failures=get(entries, "log_all_failures", self.log_all_failures),
            virtualhost=get(entries, "virtualhost") or self.virtualhost,
            service_delay_loop_ns=self.service_delay_loop_ns,
        )

    def is_slow(self, *, is_written: bool = False) -> bool:
        """Whether an attempt may take longer than the pause between two. The default, which
        nobody wrote, is not counted."""
        timeout_ns = self.connect_timeout_ns
        return timeout_ns > self.delay_loop_ns and (is_written or timeout_ns != CONNECT_TIMEOUT_NS)

    def schedule(self, *, retry: int, delay_before_retry_ns: int | None) -> Schedule:
        """Of a checker whose kind has these defaults; None: its delay_loop."""
        default_ns = self.delay_loop_ns if delay_before_retry_ns is None else delay_before_retry_ns
        wait_ns = self.delay_before_retry_ns
        return Schedule(
            delay_loop_ns=self.delay_loop_ns,
            retry=retry if self.retry is None else self.retry,
            delay_before_retry_ns=default_ns if wait_ns is None else wait_ns,
            warmup_ns=self.delay_loop_ns if self.warmup_ns is None else self.warmup_ns,
            alpha=self.alpha,
            log_all_failures=self.log_all_failures,
        )


def check_pace(context: Context, entries: Entries, outer: Settings, settings: Settings) -> None:
    """Say, where it is written, that a silent server is looked at less often than it seems."""
    is_written = "connect_timeout" in entries
    if not settings.is_slow(is_written=is_written) or outer.is_slow():
        return
    keyword = "connect_timeout" if is_written else "delay_loop"
    timeout_s, delay_s = (
        ns / NS_PER_S for ns in (settings.connect_timeout_ns, settings.delay_loop_ns)
    )
    context.warning(
        entries[keyword].node,
        f"connect_timeout {timeout_s:g} is longer than delay_loop {delay_s:g}: a server that does "
        "not answer is checked less often",
        f"write connect_timeout {delay_s:g} or less",
        word=1,
    )


class Surroundings(msgspec.Struct, frozen=True, eq=False):
    """What checkers refer to: scripts, trackers, and where in the file they stand."""

    context: Context
    scripts: Scripts
    trackers: Trackers
    owner: str  # how messages call the real server
    order: int  # number of the top-level statement


class Target(msgspec.Struct, frozen=True, gc=False):
    """The real server that is checked; port 0: none is known."""

    address: str
    port: int
    family: int


def is_link_local(address: str) -> bool:
    """fe80::/10, RFC 4291 2.5.6."""
    return address[:3] == "fe8" or address[:3] in ("fe9", "fea", "feb")


def connection(
    around: Surroundings,
    node: Node,
    entries: Entries,
    target: Target,
    settings: Settings,
    *,
    has_ports: bool = True,
) -> Connection | None:
    """Where a checker connects to, or None after an error."""
    context = around.context
    address, family = get(entries, "connect_ip", (target.address, target.family))
    bind_address, bind_family = get(entries, "bindto", (None, family))
    if bind_family != family:
        entry = entries["bindto"]
        context.error(
            entry.node,
            f"bindto {bind_address} and {address}, which is connected to, "
            "are of different families",
            f"write an IPv{family} address",
            word=1,
        )
        return None
    interface = get(entries, "bind_if")
    if interface is not None:
        context.check_interface(entries["bind_if"].node, interface)
    for place in (address, bind_address):
        if place is not None and interface is None and is_link_local(place):
            context.error(
                node,
                f"{place} is link-local: an interface must be named",
                "add bind_if INTERFACE",
            )
            return None
    port: int = get(entries, "connect_port", target.port) if has_ports else 0
    if has_ports and not port:
        text = f"{around.owner}: {node.words[0]} of {target.address} has no port to connect to"
        context.error(node, text, "add connect_port PORT")
        return None
    return Connection(
        address=address,
        port=port,
        bind_address=bind_address,
        bind_port=get(entries, "bind_port", 0),
        bind_if=interface,
        fwmark=get(entries, "fwmark", 0),
        timeout_ns=settings.connect_timeout_ns,
    )


class Draft(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A checker that was read, and what of it is another one in a real server that says the same.

    number       of its block's statement in the real server
    has_address  whether it connects to the real server's own address
    inner        number of the statement in the checker's block that makes it, -1: the block
    command      number of the statement with its command in the block, -1: none
    """

    check: Any
    number: int
    has_address: bool = False
    inner: int = -1
    command: int = -1

    def places(self, body: list[Node]) -> tuple[Position, Position | None]:
        """Where the checker is written in a real server, and where its command."""
        node = body[self.number]
        inside = node.body or []
        place = node.position() if self.inner < 0 else inside[self.inner].position()
        return place, inside[self.command].position(1) if self.command >= 0 else None

    def at(self, address: str, place: Position, command: Position | None) -> Any:
        """The checker of a real server with this address; for the rest see `places`."""
        check = self.check
        if self.has_address:
            to = replace(check.connection, address=address)
            return replace(check, connection=to, position=place)
        if command is not None:
            return replace(check, command=replace(check.command, position=command), position=place)
        return replace(check, position=place)
