"""The checkers: every kind, what they inherit, and what keepalived refuses."""

from __future__ import annotations

import pytest
from config_reading import Reader, texts
from servers_reading import check, checker, problems, real, real_server, server, virtual

from fastvrrp.config.lvsreaders import REGEX_OPTIONS
from fastvrrp.config.model import NS_PER_S, Account, Command, Position
from fastvrrp.config.servers import (
    Connection,
    DnsCheck,
    FileCheck,
    HttpCheck,
    MiscCheck,
    PingCheck,
    Regex,
    Schedule,
    SmtpCheck,
    TcpCheck,
    UdpCheck,
    Url,
)
from fastvrrp.ipvs.checks.pattern import OPTIONS

SECURE = "global_defs {\nenable_script_security\nscript_user root\n}\n"
TO = Connection(address="10.0.0.2", port=80)
DIGEST = "9b3a0c85a887a256d6939da88aabd8cd"


def scheduled(
    retry: int = 1, before_retry_s: int = 1, loop_s: int = 60, warmup_s: int | None = None
) -> Schedule:
    return Schedule(
        delay_loop_ns=loop_s * NS_PER_S,
        retry=retry,
        delay_before_retry_ns=before_retry_s * NS_PER_S,
        warmup_ns=(loop_s if warmup_s is None else warmup_s) * NS_PER_S,
    )


PAGE = check("url", "path /")
DEFAULTS = {
    "TCP_CHECK": ((), TcpCheck(connection=TO, schedule=scheduled())),
    "HTTP_GET": (
        (PAGE,),
        HttpCheck(connection=TO, urls=(Url(path="/"),), schedule=scheduled(before_retry_s=3)),
    ),
    "SSL_GET": (
        (PAGE,),
        HttpCheck(
            connection=TO, urls=(Url(path="/"),), tls=True, schedule=scheduled(before_retry_s=3)
        ),
    ),
    "SMTP_CHECK": ((), SmtpCheck(connection=TO, schedule=scheduled())),
    "DNS_CHECK": ((), DnsCheck(connection=TO, schedule=scheduled(3, 60))),
    "UDP_CHECK": ((), UdpCheck(connection=TO, max_reply_length=255, schedule=scheduled())),
    "PING_CHECK": (
        (),
        PingCheck(connection=Connection(address="10.0.0.2", port=0), schedule=scheduled()),
    ),
}


@pytest.mark.parametrize("kind", DEFAULTS)
def test_defaults(read: Reader, kind: str) -> None:
    lines, expected = DEFAULTS[kind]
    found = checker(read, kind, *lines)
    assert found.position == Position(file=str(read.path), line=6, column=1)
    assert found == type(expected)(
        **{f: getattr(expected, f) for f in expected.__struct_fields__ if f != "position"},
        position=found.position,
    )


@pytest.mark.parametrize("kind", DEFAULTS)
def test_what_a_checker_says_counts_most(read: Reader, kind: str) -> None:
    own = (
        "connect_timeout 1",
        "retry 0",
        "delay_before_retry 0",
        "warmup 4",
        "delay_loop 2",
        "alpha",
        "log_all_failures",
    )
    above = ("connect_timeout 9", "retry 9", "delay_before_retry 9", "warmup 9", "delay_loop 9")
    lines = DEFAULTS[kind][0]
    found = (
        server(read, virtual(*above, real(*above, check(kind, *lines, *own))))
        .real_servers[0]
        .checks[0]
    )
    assert found.connection.timeout_ns == NS_PER_S
    assert found.schedule == Schedule(
        delay_loop_ns=2 * NS_PER_S,
        retry=0,
        delay_before_retry_ns=0,
        warmup_ns=4 * NS_PER_S,
        alpha=True,
        log_all_failures=True,
    )


