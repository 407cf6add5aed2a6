# Deadlines in due order: six levels of 256 slots, the lowest slot 2^20 ns wide. Pure.
# A node sits at the level of the highest 8-bit group in which its tick differs from the current
# tick, so everything in a level-0 slot is due in that very tick. Order within a tick is by exact
# (due, index). The owner stores later deadlines without telling the wheel (lazy re-arm): a node
# that comes up early is armed again. What is in the wheel are the owner's records, by index.

cdef enum:
    TICK_BITS = 20
    LEVELS = 6


cdef inline node_t *node_at(const wheel_t *w, u32 i) noexcept nogil:
    return <node_t *> (w.nodes + i * w.stride)


cdef void wheel_init(wheel_t *w, void *nodes, size_t stride, i64 now) noexcept nogil:
    """Empty. Each record begins with a node_t that is not queued."""
    memset(w, 0, sizeof(wheel_t))
    memset(w.head, 0xFF, sizeof(w.head))
    w.nodes = <u8 *> nodes
    w.stride = stride
    w.current = now >> TICK_BITS


cdef inline void wheel_cancel(wheel_t *w, u32 i) noexcept nogil:
    cdef node_t *v = node_at(w, i)
    cdef u32 s = v.slot
    if not v.queued:
        return
    if v.prev != NONE:
        node_at(w, v.prev).next = v.next
    else:
        w.head[s] = v.next
        if v.next == NONE:
            w.occupied[s >> 6] &= ~(<u64> 1 << (s & 63))
    if v.next != NONE:
        node_at(w, v.next).prev = v.prev
    v.queued = 0
    v.due = FV_NEVER


cdef inline void wheel_arm(wheel_t *w, u32 i, i64 due) noexcept nogil:
    cdef node_t *v = node_at(w, i)
    cdef i64 tick = imax(due >> TICK_BITS, w.current)
    cdef u64 diff = <u64> (tick ^ w.current)
    cdef u32 level = 0 if diff == 0 else <u32> (63 - fv_clz64(diff)) >> 3
    cdef u32 s
    wheel_cancel(w, i)
    if due == FV_NEVER:
        return
    s = level * 256 + <u32> ((tick >> (8 * level)) & 255)
    v.due = due
    v.slot = <u16> s
    v.prev = NONE
    v.next = w.head[s]
    if v.next != NONE:
        node_at(w, v.next).prev = i
        w.low[s] = imin(w.low[s], due)
    else:
        w.low[s] = due
    w.head[s] = i
    w.occupied[s >> 6] |= <u64> 1 << (s & 63)
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


cdef i64 wheel_next_tick(const wheel_t *w, u32 *level_out, u32 *slot_out) noexcept nogil:
    """Start tick of the first occupied slot, or -1."""
    cdef u32 level
    cdef u32 index
    cdef u32 found
    cdef i64 base
    for level in range(<u32> LEVELS):
        index = <u32> ((w.current >> (8 * level)) & 255)
        # above level 0 the current index is empty by construction
        found = next_occupied(&w.occupied[level * 4], index if level == 0 else index + 1)
        if found < 256:
            base = (w.current >> (8 * (level + 1))) << (8 * (level + 1))
            level_out[0] = level
            slot_out[0] = level * 256 + found
            return base + (<i64> found << (8 * level))
    return -1


cdef i64 wheel_next_due(const wheel_t *w) noexcept nogil:
    """Earliest moment at which something may be due: exact, or at which the first node of a far, crowded
    slot was to be due once."""
    cdef u32 level = 0
    cdef u32 s = 0
    cdef u32 seen = 0
    cdef u32 i
    cdef i64 best = FV_NEVER
    if wheel_next_tick(w, &level, &s) < 0:
        return FV_NEVER
    i = w.head[s]
    while i != NONE:
        if node_at(w, i).due < best:
            best = node_at(w, i).due
        i = node_at(w, i).next
        seen += 1
        if level and seen > 16:
            return w.low[s]
    return best


cdef inline u32 in_order(wheel_t *w, const u32 *items, u32 n, bint down) noexcept nogil:
    """How many from the first on are in ascending, or descending, order."""
    cdef u32 k = 1
    while k < n and due_before(w, items[k], items[k - 1]) == down:
        k += 1
    return k


cdef void sort_due(wheel_t *w, u32 *items, u32 n) noexcept nogil:
    """By (due, index), in place. Whoever is armed in this order comes out of a slot in this or the
    reverse one; for any other there is a heap sort, which is bounded."""
    cdef u32 start = n // 2
    cdef u32 end = n
    cdef u32 root
    cdef u32 child
    cdef u32 t
    if n < 2 or in_order(w, items, n, False) == n:
        return
    if in_order(w, items, n, True) == n:
        for root in range(n // 2):
            t = items[root]
            items[root] = items[n - 1 - root]
            items[n - 1 - root] = t
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
            if child + 1 < end and due_before(w, items[child], items[child + 1]):
                child += 1
            if not due_before(w, items[root], items[child]):
                break
            t = items[root]
            items[root] = items[child]
            items[child] = t
            root = child


cdef inline bint due_before(wheel_t *w, u32 a, u32 b) noexcept nogil:
    if node_at(w, a).due != node_at(w, b).due:
        return node_at(w, a).due < node_at(w, b).due
    return a < b


cdef u32 wheel_pop_due(wheel_t *w, i64 now, u32 *items, u32 limit) noexcept nogil:
    """Takes nodes with due <= now out of the wheel, in order. At most one tick's worth, so the
    caller repeats until 0; its due keeps its value for the caller (queued is 0)."""
    cdef i64 target = now >> TICK_BITS
    cdef i64 tick
    cdef i64 due
    cdef u32 level = 0
    cdef u32 s = 0
    cdef u32 i
    cdef u32 nxt
    cdef u32 n = 0
    while True:
        tick = wheel_next_tick(w, &level, &s)
        if tick < 0 or tick > target:
            w.current = imax(w.current, target)
            return 0
        w.current = tick
        if level == 0:
            break
        i = w.head[s]                             # cascade: same nodes, finer slots
        while i != NONE:
            nxt = node_at(w, i).next
            wheel_arm(w, i, node_at(w, i).due)
            i = nxt
    i = w.head[s]
    while i != NONE and n < limit:
        nxt = node_at(w, i).next
        if nxt != NONE:                           # armed one after the other, most likely
            fv_prefetch(node_at(w, nxt + (nxt - i) * AHEAD), 1)
        if node_at(w, i).due <= now:
            due = node_at(w, i).due
            wheel_cancel(w, i)
            node_at(w, i).due = due
            items[n] = i
            n += 1
        i = nxt
    sort_due(w, items, n)
    return n
