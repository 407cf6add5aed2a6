# The state machine of one virtual router (RFC 9568 6, RFC 3768 6, keepalived's extensions).
# Pure: `now` in, actions out. vr_transition() is the only writer of vr_t.state; LEGAL is the whole
# diagram. States: INIT, BACKUP (RFC: Backup), MASTER (RFC: Active), FAULT (INIT with a reason).

cdef extern from *:
    """
    static const uint8_t fv_legal[4][4] = {
        /*            INIT BACKUP MASTER FAULT */
        /* INIT   */ { 0,   1,     0,     1 },
        /* BACKUP */ { 1,   0,     1,     1 },
        /* MASTER */ { 1,   1,     0,     1 },
        /* FAULT  */ { 1,   1,     0,     0 },
    };
    """
    const u8 fv_legal[4][4]

cdef enum:
    BURST_BITS = 7              # of slots whose adverts leave together, those of a link, mostly: a wake-up costs more than ten adverts
    BURSTS_MIN = 8              # places of such bursts in an interval, and more where one would be so long
    BURSTS_MAX = 64             # that its last adverts are late:
    BURST_INSTANCES = 256
    AHEAD = 4                   # records
    CACHE_LINE = 64             # bytes
    DUE_LINES = 2               # of a vr_t: its deadlines, and what else an advert needs
    CFG_LINES = 2               # of a cfg_t


cdef inline u64 *counter(const core_t *c, u32 i, u32 k) noexcept nogil:
    """One counter of an instance."""
    return &c.stat[<size_t> k * c.cap_vr + i]


cdef inline void fetch_ahead(const core_t *c, u32 i, u32 k) noexcept nogil:
    """Thousands of records do not fit the caches, and each is needed once per interval: ask for this one
    while others are worked on."""
    if i < c.cap_vr and c.cfg[i] != NULL:
        fv_prefetch(&c.vr[i], DUE_LINES)
        fv_prefetch(c.cfg[i], CFG_LINES)
        fv_prefetch(<const u8 *> c.cfg[i] + sizeof(cfg_t), 1)
        fv_prefetch(counter(c, i, k), 1)


cdef inline action_t *emit(out_t *out, u8 kind, u32 slot, i64 now) noexcept nogil:
    """The next action, zeroed. When the buffer is full (see the bound in step.pxi) the last one is
    overwritten and `lost` counts it, so that nothing is ever written out of bounds."""
    cdef action_t *a
    if out.n >= out.cap:
        out.lost += 1
        out.n = out.cap - 1
    a = &out.items[out.n]
    out.n += 1
    memset(a, 0, sizeof(action_t))
    a.kind = kind
    a.slot = slot
    a.now_ns = now
    return a


cdef inline action_t *emit_event(core_t *c, u8 event, u32 i, i64 now, out_t *out) noexcept nogil:
    cdef action_t *a = emit(out, A_EVENT, i, now)
    a.event = event
    a.priority = c.vr[i].priority
    a.sequence = c.vr[i].sequence
    return a


cdef inline void emit_tx(core_t *c, u32 i, u8 priority, i64 now, out_t *out) noexcept nogil:
    cdef action_t *a
    if c.cfg[i].has_source == 0:                        # conformance 7: nothing to send from
        return
    a = emit(out, A_TX, i, now)
    a.priority = priority
    counter(c, i, C_TX)[0] += 1
    if priority == PRIORITY_STOP:
        counter(c, i, C_TX_ZERO)[0] += 1


cdef inline void emit_announce(core_t *c, u32 i, u32 repeat, u32 mask, i64 now, out_t *out) noexcept nogil:
    """mask 0: every address; ANN_NEW, ANN_EXTRA: only records marked so."""
    cdef action_t *a
    if repeat == 0 or c.cfg[i].announce_len == 0:
        return
    a = emit(out, A_ANNOUNCE, i, now)
    a.a = repeat
    a.b = mask
    counter(c, i, C_ANNOUNCE)[0] += 1


cdef inline limits_t *limits_of(core_t *c, u32 i) noexcept nogil:
    """To be written to."""
    c.vr[i].limited = 1
    return &c.limits[i]


