# Gratuitous ARP and unsolicited NA: frames prepared beforehand, sent round-robin over the addresses
# of an instance, paced per link or garp_group. Everybody's first round comes before any repeat. Jobs of an
# instance that has left MASTER vanish; those of one that a commit changed go on with its new records.

cdef enum:
    JOBS = 32768
    JOBS_FIRST = 64             # places that a queue begins with
    JOBS_MANY = 1024            # places of one that has seen a burst
    KINDS = 3                   # of jobs: everything, ANN_NEW, ANN_EXTRA
    ANN_WAIT_NS = 5000000       # for the kernel's answer about new addresses
    ANN_TURN_LIMIT = 2048       # frames per turn: adverts of the next turn must not wait for them
    ANN_REPEAT_LIMIT = 256      # of repeats, for which first rounds of the next turn must not wait either
    RUSH_PROGRAMS = 64          # with more than these before the kernel repeats wait, which leaves it the processors
    RUSH_NS = 250000000         # for so long at most

ctypedef struct job_t:
    u32 slot
    u32 generation
    u32 rounds                  # left, this one included
    u32 at                      # offset of the next record
    u32 mask                    # 0, or the record flag to look for
    u32 begun                   # one round is through
    const u8 *records           # `at` is an offset into these; a commit may bring others

ctypedef struct pending_t:      # the job of one kind that an instance has in the queue
    u32 generation
    u32 rounds                  # asked for since it was queued
    u8 used

ctypedef struct queue_t:        # takes no more memory than the jobs that were in it at once
    job_t *jobs                 # room for JOBS
    u32 mask                    # places in use - 1
    u32 head
    u32 tail

ctypedef struct announcer_t:
    int fd                      # AF_PACKET, sends only
    queue_t first               # jobs whose first round is not through
    queue_t repeats             # all others
    pending_t *pending          # per slot and kind
    u32 dropped
    u64 frames
    mmsghdr tx[64]
    iovec iov[64]
    u8 made[64][88]             # frames of brief announcements, of at most NA_FRAME bytes
    sockaddr_ll name[64]
    u32 n


cdef int announcer_init(announcer_t *a) noexcept nogil:
    cdef u32 k
    memset(a, 0, sizeof(announcer_t))
    a.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    if a.fd < 0:
        return -1
    fv_set_int(a.fd, SOL_SOCKET, SO_PRIORITY, 6)
    for k in range(<u32> TX_BATCH):
        a.tx[k].msg_hdr.msg_iov = &a.iov[k]
        a.tx[k].msg_hdr.msg_iovlen = 1
        a.tx[k].msg_hdr.msg_name = &a.name[k]
        a.tx[k].msg_hdr.msg_namelen = sizeof(sockaddr_ll)
        a.name[k].sll_family = AF_PACKET
        a.name[k].sll_halen = 6
    return 0


cdef void announcer_free(announcer_t *a) noexcept nogil:
    if a.fd >= 0:
        close(a.fd)
    a.fd = -1


cdef void announcer_begin(announcer_t *a, job_t *first, job_t *repeats, pending_t *pending) noexcept nogil:
    """Queues are empty, in memory of others (burst.pxi) in which `pending` is zeroed."""
    a.first.jobs = first
    a.repeats.jobs = repeats
    a.pending = pending
    a.first.mask = a.repeats.mask = JOBS_FIRST - 1
    a.first.head = a.first.tail = a.repeats.head = a.repeats.tail = 0


cdef void announce_flush(announcer_t *a) noexcept nogil:
    """Best effort: a frame the device refuses is one of several repeats."""
    cdef u32 done = 0
    cdef int r
    while done < a.n:
        r = sendmmsg(a.fd, &a.tx[done], a.n - done, MSG_DONTWAIT)
        if r > 0:
            done += <u32> r
        elif r < 0 and fv_errno() == EINTR:
            continue
        else:
            done += 1
    a.frames += a.n
    a.n = 0


cdef inline u32 kind_of(u32 mask) noexcept nogil:
    return 0 if mask == 0 else 1 if mask == ANN_NEW else 2


cdef inline u32 mask_of(u32 kind) noexcept nogil:
    return 0 if kind == 0 else <u32> ANN_NEW if kind == 1 else <u32> ANN_EXTRA


cdef inline pending_t *pending_of(announcer_t *a, u32 slot, u32 mask) noexcept nogil:
    return &a.pending[slot * KINDS + kind_of(mask)]


cdef inline u32 queue_length(const queue_t *q) noexcept nogil:
    return q.head - q.tail


cdef inline job_t *job_at(queue_t *q, u32 place) noexcept nogil:
    return &q.jobs[place & q.mask]


cdef void widen_queue(queue_t *q) noexcept nogil:
    """Twice as many places for a queue that is full."""
    cdef u32 places = q.mask + 1
    cdef u32 k
    cdef u32 at
    for k in range(places):
        at = q.tail + k
        if at & places:
            q.jobs[at & (2 * places - 1)] = q.jobs[at & q.mask]
    q.mask = 2 * places - 1


cdef inline void put_job(queue_t *q, const job_t *j) noexcept nogil:
    """There is room: no more than JOBS are in both queues together."""
    if queue_length(q) > q.mask:
        widen_queue(q)
    job_at(q, q.head)[0] = j[0]
    q.head += 1


cdef inline u32 announce_jobs(const announcer_t *a) noexcept nogil:
    return queue_length(&a.first) + queue_length(&a.repeats)


cdef inline bint announced_many(const announcer_t *a) noexcept nogil:
    return a.first.mask >= JOBS_MANY or a.repeats.mask >= JOBS_MANY


