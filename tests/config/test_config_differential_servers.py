"""What keepalived accepts of a load balancer we accept, and what it refuses we refuse.

See test_config_differential.py for what the exit codes of `keepalived -t` mean. The last two tables
are what we decide otherwise, each with the reason.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from beside_keepalived import both
from servers_reading import HEAD, check, real, virtual

from fastvrrp.config.model import Severity

pytestmark = [pytest.mark.interop, pytest.mark.netns]

SECURE = "global_defs {\n enable_script_security\n script_user root\n}\n"
TRACKED = "track_file F {\n file /tmp/x\n}\n"
PAGE = check("url", "path /")
DIGEST = "9b3a0c85a887a256d6939da88aabd8cd"


def vs(*lines: str) -> str:
    return virtual(*lines, real())


def rs(*lines: str) -> str:
    return virtual(real(*lines))


def tcp(*lines: str) -> str:
    return rs(check("TCP_CHECK", *lines))


def url(*lines: str) -> str:
    return rs(check("HTTP_GET", check("url", "path /", *lines)))


def defs(*lines: str) -> str:
    return "\n".join(("global_defs {", *lines, "}\n")) + vs()


def group(*entries: str, servers: tuple[str, ...] = ("lvs_method TUN", real())) -> str:
    entries_text = "\n".join(entries)
    return f"virtual_server_group G {{\n{entries_text}\n}}\n" + virtual(*servers, head="group G")


VALID = {
    "plain": vs(),
    "IPv6": virtual(real(at="2001:db8::2 80"), head="2001:db8::1 80"),
    "mark": virtual(real(), head="fwmark 5", common=HEAD[:2]),
    "group": group("10.0.0.1 80", "10.0.0.5-9 80", "10.0.0.20-10.0.1.4 80", "10.0.4.0/29 80"),
    "group of both families": group("10.0.0.1 80", "2001:db8::1 80"),
    "group of IPv6": group("2001:db8::10-20 80", "2001:db8::30-2001:db8::40 80"),
    "other port with NAT": virtual(real(at="10.0.0.2 8080"), real(at="10.0.0.3")),
    "tunnel to the other family": vs("lvs_method TUN", real(at="2001:db8::2 80")),
    "all ports": virtual("persistence_timeout 50", real(at="10.0.0.2"), head="10.0.0.1"),
    "lb_algo and lb_kind": virtual("lb_algo wrr", "lb_kind DR", "protocol tcp", real(), common=()),
    "every flag": vs("lvs_sched sh", "sh-port", "sh-fallback", "flag-3"),
    "twos": vs("lvs_sched twos"),
    "gue": vs("lvs_method TUN type gue port 5555 csum"),
    "gre": vs("lvs_method TUN type gre csum"),
    "ops": vs("protocol UDP", "ops"),
    "persistence": vs("persistence_timeout"),
    "netmask": vs("persistence_granularity 255.255.255.0"),
    "engine": vs("persistence_engine sip", "persistence_timeout 30"),
    "quorum": vs("weight 5", "quorum 3", "hysteresis 2"),
    "sorry server": vs("sorry_server 10.0.0.9 80", "sorry_server_inhibit"),
    "sorry server's tunnel": vs("sorry_server 2001:db8::9 80", "sorry_server_lvs_method TUN"),
    "flags": vs("alpha", "omega", "ha_suspend", "smtp_alert", "inhibit_on_failure"),
    "times": vs("delay_loop 0.5", "connect_timeout 0.25", "delay_before_retry 0", "warmup 0"),
    "retries": vs("retry 4294967295", "virtualhost www"),
    "commands": SECURE
    + vs('quorum_up "/bin/true a"', "quorum_down /bin/true root root", "sorry_server 10.0.0.9"),
    "real server": SECURE
    + rs(
        "weight 2\nuthreshold 5\nlthreshold 4\ninhibit_on_failure no\nalpha\nsmtp_alert no",
        "notify_up /bin/true",
        "lvs_method DR",
    )
    + virtual(real(), head="10.0.0.9 80"),
    "TCP": tcp("connect_ip 10.0.0.3", "connect_port 8", "bindto 10.0.0.4", "bind_port 9"),
    "link-local": tcp("connect_ip fe80::1", "bind_if lan0"),
    "everything of a checker": tcp(
        "fwmark 6\nretry 0\nwarmup 0\ndelay_before_retry 0\nalpha no\nlog_all_failures"
    ),
    "HTTP": rs(
        check("HTTP_GET", "http_protocol 1.0c", "fast_recovery", "virtualhost w", PAGE, PAGE)
    ),
    "SSL": rs(check("SSL_GET", "enable_sni", "http_protocol 1.1", PAGE)),
    "status codes": url("status_code 200-299 404", "status_code 500"),
    "digest": url(f"digest {DIGEST}"),
    "pattern": url(
        'regex "a b"', "regex_options caseless utf", "regex_min_offset 3", "regex_max_offset 9"
    ),
    "SMTP": rs(check("SMTP_CHECK", "helo_name x", "connect_port 25")),
    "DNS": rs(check("DNS_CHECK", "type mx", "name example.com.", "retry 0")),
    "MISC": SECURE
    + rs(
        check(
            "MISC_CHECK", 'misc_path "/bin/true a"', "misc_timeout 3", "misc_dynamic", "user root"
        )
    ),
    "UDP": rs(check("UDP_CHECK", "payload 00 1 12", "require_reply 00Xx1", "min_reply_length 1")),
    "PING": rs(check("PING_CHECK", "connect_ip 10.0.0.9")),
    "FILE": TRACKED + rs(check("FILE_CHECK", "track_file F", "weight 5 reverse")),
    "several checkers": rs(check("TCP_CHECK"), check("TCP_CHECK"), check("PING_CHECK")),
    "SSL block": "SSL {\npassword x\nca /x\ncertificate /x\nkey /x\n}\n" + vs(),
    "timeouts": defs("lvs_timeouts tcp 5 tcpfin 6 udp 7"),
    "flush": defs("lvs_flush", "lvs_flush_on_stop VS"),
    "sync daemon": defs("lvs_sync_daemon lan0 id 5 maxlen 1400 port 9 ttl 3 group ff02::81"),
    "process": defs("checker_priority -5", "checker_rt_priority 5", "checker_no_swap"),
    "mail": defs("no_checker_emails", "rs_init_notifies", "smtp_alert_checker no"),
    "failures": defs("checker_log_all_failures", "lvs_notify_fifo /run/x"),
    "namespace": "net_namespace_ipvs x\n" + vs(),
    "many": "".join(
        virtual(
            *(real(check("TCP_CHECK"), at=f"10.1.{n}.{m} 80") for m in range(1, 9)),
            head=f"10.0.0.{n} 80",
        )
        for n in range(1, 9)
    ),
}

MENDED = {
    "no protocol": virtual(real(), common=HEAD[:2]),
    "no scheduler": virtual(real(), common=HEAD[1:]),
    "no method": virtual(real(), common=(HEAD[0], HEAD[2])),
    "unknown scheduler": vs("lvs_sched foo"),
    "unknown protocol": vs("protocol FOO"),
    "no real server": virtual("sorry_server 10.0.0.9 80"),
    "port 0": virtual(real(), head="10.0.0.1"),
    "port of a group": group("10.0.0.1"),
    "same server twice": vs(real()),
    "other port without NAT": vs("lvs_method DR", real(at="10.0.0.3 81")),
    "ports of a group": group(
        "10.0.0.1 80", "10.0.0.1 81", servers=("lvs_method DR", real(at="10.0.0.3 81"))
    ),
    "port with a mark": virtual("lvs_method DR", real(), head="fwmark 5", common=HEAD[:1]),
    "protocol of a mark": virtual(real(), head="fwmark 5"),
    "ops of TCP": vs("ops"),
    "suspended mark": virtual("ha_suspend", real(), head="fwmark 5", common=HEAD[:2]),
    "quorum": vs("quorum 5"),
    "no quorum": vs("quorum 0"),
    "no weight": rs("weight 0"),
    "hysteresis": vs("hysteresis 1"),
    "timeout of persistence": vs("persistence_timeout 0"),
    "flag without scheduler": vs("sh-port"),
    "sorry port without NAT": vs("sorry_server 10.0.0.9 81", "sorry_server_lvs_method DR"),
    "inhibit without sorry server": vs("sorry_server_inhibit"),
    "sorry server is real": vs("sorry_server 10.0.0.2 80", "sorry_server_inhibit"),
    "family of an address": vs("ip_family inet6"),
    "delay_loop": vs("delay_loop 0"),
    "retry": vs("retry 0"),
    "weight": rs("weight -1"),
    "uthreshold": rs("uthreshold x"),
    "inhibit": rs("inhibit_on_failure foo"),
    "connect_port": tcp("connect_port 0"),
    "connect_timeout": tcp("connect_timeout 0"),
    "fwmark": tcp("fwmark x"),
    "old retry": rs(check("HTTP_GET", "nb_get_retry 4", PAGE)),
    "http_protocol": rs(check("HTTP_GET", "http_protocol 2", PAGE)),
    "DNS type": rs(check("DNS_CHECK", "type SRV")),
    "DNS name": rs(check("DNS_CHECK", "name a..b")),
    "UDP lengths": rs(
        check("UDP_CHECK", "require_reply", "min_reply_length 5", "max_reply_length 3")
    ),
    "misc_timeout": SECURE + rs(check("MISC_CHECK", "misc_path /bin/true", "misc_timeout 0.5")),
    "account": SECURE + rs(check("MISC_CHECK", "misc_path /bin/true", "user nosuch")),
    "weight of a file": TRACKED + rs(check("FILE_CHECK", "track_file F", "weight 2147483648")),
    "two SSL blocks": "SSL {\nca /x\n}\nSSL {\nca /y\n}\n" + vs(),
    "timeout": defs("lvs_timeouts tcp 2678401"),
    "sync id": defs("lvs_sync_daemon lan0 id 256"),
    "sync group": defs("lvs_sync_daemon lan0 group 10.0.0.1"),
    "second sync daemon": defs("lvs_sync_daemon lan0", "lvs_sync_daemon lan1"),
    "flush_on_stop": defs("lvs_flush_on_stop vs"),
    "priority": defs("checker_rt_priority 100"),
    "switch": defs("rs_init_notifies foo"),
}

REFUSED = {
    "no address": virtual(real(), head=""),
    "address": virtual(real(), head="10.0.0.300 80"),
    "name": virtual(real(), head="www.example.com 80"),
    "port": virtual(real(), head="10.0.0.1 65536"),
    "mark": virtual(real(), head="fwmark x", common=HEAD[:2]),
    "unknown keyword": vs("frob"),
    "missing value": vs("lvs_sched"),
    "forwarding": vs("lvs_method nat"),
    "gue without port": vs("lvs_method TUN type gue"),
    "checksum of ipip": vs("lvs_method TUN csum"),
    "remote checksum of gre": vs("lvs_method TUN type gre remcsum"),
    "netmask": vs("persistence_granularity 255.255.255.256"),
    "real server": vs(real(at="foo 80")),
    "port of a real server": vs(real(at="10.0.0.3 70000")),
    "family": vs(real(at="2001:db8::2 80")),
    "sorry server": vs("sorry_server foo 80"),
    "family of a sorry server": vs("sorry_server 2001:db8::9 80"),
    "entry of a group": group("10.0.0.1 80", "10.0.0.256 80"),
    "empty group": group(),
    "range backwards": group("10.0.0.9-5 80"),
    "range that begins within": group("10.0.4.9/29 80"),
    "family of a mark": group("fwmark 3 foo", "10.0.0.1 80"),
    "mark without family": group("10.0.0.1 80", "2001:db8::1 80", "fwmark 3"),
    "lb_kind of a server": rs("lb_kind DR"),
    "checker without block": rs("TCP_CHECK"),
    "word of a checker": tcp("frob"),
    "connect_ip": tcp("connect_ip foo"),
    "link-local": tcp("connect_ip fe80::1"),
    "families of a checker": tcp("bindto 2001:db8::1"),
    "no url": rs(check("HTTP_GET")),
    "no path": rs(check("HTTP_GET", check("url", "status_code 200"))),
    "status code": url("status_code 99"),
    "digest": url("digest 9b3a"),
    "UDP payload": rs(check("UDP_CHECK", "payload zz")),
    "UDP reply": rs(check("UDP_CHECK", "require_reply zz")),
    "no payload": rs(check("UDP_CHECK", "payload")),
    "no program": rs(check("MISC_CHECK", "misc_dynamic")),
    "no file": rs(check("FILE_CHECK")),
    "unknown file": rs(check("FILE_CHECK", "track_file F")),
    "dynamic": TRACKED + rs(check("FILE_CHECK", "track_file F", "dynamic")),
    "SSL": "SSL {\nfoo\n}\n" + vs(),
    "timeouts": defs("lvs_timeouts"),
    "option of timeouts": defs("lvs_timeouts foo 5"),
    "sync daemon": defs("lvs_sync_daemon"),
    "FIFO": defs("lvs_notify_fifo"),
}

# keepalived says nothing, or goes on; we refuse.
STRICTER = {
    "a service twice: keepalived mixes both pools": vs() + virtual(real(at="10.0.0.3 80")),
    "a group twice: keepalived mixes both pools": group("10.0.0.1 80")
    + virtual("lvs_method TUN", real(at="10.0.0.3"), head="group G"),
    "ranges that meet: the kernel refuses the second": group("10.0.0.1-9 80", "10.0.0.9 80"),
    "unknown group: keepalived leaves the virtual server out": virtual(real(), head="group X"),
    "two groups of one name: keepalived uses the first": "virtual_server_group G {\n"
    "10.0.0.9 80\n}\n" + group("10.0.0.1 80"),
    "16 million services": group("10.0.0.0/8 80"),
    "a mask with holes": vs("persistence_granularity 255.0.255.0"),
    "a check of port 0, which always fails": virtual(
        real(check("TCP_CHECK"), at="10.0.0.2"), head="fwmark 5", common=HEAD[:2]
    ),
    "status_code without a code": url("status_code"),
    "sync daemon of an unknown instance: keepalived starts none": defs(
        "lvs_sync_daemon lan0 nosuch"
    ),
    "mark 0, which every other packet has": virtual(real(), head="fwmark 0", common=HEAD[:2]),
    "mixed families without tunnels: keepalived leaves the virtual server out": group(
        "10.0.0.1 80", "2001:db8::1 80", servers=(real(),)
    ),
    "interface without a name": defs("lvs_sync_daemon a/b"),
}

# keepalived complains; for us it is right.
LAXER = {
    "sh-port above the scheduler": virtual("sh-port", "lvs_sched sh", real(), common=HEAD[1:]),
    "hexadecimal with ff": rs(check("UDP_CHECK", "payload 0011ff")),
    "newer keyword": rs(check("SSL_GET", "sni_name x", PAGE)),
    "method above the sorry server": vs("sorry_server_lvs_method DR", "sorry_server 10.0.0.9 80"),
}


@pytest.mark.parametrize("case", VALID)
def test_valid_for_both(tmp_path: Path, namespace: str, case: str) -> None:
    code, complaints, loaded = both(tmp_path, namespace, VALID[case])
    assert (code, complaints) == (0, [])
    assert [str(m) for m in loaded.messages] == []
    assert loaded.configuration is not None
    assert loaded.configuration.ipvs.virtual_servers


@pytest.mark.parametrize("case", MENDED)
def test_mended_by_both(tmp_path: Path, namespace: str, case: str) -> None:
    code, complaints, loaded = both(tmp_path, namespace, MENDED[case])
    assert code == 5, complaints
    assert loaded.configuration is not None, [str(m) for m in loaded.messages]
    assert loaded.messages


@pytest.mark.parametrize("case", REFUSED)
def test_left_out_by_keepalived_and_refused_by_us(
    tmp_path: Path, namespace: str, case: str
) -> None:
    # -11: some of them make keepalived 2.2.7 crash
    code, complaints, loaded = both(tmp_path, namespace, REFUSED[case])
    assert code in (2, 5, -11, 139), complaints
    assert loaded.configuration is None


@pytest.mark.parametrize("case", STRICTER)
def test_accepted_by_keepalived_and_refused_by_us(
    tmp_path: Path, namespace: str, case: str
) -> None:
    code, complaints, loaded = both(tmp_path, namespace, STRICTER[case])
    assert code in (0, 5), complaints
    errors = [m for m in loaded.messages if m.severity is Severity.ERROR]
    assert len(errors) == 1, [str(m) for m in loaded.messages]
    assert errors[0].hint


@pytest.mark.parametrize("case", LAXER)
def test_refused_by_keepalived_and_accepted_by_us(
    tmp_path: Path, namespace: str, case: str
) -> None:
    code, complaints, loaded = both(tmp_path, namespace, LAXER[case])
    assert code == 5, complaints
    assert [str(m) for m in loaded.messages] == []
