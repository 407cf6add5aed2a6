"""The language: comments, conditions, definitions, repetitions, includes, quotes, braces."""

from __future__ import annotations

import gc

import pytest
from config_reading import Reader, instance, texts

from fastvrrp.config.build import Builder
from fastvrrp.config.include import brace_alternatives
from fastvrrp.config.model import VrrpInstance
from fastvrrp.config.shellwords import UnclosedQuote, split
from fastvrrp.config.source import Source


def addresses(instance_: VrrpInstance) -> list[str]:
    return [a.address for a in instance_.virtual_ipaddress]


def excluded(read: Reader, *lines: str, before: str = "") -> list[str]:
    """The addresses that lines in virtual_ipaddress_excluded make."""
    block = ["virtual_ipaddress_excluded {", *lines, "}"]
    loaded = read(before + instance(*block))
    assert loaded.configuration is not None, texts(loaded)
    (found,) = loaded.configuration.vrrp_instances
    return [a.address for a in found.virtual_ipaddress_excluded]


@pytest.mark.parametrize(
    "line",
    [
        "priority 7 # comment",
        'priority 7 ! comment with { } and " quote',
        "priority 7#glued",
        "\tpriority\t7\t",
        "priority   7   ",
        '"priority" "7"',
        "priority \\\n 7",
        "priority \\ # comment\n 7",
        "@r1 priority 7",
        "@^r2 priority 7",
        "@r2 priority 8\npriority 7",
        "@^r1 priority 8\npriority 7",
        "@r1 @^r2 priority 7",
        "priority 8\npriority 7",
        "priority 007",
        "priority +7",
        "$P=7\npriority $P",
        "$P=7   # comment\npriority ${P}",
        "$P=\npriority ${P}7",
        "@r2 $P=8\n@r1 $P=7\npriority $P",
        "$A=${B}\n$B=7\npriority $A",
        "$B=8\n$A=${B}\n$B=7\npriority $A",
        "$IF=@r1\n$IF priority 7\n$IF=@r2\n$IF priority 8",
        "$KEY=priority\n$KEY 7",
        "$LINE=priority 7\n$LINE",
        "priority ${_RANDOM 7 7}",
        "priority ${_ENV PRIO}",
        "~SEQ(N,7,7) priority $N",
        "~LST(N,8,7) priority $N",
        "~SEQ(N,3,7)priority $N",
    ],
)
def test_priority_7(read: Reader, line: str) -> None:
    read.environ = {"PRIO": "7"}
    assert read.one(line).priority == 7


def test_crlf_lines(read: Reader) -> None:
    loaded = read(instance("priority 7").replace("\n", "\r\n"))
    assert loaded.configuration is not None
    assert loaded.configuration.vrrp_instances[0].priority == 7


@pytest.mark.parametrize(
    "text",
    [
        "vrrp_instance V { \n interface eth0 \n virtual_router_id 3\n"
        " virtual_ipaddress { 10.0.0.1 }\n}",
        "vrrp_instance V\n{\ninterface eth0\nvirtual_router_id 3\nvirtual_ipaddress\n{\n"
        "10.0.0.1\n}\n}\n",
        "vrrp_instance V{\ninterface eth0\nvirtual_router_id 3\nvirtual_ipaddress{\n10.0.0.1}}",
        "vrrp_instance V {\ninterface eth0\nvirtual_ipaddress { 10.0.0.1 } virtual_router_id 3 }",
        "vrrp_instance V { # {\ninterface eth0\nvirtual_router_id 3 # }\n"
        "virtual_ipaddress { ! {\n10.0.0.1\n}\n}",
    ],
)
def test_braces_may_stand_anywhere(read: Reader, text: str) -> None:
    loaded = read(text)
    assert loaded.configuration is not None, texts(loaded)
    (found,) = loaded.configuration.vrrp_instances
    assert (found.virtual_router_id, addresses(found)) == (3, ["10.0.0.1"])


