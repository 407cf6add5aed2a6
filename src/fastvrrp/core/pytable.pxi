# The addresses of one interface as the kernel tells of them, for Python: a mapping in the order in which they
# came, of which thousands of entries are a few bytes each and no objects; and a reader for the many notifications
# of a takeover. Typed and documented in _core.pyi.

cdef enum:
    TABLE_LEAST = 4             # entries

ctypedef struct held_t:         # an address that the interface has
    u8 raw[16]
    u32 flags
    u32 label                   # in the labels of the table
    short mark
    u8 family                   # 0: it is gone
    u8 prefixlen
    u8 scope
    u8 has_peer


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class AddressTable:
    cdef readonly u32 ifindex
    cdef held_t *entries        # in their order
    cdef u32 *places            # open addressing: entry + 1
    cdef u32 mask               # places - 1
    cdef u32 room               # for so many entries
    cdef u32 used               # of these, with those that are gone
    cdef u32 count
    cdef u32 layout             # changes when entries move
    cdef list labels
    cdef dict numbers           # of the labels
    cdef dict peers             # by entry; hardly any has one

    def __cinit__(self, u32 ifindex):
        self.ifindex = ifindex
        self.labels = []
        self.numbers = {}
        self.peers = {}

    def __dealloc__(self):
        free(self.entries)
        free(self.places)

    cdef u32 look_up(self, u8 family, u8 prefixlen, const u8 *raw, object peer):
        """The entry, or NONE. `raw` are 16 bytes."""
        cdef u32 at
        cdef u32 n
        cdef const held_t *e
        if self.places == NULL:
            return NONE
        at = <u32> address_hash(self.ifindex, family, prefixlen, raw) & self.mask
        while self.places[at]:
            n = self.places[at] - 1
            e = &self.entries[n]
            if (e.family == family and e.prefixlen == prefixlen and memcmp(e.raw, raw, 16) == 0
                    and (self.peers[n] == peer if e.has_peer else not peer)):
                return n
            at = (at + 1) & self.mask
        return NONE

    cdef u32 find(self, AddressKey key):
        if key.ifindex != self.ifindex:
            return NONE
        return self.look_up(key.family, key.prefixlen, key.raw, key.peer)

    cdef int make_room(self) except -1:
        """For one more; those that are gone are left out now."""
        cdef u32 room = self.count + self.count // 4 + TABLE_LEAST
        cdef u32 places = 8
        cdef held_t *entries
        cdef u32 *index
        cdef u32 n
        cdef u32 at
        cdef u32 to = 0
        cdef list labels = []
        cdef dict numbers = {}
        cdef dict peers = {}
        while places < room + room // 3:
            places *= 2
        entries = <held_t *> malloc(room * sizeof(held_t))
        index = <u32 *> calloc(places, 4)
        if entries == NULL or index == NULL:
            free(entries)
            free(index)
            raise MemoryError()
        for n in range(self.used):
            if self.entries[n].family == 0:
                continue
            entries[to] = self.entries[n]
            label = self.labels[entries[to].label]
            if label not in numbers:
                numbers[label] = len(labels)
                labels.append(label)
            entries[to].label = numbers[label]
            if entries[to].has_peer:
                peers[to] = self.peers[n]
            at = <u32> address_hash(self.ifindex, entries[to].family, entries[to].prefixlen, entries[to].raw) & (places - 1)
            while index[at]:
                at = (at + 1) & (places - 1)
            index[at] = to + 1
            to += 1
        free(self.entries)
        free(self.places)
        self.entries, self.places, self.mask = entries, index, places - 1
        self.room, self.used = room, to
        self.labels, self.numbers, self.peers = labels, numbers, peers
        self.layout += 1
        return 0

    cdef int enter(self, u32 n, AddressKey key, Address address) except -1:
        """`n` is the entry of the key, NONE if there is none."""
        cdef held_t *e
        cdef u32 at
        if n == NONE:
            if self.used == self.room:
                self.make_room()
            n = self.used
            e = &self.entries[n]
            memcpy(e.raw, key.raw, 16)
            e.family = key.family
            e.prefixlen = key.prefixlen
            e.has_peer = bool(key.peer)
            if e.has_peer:
                self.peers[n] = key.peer
            at = <u32> address_hash(self.ifindex, e.family, e.prefixlen, e.raw) & self.mask
            while self.places[at]:
                at = (at + 1) & self.mask
            self.places[at] = n + 1
            self.used += 1
            self.count += 1
        e = &self.entries[n]
        e.flags = address.flags
        e.scope = address.scope
        e.mark = address.mark
        if address.label not in self.numbers:
            self.numbers[address.label] = len(self.labels)
            self.labels.append(address.label)
        e.label = self.numbers[address.label]
        return 0

    cdef AddressKey key_of(self, u32 n):
        cdef AddressKey key = AddressKey.__new__(AddressKey)
        cdef const held_t *e = &self.entries[n]
        key.ifindex = self.ifindex
        key.family = e.family
        key.prefixlen = e.prefixlen
        key.size = 4 if e.family == 4 else 16
        memcpy(key.raw, e.raw, 16)
        key.peer = <bytes> self.peers[n] if e.has_peer else b""
        return key

    cdef Address address_of(self, u32 n):
        cdef Address found = Address.__new__(Address)
        cdef const held_t *e = &self.entries[n]
        found.key = self.key_of(n)
        found.flags = e.flags
        found.scope = e.scope
        found.mark = e.mark
        found.label = <str> self.labels[e.label]
        return found

    cdef bint is_told(self, u32 n, const told_t *t):
        """Whether the entry says of its key what a message does."""
        cdef const held_t *e = &self.entries[n]
        return (e.flags == t.flags and e.scope == t.scope and e.mark == t.mark
                and self.labels[e.label] == label_of(t))

    def __len__(self):
        return self.count

    def __contains__(self, key):
        return type(key) is AddressKey and self.find(<AddressKey> key) != NONE

    def __getitem__(self, AddressKey key not None):
        cdef u32 n = self.find(key)
        if n == NONE:
            raise KeyError(key)
        return self.address_of(n)

    def get(self, AddressKey key not None):
        cdef u32 n = self.find(key)
        return None if n == NONE else self.address_of(n)

    def put(self, Address address not None):
        cdef u32 n = self.find(address.key)
        cdef Address old
        if address.key.ifindex != self.ifindex:
            raise ValueError(f"an address of interface {address.key.ifindex} in the table of {self.ifindex}")
        old = None if n == NONE else self.address_of(n)
        self.enter(n, address.key, address)
        return old

    def drop(self, AddressKey key not None):
        cdef u32 n = self.find(key)
        cdef Address old
        if n == NONE:
            return None
        old = self.address_of(n)
        self.entries[n].family = 0
        self.peers.pop(n, None)
        self.count -= 1
        return old

    def __iter__(self):
        for address in self.values():
            yield (<Address> address).key

    def values(self):
        cdef u32 n = 0
        cdef u32 layout = self.layout
        while n < self.used:
            if layout != self.layout:
                raise RuntimeError("the table was changed while somebody went through it")
            if self.entries[n].family:
                yield self.address_of(n)
            n += 1

    def __repr__(self):
        return f"AddressTable({self.ifindex}, {list(self.values())!r})"


