"""A reload parses nothing of a YAML file that has not changed: neither what `nodes` change, nor
what takes something of presets, nor settings and lists."""

from __future__ import annotations

import pytest
from config_reading import Reader
from native_entries import (
    FARM,
    FOR,
    GLOBAL,
    LISTS,
    MANY,
    PRESETS,
    REST,
    instance,
    instances,
    own,
    server,
    servers,
)
from remembering import after, first, reading

from fastvrrp.config.native.expand import Pairs
from fastvrrp.config.native.lower import Maker
from fastvrrp.config.native.outline import entries
from fastvrrp.config.node import Node


@pytest.fixture
def read(read: Reader) -> Reader:
    read.path = read.path.with_suffix(".yaml")
    return read


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(FOR, id="for"),
        pytest.param(instance(1, "advert_int: &A 1s", "garp_master_delay: *A"), id="an anchor"),
        pytest.param(
            "  V1: {interface: eth0, virtual_router_id: 1, addresses: [10.0.0.1]}\n", id="brackets"
        ),
        pytest.param(instance(1).replace("V1:", "V1: # more"), id="a comment"),
    ],
)
@pytest.mark.parametrize("presets", ["", "defaults:\n  instances:\n    priority: 90\n"])
def test_what_is_known_as_well(read: Reader, entry: str, presets: str) -> None:
    text = GLOBAL + presets + instances(entry, instance(9))
    held = first(read, text)
    known = after(read, text, held)
    assert known.blocks == {}
    for moved in (f"# more\n{text}", GLOBAL + instances(instance(9), entry) + "# more\n" + presets):
        again = after(read, moved, known.held)
        assert again.blocks == {}
        assert after(read, text, again.held).blocks == {}
    other = text.replace("10.0.0.", "10.0.1.", 1)
    assert after(read, other, held).blocks == {"vrrp_instance": 3 if "for:" in entry else 1}


def test_aliases_of_what_stands_elsewhere(read: Reader) -> None:
    """The text of an entry does not decide what it means, nor who else it means something to."""
    one, two = instance(1, "advert_int: &A 1s"), instance(2, "advert_int: *A")
    text = GLOBAL + instances(one, two, *MANY[2:])
    held = first(read, text)
    assert after(read, text, held).parsed == 2
    assert after(read, text.replace("&A 1s", "&A 2s"), held).parsed == 2
    # what was no alias of anything in it is one now
    own = instance(1, "advert_int: &A 1s", "garp_master_delay: *A")
    before = "global:\n  vrrp_garp_interval: &A 3s\n" + instances(own, *MANY[1:])
    held = first(read, before)
    assert after(read, before, held).blocks == {}
    assert after(read, before.replace(MANY[1], two), held).parsed
    assert after(read, before.replace("&A 3s", "&B 3s").replace(MANY[1], two), held).parsed


def test_stars_in_comments(read: Reader) -> None:
    """They are no aliases, of which so many might stand for too much."""
    text = instances(*(instance(n, f"# {'*' * 4000}", "version: 3") for n in range(1, 21)))
    assert after(read, text, first(read, text)).blocks == {}


def test_nothing_below_a_key() -> None:
    """What stands beside it is not below it: it would be looked at once more for each such key."""
    text = "templates:\n  instances:\n  track_files:\n    F: {weight: 3}\n"
    text += (
        "nodes:\n  r1:\n  r2:\n    instances:\n    virtual_servers:\n    - address: 10.1.0.1:80\n"
    )
    assert [(entry.path, entry.line) for entry in entries(text)] == [
        (("templates", "track_files"), 4),
        (("nodes", "r2", "virtual_servers"), 10),
    ]


