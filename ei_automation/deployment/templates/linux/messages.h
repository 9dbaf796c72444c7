/* The messages of Edge Impulse's Linux runners: hello, classify, classify_shm, set_threshold. */
#ifndef EIM_MESSAGES_H
#define EIM_MESSAGES_H

#include <time.h>

#include "json.h"
#include "reply.h"
#include "values.h"
#if IMPULSE_IS_FOMO
#include "boxes.h"
#endif

#define MOST_ID_LENGTH 31
#define MOST_WORDS 200

typedef enum { ASKED_NOTHING, ASKED_HELLO, ASKED_CLASSIFY, ASKED_SHARED, ASKED_THRESHOLD, ASKED_UNKNOWN } asked;

/* A message, read. Features are written as they are read, into `eim_features`. */
typedef struct {
    asked what;
    int commands; /* how many of them the message has */
    char id[MOST_ID_LENGTH + 1];
    size_t count; /* features */
    double block;
    double threshold;
    char wrong[MOST_WORDS]; /* what is wrong with it; empty where nothing is */
} eim_request;

static float eim_features[IMPULSE_PIXELS];
static const float *eim_shared; /* features that the client writes; NULL where there is no shared memory */
static char eim_shared_name[64], eim_shared_error[MOST_WORDS];
static float eim_threshold = IMPULSE_THRESHOLD;
static uint64_t eim_read_started_us; /* when the first byte of the message came */

static uint64_t eim_now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* ---- Reading ---------------------------------------------------------------------------------------------------- */

/* Say what is wrong, in words that go through printf; the first complaint stays. */
static void complain(eim_request *request, const char *format, ...) {
    va_list values;
    va_start(values, format);
    if (!*request->wrong) {
        vsnprintf(request->wrong, sizeof request->wrong, format, values);
    }
    va_end(values);
}

static int read_id(const char **at, eim_request *request) {
    const char *start = *at;
    double value;
    if (!json_number(at, &value) || *at - start > MOST_ID_LENGTH) {
        complain(request, "'id' should be a number of at most %d digits", MOST_ID_LENGTH);
        *at = start;
        return json_value(at);
    }
    memcpy(request->id, start, (size_t)(*at - start));
    request->id[*at - start] = '\0';
    return 1;
}

/* An array of numbers; those beyond the model's input are counted only. */
static int read_features(const char **at, eim_request *request) {
    double value;
    request->count = 0;
    if (!json_mark(at, '[')) {
        return 0;
    }
    if (json_mark(at, ']')) {
        return 1;
    }
    do {
        if (!json_number(at, &value)) {
            return 0;
        }
        if (request->count < IMPULSE_PIXELS) {
            eim_features[request->count] = (float)value;
        }
        request->count++;
    } while (json_mark(at, ','));
    return json_mark(at, ']');
}

typedef void (*number_taker)(eim_request *request, const char *key, size_t length, double value);

/* An object; its numbers are handed to `take`, everything else in it is skipped. */
static int read_numbers(const char **at, eim_request *request, number_taker take) {
    const char *key;
    size_t length;
    double value;
    if (!json_mark(at, '{')) {
        return 0;
    }
    if (json_mark(at, '}')) {
        return 1;
    }
    do {
        if (!json_key(at, &key, &length)) {
            return 0;
        }
        if (json_number(at, &value)) {
            take(request, key, length, value);
        } else if (!json_value(at)) {
            return 0;
        }
    } while (json_mark(at, ','));
    return json_mark(at, '}');
}

static void take_shared(eim_request *request, const char *key, size_t length, double value) {
    if (json_is(key, length, "elements")) {
        request->count = value >= 0 && value <= 4294967295.0 ? (size_t)value : SIZE_MAX;
    }
}

static void take_threshold(eim_request *request, const char *key, size_t length, double value) {
    if (json_is(key, length, "id")) {
        request->block = value;
    } else if (json_is(key, length, "min_score")) {
        request->threshold = value;
    }
}

/* A command's value as the command wants it. */
static int read_wanted(const char **at, eim_request *request) {
    double value;
    switch (request->what) {
    case ASKED_HELLO:
        return json_number(at, &value) && value == 1.0;
    case ASKED_CLASSIFY:
        return read_features(at, request);
    case ASKED_SHARED:
        return read_numbers(at, request, take_shared);
    case ASKED_THRESHOLD:
        return read_numbers(at, request, take_threshold);
    default:
        return 0;
    }
}

