# Raw sockets of the engine: one per link and family, batches in and out; see packet.pxi for frames.
# Sockets are made by the control thread (make_socket) and handed over; afterwards only the engine
# reads, writes and closes them.

cdef enum:
    RX_BATCH = 64
    RX_BUFFER = 4352            # largest IPv6 advert (255 addresses) and an IPv4 header with options
    RX_CONTROL = 128
    RX_TURN_LIMIT = 512         # packets of one socket per turn
    RX_TURN_NS = 1000000        # of all sockets per turn: timers must not wait for a flood, however costly
    TX_BATCH = 64
    TX_BUFFER = 4352            # whole cache lines
    TX_CONTROL = 128
    PACKET_SEND_BUFFER = 4194304    # of one socket for all links, whose devices free frames late
    RX_SOCKET_BUFFER = 1048576  # the system's default holds one burst of 255 routers, and no pause of ours
    TX_SOCKET_BUFFER = 1048576  # and hardly that where a device is slow to send

ctypedef pring_s pring_t

ctypedef struct elink_t:        # what the engine knows about a link slot besides link_t
    int fd[2]                   # IPv4, IPv6; -1 none
    pring_t *ring[2]            # the same, of the packet backend; NULL none
    i32 ifindex
    u32 tx_head                 # chain of this turn's adverts, by action index
    u32 tx_tail
    u8 lanes                    # mask of the sockets that this turn's adverts leave by
    u32 pace                    # index of the pacing budget
    i64 delay_ns[2]             # how long it has to be down, up, before the core is told
    i64 settle_ns               # when it is told of what was heard last; 0: nothing to tell
    u8 heard                    # up, as the kernel said last

ctypedef struct pace_t:         # shared by the links of a garp_group
    i64 interval_ns[2]          # ARP, NA
    i64 next_ns[2]

ctypedef struct arrivals_t:     # when packets came that are read later, by the kernel's stamps
    bint stamped                # raw sockets are asked for them
    i64 offset_ns               # what the stamps' clock is ahead of ours
    i64 since_ns                # no packet is believed to have come before
    i64 grain_ns                # what comes within it came at once
    i64 last_ns

ctypedef struct netio_t:
    arrivals_t arrivals
    mmsghdr rx[2][64]           # IPv4: all is in the packet, and nothing is written but length and flags
    iovec rx_iov[64]
    u8 *rx_buffer
    u8 rx_control[64][128]
    sockaddr_in6 rx_name[64]
    mmsghdr tx[64]
    iovec tx_iov[64]
    u8 *tx_buffer
    u8 tx_control[64][128]
    sockaddr_in6 tx_name[64]
    u32 tx_slot[64]
    u16 identification          # of the last IPv4 packet
    int packet_fd               # sends the frames of every link
    u64 ring_lost               # packets that found their ring full


cdef int netio_init(netio_t *io) noexcept nogil:
    cdef u32 k
    memset(io, 0, sizeof(netio_t))
    io.rx_buffer = <u8 *> calloc(RX_BATCH, RX_BUFFER)
    io.tx_buffer = <u8 *> calloc(TX_BATCH, TX_BUFFER)
    if io.rx_buffer == NULL or io.tx_buffer == NULL:
        return -1
    for k in range(<u32> RX_BATCH):
        io.rx_iov[k].iov_base = io.rx_buffer + k * RX_BUFFER
        io.rx_iov[k].iov_len = RX_BUFFER
        io.rx[0][k].msg_hdr.msg_iov = io.rx[1][k].msg_hdr.msg_iov = &io.rx_iov[k]
        io.rx[0][k].msg_hdr.msg_iovlen = io.rx[1][k].msg_hdr.msg_iovlen = 1
        io.rx[1][k].msg_hdr.msg_name = &io.rx_name[k]
        io.rx[0][k].msg_hdr.msg_control = io.rx[1][k].msg_hdr.msg_control = io.rx_control[k]
    for k in range(<u32> TX_BATCH):
        io.tx[k].msg_hdr.msg_iov = &io.tx_iov[k]
        io.tx[k].msg_hdr.msg_iovlen = 1
        io.tx[k].msg_hdr.msg_name = &io.tx_name[k]
    io.packet_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    if io.packet_fd < 0:
        return -1
    # The queueing discipline is kept: it lets adverts go first (priority 6), and tcpdump sees them.
    fv_set_int(io.packet_fd, SOL_SOCKET, SO_PRIORITY, 6)
    fv_set_int(io.packet_fd, SOL_SOCKET, SO_SNDBUFFORCE, PACKET_SEND_BUFFER)
    return 0


