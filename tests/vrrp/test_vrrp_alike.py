"""Instances that differ in their addresses alone are made in a shorter way, to the same result."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from vrrp_tools import Bench, address, configuration, instance, kernel, vip

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.config.compact import Packed
from fastvrrp.net.observed import Observed
from fastvrrp.vrrp import compile as making
from fastvrrp.vrrp.compile import Context, compile_instance
from fastvrrp.vrrp.links import Kin, common_part, link_keys

SIX = {"family": 6, "version": 3}
PLAIN: dict[str, dict[str, Any]] = {
    "one address": {},
    "none": {"virtual_ipaddress": ()},
    "version 3": {"version": 3, "advert_int_ns": 100 * model.NS_PER_S // 1000},
    "password": {"auth_type": 1, "auth_pass": b"secret\0\0"},
    "several": {"virtual_ipaddress": tuple(vip(f"10.0.1.{n}/24") for n in range(100, 110))},
    "twice": {"virtual_ipaddress": (vip("10.0.1.9/24"), vip("10.0.1.9/24"), vip("10.0.1.9/32"))},
    "excluded": {"virtual_ipaddress_excluded": (vip("10.0.1.100/24"), vip("10.0.9.1/32"))},
    "scope": {"virtual_ipaddress": (vip("10.0.1.5/32", scope=253, no_track=True),)},
    "owner": {"priority": 255, "virtual_ipaddress": (vip("10.0.1.1/24"), vip("10.0.1.2/24"))},
    "unicast": {"unicast_peers": (model.UnicastPeer(address="10.0.1.2", min_ttl=3),)},
    "tracked": {"track_interface": (model.Tracked(name="eth1", weight=-20),)},
    "repeated": {"garp": model.Garp(extra_if_s=3, extra_if_all=True)},
    "IPv6": {**SIX, "virtual_ipaddress": (vip("fe80::1:1/64"), vip("2001:db8::1/128"))},
    "IPv6 with DAD": {**SIX, "virtual_ipaddress": (vip("fe80::1:1/64", nodad=False),)},
}
OTHERS: dict[str, dict[str, Any]] = {
    "another interface": {"virtual_ipaddress": (vip("10.0.1.5/32", dev="eth1"),)},
    "label": {"virtual_ipaddress": (vip("10.0.1.5/32", label="eth0:1"),)},
    "peer": {"virtual_ipaddress": (vip("10.0.1.5/32", peer="10.0.1.6"),)},
    "lifetime": {"virtual_ipaddress": (vip("10.0.1.5/32", preferred_lft_s=0),)},
    "both families": {"virtual_ipaddress_excluded": (vip("2001:db8::1/64"),)},
    "track_group": {"virtual_ipaddress": (vip("10.0.1.5/32", track_group="G"),)},
    "home": {**SIX, "virtual_ipaddress": (vip("fe80::1:1/64", home=True),)},
    "route": {"virtual_routes": (model.VirtualRoute(family=4, dev="eth0"),)},
    "missing interface": {"interface": "eth7"},
}


def context_for(wanted: model.VrrpInstance, observed: Observed) -> Context:
    keys = sorted(link_keys(wanted, None, observed) | {"eth0", "eth1"})
    return Context(
        observed=observed,
        links={key: slot for slot, key in enumerate(keys)},
        group_slots={},
        groups={},
        virtual=frozenset(),
        defs=model.GlobalDefs(),
        forwarding=lambda interface: True,
        is_native=lambda key: observed.address(key) is not None,
    )


@pytest.mark.parametrize("kind", PLAIN)
def test_the_short_way_leads_to_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = instance(**PLAIN[kind])
    observed = kernel("eth0", "eth1")
    context = context_for(wanted, observed)
    short = making._plain_objects(wanted, context)
    assert short is not None
    assert short == making._objects(wanted, context)

    compiled = compile_instance(wanted, context)
    block = compiled.instance(5, adjust=-3, fault=_core.FAULT_SCRIPT)
    assert block.slot == 5
    used: list[object] = []
    monkeypatch.setattr(_core, "instance_alike", lambda *args, **fields: used.append(args))
    assert compiled.instance(5, adjust=-3, fault=_core.FAULT_SCRIPT).content == block.content
    assert len(used) == 1


def test_an_interface_that_cannot_be_announced_on() -> None:
    observed = kernel("eth0", "eth1")
    observed.put_link(observed.links[1]._replace(flags=0x41 | 0x8))
    context = context_for(instance(), observed)
    short = making._plain_objects(instance(), context)
    assert short == making._objects(instance(), context)
    assert short is not None
    assert [item.mac for _, item in short.addresses()] == [b""]


@pytest.mark.parametrize("kind", OTHERS)
def test_whatever_is_less_common_goes_the_long_way(kind: str) -> None:
    wanted = instance(**OTHERS[kind])
    observed = kernel("eth0", "eth1")
    context = context_for(wanted, observed)
    assert making._plain_objects(wanted, context) is None
    compiled = compile_instance(wanted, context)
    assert compiled.objects == making._objects(wanted, context)
    assert compiled.instance(1).size > 0


def test_a_virtual_device_goes_the_long_way() -> None:
    wanted = instance(vmac=model.Vmac(), device="eth1")
    assert making._plain_objects(wanted, context_for(wanted, kernel("eth0", "eth1"))) is None


def test_a_pattern_is_not_used_up() -> None:
    items = _core.plain_items(
        (vip("10.0.1.5/32"),),
        (),
        owner="V",
        family=4,
        ifindex=1,
        device="eth0",
        mac=b"",
        router=False,
    )
    assert items is not None
    settings: dict[str, Any] = {
        "slot": 0,
        "vrid": 1,
        "family": 4,
        "version": 3,
        "priority": 100,
        "advert_int_ns": model.NS_PER_S,
        "link": 0,
        "destination": bytes((224, 0, 0, 18)),
    }
    pattern = _core.Instance(**settings)
    blocks = [_core.instance_alike(pattern, slot=n, vrid=n + 1, items=items) for n in (1, 2)]
    assert [block.slot for block in blocks if block is not None] == [1, 2]
    with pytest.raises(ValueError, match="vrid 256"):
        _core.instance_alike(pattern, slot=1, vrid=256, items=items)
    core = _core.Core(instances=4, links=1, groups=1)
    core.commit([pattern], now_ns=1)
    with pytest.raises(ValueError, match="committed"):
        _core.instance_alike(pattern, slot=1, vrid=1, items=items)
    with pytest.raises(ValueError, match="committed"):
        _ = pattern.content


@pytest.mark.parametrize(
    ("family", "text", "prefixlen"),
    [(4, "10.0.0.256", 32), (4, "fe80::1", 64), (6, "10.0.0.1", 64), (4, "10.0.0.1", 33),
     (6, "::1", 129), (5, "10.0.0.1", 32), (4, "10.0.0.1\0", 32), (4, "10.0.0.1", -1)],
)  # fmt: skip
def test_what_is_no_address_has_no_key(family: int, text: str, prefixlen: int) -> None:
    with pytest.raises(OSError, match="is no IPv"):
        _core.address_key(1, family, text, prefixlen)


def test_kin_are_alike_but_for_what_is_their_own() -> None:
    instances = [
        instance("A"),
        instance("B", virtual_router_id=52, virtual_ipaddress=(vip("10.0.1.7/24"),)),
        instance("C", priority=50),
        instance("D", virtual_router_id=53),
        instance("E", virtual_ipaddress=(vip("10.0.1.8/24", dev="eth1"),)),
    ]
    kin = Kin(instances)
    assert kin.kinds == [0, 0, 1, 0, 2]
    assert kin.commons == [common_part(instances[n]) for n in (0, 2, 4)]
    assert (Kin(()).kinds, Kin(()).commons) == ([], [])


def test_instances_of_a_kind_share_their_record(bench: Bench) -> None:
    own = [instance(f"V{n}", virtual_router_id=n, priority=90 + n % 2) for n in (1, 2, 3, 4)]
    bench.apply(configuration(*own))
    records = [bench.plane.running[f"V{n}"].record for n in (1, 2, 3, 4)]
    assert records[0] is records[2]
    assert records[1] is records[3]
    assert [record.priority for record in records] == [91, 90, 91, 90]


def test_an_address_of_somebody_else_is_another_key() -> None:
    key = _core.address_key(1, 4, "10.0.1.5", 24)
    assert key == address(1, "10.0.1.5", 24).key
    assert key != address(2, "10.0.1.5", 24).key
    assert _core.address_key(1, 6, "fe80::5", 64) == address(1, "fe80::5", 64).key


def test_what_runs_is_kept_as_bytes_and_is_the_same(bench: Bench) -> None:
    own = [
        instance(f"V{n}", virtual_router_id=n, virtual_ipaddress=(vip(f"10.0.1.{n}/24"),))
        for n in (1, 2, 3)
    ]
    before = configuration(*own)
    bench.apply(before)
    bench.plane.pack()
    assert isinstance(bench.plane.configuration.vrrp_instances, Packed)
    assert bench.plane.configuration == before
    assert [running.instance for running in bench.plane.running.values()] == own
    bench.forget_calls()

    assert bench.apply(before) == ()
    assert bench.calls("commit") == [([], [])]
    bench.plane.pack()
    changed = [own[2], msgspec.structs.replace(own[0], priority=77)]
    told = bench.apply(configuration(*changed))
    assert told == ("instance V2 removed", "instance V1 changed")
    bench.plane.pack()
    assert [running.instance for running in bench.plane.running.values()] == changed
    assert [running.name for running in bench.plane.running.values()] == ["V3", "V1"]
