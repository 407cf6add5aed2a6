"""A reload does not parse entries of YAML files again, and nothing else comes of it."""

from __future__ import annotations

import pytest
import yaml
from config_reading import Reader
from native_entries import FARM, GLOBAL, MANY, instance, instances, server, servers
from remembering import after, first, reading, same

from fastvrrp.config.native import document


@pytest.fixture
def read(read: Reader) -> Reader:
    read.path = read.path.with_suffix(".yaml")
    return read


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
        "global:",
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
    pytest.param(instance(1, 'notify: "/bin/true\n      a"'), id="quotes over two lines"),
    pytest.param(instance(1, "notify: >\n      /bin/true\n      a"), id="a folded value"),
    pytest.param(instance(1, "notify: /bin/true\n      a"), id="a plain value of two lines"),
    pytest.param(instance(1, "track_interfaces: [eth1,\n      eth2]"), id="brackets"),
    pytest.param(instance(1).replace("V1", "'V1'"), id="a name in quotes"),
]


@pytest.mark.parametrize("entry", ALWAYS)
def test_what_is_parsed_always(read: Reader, entry: str) -> None:
    text = GLOBAL + instances(entry, instance(9))
    held = first(read, text)
    assert after(read, text, held).parsed == 1
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
