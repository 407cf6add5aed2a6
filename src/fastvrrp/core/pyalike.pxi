# Thousands of instances differ in slot, VRID and plain addresses alone. What is made of those is made here:
# their items from the model, their blocks from the block of one of them. Whatever is less common returns
# None, and is for the general way. Typed and documented in _core.pyi.

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char *text, void *destination)

cdef extern from "<string.h>" nogil:
    size_t strlen(const char *text)

cdef enum:
    PLAIN_ANNOUNCE = ANN_HEADER + BRIEF_MAX     # no item takes more in announcements
    PLAIN_ITEMS_MAX = 4096              # the index of a request has 16 bits; larger ones are rare


cdef AddressKey text_key(u32 ifindex, u8 family, str text, u8 prefixlen):
    """None: it is no address of that family."""
    cdef AddressKey key = AddressKey.__new__(AddressKey)
    cdef Py_ssize_t size
    cdef const char *plain = PyUnicode_AsUTF8AndSize(text, &size)
    key.ifindex = ifindex
    key.family = family
    key.prefixlen = prefixlen
    key.size = 4 if family == 4 else 16
    key.peer = b""
    memset(key.raw, 0, 16)
    if prefixlen > 8 * key.size or strlen(plain) != <size_t> size:
        return None
    if inet_pton(AF_INET if family == 4 else AF_INET6, plain, key.raw) != 1:
        return None
    return key


def address_key(u32 ifindex, int family, str text not None, int prefixlen):
    cdef AddressKey key = None
    if family in (4, 6) and 0 <= prefixlen <= 128:
        key = text_key(ifindex, <u8> family, text, <u8> prefixlen)
    if key is None:
        raise OSError(f"{text}/{prefixlen} is no IPv{family} address")
    return key


cdef bint is_plain(address, int family):
    if (address.dev is not None or address.track_group is not None or address.peer is not None
            or address.preferred_lft_s is not None or address.noprefixroute or address.autojoin
            or address.family != family):
        return False
    if family == 4:
        return address.label is None and address.broadcast is None
    return not (address.home or address.mngtmpaddr)


def plain_items(tuple listed not None, tuple excluded not None, *, str owner not None, int family, u32 ifindex,
                str device not None, bytes mac not None, bint router):
    cdef AddressItem item
    cdef AddressKey key
    cdef dict found = {}
    cdef list items = []
    cdef int round
    cdef bint advertised
    for round in range(2):
        advertised = round == 0
        for address in listed if advertised else excluded:
            if not is_plain(address, family):
                return None
            key = text_key(ifindex, <u8> family, address.address, address.prefixlen)
            if key is None:
                return None
            item = AddressItem.__new__(AddressItem)
            item.owner = owner
            item.key = key
            item.device = device
            item.mac = mac
            item.own = None
            item.scope = address.scope
            item.bits = ((ITEM_NODAD if family == 6 and address.nodad else 0)
                         | (0 if address.no_track else ITEM_RESTORE)
                         | (ITEM_ADVERTISED if advertised else 0) | (ITEM_ROUTER if router else 0))
            items.append(item)
    if len(items) > 1:                                  # each once, the first one
        for item in items:
            found.setdefault(item.key, item)
        return tuple(found.values())
    return tuple(items)


cdef u8 *scratch = NULL
cdef size_t scratch_size = 0


cdef u8 *scratch_of(size_t size) except NULL:
    """Kept from call to call; belongs to whoever holds the interpreter's lock."""
    global scratch, scratch_size
    cdef u8 *more
    if size > scratch_size:
        more = <u8 *> realloc(scratch, size)
        if more == NULL:
            raise MemoryError()
        scratch = more
        scratch_size = size
    return scratch


cdef u32 put_item(u8 *at, AddressItem item, bint new):
    """Its request that installs or removes it, as a block has it; returns its length."""
    cdef AddressKey key = item.key
    cdef u8 kind = BRIEF_IPV6 if key.family == 6 else 0
    if not new:
        return put_brief(at, OK_GONE, kind | BRIEF_DELETE, key.ifindex, key.prefixlen, 0, key.raw)
    kind |= BRIEF_NEW | (BRIEF_NATIVE if item.bits & ITEM_NATIVE else 0)
    if key.family == 6 and item.bits & ITEM_NODAD:
        kind |= BRIEF_NODAD
    return put_brief(at, OK_EXIST, kind, key.ifindex, key.prefixlen, item.scope, key.raw)


