# Python surface of check.pxi: one health check. Typed and documented in _core.pyi.

globals().update(
    VERDICT_DOWN=VERDICT_DOWN, VERDICT_UP=VERDICT_UP, VERDICT_LOCAL=VERDICT_LOCAL,
    CHECK_UNKNOWN=CHECK_UNKNOWN, CHECK_UP=CHECK_UP, CHECK_DOWN=CHECK_DOWN, CHECK_START_NS=CHECK_START_NS,
)

cdef enum:
    CHECK_STEPS_MAX = 65535


cdef class Check:
    cdef check_t k

    def __init__(self, *, delay_loop_ns, delay_before_retry_ns, warmup_ns=0, retry=1, steps=1, fast_recovery=False,
                 http=False):
        in_range("retry", retry, 0, 0xFFFFFFFF)
        in_range("steps", steps, 1, CHECK_STEPS_MAX if http else 1)
        for name, value in (("delay_loop_ns", delay_loop_ns), ("delay_before_retry_ns", delay_before_retry_ns),
                            ("warmup_ns", warmup_ns)):
            if not 0 <= value <= CHECK_DELAY_MAX_NS:
                raise ValueError(f"{name} {value} is not in 0..{CHECK_DELAY_MAX_NS}")
        check_init(&self.k, delay_loop_ns, delay_before_retry_ns, warmup_ns, retry, steps,
                   (CHECK_FAST_RECOVERY if fast_recovery else 0) | (CHECK_HTTP if http else 0))

    @property
    def state(self):
        return self.k.state

    @property
    def step(self):
        return self.k.step

    @property
    def failures(self):
        return self.k.failures

    @property
    def suspended(self):
        return bool(self.k.suspended)

    def first(self, i64 now_ns, u32 random):
        return check_first(&self.k, now_ns, random)

    def result(self, u32 verdict, i64 now_ns):
        cdef u8 change = 0
        cdef i64 due
        in_range("verdict", verdict, VERDICT_DOWN, VERDICT_LOCAL)
        due = check_result(&self.k, verdict, now_ns, &change)
        return due, change

    def suspend(self):
        check_suspend(&self.k)

    def resume(self, i64 now_ns, u32 random):
        return check_resume(&self.k, now_ns, random)