static const struct {
    const char *name;
    asked what;
    const char *wanted;
} COMMANDS[] = {
    {"hello", ASKED_HELLO, "should be 1, the version of the protocol"},
    {"classify", ASKED_CLASSIFY, "should be an array of numbers"},
    {"classify_shm", ASKED_SHARED, "should be an object with 'elements'"},
    {"set_threshold", ASKED_THRESHOLD, "should be an object with 'id' and 'min_score'"},
    {"classify_continuous", ASKED_UNKNOWN, "is for models of sound and motion, this one takes single images"},
    {"classify_continuous_shm", ASKED_UNKNOWN, "is for models of sound and motion, this one takes single images"},
    {"set_parameter", ASKED_UNKNOWN, "is not known here, this model has no parameters"},
};

/* A member of the message. A value that is not what its name wants is complained of and skipped, and a name that is
 * not known is skipped: only what is no JSON ends the reading. */
static int read_member(const char **at, eim_request *request) {
    const char *key, *start;
    size_t length;
    if (!json_key(at, &key, &length)) {
        return 0;
    }
    if (json_is(key, length, "id")) {
        return read_id(at, request);
    }
    start = *at;
    for (size_t index = 0; index < sizeof COMMANDS / sizeof *COMMANDS; index++) {
        if (!json_is(key, length, COMMANDS[index].name)) {
            continue;
        }
        request->what = COMMANDS[index].what;
        request->commands++;
        if (read_wanted(at, request)) {
            return 1;
        }
        complain(request, "'%s' %s", COMMANDS[index].name, COMMANDS[index].wanted);
        *at = start;
        break;
    }
    return json_value(at);
}

/* Read a message; what is wrong with it is said in the request. */
static void read_request(const char *text, eim_request *request) {
    const char *at = text;
    int read;
    memset(request, 0, sizeof *request);
    request->block = request->threshold = -1.0;
    read = json_mark(&at, '{');
    if (read && *at != '}') {
        do {
            read = read_member(&at, request);
        } while (read && json_mark(&at, ','));
    }
    if (!read || !json_mark(&at, '}')) {
        *request->wrong = '\0';
        complain(request, "the message is no JSON, at byte %ld", (long)(at - text));
    }
    if (request->commands != 1) {
        complain(request, "the message should hold one command, it has %d that are known here", request->commands);
    }
    if (!*request->id) {
        complain(request, "the message has no 'id'");
    }
}

/* ---- Answering -------------------------------------------------------------------------------------------------- */

static void answer_hello(reply_buffer *reply, const char *id) {
    reply_begin(reply, id, 1);
    reply_text(reply, ",\"project\":{" IMPULSE_PROJECT "},\"model_parameters\":{" IMPULSE_MODEL_PARAMETERS);
    reply_text(reply, ",\"thresholds\":[");
#if IMPULSE_IS_FOMO
    reply_format(reply, "{\"id\":%d,\"type\":\"object_detection\",\"min_score\":", IMPULSE_BLOCK);
    reply_float(reply, eim_threshold);
    reply_text(reply, "}");
#endif
    reply_text(reply, "]},\"inferencing_engine\":{" IMPULSE_ENGINE "}");
    if (eim_shared) {
        reply_format(reply, ",\"features_shm\":{\"name\":\"%s\",\"size_bytes\":%zu,", eim_shared_name,
                     sizeof eim_features);
        reply_format(reply, "\"type\":\"float32\",\"elements\":%d}", IMPULSE_PIXELS);
    } else if (*eim_shared_error) {
        reply_format(reply, ",\"features_shm_error\":\"%s\"", eim_shared_error);
    }
    reply_end(reply);
}

static void answer_threshold(reply_buffer *reply, const eim_request *request) {
    if (request->block != IMPULSE_BLOCK) {
        reply_error(reply, request->id, "set_threshold: there is no learn block with this 'id'");
    } else if (!IMPULSE_IS_FOMO) {
        reply_error(reply, request->id, "set_threshold: a classification has no threshold, it gives every score");
    } else if (!(request->threshold >= 0.0 && request->threshold <= 1.0)) {
        reply_error(reply, request->id, "set_threshold: 'min_score' should be a number from 0 to 1");
    } else {
        eim_threshold = (float)request->threshold;
        reply_begin(reply, request->id, 1);
        reply_end(reply);
    }
}

