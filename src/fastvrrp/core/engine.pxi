# The engine thread: one loop, never the GIL. Order of a turn: wait, clock, packets, link events, due
# deadlines, results of the applier, commands (bounded), then flush: adverts first, everything else
# after. No logging, no malloc, no file, no lock.

cdef enum:
    EVENT_RING = 65536
    COMMAND_RING = 8192
    TICK_BUDGET = 1024
    COMMANDS_PER_TURN = 256
    EPOLL_BATCH = 64
    COALESCE_NS = 1000000
    ROOM_NS = 10000000          # until the end is told where there was no room for it
    PAUSED_NS = 5000000         # a turn this late follows a pause of ours: every socket before any timer
    CATCHING_TURNS = 16
    LATENESS_BUCKETS = 40       # by power of two nanoseconds
    LANE_IPV4 = 0               # which socket sends: those of elink_t.fd, or netio_t.packet_fd
    LANE_IPV6 = 1
    LANE_PACKET = 2
    LANES = 3

cdef enum:                      # commands
    CMD_COMMIT = 1
    CMD_LINK = 2
    CMD_FAULT = 3
    CMD_ADJUST = 4
    CMD_REPLAY = 5
    CMD_STOP_ALL = 6
    CMD_EXIT = 7
    CMD_MOVE = 8

cdef enum:                      # what epoll tells (upper half of data.u64; lower half: link*2+family)
    SRC_PACKET = 0
    SRC_LINK = 1
    SRC_COMMAND = 2
    SRC_APPLIER = 3
    SRC_RING = 4
    EV_GARBAGE = 255            # event ring only: Python frees the block in `a`

ctypedef struct command_t:
    u32 kind
    u32 slot
    i64 a
    i64 b
    void *data

ctypedef struct commit_t:
    cfg_t **items
    u32 *remove
    u32 n
    u32 n_remove
    i64 epoch

ctypedef struct linkdef_t:
    u32 slot
    i32 ifindex
    int fd[2]
    pring_t *ring[2]
    u32 pace
    i64 interval_ns[2]
    i64 delay_ns[2]
    groups_t *rejoin            # NULL: what was joined with the new sockets is right

ctypedef move_s move_t          # move.pxi

ctypedef struct pulse_t:        # in a page shared with the supervisor: supervisor/pulse.py
    u64 due_ns                  # CLOCK_MONOTONIC time of the next turn, or of the one that runs; FV_NEVER: none
    u64 turns

ctypedef struct engine_t:
    core_t core
    out_t out
    netio_t io
    announcer_t announcer
    applier_t applier
    ring_t commands
    ring_t events
    elink_t *links
    u32 high_link               # one past the highest slot that was ever used: no page behind it is touched
    pace_t *paces
    u64 *failed                 # per slot: requests of the up program that the kernel refused
    u8 *owed                    # per slot: programs that did not fit the work ring
    u32 n_owed
    u32 acted                   # the most actions of one flush, since the last rest
    burst_t burst[2]            # `out` and the announcer's queues are in one of them
    u32 used_burst
    i64 rush_ns                 # since when programs are outstanding
    u32 *ringed                 # link*2+family of the rings there are
    u32 n_ringed
    u32 *opened                 # the same of the sockets
    u32 n_opened
    u8 recount                  # both have changed
    u32 look_next               # of both together: where the next turn begins to read
    u32 *by_ifindex             # open addressing: link slot + 1
    u32 hash_mask
    cfg_t *retired              # chain through cfg_t.displaced: waiting for room in the work ring
    cfg_t *garbage              # the same, waiting for room in the event ring
    int ep
    int link_fd
    int control_fd              # for SIOCGIFFLAGS
    u32 outstanding             # programs queued and not yet answered
    u32 overflow
    u8 running
    u8 stopping
    u8 stopped_told
    u8 told                     # events were pushed this turn
    u8 pushed                   # work was pushed this turn
    u8 fenced                   # of the move: the applier has been asked to say when it is through
    move_t *move                # links that come or go; NULL nearly always
    i64 again_ns                # announcements left over
    i64 settle_ns               # when a link has been down or up for long enough, the earliest
    i64 send_error_told_ns
    i64 window_ns               # of polling.pxi: when it began
    i64 window_length_ns
    u64 window_packets          # before it
    u64 window_copied
    u64 window_turns
    u32 finds                   # looks in it that found packets
    u32 bursts                  # runs of such
    u8 found                    # the last look found some
    u8 polling                  # WAIT_...
    u8 unwatched                # nobody waits for the sockets either: each turn reads them all
    i64 tick_ns
    i64 gap_ns                  # between two bursts, about
    u8 undrained                # this turn left packets in a socket
    u64 turns
    u64 packets
    u64 copied                  # of them those that came by a socket
    u64 late_turns
    u64 pauses                  # turns before which we had stood still
    i64 shortest_ns             # of the intervals of all instances
    u8 links_lost               # the kernel has thrown events of links away
    i64 late_max_ns
    u64 lateness[40]
    u64 send_errors
    u32 last_send_error
    pulse_t *pulse
    pulse_t own_pulse           # when nobody watches
    const u8 *page              # the same of all engine threads, PULSE_STRIDE apart
    int alarm_fd                # timerfd that wakes the supervisor; -1 none
    i64 alarm_ns                # from a deadline at which nothing happens until it rings, at least
    i64 alarm_for_ns            # it is late enough for deadlines up to this one; 0: not set
    i64 alarm_hold_ns           # it is left alone until then
    u32 read_tail               # of the event ring, and since when it has been there
    i64 read_ns


