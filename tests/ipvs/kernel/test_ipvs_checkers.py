"""Every kind of checker in the whole daemon, with real servers: the table beside keepalived's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lvs_scene import METHODS, Scene, Table, compare, destinations

from keepalived_text import block

VIP = METHODS["NAT"][4]
WEIGHT = 10

# id 1234, recursion desired, one question: good.example A IN
QUERY = "1234 0100 0001 0000 0000 0000 04676f6f64 076578616d706c65 00 0001 0001"

# name -> port of the real server, checker; {} in a name of a file is the real server's
CHECKERS = {
    "tcp": (80, block("TCP_CHECK")),
    "http": (80, block("HTTP_GET", block("url", "path /"))),
    "https": (443, block("SSL_GET", block("url", "path /", "status_code 200-299"))),
    "smtp": (25, block("SMTP_CHECK", "helo_name balancer.example")),
    "dns": (53, block("DNS_CHECK", "type A", "name good.example", "retry 1")),
    "udp": (53, block("UDP_CHECK")),
    "udp reply": (53, block("UDP_CHECK", f"payload {QUERY}", "require_reply 1234 8XXX 0001")),
    "ping": (80, block("PING_CHECK")),
    "misc": (80, block("MISC_CHECK", "misc_path {}/misc", "misc_timeout 20")),
    "dynamic": (80, block("MISC_CHECK", "misc_path {}/dynamic", "misc_timeout 20", "misc_dynamic")),
    "file": (80, block("FILE_CHECK", "track_file {}-load", "weight 2")),
    "switch": (80, block("FILE_CHECK", "track_file {}-off", "weight 0")),
    "two": (80, block("TCP_CHECK") + "\n" + block("SMTP_CHECK", "connect_port 25")),
}
NAMES = ("r2", "r3")
PORTS = {name: 1000 + number for number, name in enumerate(CHECKERS)}


class World:
    """What the scripts and files say about each real server."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.rmtree(directory, ignore_errors=True)
        for name in NAMES:
            (directory / name).mkdir(parents=True)
            for what in ("misc", "dynamic"):
                self.status(name, what, 0)
                script = directory / name / what
                script.write_text(f"#!/bin/sh\nexit $(cat {script}.status)\n")
                script.chmod(0o755)
            for what in ("load", "off"):
                self.value(name, what, 0)

    def status(self, name: str, script: str, status: int) -> None:
        """What a script exits with from now on."""
        new = self.directory / "new"
        new.write_text(str(status))
        new.rename(self.directory / name / f"{script}.status")  # it never reads a half

    def value(self, name: str, file: str, value: int) -> None:
        (self.directory / name / file).write_text(f"{value}\n")


def configuration(scene: Scene, world: World) -> str:
    files = [
        block(f"track_file {name}-{file}", f"file {world.directory}/{name}/{file}")
        for name in NAMES
        for file in ("load", "off")
    ]
    services = [
        block(
            f"virtual_server {VIP} {PORTS[kind]}",
            "delay_loop 1",
            "warmup 0",
            "connect_timeout 3",
            "retry 1",
            "delay_before_retry 1",
            "lvs_sched wrr",
            "lvs_method NAT",
            "protocol TCP",
            *(
                block(
                    f"real_server {scene.servers[name].ipv4()} {port}",
                    f"weight {WEIGHT}",
                    checker.replace("{}-", f"{name}-").replace("{}", f"{world.directory}/{name}"),
                )
                for name in NAMES
            ),
        )
        for kind, (port, checker) in CHECKERS.items()
    ]
    scripts = block("global_defs", "script_user root", "enable_script_security")
    return "\n".join((scripts, *files, *services))


def weights(scene: Scene, table: Table) -> dict[str, dict[str, int]]:
    """By checker and real server; who is not in the table is not here."""
    found = {}
    for kind, (port, _) in CHECKERS.items():
        there = destinations(table, f"-t {VIP}:{PORTS[kind]}")
        found[kind] = {
            name: there[f"{scene.servers[name].ipv4()}:{port}"]
            for name in NAMES
            if f"{scene.servers[name].ipv4()}:{port}" in there
        }
    return found


def story(scene: Scene, world: World) -> None:
    """What happens to the real servers."""
    both = {"r2": WEIGHT, "r3": WEIGHT}
    alone = {"r3": WEIGHT}

    def after(what: str, **changed: dict[str, int]) -> None:
        wanted = {kind: changed.get(kind.replace(" ", "_"), both) for kind in CHECKERS}
        scene.after(what, lambda table: weights(scene, table) == wanted)

    scene.daemon.start(configuration(scene, world))
    after("all are up")

    for what in ("web", "smtp", "dns"):
        scene.stop_serving("r2", what)
    gone = dict.fromkeys(("tcp", "http", "https", "smtp", "dns", "udp", "udp_reply", "two"), alone)
    after("r2 serves nothing", **gone)

    scene.serve_all()
    scene.servers["r2"].sysctl("net/ipv4/icmp_echo_ignore_all", 1)
    world.status("r2", "misc", 1)
    world.status("r2", "dynamic", 1)
    world.value("r2", "off", 1)
    world.value("r2", "load", -(2**30))
    gone = dict.fromkeys(("ping", "misc", "dynamic", "switch", "file"), alone)
    after("r2 is said to be down", **gone)

    scene.servers["r2"].sysctl("net/ipv4/icmp_echo_ignore_all", 0)
    world.status("r2", "misc", 0)
    world.value("r2", "off", 0)
    world.value("r2", "load", -3)
    world.status("r2", "dynamic", 22)
    world.value("r3", "load", 7)
    after(
        "weights",
        file={"r2": WEIGHT - 6, "r3": WEIGHT + 14},
        dynamic={"r2": 20, "r3": WEIGHT},
    )

    world.status("r2", "dynamic", 2)
    world.value("r2", "load", -100)
    world.status("r3", "misc", 2)
    after(
        "weight 0 and a status that means failure without misc_dynamic",
        file={"r2": 0, "r3": WEIGHT + 14},
        dynamic={"r2": 0, "r3": WEIGHT},
        misc={"r2": WEIGHT},
    )

    world.status("r2", "dynamic", 0)
    world.status("r3", "misc", 0)
    for file in NAMES:
        world.value(file, "load", 0)
    for service in ("web", "smtp", "dns"):
        scene.stop_serving("r2", service)
    for other in ("broken web", "refusing smtp", "refusing dns"):
        scene.serve("r2", other)
    wrong = dict.fromkeys(("http", "https", "smtp", "dns", "two"), alone)
    after("r2 answers, but wrongly", **wrong)

    scene.serve_all()
    after("all is well again")
    scene.stop()
    assert scene.table() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_kind(scene: Scene, tmp_path: Path) -> None:
    compare(scene, lambda scene: story(scene, World(tmp_path / "world")))
