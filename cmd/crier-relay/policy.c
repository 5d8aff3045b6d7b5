/*
 * policy.c - reads the ledger's words about an escalation. What Redis holds is not trusted to be well formed: what
 * cannot be read is taken as not there.
 */
#include "cmd/crier-relay/policy.h"

#include "core/hash.h"
#include "proto/names.h"

/* Takes the digits in front, capped at 2^53. False: there are none. */
static bool take_number(struct span *s, uint64_t *out)
{
    const uint64_t most = UINT64_C(1) << 53;
    size_t n = 0;
    uint64_t v = 0;
    for (; n < s->n && s->p[n] >= '0' && s->p[n] <= '9'; n++) {
        v = v * 10 + (uint64_t)(s->p[n] - '0');
        if (v > most)
            v = most;
    }
    *out = v;
    *s = span_of(s->p + n, s->n - n);
    return n > 0;
}

static bool take_byte(struct span *s, uint8_t c)
{
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = span_of(s->p + 1, s->n - 1);
    return true;
}

static struct step *find(struct policy *p, struct span name)
{
    for (unsigned i = 0; i < p->n; i++) {
        if (span_eq(p->step[i].name, name))
            return &p->step[i];
    }
    return NULL;
}

bool policy_parse(struct policy *p, struct span text)
{
    *p = (struct policy){0};
    if (!take_number(&text, &p->due_ms) || !take_byte(&text, ' '))
        return false;
    while (text.n && p->n < POLICY_CHANNELS) {
        struct span name = span_cut(&text, ',');
        if (name.n && !find(p, name))
            p->step[p->n++] = (struct step){.name = name, .channel = relay_channel(name)};
    }
    return p->n > 0;
}

void policy_note(struct policy *p, struct span field, struct span value)
{
    uint64_t ms, attempts;
    if (!take_byte(&field, 'r') || !take_byte(&field, ':'))
        return;
    struct step *s = find(p, field);
    if (!s || !take_number(&value, &ms) || !take_byte(&value, ' ') || !take_number(&value, &attempts) ||
        !take_byte(&value, ' '))
        return;
    struct span outcome = span_cut(&value, ' ');
    s->attempts = attempts < UINT32_MAX ? (unsigned)attempts : UINT32_MAX;
    s->failed = SPAN_IS(outcome, "failed");
    s->sent = SPAN_IS(outcome, "sent");
}

unsigned policy_next(const struct policy *p)
{
    unsigned next = p->n;
    for (unsigned i = p->n; i-- > 0;) {
        if (p->step[i].sent)
            return p->n;
        if (!p->step[i].failed)
            next = i;
    }
    return next;
}

bool policy_follows(const struct policy *p, unsigned i)
{
    for (i++; i < p->n; i++) {
        if (!p->step[i].failed)
            return true;
    }
    return false;
}

bool claim_name_parse(struct span name, struct span *user, struct span *id)
{
    uint64_t n;
    if (!take_byte(&name, 't') || !take_byte(&name, ':') || !take_byte(&name, 'u') || !take_byte(&name, ':') ||
        !take_number(&name, &n) || !take_byte(&name, ':') || n >= name.n)
        return false;
    *user = span_of(name.p, (size_t)n);
    name = span_of(name.p + n, name.n - (size_t)n);
    if (!take_byte(&name, ':'))
        return false;
    *id = name;
    return user->n > 0 && id->n > 0;
}

unsigned backoff_ms(unsigned first, unsigned most, unsigned attempts)
{
    uint64_t full = attempts < 32 ? (uint64_t)first << attempts : most;
    if (full > most)
        full = most;
    return (unsigned)(full - full / 2 + random_below(full / 2 + 1));
}
