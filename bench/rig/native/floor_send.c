/* floor_send raw|packet COUNT TICK_US PARTS SECONDS INTERFACE...
 *
 * The least a sender can cost: COUNT ready-made adverts every tick, in so many PARTS one after the other, spread evenly
 * over the interfaces; with more than one part as a real-time thread, to be as punctual as can be. raw is one raw IP socket with IP_PKTINFO, packet one AF_PACKET socket. Prints JSON. */
#include "common.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define BATCH 1024

struct message {
    uint8_t frame[ETH_HLEN + ADVERT_IP];
    struct iovec data;
    struct sockaddr_ll link;
    char control[CMSG_SPACE(sizeof(struct in_pktinfo))];
};

static int raw_socket(void)
{
    static struct sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {1, nothing};
    int one = 1, zero = 0;
    int fd = socket(AF_INET, SOCK_RAW, VRRP_PROTOCOL);

    if (fd < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
    setsockopt(fd, IPPROTO_IP, IP_HDRINCL, &one, sizeof one);
    setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &zero, sizeof zero);
    return fd;
}

static void address(struct msghdr *h, struct message *m, int raw, int ifindex, struct sockaddr_in *group)
{
    struct in_pktinfo info = {.ipi_ifindex = ifindex};
    struct cmsghdr *c;

    *h = (struct msghdr){.msg_iov = &m->data, .msg_iovlen = 1};
    if (!raw) {
        m->link = (struct sockaddr_ll){
            .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = ifindex, .sll_halen = 6};
        m->data = (struct iovec){m->frame, sizeof m->frame};
        h->msg_name = &m->link;
        h->msg_namelen = sizeof m->link;
        return;
    }
    m->data = (struct iovec){m->frame + ETH_HLEN, ADVERT_IP};
    h->msg_name = group;
    h->msg_namelen = sizeof *group;
    h->msg_control = m->control;
    h->msg_controllen = sizeof m->control;
    c = CMSG_FIRSTHDR(h);
    c->cmsg_level = IPPROTO_IP;
    c->cmsg_type = IP_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(c), &info, sizeof info);
}

int main(int argc, char **argv)
{
    static const uint8_t group_mac[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x12};
    struct sockaddr_in group = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr("224.0.0.18")};
    int count, parts, part = 0, links, each, raw, fd, space = 8 << 20;
    uint64_t tick, begin, next, end, cpu, sent = 0, refused = 0, late = 0;
    struct message *messages;
    struct mmsghdr *batch;

    if (argc < 7)
        return 2;
    raw = !strcmp(argv[1], "raw");
    count = atoi(argv[2]);
    tick = strtoull(argv[3], NULL, 10) * 1000;
    parts = atoi(argv[4]);
    links = argc - 6;
    each = (count + links - 1) / links;
    fd = raw ? raw_socket() : socket(AF_PACKET, SOCK_RAW, 0);
    if (fd < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &space, sizeof space);
    messages = allocate((size_t)count, sizeof *messages);
    batch = allocate((size_t)count, sizeof *batch);
    for (int n = 0; n < count; n++) {
        struct ifreq hardware = {0}, own = {0};
        struct message *m = &messages[n];
        uint8_t vip[4] = {10, (uint8_t)(n / each), 0, (uint8_t)(n % each + 1)};
        int probe = socket(AF_INET, SOCK_DGRAM, 0);

        strncpy(hardware.ifr_name, argv[6 + n / each], IFNAMSIZ - 1);
        strncpy(own.ifr_name, argv[6 + n / each], IFNAMSIZ - 1);
        if (ioctl(probe, SIOCGIFHWADDR, &hardware) || ioctl(probe, SIOCGIFADDR, &own))
            fail(argv[6 + n / each]);
        close(probe);
        memcpy(m->frame, group_mac, 6);
        memcpy(m->frame + 6, hardware.ifr_hwaddr.sa_data, 6);
        store16(m->frame + 12, ETH_P_IP);
        build_advert(m->frame + ETH_HLEN, ((struct sockaddr_in *)&own.ifr_addr)->sin_addr.s_addr, vip[3], 200,
                     (uint16_t)(tick / 10000000 ? tick / 10000000 : 1), vip);
        address(&batch[n].msg_hdr, m, raw, (int)if_nametoindex(argv[6 + n / each]), &group);
    }
    stop_on_signals();
    if (parts > 1) {
        struct sched_param as_daemons = {.sched_priority = 2};

        if (sched_setscheduler(0, SCHED_FIFO, &as_daemons))
            fail("sched_setscheduler");
    }
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    begin = next = clock_ns(CLOCK_MONOTONIC);
    end = begin + (uint64_t)(atof(argv[5]) * 1e9);
    while (!asked_to_stop && clock_ns(CLOCK_MONOTONIC) < end) {
        int n = count * part / parts, last = count * (part + 1) / parts;

        while (n < last) {
            int done = sendmmsg(fd, batch + n, (unsigned)(last - n < BATCH ? last - n : BATCH), raw ? MSG_DONTROUTE : 0);
            if (done <= 0) {
                refused++;
                n++;
            } else {
                sent += (uint64_t)done;
                n += done;
            }
        }
        part = (part + 1) % parts;
        next += tick / (uint64_t)parts;
        late += clock_ns(CLOCK_MONOTONIC) > next;
        sleep_until(next);
    }
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("{\"sent\": %lu, \"refused\": %lu, \"late_ticks\": %lu, \"rate\": %.0f, \"cpu_ns_each\": %.0f}\n", sent, refused,
           late, (double)sent / ((double)(clock_ns(CLOCK_MONOTONIC) - begin) * 1e-9), sent ? (double)cpu / (double)sent : 0);
    return 0;
}
