/*
 * members.h - the members of one JSON object or msgpack map, read against a table of the names a caller knows. What
 * envelopes, client commands and API bodies have in common. Pure.
 */
#ifndef PROTO_MEMBERS_H
#define PROTO_MEMBERS_H

#include "core/buf.h"
#include "proto/codec.h"

#define MEMBERS_MAX 32 /* names in one table: masks are one word */

enum member_kind {
    MEMBER_ABSENT,
    MEMBER_STRING,
    MEMBER_UINT,   /* 0 .. 2^53-1, written as an integer */
    MEMBER_NUMBER, /* any other number */
    MEMBER_BOOL,
    MEMBER_OTHER, /* null, containers, bin, ext */
};

struct member_rule {
    const char *name;              /* ASCII, at most 31 bytes */
    enum member_kind kind;         /* MEMBER_OTHER: any value will do */
    uint64_t max;                  /* of MEMBER_UINT */
    bool (*ok)(struct span value); /* of MEMBER_STRING: is it allowed? NULL: any */
    const char *must;              /* "must be ...", for the sentence that refuses */
};

struct member {
    enum member_kind kind;
    bool escaped; /* a JSON string with escapes: text is there after members_check */
    bool b;
    uint64_t u;
    struct span raw;  /* the whole value in its own codec */
    struct span text; /* of MEMBER_STRING: what it stands for, UTF-8 (JSON) or any bytes (msgpack, until checked) */
};

struct members {
    const char *twice; /* a name of the table that came twice, or NULL; the first one counts */
    bool unknown;      /* there were other names */
    unsigned depth;    /* levels of containers, this one included */
};

enum members_status {
    MEMBERS_OK,
    MEMBERS_SYNTAX,
    MEMBERS_UTF8,
    MEMBERS_DEEP,
    MEMBERS_OTHER_VALUE, /* no object or map, or none that begins well */
    MEMBERS_REFUSED,
    MEMBERS_NO_MEMORY
};

/* Reads exactly one object (`in` whole; JSON: white space around it allowed). v: one for each rule; borrows from `in`.
 * When it fails, *v and *m say what was read before. */
enum members_status members_read(enum codec c, struct span in, const struct member_rule *rules, unsigned n,
                                 struct member *v, struct members *m) MUST_CHECK;

/* Holds those of `mask` (bit i: rule i) that are there against their rules, decoding escapes into scratch, which moves
 * at most once and keeps what it had. MEMBERS_REFUSED: `why` is a sentence naming the member. */
enum members_status members_check(const struct member_rule *rules, unsigned n, uint32_t mask, struct member *v,
                                  struct buf *scratch, char *why, size_t whylen) MUST_CHECK;

/* ---- rules that several tables share ---- */

#define MEMBERS_TTL_MAX  UINT64_C(315360000) /* seconds: ten years */
#define MUST_BE_TTL      "must be whole seconds from 0 to 315360000"
#define MUST_BE_NAME     "must be a string of 1 to 128 bytes without control characters"
#define MUST_BE_SHORT    "must be a string of 1 to 64 bytes without control characters"
#define MUST_BE_BOOL     "must be true or false"
#define MUST_BE_PRIORITY "must be \"low\", \"normal\" or \"high\""
#define MUST_BE_SEQ      "must be a whole number from 0 to 9007199254740991"

bool members_priority_ok(struct span s);
/* s is one of them. */
enum priority members_priority(struct span s);
struct span members_priority_name(enum priority p);

#endif