cdef void tell(engine_t *e, const action_t *a) noexcept nogil:
    """An event for Python; a full ring is remembered, and Python re-reads every status."""
    if not ring_push(&e.events, a):
        fv_store_u32(&e.overflow, 1)
    e.told = 1


cdef void tell_simple(engine_t *e, u8 event, u32 slot, i64 a, i64 b, i64 now) noexcept nogil:
    cdef action_t record
    memset(&record, 0, sizeof(record))
    record.kind = A_EVENT
    record.event = event
    record.slot = slot
    record.now_ns = now
    record.a = a
    record.b = b
    tell(e, &record)


# ---- links ----

cdef u32 link_lookup(const engine_t *e, i32 ifindex) noexcept nogil:
    cdef u32 h = <u32> ifindex & e.hash_mask
    while e.by_ifindex[h]:
        if e.links[e.by_ifindex[h] - 1].ifindex == ifindex:
            return e.by_ifindex[h] - 1
        h = (h + 1) & e.hash_mask
    return NONE


cdef void reach_link(engine_t *e, u32 slot) noexcept nogil:
    """The slot is about to be used."""
    while e.high_link <= slot:
        e.links[e.high_link].fd[0] = e.links[e.high_link].fd[1] = -1
        e.links[e.high_link].tx_head = NONE
        e.high_link += 1


cdef void link_rehash(engine_t *e) noexcept nogil:
    cdef u32 k
    cdef u32 h
    memset(e.by_ifindex, 0, (<size_t> e.hash_mask + 1) * 4)
    for k in range(e.high_link):
        if e.core.link[k].used and e.links[k].ifindex > 0:
            h = <u32> e.links[k].ifindex & e.hash_mask
            while e.by_ifindex[h]:
                h = (h + 1) & e.hash_mask
            e.by_ifindex[h] = k + 1


cdef void link_state(engine_t *e, u32 slot, bint up, i64 now) noexcept nogil:
    if e.core.link[slot].up == up:
        return
    core_link(&e.core, slot, up, now, &e.out)
    tell_simple(e, EV_LINK, slot, e.links[slot].ifindex, up, now)


cdef void link_heard(engine_t *e, u32 slot, bint up, i64 now) noexcept nogil:
    """What the kernel says of a link. With interface_up_down_delays it counts when it has lasted."""
    cdef elink_t *io = &e.links[slot]
    io.heard = up
    if up == e.core.link[slot].up:
        io.settle_ns = 0                                # it came back in time
    elif io.delay_ns[up] == 0:
        io.settle_ns = 0
        link_state(e, slot, up, now)
    elif io.settle_ns == 0:
        io.settle_ns = now + io.delay_ns[up]
        e.settle_ns = imin(e.settle_ns, io.settle_ns)


cdef void links_settle(engine_t *e, i64 now) noexcept nogil:
    """Changes of links that have lasted long enough."""
    cdef u32 k
    e.settle_ns = FV_NEVER
    for k in range(e.high_link):
        if e.links[k].settle_ns == 0:
            continue
        if e.links[k].settle_ns > now:
            e.settle_ns = imin(e.settle_ns, e.links[k].settle_ns)
            continue
        e.links[k].settle_ns = 0
        link_state(e, k, e.links[k].heard, now)
        if e.out.n * 2 > e.out.cap:
            engine_flush(e, now)


