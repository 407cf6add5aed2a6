"""Keywords about interfaces and sockets: delays, polling, receive buffers, old checksums; and
track_group."""

from __future__ import annotations

import pytest
from config_reading import Reader, instance, texts

from fastvrrp.config.model import Account, InterfaceDelay, Loaded

MS = 1_000_000


def delays(loaded: Loaded) -> tuple[InterfaceDelay, ...]:
    assert loaded.configuration is not None, texts(loaded)
    return loaded.configuration.interface_delays


def test_delays_of_interfaces(read: Reader) -> None:
    loaded = read("interface_up_down_delays {\n eth0 0.5 0.25\n eth1 0.0000126 0\n}\n")
    assert delays(loaded) == (
        InterfaceDelay(interface="eth0", down_ns=500 * MS, up_ns=250 * MS),
        InterfaceDelay(interface="eth1", down_ns=13_000),
    )
    assert texts(loaded) == []


def test_without_a_delay_for_up_it_is_none(read: Reader) -> None:
    """keepalived's code; its manual says that it equals the other one."""
    loaded = read("interface_up_down_delays {\n eth0 0.5\n}\n")
    assert delays(loaded) == (InterfaceDelay(interface="eth0", down_ns=500 * MS),)
    assert texts(loaded) == [
        "2:2: warning: eth0 has no delay for going up, as in keepalived, whose manual says else; "
        "write eth0 0.5 0.5 for both"
    ]


def test_a_delay_ends_before_a_takeover_would_begin(read: Reader) -> None:
    """(down_timer_adverts - 1) advert_int: who hears nothing because of his own cable must be in
    fault before he takes over."""
    text = "interface_up_down_delays {\n eth0 3 0.1\n eth2 1.5 0\n eth3 3 0\n}\n"
    routers = instance("advert_int 1", "track_interface {\n eth2\n}") + instance(
        "version 3", "advert_int 0.5", "down_timer_adverts 4", name="W", vrid=2, vips="10.0.0.2"
    )
    loaded = read(text + routers)
    assert delays(loaded) == (
        InterfaceDelay(interface="eth0", down_ns=1499 * MS, up_ns=100 * MS),
        InterfaceDelay(interface="eth2", down_ns=1500 * MS),
        InterfaceDelay(interface="eth3", down_ns=3000 * MS),
    )
    assert texts(loaded) == [
        "2:7: warning: a delay is too long for W, whose adverts may be missed before it is over; "
        "using 1.499; write up to 1.499 seconds"
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("eth0", "2:2: error: eth0 needs a delay; write IF DOWN [UP], seconds"),
        ("eth0 256 1", "2:7: error: '256' is not a delay; write 0 to 255 seconds"),
        ("eth0 1 x", "2:9: error: 'x' is not a delay; write 0 to 255 seconds"),
        ("a/b 1 1", "2:2: error: 'a/b' cannot be the name of an interface"),
        ("lan7 1 1", "2:2: warning: interface 'lan7' does not exist now"),
    ],
)
def test_delays_that_are_none(read: Reader, line: str, said: str) -> None:
    (found,) = texts(read(f"interface_up_down_delays {{\n {line}\n}}\n"))
    assert found.startswith(said)


def test_linkbeat_is_checked_and_has_no_effect(read: Reader) -> None:
    said = texts(read("linkbeat_interfaces {\n eth0\n eth1 ETHTOOL\n eth2 mii\n lan7 MII x\n}\n"))
    none = "has no effect: the kernel tells of every change of a link by itself"
    assert [text.split(";")[0] for text in said] == [
        f"1:1: warning: linkbeat_interfaces {none}",
        "4:7: warning: there is no way to poll called 'mii', ignored",
        "5:2: warning: interface 'lan7' does not exist now",
        "5:11: warning: one more word than lan7 takes, ignored",
    ]


@pytest.mark.parametrize(
    ("defs", "bytes_"),
    [
        ("vrrp_rx_bufs_policy 5000", 5000),
        ("vrrp_rx_bufs_policy 5000\nvrrp_rx_bufs_multiplier 9", 5000),
        ("vrrp_rx_bufs_policy mtu", 3 * 1500),
        ("vrrp_rx_bufs_policy MTU\nvrrp_rx_bufs_multiplier 7", 7 * 1500),
        # IPv4 and VRRP header, two addresses, and room for the authentication header
        ("vrrp_rx_bufs_policy ADVERT\nvrrp_rx_bufs_multiplier 10", 10 * (20 + 8 + 24 + 2 * 4)),
    ],
)
def test_receive_buffers(read: Reader, defs: str, bytes_: int) -> None:
    text = f"global_defs {{\n{defs}\n}}\n"
    loaded = read(text + instance(vips="10.0.0.1/24\n10.0.0.2/24"))
    assert loaded.configuration is not None
    assert texts(loaded) == []
    assert loaded.configuration.vrrp_instances[0].kernel_rx_buf_size == bytes_
    own = read(text + instance("kernel_rx_buf_size 77"))
    assert own.configuration is not None
    assert own.configuration.vrrp_instances[0].kernel_rx_buf_size == 77


