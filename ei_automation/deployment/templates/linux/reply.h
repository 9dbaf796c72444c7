/* A reply, written to the client as it is made: one line of JSON and a NUL behind it. */
#ifndef EIM_REPLY_H
#define EIM_REPLY_H

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

typedef struct {
    int descriptor, with_nul, failed;
    size_t used;
    char bytes[4096];
} reply_buffer;

static void reply_flush(reply_buffer *reply) {
    size_t sent = 0;
    while (sent < reply->used && !reply->failed) {
        ssize_t now = write(reply->descriptor, reply->bytes + sent, reply->used - sent);
        if (now >= 0) {
            sent += (size_t)now;
        } else if (errno != EINTR) {
            reply->failed = 1; /* the client has gone; the next read says so too */
        }
    }
    reply->used = 0;
}

static void reply_byte(reply_buffer *reply, char byte) {
    if (reply->used == sizeof reply->bytes) {
        reply_flush(reply);
    }
    reply->bytes[reply->used++] = byte;
}

static void reply_text(reply_buffer *reply, const char *text) {
    while (*text) {
        reply_byte(reply, *text++);
    }
}

/* Formatted text of at most 255 bytes. */
static void reply_format(reply_buffer *reply, const char *format, ...) {
    char text[256];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    reply_text(reply, text);
}

/* A float32 in as many digits as give it back; what JSON has no number for becomes null. */
static void reply_float(reply_buffer *reply, float value) {
    if (isfinite(value)) {
        reply_format(reply, "%.9g", (double)value);
    } else {
        reply_text(reply, "null");
    }
}

/* The first members of a reply. id: as the client wrote it; empty where the message had none. */
static void reply_begin(reply_buffer *reply, const char *id, int success) {
    reply_text(reply, "{");
    if (*id) {
        reply_format(reply, "\"id\":%s,", id);
    }
    reply_format(reply, "\"success\":%s", success ? "true" : "false");
}

static void reply_end(reply_buffer *reply) {
    reply_text(reply, "}\n");
    if (reply->with_nul) {
        reply_byte(reply, '\0');
    }
    reply_flush(reply);
}

/* A refusal. words: plain ASCII without quotes or backslashes. */
static void reply_error(reply_buffer *reply, const char *id, const char *words) {
    reply_begin(reply, id, 0);
    reply_format(reply, ",\"error\":\"%s\"", words);
    reply_end(reply);
}

#endif
