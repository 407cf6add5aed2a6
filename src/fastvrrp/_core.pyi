"""Typed surface of the compiled core.

Two classes carry the product: `Core` (pure state machine, virtual time; simulator and tests)
and `Engine` (the same core driven by a thread that never takes the GIL). Both are fed with the
same `Instance` records. Times are CLOCK_MONOTONIC nanoseconds (int); addresses are packed bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, final

K = TypeVar("K")
D = TypeVar("D")

NEVER: int

# vr states
INIT: int
BACKUP: int
MASTER: int
FAULT: int
STATE_NAMES: tuple[str, ...]

# fault reason bits (FAULT is left when the mask is 0)
FAULT_LINK: int  # own interface down or absent (core: link events)
FAULT_TRACK_LINK: int  # tracked interface with weight 0 (core: link events)
FAULT_SCRIPT: int  # control plane
FAULT_FILE: int  # control plane
FAULT_PROCESS: int  # control plane
FAULT_SOURCE: int  # no usable source address (core: source is empty)
FAULT_GROUP: int  # another member of the sync group is faulty (core)
FAULT_AWAIT: int  # a weight-0 tracker has no first result yet: INIT instead of FAULT
FAULT_CONFIG: int  # control plane: cannot run as configured now (e.g. no VMAC)
FAULT_SERVER: int  # control plane: a tracked virtual server has no quorum
FAULT_STATIC: int  # control plane: a static object of one of its track_groups is lost
FAULT_MULTICAST: int  # control plane: multicast adverts on an interface that takes none
FAULT_NAMES: dict[int, str]

# flags of an instance
F_NOPREEMPT: int
F_WANT_MASTER: int  # configured `state MASTER`
F_LOWER_PRIO_NO_ADVERT: int
F_HIGHER_PRIO_SEND_ADVERT: int
F_OWNER_IGNORE_ADVERTS: int
F_SKIP_CHECK_ADV_ADDR: int
F_OLD_CHECKSUM: int  # unicast IPv4 v3: send the checksum of keepalived before 1.3.7
F_NO_OLD_CHECKSUM: int  # and do not accept it
F_CHECKSUM_AS_V2: int  # IPv4 v3: send without pseudo-header
F_DONT_TRACK_PRIMARY: int
F_UNICAST: int
F_PACKET: int  # send Ethernet frames (the packet backend)

# why a state was entered (Event.reason)
REASON_NAMES: tuple[str, ...]

# receive results: index of a counter; 0 is "accepted"
RX_NAMES: tuple[str, ...]

# kinds of Event
EV_STATE: int  # a=old state, b=new state, c=fault mask, reason, priority
EV_PRIORITY: int  # a=old effective priority, b=new
EV_RX_LOWER_PRI: int  # as master heard an inferior advert: a=its priority, address=sender
EV_DUAL_MASTER: int  # contention: a=1 start, 0 end; address=other, b=1 when we won
EV_LATE: int  # own lateness: a=ns late
EV_PLAYED: int  # program result: a=errno (0 ok), b=failed requests, c=1 up, 0 down
EV_RX_ERROR: int  # first rejection of this cause since the last report: a=rx code, b=count
EV_INTERVAL_MISMATCH: int  # a=their ns, b=ours
EV_ADDR_MISMATCH: int
EV_LINK: int  # a=ifindex, b=flags; slot is the link slot
EV_LINK_RESYNC: int  # the link socket overflowed: re-read everything
EV_COMMITTED: int  # a=epoch
EV_STOPPED: int  # every instance has stopped and its down program was played
EV_SEND_ERROR: int  # a=errno, b=count since last report
EV_MASTER_CHANGED: int  # as backup: now following another router; address, a=priority
EV_GROUP: int  # slot=group slot: a=old group state, b=new

class Event(NamedTuple):
    kind: int
    slot: int
    sequence: int  # per instance, counts EV_STATE
    now_ns: int
    a: int
    b: int
    c: int
    reason: int
    priority: int  # effective
    address: bytes  # packed sender, b"" when none

class Instance:
    """Everything the core needs about one virtual router, as plain values.

    Packets, announcements and programs are bytes built beforehand (see `build_announcement`
    and `pack_program`). Raises ValueError when a value is out of range.
    """

    def __init__(
        self,
        *,
        slot: int,
        vrid: int,
        family: int,  # 4 or 6
        version: int,  # 2 or 3
        priority: int,
        advert_int_ns: int,
        link: int,  # link slot
        flags: int = 0,
        group: int = -1,  # group slot
        down_timer_adverts: int = 3,
        preempt_delay_ns: int = 0,
        hold_until_ns: int = 0,  # startup delay: no adverts heard or sent before
        source: bytes = b"",  # packed own address; empty: FAULT_SOURCE
        destination: bytes = b"",  # multicast group; empty with F_UNICAST
        peers: list[tuple[bytes, int, int]] = ...,  # (address, min_ttl, max_ttl)
        ttl: int = 255,
        addresses: list[bytes] = ...,  # advertised, in configured order
        auth_type: int = 0,
        auth_data: bytes = b"",
        garp_master_repeat: int = 5,
        garp_master_delay_ns: int = ...,
        garp_master_refresh_ns: int = 0,
        garp_master_refresh_repeat: int = 1,
        garp_lower_prio_repeat: int = 5,
        garp_lower_prio_delay_ns: int = ...,
        garp_extra_if_ns: int = 0,  # period of the records marked extra
        timer_expired_backup: int = 0,
        tracks: list[tuple[int, int, bool]] = ...,  # (link slot, weight, reverse)
        fault: int = 0,  # initial control-plane reason bits
        adjust: int = 0,  # initial sum of soft weights
        announce: bytes = b"",  # concatenated build_announcement() records
        up: bytes = b"",  # pack_program(): played on becoming MASTER
        down: bytes = b"",  # pack_program(): played on leaving MASTER
        change: bytes = b"",  # pack_program(): played when committed over a running MASTER
        mac: bytes = b"",  # source of frames, with F_PACKET
    ) -> None: ...
    slot: int
    @property
    def content(self) -> tuple[bytes, ...]:
        """All that it says, for comparison: settings, packet, announcements, programs, tracked
        links, peers. Raises ValueError once it was committed."""

    @property
    def size(self) -> int: ...

class Status(NamedTuple):
    """Snapshot of one instance; consistent, lock-free."""

    slot: int
    state: int
    sequence: int
    fault: int
    base_priority: int
    effective_priority: int
    advert_int_ns: int
    master_advert_int_ns: int
    skew_time_ns: int
    master_down_interval_ns: int
    since_ns: int  # monotonic, of the last transition
    next_due_ns: int
    master_address: bytes
    master_priority: int
    source: bytes
    reason: int
    vips_up: bool
    counters: dict[str, int]

COUNTER_NAMES: tuple[str, ...]

def checksum(data: bytes, initial: int = 0) -> int:
    """RFC 1071 ones' complement sum of data, folded and inverted."""