cdef inline bint may_announce(vr_t *v) noexcept nogil:
    """Not while the kernel is asked for addresses, nor after a pause before having listened: whoever ends
    that announces, and then everything."""
    if v.adding:
        v.announce_mask = 0
    return v.vips == 2 and not v.resumed and not v.adding


cdef inline void emit_play(core_t *c, u32 i, u32 program, i64 now, out_t *out) noexcept nogil:
    cdef action_t *a = emit(out, A_PLAY, i, now)
    a.a = program
    a.b = c.vr[i].generation


cdef inline void set_due(core_t *c, u32 i, u32 which, i64 when) noexcept nogil:
    """A later deadline is only stored; the wheel learns of an earlier one."""
    c.vr[i].due[which] = when
    if when < c.vr[i].node.due:
        wheel_arm(&c.wheel, i, when)


cdef inline i64 earliest_due(const vr_t *v) noexcept nogil:
    cdef i64 best = v.due[0]
    cdef u32 k
    for k in range(1, <u32> N_DUE):
        if v.due[k] < best:
            best = v.due[k]
    return best


cdef inline i64 skew_time(const core_t *c, u32 i) noexcept nogil:
    """RFC 9568 6.1: ((256 - priority) * Active_Adver_Interval) / 256; RFC 3768 6.1: (256 - priority) / 256 s."""
    cdef i64 base = FV_NS_PER_S if c.cfg[i].version == 2 else c.vr[i].master_int_ns
    return (256 - <i64> c.vr[i].priority) * base / 256


cdef inline i64 master_down_interval(const core_t *c, u32 i) noexcept nogil:
    return c.cfg[i].down_adverts * c.vr[i].master_int_ns + skew_time(c, i)


cdef inline bint is_owner(const core_t *c, u32 i) noexcept nogil:
    return c.cfg[i].priority == PRIORITY_OWNER


cdef inline u32 advert_places(const core_t *c) noexcept nogil:
    cdef u32 places = BURSTS_MIN
    while places < BURSTS_MAX and places * BURST_INSTANCES < c.high_vr:
        places *= 2
    return places


cdef inline i64 advert_phase(const core_t *c, u32 i, i64 now) noexcept nogil:
    """How much earlier than its interval the second advert comes: each block of 128 instances has one of a
    few places in the interval, the same after every takeover. Thousands that became master together do not
    send together for ever, and those of one block, mostly of one link, leave in one batch and one wake-up."""
    cdef i64 step = c.cfg[i].advert_int_ns
    cdef u32 places = advert_places(c)
    if c.coalesce_ns == 0:
        return 0
    return (now + step - c.base_ns - ((i >> BURST_BITS) % places) * (step / places)) % step


cdef void vr_transition(core_t *c, u32 i, u8 new, u8 reason, i64 now, out_t *out) noexcept nogil:
    """Exit duties, the state itself, entry duties. The deadline of BACKUP is the caller's choice."""
    cdef vr_t *v = &c.vr[i]
    cdef cfg_t *g = c.cfg[i]
    cdef u8 old = v.state
    cdef action_t *a
    cdef u32 k
    if not fv_legal[old][new]:
        c.illegal += 1                                  # a defect of ours: refused, counted, visible in status
        return
    for k in range(<u32> N_DUE):
        v.due[k] = FV_NEVER
    v.wants_master = 0
    v.late_extended = 0
    v.resumed = 0
    if v.limited:
        c.limits[i].logged = 0
    if old == S_MASTER:
        counter(c, i, C_RELEASE_MASTER)[0] += 1
        if new == S_FAULT or new == S_INIT:             # RFC 9568 6.4.3 Shutdown; keepalived says it twice on a fault
            emit_tx(c, i, PRIORITY_STOP, now, out)
            if new == S_FAULT:
                emit_tx(c, i, PRIORITY_STOP, now, out)
        v.generation += 1
        v.vips = 0
        v.retries = 0
        emit_play(c, i, P_DOWN, now, out)
        if v.contention:
            v.contention = 0
            a = emit_event(c, EV_DUAL_MASTER, i, now, out)
            memcpy(a.address, v.master, 16)
            a.address_len = g.alen
    v.state = new
    v.reason = reason
    v.since_ns = now
    v.sequence += 1
    if new == S_MASTER:
        counter(c, i, C_BECOME_MASTER)[0] += 1
        v.master_int_ns = g.advert_int_ns
        v.preempt_until_ns = 0
        v.generation += 1
        v.reign = v.generation
        v.vips = 1
        v.adding = 0
        v.announce_mask = 0
        emit_tx(c, i, v.priority, now, out)             # the advert is the first frame (conformance 49)
        emit_play(c, i, P_UP, now, out)
        set_due(c, i, D_ADVERT, now + g.advert_int_ns - advert_phase(c, i, now))
    elif new != S_BACKUP:
        v.master_known = 0
        v.preempt_until_ns = 0
        v.master_int_ns = g.advert_int_ns
    a = emit_event(c, EV_STATE, i, now, out)
    a.a = old
    a.b = new
    a.c = v.fault
    a.reason = reason
    if v.master_known:
        memcpy(a.address, v.master, 16)
        a.address_len = g.alen
    if new == S_MASTER:
        v.master_known = 0
    if g.group != NONE:
        c.group[g.group].masters += <u32> (new == S_MASTER) - <u32> (old == S_MASTER)
    group_touch(c, i)


