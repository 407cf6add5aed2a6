# How the engine waits for packets. A wake-up costs more than ten adverts, so from POLL_RATE on they
# are read in lots, each at most a tick after it came: a part of the shortest interval. Deadlines are
# kept to the nanosecond all the same, and before any of them what has come by then is read.
#
# A socket somebody waits for costs a call of that waiter for each packet, even while he is awake, and
# whoever delivers the packet pays: on a veth pair its sender. By tick nobody waits for rings, which
# are memory, nor for sockets as long as most reads of them find enough.

cdef enum:
    POLL_TICK_NS = 1000000      # at least
    POLL_TICK_MAX_NS = 20000000
    POLL_TICK_PARTS = 25
    GRAIN_PARTS = 16            # of a tick: packets that come within it came at once. Less than the skew of one priority
    POLL_RATE = 2000            # packets a second above which waking per packet costs more; half of it to go back
    POLL_WINDOW_NS = 50000000   # in which they are counted, or half the shortest interval if that is longer
    POLL_WINDOW_MAX_NS = 1000000000
    WAKE_COST = 64              # of a wake-up, in calls of a waiter, as all that follows
    READ_COST = 2               # of asking a socket that may have nothing

cdef enum:                      # engine_t.polling
    WAIT_PACKET = 0             # every packet wakes
    WAIT_TICK = 1               # none does: all sockets are looked at each tick
    WAIT_BURST = 2              # one does, and a tick later what followed it is read with it


