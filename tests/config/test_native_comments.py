"""fastvrrp convert keeps comments, beside what they are about."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

import pytest
from beside_keepalived import Here
from config_reading import instance
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from servers_reading import check, real, virtual

from fastvrrp.config.comments import Comment, conf_comments
from fastvrrp.config.convert import Converted, convert
from fastvrrp.config.native.remarks import yaml_comments

CONF = """\
! Configuration File for keepalived
# both routers

global_defs {
    router_id LVS   # our name
}

# is it alive?
vrrp_script chk {
    script "/bin/true # no comment"  # cheap
}

# the first one
vrrp_instance V1 {
    state MASTER      # moves to the defaults
    interface eth0
    # unique in the network
    virtual_router_id 51
    virtual_ipaddress {
        10.0.0.1/24
        10.0.0.2/24 # the web
    }
    # nopreempt
}  # of V1
vrrp_instance V2 {
    state MASTER
    interface eth0
    virtual_router_id 52
    virtual_ipaddress { 10.0.1.1/24
    }
}
vrrp_instance V3 {
    state MASTER
    interface eth0
    virtual_router_id 53
    virtual_ipaddress { 10.0.2.1/24
    }
}
# the end
"""
YAML = """\
# Configuration File for keepalived
# both routers

global:
  router_id: LVS  # our name

defaults:
  instances:
    state: MASTER
    interface: eth0

track_scripts:
  # is it alive?
  chk:
    script: '/bin/true # no comment'  # cheap

instances:
  # the first one
  # moves to the defaults
  V1:
    # unique in the network
    virtual_router_id: 51
    # nopreempt
    # of V1
    addresses: [10.0.0.1/24, 10.0.0.2/24]  # the web
  V2:
    virtual_router_id: 52
    addresses: [10.0.1.1/24]
  V3:
    virtual_router_id: 53
    addresses: [10.0.2.1/24]

# the end
"""


def converted(path: Path, to: str) -> Converted:
    result = convert(path, to, host=Here(), config_id="r1", environ={})
    assert result.difference == ""
    assert not [m for m in result.messages if "comments" in m.text]
    return result


def test_beside_what_they_are_about(tmp_path: Path) -> None:
    path = tmp_path / "k.conf"
    path.write_text(CONF)
    assert converted(path, "yaml").text == YAML


def test_of_what_makes_many_blocks(tmp_path: Path) -> None:
    """They are told once, at the first of them."""
    path = tmp_path / "k.yaml"
    path.write_text(
        "# all\n\ndefaults:\n  instances:\n    interface: eth0  # there\ninstances:\n  # many\n"
        "  V<n>:\n    for: {n: 1..2}\n    virtual_router_id: <n>\n"
        "    addresses: [10.0.<n>.1,\n      # second\n      10.0.<n>.2]\n    # as ever\n"
    )
    assert converted(path, "keepalived").text == (
        "# all\n\n# many\nvrrp_instance V1 {\n    interface eth0  # there\n"
        "    virtual_router_id 1\n    virtual_ipaddress {\n        10.0.1.1\n"
        "        # second\n        # as ever\n        10.0.1.2\n    }\n}\n\n"
        "vrrp_instance V2 {\n    interface eth0\n    virtual_router_id 2\n"
        "    virtual_ipaddress {\n        10.0.2.1\n        10.0.2.2\n    }\n}\n"
    )


def test_of_included_files(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text(instance("# of V", name="V").replace("V {", "V { # more"))
    path = tmp_path / "k.conf"
    path.write_text("# all of them\ninclude more.conf\n")
    text = converted(path, "yaml").text
    assert re.findall("# (.*)", text) == ["all of them", "more", "of V"]


def test_what_is_no_utf_8(tmp_path: Path) -> None:
    """Read as the configuration is: as Latin-1, and a carriage return ends no line."""
    path = tmp_path / "k.conf"
    path.write_bytes(CONF.encode() + b"# Gr\xfc\xdfe\ran alle\n")
    result = convert(path, "yaml", host=Here(), config_id="r1", environ={})
    assert "# Grüße an alle" in result.text


def test_behind_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "k.yaml"
    path.write_text(
        "\ufeff# top\ninstances:\n  V:\n    interface: eth0\n    virtual_router_id: 1\n"
        "    addresses: [10.0.0.1]\n"
    )
    assert converted(path, "keepalived").text.startswith("# top\nvrrp_instance")


def test_of_lines_that_do_not_apply(tmp_path: Path) -> None:
    """They are not about the line above."""
    own = instance("priority 100 # for r1", "@r2 priority 50 # for r2", "@^r2 weight 3 ! not r2")
    path = tmp_path / "k.conf"
    path.write_text(own.replace("weight 3", "advert_int 3"))
    text = converted(path, "yaml").text
    assert "    # @r2: for r2\n    priority: 100  # for r1\n" in text
    assert "advert_int: 3s  # not r2\n" in text


NODES = """\
# the pair
# in two lines