@pytest.mark.parametrize("kind", DEFAULTS)
@pytest.mark.parametrize("inner", [False, True])
def test_inheritance(read: Reader, kind: str, inner: bool) -> None:
    above = ("connect_timeout 3", "retry 4", "delay_before_retry 5", "warmup 6", "delay_loop 7")
    lines = check(kind, *DEFAULTS[kind][0])
    text = virtual(real(*above, lines)) if inner else virtual(*above, real(lines))
    found = server(read, text).real_servers[0].checks[0]
    assert found.connection.timeout_ns == 3 * NS_PER_S
    assert found.schedule == scheduled(4, 5, 7, 6)


def test_delay_loop_is_the_default_of_warmup_and_dns_retries(read: Reader) -> None:
    text = virtual("delay_loop 7", real("delay_loop 11", check("DNS_CHECK", "delay_loop 3")))
    (found,) = server(read, text).real_servers[0].checks
    assert found.schedule == scheduled(3, 3, 3)


@pytest.mark.parametrize(
    ("service", "server_line", "own", "server_alpha", "check_alpha"),
    [
        ("", "", "", False, False),
        ("alpha", "", "", True, True),
        ("alpha", "alpha no", "", False, False),
        ("alpha", "", "alpha no", True, False),
        ("", "alpha", "", True, True),
        ("", "", "alpha", False, True),
    ],
)
def test_alpha(
    read: Reader, service: str, server_line: str, own: str, server_alpha: bool, check_alpha: bool
) -> None:
    found = server(read, virtual(service, real(server_line, check("TCP_CHECK", own))))
    assert found.alpha == bool(service)
    assert found.real_servers[0].alpha == server_alpha
    assert found.real_servers[0].checks[0].schedule.alpha == check_alpha


@pytest.mark.parametrize(
    ("own", "logs"), [("", True), ("log_all_failures no", False), ("log_all_failures", True)]
)
def test_log_all_failures_of_all_checkers(read: Reader, own: str, logs: bool) -> None:
    text = "global_defs {\nchecker_log_all_failures\n}\n" + virtual(real(check("TCP_CHECK", own)))
    assert server(read, text).real_servers[0].checks[0].schedule.log_all_failures == logs


def test_several_in_the_order_of_the_file(read: Reader) -> None:
    found = real_server(
        read,
        check("UDP_CHECK"),
        check("TCP_CHECK", "connect_port 1"),
        check("PING_CHECK"),
        check("TCP_CHECK", "connect_port 2"),
    )
    assert [type(one) for one in found.checks] == [UdpCheck, TcpCheck, PingCheck, TcpCheck]
    assert [one.position.line for one in found.checks if one.position] == [6, 8, 11, 13]


# -- connections


def test_connection(read: Reader) -> None:
    found = checker(
        read,
        "TCP_CHECK",
        "connect_ip 10.0.0.7",
        "connect_port 8",
        "bindto 10.0.0.250",
        "bind_port 9",
        "bind_if eth1",
        "fwmark 6",
        "connect_timeout 0.25",
    )
    assert found.connection == Connection(
        address="10.0.0.7",
        port=8,
        bind_address="10.0.0.250",
        bind_port=9,
        bind_if="eth1",
        fwmark=6,
        timeout_ns=NS_PER_S // 4,
    )


def test_link_local_with_an_interface(read: Reader) -> None:
    lines = ("connect_ip fe80::1", "bind_if eth0")
    assert checker(read, "TCP_CHECK", *lines).connection.bind_if == "eth0"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ("connect_ip fe80::1",),
            "6:1: error: fe80::1 is link-local: an interface must be named; add bind_if INTERFACE",
        ),
        (
            ("connect_ip 2001:db8::1", "bindto fe80::5"),
            "6:1: error: fe80::5 is link-local: an interface must be named; add bind_if INTERFACE",
        ),
        (
            ("bindto 2001:db8::1",),
            "7:8: error: bindto 2001:db8::1 and 10.0.0.2, which is connected to, are of different "
            "families; write an IPv4 address",
        ),
        (
            ("bindto 10.0.0.8", "connect_ip 2001:db8::1"),
            "7:8: error: bindto 10.0.0.8 and 2001:db8::1, which is connected to, are of different "
            "families; write an IPv6 address",
        ),
        (
            ("connect_ip nowhere",),
            "7:12: error: connect_ip is not an address: 'nowhere'; "
            "write an IPv4 or IPv6 address without prefix length",
        ),
        (("status_code 200",), "7:1: error: unknown keyword 'status_code'; it belongs into "),
        (("conect_port 1",), "7:1: error: unknown keyword 'conect_port'; did you mean connect_p"),
        (("connect_port",), "7:1: error: connect_port needs a value; write connect_port N"),
    ],
)
def test_connection_that_cannot_be(read: Reader, lines: tuple[str, ...], message: str) -> None:
    (said,) = problems(read, virtual(real(check("TCP_CHECK", *lines))))
    assert said.startswith(message)


