"""Encapsulation of routes as rtnetlink attributes (RTA_ENCAP_TYPE, RTA_ENCAP).

Numbers are those of linux/lwtunnel.h, linux/mpls_iptunnel.h and linux/ila.h.
"""

from __future__ import annotations

import sys

from fastvrrp.config.model import Encap
from fastvrrp.net import wire
from fastvrrp.net.addresses import packed

RTA_ENCAP_TYPE, RTA_ENCAP = 21, 22
_TYPES = {"mpls": 1, "ip": 2, "ila": 3, "ip6": 4}
_FAMILIES = {"ip": 4, "ip6": 6}
_ID, _DST, _SRC, _TTL, _TOS, _FLAGS = range(1, 7)  # LWTUNNEL_IP_*, the same for IPv6
_MPLS_DST, _MPLS_TTL = 1, 2
_MPLS_BOTTOM = 0x100  # RFC 3032 2.1: 20 bits label, 3 bits class, bottom of stack, 8 bits TTL
_ILA_LOCATOR, _ILA_CSUM_MODE, _ILA_IDENT_TYPE, _ILA_HOOK_TYPE = 1, 7, 8, 9


def encap_attributes(encap: Encap | None) -> bytes:
    """Both attributes; nothing for no encapsulation. Raises KeyError for an unknown type, OSError
    for an address of another family."""
    if encap is None:
        return b""
    if encap.type == "mpls":
        nested = _mpls(encap)
    elif encap.type == "ila":
        nested = _ila(encap)
    else:
        nested = _ip(encap)
    kind = wire.attribute(RTA_ENCAP_TYPE, _TYPES[encap.type].to_bytes(2, sys.byteorder))
    return kind + wire.attribute(RTA_ENCAP, nested)


def _ip(encap: Encap) -> bytes:
    family = _FAMILIES[encap.type]
    nested = b""
    if encap.id is not None:
        nested += wire.attribute(_ID, encap.id.to_bytes(8, "big"))
    if encap.dst is not None:
        nested += wire.attribute(_DST, packed(encap.dst, family))
    if encap.src is not None:
        nested += wire.attribute(_SRC, packed(encap.src, family))
    if encap.ttl is not None:
        nested += wire.u8(_TTL, encap.ttl)
    if encap.tos is not None:
        nested += wire.u8(_TOS, encap.tos)
    if encap.flags is not None:
        nested += wire.attribute(_FLAGS, encap.flags.to_bytes(2, "big"))
    return nested


def _mpls(encap: Encap) -> bytes:
    words = [label << 12 for label in encap.labels]
    words[-1] |= _MPLS_BOTTOM
    nested = wire.attribute(_MPLS_DST, b"".join(word.to_bytes(4, "big") for word in words))
    if encap.ttl is not None:
        nested += wire.u8(_MPLS_TTL, encap.ttl)
    return nested


def _ila(encap: Encap) -> bytes:
    groups = (encap.locator or "0:0:0:0").split(":")
    locator = b"".join(int(group, 16).to_bytes(2, "big") for group in groups)
    nested = wire.attribute(_ILA_LOCATOR, locator)
    for kind, value in (
        (_ILA_CSUM_MODE, encap.csum_mode),
        (_ILA_IDENT_TYPE, encap.ident_type),
        (_ILA_HOOK_TYPE, encap.hook_type),
    ):
        if value is not None:
            nested += wire.u8(kind, value)
    return nested
