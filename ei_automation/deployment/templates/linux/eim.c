/* A model as a program that Edge Impulse's Linux runners speak to.
 *
 *     model.eim SOCKET        makes a UNIX socket there and answers one client
 *     model.eim stdin         answers messages on the standard input
 *     model.eim --print-info  says what the model is, as JSON
 *
 * SIGINT, SIGTERM and SIGHUP end it; socket and shared memory go with it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "messages.h"

/* The longest number that a client may write for a pixel, with its comma, and room for the rest of the message. */
#define MOST_NUMBER_LENGTH 32
#define MOST_MESSAGE_LENGTH ((size_t)IMPULSE_PIXELS * MOST_NUMBER_LENGTH + 4096)

static char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
static char shared_path[80];

/* Only what a signal handler may call. */
static void leave(int signal_number) {
    if (*socket_path) {
        unlink(socket_path);
    }
    if (*shared_path) {
        unlink(shared_path);
    }
    _exit(signal_number == 0 || signal_number == SIGINT || signal_number == SIGTERM || signal_number == SIGHUP ? 0 : 1);
}

static const int ending[] = {SIGINT, SIGTERM, SIGHUP};

/* SIG_BLOCK while files are made, so that a signal finds every one of them by its name; SIG_UNBLOCK then. */
static void hold_signals(int how) {
    sigset_t held;
    sigemptyset(&held);
    for (size_t index = 0; index < sizeof ending / sizeof *ending; index++) {
        sigaddset(&held, ending[index]);
    }
    sigprocmask(how, &held, NULL);
}

static void prepare_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = leave;
    for (size_t index = 0; index < sizeof ending / sizeof *ending; index++) {
        sigaction(ending[index], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

/* Shared memory for the features. Without it the program works, and says why. */
static void open_shared_memory(void) {
    snprintf(eim_shared_name, sizeof eim_shared_name, "/eim-%ld-%llx", (long)getpid(),
             (unsigned long long)eim_now_us());
    int descriptor = shm_open(eim_shared_name, O_RDWR | O_CREAT | O_EXCL, 0600);
    void *memory = MAP_FAILED;
    if (descriptor >= 0) {
        snprintf(shared_path, sizeof shared_path, "/dev/shm%s", eim_shared_name); /* where Linux has them */
        /* Room is taken now: a full /dev/shm would kill whoever writes first. */
        int refused = posix_fallocate(descriptor, 0, sizeof eim_features);
        if (refused > 0) {
            errno = refused; /* as POSIX has it; zig 0.17's C library gives -1 and sets errno itself */
        }
        if (!refused) {
            memory = mmap(NULL, sizeof eim_features, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        }
    }
    if (memory == MAP_FAILED) {
        snprintf(eim_shared_error, sizeof eim_shared_error, "no shared memory: %s", strerror(errno));
        if (*shared_path) {
            unlink(shared_path);
            *shared_path = '\0';
        }
    } else {
        eim_shared = (const float *)memory;
    }
    if (descriptor >= 0) {
        close(descriptor);
    }
}

static void report(reply_buffer *reply, frame_state state, const char *text) {
    static char words[MOST_WORDS];
    if (state == FRAME_WHOLE) {
        answer(reply, text);
    } else if (state == FRAME_TOO_LONG) {
        snprintf(words, sizeof words, "the message is longer than %zu bytes", MOST_MESSAGE_LENGTH);
        reply_error(reply, "", words);
    } else if (state == FRAME_RUBBISH) {
        reply_error(reply, "", "what came is no JSON object");
    }
}

/* Answer what comes until it ends. Gives 1 where a client said something, 0 where it only opened the connection, -1
 * where it could not be read. */
static int serve(int from, reply_buffer *reply) {
    static char text[MOST_MESSAGE_LENGTH + 1], chunk[65536];
    json_frame frame = {0};
    int said = 0;
    frame.text = text;
    frame.capacity = MOST_MESSAGE_LENGTH;
    for (;;) {
        ssize_t count = read(from, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0 && errno != ECONNRESET) {
            return -1;
        }
        if (count <= 0) {
            break;
        }
        said = 1;
        for (ssize_t index = 0; index < count; index++) {
            if (!frame.depth) {
                eim_read_started_us = eim_now_us();
            }
            report(reply, frame_take(&frame, chunk[index]), text);
        }
    }
    if (frame.depth) {
        reply_error(reply, "", "the connection ended inside a message");
    }
    return said;
}

static int failed(const char *doing) {
    fprintf(stderr, "%s failed: %s\n", doing, strerror(errno));
    leave(-1);
    return 1;
}

/* A listening socket at a path. It gets its name when it listens: clients wait for the name and connect at once. Only
 * a path with no room for more in an address is there a moment earlier. */
static int listen_at(const char *path) {
    struct sockaddr_un address = {0};
    struct stat facts;
    size_t length = strlen(path);
    if (length >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (lstat(path, &facts) == 0 && !S_ISSOCK(facts.st_mode)) {
        errno = EEXIST; /* it is somebody's file */
        return -1;
    }
    int added = snprintf(address.sun_path, sizeof address.sun_path, "%s.%ld", path, (long)getpid());
    if (added < 0 || (size_t)added >= sizeof address.sun_path) {
        memcpy(address.sun_path, path, length + 1);
        unlink(path);
    }
    address.sun_family = AF_UNIX;
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listening < 0 || bind(listening, (struct sockaddr *)&address, sizeof address) < 0) {
        return -1;
    }
    memcpy(socket_path, address.sun_path, sizeof socket_path);
    if (listen(listening, 10) < 0 || rename(address.sun_path, path) < 0) {
        return -1;
    }
    memcpy(socket_path, path, length + 1);
    return listening;
}

/* Answer one client, the first that says something, as Edge Impulse's own programs do: runners start one each. */
static int serve_socket(const char *path) {
    static reply_buffer reply;
    int said = 0;
    hold_signals(SIG_BLOCK);
    int listening = listen_at(path);
    if (listening < 0) {
        return failed(path);
    }
    open_shared_memory();
    hold_signals(SIG_UNBLOCK);
    while (said != 1) {
        int client = accept(listening, NULL, NULL);
        if (client < 0 && errno != EINTR && errno != ECONNABORTED) {
            return failed("waiting for a client");
        }
        if (client < 0) {
            continue;
        }
        memset(&reply, 0, sizeof reply);
        reply.descriptor = client;
        reply.with_nul = 1;
        said = serve(client, &reply);
        close(client);
    }
    leave(0);
    return 0;
}

int main(int count, char **arguments) {
    static reply_buffer reply;
    reply.descriptor = STDOUT_FILENO;
    int informs = count == 2 && strcmp(arguments[1], "--print-info") == 0;
    if (count != 2 || !*arguments[1] || (*arguments[1] == '-' && !informs)) {
        fprintf(stderr, "usage: %s SOCKET | stdin | --print-info\n", count ? arguments[0] : "model.eim");
        return 2;
    }
    if (informs) {
        answer_hello(&reply, "1");
        return reply.failed;
    }
    prepare_signals();
    if (strcmp(arguments[1], "stdin") == 0) {
        hold_signals(SIG_BLOCK);
        open_shared_memory();
        hold_signals(SIG_UNBLOCK);
        int said = serve(STDIN_FILENO, &reply);
        leave(said < 0 || reply.failed ? -1 : 0);
    }
    return serve_socket(arguments[1]);
}
