"""vrrp_instance: defaults, versions, intervals, preemption, strict mode, addresses, secrets."""

from __future__ import annotations

import pytest
from config_reading import Reader, instance, texts

from fastvrrp.config.model import (
    Garp,
    Ipvlan,
    Notify,
    VirtualAddress,
    Vmac,
    VrrpInstance,
)

MS = 1_000_000


def said(read: Reader, *lines: str, vips: str = "10.0.0.1/24") -> list[str]:
    """What is said about an instance, without the positions."""
    return [t.split(": ", 1)[1] for t in texts(read(instance(*lines, vips=vips)))]


def test_defaults(read: Reader) -> None:
    found = read.one()
    expected = VrrpInstance(
        name="V",
        virtual_router_id=1,
        family=4,
        version=2,
        interface="eth0",
        higher_prio_send_advert=True,
        virtual_ipaddress=(
            VirtualAddress(
                address="10.0.0.1",
                prefixlen=24,
                family=4,
                position=found.virtual_ipaddress[0].position,
            ),
        ),
        position=found.position,
    )
    assert found == expected
    assert (found.state, found.priority, found.advert_int_ns) == ("BACKUP", 100, 1000 * MS)
    assert found.garp == Garp(
        master_delay_s=5, master_repeat=5, master_refresh_s=0, master_refresh_repeat=1
    )


@pytest.mark.parametrize(
    ("lines", "state", "priority"),
    [
        (["state MASTER"], "MASTER", 255),
        (["state MASTER", "priority 150"], "MASTER", 150),
        (["state MASTER", "priority 300"], "MASTER", 100),
        (["state BACKUP"], "BACKUP", 100),
        (["priority 255"], "MASTER", 255),
        (["priority 255", "state BACKUP"], "BACKUP", 255),
        (["state FOO"], "BACKUP", 100),
    ],
)
def test_state_and_priority(read: Reader, lines: list[str], state: str, priority: int) -> None:
    found = read.one(*lines)
    assert (found.state, found.priority) == (state, priority)


@pytest.mark.parametrize(
    ("lines", "interval_ms"),
    [
        (["advert_int 1"], 1000),
        (["advert_int 255"], 255_000),
        (["advert_int 0.5"], 1000),
        (["advert_int 1.4"], 1000),
        (["advert_int 1.5"], 2000),
        (["advert_int 2.5"], 3000),
        (["advert_int 0.2"], 1000),
        (["advert_int 0"], 1000),
        (["advert_int 300"], 1000),
        (["advert_int abc"], 1000),
        (["advert_int 1e0"], 1000),
        (["version 3", "advert_int 0.01"], 10),
        (["version 3", "advert_int .1"], 100),
        (["version 3", "advert_int 0.015"], 20),
        (["version 3", "advert_int 0.014"], 10),
        (["version 3", "advert_int 1.2345"], 1230),
        (["version 3", "advert_int 40.95"], 40950),
        (["version 3", "advert_int 41"], 40950),
        (["version 3", "advert_int 0.005"], 1000),
        (["advert_int 0.1", "version 3"], 100),
    ],
)
def test_advert_int(read: Reader, lines: list[str], interval_ms: int) -> None:
    assert read.one(*lines).advert_int_ns == interval_ms * MS


@pytest.mark.parametrize(
    ("lines", "vips", "family", "version"),
    [
        ([], "10.0.0.1", 4, 2),
        (["version 3"], "10.0.0.1", 4, 3),
        (["version 4"], "10.0.0.1", 4, 2),
        ([], "fe80::1", 6, 3),
        (["version 2"], "fe80::1", 6, 3),
    ],
)
def test_family_and_version(
    read: Reader, lines: list[str], vips: str, family: int, version: int
) -> None:
    found = read.one(*lines, vips=vips)
    assert (found.family, found.version) == (family, version)
    assert found.mcast_dst_ip == ("224.0.0.18" if family == 4 else "ff02::12")


def test_version_2_before_an_ipv6_address_is_kept(read: Reader) -> None:
    loaded = read(
        "vrrp_instance V {\n interface eth0\n version 2\n virtual_router_id 1\n"
        " virtual_ipaddress { fe80::1 }\n}\n"
    )
    assert loaded.configuration is not None
    assert loaded.configuration.vrrp_instances[0].version == 2
    assert "VRRPv2 over IPv6 is an extension of keepalived" in texts(loaded)[0]


