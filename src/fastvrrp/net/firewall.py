"""nftables for `no_accept`, and for virtual MAC devices.

With `no_accept`, who is not the address owner does not take part at the VIPs. One table of our own
holds sets of the virtual addresses and two base chains. Packets to these addresses that reach the
local host are dropped, and so are packets from them; IPv6 neighbour discovery is let through, ARP
is not IP and unaffected (RFC 9568 6.1 Accept_Mode, 6.4.3).

The sets hold the addresses all the time and not only while master: the `input` hook sees local
delivery alone, and the `output` hook matches the source alone, so on a backup, which does not
hold the addresses, nothing can match. Thus nothing on the failover path waits for nftables, and
no instant exists in which an address is up and not yet protected.

Virtual MAC devices exist on a backup, too. Whatever one of them sends there makes switches look
for the virtual router in the wrong place, and the kernel sends by itself: reports of multicast
groups (IGMP, MLD), router solicitations. These are dropped; the groups are joined on the parent
(vrrp.links).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence

from fastvrrp.config.model import Configuration, GlobalDefs, VirtualAddress, VrrpInstance
from fastvrrp.net.devices import virtual_macs

DEFAULT_TABLE = "fastvrrp"
NFT = ("nft", "-f", "-")
_OWNER_PRIORITY = 255
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,30}\Z")

# Runs a program with the given standard input; returns exit status and its output (stderr).
Run = Callable[[Sequence[str], bytes], Awaitable[tuple[int, bytes]]]


class FirewallError(Exception):
    """nft refused; the text is its message."""


def valid_table_name(name: str) -> bool:
    """Whether a name can be used for a table without quoting."""
    return _NAME.match(name) is not None


def table_name(configuration: Configuration) -> str:
    """The table's name. Raises FirewallError when it cannot be one."""
    name = configuration.global_defs.nftables or DEFAULT_TABLE
    if not valid_table_name(name):
        raise FirewallError(f"{name!r} cannot be the name of an nftables table")
    return name


def _protected(
    configuration: Configuration,
) -> Iterable[tuple[VrrpInstance, VirtualAddress]]:
    for instance in configuration.vrrp_instances:
        if instance.accept or instance.priority == _OWNER_PRIORITY:
            continue
        for address in (*instance.virtual_ipaddress, *instance.virtual_ipaddress_excluded):
            yield instance, address


def protects(configuration: Configuration) -> bool:
    """Whether any instance has `no_accept` and does not own its addresses."""
    return any(True for _ in _protected(configuration))


def is_needed(configuration: Configuration) -> bool:
    """Whether there is anything for the table to do."""
    return protects(configuration) or bool(virtual_macs(configuration))


def ruleset(configuration: Configuration) -> bytes:
    """The whole table as one nft transaction that replaces whatever was there.

    Raises FirewallError for an unusable table or interface name.
    """
    ipv4: set[str] = set()
    ipv6: set[str] = set()
    link_local: set[str] = set()
    for instance, address in _protected(configuration):
        parsed = ipaddress.ip_address(address.address)
        if parsed.version == 4:
            ipv4.add(str(parsed))
        elif parsed.is_link_local:
            device = address.dev or instance.interface
            if device:  # the same link-local address may be somebody else's on another link
                link_local.add(f"{_quoted(device)} . {parsed}")
        else:
            ipv6.add(str(parsed))
    name = table_name(configuration)
    defs = configuration.global_defs
    macs = {_quoted(device) for device in virtual_macs(configuration)}
    lines = [
        f"add table inet {name}",
        f"delete table inet {name}",
        f"table inet {name} {{",
        *_set("vips4", "ipv4_addr", ipv4),
        *_set("vips6", "ipv6_addr", ipv6),
        *_set("vips6_link_local", "ifname . ipv6_addr", link_local),
        *(_silence(macs, defs) if macs else ()),
        *_chain("in", "input", "daddr", "iifname", defs),
        *_chain("out", "output", "saddr", "oifname", defs),
        "}",
    ]
    return ("\n".join(lines) + "\n").encode()


def removal(name: str) -> bytes:
    """A transaction that removes the table, also when it does not exist."""
    if not valid_table_name(name):
        raise FirewallError(f"{name!r} cannot be the name of an nftables table")
    return f"add table inet {name}\ndelete table inet {name}\n".encode()


def _quoted(interface: str) -> str:
    if '"' in interface or "\n" in interface or "\\" in interface:
        raise FirewallError(f"interface name {interface!r} cannot be used in nftables")
    return f'"{interface}"'


def _set(name: str, kind: str, elements: set[str]) -> list[str]:
    lines = [f"  set {name} {{", f"    type {kind}"]
    if elements:
        lines.append(f"    elements = {{ {', '.join(sorted(elements))} }}")
    return [*lines, "  }"]


def _silence(macs: set[str], defs: GlobalDefs) -> list[str]:
    """Set and chain for virtual MAC devices, before the one that lets neighbour discovery out."""
    count = "counter " if defs.nftables_counters else ""
    return [
        *_set("virtual_macs", "ifname", macs),
        "  chain silence {",
        f"    type filter hook output priority {defs.nftables_priority - 1}; policy accept;",
        f"    oifname @virtual_macs ip protocol igmp {count}drop",
        "    oifname @virtual_macs icmpv6 type { mld-listener-report, mld-listener-done, "
        f"mld2-listener-report, nd-router-solicit }} {count}drop",
        "  }",
    ]


def _chain(name: str, hook: str, direction: str, interface: str, defs: GlobalDefs) -> list[str]:
    count = "counter " if defs.nftables_counters else ""
    neighbour_discovery = (
        "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect"
    )
    return [
        f"  chain {name} {{",
        f"    type filter hook {hook} priority {defs.nftables_priority}; policy accept;",
        f"    icmpv6 type {{ {neighbour_discovery} }} {count}accept",
        f"    ip {direction} @vips4 {count}drop",
        f"    ip6 {direction} @vips6 {count}drop",
        f"    {interface} . ip6 {direction} @vips6_link_local {count}drop",
        "  }",
    ]


class Firewall:
    """Keeps the table as the configuration wants it.

    The table's name must be in the journal before `apply` is called.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._applied: bytes = b""
        self._table: str | None = None

    @property
    def table(self) -> str | None:
        """Name of the installed table."""
        return self._table

    async def apply(self, configuration: Configuration) -> bool:
        """Install, replace or remove the table; True when something was changed.

        To be awaited before instances start, and again after a reload. Raises FirewallError.
        """
        if not is_needed(configuration):
            return await self.remove()
        wanted = ruleset(configuration)
        if wanted == self._applied:
            return False
        name = table_name(configuration)
        old = b"" if self._table in (None, name) else removal(str(self._table))
        await self._nft(old + wanted)  # one transaction
        self._applied = wanted
        self._table = name
        return True

    async def remove(self) -> bool:
        """Remove the table; True when there was one. Raises FirewallError."""
        if self._table is None:
            return False
        await self._nft(removal(self._table))
        self._applied = b""
        self._table = None
        return True

    async def _nft(self, script: bytes) -> None:
        status, output = await self._run(NFT, script)
        if status != 0:
            text = output.decode("utf-8", "replace").strip()
            raise FirewallError(f"nft failed with status {status}: {text}")
