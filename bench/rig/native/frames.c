/* frames FILE LIMIT: every VRRP and ARP frame of the namespace as records, until SIGTERM. */
#include "capture.h"
#include "log.h"

static struct log output;

static void take(const struct frame *f)
{
    log_append(&output, f);
}

int main(int argc, char **argv)
{
    struct capture c;

    if (argc != 3)
        return 2;
    stop_on_signals();
    observe_first();
    log_open(&output, argv[1], sizeof(struct frame), strtoull(argv[2], NULL, 10));
    capture_open(&c);
    ready();
    capture_run(&c, take);
    output.header->lost = c.dropped;
    printf("{\"frames\": %lu, \"discarded\": %lu, \"dropped\": %lu}\n", output.header->count,
           output.header->discarded, output.header->lost);
    return 0;
}
