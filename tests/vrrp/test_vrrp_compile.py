"""Records: every setting reaches the core, and nothing that does not concern it does."""

from __future__ import annotations

import socket
from typing import Any

import msgspec
import pytest
from vrrp_tools import UP, address, configuration, instance, kernel, link, vip

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.net.observed import Observed
from fastvrrp.net.wire import OK_GONE
from fastvrrp.vrrp.compile import (
    Compiled,
    Context,
    compile_instance,
    interface_weights,
    virtual_addresses,
)
from fastvrrp.vrrp.links import IFF_MULTICAST, LinkSpec, link_keys, link_specs

SECOND = model.NS_PER_S


def ip4(text: str) -> bytes:
    return socket.inet_aton(text)


def ip6(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, text)


def build(
    wanted: model.VrrpInstance,
    *,
    observed: Observed | None = None,
    group: model.SyncGroup | None = None,
    forwarding: bool = False,
    defs: model.GlobalDefs = model.GlobalDefs(),  # noqa: B008  # frozen
) -> Compiled:
    observed = observed or kernel("eth0", "eth1")
    keys = sorted(link_keys(wanted, group, observed))
    context = Context(
        observed=observed,
        links={key: slot for slot, key in enumerate(keys)},
        group_slots={} if group is None else {group.name: 7},
        groups={} if group is None else {group.name: group},
        virtual=virtual_addresses(configuration(wanted)),
        defs=defs,
        forwarding=lambda interface: forwarding,
    )
    return compile_instance(wanted, context)


def test_a_plain_instance() -> None:
    compiled = build(instance(priority=150, auth_type=1, auth_pass=b"secret\0\0"))
    record = compiled.record
    assert (compiled.vrid, record.family, record.version, record.priority) == (51, 4, 2, 150)
    assert record.source == ip4("10.0.1.1")
    assert record.destination == ip4("224.0.0.18")
    assert compiled.addresses == (ip4("10.0.1.100"),)
    assert (record.auth_type, record.auth_data) == (1, b"secret\0\0")
    assert (record.flags, record.group, record.tracks, record.peers) == (0, -1, (), ())
    assert record.ttl == 255
    # The core checks everything again.
    assert build(instance()).instance(0).size > 0


FRAMES = model.GlobalDefs(vrrp_socket_backend="packet")


class TestPacketBackend:
    """Frames where frames are: multicast on Ethernet. RFC 9568 7.3 names their source."""

    def specs(self, observed: Observed, *instances: model.VrrpInstance) -> dict[str, LinkSpec]:
        wanted = configuration(*instances, global_defs=FRAMES)
        keys = {key for i in instances for key in link_keys(i, None, observed)}
        return link_specs(wanted, keys, observed)

    def test_raw_is_the_default(self) -> None:
        record = build(instance()).record
        assert (record.mac, record.flags & _core.F_PACKET) == (b"", 0)

    def test_multicast_on_ethernet(self) -> None:
        observed = kernel("eth0")
        made = build(instance(), observed=observed, defs=FRAMES)
        assert made.record.mac == observed.links[1].mac
        assert made.record.flags & _core.F_PACKET
        made.instance(0)
        spec = self.specs(observed, instance())["eth0"]
        assert (spec.packet, spec.families) == (1, 0)

    def test_unicast_stays_with_the_kernel(self) -> None:
        peer = instance("U", unicast_peers=(model.UnicastPeer(address="10.0.1.2"),))
        assert build(peer, defs=FRAMES).record.mac == b""
        six = instance("SIX", family=6, version=3, virtual_ipaddress=(vip("fe80::100/64"),))
        spec = self.specs(kernel("eth0"), peer, six)["eth0"]
        assert (spec.packet, spec.families, spec.any_ttl) == (2, 1, 1)

    @pytest.mark.parametrize(
        "change", [{"hardware": 65534}, {"mac": bytes(20)}, {"flags": 0x41 | 0x8}]
    )
    def test_other_interfaces_keep_raw_sockets(self, change: dict[str, Any]) -> None:
        observed = kernel("eth0")
        observed.put_link(observed.links[1]._replace(**change))
        assert build(instance(), observed=observed, defs=FRAMES).record.mac == b""
        assert self.specs(observed, instance())["eth0"].packet == 0

    def test_an_interface_that_is_to_come_will_be_ethernet(self) -> None:
        assert build(instance(), observed=kernel(), defs=FRAMES).record.mac == b""
        assert self.specs(kernel(), instance())["eth0"].packet == 1


