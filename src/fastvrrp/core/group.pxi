# Sync groups: every member follows the group (keepalived's vrrp_sync_group). Pure.
# One pass per step: members are chained through vr_t.group_next; nothing here recurses.

cdef inline void group_touch(core_t *c, u32 i) noexcept nogil:
    """A member changed state: the group's own state is re-derived once, at the end of the step."""
    cdef u32 g = c.cfg[i].group
    if g != NONE and not c.group[g].dirty:
        c.group[g].dirty = 1
        c.dirty[c.n_dirty] = g
        c.n_dirty += 1


cdef bint group_may_master(core_t *c, u32 g) noexcept nogil:
    """Every member is master or waits to be."""
    cdef u32 i = c.group[g].first
    while i != NONE:
        if c.vr[i].state != S_MASTER and not (c.vr[i].state == S_BACKUP and c.vr[i].wants_master):
            return False
        i = c.vr[i].group_next
    return True


cdef void group_master(core_t *c, u32 g, u8 reason, i64 now, out_t *out) noexcept nogil:
    cdef u32 i = c.group[g].first
    while i != NONE:
        if c.vr[i].state == S_BACKUP:
            vr_transition(c, i, S_MASTER, reason, now, out)
        i = c.vr[i].group_next


cdef void group_backup(core_t *c, u32 g, i64 now, out_t *out) noexcept nogil:
    """One member yielded: so do the others."""
    cdef u32 i = c.group[g].first
    while i != NONE:
        if c.vr[i].state == S_MASTER:
            vr_yield(c, i, R_GROUP, now, out)
        i = c.vr[i].group_next


cdef void group_announce_lower(core_t *c, u32 g, i64 now, out_t *out) noexcept nogil:
    """An inferior advert for one member may have misled the hosts of all (keepalived)."""
    cdef u32 i = c.group[g].first
    while i != NONE:
        announce_lower(c, i, now, out)
        i = c.vr[i].group_next


cdef inline bint is_running(const core_t *c, u32 i) noexcept nogil:
    return c.vr[i].state == S_BACKUP or c.vr[i].state == S_MASTER


cdef void group_faults(core_t *c, u32 g, i64 now, out_t *out) noexcept nogil:
    """A fault of one member is a fault of all; a member still waiting for its first tracker result
    keeps the group out of BACKUP and MASTER, without making it FAULT."""
    cdef u32 i = c.group[g].first
    cdef u32 faulty = 0
    cdef u32 waiting = 0
    cdef u32 own
    while i != NONE:
        own = c.vr[i].fault & ~<u32> (FAULT_GROUP | FAULT_AWAIT)
        if not c.vr[i].stopped:
            faulty += own != 0
            waiting += c.vr[i].fault & FAULT_AWAIT != 0 and not is_running(c, i)
        i = c.vr[i].group_next
    i = c.group[g].first
    while i != NONE:
        own = c.vr[i].fault & ~<u32> (FAULT_GROUP | FAULT_AWAIT)
        if faulty and own == 0:
            c.vr[i].fault |= FAULT_GROUP
        else:
            c.vr[i].fault &= ~<u32> FAULT_GROUP
        if not (waiting and not faulty and not is_running(c, i)):
            vr_evaluate(c, i, now, out)
        i = c.vr[i].group_next


cdef u8 group_derived_state(core_t *c, u32 g) noexcept nogil:
    cdef u32 i = c.group[g].first
    cdef u32 masters = 0
    cdef u32 faults = 0
    cdef u32 inits = 0
    while i != NONE:
        masters += c.vr[i].state == S_MASTER
        faults += c.vr[i].state == S_FAULT
        inits += c.vr[i].state == S_INIT
        i = c.vr[i].group_next
    if faults:
        return S_FAULT
    if inits:
        return S_INIT
    # a new member joins the masters when its timer expires, or makes them yield when it hears a better router
    if masters == c.group[g].members or (masters and c.group[g].state == S_MASTER):
        return S_MASTER
    return S_BACKUP


cdef void groups_flush(core_t *c, i64 now, out_t *out) noexcept nogil:
    """Reports group states after the members' own events."""
    cdef u32 k
    cdef u32 g
    cdef u8 new
    cdef action_t *a
    for k in range(c.n_dirty):
        g = c.dirty[k]
        c.group[g].dirty = 0
        if not c.group[g].used or c.group[g].members == 0:
            continue
        new = group_derived_state(c, g)
        if new != c.group[g].state:
            a = emit(out, A_EVENT, g, now)
            a.event = EV_GROUP
            a.a = c.group[g].state
            a.b = new
            c.group[g].state = new
    c.n_dirty = 0