def test_quoted_words(read: Reader) -> None:
    loaded = read(
        'global_defs {\n router_id "a # b ! {c} $D"\n notification_email {\n'
        '  "Me <me@x>"\n you@x them@x\n }\n smtp_server mail\n}\n'
    )
    assert loaded.configuration is not None, texts(loaded)
    defs = loaded.configuration.global_defs
    assert defs.router_id == "a # b ! {c} $D"
    assert defs.mail.notification_email == ("Me <me@x>", "you@x", "them@x")


def test_escaped_comment_characters_and_their_names(read: Reader) -> None:
    loaded = read("global_defs {\n router_id a\\#b\\!c${_HASH}d${_BANG}e\n}\n")
    assert loaded.configuration is not None, texts(loaded)
    assert loaded.configuration.global_defs.router_id == "a#b!c#d!e"


def test_definitions_with_blanks_and_quotes_are_text(read: Reader) -> None:
    found = read.one('$OPT=dev eth1 label "eth1:x"', "virtual_ipaddress {", "10.0.0.2 $OPT", "}")
    last = found.virtual_ipaddress[-1]
    assert (last.address, last.dev, last.label) == ("10.0.0.2", "eth1", "eth1:x")


def test_a_bare_reference_ends_at_a_blank(read: Reader) -> None:
    loaded = read("$P=10\n" + instance("priority $P0"))
    assert "the parameter $P0 is not defined" in texts(loaded)[0]
    assert loaded.configuration is not None
    assert loaded.configuration.vrrp_instances[0].priority == 100


def test_late_substitution(read: Reader) -> None:
    base = "$BASE=10.2.${SUB}\n$SUB=0\n"
    assert excluded(read, "${BASE}.100/32", "$SUB=10", "${BASE}.100/32", before=base) == [
        "10.2.0.100",
        "10.2.10.100",
    ]


def test_templates_nest_and_define(read: Reader) -> None:
    text = (
        "$ADDR= \\\n 10.${NUM}.0.${ID} \\\n @r1 10.${NUM}.1.${ID} \\\n @r2 10.${NUM}.2.${ID}\n"
        "$INST= \\\n"
        "vrrp_instance VI_${NUM} { \\\n interface eth${NUM} \\\n\n"
        "  virtual_router_id ${NUM} \\\n  virtual_ipaddress { \\\n"
        "   $ID=1 \\\n   $ADDR \\\n   $ID=2 \\\n   $ADDR \\\n  } \\\n}\n"
        "$NUM=1\n$INST\n$NUM=2\n$INST\n"
    )
    loaded = read(text)
    assert loaded.configuration is not None, texts(loaded)
    first, second = loaded.configuration.vrrp_instances
    assert (first.name, first.interface) == ("VI_1", "eth1")
    assert addresses(first) == ["10.1.0.1", "10.1.1.1", "10.1.0.2", "10.1.1.2"]
    assert addresses(second) == ["10.2.0.1", "10.2.1.1", "10.2.0.2", "10.2.1.2"]


def test_a_template_may_be_defined_for_another_node(read: Reader) -> None:
    text = "@r2 $T= \\\n frob \\\n frob\n@r1 $T= \\\n router_id x\nglobal_defs {\n$T\n}\n"
    loaded = read(text)
    assert loaded.configuration is not None, texts(loaded)
    assert loaded.configuration.global_defs.router_id == "x"


