# One health check: when the next attempt is due, and what a result means. Pure: time and randomness
# are arguments. A check knows nothing about `alpha`: before it has completed once it is UNKNOWN, which
# a server with alpha takes for failed and one without for up; so servers that differ in that only can
# share a check.
#
#   UNKNOWN --every step succeeded--> UP      one failure is enough --> DOWN
#   UP      --retry + 1 failures in a row--> DOWN
#   DOWN    --every step succeeded--> UP
#
# HTTP_GET and SSL_GET (CHECK_HTTP) do one step, a url, per delay_loop. After a failure only the failed
# one is tried, until it works; then all of them from the first, also when there is only one.
# fast_recovery: no pauses between steps on the way to UP.


cdef void check_init(check_t *k, i64 delay_loop_ns, i64 delay_before_retry_ns, i64 warmup_ns, u32 retry,
                     u32 steps, u32 flags) noexcept nogil:
    memset(k, 0, sizeof(check_t))
    k.delay_loop_ns = delay_loop_ns
    k.delay_before_retry_ns = delay_before_retry_ns
    k.warmup_ns = warmup_ns
    k.retry = retry
    k.steps = steps
    k.flags = flags


cdef inline i64 part_of(i64 ns, u32 random) noexcept nogil:
    """The share random / 2**32 of ns, without overflow."""
    return (ns >> 16) * (random >> 16)


cdef i64 check_first(const check_t *k, i64 now, u32 random) noexcept nogil:
    """When the first attempt is due: a second from now, and a random part of warmup."""
    return now + CHECK_START_NS + part_of(k.warmup_ns, random)


cdef void check_suspend(check_t *k) noexcept nogil:
    """No attempt counts until check_resume(); the state is kept. The caller drops the one under way."""
    k.suspended = 1


cdef i64 check_resume(check_t *k, i64 now, u32 random) noexcept nogil:
    """When the next attempt is due: soon, for the state may be an old one, but thousands must not fire
    together."""
    k.suspended = 0
    return now + part_of(imin(k.warmup_ns, CHECK_START_NS), random)


cdef inline i64 check_succeeded(check_t *k, i64 now, u8 *change) noexcept nogil:
    cdef bint again = k.stuck and k.flags & CHECK_HTTP  # the step that had failed works: all of them now
    k.failures = 0
    k.stuck = 0
    k.step = 0 if again else k.step + 1
    if k.step >= k.steps:
        k.step = 0
        if k.state != CHECK_UP:
            k.state = CHECK_UP
            change[0] = CHECK_UP
        return now + k.delay_loop_ns
    if k.flags & CHECK_FAST_RECOVERY and k.state != CHECK_UP:
        return now
    return now + k.delay_loop_ns


cdef inline i64 check_failed(check_t *k, i64 now, u8 *change) noexcept nogil:
    if k.state == CHECK_UP and k.failures < k.retry:
        k.failures += 1
        return now + k.delay_before_retry_ns
    if k.state != CHECK_DOWN:
        k.state = CHECK_DOWN
        change[0] = CHECK_DOWN
    k.failures = 0
    k.stuck = 1
    if k.flags & CHECK_HTTP:
        return now + imax(k.delay_loop_ns, k.delay_before_retry_ns)
    return now + k.delay_loop_ns


cdef i64 check_result(check_t *k, u32 verdict, i64 now, u8 *change) noexcept nogil:
    """One attempt of k.step has ended. Returns when the next one is due (FV_NEVER while suspended); its
    step is in k.step. `change`: CHECK_UP or CHECK_DOWN when the state became that, else 0. `now` is the
    moment from which delays count."""
    change[0] = 0
    if k.suspended:
        return FV_NEVER
    if verdict == VERDICT_LOCAL:
        return now + k.delay_loop_ns
    if verdict == VERDICT_UP:
        return check_succeeded(k, now, change)
    return check_failed(k, now, change)