def test_real_server_that_is_link_local(read: Reader) -> None:
    text = virtual(
        real(check("TCP_CHECK"), at="fe80::2 80"),
        real(check("TCP_CHECK", "bind_if eth0"), at="fe80::3 80"),
        head="2001:db8::1 80",
    )
    (said,) = problems(read, text)
    assert said.startswith("6:1: error: fe80::2 is link-local")


@pytest.mark.parametrize(
    "line", ["connect_port 0", "connect_port 65536", "bind_port x", "fwmark x", "retry -1"]
)
def test_number_that_is_replaced(read: Reader, line: str) -> None:
    loaded = read(virtual(real(check("TCP_CHECK", line))))
    (said,) = texts(loaded)
    assert said.startswith(f"7:{line.index(' ') + 2}: warning: {line.split()[0]} is not a number")
    assert loaded.configuration is not None
    (found,) = loaded.configuration.ipvs.virtual_servers[0].real_servers[0].checks
    assert isinstance(found, TcpCheck)
    assert found.connection == TO


# -- HTTP


def test_pages(read: Reader) -> None:
    found = checker(
        read,
        "HTTP_GET",
        check(
            "url",
            "path /a",
            "status_code 200",
            "status_code 300-303 404",
            'regex "a b"',
            "regex_options caseless",
            "regex_options dotall utf",
            "regex_no_match",
            "regex_min_offset 3",
            "regex_max_offset 9",
        ),
        check("url", "path /b", "virtualhost b.example", f"digest {DIGEST}"),
    )
    assert found.urls == (
        Url(
            path="/a",
            status_codes=((200, 200), (300, 303), (404, 404)),
            regex=Regex(
                pattern="a b",
                options=("caseless", "dotall", "utf"),
                no_match=True,
                min_offset=3,
                max_offset=9,
            ),
        ),
        Url(path="/b", virtualhost="b.example", digest=bytes.fromhex(DIGEST)),
    )


@pytest.mark.parametrize(
    ("service", "server_line", "own", "page", "expected"),
    [
        ("", "", "", "", None),
        ("virtualhost vs", "", "", "", "vs"),
        ("virtualhost vs", "virtualhost rs", "", "", "rs"),
        ("virtualhost vs", "virtualhost rs", "virtualhost c", "", "c"),
        ("virtualhost vs", "virtualhost rs", "virtualhost c", "virtualhost u", "u"),
    ],
)
def test_virtual_host(
    read: Reader, service: str, server_line: str, own: str, page: str, expected: str | None
) -> None:
    url = check("url", "path /", page)
    text = virtual(service, real(server_line, check("HTTP_GET", own, url)))
    (found,) = server(read, text).real_servers[0].checks
    assert isinstance(found, HttpCheck)
    assert found.urls[0].virtualhost == expected


@pytest.mark.parametrize("written", ["1.0", "1.0C", "1.0c", "1.1"])
def test_http_settings(read: Reader, written: str) -> None:
    found = checker(
        read,
        "SSL_GET",
        f"http_protocol {written}",
        "fast_recovery",
        "enable_sni",
        "tls_compliant",
        check("url", "path /", "tls_compliant no"),
        check("url", "path /b"),
    )
    assert found.http_protocol == written.upper()
    assert (found.fast_recovery, found.enable_sni, found.sni_name) == (True, True, None)
    assert [url.tls_compliant for url in found.urls] == [False, True]


