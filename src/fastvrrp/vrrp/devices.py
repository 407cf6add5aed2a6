"""Keeps the virtual devices (macvlan, ipvlan) as a configuration needs them, while it runs.

They are made before the first commit that uses them and taken away behind the last one, so that
a change of mastership finds them there: it only brings addresses. Whatever happens to them or to
their parents meanwhile is put right as soon as the kernel tells of it.

A device that fits and was there before us is used and left behind, unless a virtual address lies
on it: that is what a VRRP daemon left. It is replaced, and so is everything else under one of our
names that has a virtual MAC address.

One of ours that gets another name or MAC address by a reload stays the same device, up and with
its addresses: two with one MAC address cannot be up on one parent.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from fastvrrp.config import model
from fastvrrp.config.model import Device
from fastvrrp.net import devices as encoding
from fastvrrp.net import sysctl
from fastvrrp.net.addresses import add_address
from fastvrrp.net.objects import Link
from fastvrrp.net.observed import Observed
from fastvrrp.net.rtnl import NO_SUCH_FAMILY
from fastvrrp.net.wire import OK_EXIST, OK_GONE
from fastvrrp.supervisor.ratelimit import RateLimit
from fastvrrp.vrrp.differences import IPV6_MIN_MTU
from fastvrrp.vrrp.naming import Identity, Resolver

log = logging.getLogger(__name__)

RETRY_S = (1.0, 30.0)  # first and longest time between attempts to make what the kernel refuses


class Monitor(Protocol):
    """The part of net.monitor.Monitor used here."""

    observed: Observed

    def drain(self) -> None: ...
    def play(self, requests: Sequence[tuple[bytes, int]]) -> Awaitable[list[int]]: ...


class _Job(NamedTuple):
    """A device that has to be made or put right."""

    device: Device
    parent: Link
    requests: list[tuple[bytes, int]]
    is_new: bool


class Devices:
    """All methods belong to the event loop."""

    def __init__(self, monitor: Monitor, *, limit: RateLimit | None = None) -> None:
        self._monitor = monitor
        self._limit = limit or RateLimit(log)
        self._loop = asyncio.get_running_loop()
        self._wanted: tuple[Device, ...] = ()
        self._virtual: Collection[bytes] = frozenset()
        self._ready: dict[str, int] = {}  # name to ifindex of those that are as they should be
        self._settled: dict[str, Device] = {}  # how they were made last
        self._made: set[str] = set()
        self.foreign: set[str] = set()  # names of those that were there before us
        self._names: dict[Identity, str] = {}
        self._next_names: dict[Identity, str] = {}
        self._last_names: dict[Identity, str] = {}
        self._lock = asyncio.Lock()  # held while the kernel is being changed
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._timer: asyncio.TimerHandle | None = None
        self._retry_s = 0.0
        self._closed = False

    def resolve(self, configuration: model.Configuration) -> model.Configuration:
        """The configuration with its devices; those that exist keep their names."""
        resolver = Resolver(configuration, self._monitor.observed, self._names)
        resolved, self._next_names = resolver.resolve()
        return resolved

    async def bring(
        self, devices: tuple[Device, ...], virtual: Collection[bytes] = frozenset()
    ) -> bool:
        """Make those that are missing and can be made; True when the kernel was changed. A refusal
        is logged and tried again: the instances are in FAULT meanwhile. `virtual` are the packed
        virtual addresses."""
        async with self._lock:
            self._wanted = devices
            self._virtual = virtual
            self._last_names, self._names = self._names, self._next_names
            return await self._make()

    def cancel(self) -> None:
        """What was brought last was refused: the names go back to what they were."""
        self._next_names = self._last_names

    async def settle(self) -> None:
        """What was brought last is all that is needed: the others of ours are taken away."""
        wanted = {device.name for device in self._wanted}
        async with self._lock:
            await self._remove(self._made - wanted)
            self.foreign &= wanted

    def wake(self) -> None:
        """Interfaces came, went or changed: devices may be missing, or their parents be back."""
        if self._closed or not self._wanted:
            return
        if self._task is not None:
            self._again = True
            return
        self._task = self._loop.create_task(self._follow(), name="virtual devices")
        self._task.add_done_callback(self._done)

    async def remove_all(self) -> bool:
        """Take away all of ours. Returns whether that worked."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        async with self._lock:
            return await self._remove(set(self._made))

    async def _follow(self) -> None:
        async with self._lock:
            if not self._closed:
                await self._make()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "making virtual devices failed", "exception": exc}
            )
        if self._again:
            self._again = False
            self.wake()

    # ---------------------------------------------------------------- what is to be done

    def _misnamed(self) -> list[tuple[Link, Device]]:
        """Links of ours that are wanted under another name."""
        observed = self._monitor.observed
        wanted = {device.name for device in self._wanted}
        idle = [
            link
            for name, ifindex in self._ready.items()
            if name in self._made and (link := observed.links.get(ifindex)) is not None
            if link.name not in wanted
        ]
        found = []
        for device in self._wanted if idle else ():
            parent = observed.link_by_name(device.parent)
            if parent is None or not device.mac or device.name in observed.interfaces:
                continue
            fitting = [link for link in idle if encoding.fits(link, device, parent)]
            if fitting:
                idle.remove(fitting[0])
                found.append((fitting[0], device))
        return found

    def _jobs(self) -> list[_Job]:
        observed = self._monitor.observed
        jobs = []
        for device in self._wanted:
            parent = observed.link_by_name(device.parent)
            if parent is not None:
                job = self._job(device, parent, observed.link_by_name(device.name))
                if job is not None:
                    jobs.append(job)
        return jobs

    def _job(self, device: Device, parent: Link, link: Link | None) -> _Job | None:
        observed = self._monitor.observed
        settings = [(r, 0) for r in encoding.configure(device, parent, observed)]
        if link is None:
            return _Job(device, parent, [(encoding.create(device, parent), 0), *settings], True)
        if encoding.fits(link, device, parent):
            if self._ready.get(device.name) != link.ifindex:
                if device.name not in self._made:
                    if self._is_leftover(link):
                        return self._anew(device, parent, link, settings)
                    self.foreign.add(device.name)
                return _Job(device, parent, [(encoding.adopt(device), 0), *settings], False)
            known = self._settled.get(device.name, device)
            own = (known.address, known.prefixlen), (device.address, device.prefixlen)
            if own[0] != own[1] and device.name in self._made:
                return self._anew(device, parent, link, settings)
            if known != device:
                return _Job(device, parent, [(encoding.adopt(device), 0), *settings], False)
            if encoding.vrf(link, observed) != encoding.vrf(parent, observed):
                move = [(encoding.join_vrf(device, parent, observed), 0)]
                return _Job(device, parent, move, False)
            mtu = encoding.mtu(parent, observed)
            if device.kind == encoding.MACVLAN and device.name in self._made and link.mtu != mtu:
                # The kernel lowers it with the parent's, and leaves it there.
                if link.mtu < IPV6_MIN_MTU <= mtu:  # it took IPv6 off it, with its settings
                    return self._anew(device, parent, link, settings)
                return _Job(device, parent, [(encoding.set_mtu(device, mtu), 0)], False)
            return None
        if device.name in self._made and self._needs_mac_only(link, device, parent):
            return _Job(device, parent, [(encoding.set_mac(device), 0), *settings], False)
        if device.name not in self._made and not (
            link.kind == encoding.MACVLAN and encoding.is_virtual(link.mac)
        ):
            text = "%s exists and is not the %s on %s that is needed: it is not touched"
            self._limit.log(
                f"exists {device.name}",
                logging.ERROR,
                text,
                device.name,
                device.kind,
                device.parent,
            )
            return None
        return self._anew(device, parent, link, settings)

    def _anew(
        self, device: Device, parent: Link, link: Link, settings: list[tuple[bytes, int]]
    ) -> _Job:
        requests = [(encoding.delete(link.ifindex), OK_GONE)]
        requests += [(encoding.create(device, parent), 0), *settings]
        return _Job(device, parent, requests, True)

    def _is_leftover(self, link: Link) -> bool:
        """Whether only a VRRP daemon can have made it."""
        addresses = self._monitor.observed.addresses_of(link.ifindex)
        return encoding.is_virtual(link.mac) and any(
            address.key.address in self._virtual for address in addresses
        )

    def _needs_mac_only(self, link: Link, device: Device, parent: Link) -> bool:
        """Whether the link is the device but for a MAC address that it can be given."""
        same = msgspec.structs.replace(device, mac=link.mac)
        others = self._monitor.observed.links.values()
        return encoding.fits(link, same, parent) and not any(
            other.mac == device.mac and other.parent == link.parent for other in others
        )

    # ---------------------------------------------------------------- doing it

    async def _make(self) -> bool:
        """Down, with all settings; then up, with the addresses of its own."""
        misnamed = self._misnamed()
        for known, device in misnamed:
            await self._rename(known, device.name)
        jobs = self._jobs()
        if not jobs:
            self._retry_s = 0.0
            return bool(misnamed)
        failed = [not done for done in await self._play(jobs, [job.requests for job in jobs])]
        self._monitor.drain()
        good = [job for job, bad in zip(jobs, failed, strict=True) if not bad]
        for job in good:
            if job.is_new:
                self._made.add(job.device.name)
                self.foreign.discard(job.device.name)
        await self._play_ipv6(good)
        ups = [self._up_requests(job.device) for job in good]
        for job, done in zip(good, await self._play(good, ups), strict=True):
            link = self._monitor.observed.link_by_name(job.device.name)
            if done and link is not None:
                self._ready[job.device.name] = link.ifindex
                self._settled[job.device.name] = job.device
                if job.is_new:
                    log.info("made %s", _text(job.device))
            else:
                failed.append(True)
        self._monitor.drain()
        if any(failed):
            self._retry()
        else:
            self._retry_s = 0.0
        return True

    async def _rename(self, link: Link, name: str) -> None:
        """What cannot be renamed is made anew."""
        try:
            (error,) = await self._monitor.play([(encoding.rename(link.ifindex, name), 0)])
            stays_up = not error
            if error == errno.EBUSY:
                requests = [(r, 0) for r in encoding.rename_down(link.ifindex, name)]
                error = next(filter(None, await self._monitor.play(requests)), 0)
        except OSError as exc:
            stays_up, error = False, exc.errno or errno.EIO
        self._monitor.drain()
        if error:
            log.warning("%s cannot be called %s: %s", link.name, name, os.strerror(error))
            return
        log.info("%s is called %s now", link.name, name)
        for old in [old for old, ifindex in self._ready.items() if ifindex == link.ifindex]:
            del self._ready[old]
            if (known := self._settled.pop(old, None)) is not None:
                self._settled[name] = msgspec.structs.replace(known, name=name)
            self._made.discard(old)
        self._made.add(name)
        if stays_up:
            self._ready[name] = link.ifindex

    async def _play_ipv6(self, jobs: Sequence[_Job]) -> None:
        own = [job.device for job in jobs if job.device.kind == encoding.MACVLAN]
        requests = [(encoding.no_derived_address(device), 0) for device in own]
        errors = await self._monitor.play(requests) if requests else []
        for device, error in zip(own, errors, strict=True):
            if error and error not in NO_SUCH_FAMILY:
                log.warning(
                    "%s derives IPv6 addresses from its MAC address: %s",
                    device.name,
                    os.strerror(error),
                )
        for device in (job.device for job in jobs):
            if device.kind == encoding.IPVLAN and device.carries_ipv6:
                continue  # its source is a link-local address that the kernel makes
            for problem in sysctl.prepare_ipv6(device.name, carries_ipv6=device.carries_ipv6):
                log.warning("%s", problem)

    def _up_requests(self, device: Device) -> list[tuple[bytes, int]]:
        requests = [(encoding.go_up(device), 0)]
        link = self._monitor.observed.link_by_name(device.name)
        if device.address is not None and link is not None:
            family = 6 if ":" in device.address else 4
            own = model.VirtualAddress(
                address=device.address, prefixlen=device.prefixlen, family=family
            )
            requests.append((add_address(own, link.ifindex), OK_EXIST))
        return requests

    async def _play(
        self, jobs: Sequence[_Job], requests: Sequence[list[tuple[bytes, int]]]
    ) -> list[bool]:
        """Whether all of a job's requests worked, for each job. What failed first is told."""
        try:
            errors = iter(await self._monitor.play([one for some in requests for one in some]))
        except OSError as exc:
            self._limit.log("play", logging.ERROR, "cannot make virtual devices: %s", exc)
            return [False] * len(jobs)
        results = []
        for job, some in zip(jobs, requests, strict=True):
            refused = [error for _, error in zip(some, errors, strict=False) if error]
            if refused:
                self._limit.log(
                    f"make {job.device.name}",
                    logging.ERROR,
                    "cannot make %s: %s",
                    _text(job.device),
                    os.strerror(refused[0]),
                )
            results.append(not refused)
        return results

    async def _remove(self, names: Iterable[str]) -> bool:
        links = self._monitor.observed
        found = [link for name in names if (link := links.link_by_name(name)) is not None]
        found = [link for link in found if link.kind in (encoding.MACVLAN, encoding.IPVLAN)]
        done = True
        if found:
            try:
                requests = encoding.deletions(found, links.links.values())
                errors = encoding.failures(found, await self._monitor.play(requests))
            except OSError as exc:
                log.error("cannot remove virtual devices: %s", exc)
                return False
            for link, error in zip(found, errors, strict=True):
                if error:
                    done = False
                    log.error("cannot remove %s: %s", link.name, os.strerror(error))
        for name in names:
            self._ready.pop(name, None)
            self._settled.pop(name, None)
        self._made.difference_update(tuple(names))
        return done

    def _retry(self) -> None:
        first, longest = RETRY_S
        self._retry_s = min(max(2 * self._retry_s, first), longest)
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._timer = self._loop.call_later(self._retry_s, self.wake)


def _text(device: Device) -> str:
    mac = f" with {device.mac.hex(':')}" if device.mac else ""
    return f"{device.name}, {device.kind} on {device.parent}{mac}"
