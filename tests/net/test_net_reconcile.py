"""Reconciliation: property tests over a small world, and the O(1) questions about one object."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fastvrrp.config.model import (
    Configuration,
    VirtualAddress,
    VirtualRoute,
    VirtualRule,
    VrrpInstance,
)
from fastvrrp.net.objects import Address, AddressKey, Hop, Route, RouteKey, RuleKey
from fastvrrp.net.observed import Observed, hops_match
from fastvrrp.net.programs import STATIC, Item, Objects, instance_objects, static_objects
from fastvrrp.net.reconcile import (
    Desired,
    Operation,
    Verb,
    is_present,
    owners_to_replay,
    reconcile,
    to_play,
)

INTERFACES = {"eth0": 2, "eth1": 3}
OURS, FOREIGN = 18, None


@st.composite
def instances(draw: st.DrawFn, name: str) -> VrrpInstance:
    """Few possible objects, so that instances share some."""
    addresses = draw(st.sets(st.tuples(st.integers(1, 4), st.sampled_from((24, 32))), max_size=4))
    routes = draw(st.sets(st.tuples(st.integers(1, 3), st.integers(1, 2)), max_size=3))
    rules = draw(st.sets(st.integers(100, 103), max_size=3))
    return VrrpInstance(
        name=name,
        virtual_router_id=1,
        family=4,
        version=3,
        interface=draw(st.sampled_from(("eth0", "eth1", "gone0"))),
        virtual_ipaddress=tuple(
            VirtualAddress(
                address=f"10.0.0.{last}",
                prefixlen=length,
                family=4,
                no_track=draw(st.booleans()),
            )
            for last, length in sorted(addresses)
        ),
        virtual_routes=tuple(
            VirtualRoute(
                family=4,
                destination=f"10.{second}.0.0/16",
                via=f"10.0.0.{via}",
                no_track=draw(st.booleans()),
            )
            for second, via in sorted(routes)
        ),
        virtual_rules=tuple(VirtualRule(family=4, preference=p, table=7) for p in sorted(rules)),
    )


@st.composite
def desires(draw: st.DrawFn) -> Desired:
    desired = Desired()
    for name in ("A", "B", "C"):
        desired.put(instance_objects(draw(instances(name)), INTERFACES))
    static = draw(instances("ignored"))
    configuration = Configuration(
        static_addresses=static.virtual_ipaddress, static_routes=static.virtual_routes
    )
    desired.put(static_objects(configuration, INTERFACES))
    return desired


@st.composite
def worlds(draw: st.DrawFn) -> Observed:
    observed = Observed(marks_addresses=draw(st.booleans()))
    protocols = st.sampled_from((OURS, FOREIGN) if observed.marks_addresses else (FOREIGN,))
    for ifindex in (2, 3):
        for last in range(1, 5):
            for length in (24, 32):
                if draw(st.booleans()):
                    key = AddressKey(ifindex, 4, bytes((10, 0, 0, last)), length)
                    observed.put_address(Address(key, 0, 0, draw(protocols), ""))
    for second in range(1, 4):
        for via in (1, 2):
            if draw(st.booleans()):
                protocol = draw(st.sampled_from((18, 3)))
                key = RouteKey(
                    4, 254, bytes((10, second, 0, 0)), 16, bytes(4), 0, 0, 0, 1, protocol
                )
                hop = Hop(bytes((10, 0, 0, via)), 2)
                observed.put_route(Route(key, (hop,), b""))
    for preference in range(100, 104):
        if draw(st.booleans()):
            rule = VirtualRule(
                family=4, preference=preference, table=7, protocol=draw(st.sampled_from((18, 3)))
            )
            item = static_objects(Configuration(static_rules=(rule,)), {}).items[0]
            assert isinstance(item.key, RuleKey)
            observed.rules.add(item.key)
    return observed


def apply(operation: Operation, observed: Observed) -> None:
    """What the kernel would do."""
    item = operation.item
    key = item.key
    if isinstance(key, AddressKey):
        if operation.verb is Verb.DELETE:
            assert observed.drop_address(key) is not None
        else:
            observed.put_address(Address(key, 0, 0, OURS, ""))
    elif isinstance(key, RouteKey):
        if operation.verb is Verb.DELETE:
            found = observed.find_route(key, item.hops)
            if found is not None:
                observed.drop_route(found)
        else:
            hops = tuple(hop._replace(ifindex=hop.ifindex or 2) for hop in item.hops)
            observed.put_route(Route(key, hops, b""))
    elif operation.verb is Verb.DELETE:
        observed.rules.remove(key)
    else:
        observed.rules.add(key)


def everything(observed: Observed) -> set[object]:
    return {
        *observed.all_addresses(),
        *observed.all_routes(),
        *observed.rules,
    }


def carries_our_mark(thing: object, observed: Observed) -> bool:
    if isinstance(thing, Address):
        return thing.protocol == OURS or not observed.marks_addresses
    if isinstance(thing, Route):
        return thing.key.protocol == 18
    assert isinstance(thing, RuleKey)
    return thing.protocol == 18


def is_listed(thing: object, desired: Desired) -> bool:
    if isinstance(thing, Route):
        return any(hops_match(item.hops, thing.hops) for item in desired.items(thing.key))
    key = thing.key if isinstance(thing, Address) else thing
    assert isinstance(key, (AddressKey, RuleKey))
    return bool(desired.items(key))


@settings(deadline=None, max_examples=60)
@given(desires(), worlds(), st.sets(st.sampled_from(("A", "B", "C"))))
def test_applied_operations_reach_the_desired_state(
    desired: Desired, observed: Observed, active: set[str]
) -> None:
    before = everything(observed)
    operations = reconcile(desired, observed, active)
    for operation in operations:
        apply(operation, observed)
    after = everything(observed)

    wanted: list[Item] = []
    unwanted: list[Item] = []
    for owner in desired.owners():
        objects = desired.get(owner)
        assert objects is not None
        (wanted if owner == STATIC or owner in active else unwanted).extend(objects.items)
    for item in wanted:
        assert is_present(item, observed) or not item.restore, item.text
    wanted_ids = {(item.key, item.hops) for item in wanted}
    for item in unwanted:
        if (item.key, item.hops) not in wanted_ids and is_present(item, observed):
            address = isinstance(item.key, AddressKey) and observed.address(item.key)
            assert address, item.text
            assert not observed.address_is_ours(address), item.text

    for thing in before - after:
        assert carries_our_mark(thing, observed), "something foreign was removed"
        assert is_listed(thing, desired), "something not configured was removed"
    assert reconcile(desired, observed, active) == []


@settings(deadline=None, max_examples=30)
@given(desires(), worlds(), st.sets(st.sampled_from(("A", "B", "C"))))
def test_who_plays_what(desired: Desired, observed: Observed, active: set[str]) -> None:
    """Additions of instances are replays of active instances; the rest is played as requests."""
    operations = reconcile(desired, observed, active)
    assert owners_to_replay(operations) <= active
    others = [o for o in operations if not (o.verb is Verb.ADD and o.owner != STATIC)]
    assert to_play(operations) == others
    verbs = [operation.verb for operation in operations]
    assert verbs == sorted(verbs, key=lambda verb: verb is Verb.ADD)


def objects(name: str, *addresses: str, no_track: bool = False) -> Objects:
    return instance_objects(
        VrrpInstance(
            name=name,
            virtual_router_id=1,
            family=4,
            version=3,
            interface="eth0",
            virtual_ipaddress=tuple(
                VirtualAddress(address=a, prefixlen=32, family=4, no_track=no_track)
                for a in addresses
            ),
        ),
        INTERFACES,
    )


def key(text: str) -> AddressKey:
    return AddressKey(2, 4, bytes(int(part) for part in text.split(".")), 32)


def test_a_deleted_address_leads_to_its_instances() -> None:
    desired = Desired()
    desired.put(objects("A", "10.0.0.1", "10.0.0.2"))
    desired.put(objects("B", "10.0.0.2"))
    desired.put(objects("C", "10.0.0.3", no_track=True))
    assert desired.owners_of(key("10.0.0.1")) == {"A"}
    assert desired.owners_of(key("10.0.0.2")) == {"A", "B"}
    assert desired.owners_of(key("10.0.0.3")) == set()
    assert desired.owners_of(key("10.0.0.9")) == set()
    assert desired.owners_of(key("10.0.0.1")._replace(prefixlen=24)) == set()


def test_replacing_an_owner_forgets_what_it_had() -> None:
    desired = Desired()
    desired.put(objects("A", "10.0.0.1", "10.0.0.2"))
    desired.put(objects("A", "10.0.0.2"))
    assert desired.owners_of(key("10.0.0.1")) == set()
    assert desired.owners_of(key("10.0.0.2")) == {"A"}
    desired.remove("A")
    desired.remove("A")
    assert desired.owners_of(key("10.0.0.2")) == set()
    assert list(desired.owners()) == []


@given(instances("A"), instances("A"), instances("B"))
def test_owners_come_and_go(first: VrrpInstance, second: VrrpInstance, other: VrrpInstance) -> None:
    """Also with several routes to one destination, by one gateway each."""
    desired = Desired()
    kept = instance_objects(other, INTERFACES)
    desired.put(kept)
    for instance in (first, second):
        desired.put(instance_objects(instance, INTERFACES))
    desired.remove("A")
    for item in (*kept.items, *instance_objects(first, INTERFACES).items):
        assert list(desired.items(item.key)) == [one for one in kept.items if one.key == item.key]


def test_an_owned_address_shared_with_a_master_is_left() -> None:
    """A backup does not take away what a master holds."""
    desired = Desired()
    desired.put(objects("A", "10.0.0.1"))
    desired.put(objects("B", "10.0.0.1"))
    observed = Observed(marks_addresses=True)
    observed.put_address(Address(key("10.0.0.1"), 0, 0, OURS, ""))
    assert reconcile(desired, observed, {"A"}) == []
    assert [str(o) for o in reconcile(desired, observed, set())] == [
        "delete address 10.0.0.1/32 dev eth0",
    ]
