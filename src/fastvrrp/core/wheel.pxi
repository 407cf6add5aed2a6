# Deadlines in due order: six levels of 256 slots, the lowest slot 2^20 ns wide. Pure.
# A node sits at the level of the highest 8-bit group in which its tick differs from the current
# tick, so everything in a level-0 slot is due in that very tick. Order within a tick is by exact
# (due, index). The owner stores later deadlines without telling the wheel (lazy re-arm): a node
# that comes up early is armed again.

cdef enum:
    TICK_BITS = 20
    LEVELS = 6


cdef void wheel_init(core_t *c, i64 now) noexcept nogil:
    memset(&c.wheel, 0, sizeof(wheel_t))
    memset(c.wheel.head, 0xFF, sizeof(c.wheel.head))
    c.wheel.current = now >> TICK_BITS


cdef inline void wheel_cancel(core_t *c, u32 i) noexcept nogil:
    cdef vr_t *v = &c.vr[i]
    cdef u32 s = v.wheel_slot
    if not v.queued:
        return
    if v.wheel_prev != NONE:
        c.vr[v.wheel_prev].wheel_next = v.wheel_next
    else:
        c.wheel.head[s] = v.wheel_next
        if v.wheel_next == NONE:
            c.wheel.occupied[s >> 6] &= ~(<u64> 1 << (s & 63))
    if v.wheel_next != NONE:
        c.vr[v.wheel_next].wheel_prev = v.wheel_prev
    v.queued = 0
    v.node_due = FV_NEVER


cdef inline void wheel_arm(core_t *c, u32 i, i64 due) noexcept nogil:
    cdef vr_t *v = &c.vr[i]
    cdef i64 tick = imax(due >> TICK_BITS, c.wheel.current)
    cdef u64 diff = <u64> (tick ^ c.wheel.current)
    cdef u32 level = 0 if diff == 0 else <u32> (63 - fv_clz64(diff)) >> 3
    cdef u32 s
    wheel_cancel(c, i)
    if due == FV_NEVER:
        return
    s = level * 256 + <u32> ((tick >> (8 * level)) & 255)
    v.node_due = due
    v.wheel_slot = <u16> s
    v.wheel_prev = NONE
    v.wheel_next = c.wheel.head[s]
    if v.wheel_next != NONE:
        c.vr[v.wheel_next].wheel_prev = i
    c.wheel.head[s] = i
    c.wheel.occupied[s >> 6] |= <u64> 1 << (s & 63)
    v.queued = 1


cdef inline u32 next_occupied(const u64 *bits, u32 start) noexcept nogil:
    """First set bit of 256 at or after `start`; 256 when none."""
    cdef u32 w = start >> 6
    cdef u64 word
    if start > 255:
        return 256
    word = bits[w] & (~<u64> 0 << (start & 63))
    while True:
        if word:
            return w * 64 + <u32> fv_ctz64(word)
        w += 1
        if w == 4:
            return 256
        word = bits[w]


cdef i64 wheel_next_tick(const core_t *c, u32 *level_out, u32 *slot_out) noexcept nogil:
    """Start tick of the first occupied slot, or -1."""
    cdef u32 level
    cdef u32 index
    cdef u32 found
    cdef i64 base
    for level in range(<u32> LEVELS):
        index = <u32> ((c.wheel.current >> (8 * level)) & 255)
        # above level 0 the current index is empty by construction
        found = next_occupied(&c.wheel.occupied[level * 4], index if level == 0 else index + 1)
        if found < 256:
            base = (c.wheel.current >> (8 * (level + 1))) << (8 * (level + 1))
            level_out[0] = level
            slot_out[0] = level * 256 + found
            return base + (<i64> found << (8 * level))
    return -1


cdef i64 wheel_next_due(const core_t *c) noexcept nogil:
    """Earliest moment at which something may be due: exact, or the start of a far, crowded slot."""
    cdef u32 level = 0
    cdef u32 s = 0
    cdef u32 seen = 0
    cdef u32 i
    cdef i64 best = FV_NEVER
    cdef i64 tick = wheel_next_tick(c, &level, &s)
    if tick < 0:
        return FV_NEVER
    i = c.wheel.head[s]
    while i != NONE:
        if c.vr[i].node_due < best:
            best = c.vr[i].node_due
        i = c.vr[i].wheel_next
        seen += 1
        if level and seen > 16:
            return tick << TICK_BITS
    return best


cdef void sort_due(core_t *c, u32 *items, u32 n) noexcept nogil:
    """Heap sort by (node_due, index): bounded, in place."""
    cdef u32 start = n // 2
    cdef u32 end = n
    cdef u32 root
    cdef u32 child
    cdef u32 t
    if n < 2:
        return
    while end > 1:
        if start > 0:
            start -= 1
        else:
            end -= 1
            t = items[end]
            items[end] = items[0]
            items[0] = t
        root = start
        while True:
            child = 2 * root + 1
            if child >= end:
                break
            if child + 1 < end and due_before(c, items[child], items[child + 1]):
                child += 1
            if not due_before(c, items[root], items[child]):
                break
            t = items[root]
            items[root] = items[child]
            items[child] = t
            root = child


cdef inline bint due_before(core_t *c, u32 a, u32 b) noexcept nogil:
    if c.vr[a].node_due != c.vr[b].node_due:
        return c.vr[a].node_due < c.vr[b].node_due
    return a < b


cdef u32 wheel_pop_due(core_t *c, i64 now, u32 *items, u32 limit) noexcept nogil:
    """Takes nodes with node_due <= now out of the wheel, in order. At most one tick's worth, so the
    caller repeats until 0; node_due keeps its value for the caller (queued is 0)."""
    cdef i64 target = now >> TICK_BITS
    cdef i64 tick
    cdef i64 due
    cdef u32 level = 0
    cdef u32 s = 0
    cdef u32 i
    cdef u32 nxt
    cdef u32 n = 0
    while True:
        tick = wheel_next_tick(c, &level, &s)
        if tick < 0 or tick > target:
            c.wheel.current = imax(c.wheel.current, target)
            return 0
        c.wheel.current = tick
        if level == 0:
            break
        i = c.wheel.head[s]                             # cascade: same nodes, finer slots
        while i != NONE:
            nxt = c.vr[i].wheel_next
            wheel_arm(c, i, c.vr[i].node_due)
            i = nxt
    i = c.wheel.head[s]
    while i != NONE and n < limit:
        nxt = c.vr[i].wheel_next
        if c.vr[i].node_due <= now:
            due = c.vr[i].node_due
            wheel_cancel(c, i)
            c.vr[i].node_due = due
            items[n] = i
            n += 1
        i = nxt
    sort_due(c, items, n)
    return n
