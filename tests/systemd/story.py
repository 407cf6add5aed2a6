#!/usr/bin/env python3
"""What happens to the unit while systemd runs it; see booted.py, and the tests for what it means.

Usage: story.py FACTS: writes what it saw into that file, as JSON, after every chapter.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIGURATION = Path("/etc/keepalived/keepalived.conf")
DROP_IN = Path("/etc/systemd/system/fastvrrp.service.d/watchdog.conf")
MUCH = 500  # of what a command prints, for whoever looks why a test failed
ADDRESS = "10.0.0.50"
SECOND = "10.0.0.51"
TEXT = """\
global_defs {
    vrrp_rt_priority 50
    vrrp_no_swap
    vrrp_notify_fifo /run/notes
    enable_script_security
    script_user root
}
vrrp_script as_root {
    script "/opt/box/as_root"
    interval 1
    timeout 20
}
vrrp_script as_nobody {
    script "/opt/box/as_nobody"
    interval 1
    timeout 20
    user nobody
}
vrrp_instance one {
    interface lan0
    use_vmac
    virtual_router_id 5
    version 3
    priority 150
    advert_int 0.2
    virtual_ipaddress {
        10.0.0.50/24
    }
    track_script {
        as_root
        as_nobody
    }
}
virtual_server 10.0.0.50 80 {
    lvs_sched rr
    lvs_method NAT
    protocol TCP
    delay_loop 1
    real_server 10.0.0.1 8080 {
        weight 3
    }
}
"""
AS_ROOT = """\
#!/bin/sh
# What the unit's sandbox leaves a script.
{
    touch /run/by_root && echo run
    touch /etc/by_root && echo etc
    dd if=/dev/zero of=/dev/null count=1 && echo devices
    date -s 2001-01-01 >&2 && echo clock
    modprobe dummy && echo modules
} >/run/told.new 2>/dev/null
mv /run/told.new /run/told
"""
AS_NOBODY = """\
#!/bin/sh
id -un >/run/who.new && mv /run/who.new /run/who
"""


_said: dict[tuple[str, ...], str] = {}


def run(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = f"$ {' '.join(command)} -> {done.returncode} {done.stdout[:MUCH]}"
    if _said.get(command) != said:  # not every look of a wait
        print(said, flush=True)
    _said[command] = said
    return done.returncode, done.stdout


def properties(*names: str) -> dict[str, str]:
    _, text = run("systemctl", "show", "fastvrrp", *(f"--property={name}" for name in names))
    return dict(line.split("=", 1) for line in text.splitlines())


def main_pid() -> int:
    return int(properties("MainPID")["MainPID"])


def holds(address: str) -> bool:
    """Read without a process: most of this story's time would be theirs."""
    return f"-- {address}\n" in Path("/proc/net/fib_trie").read_text()


def balanced() -> bool:
    """Whether the kernel's table has 10.0.0.1:8080."""
    return "0A000001:1F90" in Path("/proc/net/ip_vs").read_text()


def links() -> list[str]:
    return sorted(link["ifname"] for link in json.loads(run("ip", "-j", "link", "show")[1]))


def wait(what: Callable[[], object], patience_s: float = 30.0) -> bool:
    end = time.monotonic() + patience_s
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.3)
    return True


def processes() -> list[int]:
    group = properties("ControlGroup")["ControlGroup"]
    listed = Path(f"/sys/fs/cgroup{group}/cgroup.procs")
    return [int(pid) for pid in listed.read_text().split()] if group and listed.exists() else []


