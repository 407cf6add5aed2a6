"""Which files of the corpus are run by both daemons, and what may differ between them."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from corpus import Case, answers, cases
from corpus import differences as differences_told

from kernel_state import Found

# Blocks that need another kernel (IPVS), or are about nothing that the kernel sees.
LEFT_OUT_BLOCKS = ("virtual_server", "bfd_instance", "SSL")
# Keywords for which a namespace is not enough, with the reason.
LEFT_OUT = {
    "net_namespace": "moves the daemon to another namespace",
    "net_namespace_ipvs": "needs IPVS",
    "lvs_flush": "needs IPVS",
    "lvs_flush_on_stop": "needs IPVS",
    "lvs_sync_daemon": "needs IPVS",
    "lvs_timeouts": "needs IPVS",
    "vrf": "the kernel has no VRF",
    "use_pid_dir": "pid files in a directory that all daemons share",
    "track_virtual_server": "needs IPVS",
    "track_bfd": "is about BFD",
}
FAILS = (2, 6, 124, 139)  # of keepalived -t
# Files with which the two differ as a whole, on purpose.
LISTED = {
    ("global_defs", "vrrp_strict", "good"): "vrrp_strict off is off",
    ("global_defs", "vrrp_strict", "wrong"): "vrrp_strict foo is off",
    ("vrrp_track_process", "quorum_max", "wrong"): "what is no number is not 0",
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


_ANSWERS, _TOLD = answers(), differences_told()


def why_not(case: Case) -> str | None:
    """Why a file is not tried, or None."""
    if case.block.startswith(LEFT_OUT_BLOCKS):
        return "is about virtual servers, or BFD"
    for keyword, reason in LEFT_OUT.items():
        if keyword in (case.keyword, *case.block.split("/")) or case.line.startswith(f"{keyword} "):
            return reason
    if (case.block, case.keyword, case.kind) in _TOLD:
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
