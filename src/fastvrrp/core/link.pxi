# Link events: the engine follows IFF_UP and IFF_RUNNING of its links by itself, so that a cable
# pulled is a FAULT without Python. Names, renames and new interfaces are the control plane's.

cdef int make_link_socket() noexcept nogil:
    """rtnetlink, group LINK. -1 with errno."""
    cdef sockaddr_nl a
    cdef int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)
    if fd < 0:
        return -1
    memset(&a, 0, sizeof(a))
    a.nl_family = AF_NETLINK
    a.nl_groups = RTMGRP_LINK
    if fv_set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, 4194304) < 0:
        fv_set_int(fd, SOL_SOCKET, SO_RCVBUF, 4194304)
    if bind(fd, <const sockaddr *> &a, sizeof(a)) < 0:
        close(fd)
        return -1
    return fd


cdef int next_link_event(const u8 *p, u32 n, u32 *at, i32 *ifindex, u32 *flags) noexcept nogil:
    """Walks one datagram: 1 = a link with its flags (0 when deleted), 0 = end. Lengths are checked."""
    cdef nlmsghdr h
    cdef ifinfomsg m
    while n - at[0] >= sizeof(nlmsghdr):
        memcpy(&h, p + at[0], sizeof(nlmsghdr))
        if h.nlmsg_len < sizeof(nlmsghdr) or h.nlmsg_len > n - at[0]:
            return 0
        if (h.nlmsg_type == RTM_NEWLINK or h.nlmsg_type == RTM_DELLINK) and \
                h.nlmsg_len >= sizeof(nlmsghdr) + sizeof(ifinfomsg):
            memcpy(&m, p + at[0] + sizeof(nlmsghdr), sizeof(ifinfomsg))
            at[0] += imin((h.nlmsg_len + 3) & ~<u32> 3, n - at[0])
            # a bridge reports its ports leaving as RTM_DELLINK of family AF_BRIDGE: not a deletion
            if m.ifi_family != 0:
                continue
            ifindex[0] = m.ifi_index
            flags[0] = m.ifi_flags if h.nlmsg_type == RTM_NEWLINK else 0
            return 1
        at[0] += imin((h.nlmsg_len + 3) & ~<u32> 3, n - at[0])
    return 0
