"""virtual_server: what of it becomes the model, keepalived's fix-ups and what is said of them."""

from __future__ import annotations

import pytest
from config_reading import Reader, texts
from servers_reading import HEAD, ipvs, problems, real, server, virtual

from fastvrrp.config.model import Account, Command, Position
from fastvrrp.config.servers import Forwarding, ServiceAddress, SorryServer

NAME = "[10.0.0.1]:tcp:80"


def test_plain(read: Reader) -> None:
    found = server(read, virtual(real("weight 3")))
    assert found.name == NAME
    assert found.services == (ServiceAddress(family=4, address="10.0.0.1", port=80),)
    assert (found.protocol, found.scheduler, found.flags) == ("TCP", "rr", ())
    assert (found.quorum, found.hysteresis, found.alpha, found.omega) == (1, 0, False, False)
    assert found.position == Position(file=str(read.path), line=1, column=16)
    (one,) = found.real_servers
    assert (one.address, one.port, one.family, one.weight) == ("10.0.0.2", 80, 4, 3)
    assert one.forwarding == Forwarding(method="NAT")
    assert one.position == Position(file=str(read.path), line=5, column=13)


def test_defaults_are_used_aloud(read: Reader) -> None:
    found = server(
        read,
        virtual(real(), common=()),
        f"1:16: warning: {NAME.replace('tcp', 'udp')}: no protocol, using UDP; "
        "add protocol TCP, UDP or SCTP",
        f"1:16: warning: {NAME.replace('tcp', 'udp')}: no lvs_sched, using wlc; add lvs_sched NAME",
        f"1:16: warning: {NAME.replace('tcp', 'udp')}: no lvs_method, using NAT; "
        "add lvs_method NAT, DR or TUN",
    )
    assert (found.protocol, found.scheduler) == ("UDP", "wlc")
    assert found.real_servers[0].forwarding.method == "NAT"


@pytest.mark.parametrize(
    ("head", "name", "service"),
    [
        ("10.0.0.1 80", NAME, ServiceAddress(family=4, address="10.0.0.1", port=80)),
        (
            "2001:DB8:0::1 443",
            "[2001:db8::1]:tcp:443",
            ServiceAddress(family=6, address="2001:db8::1", port=443),
        ),
    ],
)
def test_address(read: Reader, head: str, name: str, service: ServiceAddress) -> None:
    to = "10.0.0.2 80" if service.family == 4 else "2001:db8::2 80"
    found = server(read, virtual(real(at=to), head=head))
    assert (found.name, found.services) == (name, (service,))


def test_firewall_mark(read: Reader) -> None:
    found = server(read, virtual(real(at="10.0.0.2"), head="fwmark 7", common=HEAD[:2]))
    assert (found.name, found.protocol) == ("FWM 7", "TCP")
    assert found.services == (ServiceAddress(family=4, fwmark=7),)
    assert found.real_servers[0].port == 0


@pytest.mark.parametrize(
    ("lines", "family"),
    [
        ((real(at="2001:db8::2 80"),), 6),
        (("lvs_method TUN", real(at="2001:db8::2")), 6),
        (("lvs_method TUN", real(at="2001:db8::2"), real(at="10.0.0.2")), 4),
        (("lvs_method TUN", "ip_family inet6", real(at="10.0.0.2")), 6),
        (("lvs_method TUN", "persistence_granularity 64", real(at="10.0.0.2")), 6),
        (("lvs_method TUN", "persistence_granularity 255.255.0.0", real(at="fe80::2")), 4),
        (("persistence_granularity 64", real(at="2001:db8::2")), 6),
        ((real("lvs_method TUN", at="2001:db8::2"), real(at="10.0.0.2")), 4),
    ],
)
def test_family_of_a_mark(read: Reader, lines: tuple[str, ...], family: int) -> None:
    found = server(read, virtual(*lines, head="fwmark 7", common=HEAD[:2]))
    assert found.services == (ServiceAddress(family=family, fwmark=7),)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("", "1:1: error: virtual_server needs an address; "),
        ("10.0.0.300 80", "1:16: error: '10.0.0.300' is not an address; "),
        ("www.example.com 80", "1:16: error: 'www.example.com' is not an address; "),
        ("10.0.0.1 65536", "1:25: error: '65536' is not a port; write 1 to 65535"),
        ("10.0.0.1 http", "1:25: error: 'http' is not a port; write 1 to 65535"),
        ("fwmark", "1:16: error: fwmark needs a value; "),
        ("fwmark 0", "1:23: error: '0' is not a firewall mark; write 1 to 4294967295"),
        ("fwmark 4294967296", "1:23: error: '4294967296' is not a firewall mark; "),
        ("group", "1:16: error: group needs a value; "),
        ("group G", "1:22: error: there is no virtual_server_group 'G'; define "),
    ],
)
def test_what_cannot_be_balanced(read: Reader, head: str, message: str) -> None:
    said = problems(read, virtual(real(), head=head))
    assert [s for s in said if s.startswith(message)] == said


