# Packets: VRRP adverts (RFC 9568 5, RFC 3768 5), gratuitous ARP, unsolicited NA. Pure.
# Reading happens through one length-checked struct; everything else indexes what it has checked.

ctypedef struct advert_t:
    u8 version
    u8 type
    u8 vrid
    u8 priority
    u8 count
    u8 auth_type
    u32 declared                # bytes the header declares
    i64 interval_ns
    const u8 *addresses
    const u8 *auth              # v2: 8 bytes


cdef inline u32 sum_bytes(const u8 *p, u32 n, u32 total) noexcept nogil:
    """Ones' complement sum (RFC 1071) of n bytes added to `total`; not folded to 16 bits."""
    cdef u64 s = total
    cdef u32 i = 0
    while i + 1 < n:
        s += fv_get16(p + i)
        i += 2
    if i < n:
        s += <u32> p[i] << 8
    while s >> 32:
        s = <u64> <u32> s + (s >> 32)
    return <u32> s


cdef inline u16 fold(u32 s) noexcept nogil:
    s = (s & 0xFFFF) + (s >> 16)
    s = (s & 0xFFFF) + (s >> 16)
    return <u16> s


cdef inline u32 pseudo_sum(const u8 *source, const u8 *destination, u32 alen, u32 length) noexcept nogil:
    """Pseudo-header of RFC 9568 5.2.8 (IPv6) and RFC 5798 5.2.8 (both families)."""
    cdef u32 s = VRRP_PROTOCOL + length
    s = sum_bytes(source, alen, s)
    return sum_bytes(destination, alen, s)


cdef u8 advert_parse(const u8 *p, u32 n, u32 alen, advert_t *a) noexcept nogil:
    """Header and lengths only; checksum, authentication and TTL are the receiver's business."""
    if n < VRRP_HEADER:
        return RX_LENGTH
    a.version = p[0] >> 4
    a.type = p[0] & 15
    a.vrid = p[1]
    a.priority = p[2]
    a.count = p[3]
    if a.version != 2 and a.version != 3:
        return RX_VERSION
    if a.type != 1:                                     # RFC 9568 5.2.2: only ADVERTISEMENT
        return RX_TYPE
    a.declared = VRRP_HEADER + <u32> a.count * alen
    if a.version == 2:
        a.auth_type = p[4]
        a.interval_ns = <i64> p[5] * FV_NS_PER_S
        a.auth = p + a.declared
        a.declared += V2_AUTH_LEN
    else:
        a.auth_type = 0
        a.interval_ns = <i64> (((p[4] & 15) << 8) | p[5]) * FV_NS_PER_CS    # reserve bits ignored (5.2.6)
        a.auth = NULL
    a.addresses = p + VRRP_HEADER
    return RX_OK if n >= a.declared else RX_LENGTH      # longer is Ethernet padding


cdef bint advert_checksum_ok(const u8 *p, advert_t *a, u32 alen, const u8 *source, const u8 *destination,
                             u8 *plain) noexcept nogil:
    """IPv4 v3 accepts both published forms; *plain tells which one it was."""
    cdef u32 s = sum_bytes(p, a.declared, 0)
    plain[0] = 0
    if a.version == 2:
        return fold(s) == 0xFFFF
    if alen == 4 and fold(s) == 0xFFFF:
        plain[0] = 1
        return True
    return fold(s + pseudo_sum(source, destination, alen, a.declared)) == 0xFFFF


cdef u32 advert_build(cfg_t *g, const u8 *addresses, u8 *p) noexcept nogil:
    """Writes the PDU with priority and checksum 0 and sets g.pdu_len, g.pdu_sum."""
    cdef u32 n = VRRP_HEADER + g.n_addresses * g.alen
    cdef u32 s
    p[0] = <u8> ((g.version << 4) | 1)
    p[1] = g.vrid
    p[2] = 0
    p[3] = <u8> g.n_addresses
    if g.version == 2:
        p[4] = g.auth_type
        p[5] = g.interval_bytes_lo
    else:
        p[4] = g.interval_bytes_hi & 15
        p[5] = g.interval_bytes_lo
    p[6] = 0
    p[7] = 0
    if g.n_addresses:
        memcpy(p + VRRP_HEADER, addresses, g.n_addresses * g.alen)
    if g.version == 2:
        memcpy(p + n, g.auth, V2_AUTH_LEN)
        n += V2_AUTH_LEN
    s = sum_bytes(p, n, 0)
    if g.version == 3 and not (g.alen == 4 and g.flags & F_CHECKSUM_AS_V2):
        s = sum_bytes(g.source, g.alen, s + VRRP_PROTOCOL + n)
    g.pdu_len = n
    g.pdu_sum = s
    return n


