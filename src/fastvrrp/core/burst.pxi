# Memory that only the takeover of many fills: the actions of a turn and the announcer's jobs. There are two
# blocks of it. When a burst is over the engine goes on in the other one, and the applier gives the pages of the
# first back to the kernel: whoever does that may wait for the lock on the memory map of the process, which
# Python's threads and readers of /proc hold, and interrupts the other processors. One block alone where memory
# is locked (vrrp_no_swap): nothing of that is given back, nor asked for again in a takeover.

cdef enum:
    ACTIONS_KEPT = 1024         # places for actions that stay when the others are given back

ctypedef struct burst_t:
    u8 *memory                  # NULL: there is no such block
    size_t bytes
    action_t *actions           # each of the four begins with a page
    job_t *first
    job_t *repeats
    pending_t *pending
    u32 cap                     # of the actions
    u32 slots                   # of `pending`
    u32 clean                   # written by the applier when it leaves the block to the engine


cdef inline size_t whole_pages(size_t n) noexcept nogil:
    cdef size_t page = <size_t> getpagesize()
    return (n + page - 1) & ~(page - 1)


cdef int burst_init(burst_t *b, u32 cap, u32 slots) noexcept nogil:
    cdef size_t actions = whole_pages(<size_t> cap * sizeof(action_t))
    cdef size_t jobs = whole_pages(<size_t> JOBS * sizeof(job_t))
    cdef void *memory
    b.bytes = actions + 2 * jobs + whole_pages(<size_t> slots * KINDS * sizeof(pending_t))
    memory = mmap(NULL, b.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if <uintptr_t> memory == <uintptr_t> -1:
        return -1
    b.memory = <u8 *> memory
    b.actions = <action_t *> b.memory
    b.first = <job_t *> (b.memory + actions)
    b.repeats = <job_t *> (b.memory + actions + jobs)
    b.pending = <pending_t *> (b.memory + actions + 2 * jobs)
    b.cap = cap
    b.slots = slots
    b.clean = 1
    return 0


cdef void burst_free(burst_t *b) noexcept nogil:
    if b.memory != NULL:
        munmap(b.memory, b.bytes)
    b.memory = NULL


cdef void burst_clean(burst_t *b) noexcept nogil:
    """The applier's part. What is needed between bursts stays, so that no advert has to ask for it again."""
    cdef size_t pending = <size_t> b.slots * KINDS * sizeof(pending_t)
    if b.cap > ACTIONS_KEPT:
        give_back(&b.actions[ACTIONS_KEPT], <size_t> (b.cap - ACTIONS_KEPT) * sizeof(action_t))
    give_back(&b.first[JOBS_FIRST], <size_t> (JOBS - JOBS_FIRST) * sizeof(job_t))
    give_back(&b.repeats[JOBS_FIRST], <size_t> (JOBS - JOBS_FIRST) * sizeof(job_t))
    if madvise(b.pending, whole_pages(pending), MADV_DONTNEED) < 0:
        memset(b.pending, 0, pending)                   # nobody may find the jobs of another burst there
    fv_store_u32(&b.clean, 1)
