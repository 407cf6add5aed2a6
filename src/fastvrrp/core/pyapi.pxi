# Python surface of the pure core: Instance (one block of configuration), Core (virtual time),
# codecs. Typed and documented in _core.pyi.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from typing import NamedTuple


_tuple_new = tuple.__new__


class Event(NamedTuple):
    kind: int
    slot: int
    sequence: int
    now_ns: int
    a: int
    b: int
    c: int
    reason: int
    priority: int
    address: bytes


class Status(NamedTuple):
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
    since_ns: int
    next_due_ns: int
    master_address: bytes
    master_priority: int
    source: bytes
    reason: int
    vips_up: bool
    counters: dict


class Advert(NamedTuple):
    version: int
    type: int
    vrid: int
    priority: int
    address_count: int
    interval_cs: int
    auth_type: int
    auth_data: bytes
    addresses: tuple


def _export(namespace):
    names = dict(
        NEVER=FV_NEVER, INIT=S_INIT, BACKUP=S_BACKUP, MASTER=S_MASTER, FAULT=S_FAULT,
        FAULT_LINK=FAULT_LINK, FAULT_TRACK_LINK=FAULT_TRACK_LINK, FAULT_SCRIPT=FAULT_SCRIPT,
        FAULT_FILE=FAULT_FILE, FAULT_PROCESS=FAULT_PROCESS, FAULT_SOURCE=FAULT_SOURCE,
        FAULT_GROUP=FAULT_GROUP, FAULT_AWAIT=FAULT_AWAIT, FAULT_CONFIG=FAULT_CONFIG,
        FAULT_SERVER=FAULT_SERVER, FAULT_STATIC=FAULT_STATIC,
        FAULT_MULTICAST=FAULT_MULTICAST,
        F_NOPREEMPT=F_NOPREEMPT, F_WANT_MASTER=F_WANT_MASTER,
        F_LOWER_PRIO_NO_ADVERT=F_LOWER_PRIO_NO_ADVERT,
        F_HIGHER_PRIO_SEND_ADVERT=F_HIGHER_PRIO_SEND_ADVERT,
        F_OWNER_IGNORE_ADVERTS=F_OWNER_IGNORE_ADVERTS,
        F_SKIP_CHECK_ADV_ADDR=F_SKIP_CHECK_ADV_ADDR, F_CHECKSUM_AS_V2=F_CHECKSUM_AS_V2,
        F_OLD_CHECKSUM=F_OLD_CHECKSUM, F_NO_OLD_CHECKSUM=F_NO_OLD_CHECKSUM,
        F_DONT_TRACK_PRIMARY=F_DONT_TRACK_PRIMARY, F_UNICAST=F_UNICAST, F_PACKET=F_PACKET,
        EV_STATE=EV_STATE, EV_PRIORITY=EV_PRIORITY, EV_RX_LOWER_PRI=EV_RX_LOWER_PRI,
        EV_DUAL_MASTER=EV_DUAL_MASTER, EV_LATE=EV_LATE, EV_PLAYED=EV_PLAYED,
        EV_RX_ERROR=EV_RX_ERROR, EV_INTERVAL_MISMATCH=EV_INTERVAL_MISMATCH,
        EV_ADDR_MISMATCH=EV_ADDR_MISMATCH, EV_LINK=EV_LINK, EV_LINK_RESYNC=EV_LINK_RESYNC,
        EV_COMMITTED=EV_COMMITTED, EV_STOPPED=EV_STOPPED, EV_SEND_ERROR=EV_SEND_ERROR,
        EV_MASTER_CHANGED=EV_MASTER_CHANGED, EV_GROUP=EV_GROUP,
        P_DOWN=P_DOWN, P_UP=P_UP, P_CHANGE=P_CHANGE, OK_EXIST=OK_EXIST, OK_GONE=OK_GONE,
    )
    namespace.update(names)


_export(globals())