cdef void watch_socket(engine_t *e, int fd, u32 source, u32 tag, bint on) noexcept nogil:
    cdef epoll_event ev
    memset(&ev, 0, sizeof(ev))
    ev.events = EPOLLIN
    ev.data.u64 = (<u64> source << 32) | tag
    epoll_ctl(e.ep, EPOLL_CTL_ADD if on else EPOLL_CTL_DEL, fd, &ev)


cdef void give_up_socket(engine_t *e, int fd) noexcept nogil:
    """Closing a socket leaves its groups, which waits for the kernel's RTNL lock: not in this thread."""
    cdef work_t w
    watch_socket(e, fd, SRC_PACKET, 0, False)
    memset(&w, 0, sizeof(w))
    w.kind = W_CLOSE
    w.slot = <u32> fd
    if not ring_push(&e.applier.work, &w):
        close(fd)
    ring_bell(&e.applier.work)


cdef void give_up_ring(engine_t *e, pring_t *r) noexcept nogil:
    cdef work_t w
    memset(&w, 0, sizeof(w))
    w.kind = W_RING
    w.blob = <const u8 *> r
    if not ring_push(&e.applier.work, &w):
        free_ring(r)
    ring_bell(&e.applier.work)


cdef void give_up_memory(engine_t *e, void *memory) noexcept nogil:
    """The allocator has locks of its own, which Python may hold for as long as it sorts its heap."""
    cdef work_t w
    if memory == NULL:
        return
    memset(&w, 0, sizeof(w))
    w.kind = W_MEMORY
    w.blob = <const u8 *> memory
    if not ring_push(&e.applier.work, &w):
        free(memory)
    e.pushed = 1


cdef void count_sources(engine_t *e) noexcept nogil:
    cdef u32 k
    e.recount = 0
    e.n_ringed = e.n_opened = 0
    for k in range(2 * e.high_link):
        if e.links[k >> 1].ring[k & 1] != NULL:
            e.ringed[e.n_ringed] = k
            e.n_ringed += 1
        if e.links[k >> 1].fd[k & 1] >= 0:
            e.opened[e.n_opened] = k
            e.n_opened += 1


cdef void swap_rings(engine_t *e, linkdef_t *d) noexcept nogil:
    cdef elink_t *io = &e.links[d.slot]
    cdef u32 six
    for six in range(2):
        if io.ring[six] != NULL:
            if e.polling != WAIT_TICK:
                watch_socket(e, io.ring[six].fd, SRC_RING, 0, False)
            give_up_ring(e, io.ring[six])
        io.ring[six] = d.ring[six]
        if io.ring[six] != NULL and e.polling != WAIT_TICK:
            watch_socket(e, io.ring[six].fd, SRC_RING, d.slot * 2 + six, True)


cdef void link_define(engine_t *e, linkdef_t *d, i64 now) noexcept nogil:
    """New sockets for a slot. What leaves the old interface says so through the old ones."""
    cdef elink_t *io = &e.links[d.slot]
    cdef work_t w
    cdef u32 six
    cdef bint up
    cdef bint same = e.core.link[d.slot].used and d.ifindex == io.ifindex
    reach_link(e, d.slot)
    if e.core.link[d.slot].used and not same:
        link_state(e, d.slot, False, now)
        engine_flush(e, now)
    for six in range(2):
        if io.fd[six] >= 0:
            give_up_socket(e, io.fd[six])
        io.fd[six] = d.fd[six]
        if io.fd[six] >= 0:
            stamp_socket(io.fd[six], e.io.arrivals.stamped)
            if not e.unwatched:
                watch_socket(e, io.fd[six], SRC_PACKET, d.slot * 2 + six, True)
        e.paces[d.pace].interval_ns[six] = d.interval_ns[six]
    if d.ring[0] != io.ring[0] or d.ring[1] != io.ring[1]:
        swap_rings(e, d)
    e.recount = 1
    if d.rejoin != NULL:
        memset(&w, 0, sizeof(w))
        w.kind = W_REJOIN
        w.blob = <const u8 *> d.rejoin
        if not ring_push(&e.applier.work, &w):              # behind the old ones' W_CLOSE
            rejoin_groups(d.rejoin)
        ring_bell(&e.applier.work)
    io.ifindex = d.ifindex
    io.pace = d.pace
    if not e.core.link[d.slot].used:
        e.core.link[d.slot].used = 1
        memset(e.core.link[d.slot].table, 0xFF, sizeof(e.core.link[d.slot].table))
    e.core.link[d.slot].ifindex = d.ifindex
    link_rehash(e)
    up = d.ifindex == -1 or (d.ifindex > 0 and fv_link_up(e.control_fd, d.ifindex) == 1)
    io.delay_ns[0] = d.delay_ns[0]
    io.delay_ns[1] = d.delay_ns[1]
    if same:
        link_heard(e, d.slot, up, now)
    else:                                               # another interface: nothing of it was heard before
        io.settle_ns = 0
        link_state(e, d.slot, up, now)


