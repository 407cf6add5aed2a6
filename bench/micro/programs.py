"""Netlink requests of virtual addresses: fastvrrp's encoder beside pyroute2's."""

from __future__ import annotations

import socket

from pyroute2.netlink.rtnl import RTM_NEWADDR
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from fastvrrp.config.model import VirtualAddress, VrrpInstance
from fastvrrp.net import programs
from fastvrrp.net.objects import IFA_ADDRESS, IFA_LOCAL
from fastvrrp.net.wire import NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, PROTOCOL

from .workload import Maker, Workload

IFINDEX = 7
INTERFACES = {"eth0": IFINDEX}
FLAGS = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE


def addresses(count: int) -> list[str]:
    return [f"10.100.{n >> 8}.{n & 255}" for n in range(count)]


def instances(count: int) -> list[VrrpInstance]:
    return [
        VrrpInstance(
            name=f"V{n}",
            virtual_router_id=n % 255 + 1,
            family=4,
            version=3,
            interface="eth0",
            virtual_ipaddress=(VirtualAddress(address=text, prefixlen=32, family=4),),
        )
        for n, text in enumerate(addresses(count))
    ]


def with_fastvrrp(made: list[VrrpInstance]) -> list[bytes]:
    """The up program of every instance."""
    encoded = []
    for instance in made:
        objects = programs.instance_objects(instance, INTERFACES)
        encoded += [request for request, _ in programs.up_program(objects)]
    return encoded


def with_pyroute2(texts: list[str]) -> list[bytes]:
    """The same requests with the library's message classes."""
    encoded = []
    for text in texts:
        message = ifaddrmsg()
        message["family"] = socket.AF_INET
        message["prefixlen"] = 32
        message["index"] = IFINDEX
        message["attrs"] = [
            ("IFA_LOCAL", text),
            ("IFA_ADDRESS", text),
            ("IFA_PROTO", PROTOCOL),
        ]
        message["header"]["type"] = RTM_NEWADDR
        message["header"]["flags"] = FLAGS
        message.encode()
        encoded.append(bytes(message.data))
    return encoded


def _check(count: int, encoded: list[bytes]) -> None:
    assert len(encoded) == count
    for request, text in zip(encoded, addresses(count), strict=True):
        assert int.from_bytes(request[:4], "little") == len(request)
        assert int.from_bytes(request[4:6], "little") == RTM_NEWADDR
        for kind in (IFA_LOCAL, IFA_ADDRESS):
            attribute = (8).to_bytes(2, "little") + kind.to_bytes(2, "little")
            assert attribute + socket.inet_aton(text) in request


def ours(count: int) -> Workload:
    return Workload(
        f"{count} up programs",
        "netlink programs",
        count,
        lambda: instances(count),
        with_fastvrrp,
        lambda encoded: _check(count, encoded),
    )


def theirs(count: int) -> Workload:
    return Workload(
        f"{count} requests with pyroute2",
        "netlink programs",
        count,
        lambda: addresses(count),
        with_pyroute2,
        lambda encoded: _check(count, encoded),
    )


MAKERS = [Maker(ours, 4, (1, 4096)), Maker(theirs, 4, (1, 4096))]
