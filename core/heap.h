/*
 * heap.h - what the C library's heap is asked to do beyond malloc and free; nothing where it cannot (glibc can).
 */
#ifndef CORE_HEAP_H
#define CORE_HEAP_H

#include "core/base.h"

/* Before the first thread: how the C library's heap is to behave. glibc gives the top of a thread's heap back whenever
 * 128 KiB of it are free, and takes it again page by page: with messages made on one thread and freed on another that
 * was a tenth of what a message costs and more. */
void heap_setup(void);
/* Gives memory that is free within the heap back to the system, where the C library can (glibc: malloc_trim). Takes
 * the longer the more of it there is. */
void heap_trim(void);
/* Takes and gives back n bytes (less than 1 MiB), in one piece and with their pages behind them: what the calling
 * thread is about to take in small pieces then costs no page fault each 4 KiB and no system call each time its heap
 * grows. */
void heap_ahead(size_t n);

#endif
