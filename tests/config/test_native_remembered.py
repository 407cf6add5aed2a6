"""A reload does not parse entries of YAML files again, and nothing else comes of it."""

from __future__ import annotations

import pytest
import yaml
from config_reading import Reader
from hypothesis import given, settings
from hypothesis import strategies as st
from remembering import after, first, reading, same

from fastvrrp.config.native import document

GLOBAL = "global:\n  enable_script_security: true\n  script_user: root\n"


def instance(number: int, *lines: str, priority: int = 100, indent: str = "  ") -> str:
    """An entry of instances."""
    own = (
        "interface: eth0",
        f"virtual_router_id: {number}",
        f"priority: {priority}",
        f"addresses: [10.0.0.{number}/24]",
        *lines,
    )
    return f"{indent}V{number}:\n" + "".join(f"{indent}  {line}\n" for line in own)


def server(number: int, *lines: str, weight: int = 1, indent: str = "  ") -> str:
    """An entry of virtual_servers."""
    own = ("protocol: TCP", "scheduler: rr", "method: NAT", *lines)
    text = f"{indent}- address: 10.1.0.{number}:80\n"
    text += "".join(f"{indent}  {line}\n" for line in own)
    text += f"{indent}  real_servers:\n{indent}    - 10.0.0.2:80\n"
    return text + f"{indent}    - address: 10.0.0.3:80\n{indent}      weight: {weight}\n"


def instances(*entries: str) -> str:
    return "instances:\n" + "".join(entries)


def servers(*entries: str) -> str:
    return "virtual_servers:\n" + "".join(entries)


@pytest.fixture
def read(read: Reader) -> Reader:
    read.path = read.path.with_suffix(".yaml")
    return read


MANY = [instance(n) for n in range(1, 21)]
FARM = [server(n) for n in range(1, 11)]
BOTH = GLOBAL + instances(*MANY) + servers(*FARM)


