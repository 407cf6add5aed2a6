# Declarations of what the C side offers: shim.h, sockets, epoll, netlink. No code.

from libc.stdint cimport uintptr_t

cdef extern from "shim.h" nogil:
    const u8 fv_vrrp_group4[4]
    const int FV_SLABS
    u32 fv_load_u32(const u32 *p)
    void fv_store_u32(u32 *p, u32 v)
    u32 fv_swap_u32(u32 *p, u32 v)
    u64 fv_load_u64(const u64 *p)
    void fv_store_u64(u64 *p, u64 v)
    void fv_peek(void *to, const void *source, size_t n)
    u64 fv_peek_u64(const u64 *p)
    u32 fv_peek_u32(const u32 *p)
    u8 fv_peek_u8(const u8 *p)
    void fv_prefetch(const void *p, u32 lines)
    int fv_ctz64(u64 v)
    int fv_clz64(u64 v)
    u16 fv_get16(const u8 *p)
    void fv_put16(u8 *p, u32 v)
    bint fv_same(const u8 *a, const u8 *b, u32 n)
    i64 fv_now_ns()
    i64 fv_realtime_offset_ns()
    int fv_errno()
    void fv_sleep_ns(i64 ns)
    int fv_epoll_wait(int fd, epoll_event *ev, int max, i64 timeout_ns)

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **p, size_t alignment, size_t n)

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        u64 u64
    struct epoll_event:
        u32 events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *ev)
    const int EPOLL_CTL_ADD
    const int EPOLL_CTL_DEL
    const int EPOLL_CTL_MOD
    const u32 EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLET
    const int EPOLL_CLOEXEC

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initval, int flags)
    const int EFD_NONBLOCK
    const int EFD_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void *buf, size_t n)
    ssize_t write(int fd, const void *buf, size_t n)
    int close(int fd)
    int usleep(unsigned int us)
    int getpagesize()

cdef extern from *:
    """
    #define _FV_SOCKETS 1
    #include <sys/socket.h>
    #include <sys/uio.h>
    #include <sys/ioctl.h>
    #include <sys/mman.h>
    #include <sys/prctl.h>
    #include <sys/timerfd.h>
    #include <sys/resource.h>
    #include <sched.h>
    #include <signal.h>
    #include <pthread.h>
    #include <net/if.h>
    #include <netinet/in.h>
    #include <netinet/ip.h>
    #include <linux/filter.h>
    #include <linux/if_packet.h>
    #include <linux/netlink.h>
    #include <linux/rtnetlink.h>
    """

cdef extern from "<sys/socket.h>" nogil:
    ctypedef u32 socklen_t
    struct sockaddr:
        pass
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int socket(int domain, int type, int protocol)
    int bind(int fd, const sockaddr *addr, socklen_t n)
    int connect(int fd, const sockaddr *addr, socklen_t n)
    int setsockopt(int fd, int level, int name, const void *value, socklen_t n)
    int getsockopt(int fd, int level, int name, void *value, socklen_t *n)
    int sendmmsg(int fd, mmsghdr *m, unsigned int n, int flags)
    int recvmmsg(int fd, mmsghdr *m, unsigned int n, int flags, void *timeout)
    ssize_t send(int fd, const void *buf, size_t n, int flags)
    ssize_t recv(int fd, void *buf, size_t n, int flags)
    ssize_t sendmsg(int fd, const msghdr *m, int flags)
    ssize_t recvmsg(int fd, msghdr *m, int flags)
    ssize_t recvfrom(int fd, void *buf, size_t n, int flags, sockaddr *addr, socklen_t *addr_len)
    int ioctl(int fd, unsigned long request, void *arg)
    const int AF_INET, AF_INET6, AF_PACKET, AF_NETLINK, SOCK_RAW, SOCK_DGRAM, SOCK_STREAM, SOCK_CLOEXEC, SOCK_NONBLOCK
    const int SOL_SOCKET, SO_RCVBUF, SO_RCVBUFFORCE, SO_SNDBUF, SO_BINDTODEVICE, SO_PRIORITY, SO_RCVTIMEO
    const int SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_ERROR, SO_SNDBUFFORCE, SO_MARK, SO_REUSEADDR, SO_TIMESTAMPNS
    const int MSG_DONTWAIT, MSG_TRUNC, MSG_NOSIGNAL

