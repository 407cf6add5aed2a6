/* intervals NOMINAL_NS: how regular the adverts of every virtual router are, until SIGTERM.
 *
 * For each (interface, VRID, family, direction) the time between two adverts is compared with
 * NOMINAL_NS; only histograms are kept, so that hours at full rate fit. Prints JSON.
 *
 * A router that begins to advertise may send its second advert early, to choose its place in the
 * interval: that is counted as a change of phase and not as an error. A late one is an error. */
#include "capture.h"
#include <math.h>

#define INTERFACES 1024
#define SUB_BITS 6 /* 64 buckets for each power of two: 1.6 % resolution */
#define BUCKETS (64 << SUB_BITS)

struct histogram {
    uint64_t n[BUCKETS];
    uint64_t count, max;
};

struct direction {
    uint64_t adverts, priority_zero, arps, intervals, routers, phase_changes;
    uint64_t over_1_5, over_2, over_3; /* intervals longer than so many nominal ones */
    double sum;
    struct histogram early, late;
    uint64_t last[INTERFACES][256][2];
    uint8_t begun[INTERFACES][256][2]; /* its last advert was the first one after silence */
};

static struct direction *direction[2];
static uint64_t nominal, first_ns, last_ns;

static unsigned bucket_of(uint64_t v)
{
    unsigned top;
    if (v < 1u << SUB_BITS)
        return (unsigned)v;
    top = 63 - (unsigned)__builtin_clzll(v);
    return ((top - SUB_BITS + 1) << SUB_BITS) + (unsigned)((v >> (top - SUB_BITS)) & ((1u << SUB_BITS) - 1));
}

/* Lowest value of a bucket. */
static uint64_t bucket_floor(unsigned b)
{
    unsigned octave = b >> SUB_BITS;
    uint64_t sub = b & ((1u << SUB_BITS) - 1);
    return octave == 0 ? sub : (sub + (1u << SUB_BITS)) << (octave - 1);
}

static void record(struct histogram *h, uint64_t v)
{
    h->n[bucket_of(v)]++;
    h->count++;
    if (v > h->max)
        h->max = v;
}

static void take_interval(struct direction *d, uint64_t gap)
{
    int64_t error = (int64_t)gap - (int64_t)nominal;

    d->intervals++;
    d->sum += (double)error;
    record(error < 0 ? &d->early : &d->late, (uint64_t)llabs(error));
    d->over_1_5 += gap > nominal + nominal / 2;
    d->over_2 += gap > 2 * nominal;
    d->over_3 += gap > 3 * nominal;
}

static void take(const struct frame *f)
{
    struct direction *d = direction[f->outgoing];
    unsigned interface = f->ifindex % INTERFACES, ipv6 = f->kind == ADVERT_IPV6;
    uint64_t *last = &d->last[interface][f->vrid][ipv6];
    uint8_t *begun = &d->begun[interface][f->vrid][ipv6];

    if (f->kind == ARP) {
        d->arps++;
        return;
    }
    if (!first_ns)
        first_ns = f->time_ns;
    last_ns = f->time_ns;
    d->adverts++;
    d->priority_zero += f->priority == 0;
    if (*last == 0) {
        d->routers++;
        *begun = f->time_ns - first_ns > nominal + nominal / 2;
    } else {
        uint64_t gap = f->time_ns > *last ? f->time_ns - *last : 0;
        if (*begun && gap < nominal)
            d->phase_changes++;
        else
            take_interval(d, gap);
        *begun = gap > 3 * nominal;
    }
    if (f->priority == 0)
        *begun = 1;
    *last = f->time_ns;
}

static void print_histogram(const char *name, const struct histogram *h)
{
    const char *separator = "";
    printf(", \"%s_max_ns\": %lu, \"%s\": [", name, h->max, name);
    for (unsigned b = 0; b < BUCKETS; b++)
        if (h->n[b]) {
            printf("%s[%lu, %lu]", separator, bucket_floor(b), h->n[b]);
            separator = ", ";
        }
    putchar(']');
}

/* Virtual routers that fell silent: their last advert is older than 1.5 intervals at the end. */
static uint64_t silent(const struct direction *d)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < INTERFACES; i++)
        for (unsigned v = 0; v < 256; v++)
            for (unsigned k = 0; k < 2; k++)
                n += d->last[i][v][k] && d->last[i][v][k] + nominal + nominal / 2 < last_ns;
    return n;
}

static void print_direction(const char *name, const struct direction *d)
{
    printf("\"%s\": {\"adverts\": %lu, \"priority_zero\": %lu, \"arps\": %lu, \"routers\": %lu, \"intervals\": %lu, "
           "\"phase_changes\": %lu, \"over_1_5\": %lu, \"over_2\": %lu, \"over_3\": %lu, \"silent\": %lu, \"mean_error_ns\": %.0f",
           name, d->adverts, d->priority_zero, d->arps, d->routers, d->intervals, d->phase_changes, d->over_1_5, d->over_2, d->over_3,
           silent(d), d->intervals ? d->sum / (double)d->intervals : 0.0);
    print_histogram("early", &d->early);
    print_histogram("late", &d->late);
    putchar('}');
}

int main(int argc, char **argv)
{
    struct capture c;

    if (argc != 2)
        return 2;
    nominal = strtoull(argv[1], NULL, 10);
    for (int k = 0; k < 2; k++)
        direction[k] = allocate(1, sizeof *direction[k]);
    stop_on_signals();
    observe_first();
    capture_open(&c);
    ready();
    capture_run(&c, take);
    printf("{\"dropped\": %lu, \"first_ns\": %lu, \"last_ns\": %lu, ", c.dropped, first_ns, last_ns);
    print_direction("received", direction[0]);
    printf(", ");
    print_direction("sent", direction[1]);
    puts("}");
    return 0;
}