def test_global_version_does_not_reach_ipv6(read: Reader) -> None:
    loaded = read("global_defs {\nvrrp_version 2\n}\n" + instance(vips="fe80::1"))
    assert loaded.configuration is not None
    assert loaded.configuration.vrrp_instances[0].version == 3


@pytest.mark.parametrize(
    ("lines", "nopreempt", "delay_ms", "message"),
    [
        (["nopreempt"], True, 0, ""),
        (["nopreempt", "preempt"], False, 0, ""),
        (["preempt", "nopreempt"], True, 0, ""),
        (["preempt_delay 1.5"], False, 1500, ""),
        (["preempt_delay 0"], False, 0, ""),
        (["nopreempt", "priority 255"], False, 0, "nopreempt is ignored for priority 255"),
        (["nopreempt", "state MASTER", "priority 9"], False, 0, "nopreempt is ignored with state"),
        (["preempt_delay 5", "nopreempt"], True, 0, "preempt_delay is ignored with nopreempt"),
        (["state MASTER", "priority 9", "preempt_delay 5"], False, 0, "ignored with state MASTER"),
        (["preempt_delay 2000"], False, 0, "preempt_delay is not a time of 0 to 1000 seconds"),
        (["preempt_delay -1"], False, 0, "preempt_delay is not a time"),
    ],
)
def test_preemption(
    read: Reader, lines: list[str], nopreempt: bool, delay_ms: int, message: str
) -> None:
    found = read.one(*lines)
    assert (found.nopreempt, found.preempt_delay_ns) == (nopreempt, delay_ms * MS)
    assert any(message in text for text in [*said(read, *lines), ""])
    assert bool(said(read, *lines)) == bool(message)


def test_plain_settings(read: Reader) -> None:
    found = read.one(
        "down_timer_adverts 5",
        "no_accept",
        "lower_prio_no_advert",
        "higher_prio_send_advert yes",
        "dont_track_primary",
        "promote_secondaries",
        "mcast_src_ip 10.0.0.9",
        "track_src_ip",
        "mcast_dst_ip 224.0.0.99",
        "kernel_rx_buf_size 5000",
        "skip_check_adv_addr",
        "check_unicast_src",
        "version 3",
        "v3_checksum_as_v2",
        "nopreempt",
        "timer_expired_backup 150",
    )
    assert found.down_timer_adverts == 5
    assert not found.accept
    assert found.lower_prio_no_advert
    assert found.higher_prio_send_advert
    assert found.dont_track_primary
    assert found.promote_secondaries
    assert (found.source, found.track_src_ip) == ("10.0.0.9", True)
    assert found.mcast_dst_ip == "224.0.0.99"
    assert found.kernel_rx_buf_size == 5000
    assert found.skip_check_adv_addr
    assert found.check_unicast_src
    assert found.v3_checksum_as_v2
    assert found.timer_expired_backup == 150


def test_timer_expired_backup_alone(read: Reader) -> None:
    assert read.one("nopreempt", "timer_expired_backup").timer_expired_backup == 254
    assert read.one("nopreempt", "thread_timer_expired 9").timer_expired_backup == 9
    assert read.one("timer_expired_backup").timer_expired_backup == 0


def test_accept_counts_where_it_stands_last(read: Reader) -> None:
    assert read.one("no_accept", "accept").accept
    assert not read.one("accept", "no_accept").accept
    assert not read.one("no_accept", "accept", "no_accept").accept


def test_garp_of_instances(read: Reader) -> None:
    found = read.one("garp_master_delay 9", "garp_master_repeat 0", "garp_extra_if all 100")
    assert found.garp == Garp(master_delay_s=9, master_repeat=1, extra_if_all=True, extra_if_s=100)
    # The instance's own master settings do not reach the reaction to a lower priority.
    assert (found.garp.lower_prio_delay_s, found.garp.lower_prio_repeat) == (5, 5)