def test_what_has_not_changed_is_not_parsed(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by libyaml nor by us."""
    texts, real = [], yaml.parse

    def parse(stream: object, **options: object) -> object:
        texts.append(getattr(stream, "getvalue", str)())
        return real(stream, **options)  # type: ignore[arg-type,call-overload]

    held = first(read, BOTH)
    monkeypatch.setattr(document.yaml, "parse", parse)
    read.path.write_text(BOTH)
    assert reading(read, held).parsed == 0
    assert texts[0].count("\n") == BOTH.count("\n")
    assert [line for line in texts[0].split("\n") if line] == [
        *GLOBAL.splitlines(),
        "instances:",
        "  V1:",
        "virtual_servers:",
        "  - address: 10.1.0.1:80",
    ]


def test_one_of_many_is_parsed(read: Reader) -> None:
    held = first(read, BOTH)
    assert after(read, BOTH, held).parsed == 0
    other = BOTH.replace(MANY[6], instance(7, priority=90)).replace(FARM[3], server(4, weight=3))
    changed = after(read, other, held)
    assert changed.parsed == 2
    assert after(read, other, changed.held).parsed == 0
    assert after(read, BOTH, changed.held).parsed == 2
    more = BOTH.replace(MANY[6], MANY[6] + instance(77)).replace(FARM[3], "")
    assert after(read, more, held).parsed == 1


def test_where_an_entry_stands_does_not_matter(read: Reader) -> None:
    held = first(read, BOTH)
    back = GLOBAL + "\n# more\n" + servers(*FARM[::-1]) + "\n" + instances("# a\n", *MANY[::-1])
    assert after(read, back, held).parsed == 0
    read.file("conf.d/one.yaml", instances(*MANY[:5]))
    assert after(read, "include: conf.d/*.yaml\n" + GLOBAL + instances(*MANY[5:]), held).parsed == 0
    spread = instances("\n    # first\n", *[f"{entry}\n  # next\n\n" for entry in MANY])
    assert after(read, GLOBAL + spread, held).parsed == 0


@pytest.mark.parametrize("indent", ["", " ", "    "])
def test_any_indentation(read: Reader, indent: str) -> None:
    routers = instances(*(instance(n, indent=indent or "  ") for n in range(1, 4)))
    text = GLOBAL + routers + servers(*(server(n, indent=indent) for n in range(1, 4)))
    held = first(read, text)
    assert after(read, text, held).parsed == 0
    assert after(read, text.rstrip(), held).parsed == 0


def test_presets(read: Reader) -> None:
    """Defaults and templates must say what they said, wherever they say it."""
    presets = (
        "defaults:\n  instances:\n    version: 3\n"
        "templates:\n"
        "  instances:\n    low:\n      priority: 50\n    base: {template: low, nopreempt: true}\n"
        "  real_servers:\n    web: {weight: 7}\n"
    ).replace("nopreempt: true", "preempt: false")
    uses = instance(1, "template: base").replace("    priority: 100\n", "")
    farm = server(1).replace("10.0.0.2:80", "{address: 10.0.0.2:80, template: web}")
    text = presets + instances(uses, instance(2)) + servers(farm, server(2))
    held = first(read, text)
    assert after(read, text, held).parsed == 0
    moved = instances(uses, instance(2)) + servers(farm, server(2)) + "# more\n" + presets
    assert after(read, moved, held).parsed == 0
    assert after(read, text.replace("weight: 7", "weight: 8"), held).parsed == 4
    assert after(read, text.replace("priority: 50", "priority: 51"), held).parsed == 4
    assert after(read, text.replace("version: 3", "version: 2"), held).parsed == 4
    assert after(read, text.replace("version: 3", "version: 3\n    interface: eth1"), held)
    assert after(read, text.replace("templates:\n", "templates:\n", 1) + "\n", held).parsed == 0
    # what nobody uses is said each time
    unused = text.replace("    low:", "    idle: {priority: 3}\n    low:")
    said = after(read, unused, held)
    assert (said.parsed, len(said.messages)) == (0, 1)
    again = after(read, unused, said.held)
    assert (again.parsed, len(again.messages)) == (0, 1)
    used = unused.replace("template: base", "template: [base, idle]")
    assert len(after(read, used, again.held).messages) == 0
    assert len(after(read, unused, first(read, used)).messages) == 1


def test_what_is_said_of_an_entry(read: Reader) -> None:
    """Again, at its new place, in the words of YAML."""
    text = GLOBAL + instances(
        instance(1, "state: MASTER", "preempt: false"), instance(2, "auth: {type: PASS}")
    ).replace("    auth: {type: PASS}\n", "    version: 3\n    advert_int: 1.234s\n")
    held = first(read, text)
    found = after(read, f"# more\n{text}", held)
    assert (found.parsed, bool(found.messages)) == (0, True)
    assert "preempt: false" in "".join(str(message) for message in found.messages)


def test_names_that_are_there_already(read: Reader) -> None:
    held = first(read, GLOBAL + instances(*MANY))
    for twice in (
        instances(*MANY, MANY[3]),
        instances(*MANY, instance(4, priority=7)),
        instances(instance(4, priority=7), *MANY),
        instances(*MANY) + instances(MANY[3]),
    ):
        assert after(read, GLOBAL + twice, held).held is None
    read.file("more.yaml", instances(MANY[3]))
    assert after(read, "include: more.yaml\n" + GLOBAL + instances(*MANY), held).held is None


ALWAYS = [
    pytest.param(instance(1, "advert_int: &A 1s"), id="an anchor"),
    pytest.param(instance(1, 'notify: "/bin/true\n      a"'), id="quotes over two lines"),
    pytest.param(instance(1, "notify: >\n      /bin/true\n      a"), id="a folded value"),
    pytest.param(instance(1, "notify: /bin/true\n      a"), id="a plain value of two lines"),
    pytest.param(instance(1, "track_interfaces: [eth1,\n      eth2]"), id="brackets"),
    pytest.param(
        "  V<n>:\n    for: {n: 1..2}\n    interface: eth0\n    virtual_router_id: <n>\n"
        "    addresses: [10.0.0.<n>]\n",
        id="for",
    ),
    pytest.param(
        "  V1: {interface: eth0, virtual_router_id: 1, addresses: [10.0.0.1]}\n", id="in brackets"
    ),
    pytest.param(instance(1).replace("V1", "'V1'"), id="a name in quotes"),
]


@pytest.mark.parametrize("entry", ALWAYS)
def test_what_is_parsed_always(read: Reader, entry: str) -> None:
    text = GLOBAL + instances(entry, instance(9))
    count = 3 if "for:" in entry else 2
    held = first(read, text)
    assert after(read, text, held).parsed == count - 1
    assert after(read, text.replace("    interface", "    # more\n    interface"), held).parsed


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(instances("  {\n", MANY[0], "  }\n"), id="within brackets"),
        pytest.param(instances(MANY[0], "  - a\n"), id="a list behind it"),
        pytest.param(instances(MANY[0], "  |\n    a\n"), id="a text behind it"),
        pytest.param("x: '\n" + instances(*MANY[:2]) + "'\n", id="within quotes"),
    ],
)
def test_known_entries_that_are_none_there(read: Reader, text: str) -> None:
    """With what the parser gets of them it would find nothing wrong."""
    held = first(read, instances(*MANY))
    assert after(read, text, held).held is None


@pytest.mark.parametrize(
    "forbidden", [b"\x07", b"\x0c", b"\x7f", b"\xc2\x90", b"\xef\xbf\xbe", b"\xe4\x90"]
)
def test_what_yaml_forbids_in_comments(read: Reader, forbidden: bytes) -> None:
    """Also where all that is around them is known. The last one is read as Latin-1."""
    held = first(read, instances(*MANY))
    above, below = instances(*MANY[:5]).encode(), "".join(MANY[5:]).encode()
    read.path.write_bytes(above + b"  # a" + forbidden + b"b\n" + below)
    assert same(read, held).held is None


@pytest.mark.parametrize("header", ["|", ">", "|-", "| # more"])
@pytest.mark.parametrize("blanks", [8, 14, 15, 18])
def test_a_text_that_had_no_lines(read: Reader, header: str, blanks: int) -> None:
    """What looks like a comment may be in it."""
    check = f"        checks:\n          - smtp:\n              helo_name: {header}\n"
    held = first(read, servers(server(1) + check, server(2)))
    more = servers(server(1) + check, f"{' ' * blanks}#a.example\n", server(2))
    assert after(read, more, held).parsed == 1


def test_parts_for_one_router(read: Reader) -> None:
    """`nodes` change entries: all are parsed."""
    text = GLOBAL + "nodes:\n  r1:\n    instances:\n      V1:\n        priority: 200\n"
    text += instances(*MANY)
    held = first(read, text)
    assert after(read, text, held).parsed == 20
    assert after(read, GLOBAL + instances(*MANY), held).parsed == 20
    assert after(read, text, first(read, GLOBAL + instances(*MANY))).parsed == 20


# What stands above, below or around known entries, and may take them for something else.
ODDITIES = (
    'x: "',
    "x: '\n",
    '"\n',
    "'\n",
    "x: [\n",
    "]\n",
    "}\n",
    "  {\n",
    "  ]\n",
    "x: |\n",
    "  |\n",
    "  x: >\n",
    "  - a\n",
    "- a\n",
    "  a\n",
    "    a: 1\n",
    "    a\n",
    "   # \n",
    "\n\n",
    "---\n",
    "...\n",
    "--- |\n",
    "%YAML 1.1\n",
    "  ? a\n",
    "  : b\n",
    "  &A V1:\n",
    "  *A : 1\n",
    "  !x V1:\n",
    "\tx\n",
    "  x: 1\r  y: 2\n",
    "  \x85\n",
    "  <<: {priority: 3}\n",
    "instances:\n",
    "virtual_servers:\n",
    "instances: {\n",
    "instances: # more\n",
    "'instances':\n",
    "nodes:\n  r1:\n    instances:\n      V1: {priority: 3}\n",
    "nodes:\n  r2:\n    instances: {}\n",
    "defaults:\n  instances: {priority: 7}\n",
    "defaults:\n  instances: {priority: 8, interface: eth1}\n",
    "defaults:\n  real_servers: {weight: 8}\n",
    "defaults:\n  virtual_servers: {quorum: 2}\n",
    "templates:\n  instances:\n    base: {priority: 3}\n",
    "templates:\n  instances:\n    base: {priority: 4, notify: /bin/true}\n",
    "templates:\n  instances: {idle: {priority: 4}}\n",
    "sync_groups:\n  G: {instances: [V1, V2]}\n",
    "track_scripts:\n  S: {script: /bin/true, weight: 5}\n",
    "track_scripts:\n  S: {script: /bin/check}\n",
    "track_scripts:\n  S:\n    script: /bin/true\n  S2:\n    script: /bin/check\n    weight: 3\n",
    "track_scripts:\n  S:\n    script: /bin/true\n  S2:\n    script: /bin/check\n    weight: 4\n",
    "track_scripts:\n  S<n>:\n    for: {n: 1..3}\n    script: /bin/true\n    weight: <n>\n",
    "track_files:\n  F:\n    file: /run/x\n  S:\n    file: /run/y\n",
    "sync_groups:\n  G:\n    instances: [V1, V2]\n    notify: 'a\n     b'\n"
    "    global_tracking: true\n",
    "garp_groups:\n  - interface: eth0\n    garp_interval: 1s\n  - interface: eth1\n",
    "virtual_server_groups:\n  W:\n    - 10.4.0.1-7:80\n  X:\n    - fwmark: 3\n",
    "track_groups:\n  T:\n    instances: [V1]\nstatic_addresses:\n  - 10.0.9.9 dev eth0\n",
    "defaults:\n  track_scripts: {weight: 7}\n",
    "include: conf.d/a.yaml\n",
    "include: [conf.d/a.yaml, conf.d/b.conf]\n",
    GLOBAL,
    "global: {vrrp_version: 3}\n",
    "instances: &A\n",
    "instances:\n",
    "instances:\n",
    "instances:\n",
    "virtual_servers:\n",
    "virtual_servers:\n",
)
ENTRIES = (
    instance(13, "notify: '/bin/true\n      a'", "advert_int: 3s"),
    server(7, "virtualhost: |\n      a.example", "quorum: 1"),
    server(8).replace("address: 10.1.0.8:80", "group: W"),
    instance(1),
    instance(1, priority=60),
    instance(1, indent="   "),
    instance(2),
    instance(2, "state: MASTER", "preempt: false"),
    instance(3, "template: base"),
    instance(3, "priority: 7"),
    instance(4, "track_scripts: [S]"),
    instance(4, "track_scripts: {S: 3}"),
    instance(5, "notify: /bin/true"),
    instance(5, "notify: '/bin/true\n      a'"),
    instance(6, "notify: |\n      /bin/true"),
    instance(6, "\n    # within", "use_vmac: true"),
    instance(7, "track_interfaces: [eth1,\n eth2]"),
    instance(7, "track_interfaces: [eth1, eth9]"),
    instance(8, "advert_int: &A 2s"),
    instance(8, "advert_int: *A"),
    instance(9, "priority: 255"),
    instance(9, "frob: 3"),
    instance(10, "state: 'MASTER'   # more"),
    instance(1).replace("V1:", "V1: # more"),
    instance(1).replace("V1:", "'V1':"),
    instance(2).rstrip(),
    instance(2).replace(":\n", ": {\n", 1).replace("24]\n", "24]}\n"),
    "  V11: {interface: eth0, virtual_router_id: 11, addresses: [10.0.0.11]}\n",
    "  V12:\n    {interface: eth0, virtual_router_id: 12, addresses: [10.0.0.12]},\n",
    "  W<n>:\n    for: {n: 21..22}\n    interface: eth0\n    virtual_router_id: <n>\n"
    "    addresses: [10.0.0.<n>]\n",
    "  W<n>:\n    for: {n: [23]}\n    interface: eth0\n    virtual_router_id: <n>\n"
    "    addresses: [10.0.0.<n>]\n",
    server(1),
    server(1, weight=5),
    server(1, indent=""),
    server(2),
    server(2, "real_server_defaults: {weight: 3}", indent=""),
    server(3, "checks: [tcp]"),
    server(3, "virtualhost: 'a\n      b'"),
    server(4, "quorum_up: /bin/true"),
    server(5, "quorum: 7"),
    "  - protocol: TCP\n    address: 10.1.0.6:80\n    scheduler: rr\n    method: NAT\n"
    "    real_servers: [10.0.0.2:80]\n",
)
PIECES = (*ENTRIES, *ODDITIES)
PIECE = st.sampled_from(range(len(PIECES)))
ENTRY = st.sampled_from(range(len(ENTRIES)))
INCLUDED = (instances(instance(31)), servers(server(31)), "defaults:\n  instances: {priority: 9}\n")
OTHERS = (
    "vrrp_instance C {\ninterface eth0\nvirtual_router_id 41\nvirtual_ipaddress { 10.0.0.41 }\n}\n",
    "",
)
GOOD = st.lists(ENTRY.filter(lambda n: ENTRIES[n].startswith("  V")), max_size=4, unique=True)
LISTED = st.lists(ENTRY.filter(lambda n: ENTRIES[n].startswith("  -")), max_size=3, unique=True)
HEADS = {heading: PIECES.index(heading) for heading in ("instances:\n", "virtual_servers:\n")}


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[list[int], int]]:
    """Files one after the other, each mostly like the one before: pieces, and what is included."""
    pieces = [HEADS["instances:\n"], *draw(GOOD), HEADS["virtual_servers:\n"], *draw(LISTED)]
    pieces = [*draw(st.lists(PIECE, max_size=2)), *pieces]
    included = draw(st.integers(0, 5))
    history = [(pieces, included)]
    for _ in range(4):
        pieces = list(pieces)
        change = draw(st.integers(0, 5))
        where = draw(st.integers(0, len(pieces)))
        if change in (0, 1):
            pieces.insert(where, draw(PIECE))
        elif change == 2:
            del pieces[where : where + 1]
        elif change == 3:
            pieces[where : where + 1] = [draw(PIECE)]
        elif change == 4:
            included = draw(st.integers(0, 5))
        else:
            there = draw(st.integers(0, len(pieces)))
            pieces[where:there] = pieces[where:there][::-1]
        history.append((pieces, included))
    return history


@settings(max_examples=200, deadline=None)
@given(history=histories())
def test_after_any_other_file(
    history: list[tuple[list[int], int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    read = Reader(tmp_path_factory.mktemp("remembered", numbered=True))
    read.path = read.path.with_suffix(".yaml")
    read.config_id = "r1"
    held = None
    for pieces, included in history:
        read.file("conf.d/a.yaml", INCLUDED[included % 3])
        read.file("conf.d/b.conf", OTHERS[included // 3])
        found = after(read, "".join(PIECES[number] for number in pieces), held)
        held = found.held or held  # what has errors does not come into effect
