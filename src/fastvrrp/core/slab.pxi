# Blocks of configuration (cfg_t), each aligned to cache lines and without anything in between: regions of one size
# of blocks each, given back when they are empty. Nothing else lies among them, so what was allocated while they
# were made goes back to the system, too. Belongs to whoever holds the interpreter's lock.

cdef enum:
    SLAB_BYTES = 262144         # a region, and its alignment
    SLAB_LINES = 256            # larger blocks have a region of their own

ctypedef slab_s slab_t

cdef struct slab_s:             # at the beginning of a region: one cache line
    slab_s *next                # of the same size, with room
    slab_s *before
    void *spare                 # chain of the blocks that were given back
    u64 bytes                   # of the region
    u32 lines                   # of a block; 0: there is only one
    u32 live
    u32 fresh                   # where no block was yet
    u8 listed

cdef slab_t *with_room[SLAB_LINES + 1]      # by lines


cdef slab_t *slab_new(u64 bytes) noexcept nogil:
    """A region, of whole pages of any kind. NULL: no memory."""
    cdef void *mapped
    cdef uintptr_t base
    cdef uintptr_t at
    cdef slab_t *s
    bytes = (bytes + 65535) & ~<u64> 65535
    mapped = mmap(NULL, bytes + SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    base = <uintptr_t> mapped
    if base == <uintptr_t> -1:
        return NULL
    at = (base + SLAB_BYTES - 1) & ~<uintptr_t> (SLAB_BYTES - 1)
    if at > base:
        munmap(mapped, at - base)
    if base + SLAB_BYTES > at:
        munmap(<void *> (at + bytes), base + SLAB_BYTES - at)
    s = <slab_t *> at
    s.bytes = bytes
    s.fresh = CACHE_LINE
    return s


cdef void slab_list(slab_t *s) noexcept nogil:
    s.next = with_room[s.lines]
    s.before = NULL
    if s.next != NULL:
        s.next.before = s
    with_room[s.lines] = s
    s.listed = 1


cdef void slab_unlist(slab_t *s) noexcept nogil:
    if s.before != NULL:
        s.before.next = s.next
    else:
        with_room[s.lines] = s.next
    if s.next != NULL:
        s.next.before = s.before
    s.listed = 0


cdef void *block_new(size_t n) noexcept nogil:
    """NULL: no memory. With an odd number of cache lines each, the beginnings of blocks, which are what an advert
    needs, are spread over all sets of the cache. With 512 bytes they shared a part of them, and an advert took half
    as long again."""
    cdef u32 lines = <u32> ((n + CACHE_LINE - 1) // CACHE_LINE) | 1
    cdef slab_t *s
    cdef void *p = NULL
    if not FV_SLABS:
        return NULL if posix_memalign(&p, CACHE_LINE, n) else p
    if lines > SLAB_LINES:
        s = slab_new(CACHE_LINE + <u64> n)
        return NULL if s == NULL else <u8 *> s + CACHE_LINE
    s = with_room[lines]
    if s == NULL:
        s = slab_new(SLAB_BYTES)
        if s == NULL:
            return NULL
        s.lines = lines
        slab_list(s)
    if s.spare != NULL:
        p = s.spare
        s.spare = (<void **> p)[0]
    else:
        p = <u8 *> s + s.fresh
        s.fresh += lines * CACHE_LINE
    s.live += 1
    if s.spare == NULL and s.fresh + lines * CACHE_LINE > SLAB_BYTES:
        slab_unlist(s)
    return p


cdef void block_free(void *p) noexcept nogil:
    cdef slab_t *s = <slab_t *> (<uintptr_t> p & ~<uintptr_t> (SLAB_BYTES - 1))
    if p == NULL:
        return
    if not FV_SLABS:
        free(p)
        return
    if s.lines == 0:
        munmap(s, s.bytes)
        return
    (<void **> p)[0] = s.spare
    s.spare = p
    s.live -= 1
    if s.live == 0:
        if s.listed:
            slab_unlist(s)
        munmap(s, s.bytes)
    elif not s.listed:
        slab_list(s)
