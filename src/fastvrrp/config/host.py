"""What a configuration needs to know about the machine: accounts, files, interfaces, names.

Everything the loader asks goes through `HostInfo`, so that a test decides the answers and a file
can be checked as if on another machine.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from fastvrrp.config.hostaddresses import Addresses, system_addresses
from fastvrrp.config.model import Account

ETC_DIR = "/etc/iproute2"
USR_DIR = "/usr/share/iproute2"
_SIOCGIFFLAGS, _IFF_MULTICAST = 0x8913, 0x1000  # linux/sockios.h, net/if.h

# The names every iproute2 knows, for machines without its files (include/uapi/linux/rtnetlink.h).
_BUILT_IN: Mapping[str, Mapping[str, int]] = {
    "rt_tables": {"unspec": 0, "default": 253, "main": 254, "local": 255},
    "rt_scopes": {
        "global": 0,
        "universe": 0,
        "site": 200,
        "link": 253,
        "host": 254,
        "nowhere": 255,
    },
    "rt_protos": {
        "unspec": 0,
        "redirect": 1,
        "kernel": 2,
        "boot": 3,
        "static": 4,
        "gated": 8,
        "ra": 9,
        "mrt": 10,
        "zebra": 11,
        "bird": 12,
        "dnrouted": 13,
        "xorp": 14,
        "ntk": 15,
        "dhcp": 16,
        "keepalived": 18,
        "babel": 42,
        "bgp": 186,
        "isis": 187,
        "ospf": 188,
        "rip": 189,
        "eigrp": 192,
    },
    "group": {"default": 0},
}


class FileInfo(NamedTuple):
    """Owner and mode of a file (inode(7))."""

    uid: int
    gid: int
    mode: int


class HostInfo(Protocol):
    """Answers about a machine. None means "does not exist" unless said otherwise."""

    def hostname(self) -> str:
        """Node name, uname(2)."""
        ...

    def daemon(self) -> Account:
        """The account the daemon runs as."""
        ...

    def user(self, name: str) -> Account | None:
        """A user by name or number, with the primary group."""
        ...

    def group(self, name: str) -> int | None:
        """A group by name or number."""
        ...

    def groups_of(self, user: str, gid: int) -> tuple[int, ...]:
        """All groups of a user, sorted, with `gid` among them."""
        ...

    def interfaces(self) -> frozenset[str] | None:
        """Names of the interfaces; None: cannot be known, do not judge."""
        ...

    def mtu(self, interface: str) -> int | None:
        """MTU of an interface, bytes."""
        ...

    def has_multicast(self, interface: str) -> bool | None:
        """Whether an interface takes multicast."""
        ...

    def addresses(self) -> Addresses | None:
        """Addresses of all interfaces; None: cannot be known, do not judge."""
        ...

    def file(self, path: str) -> FileInfo | None:
        """A file behind symbolic links."""
        ...

    def real_path(self, path: str) -> str:
        """The path without symbolic links."""
        ...

    def find(self, program: str) -> str | None:
        """Full path of a bare program name."""
        ...

    def names(self, table: str, etc: str, usr: str) -> Mapping[str, int]:
        """iproute2's names, e.g. of `rt_tables`, out of its two directories."""
        ...

    def protocol(self, name: str) -> int | None:
        """Number of an IP protocol, /etc/protocols."""
        ...

    def cpus(self) -> int:
        """Number of CPUs that are on line."""
        ...


def read_names(text: str) -> dict[str, int]:
    """Lines `NUMBER NAME` of an iproute2 file; what is not one is skipped, as iproute2 does."""
    names = {}
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) >= 2:
            try:
                names[words[1]] = int(words[0], 0)
            except ValueError:
                continue
    return names


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""  # optional files, and unreadable ones are no better than absent


def _has_multicast(interface: str) -> bool | None:
    import fcntl

    request = struct.pack("16sH14x", interface.encode(errors="surrogateescape")[:15], 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, request)
    except OSError:
        return None
    return bool(struct.unpack_from("H", answer, 16)[0] & _IFF_MULTICAST)


