"""A reload does not parse again what has not changed, and nothing else comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from beside_keepalived import Here
from config_reading import Reader, instance
from corpus import cases
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from remembering import after, first, reading
from servers_reading import HEAD, check, real, virtual

from fastvrrp.config.keywords import TOP, table
from fastvrrp.config.load import load_again
from fastvrrp.config.memory import Last
from fastvrrp.supervisor.held import Held

pytestmark = pytest.mark.computing

START = "global_defs {\nenable_script_security\nscript_user root\n}\n"
TCP = check("TCP_CHECK", "connect_timeout 3")


def servers(count: int, weights: dict[int, int] | None = None) -> str:
    """Virtual servers with two real servers each; `weights` by the number of the virtual server."""
    return "".join(
        virtual(
            real(TCP, f"weight {(weights or {}).get(number, 1)}"),
            real(TCP, at="10.0.0.3 80"),
            head=f"10.1.0.{number} 80",
        )
        for number in range(count)
    )


def test_one_of_many_virtual_servers_is_parsed(read: Reader) -> None:
    held = first(read, START + servers(20))
    assert after(read, START + servers(20), held).parsed == 0
    changed = after(read, START + servers(20, {7: 3}), held)
    assert changed.parsed == 1
    assert after(read, START + servers(20, {7: 3}), changed.held).parsed == 0
    assert after(read, START + servers(20), changed.held).parsed == 1


def routers(count: int, priorities: dict[int, int] | None = None) -> str:
    return "".join(
        instance(
            f"priority {(priorities or {}).get(number, 100)}",
            "authentication {\nauth_type PASS\nauth_pass secret\n}",
            name=f"V{number}",
            vrid=number,
            vips=f"10.0.0.{number}/24",
        )
        for number in range(1, count + 1)
    )


@pytest.mark.parametrize("indent", ["    ", ""])
def test_a_file_that_is_read_in_parts(read: Reader, indent: str) -> None:
    """Where blocks are indented a part ends between two of them, else within one."""
    inner = (*HEAD, "real_server 10.0.0.2 80 {", "weight 7", TCP, "}")
    lines = "\n".join(indent + line for text in inner for line in text.split("\n"))
    blocks = [f"virtual_server 10.1.{n >> 8}.{n & 255} 80 {{\n{lines}\n}}\n" for n in range(1000)]
    plain = START + "".join(blocks)
    size = 1 << 16
    assert len(plain) > 2 * size
    held = after(read, plain, None).held
    assert after(read, plain, held).parsed == 0
    assert after(read, f"# {'-' * 777}\n{plain}", held).parsed == 0
    assert after(read, plain.replace("10.1.2.7 ", "10.9.2.7 "), held).parsed == 1
    blocks[900] = blocks[900].replace("weight 7", "weight 7\nfrob")
    (message,) = after(read, START + "".join(blocks), held).messages
    assert message.position.line == START.count("\n") + 900 * blocks[0].count("\n") + 7


def test_one_of_many_instances_is_parsed(read: Reader) -> None:
    held = first(read, START + routers(20))
    assert after(read, START + routers(20), held).parsed == 0
    changed = after(read, START + routers(20, {7: 90}), held)
    assert changed.parsed == 1
    group = "vrrp_sync_group G {\ngroup {\nV1\nV7\n}\n}\n"
    grouped = after(read, START + group + routers(20, {7: 90}), changed.held)
    assert grouped.parsed == 0
    assert after(read, START + routers(19, {7: 90}), grouped.held).parsed == 0


TRACKER = "vrrp_script S {\nscript /bin/true\nweight 5\n}\n"


def test_what_instances_track(read: Reader) -> None:
    """The tracker gives its weight to those that refer to it, and must be above them."""
    one, two = (
        instance(
            "track_script {\nS\n}",
            "track_interface {\neth1\n}",
            name=f"V{n}",
            vrid=n,
            vips=f"10.0.0.{n}",
        )
        for n in (1, 2)
    )
    held = first(read, START + TRACKER + one + two)
    assert after(read, START + TRACKER + one + two, held).parsed == 0
    assert after(read, START + TRACKER + two, held).parsed == 0
    for others in (
        START + TRACKER.replace("5", "6") + one + two,
        START + TRACKER.replace("weight", "interval") + one + two,
        START + TRACKER.replace("true", "nothing") + one + two,
        START + TRACKER + one + two + "vrrp_sync_group G {\ngroup {\nV1\nV2\n}\n}\n",
        START + one + TRACKER + two,
        START + one + two + TRACKER,
    ):
        assert after(read, others, held).parsed == 2
    assert after(read, START + one + two, held).held is None
    assert (
        after(read, START + TRACKER.replace("bin/true", "bin/check") + one + two, held).parsed == 0
    )


def test_instances_that_do_not_fit_together(read: Reader) -> None:
    """What is said of two has the places of both, though one of them was not parsed."""
    held = first(read, START + routers(3))
    wrong = after(
        read, "\n" + START + routers(3).replace("virtual_router_id 3", "virtual_router_id 1"), held
    )
    assert len(wrong.messages) == 1
    twice = START + routers(3).replace("10.0.0.2", "10.0.0.3")
    said = after(read, twice, held)
    assert (said.parsed, len(said.messages)) == (3, 1)
    again = after(read, f"\n{twice}", said.held)
    assert (again.parsed, len(again.messages)) == (0, 1)


def test_what_is_said_of_an_instance_by_what_the_machine_has(read: Reader) -> None:
    text = START + routers(3).replace("/24", "/32")
    held = first(read, text)
    read.host.give("eth0", "192.0.2.1/24")
    said = after(read, text, held)
    assert (said.parsed, len(said.messages)) == (3, 3)
    moved = after(read, f"# more\n{text}", said.held)
    assert (moved.parsed, len(moved.messages)) == (0, 3)
    read.host.give("eth0", "10.0.0.200/24")
    assert len(after(read, text, moved.held).messages) == 0
    read.host.held = None
    read.host.give("eth0", "192.0.3.1/24")
    other = after(read, text, moved.held)
    assert (other.parsed, len(other.messages)) == (3, 3)


def test_an_interface_that_loses_multicast(read: Reader) -> None:
    text = START + routers(3)
    held = first(read, text)
    read.host.without_multicast.add("eth0")
    said = after(read, text, held)
    assert (said.parsed, len(said.messages)) == (3, 3)
    again = after(read, f"\n{text}", said.held)
    assert (again.parsed, len(again.messages)) == (0, 3)
    read.host.without_multicast.clear()
    assert after(read, text, again.held).messages == ()


def test_what_is_said_of_an_owner(read: Reader) -> None:
    """The hint depends on what is written, which is not read."""
    read.host.give("eth0", "10.0.0.200/24")
    own = "unicast_src_ip 10.0.0.9\nunicast_peer {\n10.0.0.200\n}"
    text = (
        START
        + instance("state MASTER", name="V1", vrid=1)
        + instance("priority 255", name="V2", vrid=2, vips="10.0.0.2/24")
        + instance(own, name="V3", vrid=3, vips="10.0.0.3/24")
    )
    held = first(read, text)
    again = after(read, f"\n{text}", held)
    assert (again.parsed, len(again.messages)) == (0, 4)


def test_where_a_block_stands_does_not_matter(read: Reader) -> None:
    """Moved down, to another place among others, to another file; one more, one less."""
    one, two, three = (virtual(real(TCP), head=f"10.1.0.{n} 80") for n in range(3))
    held = first(read, START + one + two)
    assert after(read, "# more\n\n" + START + one + "\n" + two, held).parsed == 0
    assert after(read, START + two + three + one, held).parsed == 1
    assert after(read, START + two, held).parsed == 0
    read.file("conf.d/one.conf", one)
    there = after(read, START + "include conf.d/*.conf\n" + two, held)
    assert there.parsed == 0
    read.file("conf.d/one.conf", one.replace("rr", "wrr"))
    assert after(read, START + "include conf.d/*.conf\n" + two, there.held).parsed == 1


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (START, "global_defs {\nsmtp_alert_checker on\n}\n"),
        (START, START.replace("}", "checker_log_all_failures\n}")),
    ],
)
def test_what_global_defs_give(read: Reader, before: str, behind: str) -> None:
    """Other defaults than the last time: everything is parsed."""
    held = first(read, before + servers(3))
    assert after(read, behind + servers(3), held).parsed == 3


def test_the_same_service_twice(read: Reader) -> None:
    """Blocks that begin alike, and an error that only both together are."""
    udp = tuple(line.replace("TCP", "UDP") for line in HEAD)
    text = START + virtual(real()) + virtual(real(), common=udp)
    held = first(read, text)
    assert after(read, text, held).parsed == 0
    wrong = after(read, text.replace("UDP", "TCP"), held)
    assert wrong.held is None
    assert len(wrong.messages) == 1


def test_what_is_said_of_a_block(read: Reader) -> None:
    """Again, at its new place: of its text, of what it means, of programs that it names."""
    text = (
        START
        + virtual(real("weight 1 2"), "virtualhost a#b")
        + virtual(real("weight $NONE"), real("weight 3", at="10.0.0.3 80"), head="10.0.0.10 80")
        + instance("advert_int 1.2", "nopreempt", "state MASTER", name="V1", vrid=1)
    )
    held = first(read, text)
    found = after(read, f"# more\n\n{text}", held)
    assert (found.parsed, len(found.messages)) == (0, 6)
    again = after(read, text.replace("1.2", "1.3"), found.held)
    assert (again.parsed, len(again.messages)) == (1, 6)


def test_more_warnings_than_are_shown(read: Reader) -> None:
    """It is not known what the others were about."""
    text = START + "".join(
        instance("advert_int 1.2", name=f"V{n}", vrid=n, vips=f"10.0.0.{n}") for n in range(1, 252)
    )
    text += servers(1).replace("lvs_sched rr", "lvs_sched rr\n" + "weight 1 2\n" * 750)
    few = text.replace("weight 1 2\n", "", 2)
    assert len(few.split("weight 1 2")) + 250 == 999
    held = first(read, few)
    assert after(read, few, held).parsed == 0
    many = after(read, text, held)
    assert many.parsed == 1
    assert after(read, text, many.held).parsed == 252


def test_parameters(read: Reader) -> None:
    """What a block uses must mean what it meant, whatever else is defined."""
    text = "$W=3\n$V=$W\n$X=1\n" + START
    text += virtual(real("weight $V"))
    text += virtual(real(), "quorum_up ${_ENV NOTE}", head="10.0.0.2 80")
    text += instance("priority ${_INSTANCE}$X", name="V$W", vrid="$W")
    text = text.replace("${_INSTANCE}", "10")
    read.environ = {"NOTE": "/bin/true"}
    held = first(read, text)
    assert after(read, f"$Y=3\n{text}", held).parsed == 0
    assert after(read, text.replace("$X=1", "$X=2"), held).parsed == 1
    assert after(read, text.replace("$W=3", "$W=4"), held).parsed == 2
    assert after(read, text.replace("$V=$W", "$V=${W}"), held).parsed == 1
    assert after(read, text.replace("$X=1\n", "") + "$X=1\n", held).parsed == 1
    read.environ = {"NOTE": "/bin/check"}
    assert after(read, text, held).parsed == 1


def test_templates(read: Reader) -> None:
    """Their lines count, not where they stand."""
    text = "$IF=eth1\n$COMMON= \\\ninterface $IF\\\nadvert_int 3\n\n$V=1\n" + START
    for number in (1, 2):
        text += f"vrrp_instance V{number} {{\n"
        text += f"$COMMON\nvirtual_router_id {number}\nvirtual_ipaddress {{\n"
        text += f"~SEQ(N,3) 10.0.{number}.${{N}}/24\n}}\n}}\n"
    held = first(read, text)
    assert after(read, f"# more\n{text}", held).parsed == 0
    assert after(read, text.replace("advert_int 3", "advert_int 4"), held).parsed == 2
    assert after(read, text.replace("=eth1", "=eth2"), held).parsed == 2
    assert after(read, text.replace("SEQ(N,3) 10.0.2", "SEQ(N,4) 10.0.2"), held).parsed == 1
    # what is said in a template may be about any block that uses it
    wrong = text.replace("eth1", "eth1 eth2", 1)
    said = after(read, wrong, held)
    assert (said.parsed, len(said.messages)) == (2, 2)
    assert after(read, f"\n{wrong}", said.held).parsed == 0


def test_how_a_block_begins(read: Reader) -> None:
    """The brace on a line of its own, quotes, comments, continued lines."""
    body = "interface eth0\nvirtual_router_id 1\nvirtual_ipaddress {\n10.0.0.1\n}\n}\n"
    for head in (
        "vrrp_instance V1\n{\n",
        "vrrp_instance V1 # mine\n\n{ # more\n",
        'vrrp_instance "V1"{\n',
        "  vrrp_instance V1 { state BACKUP\n",
        "@r1 vrrp_instance V1 {\n",
    ):
        held = first(read, START + head + body)
        assert after(read, f"\n{START}{head}{body}", held).parsed == (
            0 if "mine" not in head else 1
        )
        twice = after(read, START + head + body + head + body, held)
        assert len(twice.messages) == 1


OTHERWISE = [
    pytest.param(virtual("$W=3", real("weight $W")), id="a definition in it"),
    pytest.param("$V= \\\n" + instance()[:-1].replace("\n", "\\\n") + "\n$V\n", id="a template"),
    pytest.param(virtual(real("notify_up /bin/true daemon")), id="a script without account"),
    pytest.param(virtual(real("notify_up true")), id="a script that is looked for"),
    pytest.param(virtual("include more.conf"), id="an include"),
    pytest.param(
        "track_file F {\nfile /run/x\n}\n" + virtual(real(check("FILE_CHECK", "track_file F"))),
        id="a tracked file",
    ),
    pytest.param(
        "virtual_server_group G {\n10.0.0.1 80\n}\n" + virtual(real(), head="group G"), id="a group"
    ),
]


@pytest.mark.parametrize("text", OTHERWISE)
def test_what_is_made_again_but_not_parsed(read: Reader, text: str) -> None:
    """The machine or another block decides about it, or it decides about more than itself."""
    read.file("more.conf", real())
    held = first(read, START + text)
    again = after(read, "# more\n" + START + text, held)
    assert again.blocks == {}
    assert after(read, START + text, again.held).blocks == {}


def test_chance_decides_anew(read: Reader) -> None:
    text = START + virtual(real("weight ${_RANDOM 1 9}"))
    read.path.write_text(text)
    assert reading(read, reading(read, None).held).blocks == {"virtual_server": 1}


def test_scripts(read: Reader) -> None:
    """Taken over, as long as there is nothing to be said of any of them."""
    body = check("MISC_CHECK", "misc_path /bin/check")
    text = (
        START
        + virtual(real(body))
        + virtual(real(body), head="10.0.0.9 80")
        + virtual(real(), "quorum_up /bin/true", head="10.0.0.10 80")
        + instance("notify /bin/true", name="V1", vrid=1)
        + instance("notify_master '/bin/true up'", name="V2", vrid=2, vips="10.0.0.2")
    )
    held = first(read, text)
    assert after(read, text, held).parsed == 0
    other = after(read, text.replace("up'", "down'"), held)
    assert other.parsed == 1
    assert after(read, text, other.held).parsed == 1
    assert after(read, text.replace("user root", "user daemon"), held).parsed == 5
    careless = after(read, text.replace("enable_script_security", ""), held)
    assert (careless.parsed, len(careless.messages)) == (5, 1)
    assert after(read, text, careless.held).parsed == 5
    # said of the first one, whichever that is
    without = text.replace("enable_script_security", "")
    assert after(read, without, careless.held).parsed == 0
    assert after(read, without.replace(virtual(real(body)), ""), careless.held).parsed == 4
    # of two that are written the same, too, although the second is made from the first
    fewer = after(read, START + virtual(real(body)) + virtual(real(body), head="10.0.0.9 80"), held)
    assert fewer.parsed == 0
    del read.host.files["/bin/check"]
    assert len(after(read, text, fewer.held).messages) == 2


def test_accounts_of_scripts(read: Reader) -> None:
    """Looked up again, each once."""
    body = check("MISC_CHECK", "misc_path /bin/check", "user nobody")
    text = (
        START
        + virtual(real(body), real("notify_up /bin/true nobody nogroup", at="10.0.0.3 80"))
        + instance("notify /bin/true nobody :nogroup", name="V1", vrid=1)
    )
    held = first(read, text)
    assert after(read, text, held).parsed == 0
    (command,) = [c for c in held.parts["vrrp"].commands if c.account is not None]
    assert after(read, text.replace("script_user root", "script_user nobody"), held).parsed == 2
    read.host.groups["nogroup"] = 77
    assert after(read, text, held).parsed == 2
    read.host.groups["nogroup"] = 65534
    more = "set_supplementary_groups true\n"
    grouped = after(read, text.replace("script_user", more + "script_user"), held)
    assert grouped.parsed == 2
    assert command.account is not None
    read.host.users["nobody"] = replace(command.account, uid=12)
    assert after(read, text, held).parsed == 2
    del read.host.users["nobody"]
    assert after(read, text, held).parsed == 2


def test_what_decides_on_lines_or_on_the_machine(read: Reader) -> None:
    local = check("TCP_CHECK", "bind_if eth1")
    text = START + virtual("@r1 delay_loop 3", "@r2 delay_loop 5", real(local))
    held = first(read, text)
    assert after(read, text, held).parsed == 0
    read.config_id = "r2"
    assert after(read, text, held).parsed == 1
    read.config_id = "r1"
    read.host.links = frozenset(("eth0",))
    without = after(read, text, held)
    assert (without.parsed, len(without.messages)) == (1, 1)
    read.host.links = None
    assert after(read, text, held).parsed == 1
    read.host.links = frozenset(("eth0", "eth1"))
    assert after(read, text, without.held).messages == ()


def test_what_the_machine_says_of_an_instance(read: Reader) -> None:
    """Names of tables, the size of a link's packets: asked again each time, of statements that are
    kept."""
    text = (
        START
        + instance("virtual_routes {\n10.9.0.0/16 dev eth1 table small\n}", name="V1", vrid=1)
        + instance("interface eth3", name="V2", vrid=2, vips="10.0.0.2/24")
    ).replace("script_user", "vrrp_rx_bufs_policy MTU\nscript_user")
    held = first(read, text)
    assert after(read, text, held).parsed == 0
    read.host.tables["rt_tables"]["small"] = 78
    read.host.mtus["eth3"] = 9000
    assert after(read, text, held).parsed == 0


def test_an_interface_that_does_not_exist(read: Reader) -> None:
    """It is mentioned once, at the first instance: whichever that is now."""
    texts = [
        instance(name=f"V{n}", vrid=n, vips=f"10.0.0.{n}/24", interface="eth9") for n in range(1, 5)
    ]
    held = first(read, START + "".join(texts))
    assert after(read, START + "".join(texts), held).parsed == 0
    assert len(after(read, START + "".join(texts[2:]), held).messages) == 1
    assert len(after(read, START + texts[3], held).messages) == 1


def test_comments_and_quotes(read: Reader) -> None:
    text = START + virtual(
        'lvs_sched "wrr" # as ever', "! the first one", real(TCP), head="10.0.0.1 80"
    ).replace("{", "{ # mine", 1)
    held = first(read, text)
    assert after(read, text, held).parsed == 0
    assert after(read, text.replace("ever", "never"), held).parsed == 1


def test_what_another_version_kept(read: Reader) -> None:
    """The program was replaced while the daemon ran: everything is read."""
    held = first(read, START + servers(3))
    last = Last.of(held.last())
    assert last is not None
    assert Last.of(b"\x81\x01") is None
    memory = msgspec.msgpack.decode(last.memory)
    older = msgspec.msgpack.encode(["0.0", *memory[1:]])
    for kept in (older, b"\x01", msgspec.msgpack.encode(memory[:2])):
        again = load_again(
            read.path, replace(last, memory=kept), config_id="r1", environ={}, host=read.host
        )
        assert again.parsed == {"global_defs": 1, "virtual_server": 3}
        assert again.loaded.messages == ()
    again = load_again(read.path, last, config_id="r1", environ={}, host=read.host)
    assert again.parsed == {}


KINDS = {
    "global_defs": START,
    "vrrp_script": TRACKER,
    "track_file": "track_file F {\nfile /run/x\n}\n",
    "vrrp_track_file": "vrrp_track_file OLD {\nfile /run/y\n}\n",
    "vrrp_track_process": "vrrp_track_process P { process /bin/true }\n",
    "vrrp_sync_group": "vrrp_sync_group G {\ngroup {\nV1\nV2\n}\n}\n",
    "garp_group": "garp_group {\ninterface eth0\ngarp_interval 1\n}\n",
    "track_group": "track_group T {\ngroup {\nV1\n}\n}\n",
    "static_ipaddress": "static_ipaddress\n{\n10.0.9.9 dev eth0 track_group T\n}\n",
    "static_routes": "static_routes {\n10.9.0.0/16 dev eth0 table small\n}\n",
    "static_rules": "static_rules {\nfrom 10.9.0.0/16 table small\n}\n",
    "interface_up_down_delays": "interface_up_down_delays {\neth0 1\n}\n",
    "linkbeat_interfaces": "linkbeat_interfaces {\neth0\n}\n",
    "virtual_server_group": "virtual_server_group W {\n10.4.0.1-7 80\nfwmark 3\n}\n",
    "SSL": "SSL {\npassword secret\n}\n",
    "virtual_server": virtual(real(TCP), head="group W"),
    "vrrp_instance": routers(2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_block(read: Reader, kind: str) -> None:
    """No block is parsed again, wherever it stands now, but those of the kind that has changed."""
    text = "".join(KINDS.values())
    held = first(read, text)
    assert after(read, f"# more\n{text}", held).blocks == {}
    changed = after(read, text.replace(KINDS[kind], KINDS[kind].replace("}", "# x\n}")), held)
    assert list(changed.blocks) == [kind]
    # of what is said in another kind a reload knows as much as a start
    read.file("part.conf", KINDS[kind])
    spread = text.replace(KINDS[kind], "include part.conf\n")
    assert after(read, spread, changed.held).blocks == changed.blocks
    assert after(read, spread, held).blocks == {}


def test_every_kind_is_looked_at() -> None:
    blocks = {
        row.canonical or word
        for word, row in table()[TOP].items()
        if row.type.startswith(("block", "lines")) and row.effect == "done"
    }
    assert blocks <= KINDS.keys()


def test_what_blocks_include(read: Reader) -> None:
    """What was read there counts, and how it was to be read."""
    read.file("more.conf", "priority 7\ninclude deep/*.inc\n")
    read.file("deep/a.inc", "advert_int 3\n")
    text = START + "".join(
        instance("include more.conf", name=f"V{n}", vrid=n, vips=f"10.0.0.{n}") for n in (1, 2)
    )
    text += "vrrp_script S {\ninclude script.conf\n}\n"
    read.file("script.conf", "script /bin/true\n")
    held = first(read, text)
    assert after(read, f"# more\n{text}", held).blocks == {}
    assert after(read, f"include_check readable\n{text}", held).blocks == {
        "vrrp_instance": 2,
        "vrrp_script": 1,
    }
    read.file("script.conf", "script /bin/check\n")
    other = after(read, text, held)
    assert other.blocks == {"vrrp_script": 1}
    read.file("deep/b.inc", "advert_int 4\n")
    assert after(read, text, other.held).blocks == {"vrrp_instance": 2}
    (read.path.parent / "deep/b.inc").unlink()
    read.file("conf.d/more.conf", "priority 8\n")
    read.file("conf.d/part.conf", text.removeprefix(START))
    read.file("conf.d/script.conf", "script /bin/check\n")
    moved = after(read, START + "include conf.d/part.conf\n", other.held)
    assert moved.blocks == {"vrrp_instance": 2, "vrrp_script": 1}


def test_what_blocks_define(read: Reader) -> None:
    """It is defined again for what is behind them; templates at their new place."""
    text = "$W=2\n" + START
    text += "vrrp_script S {\nscript /bin/true\nweight $W\n$W=3\n$T= \\\nfall 2\\\nrise 3\n}\n"
    text += "vrrp_script S2 {\nscript /bin/true\nweight $W\n$T\n}\n"
    held = first(read, text)
    moved = after(read, f"# more\n{text}", held)
    assert moved.blocks == {}
    assert after(read, text.replace("rise 3", "rise 4"), moved.held).blocks == {"vrrp_script": 2}
    assert after(read, text.replace("$W=2", "$W=4"), held).blocks == {"vrrp_script": 1}
    assert after(read, text.replace("$W=3\n", ""), held).blocks == {"vrrp_script": 2}


def test_blocks_that_are_made(read: Reader) -> None:
    """By repetitions and templates, several of one line."""
    text = "$TWO= \\\nvrrp_script A { script /bin/true\\\n}\\\nvrrp_script B { script /bin/true }\n"
    text += START + "$TWO\n~SEQ(N,3) vrrp_script S$N { script /bin/true\n weight $N }\n"
    text += "~SEQ(N,3) vrrp_script T$N { script /bin/true }\n"
    text += "~SEQ(N,1,3) virtual_server 10.1.0.$N 80 { lvs_sched rr }\n"
    held = first(read, text.replace("\n weight $N }", " }"))
    assert after(read, "# more\n" + text.replace("\n weight $N }", " }"), held).blocks == {}


def test_nothing_is_kept_of_a_file_with_errors(read: Reader) -> None:
    read.path.write_text(START + servers(2) + "frob\n")
    assert reading(read, None).held is None


PIECES = (
    START,
    "global_defs {\nsmtp_alert_checker off\n}\n",
    "global_defs {\nvrrp_version 3\nvrrp_garp_master_delay 2\n}\n",
    "# nothing\n\n",
    "$W=3\n",
    "$W=4\n",
    "$REAL= \\\nreal_server 10.3.0.1 80 {\\\nweight 2\\\n}\n",
    "include conf.d/*.conf\n",
    "include_check\n",
    "vrrp_script S2 {\nscript /bin/true\nweight $W\n$W=8\n"
    "$COMMON= \\\npriority 7\\\n\n# x\npreempt_delay 3\n}\n",
    "vrrp_script S3 { script /bin/true\ninclude conf.d/script.inc\n}\n",
    "vrrp_script S4 { script /bin/true weight }\nvrrp_script S5 { script /bin/true }\n",
    "vrrp_script S6 # mine\n{\nscript /bin/true # a\nfall 2#3\n}\n",
    "~SEQ(N,3) vrrp_script R$N { script /bin/true }\n",
    "~SEQ(N,3) vrrp_script R$N { script /bin/true\n~SEQ(N,3) $W=$N\n}}\n",
    "$TWO= \\\nvrrp_script T1 {\\\nscript /bin/true\\\n}\\\nvrrp_script T2 {\\\nscript $X\\\n}\n",
    "$TWO\n",
    "$X=/bin/check\n",
    "@r1 vrrp_script C { script /bin/true }\n@^r1 vrrp_script C { script /bin/check }\n",
    "vrrp_sync_group C {\ngroup {\nV1\ninclude conf.d/member.inc\n}\n@r1 global_tracking\n}\n",
    "garp_group {\ninterface eth0\ngarp_interval 1\n}\n",
    "static_routes {\n10.9.0.0/16 dev eth1 table small\n}\n"
    "static_rules {\nfrom 10.9.0.0/16 table small\n}\n",
    "linkbeat_interfaces {\neth0\n}\n",
    'vrrp_track_process P { process "/bin/true a" }\n',
    "vrrp_script S {\nscript /bin/true\nweight 5\n}\n",
    "vrrp_script S {\nscript /bin/check\n}\n",
    "track_file F {\nfile /run/x\n}\n",
    "virtual_server_group G {\n10.4.0.1 80\n}\n",
    "virtual_server_group G {\n10.4.0.2 80\n10.4.0.3 80\n}\n",
    "vrrp_sync_group A {\ngroup {\nV1\nV2\n}\n}\n",
    "vrrp_sync_group B {\ngroup {\nV1\n}\nsync_group_tracking_weight\n}\n",
    "track_group T {\ngroup {\nV1\n}\n}\nstatic_ipaddress {\n10.0.9.9 dev eth0 track_group T\n}\n",
    "static_ipaddress {\n10.0.0.1/24 dev eth0\n}\n",
    "interface_up_down_delays {\neth0 1\n}\n",
    servers(2),
    virtual(real(TCP), head="10.1.0.1 80"),
    virtual(real(TCP), real("weight $W", at="10.0.0.4 80"), head="10.1.0.5 80"),
    virtual("$REAL", real(), head="10.1.0.6 80"),
    virtual("@r1 quorum 1", "@^r1 quorum 2", real(TCP), real(at="10.0.0.4 80"), head="10.1.0.7 80"),
    virtual(real(check("MISC_CHECK", "misc_path /bin/check")), head="10.1.0.8 80"),
    virtual(real(check("FILE_CHECK", "track_file F")), head="10.1.0.9 80"),
    virtual(real(check("TCP_CHECK", "bind_if eth3")), head="10.1.0.10 80"),
    virtual(real(), head="group G"),
    virtual(real(), "frob 3", head="10.1.0.11 80"),
    virtual(real(), "quorum_up /bin/true", head="10.1.0.12 80"),
    virtual(real(), common=(), head="10.1.0.13 80"),
    "~LST(N,20,21) virtual_server 10.1.0.$N 80 { lvs_sched rr\n real_server 10.0.0.2 80 { }\n}\n",
    "virtual_server 10.1.0.30 80\n{\nprotocol TCP\nlvs_sched rr\nlvs_method NAT\n" + real() + "}\n",
    "virtual_server 10.1.0.31 80 {\n",
    "}\n",
    "{\n",
    instance("priority 50", name="V1", vrid=1),
    instance("priority 60", name="V1", vrid=1),
    instance("priority 50 # more", name="V2", vrid=2, vips="10.0.0.2/24"),
    instance("priority 50", name="V2", vrid=1, vips="10.0.0.1/24"),
    instance("track_script {\nS\n}", name="V3", vrid=3, vips="10.0.0.3/24"),
    instance("track_script {\nS weight 3\n}", name="V3", vrid=3, vips="10.0.0.3/24"),
    instance("track_interface {\neth1 weight 5\n}", name="V4", vrid=4, vips="10.0.0.4/24"),
    instance("track_interface {\neth1\n}", name="V4", vrid=4, vips="10.0.0.4/24"),
    instance("notify /bin/true", name="V5", vrid=5, vips="10.0.0.5/24"),
    instance("notify '/bin/check a' daemon", name="V5", vrid=5, vips="10.0.0.5/24"),
    instance("notify_stop '/bin/check a'", name="V5", vrid=5, vips="10.0.0.5/24"),
    virtual(real("notify_up '/bin/true x'", at="10.0.0.6 80"), head="10.1.0.14 80"),
    "global_defs {\nscript_user daemon\n}\n",
    instance("priority 255", name="V6", vrid=6, vips="10.0.7.5/24"),
    instance("unicast_peer {\n10.0.0.9\n}", "unicast_src_ip 10.0.0.8", name="V7", vrid=7),
    instance("virtual_routes {\n10.9.0.0/16 dev eth1 table small\n}", name="V8", vrid=8),
    instance("use_vmac", "advert_int 0.5", name="V9", vrid=9, interface="eth2"),
    instance("use_vmac", "advert_int 0.5", name="V10", vrid=10, interface="eth2"),
    instance("preempt_delay 4", "state BACKUP", name="V11", vrid=11, vips="10.0.0.1/24 dev eth3"),
    instance("track_virtual_server {\n10.1.0.1 80\n}", name="V12", vrid=12, vips="10.0.0.12"),
    instance("lvs_sync_daemon_interface eth0", name="V13", vrid=13, vips="10.0.0.13"),
    instance("kernel_rx_buf_size MTU", name="V14", vrid=14, vips="10.0.0.14"),
    instance("authentication {\nauth_type PASS\nauth_pass a#b\n}", name="V15", vrid=15),
    START.replace("enable_script_security\n", ""),
    "$COMMON= \\\ninterface eth1 \\\npriority $W\n",
    "$COMMON= \\\ninterface eth1 eth2\\\nvirtual_ipaddress {\\\n10.0.7.1/24\\\n}\n",
    "$V=V16\n$OPEN=$V {\n",
    instance("$COMMON", name="V16", vrid=16, vips="10.0.0.16/24"),
    instance("$COMMON", "priority $W", name="$V", vrid=17, vips="10.0.0.17/24"),
    instance("$COMMON", name="V18", vrid=18, vips="~SEQ(W,40,42) 10.0.0.${W}/24"),
    instance("$W=5", "priority $W", name="V19", vrid=19, vips="10.0.0.19/24"),
    instance("@r1 priority ${_INSTANCE}", "@r2 priority 3", name="V20", vrid=20, vips="10.0.0.20"),
    instance("include conf.d/more.inc", name="V21", vrid=21, vips="10.0.0.21"),
    instance("priority 50", name="V22", vrid=22, vips="10.0.0.22").replace(" {\n", "\n{\n", 1),
    instance("priority 50", name="'V 23'", vrid=23, vips="10.0.0.23").replace(
        " {\n", " { # x\n", 1
    ),
    "vrrp_instance V24 { interface eth0\nvirtual_router_id 24\nvirtual_ipaddress { 10.0.0.24 } }\n",
    "vrrp_instance V25 { \\\ninterface eth0\nvirtual_router_id 25 \\\n}\n",
    "vrrp_instance $OPEN\ninterface eth0\nvirtual_router_id 26\n"
    "virtual_ipaddress {\n10.0.1.1\n}\n}\n",
    "virtual_server 10.1.0.50 80 { } virtual_server 10.1.0.51 80 {\n" + real() + "}\n",
    instance("advert_int 1.2", "interface eth0 eth1", "nopreempt", name="V27", vrid=27),
    instance("notify '/bin/true a' nobody", name="V28", vrid=28, vips="10.0.0.28"),
    instance("state MASTER", name="V29", vrid=29, vips="10.0.0.29/32"),
    instance("track_interface {\neth1 weight 5\n}", "priority 254", name="V30", vrid=30),
    instance("mcast_src_ip 10.0.0.77", name="V31", vrid=31, vips="10.0.0.0/24"),
    virtual(real(check("MISC_CHECK", "misc_path /bin/check", "user nobody :nogroup"))),
    virtual(real("weight 1 2"), real("weight $NONE", at="10.0.0.9 80"), head="10.1.0.15 80"),
    virtual(real("weight ${_ENV W}"), "virtualhost a#b", head="10.1.0.16 80"),
    virtual(real(), "quorum_up /bin/true", "quorum 7", head="10.1.0.17 80"),
)
OF_SCRIPTS = ("", "weight 3\n", "}\nvrrp_script X {\n", "$X=/bin/true\n")
MEMBERS = ("", "V2\n", "V2\n", "V2 # more\n")
MORE = ("priority 3\n", "priority 4\nadvert_int 1.2\n", "$W=9\n", "")
INCLUDED = ("", virtual(real(TCP), head="10.1.0.40 80"), "$W=7\n", instance(name="V40", vrid=40))
FILE = st.lists(st.sampled_from(range(len(PIECES))), max_size=7)


def _machine(read: Reader, number: int) -> None:
    """One of several states of the machine."""
    read.host = type(read.host)()
    read.config_id, read.environ = "r1", {"W": "3"}
    if number == 1:
        read.host.links = frozenset(("lo", "eth0", "eth2"))
    elif number == 2:
        del read.host.files["/bin/check"]
    elif number == 3:
        read.host.give("eth0", "10.0.0.8/24")
        read.host.give("eth2", "192.0.2.1/24")
    elif number == 4:
        read.config_id = "r2"
    elif number == 5:
        read.host.links = None
    elif number == 7:
        read.host.files["/bin/true"] = read.host.files["/bin/true"]._replace(uid=5)
    elif number == 8:
        read.host.users["nobody"] = replace(read.host.users["nobody"], gid=5)
    elif number == 9:
        read.environ["W"] = "9"
        read.host.without_multicast.add("eth2")
    elif number == 6:
        read.host.mtus = {"eth0": 9000}
        read.host.tables["rt_tables"]["small"] = 78


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[list[int], int, int]]:
    """Configurations one after the other, each mostly like the one before: pieces, what is
    included, the machine."""
    pieces, included, machine = draw(FILE), draw(st.integers(0, 3)), draw(st.integers(0, 9))
    history = [(pieces, included, machine)]
    for _ in range(3):
        pieces = list(pieces)
        change = draw(st.integers(0, 6))
        where = draw(st.integers(0, len(pieces)))
        if change == 0:
            pieces.insert(where, draw(st.sampled_from(range(len(PIECES)))))
        elif change == 1:
            del pieces[where : where + 1]
        elif change == 2:
            pieces[where : where + 1] = [draw(st.sampled_from(range(len(PIECES))))]
        elif change == 3:
            pieces.reverse()
        elif change == 4:
            included = draw(st.integers(0, 3))
        elif change == 5:
            machine = draw(st.integers(0, 9))
        history.append((pieces, included, machine))
    return history


@settings(max_examples=200, deadline=None)
@given(history=histories())
def test_after_any_other_configuration(
    history: list[tuple[list[int], int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    read = Reader(tmp_path_factory.mktemp("remembered", numbered=True))
    held = None
    for pieces, included, machine in history:
        _machine(read, machine)
        read.file("conf.d/a.conf", INCLUDED[included])
        read.file("conf.d/more.inc", MORE[included])
        read.file("conf.d/script.inc", OF_SCRIPTS[included])
        read.file("conf.d/member.inc", MEMBERS[included])
        found = after(read, "".join(PIECES[number] for number in pieces), held)
        held = found.held or held  # what has errors does not come into effect


def test_the_corpus(tmp_path: Path) -> None:
    """For one of three keywords a configuration: further down, and after it the next one."""
    read: Any = Reader(tmp_path)
    read.host = Here()
    good = [case for case in cases() if case.kind == "good" and "_RANDOM" not in case.text]
    assert len(good) > 600
    held = None
    for case in good[::3]:
        held = reading_of(read, case.text, held)
        held = reading_of(read, f"# one line more\n{case.text}", held)


def reading_of(read: Reader, text: str, before: Held | None) -> Held:
    held = after(read, text, before).held
    assert held is not None
    return held
