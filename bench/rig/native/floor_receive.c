/* floor_receive raw|ring SECONDS INTERFACE...
 *
 * The least a receiver can cost: checks TTL and checksum of every advert and notes its time. raw is one raw IP socket
 * read by recvmmsg, ring an AF_PACKET receive ring read every 10 ms. Prints JSON. */
#include "common.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define BATCH 256
#define RING_BLOCK (1u << 18)
#define RING_BLOCKS 64
#define RING_RETIRE_MS 10

static uint64_t heard[256][256], good, bad, wakeups;

static void check(const uint8_t *ip, size_t length, int ifindex, uint64_t now)
{
    size_t header = (size_t)(ip[0] & 15) * 4;
    size_t total = (size_t)(ip[2] << 8 | ip[3]);
    size_t n = total - header;
    const uint8_t *pdu = ip + header;

    if (length < ADVERT_IP || total > length || total < header + 8 || ip[9] != VRRP_PROTOCOL || ip[8] != 255 ||
        fold(sum16(pdu, n, sum16(ip + 12, 8, (uint32_t)(VRRP_PROTOCOL + n)))) != 0xffff) {
        bad++;
        return;
    }
    heard[ifindex & 255][pdu[1]] = now;
    good++;
}

static int raw_socket(char **interfaces)
{
    int one = 1, zero = 0, space = 8 << 20;
    int fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, VRRP_PROTOCOL);

    if (fd < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &space, sizeof space);
    setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &zero, sizeof zero);
    setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one);
    for (; *interfaces; interfaces++) {
        struct ip_mreqn join = {.imr_multiaddr.s_addr = inet_addr("224.0.0.18"),
                                .imr_ifindex = (int)if_nametoindex(*interfaces)};
        if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join))
            fail(*interfaces);
    }
    return fd;
}

static void run_raw(int fd, uint64_t end)
{
    static uint8_t data[BATCH][256], control[BATCH][64];
    static struct mmsghdr batch[BATCH];
    static struct iovec vector[BATCH];
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    for (uint64_t now; !asked_to_stop && (now = clock_ns(CLOCK_MONOTONIC)) < end;) {
        int n;
        for (int k = 0; k < BATCH; k++) {
            vector[k] = (struct iovec){data[k], sizeof data[k]};
            batch[k].msg_hdr = (struct msghdr){
                .msg_iov = &vector[k], .msg_iovlen = 1, .msg_control = control[k], .msg_controllen = sizeof control[k]};
        }
        n = recvmmsg(fd, batch, BATCH, MSG_DONTWAIT, NULL);
        if (n <= 0) {
            wakeups++;
            poll(&wait, 1, 100);
            continue;
        }
        for (int k = 0; k < n; k++) {
            struct cmsghdr *c = CMSG_FIRSTHDR(&batch[k].msg_hdr);
            int ifindex = c && c->cmsg_type == IP_PKTINFO ? ((struct in_pktinfo *)CMSG_DATA(c))->ipi_ifindex : 0;
            check(data[k], batch[k].msg_len, ifindex, now);
        }
    }
}

static uint8_t *ring_open(int fd, char **interfaces)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PROTOCOL)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 5),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, VRRP_PROTOCOL, 0, 3),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 256),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    int version = TPACKET_V3;
    struct tpacket_req3 request = {.tp_block_size = RING_BLOCK,
                                   .tp_block_nr = RING_BLOCKS,
                                   .tp_frame_size = 2048,
                                   .tp_frame_nr = RING_BLOCK / 2048 * RING_BLOCKS,
                                   .tp_retire_blk_tov = RING_RETIRE_MS};
    struct sockaddr_ll any = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
    uint8_t *ring;

    for (; *interfaces; interfaces++) {
        struct packet_mreq join = {.mr_ifindex = (int)if_nametoindex(*interfaces),
                                   .mr_type = PACKET_MR_MULTICAST,
                                   .mr_alen = 6,
                                   .mr_address = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x12}};
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &join, sizeof join);
    }
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) ||
        setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
        setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request))
        fail("receive ring");
    ring = mmap(NULL, (size_t)RING_BLOCK * RING_BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (ring == MAP_FAILED || bind(fd, (struct sockaddr *)&any, sizeof any))
        fail("receive ring");
    return ring;
}

static void run_ring(uint8_t *ring, uint64_t end)
{
    unsigned at = 0;

    for (uint64_t now = clock_ns(CLOCK_MONOTONIC); !asked_to_stop && now < end; now = clock_ns(CLOCK_MONOTONIC)) {
        for (;;) {
            struct tpacket_block_desc *b = (void *)(ring + (size_t)at * RING_BLOCK);
            struct tpacket3_hdr *h;
            if (!(__atomic_load_n(&b->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
                break;
            h = (void *)((uint8_t *)b + b->hdr.bh1.offset_to_first_pkt);
            for (uint32_t k = 0; k < b->hdr.bh1.num_pkts; k++) {
                struct sockaddr_ll *from = (void *)((uint8_t *)h + TPACKET_ALIGN(sizeof *h));
                check((uint8_t *)h + h->tp_net, h->tp_snaplen, from->sll_ifindex, now);
                h = (void *)((uint8_t *)h + h->tp_next_offset);
            }
            __atomic_store_n(&b->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
            at = (at + 1) % RING_BLOCKS;
        }
        wakeups++;
        sleep_until(now + RING_RETIRE_MS * 1000000);
    }
}

int main(int argc, char **argv)
{
    uint64_t begin, end, cpu;
    uint8_t *ring = NULL;
    int raw, fd;

    if (argc < 4)
        return 2;
    raw = !strcmp(argv[1], "raw");
    fd = raw ? raw_socket(argv + 3) : socket(AF_PACKET, SOCK_DGRAM, 0);
    if (fd < 0)
        fail("socket");
    if (!raw)
        ring = ring_open(fd, argv + 3);
    stop_on_signals();
    ready();
    begin = clock_ns(CLOCK_MONOTONIC);
    end = begin + (uint64_t)(atof(argv[2]) * 1e9);
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (raw)
        run_raw(fd, end);
    else
        run_ring(ring, end);
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("{\"good\": %lu, \"bad\": %lu, \"wakeups\": %lu, \"cpu_ns_each\": %.0f}\n", good, bad, wakeups,
           good ? (double)cpu / (double)good : 0);
    return 0;
}
