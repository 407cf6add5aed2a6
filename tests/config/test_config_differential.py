"""What keepalived accepts we accept, and what it refuses we refuse: `keepalived -t` beside us.

keepalived's exit codes: 0 fine, 6 fine but scripts run without script security, 2 a missing
argument, 5 anything that it mends or leaves out. What it mends we warn about; what it leaves out
is an error for us, as is an unknown keyword.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beside_keepalived import Here, both
from config_reading import instance

from fastvrrp.config.load import load
from fastvrrp.config.model import NS_PER_S, Severity

pytestmark = [pytest.mark.interop, pytest.mark.netns]

SECURE = "global_defs {\n enable_script_security\n script_user root\n}\n"
SCRIPT = SECURE + "vrrp_script S {\n script /bin/true\n interval 2\n weight -5\n}\n"
PAIR = instance(interface="lan0") + instance(interface="lan0", name="W", vrid=2)


def one(*lines: str, vips: str = "10.0.0.1/24") -> str:
    return instance(*lines, vips=vips, interface="lan0")


VALID = {
    "empty": "",
    "plain": one(),
    "owner": one("state MASTER", "priority 255"),
    "not preempting": one("state BACKUP", "nopreempt"),
    "preempt delay": one("preempt_delay 5"),
    "password": one("authentication {", "auth_type PASS", "auth_pass secret12", "}"),
    "password in two blocks": one(
        "authentication {\nauth_type PASS\n}", "authentication {\nauth_pass secret12\n}"
    ),
    "version 3": one("version 3", "advert_int 0.25"),
    "IPv6": one("version 3", vips="fe80::1/64\n2001:db8::1/64"),
    "unicast": one("unicast_src_ip 10.0.0.5", "unicast_peer {", "10.0.0.6", "}"),
    "prefix length of a source": one(
        "unicast_src_ip 10.0.0.5/24", "unicast_peer {", "10.0.0.6/24", "}"
    ),
    "addresses": one(
        vips="10.0.0.1/24 brd + label lan0:1 scope global\n10.0.0.2 dev lan0\n"
        "10.0.0.3/24 brd 10.0.0.255 noprefixroute preferred_lft 0 no_track"
    ),
    "excluded": one("virtual_ipaddress_excluded {", "10.1.0.1", "fe80::1", "}"),
    "routes": one(
        "virtual_routes {",
        "10.1.0.0/16 via 10.0.0.9 dev lan0",
        "src 10.0.0.5 to 10.2.0.0/16 via 10.0.0.9 dev lan0 metric 5",
        "10.3.0.0/16 dev lan0 mtu lock 1000 rtt 100ms initcwnd 10 realms 1/2 no_track",
        "default6 via fe80::1 dev lan0",
        "}",
    ),
    "rules": one(
        "virtual_rules {",
        "from 10.0.0.0/8 table 5 preference 10",
        "fwmark 0x10/0xff lookup main priority 11",
        "from 10.0.0.0/8 goto 50 priority 12",
        "}",
    ),
    "garp": one("garp_master_delay 1", "garp_master_repeat 2", "garp_master_refresh 60"),
    "flags": one("dont_track_primary", "accept", "lower_prio_no_advert", "smtp_alert no"),
    "script": SCRIPT + one("track_script {", "S weight 3 reverse", "}"),
    "interface tracking": one("track_interface {", "lan1 weight -50", "}"),
    "process": "vrrp_track_process P {\n process nginx\n weight 5\n delay 1\n}\n"
    + one("track_process {", "P", "}"),
    "file": "track_file F {\n file /tmp/x\n weight 2\n}\n" + one("track_file {", "F", "}"),
    "notify": SECURE + one('notify_master "/bin/true a"', "notify /bin/true root root"),
    "without script security": one("notify /bin/true"),
    "group": PAIR + "vrrp_sync_group G {\n group {\n V\n W\n }\n}\n",
    "definitions": "$P=10\n$B=${P}0\n" + one("priority $B"),
    "template": "$T= \\\n priority 10 \\\n nopreempt\n" + one("$T"),
    "sequence": one("virtual_ipaddress_excluded {", "~SEQ(A,1,3) 10.0.1.$A", "}"),
    "list": one("virtual_ipaddress_excluded {", "~LST({A,B},{1,2},{3,4}) 10.0.${A}.${B}", "}"),
    "conditions": one("@nobody frob", "@^nobody priority 5"),
    "comments": "! c\n# c\n" + one("priority 5 # c", "priority 6 ! c"),
    "braces below": "vrrp_instance V\n{\ninterface lan0\nvirtual_router_id 1\n"
    "virtual_ipaddress\n{\n10.0.0.1\n}\n}\n",
    "glued braces": "vrrp_instance V{\ninterface lan0\nvirtual_router_id 1\n"
    "virtual_ipaddress{\n10.0.0.1}\n}\n",
    "text behind a brace": one("authentication {", "auth_type PASS", "auth_pass x } priority 5"),
    "global": "global_defs {\n router_id x\n vrrp_garp_interval 0.01\n vrrp_startup_delay 1\n"
    " vrrp_mcast_group4 224.0.0.19\n notification_email {\n a@x\n }\n dynamic_interfaces\n}\n"
    + one(),
    "ipvs": "virtual_server 10.0.0.1 80 {\n delay_loop 6\n lb_algo rr\n lb_kind NAT\n"
    " protocol TCP\n real_server 10.0.0.2 80 {\n weight 1\n TCP_CHECK {\n connect_timeout 3\n"
    " }\n }\n}\n",
    "static": "static_ipaddress {\n 10.5.0.1/24 dev lan0\n}\nstatic_routes {\n"
    " 10.6.0.0/16 via 10.5.0.9 dev lan0\n}\n",
    "same id, other family": one() + instance(name="W", interface="lan0", vips="fe80::1"),
    "same id, other group": one() + instance("mcast_dst_ip 224.0.0.99", name="W", interface="lan0"),
}

# Mended by keepalived (5): we warn and go on.
MENDED = {
    "priority": one("priority 300"),
    "not a number": one("priority abc"),
    "interval": one("advert_int 0.5"),
    "state": one("state FOO"),
    "long password": one("authentication {", "auth_type PASS", "auth_pass 123456789", "}"),
    "empty password": one("authentication {", "auth_type PASS", 'auth_pass ""', "}"),
    "TTL without peers": one("unicast_ttl 5"),
    "impossible TTL": one("unicast_peer {", "10.0.0.6 min_ttl 9 max_ttl 5", "}"),
    "nobody gets mail": "global_defs {\n notification_email {\n }\n}\n" + one(),
    "no pace": "global_defs {\n vrrp_garp_interval 0\n}\n" + one(),
    "no password": one("authentication {", "auth_type PASS", "}"),
    "password of version 3": one(
        "version 3", "authentication {", "auth_type PASS", "auth_pass x", "}"
    ),
    "preempting master": one("state MASTER", "priority 9", "nopreempt"),
    "no peers": one("unicast_src_ip 10.0.0.5"),
    "prefix length": one(vips="10.0.0.1/33"),
    "label of IPv6": one("version 3", vips="fe80::1 label x"),
    "rule without preference": one("virtual_rules {", "from 10.0.0.0/8 table 5", "}"),
    "untracked route": one("virtual_routes {", "10.1.0.0/16 via 10.0.0.9", "}"),
    "weight": one("track_interface {", "lan1 weight 254", "}"),
    "strict": one("strict_mode", "preempt_delay 5"),
    "no addresses": "vrrp_instance V {\n interface lan0\n virtual_router_id 1\n}\n",
    "missing program": SECURE
    + "vrrp_script S {\n script /bin/nothing\n}\n"
    + one("track_script {", "S", "}"),
    "sync group of one": one() + "vrrp_sync_group G {\n group {\n V\n }\n}\n",
    "weight in a group": SCRIPT
    + instance("track_script {", "S", "}", interface="lan0")
    + instance(interface="lan0", name="W", vrid=2)
    + "vrrp_sync_group G {\n group {\n V\n W\n }\n}\n",
    "deprecated": one("lvs_sync_daemon_interface lan0"),
    "too many addresses": one(vips="\n".join(f"10.1.{i // 200}.{i % 200 + 1}" for i in range(300))),
}

# Left out, or fatal: we refuse the file.
REFUSED = {
    "missing argument": one("priority"),
    "unknown keyword": one("frob 1"),
    "unknown block": "frob {\n a b\n}\n",
    "bad VRID": one("virtual_router_id 300"),
    "no VRID": "vrrp_instance V {\n interface lan0\n virtual_ipaddress {\n 10.0.0.1\n }\n}\n",
    "no interface": "vrrp_instance V {\n virtual_router_id 1\n virtual_ipaddress {\n 10.0.0.1\n"
    " }\n}\n",
    "loopback": one("interface lo"),
    "no address of version 3": "vrrp_instance V {\n interface lan0\n virtual_router_id 1\n"
    " version 3\n}\n",
    "bad address": one(vips="10.0.0.300"),
    "bad option": one(vips="10.0.0.1 foo"),
    "closing brace too many": one() + "}\n",
    "closing brace missing": one()[:-2],
    "name missing": "vrrp_instance {\n interface lan0\n virtual_router_id 1\n}\n",
    "same name": one() + one(),
    "same VRID": one() + instance(name="W", interface="lan0"),
    "unknown tracker": one("track_script {", "nope", "}"),
    "unknown member": PAIR + "vrrp_sync_group G {\n group {\n V\n W\n X\n }\n}\n",
    "member of two groups": PAIR
    + "vrrp_sync_group G {\n group {\n V\n W\n }\n}\n"
    + "vrrp_sync_group H {\n group {\n V\n W\n }\n}\n",
    "bad route": one("virtual_routes {", "10.0.0.0/8 via fe80::1 dev lan0", "}"),
    "bad rule": one("virtual_rules {", "from 10.0.0.0/8", "}"),
    "rule to table 0": one("virtual_rules {", "from 10.0.0.0/8 table 0 preference 5", "}"),
    "two interfaces of an address": one(vips="10.0.0.1/24 dev lan0 dev lan1"),
    "bad sequence": one("~SEQ(A,1,0,3) priority 1"),
    "unclosed quote": one('notify "/bin/true'),
    "peer of another family": one("unicast_peer {", "fe80::1", "}"),
    "option of IPVS": "virtual_server 10.0.0.1 80 {\n frob\n}\n",
}


@pytest.mark.parametrize("case", VALID)
def test_valid_for_both(tmp_path: Path, namespace: str, case: str) -> None:
    code, complaints, loaded = both(tmp_path, namespace, VALID[case])
    assert code in (0, 6), complaints
    assert [c for c in complaints if "SECURITY VIOLATION" not in c] == []
    assert [str(m) for m in loaded.messages if m.severity is Severity.ERROR] == []
    assert loaded.configuration is not None


@pytest.mark.parametrize("case", MENDED)
def test_mended_by_both(tmp_path: Path, namespace: str, case: str) -> None:
    code, complaints, loaded = both(tmp_path, namespace, MENDED[case])
    assert code in (4, 5), complaints
    assert complaints
    assert loaded.configuration is not None, [str(m) for m in loaded.messages]
    assert loaded.messages


@pytest.mark.parametrize("case", REFUSED)
def test_left_out_by_keepalived_and_refused_by_us(
    tmp_path: Path, namespace: str, case: str
) -> None:
    code, complaints, loaded = both(tmp_path, namespace, REFUSED[case])
    assert code in (2, 4, 5)
    assert complaints
    assert loaded.configuration is None


def test_a_missing_argument_is_fatal_for_both(tmp_path: Path, namespace: str) -> None:
    code, _, loaded = both(tmp_path, namespace, one("priority"))
    assert code == 2
    assert loaded.configuration is None


SETTINGS = [
    ["advert_int 0.5"],
    ["advert_int 1.5"],
    ["advert_int 2.5"],
    ["version 3", "advert_int 0.015"],
    ["version 3", "advert_int 1.2345"],
    ["version 3", "advert_int 41"],
    ["priority 300", "state MASTER"],
    ["state MASTER"],
    ["state MASTER", "priority 200", "nopreempt"],
    ["nopreempt", "preempt_delay 5"],
    ["preempt_delay 7"],
    ["state MASTER", "priority 150", "preempt_delay 3"],
    ["priority 255", "nopreempt"],
    ["garp_master_delay 9", "garp_master_repeat 2"],
    ["garp_lower_prio_repeat 1", "garp_master_refresh 60", "garp_master_refresh_repeat 3"],
    ["strict_mode", "garp_lower_prio_repeat 3"],
    ["no_accept"],
    ["strict_mode", "version 3", "accept"],
    ["lower_prio_no_advert", "higher_prio_send_advert"],
    ["skip_check_adv_addr off"],
    ["promote_secondaries", "dont_track_primary"],
    ["authentication {", "auth_type PASS", "auth_pass 123456789", "}"],
    ["authentication {\nauth_type PASS\n}", "authentication {\nauth_pass x\n}"],
]


def test_the_same_values(tmp_path: Path, namespace: str) -> None:
    """What keepalived reports of its running instances is what our model says."""
    text = "global_defs {\n vrrp_garp_master_delay 7\n vrrp_garp_master_repeat 4\n}\n"
    for number, lines in enumerate(SETTINGS, 1):
        address = f"10.9.{number}.1"
        text += instance(*lines, name=f"V{number}", vrid=number, vips=address, interface="lan0")
    path = tmp_path / "k.conf"
    path.write_text(text)
    configuration = load(path, config_id="r1", environ={}, host=Here()).configuration
    assert configuration is not None
    reported = dump(path, namespace)
    assert set(reported) == {found.name for found in configuration.vrrp_instances}
    for found in configuration.vrrp_instances:
        there = reported[found.name]
        garp = found.garp
        here = {
            "vrid": found.virtual_router_id,
            "version": found.version,
            "base_priority": found.priority,
            "adver_int": found.advert_int_ns / NS_PER_S,
            "nopreempt": found.nopreempt,
            "preempt_delay": found.preempt_delay_ns / NS_PER_S,
            "accept": int(found.accept),
            "strict_mode": int(found.strict_mode),
            "lower_prio_no_advert": int(found.lower_prio_no_advert),
            "skip_check_adv_addr": int(found.skip_check_adv_addr),
            "dont_track_primary": int(found.dont_track_primary),
            "promote_secondaries": found.promote_secondaries,
            "garp_delay": garp.master_delay_s,
            "garp_rep": garp.master_repeat,
            "garp_refresh": garp.master_refresh_s,
            "garp_refresh_rep": garp.master_refresh_repeat,
            "garp_lower_prio_delay": garp.lower_prio_delay_s,
            "garp_lower_prio_rep": garp.lower_prio_repeat,
            "auth_type": found.auth_type,
        }
        assert here == {name: there.get(name) for name in here}, found.name


def dump(path: Path, namespace: str) -> dict[str, dict[str, Any]]:
    """The `data` objects of a running keepalived, by instance name."""
    directory = path.parent
    pid_file = directory / "parent.pid"
    words = ["ip", "netns", "exec", namespace, "keepalived", "-n", "-l", "-G", "-f", str(path)]
    words += ["-p", str(pid_file), "-r", str(directory / "vrrp.pid")]
    words += ["-c", str(directory / "check.pid"), "-b", str(directory / "bfd.pid")]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            words,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(directory)},
        )
    try:
        wait_for(lambda: b"Entering BACKUP STATE" in (directory / "log").read_bytes())
        target = directory / "keepalived.json"

        def asked() -> bool:
            # Signals before its initialisation has ended are lost on keepalived.
            os.kill(int(pid_file.read_text()), signal.SIGRTMIN + 2)
            return target.exists() and target.read_bytes().rstrip().endswith(b"]")

        wait_for(asked)
        return {entry["data"]["iname"]: entry["data"] for entry in json.loads(target.read_text())}
    finally:
        process.terminate()
        process.wait(15)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "keepalived does not answer"
        time.sleep(0.1)