def policies() -> list[int]:
    """The scheduling policies of all threads of the service."""
    tasks = [task for pid in processes() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sorted({os.sched_getscheduler(int(task.name)) for task in tasks})


def locked_kb() -> list[int]:
    lines = [Path(f"/proc/{pid}/status").read_text() for pid in processes()]
    return [int(text.split("VmLck:")[1].split()[0]) for text in lines]


def start() -> dict[str, Any]:
    status, _ = run("systemctl", "start", "fastvrrp")
    shown = properties("ActiveState", "NRestarts")
    return {
        "status": status,
        **shown,
        "master": wait(lambda: holds(ADDRESS)),
        "text": wait(lambda: "MASTER" in properties("StatusText")["StatusText"]),
        "links": links(),
        "policies": policies(),
        "locked_kb": locked_kb(),
        "fifo": Path("/run/notes").is_fifo(),
        "table": wait(balanced),
    }


def scripts() -> dict[str, Any]:
    wait(lambda: Path("/run/told").exists() and Path("/run/who").exists())
    return {
        "root": Path("/run/told").read_text().split(),
        "nobody": Path("/run/who").read_text().strip(),
    }


def reload() -> dict[str, Any]:
    before = main_pid()
    CONFIGURATION.write_text(TEXT.replace(f"{ADDRESS}/24", f"{ADDRESS}/24\n        {SECOND}/24"))
    status, _ = run("systemctl", "reload", "fastvrrp")
    return {
        "status": status,
        "second": wait(lambda: holds(SECOND)),
        "same": main_pid() == before,
    }


def broken_reload() -> dict[str, Any]:
    before = main_pid()
    CONFIGURATION.write_text("vrrp_instance one {\n    interface\n")
    run("systemctl", "reload", "fastvrrp")
    told = wait(lambda: "keepalived.conf:2" in run("journalctl", "-u", "fastvrrp", "-p", "err")[1])
    found = {"told": told, "same": main_pid() == before, "kept": holds(SECOND)}
    CONFIGURATION.write_text(TEXT)
    return found


def killed() -> dict[str, Any]:
    run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "fastvrrp")
    gone = wait(lambda: not holds(ADDRESS))
    return {
        "cleaned": gone,
        "restarted": wait(lambda: properties("NRestarts")["NRestarts"] == "1"),
        "master": wait(lambda: holds(ADDRESS)),
        "second": holds(SECOND),
        "table": wait(balanced),
    }


def hung() -> dict[str, Any]:
    wait(lambda: properties("ActiveState")["ActiveState"] == "active")
    os.kill(main_pid(), signal.SIGSTOP)
    return {
        "restarted": wait(lambda: properties("NRestarts")["NRestarts"] == "2"),
        "why": run("journalctl", "-u", "fastvrrp", "-g", "Watchdog timeout")[0] == 0,
        "master": wait(lambda: holds(ADDRESS)),
    }


def stop() -> dict[str, Any]:
    wait(lambda: properties("ActiveState")["ActiveState"] == "active")
    begin = time.monotonic()
    status, _ = run("systemctl", "stop", "fastvrrp")
    return {
        "status": status,
        "seconds": time.monotonic() - begin,
        **properties("ActiveState", "Result"),
        "address": holds(ADDRESS),
        "links": links(),
        "table": balanced(),
        "processes": processes(),
        "run": sorted(path.name for path in Path("/run").glob("fastvrrp/*")),
    }


def refused() -> dict[str, Any]:
    """A configuration in error is not tried again and again."""
    CONFIGURATION.write_text("vrrp_instance one {\n    interface\n")
    status, _ = run("systemctl", "start", "fastvrrp")
    time.sleep(3)
    return {"status": status, **properties("ActiveState", "NRestarts", "ExecMainStatus")}


def main(facts: Path) -> None:
    for name, text in (("as_root", AS_ROOT), ("as_nobody", AS_NOBODY)):
        path = Path("/opt/box") / name
        path.write_text(text)
        path.chmod(0o755)
    Path("/opt/box").chmod(0o755)
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(TEXT)
    DROP_IN.write_text("[Service]\nWatchdogSec=5\n")  # instead of 30, for a short story
    run("systemctl", "daemon-reload")
    for command in (
        "ip link add lan0 type veth peer name lan1",
        "ip link set lan0 up",
        "ip link set lan1 up",
        "ip address add 10.0.0.1/24 dev lan0",
    ):
        run(*command.split())
    try:
        tell(facts)
    finally:
        subprocess.run(["journalctl", "-u", "fastvrrp", "--no-pager"])


def tell(facts: Path) -> None:
    found: dict[str, Any] = {}
    for chapter in (start, scripts, reload, broken_reload, killed, hung, stop, refused):
        print("---", chapter.__name__, flush=True)
        found[chapter.__name__] = chapter()
        facts.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