cdef void advert_finish(const cfg_t *g, u8 priority, const u8 *destination, u8 *p) noexcept nogil:
    """Copies the prepared PDU to p, sets priority and completes the checksum for `destination`."""
    cdef u32 s = g.pdu_sum + (<u32> priority << 8)
    if g.version == 3 and not (g.alen == 4 and g.flags & F_CHECKSUM_AS_V2):
        s = sum_bytes(destination, g.alen, s)
    memcpy(p, g.pdu, g.pdu_len)
    p[2] = priority
    fv_put16(p + 6, <u16> ~fold(s))


cdef inline const u8 *summed(const cfg_t *g, const vr_t *v, const u8 *destination) noexcept nogil:
    """The destination that the checksum of an advert is made with."""
    if g.alen == 4 and g.flags & F_UNICAST and (
            g.flags & F_OLD_CHECKSUM or (v.old_checksum and not g.flags & F_NO_OLD_CHECKSUM)):
        return fv_vrrp_group4
    return destination


cdef void ipv4_header(const cfg_t *g, const u8 *destination, u8 ttl, u8 *p) noexcept nogil:
    """Without identification and checksum; the kernel fills in the latter (raw(7), IP_HDRINCL)."""
    memset(p, 0, 20)
    p[0] = 0x45
    p[1] = 0xC0                                         # internetwork control, as routing protocols use
    fv_put16(p + 2, 20 + g.pdu_len)
    p[8] = ttl
    p[9] = VRRP_PROTOCOL
    memcpy(p + 12, g.source, 4)
    memcpy(p + 16, destination, 4)


# An announcement record: u32 ifindex, u16 frame length, u16 request index, u8 flags, 3 pad, frame.
cdef enum:
    ANN_HEADER = 12
    ANN_NEW = 1                 # flag: only this address is new
    ANN_IPV6 = 2
    ANN_EXTRA = 4               # flag: the one address that garp_extra_if repeats on its interface
    ANN_BRIEF = 8               # in a block only, as is the next: see block.pxi
    ANN_ROUTER = 16
    ARP_FRAME = 42
    NA_FRAME = 86


cdef u32 garp_build(const u8 *address, const u8 *mac, u8 *p) noexcept nogil:
    """Broadcast ARP request, sender and target IP the address (RFC 9568 6.4.1, errata 7947/7949)."""
    memset(p, 0xFF, 6)
    memcpy(p + 6, mac, 6)
    fv_put16(p + 12, 0x0806)
    fv_put16(p + 14, 1)
    fv_put16(p + 16, 0x0800)
    p[18] = 6
    p[19] = 4
    fv_put16(p + 20, 1)
    memcpy(p + 22, mac, 6)
    memcpy(p + 28, address, 4)
    memset(p + 32, 0xFF, 6)
    memcpy(p + 38, address, 4)
    return ARP_FRAME


cdef u32 na_build(const u8 *address, const u8 *mac, bint router, u8 *p) noexcept nogil:
    """Unsolicited NA to all nodes: R as given, S=0, O=1, target link-layer option (RFC 9568 6.4.1, RFC 4861 4.4)."""
    cdef u32 s
    cdef u8 *ip = p + 14
    cdef u8 *na = p + 54
    memset(p, 0, NA_FRAME)
    p[0] = 0x33
    p[1] = 0x33
    p[5] = 1
    memcpy(p + 6, mac, 6)
    fv_put16(p + 12, 0x86DD)
    ip[0] = 0x6C                                        # version 6, class 0xC0
    fv_put16(ip + 4, 32)
    ip[6] = 58
    ip[7] = 255
    memcpy(ip + 8, address, 16)
    ip[24] = 0xFF
    ip[25] = 0x02
    ip[39] = 1
    na[0] = 136
    na[4] = 0xA0 if router else 0x20
    memcpy(na + 8, address, 16)
    na[24] = 2
    na[25] = 1
    memcpy(na + 26, mac, 6)
    s = sum_bytes(ip + 8, 32, 32 + 58)
    fv_put16(na + 2, <u16> ~fold(sum_bytes(na, 32, s)))
    return NA_FRAME
