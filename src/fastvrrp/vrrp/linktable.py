"""The engine's links: which interface has which slot, how it was told of, and what is due to it."""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Collection, Mapping

from fastvrrp import _core
from fastvrrp.net.observed import Observed
from fastvrrp.vrrp.engine_client import EngineClient
from fastvrrp.vrrp.links import ABSENT, PSEUDO, LinkSpec, ifindex_of, is_ethernet, parent_of
from fastvrrp.vrrp.slots import SlotTable

log = logging.getLogger(__name__)

# Of 256 bytes in a receive ring. 255 routers at 10 ms fill the larger one in 40 ms; on a virtual
# MAC device there is one, and there may be hundreds of such devices.
FRAMES_OF_MANY, FRAMES_OF_ONE = 1024, 256


class LinkTable:
    """Links by key (see links.py). A reload works on a copy of `slots` and gives it to `adopt`."""

    def __init__(self, client: EngineClient, capacity: int) -> None:
        self.slots: SlotTable[str] = SlotTable("interfaces", capacity)
        self._client = client
        self._defined: dict[int, LinkSpec] = {}  # by slot
        self._unusable: dict[str, int | None] = {}  # errno that was logged for a link
        self._unused: dict[int, int] = {}  # slot to the epoch that freed it
        self._narrower: dict[int, tuple[int, LinkSpec]] = {}  # by slot: filters from an epoch on

    def name(self, slot: int) -> str | None:
        return next((key for key, s in self.slots.slots.items() if s == slot), None)

    def unusable(self, observed: Observed) -> set[str]:
        """Those that are there and were refused sockets the last time."""
        return {key for key in self._unusable if ifindex_of(key, observed) != ABSENT}

    # ---------------------------------------------------------------- a new configuration

    def rename(self, slots: SlotTable[str], keys: Collection[str], observed: Observed) -> None:
        """In a copy of `slots`: interfaces that are wanted under another name than they had keep
        their slot, with sockets and state. `keys` are those that are wanted."""
        unknown = {
            observed.interfaces[key]: key
            for key in keys
            if key not in slots and key in observed.interfaces
        }
        for old, slot in list(slots.slots.items()) if unknown else ():
            new = None if old in keys else unknown.pop(self._defined[slot].ifindex, None)
            if new is not None:
                slots.move(old, new)

    def define_before(self, slots: SlotTable[str], specs: Mapping[str, LinkSpec]) -> None:
        """Links that a commit needs: new ones, and more families or groups on known ones.

        Raises OSError with the key as `filename` when sockets cannot be made; the links are then
        as they were.
        """
        fresh: list[int] = []
        unknown = [spec for key, spec in specs.items() if slots[key] not in self._defined]
        rings = Counter(
            _frames(spec)
            for spec in unknown
            for bit in (1, 2)
            if spec.packet & bit and spec.ifindex
        )
        try:
            for frames, count in rings.items():
                _core.prepare_rings(count, frames)
            self._define_all(slots, specs, fresh)
        finally:
            _core.discard_rings()

    def _define_all(
        self, slots: SlotTable[str], specs: Mapping[str, LinkSpec], fresh: list[int]
    ) -> None:
        for key, spec in specs.items():
            slot = slots[key]
            known = self._defined.get(slot)
            wanted = spec if known is None else known.joined(spec)
            if wanted == known:
                continue
            try:
                self._tell(slot, wanted)
            except OSError as exc:
                if wanted.ifindex != ABSENT and exc.errno != errno.ENODEV:
                    for other in fresh:
                        self._tell(other, LinkSpec(ABSENT))
                        del self._defined[other]
                    raise OSError(exc.errno, exc.strerror, key) from exc
                # It vanished this moment; the monitor will say so, and when it is back.
                self._tell(slot, wanted._replace(ifindex=ABSENT))
            if known is None:
                fresh.append(slot)

    def adopt(self, slots: SlotTable[str], specs: Mapping[str, LinkSpec], epoch: int) -> None:
        """The commit `epoch` is under way: `slots` and `specs` are what is wanted from now on."""
        self._unused.update(dict.fromkeys(slots.retain(specs.keys(), epoch), epoch))
        self.slots = slots
        self._narrower = {slots[key]: (epoch, spec) for key, spec in specs.items()}
        for key, spec in specs.items():
            # present sockets hear those that leave until the engine has committed their removal
            if self._defined[slots[key]].accepting(spec) != spec:
                self.define(key, spec)

    def committed(self, epoch: int) -> None:
        """The engine has committed `epoch`: links that nobody uses any more are let go, and what
        only those heard who left is heard no more."""
        for slot in [s for s, at in self._unused.items() if at <= epoch]:
            del self._unused[slot]
            self._tell(slot, LinkSpec(ABSENT))
            del self._defined[slot]
        for slot in [s for s, (at, _) in self._narrower.items() if at <= epoch]:
            known, spec = self._defined[slot], self._narrower.pop(slot)[1]
            self._tell(slot, known.accepting(spec))
        self.slots.committed(epoch)
        for key in self._unusable.keys() - self.slots.slots.keys():
            del self._unusable[key]

    # ---------------------------------------------------------------- what changes by itself

    def moved(self, observed: Observed) -> dict[str, LinkSpec]:
        """Links whose interface came, went or was replaced, as they are to be defined now."""
        found = {}
        for key, slot in self.slots.slots.items():
            known = self._defined[slot]
            vrf = key.removeprefix(PSEUDO) if key.startswith(PSEUDO) else ""
            spec = known._replace(
                ifindex=ifindex_of(key, observed),
                vrf_ifindex=observed.interfaces.get(vrf, 0) if vrf else 0,
                parent=parent_of(key, observed) if known.is_virtual else 0,
            )
            if known.packet and not is_ethernet(key, observed):
                spec = spec._replace(families=spec.families | spec.packet, packet=0)
            if spec != known:
                found[key] = spec
        return found

    def renew(self, keys: Collection[str]) -> None:
        """New sockets for these links, if they are known and there."""
        for key in keys:
            slot = self.slots.get(key)
            if slot is not None and self._defined[slot].ifindex != ABSENT:
                self.define(key, self._defined[slot], anew=True)

    def define(self, key: str, spec: LinkSpec, *, anew: bool = False) -> None:
        """Bring a link to `spec`, with `anew` also if it is so already; a refusal leaves it
        absent, to be tried again by the next refresh."""
        slot = self.slots[key]
        known = self._defined.get(slot)
        if known == spec and not anew:
            return
        try:
            rejoin = anew or (known is not None and known.ifindex == ABSENT)
            self._tell(slot, spec, rejoin=rejoin)
        except OSError as exc:
            if self._unusable.get(key) != exc.errno:
                log.error("interface %s cannot be used: %s", key, exc.strerror)
            self._unusable[key] = exc.errno
            self._tell(slot, spec._replace(ifindex=ABSENT))
        else:
            self._unusable.pop(key, None)

    def _tell(self, slot: int, spec: LinkSpec, *, rejoin: bool = False) -> None:
        known = self._defined.get(slot)
        if known is not None and known.accepting(spec) == spec and not rejoin:
            self._defined[slot] = spec
            if known != spec:
                self._client.engine.accept(
                    slot, vrids4=spec.vrids4, vrids6=spec.vrids6, any_ttl=spec.any_ttl
                )
            return
        self._client.engine.link(
            slot,
            ifindex=spec.ifindex,
            families=spec.families,
            garp_interval_ns=spec.garp_interval_ns,
            gna_interval_ns=spec.gna_interval_ns,
            pace_group=spec.pace_group,
            mcast4=list(spec.mcast4),
            mcast6=list(spec.mcast6),
            rx_buffer=spec.rx_buffer,
            vrf_ifindex=spec.vrf_ifindex,
            rejoin=rejoin,
            vrids4=spec.vrids4,
            vrids6=spec.vrids6,
            any_ttl=spec.any_ttl,
            packet=spec.packet,
            down_delay_ns=spec.down_delay_ns,
            up_delay_ns=spec.up_delay_ns,
            ring_frames=_frames(spec),
            group_ifindex=spec.parent,
            unreported=spec.unreported,
        )
        self._defined[slot] = spec


def _frames(spec: LinkSpec) -> int:
    return FRAMES_OF_ONE if spec.is_virtual else FRAMES_OF_MANY