/* The features as the model's input; gives the number of the first that is no 0xRRGGBB, or -1. Each is read once: the
 * client may write to shared memory at any time. */
static long put_features(const float *features, model_input_t *input) {
    for (int32_t index = 0; index < IMPULSE_PIXELS; index++) {
        float value = ((const volatile float *)features)[index];
        if (!(value >= 0.0f && value <= 16777215.0f)) {
            return index;
        }
        uint32_t pixel = (uint32_t)value;
        impulse_put_pixel(input, index, pixel >> 16, (pixel >> 8) & 0xff, pixel & 0xff);
    }
    return -1;
}

static void answer_result(reply_buffer *reply, const model_output_t *output) {
    static const char *const labels[] = {IMPULSE_LABELS_JSON};
#if IMPULSE_IS_FOMO
    static impulse_box boxes[IMPULSE_MOST_BOXES];
    int32_t count = impulse_find_boxes(output, eim_threshold, boxes);
    reply_text(reply, ",\"result\":{\"bounding_boxes\":[");
    for (int32_t index = 0; index < count; index++) {
        const impulse_box *box = &boxes[index];
        reply_text(reply, index ? ",{\"label\":" : "{\"label\":");
        reply_text(reply, labels[box->label]);
        reply_text(reply, ",\"value\":");
        reply_float(reply, box->score);
        reply_format(reply, ",\"x\":%d,\"y\":%d,\"width\":%d,\"height\":%d}", (int)box->x, (int)box->y,
                     (int)box->width, (int)box->height);
    }
    reply_text(reply, "]}");
#else
    reply_text(reply, ",\"result\":{\"classification\":{");
    for (int32_t label = 0; label < IMPULSE_LABELS; label++) {
        reply_text(reply, label ? "," : "");
        reply_text(reply, labels[label]);
        reply_text(reply, ":");
        reply_float(reply, impulse_score(output[label]));
    }
    reply_text(reply, "}}");
#endif
}

/* Milliseconds, rounded; the clients take whole ones. */
static unsigned long in_ms(uint64_t microseconds) {
    return (unsigned long)((microseconds + 500) / 1000);
}

static void answer_classify(reply_buffer *reply, const eim_request *request, uint64_t parsed_us) {
    static model_output_t output[MODEL_OUTPUT_COUNT];
    int is_shared = request->what == ASKED_SHARED;
    char words[MOST_WORDS];
    uint64_t started = eim_now_us();
    if (is_shared && !eim_shared) {
        reply_error(reply, request->id, "classify_shm: there is no shared memory, send 'classify'");
        return;
    }
    if (request->count != IMPULSE_PIXELS) {
        snprintf(words, sizeof words, "expected %d features, one 0xRRGGBB a pixel, but got %zu", IMPULSE_PIXELS,
                 request->count);
        reply_error(reply, request->id, words);
        return;
    }
    long wrong = put_features(is_shared ? eim_shared : eim_features, model_input());
    uint64_t prepared = eim_now_us();
    if (wrong >= 0) {
        snprintf(words, sizeof words, "feature %ld is no number from 0 to 0xFFFFFF", wrong);
        reply_error(reply, request->id, words);
        return;
    }
    model_invoke(model_input(), output);
    uint64_t done = eim_now_us();
    reply_begin(reply, request->id, 1);
    answer_result(reply, output);
    reply_format(reply, ",\"timing\":{\"dsp\":%lu,\"classification\":%lu,\"anomaly\":0,\"json\":%lu,\"stdin\":%lu,",
                 in_ms(prepared - started), in_ms(done - prepared), in_ms(started - parsed_us),
                 in_ms(parsed_us - eim_read_started_us));
    reply_format(reply, "\"dsp_us\":%lu,\"classification_us\":%lu}", (unsigned long)(prepared - started),
                 (unsigned long)(done - prepared));
    reply_end(reply);
}

/* Answer a message. */
static void answer(reply_buffer *reply, const char *text) {
    eim_request request;
    uint64_t started = eim_now_us();
    read_request(text, &request);
    if (*request.wrong) {
        reply_error(reply, request.id, request.wrong);
    } else if (request.what == ASKED_HELLO) {
        answer_hello(reply, request.id);
    } else if (request.what == ASKED_THRESHOLD) {
        answer_threshold(reply, &request);
    } else {
        answer_classify(reply, &request, started);
    }
}

#endif