def test_group_with_a_typing_error(read: Reader) -> None:
    text = "virtual_server_group web {\n10.0.0.1 80\n}\n" + virtual(real(), head="group wbe")
    assert problems(read, text)[1:] == [
        "4:22: error: there is no virtual_server_group 'wbe'; did you mean web?"
    ]


def test_prefix_length_and_further_words(read: Reader) -> None:
    server(
        read,
        virtual(real(), head="10.0.0.1/24 80 tcp"),
        "1:16: warning: '10.0.0.1/24' is taken as 10.0.0.1: a prefix length means nothing here; "
        "write 10.0.0.1",
        "1:31: warning: one more word than virtual_server takes, ignored; "
        "remove it, or quote words that belong together",
    )


def test_nothing_to_balance_to(read: Reader) -> None:
    found = ipvs(
        read,
        virtual("sorry_server 10.0.0.9 80"),
        f"1:16: warning: {NAME}: it has no real_server, ignored; "
        "add real_server ADDRESS PORT { ... }",
    )
    assert found.virtual_servers == ()


def test_order_within_the_block_does_not_matter(read: Reader) -> None:
    """As with keepalived: what is inherited is settled at the end of the block."""
    lines = ("delay_loop 7", "weight 3", "inhibit_on_failure", "alpha", "lvs_method DR")
    one = real("TCP_CHECK {", "}")
    before = server(read, virtual(*lines, one)).real_servers[0]
    after = server(read, virtual(one, *lines)).real_servers[0]
    assert (before.weight, before.inhibit_on_failure, before.alpha) == (3, True, True)
    assert before.forwarding.method == after.forwarding.method == "DR"
    assert before.checks[0].schedule == after.checks[0].schedule
    assert before.checks[0].schedule.delay_loop_ns == 7_000_000_000
    assert (after.weight, after.inhibit_on_failure, after.alpha) == (3, True, True)


# -- scheduling


@pytest.mark.parametrize("name", ["rr", "wlc", "lblcr", "sed", "nq", "fo", "ovf", "mh", "twos"])
def test_schedulers(read: Reader, name: str) -> None:
    for keyword in ("lvs_sched", "lb_algo"):
        assert server(read, virtual(f"{keyword} {name}", real())).scheduler == name


def test_unknown_scheduler_leaves_the_one_before(read: Reader) -> None:
    found = server(
        read,
        virtual("lvs_sched foo", real()),
        "5:11: warning: lvs_sched cannot be 'foo', using wlc; write rr or wrr or lc or wlc or lblc "
        "or sh or mh or dh or fo or ovf or lblcr or sed or nq or twos",
    )
    assert found.scheduler == "rr"


def test_unknown_protocol(read: Reader) -> None:
    found = server(
        read,
        virtual("protocol FOO", real(), common=HEAD[:2]),
        "4:10: warning: protocol cannot be 'FOO', using UDP; write TCP or UDP or SCTP",
    )
    assert found.protocol == "UDP"


