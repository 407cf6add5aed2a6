/* addresses FILE LIMIT: every IPv4 address that appears or goes, as records, until SIGTERM.
 *
 * rtnetlink carries no time; the record's is that of reading it (CLOCK_REALTIME), so an event is
 * never later than stated. In a burst it is read every half millisecond: being woken for each of
 * thousands of addresses would take the processor from the daemon that adds them. */
#include "log.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/socket.h>

#define NAP_US 500
#define BURST_NS 1000000 /* an event that follows the last one so closely belongs to a burst */

struct event {
    uint64_t time_ns;
    uint32_t ifindex;
    uint32_t address; /* network order */
    uint32_t added;   /* 1 new or changed, 0 gone */
    uint32_t reserved;
};

static struct log output;

static void take(const struct nlmsghdr *h, uint64_t now)
{
    struct ifaddrmsg *m = NLMSG_DATA(h);
    int left = (int)IFA_PAYLOAD(h);
    struct event e = {now, m->ifa_index, 0, h->nlmsg_type == RTM_NEWADDR, 0};

    for (struct rtattr *a = IFA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left))
        if (a->rta_type == IFA_LOCAL)
            memcpy(&e.address, RTA_DATA(a), 4);
    log_append(&output, &e);
}

int main(int argc, char **argv)
{
    static char buffer[1 << 16];
    struct sockaddr_nl group = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    int space = 64 << 20;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    uint64_t last = 0;

    if (argc != 3)
        return 2;
    stop_on_signals();
    observe_first();
    log_open(&output, argv[1], sizeof(struct event), strtoull(argv[2], NULL, 10));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &space, sizeof space);
    if (fd < 0 || bind(fd, (struct sockaddr *)&group, sizeof group))
        fail("rtnetlink");
    ready();
    for (;;) {
        ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        uint64_t now = clock_ns(CLOCK_REALTIME);

        if (n < 0) {
            if (errno == ENOBUFS)
                output.header->lost++;
            else if (asked_to_stop)
                break;
            else if (now - last < BURST_NS)
                usleep(NAP_US);
            else
                poll(&wait, 1, 200);
            continue;
        }
        last = now;
        for (struct nlmsghdr *h = (void *)buffer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
            if (h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR)
                take(h, now);
    }
    printf("{\"events\": %lu, \"discarded\": %lu, \"lost\": %lu}\n", output.header->count, output.header->discarded,
           output.header->lost);
    return 0;
}