STATE_NAMES = ("INIT", "BACKUP", "MASTER", "FAULT")
FAULT_NAMES = {
    FAULT_LINK: "interface down",
    FAULT_TRACK_LINK: "tracked interface down",
    FAULT_SCRIPT: "script",
    FAULT_FILE: "file",
    FAULT_PROCESS: "process",
    FAULT_SOURCE: "no source address",
    FAULT_GROUP: "sync group",
    FAULT_AWAIT: "awaiting first tracker result",
    FAULT_CONFIG: "configuration",
    FAULT_SERVER: "virtual server",
    FAULT_STATIC: "static object",
    FAULT_MULTICAST: "interface without multicast",
}
REASON_NAMES = (
    "none", "startup", "no response from master", "master stopped", "preempted lower priority master",
    "higher priority master", "equal priority, higher address", "sync group", "fault", "fault cleared", "stop",
    "own pause",
)
RX_NAMES = (
    "advert_rcvd", "length_err", "version_err", "invalid_type_rcvd", "vrid_err", "ttl_err", "checksum_err",
    "count_err", "authtype_mismatch", "auth_failure", "advert_interval_err", "cast_kind_err",
    "unknown_peer", "own_looped", "owner_ignored", "ignored_in_state", "ip_header_err",
)
COUNTER_NAMES = RX_NAMES + (
    "advert_sent", "pri_zero_sent", "pri_zero_rcvd", "become_master", "release_master", "addr_list_err",
    "interval_mismatch", "checksum_without_pseudo_header", "late", "adverts_missed", "contention",
    "announcements", "send_err",
)


cdef bytes packed(const u8 *p, u32 n):
    return (<const char *> p)[:n]


cdef object event_of(const action_t *a):
    # not by Event(), which is written in Python: a takeover of many is as many events
    return _tuple_new(Event, (a.event, a.slot, a.sequence, a.now_ns, a.a, a.b, a.c, a.reason, a.priority,
                              packed(a.address, a.address_len) if a.address_len else b""))


cdef u32 in_range(name, value, long long low, long long high) except? 0xFFFFFFFF:
    if not low <= value <= high:
        raise ValueError(f"{name} {value} is not in {low}..{high}")
    return <u32> <long long> value


cdef inline size_t rounded(size_t n) noexcept nogil:
    """What a part of a block takes that has so many bytes."""
    return (n + 7) & ~<size_t> 7


cdef u32 place(cfg_t *g, u8 **cursor, const void *data, size_t n) noexcept nogil:
    """Copies a part to *cursor (kept 8-byte aligned) and returns its offset in the block."""
    cdef u8 *at = cursor[0]
    memcpy(at, data, n)
    cursor[0] = at + rounded(n)
    return <u32> (at - <u8 *> g)


cdef u32 place_program(cfg_t *g, u8 **cursor, bytes data):
    """None: nothing to play."""
    return 0 if data is None else place(g, cursor, <const char *> data, len(data))


cdef bytes shortened_program(bytes data):
    """What pack_program() made as a block has it; None if it is empty."""
    cdef bytearray room
    if not data:
        return None
    check_program(data)
    room = bytearray(len(data))
    return packed(<const u8 *> PyByteArray_AS_STRING(room),
                  shorten_program(<u8 *> PyByteArray_AS_STRING(room), <const u8 *> <const char *> data))


cdef bytes shortened_announcements(bytes data):
    """Records of build_announcement() as a block has them."""
    cdef bytearray room = bytearray(len(data))
    check_announce(data)
    return packed(<const u8 *> PyByteArray_AS_STRING(room),
                  shorten_announcements(<u8 *> PyByteArray_AS_STRING(room), <const u8 *> <const char *> data,
                                        <u32> len(data)))


cdef inline size_t pdu_room(u8 version, size_t addresses) noexcept nogil:
    """For an advert with so many bytes of addresses."""
    return rounded(VRRP_HEADER + addresses + (V2_AUTH_LEN if version == 2 else 0))


cdef bytes full_program(const u8 *kept):
    """The requests of a program in a block as pack_program() puts them."""
    cdef u8 message[ADDRESS_REQUEST]
    cdef u32 total = (<const u32 *> kept)[0]
    cdef u32 at = 8
    cdef list requests = []
    while at < total:
        if kept[at + 1]:
            requests.append((packed(message, put_request(message, kept + at)), kept[at]))
        else:
            requests.append((packed(kept + at + 4, (<const u32 *> (kept + at + 4))[0]), kept[at]))
        at += request_size(kept + at)
    return pack_program(requests)


