"""What is remembered of those whose notifications nobody gets."""

from __future__ import annotations

from fastvrrp.notify.quiet import UNTOLD, Quiet


def test_the_last_word_of_each_is_remembered() -> None:
    quiet = Quiet({"A": UNTOLD, "B": ("BACKUP", 90)})
    assert list(quiet) == ["A", "B"]
    assert (quiet.get("A"), quiet.get("B"), quiet.get("C")) == (UNTOLD, ("BACKUP", 90), UNTOLD)
    assert quiet.note("A", "MASTER", 255)
    assert quiet.note("B", "", 80)
    assert (quiet.get("A"), quiet.get("B")) == (("MASTER", 255), ("BACKUP", 80))
    assert quiet.note("B", "INIT", 1)  # nobody's business
    assert quiet.get("B") == ("BACKUP", 80)
    assert not quiet.note("C", "MASTER", 100)
    assert "C" not in quiet
