/*
 * job_codec.h - the msgpack form of a job: an array of fixed order, so that it is read without a table.
 * [version=1, kind, target, seq, prev, expires_s, ts_ms, id, event, from, collapse, priority, track, format, data(bin)]
 * Strings are msgpack str, an absent one is nil.
 */
#ifndef PROTO_JOB_CODEC_H
#define PROTO_JOB_CODEC_H

#include "core/job.h"

/* Packs a head into a new job with one reference whose head points into its own bytes; memory as in job_new. NULL when
 * memory is out. */
struct job *job_pack_in(struct pool *pool, const struct job_head *head) MUST_CHECK;
struct job *job_pack(const struct job_head *head) MUST_CHECK; /* of the heap */
/* Reads packed bytes into a head whose spans borrow from `bytes`. 0: fine; <0: malformed (hostile bytes never read past
 * the end). */
int job_unpack(struct span bytes, struct job_head *head) MUST_CHECK;
/* A new job from packed bytes (copied); NULL when malformed or memory is out. */
struct job *job_from_bytes(struct span bytes) MUST_CHECK;

#endif
