# Single-producer single-consumer ring of fixed records, with an eventfd that is rung only when the
# consumer may be asleep. head: next free, written by the producer; tail: next that the consumer may need.
# Whenever it is empty it begins anew with its first place, so that only as much of it takes memory as
# was ever full at once.

cdef enum:
    LEAN_BYTES = 65536          # bytes: what a burst filled goes back to the kernel by so much

ctypedef struct ring_t:
    u8 *items
    u32 size                    # of a record
    u32 mask                    # capacity - 1
    int fd                      # eventfd
    u32 lost                    # refused because full
    u8 gap0[40]
    u32 head
    u32 base                    # head when it was empty last: what is in the first place. The producer's, and
    u8 gap1[56]                 # as it changes only while there is nothing to read, read by the consumer
    u32 tail                    # places before it may be written to again
    u32 read                    # the consumer's: next to read, ahead of tail where a block is given back as a whole
    u8 gap2[56]


cdef void give_back(void *at, size_t n) noexcept nogil:
    """Whole pages among these bytes go back to the kernel; what they hold is lost, and not needed."""
    cdef uintptr_t page = <uintptr_t> getpagesize()
    cdef uintptr_t begin = (<uintptr_t> at + page - 1) & ~(page - 1)
    cdef uintptr_t end = (<uintptr_t> at + n) & ~(page - 1)
    if begin < end:
        madvise(<void *> begin, end - begin, MADV_DONTNEED)


cdef int ring_init(ring_t *r, u32 size, u32 capacity) noexcept nogil:
    """Capacity is a power of two. 0, or -1 with errno."""
    cdef void *items
    memset(r, 0, sizeof(ring_t))
    items = mmap(NULL, <size_t> capacity * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    r.items = NULL if <uintptr_t> items == <uintptr_t> -1 else <u8 *> items
    r.size = size
    r.mask = capacity - 1
    r.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    return -1 if r.items == NULL or r.fd < 0 else 0


cdef void ring_free(ring_t *r) noexcept nogil:
    if r.items != NULL:
        munmap(r.items, (<size_t> r.mask + 1) * r.size)
    r.items = NULL
    if r.fd >= 0:
        close(r.fd)
    r.fd = -1


cdef bint ring_push(ring_t *r, const void *record) noexcept nogil:
    """False when full. The bell is rung by ring_bell(), once per batch."""
    cdef u32 head = r.head
    cdef u32 tail = fv_load_u32(&r.tail)
    if head == tail:
        r.base = head
    elif head - tail > r.mask:
        r.lost += 1
        return False
    memcpy(r.items + <size_t> ((head - r.base) & r.mask) * r.size, record, r.size)
    fv_store_u32(&r.head, head + 1)
    return True


cdef inline void copy_out(ring_t *r, void *record) noexcept nogil:
    memcpy(record, r.items + <size_t> ((r.read - r.base) & r.mask) * r.size, r.size)
    r.read += 1


cdef bint ring_pop(ring_t *r, void *record) noexcept nogil:
    if r.read == fv_load_u32(&r.head):
        return False
    copy_out(r, record)
    fv_store_u32(&r.tail, r.read)
    return True


cdef bint ring_pop_lean(ring_t *r, void *record) noexcept nogil:
    """The same, and every block but the first goes back to the kernel when all of it has been read. A system
    call now and then, and new pages for the producer in the next burst: for what is mostly far from full.
    The producer gets places by the block, or when nothing is left: it may be right behind the consumer, and
    what it wrote into a block must not be lost with it."""
    cdef size_t at
    cdef size_t end
    if r.read == fv_load_u32(&r.head):
        if r.tail != r.read:
            fv_store_u32(&r.tail, r.read)
        return False
    at = <size_t> ((r.read - r.base) & r.mask) * r.size
    copy_out(r, record)
    end = (at + r.size) & ~<size_t> (LEAN_BYTES - 1)
    if end > at:
        if end > LEAN_BYTES:
            madvise(r.items + end - LEAN_BYTES, LEAN_BYTES, MADV_DONTNEED)
        fv_store_u32(&r.tail, r.read)
    return True


cdef inline u32 ring_used(ring_t *r) noexcept nogil:
    return fv_load_u32(&r.head) - fv_load_u32(&r.tail)


cdef void ring_bell(ring_t *r) noexcept nogil:
    cdef u64 one = 1
    write(r.fd, &one, 8)


cdef void ring_answer(ring_t *r) noexcept nogil:
    """The consumer takes the bell down before it drains, so that a push after the drain rings again."""
    cdef u64 count
    read(r.fd, &count, 8)
