# Blocks of configuration (cfg_t): where their parts are, and how programs and announcements lie in them. What
# nearly all of these say is one address without options; kept is what tells it from others, and the request or
# frame is put together when it is played or sent. Pure.
#
# A request in a block is u8 ok, u8 kind, u8 prefix length, u8 scope, and behind these
#   kind 0: the netlink message, padded to four bytes;
#   otherwise: u32 ifindex, address.
# An announcement is a record of build_announcement(); with ANN_BRIEF its frame is link-layer address and address.

cdef enum:
    BRIEF_NEW = 1               # kinds of requests
    BRIEF_DELETE = 2
    BRIEF_IPV6 = 4
    BRIEF_NODAD = 8
    BRIEF_NATIVE = 16
    BRIEF_HEAD = 8              # bytes in front of the address of a request
    BRIEF_MAX = 24
    ADDRESS_REQUEST = 128       # no request of an address without options is longer
    ADDRESS_MARK = 18           # RTPROT_KEEPALIVED, as IFA_PROTO: wire.PROTOCOL
    IFA_CACHEINFO = 6
    IFA_F_NODAD = 0x02
    RTM_DELADDR = 21
    NLM_REQUEST_ACK = 0x05      # NLM_F_REQUEST | NLM_F_ACK
    NLM_CREATE_REPLACE = 0x500
    NLM_CREATE_EXCL = 0x600

cdef extern from *:
    """
    static const uint32_t fv_no_program[2] = {8, 0};
    """
    const u32 fv_no_program[2]  # an empty one, for all who have nothing to play


# ---- parts ----

cdef inline const u8 *program_at(const cfg_t *g, u32 offset) noexcept nogil:
    return <const u8 *> g + offset if offset else <const u8 *> fv_no_program


cdef inline const u8 *up_of(const cfg_t *g) noexcept nogil:
    return program_at(g, g.up)


cdef inline const u8 *down_of(const cfg_t *g) noexcept nogil:
    return program_at(g, g.down)


cdef inline const u8 *change_of(const cfg_t *g) noexcept nogil:
    return program_at(g, g.change)


cdef inline const u8 *announce_of(const cfg_t *g) noexcept nogil:
    return <const u8 *> g + g.announce


cdef inline track_t *tracks_of(const cfg_t *g) noexcept nogil:
    return <track_t *> (<u8 *> g + g.tracks)


cdef inline peer_t *peers_of(const cfg_t *g) noexcept nogil:
    return <peer_t *> (<u8 *> g + g.tracks + g.n_tracks * sizeof(track_t))


# ---- requests ----

cdef u32 put_attribute(u8 *at, u16 kind, const void *payload, u32 n) noexcept nogil:
    """At most 16 bytes, padded to four; returns its length."""
    cdef u16 head[2]
    head[0] = <u16> (4 + n)
    head[1] = kind
    memset(at, 0, 4 + ((n + 3) & ~<u32> 3))
    memcpy(at, head, 4)
    memcpy(at + 4, payload, n)
    return 4 + ((n + 3) & ~<u32> 3)


cdef u32 put_ifaddr(u8 *at, u16 kind, u16 flags, u32 ifindex, u8 family, u8 prefixlen, u8 ifa_flags, u8 scope,
                    const u8 *local, const u8 *outer) noexcept nogil:
    """Header, struct ifaddrmsg, IFA_LOCAL and IFA_ADDRESS of a request; returns their length."""
    cdef nlmsghdr *h = <nlmsghdr *> at
    cdef u32 size = 4 if family == 4 else 16
    cdef u32 n = sizeof(nlmsghdr)
    memset(h, 0, sizeof(nlmsghdr))
    h.nlmsg_type = kind
    h.nlmsg_flags = flags
    at[n] = <u8> (AF_INET if family == 4 else AF_INET6)
    at[n + 1] = prefixlen
    at[n + 2] = ifa_flags
    at[n + 3] = scope
    memcpy(at + n + 4, &ifindex, 4)
    n += IFADDRMSG_LEN
    n += put_attribute(at + n, IFA_LOCAL, local, size)
    n += put_attribute(at + n, IFA_ADDRESS, outer, size)
    return n