class Advert(NamedTuple):
    version: int
    type: int
    vrid: int
    priority: int
    address_count: int
    interval_cs: int  # centiseconds (v2: seconds * 100)
    auth_type: int
    auth_data: bytes
    addresses: tuple[bytes, ...]

def encode_advert(
    *,
    version: int,
    vrid: int,
    priority: int,
    interval_cs: int,
    addresses: list[bytes],
    source: bytes = b"",
    destination: bytes = b"",
    auth_type: int = 0,
    auth_data: bytes = b"",
    checksum_as_v2: bool = False,
) -> bytes:
    """A VRRP PDU with its checksum (RFC 9568 5.1, RFC 3768 5.3)."""

def decode_advert(
    pdu: bytes, *, source: bytes = b"", destination: bytes = b""
) -> tuple[int, Advert | None]:
    """(rx code, advert or None). Never raises for any bytes."""

def build_announcement(
    *,
    family: int,
    address: bytes,
    ifindex: int,
    mac: bytes,
    request: int = 0,
    router: bool = True,
    new: bool = False,
    extra: bool = False,
) -> bytes:
    """One record of Instance.announce: a gratuitous ARP request or an unsolicited NA frame.

    `request` is the index in the up program of the request that adds this address: when the
    kernel refused it the address is not announced. `new` marks an address that a reload added:
    the announcement after that commit carries only these. `extra` marks the one address per
    interface that garp_extra_if repeats. Raises ValueError for a link-layer
    address that is not 6 bytes.
    """

def socket_filter(
    *, family: int, vrids: bytes | None = None, any_ttl: bool = True, packet: bool = False
) -> bytes:
    """The classic BPF program (struct sock_filter, linux/filter.h) of a socket; see
    `Engine.accept`. `packet`: of a packet socket, else of a raw one."""

OK_EXIST: int  # EEXIST counts as success
OK_GONE: int  # ENOENT, ESRCH, EADDRNOTAVAIL, ENODEV, EINVAL-free "nothing to delete" count too

def pack_program(requests: list[tuple[bytes, int]]) -> bytes:
    """A program: complete rtnetlink requests (nlmsghdr included) with their tolerated errors."""

P_DOWN: int
P_UP: int
P_CHANGE: int

# ("tx", slot, priority), ("announce", slot, repeat, only_new), ("play", slot, program, generation)
# or ("event", Event)
Action = (
    tuple[str, int, int]
    | tuple[str, int, int, bool]
    | tuple[str, int, int, int]
    | tuple[str, Event]
)