instances:
  # the web
  V:  # V itself
    interface: eth0
    virtual_router_id: 1
    priority: 100  # usually
    addresses: [10.0.0.1]

# what differs
nodes:
  # the weaker one
  r2:
    instances:
      V:
        priority: 50  # slow disks
        # above it
        accept: true
      # of r2 alone
      W:
        interface: eth0
        virtual_router_id: 2
        addresses: [10.0.0.2]
  # the stronger one
  r1:
    instances:
      V:
        # it has two power supplies
        priority: 200  # strong
        # last
"""


def test_of_parts_for_one_router(tmp_path: Path) -> None:
    """Beside what they are about, which another router has elsewhere or not at all."""
    path = tmp_path / "k.yaml"
    path.write_text(NODES)
    assert converted(path, "keepalived").text == (
        "# the pair\n# in two lines\n\n"
        "# the web\n# V itself\n# what differs\n# @r2: the weaker one\n# @r2: above it\n"
        "# the stronger one\n"
        "vrrp_instance V {\n    interface eth0\n    virtual_router_id 1\n"
        "    # usually\n    # @r2: slow disks\n    # it has two power supplies\n    # last\n"
        "    priority 200  # strong\n"
        "    virtual_ipaddress {\n        10.0.0.1\n    }\n}\n\n# @r2: of r2 alone\n"
    )


@pytest.mark.parametrize("is_behind", [False, True])
def test_in_parts_for_one_router_each_stays_once(tmp_path: Path, is_behind: bool) -> None:
    """A comment in every line but those of the list; who is meant is said of the other's alone."""
    lines = [line.partition("  #")[0] for line in NODES.splitlines()]
    lines = [line for line in lines if line.strip() and line[0] != "#"]
    text = "".join(
        f"{line}  # c{number};\n"
        if is_behind
        else f"{' ' * (len(line) - len(line.lstrip()))}# c{number};\n{line}\n"
        for number, line in enumerate(lines)
    )
    path, back = tmp_path / "k.yaml", tmp_path / "back.conf"
    path.write_text(text)
    back.write_text(converted(path, "keepalived").text)
    again = converted(back, "yaml").text
    r2 = [line.strip() for line in lines].index("r2:")
    r1 = [line.strip() for line in lines].index("r1:")
    for result in (back.read_text(), again):
        found = re.findall(r"# (@r2: )?c([0-9]+);", result)
        assert sorted(int(number) for _, number in found) == list(range(len(lines)))
        assert {int(number) for mark, number in found if mark} == set(range(r2, r1))


@pytest.mark.parametrize("comments", [conf_comments, yaml_comments])
def test_work_grows_with_the_file(comments: Callable[[str], Iterable[Comment]]) -> None:
    """Not with its lines times its comments: counted in calls of functions."""

    def calls(blocks: int) -> int:
        found = 0

        def count(frame: FrameType, event: str, argument: object) -> None:
            nonlocal found
            found += event in ("call", "c_call")

        text = "# about\na:\n  b: 1  # of b\n  # last\n\n" * blocks
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            told = list(comments(text))
        finally:
            sys.setprofile(before)
        assert len(told) == 3 * blocks
        return found

    assert calls(400) < 2.5 * calls(200)