cdef void links_ask(engine_t *e, i64 now) noexcept nogil:
    """What the devices themselves say."""
    cdef u32 k
    for k in range(e.high_link):
        if e.core.link[k].used and e.links[k].ifindex > 0:
            link_heard(e, k, fv_link_up(e.control_fd, e.links[k].ifindex) == 1, now)


cdef void links_drain(engine_t *e, i64 now) noexcept nogil:
    """Once events were lost, those that are left tell of a time before; and until the last of them is
    read the kernel throws more away without saying so again. Then the devices are asked."""
    cdef ssize_t n
    cdef u32 at
    cdef i32 ifindex = 0
    cdef u32 flags = 0
    cdef u32 slot
    cdef u32 rounds = 0
    cdef sockaddr_nl sender
    cdef iovec iov
    cdef msghdr m
    iov.iov_base = e.io.rx_buffer                       # free between packet batches
    iov.iov_len = RX_BATCH * RX_BUFFER
    while rounds < 256:
        rounds += 1
        memset(&m, 0, sizeof(m))
        m.msg_name = &sender
        m.msg_namelen = sizeof(sender)
        m.msg_iov = &iov
        m.msg_iovlen = 1
        n = recvmsg(e.link_fd, &m, MSG_DONTWAIT)
        if n < 0:
            if fv_errno() == ENOBUFS:
                e.links_lost = 1
                continue
            if e.links_lost:
                e.links_lost = 0
                links_ask(e, now)
                tell_simple(e, EV_LINK_RESYNC, NONE, 0, 0, now)
            return
        if sender.nl_pid != 0:                              # only the kernel is believed
            continue
        if m.msg_flags & MSG_TRUNC:
            e.links_lost = 1
        if e.links_lost:
            continue
        at = 0
        while next_link_event(e.io.rx_buffer, <u32> n, &at, &ifindex, &flags):
            slot = link_lookup(e, ifindex)
            if slot != NONE:
                link_heard(e, slot, flags & IFF_UP != 0 and flags & IFF_RUNNING != 0, now)
        if e.out.n * 2 > e.out.cap:                         # one interface may carry everything, and flap
            engine_flush(e, now)
    if e.links_lost:                                        # there is no end of them
        links_ask(e, now)


# ---- flush ----

cdef bint queue_work(engine_t *e, u32 slot, u32 program) noexcept nogil:
    cdef work_t w
    cdef cfg_t *g = e.core.cfg[slot]
    memset(&w, 0, sizeof(w))
    w.kind = W_PLAY
    w.slot = slot
    w.generation = e.core.vr[slot].generation
    w.program = program
    w.blob = up_of(g) if program == P_UP else down_of(g) if program == P_DOWN else change_of(g)
    if program != P_CHANGE:
        fv_store_u32(&e.applier.wanted[slot], w.generation)
    if not ring_push(&e.applier.work, &w):
        return False
    e.outstanding += 1
    e.pushed = 1
    return True


cdef void owe(engine_t *e, u32 slot, u32 program) noexcept nogil:
    """No room in the work ring: the newest of UP and DOWN stays owed, CHANGE goes before it."""
    if e.owed[slot] == 0:
        e.n_owed += 1
    if program == P_CHANGE:
        e.owed[slot] |= 1 << P_CHANGE
    else:
        e.owed[slot] = <u8> ((e.owed[slot] & (1 << P_CHANGE)) | (1 << program))


cdef void pay_owed(engine_t *e) noexcept nogil:
    cdef u32 i
    for i in range(e.core.cap_vr):
        if e.n_owed == 0:
            return
        if e.owed[i] & (1 << P_CHANGE):
            if not queue_work(e, i, P_CHANGE):
                return
            e.owed[i] &= <u8> ~(1 << P_CHANGE)
            if e.owed[i] == 0:
                e.n_owed -= 1
        if e.owed[i]:
            if not queue_work(e, i, P_UP if e.owed[i] & (1 << P_UP) else P_DOWN):
                return
            e.owed[i] = 0
            e.n_owed -= 1


