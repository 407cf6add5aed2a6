# TCP_CHECK and HTTP_GET without Python: one thread, non-blocking sockets, a timer wheel, the machine of
# check.pxi. What an HTTP_GET does with its connection is in webprobe.pxi.
# Never the GIL, no lock, no malloc. Python fills a record and hands it over through the command ring;
# what has become of a check comes back through the event ring, the last result is read in the record.
#
# A turn: wait, clock, sockets that have an answer, what is due, commands, one bell for all events. What
# has arrived counts before what is due, so a pause of this host makes no server fail. Attempts begin
# with the tick they are due in (a millisecond), so that thousands need few wake-ups. A connection that
# was established is closed at once, as an ordinary close (FIN) unless its port is fixed.

cdef enum:
    PROBE_COMMANDS = 65536
    PROBE_EVENTS = 65536
    PROBE_BATCH = 256           # sockets per wait
    PROBE_BEGIN = 16            # attempts begun before sockets are looked at again: they wait for their latency
    PROBE_COMMANDS_PER_TURN = 1024
    PROBE_TICK_NS = 1048576     # one of the wheel: 2**TICK_BITS
    PROBE_BUFFER = 32768        # of an answer, per read

cdef extern from *:
    """
    #define PROBE_EDGES (EPOLLIN | EPOLLOUT | EPOLLRDHUP | (uint32_t)EPOLLET)
    """
    const u32 PROBE_EDGES       # one registration for a whole exchange

cdef enum:                      # commands
    PC_ADD = 1
    PC_REMOVE = 2
    PC_SUSPEND = 3
    PC_RESUME = 4
    PC_EXIT = 5

cdef enum:                      # probe_t.used
    PROBE_FREE = 0
    PROBE_USED = 1

cdef enum:                      # probe_t.waits
    WAITS_NOT = 0
    WAITS_ROOM = 1              # in the queue for a socket

cdef enum:                      # web_t.phase
    PHASE_CONNECT = 0
    PHASE_SENDING = 1
    PHASE_ANSWER = 2

ctypedef struct url_t:
    u32 request                 # where it begins
    u32 request_bytes
    u32 codes                   # the first of its ranges
    u32 code_count
    u8 has_digest
    u8 takes_interim
    u8 digest[16]

ctypedef struct web_t:          # an HTTP_GET, one block of memory: urls, ranges and requests are behind it
    url_t *urls
    codes_t *codes
    u8 *requests
    u32 sent
    u8 phase
    u8 early                    # the peer spoke, or closed, before the request was out
    u8 pad[2]
    u8 seen[16]                 # digest of the last answer that had another one
    answer_t answer

ctypedef struct probe_command_t:
    u32 kind
    u32 slot
    u32 random

ctypedef struct probe_event_t:
    u32 slot
    u32 generation
    u8 verdict
    u8 change                   # CHECK_UP, CHECK_DOWN: the state became that; else 0
    u8 first                    # it had none before
    u8 up                       # state now
    u8 why                      # WHY_*
    u8 phase                    # PHASE_*, in which that was
    u8 pad[2]
    i32 error                   # WHY_ERROR: errno of the attempt, 0: connected; WHY_STATUS: the status
    u32 failures                # attempts before this one that failed and did not count
    u8 digest[16]               # WHY_DIGEST: of the page
    i64 at_ns
    i64 latency_ns

ctypedef struct probe_t:        # the first part is written by Python before PC_ADD, the rest by the thread
    node_t node                 # the next attempt, or the timeout of the one under way; links of the queue for room
    check_t check
    u32 generation
    u32 used
    i64 timeout_ns
    u32 mark
    u16 family
    u8 tell_failures            # log_all_failures
    u8 has_source
    u8 target[28]               # sockaddr_in or sockaddr_in6
    u8 source[28]
    u8 fixed_port               # bind_port: the kernel does not choose it
    char device[16]             # bind_if, empty: none
    web_t *web                  # HTTP_GET, else NULL; Python's memory
    u8 waits
    u8 verdict                  # of the last attempt, as why, phase and error
    u8 why
    u8 phase
    i32 fd                      # of the one under way, else -1
    i32 error
    i64 began_ns
    i64 at_ns                   # end of the last attempt, 0: there was none
    i64 latency_ns
    u64 attempts

ctypedef struct prober_t:
    probe_t *probes
    u32 capacity
    wheel_t wheel
    ring_t commands
    ring_t events
    int ep
    u32 open                    # sockets
    u32 limit                   # how many there may be
    u32 room_head               # queue of checks that are due but have no socket
    u32 room_tail
    u32 waiting
    u32 overflow
    u8 running
    u8 told
    u8 pad[6]
    pulse_t *pulse
    pulse_t own_pulse           # when nobody watches
    int alarm_fd                # timerfd that wakes the supervisor; -1 none
    i64 alarm_ns                # from a deadline at which nothing happens until it rings, at least
    i64 alarm_for_ns            # it is late enough for deadlines up to this one; 0: not set
    u64 turns
    u64 attempts
    u64 answers                 # attempts that ended UP
    u64 timeouts
    u64 local
    u64 queued                  # attempts that had to wait for room
    u8 buffer[PROBE_BUFFER]


