"""Reading configuration texts as if on a machine that the test describes."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from fastvrrp.config.elections import Router
from fastvrrp.config.host import FileInfo
from fastvrrp.config.hostaddresses import Addresses, HostAddress, number_of
from fastvrrp.config.load import load
from fastvrrp.config.model import Account, Loaded, Message, Severity, VrrpInstance

DIRECTORY = FileInfo(0, 0, stat.S_IFDIR | 0o755)
PROGRAM = FileInfo(0, 0, stat.S_IFREG | 0o755)


class FakeHost:
    """A machine with eth0 to eth3, the users root and nobody, and a few programs."""

    def __init__(self) -> None:
        self.users = {
            "root": Account(user="root", uid=0, gid=0),
            "nobody": Account(user="nobody", uid=65534, gid=65534),
        }
        self.groups = {"root": 0, "nogroup": 65534, "daemon": 1}
        self.links: frozenset[str] | None = frozenset(("lo", "eth0", "eth1", "eth2", "eth3"))
        self.without_multicast: set[str] = set()
        self.mtus = {"eth0": 1500, "eth3": 1400}
        self.held: Addresses | None = None
        self.files = {
            "/": DIRECTORY,
            "/bin": DIRECTORY,
            "/bin/true": PROGRAM,
            "/bin/check": PROGRAM,
            "/etc": DIRECTORY,
            "/etc/passwd": FileInfo(0, 0, stat.S_IFREG | 0o644),
            "/tmp": FileInfo(0, 0, stat.S_IFDIR | 0o1777),
            "/home": DIRECTORY,
            "/home/nobody": FileInfo(65534, 65534, stat.S_IFDIR | 0o755),
            "/home/nobody/x": FileInfo(65534, 65534, stat.S_IFREG | 0o755),
        }
        self.real: dict[str, str] = {}
        self.tables: dict[str, dict[str, int]] = {
            "rt_tables": {"main": 254, "local": 255, "default": 253, "small": 77},
            "rt_scopes": {"global": 0, "link": 253, "host": 254, "site": 200},
            "rt_protos": {"static": 4, "bird": 12, "keepalived": 18},
            "rt_realms": {"cosmos": 1},
            "rt_dsfield": {"AF11": 0x28},
            "group": {"default": 0},
        }
        self.directories: list[tuple[str, str]] = []

    def hostname(self) -> str:
        return "r1.example"

    def daemon(self) -> Account:
        return self.users["root"]

    def user(self, name: str) -> Account | None:
        return self.users.get(name)

    def group(self, name: str) -> int | None:
        return self.groups.get(name)

    def groups_of(self, user: str, gid: int) -> tuple[int, ...]:
        others = {"nobody": {1, 65534}}.get(user, set())
        return tuple(sorted({gid, *others}))

    def interfaces(self) -> frozenset[str] | None:
        return self.links

    def mtu(self, interface: str) -> int | None:
        return self.mtus.get(interface)

    def has_multicast(self, interface: str) -> bool | None:
        return interface not in self.without_multicast

    def addresses(self) -> Addresses | None:
        return self.held

    def give(self, interface: str, *addresses: str, ours: bool = False) -> None:
        """Add addresses `ADDR/LEN` to an interface."""
        for text in addresses:
            address, _, length = text.partition("/")
            family = 6 if ":" in address else 4
            one = HostAddress(family, number_of(address, family), int(length), ours)
            held = dict(self.held or {})
            held[interface] = (*held.get(interface, ()), one)
            self.held = held

    def file(self, path: str) -> FileInfo | None:
        return self.files.get(path)

    def real_path(self, path: str) -> str:
        return self.real.get(path, path)

    def find(self, program: str) -> str | None:
        path = f"/bin/{program}"
        return path if path in self.files else None

    def names(self, table: str, etc: str, usr: str) -> Mapping[str, int]:
        self.directories.append((etc, usr))
        return self.tables[table]

    def protocol(self, name: str) -> int | None:
        return {"tcp": 6, "udp": 17}.get(name)

    def cpus(self) -> int:
        return 2


class Reader:
    """Writes a text to a file and reads it back through the loader."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "k.conf"
        self.host = FakeHost()
        self.config_id: str | None = "r1"
        self.environ: dict[str, str] = {}

    def __call__(self, text: str | bytes) -> Loaded:
        self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(self.path, config_id=self.config_id, environ=self.environ, host=self.host)

    def one(self, *lines: str, vips: str = "10.0.0.1/24", name: str = "V") -> VrrpInstance:
        """The only instance of a file that has no errors."""
        loaded = self(instance(*lines, vips=vips, name=name))
        assert loaded.configuration is not None, texts(loaded)
        (found,) = loaded.configuration.vrrp_instances
        return found

    def file(self, name: str, text: str) -> Path:
        """Another file in the same directory."""
        path = self.path.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return path


def instance(
    *lines: str, vips: str = "10.0.0.1/24", name: str = "V", vrid: int = 1, interface: str = "eth0"
) -> str:
    """A vrrp_instance; the first of `lines` is line 7 when it begins the file."""
    body = "\n".join(lines)
    return (
        f"vrrp_instance {name} {{\n interface {interface}\n virtual_router_id {vrid}\n"
        f" virtual_ipaddress {{\n {vips}\n }}\n{body}\n}}\n"
    )


def texts(loaded: Loaded, severity: Severity | None = None) -> list[str]:
    """LINE:COLUMN: text; hint, without the file."""
    return [short(m) for m in loaded.messages if severity in (None, m.severity)]


def short(message: Message) -> str:
    at = message.position
    tail = f"; {message.hint}" if message.hint else ""
    return f"{at.line}:{at.column}: {message.severity.value}: {message.text}{tail}"


def routers(read: Reader, *files: str) -> list[Router]:
    """r1, r2, ... with a configuration each."""
    found = []
    for number, text in enumerate(files, 1):
        loaded = read(text)
        assert loaded.configuration is not None, loaded.messages
        found.append(Router(f"r{number}", loaded.configuration))
    return found
