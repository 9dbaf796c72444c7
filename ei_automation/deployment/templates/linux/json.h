/* A small strict reader for the messages of Edge Impulse's Linux runners: it finds where a message ends, and reads
 * the few values that are wanted. Nothing it is given makes it read outside the text, recurse or loop without end. */
#ifndef EIM_JSON_H
#define EIM_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define JSON_MOST_DEEP 32

/* ---- Frames: the messages in a stream of bytes ------------------------------------------------------------------ */

typedef enum { FRAME_MORE, FRAME_WHOLE, FRAME_TOO_LONG, FRAME_RUBBISH } frame_state;

typedef struct {
    char *text; /* room for `capacity` bytes and a NUL */
    size_t length, capacity;
    int depth;
    uint32_t braces; /* bit n: whether level n was opened by a brace, not a bracket */
    int in_string, escaped, in_rubbish;
} json_frame;

static void frame_reset(json_frame *frame, int in_rubbish) {
    frame->length = 0;
    frame->depth = frame->in_string = frame->escaped = 0;
    frame->in_rubbish = in_rubbish;
}

/* A byte outside a message: blanks and NULs are no harm, other bytes are reported once a line. */
static frame_state frame_outside(json_frame *frame, char byte) {
    if (byte == '{') {
        frame_reset(frame, 0);
        frame->text[frame->length++] = byte;
        frame->braces = 1;
        frame->depth = 1;
        return FRAME_MORE;
    }
    if (byte == '\n') {
        frame->in_rubbish = 0;
    }
    if (frame->in_rubbish || byte == '\n' || byte == '\r' || byte == '\t' || byte == ' ' || byte == '\0') {
        return FRAME_MORE;
    }
    frame->in_rubbish = 1;
    return FRAME_RUBBISH;
}

/* A byte inside a string of a message. A raw control character is no JSON; that a line ends is what gets a stream
 * with an open string back on its feet. */
static frame_state frame_in_string(json_frame *frame, char byte) {
    if ((unsigned char)byte < 0x20) {
        frame_reset(frame, byte != '\n');
        return FRAME_RUBBISH;
    }
    if (frame->escaped) {
        frame->escaped = 0;
    } else if (byte == '\\') {
        frame->escaped = 1;
    } else if (byte == '"') {
        frame->in_string = 0;
    }
    return FRAME_MORE;
}

/* A brace or bracket of a message. Levels beyond JSON_MOST_DEEP are refused here, so that nothing later has to. */
static frame_state frame_nesting(json_frame *frame, char byte) {
    uint32_t level_bit;
    if (byte == '{' || byte == '[') {
        if (frame->depth == JSON_MOST_DEEP) {
            frame_reset(frame, 1);
            return FRAME_RUBBISH;
        }
        level_bit = (uint32_t)1 << frame->depth++;
        frame->braces = byte == '{' ? frame->braces | level_bit : frame->braces & ~level_bit;
        return FRAME_MORE;
    }
    level_bit = (uint32_t)1 << --frame->depth;
    if (((frame->braces & level_bit) != 0) != (byte == '}')) {
        frame_reset(frame, 1);
        return FRAME_RUBBISH;
    }
    return frame->depth ? FRAME_MORE : FRAME_WHOLE;
}

/* Take the next byte of a stream. After FRAME_WHOLE the message is in `text`, with a NUL behind it; a message that
 * does not fit is read to its end and then reported. */
static frame_state frame_take(json_frame *frame, char byte) {
    frame_state state = FRAME_MORE;
    if (!frame->depth) {
        return frame_outside(frame, byte);
    }
    if (frame->length < frame->capacity) {
        frame->text[frame->length] = byte;
    }
    frame->length += frame->length <= frame->capacity; /* capacity + 1 stands for "too long" */
    if (frame->in_string) {
        state = frame_in_string(frame, byte);
    } else if (byte == '"') {
        frame->in_string = 1;
    } else if (byte == '{' || byte == '[' || byte == '}' || byte == ']') {
        state = frame_nesting(frame, byte);
    }
    if (state == FRAME_WHOLE && frame->length > frame->capacity) {
        return FRAME_TOO_LONG;
    }
    if (state == FRAME_WHOLE) {
        frame->text[frame->length] = '\0';
    }
    return state;
}

/* ---- Values: all readers give 0 and leave the place alone where the text is not what they read ------------------ */

static const char *json_blanks(const char *at) {
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r') {
        at++;
    }
    return at;
}

