# Receive rules: RFC 9568 7.1, RFC 3768 7.1, in keepalived's order where it matters. Pure.
# A rejected packet changes a counter and nothing else; one event per cause, instance and minute.

cdef inline bint is_multicast(const u8 *a, u32 alen) noexcept nogil:
    return (a[0] & 0xF0) == 0xE0 if alen == 4 else a[0] == 0xFF


cdef const peer_t *find_peer(const cfg_t *g, const u8 *source) noexcept nogil:
    cdef const peer_t *peers = peers_of(g)
    cdef u32 k
    for k in range(g.n_peers):
        if fv_same(peers[k].address, source, g.alen):
            return &peers[k]
    return NULL


cdef u32 find_instance(core_t *c, u32 link, u32 alen, u8 vrid, const u8 *source, const u8 *destination) noexcept nogil:
    """Several instances may share a VRID on a link: other multicast group, or other unicast peers.
    The best match wins; a lone instance is always the one."""
    cdef u32 i = c.link[link].table[(256 if alen == 16 else 0) + vrid]
    cdef u32 first = i
    cdef cfg_t *g
    if i == NONE or c.vr[i].next_same == NONE:
        return i
    while i != NONE:
        g = c.cfg[i]
        if g.flags & F_UNICAST:
            if not is_multicast(destination, alen) and find_peer(g, source) != NULL:
                return i
        elif fv_same(g.destination, destination, alen):
            return i
        i = c.vr[i].next_same
    return first


cdef u8 advert_check(core_t *c, u32 i, const u8 *data, advert_t *a, const u8 *source, const u8 *destination,
                     u8 ttl) noexcept nogil:
    """Everything that can reject an advert for instance i."""
    cdef cfg_t *g = c.cfg[i]
    cdef const peer_t *peer
    cdef u8 plain = 0
    cdef bint old = False
    if g.has_source and fv_same(source, g.source, g.alen):
        return RX_OWN                                   # conformance 41
    if not g.flags & F_UNICAST and ttl != 255:
        return RX_TTL                                   # RFC 9568 7.1
    if a.version != g.version:
        return RX_VERSION
    if a.version == 2:
        if a.auth_type != g.auth_type:
            return RX_AUTH_TYPE                         # RFC 3768 7.1
        if g.auth_type == 1 and memcmp(a.auth, g.auth, V2_AUTH_LEN) != 0:
            return RX_AUTH                              # RFC 2338 5.3.6
        if a.interval_ns != g.advert_int_ns:
            return RX_INTERVAL                          # RFC 3768 7.1
    if a.count == 0 and g.n_addresses:
        return RX_COUNT                                 # RFC 9568 5.2.5
    if not advert_checksum_ok(data, a, g.alen, source, destination, &plain):
        old = g.alen == 4 and g.flags & F_UNICAST and not g.flags & F_NO_OLD_CHECKSUM
        if not old or not advert_checksum_ok(data, a, g.alen, source, fv_vrrp_group4, &plain):
            return RX_CHECKSUM
    if a.version == 3 and a.interval_ns == 0:
        return RX_INTERVAL                              # RFC 9568 erratum 8301
    if g.flags & F_UNICAST:
        if is_multicast(destination, g.alen):
            return RX_KIND                              # conformance 43
        peer = find_peer(g, source)
        if peer == NULL:
            return RX_PEER
        if ttl < peer.min_ttl or ttl > peer.max_ttl:
            return RX_TTL
    elif not fv_same(destination, g.destination, g.alen):
        return RX_KIND                                  # conformance 42; another group is another LAN of routers
    if g.priority == PRIORITY_OWNER and g.flags & F_OWNER_IGNORE_ADVERTS:
        return RX_OWNER_IGNORED
    c.vr[i].plain_checksum = plain
    if old or g.n_peers == 1:                           # answer as one is spoken to
        c.vr[i].old_checksum = old
    return RX_OK


cdef bint log_once(core_t *c, u32 i, u32 cause, i64 now) noexcept nogil:
    """True for the first of this cause since the last state change or minute. Keyed by cause, so a
    spoofed source cannot reset it."""
    cdef limits_t *limits = limits_of(c, i)
    if now >= limits.logged_reset_ns:
        limits.logged = 0
        limits.logged_reset_ns = now + LOGGED_RESET_NS
    if limits.logged & (<u32> 1 << cause):
        return False
    limits.logged |= <u32> 1 << cause
    return True


