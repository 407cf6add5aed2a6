"""The load balancer's part of the configuration model: virtual servers, real servers, checkers.

As in `model`: frozen, resolved, keepalived's names, the unit is the last word of a field's name.
What a checker inherits (checker from real_server from virtual_server from the built-in default)
is already in it, so two checkers that do the same are equal but for their position.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple, overload

from fastvrrp.config.base import NS_PER_S, Command, Position, Struct

DELAY_LOOP_NS = 60 * NS_PER_S
CONNECT_TIMEOUT_NS = 5 * NS_PER_S
HELO_NAME = "smtpchecker.keepalived.org"
HTTP_PROTOCOL = "1.0"


class Forwarding(Struct):
    """lvs_method: how packets get to a server (IPVS_DEST_ATTR_FWD_METHOD, linux/ip_vs.h)."""

    method: str = "NAT"  # NAT, DR, TUN
    tunnel: str = "ipip"  # TUN only: ipip, gue, gre
    tunnel_port: int = 0  # gue only
    checksum: str = "nocsum"  # gue and gre only: nocsum, csum, remcsum (gue only)


class Connection(Struct):
    """Where a checker connects to and from where."""

    address: str  # connect_ip, else the real server's
    port: int  # connect_port, else the real server's; 0 where a protocol has none
    bind_address: str | None = None
    bind_port: int = 0  # 0: the kernel chooses
    bind_if: str | None = None  # for link-local addresses
    fwmark: int = 0
    timeout_ns: int = CONNECT_TIMEOUT_NS


class Schedule(Struct):
    """When a checker runs, and what its first result means."""

    delay_loop_ns: int = DELAY_LOOP_NS
    retry: int = 1  # further attempts before it fails
    delay_before_retry_ns: int = NS_PER_S
    warmup_ns: int = DELAY_LOOP_NS  # bound of the random first delay
    alpha: bool = False  # starts failed
    log_all_failures: bool = False


class TcpCheck(Struct, tag="TCP_CHECK"):
    connection: Connection
    schedule: Schedule = Schedule()
    position: Position | None = None


class Regex(Struct):
    """PCRE2 pattern a page must (or must not) contain."""

    pattern: str
    options: tuple[str, ...] = ()  # keepalived's words: caseless, multiline, ...
    no_match: bool = False
    min_offset: int = 0  # bytes
    max_offset: int | None = None  # a match may not start behind it


class Url(Struct):
    path: str
    virtualhost: str | None = None  # Host header; None: connect address and port
    digest: bytes | None = None  # MD5 of the body, 16 bytes
    status_codes: tuple[tuple[int, int], ...] = ((200, 299),)  # inclusive ranges
    regex: Regex | None = None
    tls_compliant: bool = False  # SSL_GET: close_notify is sent


class HttpCheck(Struct, tag="HTTP_GET"):
    """HTTP_GET, and SSL_GET when `tls`."""

    connection: Connection
    urls: tuple[Url, ...]
    tls: bool = False
    http_protocol: str = HTTP_PROTOCOL  # 1.0, 1.0C, 1.1
    enable_sni: bool = False
    sni_name: str | None = None  # None: the virtual host
    fast_recovery: bool = False
    schedule: Schedule = Schedule()
    position: Position | None = None


class SmtpCheck(Struct, tag="SMTP_CHECK"):
    """A block with several hosts is a checker for each of them."""

    connection: Connection
    helo_name: str = HELO_NAME
    schedule: Schedule = Schedule()
    position: Position | None = None


class DnsCheck(Struct, tag="DNS_CHECK"):
    connection: Connection
    query_type: str = "SOA"
    name: str = "."
    schedule: Schedule = Schedule()
    position: Position | None = None


class MiscCheck(Struct, tag="MISC_CHECK"):
    command: Command
    timeout_ns: int
    dynamic: bool = False
    schedule: Schedule = Schedule()
    position: Position | None = None


class UdpCheck(Struct, tag="UDP_CHECK"):
    connection: Connection
    payload: bytes | None = None  # None: keepalived's default payload
    require_reply: bool = False
    reply: bytes | None = None
    reply_mask: bytes | None = None  # bits of `reply` that count; None: all
    min_reply_length: int = 0
    max_reply_length: int = 0xFFFF
    schedule: Schedule = Schedule()
    position: Position | None = None


class PingCheck(Struct, tag="PING_CHECK"):
    connection: Connection  # port 0
    schedule: Schedule = Schedule()
    position: Position | None = None


class FileCheck(Struct, tag="FILE_CHECK"):
    track_file: str  # name of a TrackFile
    weight: int = 1
    reverse: bool = False
    schedule: Schedule = Schedule(retry=0, warmup_ns=0)  # what the file says counts at once
    position: Position | None = None


Check = TcpCheck | HttpCheck | SmtpCheck | DnsCheck | MiscCheck | UdpCheck | PingCheck | FileCheck


class RealServer(Struct):
    address: str
    port: int  # 0: the port of the service that a packet came to
    family: int  # 4 or 6
    weight: int = 1
    forwarding: Forwarding = Forwarding()
    uthreshold: int = 0
    lthreshold: int = 0
    inhibit_on_failure: bool = False
    alpha: bool = False
    notify_up: Command | None = None
    notify_down: Command | None = None
    smtp_alert: bool = False
    checks: tuple[Check, ...] = ()
    position: Position | None = None


class Lot(NamedTuple):
    """Real servers of one virtual server that differ in their addresses and places alone.

    `one` makes one of them, by its number; lots of one `kind` are the same but for addresses and
    places.
    """

    kind: Hashable
    one: Callable[[int], RealServer]
    addresses: Sequence[str]


class Servers(Sequence[RealServer]):
    """Tens of thousands of real servers, as a tuple of them; those in lots are made when they are
    asked for, each time anew."""

    __slots__ = ("_size", "parts")

    def __init__(self, parts: Sequence[RealServer | Lot]) -> None:
        self.parts = parts
        self._size = sum([len(p.addresses) if type(p) is Lot else 1 for p in parts])

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[RealServer]:
        for part in self.parts:
            if isinstance(part, Lot):
                yield from map(part.one, range(len(part.addresses)))
            else:
                yield part

    @overload
    def __getitem__(self, index: int) -> RealServer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RealServer, ...]: ...
    def __getitem__(self, index: int | slice) -> RealServer | tuple[RealServer, ...]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Servers | tuple):
            return NotImplemented
        return len(self) == len(other) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def parts(servers: Sequence[RealServer]) -> Iterator[tuple[RealServer | Lot, RealServer]]:
    """What they are made of, each with one of it: a lot or itself."""
    for part in servers.parts if isinstance(servers, Servers) else servers:
        yield part, part.one(0) if isinstance(part, Lot) else part


def kinds(servers: Sequence[RealServer]) -> Iterator[tuple[RealServer, int]]:
    """One of each lot, and how many there are of it."""
    for part, one in parts(servers):
        yield one, len(part.addresses) if isinstance(part, Lot) else 1


class SorryServer(Struct):
    address: str
    port: int
    family: int
    forwarding: Forwarding = Forwarding()
    inhibit: bool = False  # kept at weight 0 while unused


class ServiceAddress(Struct):
    """One IPVS service, or a range of addresses that are services each."""

    family: int  # 4 or 6
    address: str | None = None  # None: fwmark
    count: int = 1  # consecutive addresses
    port: int = 0
    fwmark: int = 0


class VirtualServer(Struct):
    """virtual_server, resolved; one pool of real servers behind one or more IPVS services."""

    name: str  # as keepalived shows it: [ADDRESS]:PROTOCOL:PORT, FWM N, [GROUP]:...
    services: tuple[ServiceAddress, ...]
    group: str | None = None  # name of its virtual_server_group
    protocol: str = "TCP"  # TCP, UDP, SCTP; TCP for firewall marks
    scheduler: str = "wlc"
    flags: tuple[str, ...] = ()  # flag-1, flag-2, flag-3; sh-port ... of the file are among them
    persistence_timeout_s: int = 0  # 0: not persistent
    persistence_granularity: int | None = None  # prefix length; None: single hosts
    persistence_engine: str | None = None
    one_packet: bool = False
    ha_suspend: bool = False
    alpha: bool = False
    omega: bool = False
    quorum: int = 1
    hysteresis: int = 0
    quorum_up: Command | None = None
    quorum_down: Command | None = None
    smtp_alert: bool = False
    sorry_server: SorryServer | None = None
    real_servers: tuple[RealServer, ...] = ()  # or Servers
    position: Position | None = None


class SyncDaemon(Struct):
    """lvs_sync_daemon: the kernel's connection synchronisation."""

    interface: str
    instance: str | None = None  # None: master and backup both run
    id: int = 0
    maxlen: int = 0  # 0: the kernel's default
    port: int = 0
    ttl: int = 0
    group: str | None = None