def test_entries_that_begin_alike(read: Reader) -> None:
    """However many lengths they have: where an entry ends is known before it is looked up."""
    alike = [
        f"  - protocol: TCP\n    address: 10.2.0.{n}:80\n    scheduler: rr\n    method: NAT\n"
        f"    virtualhost: {'a' * n}.example\n    real_servers: [10.0.0.2:80]\n"
        for n in range(1, 201)
    ]
    text = servers(*alike)
    assert after(read, text, first(read, text)).blocks == {}


def test_words_out_of_presets_in_another_file(read: Reader) -> None:
    """The line in which they stand there may be one of the entry here."""
    presets = "defaults:\n  track_scripts:\n" + "\n" * 8 + "    script: {command: /bin/frob}\n"
    read.file("presets.yaml", presets)
    entry = "track_scripts:\n  S:\n" + "\n" * 6 + "    script: {user: nobody}\n"
    entry += "\n" * 6 + "    weight: 3\n"
    text = "include: presets.yaml\n" + entry + instances(*MANY[:3])
    held = first(read, text)
    for above in ("# more\n", "\n\n\n"):
        found = after(read, above + text, held)
        [said] = [m.position for m in found.messages if "/bin/frob" in m.text]
        line = (above + text[: text.index("    script")]).count("\n") + 1
        assert (said.file, said.line, said.column) == (str(read.path), line, 5)


def test_everything_else(read: Reader) -> None:
    """Not a line of it, wherever it stands, is for libyaml."""
    several = server(20).replace("10.0.0.2:80", "{address: '10.0.2.<n>:80', for: {n: 2..9}}")
    farm = servers(*FARM, several)
    parts = [GLOBAL, *LISTS, *REST, PRESETS, instances(*MANY), farm]
    held = first(read, "".join(parts))
    assert after(read, "".join(parts), held).blocks == {}
    assert after(read, "".join(parts[::-1]), held).blocks == {}
    again = after(read, "# more\n\n".join(parts[::-1]), held)
    assert again.blocks == {}
    assert after(read, "".join(parts), again.held).blocks == {}
    for text, changed, keyword in (
        ("script_user: root", "script_user: nobody", "global_defs"),
        ("10.0.9.9", "10.0.9.7", "static_ipaddress"),
        ("10.8.0.0", "10.9.0.0", "static_routes"),
        ("priority 7", "priority 8", "static_rules"),
        ("secret", "other", "SSL"),
        ("fwmark 3", "fwmark 4", "virtual_server_group"),
        ("/run/x", "/run/y", "track_file"),
        ("gna_interval: 2s", "gna_interval: 3s", ""),
        ("interval: 2s", "interval: 3s", ""),
    ):
        found = after(read, "".join(parts).replace(text, changed), held)
        assert found.held is not None
        if keyword != "global_defs":  # it decides about everything
            assert found.blocks == ({keyword: 1} if keyword else {})


def test_parts_for_one_router(read: Reader) -> None:
    """What `nodes` are laid over is not parsed, nor are they."""
    read.config_id = "r1"
    part = own("V1:", "  priority: 200", "V3: {priority: 7}", "V5:", "  priority: 9")
    other = part.replace("nodes:\n  r1", "  r2").replace("200", "201")
    text = GLOBAL + part + other + instances(*MANY)
    held = first(read, text)
    assert after(read, text, held).blocks == {}
    moved = GLOBAL + instances(*MANY[::-1]) + "# more\n" + part + other
    assert after(read, moved, held).blocks == {}
    # a part that changes, one that is another's, a base that changes
    assert after(read, text.replace("priority: 9", "priority: 8"), held).blocks == {
        "vrrp_instance": 1
    }
    assert after(read, text.replace("201", "202"), held).blocks == {}
    assert after(read, text.replace(MANY[2], instance(3, "version: 3")), held).parsed == 1
    assert after(read, text.replace(MANY[7], instance(8, "version: 3")), held).parsed == 1
    # an entry more, one less
    added = text.replace("      V5:\n", "      V7:\n        priority: 3\n      V5:\n")
    found = after(read, added, held)
    assert found.parsed == 1
    assert after(read, added, found.held).parsed == 0
    assert after(read, text, found.held).blocks == {}
    assert after(read, GLOBAL + instances(*MANY), held).blocks == {}
    assert after(read, text, first(read, GLOBAL + instances(*MANY))).parsed == 3
    # another one's name
    read.config_id = "r2"
    assert after(read, text, held).parsed == 20


