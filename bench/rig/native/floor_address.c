/* floor_address COUNT BATCH INTERFACE...
 *
 * The least that adding addresses can cost: COUNT /32 addresses by rtnetlink, BATCH requests in one send and one
 * acknowledgement for each batch; then their deletion. Prints JSON. */
#include "common.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

struct request {
    struct nlmsghdr header;
    struct ifaddrmsg body;
    struct rtattr attribute;
    uint8_t address[4];
};

static int acknowledged(int fd, uint32_t sequence)
{
    static char buffer[1 << 16];
    int errors = 0;

    for (;;) {
        ssize_t n = recv(fd, buffer, sizeof buffer, 0);
        if (n < 0)
            fail("recv");
        for (struct nlmsghdr *h = (void *)buffer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
            if (h->nlmsg_type != NLMSG_ERROR)
                continue;
            errors += ((struct nlmsgerr *)NLMSG_DATA(h))->error != 0;
            if (h->nlmsg_seq == sequence)
                return errors;
        }
    }
}

static int play(int fd, int type, int count, int batch, int links, const unsigned *ifindex)
{
    struct request *requests = allocate((size_t)batch, sizeof *requests);
    int each = (count + links - 1) / links;
    uint32_t sequence = 0;
    int errors = 0;

    for (int n = 0; n < count;) {
        int filled = 0;
        for (; filled < batch && n < count; filled++, n++) {
            int last = filled == batch - 1 || n == count - 1;
            requests[filled] = (struct request){
                .header = {.nlmsg_len = sizeof(struct request),
                           .nlmsg_type = (uint16_t)type,
                           .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | (last ? NLM_F_ACK : 0)),
                           .nlmsg_seq = ++sequence},
                .body = {.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = ifindex[n / each]},
                .attribute = {.rta_len = RTA_LENGTH(4), .rta_type = IFA_LOCAL},
                .address = {10, (uint8_t)(n / each), 0, (uint8_t)(n % each + 1)},
            };
        }
        if (send(fd, requests, (size_t)filled * sizeof *requests, 0) < 0)
            fail("send");
        errors += acknowledged(fd, sequence);
    }
    free(requests);
    return errors;
}

int main(int argc, char **argv)
{
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    int space = 8 << 20;
    unsigned *ifindex;
    double wall[2], cpu[2];
    int count, batch, links, errors = 0;

    if (argc < 4)
        return 2;
    if (fd < 0)
        fail("socket");
    count = atoi(argv[1]);
    batch = atoi(argv[2]);
    links = argc - 3;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &space, sizeof space);
    ifindex = allocate((size_t)links, sizeof *ifindex);
    for (int k = 0; k < links; k++)
        ifindex[k] = if_nametoindex(argv[3 + k]);
    for (int k = 0; k < 2; k++) {
        uint64_t begin = clock_ns(CLOCK_MONOTONIC), used = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        errors += play(fd, k ? RTM_DELADDR : RTM_NEWADDR, count, batch, links, ifindex);
        wall[k] = (double)(clock_ns(CLOCK_MONOTONIC) - begin) / count;
        cpu[k] = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - used) / count;
    }
    printf("{\"errors\": %d, \"add_ns_each\": %.0f, \"add_cpu_ns_each\": %.0f, \"delete_ns_each\": %.0f, "
           "\"delete_cpu_ns_each\": %.0f}\n",
           errors, wall[0], cpu[0], wall[1], cpu[1]);
    return 0;
}
