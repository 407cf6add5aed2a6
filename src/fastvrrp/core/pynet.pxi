# Addresses as rtnetlink tells them, for Python: what they are, and their decoder. Typed and documented in _core.pyi.

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.string cimport memchr
from sys import intern as _intern

cdef enum:                      # linux/if_addr.h
    IFA_ADDRESS = 1
    IFA_LOCAL = 2
    IFA_LABEL = 3
    IFA_FLAGS = 8
    IFA_PROTO = 11
    IFA_KINDS = 12              # attributes up to here are looked at
    IFA_F_OPTIMISTIC = 0x04
    IFA_F_DADFAILED = 0x08
    IFA_F_TENTATIVE = 0x40
    IFADDRMSG_LEN = 8
    UNMARKED = -1


cdef inline u64 address_hash(u32 ifindex, u8 family, u8 prefixlen, const u8 *raw) noexcept nogil:
    """Its low bits depend on all of it: tables look at no others, and what differs in a subnet of IPv6 are the last
    bytes, the high ones of the second word."""
    cdef u64 words[2]
    cdef u64 h = ifindex | (<u64> prefixlen << 32) | (<u64> family << 40)
    memcpy(words, raw, 16)
    h = (h ^ words[0]) * <u64> 0x9E3779B97F4A7C15
    h = (h ^ (h >> 29) ^ words[1]) * <u64> 0xBF58476D1CE4E5B9
    h = (h ^ (h >> 32)) * <u64> 0x94D049BB133111EB
    return h ^ (h >> 32)


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class AddressKey:
    cdef readonly u32 ifindex
    cdef readonly u8 family
    cdef readonly u8 prefixlen
    cdef u8 size                # of the address
    cdef u8 raw[16]
    cdef readonly bytes peer

    def __init__(self, u32 ifindex, int family, bytes address, int prefixlen, bytes peer=b""):
        if family not in (4, 6):
            raise ValueError(f"family {family} is not 4 or 6")
        self.size = 4 if family == 4 else 16
        if len(address) != self.size:
            raise ValueError(f"address {address!r} is not {self.size} bytes")
        if peer and len(peer) != self.size:
            raise ValueError(f"peer {peer!r} is not {self.size} bytes")
        in_range("prefix length", prefixlen, 0, 8 * self.size)
        self.ifindex = ifindex
        self.family = family
        self.prefixlen = prefixlen
        memset(self.raw, 0, 16)
        memcpy(self.raw, <const char *> address, self.size)
        self.peer = peer

    @property
    def address(self):
        return packed(self.raw, self.size)

    def _replace(self, **changes):
        fields = dict(ifindex=self.ifindex, family=self.family, address=self.address, prefixlen=self.prefixlen,
                      peer=self.peer)
        fields.update(changes)
        return AddressKey(**fields)

    def __hash__(self):
        return <Py_hash_t> address_hash(self.ifindex, self.family, self.prefixlen, self.raw)

    def __eq__(self, other):
        if type(other) is not AddressKey:
            return NotImplemented
        return same_key(self, <AddressKey> other)

    def __repr__(self):
        return (f"AddressKey(ifindex={self.ifindex}, family={self.family}, address={self.address!r}, "
                f"prefixlen={self.prefixlen}, peer={self.peer!r})")


cdef inline bint same_key(AddressKey a, AddressKey b):
    return (a.ifindex == b.ifindex and a.prefixlen == b.prefixlen and a.family == b.family
            and memcmp(a.raw, b.raw, 16) == 0 and (a.peer is b.peer or a.peer == b.peer))


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class Address:
    cdef readonly AddressKey key
    cdef readonly u32 flags
    cdef readonly u8 scope
    cdef short mark             # IFA_PROTO or UNMARKED
    cdef readonly str label

    def __init__(self, AddressKey key not None, u32 flags, u8 scope, protocol, str label not None):
        self.key = key
        self.flags = flags
        self.scope = scope
        self.mark = UNMARKED if protocol is None else in_range("protocol", protocol, 0, 255)
        self.label = label

    @property
    def protocol(self):
        return None if self.mark == UNMARKED else self.mark

    @property
    def usable(self):
        if self.flags & IFA_F_DADFAILED:
            return False
        return not self.flags & IFA_F_TENTATIVE or bool(self.flags & IFA_F_OPTIMISTIC)

    def _replace(self, **changes):
        fields = dict(key=self.key, flags=self.flags, scope=self.scope, protocol=self.protocol, label=self.label)
        fields.update(changes)
        return Address(**fields)

    def __hash__(self):
        return hash((self.key, self.flags, self.scope, self.mark, self.label))

    def __eq__(self, other):
        if type(other) is not Address:
            return NotImplemented
        return same_address(self, <Address> other)

    def __repr__(self):
        return (f"Address(key={self.key!r}, flags={self.flags}, scope={self.scope}, protocol={self.protocol}, "
                f"label={self.label!r})")