cdef extern from "<linux/filter.h>" nogil:
    struct sock_filter:
        u16 code
        u8 jt
        u8 jf
        u32 k
    struct sock_fprog:
        unsigned short len
        sock_filter *filter
    const u32 BPF_LD, BPF_LDX, BPF_ST, BPF_ALU, BPF_JMP, BPF_RET, BPF_MISC, BPF_W, BPF_H, BPF_B, BPF_IMM, BPF_ABS
    const u32 BPF_IND, BPF_MEM, BPF_MSH, BPF_AND, BPF_RSH, BPF_JA, BPF_JEQ, BPF_JSET, BPF_K, BPF_X, BPF_TAX

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        u32 s_addr
    struct in6_addr:
        u8 s6_addr[16]
    struct sockaddr_in:
        u16 sin_family
        u16 sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        u16 sin6_family
        u16 sin6_port
        u32 sin6_flowinfo
        in6_addr sin6_addr
        u32 sin6_scope_id
    struct ip_mreqn:
        in_addr imr_multiaddr
        in_addr imr_address
        int imr_ifindex
    struct ipv6_mreq:
        in6_addr ipv6mr_multiaddr
        unsigned int ipv6mr_interface
    struct in6_pktinfo:
        in6_addr ipi6_addr
        unsigned int ipi6_ifindex
    const int IPPROTO_IP, IPPROTO_IPV6, IP_HDRINCL, IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP, IP_MULTICAST_LOOP, IP_MULTICAST_IF
    const int IP_MULTICAST_ALL, IP_FREEBIND, IP_BIND_ADDRESS_NO_PORT
    const int IPV6_JOIN_GROUP, IPV6_LEAVE_GROUP, IPV6_MULTICAST_LOOP, IPV6_MULTICAST_IF, IPV6_RECVHOPLIMIT, IPV6_HOPLIMIT
    const int IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_TCLASS, IPV6_MULTICAST_HOPS, IPV6_UNICAST_HOPS, IPV6_MULTICAST_ALL

cdef extern from *:
    """
    /* cmsg macros as functions, for the two control messages IPv6 needs */
    static int fv_cmsg_rx6(struct msghdr *m, uint8_t *destination, int *hops) {
        struct cmsghdr *c;
        int found = 0;
        for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
            if (c->cmsg_level != IPPROTO_IPV6) continue;
            if (c->cmsg_type == IPV6_PKTINFO && c->cmsg_len >= CMSG_LEN(20)) { memcpy(destination, CMSG_DATA(c), 16); found |= 1; }
            if (c->cmsg_type == IPV6_HOPLIMIT && c->cmsg_len >= CMSG_LEN(sizeof(int))) { memcpy(hops, CMSG_DATA(c), sizeof(int)); found |= 2; }
        }
        return found == 3;
    }
    /* when the kernel got the packet, CLOCK_REALTIME; 0: it does not say */
    static int64_t fv_cmsg_stamp(struct msghdr *m) {
        struct cmsghdr *c;
        struct timespec t;
        for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
            if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS || c->cmsg_len < CMSG_LEN(sizeof t)) continue;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            return (int64_t)t.tv_sec * 1000000000LL + t.tv_nsec;
        }
        return 0;
    }
    static size_t fv_cmsg_tx6(uint8_t *buf, const uint8_t *source, int ifindex, int hops) {
        struct msghdr m; struct cmsghdr *c; int ifi = ifindex > 0 ? ifindex : 0;
        memset(&m, 0, sizeof m);
        memset(buf, 0, CMSG_SPACE(20) + CMSG_SPACE(sizeof(int)));
        m.msg_control = buf; m.msg_controllen = CMSG_SPACE(20) + CMSG_SPACE(sizeof(int));
        c = CMSG_FIRSTHDR(&m); c->cmsg_level = IPPROTO_IPV6; c->cmsg_type = IPV6_PKTINFO; c->cmsg_len = CMSG_LEN(20);
        memcpy(CMSG_DATA(c), source, 16); memcpy(CMSG_DATA(c) + 16, &ifi, 4);
        c = CMSG_NXTHDR(&m, c); c->cmsg_level = IPPROTO_IPV6; c->cmsg_type = IPV6_HOPLIMIT; c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &hops, sizeof(int));
        return m.msg_controllen;
    }
    /* administratively up and running, straight from the device (no RTNL); -1: no such interface */
    static int fv_link_up(int fd, int ifindex) {
        struct ifreq r; memset(&r, 0, sizeof r); r.ifr_ifindex = ifindex;
        if (ioctl(fd, SIOCGIFNAME, &r) < 0) return -1;
        if (ioctl(fd, SIOCGIFFLAGS, &r) < 0) return -1;
        return (r.ifr_flags & IFF_UP) && (r.ifr_flags & IFF_RUNNING);
    }
    static int fv_bind_device(int fd, int ifindex) {
        char name[IF_NAMESIZE];
        if (!if_indextoname((unsigned)ifindex, name)) return -1;
        return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name));
    }
    #define FV_NET_OFF ((uint32_t)SKF_NET_OFF)
    #define FV_RANDOM ((uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM))
    #define FV_PKTTYPE ((uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE))
    static int fv_set_int(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value); }
    /* a thread of its own for something that waits; nobody joins it. 0, or an errno */
    static int fv_aside(void *(*body)(void *), void *argument)
    {
        pthread_attr_t attributes;
        pthread_t thread;
        int error = pthread_attr_init(&attributes);
        if (error)
            return error;
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, 128 * 1024);
        error = pthread_create(&thread, &attributes, body, argument);
        pthread_attr_destroy(&attributes);
        return error;
    }
    static void fv_block_signals(void) { sigset_t s; sigfillset(&s); pthread_sigmask(SIG_BLOCK, &s, NULL); }
    /* this thread only, and not inherited by children */
    static int fv_realtime(int priority) {
        struct sched_param p; memset(&p, 0, sizeof p); p.sched_priority = priority;
        return sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &p);
    }
    static int fv_pin(int cpu) { cpu_set_t s; CPU_ZERO(&s); CPU_SET(cpu, &s); return sched_setaffinity(0, sizeof s, &s); }
    /* close() sends RST and leaves nothing behind */
    static int fv_reset_on_close(int fd) {
        struct linger l = { 1, 0 };
        return setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    }
    static void fv_timer_slack(void) { prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0); }
    /* a timerfd, to CLOCK_MONOTONIC `at_ns`; 0 disarms it */
    static void fv_set_alarm(int fd, int64_t at_ns) {
        struct itimerspec t;
        memset(&t, 0, sizeof t);
        t.it_value.tv_sec = at_ns / 1000000000LL;
        t.it_value.tv_nsec = at_ns % 1000000000LL;
        timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL);
    }
    """
    const u32 FV_NET_OFF, FV_RANDOM, FV_PKTTYPE     # offsets of linux/filter.h, as unsigned
    int fv_cmsg_rx6(msghdr *m, u8 *destination, int *hops) nogil
    i64 fv_cmsg_stamp(msghdr *m) nogil
    size_t fv_cmsg_tx6(u8 *buf, const u8 *source, int ifindex, int hops) nogil
    int fv_link_up(int fd, int ifindex) nogil
    int fv_bind_device(int fd, int ifindex) nogil
    int fv_set_int(int fd, int level, int name, int value) nogil
    int fv_aside(void *(*body)(void *) noexcept nogil, void *argument) nogil
    void fv_block_signals() nogil
    int fv_realtime(int priority) nogil
    int fv_pin(int cpu) nogil
    int fv_reset_on_close(int fd) nogil
    void fv_timer_slack() nogil
    void fv_set_alarm(int fd, i64 at_ns) nogil