cdef void netio_free(netio_t *io) noexcept nogil:
    if io.packet_fd >= 0:
        close(io.packet_fd)
    io.packet_fd = -1
    free(io.rx_buffer)
    free(io.tx_buffer)
    io.rx_buffer = NULL
    io.tx_buffer = NULL


ctypedef struct groups_t:       # multicast groups of a link's sockets, in one block with their addresses
    int fd[2]
    i32 ifindex
    u32 n[2]
    u8 *addresses               # IPv4 ones, IPv6 ones


cdef bint join_groups(int fd, u32 six, i32 ifindex, const u8 *groups, u32 n, bint anew) noexcept nogil:
    """False when one cannot be joined (errno). `anew`: leave first what the kernel may have forgotten."""
    cdef ip_mreqn m4
    cdef ipv6_mreq m6
    cdef u32 k
    cdef bint good = True
    memset(&m4, 0, sizeof(m4))
    m4.imr_ifindex = ifindex if ifindex > 0 else 0
    m6.ipv6mr_interface = <unsigned int> m4.imr_ifindex
    for k in range(n):
        if six:
            memcpy(&m6.ipv6mr_multiaddr, groups + k * 16, 16)
            if anew:
                setsockopt(fd, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &m6, sizeof(m6))
            good = setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m6, sizeof(m6)) == 0 and good
        else:
            memcpy(&m4.imr_multiaddr, groups + k * 4, 4)
            if anew:
                setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m4, sizeof(m4))
            good = setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m4, sizeof(m4)) == 0 and good
    return good


cdef int make_socket(u32 six, i32 ifindex, const u8 *groups, u32 n_groups, int rx_buffer,
                     const accept_t *accept) noexcept nogil:
    """A raw VRRP socket bound to the device (ifindex > 0), member of the groups. Minus errno.
    It hears nothing before it is bound: the adverts of another link are not this one's."""
    cdef u8 stray
    cdef int fd = socket(AF_INET6 if six else AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, VRRP_PROTOCOL)
    cdef ip_mreqn m4
    cdef int error
    if fd < 0:
        return -fv_errno()
    set_filter_none(fd)
    if ifindex > 0 and fv_bind_device(fd, ifindex) < 0:
        error = fv_errno()
        close(fd)
        return -ENODEV if error == ENXIO else -error
    fv_set_int(fd, SOL_SOCKET, SO_PRIORITY, 6)          # TC_PRIO_CONTROL: ahead of bulk traffic in the qdisc
    fv_set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, TX_SOCKET_BUFFER)
    if rx_buffer <= 0:
        rx_buffer = RX_SOCKET_BUFFER
    if fv_set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, rx_buffer) < 0:
        fv_set_int(fd, SOL_SOCKET, SO_RCVBUF, rx_buffer)
    if six:
        fv_set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0)
        fv_set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
        fv_set_int(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1)
        fv_set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        fv_set_int(fd, IPPROTO_IPV6, IPV6_TCLASS, 0xC0)
        if ifindex > 0:
            fv_set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, ifindex)
    else:
        fv_set_int(fd, IPPROTO_IP, IP_HDRINCL, 1)
        fv_set_int(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0)
        fv_set_int(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0)
        if ifindex > 0:
            memset(&m4, 0, sizeof(m4))
            m4.imr_ifindex = ifindex
            setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &m4, sizeof(m4))
    if not join_groups(fd, six, ifindex, groups, n_groups, False):
        error = fv_errno()
        close(fd)
        return -error
    while recv(fd, &stray, 1, MSG_DONTWAIT | MSG_TRUNC) >= 0:
        pass                                            # came between socket() and the filter; bounded by it
    set_filter(fd, six, False, accept)
    return fd


cdef inline i64 arrival(arrivals_t *a, i64 stamp_ns, i64 now) noexcept nogil:
    """When a packet came that is read now. Of two backups the one of lower priority would take over
    first if their timers ran from when each happened to look. A stamp is believed as far as the engine
    lets packets wait, no further: whatever kept it longer keeps the next adverts as well."""
    cdef i64 at = imin(now, imax(a.since_ns, stamp_ns - a.offset_ns)) if stamp_ns else now
    if at < a.last_ns or at - a.last_ns >= a.grain_ns:
        a.last_ns = at
    return a.last_ns


