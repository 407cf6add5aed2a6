# What happens tens of thousands of times when a large load balancer starts: real servers become destinations of
# the kernel's IPVS table, and these requests that add or edit them. Typed and documented in _core.pyi.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8

cdef extern from "arpa/inet.h" nogil:
    int inet_pton(int family, const char *text, void *address)

cdef enum:                      # linux/ip_vs.h
    NLM_REQUEST = 0x01          # NLM_F_REQUEST
    IPVS_GENL_VERSION = 1
    IPVS_CMD_NEW_DEST = 5
    IPVS_CMD_SET_DEST = 6
    IPVS_CMD_ATTR_DEST = 2
    IPVS_DEST_ATTR_ADDR = 1
    IPVS_DEST_ATTR_PORT = 2
    IPVS_DEST_ATTR_FWD_METHOD = 3
    IPVS_DEST_ATTR_WEIGHT = 4
    IPVS_DEST_ATTR_U_THRESH = 5
    IPVS_DEST_ATTR_L_THRESH = 6
    IPVS_DEST_ATTR_ADDR_FAMILY = 11
    IPVS_DEST_ATTR_TUN_TYPE = 13
    IPVS_DEST_ATTR_TUN_PORT = 14
    IPVS_DEST_ATTR_TUN_FLAGS = 15
    IPVS_HEADER = 20            # nlmsghdr and genlmsghdr
    IPVS_DEST_ROOM = 128        # no IPVS_CMD_ATTR_DEST is longer


cdef inline object field(object record, Py_ssize_t index):
    """Of a NamedTuple."""
    if not isinstance(record, tuple) or index >= PyTuple_GET_SIZE(record):
        raise TypeError(f"{record!r} is no such tuple")
    return <object> PyTuple_GET_ITEM(record, index)


cdef u32 put_u16(u8 *at, u16 kind, u16 value) noexcept nogil:
    return put_attribute(at, kind, &value, 2)


cdef u32 put_u32(u8 *at, u16 kind, u32 value) noexcept nogil:
    return put_attribute(at, kind, &value, 4)


cdef u32 put_port(u8 *at, u16 kind, u32 port) noexcept nogil:
    cdef u8 value[2]
    fv_put16(value, port)
    return put_attribute(at, kind, value, 2)


cdef u32 put_destination(u8 *at, object destination) except 0:
    """IPVS_CMD_ATTR_DEST with everything in it; returns its length."""
    cdef object key = field(destination, 0)
    cdef bytes address = <bytes?> field(key, 1)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(address)
    cdef u16 head[2]
    cdef u8 raw[16]
    cdef u8 tunnel = field(destination, 5)
    cdef u32 n = 4
    if size != 4 and size != 16:
        raise ValueError("an address is 4 or 16 bytes")
    memset(raw, 0, sizeof(raw))
    memcpy(raw, PyBytes_AS_STRING(address), size)
    n += put_attribute(at + n, IPVS_DEST_ATTR_ADDR, raw, sizeof(raw))
    n += put_port(at + n, IPVS_DEST_ATTR_PORT, field(key, 2))
    n += put_u16(at + n, IPVS_DEST_ATTR_ADDR_FAMILY, AF_INET if size == 4 else AF_INET6)
    n += put_u32(at + n, IPVS_DEST_ATTR_FWD_METHOD, field(destination, 2))
    n += put_u32(at + n, IPVS_DEST_ATTR_WEIGHT, field(destination, 1))
    n += put_u32(at + n, IPVS_DEST_ATTR_U_THRESH, field(destination, 3))
    n += put_u32(at + n, IPVS_DEST_ATTR_L_THRESH, field(destination, 4))
    n += put_attribute(at + n, IPVS_DEST_ATTR_TUN_TYPE, &tunnel, 1)
    n += put_port(at + n, IPVS_DEST_ATTR_TUN_PORT, field(destination, 6))
    n += put_u16(at + n, IPVS_DEST_ATTR_TUN_FLAGS, field(destination, 7))
    head[0] = <u16> n
    head[1] = IPVS_CMD_ATTR_DEST
    memcpy(at, head, 4)
    return n


cdef bytes packed_address(str text, int family):
    cdef u8 raw[16]
    if family != 4 and family != 6:
        raise ValueError(f"family {family} is not 4 or 6")
    if inet_pton(AF_INET if family == 4 else AF_INET6, PyUnicode_AsUTF8(text), raw) != 1:
        raise OSError(f"{text!r} is not an IPv{family} address")
    return packed(raw, 4 if family == 4 else 16)


def ipvs_destinations(servers, int service_port, form, type key_type, type destination_type):
    cdef dict found = {}
    cdef object port_of_service = service_port
    cdef object item
    cdef object server
    cdef object address
    cdef object weight
    cdef object shape
    cdef object upper
    cdef object lower
    cdef object family
    cdef object port
    cdef object key
    for item in servers:
        server = field(item, 0)
        weight = field(item, 1)
        shape = form(server.forwarding)
        family = server.family
        port = server.port if field(shape, 0) else port_of_service
        upper = getattr(server, "uthreshold", 0)
        lower = getattr(server, "lthreshold", 0)
        for address in field(item, 2):
            key = _tuple_new(key_type, (family, packed_address(address, family), port))
            if key in found:
                continue
            found[key] = _tuple_new(destination_type, (
                key, weight, field(shape, 1), upper, lower, field(shape, 2), field(shape, 3), field(shape, 4)))
    return found


def ipvs_requests(operations, u16 family_id, u32 sequence, name, body):
    cdef Py_ssize_t room = 0
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t rest
    cdef u8 *data = NULL
    cdef u8 *grown
    cdef nlmsghdr *h
    cdef object operation
    cdef object key
    cdef object last = None
    cdef bytes named = b""
    cdef bytes plain
    cdef int verb
    try:
        for operation in operations:
            verb = field(operation, 0)
            if verb == IPVS_CMD_NEW_DEST or verb == IPVS_CMD_SET_DEST:
                key = field(operation, 1)
                if key is not last:
                    last = key
                    named = name(key)
                plain = named
            else:
                plain = body(operation)
            rest = PyBytes_GET_SIZE(plain)
            if room - at < IPVS_HEADER + rest + IPVS_DEST_ROOM:
                room = 2 * room + IPVS_HEADER + rest + IPVS_DEST_ROOM
                grown = <u8 *> realloc(data, room)
                if grown == NULL:
                    raise MemoryError()
                data = grown
            h = <nlmsghdr *> (data + at)
            memset(h, 0, IPVS_HEADER)
            memcpy(data + at + IPVS_HEADER, PyBytes_AS_STRING(plain), rest)
            rest += IPVS_HEADER
            if verb == IPVS_CMD_NEW_DEST or verb == IPVS_CMD_SET_DEST:
                rest += put_destination(data + at + rest, field(operation, 3))
            h.nlmsg_len = <u32> rest
            h.nlmsg_type = family_id
            h.nlmsg_flags = NLM_REQUEST
            h.nlmsg_seq = sequence
            data[at + 16] = <u8> verb
            data[at + 17] = IPVS_GENL_VERSION
            at += rest
            sequence += 1
        return PyBytes_FromStringAndSize(<const char *> data, at)
    finally:
        free(data)