@pytest.mark.parametrize(
    ("lines", "flags"),
    [
        (("flag-3", "flag-1"), ("flag-1", "flag-3")),
        (("lvs_sched sh", "sh-port"), ("flag-2",)),
        (("sh-fallback", "lvs_sched sh"), ("flag-1",)),
        (("lvs_sched mh", "mh-port", "mh-fallback", "flag-3"), ("flag-1", "flag-2", "flag-3")),
    ],
)
def test_flags(read: Reader, lines: tuple[str, ...], flags: tuple[str, ...]) -> None:
    assert server(read, virtual(*lines, real())).flags == flags


def test_flag_of_another_scheduler(read: Reader) -> None:
    found = server(
        read,
        virtual("lvs_sched mh", "sh-port", real()),
        f"6:1: warning: {NAME}: sh-port is for the scheduler sh, ignored; "
        "write lvs_sched sh, or remove it",
    )
    assert found.flags == ()


def test_one_packet(read: Reader) -> None:
    assert server(read, virtual("protocol UDP", "ops", real())).one_packet
    found = server(
        read,
        virtual("ops", real()),
        f"5:1: warning: {NAME}: ops needs UDP, ignored; write protocol UDP, or remove it",
    )
    assert not found.one_packet
    marked = virtual("ops", real(at="10.0.0.2"), head="fwmark 1", common=HEAD[:2])
    assert server(read, marked).one_packet


def test_protocol_of_a_mark(read: Reader) -> None:
    found = server(
        read,
        virtual("protocol udp", real(), head="fwmark 1", common=HEAD[:2]),
        "4:10: warning: FWM 1: protocol means nothing with firewall marks; remove it",
    )
    assert found.protocol == "TCP"


# -- forwarding


@pytest.mark.parametrize(
    ("words", "forwarding"),
    [
        ("DR", Forwarding(method="DR")),
        ("TUN", Forwarding(method="TUN")),
        ("TUN type ipip nocsum", Forwarding(method="TUN")),
        ("TUN type gre csum", Forwarding(method="TUN", tunnel="gre", checksum="csum")),
        (
            "TUN remcsum port 6080 type gue",
            Forwarding(method="TUN", tunnel="gue", tunnel_port=6080, checksum="remcsum"),
        ),
    ],
)
def test_forwarding(read: Reader, words: str, forwarding: Forwarding) -> None:
    for keyword in ("lvs_method", "lb_kind"):
        found = server(read, virtual(f"{keyword} {words}", real()))
        assert found.real_servers[0].forwarding == forwarding


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nat", "5:12: error: unknown forwarding method 'nat'; did you mean NAT?"),
        ("TUN kind gre", "5:16: error: unknown tunnel option 'kind'; known: "),
        ("TUN type geu", "5:21: error: unknown tunnel type 'geu'; did you mean gue?"),
        ("TUN type", "5:16: error: type needs a value; "),
        ("TUN type gue", "5:12: error: a gue tunnel needs a port, others have none; "),
        ("TUN port 5", "5:12: error: a gue tunnel needs a port, others have none; remove port"),
        ("TUN type gue port 0", "5:30: error: '0' is not a port; write 1 to 65535"),
        ("TUN csum", "5:12: error: ipip tunnels have no checksum; remove csum"),
        ("TUN type gre remcsum", "5:12: error: gre tunnels have no remote checksum; "),
        ("", "5:1: error: lvs_method needs a value; "),
    ],
)
def test_forwarding_that_cannot_be(read: Reader, words: str, message: str) -> None:
    (said,) = problems(read, virtual(f"lvs_method {words}".rstrip(), real()))
    assert said.startswith(message)


def test_tunnel_options_without_a_tunnel(read: Reader) -> None:
    found = server(
        read,
        virtual("lvs_method DR type gre", real()),
        "5:15: warning: DR has no tunnel, its options are ignored; remove them, or write TUN",
    )
    assert found.real_servers[0].forwarding == Forwarding(method="DR")


# -- persistence


