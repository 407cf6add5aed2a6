"""What a change of records or links takes away, moves, or makes to be announced again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fastvrrp.net.objects import Link
from fastvrrp.net.programs import Item, Objects
from fastvrrp.vrrp.compile import Compiled
from fastvrrp.vrrp.links import IFF_MULTICAST

IPV6_MIN_MTU = 1280  # RFC 8200 5


class Wanted:
    """Which kernel objects a master, or the static configuration, wants. Indexed at the first
    question: most changes take nothing away."""

    def __init__(self, active: Callable[[], Iterable[Objects]]) -> None:
        self._active = active
        self._owners: dict[object, set[str]] | None = None

    def by_others(self, owner: str) -> Callable[[Item], bool]:
        return lambda item: bool(self._index().get(item.key, set()) - {owner})

    def _index(self) -> dict[object, set[str]]:
        if self._owners is None:
            self._owners = {}
            for objects in self._active():
                for item in objects.items:
                    self._owners.setdefault(item.key, set()).add(objects.owner)
        return self._owners


def taken(old: Objects, new: Objects) -> list[Item]:
    """Items of `old` that `new` does not have."""
    if old is new:
        return []
    kept = {(item.key, item.hops) for item in new.items}
    return [item for item in old.items if (item.key, item.hops) not in kept]


def readdressed(old: Compiled, new: Compiled) -> bool:
    """Whether an address that stays has to be announced again: other MAC, or other flag."""
    before = {(a.address, a.ifindex): a for a in old.announcements}
    return any(
        (known := before.get((a.address, a.ifindex))) is not None
        and (known.mac, known.router) != (a.mac, a.router)
        for a in new.announcements
    )


def relevant_link_change(old: Link | None, new: Link | None) -> bool:
    """Whether a link's change concerns records: up and down alone is the engine's business."""
    if old is None or new is None:
        return True
    fields = ("ifindex", "name", "altnames", "mac", "hardware", "master", "mtu")
    if (old.flags ^ new.flags) & IFF_MULTICAST:
        return True
    return forgot_groups(old, new) or any(
        getattr(old, field) != getattr(new, field) for field in fields
    )


def forgot_groups(old: Link | None, new: Link | None) -> bool:
    """Whether sockets on this interface hear no multicast any more, although they go on living.

    An interface that was deleted may be there again with the same index before we look. Below
    the least MTU of IPv6 the kernel takes IPv6 off an interface, with the groups, and above it
    puts back everything but these.
    """
    if new is None:
        return True
    return old is not None and old.mtu < IPV6_MIN_MTU <= new.mtu
