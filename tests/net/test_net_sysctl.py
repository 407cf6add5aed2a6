"""Settings of interfaces that are renamed: what was ours goes back where it is now."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from net_tools import ip

from fastvrrp.net import sysctl

pytestmark = pytest.mark.netns

WANTED = {("v0", "arp_ignore"): "1", ("v0", "arp_announce"): "2"}


def test_settings_are_found_under_the_name_of_now(link: Callable[..., int]) -> None:
    link("v0")
    held = sysctl.plan(WANTED)
    assert sysctl.apply(held) == []
    places = {setting: sysctl.index_of("v0") for setting in held}
    assert sysctl.follow(places) == places

    ip("link set v0 name other")
    ip("link set v0p name otherp")
    link("v0")  # and somebody else has the old one
    followed = sysctl.follow(places)
    assert {setting.interface for setting in followed} == {"other"}
    done, problems = sysctl.restore(tuple(followed))
    assert (len(done), problems) == (2, [])
    assert sysctl.read("other", "arp_ignore") == sysctl.read("other", "arp_announce") == "0"

    ip("link del other")
    found = sysctl.follow(places)
    assert tuple(found) == held, "one that is gone keeps its name"
    assert set(found.values()) == {sysctl.index_of("v0")}


def test_a_rename_there_and_back_is_none(link: Callable[..., int]) -> None:
    """What is held is not forgotten although the notifications still tell of the other name."""
    link("v0")
    held = sysctl.plan(WANTED)
    sysctl.apply(held)
    places = {setting: sysctl.index_of("v0") for setting in held}
    ip("link set v0 name other")
    ip("link set other name v0")
    assert sysctl.plan(WANTED, sysctl.follow(places)) == held