@pytest.mark.parametrize(
    ("lines", "timeout_s", "granularity", "engine"),
    [
        ((), 0, None, None),
        (("persistence_timeout",), 360, None, None),
        (("persistence_timeout 50",), 50, None, None),
        (("persistence_granularity 255.255.255.0",), 360, 24, None),
        (("persistence_timeout 9", "persistence_granularity 255.255.0.0"), 9, 16, None),
        (("persistence_granularity 255.255.255.255",), 360, None, None),
        (("persistence_granularity 0.0.0.0",), 360, 0, None),
        (("persistence_engine sip", "persistence_timeout 30"), 30, None, "sip"),
    ],
)
def test_persistence(
    read: Reader,
    lines: tuple[str, ...],
    timeout_s: int,
    granularity: int | None,
    engine: str | None,
) -> None:
    found = server(read, virtual(*lines, real()))
    assert found.persistence_timeout_s == timeout_s
    assert found.persistence_granularity == granularity
    assert found.persistence_engine == engine


def test_prefix_length_as_granularity(read: Reader) -> None:
    found = server(
        read,
        virtual("persistence_granularity 24", real()),
        f"5:25: warning: {NAME}: 24 is a prefix length; keepalived would take it as 0.0.0.24; "
        "write a netmask",
    )
    assert found.persistence_granularity == 24
    six = virtual("persistence_granularity 64", real(at="2001:db8::2 80"), head="2001:db8::1 80")
    assert server(read, six).persistence_granularity == 64


@pytest.mark.parametrize("word", ["255.0.255.0", "255.255.255.256", "129", "x", "fe80::", "-1"])
def test_granularity_that_is_none(read: Reader, word: str) -> None:
    (said,) = problems(read, virtual(f"persistence_granularity {word}", real()))
    assert said.startswith(f"5:25: error: persistence_granularity is not a netmask: '{word}'; ")


@pytest.mark.parametrize(
    ("head", "word", "hint"),
    [
        ("10.0.0.1 80", "33", "write a netmask, or 0 to 32"),
        ("2001:db8::1 80", "255.255.255.0", "write 1 to 128"),
        ("2001:db8::1 80", "0", "write 1 to 128"),
    ],
)
def test_granularity_of_the_other_family(read: Reader, head: str, word: str, hint: str) -> None:
    to = "2001:db8::2 80" if ":" in head else "10.0.0.2 80"
    (said,) = problems(read, virtual(f"persistence_granularity {word}", real(at=to), head=head))
    assert "not a persistence_granularity of an IPv" in said
    assert said.endswith(hint)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "persistence_timeout 0",
            "5:21: warning: persistence_timeout is not a number from 1 to 2678400: '0', "
            "using off (360 without a value); write a number from 1 to 2678400 (seconds)",
        ),
        (
            "persistence_engine sip",
            f"5:20: warning: {NAME}: persistence_engine means nothing without persistence, "
            "ignored; add persistence_timeout SECONDS",
        ),
        (
            "persistence_engine spi",
            "5:20: warning: persistence_engine cannot be 'spi', using none; write sip",
        ),
    ],
)
def test_persistence_without_effect(read: Reader, line: str, said: str) -> None:
    found = server(read, virtual(line, real()), said)
    assert (found.persistence_timeout_s, found.persistence_engine) == (0, None)


def test_service_of_all_ports_is_persistent(read: Reader) -> None:
    name = NAME.replace(":80", ":0")
    for head in ("10.0.0.1", "10.0.0.1 0"):
        found = server(
            read,
            virtual(real(), head=head),
            f"1:16: warning: {name}: a service of all ports must be persistent, using 360 seconds; "
            "write a port, or persistence_timeout SECONDS",
        )
        assert found.persistence_timeout_s == 360
        assert found.services[0].port == 0
    found = server(read, virtual("persistence_timeout 5", real(at="10.0.0.2"), head="10.0.0.1"))
    assert found.persistence_timeout_s == 5
    assert found.real_servers[0].port == 0


# -- quorum, sorry server, notifications