cdef void announce_queue(announcer_t *a, u32 slot, u32 generation, const u8 *records, u32 rounds,
                         u32 mask) noexcept nogil:
    """A job that waits already serves the new request too: whoever makes us announce often must not
    fill the queue, which all instances share."""
    cdef job_t j
    cdef pending_t *p = pending_of(a, slot, mask)
    if p.used and p.generation == generation:
        p.rounds = rounds if rounds > p.rounds else p.rounds
        return
    if announce_jobs(a) >= JOBS:
        a.dropped += 1
        return
    j.slot = slot
    j.generation = generation
    j.rounds = rounds
    j.at = 0
    j.records = records
    j.mask = mask
    j.begun = 0
    put_job(&a.first, &j)
    p.generation = generation
    p.rounds = 0
    p.used = 1


cdef i64 announce_pass(announcer_t *a, queue_t *q, core_t *c, elink_t *links, pace_t *paces, const u64 *failed,
                       u32 budget, i64 now) noexcept nogil:
    """Each job of a queue once, as far as it may send now: `budget` frames. Returns when to come back (FV_NEVER:
    nothing left)."""
    cdef u32 todo = queue_length(q)
    cdef i64 again = FV_NEVER
    cdef job_t j
    cdef const vr_t *v
    cdef cfg_t *g
    cdef const u8 *record
    cdef u8 *frame
    cdef u32 family
    cdef u32 request
    cdef pace_t *pace
    cdef bint waiting
    cdef pending_t *p
    while todo and budget:
        todo -= 1
        j = job_at(q, q.tail)[0]
        q.tail += 1
        p = pending_of(a, j.slot, j.mask)
        v = &c.vr[j.slot]
        if v.state != S_MASTER or <i32> (j.generation - v.reign) < 0:
            if p.generation == j.generation:
                p.used = 0
            continue
        if v.adding:                                    # a commit brought other addresses: once they are there
            put_job(q, &j)
            continue
        g = c.cfg[j.slot]
        if j.mask == ANN_NEW and j.records != announce_of(g):
            if p.generation == j.generation:            # nothing tells any more what was new: everything, then
                p.used = 0
            p = pending_of(a, j.slot, 0)
            if p.used and <i32> (p.generation - v.reign) >= 0:
                p.rounds = <u32> imax(p.rounds, j.rounds)
                continue
            j.mask = 0
            p.used = 1
            p.rounds = 0
            p.generation = j.generation
        if j.generation != v.generation:                # what was still due before that commit is still due
            if p.generation != j.generation:
                p.rounds = <u32> imax(p.rounds, j.rounds)
                continue                                # the commit's own announcement stands behind: one job of a kind
            j.generation = v.generation
            p.generation = v.generation
        if p.rounds:                                    # as many whole rounds from here
            j.rounds = <u32> imax(j.rounds, p.rounds + (1 if j.at else 0))
            p.rounds = 0
        pace = &paces[links[g.link].pace]
        waiting = False
        if c.vr[j.slot].adding:                         # the records name addresses that are not there yet
            again = imin(again, now + ANN_WAIT_NS)
            put_job(q, &j)
            continue
        if j.records != announce_of(g):
            j.records = announce_of(g)
            j.at = 0
        while budget and j.rounds:
            if j.at >= g.announce_len:
                j.at = 0
                j.rounds -= 1
                j.begun = 1
                break                                   # one round each: everybody's first frame before any second
            record = j.records + j.at
            family = 1 if record[8] & ANN_IPV6 else 0
            if pace.interval_ns[family] and now < pace.next_ns[family]:
                again = imin(again, pace.next_ns[family])
                waiting = True
                break
            j.at += ANN_HEADER + (<u16 *> record)[2]
            request = (<u16 *> record)[3]
            if j.mask and not record[8] & j.mask:
                continue
            if failed[j.slot] & (<u64> 1 << (request if request < 63 else 63)):
                continue                                # the kernel refused it: never announce what we do not hold
            frame = <u8 *> record + ANN_HEADER
            a.iov[a.n].iov_len = (<u16 *> record)[2]
            if record[8] & ANN_BRIEF:
                frame = a.made[a.n]
                a.iov[a.n].iov_len = put_frame(frame, record)
            a.iov[a.n].iov_base = frame
            memcpy(&a.name[a.n].sll_ifindex, record, 4)     # records are packed: not aligned to 4
            memcpy(a.name[a.n].sll_addr, frame, 6)
            a.n += 1
            budget -= 1
            if pace.interval_ns[family]:
                pace.next_ns[family] = now + pace.interval_ns[family]
            if a.n == TX_BATCH:
                announce_flush(a)
        if j.rounds and j.begun and q != &a.repeats:
            put_job(&a.repeats, &j)
        elif j.rounds:
            put_job(q, &j)                              # keeps its place behind the others
            if not waiting:
                again = now
        else:
            p.used = 0
    if a.n:
        announce_flush(a)
    return now if todo else again


cdef i64 announce_run(announcer_t *a, core_t *c, elink_t *links, pace_t *paces, const u64 *failed, i64 rush_ns,
                      i64 now) noexcept nogil:
    """Sends what may be sent now, but before `rush_ns` no repeats. Returns when to come back (FV_NEVER: nothing
    left)."""
    cdef i64 again = announce_pass(a, &a.first, c, links, paces, failed, ANN_TURN_LIMIT, now)
    if queue_length(&a.repeats) == 0:
        return again
    if now < rush_ns:
        return imin(again, rush_ns)
    return imin(again, announce_pass(a, &a.repeats, c, links, paces, failed, ANN_REPEAT_LIMIT, now))
