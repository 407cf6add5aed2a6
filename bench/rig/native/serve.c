/* serve tcp|http PORT
 *
 * A server for health checks on every address: takes each connection and closes it, after an answer to
 * its first bytes with http. Says ready, works until SIGTERM, prints how many there were as JSON. */
#include "common.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EVENTS 256

static const char answer[] = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n"
                             "Connection: close\r\n\r\nHello, world\n";

static int listener(int port)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;

    if (fd < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&where, sizeof where) < 0 || listen(fd, 65535) < 0)
        fail("listen");
    return fd;
}

static void watch(int set, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    char request[4096];
    uint64_t taken = 0;
    int http, fd, set;

    if (argc != 3)
        return 2;
    http = !strcmp(argv[1], "http");
    stop_on_signals();
    fd = listener(atoi(argv[2]));
    set = epoll_create1(0);
    watch(set, fd);
    ready();
    while (!asked_to_stop) {
        int n = epoll_wait(set, events, EVENTS, 200);

        for (int k = 0; k < n; k++) {
            int client = events[k].data.fd;

            if (client != fd) {
                if (recv(client, request, sizeof request, 0) > 0)
                    send(client, answer, sizeof answer - 1, MSG_NOSIGNAL);
                close(client);
                continue;
            }
            while ((client = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                taken++;
                if (http)
                    watch(set, client);
                else
                    close(client);
            }
        }
    }
    printf("{\"taken\": %llu}\n", (unsigned long long)taken);
    return 0;
}