class Core:
    """The pure core under virtual time.

    A new slot starts at its commit. Committing a slot that runs changes its configuration and
    keeps its state; identity (vrid, family, link, unicast) must not change: use another slot.
    `coalesce`: as in an Engine, adverts that are due together leave together, with the phase of
    their burst; otherwise each is exact.
    """

    def __init__(
        self,
        *,
        instances: int = 64,
        links: int = 16,
        groups: int = 16,
        now_ns: int = 0,
        coalesce: bool = False,
    ) -> None: ...
    def link(self, slot: int, *, ifindex: int, up: bool, now_ns: int) -> list[Action]: ...
    def commit(
        self, instances: list[Instance], *, remove: list[int] | None = None, now_ns: int
    ) -> list[Action]: ...
    def packet(
        self,
        data: bytes,
        *,
        link: int,
        source: bytes,
        destination: bytes,
        ttl: int,
        now_ns: int,
    ) -> tuple[int, list[Action]]:
        """Feed a VRRP PDU. Returns (rx code, actions)."""
    def tick(self, now_ns: int) -> list[Action]: ...
    def played(
        self,
        slot: int,
        generation: int,
        *,
        program: int = ...,
        error: int = 0,
        failed: int = 0,
        now_ns: int,
    ) -> list[Action]: ...
    def fault(self, slot: int, *, set: int = 0, clear: int = 0, now_ns: int) -> list[Action]: ...
    def adjust(self, slot: int, total: int, *, now_ns: int) -> list[Action]: ...
    def replay(self, slot: int, *, now_ns: int) -> list[Action]: ...
    def stop(self, slot: int, *, now_ns: int) -> list[Action]: ...
    def hand_over(self, receiver: Core, instances: list[int], *, now_ns: int) -> list[Action]:
        """Instances, with all members of their sync groups, go on in another core of the same
        size, as they are. Returns what that core does about links that it sees otherwise. Raises
        ValueError."""
    def sequence(self, slot: int) -> int:
        """See Engine.sequence."""
    def next_due_ns(self, until_ns: int = NEVER) -> int:
        """When something may be due, never later than the earliest deadline; NEVER: there is none.
        With nothing due up to `until_ns` it is any moment between that and the earliest one."""
    def status(self, slot: int) -> Status:
        """Raises KeyError for an empty slot."""
    def group_state(self, slot: int) -> int: ...
    def advert_bytes(self, slot: int, priority: int, destination: bytes = b"") -> bytes:
        """The PDU that ("tx", slot, priority) puts on the wire."""
    def illegal_transitions(self) -> int: ...
    def unowned(self) -> dict[str, int]: ...
    def fingerprint(self) -> int: ...
    @staticmethod
    def legality_matrix() -> tuple[tuple[bool, ...], ...]: ...

def arrivals(
    stamps_ns: list[int], *, offset_ns: int, since_ns: int, now_ns: int, grain_ns: int
) -> list[int]:
    """When packets came that the engine reads in one turn, CLOCK_MONOTONIC: by the kernel's stamps
    (CLOCK_REALTIME, `offset_ns` ahead; 0 for none), between `since_ns` and `now_ns`, and the same
    for those that came within `grain_ns`."""

class Wheel:
    """The timer wheel alone, for property tests and benchmarks."""

    def __init__(self, size: int, now_ns: int = 0) -> None: ...
    def arm(self, index: int, due_ns: int) -> None: ...
    def cancel(self, index: int) -> None: ...
    def next_due(self) -> int:
        """Never later than the earliest deadline; exact when it is near. NEVER when empty."""
    def pop_due(self, now_ns: int) -> list[tuple[int, int]]:
        """(due, index) of everything due, in that order."""

# result of one attempt of a health check: fastvrrp.ipvs.checks.base.Verdict
VERDICT_DOWN: int
VERDICT_UP: int
VERDICT_LOCAL: int  # our own problem: the attempt counts for nothing

# state of a health check; the last two also: what it has become just now
CHECK_UNKNOWN: int  # has not completed yet: up for servers without alpha, failed for those with
CHECK_UP: int
CHECK_DOWN: int
CHECK_START_NS: int  # from the start to the first attempt, at the least

