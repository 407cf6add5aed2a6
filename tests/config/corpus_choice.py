"""Which files of the corpus are run by both daemons, and what may differ between them."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from corpus import Case, answers, cases

from kernel_state import Found

# Blocks that need another kernel, one with IPVS.
BALANCER = ("virtual_server", "SSL")
# Keywords for which a namespace is not enough, with the reason.
LEFT_OUT = {
    "net_namespace": "moves the daemon to another namespace",
    "net_namespace_ipvs": "moves the daemon to another namespace",
    "lvs_flush": "is run in a kernel with IPVS",
    "lvs_flush_on_stop": "is run in a kernel with IPVS",
    "lvs_sync_daemon": "is run in a kernel with IPVS",
    "lvs_timeouts": "is run in a kernel with IPVS",
    "vrf": "the kernel has no VRF",
    "use_pid_dir": "pid files in a directory that all daemons share",
    "track_virtual_server": "is a keyword of our own",
    "track_bfd": "is about BFD",
}
_OPENING = ("track_group", "global_defs", "linkbeat_interfaces")
_SELECTORS = ("ipproto", "dport", "protocol")
FAILS = (2, 6, 124, 139)  # of keepalived -t
# Files with which the two differ as a whole, on purpose.
LISTED = {
    ("global_defs", "vrrp_strict", "good"): "vrrp_strict off is off",
    ("global_defs", "vrrp_strict", "wrong"): "vrrp_strict foo is off",
    ("vrrp_track_process", "quorum_max", "wrong"): "what is no number is not 0",
    **dict.fromkeys(
        [("(top level)", word, "wrong") for word in _OPENING],
        "a block without braces costs itself, and not what follows it",
    ),
    ("(top level)", "vrrp_instance", "wrong"): "keepalived does not run with it",
    ("vrrp_sync_group", "track_interface", "wrong"): "keepalived does not run with it",
    ("vrrp_instance", "track_interface", "wrong"): "keepalived does not run with it",
    ("vrrp_sync_group/track_interface", "(interface)", "wrong"): "keepalived does not run with it",
    ("vrrp_instance/track_interface", "(interface)", "wrong"): "keepalived does not run with it",
    **dict.fromkeys(
        [("vrrp_instance/virtual_rules", word, "wrong") for word in _SELECTORS],
        "a rule is left out that without a selector would match more",
    ),
}
# Of those that corpus_differences.tsv tells, what the kernel gets differs, too; of the others it is
# only what is said.
APART = {
    ("vrrp_instance", "v3_checksum_as_v2", "good"),
    ("vrrp_instance/use_vmac", "name", "good"),
    ("vrrp_instance/use_vmac", "group", "good"),
    ("vrrp_instance/virtual_ipaddress", "peer", "good"),
    ("vrrp_instance/virtual_routes", "inet6", "good"),
    ("vrrp_instance/virtual_rules", "inet", "good"),
    ("vrrp_instance/virtual_rules", "inet6", "good"),
    ("vrrp_instance/virtual_rules", "dport", "good"),
    ("vrrp_instance/virtual_rules", "l3mdev", "wrong"),
}


class Deliberate(NamedTuple):
    """A difference that is meant: steps, name, and (keepalived's, ours) as text; all patterns."""

    steps: str
    name: str
    values: str
    reason: str


DELIBERATE = (
    Deliberate(
        "backup", "firewall .*", r"\(None, True\)", "the firewall protects addresses all the time"
    ),
    Deliberate(
        "backup|master",
        r"firewall (address \S*\.\d+|hook (in|out)put -\d)",
        r"\((True, None|None, True)\)",
        "what a VMAC sends is dropped, not copied",
    ),
    Deliberate(
        "backup|master",
        r"sysctl net/ipv4/conf/lan\d/arp_announce",
        r"\('0', '2'\)",
        "the parent of a VMAC asks with its own address",
    ),
    Deliberate(
        "backup|master",
        r"sysctl net/ipv6/conf/\S*\.\d+/(accept_ra|autoconf)",
        r"\('1', '0'\)",
        "a VMAC makes no addresses of router advertisements",
    ),
    Deliberate(
        "stopped",
        r"sysctl net/ipv4/conf/lan\d/arp_(ignore|filter)",
        r"\('1', '0'\)",
        "settings of a VMAC's parent are restored",
    ),
    Deliberate(
        "master",
        "route 4 main unicast .*",
        r"\{'scope': \('global', 'link'\)\}",
        "a route without gateway has scope link",
    ),
    Deliberate(
        "master",
        r"rule 4 \d+",
        r"\{'protocol': \('unspec', 'keepalived'\)\}",
        "every rule carries our mark",
    ),
    Deliberate(
        "master",
        "address .*",
        r"\{'deprecated': \(None, True\)\}",
        "preferred_lft 0 makes an address deprecated",
    ),
)


_ANSWERS = answers()


def why_not(case: Case) -> str | None:
    """Why a file is not tried, or None."""
    if case.block.startswith(BALANCER):
        return "is run in a kernel with IPVS"
    for keyword, reason in LEFT_OUT.items():
        if keyword in (case.keyword, *case.block.split("/")) or case.line.startswith(f"{keyword} "):
            return reason
    if (case.block, case.keyword, case.kind) in APART:
        return "corpus_differences.tsv tells the difference"
    if _ANSWERS[case.key] in FAILS:
        return "keepalived does not run with it"
    if (case.block, case.keyword, case.kind) in LISTED:
        return "it is listed as a difference"
    return None


def chosen() -> tuple[list[Case], Counter[str]]:
    """The files that are tried, and how many are not, by reason."""
    files: dict[str, Case] = {}
    left_out: Counter[str] = Counter()
    for case in cases():
        reason = why_not(case) or ("is the same as another one" if case.key in files else None)
        if reason:
            left_out[reason] += 1
        else:
            files[case.key] = case
    return list(files.values()), left_out


def unmeant(step: str, found: Found, met: set[str]) -> Found:
    """What differs without being meant; the reasons of the others are added to `met`."""
    left: Found = {}
    for name, values in found.items():
        for rule in DELIBERATE:
            patterns = ((rule.steps, step), (rule.name, name), (rule.values, str(values)))
            if all(re.fullmatch(pattern, text) for pattern, text in patterns):
                met.add(rule.reason)
                break
        else:
            left[name] = values
    return left
