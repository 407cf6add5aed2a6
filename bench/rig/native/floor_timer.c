/* floor_timer DELAY_NS COUNT: what one timer costs: timerfd_settime, epoll_wait, read. Prints JSON. */
#include "common.h"
#include <sys/epoll.h>
#include <sys/timerfd.h>

int main(int argc, char **argv)
{
    struct itimerspec delay = {{0, 0}, {0, 0}};
    struct epoll_event event = {.events = EPOLLIN};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    int wait = epoll_create1(0);
    uint64_t ns, begin, cpu, expirations, late = 0;
    long count;

    if (argc != 3)
        return 2;
    ns = strtoull(argv[1], NULL, 10);
    count = atol(argv[2]);
    delay.it_value.tv_sec = (time_t)(ns / NS_PER_S);
    delay.it_value.tv_nsec = (long)(ns % NS_PER_S);
    epoll_ctl(wait, EPOLL_CTL_ADD, timer, &event);
    begin = clock_ns(CLOCK_MONOTONIC);
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (long k = 0; k < count; k++) {
        uint64_t due = clock_ns(CLOCK_MONOTONIC) + ns;
        timerfd_settime(timer, 0, &delay, NULL);
        epoll_wait(wait, &event, 1, -1);
        if (read(timer, &expirations, sizeof expirations) < 0)
            fail("read");
        late += clock_ns(CLOCK_MONOTONIC) - due;
    }
    printf("{\"cpu_ns_each\": %.0f, \"late_ns_mean\": %.0f, \"wall_ns_each\": %.0f}\n",
           (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)count, (double)late / (double)count,
           (double)(clock_ns(CLOCK_MONOTONIC) - begin) / (double)count);
    return 0;
}