cdef bytes full_announcements(const u8 *kept, u32 end):
    """As build_announcement() made them."""
    cdef u8 record[ANN_HEADER + NA_FRAME]
    cdef u32 at = 0
    cdef u32 length
    cdef list records = []
    while at < end:
        length = (<const u16 *> (kept + at))[2]
        if kept[at + 8] & ANN_BRIEF:
            memcpy(record, kept + at, ANN_HEADER)
            record[8] = kept[at + 8] & (ANN_NEW | ANN_IPV6 | ANN_EXTRA)
            (<u16 *> record)[2] = <u16> put_frame(record + ANN_HEADER, kept + at)
            records.append(packed(record, ANN_HEADER + (<u16 *> record)[2]))
        else:
            records.append(packed(kept + at, ANN_HEADER + length))
        at += ANN_HEADER + length
    return b"".join(records)


cdef cfg_t *new_block(size_t n) except NULL:
    """Raises MemoryError."""
    cdef void *p = block_new(n)
    if p == NULL:
        raise MemoryError()
    return <cfg_t *> p


cdef class Instance:
    cdef cfg_t *cfg
    cdef readonly u32 slot

    def __dealloc__(self):
        block_free(self.cfg)

    def __init__(
        self, *, slot, vrid, family, version, priority, advert_int_ns, link, flags=0, group=-1,
        down_timer_adverts=3, preempt_delay_ns=0, hold_until_ns=0, bytes source=b"", bytes destination=b"",
        list peers=None, ttl=255, list addresses=None, auth_type=0, bytes auth_data=b"",
        garp_master_repeat=5, garp_master_delay_ns=5000000000, garp_master_refresh_ns=0,
        garp_master_refresh_repeat=1, garp_lower_prio_repeat=5, garp_lower_prio_delay_ns=5000000000,
        garp_extra_if_ns=0,
        timer_expired_backup=0, list tracks=None, fault=0, adjust=0, bytes announce=b"",
        bytes up=b"", bytes down=b"", bytes change=b"", bytes mac=b"",
    ):
        cdef u32 alen = 4 if family == 4 else 16
        cdef bytes joined
        cdef size_t size
        cdef u8 *cursor
        cdef cfg_t *g
        cdef u32 k
        peers = peers or []
        addresses = addresses or []
        tracks = tracks or []
        up = shortened_program(up)
        down = shortened_program(down)
        change = shortened_program(change)
        announce = shortened_announcements(announce)
        if family not in (4, 6):
            raise ValueError(f"family {family} is not 4 or 6")
        if version not in (2, 3):
            raise ValueError(f"version {version} is not 2 or 3")
        in_range("vrid", vrid, 1, 255)
        in_range("priority", priority, 1, 255)
        in_range("number of addresses", len(addresses), 0, MAX_ADDRESSES)
        in_range("number of tracked links", len(tracks), 0, MAX_TRACKS)
        in_range("number of unicast peers", len(peers), 0, MAX_PEERS)
        in_range("down_timer_adverts", down_timer_adverts, 1, 100)
        if version == 2:
            if advert_int_ns % FV_NS_PER_S or not 1 <= advert_int_ns // FV_NS_PER_S <= 255:
                raise ValueError(f"advert_int_ns {advert_int_ns}: version 2 takes 1..255 whole seconds")
            wire = advert_int_ns // FV_NS_PER_S
        else:
            if advert_int_ns % FV_NS_PER_CS or not 1 <= advert_int_ns // FV_NS_PER_CS <= 4095:
                raise ValueError(f"advert_int_ns {advert_int_ns}: version 3 takes 1..4095 centiseconds")
            wire = advert_int_ns // FV_NS_PER_CS
        for value in addresses:
            if len(value) != alen:
                raise ValueError(f"address {value!r} is not {alen} bytes")
        for value in (source, destination):
            if value and len(value) != alen:
                raise ValueError(f"address {value!r} is not {alen} bytes")
        if not flags & F_UNICAST and not destination:
            raise ValueError("a multicast instance needs a destination")
        if len(mac) != (6 if flags & F_PACKET else 0):
            raise ValueError(f"a link-layer address of {len(mac)} bytes")
        if flags & F_PACKET and flags & F_UNICAST:
            raise ValueError("a unicast instance sends no frames")
        joined = b"".join(addresses)
        # no more than that: thousands of blocks are a cache line smaller or larger
        size = (sizeof(cfg_t) + pdu_room(version, len(joined)) + rounded(len(announce))
                + len(tracks) * sizeof(track_t) + len(peers) * sizeof(peer_t))
        for value in (up, down, change):
            if value is not None:
                size += rounded(len(value))
        block_free(self.cfg)
        self.cfg = NULL
        self.cfg = g = new_block(size)
        memset(g, 0, size)
        self.slot = g.slot = slot
        g.flags = flags
        g.link = link
        g.group = NONE if group < 0 else group
        g.vrid = vrid
        g.family = family
        g.version = version
        g.priority = priority
        g.down_adverts = down_timer_adverts
        g.auth_type = auth_type
        g.ttl = ttl
        g.timer_expired_backup = timer_expired_backup
        g.alen = alen
        g.has_source = bool(source)
        g.has_destination = bool(destination)
        g.interval_bytes_hi = (wire >> 8) & 255
        g.interval_bytes_lo = wire & 255
        if source:
            memcpy(g.source, <const char *> source, alen)
        if destination:
            memcpy(g.destination, <const char *> destination, alen)
        memcpy(g.mac, <const char *> mac, len(mac))
        auth_data = auth_data[:V2_AUTH_LEN]
        memcpy(g.auth, <const char *> auth_data, len(auth_data))
        g.fault = fault
        g.adjust = adjust
        g.advert_int_ns = advert_int_ns
        g.preempt_delay_ns = preempt_delay_ns
        g.hold_until_ns = hold_until_ns
        g.garp_delay_ns = garp_master_delay_ns
        g.refresh_ns = garp_master_refresh_ns
        g.lower_delay_ns = garp_lower_prio_delay_ns
        g.extra_ns = garp_extra_if_ns
        g.garp_repeat = garp_master_repeat
        g.refresh_repeat = garp_master_refresh_repeat
        g.lower_repeat = garp_lower_prio_repeat
        g.n_addresses = len(addresses)
        g.n_peers = len(peers)
        g.n_tracks = len(tracks)
        g.announce_len = len(announce)
        cursor = <u8 *> g + ((sizeof(cfg_t) + 7) & ~7)
        g.pdu = cursor
        cursor += pdu_room(version, len(joined))
        advert_build(g, <const u8 *> <const char *> joined, g.pdu)
        g.up = place_program(g, &cursor, up)
        g.down = place_program(g, &cursor, down)
        g.change = place_program(g, &cursor, change)
        g.announce = place(g, &cursor, <const char *> announce, len(announce))
        g.tracks = <u32> (cursor - <u8 *> g)
        for k in range(g.n_tracks):
            tracks_of(g)[k].link = tracks[k][0]
            tracks_of(g)[k].weight = tracks[k][1]
            tracks_of(g)[k].reverse = bool(tracks[k][2])
        for k in range(g.n_peers):
            if len(peers[k][0]) != alen:
                raise ValueError(f"peer address {peers[k][0]!r} is not {alen} bytes")
            memcpy(peers_of(g)[k].address, <const char *> peers[k][0], alen)
            peers_of(g)[k].min_ttl = peers[k][1]
            peers_of(g)[k].max_ttl = peers[k][2]

    @property
    def size(self):
        """Bytes of program and packet data this instance carries."""
        if self.cfg == NULL:
            return 0
        return (sizeof(cfg_t) + self.cfg.pdu_len + self.cfg.announce_len + (<const u32 *> up_of(self.cfg))[0]
                + (<const u32 *> down_of(self.cfg))[0] + (<const u32 *> change_of(self.cfg))[0])

    @property
    def content(self):
        """All that the block says, without pointers."""
        cdef cfg_t head
        cdef cfg_t *g = self.cfg
        if g == NULL:
            raise ValueError("this Instance was committed already")
        head = g[0]
        head.pdu = NULL
        return (packed(<const u8 *> &head, sizeof(cfg_t)), packed(g.pdu, g.pdu_len),
                full_announcements(announce_of(g), g.announce_len), full_program(up_of(g)),
                full_program(down_of(g)), full_program(change_of(g)),
                packed(<const u8 *> tracks_of(g), g.n_tracks * sizeof(track_t)),
                packed(<const u8 *> peers_of(g), g.n_peers * sizeof(peer_t)))

    cdef cfg_t *take(self, core_t *c) except NULL:
        """Hands the block over to a core: an Instance can be committed once."""
        cdef cfg_t *g = self.cfg
        cdef u32 k
        if g == NULL:
            raise ValueError("this Instance was committed already")
        in_range("slot", g.slot, 0, c.cap_vr - 1)
        in_range("link", g.link, 0, c.cap_link - 1)
        if g.group != NONE:
            in_range("group", g.group, 0, c.cap_group - 1)
        for k in range(g.n_tracks):
            in_range("tracked link", tracks_of(g)[k].link, 0, c.cap_link - 1)
        self.cfg = NULL
        return g


