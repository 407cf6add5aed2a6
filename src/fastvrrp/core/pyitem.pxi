# Addresses as a configuration wants them, for Python: one small object each, from which the requests are
# made when somebody needs them. Typed and documented in _core.pyi.

cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *source, char *text, socklen_t size)

cdef enum:
    ITEM_RESTORE = 1            # put back when somebody deletes it
    ITEM_ADVERTISED = 2
    ITEM_NATIVE = 4             # the host's own
    ITEM_NODAD = 8
    ITEM_ROUTER = 16            # of its announcements
    ITEM_EXTRA = 32             # garp_extra_if repeats its announcement


cdef u32 put_new_item(u8 *at, AddressItem item):
    """The request of an address without options; returns its length."""
    cdef AddressKey key = item.key
    return put_new_address(at, key.ifindex, key.family, key.prefixlen, key.raw, item.scope, item.bits & ITEM_NODAD != 0,
                           item.bits & ITEM_NATIVE != 0)


def delete_address(AddressKey key not None):
    cdef u8 request[ADDRESS_REQUEST]
    cdef const u8 *outer = <const u8 *> <const char *> key.peer if key.peer else key.raw
    return packed(request, put_delete_address(request, key.ifindex, key.family, key.prefixlen, key.raw, outer))


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class AddressItem:
    cdef readonly str owner
    cdef readonly AddressKey key
    cdef readonly str device
    cdef readonly bytes mac     # of its announcements; b"": none
    cdef bytes own              # another request than the usual one
    cdef readonly u8 scope
    cdef u8 bits

    def __init__(self, str owner not None, AddressKey key not None, str device not None, *, bytes add=None,
                 u8 scope=0, bint nodad=True, bint restore=True, bint advertised=False, bint native=False,
                 bytes mac not None=b"", bint router=False, bint extra=False):
        if len(mac) not in (0, 6):
            raise ValueError(f"a link-layer address of {len(mac)} bytes cannot be announced, only Ethernet's 6")
        if key.peer and add is None:
            raise ValueError("an address with a peer needs its own request")
        self.owner = owner
        self.key = key
        self.device = device
        self.own = add
        self.scope = scope if add is None else 0        # these two are in the request, if there is one
        self.mac = mac
        self.bits = ((nodad and add is None and key.family == 6) * ITEM_NODAD | restore * ITEM_RESTORE | advertised * ITEM_ADVERTISED
                     | native * ITEM_NATIVE | router * ITEM_ROUTER | extra * ITEM_EXTRA)

    @property
    def kind(self):
        return "address"

    @property
    def hops(self):
        return ()

    @property
    def add(self):
        cdef u8 request[ADDRESS_REQUEST]
        cdef bytes message = self.own
        if message is None:
            return packed(request, put_new_item(request, self))
        if not self.bits & ITEM_NATIVE:
            return message
        message = packed(<const u8 *> <const char *> message, len(message))
        (<nlmsghdr *> PyBytes_AS_STRING(message)).nlmsg_flags = NLM_REQUEST_ACK | NLM_CREATE_EXCL
        return message

    @property
    def delete(self):
        return delete_address(self.key)

    @property
    def text(self):
        cdef char text[64]
        inet_ntop(AF_INET if self.key.family == 4 else AF_INET6, self.key.raw, text, sizeof(text))
        return f"address {text.decode('ascii')}/{self.key.prefixlen} dev {self.device}"

    @property
    def nodad(self):
        return bool(self.bits & ITEM_NODAD)

    @property
    def restore(self):
        return bool(self.bits & ITEM_RESTORE)

    @property
    def advertised(self):
        return bool(self.bits & ITEM_ADVERTISED)

    @property
    def native(self):
        return bool(self.bits & ITEM_NATIVE)

    @property
    def router(self):
        return bool(self.bits & ITEM_ROUTER)

    @property
    def extra(self):
        return bool(self.bits & ITEM_EXTRA)

    def _replace(self, **changes):
        fields = dict(owner=self.owner, key=self.key, device=self.device, add=self.own, scope=self.scope,
                      nodad=self.nodad, restore=self.restore, advertised=self.advertised, native=self.native,
                      mac=self.mac, router=self.router, extra=self.extra)
        fields.update(changes)
        return AddressItem(**fields)

    def same_object(self, AddressItem other not None):
        return ((self.bits ^ other.bits) & (ITEM_NATIVE | ITEM_NODAD) == 0 and self.scope == other.scope
                and same_key(self.key, other.key) and self.own == other.own)

    def __hash__(self):
        return hash((self.owner, self.key))

    def __eq__(self, other):
        cdef AddressItem theirs
        if type(other) is not AddressItem:
            return NotImplemented
        theirs = <AddressItem> other
        return (self.bits == theirs.bits and self.scope == theirs.scope and same_key(self.key, theirs.key)
                and self.owner == theirs.owner and self.device == theirs.device and self.mac == theirs.mac
                and self.own == theirs.own)

    def __repr__(self):
        return f"AddressItem(owner={self.owner!r}, {self.text}, native={self.native}, mac={self.mac!r})"


cdef enum:
    PACKED_HEAD = 3             # prefix length, scope, bits; the address follows


def pack_items(tuple items not None):
    cdef AddressItem first
    cdef AddressItem item
    cdef Py_ssize_t n = len(items)
    cdef Py_ssize_t k
    cdef u32 size
    cdef u8 *at
    cdef bytes made
    if n == 0 or type(items[0]) is not AddressItem:
        return None
    first = <AddressItem> items[0]
    size = PACKED_HEAD + first.key.size
    made = PyBytes_FromStringAndSize(NULL, n * size)
    at = <u8 *> PyBytes_AS_STRING(made)
    for k in range(n):
        if type(items[k]) is not AddressItem:
            return None
        item = <AddressItem> items[k]
        if (item.own is not None or item.key.peer or item.key.family != first.key.family
                or item.key.ifindex != first.key.ifindex or item.device != first.device or item.mac != first.mac
                or item.owner != first.owner):
            return None
        at[0] = item.key.prefixlen
        at[1] = item.scope
        at[2] = item.bits
        memcpy(at + PACKED_HEAD, item.key.raw, item.key.size)
        at += size
    return made


def unpack_items(bytes data not None, Py_ssize_t start, Py_ssize_t end, *, str owner not None, u32 ifindex, u8 family,
                 str device not None, bytes mac not None):
    cdef AddressItem item
    cdef AddressKey key
    cdef u8 alen = 4 if family == 4 else 16
    cdef Py_ssize_t at
    cdef const u8 *p
    cdef list items = []
    if not 0 <= start <= end <= len(data) or (end - start) % (PACKED_HEAD + alen):
        raise ValueError("no packed items")
    for at in range(start, end, PACKED_HEAD + alen):
        p = <const u8 *> PyBytes_AS_STRING(data) + at
        key = AddressKey.__new__(AddressKey)
        key.ifindex = ifindex
        key.family = family
        key.prefixlen = p[0]
        key.size = alen
        memset(key.raw, 0, 16)
        memcpy(key.raw, p + PACKED_HEAD, alen)
        key.peer = b""
        item = AddressItem.__new__(AddressItem)
        item.owner = owner
        item.key = key
        item.device = device
        item.mac = mac
        item.own = None
        item.scope = p[1]
        item.bits = p[2]
        items.append(item)
    return tuple(items)