# ---- the queue for room: links of node_t, which is not in the wheel meanwhile ----

cdef void room_push(prober_t *p, u32 i) noexcept nogil:
    cdef probe_t *c = &p.probes[i]
    c.node.prev = p.room_tail
    c.node.next = NONE
    if p.room_tail != NONE:
        p.probes[p.room_tail].node.next = i
    else:
        p.room_head = i
    p.room_tail = i
    p.waiting += 1
    c.waits = WAITS_ROOM


cdef void room_leave(prober_t *p, u32 i) noexcept nogil:
    cdef probe_t *c = &p.probes[i]
    if c.waits == WAITS_NOT:
        return
    if c.node.prev != NONE:
        p.probes[c.node.prev].node.next = c.node.next
    else:
        p.room_head = c.node.next
    if c.node.next != NONE:
        p.probes[c.node.next].node.prev = c.node.prev
    else:
        p.room_tail = c.node.prev
    p.waiting -= 1
    c.waits = WAITS_NOT


# ---- one attempt ----

cdef void probe_close(prober_t *p, probe_t *c) noexcept nogil:
    if c.fd >= 0:
        close(c.fd)                                     # which also takes it out of the epoll set
        c.fd = -1
        p.open -= 1


cdef void probe_ended(prober_t *p, u32 i, u32 verdict, u32 why, i32 error, i64 now) noexcept nogil:
    """One attempt is over: what it means, when the next one is, and who must hear of it."""
    cdef probe_t *c = &p.probes[i]
    cdef probe_event_t e
    cdef u8 before = c.verdict if c.at_ns else <u8> VERDICT_UP
    probe_close(p, c)
    memset(&e, 0, sizeof(e))
    e.first = c.check.state == CHECK_UNKNOWN
    e.failures = c.check.failures
    wheel_arm(&p.wheel, i, check_result(&c.check, verdict, now, &e.change))
    c.verdict = <u8> verdict
    c.why = <u8> why
    c.phase = c.web.phase if c.web != NULL else <u8> PHASE_CONNECT
    c.error = error
    c.latency_ns = now - c.began_ns
    c.at_ns = now
    c.attempts += 1
    p.attempts += 1
    p.answers += verdict == VERDICT_UP
    p.local += verdict == VERDICT_LOCAL
    if e.change == 0 and not (verdict == VERDICT_LOCAL and before != VERDICT_LOCAL) and \
            not (verdict == VERDICT_DOWN and c.tell_failures and c.check.state == CHECK_UP):
        return
    e.slot = i
    e.generation = c.generation
    e.verdict = <u8> verdict
    e.up = c.check.state == CHECK_UP
    e.why = c.why
    e.phase = c.phase
    e.error = error
    if why == WHY_DIGEST:
        memcpy(e.digest, c.web.seen, sizeof(e.digest))
    e.at_ns = now
    e.latency_ns = c.latency_ns
    if not ring_push(&p.events, &e):
        fv_store_u32(&p.overflow, 1)
    p.told = 1


cdef i32 probe_prepare(probe_t *c, int fd) noexcept nogil:
    """Mark, interface and source address of a new socket. 0 or the errno of what this host refused."""
    if c.mark and fv_set_int(fd, SOL_SOCKET, SO_MARK, <int> c.mark) < 0:
        return fv_errno()
    # of a link-local address, too, this says all there is to say
    if c.device[0] and setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, c.device, sizeof(c.device)) < 0:
        return fv_errno()
    if not c.has_source:
        return 0
    if c.fixed_port:
        # with the usual end this port would serve one connection a minute: TIME_WAIT keeps it from the next
        if fv_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0 or fv_reset_on_close(fd) < 0:
            return fv_errno()
    else:
        # one port serves any number of connections to different servers: chosen by connect()
        fv_set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    return fv_errno() if bind(fd, <sockaddr *> c.source, address_bytes(c.family)) < 0 else 0


cdef inline socklen_t address_bytes(u16 family) noexcept nogil:
    return sizeof(sockaddr_in6) if family == AF_INET6 else sizeof(sockaddr_in)


cdef inline bint answered(i32 error) noexcept nogil:
    """What the network or the server says to a connect(); everything else is a problem of this host."""
    return (error == ECONNREFUSED or error == ECONNRESET or error == ECONNABORTED or error == ETIMEDOUT
            or error == ENETUNREACH or error == EHOSTUNREACH or error == ENETDOWN or error == EHOSTDOWN
            or error == EPIPE or error == EPROTO or error == ENOPROTOOPT or error == EOPNOTSUPP)


