"""Small configurations of virtual servers for the tests."""

from __future__ import annotations

from typing import Any

from fastvrrp.config.servers import (
    Connection,
    RealServer,
    Schedule,
    ServiceAddress,
    SorryServer,
    TcpCheck,
    VirtualServer,
)
from fastvrrp.ipvs.identity import ServerKey


def check(number: int = 1, *, alpha: bool = False, **schedule: Any) -> TcpCheck:
    """Checks of the same number do the same."""
    return TcpCheck(
        connection=Connection(address="192.0.2.1", port=number),
        schedule=Schedule(alpha=alpha, **schedule),
    )


def rs(number: int, *checks: TcpCheck, **values: Any) -> RealServer:
    """10.0.0.NUMBER port 80; with one check unless others are given."""
    made = checks or (check(),)
    return RealServer(
        **{"address": f"10.0.0.{number}", "port": 80, "family": 4, "checks": made, **values}
    )


def key(number: int) -> ServerKey:
    return ServerKey(f"10.0.0.{number}", 80)


def sorry(**values: Any) -> SorryServer:
    return SorryServer(**{"address": "10.0.0.200", "port": 80, "family": 4, **values})


def vs(*servers: RealServer, **values: Any) -> VirtualServer:
    return VirtualServer(
        **{
            "name": "[10.1.0.1]:tcp:80",
            "services": (ServiceAddress(family=4, address="10.1.0.1", port=80),),
            "real_servers": servers,
            **values,
        }
    )