def test_quorum(read: Reader) -> None:
    found = server(read, virtual("quorum 4", "hysteresis 3", real("weight 5")))
    assert (found.quorum, found.hysteresis) == (4, 3)


def test_quorum_is_what_the_weights_allow(read: Reader) -> None:
    found = server(
        read,
        virtual("quorum 9", "hysteresis 5", real("weight 2"), real("weight 3", at="10.0.0.3 80")),
        f"5:8: warning: {NAME}: quorum 9 is more than all weights together, using 5; write 1 to 5",
        f"6:12: warning: {NAME}: hysteresis 5 must be less than the quorum, using 4; write 0 to 4",
    )
    assert (found.quorum, found.hysteresis) == (5, 4)


def test_servers_without_weight_never_make_a_quorum(read: Reader) -> None:
    """keepalived lowers the quorum to 0, and by its hysteresis it is never reached either."""
    found = server(
        read,
        virtual(real("weight 0"), "sorry_server 10.0.0.9 80"),
        f"1:16: warning: {NAME}: no real_server has a weight: it is not used, and there is no "
        "quorum; write weight 1 or more, unless that is meant",
    )
    assert (found.quorum, found.hysteresis) == (1, 0)


def test_commands(read: Reader) -> None:
    text = "global_defs {\nenable_script_security\nscript_user root\n}\n" + virtual(
        "quorum_up \"/bin/true up 'a b'\"", "quorum_down /bin/check nobody nogroup", real()
    )
    found = server(read, text)
    path = str(read.path)
    assert found.quorum_up == Command(
        argv=("/bin/true", "up", "a b"), position=Position(file=path, line=9, column=11)
    )
    assert found.quorum_down == Command(
        argv=("/bin/check",),
        account=Account(user="nobody", uid=65534, gid=65534),
        position=Position(file=path, line=10, column=13),
    )


def test_first_command_counts(read: Reader) -> None:
    text = "global_defs {\nenable_script_security\nscript_user root\n}\n" + virtual(
        "quorum_up /bin/true", "quorum_up /bin/check", real()
    )
    said = "10:1: warning: quorum_up is set already, ignored; keep one of the lines"
    found = server(read, text, said)
    assert found.quorum_up is not None
    assert found.quorum_up.argv == ("/bin/true",)


def test_sorry_server(read: Reader) -> None:
    found = server(
        read,
        virtual(
            "sorry_server 10.0.0.9 8080",
            "sorry_server_inhibit",
            "sorry_server_lvs_method TUN",
            "lvs_method NAT",
            real(),
        ),
        "5:23: warning: port 8080 becomes 80: with TUN packets keep their port; "
        "write 80, or lvs_method NAT",
    )
    assert found.sorry_server == SorryServer(
        address="10.0.0.9", port=80, family=4, forwarding=Forwarding(method="TUN"), inhibit=True
    )


@pytest.mark.parametrize(
    ("method", "words", "port"),
    [
        ("NAT", "10.0.0.9 8080", 8080),
        ("NAT", "10.0.0.9", 0),  # for the kernel: that of the service
        ("DR", "10.0.0.9", 80),
        ("DR", "10.0.0.9 80", 80),
    ],
)
def test_port_of_a_sorry_server(read: Reader, method: str, words: str, port: int) -> None:
    found = server(read, virtual(f"lvs_method {method}", f"sorry_server {words}", real()))
    assert found.sorry_server is not None
    assert found.sorry_server.port == port
    assert not found.sorry_server.inhibit


def test_sorry_server_words_without_one(read: Reader) -> None:
    found = server(
        read,
        virtual("sorry_server_inhibit", real()),
        f"5:1: warning: {NAME}: sorry_server_inhibit means nothing without sorry_server; "
        "add sorry_server ADDRESS PORT",
    )
    assert found.sorry_server is None


def test_sorry_server_of_the_other_family(read: Reader) -> None:
    assert problems(read, virtual("sorry_server 2001:db8::9 80", real())) == [
        "5:14: error: 2001:db8::9 is not an IPv4 address as the service's; "
        "write an IPv4 address, or lvs_method TUN"
    ]


