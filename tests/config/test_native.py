"""The native format: what YAML says reaches the model, and mistakes are named where they stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from config_reading import FakeHost, short, texts
from native_documents import read_yaml

from fastvrrp.config.load import load
from fastvrrp.config.model import NS_PER_S, Configuration, Loaded, Severity
from fastvrrp.config.servers import HttpCheck, TcpCheck

Read = Callable[[str], Loaded]
ONE = """
instances:
  V:
    interface: eth0
    virtual_router_id: 1
    addresses: [10.0.0.1/24]
"""


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return lambda text: read_yaml(tmp_path, text)


def good(loaded: Loaded) -> Configuration:
    assert loaded.configuration is not None, texts(loaded)
    assert texts(loaded) == []
    return loaded.configuration


def test_an_instance(read: Read) -> None:
    (found,) = good(
        read("""
        global: {vrrp_garp_master_delay: 2s, enable_script_security: true, script_user: root}
        track_scripts:
          chk: {script: /bin/check "a b", interval: 100ms, weight: -10}
        instances:
          VI_1:
            interface: eth0
            version: 3
            virtual_router_id: 51
            priority: 150
            advert_int: 50ms
            preempt: false
            accept: false
            addresses:
              - 10.0.0.1/24
              - {address: 10.0.0.2/24, dev: eth1, label: "eth1:x"}
            routes:
              - {to: 10.6.0.0/16, via: 10.0.0.9, dev: eth0, metric: 5}
              - 10.7.0.0/16 via 10.0.0.9 dev eth0
            track_scripts: [chk]
            track_interfaces: [{interface: eth2, weight: -20}]
            notify_master: {command: [/bin/true, "two words"], user: nobody}
        """)
    ).vrrp_instances
    assert (found.name, found.virtual_router_id, found.priority) == ("VI_1", 51, 150)
    assert found.advert_int_ns == NS_PER_S // 20
    assert found.nopreempt
    assert not found.accept
    assert [a.address for a in found.virtual_ipaddress] == ["10.0.0.1", "10.0.0.2"]
    assert found.virtual_ipaddress[1].label == "eth1:x"
    assert [r.destination for r in found.virtual_routes] == ["10.6.0.0/16", "10.7.0.0/16"]
    assert found.virtual_routes[0].metric == 5
    assert found.track_script[0].weight == -10
    assert found.track_interface[0].weight == -20
    assert found.garp.master_delay_s == 2
    assert found.notify.notify_master is not None
    assert found.notify.notify_master.argv == ("/bin/true", "two words")
    assert found.notify.notify_master.account is not None
    assert found.notify.notify_master.account.user == "nobody"
    assert found.position is not None
    assert (found.position.line, found.position.column) == (6, 3)


def test_a_hundred_instances_in_ten_lines(read: Read) -> None:
    found = good(
        read("""
        defaults:
          instances: {interface: eth0, version: 3, advert_int: 100ms}
        instances:
          vlan<n>:
            for: {n: 1..100}
            virtual_router_id: <n>
            priority: <n+100>
            addresses: [10.1.<n>.1/24, 10.2.<n>.1/24]
        """)
    ).vrrp_instances
    assert len(found) == 100
    assert found[41].name == "vlan42"
    assert (found[41].virtual_router_id, found[41].priority) == (42, 142)
    assert found[41].virtual_ipaddress[1].address == "10.2.42.1"
    assert {i.advert_int_ns for i in found} == {NS_PER_S // 10}


def test_templates_and_what_overrides_them(read: Read) -> None:
    found = good(
        read("""
        defaults:
          instances: {interface: eth0, priority: 50, garp_master_delay: 1s}
        templates:
          instances:
            base: {garp_master_delay: 2s, authentication: {auth_type: PASS, auth_pass: one}}
            edge: {template: base, preempt: false, priority: 60}
        instances:
          A: {template: edge, virtual_router_id: 1, addresses: [10.0.0.1/24]}
          B:
            template: [edge]
            virtual_router_id: 2
            preempt: true
            priority: 70
            authentication: {auth_pass: two}
            addresses: [10.0.0.2/24]
        """)
    ).vrrp_instances
    assert [i.priority for i in found] == [60, 70]
    assert [i.nopreempt for i in found] == [True, False]
    assert [i.garp.master_delay_s for i in found] == [2, 2]
    assert [i.auth_pass.rstrip(b"\0") for i in found] == [b"one", b"two"]


def test_one_file_for_both_nodes(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(ONE + "nodes:\n  r1: {instances: {V: {priority: 200}}}\n  r2: {}\n")
    for node, priority in (("r1", 200), ("r2", 100), ("r3", 100)):
        loaded = load(path, config_id=node, environ={}, host=FakeHost())
        assert good(loaded).vrrp_instances[0].priority == priority


def test_virtual_servers(read: Read) -> None:
    first, second = good(
        read("""
        virtual_server_groups:
          web: [10.0.0.7:80, "10.0.0.10-12:80", {fwmark: 5, family: inet}]
        defaults:
          virtual_servers: {protocol: TCP, scheduler: rr, method: NAT}
        virtual_servers:
          - address: 10.0.0.1:80
            delay_loop: 5s
            checks:
              - tcp: {connect_timeout: 300ms}
            real_servers:
              - 10.0.1.1:80
              - {address: 10.0.1.2:80, weight: 3, checks: [{http: {url: {path: /}}}, tcp]}
              - {for: {n: 3..5}, address: "10.0.1.<n>:80"}
            sorry_server: 10.0.1.9:80
          - group: web
            method: {method: TUN, type: gue, port: 6080}
            real_server_defaults: {weight: 7}
            real_servers: 10.0.2.1:80
        """)
    ).ipvs.virtual_servers
    assert [s.address for s in first.real_servers] == [f"10.0.1.{n}" for n in range(1, 6)]
    assert isinstance(first.real_servers[0].checks[0], TcpCheck)
    assert first.real_servers[0].checks[0].connection.timeout_ns == 300_000_000
    assert first.real_servers[0].checks[0].schedule.delay_loop_ns == 5 * NS_PER_S
    assert [type(c) for c in first.real_servers[1].checks] == [HttpCheck, TcpCheck]
    assert first.sorry_server is not None
    assert first.sorry_server.port == 80
    assert second.group == "web"
    assert [s.count for s in second.services] == [1, 3, 1]
    assert second.real_servers[0].weight == 7
    assert second.real_servers[0].forwarding.tunnel_port == 6080


def test_includes_and_directories(tmp_path: Path) -> None:
    """In YAML global reaches what other files say, whatever their order."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/20-old.conf").write_text(
        "vrrp_instance OLD {\n interface eth1\n virtual_router_id 2\n"
        " virtual_ipaddress {\n 10.0.1.1/24\n }\n}\n"
    )
    (tmp_path / "conf.d/10-v.yaml").write_text(ONE)
    main = tmp_path / "main.yaml"
    main.write_text("include: conf.d/*\nglobal: {vrrp_garp_master_delay: 3s}\n")
    found = good(load(main, config_id="r1", environ={}, host=FakeHost()))
    assert {i.name: i.garp.master_delay_s for i in found.vrrp_instances} == {"OLD": 3, "V": 3}
    assert len(found.source_files) == 3
    again = good(load(tmp_path / "conf.d", config_id="r1", environ={}, host=FakeHost()))
    assert {i.name for i in again.vrrp_instances} == {"OLD", "V"}