cdef void retire_blocks(engine_t *e) noexcept nogil:
    """Displaced configuration goes behind all queued programs, and from there back to Python."""
    cdef work_t w
    cdef cfg_t *g
    cdef action_t record
    while e.retired != NULL and e.n_owed == 0:
        g = e.retired
        memset(&w, 0, sizeof(w))
        w.kind = W_FREE
        w.block = g
        e.retired = g.displaced
        if not ring_push(&e.applier.work, &w):
            e.retired = g
            break
        e.pushed = 1
    while e.garbage != NULL:
        g = e.garbage
        memset(&record, 0, sizeof(record))
        record.event = EV_GARBAGE
        record.a = <i64> <uintptr_t> g
        e.garbage = g.displaced
        if not ring_push(&e.events, &record):
            e.garbage = g
            return
        e.told = 1


cdef inline u32 lane_of(const cfg_t *g) noexcept nogil:
    """Which socket of a link sends for an instance."""
    if g.flags & F_PACKET:
        return LANE_PACKET
    return LANE_IPV6 if g.alen == 16 else LANE_IPV4


cdef void send_adverts(engine_t *e, u32 slot, i64 now) noexcept nogil:
    """This turn's adverts of one link, in their order, in batches per socket."""
    cdef elink_t *io = &e.links[slot]
    cdef u32 lane
    cdef u32 n
    cdef u32 k
    cdef u32 p
    cdef int fd
    cdef action_t *a
    cdef cfg_t *g
    for lane in range(<u32> LANES):
        if not io.lanes & (1 << lane):
            continue
        fd = io.fd[lane] if lane != LANE_PACKET else e.io.packet_fd if io.ifindex > 0 else -1
        n = 0
        k = io.tx_head
        while k != NONE:
            a = &e.out.items[k]
            k = a.pad
            g = e.core.cfg[a.slot]
            if lane_of(g) != lane:
                continue
            if fd < 0:
                counter(&e.core, a.slot, C_SEND_ERROR)[0] += 1
                continue
            p = 0
            while True:
                if lane == LANE_PACKET:
                    prepare_frame(&e.io, n, g, a.priority, io.ifindex)
                elif g.flags & F_UNICAST:
                    if p >= g.n_peers:
                        break
                    prepare_tx(&e.io, n, g, &e.core.vr[a.slot], a.priority, peers_of(g)[p].address, io.ifindex)
                else:
                    prepare_tx(&e.io, n, g, &e.core.vr[a.slot], a.priority, g.destination, io.ifindex)
                n += 1
                p += 1
                if n == TX_BATCH:
                    note_send_error(e, send_batch(&e.io, &e.core, fd, n), now)
                    n = 0
                if not g.flags & F_UNICAST:
                    break
        if n:
            note_send_error(e, send_batch(&e.io, &e.core, fd, n), now)
    io.lanes = 0
    io.tx_head = NONE


cdef void note_send_error(engine_t *e, int error, i64 now) noexcept nogil:
    if error == 0:
        return
    e.send_errors += 1
    if now >= e.send_error_told_ns or <u32> error != e.last_send_error:
        e.send_error_told_ns = now + LOGGED_RESET_NS
        e.last_send_error = <u32> error
        tell_simple(e, EV_SEND_ERROR, NONE, error, <i64> e.send_errors, now)


cdef void use_burst(engine_t *e, u32 k) noexcept nogil:
    """Nobody has decided anything, nor is anything left to announce."""
    e.used_burst = k
    e.acted = 0
    e.out.items = e.burst[k].actions
    e.out.cap = e.burst[k].cap
    announcer_begin(&e.announcer, e.burst[k].first, e.burst[k].repeats, e.burst[k].pending)


cdef void engine_rest(engine_t *e) noexcept nogil:
    """A burst is over, every address is there and announced: the memory that it filled goes back to the kernel."""
    cdef burst_t *filled = &e.burst[e.used_burst]
    cdef work_t w
    if e.acted <= 2 * ACTIONS_KEPT and not announced_many(&e.announcer):
        return
    if not fv_load_u32(&e.burst[e.used_burst ^ 1].clean) or ring_used(&e.applier.work) > e.applier.work.mask:
        return                                          # after another turn
    use_burst(e, e.used_burst ^ 1)
    filled.clean = 0
    memset(&w, 0, sizeof(w))
    w.kind = W_BURST
    w.blob = <const u8 *> filled
    ring_push(&e.applier.work, &w)
    ring_bell(&e.applier.work)