def test_a_template_cannot_contain_itself(read: Reader) -> None:
    loaded = read("$T= \\\n router_id x \\\n $T\nglobal_defs {\n$T\n}\n")
    assert texts(loaded)[0].startswith("3:1: error: the template $T contains itself")


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("~SEQ(A,3) 10.0.1.$A", ["10.0.1.1", "10.0.1.2", "10.0.1.3"]),
        ("~SEQ(A,2,4) 10.0.1.$A", ["10.0.1.2", "10.0.1.3", "10.0.1.4"]),
        ("~SEQ(A,4,2) 10.0.1.${A}", ["10.0.1.4", "10.0.1.3", "10.0.1.2"]),
        ("~SEQ(A,1,2,4) 10.0.1.$A", ["10.0.1.1", "10.0.1.3"]),
        ("~SEQ(A,5,-2,1) 10.0.1.$A", ["10.0.1.5", "10.0.1.3", "10.0.1.1"]),
        ("~SEQ( A , 0x10 , 021 ) 10.0.1.$A", ["10.0.1.16", "10.0.1.17"]),
        ("~SEQx(A,0x0f,16) fe80::$A", ["fe80::f", "fe80::10"]),
        ("~SEQ(A,2) ~SEQ(B,2) 10.0.${A}.${B}", ["10.0.1.1", "10.0.1.2", "10.0.2.1", "10.0.2.2"]),
        ("~LST(A,7,9) 10.0.1.$A", ["10.0.1.7", "10.0.1.9"]),
        ("~LST({A,B},{1,2},{3,4}) 10.0.${A}.${B}", ["10.0.1.2", "10.0.3.4"]),
        ("~LST({A,B}, {1,2}, {3}) 10.0.${A}.${B}9", ["10.0.1.29", "10.0.3.9"]),
        ("~LST(A,1,2) ~SEQ(B,$A) 10.${A}.0.${B}", ["10.1.0.1", "10.2.0.1", "10.2.0.2"]),
        ("$N=2\n~SEQ(A,$N) 10.0.1.$A", ["10.0.1.1", "10.0.1.2"]),
        ("~SEQ(A,2) @r1 10.0.1.$A", ["10.0.1.1", "10.0.1.2"]),
        ("@r2 ~SEQ(A,2) 10.0.1.$A", []),
        ("~SEQ(A,2)", []),
    ],
)
def test_repetitions(read: Reader, line: str, result: list[str]) -> None:
    if result and ":" in result[0]:
        found = read.one("virtual_ipaddress {", line, "}", vips="fe80::abcd")
        assert addresses(found)[1:] == result
    else:
        assert excluded(read, line) == result


def test_a_repetition_may_use_a_template(read: Reader) -> None:
    text = (
        "$VI= \\\nvrrp_instance V${ID} { \\\n interface eth0 \\\n virtual_router_id ${ID} \\\n"
        " virtual_ipaddress { \\\n 10.0.${ID}.1 \\\n } \\\n}\n~SEQ(ID,1,254) $VI\n"
    )
    loaded = read(text)
    assert loaded.configuration is not None, texts(loaded)
    assert [i.virtual_router_id for i in loaded.configuration.vrrp_instances] == [*range(1, 255)]


def test_a_repetition_leaves_its_name_as_it_was(read: Reader) -> None:
    assert excluded(read, "$A=9", "~SEQ(A,2) 10.0.1.$A", "10.0.2.$A") == [
        "10.0.1.1",
        "10.0.1.2",
        "10.0.2.9",
    ]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("~SEQ() x", "~SEQ needs a name and one to three numbers"),
        ("~SEQ(1,2) x", "~SEQ needs a name"),
        ("~SEQ(A,1,2,3,4) x", "~SEQ needs a name"),
        ("~SEQ(A,x) x", "'x' is not a number"),
        ("~SEQ(A,08) x", "'08' is not a number"),
        ("~SEQ(A,$Q) x", "'$Q' is not a number"),
        ("~SEQ(A,5,1,3) x", "~SEQ never reaches 3"),
        ("~SEQ(A,1,100001) x", "~SEQ repeats the line 100001 times"),
        ("~SEQ(A,1000) ~SEQ(B,1000) x", "~SEQ repeats the line 1000000 times"),
        ("~SEQ(A,1,99999999999) x", "~SEQ repeats the line"),
        ("~SEQx(A,-3,3) x", "'-3' is not a number"),
        ("~LST(A) x", "~LST needs names and at least one value"),
        ("~LST() x", "~LST needs names"),
        ("~LST({A,B},{1},{2,3,4}) x", "~LST has 3 values for 2 names"),
        ("~LST({A,{B}},{1}) x", "~LST is not a list"),
        ("~FOO(A,1) x", "unknown keyword '~FOO(A,1)'"),
        ("priority ${_RANDOM 6 5}", "_RANDOM from 6 to 5 is empty"),
        ("priority ${_RANDOM x}", "_RANDOM takes numbers"),
        ("priority ${_ENV}", "_ENV needs the name of one variable"),
    ],
)
def test_bad_macros(read: Reader, line: str, text: str) -> None:
    loaded = read(instance(line))
    assert text in texts(loaded)[0]
    assert loaded.configuration is None