def test_an_include_circle_and_a_missing_file(tmp_path: Path) -> None:
    main = tmp_path / "main.yaml"
    main.write_text("include: [main.yaml, gone.yaml]\n")
    loaded = load(main, config_id="r1", environ={}, host=FakeHost())
    said = [short(m) for m in loaded.messages]
    assert said[0].startswith("1:11: error: include circle: ")
    assert said[1] == "1:22: error: no file matches 'gone.yaml'; create it or remove this"


def test_an_empty_directory_is_a_message(tmp_path: Path) -> None:
    loaded = load(tmp_path, host=FakeHost())
    assert loaded.configuration is None
    assert "the directory has no configuration" in loaded.messages[0].text


WRONG = {
    "instnces: {}": "1:1: error: unknown section 'instnces'; did you mean instances?",
    "vrrp_instance: {}": "1:1: error: unknown section 'vrrp_instance'; write instances",
    "router_id: x": "1:1: error: unknown section 'router_id'; write router_id to global",
    "instances: 5": "1:12: error: instances is not what is wanted; write KEY: VALUE lines",
    "instances:": "1:11: error: instances cannot be nothing; write KEY: VALUE lines",
    "[a, b]": "1:1: error: this is no configuration; write instances: and the like",
    "a: [": "1:4: error: not YAML: did not find expected node content; compare the indentation "
    "with the lines above, and quote what has ': ' or ' #' in it",
    "a: *x": "1:4: error: an alias of nothing above; quote the word if it is meant literally",
    "a: &x [*x]": "1:8: error: an alias within what it stands for; quote the word if it is meant "
    "literally",
    "a: 1\n---\nb: 1": "2:1: error: a second document; write it to a file of its own",
    "[" * 100_000: "1:51: error: more than 50 levels; write fewer",
    "# a\n# b\rglobal: {}": "2:4: error: a carriage return within a line; end each line with "
    "a line feed",
    "{global: {}, global: {}}": "1:14: error: 'global' is there already; the first one is in "
    "line 1; keep one",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:20])
def test_what_is_no_configuration(read: Read, text: str) -> None:
    assert texts(read(text)) == [WRONG[text]]


