"""What a configuration says about servers and checkers is what keepalived says it says.

keepalived runs with --dump-conf and logs everything that it has read; our model of the same file,
put into its words, is compared with that, virtual server by virtual server.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from guest_tools import keepalived, namespace

from fastvrrp.config.load import load
from fastvrrp.config.model import NS_PER_S
from fastvrrp.config.servers import (
    Check,
    DnsCheck,
    FileCheck,
    Forwarding,
    HttpCheck,
    MiscCheck,
    PingCheck,
    RealServer,
    SmtpCheck,
    TcpCheck,
    UdpCheck,
    VirtualServer,
)
from keepalived_text import block

NS_PER_US = 1000
MISC_TIMEOUT_S = 5  # where one is written; no delay_loop is like it
GLOBAL = block("global_defs", "enable_script_security", "script_user root")
FILE = block("track_file F", "file /run/nothing", "weight 2 reverse")
PAGE = block("url", "path /")
ABOVE = ("delay_loop 7", "retry 4", "delay_before_retry 9", "warmup 2", "connect_timeout 8")
OWN = ("delay_loop 3", "retry 5", "delay_before_retry 6", "warmup 1", "connect_timeout 0.5")
ONE = block("real_server 192.0.2.1 80")
EVERY = (
    block("TCP_CHECK"),
    block("HTTP_GET", PAGE),
    block("SSL_GET", PAGE),
    block("SMTP_CHECK"),
    block("DNS_CHECK"),
    block("MISC_CHECK", "misc_path /bin/true"),
    block("UDP_CHECK"),
    block("PING_CHECK"),
)


def vs(*lines: str) -> str:
    return block("virtual_server VIP 80", "lvs_sched rr", "lvs_method NAT", "protocol TCP", *lines)


def rs(*lines: str, at: str = "192.0.2.1 80") -> str:
    return block(f"real_server {at}", *lines)


CASES = {
    "plain": vs(ONE),
    "checkers": vs(rs(*EVERY)),
    "what checkers inherit from above": vs(*ABOVE, rs(*EVERY)),
    # SMTP_CHECK of keepalived has only the connect_timeout of lines above it
    "what checkers inherit from a line below": vs(
        rs(*(text for text in EVERY if "SMTP" not in text)), *ABOVE
    ),
    "what checkers inherit from their server": vs(rs(*ABOVE, *EVERY)),
    "the inner counts": vs(*OWN, rs(*ABOVE, *EVERY)),
    "their own": vs(
        *ABOVE,
        rs(
            *(
                text.replace(
                    "{\n",
                    "{\n"
                    + "\n".join(line for line in OWN if "MISC" not in text or "connect" not in line)
                    + "\n",
                    1,
                )
                for text in EVERY
            )
        ),
    ),
    "only the loop": vs("delay_loop 11", rs(*EVERY)),
    "no retry": vs(rs(block("TCP_CHECK", "retry 0"), block("DNS_CHECK", "retry 0"))),
    "alpha": vs("alpha", rs("alpha no", *EVERY[:1]), rs(*EVERY[:1], at="192.0.2.2 80")),
    "alpha of a checker": vs(rs(block("TCP_CHECK", "alpha"), block("TCP_CHECK"))),
    "failures": vs(rs(block("TCP_CHECK", "log_all_failures"))),
    "inhibit": vs("inhibit_on_failure", ONE, rs("inhibit_on_failure no", at="192.0.2.2 80")),
    "weights": vs("weight 7", ONE, rs("weight 3", at="192.0.2.2 80"), "quorum 5"),
    "limits": vs(rs("uthreshold 9", "lthreshold 4")),
    "methods": vs(
        ONE,
        rs("lvs_method DR", at="192.0.2.2 80"),
        rs("lvs_method TUN", at="192.0.2.3 80"),
        rs("lvs_method TUN type gue port 99 csum", at="192.0.2.4 80"),
        rs("lvs_method TUN type gre", at="192.0.2.5 80"),
    ),
    "mail": vs("smtp_alert", ONE, rs("smtp_alert no", at="192.0.2.2 80")),
    "omega": vs("omega", ONE),
    "quorum": vs("quorum 9", "hysteresis 7", rs("weight 5")),
    "scheduler": vs("lvs_sched sh", "sh-port", ONE),
    "persistence": vs("persistence_timeout 50", "persistence_granularity 255.255.255.0", ONE),
    "ports": vs(ONE, rs(at="192.0.2.2"), rs(at="192.0.2.3 81"), rs(at="192.0.2.4 0")),
    "ports without NAT": vs("lvs_method DR", ONE, rs(EVERY[0], at="192.0.2.3 81")),
    "connection": vs(
        rs(
            block(
                "TCP_CHECK",
                "connect_ip 10.0.0.7",
                "connect_port 8",
                "bindto 10.0.0.1",
                "bind_port 9",
                "bind_if eth0",
                "fwmark 6",
            )
        )
    ),
    "sorry server": vs(
        "sorry_server 192.0.2.9 80", "sorry_server_inhibit", "sorry_server_lvs_method DR", ONE
    ),
    "sorry server is real": vs("sorry_server 192.0.2.1 80", rs("inhibit_on_failure")),
    "sorry server without port": vs("sorry_server 192.0.2.9", ONE),
    "SMTP": vs(rs(block("SMTP_CHECK", "helo_name me", "connect_port 25"))),
    "SMTP host": vs(rs(block("SMTP_CHECK", block("host", "connect_ip 192.0.2.8")))),
    "SMTP hosts and a place": vs(
        rs(
            block(
                "SMTP_CHECK",
                "connect_ip 192.0.2.7",
                block("host", "connect_ip 192.0.2.8"),
                block("host", "connect_port 5"),
            )
        )
    ),
    "DNS": vs(rs(block("DNS_CHECK", "type mx", "name example.com", "connect_port 53"))),
    "UDP": vs(
        rs(
            block(
                "UDP_CHECK",
                "payload Ab12f 3 456 546443123",
                "require_reply Xx1 X x2",
                "min_reply_length 2",
            ),
            block("UDP_CHECK", "require_reply"),
        )
    ),
    "MISC": vs(
        "delay_loop 13",
        rs(
            block(
                "MISC_CHECK",
                "misc_path \"/bin/echo a 'b c' \\x41\"",
                f"misc_timeout {MISC_TIMEOUT_S}",
            ),
            block("MISC_CHECK", "misc_path /bin/echo", "misc_dynamic", "user daemon"),
        ),
    ),
    "FILE": vs(rs(block("FILE_CHECK", "track_file F"))),
    "HTTP": vs(
        rs(
            block(
                "HTTP_GET",
                "http_protocol 1.0c",
                "fast_recovery",
                "virtualhost vh",
                block("url", "path /a", "status_code 200", "status_code 300-303 404"),
                block("url", "path /b", "virtualhost uu", f"digest {'9b3a' * 8}"),
                block("url", "path /c", 'regex "a b"', "regex_no_match"),
            ),
            block("SSL_GET", "enable_sni", "http_protocol 1.1", PAGE),
        )
    ),
}
PLACED = {
    name: text.replace("VIP", f"10.9.{number}.1")
    for number, (name, text) in enumerate(CASES.items(), 1)
}

_KIND = {
    TcpCheck: "TCP_CHECK",
    SmtpCheck: "SMTP_CHECK",
    DnsCheck: "DNS_CHECK",
    MiscCheck: "MISC_CHECK",
    UdpCheck: "UDP_CHECK",
    PingCheck: "PING_CHECK",
    FileCheck: "FILE_CHECK",
}


def on(value: bool) -> str:
    return "ON" if value else "OFF"


def yes(value: bool) -> str:
    return "yes" if value else "no"


def way(to: Forwarding) -> str:
    if to.method != "TUN":
        return to.method
    port = f", port = {to.tunnel_port}" if to.tunnel_port else ""
    checksum = {"nocsum": "", "csum": ", checksum", "remcsum": ", remote checksum"}[to.checksum]
    none = ", no checksum" if to.tunnel != "ipip" and not checksum else checksum
    return f"TUN, type = {to.tunnel.upper()}{port}{none}"


def service_lines(server: VirtualServer) -> Iterator[str]:
    yield f"lvs_sched = {server.scheduler}"
    if server.persistence_timeout_s:
        yield f"persistence timeout = {server.persistence_timeout_s}"
    if server.persistence_granularity is not None:
        mask = (0xFFFFFFFF << (32 - server.persistence_granularity)) & 0xFFFFFFFF
        dotted = ".".join(str(mask >> shift & 255) for shift in (24, 16, 8, 0))
        yield f"persistence granularity = {dotted}"
    yield f"protocol = {server.protocol}"
    yield f"alpha is {on(server.alpha)}"
    yield f"omega is {on(server.omega)}"
    yield f"quorum = {server.quorum}, hysteresis = {server.hysteresis}"
    yield f"Using smtp notification = {yes(server.smtp_alert)}"


def sorry_lines(server: VirtualServer) -> Iterator[str]:
    if server.sorry_server is not None:
        sorry = server.sorry_server
        yield f"sorry server = [{sorry.address}]:{server.protocol.lower()}:{sorry.port}"
        yield f"forwarding method = {way(sorry.forwarding)}"
        yield f"Inhibit on failure is {on(sorry.inhibit)}"


def server_lines(server: RealServer) -> Iterator[str]:
    yield f"RIP = {server.address}, RPORT = {server.port}, WEIGHT = {server.weight}"
    yield f"forwarding method = {way(server.forwarding)}"
    yield f"Alpha is {on(server.alpha)}"
    yield f"connection limit range = {server.lthreshold} -> {server.uthreshold}"
    yield f"Inhibit on failure is {on(server.inhibit_on_failure)}"
    yield f"Using smtp notification = {yes(server.smtp_alert)}"


def check_lines(check: Check) -> Iterator[str]:
    schedule = check.schedule
    if not isinstance(check, FileCheck):
        yield f"Alpha = {yes(schedule.alpha)}"
        yield f"Delay loop = {schedule.delay_loop_ns // NS_PER_US} us"
        yield f"Warmup = {schedule.warmup_ns // NS_PER_US} us"
        yield f"Retries = {schedule.retry}"
        if schedule.retry:
            yield f"Delay before retry = {schedule.delay_before_retry_ns // NS_PER_US} us"
        yield f"Log all failures = {yes(schedule.log_all_failures)}"
    if not isinstance(check, FileCheck | MiscCheck):
        to = check.connection
        if not isinstance(check, PingCheck):
            yield f"Dest = [{to.address}]:{to.port}"
        if to.bind_address or to.bind_port:
            yield f"Bind to = [{to.bind_address}]:{to.bind_port}"
        if to.bind_if:
            yield f"Bind i/f = {to.bind_if}"
        if to.fwmark:
            yield f"Mark = {to.fwmark}"
        yield f"Timeout = {to.timeout_ns / NS_PER_S:.6f}"
    yield from kind_lines(check)


def kind_lines(check: Check) -> Iterator[str]:
    if isinstance(check, HttpCheck):
        kind = "SSL_GET" if check.tls else "HTTP_GET"
        yield f"Keepalive method = {kind}, http protocol {check.http_protocol}"
        yield f"Enable SNI {'set' if check.enable_sni else 'unset'}"
        yield f"Fast recovery {'set' if check.fast_recovery else 'unset'}"
        for url in check.urls:
            yield f"Checked url = {url.path}"
            if url.digest:
                yield f"digest = {url.digest.hex()}"
            for first, last in url.status_codes:
                yield str(first) if first == last else f"{first}-{last}"
            if url.regex is not None:
                yield f'Regex = "{url.regex.pattern}"'
                if url.regex.no_match:
                    yield "Regex no match"
        return
    yield f"Keepalive method = {_KIND[type(check)]}"
    if isinstance(check, SmtpCheck):
        yield f"helo = {check.helo_name}"
    elif isinstance(check, DnsCheck):
        yield f"Type = {check.query_type}"
        yield f"Name = {check.name.removeprefix('.')}".rstrip()
    elif isinstance(check, FileCheck):
        yield f"Tracked file = {check.track_file}"
    elif isinstance(check, MiscCheck):
        words = " ".join(f"'{word}'" for word in check.command.argv)
        yield f"script = {words}".replace("'/bin/", "'/usr/bin/")
        # Where nothing is written keepalived shows 0, and uses the virtual server's delay_loop.
        written_s = check.timeout_ns // NS_PER_S
        yield f"timeout = {written_s if written_s == MISC_TIMEOUT_S else 0}"
        yield f"dynamic = {yes(check.dynamic).upper()}"
    elif isinstance(check, UdpCheck):
        if check.payload is not None:
            yield f"Payload len = {len(check.payload)}"
        yield f"Require reply = {yes(check.require_reply)}"
        if check.require_reply:
            yield f"Min reply length = {check.min_reply_length}"
            yield f"Max reply length = {check.max_reply_length}"
            yield f"Reply data len = {len(check.reply or b'')}"


def dumped(log: Path) -> str:
    """keepalived's log once the dump is complete."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if "Activating BFD healthchecker" in text:
            return text
        time.sleep(0.1)
    raise AssertionError("keepalived has not logged its configuration")


