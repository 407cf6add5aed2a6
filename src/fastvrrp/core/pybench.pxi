# Loops in C for the micro benchmarks (bench/micro): the cost of the core without Python's calls.
# Nothing in the product uses them.

def bench_wire(u32 rounds, u32 addresses=1):
    """Nanoseconds that `rounds` of each take for one IPv4 v3 PDU: checksum, encode, decode."""
    cdef Instance made = Instance(
        slot=0, vrid=1, family=4, version=3, priority=100, advert_int_ns=FV_NS_PER_S, link=0, flags=F_UNICAST,
        source=b"\x0a\x00\x00\x01", addresses=[bytes([10, 0, 1, k]) for k in range(addresses)])
    cdef u8 destination[16]
    cdef u8 buffer[MAX_PDU]
    cdef advert_t a
    cdef u8 plain = 0
    cdef u32 k
    cdef u64 total = 0
    cdef i64 start
    memcpy(destination, <const u8 *> b"\xe0\x00\x00\x12", 4)
    result = {}
    start = fv_now_ns()
    for k in range(rounds):
        made.cfg.pdu[2] = <u8> k
        total += fold(sum_bytes(made.cfg.pdu, made.cfg.pdu_len, 0))
    result["checksum"] = fv_now_ns() - start
    start = fv_now_ns()
    for k in range(rounds):
        advert_finish(made.cfg, <u8> (1 + (k & 127)), destination, buffer)
        total += buffer[7]
    result["encode"] = fv_now_ns() - start
    start = fv_now_ns()
    for k in range(rounds):
        if advert_parse(buffer, made.cfg.pdu_len, 4, &a) != RX_OK or not advert_checksum_ok(
                buffer, &a, 4, made.cfg.source, destination, &plain):
            raise RuntimeError("the benchmark's own packet is refused")
        total += a.priority
    result["decode"] = fv_now_ns() - start
    result["sum"] = total                               # keeps the loops from being optimised away
    return result


def bench_feed(Core core, list packets, *, i64 now_ns, i64 step_ns=0, u32 rounds=1):
    """core_packet() `rounds` times over (link, source, destination, ttl, data); virtual time moves by
    step_ns per round. (ns spent, accepted, actions)."""
    cdef u32 n = len(packets)
    cdef u32 k
    cdef u32 r
    cdef u32 *links = <u32 *> calloc(n + 1, 4)
    cdef const u8 **pointers = <const u8 **> calloc(3 * n + 3, sizeof(void *))
    cdef u32 *lengths = <u32 *> calloc(2 * n + 2, 4)
    cdef u8 *ttls = <u8 *> calloc(n + 1, 1)
    cdef i64 start
    cdef u64 accepted = 0
    cdef u64 actions = 0
    cdef core_t *c = &core.core
    cdef out_t *out = &core.out
    try:
        if links == NULL or pointers == NULL or lengths == NULL or ttls == NULL:
            raise MemoryError()
        for k in range(n):
            link, source, destination, ttl, data = packets[k]
            links[k] = in_range("link", link, 0, c.cap_link - 1)
            pointers[3 * k] = <const u8 *> <const char *> source
            pointers[3 * k + 1] = <const u8 *> <const char *> destination
            pointers[3 * k + 2] = <const u8 *> <const char *> data
            lengths[2 * k] = len(source)
            lengths[2 * k + 1] = len(data)
            ttls[k] = ttl
        start = fv_now_ns()
        for r in range(rounds):
            for k in range(n):
                accepted += core_packet(c, links[k], lengths[2 * k], pointers[3 * k], pointers[3 * k + 1], ttls[k],
                                        pointers[3 * k + 2], lengths[2 * k + 1], now_ns, out) == RX_OK
                actions += out.n
                out.n = 0
            now_ns += step_ns
        return fv_now_ns() - start, accepted, actions
    finally:
        free(links)
        free(pointers)
        free(lengths)
        free(ttls)


def bench_run(Core core, i64 until_ns):
    """core_tick() at every deadline up to until_ns. (ns spent, turns, actions)."""
    cdef i64 start = fv_now_ns()
    cdef i64 due
    cdef u64 turns = 0
    cdef u64 actions = 0
    while True:
        due = core_next_due(&core.core, FV_NEVER)
        if due > until_ns:
            return fv_now_ns() - start, turns, actions
        core_tick(&core.core, due, core.core.cap_vr, &core.out)
        actions += core.out.n
        core.out.n = 0
        turns += 1


def bench_wheel(Wheel wheel, *, i64 now_ns, u32 rounds, i64 step_ns, i64 spread_ns):
    """`rounds` times: time moves by step_ns, what is due is armed again spread_ns after its deadline.
    (ns spent, fired)."""
    cdef core_t *c = &wheel.core
    cdef i64 start = fv_now_ns()
    cdef u64 fired = 0
    cdef u32 r
    cdef u32 n
    cdef u32 k
    cdef i64 due
    for r in range(rounds):
        now_ns += step_ns
        while True:
            n = wheel_pop_due(&c.wheel, now_ns, c.scratch, c.cap_vr)
            if n == 0:
                break
            for k in range(n):
                due = c.vr[c.scratch[k]].node.due
                wheel_arm(&c.wheel, c.scratch[k], due + spread_ns)
            fired += n
    return fv_now_ns() - start, fired
