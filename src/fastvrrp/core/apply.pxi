# The applier: a thread that plays netlink programs (addresses, routes, rules), because the kernel's
# RTNL lock can block and an advert must not wait for it. What else the engine has to do that may wait
# for a lock is done here, too: closing sockets, giving back memory. Work comes in one ring, results go
# back in another. Of the programs queued for an instance only the newest is played: an older generation
# is skipped, but for a down program whose addresses a later configuration does not know. Programs that
# wait together go to the kernel together. Retired configuration travels behind everything that may
# still play it, then back to Python.

cdef enum:
    PLAY_RING = 16384
    CHUNK_REQUESTS = 64         # acknowledgements of one chunk must fit the receive buffer
    CHUNK_BYTES = 32768
    MAX_REQUEST = 8192
    W_PLAY = 1
    W_FREE = 2
    W_EXIT = 3
    W_REJOIN = 5                # blob: groups_t
    W_RING = 6                  # blob: pring_t, the same of the packet backend
    W_CLOSE = 4                 # slot: a socket; leaving its multicast groups takes the RTNL lock, too
    W_FENCE = 7                 # answered when everything before it is done
    W_BURST = 8                 # blob: burst_t, which the engine no longer uses
    W_MEMORY = 9                # blob: of malloc()
    OK_EXIST = 1                # errno classes that count as success, per request
    OK_GONE = 2

ctypedef struct work_t:         # engine to applier
    u32 kind
    u32 slot
    u32 generation
    u32 program
    const u8 *blob
    cfg_t *block

ctypedef struct result_t:       # applier to engine
    u32 slot
    u32 generation
    u32 program
    i32 error                   # first errno, 0 when all is well
    u32 failed
    u32 pad
    cfg_t *block                # a retired block on its way to the thread that made it
    u64 failed_mask             # requests 0..62 by bit, the rest share bit 63

ctypedef struct applier_t:
    ring_t work
    ring_t done
    int fd                      # rtnetlink
    u32 seq
    u32 *wanted                 # newest generation per slot, written by the engine
    u32 *kept                   # down programs up to this generation are of an older configuration: played
    u8 *buffer
    u8 *answer
    u32 n                       # requests gathered, of several programs
    u32 bytes_in
    u32 first_seq
    u32 n_results               # programs gathered
    u32 classes[64]
    u32 owner[64]               # index into results
    u32 index[64]               # of the request in its program
    u8 answered[64]
    result_t results[64]
    u64 played
    u64 skipped


cdef int applier_init(applier_t *p, u32 slots) noexcept nogil:
    memset(p, 0, sizeof(applier_t))
    p.fd = -1
    p.work.fd = -1
    p.done.fd = -1
    p.wanted = <u32 *> calloc(slots, 4)
    p.kept = <u32 *> calloc(slots, 4)
    p.buffer = <u8 *> malloc(CHUNK_BYTES)
    p.answer = <u8 *> malloc(CHUNK_BYTES)
    if p.wanted == NULL or p.kept == NULL or p.buffer == NULL or p.answer == NULL:
        return -1
    if ring_init(&p.work, sizeof(work_t), PLAY_RING) or ring_init(&p.done, sizeof(result_t), PLAY_RING):
        return -1
    p.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
    if p.fd < 0:
        return -1
    fv_set_int(p.fd, SOL_NETLINK, NETLINK_CAP_ACK, 1)
    if fv_set_int(p.fd, SOL_SOCKET, SO_RCVBUFFORCE, 1048576) < 0:
        fv_set_int(p.fd, SOL_SOCKET, SO_RCVBUF, 1048576)
    return 0


cdef void applier_free(applier_t *p) noexcept nogil:
    ring_free(&p.work)
    ring_free(&p.done)
    if p.fd >= 0:
        close(p.fd)
    p.fd = -1
    free(p.wanted)
    free(p.kept)
    free(p.buffer)
    free(p.answer)
    p.wanted = NULL
    p.kept = NULL
    p.buffer = NULL
    p.answer = NULL


cdef inline bint tolerated(i32 error, u32 classes) noexcept nogil:
    if error == EEXIST:
        return classes & OK_EXIST != 0
    if error == ENOENT or error == ESRCH or error == EADDRNOTAVAIL or error == ENODEV:
        return classes & OK_GONE != 0
    return False


cdef inline bint superseded(applier_t *p, const work_t *w) noexcept nogil:
    """A newer program of the same configuration makes this one needless. Generations wrap."""
    if w.program == P_CHANGE or fv_load_u32(&p.wanted[w.slot]) == w.generation:
        return False
    return w.program != P_DOWN or <i32> (fv_load_u32(&p.kept[w.slot]) - w.generation) < 0


cdef void note_failure(result_t *r, u32 index, i32 error) noexcept nogil:
    if r.error == 0:
        r.error = error
    r.failed += 1
    r.failed_mask |= <u64> 1 << (index if index < 63 else 63)


