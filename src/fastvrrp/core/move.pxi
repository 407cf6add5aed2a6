# Links go from one engine to another while they are in use, with their sockets, their instances and
# the announcements under way (vrrp_engine_threads, and a reload that ties together what two threads
# have). Nobody on the network notices: the same sockets, the same timers, at the worst an advert that
# is as late as two turns take.
#
# The control thread gives the same move_t to both engines and waits. The receiver says that it has
# nothing to play any more for earlier users of these slots; then the giver, once its own applier owes
# nothing, lets go, and the receiver goes on. Only eventfds and two words are between them: no lock,
# and no Python that could be late.

cdef enum:                      # move_t.stage
    MOVE_ASKED = 0
    MOVE_AWAITED = 1            # the receiver may begin at any time
    MOVE_LEFT = 2               # everything is in the move_t
    MOVE_DONE = 3

ctypedef struct moved_link_t:
    u32 slot
    u8 up
    elink_t io
    pace_t pace

ctypedef struct moved_t:        # what belongs to an instance outside the core
    u64 failed
    u32 kept
    u32 rounds[3]               # of announcements still due, per kind of job

cdef struct move_s:             # move_t
    u32 stage
    u32 decided                 # whoever swaps in 1 first: the giver lets go, or the control thread gives up
    engine_t *giver
    engine_t *receiver
    u32 n_links
    u32 n
    moved_link_t *links
    u32 *slots
    carried_t *carried
    moved_t *moved


cdef bint applier_is_idle(engine_t *e) noexcept nogil:
    """Whether everything that was asked of the applier before the move is done, and nothing is asked now."""
    cdef work_t w
    if not e.fenced:
        memset(&w, 0, sizeof(w))
        w.kind = W_FENCE                                # behind sockets to close and groups to join, too
        if ring_push(&e.applier.work, &w):
            e.fenced = 1
            e.outstanding += 1
            ring_bell(&e.applier.work)
        return False
    return e.outstanding == 0 and e.n_owed == 0


cdef void note_rounds(engine_t *e, move_t *m, queue_t *q) noexcept nogil:
    """What a queue of the announcer still holds for the instances that leave; it drops them itself."""
    cdef announcer_t *a = &e.announcer
    cdef u32 *place = e.core.scratch                    # by slot: index in the move; of others anything
    cdef u32 k
    cdef u32 at
    cdef u32 kind
    cdef job_t *j
    cdef vr_t *v
    for k in range(m.n):
        place[m.slots[k]] = k
    for at in range(queue_length(q)):
        j = job_at(q, q.tail + at)
        k = place[j.slot]
        v = &e.core.vr[j.slot]
        if k >= m.n or m.slots[k] != j.slot or v.state != S_MASTER or <i32> (j.generation - v.reign) < 0:
            continue
        # nothing tells any more what was new for records of an older commit: everything, then
        kind = kind_of(0 if j.mask == ANN_NEW and j.records != announce_of(e.core.cfg[j.slot]) else j.mask)
        m.moved[k].rounds[kind] = <u32> imax(m.moved[k].rounds[kind],
                                             imax(j.rounds, pending_of(a, j.slot, j.mask).rounds))


cdef void let_go(engine_t *e, move_t *m, i64 now) noexcept nogil:
    """Everything of these links into the move_t. They stay known here, as links without sockets."""
    cdef u32 k
    cdef u32 six
    cdef moved_link_t *link
    cdef elink_t *io
    note_rounds(e, m, &e.announcer.first)
    note_rounds(e, m, &e.announcer.repeats)
    for k in range(m.n):
        m.moved[k].failed = e.failed[m.slots[k]]
        m.moved[k].kept = fv_load_u32(&e.applier.kept[m.slots[k]])
    core_carry_out(&e.core, m.slots, m.carried, m.n, now)
    for k in range(m.n_links):
        link = &m.links[k]
        io = &e.links[link.slot]
        reach_link(e, link.slot)
        link.io = io[0]
        link.up = e.core.link[link.slot].up
        link.pace = e.paces[io.pace]
        for six in range(2):
            if io.fd[six] >= 0 and not e.unwatched:
                watch_socket(e, io.fd[six], SRC_PACKET, 0, False)
            if io.ring[six] != NULL and e.polling != WAIT_TICK:
                watch_socket(e, io.ring[six].fd, SRC_RING, 0, False)
            io.fd[six] = -1
            io.ring[six] = NULL
    e.recount = 1
    choose_tick(e)


