# Socket filters (classic BPF, linux/filter.h): what cannot concern any instance of a link and family
# ends in the kernel, before it wakes or costs anybody. A filter drops only what receive.pxi would
# certainly reject, and an eighth of what may be a mistake of the network (another TTL) passes, so
# that it is still noticed, counted and told.

cdef enum:
    FILTER_MAX = 64             # instructions; the longest program has 52
    FILTER_SAMPLE = 8           # a power of two: one in so many adverts with a wrong TTL passes
    FILTER_ALL = 0xFFFFFFFF     # bytes to keep
    ON_MULTICAST = 2            # PACKET_MULTICAST, linux/if_packet.h

ctypedef struct accept_t:       # what the instances of a link may need, per family
    u32 vrids[8]                # a set
    u8 every_vrid
    u8 every_ttl                # unicast peers have TTL rules of their own

ctypedef struct filter_t:
    u32 n
    sock_filter code[64]


cdef inline void put_op(filter_t *f, u32 code, u8 jt, u8 jf, u32 k) noexcept nogil:
    f.code[f.n].code = <u16> code
    f.code[f.n].jt = jt
    f.code[f.n].jf = jf
    f.code[f.n].k = k
    f.n += 1


cdef inline void put_return(filter_t *f, u32 length) noexcept nogil:
    put_op(f, BPF_RET | BPF_K, 0, 0, length)


cdef inline void put_require(filter_t *f, u32 value) noexcept nogil:
    """Drop unless the accumulator is `value`."""
    put_op(f, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, value)
    put_return(f, 0)


cdef void put_vrids(filter_t *f, const u32 *words) noexcept nogil:
    """Drop unless the VRID in the accumulator is in the set: its word is chosen by a chain over the
    words that are not empty, then shifted."""
    cdef u32 k
    cdef u32 last = 8
    cdef u32 left = 0
    for k in range(8):
        if words[k]:
            last = k
            left += 1
    if last == 8:
        put_return(f, 0)
        return
    put_op(f, BPF_ST, 0, 0, 0)
    put_op(f, BPF_ALU | BPF_AND | BPF_K, 0, 0, 31)
    put_op(f, BPF_MISC | BPF_TAX, 0, 0, 0)
    put_op(f, BPF_LD | BPF_MEM, 0, 0, 0)
    put_op(f, BPF_ALU | BPF_RSH | BPF_K, 0, 0, 5)
    for k in range(last):
        if words[k] == 0:
            continue
        left -= 1
        put_op(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 2, k)
        put_op(f, BPF_LD | BPF_IMM, 0, 0, words[k])
        put_op(f, BPF_JMP | BPF_JA, 0, 0, left * 3)     # each step of the chain is three long
    put_require(f, last)
    put_op(f, BPF_LD | BPF_IMM, 0, 0, words[last])
    put_op(f, BPF_ALU | BPF_RSH | BPF_X, 0, 0, 0)
    put_op(f, BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1)
    put_return(f, 0)


cdef void put_protocol(filter_t *f, u32 six) noexcept nogil:
    """Drop what is not a multicast VRRP packet in one piece. The kind of packet comes first: all
    other traffic of the interface ends there."""
    put_op(f, BPF_LD | BPF_W | BPF_ABS, 0, 0, FV_PKTTYPE)
    put_require(f, ON_MULTICAST)
    put_op(f, BPF_LD | BPF_B | BPF_ABS, 0, 0, 6 if six else 9)
    put_require(f, VRRP_PROTOCOL)
    if not six:
        put_op(f, BPF_LD | BPF_H | BPF_ABS, 0, 0, 6)
        put_op(f, BPF_JMP | BPF_JSET | BPF_K, 0, 1, 0x3FFF)
        put_return(f, 0)


cdef void build_filter(filter_t *f, u32 six, bint packet, const accept_t *a) noexcept nogil:
    """For a raw socket, where IPv4 begins with the network header and IPv6 with the VRRP message, or
    for a packet socket, where both begin with the network header."""
    f.n = 0
    if packet:
        put_protocol(f, six)
    if not a.every_vrid:
        if six:
            put_op(f, BPF_LD | BPF_B | BPF_ABS, 0, 0, 41 if packet else 1)
        else:
            put_op(f, BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0)
            put_op(f, BPF_LD | BPF_B | BPF_IND, 0, 0, 1)
        put_vrids(f, a.vrids)
    if not a.every_ttl:
        put_op(f, BPF_LD | BPF_B | BPF_ABS, 0, 0, FV_NET_OFF + 7 if six else 8)
        put_op(f, BPF_JMP | BPF_JEQ | BPF_K, 3, 0, 255)
        put_op(f, BPF_LD | BPF_W | BPF_ABS, 0, 0, FV_RANDOM)
        put_op(f, BPF_JMP | BPF_JSET | BPF_K, 0, 1, FILTER_SAMPLE - 1)
        put_return(f, 0)
    put_return(f, FILTER_ALL)


cdef int attach_filter(int fd, filter_t *f) noexcept nogil:
    """Replaces the socket's filter in one step: no packet meets neither or both."""
    cdef sock_fprog p
    p.len = <unsigned short> f.n
    p.filter = f.code
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof(p))


cdef void set_filter(int fd, u32 six, bint packet, const accept_t *a) noexcept nogil:
    """Without memory for a filter the socket takes everything: the receive rules are the same."""
    cdef filter_t f
    cdef int nothing = 0
    build_filter(&f, six, packet, a)
    if attach_filter(fd, &f) < 0:
        setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &nothing, sizeof(nothing))


cdef void set_filter_none(int fd) noexcept nogil:
    """Nothing passes."""
    cdef filter_t f
    f.n = 0
    put_return(&f, 0)
    attach_filter(fd, &f)