class Timeouts(Struct):
    """lvs_timeouts, seconds; 0: unchanged."""

    tcp_s: int = 0
    tcpfin_s: int = 0
    udp_s: int = 0


class TlsContext(Struct):
    """The SSL block: what SSL_GET presents and trusts."""

    password: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __rich_repr__(self) -> list[tuple[str, str | None]]:
        """The fields; the password is not shown."""
        fields = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "***" if name == "password" and v else v) for name, v in fields]

    def __repr__(self) -> str:
        return f"TlsContext({', '.join(f'{k}={v!r}' for k, v in self.__rich_repr__())})"


class Ipvs(Struct):
    """Everything the ipvs process runs."""

    virtual_servers: tuple[VirtualServer, ...] = ()
    sync_daemon: SyncDaemon | None = None
    timeouts: Timeouts = Timeouts()
    flush: bool = False  # lvs_flush
    flush_on_stop: str | None = None  # None, "all", "VS"
    tls: TlsContext = TlsContext()
    no_checker_emails: bool = False
    rs_init_notifies: bool = False
    priority: int = 0  # checker_priority, nice value
    rt_priority: int = 0
    rlimit_rttime_us: int = 10000
    cpu_affinity: tuple[int, ...] = ()
    no_swap: bool = False
    net_namespace: str | None = None  # net_namespace_ipvs; None: as net_namespace, "": the host's
    nftables: str | None = None  # nftables_ipvs: table name; None: an IPVS service per entry