cdef void collect_answers(applier_t *p) noexcept nogil:
    """Reads the acknowledgements of the batch. Requests are handled inside send(), so they are all
    there already; a missing one (receive buffer overrun) counts as failed and is tried again."""
    cdef u32 seen = 0
    cdef ssize_t got
    cdef u32 at
    cdef nlmsghdr h
    cdef i32 error
    cdef u32 k
    memset(p.answered, 0, sizeof(p.answered))
    while seen < p.n:
        got = recv(p.fd, p.answer, CHUNK_BYTES, MSG_DONTWAIT)
        if got < 0 and fv_errno() == EINTR:
            continue
        if got <= 0:
            break
        at = 0
        while <u32> got - at >= sizeof(nlmsghdr):
            memcpy(&h, p.answer + at, sizeof(nlmsghdr))
            if h.nlmsg_len < sizeof(nlmsghdr) or h.nlmsg_len > <u32> got - at:
                break
            k = h.nlmsg_seq - p.first_seq
            if h.nlmsg_type == NLMSG_ERROR and h.nlmsg_len >= sizeof(nlmsghdr) + 4 and k < p.n \
                    and not p.answered[k]:
                memcpy(&error, p.answer + at + sizeof(nlmsghdr), 4)
                if error and not tolerated(-error, p.classes[k]):
                    note_failure(&p.results[p.owner[k]], p.index[k], -error)
                p.answered[k] = 1
                seen += 1
            at += (h.nlmsg_len + 3) & ~<u32> 3
            if at > <u32> got:
                break
    if seen < p.n:
        for k in range(p.n):
            if not p.answered[k]:
                note_failure(&p.results[p.owner[k]], p.index[k], ENOBUFS)


cdef void send_requests(applier_t *p) noexcept nogil:
    """One send() for everything gathered, whatever instances it is for."""
    cdef u32 k
    if p.n == 0:
        return
    while send(p.fd, p.buffer, p.bytes_in, 0) < 0:
        if fv_errno() == EINTR:
            continue
        for k in range(p.n):
            note_failure(&p.results[p.owner[k]], p.index[k], fv_errno())
        p.n = 0
        p.bytes_in = 0
        return
    collect_answers(p)
    p.n = 0
    p.bytes_in = 0


cdef void gather_program(applier_t *p, const u8 *blob, u32 owner) noexcept nogil:
    """Copies a program's requests behind what is gathered; sends whenever the batch is full."""
    cdef u32 total = (<const u32 *> blob)[0]
    cdef u32 at = 8
    cdef u32 index = 0
    cdef u32 length
    while at < total:
        length = <u32> ADDRESS_REQUEST
        if blob[at + 1] == 0:
            memcpy(&length, blob + at + 4, 4)
        if p.n == CHUNK_REQUESTS or p.bytes_in + length + 4 > CHUNK_BYTES:
            send_requests(p)
        if p.n == 0:
            p.first_seq = p.seq + 1
        p.classes[p.n] = blob[at]
        p.owner[p.n] = owner
        p.index[p.n] = index
        if blob[at + 1]:
            length = put_request(p.buffer + p.bytes_in, blob + at)
        else:
            memcpy(p.buffer + p.bytes_in, blob + at + 4, length)
        p.seq += 1
        (<nlmsghdr *> (p.buffer + p.bytes_in)).nlmsg_seq = p.seq
        p.bytes_in += (length + 3) & ~<u32> 3
        p.n += 1
        index += 1
        at += request_size(blob + at)


cdef void finish_batch(applier_t *p) noexcept nogil:
    """What was gathered is sent, and every result goes back: one bell for all of them."""
    cdef u32 k
    send_requests(p)
    if p.n_results == 0:
        return
    for k in range(p.n_results):
        while not ring_push(&p.done, &p.results[k]):    # the engine drains it every turn
            ring_bell(&p.done)
            usleep(1000)
    p.n_results = 0
    ring_bell(&p.done)


cdef void rejoin_groups(groups_t *g) noexcept nogil:
    """Join again what a socket closed just before took from the interface: the kernel counts members by
    index, and a deleted interface may have left its index to a new one."""
    cdef u32 six
    for six in range(2):
        if g.fd[six] >= 0:
            join_groups(g.fd[six], six, g.ifindex, g.addresses + six * 4 * g.n[0], g.n[six], True)
    free(g)


cdef void applier_loop(applier_t *p) noexcept nogil:
    """Body of the applier thread; returns on W_EXIT."""
    cdef work_t w
    cdef result_t *r
    cdef int ep = epoll_create1(EPOLL_CLOEXEC)
    cdef epoll_event ev
    fv_block_signals()
    memset(&ev, 0, sizeof(ev))
    ev.events = EPOLLIN
    epoll_ctl(ep, EPOLL_CTL_ADD, p.work.fd, &ev)
    while True:
        if not ring_pop_lean(&p.work, &w):
            if p.n_results:
                finish_batch(p)
                continue
            fv_epoll_wait(ep, &ev, 1, -1)
            ring_answer(&p.work)
            continue
        if w.kind == W_EXIT:
            finish_batch(p)
            break
        if w.kind == W_CLOSE:
            close(<int> w.slot)
            continue
        if w.kind == W_RING:
            # the kernel takes milliseconds for each, for which no program must wait
            if fv_aside(end_ring, <void *> w.blob) != 0:
                free_ring(<pring_t *> w.blob)
            continue
        if w.kind == W_REJOIN:
            rejoin_groups(<groups_t *> w.blob)
            continue
        if w.kind == W_BURST:
            burst_clean(<burst_t *> w.blob)
            continue
        if w.kind == W_MEMORY:
            free(<void *> w.blob)
            continue
        r = &p.results[p.n_results]
        p.n_results += 1
        memset(r, 0, sizeof(result_t))
        if w.kind == W_FREE:
            r.block = w.block                           # its requests are copied: nobody reads it any more
        elif w.kind == W_FENCE:
            r.error = -1                                # not a result
        else:
            r.slot = w.slot
            r.generation = w.generation
            r.program = w.program
            if superseded(p, &w):
                p.skipped += 1
                r.error = -1                            # not a result
            else:
                gather_program(p, w.blob, p.n_results - 1)
                p.played += 1
        if p.n_results == CHUNK_REQUESTS or p.n == CHUNK_REQUESTS:
            finish_batch(p)
    close(ep)
