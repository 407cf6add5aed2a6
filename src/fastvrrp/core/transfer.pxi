# Instances go from one core to another as they are: state, deadlines, counters, configuration. Nothing
# is sent, played or announced because of it. Pure.

ctypedef struct carried_t:      # an instance between two cores
    vr_t vr
    limits_t limits             # if the instance has any
    stat_t stat
    cfg_t *cfg                  # NULL: there was none in the slot
    cfg_t *stale                # what the other core still kept in this slot: the caller's to free
    u8 group_state              # of its sync group


cdef void core_carry_out(core_t *c, const u32 *slots, carried_t *to, u32 n, i64 now) noexcept nogil:
    """Takes instances out of a core. Whole sync groups only: a group must not be in two cores."""
    cdef u32 k
    cdef u32 i
    cdef u32 one
    for k in range(n):
        i = slots[k]
        memset(&to[k], 0, sizeof(carried_t))
        if i >= c.cap_vr or not c.vr[i].used:
            continue
        to[k].vr = c.vr[i]
        if c.vr[i].limited:
            to[k].limits = c.limits[i]
        for one in range(<u32> N_COUNTERS):
            to[k].stat.n[one] = counter(c, i, one)[0]
        to[k].cfg = c.cfg[i]
        if c.cfg[i].group != NONE:
            to[k].group_state = c.group[c.cfg[i].group].state
    for k in range(n):
        if to[k].cfg != NULL:
            vr_reset(c, slots[k], now)                  # generation and sequence of the slot go on
            c.cfg[slots[k]] = NULL
    core_rebuild_tables(c)


cdef void core_carry_in(core_t *c, carried_t *items, u32 n, i64 now, out_t *out) noexcept nogil:
    """Puts them into this one, where their slots are free. Only what this core knows better about
    links can change anything about them."""
    cdef u32 k
    cdef u32 i
    cdef u32 one
    cdef vr_t *v
    cdef cfg_t *g
    for k in range(n):
        g = items[k].cfg
        if g == NULL:
            continue
        i = g.slot
        v = &c.vr[i]
        items[k].stale = c.cfg[i]
        v[0] = items[k].vr
        if v.limited:
            c.limits[i] = items[k].limits
        v.node.due = FV_NEVER
        v.node.prev = NONE
        v.node.next = NONE
        v.node.queued = 0
        for one in range(<u32> N_COUNTERS):
            if counter(c, i, one)[0] != items[k].stat.n[one]:
                counter(c, i, one)[0] = items[k].stat.n[one]
        c.cfg[i] = g
        if i >= c.high_vr:
            c.high_vr = i + 1
        wheel_arm(&c.wheel, i, earliest_due(v))
    core_rebuild_tables(c)
    for k in range(n):
        g = items[k].cfg
        if g != NULL and g.group != NONE:
            c.group[g.group].state = items[k].group_state
    for k in range(n):
        if items[k].cfg != NULL and not c.vr[items[k].cfg.slot].stopped:
            if vr_observe_links(c, items[k].cfg.slot, now, out):
                vr_set_fault(c, items[k].cfg.slot, c.vr[items[k].cfg.slot].fault, now, out)
    groups_flush(c, now, out)