@pytest.mark.parametrize(
    ("lines", "enabled", "name"),
    [
        ((), False, None),
        (("sni_name",), True, None),
        (("sni_name x.example",), True, "x.example"),
        (("sni_name x.example", "enable_sni no"), False, "x.example"),
    ],
)
def test_sni(read: Reader, lines: tuple[str, ...], enabled: bool, name: str | None) -> None:
    found = checker(read, "SSL_GET", *lines, PAGE)
    assert (found.enable_sni, found.sni_name) == (enabled, name)


def test_old_spelling_of_retry(read: Reader) -> None:
    said = "7:1: warning: nb_get_retry is an old spelling; write retry"
    assert checker(read, "HTTP_GET", "nb_get_retry 4", PAGE, said=(said,)).schedule.retry == 4


def test_relics_of_old_examples_do_no_harm(read: Reader) -> None:
    """keepalived skips them as unknown; whoever comes from it need not edit his file."""
    relics = "global_defs {\nlvs_id LVS_1\n}\n"
    found = server(
        read,
        relics + virtual("nat_mask 255.255.255.0", real(check("TCP_CHECK", "nb_get_retry 3"))),
        "2:1: warning: lvs_id has no effect: keepalived has forgotten it since 1.2, and skips it; "
        "the rest of the configuration works without it",
        "8:1: warning: nat_mask has no effect: no kernel since Linux 2.2 has a mask here, and "
        "keepalived skips it; the rest of the configuration works without it",
        "11:1: warning: nb_get_retry has no effect: keepalived skips it here; write retry; "
        "the rest of the configuration works without it",
    )
    assert found.real_servers[0].checks[0].schedule.retry == 1


def test_every_regex_option_is_one_of_the_matcher() -> None:
    assert sorted(REGEX_OPTIONS) == sorted(OPTIONS)


@pytest.mark.parametrize("option", REGEX_OPTIONS)
def test_regex_options(read: Reader, option: str) -> None:
    page = check("url", "path /", "regex a", f"regex_options {option}")
    (url,) = checker(read, "HTTP_GET", page).urls
    assert url.regex.options == (option,)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.*b", "a.*b"),
        ('"a b"', "a b"),
        (r'"a\\.b \"q\""', r'a\.b "q"'),
        ("'a\\'", None),
        (r'"\x41\102"', "AB"),
    ],
)
def test_escapes_of_a_pattern(read: Reader, pattern: str, expected: str | None) -> None:
    page = check("url", "path /", f"regex {pattern}")
    if expected is None:
        (said,) = problems(read, virtual(real(check("HTTP_GET", page))))
        assert said.startswith("9:7: error: a quote ' is never closed")
    else:
        assert checker(read, "HTTP_GET", page).urls[0].regex.pattern == expected


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "6:1: error: HTTP_GET has no url; add url { path / }"),
        (("url {", "}"), "7:1: error: url has no path; add path /"),
        (("url {", "path", "}"), "8:1: error: path needs a value; write path STRING"),
        (
            ("url {", "path /", "digest 9b3a", "}"),
            "9:8: error: digest is not an MD5 digest: '9b3a'; write the 32 hexadecimal digits",
        ),
        (("url {", "path /", f"digest z{DIGEST[1:]}", "}"), "9:8: error: digest is not an MD5"),
        (
            ("url {", "path /", "status_code 200 99", "}"),
            "9:17: error: '99' is not a status code; write N or FIRST-LAST, 100 to 599",
        ),
        (("url {", "path /", "status_code 300-200", "}"), "9:13: error: '300-200' is not a st"),
        (("url {", "path /", "status_code 600", "}"), "9:13: error: '600' is not a status code"),
        (("url {", "path /", "status_code", "}"), "9:1: error: status_code needs a value; "),
    ],
)
def test_page_that_cannot_be(read: Reader, lines: tuple[str, ...], message: str) -> None:
    (said,) = problems(read, virtual(real(check("HTTP_GET", *lines))))
    assert said.startswith(message)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ("regex_no_match",),
            "9:1: warning: regex_no_match has no effect without regex; add regex",
        ),
        (
            ("regex a", "regex_min_offset 5", "regex_max_offset 3"),
            "11:18: warning: nothing matches from byte 5 to byte 3; write 5 or more",
        ),
        (
            ("regex a", "regex_options caseles utf"),
            "10:15: warning: unknown option 'caseles', the pattern is used without it; "
            "did you mean caseless?",
        ),
        (
            ("regex a", "regex_stack 100 200"),
            "10:1: warning: regex_stack has no effect: "
            "a pattern has the memory that it needs, within limits; "
            "the rest of the configuration works without it",
        ),
    ],
)
def test_page_with_a_warning(read: Reader, lines: tuple[str, ...], said: str) -> None:
    found = checker(read, "HTTP_GET", check("url", "path /", *lines), said=(said,))
    assert len(found.urls) == 1