class Check:
    """One health check, pure: when the next attempt is due, and what a result means.

    keepalived's schedule: once up it fails after `retry` more failures in a row, each
    `delay_before_retry_ns` after the one before; before it has completed once, and to recover, a
    single result is enough. With several `steps` (urls) one is done per `delay_loop_ns`;
    `fast_recovery`: without pauses on the way up. `http`: after a failure only the failed step is
    done until it works, no earlier than `delay_before_retry_ns`, then all from the first; without
    it there can be one step only. Raises ValueError when a value is out of range.
    """

    def __init__(
        self,
        *,
        delay_loop_ns: int,
        delay_before_retry_ns: int,
        warmup_ns: int = 0,
        retry: int = 1,
        steps: int = 1,
        fast_recovery: bool = False,
        http: bool = False,
    ) -> None: ...
    state: int
    step: int  # of the next attempt
    failures: int  # in a row, that did not count yet
    suspended: bool
    def first(self, now_ns: int, random: int) -> int:
        """When the first attempt is due. `random` is any number of 32 bits."""
    def result(self, verdict: int, now_ns: int) -> tuple[int, int]:
        """An attempt of `step` has ended: (when the next one is due, change). The change is
        CHECK_UP, CHECK_DOWN or 0. Delays count from now_ns. Suspended: (NEVER, 0), and the
        attempt counts for nothing."""
    def suspend(self) -> None:
        """The state is kept; nothing counts until `resume`."""
    def resume(self, now_ns: int, random: int) -> int:
        """When the next attempt is due: within a second, or `warmup_ns` if that is less."""

class Engine:
    """The engine and applier threads. Create, `start()`, feed, `stop()`, `join()`.

    Must be created in the network namespace it shall serve. Methods are for one Python thread.
    Raises OSError when a socket cannot be made (e.g. EPERM without NET_RAW).
    """

    def __init__(
        self,
        *,
        instances: int = 8192,
        links: int = 1024,
        groups: int = 1024,
        rt_priority: int = 0,
        lock_memory: bool = False,
        cpu: int = -1,
        pulse: int = -1,  # descriptor of the page of supervisor.pulse
        alarm: int = -1,  # the supervisor's timerfd, which stays the caller's; only with `pulse`
        alarm_ns: int = 10_000_000_000,  # what stands still for so long lets it ring
        thread: int = 0,  # 0..63: its place in that page
    ) -> None: ...
    def start(self) -> None: ...
    def fileno(self) -> int:
        """Readable when events wait: for loop.add_reader."""
    def events(self, limit: int = 512) -> list[Event]: ...
    def overflowed(self) -> bool:
        """True once after events were lost: re-read status()."""
    def link(
        self,
        slot: int,
        *,
        ifindex: int,
        families: int = 1,  # 1: IPv4, 2: IPv6, 3: both
        garp_interval_ns: int = 0,
        gna_interval_ns: int = 0,
        pace_group: int = -1,
        mcast4: list[bytes] | None = None,
        mcast6: list[bytes] | None = None,
        rx_buffer: int = 0,
        vrf_ifindex: int = 0,
        rejoin: bool = False,
        vrids4: bytes | None = None,
        vrids6: bytes | None = None,
        any_ttl: int = 3,
        packet: int = 0,
        down_delay_ns: int = 0,
        up_delay_ns: int = 0,
        ring_frames: int = 1024,
        group_ifindex: int = 0,
        unreported: bool = False,
    ) -> None:
        """Define or redefine a link slot: sockets for the families (0: only watch up/down) and
        multicast groups given. `rejoin`: the interface may be another one with the index of one
        that the slot had before, so the groups are joined again once its sockets are closed. The
        engine follows up and down by itself; a change counts when it has lasted for
        `down_delay_ns` or `up_delay_ns`. ifindex 0: the interface is absent (down). ifindex -1:
        pseudo link, always up, of unicast instances without an interface. `vrids4`, `vrids6`,
        `any_ttl`: see `accept`. `packet`: families whose groups
        are heard through the receive ring of a packet socket instead of the raw socket, which is
        then made only if `families` names it as well, for unicast. A ring has `ring_frames` (a
        power of two from 256) and hears what comes in by the interface; the groups are joined on
        `group_ifindex` (0: the same one), so that nothing is sent by an interface that must keep
        silent. `unreported`: the kernel tells nobody of memberships in 224.0.0.0/24, so that a ring
        does without them. Raises OSError when a socket cannot be made."""
    def accept(
        self,
        slot: int,
        *,
        vrids4: bytes | None = None,
        vrids6: bytes | None = None,
        any_ttl: int = 3,
    ) -> None:
        """Replace what the sockets of a slot let through: VRIDs, one a byte (None: all of them),
        and the families (1: IPv4, 2: IPv6) in which a TTL or hop limit other than 255 may be
        right; of others one in eight passes, to be counted and told. Add before the commit that
        needs more, take away after EV_COMMITTED of the one that needs less."""
    def commit(
        self, instances: list[Instance], *, remove: list[int] | None = None, epoch: int
    ) -> None:
        """One atomic change. A removed slot may be used again after EV_COMMITTED of this epoch."""
    def hand_over(
        self, receiver: Engine, *, links: list[int], instances: list[int], limit_ms: int = 3000
    ) -> bool:
        """Links go on in another running engine of the same size, with their sockets and all
        their instances, whose sync groups must come as a whole. No advert is missed, nothing is
        sent, played or told because of it. Here the links stay known, without sockets; the
        receiver has to know the other links that these instances track. Events of before are in
        this engine's ring. Waits for it, normally less than a millisecond; False when the threads
        that change addresses are too busy for that long: then nothing has changed. Raises
        ValueError, RuntimeError."""
    def fault(self, slot: int, *, set: int = 0, clear: int = 0) -> None: ...
    def adjust(self, slot: int, total: int) -> None: ...
    def replay(self, slot: int) -> None:
        """If MASTER: play the up program again and announce (an address was deleted)."""
    def stop_instances(self) -> None:
        """Priority 0 for every master, down programs, then EV_STOPPED."""
    def stop(self) -> None: ...
    def join(self, timeout_s: float | None = None) -> bool: ...
    def status(self, slot: int) -> Status:
        """Raises KeyError for an empty slot."""
    def sequence(self, slot: int) -> int:
        """How many states were entered in a slot, by all who had it: the first event of its next
        instance has one more."""
    def group_state(self, slot: int) -> int: ...
    def link_up(self, slot: int) -> bool: ...
    def counters(self) -> dict[str, int]:
        """Of the engine itself: turns, packets, lateness_ns_max, own_pauses, send_errors, ..."""
    def lateness(self) -> list[int]:
        """Histogram: item k counts deadlines served between 2**k and 2**(k+1) ns late."""
    rt_errno: int  # errno of the refused real-time scheduling, 0 when granted or not asked for

