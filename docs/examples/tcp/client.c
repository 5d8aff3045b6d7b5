/*
 * client.c - a program without HTTP: a bare socket, a JSON object a line, each message acknowledged once dealt with.
 *
 *   cc -Wall -Wextra -Werror -o client client.c
 *   ./client HOST PORT USER DEVICE [TOKEN]        prints each message's line; ends when the broker ends the connection
 *
 * The broker runs with --tcp-listen. What is not acknowledged comes again: start the program again when it ends.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *dial(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int fd = -1;

    if (getaddrinfo(host, port, &hints, &list) != 0)
        return NULL;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd < 0 ? NULL : fdopen(fd, "r");
}

/* The broker writes `data` last, and quotes in strings are escaped: what stands before "data": is a member of the
 * object itself. A program that looks into the data has a JSON parser and needs none of this. */
static const char *member(const char *line, const char *name)
{
    const char *at = strstr(line, name), *data = strstr(line, "\"data\":");
    return at && (!data || at < data) ? at + strlen(name) : NULL;
}

int main(int argc, char **argv)
{
    FILE *in = argc >= 5 ? dial(argv[1], argv[2]) : NULL;
    char *line = NULL;
    size_t room = 0;

    if (!in) {
        fprintf(stderr, "usage: client HOST PORT USER DEVICE [TOKEN], and a broker there\n");
        return 2;
    }
    dprintf(fileno(in), "{\"type\":\"hello\",\"ack\":\"explicit\",\"device\":\"%s\",\"%s\":\"%s\"}\n", argv[4],
            argc > 5 ? "token" : "user", argc > 5 ? argv[5] : argv[3]); /* a name alone is enough with --dev */
    while (getline(&line, &room, in) > 0) {
        const char *type = member(line, "\"type\":\""), *seq = member(line, "\"seq\":");
        if (type && strncmp(type, "ping\"", 5) == 0) {
            dprintf(fileno(in), "{\"type\":\"pong\"}\n");
        } else if (type && strncmp(type, "message\"", 8) == 0) {
            printf("%s", line); /* here the program does with it what it has to do */
            if (fflush(stdout) == 0 && seq && !member(line, "\"room\":"))
                dprintf(fileno(in), "{\"type\":\"ack\",\"seq\":%llu}\n", strtoull(seq, NULL, 10));
        } else {
            fprintf(stderr, "%s", line); /* welcome, ok, error, gap, closing */
        }
    }
    free(line);
    fclose(in);
    return 1;
}