/* A mark such as a comma, with blanks around it. */
static int json_mark(const char **place, char mark) {
    const char *at = json_blanks(*place);
    if (*at != mark) {
        return 0;
    }
    *place = json_blanks(at + 1);
    return 1;
}

static int json_word(const char **place, const char *word) {
    size_t length = strlen(word);
    if (strncmp(*place, word, length) != 0) {
        return 0;
    }
    *place += length;
    return 1;
}

static const char *json_digits(const char *at) {
    while (*at >= '0' && *at <= '9') {
        at++;
    }
    return at;
}

/* A number. `value` may be infinite: JSON sets no limit. */
static int json_number(const char **place, double *value) {
    const char *start = *place, *at = start + (*start == '-'), *whole = at;
    at = json_digits(at);
    if (at == whole || (*whole == '0' && at > whole + 1)) {
        return 0;
    }
    if (*at != '.' && *at != 'e' && *at != 'E' && at - whole <= 9) { /* a pixel: most numbers of most messages */
        long digits = strtol(start, NULL, 10);
        *value = (double)digits;
        *place = at;
        return 1;
    }
    if (*at == '.') {
        const char *fraction = ++at;
        at = json_digits(at);
        if (at == fraction) {
            return 0;
        }
    }
    if (*at == 'e' || *at == 'E') {
        at += 1 + (at[1] == '+' || at[1] == '-');
        const char *exponent = at;
        at = json_digits(at);
        if (at == exponent) {
            return 0;
        }
    }
    *value = strtod(start, NULL);
    *place = at;
    return 1;
}

/* A string; `text` is what stands between the quotes, escapes as they are. */
static int json_string(const char **place, const char **text, size_t *length) {
    const char *at = *place;
    if (*at++ != '"') {
        return 0;
    }
    *text = at;
    for (; *at != '"'; at++) {
        if ((unsigned char)*at < 0x20) {
            return 0;
        }
        if (*at != '\\') {
            continue;
        }
        at++;
        if (*at == 'u') {
            for (int digit = 0; digit < 4; digit++, at++) {
                char c = at[1];
                if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))) {
                    return 0;
                }
            }
        } else if (*at == '\0' || !strchr("\"\\/bfnrt", *at)) {
            return 0;
        }
    }
    *length = (size_t)(at - *text);
    *place = at + 1;
    return 1;
}

/* A key with its colon. A key written with escapes is none that is known here. */
static int json_key(const char **place, const char **key, size_t *length) {
    const char *at = *place;
    if (!json_string(&at, key, length) || !json_mark(&at, ':')) {
        return 0;
    }
    *place = at;
    return 1;
}

static int json_is(const char *key, size_t length, const char *name) {
    return strlen(name) == length && memcmp(key, name, length) == 0;
}

/* Any value that has no levels of its own. */
static int json_scalar(const char **place) {
    const char *text;
    size_t length;
    double value;
    return json_string(place, &text, &length) || json_number(place, &value) || json_word(place, "true") ||
           json_word(place, "false") || json_word(place, "null");
}

/* After a value: close the levels that end here and go over a comma. 1: the next value stands at `place`; 0: every
 * level is closed; -1: neither. */
static int json_next(const char **place, uint32_t braces, int *depth) {
    const char *key;
    size_t length;
    while (*depth) {
        int in_object = (braces >> (*depth - 1)) & 1;
        *place = json_blanks(*place);
        if (**place == (in_object ? '}' : ']')) {
            ++*place;
            --*depth;
            continue;
        }
        if (!json_mark(place, ',') || (in_object && !json_key(place, &key, &length))) {
            return -1;
        }
        return 1;
    }
    return 0;
}

/* Any value, without recursion: bit n of `braces` says whether level n is an object. */
static int json_value(const char **place) {
    const char *at = *place, *key;
    size_t length;
    uint32_t braces = 0;
    int depth = 0, next = 1;
    while (next == 1) {
        char end = *at == '{' ? '}' : *at == '[' ? ']' : '\0';
        if (end == '\0') {
            if (!json_scalar(&at)) {
                return 0;
            }
        } else {
            uint32_t level_bit = (uint32_t)1 << depth;
            braces = end == '}' ? braces | level_bit : braces & ~level_bit;
            at = json_blanks(at + 1);
            if (++depth == JSON_MOST_DEEP) {
                return 0;
            }
            if (*at != end) { /* its first value comes next */
                if (end == '}' && !json_key(&at, &key, &length)) {
                    return 0;
                }
                continue;
            }
        }
        next = json_next(&at, braces, &depth);
    }
    if (next == 0) {
        *place = at;
    }
    return next == 0;
}

#endif