cdef extern from "<linux/if_packet.h>" nogil:
    struct sockaddr_ll:
        u16 sll_family
        u16 sll_protocol
        int sll_ifindex
        u16 sll_hatype
        u8 sll_pkttype
        u8 sll_halen
        u8 sll_addr[8]
    struct tpacket2_hdr:
        u32 tp_status
        u32 tp_len
        u32 tp_snaplen
        u16 tp_net
        u32 tp_sec
        u32 tp_nsec
    struct tpacket_req:
        unsigned int tp_block_size
        unsigned int tp_block_nr
        unsigned int tp_frame_size
        unsigned int tp_frame_nr
    struct tpacket_stats:
        unsigned int tp_drops
    struct packet_mreq:
        int mr_ifindex
        unsigned short mr_type
        unsigned short mr_alen
        u8 mr_address[8]
    const int SOL_PACKET, PACKET_VERSION, TPACKET_V2, PACKET_RX_RING, PACKET_COPY_THRESH, PACKET_STATISTICS
    const int PACKET_ADD_MEMBERSHIP, PACKET_MR_MULTICAST
    const u32 TP_STATUS_KERNEL, TP_STATUS_USER, TP_STATUS_COPY, TP_STATUS_LOSING

cdef extern from "<linux/rtnetlink.h>" nogil:
    struct nlmsghdr:
        u32 nlmsg_len
        u16 nlmsg_type
        u16 nlmsg_flags
        u32 nlmsg_seq
        u32 nlmsg_pid
    struct nlmsgerr:
        int error
    struct sockaddr_nl:
        u16 nl_family
        u16 nl_pad
        u32 nl_pid
        u32 nl_groups
    struct ifinfomsg:
        u8 ifi_family
        u16 ifi_type
        int ifi_index
        unsigned int ifi_flags
        unsigned int ifi_change
    const int NETLINK_ROUTE, RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTMGRP_LINK, NLMSG_ERROR, NLMSG_DONE
    const int SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK

cdef extern from "<net/if.h>" nogil:
    const unsigned int IFF_UP, IFF_RUNNING

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *addr, size_t n, int prot, int flags, int fd, long offset)
    int madvise(void *addr, size_t n, int advice)
    int munmap(void *addr, size_t n)
    int mlockall(int flags)
    const int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_SHARED, MAP_ANONYMOUS, MAP_NORESERVE, MCL_CURRENT, MCL_FUTURE
    const int MADV_DONTNEED

cdef extern from "<errno.h>" nogil:
    const int EAGAIN, EINTR, ENOBUFS, EEXIST, ENOENT, ESRCH, EADDRNOTAVAIL, ENODEV, ENXIO, ENOMEM, ETIMEDOUT
    const int EINPROGRESS, EMFILE, ECONNREFUSED, ECONNRESET, ECONNABORTED, ENETUNREACH, EHOSTUNREACH, ENETDOWN, EHOSTDOWN
    const int EPIPE, EPROTO, ENOPROTOOPT, EOPNOTSUPP
