/*
 * cmd_listen.c - crierctl listen: a well-behaved client over any of the ways (way.h). It acknowledges stored messages
 * once they are printed, drops what it has seen, answers silence by reconnecting with a jittered back-off, and brings
 * its device name and last seq along, so that nothing stored is missed in between.
 */
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cmd/crierctl/json_find.h"
#include "cmd/crierctl/opts.h"
#include "cmd/crierctl/show.h"
#include "cmd/crierctl/way.h"

enum { FIRST_WAIT_MS = 200, LONGEST_WAIT_MS = 15000 };

struct listen {
    struct server server;
    struct url url;
    const char *user;
    struct opt_list rooms;
    uint64_t count; /* messages still to print; OPT_UNSET: for ever */
    bool no_reconnect;
    struct show show;

    struct way way;
    struct way_ask ask;
    char device[80];
    uint64_t last, acked;    /* highest seq printed, acknowledged */
    unsigned silence_ms;     /* after which the connection counts as dead */
    unsigned rooms_answered; /* of this connection */
    uint64_t wait_ms;        /* what the server asked for in `closing`; 0: nothing */
    bool been_connected;
    unsigned failures; /* attempts since the last welcome */
};

/* What a connection's end means. */
enum outcome { DONE, AGAIN, GIVE_UP, NOBODY_THERE };

/* ---- what is sent ---- */

static bool send_ack(struct listen *l)
{
    char command[64];
    if (l->acked >= l->last) {
        return true;
    }
    l->acked = l->last;
    if (l->way.t->ack) {
        return l->way.t->ack(&l->way, l->last);
    }
    int n = snprintf(command, sizeof(command), "{\"type\":\"ack\",\"seq\":%llu}", (unsigned long long)l->last);
    return l->way.t->send(&l->way, span_of(command, (size_t)n));
}

/* The ref of a subscribe is the room's place in the list, from 1. */
static bool send_subscribe(struct listen *l, unsigned i)
{
    struct buf b;
    buf_init(&b, 4096);
    bool ok = buf_printf(&b, "{\"type\":\"subscribe\",\"ref\":%u,\"room\":", i + 1) &&
              json_write_string(&b, span_str(l->rooms.v[i])) && buf_append_byte(&b, '}') &&
              l->way.t->send(&l->way, buf_span(&b));
    buf_fini(&b);
    return ok;
}

/* ---- what comes ---- */

static bool on_welcome(struct listen *l, struct span m)
{
    char user[160] = "nobody", node[160] = "?";
    uint64_t ping = 0, pending = 0;
    (void)!json_find_text(m, "user", user, sizeof(user));
    (void)!json_find_text(m, "node", node, sizeof(node));
    (void)!json_find_uint(m, "pending", &pending);
    if (!l->device[0]) {
        (void)!json_find_text(m, "device", l->device, sizeof(l->device));
    }
    if (json_find_uint(m, "ping", &ping) && ping > 0 && ping < 86400) {
        l->silence_ms = (unsigned)ping * 2500;
    }
    show_note(&l->show, "connected to %s as %s, device %s, %llu stored message(s) to come", node, user,
              l->device[0] ? l->device : "-", (unsigned long long)pending);
    l->been_connected = true;
    l->failures = 0;
    for (unsigned i = 0; i < l->rooms.n && l->way.t->asks; i++) {
        if (!send_subscribe(l, i)) {
            return false;
        }
    }
    return true;
}

static void on_message(struct listen *l, struct span m)
{
    struct json_value room;
    uint64_t seq = 0;
    bool stored = json_find_uint(m, "seq", &seq) && !json_find(m, "room", &room);
    if (stored && seq <= l->last) {
        return; /* seen before the connection broke */
    }
    show_message(&l->show, m);
    if (stored) {
        l->last = seq;
    }
    if (l->count != OPT_UNSET) {
        l->count--;
    }
    l->ask.count = l->count;
}

static const char *room_of_ref(const struct listen *l, struct span m)
{
    uint64_t ref = 0;
    return json_find_uint(m, "ref", &ref) && ref >= 1 && ref <= l->rooms.n ? l->rooms.v[ref - 1] : NULL;
}

static enum outcome on_error(struct listen *l, struct span m)
{
    char code[64] = "error", text[512] = "";
    const char *room = room_of_ref(l, m);
    (void)!json_find_text(m, "code", code, sizeof(code));
    (void)!json_find_text(m, "message", text, sizeof(text));
    if (room) {
        complain(CTL_REFUSED, "the room '%s' is refused: %s: %s", room, code, text);
        return GIVE_UP;
    }
    show_note(&l->show, "error: %s: %s", code, text);
    return AGAIN;
}

static void on_gap(struct listen *l, struct span m)
{
    uint64_t from = 0, to = 0;
    (void)!json_find_uint(m, "from", &from);
    (void)!json_find_uint(m, "to", &to);
    show_note(&l->show, "gap: the inbox no longer has what was between seq %llu and %llu", (unsigned long long)from,
              (unsigned long long)to);
}