def checksum(bytes data, u32 initial=0):
    cdef const char *p = data
    return <u16> ~fold(sum_bytes(<const u8 *> p, len(data), initial))


def encode_advert(*, version, vrid, priority, interval_cs, list addresses, bytes source=b"",
                  bytes destination=b"", auth_type=0, bytes auth_data=b"", checksum_as_v2=False):
    cdef Instance made
    cdef u8 buffer[MAX_PDU]
    alen = len(addresses[0]) if addresses else (len(source) or 4)
    in_range("priority", priority, 0, 255)
    if version == 3 and not (alen == 4 and checksum_as_v2) and (len(source) != alen or len(destination) != alen):
        raise ValueError("the checksum needs source and destination")
    made = Instance(
        slot=0, vrid=vrid, family=4 if alen == 4 else 6, version=version, priority=max(priority, 1),
        advert_int_ns=interval_cs * FV_NS_PER_CS, link=0,
        flags=F_UNICAST | (F_CHECKSUM_AS_V2 if checksum_as_v2 else 0),
        source=source, addresses=addresses, auth_type=auth_type, auth_data=auth_data)
    memset(buffer, 0, sizeof(buffer))
    destination = destination or bytes(alen)
    advert_finish(made.cfg, priority, <const u8 *> <const char *> destination, buffer)
    return packed(buffer, made.cfg.pdu_len)