# Why an attempt of the prober ended as it did, or an answer is not wanted any more.
WHY_ERROR: int  # an errno; 0: connected
WHY_STATUS: int
WHY_DIGEST: int
WHY_NO_ANSWER: int
WHY_NO_HEADER: int
WHY_NO_STATUS: int
WHY_LONG_HEADER: int
WHY_LONG_ANSWER: int
WHY_TIMEOUT: int  # of one wait
WHY_DRIPPED: int  # of all of them

HTTP_HEADER_BYTES_MAX: int
HTTP_ANSWER_BYTES_MAX: int

class HttpAnswer:
    """The answer to a GET, read as the prober reads it; nothing of it is kept."""

    def __init__(self, *, digest: bool, takes_interim: bool = False) -> None:
        """`takes_interim`: an answer 1xx is the answer; otherwise the one behind it."""
    def feed(self, data: bytes) -> int:
        """The next piece. 0, or why no more of it is wanted: WHY_LONG_HEADER, WHY_LONG_ANSWER."""
    @property
    def header_bytes(self) -> int: ...
    @property
    def complete_header(self) -> bool: ...
    @property
    def status(self) -> int | None: ...
    @property
    def content_length(self) -> int | None: ...
    @property
    def body_bytes(self) -> int: ...
    @property
    def digest(self) -> bytes:
        """MD5 of the body so far, 16 bytes. Raises ValueError without `digest`."""

class ProbeEvent(NamedTuple):
    """A check became up or down; an attempt failed and `tell_failures` asked for it; or this host
    could not make an attempt, and had made the one before."""

    handle: int
    verdict: int  # of the attempt
    change: int  # CHECK_UP, CHECK_DOWN: the state became that; else 0
    first: bool  # it had none before
    up: bool  # the state now
    error: int  # WHY_ERROR: errno of the attempt, 0: connected; WHY_STATUS: the status
    failures: int  # attempts before this one that failed and did not count
    at_ns: int
    latency_ns: int
    why: int = 0  # WHY_*
    phase: int = 0  # PHASE_*, in which that was
    digest: bytes = b""  # WHY_DIGEST: of the page

class ProbeStatus(NamedTuple):
    state: int  # CHECK_UNKNOWN, CHECK_UP, CHECK_DOWN
    suspended: bool
    verdict: int  # of the last attempt, as error, latency_ns, why, phase and digest
    error: int
    latency_ns: int
    at_ns: int  # when it ended; 0: there was none
    due_ns: int  # of the next attempt; NEVER while one runs, waits for a socket, or is suspended
    failures: int  # in a row, that did not count yet
    attempts: int
    why: int = 0
    phase: int = 0
    digest: bytes = b""

# Where an attempt of the prober was.
PHASE_CONNECT: int
PHASE_SENDING: int
PHASE_ANSWER: int