def test_random_has_a_seed(read: Reader) -> None:
    def drawn(seed: str) -> list[str]:
        lines = [f"10.0.{i}.${{_RANDOM 1 250}}" for i in range(20)]
        return excluded(read, *lines, before=f"global_defs {{\nrandom_seed {seed}\n}}\n")

    first = drawn("5")
    assert first == drawn("5")
    assert first != drawn("6")
    assert all(1 <= int(a.rsplit(".", 1)[1]) <= 250 for a in first)


def test_random_without_bounds(read: Reader) -> None:
    loaded = read("global_defs {\nrouter_id x${_RANDOM}\n}\n")
    assert loaded.configuration is not None
    assert 0 <= int(loaded.configuration.global_defs.router_id[1:]) <= 32767


def test_built_in_parameters(read: Reader) -> None:
    read.config_id = "left"
    loaded = read("global_defs {\nrouter_id ${_INSTANCE}:${_PWD}:${_ENV NONE}.\n}\n")
    assert loaded.configuration is not None
    assert loaded.configuration.global_defs.router_id == f"left:{read.path.parent}:."


def test_config_id_defaults_to_the_short_host_name(read: Reader) -> None:
    read.config_id = None
    assert read.one("@r1 priority 7", "@r2 priority 8").priority == 7


def test_built_ins_can_be_redefined(read: Reader) -> None:
    assert read.one("$_INSTANCE=7", "priority ${_INSTANCE}").priority == 7


def test_include_takes_globs_in_order(read: Reader) -> None:
    read.file("d/b.conf", "10.0.1.2\n")
    read.file("d/a.conf", "10.0.1.1\ninclude sub/*.inc\n10.0.1.9\n")
    read.file("d/sub/x.inc", "10.0.1.3 # ${_PWD}\n")
    read.file("d/.hidden.conf", "frob\n")
    assert excluded(read, "include d/*.conf", "10.0.2.1") == [
        "10.0.1.1",
        "10.0.1.3",
        "10.0.1.9",
        "10.0.1.2",
        "10.0.2.1",
    ]


def test_include_takes_braces_conditions_and_parameters(read: Reader) -> None:
    read.file("d/a.conf", "10.0.1.1\n")
    read.file("d/b.conf", "10.0.1.2\n")
    assert excluded(read, "include d/{b,a}.conf") == ["10.0.1.2", "10.0.1.1"]
    assert excluded(read, "@r1 include d/a.conf", "@r2 include d/b.conf") == ["10.0.1.1"]
    assert excluded(read, "$F=b", 'include "d/${F}.conf"') == ["10.0.1.2"]
    assert excluded(read, f"include {read.path.parent}/d/a.conf") == ["10.0.1.1"]


def test_include_restores_its_directory(read: Reader) -> None:
    read.file("d/a.conf", "router_id ${_PWD}\n")
    loaded = read("global_defs {\ninclude d/a.conf\nsmtp_helo_name ${_PWD}\n}\n")
    assert loaded.configuration is not None, texts(loaded)
    defs = loaded.configuration.global_defs
    assert defs.router_id == str(read.path.parent / "d")
    assert defs.mail.smtp_helo_name == str(read.path.parent)
    assert [f.rsplit("/", 1)[1] for f in loaded.configuration.source_files] == ["k.conf", "a.conf"]


