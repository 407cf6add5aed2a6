"""The daemon as units, containers and roles start it: unchanged but for the program's name."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fastvrrp.lab.daemons import Fastvrrp, process_tree
from fastvrrp.lab.network import Network, wait_for
from keepalived_text import config, instance

pytestmark = pytest.mark.netns

COMMAND = (sys.executable, "-m", "fastvrrp.compat.main")
TEXT = config(instance())


class Compat(Fastvrrp):
    """The same daemon behind the other command line, with files of its own."""

    kind = "keepalived"
    options: Sequence[str] = ("-n", "-l", "-G")

    def pid_file(self, name: str) -> Path:
        return self.directory / f"{name}.pid"

    def argv(self) -> Sequence[str]:
        files = ["-p", self.pid_file("main"), "-r", self.pid_file("vrrp")]
        files += ["-c", self.pid_file("checkers"), f"--run-dir={self.run_dir}"]
        return [*COMMAND, *self.options, "-f", str(self.config), *map(str, files)]

    def number(self, name: str) -> int:
        return int(self.pid_file(name).read_text())


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Compat]:
    with Network(routers=1, clients=0, lans=2) as network:
        made = Compat(network["r1"], tmp_path)
        yield made
        print(made.log())
        made.close()
        for file in tmp_path.glob("*.pid"):  # of one in the background, after a failure
            for pid in process_tree(int(file.read_text() or 0)):
                os.kill(pid, signal.SIGKILL)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def system_log(directory: Path) -> socket.socket:
    """A syslogd's socket."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(str(directory / "devlog"))
    server.settimeout(10)
    return server


