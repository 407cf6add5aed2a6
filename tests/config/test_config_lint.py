"""Mistakes that keepalived takes without a word, each with what is not a mistake beside it."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from config_reading import Reader, instance, texts
from servers_reading import check as checker
from servers_reading import real, virtual

from fastvrrp.config.host import FileInfo

SECURE = "global_defs {\n enable_script_security\n script_user root\n}\n"
SCRIPT = SECURE + "vrrp_script S {\n script /bin/check\n interval 2\n}\n"


@pytest.fixture
def at_home(read: Reader) -> Reader:
    """The machine of these tests: eth0 has 10.0.0.2/24, eth1 nothing, eth2 both families."""
    read.host.give("lo", "127.0.0.1/8", "::1/128")
    read.host.give("eth0", "10.0.0.2/24", "fe80::2/64")
    read.host.give("eth1")
    read.host.give("eth2", "192.0.2.2/24", "2001:db8::2/64", "fe80::22/64")
    return read


def said(read: Reader, text: str) -> list[str]:
    """The messages without their line and column."""
    return [line.split(": ", 1)[1] for line in texts(read(text))]


def first(read: Reader, text: str) -> tuple[str, str]:
    """Place and text of the only message."""
    (line,) = texts(read(text))
    at, _, rest = line.partition(": warning: ")
    return at, rest


# --- interfaces without multicast


def test_an_interface_without_multicast(at_home: Reader) -> None:
    at_home.host.without_multicast.add("eth0")
    at, text = first(at_home, instance())
    assert at == "2:12"
    assert text == (
        "V: the interface eth0 takes no multicast: FAULT until it does; "
        "ip link set eth0 multicast on, or list unicast_peer"
    )
    assert said(at_home, instance("unicast_peer {\n10.0.0.3\n}")) == []
    assert said(at_home, instance(interface="eth2", vips="192.0.2.1/24")) == []
    assert said(at_home, "net_namespace other\n" + instance()) == []


def test_multicast_as_keepalived_sees_it(tmp_path: Path) -> None:
    """It is an error of configuration to `keepalived -t`."""
    file = tmp_path / "keepalived.conf"
    file.write_text(instance(interface="d0"))
    command = "ip link add d0 type veth peer name d1; ip link set d0 multicast off; "
    command += f"keepalived -t -f {file}; echo $?; {sys.executable} -m fastvrrp check {file}; "
    command += "ip link set d0 multicast on; "
    command += f"{sys.executable} -m fastvrrp check {file}"
    run = subprocess.run(
        ["unshare", "-n", "sh", "-c", command],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    said = run.stdout + run.stderr
    assert run.stdout.split("\n")[0] == "5"
    assert said.count("takes no multicast") == 1


# --- priority 255, the owner of the addresses


def test_an_owner_has_the_addresses(at_home: Reader) -> None:
    at, text = first(at_home, instance("priority 255"))
    assert at == "7:10"
    assert text == (
        "V: priority 255 says that this router owns its addresses, but eth0 has no 10.0.0.1; "
        "write priority 254 or less, or give 10.0.0.1 to eth0"
    )
    assert said(at_home, instance("priority 255", vips="10.0.0.2/24")) == []
    assert said(at_home, instance("priority 254")) == []


def test_an_owner_by_state_master_alone(at_home: Reader) -> None:
    at, text = first(at_home, instance("state MASTER"))
    assert at == "7:7"
    assert text.endswith("write a priority from 1 to 254; state MASTER alone means 255")


def test_what_this_program_added_makes_no_owner(at_home: Reader) -> None:
    at_home.host.give("eth0", "10.0.0.1/24", ours=True)
    assert len(said(at_home, instance("priority 255"))) == 1


def test_an_owner_elsewhere_is_not_judged(read: Reader, at_home: Reader) -> None:
    assert said(at_home, instance("priority 255", interface="eth1")) == []
    assert said(at_home, "net_namespace x\n" + instance("priority 255")) == []
    read.host.held = None
    assert said(read, instance("priority 255")) == []


def test_an_owner_without_255(at_home: Reader) -> None:
    at, text = first(at_home, instance("priority 150", vips="10.0.0.2/24"))
    assert at == "5:2"
    assert text == (
        "V: eth0 itself has 10.0.0.2 and no other address, so this router owns it; "
        "write priority 255, or give eth0 another address"
    )
    # As it looks while keepalived is master: the address is there, beside the router's own.
    at_home.host.give("eth0", "10.0.0.1/24")
    assert said(at_home, instance("priority 150", vips="10.0.0.1/24")) == []


# --- addresses


@pytest.mark.parametrize(
    ("vip", "what"),
    [
        ("10.0.0.0/24", "network"),
        ("10.0.0.255/24", "broadcast"),
        ("10.0.0.8/29", "network"),
        ("10.0.3.255/22", "broadcast"),
    ],
)
def test_addresses_that_no_host_has(read: Reader, vip: str, what: str) -> None:
    at, text = first(read, instance(vips=vip))
    assert at == "5:2"
    address, _, length = vip.partition("/")
    assert text == (
        f"V: {address} is the {what} address of its /{length}, which no host can have; "
        "correct the address or the prefix length"
    )


@pytest.mark.parametrize("vip", ["10.0.0.0/31", "10.0.0.255", "10.0.1.0/22", "2001:db8::/64"])
def test_addresses_that_hosts_have(read: Reader, vip: str) -> None:
    lines = ("version 3",) if ":" in vip else ()
    assert said(read, instance(*lines, vips=vip)) == []


def test_an_address_outside_the_networks(at_home: Reader) -> None:
    for vip in ("10.0.1.1/24", "10.0.1.1"):
        at, text = first(at_home, instance(vips=vip))
        assert at == "5:2"
        assert text == (
            "V: 10.0.1.1 is in no network of eth0 (10.0.0.0/24); correct it, or write dev eth0 if "
            "its network is on that link, too"
        )
    at, text = first(at_home, instance("version 3", vips="2001:db8:1::1", interface="eth2"))
    assert "2001:db8:1::1 is in no network of eth2 (2001:db8::/64, fe80::/64)" in text


@pytest.mark.parametrize(
    "text",
    [
        instance(vips="10.0.0.1"),
        instance(vips="10.0.1.1 dev eth0"),
        instance(vips="10.0.1.1", interface="eth1"),  # no addresses to compare with
        instance(vips="10.0.1.1", interface="eth0.5"),  # no such interface
        instance(
            vips="10.0.1.1/24 dev eth0\n10.0.1.7"
        ),  # the first one brings the network of the second
        instance("virtual_routes {\n10.0.1.0/24 dev eth0\n}", vips="10.0.1.1"),
        instance("virtual_ipaddress_excluded {\n10.0.1.1\n}"),
        instance("version 3", vips="2001:db8::1/64", interface="eth2"),
        instance("version 3", vips="fe80::1/64\n2001:db8::1/64", interface="eth2"),
        instance("version 3", vips="2001:db8::1/64"),  # eth0 has a link-local address only
        "net_namespace x\n" + instance(vips="10.0.1.1"),
    ],
)
def test_addresses_where_nothing_is_wrong(at_home: Reader, text: str) -> None:
    found = [line for line in said(at_home, text) if "is in no network" in line]
    assert found == []


def test_single_hosts_say_nothing_about_their_network(at_home: Reader) -> None:
    at_home.host.give("eth1", "10.7.0.2/32", "2001:db8:7::2/128", "fe80::7/64")
    assert said(at_home, instance(vips="10.7.0.1", interface="eth1")) == []
    assert said(at_home, instance("version 3", vips="2001:db8:7::1", interface="eth1")) == []


# --- unicast


def unicast(source: str, *peers: str) -> str:
    listed = "\n".join(peers)
    return instance(f"unicast_src_ip {source}\nunicast_peer {{\n{listed}\n}}")


def test_a_peer_that_is_the_router_itself(read: Reader, at_home: Reader) -> None:
    at, text = first(read, unicast("10.0.0.2", "10.0.0.3", "10.0.0.2"))
    assert at == "10:1"
    assert text == "V: the peer 10.0.0.2 is this router itself; list the other routers only"
    assert said(at_home, instance("unicast_peer {\n192.0.2.2\n}")) == [
        "warning: V: the peer 192.0.2.2 is this router itself; list the other routers only"
    ]
    assert said(at_home, unicast("10.0.0.2", "10.0.0.3", "10.0.0.4")) == []


def test_the_other_routers_source(at_home: Reader) -> None:
    at, text = first(at_home, unicast("10.0.0.3", "10.0.0.4"))
    assert at == "7:16"
    assert text == (
        "V: unicast_src_ip 10.0.0.3 is no address of this machine; write an address of this router"
    )
    assert said(at_home, instance("mcast_src_ip 10.0.0.9")) == [
        "warning: V: mcast_src_ip 10.0.0.9 is no address of this machine; "
        "write an address of this router"
    ]
    for good in ("10.0.0.2", "192.0.2.2"):  # of any interface
        assert said(at_home, unicast(good, "10.0.0.4")) == []
    assert said(at_home, instance("mcast_src_ip 10.0.0.9", interface="eth1")) == []


# --- weights


@pytest.mark.parametrize(
    ("priority", "weight", "is_useless"),
    [
        (254, 20, True),
        (254, -20, False),
        (253, 20, False),
        (1, -20, True),
        (2, -20, False),
        (1, 20, False),
        (100, 0, False),
    ],
)
def test_weights_without_room(read: Reader, priority: int, weight: int, is_useless: bool) -> None:
    text = SCRIPT + instance(f"priority {priority}", "track_script {", f"S weight {weight}", "}")
    bound = "higher than 254" if priority > 100 else "lower than 1"
    expected = (
        f"17:1: warning: V: the weight of S never changes anything: priority {priority} cannot "
        f"get {bound}; leave room for the weights"
    )
    assert texts(read(text)) == ([expected] if is_useless else [])


def test_weights_that_others_make_room_for(read: Reader) -> None:
    lines = ("priority 254", "track_script {", "S weight 20", "}")
    track = ("track_interface {", "eth1 weight -10", "}")
    assert said(read, SCRIPT + instance(*lines, *track)) == []


def test_the_weight_of_a_file_may_be_anything(read: Reader) -> None:
    text = "track_file F {\n file /tmp/x\n weight 2\n}\n"
    assert said(read, text + instance("priority 254", "track_file {", "F", "}")) == []


# --- scripts


@pytest.mark.parametrize(("mode", "is_open"), [(0o755, False), (0o775, False), (0o757, True)])
def test_a_script_that_everybody_can_write(read: Reader, mode: int, is_open: bool) -> None:
    read.host.files["/bin/mine"] = FileInfo(65534, 65534, stat.S_IFREG | mode)
    text = "global_defs {\n enable_script_security\n script_user nobody\n}\n"
    expected = (
        "14:8: warning: notify: everybody can write '/bin/mine'; "
        "only its owner should be able to write what is run"
    )
    assert texts(read(text + instance("\n\n", "notify /bin/mine"))) == ([expected] * is_open)


# --- checkers


def test_a_check_that_takes_longer_than_the_pause(read: Reader) -> None:
    tcp = checker("TCP_CHECK", "connect_timeout 7")
    expected = (
        "connect_timeout 7 is longer than delay_loop 6: a server that does not answer is checked "
        "less often; write connect_timeout 6 or less"
    )
    found = texts(read(virtual("delay_loop 6", real(tcp))))
    assert [line.partition(": warning: ")[2] for line in found] == [expected]
    # Where it is written once, it is said once.
    plain = checker("TCP_CHECK")
    servers = (real(plain), real(plain, at="10.0.0.3 80"))
    assert len(said(read, virtual("delay_loop 6", "connect_timeout 7", *servers))) == 1
    for good in (
        virtual("delay_loop 7", real(tcp)),
        virtual("delay_loop 2", real(plain)),  # the default of 5 s, which nobody wrote
        virtual(real(tcp)),
    ):
        assert said(read, good) == []


def test_a_program_that_takes_longer_than_the_pause(read: Reader) -> None:
    def misc(timeout: int) -> str:
        block = checker("MISC_CHECK", "misc_path /bin/true", f"misc_timeout {timeout}")
        return SECURE + virtual("delay_loop 6", real(block))

    assert said(read, misc(7)) == [
        "warning: misc_timeout 7 is longer than delay_loop 6: a program that hangs is run less "
        "often; write misc_timeout 6 or less"
    ]
    assert said(read, misc(6)) == []


# --- said since long, and never again without a test


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (instance("state MASTER", "priority 200", "nopreempt"), "nopreempt is ignored"),
        (instance("state MASTER", "priority 200", "preempt_delay 5"), "preempt_delay is ignored"),
        (instance("advert_int 0.5"), "advert_int becomes 1"),
        (instance("version 2", vips="2001:db8::1/64"), "IPv6 needs version 3"),
        (
            instance("authentication {\nauth_type PASS\nauth_pass 123456789\n}"),
            "only the first 8 bytes",
        ),
        (
            instance("version 3", "authentication {\nauth_type PASS\nauth_pass x\n}"),
            "VRRPv3 has no authentication",
        ),
        (instance() + "vrrp_sync_group G {\n group {\n V\n }\n}\n", "only one member"),
        (instance(vips="10.0.0.1\n10.0.0.1"), "is listed twice"),
        (instance() + instance(name="W", vrid=2), "10.0.0.1 is an address of V, too"),
        (SCRIPT + instance("priority 255", "track_script {\nS weight 5\n}"), "never changes"),
        (SECURE + instance("notify /etc/passwd"), "may not execute '/etc/passwd'"),
        (SECURE + instance("notify /home/nobody/x"), "others than root can replace"),
        (virtual(), "it has no real_server"),
        (virtual("quorum 5", real()), "quorum 5 is more than all weights"),
        (virtual("hysteresis 1", real()), "hysteresis 1 must be less than the quorum"),
    ],
)
def test_other_silent_mistakes(read: Reader, text: str, words: str) -> None:
    loaded = read(text)
    found = [line for line in texts(loaded) if words in line]
    assert len(found) == 1, texts(loaded)
    assert "; " in found[0]


def test_two_instances_of_one_id_and_a_member_of_two_groups(read: Reader) -> None:
    same = instance() + instance(name="W", vips="10.0.0.9")
    assert any("both have virtual_router_id 1" in line for line in said(read, same))
    groups = "".join(f"vrrp_sync_group {name} {{\n group {{\n V\n W\n }}\n}}\n" for name in "GH")
    pair = instance() + instance(name="W", vrid=2, vips="10.0.0.9")
    assert any("belongs to G already" in line for line in said(read, pair + groups))
