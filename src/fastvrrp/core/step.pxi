# Life of instances and dispatch of everything that is not a packet. Pure.
# Bound of one call: each instance is touched at most twice (itself, its group), with at most eight
# actions each time; ACTIONS_PER_VR sizes the engine's buffer.

cdef enum:
    ACTIONS_PER_VR = 18
    ACTIONS_SPARE = 256
    LOOK_AHEAD = 8              # slots of the wheel that are searched for the next deadline
    LOOK_CROWD = 16             # nodes of a slot that is still far away


cdef bint blob_equal(const u8 *a, const u8 *b) noexcept nogil:
    """Program blobs begin with their own length."""
    cdef u32 n = (<const u32 *> a)[0]
    return n == (<const u32 *> b)[0] and memcmp(a, b, n) == 0


cdef void vr_reset(core_t *c, u32 i, i64 now) noexcept nogil:
    cdef vr_t *v = &c.vr[i]
    cdef u32 generation = v.generation
    cdef u32 sequence = v.sequence
    cdef u32 k
    wheel_cancel(&c.wheel, i)
    if v.limited:
        memset(&c.limits[i], 0, sizeof(limits_t))
    memset(v, 0, sizeof(vr_t))
    v.generation = generation + 1
    v.sequence = sequence
    v.node.due = FV_NEVER
    v.node.prev = NONE
    v.node.next = NONE
    v.next_same = NONE
    v.group_next = NONE
    v.since_ns = now
    for k in range(<u32> N_DUE):
        v.due[k] = FV_NEVER


cdef void core_rebuild_tables(core_t *c) noexcept nogil:
    """Look-up tables and group chains from the committed records, in slot order (deterministic)."""
    cdef u32 i
    cdef u32 k
    cdef u32 *head
    cdef group_t *g
    for k in range(c.cap_link):
        if c.link[k].used:
            memset(c.link[k].table, 0xFF, sizeof(c.link[k].table))
    for k in range(c.cap_group):
        c.group[k].first = NONE
        c.group[k].members = 0
        c.group[k].masters = 0
    i = c.high_vr
    while i > 0:                                        # backwards, so that chains are in slot order
        i -= 1
        if not c.vr[i].used:
            continue
        head = &c.link[c.cfg[i].link].table[(256 if c.cfg[i].alen == 16 else 0) + c.cfg[i].vrid]
        c.vr[i].next_same = head[0]
        head[0] = i
        if c.cfg[i].group != NONE:
            g = &c.group[c.cfg[i].group]
            c.vr[i].group_next = g.first
            g.first = i
            g.members += 1
            g.masters += c.vr[i].state == S_MASTER
            g.used = 1
        else:
            c.vr[i].group_next = NONE
    for k in range(c.cap_group):
        if c.group[k].members == 0:
            c.group[k].used = 0
            c.group[k].state = S_INIT


