/* Shared by the measuring programs: clocks, checksum, one VRRPv3 advert for IPv4 (RFC 9568 5). */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define VRRP_PROTOCOL 112
#define ADVERT_PDU 12 /* eight bytes and one IPv4 address */
#define ADVERT_IP (20 + ADVERT_PDU)
#define NS_PER_S 1000000000ull

static volatile sig_atomic_t asked_to_stop;

static void on_stop(int number)
{
    (void)number;
    asked_to_stop = 1;
}

static inline void stop_on_signals(void)
{
    signal(SIGTERM, on_stop);
    signal(SIGINT, on_stop);
}

/* Before every daemon, whose threads may be real-time ones of low priority: an observer that waits
 * behind what it observes would miss it. Where this is forbidden it stays an ordinary process. */
static inline void observe_first(void)
{
    struct sched_param p = {.sched_priority = 30};
    sched_setscheduler(0, SCHED_FIFO, &p);
}

static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static inline void sleep_until(uint64_t monotonic_ns)
{
    struct timespec t = {(time_t)(monotonic_ns / NS_PER_S), (long)(monotonic_ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR && !asked_to_stop)
        ;
}

static inline void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Zeroed memory for `n` objects of `size` bytes. */
static inline void *allocate(size_t n, size_t size)
{
    void *at = calloc(n, size);
    if (!at)
        fail("calloc");
    return at;
}

static inline void ready(void)
{
    puts("ready");
    fflush(stdout);
}

/* RFC 1071 sum of `n` bytes, not yet folded. */
static inline uint32_t sum16(const uint8_t *p, size_t n, uint32_t sum)
{
    for (; n > 1; n -= 2, p += 2)
        sum += (uint32_t)(p[0] << 8 | p[1]);
    return n ? sum + (uint32_t)(p[0] << 8) : sum;
}

static inline uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static inline void store16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* IPv4 header and PDU. `source` is in network order. */
static inline void build_advert(uint8_t *ip, uint32_t source, uint8_t vrid, uint8_t priority, uint16_t interval_cs,
                                const uint8_t vip[4])
{
    static const uint8_t group[4] = {224, 0, 0, 18};
    uint8_t *pdu = ip + 20;
    uint32_t sum;

    memset(ip, 0, ADVERT_IP);
    ip[0] = 0x45;
    ip[1] = 0xc0;
    ip[3] = ADVERT_IP;
    ip[8] = 255;
    ip[9] = VRRP_PROTOCOL;
    memcpy(ip + 12, &source, 4);
    memcpy(ip + 16, group, 4);
    store16(ip + 10, (uint16_t)~fold(sum16(ip, 20, 0)));
    pdu[0] = 0x31;
    pdu[1] = vrid;
    pdu[2] = priority;
    pdu[3] = 1;
    store16(pdu + 4, interval_cs);
    memcpy(pdu + 8, vip, 4);
    sum = sum16(ip + 12, 8, VRRP_PROTOCOL + ADVERT_PDU);
    store16(pdu + 6, (uint16_t)~fold(sum16(pdu, ADVERT_PDU, sum)));
}

#endif
