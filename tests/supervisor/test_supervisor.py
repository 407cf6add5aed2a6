"""The supervisor as a process: start, stop, crashes, hangs, reloads, systemd, control socket."""

from __future__ import annotations

import itertools
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from supervised import CONFIGURATION, SECOND, Daemon, wait_for

from fastvrrp.control.client import Client, Unreachable
from fastvrrp.control.protocol import ControlError

PLAIN = CONFIGURATION.format(extra="")


def test_start_and_orderly_stop(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        first = daemon.notified_with("READY")
        assert first["STATUS"] == "1 instance: 1 MASTER"
        assert stat.S_IMODE(daemon.run_dir.stat().st_mode) == 0o750
        assert stat.S_IMODE((daemon.run_dir / "control.sock").stat().st_mode) == 0o660
        assert daemon.stop() == 0
        assert daemon.notified_with("STOPPING")["STOPPING"] == "1"
        assert daemon.child_said("stop")
        assert daemon.child_said("end")
        assert not (daemon.run_dir / "control.sock").exists()


def test_sigint_stops_too(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        daemon.signal(signal.SIGINT)
        assert daemon.process.wait(timeout=30) == 0
        assert daemon.child_said("stop")


def test_errors_start_nothing(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.configure(PLAIN.replace("virtual_router_id 1", "virtual_router_id 1000"))
    with daemon:
        assert daemon.process.wait(timeout=30) == 1
        assert daemon.logged(f"{daemon.file}:")
        assert not daemon.lives()


def test_missing_file(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.file.unlink()
    with daemon:
        assert daemon.process.wait(timeout=30) == 1
        assert daemon.logged(str(daemon.file))


def test_second_daemon_is_refused(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        with Daemon(tmp_path) as second:
            assert second.process.wait(timeout=30) == 1
            assert second.logged(f"already running in {daemon.run_dir} (process")
        assert daemon.process.poll() is None
        assert daemon.request("version")["schema"] == 1


def test_crash_is_restarted_with_back_off(tmp_path: Path) -> None:
    with Daemon(tmp_path, "crash", "crash", "crash", "run") as daemon:
        daemon.ready()
        born = [when for when, _ in daemon.lives()]
        assert len(born) == 4
        gaps = [later - earlier for earlier, later in itertools.pairwise(born)]
        delays = re.findall(r"again in (\S+) s", daemon.stderr.read_text())
        assert delays == ["0", "0.2", "0.4"]
        assert all(gap >= float(delay) for gap, delay in zip(gaps, delays, strict=True))
        record = daemon.request("status")["daemon"]["vrrp"]
        assert record["restarts"] == 3
        assert record["last_exit"] == "exit status 9"
        assert daemon.logged("sent priority 0 for"), "the janitor knew the masters"


def test_killed_child_is_replaced(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        os.kill(daemon.lives()[0][1], signal.SIGKILL)
        wait_for(lambda: len(daemon.lives()) == 2, "second child")
        wait_for(
            lambda: daemon.request("status")["daemon"]["vrrp"]["state"] == "running", "running"
        )
        assert daemon.request("status")["daemon"]["vrrp"]["last_exit"] == "killed by SIGKILL"
        assert daemon.stop() == 0


def test_hung_child_is_killed(tmp_path: Path) -> None:
    with Daemon(tmp_path, "hang", "run") as daemon:
        daemon.ready()
        wait_for(lambda: len(daemon.lives()) == 2, "second child")
        (first, _), (second, _) = daemon.lives()
        assert 1.0 <= second - first < 5.0
        assert daemon.logged("has stood still for")


def test_stuck_engine_is_killed(tmp_path: Path) -> None:
    """Its event loop answers, so that nothing but the turns in the page tells."""
    with Daemon(tmp_path, "stuck-engine", "run") as daemon:
        daemon.ready()
        wait_for(lambda: len(daemon.lives()) == 2, "second child")
        (first, _), (second, _) = daemon.lives()
        assert 1.0 <= second - first < 5.0
        assert daemon.logged("its engine has stood still for")


def test_a_request_without_an_answer_raises_suspicion(tmp_path: Path) -> None:
    """A hung event loop is asked for rarely, but at once when somebody waits for it."""
    settings = {"ask_s": 600.0, "call_timeout_s": 0.3}
    with Daemon(tmp_path, "hang-later", "run", settings=settings) as daemon:
        daemon.ready()
        wait_for(lambda: daemon.child_said("hanging"), "hang")
        began = time.monotonic()
        assert daemon.request("status")["daemon"]["vrrp"]["detail"].endswith("does not answer")
        wait_for(lambda: len(daemon.lives()) == 2, "second child")
        assert time.monotonic() - began < 10, "not at the next look"
        assert daemon.logged("its event loop has stood still")


def test_a_child_that_lives_is_left_alone(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        time.sleep(2.5)  # twice the limit
        assert len(daemon.lives()) == 1
        assert not daemon.logged("stood still")


def test_a_pause_of_everybody_is_forgiven(tmp_path: Path) -> None:
    """A frozen machine or container: the child is as late as the supervisor."""
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        pids = [daemon.process.pid, daemon.lives()[0][1]]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.0)
        os.kill(pids[0], signal.SIGCONT)
        time.sleep(0.3)  # the supervisor runs first, and finds everything late
        os.kill(pids[1], signal.SIGCONT)
        time.sleep(1.0)
        assert daemon.request("status")["daemon"]["vrrp"]["state"] == "running"
        assert len(daemon.lives()) == 1


def test_stopped_child_is_killed(tmp_path: Path) -> None:
    """SIGSTOP takes both the loop and the engine: only the supervisor notices."""
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        daemon.request("status")
        os.kill(daemon.lives()[0][1], signal.SIGSTOP)
        wait_for(lambda: len(daemon.lives()) == 2, "second child")


def test_child_that_will_not_stop(tmp_path: Path) -> None:
    with Daemon(tmp_path, "slow-stop") as daemon:
        daemon.ready()
        before = time.monotonic()
        assert daemon.stop() == 0
        assert 1.0 <= time.monotonic() - before < 4.0, "child_wait_time is 1 s"
        assert daemon.logged("it did not stop within 1 s")
        assert daemon.logged("sent priority 0 for")


def test_missing_permission_is_final(tmp_path: Path) -> None:
    with Daemon(tmp_path, "permission") as daemon:
        assert daemon.notified_with("ERRNO")["ERRNO"] == "1"
        assert daemon.process.wait(timeout=30) == 4
        assert len(daemon.lives()) == 1


def test_configuration_the_child_refuses(tmp_path: Path) -> None:
    with Daemon(tmp_path, "refuse") as daemon:
        assert daemon.process.wait(timeout=30) == 2
        assert daemon.logged("it does not please me")
        assert len(daemon.lives()) == 1


def test_reload_by_signal(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        daemon.configure(PLAIN + SECOND)
        daemon.signal(signal.SIGHUP)
        reloading = daemon.notified_with("RELOADING")
        assert abs(int(reloading["MONOTONIC_USEC"]) / 1e6 - time.monotonic()) < 5
        daemon.ready()
        assert daemon.child_said("configure 2 V1 V2")
        assert len(daemon.lives()) == 1


def test_reload_by_request(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        daemon.configure(PLAIN + SECOND)
        result = daemon.request("reload")
        assert (result["ok"], result["epoch"]) == (True, 2)
        assert result["changes"] == ["instances: V1 V2"]
        last = daemon.request("status")["daemon"]["last_reload"]
        assert last["ok"] is True
        assert (last["read_s"], last["apply_s"]) == (result["read_s"], result["apply_s"])
        assert result["read_s"] > 0
        assert result["apply_s"] > 0
        took = f"(read in {result['read_s']:.2f} s, in effect {result['apply_s']:.3f} s later)"
        assert daemon.logged(f"Reloaded: instances: V1 V2 {took}")


def test_reload_of_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        daemon.configure(PLAIN.replace("virtual_router_id 1", "virtual_router_id 1000"))
        result = daemon.request("reload")
        assert (result["ok"], result["epoch"]) == (False, 1)
        assert any(
            m["severity"] == "error" and m["line"] == 12 and m["file"] == str(daemon.file)
            for m in result["messages"]
        )
        assert daemon.logged(f"{daemon.file}:12:")
        assert not daemon.child_said("configure 2")
        daemon.notified_with("RELOADING")
        daemon.ready()  # systemd must not wait for ever
        daemon.configure(PLAIN)
        assert daemon.request("reload")["epoch"] == 2


def test_reload_cannot_change_the_namespace(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        daemon.configure("net_namespace other\n" + PLAIN)
        result = daemon.request("reload")
        assert result["ok"] is False
        assert "net_namespace" in result["error"]


def test_reload_the_child_refuses(tmp_path: Path) -> None:
    with Daemon(tmp_path, "refuse-reload") as daemon:
        daemon.ready()
        result = daemon.request("reload")
        assert result["ok"] is False
        assert "it does not please me" in result["error"]
        assert len(daemon.lives()) == 1


def test_reload_that_kills_the_child_falls_back(tmp_path: Path) -> None:
    with Daemon(tmp_path, "crash-on-reload", "run") as daemon:
        daemon.ready()
        daemon.configure(PLAIN + SECOND)
        result = daemon.request("reload")
        assert result["ok"] is False
        assert "old configuration" in result["error"]
        wait_for(lambda: len(daemon.lives()) == 2, "second child")
        wait_for(lambda: daemon.did().count("configure 1 V1\n") == 2, "old one")


def test_dumps_go_into_the_run_directory(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        for number, name in (
            (signal.SIGUSR1, "keepalived.data"),
            (signal.SIGUSR2, "keepalived.stats"),
            (signal.SIGRTMIN + 2, "keepalived.json"),
            (signal.SIGUSR1, "keepalived_parent.data"),
        ):
            path = daemon.run_dir / name
            path.unlink(missing_ok=True)
            daemon.signal(number)
            wait_for(path.exists, name)
            assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0, "not for others"


def test_watchdog_is_fed(tmp_path: Path) -> None:
    with Daemon(tmp_path, watchdog_us=400_000) as daemon:
        daemon.ready()
        for _ in range(3):
            assert daemon.notified_with("WATCHDOG")["WATCHDOG"] == "1"


def test_killed_supervisor_takes_its_child_along(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        daemon.process.kill()
        daemon.process.wait()
        # The next one waits until the orphaned child has stopped in order, then starts.
        with Daemon(tmp_path) as second:
            second.ready()
            text = second.did()
            (_, first_pid), (_, second_pid) = second.lives()
            assert text.index(f"{first_pid} end") < text.index(f"{second_pid} born")


def test_status_while_the_child_is_down(tmp_path: Path) -> None:
    with Daemon(tmp_path, "run", "crash") as daemon:
        daemon.ready()
        os.kill(daemon.lives()[0][1], signal.SIGKILL)
        down = wait_for(
            lambda: (s := daemon.request("status"))["daemon"]["vrrp"]["state"] == "down" and s,
            "down",
        )
        assert down["instances"] is None
        assert down["daemon"]["vrrp"]["next_start_s"] is not None
        with pytest.raises(ControlError, match=r"is (down|starting)"):
            daemon.request("counters")


def test_status_of_a_child_that_does_not_answer(tmp_path: Path) -> None:
    with Daemon(tmp_path, "deaf") as daemon:
        daemon.ready()
        status = daemon.request("status")
        assert status["instances"] is None
        assert status["daemon"]["vrrp"]["detail"] == "the VRRP process does not answer"


def test_status_passes_the_childs_answer(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        instance = daemon.request("status")["instances"][0]
        assert len(instance["pad"]) == 100_000, "larger than a packet"
        with pytest.raises(ControlError, match="no V9") as caught:
            daemon.request("status", name="V9")
        assert caught.value.code == "not-found"


def test_scripts_run_in_the_supervisor(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        assert daemon.request("counters") == {"script": "exited with status 0"}


def test_only_configured_commands_run(tmp_path: Path) -> None:
    """A VRRP process that was taken over must not become a shell for the network."""
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        refused = {"script": "could not be started: not a configured command"}
        assert daemon.request("counters", argv=["/bin/echo", "x"]) == refused
        allowed = daemon.request("counters", argv=["/bin/true", "with", "arguments"])
        assert allowed == {"script": "exited with status 0"}
        daemon.configure(PLAIN.replace("/bin/true", "/bin/echo"))
        assert daemon.request("reload")["ok"] is True
        assert daemon.request("counters", argv=["/bin/echo", "x"]) == allowed


def test_events_reach_subscribers(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        with Client(daemon.run_dir) as client:
            events = client.events()
            first = next(events)
            assert (first["kind"], first["to"]) == ("state", "MASTER")
            assert first["time"].endswith("Z")
            daemon.request("reload")
            assert next(events)["kind"] == "reload"
        wait_for(lambda: daemon.child_said("subscribe False"), "unsubscribed")


def test_startup_and_shutdown_script(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\necho $1 >>{tmp_path}/ran\n")
    script.chmod(0o755)
    extra = f'startup_script "{script} up"\n    shutdown_script "{script} down"'
    with Daemon(tmp_path, extra=extra) as daemon:
        daemon.ready()
        assert (tmp_path / "ran").read_text() == "up\n"
        assert daemon.stop() == 0
        assert (tmp_path / "ran").read_text() == "up\ndown\n"


def test_nothing_to_run_stays_up(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.configure("global_defs {\n    router_id R\n}\n")
    with daemon:
        daemon.ready()
        assert daemon.request("status")["daemon"]["vrrp"]["state"] == "disabled"
        assert not daemon.lives()
        daemon.configure(PLAIN)
        assert daemon.request("reload")["ok"] is True
        wait_for(lambda: daemon.child_said("configure 2 V1"), "child")


def test_as_process_1(tmp_path: Path) -> None:
    """In a PID namespace of its own, as in a container: reaps orphans, obeys SIGTERM."""
    if os.geteuid() != 0:
        pytest.skip("needs root for a PID namespace")
    orphan = tmp_path / "orphan"
    orphan.write_text("#!/bin/sh\n(sleep 0.2; exit 3) &\nexit 0\n")
    orphan.chmod(0o755)
    daemon = Daemon(tmp_path)
    daemon.configure(PLAIN.replace("/bin/true", str(orphan)))
    launch = tmp_path / "enter"
    launch.write_text(
        f'#!/bin/sh\nexec unshare --pid --fork --mount-proc --kill-child {sys.executable} "$@"\n'
    )
    launch.chmod(0o755)
    executable, sys.executable = sys.executable, str(launch)
    try:
        daemon.__enter__()
    finally:
        sys.executable = executable
    with daemon_exit(daemon):
        daemon.ready()
        children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children")
        pid = int(children.read_text().split()[0])
        assert daemon.request("status")["daemon"]["pid"] == 1
        assert daemon.request("counters") == {"script": "exited with status 0"}
        wait_for(lambda: daemon.logged("collected orphan"), "orphan reaped")
        os.kill(pid, signal.SIGTERM)
        assert daemon.process.wait(timeout=30) == 0
        assert daemon.child_said("end")


class daemon_exit:
    """Ends a daemon that was entered by hand."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def __enter__(self) -> Daemon:
        return self.daemon

    def __exit__(self, *args: object) -> None:
        self.daemon.__exit__(*args)  # type: ignore[arg-type]


def test_clean_refuses_beside_a_running_daemon(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        done = subprocess.run(
            [sys.executable, "-m", "fastvrrp", "clean", "--run-dir", str(daemon.run_dir)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "already running" in done.stderr
        assert daemon.stop() == 0
    with pytest.raises(Unreachable, match="no daemon is running"):
        Client(daemon.run_dir)


def test_stop_does_not_wait_for_the_startup_script(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 30\n")
    script.chmod(0o755)
    with Daemon(tmp_path, extra=f'startup_script "{script}"') as daemon:
        wait_for((tmp_path / "started").exists, "startup_script")
        assert daemon.stop() == 0
        assert not daemon.lives()


def test_concurrent_reloads_are_joined(tmp_path: Path) -> None:
    """Whoever asks during a reload shares the next one."""
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        for _ in range(20):
            daemon.signal(signal.SIGHUP)
        result = daemon.request("reload")
        assert result["ok"] is True
        assert 2 <= result["epoch"] <= 5
        assert daemon.child_said(f"configure {result['epoch']} V1")


def test_a_child_that_ran_long_is_restarted_at_once(tmp_path: Path) -> None:
    settings = {"stable_s": 0.2, "backoff_s": [0.0, 60.0]}
    with Daemon(tmp_path, settings=settings) as daemon:
        for lives in (1, 2, 3):
            wait_for(lambda lives=lives: len(daemon.lives()) == lives, f"child {lives}")
            wait_for(
                lambda: daemon.request("status")["daemon"]["vrrp"]["state"] == "running", "running"
            )
            born, pid = daemon.lives()[-1]
            wait_for(lambda born=born: time.monotonic() - born > 0.3, "stable")
            os.kill(pid, signal.SIGKILL)


def test_a_new_configuration_ends_the_back_off(tmp_path: Path) -> None:
    settings = {"backoff_s": [60.0]}
    with Daemon(tmp_path, "crash", "run", settings=settings) as daemon:
        wait_for(
            lambda: daemon.logged("starting the VRRP process again in 60 s"), "back-off of a minute"
        )
        daemon.configure(PLAIN + SECOND)
        assert daemon.request("reload")["ok"] is True
        wait_for(lambda: daemon.child_said("configure 2 V1 V2"), "second child", 5)


def test_a_stop_ends_the_back_off(tmp_path: Path) -> None:
    with Daemon(tmp_path, "crash", settings={"backoff_s": [60.0]}) as daemon:
        wait_for(lambda: daemon.logged("again in 60 s"), "back-off of a minute")
        assert daemon.stop() == 0
