"""Entries of YAML files, for tests of what a reload parses again."""

from __future__ import annotations

GLOBAL = "global:\n  enable_script_security: true\n  script_user: root\n"


def instance(number: int, *lines: str, priority: int = 100, indent: str = "  ") -> str:
    """An entry of instances."""
    own = (
        "interface: eth0",
        f"virtual_router_id: {number}",
        f"priority: {priority}",
        f"addresses: [10.0.0.{number}/24]",
        *lines,
    )
    return f"{indent}V{number}:\n" + "".join(f"{indent}  {line}\n" for line in own)


def server(number: int, *lines: str, weight: int = 1, indent: str = "  ") -> str:
    """An entry of virtual_servers."""
    own = ("protocol: TCP", "scheduler: rr", "method: NAT", *lines)
    text = f"{indent}- address: 10.1.0.{number}:80\n"
    text += "".join(f"{indent}  {line}\n" for line in own)
    text += f"{indent}  real_servers:\n{indent}    - 10.0.0.2:80\n"
    return text + f"{indent}    - address: 10.0.0.3:80\n{indent}      weight: {weight}\n"


def instances(*entries: str) -> str:
    return "instances:\n" + "".join(entries)


def servers(*entries: str) -> str:
    return "virtual_servers:\n" + "".join(entries)


def own(*lines: str, section: str = "instances", name: str = "r1") -> str:
    """The part of one router."""
    return f"nodes:\n  {name}:\n    {section}:\n" + "".join(f"      {line}\n" for line in lines)


FOR = (
    "  W<n>:\n    for: {n: 21..23}\n    interface: eth0\n    virtual_router_id: <n>\n"
    "    addresses: [10.0.0.<n>]\n"
)


LISTS = (
    "static_addresses:\n  - 10.0.9.9 dev eth0\n  - 10.0.9.8 dev eth0\n",
    "static_routes:\n- 10.7.0.0/24 via 10.0.0.1 dev eth0\n- 10.8.0.0/24 via 10.0.0.1 dev eth0\n",
    "static_rules: [from 10.9.0.0/24 table 100 priority 7]\n",
    "interface_up_down_delays:\n  - eth0 1 2\n",
)
REST = (
    "tls:\n  password: secret\n",
    "track_scripts:\n  S<n>:\n    for: {n: 1..3}\n    script: /bin/true\n    template: often\n",
    "sync_groups: {G: {instances: [V1, V2]}}\n",
    "virtual_server_groups:\n  W:\n  - 10.4.0.1-7:80\n  X: [fwmark 3]\n",
    "track_files:\n  F: {file: /run/x}\n",
    "garp_groups:\n  - interfaces: [eth0]\n    garp_interval: 1s\n",
)
PRESETS = (
    "defaults:\n  track_scripts:\n    weight: 7\n  track_files: {weight: 3}\n"
    "  garp_groups:\n    gna_interval: 2s\n  real_servers:\n    weight: 3\n"
    "templates:\n  track_scripts:\n    often:\n      interval: 2s\n"
)


MANY = [instance(n) for n in range(1, 21)]
FARM = [server(n) for n in range(1, 11)]
