"""Virtual and real servers for `fastvrrp status`, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastvrrp.cli.common import duration, milliseconds
from fastvrrp.words import counted

UP, DOWN, SORRY = "UP", "DOWN", "SORRY"
COLUMNS = ("SERVER", "STATE", "FOR", "HOW", "WEIGHT", "ACTIVE", "INACTIVE", "WHY")
SHOWN = 60  # real servers in a table; of more than that only those that do not serve


def rows(virtual_servers: Sequence[dict[str, Any]]) -> tuple[list[tuple[str, ...]], int]:
    """The lines of a table, and how many real servers that serve are not among them."""
    total = sum(len(one["servers"]) for one in virtual_servers)
    found: list[tuple[str, ...]] = []
    left_out = 0
    for virtual_server in virtual_servers:
        found.append(virtual_row(virtual_server))
        sorry = virtual_server["sorry_server"]
        for server in virtual_server["servers"]:
            if total > SHOWN and server["up"]:
                left_out += 1
            else:
                found.append(real_row(server))
        if sorry is not None and (total <= SHOWN or sorry["active"]):
            found.append(sorry_row(sorry))
    return found, left_out


def virtual_row(virtual_server: dict[str, Any]) -> tuple[str, ...]:
    servers = virtual_server["servers"]
    up = sum(server["up"] for server in servers)
    connections = [one["connections"] for one in servers]
    return (
        virtual_server["name"],
        UP if virtual_server["up"] else DOWN,
        duration(virtual_server["since_s"]),
        virtual_server["scheduler"],
        str(virtual_server["weight"]),
        str(sum(one["active"] for one in connections)),
        str(sum(one["inactive"] for one in connections)),
        f"{up} of {counted(len(servers), 'server')} up, quorum {virtual_server['quorum']}"
        + (", checks suspended" if virtual_server["suspended"] else ""),
    )


def real_row(server: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"  {server['name']}",
        UP if server["up"] else DOWN,
        duration(server["since_s"]),
        server["method"],
        weight_text(server),
        str(server["connections"]["active"]),
        str(server["connections"]["inactive"]),
        why_text(server),
    )


def sorry_row(sorry: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"  {sorry['name']}",
        SORRY if sorry["active"] else "-",
        "-",
        sorry["method"],
        "1" if sorry["active"] else "0",
        str(sorry["connections"]["active"]),
        str(sorry["connections"]["inactive"]),
        "serves in place of the others" if sorry["active"] else "sorry server, not needed",
    )


def weight_text(server: dict[str, Any]) -> str:
    weight, configured = server["weight"], server["configured_weight"]
    return str(weight) if weight == configured else f"{configured}/{weight}"


def why_text(server: dict[str, Any]) -> str:
    """What its checks said last: all of them if it is up, else of those that failed."""
    checks = server["checks"]
    if not checks:
        return "not checked"
    told = [check for check in checks if server["up"] or check["state"] != "up"]
    return "; ".join(check_text(check) for check in told or checks)


def check_text(check: dict[str, Any]) -> str:
    """`TCP_CHECK connected, 1.22 ms`; `TCP_CHECK connection refused`."""
    if "detail" not in check:
        return f"{check['kind']} {_NOT_YET.get(check['state'], check['state'])}"
    text = f"{check['kind']} {check['detail'] or check['verdict']}"
    if check["verdict"] == UP:
        text += f", {milliseconds(check['latency_ms'])}"
    return f"{text} (suspended)" if check["state"] == "suspended" else text


_NOT_YET = {"unknown": "no result yet", "suspended": "suspended"}


def lines(virtual_server: dict[str, Any]) -> list[str]:
    """Everything about one virtual server."""
    state = UP if virtual_server["up"] else DOWN
    since = f"for {duration(virtual_server['since_s'])}, since {virtual_server['since']}"
    found = [f"{virtual_server['name']}: {state} {since}"]
    hysteresis = virtual_server["hysteresis"]
    fields = [
        ("services", ", ".join(virtual_server["services"])),
        (
            "scheduler",
            ", ".join(part for part in (virtual_server["scheduler"], *virtual_server["flags"])),
        ),
        (
            "persistence",
            f"{virtual_server['persistence_timeout_s']} s"
            if virtual_server["persistence_timeout_s"]
            else None,
        ),
        (
            "quorum",
            f"{virtual_server['quorum']}, weight now {virtual_server['weight']}"
            + (f", hysteresis {hysteresis}" if hysteresis else ""),
        ),
        ("checks", "suspended: the address is not here" if virtual_server["suspended"] else None),
        ("counters", counter_text(virtual_server["counters"])),
    ]
    found += [f"  {name + ':':<13}{value}" for name, value in fields if value]
    for server in virtual_server["servers"]:
        found += _server_lines(server)
    sorry = virtual_server["sorry_server"]
    if sorry is not None:
        *_, role = sorry_row(sorry)
        found.append(f"  {sorry['name']}: {sorry['method']}, {role}")
    return found


def _server_lines(server: dict[str, Any]) -> Iterator[str]:
    state = UP if server["up"] else DOWN
    serving = "" if server["serving"] else ", gets no new connections"
    yield (
        f"  {server['name']}: {state} for {duration(server['since_s'])}, {server['method']}, "
        f"weight {weight_text(server)}{serving}"
    )
    connections = server["connections"]
    persistent = f", {connections['persistent']} persistent" if connections["persistent"] else ""
    yield (
        f"    connections: {connections['active']} active, {connections['inactive']} inactive"
        f"{persistent}; {counter_text(server['counters'])}"
    )
    for check in server["checks"]:
        text = f"    {check_text(check)}"
        if "age_s" in check:
            text += f", {duration(check['age_s'])} ago"
            if check["next_s"] is not None:
                text += f", next in {duration(check['next_s'])}"
            if check["failures"]:
                text += f", {counted(check['failures'], 'failure')} in a row"
        yield text


def counter_text(counters: dict[str, int]) -> str:
    return (
        f"{counted(counters['connections'], 'connection')} in all, "
        f"{counters['bytes_in']} bytes in, {counters['bytes_out']} out"
    )


def table_lines(table: dict[str, Any] | None) -> Iterator[str]:
    """What is wrong with the kernel's table, if anything."""
    if table is None:
        return
    for refusal in table["refused"][:10]:
        yield f"the kernel refused: {refusal}"
    if table["mended"]:
        count = counted(table["mended"], "time")
        yield f"another program changed our services {count}; they were put right"