def decode_advert(bytes pdu, *, bytes source=b"", bytes destination=b""):
    cdef advert_t a
    cdef const char *raw = pdu
    cdef const u8 *p = <const u8 *> raw
    cdef u32 alen = 16 if len(source) == 16 else 4
    cdef u8 plain = 0
    cdef u8 code = advert_parse(p, len(pdu), alen, &a)
    cdef u32 k
    if code != RX_OK:
        return code, None
    if len(source) == alen and len(destination) == alen:
        if not advert_checksum_ok(p, &a, alen, <const u8 *> <const char *> source,
                                  <const u8 *> <const char *> destination, &plain):
            code = RX_CHECKSUM
    addresses = tuple([packed(a.addresses + k * alen, alen) for k in range(a.count)])
    return code, Advert(a.version, a.type, a.vrid, a.priority, a.count, a.interval_ns // FV_NS_PER_CS,
                        a.auth_type, packed(a.auth, V2_AUTH_LEN) if a.version == 2 else b"", addresses)


def build_announcement(*, family, bytes address, u32 ifindex, bytes mac, u16 request=0, router=True, new=False,
                       extra=False):
    cdef u8 record[ANN_HEADER + NA_FRAME]
    cdef u32 n
    if len(mac) != 6:
        raise ValueError(f"a link-layer address of {len(mac)} bytes cannot be announced, only Ethernet's 6")
    if len(address) != (4 if family == 4 else 16):
        raise ValueError(f"address {address!r} does not fit family {family}")
    memset(record, 0, sizeof(record))
    if family == 4:
        n = garp_build(<const u8 *> <const char *> address, <const u8 *> <const char *> mac, record + ANN_HEADER)
    else:
        n = na_build(<const u8 *> <const char *> address, <const u8 *> <const char *> mac, router, record + ANN_HEADER)
    memcpy(record, &ifindex, 4)
    (<u16 *> record)[2] = n
    (<u16 *> record)[3] = request
    record[8] = (ANN_NEW if new else 0) | (ANN_EXTRA if extra else 0) | (ANN_IPV6 if family == 6 else 0)
    return packed(record, ANN_HEADER + n)


