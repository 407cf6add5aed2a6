"""Every keyword, good and wrong: what keepalived accepts we accept, what it refuses we refuse.

keepalived's answers are recorded (tools/corpus-answers); a part of them is asked for again here.
It *accepts* (exit status 0), *complains* (5, 4) about what it mends or leaves out, or *refuses*
(2; 6: a file is missing; a crash, no end). We accept, perhaps with warnings, or refuse. Where
keepalived accepts we must not refuse; where it complains we say something; where it refuses so do
we. Every exception is in corpus_differences.tsv, with its reason.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from beside_keepalived import Here, exit_statuses
from corpus import CHECKERS, Case, answers, cases, differences, frame

from fastvrrp.config.keywords import TOP, table
from fastvrrp.config.load import load
from fastvrrp.config.model import Loaded

CASES = list(cases())
LIVE = 8  # one of so many is given to keepalived again
ACCEPTS, COMPLAINS = (0,), (4, 5)
BLOCKS = sorted({case.block for case in CASES})


def read(case: Case, directory: Path) -> Loaded:
    path = directory / "k.conf"
    path.write_text(case.text)
    return load(path, config_id="r1", environ={}, host=Here())


def agree(status: int, loaded: Loaded) -> bool:
    if status in ACCEPTS:
        return loaded.configuration is not None
    if status in COMPLAINS:
        return bool(loaded.messages)
    return loaded.configuration is None


def test_every_keyword_has_a_good_line() -> None:
    known = {(case.block, case.keyword) for case in CASES if case.kind == "good"}
    assert known == {(row.block, row.keyword) for rows in table().values() for row in rows.values()}
    assert len({case.text for case in CASES}) > 900


@pytest.mark.parametrize("block", BLOCKS)
def test_keepalived_and_we_agree(block: str, tmp_path: Path) -> None:
    """Or the difference is listed; and what is listed differs."""
    recorded, listed = answers(), differences()
    strange = []
    for case in CASES:
        if case.block != block:
            continue
        assert case.key in recorded, f"{case.name}: run tools/corpus-answers"
        loaded = read(case, tmp_path)
        if case.kind == "good":
            assert loaded.configuration is not None, (case.name, [str(m) for m in loaded.messages])
        is_listed = (case.block, case.keyword, case.kind) in listed
        if agree(recorded[case.key], loaded) == is_listed:
            said = [str(message) for message in loaded.messages]
            strange.append((case.name, recorded[case.key], is_listed, said))
    assert strange == []


@pytest.mark.parametrize(
    "block", [TOP, "global_defs", "vrrp_instance", "vrrp_sync_group", "virtual_server"]
)
def test_the_frames_say_nothing(block: str, tmp_path: Path) -> None:
    """So what is said of a case is said of its line."""
    for path in (block, *(b for b in BLOCKS if b.startswith(CHECKERS) and "BFD" not in b)):
        case = Case(path, "", "good", "", frame(path, "# nothing"))
        if path.endswith("/host"):
            continue  # which is an old form by itself
        assert [str(message) for message in read(case, tmp_path).messages] == [], path


def test_differences_are_told_as_they_are(tmp_path: Path) -> None:
    recorded, listed = answers(), differences()
    told = {}
    for case in CASES:
        key = case.block, case.keyword, case.kind
        if key in listed:
            status = recorded[case.key]
            theirs = "complains" if status in COMPLAINS else "refuses"
            theirs = "accepts" if status in ACCEPTS else theirs
            ours = "refuses" if read(case, tmp_path).configuration is None else "accepts"
            told[key] = theirs, ours
            assert len(listed[key]["reason"]) > 10
    assert told == {key: (row["keepalived"], row["fastvrrp"]) for key, row in listed.items()}


@pytest.mark.interop
@pytest.mark.netns
def test_keepalived_says_what_was_recorded(tmp_path: Path, namespace: str) -> None:
    recorded = answers()
    chosen = [case for case in CASES if int(case.key, 16) % LIVE == 0]
    chosen = [case for case in chosen if recorded[case.key] != 124]  # it would not end
    assert len(chosen) > 100
    found = exit_statuses(tmp_path, namespace, [case.text for case in chosen])
    assert [(case.name, status) for case, status in zip(chosen, found, strict=True)] == [
        (case.name, recorded[case.key]) for case in chosen
    ]