class Prober:
    """TCP_CHECK and HTTP_GET for many servers: one thread that never takes the GIL.

    `start()` it in the network namespace it shall probe from. At most `sockets` connections are
    open at a time; what is due meanwhile waits for its turn. Methods are for one Python thread.
    `pulse` and `alarm`: descriptors of supervisor.pulse with which it shows that it lives.
    Raises OSError when the kernel gives no memory or descriptors.
    """

    def __init__(
        self,
        *,
        sockets: int = 16384,
        pulse: int = -1,
        alarm: int = -1,
        alarm_ns: int = 10_000_000_000,
    ) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def join(self, timeout_s: float | None = None) -> bool: ...
    def fileno(self) -> int:
        """Readable when events wait: for loop.add_reader."""
    def events(self, limit: int = 512) -> list[ProbeEvent]:
        """May name handles that were removed meanwhile."""
    def overflowed(self) -> bool:
        """True once after events were lost: re-read status()."""
    def add(
        self,
        address: bytes,
        port: int,
        *,
        timeout_ns: int,
        delay_loop_ns: int,
        delay_before_retry_ns: int,
        warmup_ns: int,
        retry: int,
        random: int,
        bind_address: bytes | None = None,
        bind_port: int = 0,
        bind_if: bytes = b"",
        fwmark: int = 0,
        tell_failures: bool = False,
        suspended: bool = False,
        urls: Sequence[tuple[bytes, bytes | None, Sequence[tuple[int, int]]]] = (),
        fast_recovery: bool = False,
    ) -> int:
        """Begin a check (semantics: `Check`); returns its handle. `random` is any number of 32
        bits. With `urls` it is an HTTP_GET: of each the request, the MD5 digest that the page must
        have (None: any), and the ranges of statuses that are good, both ends included. Raises
        ValueError when a value is out of range, RuntimeError when there are 262,144 checks
        already."""
    def hold(self) -> None:
        """What is asked from now on may wait: for one that asks for much."""
    def release(self) -> None:
        """Now it must be done. Each `hold` needs one."""
    def remove(self, handle: int) -> None:
        """End it; an attempt under way is dropped. This and the others raise KeyError when the
        handle is of no check."""
    def suspend(self, handle: int) -> None:
        """The state is kept, an attempt under way is dropped."""
    def resume(self, handle: int, random: int) -> None: ...
    def status(self, handle: int) -> ProbeStatus: ...
    def counters(self) -> dict[str, int]:
        """turns, attempts, answers, timeouts, local, queued (waited for a socket), open, waiting,
        events_lost."""

def ipvs_destinations(
    servers: Iterable[
        tuple[Any, int, Sequence[str]]
    ],  # RealServers or SorryServers of config.servers, weights, and addresses of all like it
    service_port: int,
    form: Callable[[Any], tuple[bool, int, int, int, int]],
    key_type: type[K],
    destination_type: type[D],
) -> dict[K, D]:
    """What `ipvs.services.destinations` says. `form`: of a Forwarding, whether it changes ports,
    method, kind of tunnel, its port and flags. Raises OSError, ValueError for what is no address
    of its family.
    """

def ipvs_requests(
    operations: Sequence[tuple[Any, ...]],
    family_id: int,
    sequence: int,
    name: Callable[[Any], bytes],
    body: Callable[[Any], bytes],
) -> bytes:
    """Generic netlink requests for `ipvs.table.Operation`s, numbered from `sequence`.

    `name` gives the attribute that names the service of a destination that is added or edited, by
    the operation's key (asked once for those that follow each other), `body` the attributes of
    every other operation. Raises ValueError, OverflowError when a value does not fit.
    """

# Loops in C for bench/micro; the product does not use them.
def poll_tick_ns(interval_ns: int) -> int:
    """How long a packet may wait until it is read, at high packet rates, where interval_ns is the
    shortest interval of all instances."""

def prepare_rings(count: int, frames: int) -> None:
    """Make receive rings side by side, for Engine.link() to take: the kernel takes milliseconds
    for each. Those that cannot be made Engine.link() makes itself, and says why not."""

def discard_rings() -> None:
    """Close the prepared ones that were not taken."""

def bench_wire(rounds: int, addresses: int = 1) -> dict[str, int]:
    """ns of `rounds` of "checksum", "encode", "decode" of one IPv4 v3 PDU."""

def bench_feed(
    core: Core,
    packets: list[tuple[int, bytes, bytes, int, bytes]],
    *,
    now_ns: int,
    step_ns: int = 0,
    rounds: int = 1,
) -> tuple[int, int, int]:
    """`rounds` times over (link, source, destination, ttl, data): (ns spent, accepted, actions)."""

def bench_run(core: Core, until_ns: int) -> tuple[int, int, int]:
    """Tick at every deadline up to until_ns: (ns spent, turns, actions)."""