@pytest.mark.parametrize(
    ("defs", "garp"),
    [
        (
            ["vrrp_garp_master_delay 7", "vrrp_garp_master_repeat 2"],
            Garp(master_delay_s=7, master_repeat=2, lower_prio_delay_s=7, lower_prio_repeat=2),
        ),
        (
            ["vrrp_min_garp"],
            Garp(master_delay_s=0, master_repeat=1, lower_prio_delay_s=0, lower_prio_repeat=1),
        ),
        (
            ["vrrp_garp_lower_prio_repeat 0", "vrrp_garp_master_refresh 60"],
            Garp(lower_prio_repeat=0, master_refresh_s=60),
        ),
        (["vrrp_vmac_garp_intvl 30"], Garp(extra_if_s=30)),
    ],
)
def test_garp_of_global_defs(read: Reader, defs: list[str], garp: Garp) -> None:
    loaded = read("global_defs {\n" + "\n".join(defs) + "\n}\n" + instance())
    assert loaded.configuration is not None
    assert loaded.configuration.vrrp_instances[0].garp == garp


def test_globals_below_an_instance_do_not_reach_it(read: Reader) -> None:
    loaded = read(instance() + "global_defs {\nvrrp_version 3\n}\n" + instance(name="W", vrid=2))
    assert loaded.configuration is not None
    assert [i.version for i in loaded.configuration.vrrp_instances] == [2, 3]
    assert [t for t in texts(loaded) if "is an address of V" not in t] == [
        "10:1: warning: vrrp_version does not reach the instances above this line; "
        "move global_defs to the beginning"
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["unicast_src_ip 10.0.0.5"], "V: no peers: adverts are sent by multicast"),
        (
            ["unicast_src_ip 10.0.0.5", "unicast_fault_no_peer"],
            "V: without a peer the instance faults",
        ),
        (["unicast_peer {", "fe80::1", "}"], "the peer fe80::1 is not an IPv4 address"),
        (["unicast_peer {", "10.0.0.6 {", "}", "}"], "no block is possible in unicast_peer"),
        (["unicast_peer {", "foo", "}"], "'foo' is not the address of a peer"),
        (
            ["unicast_peer {", "10.0.0.6 min_ttl 9 max_ttl 5", "}"],
            "no advert of 10.0.0.6 is accepted: min_ttl is more than max_ttl",
        ),
        (["unicast_ttl 5"], "V: unicast_ttl needs peers, ignored"),
        (["unicast_peer {", "10.0.0.6/24", "}"], "'10.0.0.6/24' is taken as 10.0.0.6"),
        (["mcast_src_ip 10.0.0.9/24"], "'10.0.0.9/24' is taken as 10.0.0.9"),
        (["mcast_src_ip fe80::1"], "mcast_src_ip fe80::1 is not an IPv4 address"),
        (["mcast_src_ip foo"], "mcast_src_ip is not an address: 'foo'"),
        (["mcast_dst_ip 10.0.0.1"], "is not an IPv4 multicast address, using 224.0.0.18"),
        (["vrf blue"], "V: vrf is ignored beside interface"),
        (["track_src_ip"], "V: track_src_ip needs a configured source"),
        (["timer_expired_backup"], "V: timer_expired_backup needs nopreempt"),
        (["owner_ignore_adverts"], "V: owner_ignore_adverts needs priority 255"),
        (["v3_checksum_as_v2"], "V: v3_checksum_as_v2 is for version 3 over IPv4"),
        (["skip_check_adv_addr off"], "skip_check_adv_addr off turns it on"),
        (["smtp_alert maybe"], "smtp_alert is neither on nor off: 'maybe', using"),
        (["interface eth9"], "interface 'eth9' does not exist now; did you mean eth3?"),
        (["interface averyveryverylongname"], "cannot be the name of an interface"),
        (["debug 3"], "debug has no effect: it never had one"),
        (["use_vmac netlink_notify_msg"], "netlink_notify_msg has no effect: fastvrrp learns"),
        (["use_vmac v1 02:00:00:00:01 v2"], "unknown option 'v2'"),
        (["use_vmac 01:00:5e:00:00:01"], "'01:00:5e:00:00:01' is a multicast address"),
        (["use_vmac 00:00:5e:00:01:f0"], "is the MAC address of VRID 240 for IPv4, not"),
        (["use_vmac averyveryverylongname"], "cannot be the name of an interface"),
        (["vmac_xmit_base"], "V: vmac_xmit_base needs use_vmac, ignored"),
        (["use_vmac", "use_ipvlan 10.0.0.3/24"], "V: use_ipvlan is ignored beside use_vmac"),
        (["strict_mode", "use_vmac", "vmac_xmit_base"], "V: vmac_xmit_base is ignored in strict"),
        (["strict_mode", "use_vmac 02:00:00:00:01"], "V: strict mode uses the address of RFC"),
        (["use_ipvlan ipv0"], "V: an IPv4 ipvlan without an address has no source of adverts"),
        (["use_ipvlan fe80::3"], "the address fe80::3 of the ipvlan is of another family"),
        (["track_bfd {", "b", "}"], "track_bfd has no effect yet: BFD is not built yet"),
        (["lvs_sync_daemon_interface eth0"], "lvs_sync_daemon_interface is an old spelling"),
        (["thread_timer_expired", "nopreempt"], "thread_timer_expired is an old spelling"),
        (["native_ipv6"], "V: native_ipv6 is an old keyword"),
        (["auth_hmac {", "key 1 x", "}"], "auth_hmac has no effect yet"),
        (["priority 100 secret"], "one more word than priority takes, ignored"),
        (["debug 7"], "debug is not a number from 0 to 4: '7', using 0"),
        (["version 3", "advert_int 1.0000001"], "advert_int is rounded to microseconds"),
        (["garp_master_repeat 0"], "garp_master_repeat 0 makes no sense, using 1"),
    ],
)
def test_what_is_said(read: Reader, lines: list[str], message: str) -> None:
    assert any(message in text for text in said(read, *lines)), said(read, *lines)


