"""Files of the corpus, given to keepalived and to fastvrrp: the kernel looks the same afterwards.

A choice of them, for the sake of time, so that every kind of thing in the kernel is there;
tools/corpus-kernel does it with all.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_choice import DELIBERATE, LISTED, chosen
from corpus_kernel import run

pytestmark = [pytest.mark.netns, pytest.mark.interop]

INSTANCE, TOP, GLOBAL = "vrrp_instance", "(top level)", "global_defs"
ADDRESS, ROUTE, RULE = (
    f"vrrp_instance/virtual_{what}" for what in ("ipaddress", "routes", "rules")
)
CHOICE = {
    "objects": [
        (TOP, "static_ipaddress"),
        (TOP, "static_routes"),
        (TOP, "static_rules"),
        (ADDRESS, "home"),
        (ADDRESS, "brd"),
        (ROUTE, "TYPE"),
        (ROUTE, "congctl"),
        (RULE, "fwmark"),
        (RULE, "not"),
    ],
    "devices": [
        (INSTANCE, "use_vmac"),
        (INSTANCE, "no_accept"),
        (INSTANCE, "strict_mode"),
        (INSTANCE, "promote_secondaries"),
        (GLOBAL, "disable_local_igmp"),
        (GLOBAL, "nftables"),
        (INSTANCE, "virtual_ipaddress_excluded"),
    ],
    "states": [
        (INSTANCE, "unicast_peer"),
        (INSTANCE, "mcast_dst_ip"),
        (INSTANCE, "track_script"),
        (INSTANCE, "track_interface"),
        (INSTANCE, "track_process"),
        (INSTANCE, "nopreempt"),
        (INSTANCE, "state"),
        (TOP, "vrrp_sync_group"),
    ],
}


MISTAKES = {
    ("(language)", "unknown keyword"),
    (INSTANCE, "unicast_src_ip"),
    (ADDRESS, "peer"),
    (ADDRESS, "track_group"),
    (ADDRESS, "dev"),
    (ROUTE, "via"),
    (RULE, "fwmark"),
}


@pytest.mark.parametrize("group", CHOICE)
def test_the_kernel_looks_the_same(group: str, tmp_path: Path) -> None:
    """As backup, as master and after the end; nothing of ours stays."""
    files, _ = chosen()
    wanted = [
        case
        for case in files
        if case.kind == "good" and (case.block, case.keyword) in CHOICE[group]
    ]
    assert len(wanted) == len(CHOICE[group])
    tried = run(wanted, tmp_path, len(wanted))
    assert {one.case.name: one.differences for one in tried if one.differences} == {}
    assert len(tried) == len(wanted)
    assert not any(one.refused for one in tried)
    # Whether the daemon runs and its states are four at most: there has to be an address as well.
    for one in tried:
        is_faulty = one.case.keyword == "track_process"  # there is no such process
        assert one.effects["master"] > 4 or is_faulty, one.case.name


def test_mistakes_cost_what_they_cost_with_keepalived(tmp_path: Path) -> None:
    """Files that `fastvrrp check` refuses, and both daemons run without what is wrong in them."""
    files, _ = chosen()
    wanted = [
        case for case in files if case.kind == "wrong" and (case.block, case.keyword) in MISTAKES
    ]
    assert {(case.block, case.keyword) for case in wanted} == MISTAKES
    tried = run(wanted, tmp_path, len(wanted))
    assert {one.case.name: one.differences for one in tried if one.differences} == {}
    assert not any(one.refused for one in tried)


def test_every_file_is_run_or_left_out_with_a_reason() -> None:
    files, left_out = chosen()
    assert len(files) > 700
    assert all(
        reason.startswith(
            (
                "is ",
                "moves ",
                "the kernel",
                "pid files",
                "keepalived does not",
                "corpus_differences",
                "it is listed",
            )
        )
        for reason in left_out
    )
    assert len(LISTED) == left_out["it is listed as a difference"]
    assert len({rule.reason for rule in DELIBERATE}) == len(DELIBERATE)
