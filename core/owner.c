/*
 * owner.c - one thread-local number: the calling thread's role. A thread that never said its role owns nothing.
 */
#include "core/owner.h"

#include <limits.h>

static _Thread_local int role_of_this_thread = INT_MIN;

void thread_role_set(int role)
{
    role_of_this_thread = role;
}

int thread_role(void)
{
    return role_of_this_thread;
}
