"""Lines of checks: keepalived 2.2.7's in full, then what we know more."""

from __future__ import annotations

import pytest
from pool_making import rs, vs

from fastvrrp.config.base import Command
from fastvrrp.config.servers import (
    Check,
    Connection,
    DnsCheck,
    FileCheck,
    HttpCheck,
    MiscCheck,
    PingCheck,
    ServiceAddress,
    SmtpCheck,
    TcpCheck,
    UdpCheck,
    Url,
)
from fastvrrp.ipvs.checks.base import Outcome, Verdict
from fastvrrp.ipvs.lines import check_name, report_line, server_name, suspension_line
from fastvrrp.ipvs.runner import Kind, Report

TO = Connection(address="10.0.0.1", port=80)
TCP = TcpCheck(connection=TO)
HTTP = HttpCheck(connection=TO, urls=(Url(path="/"),))
SSL = HttpCheck(connection=TO, urls=(Url(path="/"),), tls=True)
SMTP = SmtpCheck(connection=TO)
DNS = DnsCheck(connection=TO)
MISC = MiscCheck(command=Command(argv=("/run/m.sh", "a b")), timeout_ns=1)
UDP = UdpCheck(connection=TO)
PING = PingCheck(connection=TO)
FILE = FileCheck(track_file="f")
SERVER = "[10.0.0.1]:tcp:80"
MISC_NAME = f"[{SERVER} VS [10.1.0.1]:tcp:80] by [/run/m.sh a b]"


def line(check: Check, kind: Kind, up: bool, retries: int = 0) -> str:
    verdict = Verdict.LOCAL if kind is Kind.LOCAL else Verdict.UP if up else Verdict.DOWN
    report = Report(kind, up, False, retries, Outcome(verdict, "because", 1))
    return report_line(vs(rs(1)), rs(1), check, report)


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (TCP, f"TCP connection to {SERVER} success. (because)"),
        (UDP, f"UDP connection to {SERVER} success. (because)"),
        (PING, f"ICMP connection to {SERVER} success. (because)"),
        (HTTP, f"Remote Web server {SERVER} succeed on service. (because)"),
        (SSL, f"Remote Web server {SERVER} succeed on service. (because)"),
        (SMTP, f"Remote SMTP server {SERVER} succeed on service. (because)"),
        (MISC, f"Misc check for {MISC_NAME} succeeded."),
        (DNS, f"DNS_CHECK on service {SERVER} success. (because)"),
    ],
)
def test_success(check: Check, expected: str) -> None:
    assert line(check, Kind.STATE, True) == expected
    assert line(check, Kind.WEIGHT, True) == expected


def test_tracked_files() -> None:
    up = line(FILE, Kind.STATE, True)
    assert up == f"({SERVER}): tracked file f leaving FAULT state (because)"
    down = line(FILE, Kind.STATE, False)
    assert down == f"({SERVER}): tracked file f now FAULT state (because)"
    weight = line(FILE, Kind.WEIGHT, True)
    assert weight == f"FILE_CHECK on service {SERVER} success. (because)"


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (TCP, f"TCP_CHECK on service {SERVER} failed after 3 retries. (because)"),
        (UDP, f"UDP_CHECK on service {SERVER} failed after 3 retries. (because)"),
        (PING, f"ICMP CHECK on service {SERVER} failed after 3 retries. (because)"),
        (HTTP, f"HTTP_CHECK on service {SERVER} failed after 3 retries. (because)"),
        (SSL, f"HTTP_CHECK on service {SERVER} failed after 3 retries. (because)"),
        (SMTP, f"SMTP_CHECK on service {SERVER} failed after 3 retries. (because)"),
        (MISC, f"Misc check for {MISC_NAME} failed after 3 retries (because)."),
        (DNS, f"DNS_CHECK on service {SERVER} failed after 3 retries. (because)"),
    ],
)
def test_failure(check: Check, expected: str) -> None:
    assert line(check, Kind.STATE, False, 3) == expected
    assert line(check, Kind.STATE, False) == expected.replace(" after 3 retries", "")


def test_one_retry_of_a_script_is_one() -> None:
    assert "failed after 1 retry (because)." in line(MISC, Kind.STATE, False, 1)
    assert "failed after 1 retries. (" in line(TCP, Kind.STATE, False, 1)


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (TCP, f"TCP connection to {SERVER} failed. (because)"),
        (UDP, f"UDP connection to {SERVER} failed. (because)"),
        (PING, f"ICMP connection to {SERVER} failed. (because)"),
        (MISC, f"Misc check for {MISC_NAME} failed, will be tried again (because)."),
        (DNS, f"DNS_CHECK on service {SERVER} failed. (because)"),
    ],
)
def test_single_failures(check: Check, expected: str) -> None:
    assert line(check, Kind.FAILURE, True) == expected


def test_local_problems() -> None:
    text = f"TCP_CHECK on service {SERVER} cannot be done, rescheduling. (because)"
    assert line(TCP, Kind.LOCAL, True) == text


def test_names_of_checks() -> None:
    names = [check_name(c) for c in (TCP, HTTP, SSL, SMTP, DNS, MISC, UDP, PING, FILE)]
    assert names == [
        "TCP_CHECK",
        "HTTP_GET",
        "SSL_GET",
        "SMTP_CHECK",
        "DNS_CHECK",
        "MISC_CHECK",
        "UDP_CHECK",
        "PING_CHECK",
        "FILE_CHECK",
    ]


def test_names_of_servers() -> None:
    mark = ServiceAddress(family=4, fwmark=3)
    assert server_name(vs(), rs(1)) == SERVER
    assert server_name(vs(protocol="UDP"), rs(1, port=53)) == "[10.0.0.1]:udp:53"
    assert server_name(vs(name="FWM 3", services=(mark,)), rs(1, port=0)) == "[10.0.0.1]:none:0"
    # a group has a protocol, also one of marks alone
    assert server_name(vs(name="[G]:0", group="G", services=(mark,)), rs(1)) == SERVER


def test_suspension() -> None:
    tail = f"healthchecker for service {SERVER} for VS [10.1.0.1]:tcp:80"
    assert suspension_line(vs(rs(1)), rs(1), True) == f"Suspending {tail}"
    assert suspension_line(vs(rs(1)), rs(1), False) == f"Activating {tail}"
