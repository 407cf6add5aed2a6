"""Configuration texts in keepalived's grammar, as tests need them."""

from __future__ import annotations

from collections.abc import Iterable

VIP = "192.0.2.100"


def block(head: str, *lines: str) -> str:
    body = "\n".join(lines)
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    return f"{head} {{\n{indented}\n}}"


def instance(
    *extra: str,
    state: str = "BACKUP",
    priority: int = 100,
    version: int = 3,
    advert_int: float = 0.1,
    name: str = "VI",
    interface: str = "eth0",
    vrid: int = 51,
    vips: Iterable[str] = (f"{VIP}/24",),
) -> str:
    """A vrrp_instance block; `extra` lines and blocks go at its end."""
    return block(
        f"vrrp_instance {name}",
        f"state {state}",
        f"interface {interface}",
        f"virtual_router_id {vrid}",
        f"priority {priority}",
        f"version {version}",
        f"advert_int {advert_int:g}",
        block("virtual_ipaddress", *vips),
        *extra,
    )


def config(*blocks: str, defs: tuple[str, ...] = ()) -> str:
    """A whole file; `defs` are more lines of global_defs.

    Scripts run as root because the tests' directories belong to root.
    """
    always = ("router_id test", "enable_script_security", "script_user root")
    return "\n".join((block("global_defs", *always, *defs), *blocks, ""))