def bench_wheel(
    wheel: Wheel, *, now_ns: int, rounds: int, step_ns: int, spread_ns: int
) -> tuple[int, int]:
    """Move time by step_ns, arm again what was due, spread_ns later: (ns spent, fired)."""

# ---------------------------------------------------------------------- addresses of rtnetlink

class AddressKey:
    """Identity of an address. `peer` is empty unless the address is point-to-point."""

    def __init__(
        self, ifindex: int, family: int, address: bytes, prefixlen: int, peer: bytes = b""
    ) -> None:
        """Raises ValueError when these do not go together. Immutable, hashable."""

    @property
    def ifindex(self) -> int: ...
    @property
    def family(self) -> int:
        """4 or 6."""

    @property
    def address(self) -> bytes: ...
    @property
    def prefixlen(self) -> int: ...
    @property
    def peer(self) -> bytes: ...
    def _replace(
        self,
        *,
        ifindex: int = ...,
        family: int = ...,
        address: bytes = ...,
        prefixlen: int = ...,
        peer: bytes = ...,
    ) -> AddressKey:
        """As of a named tuple."""

class Address:
    """An address of an interface. Immutable."""

    def __init__(
        self, key: AddressKey, flags: int, scope: int, protocol: int | None, label: str
    ) -> None: ...
    @property
    def key(self) -> AddressKey: ...
    @property
    def flags(self) -> int:
        """IFA_F_* of linux/if_addr.h."""

    @property
    def scope(self) -> int: ...
    @property
    def protocol(self) -> int | None:
        """IFA_PROTO; None: the kernel reported none."""

    @property
    def label(self) -> str: ...
    @property
    def usable(self) -> bool:
        """Duplicate address detection is over (or was skipped) and succeeded."""

    def _replace(
        self,
        *,
        key: AddressKey = ...,
        flags: int = ...,
        scope: int = ...,
        protocol: int | None = ...,
        label: str = ...,
    ) -> Address:
        """As of a named tuple."""

def decode_address(data: bytes | bytearray | memoryview, start: int, end: int) -> Address | None:
    """An address from the body of RTM_NEWADDR or RTM_DELADDR, which lies between two offsets; None
    for families other than IPv4 and IPv6. Raises ValueError when it contradicts itself."""

class AddressTable:
    """The addresses of one interface, by their keys, in the order in which they came. An Address is
    made anew whenever it is asked for."""

    def __init__(self, ifindex: int) -> None: ...
    @property
    def ifindex(self) -> int: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: object) -> bool: ...
    def __getitem__(self, key: AddressKey) -> Address:
        """Raises KeyError."""

    def get(self, key: AddressKey) -> Address | None: ...
    def put(self, address: Address) -> Address | None:
        """Returns what was known of it. One that is known keeps its place. Raises ValueError when
        it is of another interface."""

    def drop(self, key: AddressKey) -> Address | None:
        """Forget it; returns what was known of it."""

    def __iter__(self) -> Iterator[AddressKey]: ...
    def values(self) -> Iterator[Address]:
        """Raises RuntimeError when addresses are put meanwhile and entries have to move."""

@final
class AddressSet:
    """Packed addresses, 4 or 16 bytes each, in little memory. Immutable. Nothing else is in it.

    Raises ValueError for another length, TypeError for what is not bytes.
    """

    def __init__(self, addresses: Iterable[bytes] = ()) -> None: ...
    def __contains__(self, address: object) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]:
        """IPv4 first, each family in order."""

def read_addresses(
    fd: int,
    buffer: bytearray,
    addresses: dict[int, AddressTable],
    came: list[Address],
    mark: int,
    limit: int,
) -> tuple[int, int, int]:
    """Read a netlink socket of notifications as long as they are what a takeover brings most of:
    RTM_NEWADDR, alone in its datagram, with `mark` as IFA_PROTO. At most `limit` of these are put
    into `addresses` (by ifindex), and those that are new or different into `came`.

    Returns the size of a datagram of another kind, which is in `buffer` (as far as it fits) for the
    caller; 0 when nothing is left or at the limit; or a negative errno, as what was taken in before
    counts all the same. With it how many were taken in, and how many datagrams of others than the
    kernel were dropped.
    """

class Mirrors:
    """What was last reported about the instances, by slot."""

    def add(self, slot: int, sequence: int = 0) -> None:
        """An instance of which nothing was reported yet."""

    def drop(self, slot: int) -> None: ...
    def get(self, slot: int) -> Mirror | None: ...
    def sequence(self, slot: int) -> int:
        """Of what was reported last; -1 for an unknown slot."""

    def enter(
        self, slot: int, sequence: int, state: int, reason: int, priority: int, since_ns: int
    ) -> tuple[int, bool]:
        """Take in that the instance is in another state. Returns the one before, and whether this
        is the first that was reported. Only a backup knows a master. Raises KeyError."""

    def slots(self) -> list[int]: ...
    def in_state(self, state: int) -> list[int]:
        """Slots whose instance is in this state."""

    def state(self, slot: int) -> int:
        """INIT for an unknown slot."""

