/* Ops and items: made, filled to the brim, freed in any state. Leaks show under ASan. */
#include "core/call.h"
#include "core/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/inbox.h"

static char *text(const char *s)
{
    char *copy = span_dup(span_str(s));
    assert_non_null(copy);
    return copy;
}

static struct job *some_job(void)
{
    struct job *j = job_new(NULL, 0);
    assert_non_null(j);
    return j;
}

static void fill_page(struct op_page *page, struct job *shared)
{
    page->njobs = 3;
    page->jobs = calloc(page->njobs, sizeof(struct job *));
    assert_non_null(page->jobs);
    page->jobs[0] = some_job();
    page->jobs[1] = job_ref(shared); /* [2] stays NULL: a page given up half way */
}

static struct call *some_call(void)
{
    struct call *c = call_new(CALL_COMMAND, SPAN_LIT("alice"), SPAN_LIT("phone"));
    assert_non_null(c);
    c->input = (uint8_t *)text("{}");
    c->id = text("m1");
    c->origin = text("n1");
    c->places = text("0");
    c->rooms = text("a");
    c->body = (uint8_t *)text("{}");
    return c;
}

static struct op *full_op(enum op_kind kind, struct job *shared)
{
    struct op *op = op_new(kind);
    assert_non_null(op);
    assert_int_equal(op->kind, kind);
    assert_int_equal(op->status, OP_OK);
    switch (kind) {
    case OP_ATTACH:
        op->attach.user = text("alice");
        op->attach.device = text("phone");
        fill_page(&op->attach.page, shared);
        break;
    case OP_DETACH:
        op->detach.user = text("alice");
        op->detach.device = text("phone");
        break;
    case OP_FETCH:
        op->fetch.user = text("alice");
        fill_page(&op->fetch.page, shared);
        break;
    case OP_ACK:
        op->ack.n = 2;
        op->ack.v = calloc(2, sizeof(*op->ack.v));
        assert_non_null(op->ack.v);
        op->ack.v[0].user = text("alice");
        op->ack.v[0].device = text("phone");
        op->ack.v[1].user = text("bob");
        break;
    case OP_PUSH:
        op->push.ntargets = 2;
        op->push.targets = calloc(2, sizeof(*op->push.targets));
        assert_non_null(op->push.targets);
        op->push.targets[0].name = text("bob");
        op->push.payload = (uint8_t *)text("{}");
        op->push.payload_len = 2;
        op->push.id = text("id-1");
        break;
    case OP_INTEREST:
        op->interest.room = text("lobby");
        break;
    case OP_PRESENCE:
        op->presence.room = text("lobby");
        op->presence.user = text("alice");
        break;
    case OP_WATCH:
        op->watch.room = text("lobby");
        break;
    case OP_QUERY:
        op->query.args[0] = text("m1");
        op->query.args[QUERY_ARGS - 1] = text("10");
        op->query.body = (uint8_t *)text("{}");
        op->query.reply = (uint8_t *)text("{}");
        break;
    case OP_CONTROL:
        op->control.user = text("alice");
        op->control.device = text("phone");
        op->control.text = text("lobby");
        op->control.call = some_call();
        break;
    case OP_FORWARD:
    case OP_ANSWER:
        op->forward.call = some_call();
        break;
    case OP_TRACK:
        op->track.n = 2;
        op->track.v = calloc(TRACK_BATCH, sizeof(*op->track.v));
        assert_non_null(op->track.v);
        op->track.v[0].job = job_ref(shared);
        op->track.v[0].device = text("phone"); /* [1] stays empty */
        break;
    }
    return op;
}

static void every_kind_of_op(void **state)
{
    struct job *shared = some_job();
    (void)state;
    for (int kind = OP_ATTACH; kind <= OP_ANSWER; kind++) {
        op_free(op_new((enum op_kind)kind)); /* empty */
        op_free(full_op((enum op_kind)kind, shared));
    }
    op_free(NULL);
    assert_int_equal(atomic_load(&shared->refs), 1); /* each page gave its reference back */
    job_unref(shared);
}

static void behind(void **state)
{
    (void)state;
    struct behind *b = behind_new(span_of("al\0ice", 6), 77);
    assert_non_null(b);
    assert_int_equal(b->seq, 77);
    assert_int_equal(b->len, 6);
    assert_memory_equal(b->user, "al\0ice", 7);
    free(b);
    assert_null(behind_new((struct span){NULL, SIZE_MAX}, 1));
}

static void changes_of_presence(void **state)
{
    (void)state;
    struct presence *p = presence_new(SPAN_LIT("lobby"), SPAN_LIT("al"), true, 7);
    assert_non_null(p);
    assert_true(p->join && p->seq == 7);
    assert_true(SPAN_IS(presence_room(p), "lobby"));
    assert_true(SPAN_IS(presence_user(p), "al"));
    free(p);
    assert_null(presence_new((struct span){NULL, SIZE_MAX}, SPAN_LIT("al"), true, 1));
    assert_null(presence_new(SPAN_LIT("lobby"), (struct span){NULL, SIZE_MAX}, true, 1));
}

static void items_that_reach_nobody(void **state)
{
    struct inbox *in = inbox_new(1, 16);
    struct job *shared = some_job();
    (void)state;
    assert_non_null(in);
    assert_true(inbox_push(in, 0, (struct item){.kind = MSG_JOB, .ptr = job_ref(shared)}));
    assert_true(inbox_push(in, 0, (struct item){.kind = MSG_BEHIND, .ptr = behind_new(SPAN_LIT("bob"), 1)}));
    assert_true(inbox_push(in, 0, (struct item){.kind = MSG_OP, .ptr = full_op(OP_PUSH, shared)}));
    assert_true(inbox_push(in, 0, (struct item){.kind = MSG_STORE_STATE, .arg = 1}));
    assert_true(inbox_push(in, 0, (struct item){.kind = MSG_STOP, .arg = STOP_NOW}));
    assert_true(inbox_push(in, 0, (struct item){.kind = MSG_STOPPED}));
    inbox_free(in, msg_drop, NULL);
    assert_int_equal(atomic_load(&shared->refs), 1);
    job_unref(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_op),
        cmocka_unit_test(behind),
        cmocka_unit_test(changes_of_presence),
        cmocka_unit_test(items_that_reach_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
