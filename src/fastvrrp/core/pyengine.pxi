# Python surface of the engine: creation, commands, events, snapshots. Typed in _core.pyi.
# Every method belongs to one Python thread, the producer of the command ring and the consumer of the
# event ring.

import os as _os
import threading as _threading

cdef enum:
    STACK_BYTES = 524288        # neither thread needs a tenth of it, and vrrp_no_swap locks all of it


LOCAL_GROUPS4 = bytes((224, 0, 0))     # RFC 5771 4: never forwarded by a router


def poll_tick_ns(i64 interval_ns):
    return poll_tick(interval_ns)


cdef class Engine:
    cdef engine_t *e
    cdef u8 *page               # shared with the supervisor; NULL: nobody watches
    cdef u8 *arena
    cdef size_t arena_size
    cdef object threads
    cdef object ready
    cdef int rt_priority
    cdef int cpu
    cdef bint lock_memory
    cdef readonly int rt_errno
    # sockets + 1 of each link slot as handed over last, raw ones before those of rings: closed only by the next
    # link(). 0: none, so that no page of slots that are not used is touched
    cdef int *newest

    def __cinit__(self, *, u32 instances=8192, u32 links=1024, u32 groups=1024, int rt_priority=0,
                  bint lock_memory=False, int cpu=-1, int pulse=-1, int alarm=-1, i64 alarm_ns=10000000000,
                  u32 thread=0):
        cdef engine_t *e
        cdef void *page
        cdef u32 k
        cdef u32 hash_size = 16
        self.threads = None
        in_range("thread", thread, 0, MAX_THREADS - 1)
        self.ready = _threading.Event()
        self.rt_priority = rt_priority
        self.cpu = cpu
        self.lock_memory = lock_memory
        self.e = e = <engine_t *> calloc(1, sizeof(engine_t))
        if e == NULL:
            raise MemoryError()
        e.pulse = &e.own_pulse
        e.alarm_fd = -1
        e.ep = e.link_fd = e.control_fd = e.announcer.fd = e.applier.fd = e.io.packet_fd = -1
        e.commands.fd = e.events.fd = e.applier.work.fd = e.applier.done.fd = -1
        if pulse >= 0:
            page = mmap(NULL, MAX_THREADS * PULSE_STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED, pulse, 0)
            if <uintptr_t> page == <uintptr_t> -1:
                raise_errno("pulse")
            self.page = <u8 *> page
            e.pulse = <pulse_t *> (self.page + thread * PULSE_STRIDE)
            e.page = self.page
            e.alarm_fd = alarm
            e.alarm_ns = alarm_ns
        self.arena_size = core_bytes(instances, links, groups)
        self.arena = <u8 *> mmap(NULL, self.arena_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if <uintptr_t> self.arena == <uintptr_t> -1:
            self.arena = NULL
            raise MemoryError()
        core_init(&e.core, self.arena, instances, links, groups, fv_now_ns())
        e.core.coalesce_ns = COALESCE_NS
        e.core.base_ns = fv_now_ns()
        for k in range(1 if lock_memory else 2):
            if burst_init(&e.burst[k], instances * ACTIONS_PER_VR + ACTIONS_SPARE, instances):
                raise MemoryError()
        e.links = <elink_t *> calloc(links, sizeof(elink_t))
        e.paces = <pace_t *> calloc(2 * links, sizeof(pace_t))
        e.failed = <u64 *> calloc(instances, 8)
        e.owed = <u8 *> calloc(instances, 1)
        e.ringed = <u32 *> calloc(2 * links, 4)
        e.opened = <u32 *> calloc(2 * links, 4)
        while hash_size < 4 * links:
            hash_size *= 2
        e.by_ifindex = <u32 *> calloc(hash_size, 4)
        e.hash_mask = hash_size - 1
        e.again_ns = e.settle_ns = FV_NEVER
        choose_tick(e)
        if (e.links == NULL or e.paces == NULL or e.failed == NULL or e.owed == NULL
                or e.ringed == NULL or e.opened == NULL or e.by_ifindex == NULL):
            raise MemoryError()
        self.newest = <int *> calloc(4 * links, sizeof(int))
        if self.newest == NULL:
            raise MemoryError()
        if (netio_init(&e.io) or announcer_init(&e.announcer) or applier_init(&e.applier, instances)
                or ring_init(&e.commands, sizeof(command_t), COMMAND_RING)
                or ring_init(&e.events, sizeof(action_t), EVENT_RING)):
            raise_errno("engine")
        use_burst(e, 0)
        e.ep = epoll_create1(EPOLL_CLOEXEC)
        e.link_fd = make_link_socket()
        e.control_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)
        if e.ep < 0 or e.link_fd < 0 or e.control_fd < 0:
            raise_errno("engine sockets")
        watch(e, e.link_fd, SRC_LINK)
        watch(e, e.commands.fd, SRC_COMMAND)
        watch(e, e.applier.done.fd, SRC_APPLIER)

    def __dealloc__(self):
        cdef engine_t *e = self.e
        cdef u32 k
        cdef u32 six
        cdef action_t a
        free(self.newest)
        self.newest = NULL
        if e == NULL:
            return
        if self.threads is not None:                    # still running: never free under a live thread
            return
        if e.events.items != NULL:
            while ring_pop(&e.events, &a):
                if a.event == EV_GARBAGE:
                    block_free(<void *> <uintptr_t> a.a)
        if self.arena != NULL:
            for k in range(e.core.cap_vr):
                block_free(e.core.cfg[k])
            for k in range(e.high_link):
                close_fd(e.links[k].fd[0])
                close_fd(e.links[k].fd[1])
                for six in range(2):
                    if e.links[k].ring[six] != NULL:
                        free_ring(e.links[k].ring[six])
            munmap(self.arena, self.arena_size)
        if self.page != NULL:
            munmap(self.page, MAX_THREADS * PULSE_STRIDE)
        burst_free(&e.burst[0])
        burst_free(&e.burst[1])
        free(e.links)
        free(e.paces)
        free(e.failed)
        free(e.owed)
        free(e.ringed)
        free(e.opened)
        free(e.by_ifindex)
        netio_free(&e.io)
        announcer_free(&e.announcer)
        applier_free(&e.applier)
        ring_free(&e.commands)
        ring_free(&e.events)
        close_fd(e.ep)
        close_fd(e.link_fd)
        close_fd(e.control_fd)
        free(e)

    def _engine_thread(self):
        cdef engine_t *e = self.e
        if self.rt_priority and fv_realtime(self.rt_priority) < 0:
            self.rt_errno = fv_errno()
        if self.cpu >= 0:
            fv_pin(self.cpu)
        self.ready.set()
        with nogil:
            engine_loop(e)

    def _applier_thread(self):
        cdef applier_t *p = &self.e.applier
        # below the engine: on one CPU a long run of programs must not delay an advert
        if self.rt_priority > 1:
            fv_realtime(self.rt_priority - 1)
        with nogil:
            applier_loop(p)

    def start(self):
        if self.threads is not None:
            raise RuntimeError("the engine runs already")
        if self.lock_memory and mlockall(MCL_CURRENT | MCL_FUTURE) < 0:
            raise_errno("mlockall")
        self.e.running = 1
        self.threads = [
            _threading.Thread(target=self._applier_thread, name="applier", daemon=True),
            _threading.Thread(target=self._engine_thread, name="engine", daemon=True),
        ]
        before = _threading.stack_size(STACK_BYTES)
        try:
            for thread in self.threads:
                thread.start()
        finally:
            _threading.stack_size(before)
        self.ready.wait()                               # rt_errno is known from here on

    def fileno(self):
        return self.e.events.fd

    def events(self, int limit=512):
        cdef list result = []
        cdef action_t a
        ring_answer(&self.e.events)
        while len(result) < limit and ring_pop_lean(&self.e.events, &a):
            if a.event == EV_GARBAGE:
                block_free(<void *> <uintptr_t> a.a)
            else:
                result.append(event_of(&a))
        if ring_used(&self.e.events):
            ring_bell(&self.e.events)                   # level-triggered for the caller's loop
        return result

    def overflowed(self):
        return bool(fv_swap_u32(&self.e.overflow, 0))

    cdef int command(self, u32 kind, u32 slot, i64 a, i64 b, void *data) except -1:
        cdef command_t m
        m.kind = kind
        m.slot = slot
        m.a = a
        m.b = b
        m.data = data
        while not ring_push(&self.e.commands, &m):
            if self.threads is None:
                raise RuntimeError("the command ring is full and the engine does not run")
            ring_bell(&self.e.commands)
            with nogil:
                usleep(500)
        ring_bell(&self.e.commands)
        return 0

    def link(self, u32 slot, *, i32 ifindex, int families=1, i64 garp_interval_ns=0, i64 gna_interval_ns=0,
             int pace_group=-1, list mcast4=None, list mcast6=None, int rx_buffer=0, i32 vrf_ifindex=0,
             bint rejoin=False, bytes vrids4=None, bytes vrids6=None, int any_ttl=3, int packet=0,
             i64 down_delay_ns=0, i64 up_delay_ns=0, u32 ring_frames=1024, i32 group_ifindex=0,
             bint unreported=False):
        cdef linkdef_t *d
        cdef accept_t accept[2]
        cdef accept_t framed
        cdef list joined4 = sorted(mcast4 or [])                # those of 224.0.0.0/24 come first
        cdef bytes groups4 = b"".join(joined4)
        cdef bytes groups6 = b"".join(mcast6 or [])
        cdef i32 device = vrf_ifindex if ifindex == -1 else ifindex
        cdef groups_t *groups
        cdef u32 silent[2]
        cdef int fresh[4]
        cdef int failed = 0
        cdef u32 six
        in_range("link", slot, 0, self.e.core.cap_link - 1)
        in_range("pace_group", pace_group, -1, self.e.core.cap_link - 1)
        in_range("ring_frames", ring_frames, RING_FRAMES_MIN, RING_FRAMES_MAX)
        if ring_frames & (ring_frames - 1):
            raise ValueError("ring_frames is a power of two")
        if group_ifindex == 0:
            group_ifindex = ifindex
        if len(groups4) % 4 or len(groups6) % 16:
            raise ValueError("a multicast group is 4 bytes (IPv4) or 16 bytes (IPv6)")
        if packet and ifindex == -1:
            raise ValueError("a pseudo link has no frames")
        silent[0] = silent[1] = 0
        if unreported and packet & 1:
            silent[0] = sum([group.startswith(LOCAL_GROUPS4) for group in joined4])
        fill_accept(&accept[0], vrids4, any_ttl & 1)
        fill_accept(&accept[1], vrids6, any_ttl & 2)
        d = <linkdef_t *> calloc(1, sizeof(linkdef_t))
        if d == NULL:
            raise MemoryError()
        d.slot = slot
        d.ifindex = ifindex
        d.fd[0] = d.fd[1] = -1
        # pacing budgets of single links lie behind those of garp_groups
        d.pace = <u32> pace_group if pace_group >= 0 else self.e.core.cap_link + slot
        d.interval_ns[0] = garp_interval_ns
        d.interval_ns[1] = gna_interval_ns
        d.delay_ns[0] = down_delay_ns
        d.delay_ns[1] = up_delay_ns
        if ifindex != 0:
            for six in range(2):
                joined = groups6 if six else groups4
                alen = 16 if six else 4
                if packet & (1 << six) and not failed:
                    framed = accept[six]
                    framed.every_ttl = 0                # frames are multicast
                    d.ring[six] = make_ring(take_ring(ring_frames), six, device, group_ifindex, ring_frames,
                                            <const u8 *> <const char *> joined, len(joined) // alen,
                                            silent[six], &framed, &failed)
                    joined = b""                        # the raw socket beside it is for unicast
                if families & (1 << six) and not failed:
                    d.fd[six] = make_socket(six, device, <const u8 *> <const char *> joined, len(joined) // alen,
                                            rx_buffer, &accept[six])
                    if d.fd[six] < 0:
                        failed = -d.fd[six]
        if failed:
            for six in range(2):
                close_fd(d.fd[six])
                if d.ring[six] != NULL:
                    free_ring(d.ring[six])
            free(d)
            raise OSError(failed, f"VRRP socket on interface {ifindex}: {_os.strerror(failed)}")
        for six in range(2):
            fresh[six] = d.fd[six] + 1
            fresh[2 + six] = d.ring[six].fd + 1 if d.ring[six] != NULL else 0
        if rejoin and ifindex > 0:
            groups = <groups_t *> calloc(1, sizeof(groups_t) + len(groups4) + len(groups6))
            if groups != NULL:                              # no memory: the sockets are members, as far as it goes
                for six in range(2):
                    groups.fd[six] = d.ring[six].member if d.ring[six] != NULL else d.fd[six]
                groups.ifindex = group_ifindex if packet else ifindex
                groups4 = groups4[4 * silent[0]:]
                groups.n[0] = len(groups4) // 4
                groups.n[1] = len(groups6) // 16
                groups.addresses = <u8 *> groups + sizeof(groups_t)
                memcpy(groups.addresses, <const u8 *> <const char *> groups4, len(groups4))
                memcpy(groups.addresses + len(groups4), <const u8 *> <const char *> groups6, len(groups6))
                d.rejoin = groups
        self.command(CMD_LINK, slot, 0, 0, d)
        memcpy(&self.newest[4 * slot], fresh, sizeof(fresh))

    def accept(self, u32 slot, *, bytes vrids4=None, bytes vrids6=None, int any_ttl=3):
        cdef accept_t accept
        cdef u32 k
        in_range("link", slot, 0, self.e.core.cap_link - 1)
        for k in range(4):
            if self.newest[4 * slot + k]:
                fill_accept(&accept, vrids6 if k & 1 else vrids4, any_ttl & (1 << (k & 1)) and k < 2)
                set_filter(self.newest[4 * slot + k] - 1, k & 1, k >= 2, &accept)

    def commit(self, list instances, *, list remove=None, i64 epoch):
        cdef u32 n = len(instances)
        cdef u32 k
        cdef u32 taken = 0
        cdef commit_t *m
        remove = remove or []
        for value in remove:
            in_range("slot", value, 0, self.e.core.cap_vr - 1)
        m = <commit_t *> calloc(1, sizeof(commit_t))
        if m == NULL:
            raise MemoryError()
        m.items = <cfg_t **> calloc(n + 1, sizeof(cfg_t *))
        m.remove = <u32 *> calloc(len(remove) + 1, 4)
        try:
            if m.items == NULL or m.remove == NULL:
                raise MemoryError()
            for k in range(n):
                m.items[k] = (<Instance?> instances[k]).take(&self.e.core)
                taken += 1
        except BaseException:                           # half a commit is none: give everything back
            for k in range(taken):
                block_free(m.items[k])
            free(m.items)
            free(m.remove)
            free(m)
            raise
        for k in range(<u32> len(remove)):
            m.remove[k] = remove[k]
        m.n = n
        m.n_remove = len(remove)
        m.epoch = epoch
        self.command(CMD_COMMIT, 0, 0, 0, m)

    def hand_over(self, Engine receiver, *, list links, list instances, int limit_ms=3000):
        cdef u32 n_links = len(links)
        cdef u32 n = len(instances)
        cdef u32 k
        cdef move_t *m
        if receiver is self or receiver.e.core.cap_vr != self.e.core.cap_vr or \
                receiver.e.core.cap_link != self.e.core.cap_link or receiver.e.core.cap_group != self.e.core.cap_group:
            raise ValueError("links go to another engine of the same size")
        if self.threads is None or receiver.threads is None:
            raise RuntimeError("both engines have to run")
        for value in links:
            in_range("link", value, 0, self.e.core.cap_link - 1)
        for value in instances:
            in_range("slot", value, 0, self.e.core.cap_vr - 1)
        m = <move_t *> calloc(1, sizeof(move_t) + n_links * sizeof(moved_link_t)
                              + <size_t> n * (sizeof(carried_t) + sizeof(moved_t) + sizeof(u32)))
        if m == NULL:
            raise MemoryError()
        m.giver = self.e
        m.receiver = receiver.e
        m.n_links = n_links
        m.n = n
        m.links = <moved_link_t *> (<u8 *> m + sizeof(move_t))
        m.carried = <carried_t *> (m.links + n_links)
        m.moved = <moved_t *> (m.carried + n)
        m.slots = <u32 *> (m.moved + n)
        for k in range(n_links):
            m.links[k].slot = links[k]
        for k in range(n):
            m.slots[k] = instances[k]
        receiver.command(CMD_MOVE, 0, 0, 0, m)
        self.command(CMD_MOVE, 0, 0, 0, m)
        if not await_move(m, limit_ms):
            if fv_swap_u32(&m.decided, 1) == 0:
                return False                            # and the block stays: they may look at it once more
            if not await_move(m, limit_ms):
                raise RuntimeError("an engine does not go on with what another one let go")
        for k in range(n_links):
            memcpy(&receiver.newest[4 * m.links[k].slot], &self.newest[4 * m.links[k].slot], 4 * sizeof(int))
            memset(&self.newest[4 * m.links[k].slot], 0, 4 * sizeof(int))
        free(m)
        return True

    def fault(self, u32 slot, *, u32 set=0, u32 clear=0):
        self.command(CMD_FAULT, slot, set, clear, NULL)

    def adjust(self, u32 slot, i32 total):
        self.command(CMD_ADJUST, slot, total, 0, NULL)

    def replay(self, u32 slot):
        self.command(CMD_REPLAY, slot, 0, 0, NULL)

    def stop_instances(self):
        self.command(CMD_STOP_ALL, 0, 0, 0, NULL)

    def stop(self):
        if self.threads is not None:
            self.command(CMD_EXIT, 0, 0, 0, NULL)

    def join(self, timeout_s=None):
        if self.threads is None:
            return True
        for thread in reversed(self.threads):
            thread.join(timeout_s)
        if any(thread.is_alive() for thread in self.threads):
            return False
        self.threads = None
        self._close_sockets()
        return True

    def _close_sockets(self):
        """The kernel waits at each ring until no packet is on its way to it: side by side."""
        cdef u32 k
        cdef u32 six
        cdef int rings = 0
        for k in range(self.e.high_link):
            for six in range(2):
                rings += self.e.links[k].ring[six] != NULL
        side_by_side(self._close_some, rings)

    def _close_some(self, u32 first, u32 step):
        cdef u32 k
        cdef u32 six
        cdef pring_t *r
        for k in range(first, self.e.high_link, step):
            for six in range(2):
                r = self.e.links[k].ring[six]
                self.e.links[k].ring[six] = NULL
                if r != NULL:
                    with nogil:
                        free_ring(r)

    def status(self, u32 slot):
        return status_of(&self.e.core, slot)

    def sequence(self, u32 slot):
        return sequence_of(&self.e.core, slot)

    def group_state(self, u32 slot):
        in_range("group", slot, 0, self.e.core.cap_group - 1)
        return fv_peek_u8(&self.e.core.group[slot].state)

    def link_up(self, u32 slot):
        in_range("link", slot, 0, self.e.core.cap_link - 1)
        return bool(fv_peek_u8(&self.e.core.link[slot].up))

    def counters(self):
        cdef engine_t *e = self.e
        result = {name: fv_peek_u64(&e.core.rx[k]) for k, name in enumerate(RX_NAMES) if k}
        result.update(
            turns=fv_peek_u64(&e.turns), packets=fv_peek_u64(&e.packets), turns_late_1ms=fv_peek_u64(&e.late_turns),
            lateness_ns_max=fv_peek_u64(<const u64 *> &e.late_max_ns), own_pauses=fv_peek_u64(&e.pauses),
            adverts_missed=fv_peek_u64(&e.core.missed), send_errors=fv_peek_u64(&e.send_errors),
            ring_overruns=fv_peek_u64(&e.io.ring_lost),
            events_lost=fv_peek_u32(&e.events.lost), announce_frames=fv_peek_u64(&e.announcer.frames),
            announce_dropped=fv_peek_u32(&e.announcer.dropped), programs_played=fv_peek_u64(&e.applier.played),
            programs_superseded=fv_peek_u64(&e.applier.skipped),
            illegal_transitions=fv_peek_u32(&e.core.illegal), actions_lost=fv_peek_u32(&e.out.lost))
        return result

    def lateness(self):
        """Histogram: item k counts deadlines served between 2**k and 2**(k+1) nanoseconds late."""
        return [fv_peek_u64(&self.e.lateness[k]) for k in range(LATENESS_BUCKETS)]


