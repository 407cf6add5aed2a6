# What was last told of the instances, for Python: thousands of these are kept, so they are records without
# objects. Typed and documented in _core.pyi.

ctypedef struct mirror_t:
    i64 since_ns
    u32 sequence
    u32 transitions
    u8 known
    u8 state
    u8 reason
    u8 priority
    u8 master_priority
    u8 master_len
    u8 master[16]


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class Mirrors:
    cdef mirror_t *rows         # by slot
    cdef u32 n

    def __dealloc__(self):
        free(self.rows)

    def add(self, u32 slot, u32 sequence=0):
        cdef mirror_t *rows
        if slot >= self.n:
            rows = <mirror_t *> realloc(self.rows, (<size_t> slot + 1) * sizeof(mirror_t))
            if rows == NULL:
                raise MemoryError()
            memset(&rows[self.n], 0, (slot + 1 - self.n) * sizeof(mirror_t))
            self.rows = rows
            self.n = slot + 1
        memset(&self.rows[slot], 0, sizeof(mirror_t))
        self.rows[slot].known = 1
        self.rows[slot].state = S_INIT
        self.rows[slot].sequence = sequence

    def drop(self, u32 slot):
        if slot < self.n:
            self.rows[slot].known = 0

    def get(self, u32 slot):
        cdef Mirror found
        if slot >= self.n or not self.rows[slot].known:
            return None
        found = Mirror.__new__(Mirror)
        found.all = self
        found.slot = slot
        return found

    def sequence(self, u32 slot):
        return <i64> self.rows[slot].sequence if slot < self.n and self.rows[slot].known else -1

    def enter(self, u32 slot, u32 sequence, u8 state, u8 reason, u8 priority, i64 since_ns):
        cdef mirror_t *row
        cdef u8 old
        if slot >= self.n or not self.rows[slot].known:
            raise KeyError(slot)
        row = &self.rows[slot]
        old = row.state
        row.sequence = sequence
        row.state = state
        row.reason = reason
        row.priority = priority
        row.since_ns = since_ns
        row.transitions += 1
        if state != S_BACKUP:
            row.master_len = 0
            row.master_priority = 0
        return old, row.transitions == 1

    def slots(self):
        cdef u32 slot
        return [slot for slot in range(self.n) if self.rows[slot].known]

    def in_state(self, u8 state):
        cdef u32 slot
        return [slot for slot in range(self.n) if self.rows[slot].known and self.rows[slot].state == state]

    def state(self, u32 slot):
        return self.rows[slot].state if slot < self.n and self.rows[slot].known else S_INIT


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class Mirror:
    cdef Mirrors all
    cdef readonly u32 slot

    cdef inline mirror_t *row(self):
        return &self.all.rows[self.slot]

    @property
    def since_ns(self):
        return self.row().since_ns

    @since_ns.setter
    def since_ns(self, i64 value):
        self.row().since_ns = value

    @property
    def sequence(self):
        return self.row().sequence

    @sequence.setter
    def sequence(self, u32 value):
        self.row().sequence = value

    @property
    def transitions(self):
        return self.row().transitions

    @transitions.setter
    def transitions(self, u32 value):
        self.row().transitions = value

    @property
    def state(self):
        return self.row().state

    @state.setter
    def state(self, u8 value):
        self.row().state = value

    @property
    def reason(self):
        return self.row().reason

    @reason.setter
    def reason(self, u8 value):
        self.row().reason = value

    @property
    def priority(self):
        return self.row().priority

    @priority.setter
    def priority(self, u8 value):
        self.row().priority = value

    @property
    def master_priority(self):
        return self.row().master_priority

    @master_priority.setter
    def master_priority(self, u8 value):
        self.row().master_priority = value

    @property
    def master_address(self):
        return packed(self.row().master, self.row().master_len)

    @master_address.setter
    def master_address(self, bytes value not None):
        if len(value) > 16:
            raise ValueError(f"{value!r} is no address")
        memcpy(self.row().master, <const char *> value, len(value))
        self.row().master_len = <u8> len(value)