def read_addresses(int fd, bytearray buffer not None, dict addresses not None, list came not None, int mark,
                   int limit):
    cdef char *base = PyByteArray_AS_STRING(buffer)
    cdef const nlmsghdr *h = <const nlmsghdr *> base
    cdef size_t room = len(buffer)
    cdef sockaddr_nl sender
    cdef socklen_t sender_len
    cdef ssize_t got
    cdef told_t t
    cdef Address address
    cdef AddressTable table = None
    cdef u32 n
    cdef u8 raw[16]
    cdef int taken = 0
    cdef int strangers = 0
    while taken < limit:
        sender_len = sizeof(sockaddr_nl)
        got = recvfrom(fd, base, room, MSG_DONTWAIT | MSG_TRUNC, <sockaddr *> &sender, &sender_len)
        if got < 0:
            if fv_errno() == EINTR:
                continue
            return -fv_errno() if fv_errno() != EAGAIN else 0, taken, strangers
        if sender_len < sizeof(sockaddr_nl) or sender.nl_pid != 0:
            strangers += 1
            continue
        if (<size_t> got > room or got < <ssize_t> sizeof(nlmsghdr) or h.nlmsg_type != RTM_NEWADDR
                or h.nlmsg_len != <u32> got):
            return got, taken, strangers
        try:
            if not take_apart(<const u8 *> base + sizeof(nlmsghdr), got - sizeof(nlmsghdr), &t) or t.mark != mark:
                return got, taken, strangers
        except ValueError:
            return got, taken, strangers                # whoever decodes it next says what is wrong
        taken += 1
        if table is None or table.ifindex != t.ifindex:
            known = addresses.get(t.ifindex)
            table = AddressTable(t.ifindex) if known is None else <AddressTable?> known
            addresses[t.ifindex] = table
        memset(raw, 0, 16)
        memcpy(raw, t.local, t.size)
        peer = b"" if t.peer == NULL else packed(t.peer, t.size)
        n = table.look_up(t.family, t.prefixlen, raw, peer)
        if n == NONE or not table.is_told(n, &t):
            address = address_of(&t)
            table.enter(n, address.key, address)
            came.append(address)
    return 0, taken, strangers