cdef int check_announce(bytes data) except -1:
    cdef const char *p = data
    cdef size_t at = 0
    cdef size_t end = len(data)
    while at < end:
        if end - at < ANN_HEADER or end - at - ANN_HEADER < (<const u16 *> (p + at))[2]:
            raise ValueError("announce is not a concatenation of build_announcement() records")
        if p[at + 8] & ~<u8> (ANN_NEW | ANN_IPV6 | ANN_EXTRA):
            raise ValueError("no flags of an announcement")
        at += ANN_HEADER + (<const u16 *> (p + at))[2]
    return 0


def arrivals(list stamps_ns, *, i64 offset_ns, i64 since_ns, i64 now_ns, i64 grain_ns):
    cdef arrivals_t a
    memset(&a, 0, sizeof(a))
    a.offset_ns = offset_ns
    a.since_ns = a.last_ns = since_ns
    a.grain_ns = grain_ns
    return [arrival(&a, stamp_ns, now_ns) for stamp_ns in stamps_ns]


def pack_program(list requests):
    cdef size_t size = 8
    cdef bytes request
    cdef bytes blob
    cdef const char *p
    cdef u8 *at
    for pair in requests:
        request = pair[0]
        p = request
        if len(request) < 16 or (<const u32 *> p)[0] != <u32> len(request):
            raise ValueError("a request must be one complete netlink message")
        size += 4 + ((len(request) + 3) & ~3)
    blob = PyBytes_FromStringAndSize(NULL, size)
    at = <u8 *> PyBytes_AS_STRING(blob)
    memset(at, 0, size)
    (<u32 *> at)[0] = <u32> size
    (<u32 *> at)[1] = <u32> len(requests)
    at += 8
    for pair in requests:
        request = pair[0]
        p = request
        (<i32 *> at)[0] = pair[1]
        memcpy(at + 4, p, len(request))
        at += 4 + ((len(request) + 3) & ~3)
    return blob


cdef int check_program(bytes data) except -1:
    """The applier trusts blobs, so they are checked here, once."""
    cdef const char *p = data
    cdef size_t at = 8
    cdef size_t end = len(data)
    cdef u32 n = 0
    cdef u32 length
    if end < 8 or (<const u32 *> p)[0] != end:
        raise ValueError("not a pack_program() blob")
    while at < end:
        if end - at < 20:
            raise ValueError("truncated program")
        length = (<const u32 *> (p + at + 4))[0]
        if length < 16 or length > MAX_REQUEST or end - at - 4 < length:
            raise ValueError(f"a netlink request of {length} bytes does not fit")
        if (<const u32 *> (p + at))[0] & ~<u32> (OK_EXIST | OK_GONE):
            raise ValueError("no class of errors")
        at += 4 + ((length + 3) & ~3)
        n += 1
    if n != (<const u32 *> p)[1]:
        raise ValueError("program count mismatch")
    return 0


cdef object status_of(core_t *c, u32 i):
    """Double-collect snapshot: two equal copies in a row are one consistent state."""
    cdef vr_t v
    cdef vr_t again
    cdef cfg_t *g
    cdef int tries
    if i >= c.cap_vr or not fv_peek_u8(&c.vr[i].used):
        raise KeyError(f"slot {i} holds no instance")
    for tries in range(100):
        fv_peek(&v, &c.vr[i], sizeof(vr_t))
        fv_peek(&again, &c.vr[i], sizeof(vr_t))
        if memcmp(&v, &again, sizeof(vr_t)) == 0:
            break
    # no block is freed before this thread has taken it from the event ring
    g = <cfg_t *> <uintptr_t> fv_peek_u64(<const u64 *> &c.cfg[i])
    base = FV_NS_PER_S if g.version == 2 else v.master_int_ns
    skew = (256 - v.priority) * base // 256
    return Status(
        i, v.state, v.sequence, v.fault, g.priority, v.priority, g.advert_int_ns, v.master_int_ns, skew,
        g.down_adverts * v.master_int_ns + skew, v.since_ns, earliest_due(&v),
        packed(v.master, g.alen) if v.master_known and v.state == S_BACKUP else b"", v.master_priority,
        packed(g.source, g.alen) if g.has_source else b"", v.reason, v.vips == 2,
        {name: fv_peek_u64(counter(c, i, k)) for k, name in enumerate(COUNTER_NAMES)})


cdef object sequence_of(core_t *c, u32 i):
    in_range("slot", i, 0, c.cap_vr - 1)
    return fv_peek_u32(&c.vr[i].sequence)