cdef inline i64 poll_tick(i64 shortest) noexcept nogil:
    return imax(POLL_TICK_NS, imin(POLL_TICK_MAX_NS, shortest // POLL_TICK_PARTS))


cdef void choose_tick(engine_t *e) noexcept nogil:
    cdef u32 k
    cdef i64 shortest = FV_NEVER
    for k in range(e.core.high_vr):
        if e.core.vr[k].used:
            shortest = imin(shortest, e.core.cfg[k].advert_int_ns)
    e.shortest_ns = shortest
    e.tick_ns = poll_tick(shortest)
    e.io.arrivals.grain_ns = e.tick_ns // GRAIN_PARTS
    e.window_length_ns = imax(POLL_WINDOW_NS, imin(POLL_WINDOW_MAX_NS, shortest // 2))


cdef void watch_rings(engine_t *e, bint on) noexcept nogil:
    """While they are looked at by tick, nobody waits for them, and a packet costs its sender
    no wake-up of ours."""
    cdef u32 k
    for k in range(e.n_ringed):
        watch_socket(e, e.links[e.ringed[k] >> 1].ring[e.ringed[k] & 1].fd, SRC_RING, e.ringed[k], on)


cdef void watch_sockets(engine_t *e, bint on) noexcept nogil:
    cdef u32 k
    for k in range(e.n_opened):
        watch_socket(e, e.links[e.opened[k] >> 1].fd[e.opened[k] & 1], SRC_PACKET, e.opened[k], on)
    e.unwatched = not on


cdef inline void stamp_socket(int fd, bint on) noexcept nogil:
    if fd >= 0:
        fv_set_int(fd, SOL_SOCKET, SO_TIMESTAMPNS, on)


cdef void stamp_sockets(engine_t *e, bint on) noexcept nogil:
    """Not while every packet wakes: a clock that is read for each packet costs the whole host."""
    cdef u32 k
    for k in range(2 * e.high_link):
        stamp_socket(e.links[k >> 1].fd[k & 1], on)
    e.io.arrivals.stamped = on


cdef inline void note_look(engine_t *e, i64 before, i64 now) noexcept nogil:
    """Packets that are read in this turn have come since the sockets were looked at before it, or are
    taken for that: a turn that woke for a packet reads it at once."""
    cdef arrivals_t *a = &e.io.arrivals
    a.since_ns = now if e.polling == WAIT_PACKET else imin(now, imax(before, now - e.tick_ns))
    a.last_ns = a.since_ns
    if e.polling != WAIT_PACKET:
        a.offset_ns = fv_realtime_offset_ns()


cdef i64 horizon(const engine_t *e, i64 now) noexcept nogil:
    """By when the engine is going to be awake anyway, most likely: what is due later need not be known
    to the nanosecond yet. The sleep never lasts longer than to the next deadline."""
    if e.polling == WAIT_TICK:
        return now + 2 * e.tick_ns
    if e.polling == WAIT_BURST:
        return now + 2 * e.gap_ns
    return FV_NEVER


cdef void count_look(engine_t *e, u64 before) noexcept nogil:
    """After a turn's packets were read. Looks in a row that found some have seen one burst."""
    cdef bint found = e.packets != before
    e.finds += found
    e.bursts += found and (e.polling == WAIT_BURST or not e.found)
    e.found = found


cdef u8 cheapest_wait(const engine_t *e, i64 window) noexcept nogil:
    """A tick costs one wake-up each, a burst two: the first packet, and the end of the tick after it; and
    for a burst's packets somebody waits."""
    cdef u64 packets = e.packets - e.window_packets
    cdef u64 limit = POLL_RATE if e.polling == WAIT_PACKET else POLL_RATE // 2
    cdef u64 looks = <u64> (window // e.tick_ns)
    cdef u64 ticks = looks * WAKE_COST + <u64> imin(<i64> (e.copied - e.window_copied),
                                                    <i64> (looks * e.n_opened * READ_COST))
    cdef u64 bursts = <u64> e.bursts * 2 * WAKE_COST + packets
    if packets * FV_NS_PER_S <= limit * <u64> window:
        return WAIT_PACKET
    if e.polling == WAIT_BURST:
        return WAIT_BURST if bursts < ticks else WAIT_TICK
    if e.polling == WAIT_TICK and e.finds <= 2 * e.bursts and 3 * bursts < 2 * ticks:
        return WAIT_BURST
    return WAIT_TICK


cdef bint is_looking_cheaper(const engine_t *e) noexcept nogil:
    """To read all sockets in each turn of the window, rather than to have been called for each packet."""
    cdef u64 reads = (e.turns - e.window_turns) * e.n_opened * READ_COST
    cdef u64 calls = e.copied - e.window_copied
    return 2 * calls > reads if e.unwatched else calls > reads


cdef void choose_polling(engine_t *e, i64 now) noexcept nogil:
    """Once a window: which way of waiting would have cost least in it?"""
    cdef u8 chosen
    cdef bint unwatched
    if now - e.window_ns < e.window_length_ns:
        return
    chosen = cheapest_wait(e, now - e.window_ns)
    if (chosen == WAIT_TICK) != (e.polling == WAIT_TICK):
        watch_rings(e, chosen != WAIT_TICK)
    unwatched = chosen == WAIT_TICK and e.polling == WAIT_TICK and is_looking_cheaper(e)
    if unwatched != e.unwatched:
        watch_sockets(e, not unwatched)
    if (chosen == WAIT_PACKET) != (e.polling == WAIT_PACKET):
        stamp_sockets(e, chosen != WAIT_PACKET)
    if chosen == WAIT_BURST:
        e.gap_ns = (now - e.window_ns) // imax(e.bursts, 1)
    e.polling = chosen
    e.window_ns = now
    e.window_packets = e.packets
    e.window_copied = e.copied
    e.window_turns = e.turns
    e.finds = e.bursts = 0


cdef void sleep_tick(engine_t *e, i64 due) noexcept nogil:
    """A tick long, or until the deadline."""
    cdef i64 wait = e.tick_ns
    if due != FV_NEVER:
        wait = imin(wait, due - fv_now_ns())
    if wait > 0:
        fv_sleep_ns(wait)


cdef int wait_for_work(engine_t *e, epoll_event *evs, i64 due, bint at_once) noexcept nogil:
    """Sleeps until there is something to do, or until the deadline. Returns how many sources there are."""
    cdef i64 wait = 0
    cdef int n = 0
    cdef u32 source
    if not at_once:
        wait = -1 if due == FV_NEVER else imax(due - fv_now_ns(), 0)
    if wait != 0 and e.polling == WAIT_TICK:
        sleep_tick(e, due)
        wait = 0
    elif wait != 0 and e.polling == WAIT_BURST:
        n = fv_epoll_wait(e.ep, evs, 1, wait)
        source = <u32> (evs[0].data.u64 >> 32)
        if n > 0 and (source == SRC_PACKET or source == SRC_RING):
            sleep_tick(e, due)
        wait = 0
    n = fv_epoll_wait(e.ep, evs, EPOLL_BATCH, wait)
    if n < 0:                                           # stopped and continued: what came meanwhile counts first
        n = fv_epoll_wait(e.ep, evs, EPOLL_BATCH, 0)
    return n
