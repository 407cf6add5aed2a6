"""Programs played against the real kernel and read back with iproute2."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from net_tools import ip, ip_json

from fastvrrp.config.model import (
    Configuration,
    NextHop,
    VirtualAddress,
    VirtualRoute,
    VirtualRule,
    VrrpInstance,
)
from fastvrrp.net import wire
from fastvrrp.net.objects import (
    IFF_RUNNING,
    IFF_UP,
    Address,
    AddressKey,
    Link,
    Route,
    RouteKey,
    decode_route,
    decode_rule,
)
from fastvrrp.net.observed import Observed
from fastvrrp.net.programs import (
    Kind,
    assign_preferences,
    down_program,
    instance_objects,
    static_objects,
    up_program,
)
from fastvrrp.net.reconcile import lost_groups
from fastvrrp.net.rtnl import RtnlSocket


def vip(text: str, **more: object) -> VirtualAddress:
    address, _, length = text.partition("/")
    family = 6 if ":" in address else 4
    bits = int(length) if length else (32 if family == 4 else 128)
    return VirtualAddress(address=address, prefixlen=bits, family=family, **more)  # type: ignore[arg-type]


def instance(**more: object) -> VrrpInstance:
    values = {"name": "VI", "virtual_router_id": 1, "family": 4, "version": 2, "interface": "v0"}
    return VrrpInstance(**{**values, **more})  # type: ignore[arg-type]


def test_order_and_request_indexes() -> None:
    """Up: addresses, excluded, routes, rules; down is the reverse; indexes count requests."""
    objects = instance_objects(
        instance(
            virtual_ipaddress=(vip("10.0.0.1/24"), vip("10.0.0.2/24")),
            virtual_ipaddress_excluded=(vip("10.0.1.1"),),
            virtual_routes=(VirtualRoute(family=4, destination="10.9.0.0/16", dev="v0"),),
            virtual_rules=(VirtualRule(family=4, preference=100, table=7),),
        ),
        {"v0": 5},
    )
    assert [item.kind for item in objects.items] == [Kind.ADDRESS] * 3 + [Kind.ROUTE, Kind.RULE]
    assert [item.advertised for _, item in objects.addresses()] == [True, True, False]
    second, item = list(objects.addresses())[1]
    assert (second, item.key) == (1, AddressKey(5, 4, b"\x0a\0\0\x02", 24))
    up, down = up_program(objects), down_program(objects)
    kinds = [wire._HEADER.unpack_from(message)[1] for message, _ in up]
    assert kinds == [wire.RTM_NEWADDR] * 3 + [wire.RTM_NEWROUTE, wire.RTM_NEWRULE]
    kinds = [wire._HEADER.unpack_from(message)[1] for message, _ in down]
    assert kinds == [wire.RTM_DELRULE, wire.RTM_DELROUTE] + [wire.RTM_DELADDR] * 3
    assert {tolerated for _, tolerated in up} == {wire.OK_EXIST}
    assert {tolerated for _, tolerated in down} == {wire.OK_GONE}
    assert b"\x0a\0\0\x02" in down[3][0]


def test_missing_interface_leaves_its_objects_out() -> None:
    objects = instance_objects(
        instance(
            virtual_ipaddress=(vip("10.0.0.1"), vip("10.0.0.2", dev="gone0")),
            virtual_routes=(VirtualRoute(family=4, destination="10.9.0.0/16", dev="gone1"),),
        ),
        {"v0": 5},
    )
    assert len(objects.items) == 1
    assert objects.missing == {"gone0", "gone1"}


def test_routes_of_a_vrf_have_its_table() -> None:
    """`vrf`: without the device there is no route, and the owner waits for it."""
    wanted = instance(
        virtual_routes=(VirtualRoute(family=4, destination="10.9.0.0/16", dev="v0", vrf="blue"),)
    )
    objects = instance_objects(wanted, {"v0": 5})
    assert (objects.items, objects.missing) == ((), {"blue"})
    objects = instance_objects(wanted, {"v0": 5}, vrf_tables={"blue": 1000})
    (item,) = objects.items
    assert isinstance(item.key, RouteKey)
    assert item.key.table == 1000
    for request in (item.add, item.delete):
        found = decode_route(memoryview(request), wire.HEADER_SIZE, len(request))
        assert found is not None
        assert found.key == item.key
    assert not objects.missing


def test_what_a_track_group_follows() -> None:
    """Lost is what is not there, and what is on an interface that does not work; an interface may
    be excused while interface_up_down_delays runs."""
    configuration = Configuration(
        static_addresses=(vip("10.0.0.1/24", dev="v0", track_group="a"), vip("10.0.0.2", dev="v0")),
        static_routes=(
            VirtualRoute(family=4, destination="10.9.0.0/16", dev="v0", track_group="r"),
            VirtualRoute(family=4, destination="10.8.0.0/16", dev="gone0", track_group="gone"),
        ),
        static_rules=(
            VirtualRule(family=4, preference=100, table=7, track_group="u"),
            VirtualRule(family=4, preference=101, table=7, iif="gone0", track_group="gone2"),
        ),
    )
    objects = static_objects(configuration, {"v0": 5})
    everything = {"a", "r", "gone", "u", "gone2"}
    observed = Observed(marks_addresses=True)
    assert lost_groups(objects, observed) == everything
    link = Link(5, "v0", IFF_UP | IFF_RUNNING, bytes(6), 1500, "veth", 0, 0, (), 1)
    observed.put_link(link)
    for item in objects.items:
        if isinstance(item.key, AddressKey):
            observed.put_address(Address(item.key, 0, 0, 18, ""))
        elif isinstance(item.key, RouteKey):
            observed.put_route(Route(item.key, item.hops, b""))
        else:
            observed.rules.add(item.key)
    assert lost_groups(objects, observed) == {"gone", "gone2"}
    observed.put_link(link._replace(flags=IFF_UP))
    assert lost_groups(objects, observed) == {"gone", "gone2", "a", "r"}
    assert lost_groups(objects, observed, {5}) == {"gone", "gone2"}


def test_the_same_address_twice_is_one_request() -> None:
    objects = instance_objects(
        instance(
            virtual_ipaddress=(vip("10.0.0.1"),), virtual_ipaddress_excluded=(vip("10.0.0.1"),)
        ),
        {"v0": 5},
    )
    assert len(objects.items) == 1


def test_automatic_preferences_count_down_and_are_stable() -> None:
    rule = VirtualRule(family=4, table=1)
    configuration = Configuration(
        static_rules=(rule, VirtualRule(family=4, preference=16383)),
        vrrp_instances=(
            instance(virtual_rules=(rule, VirtualRule(family=6, table=1))),
            instance(name="VJ", virtual_rules=(rule,)),
        ),
    )
    done = assign_preferences(configuration)
    assert [r.preference for r in done.static_rules] == [16384, 16383]
    assert [r.preference for r in done.vrrp_instances[0].virtual_rules] == [16382, 16384]
    assert [r.preference for r in done.vrrp_instances[1].virtual_rules] == [16381]
    assert assign_preferences(done) is done


@pytest.mark.netns
def test_addresses_in_the_kernel(link: Callable[..., int]) -> None:
    """Every option arrives; a replay changes nothing; down removes exactly ours."""
    link("v0", "10.0.0.9/24")
    objects = instance_objects(
        instance(
            virtual_ipaddress=(
                vip("10.0.5.1/24", label="v0:1", scope=253, broadcast="10.0.5.255"),
                vip("10.0.0.2", preferred_lft_s=0, noprefixroute=True),
                vip("10.0.3.1/32", peer="10.0.3.2", peer_prefixlen=30),
                vip("2001:db8::1"),
                vip("2001:db8::2/64", nodad=False, home=True, preferred_lft_s=1000),
                vip("fe80::100/64"),
            ),
        ),
        {"v0": ip_json("link show dev v0")[0]["ifindex"]},
    )
    before = ip_json("addr show dev v0")
    with RtnlSocket() as rtnl:
        assert rtnl.play(up_program(objects)) == [0] * 6
        shown = {a["local"]: a for a in ip_json("addr show dev v0")[0]["addr_info"]}
        assert rtnl.play(up_program(objects)) == [0] * 6
        again = {a["local"]: a for a in ip_json("addr show dev v0")[0]["addr_info"]}
        assert again.keys() == shown.keys()
        assert rtnl.play(down_program(objects)) == [0] * 6
        assert rtnl.play(down_program(objects)) == [0] * 6
    assert shown["10.0.5.1"]["label"] == "v0:1"
    assert shown["10.0.5.1"]["scope"] == "link"
    assert shown["10.0.5.1"]["broadcast"] == "10.0.5.255"
    assert shown["10.0.0.2"]["deprecated"] is True
    assert shown["10.0.0.2"]["noprefixroute"] is True
    assert shown["10.0.3.1"]["address"] == "10.0.3.2"
    assert shown["10.0.3.1"]["prefixlen"] == 30
    assert shown["2001:db8::1"]["preferred_life_time"] == 0
    assert shown["2001:db8::1"]["deprecated"] is True
    assert shown["2001:db8::1"]["nodad"] is True
    assert shown["2001:db8::2"]["home"] is True
    assert 900 < shown["2001:db8::2"]["preferred_life_time"] <= 1000
    assert "nodad" not in shown["2001:db8::2"]
    assert shown["fe80::100"]["preferred_life_time"] == 4294967295
    assert ip_json("addr show dev v0") == before


ROUTES = (
    VirtualRoute(family=4, destination="10.20.0.0/16", via="10.0.0.254", dev="v0", metric=50),
    VirtualRoute(family=4, destination="10.21.0.0/16", dev="v0", table=1000, source="10.0.0.9"),
    VirtualRoute(family=4, type="blackhole", destination="10.22.0.0/16"),
    VirtualRoute(family=4, type="unreachable", destination="10.23.0.0/16", table=100),
    VirtualRoute(family=4, type="prohibit", destination="10.24.0.0/16", tos=4),
    VirtualRoute(family=4, type="throw", destination="10.25.0.0/16", table=100),
    VirtualRoute(
        family=4,
        destination="10.26.0.0/16",
        nexthops=(
            NextHop(via="10.0.0.253", dev="v0", weight=3),
            NextHop(via="10.77.0.1", dev="v0", onlink=True, realm=5),
        ),
    ),
    VirtualRoute(family=4, destination="10.27.0.0/16", via="10.88.0.1", dev="v0", onlink=True),
    VirtualRoute(
        family=4, destination="10.28.0.0/16", via="fe80::9", via_family=6, dev="v0", realm=0x30004
    ),
    VirtualRoute(
        family=4,
        destination="10.29.0.0/16",
        dev="v0",
        mtu=1400,
        mtu_lock=True,
        advmss=1300,
        metrics=(("initcwnd", 20), ("hoplimit", 100), ("quickack", 1), ("rtt_ms", 30)),
        congctl="reno",
    ),
    VirtualRoute(family=4, destination="10.30.0.1", via="10.0.0.254", add_mode="append"),
    VirtualRoute(family=4, destination="10.31.0.0/16", via="10.0.0.254", add_mode="add"),
    VirtualRoute(family=4, type="local", destination="10.32.0.0/16", dev="lo"),
    VirtualRoute(family=6, destination="2001:db8:1::/48", via="2001:db8::fe", dev="v0"),
    VirtualRoute(family=6, destination="2001:db8:2::/48", dev="v0", metric=7, preference="high"),
    VirtualRoute(family=6, type="blackhole", destination="2001:db8:3::/48", table=500),
    VirtualRoute(
        family=6,
        destination="2001:db8:4::/48",
        nexthops=(NextHop(via="2001:db8::fd"), NextHop(via="2001:db8::fc", weight=2)),
    ),
    VirtualRoute(family=6, destination="2001:db8:5::/48", dev="v0", expires_s=600),
    VirtualRoute(
        family=6, destination="2001:db8:6::/48", from_="2001:db8:7::/48", via="2001:db8::fe"
    ),
)


def observed_routes(rtnl: RtnlSocket) -> set[object]:
    found = set()
    for dumped in rtnl.dump_kind("routes"):
        data = memoryview(dumped.message)
        route = decode_route(data, wire.HEADER_SIZE, len(data))
        assert route is not None
        found.add(route.key)
    return found


@pytest.mark.netns
def test_routes_in_the_kernel(link: Callable[..., int]) -> None:
    """Each kind of route is accepted, recognised by its key, replayable, and removed."""
    index = link("v0", "10.0.0.9/24", "2001:db8::9/64")
    objects = instance_objects(instance(virtual_routes=ROUTES), {"v0": index, "lo": 1})
    assert len(objects.items) == len(ROUTES)
    before = ip_json("route show table all") + ip_json("-6 route show table all")
    with RtnlSocket() as rtnl:
        subtrees = rtnl.play(up_program(objects)[-1:]) == [0]  # CONFIG_IPV6_SUBTREES
        up, down = up_program(objects), down_program(objects)
        items = list(objects.items)
        if not subtrees:
            del up[-1], down[0], items[-1]
        results = rtnl.play(up)
        assert dict(zip((i.text for i in items), results, strict=True)) == {
            i.text: 0 for i in items
        }
        assert observed_routes(rtnl) == {item.key for item in items}
        shown = {r["dst"]: r for r in ip_json("route show table all proto 18")}
        shown6 = {r["dst"]: r for r in ip_json("-6 route show table all proto 18")}
        assert rtnl.play(up) == [0] * len(up)
        assert rtnl.play(down) == [0] * len(down)
        assert rtnl.play(down) == [0] * len(down)
        assert observed_routes(rtnl) == set()
    assert ip_json("route show table all") + ip_json("-6 route show table all") == before
    assert shown["10.20.0.0/16"]["gateway"] == "10.0.0.254"
    assert shown["10.21.0.0/16"]["prefsrc"] == "10.0.0.9"
    assert shown["10.21.0.0/16"]["table"] == "1000"
    assert shown["10.21.0.0/16"]["scope"] == "link"
    hops = shown["10.26.0.0/16"]["nexthops"]
    assert [(hop["gateway"], hop["weight"]) for hop in hops] == [
        ("10.0.0.253", 3),
        ("10.77.0.1", 1),
    ]
    assert "onlink" in hops[1]["flags"]
    assert shown["10.28.0.0/16"]["via"] == {"family": "inet6", "host": "fe80::9"}
    metrics = shown["10.29.0.0/16"]["metrics"][0]
    assert (metrics["mtu"], metrics["advmss"], metrics["initcwnd"]) == (1400, 1300, 20)
    assert metrics["congestion"] == "reno"
    assert metrics["hoplimit"] == 100
    assert shown["10.22.0.0/16"]["type"] == "blackhole"
    assert shown6["2001:db8:2::/48"]["metric"] == 7
    assert shown6["2001:db8:2::/48"]["pref"] == "high"
    assert [hop["weight"] for hop in shown6["2001:db8:4::/48"]["nexthops"]] == [1, 2]
    assert 500 < shown6["2001:db8:5::/48"]["expires"] <= 600


@pytest.mark.netns
def test_deletion_spares_similar_foreign_routes(link: Callable[..., int]) -> None:
    """A route of somebody else with the same destination stays, before and behind ours."""
    index = link("v0", "10.0.0.9/24", "2001:db8::9/64")
    ip("route add 10.20.0.0/16 via 10.0.0.254")
    ip("-6 route add 2001:db8:1::/48 via 2001:db8::fe metric 5")
    routes = (
        VirtualRoute(family=4, destination="10.20.0.0/16", via="10.0.0.253"),
        VirtualRoute(family=6, destination="2001:db8:1::/48", via="2001:db8::fe"),
    )
    objects = instance_objects(instance(virtual_routes=routes), {"v0": index})
    with RtnlSocket() as rtnl:
        assert rtnl.play(up_program(objects)) == [0, 0]
        assert ip_json("route get 10.20.0.1")[0]["gateway"] == "10.0.0.253"  # prepended
        assert rtnl.play(down_program(objects)) == [0, 0]
        assert rtnl.play(down_program(objects)) == [0, 0]
    assert ip_json("route show 10.20.0.0/16")[0]["gateway"] == "10.0.0.254"
    assert len(ip_json("-6 route show 2001:db8:1::/48")) == 1


RULES = (
    VirtualRule(family=4, preference=100, from_="10.0.0.0/8", to="10.1.0.0/16", table=1000),
    VirtualRule(family=4, preference=101, negate=True, fwmark=5, fwmask=0xFF, iif="v0"),
    VirtualRule(family=4, preference=102, action="goto", goto=110),
    VirtualRule(family=4, preference=103, action="blackhole", oif="v0", tos=8),
    VirtualRule(family=4, preference=104, action="unreachable", uid_range=(1, 9)),
    VirtualRule(family=4, preference=105, action="prohibit", ipproto=6, dport=(80, 90)),
    VirtualRule(family=4, preference=106, action="nop", fwmark=9),
    VirtualRule(family=4, preference=107, table=1, suppress_prefixlength=0),
    VirtualRule(family=4, preference=108, table=1, suppress_ifgroup=4, realms=0x10002),
    VirtualRule(family=4, preference=109, table=1, tunnel_id=77, sport=(5, 5), ipproto=17),
    VirtualRule(family=4, preference=111, l3mdev=True),
    VirtualRule(family=6, preference=100, from_="2001:db8::/32", table=200),
    VirtualRule(family=6, preference=101, protocol=99, table=201),
)


@pytest.mark.netns
def test_rules_in_the_kernel(link: Callable[..., int]) -> None:
    """Each kind of rule is accepted, recognised by its key, replayable, and removed."""
    link("v0")
    objects = static_objects(Configuration(static_rules=RULES), {})
    assert len(objects.items) == len(RULES)
    before = ip_json("rule show"), ip_json("-6 rule show")
    with RtnlSocket() as rtnl:
        results = rtnl.play(up_program(objects))
        assert dict(zip((i.text for i in objects.items), results, strict=True)) == {
            i.text: 0 for i in objects.items
        }
        found = set()
        for dumped in rtnl.dump_kind("rules"):
            data = memoryview(dumped.message)
            found.add(decode_rule(data, wire.HEADER_SIZE, len(data)))
        assert {item.key for item in objects.items} <= found
        shown = {rule["priority"]: rule for rule in ip_json("rule show")}
        count = len(shown)
        assert rtnl.play(up_program(objects)) == [0] * len(RULES)
        assert len(ip_json("rule show")) == count
        assert rtnl.play(down_program(objects)) == [0] * len(RULES)
        assert rtnl.play(down_program(objects)) == [0] * len(RULES)
    assert (ip_json("rule show"), ip_json("-6 rule show")) == before
    assert shown[100]["src"] == "10.0.0.0"
    assert shown[100]["table"] == "1000"
    assert shown[101]["not"] is None
    assert shown[101]["fwmark"] == "0x5"
    assert (shown[105]["dport_start"], shown[105]["dport_end"]) == (80, 90)


@pytest.mark.netns
def test_errors_are_reported_per_request(link: Callable[..., int]) -> None:
    """One refused request does not stop the others, and only known errors are tolerated."""
    index = link("v0")
    good = instance_objects(instance(virtual_ipaddress=(vip("10.0.0.1"),)), {"v0": index})
    bad = instance_objects(instance(virtual_ipaddress=(vip("10.0.0.2"),)), {"v0": 9999})
    with RtnlSocket() as rtnl:
        results = rtnl.play(up_program(bad) + up_program(good))
        assert results == [wire.errno.ENODEV, 0]
        assert rtnl.play(down_program(bad)) == [0]
    assert [a["local"] for a in ip_json("-4 addr show dev v0")[0]["addr_info"]] == ["10.0.0.1"]


@pytest.mark.netns
def test_down_program_after_the_interface_has_gone(link: Callable[..., int]) -> None:
    """Nothing left to remove is no failure, whatever the kernel calls it."""
    index = link("v0", "10.0.0.9/24", "2001:db8::9/64")
    routes = tuple(route for route in ROUTES if route.from_ is None and route.dev != "lo")
    objects = instance_objects(
        instance(
            virtual_ipaddress=(vip("10.0.0.1"), vip("2001:db8::1")),
            virtual_routes=routes,
            virtual_rules=RULES[:4],
        ),
        {"v0": index},
    )
    with RtnlSocket() as rtnl:
        assert set(rtnl.play(up_program(objects))) == {0}
        ip("link del v0")
        assert set(rtnl.play(down_program(objects))) == {0}


@pytest.mark.netns
def test_thousand_addresses_in_one_program(link: Callable[..., int]) -> None:
    """Batches larger than a socket buffer are acknowledged completely, in order."""
    index = link("v0")
    addresses = tuple(vip(f"10.1.{n // 250}.{n % 250 + 1}") for n in range(1000))
    objects = instance_objects(instance(virtual_ipaddress=addresses), {"v0": index})
    with RtnlSocket() as rtnl:
        assert rtnl.play(up_program(objects)) == [0] * 1000
        assert len(ip_json("-4 addr show dev v0")[0]["addr_info"]) == 1000
        assert rtnl.play(down_program(objects)) == [0] * 1000