FLAGS = {
    "nopreempt": (True, _core.F_NOPREEMPT),
    "state": ("MASTER", _core.F_WANT_MASTER),
    "lower_prio_no_advert": (True, _core.F_LOWER_PRIO_NO_ADVERT),
    "higher_prio_send_advert": (True, _core.F_HIGHER_PRIO_SEND_ADVERT),
    "owner_ignore_adverts": (True, _core.F_OWNER_IGNORE_ADVERTS),
    "skip_check_adv_addr": (True, _core.F_SKIP_CHECK_ADV_ADDR),
    "v3_checksum_as_v2": (True, _core.F_CHECKSUM_AS_V2),
    "dont_track_primary": (True, _core.F_DONT_TRACK_PRIMARY),
}


@pytest.mark.parametrize("field", FLAGS)
def test_each_flag_is_set_by_its_keyword_alone(field: str) -> None:
    value, flag = FLAGS[field]
    assert build(instance(**{field: value})).record.flags == flag


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"down_timer_adverts": 7}, {"down_timer_adverts": 7}),
        ({"preempt_delay_ns": 9 * SECOND}, {"preempt_delay_ns": 9 * SECOND}),
        ({"timer_expired_backup": 254}, {"timer_expired_backup": 254}),
        ({"advert_int_ns": 2 * SECOND}, {"advert_int_ns": 2 * SECOND}),
        ({"mcast_dst_ip": "224.0.0.99"}, {"destination": ip4("224.0.0.99")}),
        ({"source": "10.0.1.77"}, {"source": ip4("10.0.1.77")}),
        ({"garp": model.Garp(master_repeat=2)}, {"garp": model.Garp(master_repeat=2)}),
    ],
)
def test_settings_are_passed_on(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    record = build(instance(**fields)).record
    assert {name: getattr(record, name) for name in expected} == expected


def test_a_position_or_a_name_makes_no_other_record() -> None:
    one = instance("A", position=model.Position(file="x", line=3))
    moved = vip("10.0.1.100/24", position=model.Position(file="y", line=9))
    other = instance("B", virtual_ipaddress=(moved,), notify=model.Notify(smtp_alert=True))
    assert build(one).same(build(other))
    assert not build(one).same(build(instance(virtual_ipaddress=(vip("10.0.1.100/25"),))))


class TestSource:
    def test_is_never_a_virtual_address(self) -> None:
        observed = kernel("eth0")
        observed.addresses.clear()
        observed.put_address(address(1, "10.0.1.100", 24))
        assert build(instance(), observed=observed).record.source == b""
        observed.put_address(address(1, "10.0.1.9", 24))
        assert build(instance(), observed=observed).record.source == ip4("10.0.1.9")

    def test_of_an_owner_may_be_the_virtual_address(self) -> None:
        observed = kernel("eth0")
        observed.addresses.clear()
        observed.put_address(address(1, "10.0.1.100", 24))
        record = build(instance(priority=255), observed=observed).record
        assert record.source == ip4("10.0.1.100")

    def test_is_missing_while_the_interface_is(self) -> None:
        compiled = build(instance(interface="eth7"))
        assert compiled.record.source == b""
        assert compiled.objects.items == ()

    def test_configured_and_tracked_has_to_exist(self) -> None:
        wanted = instance(source="10.0.1.77", track_src_ip=True)
        observed = kernel("eth0", "eth1")
        assert build(wanted, observed=observed).record.source == b""
        observed.put_address(address(2, "10.0.1.77", 24))
        assert build(wanted, observed=observed).record.source == b""
        observed.put_address(address(1, "10.0.1.77", 24))
        assert build(wanted, observed=observed).record.source == ip4("10.0.1.77")

    def test_of_ipv6_is_link_local(self) -> None:
        wanted = instance(
            family=6, version=3, virtual_ipaddress=(vip("fe80::100/64"), vip("2001:db8::100/64"))
        )
        compiled = build(wanted)
        assert compiled.record.source == ip6("fe80::1")
        assert compiled.record.destination == ip6("ff02::12")
        assert compiled.addresses == (ip6("fe80::100"), ip6("2001:db8::100"))


class TestUnicast:
    PEERS = (model.UnicastPeer(address="10.0.1.2"), model.UnicastPeer(address="10.0.1.3"))

    def test_peers_replace_the_group(self) -> None:
        record = build(instance(unicast_peers=self.PEERS, unicast_ttl=64)).record
        assert record.flags == _core.F_UNICAST
        assert record.destination == b""
        assert record.peers == ((ip4("10.0.1.2"), 0, 255), (ip4("10.0.1.3"), 0, 255))
        assert record.ttl == 64

    def test_a_peer_may_have_a_ttl_range(self) -> None:
        peers = (model.UnicastPeer(address="10.0.1.2", min_ttl=254),)
        assert build(instance(unicast_peers=peers)).record.peers == ((ip4("10.0.1.2"), 254, 255),)

    def test_without_an_interface_it_uses_a_pseudo_link(self) -> None:
        wanted = instance(interface=None, source="10.0.1.1", unicast_peers=self.PEERS)
        observed = kernel("eth0")
        keys = link_keys(wanted, None, observed)
        assert keys == {"/"}
        assert link_specs(configuration(wanted), keys, observed) == {
            "/": LinkSpec(-1, families=1, vrids4=bytes((51,)), any_ttl=1)
        }
        assert build(wanted, observed=observed).record.source == ip4("10.0.1.1")

    def test_no_peer_is_a_fault_where_it_shall_be(self) -> None:
        record = build(instance(unicast_fault_no_peer=True)).record
        assert record.fault == _core.FAULT_CONFIG
        assert record.flags == _core.F_UNICAST


class TestWithoutMulticast:
    """An interface whose MULTICAST flag is off."""

    def kernel(self) -> Observed:
        observed = kernel("eth0", "eth1")
        observed.put_link(link(1, "eth0", flags=UP & ~IFF_MULTICAST))
        return observed

    @pytest.mark.parametrize(
        ("fields", "fault"),
        [
            ({}, _core.FAULT_MULTICAST),
            ({"interface": "eth1"}, 0),
            ({"unicast_peers": TestUnicast.PEERS}, 0),
            ({"unicast_fault_no_peer": True}, _core.FAULT_CONFIG),
        ],
    )
    def test_is_a_fault_without_peers(self, fields: dict[str, Any], fault: int) -> None:
        assert build(instance(**fields), observed=self.kernel()).record.fault == fault

    def test_an_interface_that_is_not_there_is_believed_to_have_it(self) -> None:
        assert build(instance(), observed=kernel("eth1")).record.fault == 0


class TestTracks:
    def weights(
        self, *, group: model.SyncGroup | None = None, **fields: Any
    ) -> dict[str, tuple[int, bool]]:
        return interface_weights(instance(**fields), group)

    def test_interfaces_of_objects_count_with_weight_0(self) -> None:
        addresses = (vip("10.0.2.5/24", dev="eth1"), vip("10.0.3.5/24", dev="eth2", no_track=True))
        route = model.VirtualRoute(family=4, destination="10.9.0.0/16", dev="eth3")
        assert self.weights(virtual_ipaddress=addresses, virtual_routes=(route,)) == {
            "eth1": (0, False),
            "eth3": (0, False),
        }

    def test_an_explicit_weight_wins_over_that_of_objects(self) -> None:
        tracked = (model.Tracked(name="eth1", weight=-20, reverse=True),)
        addresses = (vip("10.0.2.5/24", dev="eth1"),)
        weights = self.weights(virtual_ipaddress=addresses, track_interface=tracked)
        assert weights == {"eth1": (-20, True)}

    def test_the_own_interface_is_not_tracked_twice(self) -> None:
        assert self.weights(virtual_ipaddress=(vip("10.0.1.5/24", dev="eth0"),)) == {}

    def test_an_owner_keeps_only_weight_0(self) -> None:
        tracked = (
            model.Tracked(name="eth1", weight=-20),
            model.Tracked(name="eth2", weight=0),
        )
        assert self.weights(priority=255, track_interface=tracked) == {"eth2": (0, False)}

    def test_a_member_has_the_weights_of_its_group(self) -> None:
        own = (
            model.Tracked(name="eth1", weight=5),
            model.Tracked(name="eth2", weight=0),
            model.Tracked(name="eth4", weight=9),
        )
        of_group = (
            model.Tracked(name="eth1", weight=-30),
            model.Tracked(name="eth2", weight=-30),
            model.Tracked(name="eth3", weight=-30),
        )
        group = model.SyncGroup(name="G", members=("VI_1",), track_interface=of_group)
        assert self.weights(group=group, track_interface=own) == {
            "eth1": (-30, False),
            "eth2": (0, False),
            "eth3": (-30, False),
            "eth4": (0, False),
        }
        group = msgspec.structs.replace(group, sync_group_tracking_weight=True)
        assert self.weights(group=group, track_interface=own)["eth4"] == (9, False)

    def test_are_link_slots_in_the_record(self) -> None:
        tracked = (model.Tracked(name="eth1", weight=-20),)
        group = model.SyncGroup(name="G", members=("VI_1",), sync_group_tracking_weight=True)
        record = build(instance(track_interface=tracked, sync_group="G"), group=group).record
        assert record.link == 0
        assert record.tracks == ((1, -20, False),)
        assert record.group == 7


class TestAnnouncements:
    def test_name_the_address_its_interface_and_its_request(self) -> None:
        wanted = instance(
            virtual_ipaddress=(vip("10.0.1.100/24"), vip("10.0.2.100/24", dev="eth1")),
            virtual_ipaddress_excluded=(vip("2001:db8::1/64", dev="eth1"),),
        )
        compiled = build(wanted, forwarding=True)
        found = [
            (a.address, a.ifindex, a.mac[-1], a.request, a.router) for a in compiled.announcements
        ]
        assert found == [
            (ip4("10.0.1.100"), 1, 1, 0, False),
            (ip4("10.0.2.100"), 2, 2, 1, False),
            (ip6("2001:db8::1"), 2, 2, 2, True),
        ]
        assert compiled.addresses == (ip4("10.0.1.100"), ip4("10.0.2.100"))

    @pytest.mark.parametrize(
        ("flags", "mac"), [(0x43 | 0x8, bytes(6)), (0x43 | 0x80, bytes(6)), (0x43, b"")]
    )
    def test_are_left_out_where_nobody_could_learn_from_them(self, flags: int, mac: bytes) -> None:
        observed = kernel("eth0")
        observed.put_link(link(2, "odd0", flags=flags, mac=mac))
        wanted = instance(virtual_ipaddress=(vip("10.0.2.100/24", dev="odd0"),))
        compiled = build(wanted, observed=observed)
        assert compiled.announcements == []
        assert len(compiled.objects.items) == 1


class TestChange:
    def change_of(self, old: model.VrrpInstance, new: model.VrrpInstance, **keywords: Any) -> Any:
        """The requests of the change program, as pack_program got them."""
        packed: list[list[tuple[bytes, int]]] = []
        real = _core.pack_program

        def pack(requests: list[tuple[bytes, int]]) -> bytes:
            packed.append(requests)
            return real(requests)

        before, after = build(old), build(new)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_core, "pack_program", pack)
            after.instance(0, previous=before, **keywords)
        return packed[0], before, after  # change, up, down

    def test_deletes_what_is_no_longer_wanted(self) -> None:
        two = (vip("10.0.1.100/24"), vip("10.0.1.101/24"))
        change, before, _ = self.change_of(instance(virtual_ipaddress=two), instance())
        assert change == [(before.objects.items[1].delete, OK_GONE)]

    def test_leaves_alone_what_another_one_holds_now(self) -> None:
        two = (vip("10.0.1.100/24"), vip("10.0.1.101/24"))
        change, _, _ = self.change_of(
            instance(virtual_ipaddress=two), instance(), wanted=lambda item: True
        )
        assert change == []

    def test_removes_an_address_before_it_returns_in_another_form(self) -> None:
        labelled = (vip("10.0.1.100/24", label="eth0:1"),)
        change, before, after = self.change_of(instance(), instance(virtual_ipaddress=labelled))
        assert change == [(before.objects.items[0].delete, OK_GONE)]
        assert before.objects.items[0].key == after.objects.items[0].key

    def test_is_empty_when_objects_only_come(self) -> None:
        two = (vip("10.0.1.100/24"), vip("10.0.1.101/24"))
        change, _, _ = self.change_of(instance(), instance(virtual_ipaddress=two))
        assert change == []