static void on_closing(struct listen *l, struct span m)
{
    struct json_value in;
    char reason[128] = "", number[32];
    (void)!json_find_text(m, "reason", reason, sizeof(reason));
    if (json_find(m, "retry_after", &in) && in.kind == JSON_NUMBER) {
        snprintf(number, sizeof(number), "%.*s", SPAN_ARG(in.raw));
        double s = strtod(number, NULL);
        l->wait_ms = s >= 0 && s < LONGEST_WAIT_MS / 1000.0 ? (uint64_t)(s * 1000) : LONGEST_WAIT_MS;
    }
    show_note(&l->show, "the server is about to close: %s", reason);
}

/* One object of the server, as JSON. AGAIN: go on. */
static enum outcome on_object(struct listen *l, struct span m)
{
    char type[32] = "";
    if (!json_find_text(m, "type", type, sizeof(type))) {
        show_note(&l->show, "the server sent something without a type");
        return AGAIN;
    }
    if (!strcmp(type, "message")) {
        on_message(l, m);
        return l->count == 0 ? DONE : AGAIN;
    }
    if (!strcmp(type, "welcome")) {
        (void)!on_welcome(l, m);
    } else if (!strcmp(type, "error")) {
        return on_error(l, m);
    } else if (!strcmp(type, "ok")) {
        char named[160] = "?";
        const char *room = room_of_ref(l, m);
        (void)!json_find_text(m, "room", named, sizeof(named));
        show_note(&l->show, "in the room %s", room ? room : named);
    } else if (!strcmp(type, "gap")) {
        on_gap(l, m);
    } else if (!strcmp(type, "closing")) {
        on_closing(l, m);
    } else if (!strcmp(type, "expiring")) {
        show_note(&l->show, "the token is about to expire");
    }
    return AGAIN;
}

/* ---- connections ---- */

/* Is it of any use to come back after this close code? */
static enum outcome on_closed(struct listen *l)
{
    unsigned code = l->way.close_code;
    show_note(&l->show, "closed: %u %s", code, l->way.close_reason);
    switch (code) {
    case 1002: /* protocol */
    case 1003:
    case 1007:
    case 1008:
    case 1009:
    case 4001: /* unauthorized */
    case 4002: /* token expired */
    case 4003: /* forbidden */
    case 4004: /* protocol */
    case 4009: /* disconnected by the server */
    case 4010: /* another connection of this device took over */
        complain(CTL_REFUSED, "closed by the server: %u %s", code, l->way.close_reason);
        return GIVE_UP;
    default:
        return AGAIN;
    }
}

/* Until the connection ends or enough was printed. A first silence is answered with a ping, a second is the end. */
static enum outcome receive(struct listen *l)
{
    bool asked = false;
    enum outcome o = AGAIN;
    while (o == AGAIN) {
        switch (l->way.t->next(&l->way, asked ? 10000 : l->silence_ms)) {
        case WS_MESSAGE:
            asked = false;
            o = on_object(l, buf_span(&l->way.object));
            if ((o == DONE || !l->way.t->more(&l->way)) && !send_ack(l)) {
                return o;
            }
            continue;
        case WS_SILENCE:
            if (asked || !l->way.t->ping || !l->way.t->ping(&l->way)) {
                show_note(&l->show, "no sign of life from the server");
                return AGAIN;
            }
            asked = true;
            continue;
        case WS_CLOSED:
            return on_closed(l);
        }
    }
    return o;
}

/* There is no welcome to a poll. */
static void polling(struct listen *l)
{
    show_note(&l->show, "polling %s as %s, device %s", l->url.host_port, l->user ? l->user : "the token says",
              l->device[0] ? l->device : "poll");
    l->been_connected = true;
    l->failures = 0;
}

static enum outcome connect_once(struct listen *l)
{
    char err[1024];
    enum outcome o = NOBODY_THERE;
    l->ask.since = l->last;
    switch (way_open(&l->way, err, sizeof(err))) {
    case WS_OPEN:
        l->acked = 0; /* what was printed last may not have been acknowledged */
        if (l->way.t == &way_poll) {
            polling(l);
        }
        o = receive(l);
        way_end(&l->way, o == DONE || o == GIVE_UP ? 1000 : 0);
        break;
    case WS_OPEN_REFUSED:
        complain(CTL_REFUSED, "%s", err);
        o = GIVE_UP;
        break;
    case WS_OPEN_FAILED:
        if (l->been_connected) {
            show_note(&l->show, "%s", err);
        } else {
            complain(CTL_NO_CONNECT, "%s", err);
        }
        break;
    }
    return o;
}

/* Doubles from 200 ms to 15 s, and picks a moment in the upper half, so that many clients do not come back at once. */
static void wait_a_while(struct listen *l)
{
    uint32_t dice = 0;
    (void)RAND_bytes((uint8_t *)&dice, sizeof(dice));
    uint64_t most = FIRST_WAIT_MS;
    for (unsigned i = 0; i < l->failures && most < LONGEST_WAIT_MS; i++) {
        most *= 2;
    }
    most = most > LONGEST_WAIT_MS ? LONGEST_WAIT_MS : most;
    uint64_t ms = most / 2 + dice % (most / 2 + 1);
    if (l->wait_ms) {
        ms = l->wait_ms;
        l->wait_ms = 0;
    }
    l->failures++;
    show_note(&l->show, "connecting again in %.1f s", (double)ms / 1000);
    struct timespec ts = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&ts, NULL);
}

