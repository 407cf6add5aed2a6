/* A file of fixed-size records that readers may map while it grows. */
#ifndef BENCH_LOG_H
#define BENCH_LOG_H
#include "common.h"
#include <fcntl.h>
#include <sys/mman.h>

#define LOG_HEADER 64

struct log_header {
    uint64_t count;     /* records that are complete */
    uint64_t discarded; /* that did not fit */
    uint64_t lost;      /* that the kernel dropped */
};

struct log {
    struct log_header *header;
    uint8_t *records;
    size_t size;
    uint64_t limit;
};

static inline void log_open(struct log *l, const char *path, size_t record_size, uint64_t limit)
{
    size_t bytes = LOG_HEADER + record_size * limit;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    uint8_t *at;

    if (fd < 0 || ftruncate(fd, (off_t)bytes))
        fail(path);
    at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    close(fd);
    l->header = (void *)at;
    l->records = at + LOG_HEADER;
    l->size = record_size;
    l->limit = limit;
}

static inline void log_append(struct log *l, const void *record)
{
    uint64_t n = l->header->count;
    if (n == l->limit) {
        l->header->discarded++;
        return;
    }
    memcpy(l->records + n * l->size, record, l->size);
    __atomic_store_n(&l->header->count, n + 1, __ATOMIC_RELEASE);
}

#endif