cdef void core_retire(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """Stops instance i for good; its record stays until the tables are rebuilt."""
    if i < c.cap_vr and c.vr[i].used:
        vr_stop(c, i, now, out)
        c.vr[i].used = 0
        wheel_cancel(&c.wheel, i)


cdef void vr_adopt(core_t *c, u32 i, cfg_t *g, i64 now, out_t *out) noexcept nogil:
    """A changed configuration for a running instance: state, master and counters stay."""
    cdef vr_t *v = &c.vr[i]
    cdef cfg_t *old = c.cfg[i]
    cdef i64 skew = skew_time(c, i)
    cdef bint programs = not blob_equal(up_of(g), up_of(old))
    cdef bint owed
    c.cfg[i] = g
    v.adjust = g.adjust
    if v.state != S_BACKUP or g.version == 2 or not v.master_known:
        v.master_int_ns = g.advert_int_ns
    if v.state == S_MASTER:
        if v.due[D_ADVERT] > now + g.advert_int_ns:
            set_due(c, i, D_ADVERT, now + g.advert_int_ns)
        if g.refresh_ns == 0:
            v.due[D_REFRESH] = FV_NEVER
        elif v.vips == 2:
            set_due(c, i, D_REFRESH, imin(v.due[D_REFRESH], now + g.refresh_ns))
        if g.extra_ns == 0:
            v.due[D_EXTRA] = FV_NEVER
        elif v.vips == 2:
            set_due(c, i, D_EXTRA, imin(v.due[D_EXTRA], now + g.extra_ns))
        if (<const u32 *> change_of(g))[1]:
            emit_play(c, i, P_CHANGE, now, out)
        # only what is new, unless a burst is under way or the kernel still owes what was asked for earlier: these
        # records do not mark that as new, so it goes on with everything
        owed = v.vips != 2 or v.adding or v.retries or v.due[D_GARP] != FV_NEVER
        v.announce_mask = ANN_NEW if programs and not owed else 0
        if programs:
            v.adding = 1
            v.generation += 1                           # the old program's answer must not announce the new addresses
            emit_play(c, i, P_UP, now, out)
    elif v.state == S_BACKUP and v.due[D_DOWN] != FV_NEVER:
        if g.advert_int_ns != old.advert_int_ns and (g.version == 2 or not v.master_known):
            set_due(c, i, D_DOWN, now + master_down_interval(c, i))
        else:
            set_due(c, i, D_DOWN, imax(now, v.due[D_DOWN] + skew_time(c, i) - skew))


cdef void core_install(core_t *c, cfg_t *g, i64 now) noexcept nogil:
    """First configuration of a slot; it starts when the whole commit is in place."""
    cdef u32 i = g.slot
    cdef u32 k
    vr_reset(c, i, now)
    c.cfg[i] = g
    c.vr[i].used = 1
    c.vr[i].adjust = g.adjust
    c.vr[i].master_int_ns = g.advert_int_ns
    if i >= c.high_vr:
        c.high_vr = i + 1
        return                                          # nobody has counted there yet
    for k in range(<u32> N_COUNTERS):
        if counter(c, i, k)[0]:                         # what is not written to takes no memory
            counter(c, i, k)[0] = 0


cdef void core_prepare(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """Fault mask and priority of a committed instance, before anybody acts on them."""
    cdef cfg_t *g = c.cfg[i]
    cdef vr_t *v = &c.vr[i]
    v.fault = (g.fault & ~<u32> FAULT_OF_CORE) | vr_measure_links(c, i)
    # group_faults() below derives FAULT_GROUP anew from everybody's own reasons
    if not g.has_source:
        v.fault |= FAULT_SOURCE
    vr_update_priority(c, i, now, out)


cdef void core_commit(core_t *c, cfg_t **items, u32 n, const u32 *remove, u32 n_remove, i64 now,
                      out_t *out) noexcept nogil:
    """One atomic change of many instances. items[k].displaced names the block that the caller must
    free once nobody plays its programs any more."""
    cdef u32 k
    cdef u32 i
    for k in range(n_remove):
        core_retire(c, remove[k], now, out)
    for k in range(n):
        i = items[k].slot
        items[k].displaced = c.cfg[i]
        if c.vr[i].used:
            vr_adopt(c, i, items[k], now, out)
        else:
            core_install(c, items[k], now)
    core_rebuild_tables(c)
    for k in range(n):
        core_prepare(c, items[k].slot, now, out)
    for k in range(n):
        i = items[k].slot
        vr_set_fault(c, i, c.vr[i].fault, now, out)
    for k in range(c.cap_group):                        # members came or went
        if not c.group[k].used:
            continue
        group_faults(c, k, now, out)
        if not c.group[k].dirty:
            c.group[k].dirty = 1
            c.dirty[c.n_dirty] = k
            c.n_dirty += 1
    groups_flush(c, now, out)


cdef bint depends_on(const cfg_t *g, u32 link) noexcept nogil:
    cdef u32 k
    if g.link == link:
        return True
    for k in range(g.n_tracks):
        if tracks_of(g)[k].link == link:
            return True
    return False


cdef void core_link(core_t *c, u32 link, bint up, i64 now, out_t *out) noexcept nogil:
    """A link went up or down: all that depend on it notice, then states follow. So every member of a
    sync group has its own reason, and a group is evaluated once."""
    cdef u32 i
    cdef u32 group
    if c.link[link].up == up:
        return
    c.link[link].up = up
    for i in range(c.high_vr):
        if c.vr[i].used and not c.vr[i].stopped and depends_on(c.cfg[i], link) and vr_observe_links(c, i, now, out):
            group = c.cfg[i].group
            if group == NONE:
                vr_evaluate(c, i, now, out)
            else:
                c.group[group].stale = 1
    for i in range(c.high_vr):
        group = c.cfg[i].group if c.vr[i].used else NONE
        if group != NONE and c.group[group].stale:
            c.group[group].stale = 0
            group_faults(c, group, now, out)
    groups_flush(c, now, out)


cdef void core_fault(core_t *c, u32 i, u32 set_bits, u32 clear_bits, i64 now, out_t *out) noexcept nogil:
    if i >= c.cap_vr or not c.vr[i].used:
        return
    vr_set_fault(c, i, (c.vr[i].fault | set_bits) & ~clear_bits, now, out)
    groups_flush(c, now, out)


cdef void core_adjust(core_t *c, u32 i, i32 total, i64 now, out_t *out) noexcept nogil:
    if i >= c.cap_vr or not c.vr[i].used:
        return
    c.vr[i].adjust = total
    vr_update_priority(c, i, now, out)


cdef void vr_stop(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """Orderly stop: priority 0 and the down program when MASTER, then INIT for good."""
    if c.vr[i].stopped:
        return
    c.vr[i].stopped = 1
    if c.vr[i].state != S_INIT:
        vr_transition(c, i, S_INIT, R_STOP, now, out)


cdef void core_stop(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    if i < c.cap_vr and c.vr[i].used:
        vr_stop(c, i, now, out)
        if c.cfg[i].group != NONE:                      # a stopped member no longer holds the others in FAULT
            group_faults(c, c.cfg[i].group, now, out)
        groups_flush(c, now, out)


cdef void core_stop_all(core_t *c, i64 now, out_t *out) noexcept nogil:
    cdef u32 i
    for i in range(c.high_vr):
        if c.vr[i].used:
            vr_stop(c, i, now, out)
    groups_flush(c, now, out)


cdef void core_replay(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """Something of this master's was taken from the kernel: put it back and announce it."""
    if i < c.cap_vr and c.vr[i].used and c.vr[i].state == S_MASTER:
        c.vr[i].announce_mask = 0
        c.vr[i].adding = 1
        emit_play(c, i, P_UP, now, out)


cdef void core_played(core_t *c, u32 i, u32 generation, u32 program, i32 error, u32 failed, i64 now,
                      out_t *out) noexcept nogil:
    if i < c.cap_vr and c.vr[i].used:
        vr_played(c, i, generation, program, error, failed, now, out)


cdef void tick_coalesce(core_t *c, i64 now, u32 budget, out_t *out) noexcept nogil:
    """Awake anyway: adverts of the rest of this wheel tick (about a millisecond) leave now. Their
    phase does not change, and nothing but adverts is ever early. Those of the next place in the
    interval wait for it: they would leave early one time and not the next."""
    cdef u32 s = <u32> ((now >> TICK_BITS) & 255)
    cdef u32 i = c.wheel.head[s]
    cdef u32 n = 0
    cdef u32 k
    cdef u32 halves = 2 * advert_places(c)                # of the way to the next place
    while i != NONE and n < budget:
        if c.vr[i].state == S_MASTER and \
                c.vr[i].due[D_ADVERT] <= now + imin(c.coalesce_ns, c.cfg[i].advert_int_ns / halves):
            c.scratch[n] = i
            n += 1
        i = c.vr[i].node.next
    sort_due(&c.wheel, c.scratch, n)
    c.early_ns = c.coalesce_ns
    for k in range(n):
        if k + AHEAD < n:
            fetch_ahead(c, c.scratch[k + AHEAD], C_TX)
        wheel_cancel(&c.wheel, c.scratch[k])
        vr_fire(c, c.scratch[k], now, out)
    c.early_ns = 0
    groups_flush(c, now, out)


cdef bint core_tick(core_t *c, i64 now, u32 budget, out_t *out) noexcept nogil:
    """Fires at most `budget` due instances. True when more may be due."""
    cdef u32 n
    cdef u32 k
    cdef u32 whole = budget
    while budget:
        n = wheel_pop_due(&c.wheel, now, c.scratch, budget)
        if n == 0:
            if c.coalesce_ns and budget < whole and c.wheel.current == now >> TICK_BITS:
                tick_coalesce(c, now, budget, out)
            return False
        for k in range(n):
            if k + AHEAD < n:
                fetch_ahead(c, c.scratch[k + AHEAD], C_TX)
            # an earlier member of its group may have moved this one's deadlines meanwhile
            if not c.vr[c.scratch[k]].node.queued:
                vr_fire(c, c.scratch[k], now, out)
        groups_flush(c, now, out)
        budget -= n
    return True


cdef i64 core_next_due(const core_t *c, i64 until) noexcept nogil:
    """Earliest moment at which something may be due; FV_NEVER when nothing is. What waits in the
    wheel under a deadline that was put off meanwhile (every backup that hears its master) wakes
    nobody: it is armed again with the next turn there is. When nothing is due up to `until`, it is
    any moment between that and the next deadline: whoever is going to look again spares the search."""
    cdef u32 level
    cdef u32 s
    cdef u32 i
    cdef u32 seen
    cdef u32 slots = 0
    cdef i64 low
    cdef i64 best = FV_NEVER
    for level in range(<u32> LEVELS):
        s = <u32> ((c.wheel.current >> (8 * level)) & 255) + (1 if level else 0)
        while True:
            s = next_occupied(&c.wheel.occupied[level * 4], s)
            if s > 255:
                break
            low = c.wheel.low[level * 256 + s]
            if low >= best:                             # so is every later slot's
                return best
            slots += 1
            if slots > LOOK_AHEAD or low > until:
                return low
            seen = 0
            i = c.wheel.head[level * 256 + s]
            while i != NONE:
                if i >= AHEAD:                          # armed in this order, most likely
                    fv_prefetch(&c.vr[i - AHEAD], DUE_LINES)
                best = imin(best, earliest_due(&c.vr[i]))
                if best <= low:
                    return best
                seen += 1
                if level and seen > LOOK_CROWD:
                    return low
                i = c.vr[i].node.next
            s += 1
    return best


cdef u64 core_fingerprint(const core_t *c) noexcept nogil:
    """FNV-1a over the run-time records: two runs of one seed must agree."""
    cdef u64 h = 14695981039346656037ULL
    cdef const u8 *p
    cdef u64 k
    cdef u32 i
    p = <const u8 *> c.vr
    for k in range(<u64> c.high_vr * sizeof(vr_t)):
        h = (h ^ p[k]) * 1099511628211ULL
    for i in range(c.high_vr):
        if c.vr[i].limited:
            p = <const u8 *> &c.limits[i]
            for k in range(sizeof(limits_t)):
                h = (h ^ p[k]) * 1099511628211ULL
        for k in range(<u32> N_COUNTERS):
            h = (h ^ counter(c, i, <u32> k)[0]) * 1099511628211ULL
    return h


cdef size_t core_bytes(u32 vrs, u32 links, u32 groups) noexcept nogil:
    return (vrs * (sizeof(vr_t) + sizeof(limits_t) + sizeof(stat_t) + sizeof(void *) + 4) + links * sizeof(link_t)
            + groups * (sizeof(group_t) + 4) + 256 + CACHE_LINE)


cdef void core_init(core_t *c, u8 *arena, u32 vrs, u32 links, u32 groups, i64 now) noexcept nogil:
    """Lays the arrays out in `arena` (core_bytes() zeroed bytes, 8-byte aligned). Records that are
    not used are not touched: they take no memory."""
    memset(c, 0, sizeof(core_t))
    c.cap_vr = vrs
    c.cap_link = links
    c.cap_group = groups
    arena += (CACHE_LINE - (<size_t> arena & (CACHE_LINE - 1))) & (CACHE_LINE - 1)
    c.vr = <vr_t *> arena
    arena += vrs * sizeof(vr_t)
    c.limits = <limits_t *> arena
    arena += vrs * sizeof(limits_t)
    c.stat = <u64 *> arena
    arena += vrs * sizeof(stat_t)
    c.cfg = <cfg_t **> arena
    arena += vrs * sizeof(void *)
    c.link = <link_t *> arena
    arena += links * sizeof(link_t)
    c.group = <group_t *> arena
    arena += groups * sizeof(group_t)
    arena += (8 - (<size_t> arena & 7)) & 7
    c.scratch = <u32 *> arena
    arena += vrs * 4
    c.dirty = <u32 *> arena
    wheel_init(&c.wheel, c.vr, sizeof(vr_t), now)
