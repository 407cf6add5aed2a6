"""A configuration that arrives, decoded as far as it is another one than the last.

A reload of tens of thousands of real servers usually changes a few. Each virtual server arrives as
bytes of its own; what has the digest of one that was decoded the last time is that object again.
"""

from __future__ import annotations

from _blake2 import blake2b  # hashlib's, without OpenSSL's part of it: see config.remembered
from typing import Any

import msgspec

from fastvrrp.config import model, servers
from fastvrrp.config.packing import PackedServer, Unpacker

DIGEST_BYTES = 16


class _Ipvs(servers.Ipvs):
    """With virtual servers that are not decoded yet."""

    # Another type on purpose: `decode` makes the real thing of it, nobody else sees it.
    virtual_servers: tuple[msgspec.Raw, ...] = ()  # type: ignore[assignment]


class _Configuration(model.Configuration):
    ipvs: _Ipvs = _Ipvs()


class _Arrived(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What `config.compact` writes: behind the rest would be instances, of which there are none."""

    rest: _Configuration


class Decoder:
    """For the configurations of one process, one after the other."""

    def __init__(self) -> None:
        self._outer = msgspec.msgpack.Decoder(_Arrived)
        self._one = msgspec.msgpack.Decoder(PackedServer)
        self._known: dict[bytes, servers.VirtualServer] = {}  # by digest, of the last configuration

    def decode(self, data: bytes) -> model.Configuration:
        """Raises msgspec.MsgspecError; the last configuration stays known then."""
        arrived = self._outer.decode(data).rest
        known: dict[bytes, servers.VirtualServer] = {}
        found = []
        unpack = Unpacker().unpack
        for raw in arrived.ipvs.virtual_servers:
            digest = blake2b(raw, digest_size=DIGEST_BYTES).digest()
            one = known.get(digest) or self._known.get(digest) or unpack(self._one.decode(raw))
            known[digest] = one
            found.append(one)
        self._known = known
        fields = _fields(arrived.ipvs) | {"virtual_servers": tuple(found)}
        return model.Configuration(**_fields(arrived) | {"ipvs": servers.Ipvs(**fields)})


def _fields(struct: model.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