# -- SMTP, DNS, UDP, PING


def test_smtp(read: Reader) -> None:
    found = checker(read, "SMTP_CHECK", "helo_name me.example", "connect_port 25")
    assert (found.helo_name, found.connection.port) == ("me.example", 25)


HOST = (
    "7:1: warning: host is an old form: each is a checker of its own; write an SMTP_CHECK "
    "block for each"
)


def test_smtp_hosts(read: Reader) -> None:
    found = real_server(
        read,
        check(
            "SMTP_CHECK",
            check("host", "connect_ip 10.0.0.4", "retry 7"),
            check("host", "connect_port 5", "bindto 10.0.0.250"),
            "helo_name x",
            "delay_loop 9",
        ),
        said=(HOST,),
    )
    assert found.checks == (
        SmtpCheck(
            connection=Connection(address="10.0.0.4", port=80),
            helo_name="x",
            schedule=scheduled(retry=7, loop_s=9),
            position=Position(file=str(read.path), line=7, column=1),
        ),
        SmtpCheck(
            connection=Connection(address="10.0.0.2", port=5, bind_address="10.0.0.250"),
            helo_name="x",
            schedule=scheduled(loop_s=9),
            position=Position(file=str(read.path), line=11, column=1),
        ),
    )


def test_smtp_hosts_beside_a_place_of_the_block(read: Reader) -> None:
    """keepalived: with a place of its own the block is one checker more."""
    found = real_server(
        read,
        check("SMTP_CHECK", check("host", "connect_ip 10.0.0.4"), "connect_ip 10.0.0.5"),
        said=(HOST,),
    )
    places = [one.connection.address for one in found.checks if isinstance(one, SmtpCheck)]
    assert places == ["10.0.0.5", "10.0.0.4"]


@pytest.mark.parametrize("kind", ["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG"])
def test_dns(read: Reader, kind: str) -> None:
    for name in ("example.com", "example.com.", ".", "_x._tcp.example"):
        found = checker(read, "DNS_CHECK", f"type {kind.lower()}", f"name {name}")
        assert (found.query_type, found.name) == (kind, name)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "type SRV",
            "7:6: warning: type cannot be 'SRV', using SOA; write A or NS or CNAME or SOA or MX "
            "or TXT or AAAA or RRSIG or DNSKEY",
        ),
        *(
            (
                f"name {name}",
                f"7:6: warning: name is not a name of the DNS: '{shown}', using .; "
                "write labels of 1 to 63 bytes with dots between them",
            )
            for name, shown in (
                ("a..b", "a..b"),
                (".a", ".a"),
                ("a" * 64, "a" * 57 + "..."),
            )
        ),
    ],
)
def test_dns_mended(read: Reader, line: str, said: str) -> None:
    found = checker(read, "DNS_CHECK", line, said=(said,))
    assert (found.query_type, found.name) == ("SOA", ".")