class Dump:
    """keepalived's lines, without their times, by virtual server."""

    def __init__(self, text: str) -> None:
        lines = [re.sub(r"^\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}: ", "", n) for n in text.split("\n")]
        self.services: dict[str, list[str]] = {}
        self.servers: dict[str, list[list[str]]] = {}
        self.checks: dict[str, list[list[str]]] = {}
        target: list[str] = []
        section = name = ""
        for line in lines:
            head = re.match(r" *------< (.*) >------", line)
            words = line.strip()
            if head:
                section, target = head[1], []
                if section == "Real server":
                    self.servers[name].append(target)
                continue
            place = re.match(r"VS VIP = (\S+), VPORT = (\d+)", words)
            check = re.match(r"(\[\S+\]:\w+:\d+) -> \[\S+\]:\w+:\d+$", words)
            if section == "Virtual server" and place:
                name = f"{place[1]}:{place[2]}"
                target = self.services[name] = []
                self.servers[name] = []
            elif section == "Health checkers" and check:
                target = []
                self.checks.setdefault(check[1], []).append(target)
            elif line.startswith("Activating"):
                section, target = "", []
            else:
                target.append(words)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dump, list[VirtualServer]]]:
    directory = tmp_path_factory.mktemp("dump")
    file = directory / "keepalived.conf"
    file.write_text("\n".join((GLOBAL, FILE, *PLACED.values(), "")))
    loaded = load(file)
    assert loaded.configuration is not None, [str(m) for m in loaded.messages]
    with namespace() as name, keepalived(name, directory, file, "-d") as log:
        yield Dump(dumped(log)), list(loaded.configuration.ipvs.virtual_servers)