cdef u32 put_new_address(u8 *at, u32 ifindex, u8 family, u8 prefixlen, const u8 *raw, u8 scope, bint nodad,
                         bint native) noexcept nogil:
    """RTM_NEWADDR of an address without options. NLM_F_REPLACE makes a repetition harmless; the host's
    own is created if it is gone by then, but never replaced: mark, flags and lifetimes are the host's."""
    cdef u32 lifetimes[4]
    cdef u32 flags = IFA_F_NODAD if family == 6 and nodad else 0
    cdef u8 mark = ADDRESS_MARK
    cdef u32 n = put_ifaddr(
        at, RTM_NEWADDR, NLM_REQUEST_ACK | (NLM_CREATE_EXCL if native else NLM_CREATE_REPLACE), ifindex, family,
        prefixlen, <u8> flags, scope, raw, raw)
    if flags:
        n += put_attribute(at + n, IFA_FLAGS, &flags, 4)
    if family == 6 and prefixlen == 128:
        # deprecated from the start, so that the kernel never picks it for the router's own traffic
        lifetimes[0] = lifetimes[2] = lifetimes[3] = 0
        lifetimes[1] = 0xFFFFFFFF
        n += put_attribute(at + n, IFA_CACHEINFO, lifetimes, 16)
    n += put_attribute(at + n, IFA_PROTO, &mark, 1)
    (<nlmsghdr *> at).nlmsg_len = n
    return n


cdef u32 put_delete_address(u8 *at, u32 ifindex, u8 family, u8 prefixlen, const u8 *raw,
                            const u8 *outer) noexcept nogil:
    """RTM_DELADDR of exactly this address and prefix length."""
    cdef u32 n = put_ifaddr(at, RTM_DELADDR, NLM_REQUEST_ACK, ifindex, family, prefixlen, 0, 0, raw, outer)
    (<nlmsghdr *> at).nlmsg_len = n
    return n


cdef u32 put_brief(u8 *at, u8 ok, u8 kind, u32 ifindex, u8 prefixlen, u8 scope, const u8 *raw) noexcept nogil:
    """A request as a block has it; returns its length."""
    cdef u32 size = 16 if kind & BRIEF_IPV6 else 4
    at[0] = ok
    at[1] = kind
    at[2] = prefixlen
    at[3] = scope
    memcpy(at + 4, &ifindex, 4)
    memcpy(at + BRIEF_HEAD, raw, size)
    return BRIEF_HEAD + size


cdef u32 request_size(const u8 *request) noexcept nogil:
    """In a block."""
    cdef u32 length
    if request[1]:
        return BRIEF_HEAD + (16 if request[1] & BRIEF_IPV6 else 4)
    memcpy(&length, request + 4, 4)
    return 4 + ((length + 3) & ~<u32> 3)


cdef u32 put_request(u8 *at, const u8 *brief) noexcept nogil:
    """The netlink message of a brief request, of at most ADDRESS_REQUEST bytes; returns its length."""
    cdef u32 kind = brief[1]
    cdef u8 family = 6 if kind & BRIEF_IPV6 else 4
    cdef u32 ifindex
    memcpy(&ifindex, brief + 4, 4)
    if kind & BRIEF_NEW:
        return put_new_address(at, ifindex, family, brief[2], brief + BRIEF_HEAD, brief[3], kind & BRIEF_NODAD != 0,
                               kind & BRIEF_NATIVE != 0)
    return put_delete_address(at, ifindex, family, brief[2], brief + BRIEF_HEAD, brief + BRIEF_HEAD)


cdef u32 shorten_request(u8 *at, u8 ok, const u8 *message, u32 length) noexcept nogil:
    """A brief one that says exactly this; returns its length. 0: there is none."""
    cdef u8 again[ADDRESS_REQUEST]
    cdef nlmsghdr h
    cdef u32 ifindex
    cdef u32 n
    cdef u8 kind
    if length < sizeof(nlmsghdr) + IFADDRMSG_LEN + 8 or length > ADDRESS_REQUEST:
        return 0
    memcpy(&h, message, sizeof(nlmsghdr))
    message += sizeof(nlmsghdr)
    if h.nlmsg_type == RTM_NEWADDR:
        kind = BRIEF_NEW
        if h.nlmsg_flags & NLM_CREATE_EXCL == NLM_CREATE_EXCL:
            kind |= BRIEF_NATIVE
        if message[2] & IFA_F_NODAD:
            kind |= BRIEF_NODAD
    elif h.nlmsg_type == RTM_DELADDR:
        kind = BRIEF_DELETE
    else:
        return 0
    if message[0] == AF_INET6:
        kind |= BRIEF_IPV6
        if length < sizeof(nlmsghdr) + IFADDRMSG_LEN + 20:
            return 0
    memcpy(&ifindex, message + 4, 4)
    n = put_brief(at, ok, kind, ifindex, message[1], message[3], message + IFADDRMSG_LEN + 4)
    if put_request(again, at) != length or memcmp(again, message - sizeof(nlmsghdr), length) != 0:
        return 0
    return n


