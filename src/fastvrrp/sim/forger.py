"""Somebody on the segment who sends adverts in other routers' names, well-formed and not."""

from __future__ import annotations

import random

from fastvrrp._core import encode_advert
from fastvrrp.sim.lan import NOBODY, Frame, Segment
from fastvrrp.sim.machine import VirtualRouter
from fastvrrp.sim.node import MULTICAST4, MULTICAST6, Node

CENTISECOND_NS = 10_000_000
PRIORITIES = (0, 0, 1, 50, 100, 101, 150, 254, 255)


def forge(rng: random.Random, nodes: list[Node], segments: list[Segment]) -> None:
    """One forged packet, to everybody or to one router."""
    slot = rng.randrange(len(nodes[0].routers))
    router = nodes[0].routers[slot]
    segment = segments[router.segment]
    frame = forged(rng, router, rng.choice(nodes), slot)
    to = range(segment.ports) if rng.random() < 0.5 else (rng.randrange(segment.ports),)
    segment.send(NOBODY, frame, to)


def forged(rng: random.Random, router: VirtualRouter, named: Node, slot: int) -> Frame:
    """In the name of `named`, or of a stranger; often right in every field."""
    own = named.sources[router.segment][router.family]
    source = own if rng.random() < 0.6 else own[:-1] + bytes((rng.choice((0, 251, 255)),))
    destination = MULTICAST4 if router.family == 4 else MULTICAST6
    version = router.version if rng.random() < 0.9 else 5 - router.version
    interval = named.members[slot].advert_int_ns // CENTISECOND_NS
    if version == 2:
        interval = max(100, interval // 100 * 100)
    elif rng.random() < 0.1:
        interval = rng.choice((1, min(4095, 2 * interval)))
    addresses = named.addresses[slot] if rng.random() < 0.8 else named.addresses[slot][::-1][:1]
    data = encode_advert(
        version=version,
        vrid=router.vrid if rng.random() < 0.9 else rng.randint(1, 255),
        priority=rng.choice(PRIORITIES),
        interval_cs=interval,
        addresses=list(addresses),
        source=source,
        destination=destination,
    )
    kind = rng.random()
    if kind < 0.1:
        data = data[: rng.randrange(len(data))]
    elif kind < 0.2:
        at = rng.randrange(len(data))
        data = data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]
    elif kind < 0.25:
        data = rng.randbytes(rng.randrange(64))
    ttl = 255 if rng.random() < 0.85 else rng.choice((0, 1, 64, 254))
    return Frame(data, source, destination, ttl, damaged=kind < 0.25)
