/*
 * ports.h - free loopback ports, for servers that cannot be told "any port" and say which.
 */
#ifndef BENCH_PORTS_H
#define BENCH_PORTS_H

/* "ports N": prints N different ports that were free a moment ago. The exit status. */
int ports_main(int argc, char **argv);

#endif
