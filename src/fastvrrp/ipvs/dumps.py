"""keepalived's dump of the checker process, in our own words: state as text, or as JSON.

keepalived promises no form for its text; ours is the status of the control socket.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fastvrrp.supervisor import dumpfile


def write(kind: str, path: Path, status: dict[str, Any]) -> None:
    """Replace `path` in one step. `kind` is "data" or "json"; others have nothing of ours.

    Raises OSError.
    """
    if kind == "json":
        data = msgspec.json.format(msgspec.json.encode(status["virtual_servers"]), indent=2)
    elif kind == "data":
        data = "\n".join(_text(status)).encode()
    else:
        return
    dumpfile.replace(path, data + b"\n")


def _text(status: dict[str, Any]) -> Iterator[str]:
    for virtual_server in status["virtual_servers"]:
        yield f"VIP = {virtual_server['name']}"
        yield from _fields(virtual_server, 2, "name", "servers", "counters")
        for server in virtual_server["servers"]:
            yield f"  RIP = {server['name']}"
            yield from _fields(server, 4, "name", "checks", "counters")
            for check in server["checks"]:
                yield f"    {check['kind']}"
                yield from _fields(check, 6, "kind")


def _fields(record: dict[str, Any], indent: int, *without: str) -> Iterator[str]:
    for name, value in record.items():
        if name not in without:
            yield f"{' ' * indent}{name} = {value}"