static enum ctl_exit listen_on(struct listen *l)
{
    for (;;) {
        switch (connect_once(l)) {
        case DONE:
            return CTL_OK;
        case GIVE_UP:
            return CTL_REFUSED;
        case NOBODY_THERE:
            if (!l->been_connected || l->no_reconnect) {
                return CTL_NO_CONNECT;
            }
            break;
        case AGAIN:
            if (l->no_reconnect) {
                return CTL_NO_CONNECT;
            }
            break;
        }
        wait_a_while(l);
    }
}

/* The ways that --transport and --codec name. */
static bool choose(struct listen *l, const char *transport, const char *codec)
{
    const struct transport *t = way_find(transport ? transport : l->url.raw ? "tcp" : "ws");
    if (!t || (codec && strcmp(codec, "json") != 0 && strcmp(codec, "msgpack") != 0)) {
        complain(CTL_USAGE, t ? "--codec is json or msgpack" : "--transport is ws, sse, poll or tcp");
        return false;
    }
    bool msgpack = codec && !strcmp(codec, "msgpack");
    if (msgpack && !t->msgpack) {
        complain(CTL_USAGE, "--transport %s speaks JSON alone", t->name);
        return false;
    }
    if ((t == &way_tcp) != l->url.raw) {
        complain(CTL_USAGE,
                 "--transport tcp goes with --url tcp://HOST:PORT or tcps://HOST:PORT, the others with http(s)");
        return false;
    }
    l->ask = (struct way_ask){.server = &l->server,
                              .url = &l->url,
                              .user = l->user,
                              .device = l->device,
                              .rooms = &l->rooms,
                              .codec = msgpack ? CODEC_MSGPACK : CODEC_JSON,
                              .count = l->count};
    way_init(&l->way, t, &l->ask);
    return true;
}

static bool check(struct listen *l, const char *device)
{
    char err[512];
    if (!url_parse(l->server.url, &l->url, err, sizeof(err))) {
        complain(CTL_USAGE, "%s", err);
        return false;
    }
    if (!l->user && !l->server.token && l->rooms.n == 0) {
        complain(CTL_USAGE, "listen wants --user USER, --token JWT, or at least --room ROOM");
        return false;
    }
    if (device && (strlen(device) > 64 || !*device)) {
        complain(CTL_USAGE, "--device is a name of 1 to 64 bytes");
        return false;
    }
    if (l->count == 0) {
        complain(CTL_USAGE, "--count wants 1 or more");
        return false;
    }
    snprintf(l->device, sizeof(l->device), "%s", device ? device : "");
    return true;
}

static enum ctl_exit run(const struct subcommand *self, int argc, char **argv)
{
    struct listen l = {.count = OPT_UNSET, .silence_ms = 65000};
    const char *device = NULL, *codec = NULL, *transport = NULL;
    bool json = false;
    const struct opt opts[] = {
        {"user", OPT_TEXT, "USER", "who to be at a --dev broker (else the token says it)", &l.user},
        {"room", OPT_LIST, "ROOM...", "rooms to join", &l.rooms},
        {"device", OPT_TEXT, "NAME", "a name to keep: the next listen goes on where this one ended", &device},
        {"since", OPT_NUMBER, "SEQ", "the last seq already seen", &l.last},
        {"json", OPT_FLAG, NULL, "one JSON object a line", &json},
        {"transport", OPT_TEXT, "ws|sse|poll|tcp", "how: a WebSocket (ws), an event stream, polls, bare TCP",
         &transport},
        {"codec", OPT_TEXT, "json|msgpack", "what goes over the wire (json); sse and poll have JSON alone", &codec},
        {"count", OPT_NUMBER, "N", "end after N messages", &l.count},
        {"no-reconnect", OPT_FLAG, NULL, "end when the connection does", &l.no_reconnect},
    };
    enum ctl_exit code;
    if (!opts_read(self, opts, ARRAY_LEN(opts), &l.server, argc, argv, &code))
        return code;
    if (!check(&l, device) || !choose(&l, transport, codec)) {
        return CTL_USAGE;
    }
    show_init(&l.show, json);
    code = listen_on(&l);
    way_fini(&l.way);
    return code;
}

const struct subcommand cmd_listen = {
    .name = "listen",
    .summary = "print a user's messages and those of rooms as they come",
    .about =
        "usage: crierctl listen --user USER [--room ROOM...]\n"
        "Messages go to standard output, what happens around them to standard error. Connections that end are\n"
        "made again; only a first one that fails, or a refusal, ends the command. Polls take rooms with history alone.",
    .examples = "crierctl listen --user alice --room news\n"
                "crierctl listen --user alice --transport sse --room chat.1\n"
                "crierctl listen --user alice --url tcp://localhost:9000 --codec msgpack\n"
                "crierctl listen --token $TOKEN --device box-7 --json | jq .data",
    .run = run,
};