cdef bint await_move(move_t *m, int limit_ms):
    cdef i64 until = fv_now_ns() + <i64> limit_ms * 1000000
    with nogil:
        while fv_load_u32(&m.stage) != MOVE_DONE and fv_now_ns() < until:
            usleep(50)
    return fv_load_u32(&m.stage) == MOVE_DONE


cdef int fill_accept(accept_t *a, bytes vrids, bint every_ttl) except -1:
    """None: every VRID."""
    cdef u8 vrid
    memset(a, 0, sizeof(accept_t))
    a.every_vrid = vrids is None
    a.every_ttl = every_ttl
    for vrid in vrids or b"":
        a.vrids[vrid >> 5] |= <u32> 1 << (vrid & 31)
    return 0


def socket_filter(*, family, bytes vrids=None, bint any_ttl=True, bint packet=False):
    cdef accept_t accept
    cdef filter_t f
    fill_accept(&accept, vrids, any_ttl)
    build_filter(&f, family == 6, packet, &accept)
    return packed(<const u8 *> f.code, f.n * sizeof(sock_filter))


cdef void close_fd(int fd) noexcept nogil:
    if fd >= 0:
        close(fd)


cdef int watch(engine_t *e, int fd, u64 source) except -1:
    cdef epoll_event ev
    memset(&ev, 0, sizeof(ev))
    ev.events = EPOLLIN
    ev.data.u64 = source << 32
    if epoll_ctl(e.ep, EPOLL_CTL_ADD, fd, &ev) < 0:
        raise_errno("epoll")
    return 0


cdef object raise_errno(what):
    error = fv_errno()
    raise OSError(error, f"{what}: {_os.strerror(error)}")