cdef class Core:
    cdef core_t core
    cdef out_t out
    cdef u8 *arena

    def __cinit__(self, *, u32 instances=64, u32 links=16, u32 groups=16, i64 now_ns=0, coalesce=False):
        cdef u32 i
        self.arena = <u8 *> calloc(1, core_bytes(instances, links, groups))
        self.out.cap = instances * ACTIONS_PER_VR + ACTIONS_SPARE
        self.out.items = <action_t *> malloc(self.out.cap * sizeof(action_t))
        if self.arena == NULL or self.out.items == NULL:
            raise MemoryError()
        core_init(&self.core, self.arena, instances, links, groups, now_ns)
        self.core.coalesce_ns = COALESCE_NS if coalesce else 0
        self.core.base_ns = now_ns
        for i in range(links):
            self.core.link[i].used = 1
            memset(self.core.link[i].table, 0xFF, sizeof(self.core.link[i].table))

    def __dealloc__(self):
        cdef u32 i
        if self.arena != NULL and self.core.cfg != NULL:
            for i in range(self.core.cap_vr):
                block_free(self.core.cfg[i])
        free(self.arena)
        free(self.out.items)

    cdef list actions(self):
        cdef u32 k
        cdef action_t *a
        cdef list result = []
        if self.out.lost:
            raise RuntimeError("the action bound of step.pxi does not hold")
        for k in range(self.out.n):
            a = &self.out.items[k]
            if a.kind == A_TX:
                result.append(("tx", a.slot, a.priority))
            elif a.kind == A_ANNOUNCE:
                result.append(("announce", a.slot, a.a, a.b == ANN_NEW))
            elif a.kind == A_PLAY:
                result.append(("play", a.slot, a.a, a.b))
            else:
                result.append(("event", event_of(a)))
        self.out.n = 0
        return result

    def link(self, u32 slot, *, i32 ifindex, up, i64 now_ns):
        in_range("link", slot, 0, self.core.cap_link - 1)
        self.core.link[slot].ifindex = ifindex
        core_link(&self.core, slot, bool(up), now_ns, &self.out)
        return self.actions()

    def commit(self, list instances, *, list remove=None, i64 now_ns):
        cdef u32 n = len(instances)
        cdef u32 k
        cdef u32 *gone
        cdef u32 taken = 0
        cdef cfg_t **items
        remove = remove or []
        items = <cfg_t **> calloc(n + 1, sizeof(cfg_t *))
        gone = <u32 *> calloc(len(remove) + 1, sizeof(u32))
        try:
            for k in range(n):
                items[k] = (<Instance?> instances[k]).take(&self.core)
                taken += 1
            for k in range(<u32> len(remove)):
                gone[k] = remove[k]
            taken = 0                                   # from here on the core owns them
            core_commit(&self.core, items, n, gone, len(remove), now_ns, &self.out)
            for k in range(n):
                block_free(items[k].displaced)
                items[k].displaced = NULL
        finally:
            for k in range(taken):
                block_free(items[k])
            free(items)
            free(gone)
        return self.actions()

    def packet(self, bytes data, *, u32 link, bytes source, bytes destination, u8 ttl, i64 now_ns):
        cdef u32 alen = len(source)
        cdef const char *p = data
        cdef u8 code
        if alen not in (4, 16) or len(destination) != alen:
            raise ValueError("source and destination must be 4 or 16 bytes each")
        in_range("link", link, 0, self.core.cap_link - 1)
        code = core_packet(&self.core, link, alen, <const u8 *> <const char *> source,
                           <const u8 *> <const char *> destination, ttl, <const u8 *> p, len(data), now_ns, &self.out)
        return code, self.actions()

    def tick(self, i64 now_ns):
        cdef list result = []
        while core_tick(&self.core, now_ns, self.core.cap_vr, &self.out):
            result += self.actions()
        return result + self.actions()

    def played(self, u32 slot, u32 generation, *, u32 program=P_UP, i32 error=0, u32 failed=0, i64 now_ns):
        core_played(&self.core, slot, generation, program, error, failed, now_ns, &self.out)
        return self.actions()

    def fault(self, u32 slot, *, u32 set=0, u32 clear=0, i64 now_ns):
        core_fault(&self.core, slot, set, clear, now_ns, &self.out)
        return self.actions()

    def adjust(self, u32 slot, i32 total, *, i64 now_ns):
        core_adjust(&self.core, slot, total, now_ns, &self.out)
        return self.actions()

    def replay(self, u32 slot, *, i64 now_ns):
        core_replay(&self.core, slot, now_ns, &self.out)
        return self.actions()

    def hand_over(self, Core receiver, list instances, *, i64 now_ns):
        cdef u32 n = len(instances)
        cdef u32 k
        cdef u32 *slots
        cdef carried_t *carried
        if receiver is self or receiver.core.cap_vr != self.core.cap_vr or \
                receiver.core.cap_link != self.core.cap_link or receiver.core.cap_group != self.core.cap_group:
            raise ValueError("instances go to another core of the same size")
        slots = <u32 *> calloc(n + 1, sizeof(u32))
        carried = <carried_t *> calloc(n + 1, sizeof(carried_t))
        try:
            if slots == NULL or carried == NULL:
                raise MemoryError()
            for k in range(n):
                slots[k] = in_range("slot", instances[k], 0, self.core.cap_vr - 1)
            core_carry_out(&self.core, slots, carried, n, now_ns)
            core_carry_in(&receiver.core, carried, n, now_ns, &receiver.out)
            for k in range(n):
                block_free(carried[k].stale)
        finally:
            free(slots)
            free(carried)
        return receiver.actions()

    def stop(self, u32 slot, *, i64 now_ns):
        core_stop(&self.core, slot, now_ns, &self.out)
        return self.actions()

    def next_due_ns(self, i64 until_ns=FV_NEVER):
        return core_next_due(&self.core, until_ns)

    def status(self, u32 slot):
        return status_of(&self.core, slot)

    def sequence(self, u32 slot):
        return sequence_of(&self.core, slot)

    def group_state(self, u32 slot):
        in_range("group", slot, 0, self.core.cap_group - 1)
        return self.core.group[slot].state

    def advert_bytes(self, u32 slot, u8 priority, bytes destination=b""):
        cdef u8 buffer[MAX_PDU]
        cdef cfg_t *g
        if slot >= self.core.cap_vr or not self.core.vr[slot].used:
            raise KeyError(f"slot {slot} holds no instance")
        g = self.core.cfg[slot]
        destination = destination or packed(g.destination, g.alen)
        advert_finish(g, priority, summed(g, &self.core.vr[slot], <const u8 *> <const char *> destination), buffer)
        return packed(buffer, g.pdu_len)

    def illegal_transitions(self):
        return self.core.illegal

    def unowned(self):
        """Rejections that belong to no instance, by RX_NAMES."""
        return {name: self.core.rx[k] for k, name in enumerate(RX_NAMES)}

    def fingerprint(self):
        return core_fingerprint(&self.core)

    @staticmethod
    def legality_matrix():
        return tuple([tuple([bool(fv_legal[a][b]) for b in range(N_STATES)]) for a in range(N_STATES)])


