/*
 * push_answer.c - results of pushes, in either format. Any thread; owns nothing.
 */
#include "net/push_answer.h"

#include "proto/emit.h"
#include "proto/mp.h"

/* How a target fared; an op that failed as a whole says nothing about its targets. */
static enum op_status fate(const struct op *op, const struct op_target *t)
{
    return op->status == OP_OK ? t->status : op->status;
}

static const char *fate_code(enum op_status s)
{
    switch (s) {
    case OP_OK:
        break;
    case OP_AWAY:
        return "store_away";
    case OP_FULL:
        return "overloaded";
    case OP_REFUSED:
        return "refused";
    }
    return "ok";
}

static const char *fate_text(enum op_status s, const struct op *op)
{
    if (op->error[0])
        return op->error;
    switch (s) {
    case OP_OK:
        break;
    case OP_AWAY:
        return "the store does not answer; send it again";
    case OP_FULL:
        return "too much is waiting for the store; send it again later";
    case OP_REFUSED:
        return "the store refused it";
    }
    return "kept";
}

unsigned push_kept(const struct op *op)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < op->push.ntargets; i++)
        kept += fate(op, &op->push.targets[i]) == OP_OK;
    return kept;
}

struct push_refusal push_refusal(const struct op *op)
{
    enum op_status s = fate(op, &op->push.targets[0]);

    return (struct push_refusal){s == OP_REFUSED ? 400 : 503, fate_code(s), fate_text(s, op)};
}

static void emit_target(struct emit *e, const struct op_target *t)
{
    switch (t->kind) {
    case TARGET_USER:
        emit_str(e, SPAN_LIT("user"), span_str(t->name));
        break;
    case TARGET_ROOM:
        emit_str(e, SPAN_LIT("room"), span_str(t->name));
        break;
    case TARGET_ALL:
        emit_bool(e, SPAN_LIT("all"), true);
        break;
    }
}

static void emit_error(struct emit *e, const char *code, const char *message)
{
    emit_open(e, SPAN_LIT("error"));
    emit_str(e, SPAN_LIT("code"), span_str(code));
    emit_str(e, SPAN_LIT("message"), span_str(message));
    emit_close(e);
}

static bool write_result(const struct op *op, const struct op_target *t, struct span id, enum codec format,
                         struct buf *out)
{
    enum op_status s = fate(op, t);
    struct emit e;

    emit_begin(&e, format, out);
    emit_target(&e, t);
    if (s == OP_OK) {
        emit_str(&e, SPAN_LIT("id"), id);
        if (t->seq)
            emit_uint(&e, SPAN_LIT("seq"), t->seq);
        emit_uint(&e, SPAN_LIT("online"), t->online);
        if (t->duplicate)
            emit_bool(&e, SPAN_LIT("duplicate"), true);
    } else {
        emit_error(&e, fate_code(s), fate_text(s, op));
    }
    return emit_end(&e);
}

bool push_write_results(const struct op *op, struct span id, enum codec format, struct buf *out)
{
    bool json = format == CODEC_JSON;
    bool ok =
        json ? buf_append_str(out, "{\"results\":[")
             : mp_write_map(out, 1) && mp_write_str(out, SPAN_LIT("results")) && mp_write_array(out, op->push.ntargets);

    for (unsigned i = 0; ok && i < op->push.ntargets; i++)
        ok = (!json || i == 0 || buf_append_byte(out, ',')) && write_result(op, &op->push.targets[i], id, format, out);
    return ok && (!json || buf_append_str(out, "]}"));
}

bool push_write_error(const char *code, const char *message, enum codec format, struct buf *out)
{
    struct emit e;

    emit_begin(&e, format, out);
    emit_error(&e, code, message);
    return emit_end(&e);
}