def with_syslog(directory: Path, argv: Sequence[str]) -> list[str]:
    """The command in a mount namespace where /dev/log is ours."""
    script = (
        "mount -t tmpfs none /mnt && for d in null zero urandom; do touch /mnt/$d; "
        "mount --bind /dev/$d /mnt/$d; done && mkdir /mnt/shm && touch /mnt/log && "
        f"mount --bind {directory}/devlog /mnt/log && mount --rbind /mnt /dev && "
        'exec "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", script, "sh", *argv]


def test_type_forking_with_a_pid_file(daemon: Compat) -> None:
    """In the background: ready when the command is back. Signals to the number of the file, dumps,
    syslog; a second one is refused; pid files are gone at the end."""
    daemon.options = ("-D", "-a", "-S", "3", "-u", "022")
    daemon.config.write_text(TEXT)
    with system_log(daemon.directory) as log:
        command = with_syslog(daemon.directory, daemon.argv())
        done = daemon.node.call(
            subprocess.run, command, env=daemon.environment(), capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        main, vrrp = daemon.number("main"), daemon.number("vrrp")
        try:
            assert {comm(pid) for pid in (main, vrrp)} == {"keepalived"}
            assert stat.S_IMODE(daemon.pid_file("main").stat().st_mode) == 0o644
            assert os.getsid(main) != os.getsid(0)
            streams = {Path(f"/proc/{main}/fd/{number}").readlink() for number in (0, 1, 2)}
            assert streams == {Path("/dev/null")}
            assert Path(f"/proc/{main}/cwd").readlink() == Path("/")
            said = ""
            while "Entering MASTER STATE" not in said:
                said += log.recv(8192).decode() + "\n"
            # local3.warning, local3.info (RFC 3164 4.1.1), idents, process ids
            assert f"Keepalived[{main}]: without effect: --address-monitoring" in said
            assert any(line.startswith("<156>") for line in said.splitlines())
            assert f"Keepalived_vrrp[{vrrp}]: (VI) Entering MASTER STATE" in said
            assert any(line.startswith("<158>") for line in said.splitlines())

            second = daemon.node.call(
                subprocess.run, daemon.argv(), env=daemon.environment(), capture_output=True
            )
            assert second.returncode == 0
            assert b"daemon is already running" in second.stderr

            os.kill(main, signal.SIGRTMIN + 2)
            dump = daemon.run_dir / "keepalived.json"
            wait_for(dump.exists, 5, "the dump")
            assert [one["data"]["iname"] for one in json.loads(dump.read_text())] == ["VI"]
            assert stat.S_IMODE(dump.stat().st_mode) == 0o644  # -u 022

            daemon.config.write_text(config(instance(name="NEW")))
            os.kill(main, signal.SIGHUP)
            while "Reloaded: " not in said:
                said += log.recv(8192).decode() + "\n"
            assert daemon.number("vrrp") == vrrp
        finally:
            os.kill(main, signal.SIGTERM)
            wait_for(lambda: gone(main), 10, "the end")
    assert gone(vrrp)
    assert not list(daemon.directory.glob("*.pid"))


def test_type_notify_or_a_container(daemon: Compat) -> None:
    """In the foreground with its log on the console, READY=1, names of processes as configured;
    SIGINT is ignored when asked; a process that dies takes everything with it (-R)."""
    address = daemon.directory / "notify"
    daemon.options = ("-n", "-l", "-G", "-R", "--ignore-sigint")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(20)
        ours = {**daemon.environment(), "NOTIFY_SOCKET": str(address), "TMPDIR": ""}
        daemon.environment = lambda: ours  # type: ignore[method-assign]
        daemon.start("global_defs {\n    process_names\n    process_name gate\n}\n" + TEXT)
        while b"READY=1" not in manager.recv(4096):
            pass
    main, vrrp = daemon.number("main"), daemon.number("vrrp")
    assert main == daemon.pid
    assert (comm(main), comm(vrrp)) == ("gate", "keepalived_vrrp")
    wait_for(lambda: "(VI) Entering MASTER STATE" in daemon.log(), 10, "master")
    assert not daemon.pid_file("checkers").exists()
    os.kill(main, signal.SIGINT)
    # A reload is later than the signal: that one has been ignored.
    daemon.reload("global_defs {\n    vrrp_process_name lan\n}\n" + TEXT)
    wait_for(lambda: "Reloaded" in daemon.log(), 10, "the reload")
    assert (comm(main), comm(vrrp)) == ("keepalived", "lan")
    os.kill(vrrp, signal.SIGKILL)
    assert daemon.process is not None
    assert daemon.process.wait(10) == 1
    assert not list(daemon.directory.glob("*.pid"))


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (None, ("-n", "-G"), 6),
        ("nonsense\n", ("-n", "-G"), 2),
        ("nonsense\n", ("-G",), 2),
    ],
)
def test_a_start_that_fails(
    daemon: Compat, text: str | None, options: Sequence[str], code: int
) -> None:
    """keepalived's exit codes, also of the command that goes to the background, which says why."""
    daemon.options = options
    if text is not None:
        daemon.config.write_text(text)
    done = subprocess.run(
        daemon.argv(), env=daemon.environment(), capture_output=True, text=True, timeout=20
    )
    assert done.returncode == code
    assert bool(done.stderr) == ("-n" not in options)  # without -l the foreground is silent
    assert not list(daemon.directory.glob("*.pid"))


@pytest.mark.parametrize("options", [("-n", "-G"), ("-G",)])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed(
    daemon: Compat, options: Sequence[str], closed: str
) -> None:
    """Nothing that is opened instead of them is taken for them."""
    daemon.options = options
    daemon.config.write_text(TEXT)
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *daemon.argv()]
    process = daemon.node.call(subprocess.Popen, command, env=daemon.environment())
    if "-n" in options:
        written = daemon.pid_file("vrrp")
        wait_for(
            lambda: process.poll() is not None or (written.exists() and written.read_text() != ""),
            20,
            "a router",
        )
    else:
        assert process.wait(20) == 0
    assert process.poll() in (None, 0)
    os.kill(daemon.number("main"), signal.SIGTERM)
    wait_for(lambda: not list(daemon.directory.glob("*.pid")), 20, "the end")
    assert process.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_it_finds_out_which_daemon_it_is(daemon: Compat, number: int) -> None:
    """An instance name is read from files that may take for ever to be read: nobody goes on with
    that. What asks for a reload meanwhile does not end it."""
    included = daemon.directory / "included.conf"
    os.mkfifo(included)
    daemon.config.write_text(f"global_defs {{\n    instance X\n}}\ninclude {included}\n")
    process = subprocess.Popen(daemon.argv(), env=daemon.environment())

    def reader() -> list[int]:
        return [pid for pid in process_tree(process.pid) if pid != process.pid]

    wait_for(lambda: any(map(waits_for_a_file, reader())), 20, "the reader")
    reading = reader()
    process.send_signal(signal.SIGHUP)
    process.send_signal(number)
    assert process.wait(20) == 0
    assert all(map(gone, reading))
    assert not list(daemon.directory.glob("*.pid"))


