"""real_server: ports, families, inheritance, duplicates."""

from __future__ import annotations

import pytest
from config_reading import Reader
from servers_reading import HEAD, check, ipvs, problems, real, real_server, server, virtual

from fastvrrp.config.model import Command, Position
from fastvrrp.config.servers import Forwarding

NAME = "[10.0.0.1]:tcp:80"
SECURE = "global_defs {\nenable_script_security\nscript_user root\n}\n"


def test_everything(read: Reader) -> None:
    found = server(
        read,
        SECURE
        + virtual(
            real(
                "weight 7",
                "lvs_method TUN type gre",
                "uthreshold 100",
                "lthreshold 50",
                "inhibit_on_failure",
                "alpha",
                "smtp_alert no",
                "notify_up /bin/true",
                "notify_down \"/bin/check 'a b'\" root",
            )
        ),
    )
    (one,) = found.real_servers
    assert (one.weight, one.uthreshold, one.lthreshold) == (7, 100, 50)
    assert one.forwarding == Forwarding(method="TUN", tunnel="gre")
    assert (one.inhibit_on_failure, one.alpha, one.smtp_alert) == (True, True, False)
    assert one.notify_up == Command(
        argv=("/bin/true",), position=Position(file=str(read.path), line=17, column=11)
    )
    assert one.notify_down is not None
    assert one.notify_down.argv == ("/bin/check", "a b")
    assert one.notify_down.account is not None


@pytest.mark.parametrize(
    ("written", "expected"),
    [("", True), ("inhibit_on_failure no", False), ("inhibit_on_failure yes", True)],
)
def test_own_value_counts(read: Reader, written: str, expected: bool) -> None:
    found = server(read, virtual("inhibit_on_failure", "alpha", "weight 4", real(written)))
    assert found.real_servers[0].inhibit_on_failure is expected
    assert found.real_servers[0].weight == 4


@pytest.mark.parametrize(
    ("method", "at", "port"),
    [
        ("NAT", "10.0.0.2", 80),
        ("NAT", "10.0.0.2 0", 80),
        ("NAT", "10.0.0.2 8080", 8080),
        ("DR", "10.0.0.2", 80),
        ("DR", "10.0.0.2 80", 80),
        ("TUN", "10.0.0.2", 80),
    ],
)
def test_port(read: Reader, method: str, at: str, port: int) -> None:
    found = server(read, virtual(f"lvs_method {method}", real("TCP_CHECK {", "}", at=at)))
    (one,) = found.real_servers
    assert one.port == port
    assert one.checks[0].connection.port == port


def test_port_without_nat(read: Reader) -> None:
    """The check goes where the line says, as with keepalived."""
    found = server(
        read,
        virtual("lvs_method DR", real("TCP_CHECK {", "}", at="10.0.0.2 8080")),
        "6:22: warning: port 8080 becomes 80: with DR packets keep their port; "
        "write 80, or lvs_method NAT",
    )
    (one,) = found.real_servers
    assert one.port == 80
    assert one.checks[0].connection.port == 8080


def test_port_of_a_mark(read: Reader) -> None:
    common = ("lvs_sched rr", "lvs_method DR")
    found = server(
        read,
        virtual(
            real("TCP_CHECK {", "}"),
            real("TCP_CHECK {", "connect_port 8", "}", at="10.0.0.3"),
            head="fwmark 1",
            common=common,
        ),
        "4:22: warning: with DR packets keep their port: 80 counts for checks only; "
        "remove the port, or write lvs_method NAT",
    )
    one, two = found.real_servers
    assert (one.port, one.checks[0].connection.port) == (0, 80)
    assert (two.port, two.checks[0].connection.port) == (0, 8)


def test_ports_of_a_group(read: Reader) -> None:
    group = "virtual_server_group G {\n10.0.0.1 80\n10.0.0.2 80\nfwmark 4\n}\n"
    found = server(
        read,
        group
        + virtual("lvs_method DR", real(), real("TCP_CHECK {", "}", at="10.0.0.3"), head="group G"),
    )
    one, two = found.real_servers
    assert (one.port, two.port) == (80, 0)
    assert two.checks[0].connection.port == 80


def test_ports_of_a_group_with_several(read: Reader) -> None:
    group = "virtual_server_group G {\n10.0.0.1 80\n10.0.0.1 81\n}\n"
    found = server(read, group + virtual(real(at="10.0.0.2"), head="group G"))
    assert found.real_servers[0].port == 0
    found = server(
        read,
        group + virtual("lvs_method DR", real(), head="group G"),
        "10:22: warning: with DR packets keep their port, whatever port 80 says; "
        "write addresses of one port into the group, or lvs_method NAT",
    )
    assert found.real_servers[0].port == 80