def kept(theirs: list[str], ours: list[str]) -> list[str]:
    """Those of their lines that say something we have to say: the same word in front."""
    fronts = {line.partition(" = ")[0].partition(" is ")[0] for line in ours}
    return [
        line
        for line in theirs
        if line in ours or line.partition(" = ")[0].partition(" is ")[0] in fronts
    ]


@pytest.mark.parametrize("case", CASES)
def test_same_settings(both: tuple[Dump, list[VirtualServer]], case: str) -> None:
    dump, servers = both
    number = list(CASES).index(case)
    server = servers[number]
    (service,) = server.services
    theirs = dump.services[f"{service.address}:{service.port}"]
    ours = list(service_lines(server))
    assert kept(theirs, ours) == ours
    lines = [line.replace("sorry server (duplicates rs)", "sorry server") for line in theirs]
    begin = next((n for n, line in enumerate(lines) if line.startswith("sorry server")), None)
    wanted = list(sorry_lines(server))
    assert ([] if begin is None else kept(lines[begin:], wanted)) == wanted
    real = dump.servers[f"{service.address}:{service.port}"]
    assert len(real) == len(server.real_servers)
    for one, lines in zip(server.real_servers, real, strict=True):
        wanted = list(server_lines(one))
        cut = [re.sub(r" EFF WEIGHT = \d+", "", line) for line in lines]
        assert kept(cut, wanted) == wanted
    checks = dump.checks.get(f"[{service.address}]:{server.protocol.lower()}:{service.port}", [])
    own = [check for one in server.real_servers for check in one.checks]
    assert len(checks) == len(own)
    for check, lines in zip(own, checks, strict=True):
        wanted = list(check_lines(check))
        if "SMTP host" in case:  # keepalived leaves them without a time of their own
            lines = [line.replace("Timeout = 0.000000", "Timeout = 5.000000") for line in lines]
        assert kept(lines, wanted) == wanted


def test_every_case_is_one_virtual_server(both: tuple[Dump, list[VirtualServer]]) -> None:
    dump, servers = both
    assert len(servers) == len(dump.services) == len(CASES)
    assert [key for key, _ in groupby(s.services[0].address for s in servers)] == [
        f"10.9.{n}.1" for n in range(1, len(CASES) + 1)
    ]
