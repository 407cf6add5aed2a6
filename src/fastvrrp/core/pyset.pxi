# A set of thousands of addresses, for Python: their bytes behind each other in order, and no objects. Typed and
# documented in _core.pyi.

cdef int compare_four(const void *a, const void *b) noexcept nogil:
    return memcmp(a, b, 4)


cdef int compare_sixteen(const void *a, const void *b) noexcept nogil:
    return memcmp(a, b, 16)


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class AddressSet:
    cdef bytes four             # IPv4, sorted
    cdef bytes sixteen          # IPv6

    def __cinit__(self, addresses=()):
        cdef list known = sorted(set(addresses))
        for address in known:
            if len(<bytes?> address) != 4 and len(<bytes> address) != 16:
                raise ValueError(f"an address has 4 or 16 bytes, not {len(address)}")
        self.four = b"".join([address for address in known if len(<bytes> address) == 4])
        self.sixteen = b"".join([address for address in known if len(<bytes> address) == 16])

    def __contains__(self, address):
        cdef Py_ssize_t size
        if type(address) is not bytes:
            return False
        size = len(<bytes> address)
        if size == 4:
            return bsearch(<char *> <bytes> address, <char *> self.four, len(self.four) // 4, 4, compare_four) != NULL
        if size == 16:
            return bsearch(<char *> <bytes> address, <char *> self.sixteen, len(self.sixteen) // 16, 16,
                           compare_sixteen) != NULL
        return False

    def __len__(self):
        return len(self.four) // 4 + len(self.sixteen) // 16

    def __iter__(self):
        cdef Py_ssize_t at
        for at in range(0, len(self.four), 4):
            yield self.four[at:at + 4]
        for at in range(0, len(self.sixteen), 16):
            yield self.sixteen[at:at + 16]

    def __repr__(self):
        return f"AddressSet({list(self)!r})"