def test_the_mac_address_of_another_virtual_router_is_not_taken(read: Reader) -> None:
    """RFC 9568 7.3; keepalived ignores it, too."""
    lines = ["use_vmac vrrp.9 00:00:5e:00:01:f0 group 5", "vmac_xmit_base"]
    assert read.one(*lines).vmac == Vmac(name="vrrp.9", group=5, xmit_base=True)


def test_strict_mode(read: Reader) -> None:
    found = read.one(
        "strict_mode",
        "state MASTER",
        "priority 100",
        "authentication {\nauth_type PASS\nauth_pass x\n}",
        "preempt_delay 5",
        "down_timer_adverts 5",
        "garp_lower_prio_repeat 3",
        "lower_prio_no_advert no",
        "higher_prio_send_advert",
        "accept",
        "no_virtual_ipaddress",
    )
    assert found.strict_mode
    assert (found.state, found.auth_type, found.preempt_delay_ns) == ("BACKUP", 0, 0)
    assert found.down_timer_adverts == 3
    assert (found.garp.lower_prio_delay_s, found.garp.lower_prio_repeat) == (0, 0)
    assert found.lower_prio_no_advert
    assert not found.higher_prio_send_advert
    assert not found.accept
    assert sum("strict mode" in text for text in said(read, "strict_mode", "accept")) == 1


def test_strict_mode_of_version_3_may_accept(read: Reader) -> None:
    assert read.one("strict_mode", "version 3", "accept").accept
    assert not read.one("strict_mode", "version 3").accept
    owner = read.one("strict_mode", "priority 255")
    assert (owner.accept, owner.state, owner.owner_ignore_adverts) == (True, "MASTER", True)


def test_authentication(read: Reader) -> None:
    found = read.one("authentication {", "auth_type PASS", 'auth_pass "a b"', "}")
    assert (found.auth_type, found.auth_pass) == (1, b"a b\0\0\0\0\0")
    twice = read.one("authentication { auth_type PASS }", 'authentication { auth_pass "a b" }')
    assert (twice.auth_type, twice.auth_pass) == (found.auth_type, found.auth_pass)
    long = read.one("authentication { auth_type PASS", "auth_pass 123456789 }")
    assert long.auth_pass == b"12345678"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("auth_type PASS", "auth_type PASS without a password is ignored"),
        ('auth_type PASS\nauth_pass ""', "auth_type PASS without a password is ignored"),
        ("auth_pass canary", "a password without auth_type is ignored"),
        ("auth_type AH\nauth_pass canary", "auth_type AH has no effect yet"),
        ("auth_type FOO\nauth_pass canary", "auth_type cannot be what is written"),
        ("auth_type PASS\nauth_pass canary\n}\nversion 3\nunicast_peer {", "VRRPv3 has no"),
    ],
)
def test_authentication_that_does_not_apply(read: Reader, block: str, message: str) -> None:
    found = read.one("authentication {", block, "}")
    assert (found.auth_type, found.auth_pass) == (0, b"")
    assert any(message in text for text in said(read, "authentication {", block, "}"))


