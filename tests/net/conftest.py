"""A network namespace around a test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest
from net_tools import ip, ip_json, run, wait_until

from fastvrrp.net import namespace as net_namespace

_numbers = itertools.count()


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace of its own that this thread is in; loopback is up."""
    name = f"net-{os.getpid()}-{next(_numbers)}"
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    run("ip", "netns", "add", name)
    try:
        net_namespace.enter(name)
        ip("link set lo up")
        yield name
    finally:
        net_namespace._setns(home)
        os.close(home)
        run("ip", "netns", "del", name)


@pytest.fixture
def link(namespace: str) -> Callable[..., int]:
    """Makes a veth pair NAME, NAMEp, both up; returns NAME's ifindex."""

    def make(name: str = "v0", *addresses: str) -> int:
        ip(f"link add {name} type veth peer name {name}p")
        for end in (name, f"{name}p"):
            run("sysctl", "-qw", f"net.ipv6.conf.{end}.accept_dad=0")
            ip(f"link set {end} up")
        # The kernel's own addresses and routes come a moment after the carrier.
        for end in (name, f"{name}p"):
            wait_until(lambda end=end: "fe80::/64" in ip(f"-6 route show dev {end}"))
            wait_until(lambda end=end: "ff00::/8" in ip(f"-6 route show table local dev {end}"))
        for address in addresses:
            ip(f"address add {address} dev {name}")
            if ":" in address:
                local = f"local {address.partition('/')[0]} "
                wait_until(lambda local=local: local in ip(f"-6 route show table local dev {name}"))
        index: int = ip_json(f"link show dev {name}")[0]["ifindex"]
        return index

    return make