cdef void vr_enter_backup(core_t *c, u32 i, u8 reason, i64 now, out_t *out) noexcept nogil:
    """From INIT or FAULT. An owner that wishes to be master does not wait (RFC 9568 6.4.1); `state
    MASTER` below 255 waits one interval plus the least skew, once, at start (keepalived)."""
    cdef cfg_t *g = c.cfg[i]
    cdef i64 start = imax(now, g.hold_until_ns)
    vr_transition(c, i, S_BACKUP, reason, now, out)
    c.vr[i].master_int_ns = g.advert_int_ns             # RFC 9568 6.4.1
    c.vr[i].down_reason = R_NO_RESPONSE
    if g.flags & F_WANT_MASTER and is_owner(c, i):
        c.vr[i].down_reason = R_STARTUP
        set_due(c, i, D_DOWN, start + 1000)
    elif g.flags & F_WANT_MASTER and reason == R_STARTUP:
        set_due(c, i, D_DOWN, start + g.advert_int_ns + (FV_NS_PER_S if g.version == 2 else g.advert_int_ns) / 256)
    else:
        set_due(c, i, D_DOWN, start + master_down_interval(c, i))


cdef void vr_yield(core_t *c, u32 i, u8 reason, i64 now, out_t *out) noexcept nogil:
    """MASTER to BACKUP: to a better router, to its group, or after an own pause."""
    vr_transition(c, i, S_BACKUP, reason, now, out)
    c.vr[i].down_reason = R_NO_RESPONSE
    set_due(c, i, D_DOWN, now + master_down_interval(c, i))


