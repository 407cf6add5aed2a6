"""Virtual policy rules as rtnetlink requests (RTM_NEWRULE, RTM_DELRULE)."""

from __future__ import annotations

import struct

from fastvrrp.config.model import VirtualRule
from fastvrrp.net import wire
from fastvrrp.net.objects import (
    FIB_RULE_INVERT,
    FR_ACT_TO_TBL,
    FRA_DPORT_RANGE,
    FRA_DST,
    FRA_FLOW,
    FRA_FWMARK,
    FRA_FWMASK,
    FRA_GOTO,
    FRA_IIFNAME,
    FRA_IP_PROTO,
    FRA_L3MDEV,
    FRA_OIFNAME,
    FRA_PRIORITY,
    FRA_PROTOCOL,
    FRA_SPORT_RANGE,
    FRA_SRC,
    FRA_SUPPRESS_IFGROUP,
    FRA_SUPPRESS_PREFIXLEN,
    FRA_TABLE,
    FRA_TUN_ID,
    FRA_UID_RANGE,
    RuleKey,
)
from fastvrrp.net.routes import prefix

# linux/fib_rules.h, enum of FR_ACT_*
RULE_ACTIONS = {
    "lookup": FR_ACT_TO_TBL,
    "goto": 2,
    "nop": 3,
    "blackhole": 6,
    "unreachable": 7,
    "prohibit": 8,
}
_ALL_ONES = 0xFFFFFFFF
_U16X2 = struct.Struct("=HH")
_U32X2 = struct.Struct("=II")


def rule_key(rule: VirtualRule) -> RuleKey:
    """The identity the kernel will report.

    Raises ValueError without a preference (see programs.assign_preferences): the kernel would
    choose one of its own and the rule could be neither recognised nor repeated.
    """
    if rule.preference is None:
        raise ValueError("a rule needs a preference")
    source, source_len = prefix(rule.from_, rule.family)
    destination, destination_len = prefix(rule.to, rule.family)
    action = RULE_ACTIONS[rule.action]
    table = 0
    if action == FR_ACT_TO_TBL and not rule.l3mdev:
        table = rule.table or wire.RT_TABLE_MAIN
    fwmark = rule.fwmark or 0
    fwmask = rule.fwmask
    if fwmask is None:
        fwmask = _ALL_ONES if fwmark else 0  # as the kernel completes it
    return RuleKey(
        family=rule.family,
        preference=rule.preference,
        negate=rule.negate,
        source=source,
        source_len=source_len,
        destination=destination,
        destination_len=destination_len,
        tos=rule.tos or 0,
        action=action,
        table=table,
        goto=rule.goto or 0 if rule.action == "goto" else 0,
        iif=rule.iif or "",
        oif=rule.oif or "",
        fwmark=fwmark,
        fwmask=fwmask,
        realms=(rule.realms or 0) if rule.family == 4 else 0,  # IPv6 rules have no realms
        tunnel_id=rule.tunnel_id or 0,
        l3mdev=rule.l3mdev,
        uid_range=rule.uid_range,
        ipproto=rule.ipproto or 0,
        sport=rule.sport,
        dport=rule.dport,
        suppress_prefixlength=rule.suppress_prefixlength,
        suppress_ifgroup=rule.suppress_ifgroup,
        protocol=wire.PROTOCOL if rule.protocol is None else rule.protocol,
    )


def _body(key: RuleKey) -> bytes:
    body = wire.FIB_RULE_HDR.pack(
        wire.AF_INET if key.family == 4 else wire.AF_INET6,
        key.destination_len,
        key.source_len,
        key.tos,
        key.table if key.table < 256 else wire.RT_TABLE_UNSPEC,
        0,
        0,
        key.action,
        FIB_RULE_INVERT if key.negate else 0,
    )
    body += wire.u32(FRA_PRIORITY, key.preference)
    if key.destination_len:
        body += wire.attribute(FRA_DST, key.destination)
    if key.source_len:
        body += wire.attribute(FRA_SRC, key.source)
    if key.table > 255:
        body += wire.u32(FRA_TABLE, key.table)
    if key.goto:
        body += wire.u32(FRA_GOTO, key.goto)
    if key.iif:
        body += wire.string(FRA_IIFNAME, key.iif)
    if key.oif:
        body += wire.string(FRA_OIFNAME, key.oif)
    if key.fwmark or key.fwmask:
        body += wire.u32(FRA_FWMARK, key.fwmark) + wire.u32(FRA_FWMASK, key.fwmask)
    if key.realms:
        body += wire.u32(FRA_FLOW, key.realms)
    if key.tunnel_id:
        body += wire.attribute(FRA_TUN_ID, key.tunnel_id.to_bytes(8, "big"))
    if key.l3mdev:
        body += wire.u8(FRA_L3MDEV, 1)
    if key.uid_range is not None:
        body += wire.attribute(FRA_UID_RANGE, _U32X2.pack(*key.uid_range))
    if key.ipproto:
        body += wire.u8(FRA_IP_PROTO, key.ipproto)
    if key.sport is not None:
        body += wire.attribute(FRA_SPORT_RANGE, _U16X2.pack(*key.sport))
    if key.dport is not None:
        body += wire.attribute(FRA_DPORT_RANGE, _U16X2.pack(*key.dport))
    if key.suppress_prefixlength is not None:
        body += wire.u32(FRA_SUPPRESS_PREFIXLEN, key.suppress_prefixlength)
    if key.suppress_ifgroup is not None:
        body += wire.u32(FRA_SUPPRESS_IFGROUP, key.suppress_ifgroup)
    return body + wire.u8(FRA_PROTOCOL, key.protocol)


def add_rule(key: RuleKey) -> bytes:
    """RTM_NEWRULE. NLM_F_EXCL is what makes the kernel refuse a repetition with EEXIST."""
    how = wire.NLM_F_REQUEST | wire.NLM_F_ACK | wire.NLM_F_CREATE | wire.NLM_F_EXCL
    return wire.message(wire.RTM_NEWRULE, how, _body(key))


def delete_rule(key: RuleKey) -> bytes:
    """RTM_DELRULE naming every selector and the protocol, so that only our rule matches."""
    how = wire.NLM_F_REQUEST | wire.NLM_F_ACK
    return wire.message(wire.RTM_DELRULE, how, _body(key))