cdef void probe_begin(prober_t *p, u32 i) noexcept nogil:
    """One connect. It ends here only when it cannot begin, or is refused or established at once."""
    cdef probe_t *c = &p.probes[i]
    cdef epoll_event ev
    cdef i32 error = 0
    cdef int fd
    if p.open >= p.limit:
        p.queued += 1
        room_push(p, i)
        return
    c.began_ns = fv_now_ns()
    if c.web != NULL:
        c.web.phase = PHASE_CONNECT
        c.web.sent = 0
        c.web.early = 0
    fd = socket(c.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        error = fv_errno()
        if error == EMFILE and p.open:                  # when one is closed
            p.queued += 1
            room_push(p, i)
            return
        probe_ended(p, i, VERDICT_LOCAL, WHY_ERROR, error, c.began_ns)
        return
    c.fd = fd
    p.open += 1
    error = probe_prepare(c, fd)
    if error:
        probe_ended(p, i, VERDICT_LOCAL, WHY_ERROR, error, fv_now_ns())
        return
    if connect(fd, <sockaddr *> c.target, address_bytes(c.family)) == 0:
        if c.web == NULL:
            probe_ended(p, i, VERDICT_UP, WHY_ERROR, 0, fv_now_ns())
            return
    else:
        error = fv_errno()
        if error != EINPROGRESS:
            probe_ended(p, i, VERDICT_DOWN if answered(error) else VERDICT_LOCAL, WHY_ERROR, error, fv_now_ns())
            return
    memset(&ev, 0, sizeof(ev))
    ev.events = EPOLLOUT if c.web == NULL else PROBE_EDGES
    ev.data.u64 = i
    if epoll_ctl(p.ep, EPOLL_CTL_ADD, fd, &ev) < 0:
        probe_ended(p, i, VERDICT_LOCAL, WHY_ERROR, fv_errno(), fv_now_ns())
        return
    wheel_arm(&p.wheel, i, c.began_ns + c.timeout_ns)


cdef i32 probe_error(const probe_t *c, u32 events) noexcept nogil:
    """What became of the connect: an errno, or 0."""
    cdef int error = 0
    cdef socklen_t n = sizeof(error)
    if events & (EPOLLERR | EPOLLHUP) and getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0:
        error = fv_errno()
    return error


cdef void probe_ready(prober_t *p, u32 i, u32 events, i64 now) noexcept nogil:
    """The socket has an answer."""
    cdef probe_t *c = &p.probes[i]
    cdef i32 error
    if c.fd < 0:
        return
    if c.web != NULL:
        web_ready(p, i, events, now)
        return
    error = probe_error(c, events)
    probe_ended(p, i, VERDICT_DOWN if error else VERDICT_UP, WHY_ERROR, error, now)


cdef void probe_due(prober_t *p, u32 i, i64 now) noexcept nogil:
    cdef probe_t *c = &p.probes[i]
    if c.fd < 0:
        probe_begin(p, i)
        return
    p.timeouts += 1
    if c.web != NULL and c.web.phase != PHASE_CONNECT:
        web_late(p, i, now)
    else:
        probe_ended(p, i, VERDICT_DOWN, WHY_ERROR, ETIMEDOUT, now)


cdef void probe_drop(prober_t *p, u32 i) noexcept nogil:
    """No attempt under way, none to come."""
    room_leave(p, i)
    wheel_cancel(&p.wheel, i)
    probe_close(p, &p.probes[i])


# ---- commands ----

cdef void probe_command(prober_t *p, const probe_command_t *m, i64 now) noexcept nogil:
    cdef probe_t *c
    if m.kind == PC_EXIT:
        p.running = 0
        return
    c = &p.probes[m.slot]
    if m.kind == PC_ADD:
        if not c.check.suspended:
            wheel_arm(&p.wheel, m.slot, check_first(&c.check, now, m.random))
    elif m.kind == PC_REMOVE:
        probe_drop(p, m.slot)
        fv_store_u32(&c.used, PROBE_FREE)               # Python's again
    elif m.kind == PC_SUSPEND and not c.check.suspended:
        check_suspend(&c.check)
        probe_drop(p, m.slot)
    elif m.kind == PC_RESUME and c.check.suspended:
        wheel_arm(&p.wheel, m.slot, check_resume(&c.check, now, m.random))


# ---- the thread ----

cdef void probe_alarm(prober_t *p, i64 due) noexcept nogil:
    """Put the supervisor's alarm off, as an engine does (alarm.pxi): hardly any turn has to."""
    if p.alarm_fd < 0 or (due == FV_NEVER and p.alarm_for_ns == 0):
        return
    if due == FV_NEVER:
        p.alarm_for_ns = 0
        fv_set_alarm(p.alarm_fd, 0)
    elif due > p.alarm_for_ns:
        p.alarm_for_ns = due + p.alarm_ns // 2
        fv_set_alarm(p.alarm_fd, p.alarm_for_ns + p.alarm_ns)


cdef i64 probe_wait(prober_t *p) noexcept nogil:
    """How long nothing can be due: to the end of the tick of the first deadline."""
    cdef i64 due = wheel_next_due(&p.wheel)
    fv_store_u64(&p.pulse.due_ns, <u64> due)
    probe_alarm(p, due)
    if due == FV_NEVER:
        return -1
    return imax((due | (PROBE_TICK_NS - 1)) + 1 - fv_now_ns(), 0)


cdef bint probe_due_some(prober_t *p, i64 now) noexcept nogil:
    """True when more is due."""
    cdef u32 items[16]
    cdef u32 n
    cdef u32 k
    cdef u32 total = 0
    while total < PROBE_BEGIN:
        n = wheel_pop_due(&p.wheel, now, items, PROBE_BEGIN - total)
        if n == 0:
            return False
        for k in range(n):
            probe_due(p, items[k], now)
        total += n
    return True


cdef void probe_room(prober_t *p) noexcept nogil:
    """Sockets were closed: the next ones in the queue, as many as were in it and fit."""
    cdef u32 n = p.waiting
    cdef u32 i
    while n and p.open < p.limit and p.room_head != NONE:
        i = p.room_head
        room_leave(p, i)
        probe_begin(p, i)
        n -= 1


cdef void probe_loop(prober_t *p) noexcept nogil:
    """Body of the prober thread; returns after PC_EXIT."""
    cdef epoll_event evs[256]
    cdef probe_command_t m
    cdef i64 now
    cdef int n
    cdef int k
    cdef u32 commands = 0
    cdef bint more = False
    fv_block_signals()
    while p.running:
        n = fv_epoll_wait(p.ep, evs, PROBE_BATCH, 0 if more else probe_wait(p))
        if n < 0:                                       # stopped and continued: what came meanwhile counts first
            n = fv_epoll_wait(p.ep, evs, PROBE_BATCH, 0)
        now = fv_now_ns()
        p.turns += 1
        fv_store_u64(&p.pulse.due_ns, <u64> now)
        fv_store_u64(&p.pulse.turns, p.turns)
        for k in range(n):
            if evs[k].data.u64 == NONE:
                ring_answer(&p.commands)
            else:
                probe_ready(p, <u32> evs[k].data.u64, evs[k].events, now)
        if n < PROBE_BATCH:                             # nothing else has arrived: now it counts what has not
            more = probe_due_some(p, now)
        probe_room(p)
        commands = 0
        while commands < PROBE_COMMANDS_PER_TURN and ring_pop(&p.commands, &m):
            commands += 1
            probe_command(p, &m, now)
        more = more or commands == PROBE_COMMANDS_PER_TURN
        if p.told:
            p.told = 0
            ring_bell(&p.events)
    fv_store_u64(&p.pulse.due_ns, <u64> FV_NEVER)
    probe_alarm(p, FV_NEVER)


cdef int prober_init(prober_t *p, void *memory, u32 capacity, u32 limit, i64 now) noexcept nogil:
    """`memory`: capacity zeroed probe_t. 0, or -1 with errno."""
    cdef epoll_event ev
    memset(p, 0, sizeof(prober_t))
    p.probes = <probe_t *> memory
    p.pulse = &p.own_pulse
    p.alarm_fd = -1
    p.capacity = capacity
    p.limit = limit
    p.room_head = NONE
    p.room_tail = NONE
    p.ep = -1
    p.commands.fd = -1
    p.events.fd = -1
    wheel_init(&p.wheel, memory, sizeof(probe_t), now)
    if ring_init(&p.commands, sizeof(probe_command_t), PROBE_COMMANDS) or \
            ring_init(&p.events, sizeof(probe_event_t), PROBE_EVENTS):
        return -1
    p.ep = epoll_create1(EPOLL_CLOEXEC)
    if p.ep < 0:
        return -1
    memset(&ev, 0, sizeof(ev))
    ev.events = EPOLLIN
    ev.data.u64 = NONE
    return epoll_ctl(p.ep, EPOLL_CTL_ADD, p.commands.fd, &ev)


cdef void prober_free(prober_t *p) noexcept nogil:
    """Only when its thread is gone."""
    cdef u32 i
    for i in range(p.capacity):
        if p.open == 0:
            break
        probe_close(p, &p.probes[i])
    ring_free(&p.commands)
    ring_free(&p.events)
    if p.ep >= 0:
        close(p.ep)
        p.ep = -1
