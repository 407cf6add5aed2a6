"""keepalived.conf files with many virtual servers, the same for every daemon that is measured."""

from __future__ import annotations

SERVICES = 2277  # the largest deployment that users of keepalived have told of
SERVERS = 37205

TCP_CHECK = ("TCP_CHECK {", "    connect_timeout 3", "    retry 2", "    delay_before_retry 1", "}")
HTTP_GET = (
    *("HTTP_GET {", "    url {", "        path /", "        status_code 200", "    }"),
    *("    connect_timeout 3", "    retry 2", "    delay_before_retry 1", "}"),
)


def render(
    services: int,
    servers: int,
    *,
    delay_loop_s: float = 6,
    check: tuple[str, ...] = TCP_CHECK,
    weights: dict[int, int] | None = None,
) -> str:
    """`services` virtual servers which share out `servers` real servers, each with this check.

    `weights` are those that are not 1, by the number of the server.
    """
    each, more = divmod(servers, services)
    lines: list[str] = []
    server = 0
    for service in range(services):
        lines += [
            f"virtual_server {address(10, service)} 80 {{",
            f"    delay_loop {delay_loop_s:g}",
            "    lvs_sched rr",
            "    lvs_method NAT",
            "    protocol TCP",
        ]
        for _ in range(each + (service < more)):
            weight = (weights or {}).get(server, 1)
            lines += [
                f"    real_server {address(11, server)} 80 {{",
                f"        weight {weight}",
                *(f"        {line}" for line in check),
                "    }",
            ]
            server += 1
        lines.append("}")
    return "\n".join(lines) + "\n"


def first_server(service: int, services: int, servers: int) -> int:
    """The number of its first real server."""
    each, more = divmod(servers, services)
    return service * each + min(service, more)


def address(network: int, number: int) -> str:
    """The address with this number in a /8."""
    return f"{network}.{number >> 16}.{number >> 8 & 255}.{number & 255}"
