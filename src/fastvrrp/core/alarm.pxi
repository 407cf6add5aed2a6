# The alarm of the supervisor (supervisor/pulse.py): a timer of the kernel's that wakes it, and that the
# engine threads set for later as long as all is well. So nobody wakes up to see whether all is well.

cdef enum:
    PULSE_STRIDE = 64           # bytes, a cache line for each engine thread
    MAX_THREADS = 64


cdef bint is_unread(engine_t *e, i64 now) noexcept nogil:
    """Events wait, and Python has not read any for too long."""
    cdef u32 tail = fv_load_u32(&e.events.tail)
    if e.read_ns == 0 or tail != e.read_tail or ring_used(&e.events) == 0:
        e.read_tail = tail
        e.read_ns = now
    return now - e.read_ns > e.alarm_ns


cdef i64 earliest_pulse(const engine_t *e) noexcept nogil:
    """The next deadline of all engine threads; far in the past when one of them stands still."""
    cdef i64 first = FV_NEVER
    cdef u64 due
    cdef u32 k
    for k in range(<u32> MAX_THREADS):
        due = fv_load_u64(&(<const pulse_t *> (e.page + k * PULSE_STRIDE)).due_ns)
        if due:
            first = imin(first, <i64> due)
    return first


cdef void put_off_alarm(engine_t *e, i64 due) noexcept nogil:
    """Before a sleep until `due`. Nearly always there is nothing to be done."""
    cdef i64 now
    cdef i64 first
    if e.alarm_fd < 0 or due <= e.alarm_for_ns or (due == FV_NEVER and e.alarm_for_ns == 0):
        return
    now = fv_now_ns()
    if now < e.alarm_hold_ns:
        return
    first = earliest_pulse(e)
    if is_unread(e, now):
        e.read_ns = now
        e.alarm_for_ns = 0
        e.alarm_hold_ns = now + e.alarm_ns // 4         # nobody takes it back before it was heard
        fv_set_alarm(e.alarm_fd, now)
    elif now - first > e.alarm_ns:                      # another thread stands still: let it ring
        e.alarm_hold_ns = now + e.alarm_ns // 4
    elif first == FV_NEVER:
        e.alarm_for_ns = 0
        fv_set_alarm(e.alarm_fd, 0)
    else:
        e.alarm_for_ns = first + e.alarm_ns // 2        # later than it has to be, so that few turns have to set it
        fv_set_alarm(e.alarm_fd, e.alarm_for_ns + e.alarm_ns)
