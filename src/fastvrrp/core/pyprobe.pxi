# Python surface of probe.pxi. Typed and documented in _core.pyi. Every method belongs to one Python
# thread, the producer of the command ring and the consumer of the event ring.

globals().update(PHASE_CONNECT=PHASE_CONNECT, PHASE_SENDING=PHASE_SENDING, PHASE_ANSWER=PHASE_ANSWER)

cdef enum:
    PROBES_MAX = 262144         # address space; only what is used takes memory


class ProbeEvent(NamedTuple):
    handle: int
    verdict: int
    change: int
    first: bool
    up: bool
    error: int
    failures: int
    at_ns: int
    latency_ns: int
    why: int = 0
    phase: int = 0
    digest: bytes = b""


class ProbeStatus(NamedTuple):
    state: int
    suspended: bool
    verdict: int
    error: int
    latency_ns: int
    at_ns: int
    due_ns: int
    failures: int
    attempts: int
    why: int = 0
    phase: int = 0
    digest: bytes = b""


cdef int put_address(u8 *where, bytes address, u16 port) except -1:
    """sockaddr of 4 or 16 bytes of address."""
    cdef sockaddr_in *four = <sockaddr_in *> where
    cdef sockaddr_in6 *six = <sockaddr_in6 *> where
    if len(address) == 4:
        four.sin_family = AF_INET
        fv_put16(<u8 *> &four.sin_port, port)
        memcpy(&four.sin_addr, <const u8 *> <const char *> address, 4)
    elif len(address) == 16:
        six.sin6_family = AF_INET6
        fv_put16(<u8 *> &six.sin6_port, port)
        memcpy(&six.sin6_addr, <const u8 *> <const char *> address, 16)
    else:
        raise ValueError("an address is 4 or 16 bytes")
    return 0


cdef int check_delay(str name, i64 value_ns) except -1:
    if not 0 <= value_ns <= CHECK_DELAY_MAX_NS:
        raise ValueError(f"{name} {value_ns} is not in 0..{CHECK_DELAY_MAX_NS}")
    return 0


