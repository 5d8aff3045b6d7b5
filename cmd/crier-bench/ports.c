/*
 * ports.c - binds N sockets at once, prints their ports, lets go. Somebody else may take one in between; then the
 * server that was to have it says so and the script ends.
 */
#include "ports.h"

#include "core/base.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORTS_MAX 64

static int any_port(int *fd)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof sa;
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0 || bind(*fd, (struct sockaddr *)&sa, sizeof sa) || getsockname(*fd, (struct sockaddr *)&sa, &len))
        return -1;
    return ntohs(sa.sin_port);
}

int ports_main(int argc, char **argv)
{
    long n = argc == 1 ? strtol(argv[0], NULL, 10) : 0;
    int fd[PORTS_MAX], status = 0;
    if (n < 1 || n > PORTS_MAX) {
        fprintf(stderr, "crier-bench: ports wants a number from 1 to %d\n", PORTS_MAX);
        return 2;
    }
    for (long i = 0; i < n; i++) {
        int port = any_port(&fd[i]);
        if (port < 0)
            status = 1;
        else
            printf("%d\n", port);
    }
    for (long i = 0; i < n; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    return status;
}
