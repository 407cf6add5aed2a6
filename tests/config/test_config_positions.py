"""Malformed configurations: exact line, column and text of what is said about them."""

from __future__ import annotations

import pytest
from config_reading import Reader, instance, texts

from fastvrrp.config.model import Severity

ADD_BRACE = "add the missing '}'"
LONG = "x" * 1100

# text of the file -> the messages, LINE:COLUMN: severity: text; hint
MALFORMED = {
    "closing brace too many": (
        "global_defs {\n}\n  }\n",
        ["3:3: error: '}' without '{'; remove it or add the missing '{'"],
    ),
    "block never closed": (
        instance()[:-2],
        [f"1:1: error: the block vrrp_instance is never closed; {ADD_BRACE}"],
    ),
    "inner block never closed": (
        instance("track_script {"),
        [f"1:1: error: the block vrrp_instance is never closed; {ADD_BRACE}"],
    ),
    "brace without a keyword": (
        "\n  {\n}\n",
        ["2:3: error: unexpected '{'; a block begins with a keyword"],
    ),
    "block without a name": (
        "vrrp_instance {\n}\n",
        ["1:1: error: vrrp_instance needs a name; write vrrp_instance NAME { ... }"],
    ),
    "block with two names": (
        "vrrp_instance A B {\n}\n",
        [
            "1:17: error: vrrp_instance has more than one name; "
            "write one word, or quote a name with blanks"
        ],
    ),
    "block without braces": (
        "global_defs\n",
        ["1:1: error: global_defs needs a block; write global_defs { ... }"],
    ),
    "braces without a block": (
        instance("\tpriority 100 {", "}"),
        ["7:2: error: priority has no block; remove the braces"],
    ),
    "misspelt block": (
        "vrrp_instanze V {\n anything 5\n}\n",
        ["1:1: error: unknown keyword 'vrrp_instanze'; did you mean vrrp_instance?"],
    ),
    "misspelt keyword": (
        instance("  nopremt"),
        ["7:3: error: unknown keyword 'nopremt'; did you mean nopreempt?"],
    ),
    "misspelt keyword on one line with braces": (
        instance("authentication { auth_typ PASS }"),
        [
            "7:18: error: unknown keyword in vrrp_instance/authentication; "
            "known: auth_pass, auth_type"
        ],
    ),
    "missing argument": (
        instance("   priority"),
        ["7:4: error: priority needs a value; write priority N"],
    ),
    "unclosed quote": (
        instance('  notify "/bin/true x'),
        ['7:10: error: the quote is never closed; add the missing " on this line'],
    ),
    "unclosed single quote of a command": (
        instance("  notify '/bin/true x"),
        ["7:10: error: a quote ' is never closed; close it on this line"],
    ),
    "NUL byte": (
        instance("prio\0rity 3"),
        ["7:5: error: the line has a NUL byte; correct or remove it"],
    ),
    "NUL bytes in lines that go on": (
        "$T= \\\n router_id x\0 \\\n router_id y\nglobal_defs {\n $T\n router_id \\\n\0\n}\n",
        [
            "2:13: error: the line has a NUL byte; correct or remove it",
            "6:2: error: router_id needs a value; write router_id STRING",
            "7:1: error: the line has a NUL byte; correct or remove it",
        ],
    ),
    "line too long": (
        instance(f"priority 100 {LONG}"),
        ["7:1: error: the line is too long; a line has at most 1023 bytes"],
    ),
    "undefined parameter": (
        instance("vrf x${IF}"),
        [
            "7:5: warning: V: vrf is ignored beside interface; keep one of them",
            "7:6: error: the parameter ${IF} is not defined; "
            "define it above this line, or quote it if it is meant literally",
        ],
    ),
    "parameters in a circle": (
        "$A=$B\n$B=$A\nglobal_defs {\n  router_id $A\n}\n",
        ["4:13: error: the parameters on this line never end; a parameter must not contain itself"],
    ),
    "template in the middle of a line": (
        "$T= \\\n a \\\n b\nglobal_defs {\n  router_id $T\n}\n",
        [
            "5:13: error: $T has several lines and must stand alone on its line; "
            "put it on a line of its own"
        ],
    ),
    "mistake behind text that was put in": (
        "$A=(address) (address)\n$B=~SEQ(N,1,0,3) x\n"
        + instance("$A ${_RANDOM 3 1}", "  $B", "x $A ${_ENV}", "~SEQ(N,1,${_RANDOM 5 4}) x"),
        [
            "9:4: error: _RANDOM from 3 to 1 is empty; MIN must be <= MAX",
            "10:3: error: ~SEQ never reaches 3 from 1 in steps of 0; "
            "the step must lead from START to END",
            "11:6: error: _ENV needs the name of one variable; write ${_ENV NAME}",
            "12:10: error: _RANDOM from 5 to 4 is empty; MIN must be <= MAX",
        ],
    ),
    "mistake in what was put in": (
        "$A=(address) ${_RANDOM 3 1}\n$L=~SEQ(N,2)\n" + instance("  x $A", "$L y ${_ENV}"),
        [
            "9:5: error: _RANDOM from 3 to 1 is empty; MIN must be <= MAX",
            "10:6: error: _ENV needs the name of one variable; write ${_ENV NAME}",
        ],
    ),
    "nothing but empty parameters": (
        "$A=\nglobal_defs {\n router_id " + "${A}" * 1000 + "\n}\n",
        [
            "3:4008: error: the parameters on this line never end; "
            "a parameter must not contain itself"
        ],
    ),
    "mistake in a template": (
        "$T= \\\n router_id x \\\n  routter_id y\nglobal_defs {\n  $T\n}\n",
        [
            "3:3: error: unknown keyword 'routter_id' (in the template used at FILE:5); "
            "did you mean router_id?"
        ],
    ),
    "mistake behind a parameter": (
        "$A=10.0.0.9\n" + instance("unicast_peer {", "  $A min_tl 5", "}"),
        ["9:6: error: unknown option 'min_tl'; did you mean min_ttl?"],
    ),
    "mistake in a repetition": (
        instance("virtual_ipaddress_excluded {", " ~SEQ(A,1,2) 10.1.1.$A dvv eth0", "}"),
        [
            "8:24: error: unknown option 'dvv'; did you mean dev?",
            "8:24: error: unknown option 'dvv'; did you mean dev?",
        ],
    ),
    "repetition without end": (
        instance(" ~SEQ(A,1,0,3) priority 1"),
        [
            "7:2: error: ~SEQ never reaches 3 from 1 in steps of 0; "
            "the step must lead from START to END"
        ],
    ),
    "repetition never closed": (
        instance("~SEQ(A,1,3 priority 1"),
        ["7:1: error: ~SEQ( is never closed; add the missing )"],
    ),
    "continued line": (
        instance("unicast_peer {", "10.0.0.2 \\", "   min_ttl x", "}"),
        ["9:4: error: min_ttl needs a number; write min_ttl 0 to 255"],
    ),
    "include of nothing": (
        "\nincludem nothing.conf\n",
        ["2:1: error: no file matches 'nothing.conf'; create it or remove this"],
    ),
    "include circle": (
        "include k.conf\n",
        ["1:1: error: include circle: FILE -> FILE; remove one include"],
    ),
    "virtual_router_id out of range": (
        instance("virtual_router_id  256"),
        [
            "7:20: error: virtual_router_id is not a number from 1 to 255: '256'; "
            "write a number from 1 to 255"
        ],
    ),
    "virtual_router_id missing": (
        "vrrp_instance V {\n interface eth0\n virtual_ipaddress { 10.0.0.1 }\n}\n",
        ["1:15: error: V: virtual_router_id is missing; add virtual_router_id 1 to 255"],
    ),
    "interface missing": (
        "vrrp_instance V {\n virtual_router_id 1\n virtual_ipaddress { 10.0.0.1 }\n}\n",
        [
            "1:15: error: V: interface is missing; "
            "add interface IF; only unicast with unicast_src_ip works without"
        ],
    ),
    "loopback": (
        instance("interface lo"),
        [
            "7:11: error: V: a loopback interface cannot carry VRRP; name another one",
        ],
    ),
    "no address": (
        "vrrp_instance V {\n interface eth0\n virtual_router_id 1\n version 3\n}\n",
        [
            "1:15: error: V: there is no virtual address; "
            "add virtual_ipaddress { ADDRESS }, or no_virtual_ipaddress"
        ],
    ),
    "bad address": (
        instance(vips="  10.0.0.300/24 dev eth0"),
        ["5:4: error: '10.0.0.300/24' is not an address; write ADDRESS or ADDRESS/LENGTH"],
    ),
    "address option without a value": (
        instance(vips="10.0.0.1/24 dev"),
        ["5:14: error: dev has no value; write dev IF"],
    ),
    "same virtual router twice": (
        instance() + instance(name="W"),
        [
            "9:15: error: W and V both have virtual_router_id 1 for IPv4 on eth0 (FILE:1); "
            "give each its own virtual_router_id"
        ],
    ),
    "same name twice": (
        instance() + instance(vrid=2),
        [
            "9:15: error: vrrp_instance 'V' is defined already; "
            "the first one is at FILE:1; give this one another name"
        ],
    ),
    "tracker that does not exist": (
        "vrrp_script chk_http {\n script /bin/true\n}\n"
        + instance("track_script {", "  chk_htp", "}"),
        ["11:3: error: V: there is no vrrp_script 'chk_htp'; did you mean chk_http?"],
    ),
    "member that does not exist": (
        instance(name="VI_1")
        + instance(name="VI_2", vrid=2)
        + "vrrp_sync_group G {\n group {\n  VI_1\n  VI_2\n  VI_3\n }\n}\n",
        ["21:3: error: G: there is no vrrp_instance 'VI_3'; did you mean VI_2?"],
    ),
    "member named twice": (
        instance() + instance(name="W", vrid=2) + "vrrp_sync_group G {\n group { V W V }\n}\n",
        ["18:14: error: G: 'V' belongs to this group already; an instance is in one group only"],
    ),
    "interface of two garp_groups": (
        "garp_group {\n garp_interval 1\n interfaces { eth1 eth2 }\n}\n"
        "garp_group {\n garp_interval 1\n interfaces {\n  eth3 eth1\n a/b\n}\n}\n",
        [
            "8:8: warning: eth1 belongs to another garp_group already, ignored here; "
            "name it in one garp_group",
            "9:2: error: 'a/b' cannot be the name of an interface; "
            "a name has 1 to 15 bytes and no slash",
        ],
    ),
    "route of two families": (
        instance("virtual_routes {", "10.0.0.0/8 via fe80::1 dev eth0", "}"),
        ["8:16: error: IPv4 and IPv6 are mixed in one route; write IPv4 addresses"],
    ),
    "rule without an action": (
        instance("virtual_rules {", " from 10.0.0.0/8 priority 5", "}"),
        ["8:2: error: a rule needs an action; add table N, goto N, nop or blackhole"],
    ),
    "second destination": (
        instance("virtual_routes {", "10.0.0.0/8 10.1.0.0/16 dev eth0", "}"),
        ["8:12: error: '10.1.0.0/16' is a second destination; write one route per line"],
    ),
    "keyword of IPVS": (
        "virtual_server 10.0.0.1 80 {\n delay_loop 5\n real_server 10.0.0.2 80 {\n"
        "  TCP_CHECK {\n   conect_timeout 3\n  }\n }\n}\n",
        [
            "1:16: warning: [10.0.0.1]:udp:80: no protocol, using UDP; "
            "add protocol TCP, UDP or SCTP",
            "1:16: warning: [10.0.0.1]:udp:80: no lvs_sched, using wlc; add lvs_sched NAME",
            "1:16: warning: [10.0.0.1]:udp:80: no lvs_method, using NAT; "
            "add lvs_method NAT, DR or TUN",
            "5:4: error: unknown keyword 'conect_timeout'; did you mean connect_timeout?",
        ],
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_exact_position_and_text(read: Reader, case: str) -> None:
    text, expected = MALFORMED[case]
    loaded = read(text)
    # Scripts that are run without security are another test's business.
    errors = [
        t.replace(str(read.path), "FILE") for t in texts(loaded) if "without enable_" not in t
    ]
    said = [t for t in errors if "is not used" not in t and "is an address of" not in t]
    assert said == expected
    assert loaded.configuration is None


def test_messages_name_the_file_that_is_included(read: Reader) -> None:
    included = read.file("parts/one.conf", "\n  routter_id x\n")
    loaded = read("global_defs {\n include parts/*.conf\n}\n")
    (message,) = loaded.messages
    assert message.position.file == str(included)
    assert (message.position.line, message.position.column) == (2, 3)
    assert str(message) == (
        f"{included}:2:3: error: unknown keyword 'routter_id'; did you mean router_id?"
    )


def test_a_missing_file_is_a_message(read: Reader) -> None:
    from fastvrrp.config.load import load

    loaded = load(read.path.with_name("absent.conf"), host=read.host)
    assert loaded.configuration is None
    (message,) = loaded.messages
    assert "cannot read" in message.text
    assert "No such file" in message.text


def test_a_directory_is_a_message(read: Reader) -> None:
    from fastvrrp.config.load import load

    loaded = load(read.path.parent, host=read.host)
    assert loaded.configuration is None
    assert "the directory has no configuration" in loaded.messages[0].text


def test_latin_1_is_read_with_a_warning(read: Reader) -> None:
    loaded = read(b"global_defs {\n router_id Z" + b"\xfc" + b"rich\n}\n")
    assert loaded.configuration is not None
    assert loaded.configuration.global_defs.router_id == "Z\xfcrich"
    assert texts(loaded) == ["2:13: warning: not UTF-8, read as Latin-1; save the file as UTF-8"]


def test_what_cannot_be_printed_is_escaped(read: Reader) -> None:
    loaded = read("global_defs {\n \x1b[31mred 1\n}\n")
    assert "unknown keyword '\\x1b[31mred'" in texts(loaded)[0]


def test_errors_end_at_a_limit(read: Reader) -> None:
    loaded = read("frob\n" * 5000)
    errors = [m for m in loaded.messages if m.severity is Severity.ERROR]
    assert len(errors) == 201
    assert errors[-1].text == "200 errors, no more are looked for"
    assert loaded.configuration is None


def test_warnings_end_at_a_limit_and_do_not_hide_errors(read: Reader) -> None:
    loaded = read("linkbeat_use_polling\n" * 3000 + "frob\n")
    assert len(loaded.messages) == 1001
    assert loaded.messages[999].text == "1000 warnings, no more are shown"
    assert loaded.messages[1000].severity is Severity.ERROR