cdef u32 shorten_program(u8 *to, const u8 *blob) noexcept nogil:
    """What pack_program() made, as a block has it: no longer than it was. Returns its length."""
    cdef u32 total = (<const u32 *> blob)[0]
    cdef u32 at = 8
    cdef u32 n = 8
    cdef u32 length
    cdef u32 kept
    cdef u8 ok
    while at < total:
        ok = <u8> (<const u32 *> (blob + at))[0]
        length = (<const u32 *> (blob + at + 4))[0]
        kept = shorten_request(to + n, ok, blob + at + 4, length)
        if kept == 0:
            to[n] = ok
            to[n + 1] = to[n + 2] = to[n + 3] = 0
            kept = 4 + ((length + 3) & ~<u32> 3)
            memcpy(to + n + 4, blob + at + 4, kept - 4)
        n += kept
        at += 4 + ((length + 3) & ~<u32> 3)
    (<u32 *> to)[0] = n
    (<u32 *> to)[1] = (<const u32 *> blob)[1]
    return n


# ---- announcements ----

cdef u32 put_brief_announcement(u8 *at, u32 ifindex, u16 request, u8 flags, const u8 *mac,
                                const u8 *address) noexcept nogil:
    """Returns its length."""
    cdef u32 size = 16 if flags & ANN_IPV6 else 4
    memset(at, 0, ANN_HEADER)
    memcpy(at, &ifindex, 4)
    (<u16 *> at)[2] = <u16> (6 + size)
    (<u16 *> at)[3] = request
    at[8] = flags | ANN_BRIEF
    memcpy(at + ANN_HEADER, mac, 6)
    memcpy(at + ANN_HEADER + 6, address, size)
    return ANN_HEADER + 6 + size


cdef u32 put_frame(u8 *frame, const u8 *record) noexcept nogil:
    """The frame of a brief announcement, of at most NA_FRAME bytes; returns its length."""
    cdef const u8 *mac = record + ANN_HEADER
    if record[8] & ANN_IPV6:
        return na_build(mac + 6, mac, record[8] & ANN_ROUTER != 0, frame)
    return garp_build(mac + 6, mac, frame)


cdef u32 shorten_announcements(u8 *to, const u8 *records, u32 end) noexcept nogil:
    """Records of build_announcement() as a block has them: no longer than they were. Returns their length."""
    cdef u8 again[NA_FRAME]
    cdef const u8 *record
    cdef const u8 *frame
    cdef const u8 *address
    cdef u32 ifindex
    cdef u32 length
    cdef u32 kept
    cdef u32 at = 0
    cdef u32 n = 0
    cdef u8 flags
    while at < end:
        record = records + at
        frame = record + ANN_HEADER
        length = (<const u16 *> record)[2]
        flags = record[8]
        address = NULL
        if flags & ANN_IPV6 and length == NA_FRAME:
            address = frame + 22
            flags |= ANN_ROUTER if frame[58] & 0x80 else 0
        elif not flags & ANN_IPV6 and length == ARP_FRAME:
            address = frame + 28
        kept = 0
        if address != NULL:
            memcpy(&ifindex, record, 4)
            kept = put_brief_announcement(to + n, ifindex, (<const u16 *> record)[3], flags, frame + 6, address)
            if put_frame(again, to + n) != length or memcmp(again, frame, length) != 0:
                kept = 0
        if kept == 0:
            kept = ANN_HEADER + length
            memcpy(to + n, record, kept)
        n += kept
        at += ANN_HEADER + length
    return n