WRONG_KEYS = {
    "prioritty: 5": "7:5: error: unknown key 'prioritty'; did you mean priority?",
    "virtual_ipaddress: [a]": "7:5: error: unknown key 'virtual_ipaddress'; write addresses",
    "nopreempt: true": "7:5: error: unknown key 'nopreempt'; write preempt: false",
    "priority: 300": "7:15: error: priority is not a number from 1 to 255: '300'; write a number "
    "from 1 to 255",
    "priority: '100'": "7:15: error: priority is not what is wanted; write a number from 1 to 255",
    "priority:": "7:14: error: priority cannot be nothing; write a number from 1 to 255",
    "advert_int: 1": "7:17: error: advert_int has no unit; write a number with a unit, e.g. 100ms "
    "or 5s",
    "advert_int: 1 s": "7:17: error: advert_int is not what is wanted; write a number with a "
    "unit, e.g. 100ms or 5s; units are us, ms, s, min, h or d",
    "garp_master_delay: 1500ms": "7:24: error: garp_master_delay is no whole number of s; write "
    "whole s",
    "smtp_alert: yes": "7:17: error: smtp_alert is not what is wanted; write true or false",
    "vrf: on": "7:10: error: vrf is a truth value; put the word in quotes",
    "state: master": "7:12: error: state is not what is wanted; did you mean MASTER?",
    "track_scripts: [chk]": "7:21: error: V: there is no track_script 'chk'; define track_script "
    "chk above",
    "unicast_peers: [{adress: 10.0.0.2}]": "7:22: error: unknown key 'adress'; did you mean "
    "address?",
    "unicast_peers: [{min_ttl: 5}]": "7:21: error: unicast_peers has no address; add address: ...",
    "unicast_peers: [{address: 10.0.0.2, ttl: 5}]": "7:41: error: unknown key 'ttl'; did you mean "
    "min_ttl?",
    "notify: {command: /bin/true, usr: x}": "7:34: error: unknown key 'usr'; did you mean user?",
    "authentication: [auth_pass]": "7:21: error: authentication cannot be a list; write KEY: "
    "VALUE lines",
    "template: edge": "7:15: error: there is no template 'edge' for instances; write it to "
    "templates: instances: edge:",
    "rules: [{from: 10.1.0.0/16, sport: 7-6, table: 5}]": "7:40: error: sport is not a range: "
    "'7-6'; write FIRST-LAST, both from 0 to 65535",
    "for: {n: 1-5}": "7:14: error: V is not what is wanted; write {n: 1..100} or {n: [a, b, c]}",
    "for: {n: 1..3, m: [a]}": "7:10: error: the variables of a for do not have equally many "
    "values; they count together: write as many for each",
}


@pytest.mark.parametrize("line", WRONG_KEYS)
def test_wrong_keys_and_values(read: Read, line: str) -> None:
    assert texts(read(f"{ONE}    {line}\n"), Severity.ERROR) == [WRONG_KEYS[line]]


def test_a_wrong_default_is_said_once(read: Read) -> None:
    text = "defaults: {instances: {priority: 300, interface: eth0}}\ninstances:\n"
    blocks = [f"  V{n}: {{virtual_router_id: {n}, addresses: [10.0.{n}.1]}}" for n in range(1, 9)]
    assert texts(read(text + "\n".join(blocks))) == [
        "1:34: error: priority is not a number from 1 to 255: '300'; write a number from 1 to 255"
    ]


def test_messages_speak_yaml(read: Read) -> None:
    loaded = read("instances: {V: {interface: eth0, virtual_router_id: 1, version: 3}}\n")
    assert texts(loaded) == [
        "1:13: error: V: there is no virtual address; add addresses: [ADDRESS], or "
        "no_virtual_ipaddress: true"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "authentication: {auth_type: PASS, auth_pass: [hunter2]}",
        "authentication: {auth_type: PASS, auth_pass: {hunter2: 1}}",
        "authentication: {auth_type: PASS, auth_pas: hunter2}",
        "authentication: {auth_type: hunter2}",
        "authentication: hunter2",
        "authentication: {auth_type: PASS, auth_pass: *hunter2}",
        "authentication: {auth_type: PASS, auth_pass: 'hunter2}",
        'authentication: {auth_type: PASS, auth_pass: "\\qhunter2"}',
        "authentication: {auth_type: PASS, auth_pass: !hunter2 x}",
    ],
)
def test_secrets_are_in_no_message(read: Read, line: str) -> None:
    loaded = read(f"{ONE}    {line}\n")
    assert loaded.configuration is None
    assert "hunter2" not in " ".join(map(str, loaded.messages))


def test_an_unused_template_is_a_warning(read: Read) -> None:
    loaded = read("templates: {instances: {edge: {priority: 5}}}\n" + ONE)
    assert texts(loaded) == [
        "1:25: warning: the template 'edge' of instances is not used; remove it, or name it"
    ]
