# Receive rings by the hundred. The kernel takes milliseconds for each that is made or closed, in which
# it only waits: threads that wait side by side wait once.

cdef enum:
    SIDE_BY_SIDE = 32

_rings = {}                     # addresses of rings that nobody uses yet, by their number of frames


def side_by_side(work, u32 count):
    """Call work(first, step) in up to SIDE_BY_SIDE threads, of which each does every step-th of `count`
    things; returns when all is done."""
    cdef u32 step = min(count, <u32> SIDE_BY_SIDE)
    threads = [_threading.Thread(target=work, args=(first, step), name="rings") for first in range(step)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def prepare_rings(u32 count, u32 frames):
    """Make rings for Engine.link() to take. Those that cannot be made it makes itself, and says why not."""
    spare = _rings.setdefault(frames, [])

    def make(u32 first, u32 step):
        cdef pring_t *r
        cdef int error = 0
        cdef u32 k
        cdef u32 n = frames
        for k in range(first, count, step):
            with nogil:
                r = map_new_ring(n, &error)
            if r == NULL:
                break
            spare.append(<uintptr_t> r)

    side_by_side(make, count)


def discard_rings():
    """Close those that were prepared and not taken."""
    rings = [ring for spare in _rings.values() for ring in spare]
    _rings.clear()

    def discard(u32 first, u32 step):
        cdef pring_t *r
        for ring in rings[first::step]:
            r = <pring_t *> <uintptr_t> ring
            with nogil:
                free_ring(r)

    side_by_side(discard, len(rings))


cdef pring_t *take_ring(u32 frames):
    """A prepared ring, or NULL."""
    spare = _rings.get(frames)
    return <pring_t *> <uintptr_t> spare.pop() if spare else NULL