cdef void engine_flush(engine_t *e, i64 now) noexcept nogil:
    """Everything the core decided in this turn: adverts first."""
    cdef u32 k
    cdef action_t *a
    cdef elink_t *io
    cdef u32 link
    cdef u32 touched = NONE
    for k in range(e.out.n):
        a = &e.out.items[k]
        if a.kind != A_TX:
            continue
        link = e.core.cfg[a.slot].link
        io = &e.links[link]
        a.pad = NONE
        if not io.lanes:
            io.tx_head = k
            a.c = touched                               # chain of touched links through their first action
            touched = k
        else:
            e.out.items[io.tx_tail].pad = k
        io.lanes |= 1 << lane_of(e.core.cfg[a.slot])
        io.tx_tail = k
    while touched != NONE:
        a = &e.out.items[touched]
        touched = a.c
        send_adverts(e, e.core.cfg[a.slot].link, now)
    if e.n_owed:
        pay_owed(e)
    if e.outstanding == 0:
        e.rush_ns = now
    for k in range(e.out.n):
        a = &e.out.items[k]
        if a.kind == A_PLAY:
            if e.owed[a.slot] or not queue_work(e, a.slot, <u32> a.a):
                owe(e, a.slot, <u32> a.a)
        elif a.kind == A_ANNOUNCE:
            announce_queue(&e.announcer, a.slot, e.core.vr[a.slot].generation, announce_of(e.core.cfg[a.slot]),
                           <u32> a.a, <u32> a.b)
        elif a.kind == A_EVENT:
            tell(e, a)
    if e.out.n > e.acted:
        e.acted = e.out.n
    e.out.n = 0
    e.again_ns = FV_NEVER
    if announce_jobs(&e.announcer):
        e.again_ns = announce_run(&e.announcer, &e.core, e.links, e.paces, e.failed,
                                  e.rush_ns + RUSH_NS if e.outstanding > RUSH_PROGRAMS else 0, now)
    if e.retired != NULL or e.garbage != NULL:
        retire_blocks(e)
    if e.pushed:
        e.pushed = 0
        ring_bell(&e.applier.work)
    if e.stopping and not e.stopped_told and e.outstanding == 0 and e.n_owed == 0:
        if ring_used(&e.events) <= e.events.mask:
            e.stopped_told = 1
            tell_simple(e, EV_STOPPED, NONE, 0, 0, now)
        else:                                           # somebody waits for it, and nothing else may wake us
            e.again_ns = imin(e.again_ns, now + ROOM_NS)
    if e.told:
        e.told = 0
        ring_bell(&e.events)
    if e.outstanding == 0 and e.n_owed == 0 and e.again_ns == FV_NEVER:
        engine_rest(e)


# ---- inputs ----

cdef void results_drain(engine_t *e, i64 now) noexcept nogil:
    cdef result_t r
    while ring_pop(&e.applier.done, &r):
        if r.block != NULL:
            r.block.displaced = e.garbage
            e.garbage = r.block
            continue
        e.outstanding -= 1
        if r.error == -1:
            continue
        if r.program == P_UP and e.failed[r.slot] != r.failed_mask:     # what is not written to takes no memory
            e.failed[r.slot] = r.failed_mask
        core_played(&e.core, r.slot, r.generation, r.program, r.error, r.failed, now, &e.out)
        if e.out.n * 2 > e.out.cap:
            engine_flush(e, now)


cdef void run_commit(engine_t *e, commit_t *m, i64 now) noexcept nogil:
    cdef u32 k
    cdef cfg_t *g
    if e.out.n:
        engine_flush(e, now)                            # what was decided before is played as configured before
    for k in range(m.n):
        reach_link(e, m.items[k].link)
    core_commit(&e.core, m.items, m.n, m.remove, m.n_remove, now, &e.out)
    for k in range(m.n):
        g = m.items[k].displaced
        if g != NULL and not blob_equal(down_of(g), down_of(m.items[k])):
            fv_store_u32(&e.applier.kept[m.items[k].slot], e.core.vr[m.items[k].slot].generation)
    engine_flush(e, now)                                # actions name slots: play them before a slot changes again
    for k in range(m.n):
        g = m.items[k].displaced
        m.items[k].displaced = NULL
        if g != NULL:
            g.displaced = e.retired
            e.retired = g
    choose_tick(e)
    tell_simple(e, EV_COMMITTED, NONE, m.epoch, 0, now)
    give_up_memory(e, m.items)
    give_up_memory(e, m.remove)
    give_up_memory(e, m)