@pytest.mark.parametrize(
    ("written", "data"),
    [
        ("0011ff", "0011ff"),
        ("Ab12f 3 456 546443123", "ab120f0345065464431203"),
        ('"00 11 22"', "001122"),
        ("0", "00"),
    ],
)
def test_payload(read: Reader, written: str, data: str) -> None:
    assert checker(read, "UDP_CHECK", f"payload {written}").payload == bytes.fromhex(data)


@pytest.mark.parametrize(
    ("line", "required", "reply", "mask"),
    [
        ("", False, None, None),
        ("require_reply", True, None, None),
        ("require_reply 00112", True, "001102", None),
        ("require_reply Xx1 X x2", True, "00010002", "00fff00f"),
    ],
)
def test_reply(
    read: Reader, line: str, required: bool, reply: str | None, mask: str | None
) -> None:
    found = checker(read, "UDP_CHECK", line)
    assert found.require_reply == required
    assert found.reply == (None if reply is None else bytes.fromhex(reply))
    assert found.reply_mask == (None if mask is None else bytes.fromhex(mask))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("payload", "7:1: error: payload needs a value; write payload HEX..."),
        ("payload zz", "7:9: error: payload is not hexadecimal: 'zz'; write pairs of the digits"),
        ("payload 0x", "7:9: error: payload is not hexadecimal: '0x'; "),
        ("require_reply 0g", "7:15: error: require_reply is not hexadecimal: '0g'; write pairs"),
    ],
)
def test_octets_that_are_none(read: Reader, line: str, message: str) -> None:
    (said,) = problems(read, virtual(real(check("UDP_CHECK", line))))
    assert said.startswith(message)


def test_length_of_a_reply(read: Reader) -> None:
    found = checker(
        read, "UDP_CHECK", "require_reply", "min_reply_length 5", "max_reply_length 65535"
    )
    assert (found.min_reply_length, found.max_reply_length) == (5, 65535)
    said = (
        "7:18: warning: no answer has at least 300 and at most 255 bytes: the check always fails; "
        "correct min_reply_length or max_reply_length"
    )
    assert checker(read, "UDP_CHECK", "min_reply_length 300", said=(said,))


def test_ping_has_no_ports(read: Reader) -> None:
    said = (
        "7:1: warning: connect_port has no effect: ICMP has no ports; remove it",
        "8:1: warning: bind_port has no effect: ICMP has no ports; remove it",
    )
    lines = ("connect_port 5", "bind_port 6", "connect_ip 10.0.0.9")
    found = checker(read, "PING_CHECK", *lines, said=said)
    assert found.connection == Connection(address="10.0.0.9", port=0)


# -- MISC


def misc(read: Reader, *lines: str, before: tuple[str, ...] = ()) -> MiscCheck:
    found = server(read, SECURE + virtual(*before, real(check("MISC_CHECK", *lines))))
    (one,) = found.real_servers[0].checks
    assert isinstance(one, MiscCheck)
    return one


def test_program(read: Reader) -> None:
    found = misc(
        read,
        "misc_path \"/bin/check 10.0.0.2 'a b'\"",
        "misc_timeout 5",
        "misc_dynamic",
        "user nobody nogroup",
    )
    assert found == MiscCheck(
        command=Command(
            argv=("/bin/check", "10.0.0.2", "a b"),
            account=Account(user="nobody", uid=65534, gid=65534),
            position=Position(file=str(read.path), line=11, column=11),
        ),
        timeout_ns=5 * NS_PER_S,
        dynamic=True,
        schedule=scheduled(retry=0),
        position=Position(file=str(read.path), line=10, column=1),
    )


def test_program_has_the_time_of_the_services_loop(read: Reader) -> None:
    for line in ("", "misc_timeout 0", "delay_loop 2"):
        found = misc(read, "misc_path /bin/true", line, before=("delay_loop 7",))
        assert found.timeout_ns == 7 * NS_PER_S
        assert not found.dynamic