cdef void go_on(engine_t *e, move_t *m, i64 now) noexcept nogil:
    """What the other engine has left in the move_t is this one's from now on."""
    cdef u32 k
    cdef u32 six
    cdef u32 kind
    cdef u32 slot
    cdef moved_link_t *link
    cdef elink_t *io
    cdef cfg_t *g
    links_drain(e, now)                                 # what the other one knows of links is known here, too
    engine_flush(e, now)
    for k in range(m.n_links):
        link = &m.links[k]
        slot = link.slot
        io = &e.links[slot]
        reach_link(e, slot)
        if not e.core.link[slot].used:
            e.core.link[slot].used = 1
            e.core.link[slot].up = link.up
        e.core.link[slot].ifindex = link.io.ifindex
        io[0] = link.io
        e.paces[io.pace] = link.pace
        for six in range(2):
            if io.fd[six] >= 0:
                stamp_socket(io.fd[six], e.io.arrivals.stamped)
                if not e.unwatched:
                    watch_socket(e, io.fd[six], SRC_PACKET, slot * 2 + six, True)
            if io.ring[six] != NULL and e.polling != WAIT_TICK:
                watch_socket(e, io.ring[six].fd, SRC_RING, slot * 2 + six, True)
        if io.ifindex > 0:
            link_heard(e, slot, fv_link_up(e.control_fd, io.ifindex) == 1, now)
            if io.settle_ns:
                e.settle_ns = imin(e.settle_ns, io.settle_ns)
    e.recount = 1
    link_rehash(e)
    core_carry_in(&e.core, m.carried, m.n, now, &e.out)
    for k in range(m.n):
        g = m.carried[k].cfg
        if g == NULL:
            continue
        if m.carried[k].stale != NULL:
            m.carried[k].stale.displaced = e.retired
            e.retired = m.carried[k].stale
        e.failed[g.slot] = m.moved[k].failed
        fv_store_u32(&e.applier.kept[g.slot], m.moved[k].kept)
        for kind in range(<u32> KINDS):
            if m.moved[k].rounds[kind]:
                announce_queue(&e.announcer, g.slot, e.core.vr[g.slot].generation, announce_of(g),
                               m.moved[k].rounds[kind], mask_of(kind))
    choose_tick(e)
    engine_flush(e, now)


cdef void serve_move(engine_t *e, i64 now) noexcept nogil:
    """The next step of a move, at the end of a turn, when nothing of the turn is left to be done."""
    cdef move_t *m = e.move
    cdef u32 stage = fv_load_u32(&m.stage)
    cdef engine_t *receiver = m.receiver
    if receiver == e:
        if stage == MOVE_ASKED and applier_is_idle(e):
            fv_store_u32(&m.stage, MOVE_AWAITED)
            ring_bell(&m.giver.commands)
        elif stage == MOVE_LEFT:
            e.move = NULL
            go_on(e, m, now)
            fv_store_u32(&m.stage, MOVE_DONE)           # from here on the control thread may free it
    elif applier_is_idle(e) and stage == MOVE_AWAITED:
        e.move = NULL
        if fv_swap_u32(&m.decided, 1) == 0:
            let_go(e, m, now)
            fv_store_u32(&m.stage, MOVE_LEFT)           # a receiver that is awake may end the move at once
            ring_bell(&receiver.commands)
