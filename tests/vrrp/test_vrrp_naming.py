"""Virtual devices of a configuration: which there are, how they are called, what lies on them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from fastvrrp.config.model import (
    Configuration,
    GlobalDefs,
    Ipvlan,
    UnicastPeer,
    VirtualAddress,
    Vmac,
    VrrpInstance,
)
from fastvrrp.net.devices import parents, virtual_mac
from fastvrrp.net.memberships import solicited
from fastvrrp.net.objects import Link
from fastvrrp.net.observed import Observed
from fastvrrp.vrrp.links import carrier
from fastvrrp.vrrp.naming import Resolver


def address(text: str, dev: str | None = None, *, use_vmac: bool = False) -> VirtualAddress:
    family = 6 if ":" in text else 4
    return VirtualAddress(
        address=text, prefixlen=24 if family == 4 else 64, family=family, dev=dev, use_vmac=use_vmac
    )


def instance(name: str = "A", vrid: int = 51, **fields: object) -> VrrpInstance:
    plain = VrrpInstance(
        name=name,
        virtual_router_id=vrid,
        family=4,
        version=3,
        interface="eth0",
        virtual_ipaddress=(address("10.0.0.9"),),
    )
    return msgspec.structs.replace(plain, **fields)


def link(index: int, name: str, *, kind: str = "", mac: bytes = b"", parent: int = 0) -> Link:
    return Link(index, name, 0x1043, mac or bytes(6), 1500, kind, 0, parent, (), 1)


def resolved(
    *instances: VrrpInstance, links: Sequence[Link] = (), held: Configuration | None = None, **defs
) -> Configuration:
    observed = Observed()
    for one in (link(2, "eth0"), link(3, "eth1"), *links):
        observed.put_link(one)
    names = {} if held is None else Resolver(held, observed, {}).resolve()[1]
    wanted = Configuration(vrrp_instances=instances, global_defs=GlobalDefs(**defs))
    return Resolver(wanted, observed, names).resolve()[0]


def test_no_device_without_being_asked() -> None:
    configuration = Configuration(vrrp_instances=(instance(),))
    assert Resolver(configuration, Observed(), {}).resolve() == (configuration, {})


@pytest.mark.parametrize(
    ("vmac", "name", "mac"),
    [
        (Vmac(), "vrrp.51", "00:00:5e:00:01:33"),
        (Vmac(name="vip0"), "vip0", "00:00:5e:00:01:33"),
        (Vmac(address="02:00:00:00:aa"), "vrrp.51", "02:00:00:00:aa:33"),
        (Vmac(address="02:00:00:00:aa:bb"), "vrrp.51", "02:00:00:00:aa:bb"),
    ],
)
def test_the_device_of_an_instance(vmac: Vmac, name: str, mac: str) -> None:
    """RFC 9568 7.3."""
    found = resolved(instance(vmac=vmac))
    (device,) = found.devices
    assert (device.name, device.kind, device.parent, device.mac.hex(":")) == (
        name,
        "macvlan",
        "eth0",
        mac,
    )
    (one,) = found.vrrp_instances
    assert (one.device, carrier(one)) == (name, name)
    assert [a.dev for a in one.virtual_ipaddress] == [name]
    assert (device.carries_ipv4, device.carries_ipv6) == (True, False)
    assert parents(found.devices, Observed()) == {"eth0"}


def test_names_that_are_taken() -> None:
    """PREFIX.VRID, PREFIX6.VRID (IPv6), PREFIX1.VRID, ...: by an instance, or by a link that is
    something else. A link that is the very device gives its name."""
    v6 = instance("B", family=6, vmac=Vmac(), virtual_ipaddress=(address("fe80::9"),))
    other = instance("C", vmac=Vmac(), interface="eth1")
    found = resolved(instance(vmac=Vmac()), v6, other)
    assert [d.name for d in found.devices] == ["vrrp.51", "vrrp6.51", "vrrp1.51"]

    there = [link(7, "vm.51"), link(8, "vm1.51", kind="macvlan", mac=virtual_mac(4, 51), parent=2)]
    found = resolved(instance(vmac=Vmac()), links=there, vmac_prefix="vm")
    assert [d.name for d in found.devices] == ["vm1.51"]

    found = resolved(instance(vmac=Vmac()), instance("B", 52, vmac=Vmac(name="vrrp.51")))
    assert [d.name for d in found.devices] == ["vrrp1.51", "vrrp.51"]


def test_a_device_keeps_its_name() -> None:
    """Over a reload, also when the one before it in the file is gone."""
    first = instance(vmac=Vmac())
    second = instance("B", vmac=Vmac(), interface="eth1")
    old = Configuration(vrrp_instances=(first, second))
    found = resolved(second, held=old)
    assert [d.name for d in found.devices] == ["vrrp1.51"]


def test_adverts_leave_by_the_parent() -> None:
    """vmac_xmit_base, and unicast, which implies it; the addresses are on the device."""
    peers = (UnicastPeer(address="10.0.0.2"),)
    found = resolved(
        instance(vmac=Vmac(xmit_base=True)),
        instance("B", 52, vmac=Vmac(), unicast_peers=peers),
    )
    assert [(i.device, carrier(i)) for i in found.vrrp_instances] == [
        ("vrrp.51", "eth0"),
        ("vrrp.52", "eth0"),
    ]
    assert [i.virtual_ipaddress[0].dev for i in found.vrrp_instances] == ["vrrp.51", "vrrp.52"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"vmac": Vmac()}, ["vrrp.51", "vrrp.51", None, "eth1", "eth1"]),
        (
            {"vmac": Vmac(), "use_vmac_addr": True},
            ["vrrp.51", "vrrp.51", "ad.51", "ad1.51", "ad6.51"],
        ),
        ({"use_vmac_addr": True}, [None, "eth0", "ad.51", "ad1.51", "ad6.51"]),
        ({}, [None, "eth0", None, "eth1", "eth1"]),
    ],
    ids=["vmac", "both", "addr", "none"],
)
def test_where_addresses_lie(fields: dict[str, object], expected: list[str | None]) -> None:
    """use_vmac: what is of the instance's family on its interface; use_vmac_addr: the rest, each
    interface and family on a device of its own with the MAC address of its family."""
    texts = [
        address("10.0.0.9"),
        address("10.0.0.10", "eth0"),
        address("2001:db8::9"),
        address("10.1.0.9", "eth1"),
        address("2001:db8:1::9", "eth1"),
    ]
    one = instance(virtual_ipaddress=tuple(texts), **fields)
    found = resolved(one, vmac_addr_prefix="ad")
    assert [a.dev for a in found.vrrp_instances[0].virtual_ipaddress] == expected
    for device in found.devices:
        is_six = device.carries_ipv6 and device.name.startswith("ad")
        assert device.mac == virtual_mac(6 if is_six else 4, 51)


def test_use_vmac_of_one_address() -> None:
    there = (address("10.0.0.9", use_vmac=True), address("10.0.0.10"))
    found = resolved(instance(virtual_ipaddress=there))
    assert [d.parent for d in found.devices] == ["eth0"]
    assert [a.dev for a in found.vrrp_instances[0].virtual_ipaddress] == ["vrrp.51", None]
    assert carrier(found.vrrp_instances[0]) == "eth0"


def test_ipvlan() -> None:
    """Its address is the source of the adverts; virtual addresses stay on the interface, but for
    those that ask for the device by name."""
    on_it = address("2001:db8::9", "vrrp.51")
    one = instance(
        ipvlan=Ipvlan(address="10.0.0.3", prefixlen=24, mode="vepa"),
        virtual_ipaddress_excluded=(on_it,),
    )
    found = resolved(one)
    (device,) = found.devices
    assert (device.kind, device.mac, device.mode) == ("ipvlan", b"", "vepa")
    (one,) = found.vrrp_instances
    assert (one.source, carrier(one)) == ("10.0.0.3", "vrrp.51")
    assert one.virtual_ipaddress[0].dev is None
    assert device.carries_ipv6
    assert parents(found.devices, Observed()) == set()


def test_who_must_not_answer() -> None:
    """A macvlan on a macvlan lies beside it: both interfaces hear questions for its addresses."""
    lower, upper = link(2, "eth0"), link(9, "mv0", kind="macvlan", parent=2)
    observed = Observed()
    for one in (lower, upper):
        observed.put_link(one)
    found = resolved(instance(vmac=Vmac(), interface="mv0"), links=(upper,))
    assert parents(found.devices, observed) == {"mv0", "eth0"}


def test_two_ipvlans_of_one_interface_differ() -> None:
    found = resolved(instance(ipvlan=Ipvlan()), instance("B", 52, ipvlan=Ipvlan()))
    assert [d.name for d in found.devices] == ["vrrp.51", "vrrp.52"]


def test_solicited_node_groups_are_the_parents() -> None:
    """RFC 4291 2.7.1."""
    v6 = instance(family=6, vmac=Vmac(), virtual_ipaddress=(address("fe80::12:3456"),))
    group = bytes.fromhex("ff0200000000000000000001ff123456")
    assert solicited(resolved(v6)) == {"eth0": frozenset((group,))}