class Mirror:
    """What was last reported about the instance in a slot: a view of Mirrors, made anew whenever
    it is asked for."""

    @property
    def slot(self) -> int: ...

    sequence: int
    state: int
    since_ns: int
    reason: int
    priority: int  # effective
    master_address: bytes
    master_priority: int
    transitions: int

class AddressItem:
    """An address that an owner wants, ready to be added, deleted, announced and recognised.
    Immutable. Its requests are made when they are asked for."""

    def __init__(
        self,
        owner: str,
        key: AddressKey,
        device: str,
        *,
        add: bytes | None = None,  # RTM_NEWADDR; None: the usual one of an address without options
        scope: int = 0,
        nodad: bool = True,  # IPv6
        restore: bool = True,
        advertised: bool = False,
        native: bool = False,
        mac: bytes = b"",
        router: bool = False,
        extra: bool = False,
    ) -> None:
        """Raises ValueError when these do not go together."""

    @property
    def kind(self) -> str: ...
    @property
    def owner(self) -> str:
        """Instance name, or "" for static ones."""

    @property
    def key(self) -> AddressKey: ...
    @property
    def device(self) -> str:
        """The interface as the configuration calls it."""

    @property
    def add(self) -> bytes:
        """RTM_NEWADDR; of a native address one that never replaces."""

    @property
    def delete(self) -> bytes:
        """RTM_DELADDR."""

    @property
    def text(self) -> str:
        """For messages."""

    @property
    def restore(self) -> bool:
        """Put back when somebody deletes it (not `no_track`)."""

    @property
    def hops(self) -> tuple[()]: ...
    @property
    def advertised(self) -> bool:
        """Listed in adverts (not excluded)."""

    @property
    def native(self) -> bool:
        """The host's own, of an address owner: never deleted."""

    @property
    def mac(self) -> bytes:
        """What its gratuitous ARP or NA tells; b"": it is not announced."""

    @property
    def router(self) -> bool:
        """The router flag of its NA."""

    @property
    def extra(self) -> bool:
        """It is the one of its interface that garp_extra_if repeats."""

    @property
    def nodad(self) -> bool: ...
    @property
    def scope(self) -> int: ...
    def same_object(self, other: AddressItem) -> bool:
        """Whether both are the same address, added in the same way."""

    def _replace(
        self,
        *,
        owner: str = ...,
        native: bool = ...,
        mac: bytes = ...,
        router: bool = ...,
        extra: bool = ...,
    ) -> AddressItem:
        """As of a named tuple."""

def address_key(ifindex: int, family: int, text: str, prefixlen: int) -> AddressKey:
    """The key of an address without a peer. Raises OSError when it is none of that family."""

def plain_items(
    listed: tuple[Any, ...],  # model.VirtualAddress
    excluded: tuple[Any, ...],
    *,
    owner: str,
    family: int,
    ifindex: int,
    device: str,
    mac: bytes,  # of the announcements; b"": none
    router: bool,
) -> tuple[AddressItem, ...] | None:
    """Items of addresses on one interface, none of them the host's own, each once; `listed` are
    advertised. None when one of them has options, another family or interface, or is invalid:
    these are for `net.programs`."""

def instance_alike(
    pattern: Instance,  # which was not committed
    *,
    slot: int,
    vrid: int,
    items: tuple[object, ...],
    garp_extra_if_ns: int = 0,
    fault: int = 0,
    adjust: int = 0,
) -> Instance | None:
    """An instance like another one, with addresses of its own: `items`, and those that they say
    are advertised. It follows none that runs. None when not all items are AddressItems without
    requests of their own: the constructor can do it. Raises ValueError."""

def pack_items(items: tuple[object, ...]) -> bytes | None:
    """What AddressItems of one owner on one interface differ in, for unpack_items. None when there
    are none, when they differ in more or have options, or when one is no AddressItem."""

def unpack_items(
    data: bytes,
    start: int,
    end: int,
    *,
    owner: str,
    ifindex: int,
    family: int,
    device: str,
    mac: bytes,
) -> tuple[AddressItem, ...]:
    """The items again; they lie between two offsets. Raises ValueError."""

def allocate_apart(on: bool) -> None:
    """Whether objects get memory of the C library from now on, or of the interpreter's allocator,
    which must be its usual one (without checks)."""

def delete_address(key: AddressKey) -> bytes:
    """RTM_DELADDR of exactly this address and prefix length."""
