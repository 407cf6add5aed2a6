# What was last told of an instance, for Python: thousands of these are kept, so they are packed. Typed and
# documented in _core.pyi.

@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class Mirror:
    cdef public i64 since_ns
    cdef public bytes master_address
    cdef readonly u32 slot
    cdef public u32 sequence
    cdef public u32 transitions
    cdef public u8 state
    cdef public u8 reason
    cdef public u8 priority
    cdef public u8 master_priority

    def __init__(self, u32 slot, u32 sequence=0):
        self.slot = slot
        self.sequence = sequence
        self.state = S_INIT
        self.master_address = b""
