"""What concerns the ipvs process as a whole: global_defs, SSL, the synchronisation daemon."""

from __future__ import annotations

import pytest
from config_reading import Reader, instance, texts
from servers_reading import ipvs, problems

from fastvrrp.config.model import Fifo
from fastvrrp.config.servers import Ipvs, SyncDaemon, Timeouts, TlsContext


def defs(*lines: str) -> str:
    """A global_defs block; its first line is line 2."""
    return "\n".join(("global_defs {", *lines, "}\n"))


def test_nothing_said(read: Reader) -> None:
    assert ipvs(read, "") == Ipvs()


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("lvs_flush", "flush", True),
        ("lvs_flush_on_stop", "flush_on_stop", "all"),
        ("lvs_flush_on_stop VS", "flush_on_stop", "VS"),
        ("no_checker_emails", "no_checker_emails", True),
        ("no_checker_emails no", "no_checker_emails", False),
        ("rs_init_notifies", "rs_init_notifies", True),
        ("checker_priority -5", "priority", -5),
        ("checker_rt_priority 50", "rt_priority", 50),
        ("checker_rlimit_rttime 20000", "rlimit_rttime_us", 20000),
        ("checker_cpu_affinity 0 1", "cpu_affinity", (0, 1)),
        ("checker_no_swap", "no_swap", True),
        ("lvs_timeouts tcp 5 udp 7", "timeouts", Timeouts(tcp_s=5, udp_s=7)),
        ("lvs_timeouts tcpfin 6", "timeouts", Timeouts(tcpfin_s=6)),
        ("lvs_sync_daemon eth1", "sync_daemon", SyncDaemon(interface="eth1")),
    ],
)
def test_settings(read: Reader, line: str, field: str, value: object) -> None:
    assert getattr(ipvs(read, defs(line)), field) == value


def test_old_spelling_of_flush(read: Reader) -> None:
    said = "2:1: warning: lvs_flush_onstop is an old spelling; write lvs_flush_on_stop"
    assert ipvs(read, defs("lvs_flush_onstop VS"), said).flush_on_stop == "VS"


@pytest.mark.parametrize(
    ("line", "value"),
    [("", None), ("net_namespace_ipvs lb", "lb"), ("net_namespace_ipvs", "")],
)
def test_network_namespace(read: Reader, line: str, value: str | None) -> None:
    assert ipvs(read, f"{line}\n").net_namespace == value


def test_fifo(read: Reader) -> None:
    loaded = read(defs("lvs_notify_fifo /run/lvs nobody"))
    assert texts(loaded) == []
    assert loaded.configuration is not None
    found = loaded.configuration.global_defs.lvs_notify_fifo
    assert found == Fifo(path="/run/lvs", account=read.host.users["nobody"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lvs_timeouts", "2:1: error: lvs_timeouts needs a value; write [tcp S] [tcpfin S]"),
        ("lvs_timeouts tcp", "2:1: error: lvs_timeouts needs a value; "),
        ("lvs_timeouts tpc 5", "2:14: error: unknown option 'tpc'; did you mean tcp?"),
        ("lvs_sync_daemon", "2:1: error: lvs_sync_daemon has no value; "),
        ("lvs_sync_daemon eth1 V", "2:22: error: there is no vrrp_instance 'V'; "),
        ("lvs_sync_daemon eth1 inst V", "2:27: error: there is no vrrp_instance 'V'; "),
        ("lvs_sync_daemon eth1 id", "2:22: error: id needs a value; write id N"),
        ("lvs_sync_daemon eth1 id 5 prot 7", "2:27: error: unknown option 'prot'; did you mean"),
        ("lvs_sync_daemon a/b", "2:17: error: 'a/b' cannot be the name of an interface; "),
    ],
)
def test_refused(read: Reader, line: str, message: str) -> None:
    (said,) = problems(read, defs(line))
    assert said.startswith(message)


