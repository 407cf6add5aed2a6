/* An AF_PACKET receive ring (TPACKET_V3) over every interface of the namespace, both directions,
 * filtered to VRRP and ARP. The kernel stamps each frame (CLOCK_REALTIME). */
#ifndef BENCH_CAPTURE_H
#define BENCH_CAPTURE_H
#include "common.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define BLOCK_SIZE (1u << 20)
#define BLOCKS 64
#define RETIRE_MS 20 /* how long a block that is not full waits for more frames */

enum kind { ADVERT_IPV4 = 1, ADVERT_IPV6 = 2, ARP = 3 };

struct frame {
    uint64_t time_ns;
    uint32_t ifindex;
    uint32_t address; /* ARP: sender's protocol address; advert: first virtual address; network order */
    uint8_t kind;
    uint8_t outgoing;
    uint8_t vrid;
    uint8_t priority;
    uint8_t gratuitous; /* ARP: sender and target address are the same */
    uint8_t reserved[3];
};

struct capture {
    int fd;
    uint8_t *ring;
    unsigned block;
    uint64_t taken;   /* frames handed over */
    uint64_t arrived; /* frames that passed the filter until the kernel was asked last */
    uint64_t dropped; /* of these, the ones for which the ring had no room */
};

static inline void capture_open(struct capture *c)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_ARP, 6, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 2),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 23),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, VRRP_PROTOCOL, 3, 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IPV6, 0, 3),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 20),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, VRRP_PROTOCOL, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 128),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    int version = TPACKET_V3;
    struct tpacket_req3 request = {
        .tp_block_size = BLOCK_SIZE,
        .tp_block_nr = BLOCKS,
        .tp_frame_size = 2048,
        .tp_frame_nr = BLOCK_SIZE / 2048 * BLOCKS,
        .tp_retire_blk_tov = RETIRE_MS,
    };
    struct sockaddr_ll any = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};

    c->fd = socket(AF_PACKET, SOCK_RAW, 0);
    if (c->fd < 0)
        fail("socket");
    if (setsockopt(c->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program))
        fail("SO_ATTACH_FILTER");
    if (setsockopt(c->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version))
        fail("PACKET_VERSION");
    if (setsockopt(c->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request))
        fail("PACKET_RX_RING");
    c->ring = mmap(NULL, (size_t)BLOCK_SIZE * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, c->fd, 0);
    if (c->ring == MAP_FAILED)
        fail("mmap");
    c->block = 0;
    c->taken = c->arrived = c->dropped = 0;
    /* A kernel without preemption keeps a processor for 0.1 s while it makes the ring. What that delayed is over
     * when the first frame is taken. */
    usleep(500000);
    if (bind(c->fd, (struct sockaddr *)&any, sizeof any))
        fail("bind");
}

/* 1 and the frame decoded, or 0 for something else. */
static inline int frame_decode(const struct tpacket3_hdr *h, struct frame *f)
{
    const struct sockaddr_ll *from = (const void *)((const uint8_t *)h + TPACKET_ALIGN(sizeof *h));
    const uint8_t *e = (const uint8_t *)h + h->tp_mac;
    const uint8_t *end = e + h->tp_snaplen;
    const uint8_t *pdu;

    memset(f, 0, sizeof *f);
    f->time_ns = h->tp_sec * NS_PER_S + h->tp_nsec;
    f->ifindex = (uint32_t)from->sll_ifindex;
    f->outgoing = from->sll_pkttype == PACKET_OUTGOING;
    if (end < e + 42)
        return 0;
    switch (e[12] << 8 | e[13]) {
    case ETH_P_ARP:
        f->kind = ARP;
        f->gratuitous = memcmp(e + 28, e + 38, 4) == 0;
        memcpy(&f->address, e + 28, 4);
        return 1;
    case ETH_P_IP:
        f->kind = ADVERT_IPV4;
        pdu = e + 14 + (e[14] & 15) * 4;
        break;
    case ETH_P_IPV6:
        f->kind = ADVERT_IPV6;
        pdu = e + 54;
        break;
    default:
        return 0;
    }
    if (end < pdu + 8)
        return 0;
    f->vrid = pdu[1];
    f->priority = pdu[2];
    if (f->kind == ADVERT_IPV4 && end >= pdu + 12)
        memcpy(&f->address, pdu + 8, 4);
    return 1;
}

/* The kernel's counts begin anew whenever they are read. */
static inline void capture_count(struct capture *c)
{
    struct tpacket_stats_v3 s = {0};
    socklen_t size = sizeof s;
    if (getsockopt(c->fd, SOL_PACKET, PACKET_STATISTICS, &s, &size))
        fail("PACKET_STATISTICS");
    c->arrived += s.tp_packets;
    c->dropped += s.tp_drops;
}

/* Calls `take` for every frame that has arrived until we are asked to stop. The last block is handed over by a
 * timer of the kernel's, which a busy machine delays: so the frames are counted, not the time. */
static inline void capture_run(struct capture *c, void (*take)(const struct frame *))
{
    struct pollfd wait = {.fd = c->fd, .events = POLLIN};
    int stopping = 0;

    for (;;) {
        struct tpacket_block_desc *b = (void *)(c->ring + (size_t)c->block * BLOCK_SIZE);
        struct tpacket3_hdr *h;
        struct frame f;

        if (asked_to_stop && !stopping) {
            capture_count(c);
            stopping = 1;
        }
        if (!(__atomic_load_n(&b->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) {
            if (stopping && c->taken >= c->arrived - c->dropped)
                return;
            poll(&wait, 1, stopping ? RETIRE_MS : 200);
            continue;
        }
        h = (void *)((uint8_t *)b + b->hdr.bh1.offset_to_first_pkt);
        for (uint32_t k = 0; k < b->hdr.bh1.num_pkts; k++) {
            if (frame_decode(h, &f))
                take(&f);
            h = (void *)((uint8_t *)h + h->tp_next_offset);
        }
        c->taken += b->hdr.bh1.num_pkts;
        __atomic_store_n(&b->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
        c->block = (c->block + 1) % BLOCKS;
    }
}

#endif
