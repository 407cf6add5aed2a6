#!/usr/bin/env python3
"""Runs a command inside a real Linux kernel of its own: a user-mode Linux guest.

    python tests/ipvs/kernel/guest.py COMMAND [ARGUMENT ...]

The kernel is Debian's (package user-mode-linux, with kmod to load its modules), an ordinary
process: no virtualisation is needed, and several run side by side. It has IPVS, namespaces,
bridges, tunnels, netfilter; modules load as they are asked for. The guest sees the host's files as
they are, may write them, and has a /run and a /dev/shm of its own. Its network is what the command
makes. It has one CPU, slower than the host's; its time is real.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

KERNEL = "linux.uml"
MODULES = Path("/usr/lib/uml/modules")
PACKAGES = "user-mode-linux kmod"
_NO_STATUS = 70  # the guest ended before the command did

_INIT = """\
#!/bin/bash
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm
echo {box}/modprobe >/proc/sys/kernel/modprobe
{box}/modprobe ipv6  # part of the kernel elsewhere
ip link set lo up
cd {directory}
. {box}/environment
(eval "$(cat {box}/command)") </dev/null
echo $? >{box}/status
sync
halt -f -p 2>/dev/null || echo o >/proc/sysrq-trigger
"""
# The kernel's modules are not where modprobe looks by itself.
_MODPROBE = """\
#!/bin/sh
exec /usr/sbin/modprobe -d {box} -S {version} "$@"
"""


def missing() -> str:
    """What has to be installed before a guest can run, in words; empty when all is there."""
    if shutil.which(KERNEL) and shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin"):
        return ""
    return f"packages (apt-get install {PACKAGES})"


class Guest:
    """A guest that runs a command; a context manager, at whose end nothing of it is left."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        memory: str = "1G",
        place: int = 0,
        output: int | IO[bytes] = subprocess.PIPE,
    ) -> None:
        """`output` is where its console goes; guests of different places are on different CPUs,
        where there are so many. Raises FileNotFoundError where no kernel is installed."""
        self._box = Path(tempfile.mkdtemp(prefix="guest-"))
        box = shlex.quote(str(self._box))
        (self._box / "lib").mkdir()
        (self._box / "lib/modules").symlink_to(MODULES)
        version = next(MODULES.iterdir()).name
        self._script("modprobe", _MODPROBE.format(box=box, version=shlex.quote(version)))
        where = shlex.quote(str(directory or Path.cwd()))
        self._script("init", _INIT.format(box=box, directory=where))
        (self._box / "command").write_text(shlex.join(command))
        variables = dict(os.environ if environment is None else environment)
        variables["PATH"] = variables.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        (self._box / "environment").write_text("".join(lines))
        # Each of its system calls goes from one process of the host's to another and back: five
        # to ten times faster where that wakes no other CPU.
        cpus = sorted(os.sched_getaffinity(0))
        cpu = cpus[place % len(cpus)]
        # fmt: off
        self.process = subprocess.Popen(
            [
                # It does not outlive who waits for it, however that ends: all of it is in a PID
                # namespace, which ends with its first process, and that with its parent.
                "setpriv", "--pdeathsig", "KILL",
                "unshare", "--pid", "--mount-proc", "--kill-child=KILL",
                "taskset", "-c", str(cpu),
                KERNEL, f"mem={memory}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw",
                "con=null", "con0=null,fd:1", "ssl=null", "quiet", "loglevel=0",
                f"init={self._box}/init", f"uml_dir={self._box}/",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that all its processes can be ended together
        )
        # fmt: on

    def _script(self, name: str, text: str) -> None:
        (self._box / name).write_text(text)
        (self._box / name).chmod(0o755)

    def status(self) -> int:
        """The exit status of the command, after the guest has ended."""
        self.process.wait()
        try:
            return int((self._box / "status").read_text())
        except (FileNotFoundError, ValueError):
            return _NO_STATUS

    def end(self) -> None:
        """Stop the guest at once."""
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()
        if self.process.stdout is not None:
            self.process.stdout.close()
        shutil.rmtree(self._box)


def main(command: list[str]) -> int:
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    if lacking := missing():
        print(f"a guest needs {lacking}", file=sys.stderr)
        return 2
    with Guest(command, memory=os.environ.get("GUEST_MEMORY", "1G")) as guest:
        assert guest.process.stdout is not None
        for line in guest.process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        return guest.status()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