def test_sorry_server_that_is_a_real_server(read: Reader) -> None:
    said = (
        f"5:14: warning: {NAME}: the sorry_server is a real_server, too, whose inhibit_on_failure "
        "counts; inhibit both or none"
    )
    found = server(read, virtual("sorry_server 10.0.0.2 80", real("inhibit_on_failure")), said)
    assert found.sorry_server is not None
    assert found.sorry_server.inhibit


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("fwmark 3", "FWM 3: ha_suspend knows no address of a firewall mark"),
        ("group G", "[G]:0: ha_suspend knows no address of a group"),
    ],
)
def test_ha_suspend_needs_an_address(read: Reader, head: str, said: str) -> None:
    assert server(read, virtual("ha_suspend", real())).ha_suspend
    group = "virtual_server_group G {\n10.0.0.1 80\n}\n" if head == "group G" else ""
    common = HEAD if group else HEAD[:2]
    loaded = read(group + virtual("ha_suspend", real(), head=head, common=common))
    assert [t for t in texts(loaded) if said in t] == texts(loaded)
    assert loaded.configuration is not None
    assert not loaded.configuration.ipvs.virtual_servers[0].ha_suspend


@pytest.mark.parametrize(
    ("globally", "virtual_server", "real_servers"),
    [
        ((), False, (True, False, True)),
        (("smtp_alert",), True, (True, False, True)),
        (("smtp_alert no",), False, (False, False, True)),
        (("smtp_alert_checker",), True, (True, False, True)),
        (("smtp_alert", "smtp_alert_checker no"), False, (False, False, True)),
    ],
)
def test_mail(
    read: Reader,
    globally: tuple[str, ...],
    virtual_server: bool,
    real_servers: tuple[bool, ...],
) -> None:
    text = "\n".join(("global_defs {", *globally, "}\n")) + virtual(
        real(), real("smtp_alert no", at="10.0.0.3 80"), real("smtp_alert", at="10.0.0.4 80")
    )
    found = server(read, text)
    assert found.smtp_alert == virtual_server
    assert tuple(one.smtp_alert for one in found.real_servers) == real_servers


def test_defaults_count_below_their_line(read: Reader) -> None:
    text = virtual(real()) + "global_defs {\nsmtp_alert_checker\n}\n"
    found = server(
        read,
        text,
        "9:1: warning: smtp_alert_checker does not reach the virtual servers above this line; "
        "move global_defs to the beginning",
    )
    assert not found.smtp_alert


def test_flags_of_the_service(read: Reader) -> None:
    found = server(read, virtual("alpha", "omega", "smtp_alert", real()))
    assert (found.alpha, found.omega, found.smtp_alert) == (True, True, True)


def test_ip_family_of_an_address(read: Reader) -> None:
    server(
        read,
        virtual("ip_family inet6", real()),
        f"5:11: warning: {NAME}: ip_family contradicts the addresses, ignored; remove it",
    )


# -- one service, two pools


def test_service_that_is_balanced_twice(read: Reader) -> None:
    """keepalived throws the servers of both together and takes away what the other needs."""
    said = problems(read, virtual(real()) + virtual(real(at="10.0.0.3 80")))
    assert said == [
        f"8:16: error: {NAME} balances what {NAME} balances already; "
        f"the first one is at {read.path}:1; list each service once"
    ]


def test_other_protocol_port_or_family_is_another_service(read: Reader) -> None:
    text = (
        virtual(real())
        + virtual(real(), head="10.0.0.1 81")
        + virtual(real(), common=(*HEAD[:2], "protocol UDP"))
        + virtual(real(), head="fwmark 1", common=HEAD[:2])
        + virtual(real(at="2001:db8::2"), head="fwmark 1", common=HEAD[:2])
    )
    assert [one.name for one in ipvs(read, text).virtual_servers] == [
        NAME,
        "[10.0.0.1]:tcp:81",
        "[10.0.0.1]:udp:80",
        "FWM 1",
        "FWM 1",
    ]