def test_links_have_the_sockets_of_all_their_instances() -> None:
    observed = kernel("eth0", "eth1")
    wanted = configuration(
        instance("A", kernel_rx_buf_size=4096),
        instance("B", virtual_router_id=52, mcast_dst_ip="224.0.0.99", kernel_rx_buf_size=1000),
        instance("C", family=6, version=3, virtual_ipaddress=(vip("fe80::100/64", dev="eth1"),)),
        global_defs=model.GlobalDefs(garp_interval_ns=5, gna_interval_ns=6),
        garp_groups=(model.GarpGroup(interfaces=("eth1", "eth2"), garp_interval_ns=9),),
        interface_delays=(model.InterfaceDelay(interface="eth0", down_ns=7, up_ns=8),),
    )
    keys = {k for i in wanted.vrrp_instances for k in link_keys(i, None, observed)}
    specs = link_specs(wanted, keys, observed)
    assert specs == {
        "eth0": LinkSpec(
            1,
            families=3,
            garp_interval_ns=5,
            gna_interval_ns=6,
            mcast4=(ip4("224.0.0.18"), ip4("224.0.0.99")),
            mcast6=(ip6("ff02::12"),),
            rx_buffer=5096,
            down_delay_ns=7,
            up_delay_ns=8,
            vrids4=bytes((51, 52)),
            vrids6=bytes((51,)),
        ),
        "eth1": LinkSpec(2, garp_interval_ns=9, gna_interval_ns=6, pace_group=0),
    }


def test_log_unknown_vrids_lets_every_vrid_in() -> None:
    wanted = configuration(instance(), global_defs=model.GlobalDefs(log_unknown_vrids=True))
    spec = link_specs(wanted, {"eth0"}, kernel("eth0"))["eth0"]
    assert (spec.vrids4, spec.vrids6, spec.any_ttl) == (None, None, 0)


def test_one_interface_has_one_link_whatever_it_is_called() -> None:
    observed = kernel("eth0")
    observed.put_link(link(1, "eth0")._replace(altnames=("enp1s0",)))
    assert link_keys(instance(interface="enp1s0"), None, observed) == {"eth0"}
    assert build(instance(interface="enp1s0"), observed=observed).record.source == ip4("10.0.1.1")