cdef void vr_evaluate(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """Brings the state in line with the fault mask. AWAIT alone means INIT: nothing to report yet."""
    cdef vr_t *v = &c.vr[i]
    if v.stopped:
        return
    if v.fault == 0:
        if v.state == S_INIT:
            vr_enter_backup(c, i, R_STARTUP, now, out)
        elif v.state == S_FAULT:
            vr_enter_backup(c, i, R_RECOVERED, now, out)
    elif v.fault == FAULT_AWAIT:
        # a tracker that lost its result (reload) does not take a running instance down
        return
    elif v.state != S_FAULT and (v.state != S_INIT or v.fault != (FAULT_AWAIT | FAULT_GROUP)):
        vr_transition(c, i, S_FAULT, R_GROUP if v.fault == FAULT_GROUP else R_FAULT, now, out)


cdef void vr_set_fault(core_t *c, u32 i, u32 mask, i64 now, out_t *out) noexcept nogil:
    """Replaces the mask (except GROUP, which the group decides) and lets the group follow."""
    cdef u32 own = mask & ~<u32> FAULT_GROUP
    cdef u32 group = c.cfg[i].group
    if group != NONE:
        c.vr[i].fault = own | (c.vr[i].fault & FAULT_GROUP)
        group_faults(c, group, now, out)
    else:
        c.vr[i].fault = own
        vr_evaluate(c, i, now, out)


cdef void vr_update_priority(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """clamp(base + sum of weights, 1, 254); an owner's 255 never changes. A backup's running timer
    moves by the difference of the skew times."""
    cdef vr_t *v = &c.vr[i]
    cdef cfg_t *g = c.cfg[i]
    cdef i64 p = <i64> g.priority + v.adjust + v.link_adjust
    cdef u8 old = v.priority
    cdef i64 before
    cdef action_t *a
    if g.priority == PRIORITY_OWNER:
        p = PRIORITY_OWNER
    elif p < 1:
        p = 1
    elif p > 254:
        p = 254
    if p == old:
        return
    before = skew_time(c, i)
    v.priority = <u8> p
    if v.state == S_BACKUP and v.due[D_DOWN] != FV_NEVER:
        set_due(c, i, D_DOWN, imax(now, v.due[D_DOWN] + skew_time(c, i) - before))
    if old == 0:                                        # first evaluation: nothing changed for anybody
        return
    a = emit_event(c, EV_PRIORITY, i, now, out)
    a.a = old
    a.b = p


cdef inline i32 track_weight(const track_t *t, bint up) noexcept nogil:
    """keepalived's table: +w counts while up, -w while down; reverse negates it."""
    cdef i32 w = 0
    if t.weight > 0 and up:
        w = t.weight
    elif t.weight < 0 and not up:
        w = t.weight
    return -w if t.reverse else w


cdef u32 vr_measure_links(core_t *c, u32 i) noexcept nogil:
    """What links contribute now: sets link_adjust, returns the fault bits of own and tracked interfaces."""
    cdef cfg_t *g = c.cfg[i]
    cdef const track_t *tracks = tracks_of(g)
    cdef u32 mask = 0
    cdef i32 total = 0
    cdef u32 k
    cdef bint up
    if not g.flags & F_DONT_TRACK_PRIMARY and not c.link[g.link].up:
        mask |= FAULT_LINK
    for k in range(g.n_tracks):
        up = c.link[tracks[k].link].up
        if tracks[k].weight == 0:
            if up == (tracks[k].reverse != 0):
                mask |= FAULT_TRACK_LINK
        else:
            total += track_weight(&tracks[k], up)
    c.vr[i].link_adjust = total
    return mask


cdef bint vr_observe_links(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """After a link event: priority and fault mask. True when the mask has changed, and the state has to follow."""
    cdef vr_t *v = &c.vr[i]
    cdef u32 mask = vr_measure_links(c, i) | (v.fault & ~<u32> (FAULT_LINK | FAULT_TRACK_LINK))
    cdef bint changed = mask != v.fault
    vr_update_priority(c, i, now, out)
    v.fault = mask
    return changed


# ---- received adverts; receive.pxi has checked them ----

cdef inline int compare_address(const u8 *a, const u8 *b, u32 alen) noexcept nogil:
    """Unsigned, network order (RFC 9568 6.4.3)."""
    return memcmp(a, b, alen)


cdef void backup_on_advert(core_t *c, u32 i, const advert_t *a, const u8 *source, i64 now, out_t *out) noexcept nogil:
    """RFC 9568 6.4.2 with keepalived's nopreempt and preempt_delay."""
    cdef vr_t *v = &c.vr[i]
    cdef cfg_t *g = c.cfg[i]
    cdef bint changed
    cdef action_t *e
    if a.priority == PRIORITY_STOP:
        counter(c, i, C_RX_ZERO)[0] += 1
        v.down_reason = R_PRIORITY_ZERO
        v.preempt_until_ns = 0
        v.late_extended = 0
        # a member that already waits for its group has nothing to wait for again
        if not v.wants_master:
            set_due(c, i, D_DOWN, now + skew_time(c, i))
        return
    # an owner always preempts (RFC 9568 6.1)
    if a.priority < v.priority and (not g.flags & F_NOPREEMPT or is_owner(c, i)):
        if g.preempt_delay_ns == 0 or (v.preempt_until_ns != 0 and v.preempt_until_ns <= now):
            v.down_reason = R_PREEMPT                   # discarded: the old timer goes on
            return
        if v.preempt_until_ns == 0:
            v.preempt_until_ns = now + g.preempt_delay_ns
    else:
        v.preempt_until_ns = 0
    if g.version == 3:
        v.master_int_ns = a.interval_ns                 # RFC 9568 6.4.2: skew follows (D4)
    v.wants_master = 0
    v.late_extended = 0
    v.down_reason = R_NO_RESPONSE
    changed = not v.master_known or not fv_same(v.master, source, g.alen)
    v.master_known = 1
    v.master_priority = a.priority
    memcpy(v.master, source, g.alen)
    set_due(c, i, D_DOWN, now + master_down_interval(c, i))
    if (changed or v.master_untold) and now < v.master_told_ns:
        v.master_untold = 1                             # whoever forges sources must not fill the event ring
    elif changed or v.master_untold:
        v.master_untold = 0
        v.master_told_ns = now + imax(g.advert_int_ns, TOLD_NS)
        e = emit_event(c, EV_MASTER_CHANGED, i, now, out)
        e.a = a.priority
        memcpy(e.address, source, g.alen)
        e.address_len = g.alen
    if g.group != NONE and c.group[g.group].masters:    # a new member found that another router is master
        group_backup(c, g.group, now, out)


cdef void master_contention(core_t *c, u32 i, const advert_t *a, const u8 *source, bint won, i64 now,
                            out_t *out) noexcept nogil:
    """Somebody else claims to be master: an event with a start, an end and a winner."""
    cdef vr_t *v = &c.vr[i]
    cdef action_t *e
    limits_of(c, i).contention_until_ns = now + 3 * imax(a.interval_ns, c.cfg[i].advert_int_ns)
    memcpy(v.master, source, c.cfg[i].alen)
    v.master_priority = a.priority
    if v.contention:
        return
    v.contention = 1
    counter(c, i, C_CONTENTION)[0] += 1
    e = emit_event(c, EV_DUAL_MASTER, i, now, out)
    e.a = 1
    e.b = won
    memcpy(e.address, source, c.cfg[i].alen)
    e.address_len = c.cfg[i].alen


cdef void announce_lower(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """garp_lower_prio_repeat at once, again after garp_lower_prio_delay; not more than once a second
    or interval, because it multiplies what a sender of inferior adverts can make us send."""
    cdef vr_t *v = &c.vr[i]
    cdef cfg_t *g = c.cfg[i]
    cdef limits_t *limits
    if g.lower_repeat == 0 or not may_announce(v):
        return
    limits = limits_of(c, i)
    if now < limits.announce_after_ns:
        if v.due[D_GARP] == FV_NEVER:                   # the hosts may believe this one: made up for, not dropped
            v.second_repeat = g.lower_repeat
            v.announce_mask = 0
            set_due(c, i, D_GARP, limits.announce_after_ns)
        return
    limits.announce_after_ns = now + imax(g.advert_int_ns, FV_NS_PER_S)
    v.announce_mask = 0
    emit_announce(c, i, g.lower_repeat, 0, now, out)
    if g.lower_delay_ns:
        v.second_repeat = g.lower_repeat
        set_due(c, i, D_GARP, now + g.lower_delay_ns)


cdef inline void master_announce(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """Somebody else claimed to be master and is not: the hosts must hear it from every member."""
    if c.cfg[i].group == NONE:
        announce_lower(c, i, now, out)
    else:
        group_announce_lower(c, c.cfg[i].group, now, out)


cdef void master_on_advert(core_t *c, u32 i, const advert_t *a, const u8 *source, i64 now, out_t *out) noexcept nogil:
    """RFC 9568 6.4.3. Answers to inferior adverts are paced, so that they cannot be used to make
    this router send more than a few adverts per interval."""
    cdef vr_t *v = &c.vr[i]
    cdef cfg_t *g = c.cfg[i]
    cdef int order = compare_address(source, g.source, g.alen)
    cdef limits_t *limits
    cdef bint answer
    cdef action_t *e
    if a.priority == PRIORITY_STOP:
        counter(c, i, C_RX_ZERO)[0] += 1
        limits = limits_of(c, i)
        if now >= limits.zero_after_ns:                 # paced apart: an inferior router must not delay this one
            limits.zero_after_ns = now + g.advert_int_ns / 4
            emit_tx(c, i, v.priority, now, out)
            set_due(c, i, D_ADVERT, now + g.advert_int_ns)
            master_announce(c, i, now, out)             # who says goodbye was master, and the hosts believed it
        return
    if a.priority > v.priority or (a.priority == v.priority and order > 0):
        if g.flags & F_HIGHER_PRIO_SEND_ADVERT:
            emit_tx(c, i, v.priority, now, out)
        if g.version == 3:
            v.master_int_ns = a.interval_ns
        v.master_known = 1
        v.master_priority = a.priority
        memcpy(v.master, source, g.alen)
        vr_yield(c, i, R_HIGHER_PRIORITY if a.priority > v.priority else R_HIGHER_ADDRESS, now, out)
        if g.group != NONE:
            group_backup(c, g.group, now, out)
        return
    # within the first interval it is the last word of the router we preempted, not a rival
    limits = limits_of(c, i)
    answer = now >= limits.answer_after_ns
    if now - v.since_ns >= g.advert_int_ns:
        master_contention(c, i, a, source, True, now, out)
    master_announce(c, i, now, out)                     # has a pace of its own: no rival's hosts are forgotten
    if not answer:
        return
    limits.answer_after_ns = now + g.advert_int_ns / 4
    if not g.flags & F_LOWER_PRIO_NO_ADVERT:
        emit_tx(c, i, v.priority, now, out)             # the periodic timer goes on (conformance 68)
    if now - v.since_ns >= g.advert_int_ns and now >= limits.inferior_told_ns:
        limits.inferior_told_ns = now + imax(g.advert_int_ns, TOLD_NS)
        e = emit_event(c, EV_RX_LOWER_PRI, i, now, out)
        e.a = a.priority
        memcpy(e.address, source, g.alen)
        e.address_len = g.alen


# ---- deadlines ----

cdef void master_advert_due(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """Adverts keep their phase: a late turn sends one advert and does not shift the following ones.
    After a pause that a peer would have taken for death nothing stale goes out: listen for one skew
    first (packets are always served before timers), then advertise and announce again."""
    cdef vr_t *v = &c.vr[i]
    cdef cfg_t *g = c.cfg[i]
    cdef i64 late = now - v.due[D_ADVERT]
    cdef i64 step = g.advert_int_ns
    cdef i64 other
    cdef action_t *e
    if late >= imax(g.down_adverts - 1, 1) * step and not v.resumed:
        v.resumed = 1
        counter(c, i, C_LATE)[0] += 1
        c.late += 1
        e = emit_event(c, EV_LATE, i, now, out)
        e.a = late
        if g.timer_expired_backup and g.flags & F_NOPREEMPT:
            other = g.down_adverts * step + (256 - <i64> g.timer_expired_backup) * (
                FV_NS_PER_S if g.version == 2 else step) / 256
            if late + step >= other:
                vr_yield(c, i, R_LATE, now, out)
                if g.group != NONE:
                    group_backup(c, g.group, now, out)
                return
        v.due[D_ADVERT] = now + imin(skew_time(c, i), step / 2)
        return
    emit_tx(c, i, v.priority, now, out)
    if late >= step:
        counter(c, i, C_MISSED)[0] += late / step
        c.missed += late / step
        v.due[D_ADVERT] += (late / step) * step
    v.due[D_ADVERT] += step
    if v.resumed:
        v.resumed = 0
        if may_announce(v):
            emit_announce(c, i, g.garp_repeat, 0, now, out)
    if v.contention and now >= c.limits[i].contention_until_ns:
        v.contention = 0
        e = emit_event(c, EV_DUAL_MASTER, i, now, out)
        e.b = 1
        memcpy(e.address, v.master, g.alen)
        e.address_len = g.alen
        if may_announce(v):                             # conformance 85: the winner announces again
            emit_announce(c, i, g.garp_repeat, 0, now, out)


cdef void backup_down_due(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """Active_Down_Timer expired (RFC 9568 6.4.2)."""
    cdef vr_t *v = &c.vr[i]
    cdef cfg_t *g = c.cfg[i]
    cdef i64 late = now - v.due[D_DOWN]
    cdef action_t *e
    if now < g.hold_until_ns:
        v.due[D_DOWN] = g.hold_until_ns + master_down_interval(c, i)
        return
    if late > v.master_int_ns and not v.late_extended and v.down_reason != R_STARTUP:
        # our own pause, not the master's silence: one skew more for what may be in flight
        v.late_extended = 1
        counter(c, i, C_LATE)[0] += 1
        c.late += 1
        e = emit_event(c, EV_LATE, i, now, out)
        e.a = late
        v.due[D_DOWN] = now + skew_time(c, i)
        return
    if g.group != NONE:
        v.wants_master = 1
        if not group_may_master(c, g.group):
            v.due[D_DOWN] = now + master_down_interval(c, i)
            return
        group_master(c, g.group, v.down_reason, now, out)
        return
    vr_transition(c, i, S_MASTER, v.down_reason, now, out)


cdef void vr_fire(core_t *c, u32 i, i64 now, out_t *out) noexcept nogil:
    """Every deadline of this instance that is due; afterwards the wheel knows the next one."""
    cdef vr_t *v = &c.vr[i]
    cdef cfg_t *g = c.cfg[i]
    cdef i64 due
    v.node.due = FV_NEVER
    if v.due[D_ADVERT] <= now + imin(c.early_ns, g.advert_int_ns / 16):
        master_advert_due(c, i, now, out)
    if v.due[D_DOWN] <= now:
        backup_down_due(c, i, now, out)
    if v.due[D_GARP] <= now:
        v.due[D_GARP] = FV_NEVER
        if may_announce(v):
            emit_announce(c, i, v.second_repeat, v.announce_mask, now, out)
        v.announce_mask = 0
    if v.due[D_REFRESH] <= now:
        v.due[D_REFRESH] = now + g.refresh_ns
        if may_announce(v):
            emit_announce(c, i, g.refresh_repeat, 0, now, out)
    if v.due[D_EXTRA] <= now:
        v.due[D_EXTRA] = now + g.extra_ns
        if may_announce(v):
            emit_announce(c, i, 1, ANN_EXTRA, now, out)
    if v.due[D_RETRY] <= now:
        v.due[D_RETRY] = FV_NEVER
        emit_play(c, i, P_UP, now, out)
    due = earliest_due(v)
    if due < v.node.due:
        wheel_arm(&c.wheel, i, due)


cdef void vr_played(core_t *c, u32 i, u32 generation, u32 program, i32 error, u32 failed, i64 now,
                    out_t *out) noexcept nogil:
    """The applier has played a program. Announce only what the kernel has confirmed; a refused
    request is tried again with growing delays (0.1 s to 5 s)."""
    cdef vr_t *v = &c.vr[i]
    cdef cfg_t *g = c.cfg[i]
    cdef action_t *e
    cdef i64 delay
    if error or failed:
        e = emit_event(c, EV_PLAYED, i, now, out)
        e.a = error
        e.b = failed
        e.c = program
    if program != P_UP or v.state != S_MASTER or generation != v.generation:
        return
    v.vips = 2
    v.adding = 0
    if not v.resumed:
        emit_announce(c, i, g.garp_repeat, v.announce_mask, now, out)
    if g.garp_delay_ns:
        v.second_repeat = g.garp_repeat
        set_due(c, i, D_GARP, now + g.garp_delay_ns)
    if g.refresh_ns and v.due[D_REFRESH] == FV_NEVER:
        set_due(c, i, D_REFRESH, now + g.refresh_ns)
    if g.extra_ns and v.due[D_EXTRA] == FV_NEVER:
        set_due(c, i, D_EXTRA, now + g.extra_ns)
    if failed:
        delay = (<i64> 100000000) << (v.retries if v.retries < 6 else 6)
        v.retries = v.retries + 1 if v.retries < 100 else 100
        set_due(c, i, D_RETRY, now + imin(delay, 5 * FV_NS_PER_S))
    else:
        v.retries = 0
