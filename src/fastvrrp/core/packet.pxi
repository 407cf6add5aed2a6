# The packet backend: AF_PACKET instead of raw sockets, for multicast instances on Ethernet. Adverts
# leave as whole frames (so with any source MAC) and arrive in a ring shared with the kernel, one per
# link and family, which costs no system call to read. Packets do not pass the host's firewall here,
# so what the IP layer checks for raw sockets is checked in ring_packet().
# Rings are made by the control thread and handed over like raw sockets; the applier ends them.

cdef enum:
    RING_FRAME = 256            # holds an advert of 37 IPv4 or 8 IPv6 addresses; longer ones come by recv()
    RING_FRAMES_MIN = 256       # one block
    RING_FRAMES_MAX = 65536
    RING_BLOCK = 65536
    ETHERTYPE_IPV4 = 0x0800
    ETHERTYPE_IPV6 = 0x86DD

cdef struct pring_s:            # pring_t
    int fd                      # the packet socket
    int member                  # a socket that joins the groups and never hears anything
    u32 six
    u32 n                       # frames
    u32 next                    # frame to look at
    u8 *frames


cdef void free_ring(pring_t *r) noexcept nogil:
    if r.frames != NULL:
        munmap(r.frames, <size_t> RING_FRAME * r.n)
    if r.fd >= 0:
        close(r.fd)
    if r.member >= 0:
        close(r.member)
    free(r)


cdef void *end_ring(void *r) noexcept nogil:
    fv_block_signals()
    free_ring(<pring_t *> r)
    return NULL


cdef bint map_ring(pring_t *r) noexcept nogil:
    """The ring of a packet socket; False with errno."""
    cdef tpacket_req q
    cdef void *at
    q.tp_block_size = RING_BLOCK
    q.tp_block_nr = RING_FRAME * r.n // RING_BLOCK
    q.tp_frame_size = RING_FRAME
    q.tp_frame_nr = r.n
    if fv_set_int(r.fd, SOL_PACKET, PACKET_VERSION, TPACKET_V2) < 0:
        return False
    if fv_set_int(r.fd, SOL_PACKET, PACKET_COPY_THRESH, 1) < 0:
        return False
    if setsockopt(r.fd, SOL_PACKET, PACKET_RX_RING, &q, sizeof(q)) < 0:
        return False
    at = mmap(NULL, <size_t> RING_FRAME * r.n, PROT_READ | PROT_WRITE, MAP_SHARED, r.fd, 0)
    if <uintptr_t> at == <uintptr_t> -1:
        return False
    r.frames = <u8 *> at
    return True


cdef inline void group_mac(const u8 *group, u32 alen, u8 *mac) noexcept nogil:
    """RFC 1112 6.4, RFC 2464 7."""
    if alen == 4:
        mac[0] = 0x01
        mac[1] = 0x00
        mac[2] = 0x5E
        mac[3] = group[1] & 0x7F
        mac[4] = group[2]
        mac[5] = group[3]
    else:
        mac[0] = 0x33
        mac[1] = 0x33
        memcpy(mac + 2, group + 12, 4)


cdef bint join_frames(int fd, i32 ifindex, const u8 *groups, u32 n, u32 alen) noexcept nogil:
    """The device passes the groups' frames up, whatever becomes of the IP membership."""
    cdef packet_mreq m
    cdef u32 k
    for k in range(n):
        memset(&m, 0, sizeof(m))
        m.mr_ifindex = ifindex
        m.mr_type = PACKET_MR_MULTICAST
        m.mr_alen = 6
        group_mac(groups + k * alen, alen, m.mr_address)
        if setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)) < 0:
            return False
    return True


