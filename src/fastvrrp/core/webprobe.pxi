# HTTP_GET in the prober: what follows a connect. The request goes out, the answer is read piece by
# piece until the peer closes, and nothing of it is kept. Each wait is bounded by the check's timeout,
# all of them by WEB_WAITS times that; a server that floods gets WEB_READS pieces per turn, so that the
# others have theirs. One edge-triggered registration serves the whole exchange.

cdef enum:
    WEB_WAITS = 12              # a minute with the default connect_timeout
    WEB_READS = 8


cdef inline i64 web_last(const probe_t *c) noexcept nogil:
    """When the whole exchange must be over."""
    return c.began_ns + WEB_WAITS * c.timeout_ns


cdef void web_ready(prober_t *p, u32 i, u32 events, i64 now) noexcept nogil:
    """The socket can do something: as much as it can."""
    cdef probe_t *c = &p.probes[i]
    cdef web_t *w = c.web
    cdef i32 error
    cdef bint ended = False
    if w.phase == PHASE_CONNECT:
        error = probe_error(c, events)
        if error:
            probe_ended(p, i, VERDICT_DOWN, WHY_ERROR, error, now)
            return
        w.phase = PHASE_SENDING
    w.early |= events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP) != 0
    if w.phase == PHASE_SENDING:
        ended = web_send(p, i, now)
    if not ended and w.phase == PHASE_ANSWER and w.early:
        ended = web_read(p, i, events, now)
    if not ended:
        wheel_arm(&p.wheel, i, imin(now + c.timeout_ns, web_last(c)))


cdef bint web_send(prober_t *p, u32 i, i64 now) noexcept nogil:
    """True: the attempt is over."""
    cdef probe_t *c = &p.probes[i]
    cdef web_t *w = c.web
    cdef const url_t *url = &w.urls[c.check.step]
    cdef ssize_t n
    while w.sent < url.request_bytes:
        n = send(c.fd, w.requests + url.request + w.sent, url.request_bytes - w.sent, MSG_NOSIGNAL)
        if n < 0:
            if fv_errno() == EAGAIN:
                return False
            probe_ended(p, i, VERDICT_DOWN, WHY_ERROR, fv_errno(), now)
            return True
        w.sent += <u32> n
    w.phase = PHASE_ANSWER
    answer_init(&w.answer, url.has_digest, url.takes_interim)
    return False


cdef bint web_read(prober_t *p, u32 i, u32 events, i64 now) noexcept nogil:
    """True: the attempt is over."""
    cdef probe_t *c = &p.probes[i]
    cdef web_t *w = c.web
    cdef epoll_event ev
    cdef ssize_t n
    cdef u32 k
    cdef u32 why
    for k in range(<u32> WEB_READS):
        n = recv(c.fd, p.buffer, sizeof(p.buffer), 0)
        if n == 0:
            web_judge(p, i, now)
            return True
        if n < 0:
            if fv_errno() == EAGAIN:
                return False
            probe_ended(p, i, VERDICT_DOWN, WHY_ERROR, fv_errno(), now)
            return True
        why = answer_feed(&w.answer, p.buffer, <size_t> n)
        if why:
            probe_ended(p, i, VERDICT_DOWN, why, 0, now)
            return True
        if <size_t> n < sizeof(p.buffer) and not events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP):
            return False                                # empty by now: whatever comes is a new edge
    memset(&ev, 0, sizeof(ev))                          # there may be more: its edge must come again
    ev.events = PROBE_EDGES
    ev.data.u64 = i
    if epoll_ctl(p.ep, EPOLL_CTL_MOD, c.fd, &ev) < 0:
        probe_ended(p, i, VERDICT_LOCAL, WHY_ERROR, fv_errno(), now)
        return True
    return False


cdef void web_judge(prober_t *p, u32 i, i64 now) noexcept nogil:
    """The peer has closed: that was the answer."""
    cdef web_t *w = p.probes[i].web
    cdef url_t *url = &w.urls[p.probes[i].check.step]
    cdef codes_t *codes = w.codes + url.codes
    cdef u32 why = answer_judge(&w.answer, codes, url.code_count, url.digest if url.has_digest else NULL, w.seen)
    cdef bint good = why == WHY_STATUS and answer_wanted(&w.answer, codes, url.code_count)
    probe_ended(p, i, VERDICT_UP if good else VERDICT_DOWN, why, w.answer.status if why == WHY_STATUS else 0, now)


cdef void web_late(prober_t *p, u32 i, i64 now) noexcept nogil:
    """A wait is over, or all of them are."""
    probe_ended(p, i, VERDICT_DOWN, WHY_DRIPPED if now >= web_last(&p.probes[i]) else WHY_TIMEOUT, 0, now)