@pytest.mark.parametrize(
    ("line", "comments"),
    [
        ("    notify: '/bin/true # no'  # yes", ["yes"]),
        ("    notify: >  # yes\n      /bin/true\n      # no", ["yes"]),
        ("    notify: &A |2-   # yes\n      /bin/true\n      # no\n    # below", ["below", "yes"]),
        ("    notify: |\n      /bin/true # no", []),
        ('    notify: "/bin/true\n      # no\n      a"  # yes', ["yes"]),
        ("    track_interfaces: [eth1,  # one\n      # two\n      eth2]  # three", 3),
        ("    notify: /bin/true#no", []),
        ("    # yes: no", ["yes: no"]),
        ("    priority: 7 #", [""]),
    ],
)
def test_what_a_comment_is_in_yaml(tmp_path: Path, line: str, comments: list[str] | int) -> None:
    path = tmp_path / "k.yaml"
    path.write_text(
        "instances:\n  V:\n    interface: eth0\n    virtual_router_id: 1\n"
        f"    addresses: [10.0.0.1]\n{line}\n"
    )
    found = re.findall('(?:^|\\s)#(?!.*")(.*)', converted(path, "keepalived").text)
    if isinstance(comments, int):
        assert len(found) == comments
    else:
        assert [text.strip() for text in found] == comments


BASE = (
    "global_defs {\nenable_script_security\nscript_user root\n}\n"
    "vrrp_script S {\nscript /bin/true\n}\n"
    + "".join(
        instance(
            f"priority {100 + n % 2}",
            "track_script {\nS\n}",
            "notify '/bin/true a long argument that makes a line so long that it is folded "
            "in YAML somewhere, perhaps here'",
            name=f"V{n}",
            vrid=n,
            vips=f"10.0.0.{n}/24\n10.0.1.{n}/24",
        )
        for n in range(1, 5)
    )
    + "".join(
        virtual(
            real(check("HTTP_GET", check("url", "path /", "status_code 200"))),
            real(at="10.0.0.3 80"),
            head=f"10.1.0.{n} 80",
        )
        for n in range(1, 4)
    )
).splitlines()
WORDS = st.text(st.characters(codec="utf-8"), max_size=6)


def _line_of(place: tuple[int, bool, str, str]) -> int:
    return place[0]


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    places=st.lists(
        st.tuples(st.integers(0, len(BASE)), st.booleans(), st.sampled_from("#!"), WORDS),
        min_size=1,
        max_size=8,
        unique_by=_line_of,
    )
)
def test_comments_anywhere_stay(
    places: list[tuple[int, bool, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """There and back, each once; and the result says the same."""
    directory = tmp_path_factory.mktemp("comments", numbered=True)
    lines = list(BASE)
    for number, (at, is_behind, sign, word) in enumerate(sorted(places, reverse=True)):
        one_line = " ".join(word.split("\n")).replace("\r", " ").replace("\0", "")
        text = f"{sign} c{number}; {one_line}"
        if is_behind and at < len(BASE):
            lines[at] += f" {text}"
        else:
            lines.insert(at, text)
    path, there, back = (directory / name for name in ("k.conf", "k.yaml", "back.conf"))
    path.write_text("\n".join(lines), "utf-8")
    there.write_text(converted(path, "yaml").text, "utf-8")
    back.write_text(converted(there, "keepalived").text, "utf-8")
    again = directory / "again.yaml"
    again.write_text(converted(back, "yaml").text, "utf-8")
    for file in (there, back, again):
        found = re.findall("# c([0-9]+);", file.read_text("utf-8"))
        assert sorted(map(int, found)) == list(range(len(places))), file.name
