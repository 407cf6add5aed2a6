"""The host's own addresses: which they are, and that no program removes or replaces them."""

from __future__ import annotations

import struct

from vrrp_tools import address, instance, kernel, vip

from fastvrrp.config import model
from fastvrrp.net import wire
from fastvrrp.net.addresses import address_key
from fastvrrp.net.journal import contents_of
from fastvrrp.net.objects import IFA_F_SECONDARY, Address, AddressKey
from fastvrrp.net.observed import Observed
from fastvrrp.net.programs import down_program, up_program
from fastvrrp.net.reconcile import Desired, reconcile
from fastvrrp.net.sysctl import endangered
from fastvrrp.vrrp.compile import Compiled, Context, compile_instance
from fastvrrp.vrrp.natives import Natives

OWN = vip("10.0.1.1/24")
KEY = address_key(OWN, 1)


def compiled(observed: Observed, natives: Natives, priority: int = 255) -> Compiled:
    owner = instance(priority=priority, virtual_ipaddress=(OWN, vip("10.0.1.9/24")))
    links = {"eth0": 0}
    context = Context(
        observed=observed,
        links=links,
        group_slots={},
        groups={},
        virtual=(),
        defs=model.GlobalDefs(),
        is_native=natives,
    )
    return compile_instance(owner, context)


def test_what_carries_our_mark_is_not_the_hosts() -> None:
    observed = kernel("eth0")
    natives = Natives(lambda: observed, lambda key: False)
    assert natives(KEY)
    observed.put_address(address(1, "10.0.1.1", 24, ours=True))
    assert not natives(KEY)
    observed.drop_address(KEY)
    assert not natives(KEY)
    assert not natives.is_certain(KEY)


def test_without_marks_what_was_there_first_is_the_hosts() -> None:
    observed = kernel("eth0")
    observed.marks_addresses = False
    natives = Natives(lambda: observed, lambda key: False)
    other = address_key(vip("10.0.1.9/24"), 1)
    assert natives(KEY)
    assert not natives(other)
    observed.put_address(address(1, "10.0.1.9", 24))
    observed.drop_address(KEY)
    assert natives.is_certain(KEY)
    assert not natives(other)


def test_without_marks_what_we_wish_already_is_ours() -> None:
    observed = kernel("eth0")
    observed.marks_addresses = False
    assert not Natives(lambda: observed, lambda key: True)(KEY)


def test_what_is_not_configured_any_more_is_asked_anew() -> None:
    observed = kernel("eth0")
    observed.marks_addresses = False
    wished: set[AddressKey] = set()
    natives = Natives(lambda: observed, wished.__contains__)
    observed.put_address(Address(KEY, 0, 0, None, ""))
    assert natives(KEY)
    wished.add(KEY)
    observed.drop_address(KEY)
    natives.forget_others()
    assert natives(KEY)  # still configured: it stays the host's
    wished.clear()
    natives.forget_others()
    assert not natives(KEY)


def test_no_program_touches_a_native_address() -> None:
    observed = kernel("eth0")
    natives = Natives(lambda: observed, lambda key: False)
    made = compiled(observed, natives)
    objects = made.objects
    assert [item.native for item in objects.items] == [True, False]
    assert len(up_program(objects)) == 2
    assert len(down_program(objects)) == 1
    (flags,) = struct.unpack_from("=H", objects.items[0].add, 6)  # nlmsghdr.nlmsg_flags
    assert flags & wire.NLM_F_EXCL
    assert not flags & wire.NLM_F_REPLACE
    assert [a.address for a in made.announcements] == [b"\x0a\0\1\1", b"\x0a\0\1\x09"]
    desired = Desired()
    desired.put(objects)
    observed.marks_addresses = False
    assert [o.item.text for o in reconcile(desired, observed, ())] == []


def test_an_address_that_becomes_the_hosts_is_not_deleted_by_the_change() -> None:
    observed = kernel("eth0")
    natives = Natives(lambda: observed, lambda key: False)
    observed.put_address(address(1, "10.0.1.1", 24, ours=True))
    before = compiled(observed, natives)
    observed.put_address(address(1, "10.0.1.1", 24))
    after = compiled(observed, natives)
    assert not after.same(before)
    assert after.removed(before) == []
    assert before.removed(after) == []


def test_only_owners_have_native_addresses() -> None:
    observed = kernel("eth0")
    natives = Natives(lambda: observed, lambda key: False)
    objects = compiled(observed, natives, priority=254).objects
    assert not any(item.native for item in objects.items)


def test_journal_leaves_out_what_a_clean_up_could_not_tell_apart() -> None:
    owner = instance(priority=255, virtual_ipaddress=(OWN, vip("10.0.1.9/24")))
    given = model.Configuration(vrrp_instances=(owner,))
    listed = contents_of(given, {"eth0": 1}, is_native=lambda key: key == KEY).addresses
    assert [entry.address for entry in listed] == [b"\x0a\0\1\x09"]


def test_endangered_is_the_hosts_address_behind_a_virtual_one() -> None:
    virtual = {b"\x0a\0\1\x64"}
    observed = kernel("eth0", "eth1")
    ours, own = address(1, "10.0.1.100", 24), address(1, "10.0.1.1", 24)
    observed.put_address(ours)
    assert endangered(observed, virtual) == set()
    observed.put_address(own._replace(flags=IFA_F_SECONDARY))
    assert endangered(observed, virtual) == {"eth0"}
    observed.put_address(ours._replace(flags=IFA_F_SECONDARY))
    assert endangered(observed, virtual) == set()
    observed.put_address(ours)
    observed.drop_address(own.key)
    observed.put_address(address(1, "10.0.2.1", 24)._replace(flags=IFA_F_SECONDARY))
    assert endangered(observed, virtual) == set()