def test_virtual_devices(read: Reader) -> None:
    found = read.one("use_vmac name v1 00:11:22:33:44:5A group default", "vmac_xmit_base")
    assert found.vmac == Vmac(name="v1", address="00:11:22:33:44:5a", group=0, xmit_base=True)
    assert read.one("use_vmac v2").vmac == Vmac(name="v2")
    assert read.one("use_vmac 2:0:0:0:aa").vmac == Vmac(address="02:00:00:00:aa")
    found = read.one("strict_mode", "use_vmac v3 02:00:00:00:01", "vmac_xmit_base")
    assert found.vmac == Vmac(name="v3")
    found = read.one("use_vmac_addr")
    assert (found.vmac, found.use_vmac_addr) == (None, True)
    found = read.one("use_ipvlan ipv0 10.0.0.3/24 private group 7")
    assert found.ipvlan == Ipvlan(
        name="ipv0", address="10.0.0.3", prefixlen=24, mode="private", group=7
    )
    assert read.one("use_ipvlan 10.0.0.3").ipvlan == Ipvlan(address="10.0.0.3", prefixlen=32)


def test_notification(read: Reader) -> None:
    found = read.one(
        "notify_master \"/bin/true a 'b c'\" nobody daemon",
        "notify_backup /bin/true nobody",
        "notify_fault /bin/nothing",
        "notify_deleted",
        "notify_priority_changes",
        "smtp_alert",
        "notify_master /bin/check",
    )
    master, backup = found.notify.notify_master, found.notify.notify_backup
    assert master is not None
    assert master.argv == ("/bin/true", "a", "b c")
    assert master.account is not None
    assert (master.account.uid, master.account.gid) == (65534, 1)
    assert backup is not None
    assert backup.account is not None
    assert backup.account.gid == 65534
    assert found.notify.notify_fault is None
    assert found.notify.report_deleted
    assert found.notify.notify_priority_changes
    assert found.notify.smtp_alert
    lines = said(read, "notify_master /bin/true", "notify_master /bin/check")
    assert any("notify_master is set already, ignored" in text for text in lines)


def test_notification_defaults_of_global_defs(read: Reader) -> None:
    defs = "global_defs {\nsmtp_alert\nvrrp_notify_priority_changes\n%s\n}\n"
    loaded = read(defs % "" + instance())
    assert loaded.configuration is not None
    expected = Notify(smtp_alert=True, notify_priority_changes=True)
    assert loaded.configuration.vrrp_instances[0].notify == expected
    loaded = read(defs % "smtp_alert_vrrp off" + instance("notify_priority_changes no"))
    assert loaded.configuration is not None
    assert loaded.configuration.vrrp_instances[0].notify == Notify()


@pytest.mark.parametrize(
    ("lines", "conflict"),
    [
        ([[], []], True),
        ([["mcast_dst_ip 224.0.0.99"], []], False),
        ([["unicast_peer {\n10.0.0.2\n}"], []], False),
        ([["unicast_peer {\n10.0.0.2\n}"], ["unicast_peer {\n10.0.0.3\n}"]], False),
        ([["unicast_peer {\n10.0.0.2\n}"], ["unicast_peer {\n10.0.0.3\n10.0.0.2\n}"]], True),
        ([["interface eth1"], []], False),
    ],
)
def test_virtual_router_ids(read: Reader, lines: list[list[str]], conflict: bool) -> None:
    loaded = read(instance(*lines[0]) + instance(*lines[1], name="W"))
    assert (loaded.configuration is None) == conflict
    both = read(instance() + instance(name="W", vips="fe80::1"))
    assert both.configuration is not None
