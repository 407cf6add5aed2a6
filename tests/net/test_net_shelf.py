"""What owners install, packed: the same answers as before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvrrp import _core
from fastvrrp._core import AddressItem
from fastvrrp.namelist import NameList
from fastvrrp.net.objects import AddressKey
from fastvrrp.net.programs import NOTHING_MISSING, Objects
from fastvrrp.net.reconcile import Desired
from fastvrrp.net.shelf import Shelf

NAMES = ("A", "B", "C", "D")


def key(last: int, family: int = 4, ifindex: int = 2) -> AddressKey:
    raw = bytes((10, 0, 0, last)) if family == 4 else bytes((0xFD, *[0] * 14, last))
    return AddressKey(ifindex, family, raw, 24 if family == 4 else 64)


@st.composite
def wishes(draw: st.DrawFn) -> dict[str, Objects]:
    """Few possible addresses, so that owners share some; some of them cannot be packed."""
    found = {}
    for owner in NAMES:
        family = draw(st.sampled_from((4, 6)))
        lasts = draw(st.lists(st.integers(1, 5), max_size=4))
        mac = draw(st.sampled_from((b"", b"\2\0\0\0\0\1")))
        options = st.fixed_dictionaries({n: st.booleans() for n in ("restore", "native", "extra")})
        odd = draw(st.sampled_from((None, None, "missing", "own request", "two interfaces")))
        items = [
            AddressItem(
                owner,
                key(last, family, 3 if odd == "two interfaces" and n else 2),
                "eth0",
                mac=mac,
                scope=draw(st.sampled_from((0, 253))),
                **draw(options),
            )
            for n, last in enumerate(lasts)
        ]
        if odd == "own request":
            items = [item._replace(add=item.add) for item in items]
        missing = frozenset(("eth9",)) if odd == "missing" else NOTHING_MISSING
        found[owner] = Objects(owner, tuple(items), missing)
    return found


@given(wishes(), st.permutations(NAMES), st.sampled_from(NAMES), wishes())
def test_packing_changes_no_answer(
    before: dict[str, Objects], order: list[str], removed: str, after: dict[str, Objects]
) -> None:
    packed, plain = Desired(), Desired()
    for desired in (packed, plain):
        for objects in before.values():
            desired.put(objects)
    packed.pack(NameList(order))
    assert_same(packed, plain)
    for desired in (packed, plain):
        desired.remove(removed)
        desired.put(after[order[0]])
    assert_same(packed, plain)
    packed.pack(NameList(order))
    assert_same(packed, plain)


def assert_same(packed: Desired, plain: Desired) -> None:
    assert sorted(packed.owners()) == sorted(plain.owners())
    for owner in NAMES:
        assert packed.get(owner) == plain.get(owner)
    for one in (key(last, family, i) for last in range(7) for family in (4, 6) for i in (2, 3)):
        items = plain.items(one)
        assert sorted(packed.items(one), key=repr) == sorted(items, key=repr)
        assert packed.knows(one) == plain.knows(one) == bool(items)
        assert packed.owners_of(one) == plain.owners_of(one)
        owners = sorted(item.owner for item in items)
        assert sorted(packed.wanted_by(one)) == sorted(plain.wanted_by(one)) == owners


def test_what_is_packed() -> None:
    plain = AddressItem("A", key(1), "eth0", mac=b"\2\0\0\0\0\1", advertised=True)
    desired = Desired()
    desired.put(Objects("A", (plain, plain._replace(key=key(2))), NOTHING_MISSING))
    desired.put(Objects("B", (plain._replace(owner="B", add=plain.add),), NOTHING_MISSING))
    desired.pack(NameList(("A", "B")))
    assert [desired.is_packed(name) for name in ("A", "B", "C")] == [True, False, False]
    assert not desired.knows(key(1)._replace(peer=b"\x0a\0\0\x09"))


def test_who_wants_an_address_is_known_without_its_item(monkeypatch: pytest.MonkeyPatch) -> None:
    desired = Desired()
    desired.put(Objects("A", (AddressItem("A", key(1), "eth0"),), NOTHING_MISSING))
    desired.pack(NameList(("A",)))

    def made(*_: object, **__: object) -> None:
        raise AssertionError("an item was made")

    monkeypatch.setattr(_core, "unpack_items", made)
    assert desired.wanted_by(key(1)) == ["A"]


def test_an_address_of_thousands_is_some_bytes() -> None:
    names = NameList([f"V{n}" for n in range(4096)])
    everything = [
        Objects(
            name,
            (AddressItem(name, AddressKey(2, 4, n.to_bytes(4, "big"), 32), "eth0"),),
            NOTHING_MISSING,
        )
        for n, name in enumerate(names)
    ]
    shelf = Shelf(names, everything)
    assert [shelf.get(name) for name in names] == everything
    (item,) = shelf.find(AddressKey(2, 4, (77).to_bytes(4, "big"), 32))
    assert item.owner == "V77"
    packed = _core.pack_items(everything[77].items)
    assert packed is not None
    assert len(packed) == 7


def test_an_address_of_many_is_found_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    names = NameList([f"V{n}" for n in range(20)])
    everything = [
        Objects(
            name,
            tuple(
                AddressItem(name, AddressKey(2, 4, bytes((10, n, k >> 8, k & 255)), 32), "eth0")
                for k in range(1 + 300 * (n % 2))
            ),
            NOTHING_MISSING,
        )
        for n, name in enumerate(names)
    ]
    shelf = Shelf(names, everything)
    made = 0
    unpack_items = _core.unpack_items

    def counting(*given: Any, **common: Any) -> tuple[AddressItem, ...]:
        nonlocal made
        items = unpack_items(*given, **common)
        made += len(items)
        return items

    monkeypatch.setattr(_core, "unpack_items", counting)
    wanted = [item for objects in everything for item in objects.items]
    assert [shelf.find(item.key) for item in wanted] == [[item] for item in wanted]
    assert made == len(wanted)
