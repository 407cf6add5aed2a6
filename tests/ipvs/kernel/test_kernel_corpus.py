"""The corpus's virtual servers, given to keepalived and to fastvrrp: the tables are the same.

Each that can stand in one file with others, at the start and in one of the other kinds, and two of
those with a mistake; all of them and the rest are what tools/corpus-kernel tries.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "config"))  # where the corpus is
from corpus_balancer import KINDS, MEANT, choice, services
from corpus_tables import together

MISTAKES = {"lvs_method TUN type foo", "10.0.0.9-7 80"}


@pytest.mark.timeout(180)
def test_the_tables_are_the_same(tmp_path: Path) -> None:
    """At the start, with alpha and a sorry server, with servers that are silent and that answer;
    and after the stop."""
    every, alone, mistaken, _ = choice(tmp_path)
    assert len({part.case.key for part in every}) > 300
    assert len(alone) < 30
    mistaken = [part for part in mistaken if part.case.line in MISTAKES]
    assert {part.case.line for part in mistaken} == MISTAKES
    others = list(KINDS)[1:]
    files = [
        part
        for part in every
        if part.kind in ("start", others[int(part.case.key, 16) % len(others)])
    ]
    files += [part for part in mistaken if part.kind == "start"]
    told = together(files, tmp_path / "life", services(files, tmp_path))
    assert told.different == {}
    assert told.meant == set(MEANT.values())
    assert told.status == [0, 0]
    assert told.left == (["Timeout (tcp tcpfin udp): 900 120 300"],) * 2
    # So the checks had their say, and not all of them the same.
    counts = {
        kind: sum(told.servers[part.name] for part in files if part.kind == kind) for kind in KINDS
    }
    assert counts["start"] > 280
    assert 120 > counts["answering"] > counts["silent"] > 10
    assert counts["unknown"] > 70