cdef class Prober:
    cdef prober_t p
    cdef void *memory
    cdef size_t size
    cdef u8 *page               # of supervisor/pulse.py, NULL: none
    cdef object thread
    cdef list free
    cdef set leaving
    cdef u32 fresh              # slots from here on were never used
    cdef u32 holds              # commands wait for the bell while this is not 0

    def __cinit__(self, *, u32 sockets=16384, int pulse=-1, int alarm=-1, i64 alarm_ns=10000000000):
        cdef void *page
        self.thread = None
        self.free = []
        self.leaving = set()
        in_range("sockets", sockets, 1, 0x7FFFFFFF)
        self.size = <size_t> PROBES_MAX * sizeof(probe_t)
        self.memory = mmap(NULL, self.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if <uintptr_t> self.memory == <uintptr_t> -1:
            self.memory = NULL
            raise MemoryError()
        if prober_init(&self.p, self.memory, PROBES_MAX, sockets, fv_now_ns()) < 0:
            raise_errno("prober")
        if pulse >= 0:
            page = mmap(NULL, PULSE_STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED, pulse, 0)
            if <uintptr_t> page == <uintptr_t> -1:
                raise_errno("pulse")
            self.page = <u8 *> page
            self.p.pulse = <pulse_t *> page
            self.p.alarm_fd = alarm
            self.p.alarm_ns = alarm_ns

    def __dealloc__(self):
        cdef u32 slot
        if self.memory == NULL or self.thread is not None:  # still running: never free under a live thread
            return
        for slot in range(self.fresh):
            free(self.p.probes[slot].web)
        prober_free(&self.p)
        munmap(self.memory, self.size)
        if self.page != NULL:
            munmap(self.page, PULSE_STRIDE)

    def _run(self):
        with nogil:
            probe_loop(&self.p)

    def start(self):
        if self.thread is not None:
            raise RuntimeError("the prober runs already")
        self.p.running = 1
        self.thread = _threading.Thread(target=self._run, name="prober", daemon=True)
        self.thread.start()

    def stop(self):
        if self.thread is not None:
            self.command(PC_EXIT, 0, 0)

    def join(self, timeout_s=None):
        if self.thread is None:
            return True
        self.thread.join(timeout_s)
        if self.thread.is_alive():
            return False
        self.thread = None
        return True

    def fileno(self):
        return self.p.events.fd

    cdef int command(self, u32 kind, u32 slot, u32 random) except -1:
        cdef probe_command_t m
        m.kind = kind
        m.slot = slot
        m.random = random
        # it owes a turn from now on, also when it has nothing else to do; said before the bell, as what it
        # says itself after that counts
        if fv_peek_u64(&self.p.pulse.due_ns) == <u64> FV_NEVER:
            fv_store_u64(&self.p.pulse.due_ns, <u64> fv_now_ns())
        while not ring_push(&self.p.commands, &m):
            if self.thread is None:
                raise RuntimeError("the command ring is full and the prober does not run")
            ring_bell(&self.p.commands)
            with nogil:
                usleep(500)
        if self.holds == 0:
            ring_bell(&self.p.commands)
        return 0

    def hold(self):
        self.holds += 1

    def release(self):
        self.holds -= 1
        if self.holds == 0:
            ring_bell(&self.p.commands)

    cdef u32 slot_of(self, object handle) except? 0xFFFFFFFF:
        cdef u64 value = handle
        cdef u32 slot = <u32> value
        if slot >= self.fresh or self.p.probes[slot].generation != <u32> (value >> 32) or value >> 32 == 0 \
                or slot in self.leaving:
            raise KeyError(f"handle {handle} is of no check")
        return slot

    cdef u32 take_slot(self) except? 0xFFFFFFFF:
        cdef u32 slot
        if not self.free and self.leaving:
            for item in tuple(self.leaving):
                slot = item
                if fv_load_u32(&self.p.probes[slot].used) == PROBE_FREE:
                    self.leaving.remove(item)
                    self.free.append(slot)
                    free(self.p.probes[slot].web)
                    self.p.probes[slot].web = NULL
        if self.free:
            return self.free.pop()
        if self.fresh == PROBES_MAX:
            raise RuntimeError(f"more than {PROBES_MAX} checks")
        slot = self.fresh
        self.fresh += 1
        return slot

    def add(self, bytes address, u16 port, *, i64 timeout_ns, i64 delay_loop_ns, i64 delay_before_retry_ns,
            i64 warmup_ns, u32 retry, u32 random, bytes bind_address=None, u16 bind_port=0, bytes bind_if=b"",
            u32 fwmark=0, bint tell_failures=False, bint suspended=False, object urls=(), bint fast_recovery=False):
        cdef probe_t c
        cdef u32 slot
        cdef u32 generation
        check_delay("timeout_ns", timeout_ns)
        check_delay("delay_loop_ns", delay_loop_ns)
        check_delay("delay_before_retry_ns", delay_before_retry_ns)
        check_delay("warmup_ns", warmup_ns)
        in_range("retry", retry, 0, 0xFFFFFFFF)
        in_range("urls", len(urls), 0, CHECK_STEPS_MAX)
        memset(&c, 0, sizeof(c))
        put_address(c.target, address, port)
        c.family = AF_INET6 if len(address) == 16 else AF_INET
        if bind_address is not None or bind_port:
            if bind_address is not None and len(bind_address) != len(address):
                raise ValueError("bind_address is of another family")
            put_address(c.source, bytes(len(address)) if bind_address is None else bind_address, bind_port)
            c.has_source = 1
            c.fixed_port = bind_port != 0
        if len(bind_if) >= <Py_ssize_t> sizeof(c.device):
            raise ValueError(f"{bind_if} is too long for an interface")
        memcpy(c.device, <const char *> bind_if, len(bind_if))
        c.mark = fwmark
        c.timeout_ns = timeout_ns
        c.tell_failures = tell_failures
        c.fd = -1
        c.node.due = FV_NEVER
        check_init(&c.check, delay_loop_ns, delay_before_retry_ns, warmup_ns, retry, <u32> max(len(urls), 1),
                   (CHECK_HTTP if urls else 0) | (CHECK_FAST_RECOVERY if fast_recovery else 0))
        if suspended:
            check_suspend(&c.check)
        slot = self.take_slot()
        if urls:
            try:
                c.web = make_web(urls)
            except BaseException:       # whatever it was, the slot is nobody's yet
                self.free.append(slot)
                raise
        generation = self.p.probes[slot].generation + 1
        c.generation = generation if generation else 1
        c.used = PROBE_USED
        memcpy(&self.p.probes[slot], &c, sizeof(c))
        self.command(PC_ADD, slot, random)
        return <u64> c.generation << 32 | slot

    def remove(self, handle):
        cdef u32 slot = self.slot_of(handle)
        self.leaving.add(slot)
        self.command(PC_REMOVE, slot, 0)

    def suspend(self, handle):
        self.command(PC_SUSPEND, self.slot_of(handle), 0)

    def resume(self, handle, u32 random):
        self.command(PC_RESUME, self.slot_of(handle), random)

    def events(self, int limit=512):
        cdef list result = []
        cdef probe_event_t e
        ring_answer(&self.p.events)
        while len(result) < limit and ring_pop_lean(&self.p.events, &e):
            result.append(ProbeEvent(<u64> e.generation << 32 | e.slot, e.verdict, e.change, bool(e.first), bool(e.up),
                                     e.error, e.failures, e.at_ns, e.latency_ns, e.why, e.phase,
                                     (<const char *> e.digest)[:16] if e.why == WHY_DIGEST else b""))
        if ring_used(&self.p.events):
            ring_bell(&self.p.events)                   # level-triggered for the caller's loop
        return result

    def overflowed(self):
        return bool(fv_swap_u32(&self.p.overflow, 0))

    def status(self, handle):
        cdef u32 slot = self.slot_of(handle)
        cdef probe_t c
        cdef probe_t again
        cdef u8 digest[16]
        cdef int tries
        for tries in range(100):                        # two equal copies in a row are one consistent state
            fv_peek(&c, &self.p.probes[slot], sizeof(probe_t))
            fv_peek(&again, &self.p.probes[slot], sizeof(probe_t))
            if memcmp(&c, &again, sizeof(probe_t)) == 0:
                break
        if c.why == WHY_DIGEST:
            fv_peek(digest, c.web.seen, sizeof(digest))
        return ProbeStatus(c.check.state, bool(c.check.suspended), c.verdict, c.error, c.latency_ns, c.at_ns,
                           c.node.due if c.node.queued and c.fd < 0 else FV_NEVER, c.check.failures, c.attempts,
                           c.why, c.phase, (<const char *> digest)[:16] if c.why == WHY_DIGEST else b"")

    def counters(self):
        cdef prober_t *p = &self.p
        return {"turns": fv_peek_u64(&p.turns), "attempts": fv_peek_u64(&p.attempts), "answers": fv_peek_u64(&p.answers),
                "timeouts": fv_peek_u64(&p.timeouts), "local": fv_peek_u64(&p.local), "queued": fv_peek_u64(&p.queued),
                "open": fv_peek_u32(&p.open), "waiting": fv_peek_u32(&p.waiting),
                "events_lost": fv_peek_u32(&p.events.lost)}
