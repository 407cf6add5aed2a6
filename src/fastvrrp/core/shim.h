/* What Cython cannot say: atomics for the rings, unaligned big-endian access, and syscalls that
 * glibc may lack. Nothing here allocates, locks or touches Python. */
#ifndef FASTVRRP_SHIM_H
#define FASTVRRP_SHIM_H
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <errno.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <sys/epoll.h>

static inline uint32_t fv_load_u32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void fv_store_u32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint32_t fv_swap_u32(uint32_t *p, uint32_t v) { return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL); }
static inline uint64_t fv_load_u64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void fv_store_u64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
/* A look at what another thread may be writing: status and counters, whose writer must not pay for
 * being watched. Whole aligned words, in order; the caller looks twice when they belong together. Not
 * for the thread sanitizer, which knows no such readers: it would want every counter to be atomic. */
__attribute__((no_sanitize("thread"), noinline, unused))
static void fv_peek(void *to, const void *from, size_t bytes) {
    const uint64_t *p = (const uint64_t *)from;
    for (size_t k = 0; k < bytes / 8; k++) {
        uint64_t word = __atomic_load_n(p + k, __ATOMIC_ACQUIRE);
        memcpy((uint8_t *)to + 8 * k, &word, 8);
    }
}
__attribute__((no_sanitize("thread"), noinline, unused))
static uint64_t fv_peek_u64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
__attribute__((no_sanitize("thread"), noinline, unused))
static uint32_t fv_peek_u32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
__attribute__((no_sanitize("thread"), noinline, unused))
static uint8_t fv_peek_u8(const uint8_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

static inline int fv_ctz64(uint64_t v) { return __builtin_ctzll(v); }
static inline int fv_clz64(uint64_t v) { return __builtin_clzll(v); }

/* Advice only: a wrong address does no harm. `lines` of 64 bytes from `p` on. */
static inline void fv_prefetch(const void *p, unsigned lines) {
    for (unsigned k = 0; k < lines; k++) __builtin_prefetch((const char *)p + 64 * k);
}

static inline uint16_t fv_get16(const uint8_t *p) { return (uint16_t)((p[0] << 8) | p[1]); }
static inline void fv_put16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }

/* Whether addresses, n bytes of them and n a multiple of 4, are equal: memcmp() costs a call. */
static inline int fv_same(const uint8_t *a, const uint8_t *b, uint32_t n) {
    for (uint32_t k = 0; k < n; k += 4) {
        uint32_t x, y;
        memcpy(&x, a + k, 4);
        memcpy(&y, b + k, 4);
        if (x != y) return 0;
    }
    return 1;
}

/* The destination in the checksums of keepalived before 1.3.7, wherever an advert went (RFC 9568 5.1.1.2). */
static const uint8_t fv_vrrp_group4[4] = { 224, 0, 0, 18 };

static inline int64_t fv_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* what CLOCK_REALTIME is ahead of CLOCK_MONOTONIC now */
static inline int64_t fv_realtime_offset_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000LL + t.tv_nsec - fv_now_ns();
}

static inline void fv_sleep_ns(int64_t ns) {
    struct timespec t = { ns / 1000000000LL, ns % 1000000000LL };
    clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

static inline int fv_errno(void) { return errno; }

/* epoll_pwait2 (Linux 5.11): nanosecond timeout without a timerfd. Before that: milliseconds,
 * rounded down, so that the loop wakes early and spins the rest rather than sleeping over a due. */
static inline int fv_epoll_wait(int fd, struct epoll_event *ev, int max, int64_t timeout_ns) {
#ifdef SYS_epoll_pwait2
    static int missing = 0; /* of both threads */
    if (!__atomic_load_n(&missing, __ATOMIC_RELAXED)) {
        struct timespec t, *tp = NULL;
        if (timeout_ns >= 0) { t.tv_sec = timeout_ns / 1000000000LL; t.tv_nsec = timeout_ns % 1000000000LL; tp = &t; }
        int r = (int)syscall(SYS_epoll_pwait2, fd, ev, max, tp, NULL, 8);
        if (r >= 0 || errno != ENOSYS) return r;
        __atomic_store_n(&missing, 1, __ATOMIC_RELAXED);
    }
#endif
    return epoll_wait(fd, ev, max, timeout_ns < 0 ? -1 : (int)(timeout_ns / 1000000LL));
}

/* whether blocks come from regions of ours: what looks for faults has to see each of them */
#ifdef __SANITIZE_ADDRESS__
#define FV_SLABS 0
#else
#define FV_SLABS 1
#endif
#endif
