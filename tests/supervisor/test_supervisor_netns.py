"""The real daemon, killed in every way: what is left on the interface, and who is told.

ROUTER sup0 --- veth --- sup0 PEER (only listens)
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import wait_for

import fastvrrp
from fastvrrp.control.client import Client

ROUTER = f"sup-killed-{os.getpid()}"
PEER = f"sup-listen-{os.getpid()}"
VIP = "192.0.2.100"

CONFIGURATION = f"""\
vrrp_instance V1 {{
    interface sup0
    virtual_router_id 51
    version 3
    priority 150
    advert_int 0.1
    virtual_ipaddress {{
        {VIP}/24
    }}
}}
"""

pytestmark = pytest.mark.netns


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def state_of(pid: int) -> str:
    """The letter of proc(5)'s stat."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Router:
    """A whole daemon, without the fake: supervisor and VRRP process."""

    def __init__(self, directory: Path) -> None:
        self.package = directory / "package" / "fastvrrp"  # of its own
        shutil.copytree(
            Path(fastvrrp.__file__).parent,
            self.package,
            ignore=shutil.ignore_patterns("*.c"),
        )
        self.run_dir = directory / "run"
        self.stderr = directory / "stderr"
        file = directory / "router.conf"
        file.write_text(CONFIGURATION)
        self.command = [
            *("ip", "netns", "exec", ROUTER, sys.executable, "-m", "fastvrrp"),
            *("run", "-f", str(file), "--run-dir", str(self.run_dir)),
        ]
        self.supervisor: subprocess.Popen[bytes]

    def start(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(self.package.parent)}
        with self.stderr.open("ab") as stderr:
            self.supervisor = subprocess.Popen(self.command, stderr=stderr, env=environment)
        wait_for(self.holds_address, f"address; {self.stderr}", 20)

    def holds_address(self) -> bool:
        return f" {VIP}/24 " in ip("-n", ROUTER, "address", "show", "dev", "sup0")

    def child(self) -> int:
        with Client(self.run_dir) as client:
            pid = client.request("status")["daemon"]["vrrp"]["pid"]
        assert isinstance(pid, int)
        return pid

    def kill_everything(self) -> None:
        """Kill both before either can react to the other's end.

        The supervisor is the one to be stopped first: the end of a parent wakes a stopped child
        (SIGCONT to an orphaned process group, setpgid(2)), which would then undo its work.
        """
        child = self.child()
        os.kill(self.supervisor.pid, signal.SIGSTOP)
        wait_for(lambda: state_of(self.supervisor.pid) == "T", "supervisor stopped")
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: state_of(child) == "Z", "child dead")
        self.supervisor.kill()
        self.supervisor.wait()

    def clean(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *("ip", "netns", "exec", ROUTER, sys.executable, "-m", "fastvrrp"),
                *("clean", "--run-dir", str(self.run_dir)),
            ],
            capture_output=True,
            text=True,
        )


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    router = Router(tmp_path)
    try:
        for name in (ROUTER, PEER):
            ip("netns", "add", name)
        ip("link", "add", "sup0", "netns", ROUTER, "type", "veth", "peer", "sup0", "netns", PEER)
        for name, host in ((ROUTER, 1), (PEER, 2)):
            ip("-n", name, "address", "add", f"192.0.2.{host}/24", "dev", "sup0")
            ip("-n", name, "link", "set", "sup0", "up")
        router.start()
        yield router
    finally:
        if hasattr(router, "supervisor") and router.supervisor.poll() is None:
            router.supervisor.terminate()
            router.supervisor.wait(timeout=15)
        for name in (ROUTER, PEER):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.fixture
def heard(router: Router) -> Iterator[subprocess.Popen[str]]:
    """tcpdump at the peer, already listening."""
    with subprocess.Popen(
        ["ip", "netns", "exec", PEER, "tcpdump", "-lnni", "sup0", "ip proto 112"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "listening on" in line:
                break
        yield process
        process.terminate()


def next_resignation(heard: subprocess.Popen[str]) -> str:
    assert heard.stdout is not None
    return next(line for line in heard.stdout if "prio 0," in line)


def test_kill_of_the_vrrp_process(router: Router, heard: subprocess.Popen[str]) -> None:
    os.kill(router.child(), signal.SIGKILL)
    assert "vrid 51" in next_resignation(heard)
    text = wait_for(
        lambda: "removed what a crash left over" in (t := router.stderr.read_text()) and t,
        "clean-up",
    )
    assert f"address {VIP}/24 dev sup0" in text
    wait_for(router.holds_address, "master again", 20)


def test_files_of_the_program_that_are_gone(router: Router, heard: subprocess.Popen[str]) -> None:
    """As while another version is installed: what runs goes on, can be asked, and is cleaned up
    after."""
    wait_for(lambda: "Ready:" in router.stderr.read_text(), "ready")
    child = router.child()
    shutil.rmtree(router.package)
    router.supervisor.send_signal(signal.SIGUSR1)
    wait_for((router.run_dir / "keepalived.data").exists, "dump")
    os.kill(child, signal.SIGKILL)
    assert "vrid 51" in next_resignation(heard)
    text = wait_for(
        lambda: "removed what a crash left over" in (t := router.stderr.read_text()) and t,
        "clean-up",
    )
    assert f"address {VIP}/24 dev sup0" in text


def test_a_stopped_vrrp_process_does_not_keep_the_address(router: Router) -> None:
    """SIGSTOP stops adverts, so the other router takes over: after the watchdog we give way."""
    os.kill(router.child(), signal.SIGSTOP)
    wait_for(lambda: "removed what a crash left over" in router.stderr.read_text(), "clean-up", 20)


def test_kill_of_the_supervisor(router: Router, heard: subprocess.Popen[str]) -> None:
    router.supervisor.kill()
    assert "vrid 51" in next_resignation(heard)
    wait_for(lambda: not router.holds_address(), "address given up")
    router.supervisor.wait()
    assert router.clean().returncode == 0


def test_kill_of_everything_then_clean(router: Router) -> None:
    router.kill_everything()
    assert router.holds_address(), "nobody is left who could have removed it"
    done = router.clean()
    assert done.returncode == 0
    assert f"address {VIP}/24 dev sup0" in done.stderr
    assert not router.holds_address()
    assert router.clean().stderr == "", "nothing is left"


def test_kill_of_everything_then_start(router: Router) -> None:
    router.kill_everything()
    with router.stderr.open("ab") as stderr:
        router.supervisor = subprocess.Popen(router.command, stderr=stderr)
    wait_for(lambda: "removed what a crash left over" in router.stderr.read_text(), "clean-up", 20)


def test_orderly_stop(router: Router, heard: subprocess.Popen[str]) -> None:
    router.supervisor.terminate()
    assert "vrid 51" in next_resignation(heard)
    assert router.supervisor.wait(timeout=15) == 0
    assert not router.holds_address()
    assert not (router.run_dir / "journal").exists()