def test_models_of_what_nodes_change(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made of their statements either, unless something is to be said of them."""
    made: list[str] = []
    block = Maker.block

    def counted(self: Maker, path: str, pairs: Pairs) -> list[Node]:
        made.append(path)
        return block(self, path, pairs)

    read.config_id = "r1"
    part = own(*(f"V{n}: {{priority: {n + 100}}}" for n in range(1, 21)))
    text = GLOBAL + part + instances(*MANY)
    held = first(read, text)
    monkeypatch.setattr(Maker, "block", counted)
    for other, count in (
        (f"# more\n{GLOBAL}" + instances(*MANY[::-1]) + "\n" + part, 0),
        (text.replace("priority: 107", "priority: 108"), 1),
        (text.replace(MANY[4], instance(5, "version: 3")), 1),
        (text.replace("      V9: {priority: 109}\n", ""), 1),
    ):
        read.path.write_text(other)
        made.clear()
        assert reading(read, held).parsed <= count
        assert made.count("vrrp_instance") == count
        after(read, other, held)
    # what is said of lines in the part, and of lines under it
    warned = text.replace(MANY[1], instance(2, "state: MASTER", "preempt: false"))
    warned = warned.replace("V3: {", "V3: {preempt: false, state: MASTER, ")
    held = first(read, warned)
    found = after(read, f"\n\n{warned}", held)
    assert (len(found.messages), found.blocks) == (2, {})


def test_entries_that_one_router_has_alone(read: Reader) -> None:
    read.config_id = "r1"
    more = instance(30).replace("\n  ", "\n      ").replace("  V30", "      V30", 1).rstrip() + "\n"
    part = own("V1:", "  priority: 200") + more
    text = GLOBAL + part + instances(*MANY)
    held = first(read, text)
    assert after(read, text, held).blocks == {}
    both = GLOBAL + part + instances(*MANY, instance(30))
    assert after(read, both, held).parsed
    assert after(read, text, first(read, both)).parsed <= 1
    listed = own(
        "- address: 10.1.0.99:80",
        "  scheduler: rr",
        "  method: NAT",
        "  real_servers: [10.0.0.9:80]",
        section="virtual_servers",
    )
    replaced = GLOBAL + listed + instances(*MANY) + servers(*FARM)
    held = first(read, replaced)
    assert after(read, replaced, held).blocks == {}
    assert after(read, GLOBAL + instances(*MANY) + servers(*FARM), held).blocks == {}
    assert after(read, replaced, first(read, GLOBAL + servers(*FARM))).held is not None
    read.file("one.yaml", instances(*MANY))
    apart = "include: one.yaml\n" + GLOBAL + part
    assert after(read, apart, held).held is None  # they are laid over entries of their file alone


def test_settings_of_one_router(read: Reader) -> None:
    read.config_id = "r1"
    presets = "defaults:\n  instances:\n    version: 3\n"
    part = "nodes:\n  r1:\n    global:\n      router_id: one\n    defaults:\n"
    part += "      instances:\n        priority: 90\n    static_addresses: [10.0.9.9 dev eth0]\n"
    text = GLOBAL + presets + part + instances(*MANY)
    held = first(read, text)
    assert after(read, text, held).blocks == {}
    assert after(read, text.replace("router_id: one", "router_id: two"), held).parsed == 0
    assert after(read, text.replace("priority: 90", "priority: 91"), held).parsed == 20
    assert after(read, GLOBAL + presets + instances(*MANY), held).parsed == 20