cdef inline bint same_address(Address a, Address b):
    return (a.flags == b.flags and a.scope == b.scope and a.mark == b.mark and a.label == b.label
            and same_key(a.key, b.key))


ctypedef struct told_t:         # an address message, taken apart
    u32 ifindex
    u32 flags
    u8 family                   # 4 or 6
    u8 prefixlen
    u8 scope
    u8 size
    short mark
    const u8 *local
    const u8 *peer              # NULL: none
    const u8 *label
    u32 label_len


cdef object take_apart(const u8 *p, size_t n, told_t *t):
    """True; False: of another family. Raises ValueError."""
    cdef const u8 *found[IFA_KINDS]
    cdef u32 length[IFA_KINDS]
    cdef const u8 *end
    cdef size_t at = IFADDRMSG_LEN
    cdef u16 size
    cdef u16 kind
    if n < IFADDRMSG_LEN:
        raise ValueError("address message too short")
    if p[0] != AF_INET and p[0] != AF_INET6:
        return False
    t.family = 4 if p[0] == AF_INET else 6
    t.size = 4 if p[0] == AF_INET else 16
    t.prefixlen = p[1]
    t.flags = p[2]
    t.scope = p[3]
    memcpy(&t.ifindex, p + 4, 4)
    if t.prefixlen > 8 * t.size:
        raise ValueError(f"prefix length {t.prefixlen}")
    memset(found, 0, sizeof(found))
    memset(length, 0, sizeof(length))
    while at + 4 <= n:
        memcpy(&size, p + at, 2)
        memcpy(&kind, p + at + 2, 2)
        if size < 4 or size > n - at:
            raise ValueError(f"attribute of {size} bytes with {n - at} left")
        kind &= 0x3FFF                                  # NLA_TYPE_MASK
        if kind < IFA_KINDS:
            found[kind] = p + at + 4
            length[kind] = size - 4
        at += (size + 3) & ~<size_t> 3
    t.local = found[IFA_ADDRESS]
    size = length[IFA_ADDRESS]
    if found[IFA_LOCAL] != NULL:
        t.local = found[IFA_LOCAL]
        size = length[IFA_LOCAL]
    if t.local == NULL or size != t.size:
        raise ValueError(f"address of {size} bytes instead of {t.size}")
    t.peer = NULL
    if length[IFA_ADDRESS]:
        if length[IFA_ADDRESS] != t.size:
            raise ValueError(f"address of {length[IFA_ADDRESS]} bytes instead of {t.size}")
        if memcmp(found[IFA_ADDRESS], t.local, t.size) != 0:
            t.peer = found[IFA_ADDRESS]
    if found[IFA_FLAGS] != NULL:
        if length[IFA_FLAGS] < 4:
            raise ValueError("flags too short")
        memcpy(&t.flags, found[IFA_FLAGS], 4)
    t.mark = UNMARKED
    if found[IFA_PROTO] != NULL:
        if length[IFA_PROTO] < 1:
            raise ValueError("protocol too short")
        t.mark = found[IFA_PROTO][0]
    t.label = found[IFA_LABEL]
    t.label_len = 0
    if t.label != NULL:
        end = <const u8 *> memchr(t.label, 0, length[IFA_LABEL])
        t.label_len = length[IFA_LABEL] if end == NULL else <u32> (end - t.label)
    return True


cdef str last_label = ""


cdef str label_of(const told_t *t):
    """One object for labels that are alike: an interface may have thousands of addresses."""
    global last_label
    cdef Py_ssize_t known
    cdef const char *text = PyUnicode_AsUTF8AndSize(last_label, &known)
    if known == t.label_len and memcmp(text, t.label, known) == 0:
        return last_label
    label = PyUnicode_DecodeUTF8(<const char *> t.label, t.label_len, "surrogateescape")
    if label.isascii():                                 # others may have no UTF-8 to compare with
        last_label = label = _intern(label)
    return label


cdef Address address_of(const told_t *t):
    cdef AddressKey key = AddressKey.__new__(AddressKey)
    cdef Address found = Address.__new__(Address)
    key.ifindex = t.ifindex
    key.family = t.family
    key.prefixlen = t.prefixlen
    key.size = t.size
    memset(key.raw, 0, 16)
    memcpy(key.raw, t.local, t.size)
    key.peer = b"" if t.peer == NULL else packed(t.peer, t.size)
    found.key = key
    found.flags = t.flags
    found.scope = t.scope
    found.mark = t.mark
    found.label = label_of(t)
    return found


def decode_address(data, Py_ssize_t start, Py_ssize_t end):
    cdef Py_buffer view
    cdef told_t t
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if not 0 <= start <= end <= view.len:
            raise ValueError("address message outside of its data")
        return address_of(&t) if take_apart(<const u8 *> view.buf + start, end - start, &t) else None
    finally:
        PyBuffer_Release(&view)