@pytest.mark.parametrize(
    ("line", "said", "field", "value"),
    [
        (
            "lvs_timeouts tcp 2678401 udp 5",
            "2:18: warning: tcp is not a number from 0 to 2678400: '2678401', ignored; "
            "write 0 to 2678400 seconds",
            "timeouts",
            Timeouts(udp_s=5),
        ),
        (
            "lvs_timeouts udp 5 tcp",
            "2:20: warning: tcp is not a number from 0 to 2678400: '', ignored; "
            "write 0 to 2678400 seconds",
            "timeouts",
            Timeouts(udp_s=5),
        ),
        (
            "lvs_sync_daemon eth1 id 256",
            "2:25: warning: id is not a number from 0 to 255: '256', "
            "using VRID of the instance, or 0; write a number from 0 to 255",
            "sync_daemon",
            SyncDaemon(interface="eth1"),
        ),
        (
            "lvs_sync_daemon eth1 group 10.0.0.1 port 9",
            "2:28: warning: group is not a multicast address: '10.0.0.1', using 224.0.0.81; "
            "write a multicast address",
            "sync_daemon",
            SyncDaemon(interface="eth1", port=9),
        ),
        (
            "lvs_sync_daemon eth9",
            "2:17: warning: interface 'eth9' does not exist now; did you mean eth3?",
            "sync_daemon",
            SyncDaemon(interface="eth9"),
        ),
        (
            "checker_rt_priority 100",
            "2:21: warning: checker_rt_priority 100 is out of range, using 99; write 1 to 99",
            "rt_priority",
            99,
        ),
    ],
)
def test_mended(read: Reader, line: str, said: str, field: str, value: object) -> None:
    assert getattr(ipvs(read, defs(line), said), field) == value


@pytest.mark.parametrize("words", ["V", "inst V"])
def test_sync_daemon_of_an_instance(read: Reader, words: str) -> None:
    """Its id is the instance's VRID unless it is given; the instance may stand below."""
    for line, number in (("", 7), (" id 5", 5), (" id 0", 0)):
        text = defs(f"lvs_sync_daemon eth1 {words}{line}") + instance(vrid=7)
        assert ipvs(read, text).sync_daemon == SyncDaemon(interface="eth1", instance="V", id=number)


def test_sync_daemon_options(read: Reader) -> None:
    line = "lvs_sync_daemon eth1 id 5 maxlen 1400 port 9 ttl 3 group ff02::81"
    assert ipvs(read, defs(line)).sync_daemon == SyncDaemon(
        interface="eth1", id=5, maxlen=1400, port=9, ttl=3, group="ff02::81"
    )


def test_sync_daemon_in_another_namespace(read: Reader) -> None:
    """Nothing is known of its interfaces."""
    text = "net_namespace_ipvs lb\n" + defs("lvs_sync_daemon eth9")
    assert ipvs(read, text).sync_daemon == SyncDaemon(interface="eth9")


OLD = "7:1: warning: lvs_sync_daemon_interface is an old spelling; write lvs_sync_daemon"


def test_old_form_of_the_sync_daemon(read: Reader) -> None:
    found = ipvs(read, instance("lvs_sync_daemon_interface eth1"), OLD)
    assert found.sync_daemon == SyncDaemon(interface="eth1", instance="V")


def test_sync_daemon_is_one(read: Reader) -> None:
    other = instance("lvs_sync_daemon_interface eth2", name="W", vrid=2, vips="10.0.0.2/24")
    found = ipvs(
        read,
        instance("lvs_sync_daemon_interface eth1") + other,
        OLD,
        OLD.replace("7:", "15:", 1),
        "15:1: warning: the daemon is configured already, ignored here; "
        "keep lvs_sync_daemon in global_defs",
    )
    assert found.sync_daemon == SyncDaemon(interface="eth1", instance="V")


SSL = "SSL {\npassword canaryXY\nca /etc/ca\ncertificate /etc/c\nkey /etc/k\n}\n"


def test_tls(read: Reader) -> None:
    found = ipvs(read, SSL).tls
    assert found == TlsContext(
        password="canaryXY", ca="/etc/ca", certificate="/etc/c", key="/etc/k"
    )
    assert "canaryXY" not in repr(found)


def test_last_tls_block_counts(read: Reader) -> None:
    said = "7:1: warning: SSL again: the one above is forgotten; keep one"
    found = ipvs(read, SSL + "SSL {\nca /etc/b\n}\n", said).tls
    assert found == TlsContext(ca="/etc/b")


def test_sync_group_of_defaults(read: Reader) -> None:
    """What the parts have in common does not depend on the order of the blocks."""
    text = instance(vrid=7) + defs("lvs_sync_daemon eth1 V")
    assert ipvs(read, text).sync_daemon == SyncDaemon(interface="eth1", instance="V", id=7)