cdef u32 receive_batch(netio_t *io, core_t *c, int fd, u32 six, u32 link, i64 now, out_t *out) noexcept nogil:
    """One recvmmsg, every packet through the core. Returns how many there were."""
    cdef u32 k
    cdef u32 ihl
    cdef int n
    cdef int hops = 0
    cdef u8 *p
    cdef u32 length
    cdef u8 destination[16]
    cdef i64 at = now
    cdef mmsghdr *rx = io.rx[six]
    if six or io.arrivals.stamped:
        for k in range(<u32> RX_BATCH):
            rx[k].msg_hdr.msg_controllen = RX_CONTROL
            if six:
                rx[k].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
    n = recvmmsg(fd, rx, RX_BATCH, MSG_DONTWAIT, NULL)
    if n <= 0:
        return 0
    for k in range(<u32> n):
        p = <u8 *> io.rx_iov[k].iov_base
        length = rx[k].msg_len
        if io.arrivals.stamped:
            at = arrival(&io.arrivals, fv_cmsg_stamp(&rx[k].msg_hdr), now)
        if six:
            if rx[k].msg_hdr.msg_flags & MSG_TRUNC or not fv_cmsg_rx6(&rx[k].msg_hdr, destination, &hops):
                reject_unowned(c, RX_IP, link, at, out)
                continue
            core_packet(c, link, 16, io.rx_name[k].sin6_addr.s6_addr, destination, <u8> hops, p, length, at, out)
        else:
            ihl = (p[0] & 15) * 4 if length else 0
            if length < 20 or ihl < 20 or ihl > length or rx[k].msg_hdr.msg_flags & MSG_TRUNC:
                reject_unowned(c, RX_IP, link, at, out)
                continue
            core_packet(c, link, 4, p + 12, p + 16, p[8], p + ihl, length - ihl, at, out)
    return <u32> n


cdef inline u8 *tx_place(netio_t *io, u32 k) noexcept nogil:
    """Where message k begins: the next cache line behind the one before it, so that a batch of short
    ones needs few pages."""
    if k == 0:
        return io.tx_buffer
    return <u8 *> io.tx_iov[k - 1].iov_base + ((io.tx_iov[k - 1].iov_len + CACHE_LINE - 1) & ~<size_t> (CACHE_LINE - 1))


cdef inline void prepare_tx(netio_t *io, u32 k, const cfg_t *g, const vr_t *v, u8 priority,
                            const u8 *destination, i32 ifindex) noexcept nogil:
    """Message k: this instance's advert for this destination."""
    cdef u8 *p = tx_place(io, k)
    cdef sockaddr_in *name4 = <sockaddr_in *> &io.tx_name[k]
    cdef sockaddr_in6 *name6 = &io.tx_name[k]
    cdef u8 ttl = g.ttl if g.flags & F_UNICAST else 255
    io.tx_slot[k] = g.slot
    io.tx_iov[k].iov_base = p
    memset(name6, 0, sizeof(sockaddr_in6))
    if g.alen == 4:
        ipv4_header(g, destination, ttl, p)
        io.identification = io.identification + 1 if io.identification != 0xFFFF else 1
        fv_put16(p + 4, io.identification)              # the kernel would choose one for 0, which costs it more
        advert_finish(g, priority, summed(g, v, destination), p + 20)
        io.tx_iov[k].iov_len = 20 + g.pdu_len
        name4.sin_family = AF_INET
        memcpy(&name4.sin_addr, destination, 4)
        io.tx[k].msg_hdr.msg_namelen = sizeof(sockaddr_in)
        io.tx[k].msg_hdr.msg_control = NULL
        io.tx[k].msg_hdr.msg_controllen = 0
    else:
        advert_finish(g, priority, destination, p)
        io.tx_iov[k].iov_len = g.pdu_len
        name6.sin6_family = AF_INET6
        memcpy(&name6.sin6_addr, destination, 16)
        if ifindex > 0:
            name6.sin6_scope_id = <u32> ifindex
        io.tx[k].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
        io.tx[k].msg_hdr.msg_control = io.tx_control[k]
        io.tx[k].msg_hdr.msg_controllen = fv_cmsg_tx6(io.tx_control[k], g.source, ifindex, ttl)


cdef int send_batch(netio_t *io, core_t *c, int fd, u32 n) noexcept nogil:
    """Sends messages 0..n-1; a refused one is counted and skipped, never retried before its next
    interval. Returns the last errno, 0 when all went out."""
    cdef u32 done = 0
    cdef int r
    cdef int error = 0
    while done < n:
        r = sendmmsg(fd, &io.tx[done], n - done, MSG_DONTWAIT)
        if r > 0:
            done += <u32> r
            continue
        if r < 0 and fv_errno() == EINTR:
            continue
        error = fv_errno() if r < 0 else EAGAIN
        counter(c, io.tx_slot[done], C_SEND_ERROR)[0] += 1
        done += 1
    return error
