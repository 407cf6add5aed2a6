/* flood INTERFACE SOURCE VRID PRIORITY INTERVAL_CS RATE SECONDS FAULT
 *
 * Sends adverts with one fault at RATE packets/s: checksum, ttl, version, or none (e.g. for a VRID nobody
 * has). Prints JSON. */
#include "common.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define BATCH 256

int main(int argc, char **argv)
{
    static const uint8_t group_mac[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x12};
    static const uint8_t vip[4] = {10, 0, 0, 1};
    uint8_t frame[ETH_HLEN + ADVERT_IP];
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_halen = 6};
    struct iovec data = {frame, sizeof frame};
    struct mmsghdr batch[BATCH];
    struct ifreq hardware = {0};
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    int one = 1;
    uint64_t begin, end, now, sent = 0, refused = 0;
    uint8_t *ip = frame + ETH_HLEN;
    const char *fault;
    double rate;

    if (argc != 9)
        return 2;
    if (fd < 0)
        fail("socket");
    fault = argv[8];
    rate = atof(argv[6]);
    strncpy(hardware.ifr_name, argv[1], IFNAMSIZ - 1);
    if (ioctl(fd, SIOCGIFHWADDR, &hardware))
        fail(argv[1]);
    to.sll_ifindex = (int)if_nametoindex(argv[1]);
    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
    memcpy(frame, group_mac, 6);
    memcpy(frame + 6, hardware.ifr_hwaddr.sa_data, 6);
    store16(frame + 12, ETH_P_IP);
    build_advert(ip, inet_addr(argv[2]), (uint8_t)atoi(argv[3]), (uint8_t)atoi(argv[4]), (uint16_t)atoi(argv[5]), vip);
    if (!strcmp(fault, "checksum")) {
        ip[26] ^= 0x55;
    } else if (!strcmp(fault, "ttl")) {
        ip[8] = 64;
        store16(ip + 10, 0);
        store16(ip + 10, (uint16_t)~fold(sum16(ip, 20, 0)));
    } else if (!strcmp(fault, "version")) {
        ip[20] = 0x71;
    } else if (strcmp(fault, "none")) {
        return 2;
    }
    memset(batch, 0, sizeof batch);
    for (int k = 0; k < BATCH; k++)
        batch[k].msg_hdr =
            (struct msghdr){.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &data, .msg_iovlen = 1};
    stop_on_signals();
    ready();
    begin = clock_ns(CLOCK_MONOTONIC);
    end = begin + (uint64_t)(atof(argv[7]) * 1e9);
    while (!asked_to_stop && (now = clock_ns(CLOCK_MONOTONIC)) < end) {
        uint64_t due = (uint64_t)((double)(now - begin) * 1e-9 * rate) + 1;
        while (sent < due && clock_ns(CLOCK_MONOTONIC) < now + 20000000) {
            unsigned n = due - sent < BATCH ? (unsigned)(due - sent) : BATCH;
            int done = sendmmsg(fd, batch, n, 0);
            if (done <= 0) {
                refused++;
                break;
            }
            sent += (uint64_t)done;
        }
        sleep_until(now + (rate > 1000 ? 1000000 : (uint64_t)(1e9 / rate)));
    }
    now = clock_ns(CLOCK_MONOTONIC);
    printf("{\"sent\": %lu, \"refused\": %lu, \"rate\": %.0f, \"cpu_percent\": %.1f}\n", sent, refused,
           (double)sent / ((double)(now - begin) * 1e-9),
           100.0 * (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / (double)(now - begin));
    return 0;
}