def test_check_without_a_port(read: Reader) -> None:
    """keepalived would connect to port 0 and find the server down for ever."""
    text = virtual(real(check("TCP_CHECK"), at="10.0.0.2"), head="fwmark 1", common=HEAD[:2])
    assert problems(read, text) == [
        "5:1: error: FWM 1: TCP_CHECK of 10.0.0.2 has no port to connect to; add connect_port PORT"
    ]


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("10.0.0.300 80", "5:13: error: '10.0.0.300' is not an address; "),
        ("10.0.0.2 70000", "5:22: error: '70000' is not a port; write 1 to 65535"),
        ("", "5:1: error: real_server needs an address; "),
        ("2001:db8::2 80", "5:13: error: 2001:db8::2 is not an IPv4 address as the service's; "),
    ],
)
def test_what_is_no_server(read: Reader, at: str, message: str) -> None:
    (said,) = problems(read, virtual(real(at=at)))
    assert said.startswith(message)


def test_tunnel_to_the_other_family(read: Reader) -> None:
    text = virtual(real("lvs_method TUN", at="2001:db8::2 80"), real(at="10.0.0.3 80"))
    assert [one.family for one in server(read, text).real_servers] == [6, 4]


def test_mark_with_servers_of_both_families(read: Reader) -> None:
    text = virtual(real(), real(at="2001:db8::2"), head="fwmark 1", common=HEAD[:2])
    assert problems(read, text) == [
        "1:16: error: FWM 1: its servers are of both families; "
        "write addresses of one family, or lvs_method TUN"
    ]


def test_duplicate(read: Reader) -> None:
    found = server(
        read,
        virtual(real("weight 1"), real("weight 2"), real("weight 3", at="10.0.0.2 81")),
        f"8:13: warning: {NAME}: real server 10.0.0.2 port 80 is listed twice, ignored here; "
        f"the first one is at {read.path}:5",
    )
    assert [(one.port, one.weight) for one in found.real_servers] == [(80, 1), (81, 3)]


def test_same_server_of_two_services(read: Reader) -> None:
    text = virtual(real()) + virtual(real(), head="10.0.0.9 80")
    one, two = ipvs(read, text).virtual_servers
    assert one.real_servers[0].address == two.real_servers[0].address


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("weight -1", "6:8: warning: weight is not a number from 0 to 2147483647: '-1', using "),
        ("uthreshold x", "6:12: warning: uthreshold is not a number from 0 to 4294967295: 'x', "),
        ("retry 0", "6:7: warning: retry is not a number from 1 to 4294967295: '0', "),
        ("delay_loop 0", "6:12: warning: delay_loop is not a time of 0.000001 to 4294967 seconds"),
        ("alpha perhaps", "6:7: warning: alpha is neither on nor off: 'perhaps', "),
    ],
)
def test_mended(read: Reader, line: str, message: str) -> None:
    loaded = read(virtual(real(line)))
    (said,) = [str(m).removeprefix(f"{read.path}:") for m in loaded.messages]
    assert said.startswith(message)
    assert loaded.configuration is not None
    (one,) = loaded.configuration.ipvs.virtual_servers[0].real_servers
    assert (one.weight, one.uthreshold, one.alpha) == (1, 0, False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("wieght 1", "6:1: error: unknown keyword 'wieght'; did you mean weight?"),
        ("lb_kind DR", "6:1: error: unknown keyword 'lb_kind'; it belongs into virtual_server"),
        ("weight", "6:1: error: weight needs a value; write weight N"),
        ("TCP_CHCK {\n}", "6:1: error: unknown keyword 'TCP_CHCK'; did you mean TCP_CHECK?"),
        ("TCP_CHECK", "6:1: error: TCP_CHECK needs a block; write TCP_CHECK { ... }"),
    ],
)
def test_refused(read: Reader, line: str, message: str) -> None:
    assert problems(read, virtual(real(line))) == [message]


def test_command_that_cannot_run(read: Reader) -> None:
    said = (
        "10:11: warning: notify_up is not run: '/bin/nothing' does not exist; correct it; "
        "the rest of the configuration works without"
    )
    found = server(read, SECURE + virtual(real("notify_up /bin/nothing")), said)
    assert found.real_servers[0].notify_up is None


def test_bfd_has_no_effect_yet(read: Reader) -> None:
    said = (
        "6:1: warning: BFD_CHECK has no effect yet: BFD is not built yet; "
        "the rest of the configuration works without it"
    )
    assert real_server(read, "BFD_CHECK {", "name B", "}", said=(said,)).checks == ()