def test_last_program_counts(read: Reader) -> None:
    """Also where the lines of a block stand in another order than they count."""
    found = misc(read, "misc_path /bin/true", "misc_path /bin/check")
    assert found.command.argv == ("/bin/check",)
    assert found.command.position == Position(file=str(read.path), line=12, column=11)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ("misc_path /bin/nothing",),
            "11:11: warning: misc_path is not run: '/bin/nothing' does not exist; correct it; "
            "the rest of the configuration works without",
        ),
        (
            ("misc_path /home/nobody/x",),
            "11:11: warning: misc_path is not run: others than root can replace '/home/nobody'; "
            "correct it; the rest of the configuration works without",
        ),
    ],
)
def test_program_that_cannot_run(read: Reader, lines: tuple[str, ...], said: str) -> None:
    found = server(read, SECURE + virtual(real(check("MISC_CHECK", *lines))), said)
    assert found.real_servers[0].checks == ()


def test_account_that_does_not_exist(read: Reader) -> None:
    loaded = read(SECURE + virtual(real(check("MISC_CHECK", "misc_path /bin/true", "user no"))))
    assert texts(loaded) == [
        "11:11: warning: misc_path is not run: its account does not exist",
        "12:6: warning: there is no user 'no'; create the user or name another one",
    ]


def test_misc_check_without_a_program(read: Reader) -> None:
    assert problems(read, virtual(real(check("MISC_CHECK", "misc_dynamic")))) == [
        '6:1: error: MISC_CHECK has no misc_path; add misc_path "PROGRAM ..."'
    ]


def test_misc_check_has_no_connection(read: Reader) -> None:
    lines = ("misc_path /bin/true", "connect_ip 10.0.0.9")
    said = problems(read, SECURE + virtual(real(check("MISC_CHECK", *lines))))
    assert said[0].startswith("12:1: error: unknown keyword 'connect_ip'; it belongs into ")


# -- FILE

TRACKED = "track_file F {\nfile /run/x\nweight 2 reverse\n}\n"


@pytest.mark.parametrize(
    ("line", "weight", "reverse"),
    [
        ("", 2, True),
        ("weight 5", 5, False),
        ("weight -2147483647 reverse", -2147483647, True),
    ],
)
def test_file(read: Reader, line: str, weight: int, reverse: bool) -> None:
    text = TRACKED + virtual(real(check("FILE_CHECK", "track_file F", line)))
    loaded = read(text)
    assert texts(loaded) == []
    assert loaded.configuration is not None
    (found,) = loaded.configuration.ipvs.virtual_servers[0].real_servers[0].checks
    assert found == FileCheck(
        track_file="F",
        weight=weight,
        reverse=reverse,
        position=Position(file=str(read.path), line=10, column=1),
    )
    assert [one.name for one in loaded.configuration.track_files] == ["F"]


def test_file_defined_below(read: Reader) -> None:
    text = virtual(real(check("FILE_CHECK", "track_file F"))) + TRACKED
    found = server(
        read,
        text,
        "7:1: warning: [10.0.0.1]:tcp:80: track_file 'F' is defined below, keepalived would "
        "ignore it; move the definition above this block",
    )
    assert len(found.real_servers[0].checks) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "10:1: error: FILE_CHECK has no track_file; add track_file NAME"),
        (("track_file G",), "11:1: error: [10.0.0.1]:tcp:80: there is no track_file 'G'; define"),
        (("track_file",), "11:1: error: track_file needs a value; write track_file NAME"),
        (("track_file F", "dynamic"), "12:1: error: unknown keyword 'dynamic'; "),
    ],
)
def test_file_that_cannot_be(read: Reader, lines: tuple[str, ...], message: str) -> None:
    said = [
        t
        for t in problems(read, TRACKED + virtual(real(check("FILE_CHECK", *lines))))
        if "is not used" not in t
    ]
    assert len(said) == 1
    assert said[0].startswith(message)