PEER = ("version 3", "unicast_src_ip 10.0.0.5", "unicast_peer {\n 10.0.0.6\n}")


def test_old_unicast_checksum(read: Reader) -> None:
    assert read.one(*PEER).old_unicast_checksum == "auto"
    assert read.one(*PEER, "old_unicast_checksum").old_unicast_checksum == "always"
    assert read.one(*PEER, "old_unicast_checksum never").old_unicast_checksum == "never"
    loaded = read(instance("version 3", "old_unicast_checksum"))
    assert [text for text in texts(loaded) if "checksum" in text] == [
        "8:1: warning: V: old_unicast_checksum is for version 3 over IPv4 with unicast_peer, "
        "ignored; remove it"
    ]
    assert loaded.configuration is not None
    assert loaded.configuration.vrrp_instances[0].old_unicast_checksum == "auto"


STATIC = (
    "static_ipaddress {\n 10.5.0.1/24 dev eth1 track_group g\n}\n"
    "static_rules {\n from 10.6.0.0/16 table 5 priority 4 track_group h\n}\n"
)


def test_track_groups(read: Reader) -> None:
    groups = "track_group g {\n group {\n A B\n }\n}\ntrack_group h { group { B } }\n"
    routers = "".join(
        instance(name=name, vrid=vrid, vips=f"10.0.0.{vrid}")
        for vrid, name in enumerate(("A", "B", "C"), 1)
    )
    loaded = read(groups + STATIC + routers)
    assert loaded.configuration is not None
    assert texts(loaded) == []
    found = {i.name: i.track_groups for i in loaded.configuration.vrrp_instances}
    assert found == {"A": ("g",), "B": ("g", "h"), "C": ()}
    assert loaded.configuration.static_addresses[0].track_group == "g"


def test_track_groups_that_make_no_sense(read: Reader) -> None:
    groups = (
        "track_group g { group { Z } }\ntrack_group g { group { A } }\n"
        "track_group unused { group { A } }\n"
    )
    loaded = read(groups + STATIC + instance(name="A"))
    assert loaded.configuration is not None
    assert loaded.configuration.vrrp_instances[0].track_groups == ()
    assert loaded.configuration.static_rules[0].track_group is None
    assert [text.split(";")[0] for text in texts(loaded)] == [
        "1:13: warning: track_group g has no instances",
        "1:25: warning: there is no vrrp_instance 'Z', ignored",
        "2:13: warning: track_group 'g' is defined already, ignored",
        "3:13: warning: track_group unused is not used",
        "8:2: warning: there is no track_group 'h', ignored",
    ]


def test_supplementary_groups(read: Reader) -> None:
    """`:GROUP` gives one account all groups of its user, set_supplementary_groups every account
    that is named."""

    def account(defs: str, script: str = "") -> Account | None:
        loaded = read(
            f"global_defs {{\nenable_script_security\n{defs}\n}}\n"
            f'vrrp_script s {{\nscript "/bin/true"\n{script}\n}}\n'
            + instance("track_script {\n s\n}")
        )
        assert loaded.configuration is not None, texts(loaded)
        command = loaded.configuration.track_scripts[0].command
        return command.account or loaded.configuration.global_defs.script_account

    nobody = Account(user="nobody", uid=65534, gid=65534)
    with_groups = Account(user="nobody", uid=65534, gid=65534, groups=(1, 65534))
    assert account("script_user nobody") == nobody
    assert account("script_user nobody :nogroup") == with_groups
    assert account("set_supplementary_groups\nscript_user nobody") == with_groups
    assert account("set_supplementary_groups off\nscript_user nobody") == nobody
    own = account("set_supplementary_groups\nscript_user root", "user nobody nogroup")
    assert own == with_groups
    assert account("script_user root", "user nobody :daemon") == Account(
        user="nobody", uid=65534, gid=1, groups=(1, 65534)
    )


def test_firewall_and_igmp(read: Reader) -> None:
    loaded = read("global_defs {\nnftables_priority -5\nnftables_counters\ndisable_local_igmp\n}\n")
    assert loaded.configuration is not None
    assert texts(loaded) == []
    defs = loaded.configuration.global_defs
    assert (defs.nftables_priority, defs.nftables_counters) == (-5, True)
    assert defs.disable_local_igmp