class SystemHost:
    """This machine. Answers about files and names are remembered: one load sees one state."""

    def __init__(self) -> None:
        self._users: dict[str, Account | None] = {}
        self._mtus: dict[str, int | None] = {}
        self._files: dict[str, FileInfo | None] = {}
        self._names: dict[tuple[str, str, str], Mapping[str, int]] = {}
        self._multicast: dict[str, bool | None] = {}

    def hostname(self) -> str:
        return os.uname().nodename

    def daemon(self) -> Account:
        import pwd

        uid = os.geteuid()
        try:
            user = pwd.getpwuid(uid).pw_name
        except KeyError:
            user = str(uid)
        return Account(user=user, uid=uid, gid=os.getegid())

    def user(self, name: str) -> Account | None:
        import pwd

        if name not in self._users:
            try:
                entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
            except (KeyError, OverflowError, ValueError):
                self._users[name] = None
            else:
                self._users[name] = Account(user=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
        return self._users[name]

    def group(self, name: str) -> int | None:
        import grp

        try:
            entry = grp.getgrgid(int(name)) if name.isdecimal() else grp.getgrnam(name)
        except (KeyError, OverflowError, ValueError):
            return None
        return entry.gr_gid

    def groups_of(self, user: str, gid: int) -> tuple[int, ...]:
        return tuple(sorted({gid, *os.getgrouplist(user, gid)}))

    def interfaces(self) -> frozenset[str] | None:
        try:
            return frozenset(name for _, name in socket.if_nameindex())
        except OSError:
            return None

    def has_multicast(self, interface: str) -> bool | None:
        if interface not in self._multicast:
            self._multicast[interface] = _has_multicast(interface)
        return self._multicast[interface]

    def mtu(self, interface: str) -> int | None:
        if interface not in self._mtus:
            text = _read(Path("/sys/class/net") / interface / "mtu").strip()
            self._mtus[interface] = int(text) if text.isdecimal() else None
        return self._mtus[interface]

    def addresses(self) -> Addresses | None:
        return system_addresses()

    def file(self, path: str) -> FileInfo | None:
        if path not in self._files:
            try:
                status = Path(path).stat()
            except (OSError, ValueError):
                self._files[path] = None
            else:
                self._files[path] = FileInfo(status.st_uid, status.st_gid, status.st_mode)
        return self._files[path]

    def real_path(self, path: str) -> str:
        try:
            return os.path.realpath(path)
        except (OSError, ValueError):
            return path

    def find(self, program: str) -> str | None:
        import shutil  # slow to load, and most scripts are named by their path

        try:
            return shutil.which(program)
        except ValueError:
            return None

    def names(self, table: str, etc: str, usr: str) -> Mapping[str, int]:
        known = self._names.get((table, etc, usr))
        if known is not None:
            return known
        names = dict(_BUILT_IN.get(table, {}))
        main = Path(etc) / table
        names.update(read_names(_read(main if main.exists() else Path(usr) / table)))
        for directory in (Path(usr), Path(etc)):
            try:
                parts = sorted((directory / f"{table}.d").glob("*.conf"))
            except OSError:
                continue
            for part in parts:
                names.update(read_names(_read(part)))
        self._names[table, etc, usr] = names
        return names

    def protocol(self, name: str) -> int | None:
        try:
            return socket.getprotobyname(name)
        except (OSError, ValueError):
            return None

    def cpus(self) -> int:
        return os.cpu_count() or 1


class OtherHost(SystemHost):
    """Another machine, of which nothing is known: whatever a file names is taken to exist."""

    def user(self, name: str) -> Account | None:
        return super().user(name) or Account(user=name, uid=65534, gid=65534)

    def group(self, name: str) -> int | None:
        known = super().group(name)
        return 65534 if known is None else known

    def interfaces(self) -> frozenset[str] | None:
        return None

    def mtu(self, interface: str) -> int | None:
        return None

    def has_multicast(self, interface: str) -> bool | None:
        return None

    def addresses(self) -> Addresses | None:
        return None

    def file(self, path: str) -> FileInfo | None:
        return FileInfo(0, 0, stat.S_IFREG | 0o755)

    def real_path(self, path: str) -> str:
        return path

    def find(self, program: str) -> str | None:
        return f"/usr/bin/{program}"

    def cpus(self) -> int:
        return 1024