def waits_for_a_file(pid: int) -> bool:
    """Whether it opens a FIFO that nobody writes into."""
    return "wait_for_partner" in Path(f"/proc/{pid}/wchan").read_text()


def test_a_mistake_costs_what_it_is_in(daemon: Compat) -> None:
    """As with keepalived, whatever starts it goes on with the file that it has. A reload that would
    cost an instance is refused, one with the same mistakes is not."""
    mistakes = "global_defs {\n    no_such_keyword\n}\n"
    other = instance("track_script {\n    nobody\n}", name="VJ", vrid=52, vips=["192.0.2.101/24"])
    # no name of an interface
    third = instance(name="VK", vrid=53, vips=["192.0.2.102/24"], interface="much-too-long-a-name")
    text = mistakes + config(instance(), other, third)
    daemon.start(text)
    wait_for(lambda: daemon.log().count("Entering MASTER STATE") == 2, 10, "masters")
    held = {"192.0.2.100", "192.0.2.101"}
    assert addresses(daemon) & {*held, "192.0.2.102"} == held
    for said in ("unknown keyword 'no_such_keyword'; left out", "no vrrp_script 'nobody'"):
        assert said in daemon.log()
    os.kill(daemon.number("main"), signal.SIGHUP)
    wait_for(lambda: "reload refused" in daemon.log(), 10, "the reload with a whole block wrong")
    assert held <= addresses(daemon)
    fourth = instance(name="VL", vrid=54, vips=["192.0.2.103/24"])
    daemon.reload(mistakes + config(instance(), other, fourth))
    wait_for(lambda: "192.0.2.103" in addresses(daemon), 10, "the reload")
    assert held <= addresses(daemon)
    daemon.config.write_text(daemon.config.read_text().rstrip().removesuffix("}"))
    os.kill(daemon.number("main"), signal.SIGHUP)
    wait_for(lambda: daemon.log().count("reload refused") == 2, 10, "half a file refused")
    assert {*held, "192.0.2.103"} <= addresses(daemon)


def addresses(daemon: Compat) -> set[str]:
    shown = daemon.node.call(
        subprocess.run, ["ip", "-j", "-4", "address", "show"], capture_output=True, check=True
    )
    links = json.loads(shown.stdout)
    return {one["local"] for link in links for one in link.get("addr_info", ())}


def test_a_real_keepalived_is_noticed(daemon: Compat) -> None:
    """Its pid files are not locked: the number in them counts."""
    program = Path("/usr/sbin/keepalived")
    daemon.config.write_text(TEXT)
    theirs = daemon.node.start(
        [
            *(str(program), "-n", "-G", "-P", "-f", str(daemon.config)),
            *("-p", str(daemon.pid_file("main")), "-r", str(daemon.pid_file("vrrp"))),
        ]
    )
    try:
        wait_for(lambda: daemon.pid_file("main").exists(), 10, "its pid file")
        wait_for(lambda: daemon.pid_file("main").read_text(), 10, "its number")
        daemon.start(TEXT)
        assert daemon.process is not None
        assert daemon.process.wait(10) == 0
        assert "daemon is already running" in daemon.log()
        assert daemon.pid_file("main").read_text() == f"{theirs.pid}\n"
    finally:
        theirs.terminate()
        theirs.wait(10)