cdef pring_t *map_new_ring(u32 frames, int *error) noexcept nogil:
    """A ring that hears nothing yet; NULL with *error. The kernel waits here until no packet is on
    its way to the socket, of which there is none: milliseconds, in which others can do the same."""
    cdef pring_t *r = <pring_t *> calloc(1, sizeof(pring_t))
    if r == NULL:
        error[0] = ENOMEM
        return NULL
    r.member = -1
    r.n = frames
    r.fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    if r.fd >= 0 and map_ring(r):
        # what does not fit a frame waits in there, and is cut off where the system's default is used up
        if fv_set_int(r.fd, SOL_SOCKET, SO_RCVBUFFORCE, RX_SOCKET_BUFFER) < 0:
            fv_set_int(r.fd, SOL_SOCKET, SO_RCVBUF, RX_SOCKET_BUFFER)
        return r
    error[0] = fv_errno()
    free_ring(r)
    return NULL


cdef bint open_ring(pring_t *r, i32 ifindex, i32 group_ifindex, const u8 *groups, u32 n, u32 silent,
                    const accept_t *accept) noexcept nogil:
    """False with errno. The groups are joined as IP groups too, on `group_ifindex`: switches listen to
    IGMP and MLD. Not the first `silent` of them, which nobody is told of: of their packets the IP layer
    then takes no more notice than of any other group's."""
    cdef sockaddr_ll a
    cdef u32 alen = 16 if r.six else 4
    r.member = socket(AF_INET6 if r.six else AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    if r.member < 0:
        return False
    set_filter(r.fd, r.six, True, accept)
    if not join_frames(r.fd, ifindex, groups, n, alen) or not join_groups(
            r.member, r.six, group_ifindex, groups + silent * alen, n - silent, False):
        return False
    memset(&a, 0, sizeof(a))
    a.sll_family = AF_PACKET
    fv_put16(<u8 *> &a.sll_protocol, ETHERTYPE_IPV6 if r.six else ETHERTYPE_IPV4)
    a.sll_ifindex = ifindex
    return bind(r.fd, <const sockaddr *> &a, sizeof(a)) == 0


cdef pring_t *make_ring(pring_t *prepared, u32 six, i32 ifindex, i32 group_ifindex, u32 frames, const u8 *groups,
                        u32 n, u32 silent, const accept_t *accept, int *error) noexcept nogil:
    """A ring of so many frames that hears the groups on an interface, of the prepared one, which is taken
    over, or (NULL) of a new one; NULL with *error."""
    cdef pring_t *r = prepared if prepared != NULL else map_new_ring(frames, error)
    if r == NULL:
        return NULL
    r.six = six
    if open_ring(r, ifindex, group_ifindex, groups, n, silent, accept):
        return r
    error[0] = ENODEV if fv_errno() == ENXIO else fv_errno()
    free_ring(r)
    return NULL


cdef void ring_packet(core_t *c, u32 six, const u8 *p, u32 n, u32 link, i64 now, out_t *out) noexcept nogil:
    """One IP packet as it was on the wire. Fragments are not put together."""
    cdef u32 head
    cdef u32 total
    if six:
        if n < 40 or p[0] >> 4 != 6:
            reject_unowned(c, RX_IP, link, now, out)
            return
        total = <u32> fv_get16(p + 4) + 40
        if p[6] != VRRP_PROTOCOL:
            return
        if total > n:
            reject_unowned(c, RX_IP, link, now, out)
            return
        core_packet(c, link, 16, p + 8, p + 24, p[7], p + 40, total - 40, now, out)
        return
    head = <u32> (p[0] & 15) * 4 if n else 0
    if n < 20 or p[0] >> 4 != 4 or head < 20 or head > n:
        reject_unowned(c, RX_IP, link, now, out)
        return
    total = fv_get16(p + 2)
    if p[9] != VRRP_PROTOCOL or fv_get16(p + 6) & 0x3FFF:
        return
    if total < head or total > n or fold(sum_bytes(p, head, 0)) != 0xFFFF:
        reject_unowned(c, RX_IP, link, now, out)
        return
    core_packet(c, link, 4, p + 12, p + 16, p[8], p + head, total - head, now, out)


cdef u64 ring_losses(pring_t *r) noexcept nogil:
    """Packets that found the ring full since the last call."""
    cdef tpacket_stats s
    cdef socklen_t n = sizeof(s)
    if getsockopt(r.fd, SOL_PACKET, PACKET_STATISTICS, &s, &n) < 0:
        return 0
    return s.tp_drops


cdef u32 receive_ring(pring_t *r, netio_t *io, core_t *c, u32 link, i64 now, out_t *out) noexcept nogil:
    """Up to RX_BATCH frames, each through the core. Returns how many there were."""
    cdef tpacket2_hdr *h
    cdef u32 status
    cdef u32 done = 0
    cdef ssize_t length
    cdef i64 at
    while done < RX_BATCH:
        h = <tpacket2_hdr *> (r.frames + <size_t> r.next * RING_FRAME)
        status = fv_load_u32(&h.tp_status)
        if not status & TP_STATUS_USER:
            break
        at = arrival(&io.arrivals, <i64> h.tp_sec * FV_NS_PER_S + h.tp_nsec, now)
        if status & TP_STATUS_COPY:
            length = recv(r.fd, io.rx_buffer, RX_BUFFER, MSG_DONTWAIT | MSG_TRUNC)
            if length < 0 and fv_errno() != EAGAIN:     # what is told of the interface, once; the packet is behind it
                length = recv(r.fd, io.rx_buffer, RX_BUFFER, MSG_DONTWAIT | MSG_TRUNC)
            if length < 0 or length > RX_BUFFER:
                reject_unowned(c, RX_IP, link, at, out)
            else:
                ring_packet(c, r.six, io.rx_buffer, <u32> length, link, at, out)
        elif h.tp_snaplen < h.tp_len or h.tp_net + h.tp_snaplen > RING_FRAME:
            reject_unowned(c, RX_IP, link, at, out)
        else:
            ring_packet(c, r.six, <const u8 *> h + h.tp_net, h.tp_snaplen, link, at, out)
        if status & TP_STATUS_LOSING:
            io.ring_lost += ring_losses(r)
        fv_store_u32(&h.tp_status, TP_STATUS_KERNEL)
        r.next = (r.next + 1) % r.n
        done += 1
    return done


cdef void ipv6_header(const cfg_t *g, const u8 *destination, u8 hops, u8 *p) noexcept nogil:
    """RFC 9568 5.1.2."""
    memset(p, 0, 8)
    p[0] = 0x6C                                         # version 6, class 0xC0
    fv_put16(p + 4, g.pdu_len)
    p[6] = VRRP_PROTOCOL
    p[7] = hops
    memcpy(p + 8, g.source, 16)
    memcpy(p + 24, destination, 16)


cdef void prepare_frame(netio_t *io, u32 k, const cfg_t *g, u8 priority, i32 ifindex) noexcept nogil:
    """Message k: this instance's advert as an Ethernet frame (RFC 9568 5.1, 7.3)."""
    cdef u8 *p = tx_place(io, k)
    cdef sockaddr_ll *name = <sockaddr_ll *> &io.tx_name[k]
    cdef u32 head = 34 if g.alen == 4 else 54
    io.tx_slot[k] = g.slot
    io.tx_iov[k].iov_base = p
    io.tx_iov[k].iov_len = head + g.pdu_len
    group_mac(g.destination, g.alen, p)
    memcpy(p + 6, g.mac, 6)
    if g.alen == 4:
        fv_put16(p + 12, ETHERTYPE_IPV4)
        ipv4_header(g, g.destination, 255, p + 14)
        p[20] = 0x40                                    # don't fragment, so no identification (RFC 6864 4.1)
        fv_put16(p + 24, <u16> ~fold(sum_bytes(p + 14, 20, 0)))
    else:
        fv_put16(p + 12, ETHERTYPE_IPV6)
        ipv6_header(g, g.destination, 255, p + 14)
    advert_finish(g, priority, g.destination, p + head)
    memset(name, 0, sizeof(sockaddr_ll))
    name.sll_family = AF_PACKET
    memcpy(&name.sll_protocol, p + 12, 2)
    name.sll_ifindex = ifindex
    io.tx[k].msg_hdr.msg_namelen = sizeof(sockaddr_ll)
    io.tx[k].msg_hdr.msg_control = NULL
    io.tx[k].msg_hdr.msg_controllen = 0
