"""Routes in the table of a VRF device: here, because this kernel has such devices."""

from __future__ import annotations

import json
from pathlib import Path

from daemon_tools import Daemon, wait_for
from guest_tools import ip, namespace

TEXT = """\
static_routes {
    10.7.1.0/24 dev eth0 vrf blue
}
vrrp_instance V1 {
    interface eth1
    virtual_router_id 51
    version 3
    priority 255
    advert_int 0.1
    virtual_ipaddress {
        10.1.0.100/24
    }
    virtual_routes {
        10.7.0.0/16 dev eth1 vrf blue
    }
}
"""


def test_routes_follow_the_device(tmp_path: Path) -> None:
    """`vrf`: without it there is no route and the instance is master all the same; when it comes,
    and when it comes back with another table, the routes are in its table. Afterwards none is."""
    with namespace() as space, Daemon(space, tmp_path) as daemon:

        def routes(table: int) -> set[str]:
            shown = json.loads(ip(f"-n {space} -j route show table all") or "[]")
            return {route["dst"] for route in shown if route.get("table") in (str(table), "blue")}

        daemon.start(TEXT)
        wait_for(lambda: daemon.status()["instances"][0]["state"] == "MASTER", "master")
        assert routes(1000) == set()
        both = {"10.7.0.0/16", "10.7.1.0/24"}
        for table in (1000, 1001):
            ip(f"-n {space} link add blue type vrf table {table}")
            ip(f"-n {space} link set blue up")
            wait_for(lambda table=table: routes(table) == both, f"routes in table {table}")
            assert daemon.status()["instances"][0]["state"] == "MASTER"
            ip(f"-n {space} link del blue")
            wait_for(lambda table=table: not routes(table), f"nothing left in table {table}")
        ip(f"-n {space} link add blue type vrf table 1000")
        wait_for(lambda: routes(1000) == both, "routes in table 1000")
        assert daemon.stop() == 0
        assert routes(1000) == set()