cdef class Wheel:
    """The timer wheel alone, for property tests and benchmarks: `size` nodes, one deadline each."""
    cdef core_t core
    cdef u8 *arena

    def __cinit__(self, u32 size, i64 now_ns=0):
        self.arena = <u8 *> calloc(1, core_bytes(size, 1, 1))
        if self.arena == NULL:
            raise MemoryError()
        core_init(&self.core, self.arena, size, 1, 1, now_ns)

    def __dealloc__(self):
        free(self.arena)

    def arm(self, u32 index, i64 due_ns):
        in_range("index", index, 0, self.core.cap_vr - 1)
        wheel_arm(&self.core.wheel, index, due_ns)

    def cancel(self, u32 index):
        in_range("index", index, 0, self.core.cap_vr - 1)
        wheel_cancel(&self.core.wheel, index)

    def next_due(self):
        return wheel_next_due(&self.core.wheel)

    def pop_due(self, i64 now_ns):
        cdef u32 n
        cdef u32 k
        cdef list result = []
        while True:
            n = wheel_pop_due(&self.core.wheel, now_ns, self.core.scratch, self.core.cap_vr)
            if n == 0:
                return result
            for k in range(n):
                result.append((self.core.vr[self.core.scratch[k]].node.due, self.core.scratch[k]))
                self.core.vr[self.core.scratch[k]].node.due = FV_NEVER
