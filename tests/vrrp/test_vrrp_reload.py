"""Changing the configuration: only what differs reaches the engine; a rename keeps the state."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from vrrp_tools import Bench, configuration, instance, vip

from fastvrrp import _core
from fastvrrp.config import compact, model
from fastvrrp.vrrp.compile import Compiled
from fastvrrp.vrrp.draft import RefusedError
from fastvrrp.vrrp.plane import RETIRED, Plane
from fastvrrp.vrrp.reload import plan

SECOND_VR = {"virtual_router_id": 52, "virtual_ipaddress": (vip("10.0.1.200/24"),)}


def moved(part: Any, line: int) -> Any:
    """The same, written elsewhere."""

    def shift(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(shift(item) for item in value)
        if not isinstance(value, msgspec.Struct):
            return value
        changes = {name: shift(getattr(value, name)) for name in value.__struct_fields__}
        if "position" in changes:
            changes["position"] = model.Position(file="moved", line=line)
        return msgspec.structs.replace(value, **changes)

    return shift(part)


class TestPlan:
    def test_nothing_changes_by_itself(self) -> None:
        one = configuration(instance(), instance("VI_2", **SECOND_VR))
        result = plan(one, one)
        assert result.changes == ()
        assert result.removed == ()
        assert [(p.new, p.old) for p in result.pairs] == [(i, i) for i in one.vrrp_instances]

    def test_a_moved_line_is_no_change(self) -> None:
        tracked = (model.Tracked(name="eth1", position=model.Position(file="a", line=1)),)
        script = model.TrackScript(
            name="s", command=model.Command(argv=("/s",), position=model.Position(file="a", line=4))
        )
        one = configuration(instance(track_interface=tracked), track_scripts=(script,))
        assert plan(one, moved(one, 77)).changes == ()
        assert plan(one, moved(one, 77)) == plan(one, moved(one, 77))

    def test_a_lean_configuration_says_the_same(self) -> None:
        """Positions are gone everywhere, what is equal is one object, nothing else changed."""
        place = model.Position(file="a", line=1)
        command = model.Command(argv=("/s",), position=place)
        full = configuration(
            *(
                instance(
                    name,
                    virtual_router_id=vrid,
                    garp=model.Garp(master_repeat=2),
                    notify=model.Notify(notify_master=command),
                    track_interface=(model.Tracked(name="eth1", position=place),),
                    virtual_ipaddress=(vip("10.0.1.100/24", dev="eth1", position=place),),
                    virtual_rules=(model.VirtualRule(family=4, position=place),),
                    position=place,
                )
                for name, vrid in (("A", 51), ("B", 52))
            ),
            track_scripts=(model.TrackScript(name="s", command=command, position=place),),
            static_addresses=(vip("10.0.2.1/24", position=place),),
        )
        data = compact.encode(full)
        lean = compact.decode(data)
        assert b"position" in msgspec.msgpack.encode(full)
        assert b"position" not in data
        assert plan(full, lean).changes == ()
        assert lean == compact.without_places(full)
        one, other = lean.vrrp_instances
        assert one.garp is other.garp
        assert one.notify is other.notify
        assert one.interface is other.interface
        assert one.virtual_ipaddress[0].dev is other.virtual_ipaddress[0].dev

    def test_what_changed_is_told(self) -> None:
        one = configuration(
            instance(),
            instance("VI_2", **SECOND_VR),
            track_files=(model.TrackFile(name="f", file="/f"),),
        )
        two = configuration(
            instance(priority=20),
            instance("VI_3", virtual_router_id=53),
            sync_groups=(model.SyncGroup(name="G", members=("VI_1",)),),
            track_files=(model.TrackFile(name="f", file="/g"),),
            static_addresses=(vip("10.0.1.9/24"),),
        )
        assert plan(one, two).changes == (
            "instance VI_2 removed",
            "instance VI_1 changed",
            "instance VI_3 added",
            "sync group G added",
            "file tracker f changed",
            "static addresses changed",
        )

    def test_names_do_not_identify(self) -> None:
        one = configuration(instance("A"), instance("B", **SECOND_VR))
        two = configuration(instance("B"), instance("A", **SECOND_VR))
        result = plan(one, two)
        assert result.renamed == {"A": "B", "B": "A"}
        assert result.changes == ("instance A renamed to B", "instance B renamed to A")

    @pytest.mark.parametrize(
        "fields",
        [
            {"virtual_router_id": 77},
            {"interface": "eth1"},
            {"mcast_dst_ip": "224.0.0.99"},
            {"unicast_peers": (model.UnicastPeer(address="10.0.1.2"),)},
            {"family": 6, "version": 3, "virtual_ipaddress": (vip("fe80::9/64"),)},
        ],
    )
    def test_another_router_on_the_wire_is_another_instance(self, fields: dict[str, Any]) -> None:
        result = plan(configuration(instance()), configuration(instance(**fields)))
        assert result.changes == ("instance VI_1 removed", "instance VI_1 added")

    def test_unicast_instances_are_also_known_by_their_source(self) -> None:
        peers = (model.UnicastPeer(address="10.0.1.2"),)
        one = configuration(instance(unicast_peers=peers, source="10.0.1.1"))
        two = configuration(instance(unicast_peers=peers, source="10.0.1.5"))
        assert plan(one, two).pairs[0].old is None
        other_peers = (model.UnicastPeer(address="10.0.1.3"),)
        three = configuration(instance("X", unicast_peers=other_peers, source="10.0.1.1"))
        assert plan(one, three).pairs[0].old == one.vrrp_instances[0]

    def test_twins_are_told_apart_by_name_and_peers(self) -> None:
        def twin(name: str, peer: str) -> model.VrrpInstance:
            return instance(
                name, unicast_peers=(model.UnicastPeer(address=peer),), source="10.0.1.1"
            )

        one = configuration(twin("A", "10.0.1.2"), twin("B", "10.0.1.3"), twin("C", "10.0.1.4"))
        two = configuration(twin("D", "10.0.1.4"), twin("B", "10.0.1.9"))
        result = plan(one, two)
        assert [(p.new.name, p.old.name if p.old else None) for p in result.pairs] == [
            ("D", "C"),
            ("B", "B"),
        ]
        assert [gone.name for gone in result.removed] == ["A"]


class TestApply:
    def test_the_same_again_touches_nothing(self, bench: Bench) -> None:
        wanted = configuration(instance(), instance("VI_2", **SECOND_VR))
        bench.apply(wanted)
        bench.forget_calls()
        assert bench.apply(moved(wanted, 5)) == ()
        assert bench.engine.calls == [("commit", [], [])]

    def test_an_unchanged_instance_is_not_committed(self, bench: Bench) -> None:
        bench.apply(configuration(instance(), instance("VI_2", **SECOND_VR)))
        slot = bench.plane.running["VI_2"].slot
        bench.forget_calls()
        bench.apply(configuration(instance(), instance("VI_2", **(SECOND_VR | {"priority": 77}))))
        assert bench.engine.calls == [("commit", [slot], [])]

    def test_a_rename_keeps_slot_and_state(self, bench: Bench) -> None:
        bench.apply(configuration(instance()))
        bench.engine.advance(5)
        assert bench.state("VI_1") == _core.MASTER
        slot = bench.plane.running["VI_1"].slot
        bench.forget_calls()
        bench.apply(configuration(instance("NEW")))
        assert bench.engine.calls == [("commit", [], [])]
        assert bench.plane.running["NEW"].slot == slot
        assert bench.state("NEW") == _core.MASTER
        assert "VI_1" not in bench.plane.running

    def test_a_removed_slot_is_free_after_its_commit(self, bench: Bench) -> None:
        bench.apply(configuration(instance()))
        slot = bench.plane.running["VI_1"].slot
        draft = bench.plane.prepare(configuration(instance("VI_2", **SECOND_VR)))
        bench.plane.commit(draft)
        gone = bench.plane.by_slot(slot)
        assert gone is not None
        assert (gone.name, bench.plane.is_leaving(slot)) == ("VI_1", True)
        assert bench.plane.running["VI_2"].slot != slot
        bench.client.poll()
        assert bench.plane.by_slot(slot) is None
        bench.apply(
            configuration(instance("VI_2", **SECOND_VR), instance("VI_3", virtual_router_id=53))
        )
        assert bench.plane.running["VI_3"].slot == slot
        # What it tells belongs to the new one, from its very first transition on.
        assert bench.state("VI_3") == _core.BACKUP

    def test_a_removed_master_says_so_and_goes(self, bench: Bench) -> None:
        bench.apply(configuration(instance(), instance("VI_2", **SECOND_VR)))
        bench.engine.advance(5)
        slot = bench.plane.running["VI_1"].slot
        bench.forget_calls()
        bench.apply(configuration(instance("VI_2", **SECOND_VR)))
        assert bench.calls("commit") == [([], [slot])]
        assert bench.calls("play") == [(slot, _core.P_DOWN)]
        assert bench.listener.path(slot) == [_core.BACKUP, _core.MASTER, _core.INIT]

    def test_a_removed_master_is_not_active_before_the_engine_says_so(self, bench: Bench) -> None:
        bench.apply(configuration(instance(), instance("VI_2", **SECOND_VR)))
        bench.engine.advance(5)
        bench.client.poll()
        assert bench.plane.active() == {"VI_1", "VI_2"}
        bench.plane.commit(bench.plane.prepare(configuration(instance())))
        assert bench.plane.active() == {"VI_1"}

    def test_interfaces_nobody_uses_any_more_are_let_go_after_the_commit(
        self, bench: Bench
    ) -> None:
        bench.apply(configuration(instance(), instance("VI_2", interface="eth1", **SECOND_VR)))
        slot = bench.plane.links.slots.get("eth1")
        bench.forget_calls()
        bench.apply(configuration(instance()))
        assert bench.engine.calls[-1] == ("link", slot, 0)
        assert [call[0] for call in bench.engine.calls] == ["commit", "link"]
        assert bench.plane.links.slots.get("eth1") is None

    def test_a_second_family_is_added_to_a_link_before_the_commit(self, bench: Bench) -> None:
        bench.apply(configuration(instance()))
        bench.forget_calls()
        six = instance("SIX", family=6, version=3, virtual_ipaddress=(vip("fe80::100/64"),))
        bench.apply(configuration(instance(), six))
        assert [call[0] for call in bench.engine.calls] == ["link", "commit"]
        assert bench.engine.links[0]["families"] == 3
        bench.forget_calls()
        bench.apply(configuration(six))
        assert [call[0] for call in bench.engine.calls] == ["commit", "link"]
        assert bench.engine.links[0]["families"] == 2

    def test_filters_are_wider_before_a_commit_and_narrower_after_it(self, bench: Bench) -> None:
        """Neither who comes nor who leaves misses an advert; no socket is made anew."""
        bench.apply(configuration(instance()))
        bench.forget_calls()
        draft = bench.plane.prepare(configuration(instance(virtual_router_id=77)))
        bench.plane.commit(draft)
        assert bench.engine.calls == [("accept", 0), ("commit", [1], [0])]
        assert bench.engine.links[0]["vrids4"] == bytes((51, 77))
        bench.client.poll()
        assert bench.engine.links[0]["vrids4"] == bytes((77,))
        assert bench.calls("link") == []

    def test_filters_follow_log_unknown_vrids(self, bench: Bench) -> None:
        logging = model.GlobalDefs(log_unknown_vrids=True)
        bench.apply(configuration(instance(), global_defs=logging))
        assert bench.engine.links[0]["vrids4"] is None
        bench.apply(configuration(instance()))
        assert bench.engine.links[0]["vrids4"] == bytes((51,))
        bench.apply(configuration(instance(), global_defs=logging))
        assert bench.engine.links[0]["vrids4"] is None

    def test_the_backend_can_change(self, bench: Bench) -> None:
        """Both hear until the engine has committed who sends how."""
        frames = model.GlobalDefs(vrrp_socket_backend="packet")
        bench.apply(configuration(instance()))
        assert bench.engine.links[0]["packet"] == 0
        bench.forget_calls()
        bench.apply(configuration(instance(), global_defs=frames))
        assert [call[0] for call in bench.engine.calls] == ["link", "commit", "link"]
        link = bench.engine.links[0]
        assert (link["packet"], link["families"]) == (1, 0)
        bench.forget_calls()
        bench.apply(configuration(instance()))
        assert [call[0] for call in bench.engine.calls] == ["link", "commit", "link"]
        assert (link["packet"], link["families"]) == (1, 0)
        link = bench.engine.links[0]
        assert (link["packet"], link["families"]) == (0, 1)

    def test_memberships_that_nobody_is_told_of(self, bench: Bench) -> None:
        """disable_local_igmp: the link is defined anew when that changes."""
        for quiet in (True, False):
            defs = model.GlobalDefs(vrrp_socket_backend="packet", disable_local_igmp=quiet)
            bench.apply(configuration(instance(), global_defs=defs))
            link = bench.engine.links[0]
            assert (link["packet"], link["unreported"]) == (1, quiet)

    def test_an_interface_that_turns_out_to_be_a_tunnel_has_raw_sockets(self, bench: Bench) -> None:
        known = bench.observed.links[1]
        bench.observed.drop_link(1)
        frames = model.GlobalDefs(vrrp_socket_backend="packet")
        bench.apply(configuration(instance(), global_defs=frames))
        assert bench.engine.links[0]["packet"] == 1
        bench.observed.put_link(known._replace(hardware=65534))
        bench.plane.refresh({"VI_1"})
        link = bench.engine.links[0]
        assert (link["ifindex"], link["packet"], link["families"]) == (1, 0, 1)

    def test_an_interface_that_comes_back_has_its_filters(self, bench: Bench) -> None:
        peer = model.UnicastPeer(address="10.0.1.2")
        bench.apply(configuration(instance(), instance("U", **SECOND_VR, unicast_peers=(peer,))))
        known = bench.observed.links[1]
        bench.observed.drop_link(1)
        bench.plane.refresh({"VI_1", "U"})
        bench.observed.put_link(known)
        bench.plane.refresh({"VI_1", "U"})
        filters = {k: bench.engine.links[0][k] for k in ("ifindex", "vrids4", "any_ttl")}
        assert filters == {"ifindex": 1, "vrids4": bytes((51, 52)), "any_ttl": 1}

    def test_tracker_state_goes_along(self, bench: Bench) -> None:
        bench.tracking["VI_1"] = (-30, _core.FAULT_SCRIPT)
        bench.apply(configuration(instance(priority=100)))
        status = bench.engine.status(bench.plane.running["VI_1"].slot)
        assert (status.effective_priority, status.fault) == (70, _core.FAULT_SCRIPT)
        bench.plane.set_tracking("VI_1", -10, 0)
        assert bench.state("VI_1") == _core.BACKUP
        status = bench.engine.status(0)
        assert (status.effective_priority, status.fault) == (90, 0)

    def test_tracker_state_follows_a_change_of_trackers_alone(self, bench: Bench) -> None:
        bench.apply(configuration(instance()))
        bench.forget_calls()
        bench.tracking["VI_1"] = (5, 0)
        tracked = (model.Tracked(name="chk", weight=5),)
        bench.apply(configuration(instance(track_script=tracked)))
        assert bench.calls("commit") == [([], [])]
        assert bench.calls("adjust") == [(0, 5)]

    @pytest.mark.parametrize("name", ["VI_1", "RENAMED"])
    def test_trackers_speak_while_a_change_is_prepared(self, bench: Bench, name: str) -> None:
        bench.apply(configuration(instance()))
        bench.engine.advance(5)
        draft = bench.plane.prepare(configuration(instance(name)))
        bench.plane.set_tracking("VI_1", -10, _core.FAULT_SCRIPT)
        bench.plane.commit(draft)  # by then the trackers say that all is well again
        assert bench.plane.running[name].tracking == (0, 0)
        status = bench.engine.status(0)
        assert (status.effective_priority, status.fault) == (100, 0)

    def test_what_a_change_gave_up_is_remembered_until_it_is_gone(self, bench: Bench) -> None:
        two = (vip("10.0.1.100/24"), vip("10.0.1.101/24"))
        bench.apply(configuration(instance(virtual_ipaddress=two)))
        bench.apply(configuration(instance()))
        retired = bench.plane.desired.get(RETIRED)
        assert retired is not None
        assert [item.text for item in retired.items] == ["address 10.0.1.101/24 dev eth0"]
        bench.plane.purge_retired(lambda item: False)
        assert bench.plane.desired.get(RETIRED) is None

    def test_a_group_that_goes_frees_its_slot(self, bench: Bench) -> None:
        group = model.SyncGroup(name="G", members=("VI_1",))
        bench.apply(configuration(instance(sync_group="G"), sync_groups=(group,)))
        assert bench.plane.group_name(0) == "G"
        assert bench.plane.running["VI_1"].record.group == 0
        bench.apply(configuration(instance()))
        assert bench.plane.group_name(0) is None
        assert bench.plane.running["VI_1"].record.group == -1


class TestRefusal:
    def unchanged(self, plane: Plane) -> tuple[object, ...]:
        return (
            plane.configuration,
            [msgspec.structs.asdict(running.fresh()) for running in plane.running.values()],
            sorted(plane.desired.owners()),
            [plane.links.slots.get(name) for name in ("eth0", "eth1")],
        )

    def test_too_many_instances(self, bench: Bench) -> None:
        bench.apply(configuration(instance()))
        before = self.unchanged(bench.plane)
        many = [instance(f"VI_{n}", virtual_router_id=n) for n in range(1, 66)]
        with pytest.raises(RefusedError, match="more than 64 instances"):
            bench.plane.prepare(configuration(*many))
        assert self.unchanged(bench.plane) == before

    def test_what_the_core_cannot_run(self, bench: Bench) -> None:
        bench.apply(configuration(instance()))
        before = self.unchanged(bench.plane)
        with pytest.raises(RefusedError, match=r"VI_1.*advert_int_ns"):
            bench.plane.prepare(configuration(instance(advert_int_ns=1)))
        assert self.unchanged(bench.plane) == before

    def test_static_objects_that_are_none(self, bench: Bench) -> None:
        bench.apply(configuration(instance()))
        before = self.unchanged(bench.plane)
        broken = configuration(instance(), static_addresses=(vip("10.0.1.999/24", dev="eth0"),))
        with pytest.raises(RefusedError, match="cannot be run"):
            bench.plane.prepare(broken)
        assert self.unchanged(bench.plane) == before

    def test_a_socket_that_cannot_be_made(self, bench: Bench) -> None:
        bench.apply(configuration(instance()))
        before = self.unchanged(bench.plane)
        bench.engine.refuse[2] = OSError(errno.ENOBUFS, "no buffers")
        draft = bench.plane.prepare(
            configuration(instance(), instance("VI_2", interface="eth1", **SECOND_VR))
        )
        bench.forget_calls()
        with pytest.raises(RefusedError, match="eth1: no buffers"):
            bench.plane.commit(draft)
        assert bench.calls("commit") == []
        assert self.unchanged(bench.plane) == before

    def test_a_missing_permission_is_no_matter_of_configuration(self, bench: Bench) -> None:
        bench.engine.refuse[1] = OSError(errno.EPERM, "not permitted")
        draft = bench.plane.prepare(configuration(instance()))
        with pytest.raises(PermissionError):
            bench.plane.commit(draft)

    def test_an_interface_that_vanishes_this_moment_is_absent(self, bench: Bench) -> None:
        bench.engine.refuse[1] = OSError(errno.ENODEV, "no device")
        bench.apply(configuration(instance()))
        assert bench.engine.links[0]["ifindex"] == 0
        assert bench.state("VI_1") == _core.FAULT


# ------------------------------------------------------------------ any two configurations

INTERFACES = ("eth0", "eth1", "gone0")
ADDRESSES = tuple(f"10.0.1.{host}/24" for host in range(100, 105))


@st.composite
def instances(draw: st.DrawFn, name: str, groups: bool) -> model.VrrpInstance:
    """Few values of everything, so that two configurations have much in common."""
    devices = st.sampled_from((None, *INTERFACES))
    chosen = draw(st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3, unique=True))
    addresses = tuple(vip(text, dev=draw(devices)) for text in chosen)
    unicast = draw(st.booleans())
    return instance(
        name,
        virtual_router_id=draw(st.integers(51, 54)),
        interface=draw(st.sampled_from(INTERFACES)),
        priority=draw(st.sampled_from((100, 150, 255))),
        state=draw(st.sampled_from(("MASTER", "BACKUP"))),
        nopreempt=draw(st.booleans()),
        unicast_peers=(model.UnicastPeer(address="10.0.1.2"),) if unicast else (),
        virtual_ipaddress=addresses,
        track_interface=tuple(
            model.Tracked(name=tracked, weight=draw(st.sampled_from((0, -20))))
            for tracked in draw(st.lists(st.sampled_from(INTERFACES), max_size=2, unique=True))
        ),
        sync_group="G" if groups and draw(st.booleans()) else None,
    )


@st.composite
def configurations(draw: st.DrawFn) -> model.Configuration:
    groups = draw(st.booleans())
    names = draw(st.lists(st.sampled_from("ABCDE"), max_size=4, unique=True))
    chosen = [draw(instances(name, groups)) for name in names]
    kinds = {}
    for one in chosen:  # one router per VRID, interface and kind, as the checks demand
        kinds[one.virtual_router_id, one.interface, bool(one.unicast_peers)] = one
    unique = sorted(kinds.values(), key=lambda one: one.name)
    members = tuple(one.name for one in unique if one.sync_group)
    static = draw(st.lists(st.sampled_from(ADDRESSES), max_size=1))
    return configuration(
        *unique,
        sync_groups=(model.SyncGroup(name="G", members=members),) if members else (),
        static_addresses=tuple(vip(text) for text in static),
        global_defs=model.GlobalDefs(default_interface="eth1"),
    )


def observed_plane(bench: Bench) -> dict[str, object]:
    """Everything that decides how a plane runs, with names in place of slot numbers."""
    plane = bench.plane
    links = {slot: name for name in INTERFACES if (slot := plane.links.slots.get(name)) is not None}

    def named(compiled: Compiled) -> dict[str, Any]:
        record = compiled.record
        fields: dict[str, Any] = {name: getattr(record, name) for name in record.__struct_fields__}
        fields |= {"vrid": compiled.vrid, "addresses": compiled.addresses}
        fields["announcements"] = compiled.announcements
        fields["link"] = links[record.link]
        fields["tracks"] = [(links[slot], *rest) for slot, *rest in record.tracks]
        fields["group"] = None if record.group < 0 else plane.group_name(record.group)
        return fields

    return {
        "records": {name: named(running.compiled) for name, running in plane.running.items()},
        "desired": {
            owner: plane.desired.get(owner) for owner in plane.desired.owners() if owner != RETIRED
        },
        "links": {name: bench.engine.links[slot] for slot, name in links.items()},
        "configuration": plane.configuration,
        "priorities": {
            name: (s.base_priority, s.source, s.advert_int_ns)
            for name, running in plane.running.items()
            if (s := bench.engine.status(running.slot)) is not None
        },
    }


@settings(max_examples=120, deadline=None)
@given(one=configurations(), two=configurations(), pause=st.sampled_from((0.0, 5.0)))
def test_a_change_ends_where_a_fresh_start_does(
    one: model.Configuration, two: model.Configuration, pause: float
) -> None:
    changed, fresh = Bench("eth0", "eth1"), Bench("eth0", "eth1")
    try:
        changed.apply(one)
        changed.engine.advance(pause)
        changed.client.poll()
        changed.apply(two)
        fresh.apply(two)
        assert observed_plane(changed) == observed_plane(fresh)
        changed.forget_calls()
        assert changed.apply(moved(two, 9)) == ()
        assert changed.engine.calls == [("commit", [], [])]
        changed.apply(model.Configuration())
        assert changed.plane.running == {}
        assert [s for s in range(64) if _is_used(changed, s)] == []
    finally:
        changed.close()
        fresh.close()


def _is_used(bench: Bench, slot: int) -> bool:
    try:
        bench.engine.status(slot)
    except KeyError:
        return False
    return True


def test_benches_of_the_property_test_differ_when_they_should(
    make_bench: Callable[..., Bench],
) -> None:
    one, other = make_bench(), make_bench()
    one.apply(configuration(instance()))
    other.apply(configuration(instance(priority=99)))
    assert observed_plane(one) != observed_plane(other)