cdef void run_command(engine_t *e, command_t *m, i64 now) noexcept nogil:
    if m.kind == CMD_COMMIT:
        run_commit(e, <commit_t *> m.data, now)
    elif m.kind == CMD_LINK:
        link_define(e, <linkdef_t *> m.data, now)
        give_up_memory(e, m.data)
    elif m.kind == CMD_FAULT:
        core_fault(&e.core, m.slot, <u32> m.a, <u32> m.b, now, &e.out)
    elif m.kind == CMD_ADJUST:
        core_adjust(&e.core, m.slot, <i32> m.a, now, &e.out)
    elif m.kind == CMD_REPLAY:
        core_replay(&e.core, m.slot, now, &e.out)
    elif m.kind == CMD_STOP_ALL:
        core_stop_all(&e.core, now, &e.out)
        e.stopping = 1
    elif m.kind == CMD_MOVE:
        e.move = <move_t *> m.data
        e.fenced = 0
    elif m.kind == CMD_EXIT:
        e.running = 0


cdef void note_lateness(engine_t *e, i64 late) noexcept nogil:
    """How late this turn serves the earliest deadline: a histogram by powers of two."""
    cdef u32 bucket
    if late < 1:
        late = 1
    bucket = <u32> (63 - fv_clz64(<u64> late))
    e.lateness[bucket if bucket < LATENESS_BUCKETS else LATENESS_BUCKETS - 1] += 1
    if late > e.late_max_ns:
        e.late_max_ns = late
    if late > 1000000:
        e.late_turns += 1


cdef bint serve_packets(engine_t *e, u32 tag, i64 now) noexcept nogil:
    """False when packets have had their time in this turn."""
    cdef u32 link = tag >> 1
    cdef u32 six = tag & 1
    cdef u32 n
    cdef u32 total = 0
    cdef bint in_time = True
    if e.links[link].fd[six] < 0:
        return True
    while in_time and total < RX_TURN_LIMIT:
        n = receive_batch(&e.io, &e.core, e.links[link].fd[six], six, link, now, &e.out)
        total += n
        if e.out.n * 2 > e.out.cap:
            engine_flush(e, now)
        if n < RX_BATCH:
            break
        in_time = fv_now_ns() - now < RX_TURN_NS
    e.packets += total
    e.copied += total
    e.undrained |= not in_time or total >= RX_TURN_LIMIT
    return in_time


cdef bint serve_ring(engine_t *e, u32 tag, i64 now) noexcept nogil:
    """False when packets have had their time in this turn."""
    cdef pring_t *r = e.links[tag >> 1].ring[tag & 1]
    cdef u32 n
    cdef u32 total = 0
    cdef bint in_time = True
    while in_time and total < RX_TURN_LIMIT:
        n = receive_ring(r, &e.io, &e.core, tag >> 1, now, &e.out)
        total += n
        if e.out.n * 2 > e.out.cap:
            engine_flush(e, now)
        if n < RX_BATCH:
            break
        in_time = fv_now_ns() - now < RX_TURN_NS
    e.packets += total
    e.undrained |= not in_time or total >= RX_TURN_LIMIT
    return in_time


cdef void look_at_all(engine_t *e, i64 now) noexcept nogil:
    """What nobody waits for, as far as packets have time in this turn. The next turn goes on where this one ended:
    whoever is behind a flood waits for one turn, not for as many as there are sources."""
    cdef u32 n = e.n_ringed + (e.n_opened if e.unwatched else 0)
    cdef u32 k
    cdef u32 at
    cdef bint in_time
    for k in range(n):
        at = e.look_next if e.look_next < n else 0
        e.look_next = at + 1
        if at < e.n_ringed:
            in_time = serve_ring(e, e.ringed[at], now)
        else:
            in_time = serve_packets(e, e.opened[at - e.n_ringed], now)
        if not in_time:
            return