cdef u8 reject_unowned(core_t *c, u8 code, u32 link, i64 now, out_t *out) noexcept nogil:
    """A packet that belongs to no instance."""
    cdef action_t *e
    c.rx[code] += 1
    if now >= c.rx_logged_reset_ns:
        c.rx_logged = 0
        c.rx_logged_reset_ns = now + LOGGED_RESET_NS
    if code != RX_VRID and not c.rx_logged & (<u32> 1 << code):
        c.rx_logged |= <u32> 1 << code
        e = emit(out, A_EVENT, NONE, now)
        e.event = EV_RX_ERROR
        e.a = code
        e.b = <i64> c.rx[code]
        e.c = link
    return code


cdef u8 core_packet(core_t *c, u32 link, u32 alen, const u8 *source, const u8 *destination, u8 ttl,
                    const u8 *data, u32 length, i64 now, out_t *out) noexcept nogil:
    """One VRRP PDU as it came from the network layer. Returns an RX code."""
    cdef advert_t a
    cdef u8 code
    cdef u32 i
    cdef action_t *e
    code = advert_parse(data, length, alen, &a)
    if code == RX_LENGTH and length < 2:
        return reject_unowned(c, code, link, now, out)
    i = find_instance(c, link, alen, data[1], source, destination)
    if i == NONE:
        return reject_unowned(c, RX_VRID, link, now, out)
    fetch_ahead(c, i + AHEAD, RX_OK)                    # senders of many send them in order
    if code == RX_OK:
        code = advert_check(c, i, data, &a, source, destination, ttl)
    if code == RX_OK and (c.vr[i].state == S_INIT or c.vr[i].state == S_FAULT or now < c.cfg[i].hold_until_ns):
        code = RX_STATE
    counter(c, i, code)[0] += 1
    if code != RX_OK:
        if code != RX_STATE and code != RX_OWN and code != RX_OWNER_IGNORED and log_once(c, i, code, now):
            e = emit_event(c, EV_RX_ERROR, i, now, out)
            e.a = code
            e.b = <i64> counter(c, i, code)[0]
            memcpy(e.address, source, alen)
            e.address_len = alen
        return code
    advert_notes(c, i, &a, source, now, out)
    if c.vr[i].state == S_BACKUP:
        backup_on_advert(c, i, &a, source, now, out)
    else:
        master_on_advert(c, i, &a, source, now, out)
    groups_flush(c, now, out)
    return RX_OK


cdef void advert_notes(core_t *c, u32 i, const advert_t *a, const u8 *source, i64 now, out_t *out) noexcept nogil:
    """What is counted and told, but accepted: other interval (v3), other address list, equal address."""
    cdef cfg_t *g = c.cfg[i]
    cdef vr_t *v = &c.vr[i]
    cdef action_t *e
    if v.plain_checksum:
        counter(c, i, C_CHECKSUM_PLAIN)[0] += 1
    if a.version == 3 and a.interval_ns != g.advert_int_ns:
        counter(c, i, C_INTERVAL_MISMATCH)[0] += 1
        if log_once(c, i, C_INTERVAL_MISMATCH, now):
            e = emit_event(c, EV_INTERVAL_MISMATCH, i, now, out)
            e.a = a.interval_ns
            e.b = g.advert_int_ns
            memcpy(e.address, source, g.alen)
            e.address_len = g.alen
    if g.flags & F_SKIP_CHECK_ADV_ADDR and v.master_known and fv_same(v.master, source, g.alen):
        return
    if a.count != g.n_addresses or not same_addresses(a.addresses, g.pdu + VRRP_HEADER, a.count, g.alen):
        counter(c, i, C_ADDR_MISMATCH)[0] += 1
        if log_once(c, i, C_ADDR_MISMATCH, now):
            e = emit_event(c, EV_ADDR_MISMATCH, i, now, out)
            e.a = a.count
            e.b = g.n_addresses
            memcpy(e.address, source, g.alen)
            e.address_len = g.alen


cdef u64 addresses_sum(const u8 *p, u32 n, u32 alen) noexcept nogil:
    """The same for every order of the same addresses, other for others (nearly always)."""
    cdef u64 total = 0
    cdef u64 h
    cdef u32 k
    cdef u32 at
    for k in range(n):
        h = 0
        for at in range(0, alen, 4):
            h = (h ^ (<u64> fv_get16(p + at) << 16 | fv_get16(p + at + 2))) * <u64> 0x9E3779B97F4A7C15
            h ^= h >> 29
        total += h
        p += alen
    return total


cdef bint same_addresses(const u8 *a, const u8 *b, u32 n, u32 alen) noexcept nogil:
    """Same set in any order; lists hold no duplicates. Equal order, the common case, is one compare.
    Any other takes time in proportion to its length, because a sender chooses it for every packet;
    who makes two sums collide has spared himself a line in our log."""
    return fv_same(a, b, n * alen) or addresses_sum(a, n, alen) == addresses_sum(b, n, alen)