cdef u32 put_announcement(u8 *at, AddressItem item, u16 request):
    """Of an address that is not new, as a block has it; returns its length."""
    cdef u8 flags = ANN_EXTRA if item.bits & ITEM_EXTRA else 0
    if item.key.family == 6:
        flags |= ANN_IPV6 | (ANN_ROUTER if item.bits & ITEM_ROUTER else 0)
    return put_brief_announcement(at, item.key.ifindex, request, flags, <const u8 *> <const char *> item.mac,
                                  item.key.raw)


def instance_alike(Instance pattern not None, *, u32 slot, int vrid, tuple items not None, i64 garp_extra_if_ns=0,
                   u32 fault=0, i32 adjust=0):
    cdef const cfg_t *old = pattern.cfg
    cdef Py_ssize_t n = len(items)
    cdef Py_ssize_t k
    cdef Py_ssize_t other
    cdef AddressItem item
    cdef Instance made
    cdef cfg_t *g
    cdef u8 *up
    cdef u8 *down
    cdef u8 *announce
    cdef u8 *addresses
    cdef u8 *up_end
    cdef u8 *down_end
    cdef u8 *announce_end
    cdef u8 *cursor
    cdef u32 n_addresses = 0
    cdef u32 n_down = 0
    cdef size_t room
    cdef size_t size
    if old == NULL:
        raise ValueError("the pattern was committed")
    in_range("vrid", vrid, 1, 255)
    if n > PLAIN_ITEMS_MAX:
        return None
    up = scratch_of(16 + <size_t> n * (2 * BRIEF_MAX + PLAIN_ANNOUNCE + 16))
    down = up + 8 + n * BRIEF_MAX
    announce = down + 8 + n * BRIEF_MAX
    addresses = announce + n * PLAIN_ANNOUNCE
    up_end, down_end, announce_end = up + 8, down + 8, announce
    for k in range(n):
        if type(items[k]) is not AddressItem:
            return None
        item = <AddressItem> items[k]
        if item.own is not None:
            return None
        up_end += put_item(up_end, item, True)
        if len(item.mac):
            announce_end += put_announcement(announce_end, item, <u16> k)
        if item.bits & ITEM_ADVERTISED and item.key.family == old.family:
            cursor = addresses + n_addresses * old.alen
            memcpy(cursor, item.key.raw, old.alen)
            for other in range(n_addresses):
                if memcmp(addresses + other * old.alen, cursor, old.alen) == 0:
                    break
            else:
                n_addresses += 1
                if n_addresses > MAX_ADDRESSES:
                    return None
    for k in range(n - 1, -1, -1):
        item = <AddressItem> items[k]
        if not item.bits & ITEM_NATIVE:
            down_end += put_item(down_end, item, False)
            n_down += 1
    (<u32 *> up)[0] = <u32> (up_end - up)
    (<u32 *> up)[1] = <u32> n
    (<u32 *> down)[0] = <u32> (down_end - down)
    (<u32 *> down)[1] = n_down
    room = pdu_room(old.version, n_addresses * old.alen)
    size = (sizeof(cfg_t) + room + rounded(up_end - up) + rounded(down_end - down) + rounded(announce_end - announce)
            + old.n_tracks * sizeof(track_t) + old.n_peers * sizeof(peer_t))
    made = Instance.__new__(Instance)
    made.cfg = g = new_block(size)
    memcpy(g, old, sizeof(cfg_t))
    memset(<u8 *> g + sizeof(cfg_t), 0, size - sizeof(cfg_t))
    made.slot = g.slot = slot
    g.vrid = <u8> vrid
    g.fault = fault
    g.adjust = adjust
    g.extra_ns = garp_extra_if_ns
    g.n_addresses = n_addresses
    g.announce_len = <u32> (announce_end - announce)
    cursor = <u8 *> g + ((sizeof(cfg_t) + 7) & ~7)
    g.pdu = cursor
    cursor += room
    advert_build(g, addresses, g.pdu)
    g.up = place(g, &cursor, up, up_end - up)
    g.down = place(g, &cursor, down, down_end - down)
    g.change = 0
    g.announce = place(g, &cursor, announce, announce_end - announce)
    g.tracks = place(g, &cursor, tracks_of(old), old.n_tracks * sizeof(track_t) + old.n_peers * sizeof(peer_t))
    return made