cdef bint is_behind(const engine_t *e, int n, i64 late, u32 catching) noexcept nogil:
    """Whether adverts may wait in sockets that had no turn yet while a deadline is `late`: because epoll
    told of `n`, no more than it can at once, or after a pause of ours. For so many turns, no more: a
    flood must not delay timers."""
    if n == EPOLL_BATCH and catching < (e.n_ringed + e.n_opened) // EPOLL_BATCH:
        return catching < CATCHING_TURNS
    return e.undrained and late > PAUSED_NS and catching < CATCHING_TURNS


cdef void ring_event(engine_t *e, u32 tag, u32 events) noexcept nogil:
    """An interface that goes down is told as an error of its packet socket, until that is read."""
    cdef int error
    cdef socklen_t n = sizeof(error)
    if events & EPOLLERR:
        getsockopt(e.links[tag >> 1].ring[tag & 1].fd, SOL_SOCKET, SO_ERROR, &error, &n)


cdef void engine_loop(engine_t *e) noexcept nogil:
    """Body of the engine thread; returns after CMD_EXIT."""
    cdef epoll_event evs[64]
    cdef command_t m
    cdef work_t w
    cdef i64 now
    cdef i64 before
    cdef i64 due
    cdef u64 packets
    cdef int n
    cdef int k
    cdef epoll_event *event
    cdef u32 source
    cdef u32 tag
    cdef u32 commands
    cdef u64 late
    cdef i64 stood = 0                                  # how long we did not run when we wanted to
    cdef bint more = False
    cdef u32 catching = 0
    fv_block_signals()
    fv_timer_slack()
    now = fv_now_ns()
    while e.running:
        due = core_next_due(&e.core, horizon(e, now))
        due = imin(imin(due, e.again_ns), e.settle_ns)
        fv_store_u64(&e.pulse.due_ns, <u64> due)
        put_off_alarm(e, due)
        n = wait_for_work(e, evs, due, more or e.n_owed != 0)
        before = now
        now = fv_now_ns()
        note_look(e, before, now)
        stood = imax(stood, now - imax(due, before))
        e.turns += 1
        fv_store_u64(&e.pulse.due_ns, <u64> now)
        fv_store_u64(&e.pulse.turns, e.turns)
        commands = 0
        e.undrained = n == EPOLL_BATCH
        packets = e.packets
        if e.recount:
            count_sources(e)
        if e.polling == WAIT_TICK:
            look_at_all(e, now)
        for k in range(n):                              # packets before anything that counts time, in turn
            event = &evs[(k + e.turns) % <u32> n]
            source = <u32> (event.data.u64 >> 32)
            tag = <u32> event.data.u64
            if source == SRC_RING:
                ring_event(e, tag, event.events)
            if (source == SRC_PACKET and not serve_packets(e, tag, now)) or (
                    source == SRC_RING and not serve_ring(e, tag, now)):
                break
        count_look(e, packets)
        choose_polling(e, now)
        for k in range(n):
            source = <u32> (evs[k].data.u64 >> 32)
            if source == SRC_LINK:
                links_drain(e, now)
            elif source == SRC_APPLIER:
                ring_answer(&e.applier.done)
            elif source == SRC_COMMAND:
                ring_answer(&e.commands)
        if e.settle_ns <= now:
            links_settle(e, now)
        due = core_next_due(&e.core, now)
        if due <= now and is_behind(e, n, now - due, catching):
            catching += 1
            more = True
            engine_flush(e, now)
            continue
        catching = 0
        if due <= now:
            note_lateness(e, now - due)
        elif stood >= e.shortest_ns:                    # and what came meanwhile has put every deadline off
            note_lateness(e, stood)
        late = e.core.late
        more = core_tick(&e.core, now, TICK_BUDGET, &e.out)
        e.pauses += e.core.late != late or stood >= e.shortest_ns
        stood = 0
        if e.out.n:
            engine_flush(e, now)                        # adverts do not wait for commands
        results_drain(e, now)
        while commands < COMMANDS_PER_TURN and ring_pop(&e.commands, &m):
            commands += 1
            run_command(e, &m, now)
            if e.out.n * 2 > e.out.cap:
                engine_flush(e, now)
        more = more or commands == COMMANDS_PER_TURN
        engine_flush(e, now)
        if e.move != NULL:
            serve_move(e, now)
    fv_store_u64(&e.pulse.due_ns, <u64> FV_NEVER)
    put_off_alarm(e, FV_NEVER)
    memset(&w, 0, sizeof(w))
    w.kind = W_EXIT
    while not ring_push(&e.applier.work, &w):
        usleep(1000)
    ring_bell(&e.applier.work)
