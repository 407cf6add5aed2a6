"""Network namespaces without names, each held by one thread that lives in it.

A named namespace (`ip netns add`) outlives a crash and needs a writable /run. These have no
name: a worker thread unshares and everything that has to happen inside (sockets, netlink,
starting programs) is called in that thread. When the process ends, however it ends, the kernel
takes the namespaces, the links and the addresses away. From outside they can be entered with
`nsenter --net=/proc/PID/task/TID/ns/net`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

from pyroute2 import IPRoute

P = ParamSpec("P")
T = TypeVar("T")

CLONE_NEWUSER = 0x10000000  # linux/sched.h
CLONE_NEWNET = 0x40000000
CAP_NET_ADMIN = 12  # linux/capability.h
CAP_NET_RAW = 13
CAP_SYS_ADMIN = 21

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The laboratory cannot be built or used; the text tells the user why and what helps."""


def _unshare(flags: int) -> None:
    """unshare(2) for the calling thread. Raises OSError."""
    if _libc.unshare(flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def privileged() -> bool:
    """Whether this process may make network namespaces as it is."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            wanted = (CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN)
            return all(effective >> bit & 1 for bit in wanted)
    return False


def in_user_namespace() -> bool:
    """Whether this process is not in the machine's first user namespace."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def enter_user_namespace() -> None:
    """Become root of a user namespace of our own, so that network namespaces can be made.

    Only the caller's own account is mapped. The process must have a single thread.
    Raises LabError when the kernel or its security modules forbid it.
    """
    uid, gid = os.getuid(), os.getgid()
    advice = "run it as root (sudo)"
    if uid == 0:
        # Since Linux 5.12 root may not even map itself without CAP_SETFCAP.
        advice = "this root lacks CAP_SYS_ADMIN; start its container with --privileged"
    try:
        _unshare(CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise LabError(
            f"no privileges, and no user namespace either ({error.strerror}): {advice}, "
            "or allow unprivileged user namespaces"
        ) from error
    if not privileged():
        raise LabError(f"a user namespace was made, but without its privileges: {advice}")


class Namespace:
    """One network namespace with the loopback up. Close it, or use it as a context manager."""

    def __init__(self, name: str) -> None:
        """Raises LabError when the kernel refuses (EPERM: call enter_user_namespace first)."""
        self.name = name
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"ns-{name}")
        self._children: list[subprocess.Popen[bytes]] = []
        self._closed = False
        try:
            self.thread_id, self.route = self._executor.submit(self._enter).result()
        except OSError as error:
            self._executor.shutdown()
            raise LabError(f"cannot make network namespace {name}: {error.strerror}") from error
        self.link("set", index=1, state="up")

    @staticmethod
    def _enter() -> tuple[int, Any]:
        _unshare(CLONE_NEWNET)
        # The netlink socket is made by this thread, so it belongs to the new namespace.
        return threading.get_native_id(), IPRoute()

    @property
    def path(self) -> str:
        """What `nsenter --net=` takes, valid as long as this process runs."""
        return f"/proc/{os.getpid()}/task/{self.thread_id}/ns/net"

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a Python function inside the namespace and return its result."""
        return self._executor.submit(function, *args, **kwargs).result()

    def start(
        self,
        argv: Sequence[str],
        *,
        output: IO[bytes] | int = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program inside, in a session of its own; it is killed with the namespace.

        Where setpriv(1) exists the program also dies when this process is killed.
        """
        guard = shutil.which("setpriv")
        if guard:
            argv = [guard, "--pdeathsig", "KILL", "--", *argv]
        child = self.call(
            subprocess.Popen,
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        self._children.append(child)
        return child

    def run(self, *argv: str, check: bool = True, timeout_s: float = 20) -> str:
        """Run a program to its end and return its standard output.

        Raises LabError with the program's own words when it fails and `check` is set.
        """
        done = self.call(
            subprocess.run,
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if check and done.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(argv)}: {done.stderr.strip() or done.stdout}")
        return str(done.stdout)

    def sysctl(self, name: str, value: str | int) -> None:
        """Set a sysctl of this namespace; `name` uses slashes, e.g. net/ipv4/ip_forward."""
        self.call((Path("/proc/sys") / name).write_text, f"{value}")

    # rtnetlink; the keyword arguments are pyroute2's

    def link(self, command: str, **what: Any) -> Any:
        return self.call(self.route.link, command, **what)

    def addr(self, command: str, **what: Any) -> Any:
        return self.call(self.route.addr, command, **what)

    def index(self, ifname: str) -> int:
        """Interface index. Raises LabError when there is no such interface."""
        found = self.call(self.route.link_lookup, ifname=ifname)
        if not found:
            raise LabError(f"{self.name}: no interface {ifname}")
        return int(found[0])

    def addresses(self, ifname: str | None = None) -> set[str]:
        """Every address, in text, on one interface or on all."""
        match = {} if ifname is None else {"index": self.index(ifname)}

        def dump() -> set[str]:
            found = set()
            for message in self.route.get_addr(**match):
                local = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                found.add(str(local))
            return found

        return self.call(dump)

    def close(self) -> None:
        """Kill what was started inside, then let the namespace go."""
        if self._closed:
            return
        self._closed = True
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
        self.call(self.route.close)
        self._executor.shutdown()

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
