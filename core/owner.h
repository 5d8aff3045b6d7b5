/*
 * owner.h - which thread may touch what. A thread says its role once; ASSERT_OWNER at a border aborts on the wrong one
 * (debug and sanitizer builds; nothing in release builds).
 */
#ifndef CORE_OWNER_H
#define CORE_OWNER_H

#include "core/base.h"

enum { ROLE_MAIN = -1, ROLE_DISPATCHER = -2 }; /* shards: their index, from 0 */

void thread_role_set(int role);
int thread_role(void);

#ifdef CRIER_DEBUG
#define ASSERT_OWNER(role) assert(thread_role() == (role))
#else
#define ASSERT_OWNER(role) ((void)0)
#endif

#endif