@pytest.mark.parametrize(
    ("keyword", "pattern", "severity"),
    [
        ("include", "none", "warning"),
        ("includer", "none", "warning"),
        ("includem", "none", "error"),
        ("includea", "none", "error"),
        ("include", "none*", "warning"),
        ("includem", "none*", "warning"),
        ("includem", "{a,none}.conf", "warning"),
        ("includew", "none", "error"),
        ("includew", "none*", "error"),
        ("includeb", "{a,none}.conf", "error"),
        ("includea", "none*", "error"),
        ("include", "d", "warning"),
        ("includer", "d", "error"),
        ("include", "run.conf", "warning"),
        ("includea", "run.conf", "error"),
    ],
)
def test_strictness_of_include(read: Reader, keyword: str, pattern: str, severity: str) -> None:
    read.file("a.conf", "")
    read.file("d/x", "")
    read.file("run.conf", "frob\n").chmod(0o755)
    (said,) = texts(read(f"{keyword} {pattern}\n"))
    assert said.startswith(f"1:1: {severity}: ")


def test_include_check_changes_plain_includes(read: Reader) -> None:
    read.file("strict.conf", "include_check match\ninclude none\n")
    loaded = read(
        "global_defs {\ninclude strict.conf\ninclude none\ninclude_check\ninclude n*\n"
        "include_check -wildcard_match\ninclude n*\ninclude none\n}\n"
    )
    severities = [(t.split(":")[0], t.split(" ")[1]) for t in texts(loaded)]
    assert severities == [
        ("3", "warning:"),
        ("5", "error:"),
        ("7", "warning:"),
        ("8", "error:"),
        ("2", "error:"),  # of the included file, which comes after its includer
    ]


def test_include_circle_over_two_files(read: Reader) -> None:
    read.file("d/a.conf", "include ../k.conf\n")
    (message,) = read("include d/a.conf\n").messages
    assert "include circle" in message.text
    assert message.position.file.endswith("d/a.conf")


def test_an_unreadable_include_is_a_warning(read: Reader) -> None:
    (read.path.parent / "dangling.conf").symlink_to("nowhere")
    (said,) = texts(read("include dang*.conf\n"))
    assert "cannot read" in said
    assert ": warning: " in said


def test_brace_alternatives() -> None:
    assert brace_alternatives("a") == ["a"]
    assert brace_alternatives("{foo/{,cat,dog},bar}") == ["foo/", "foo/cat", "foo/dog", "bar"]
    assert brace_alternatives("x{1,2}{a,b}") == ["x1a", "x1b", "x2a", "x2b"]
    assert brace_alternatives("x{1,2") == ["x{1,2"]
    assert len(brace_alternatives("{a,b}" * 40)) <= 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b  c", ["a", "b", "c"]),
        ('abcd" efg h jkl "mnop', ["abcd efg h jkl mnop"]),
        ('abcd "efg h jkl" mnop', ["abcd", "efg h jkl", "mnop"]),
        ("a'b c'd", ["ab cd"]),
        ("'a\"b' \"c'd\"", ['a"b', "c'd"]),
        (r"a\ b \"c\" \\d", ["a b", '"c"', "\\d"]),
        (r"\101\x42\x4 \t\n\E\cA\q", ["AB\x04", "\t\n\x1b\x01q"]),
        ("''", [""]),
        ("", []),
        ("a\\", ["a\\"]),
        (r"\xzz", ["xzz"]),
    ],
)
def test_shell_words(text: str, words: list[str]) -> None:
    assert split(text) == words


@pytest.mark.parametrize("text", ["'a", 'a "b', "\"a'"])
def test_shell_words_need_closed_quotes(text: str) -> None:
    with pytest.raises(UnclosedQuote):
        split(text)


def test_positions_of_the_model(read: Reader) -> None:
    found = read.one("track_interface {", "   eth1 weight 5", "}")
    assert found.position is not None
    assert (found.position.line, found.position.column) == (1, 15)
    tracked = found.track_interface[0].position
    assert tracked is not None
    assert (tracked.file, tracked.line, tracked.column) == (str(read.path), 8, 4)


def test_a_load_is_freed_without_the_garbage_collector(read: Reader) -> None:
    """It is off while a file is read, and the process that reads ends before it would run."""
    gc.collect()
    gc.disable()
    try:
        assert read("$P=1\n@r1 vrrp_instance V {\npriority $P # more\n}\n").messages
        assert not [each for each in gc.get_objects() if isinstance(each, (Source, Builder))]
    finally:
        gc.enable()
