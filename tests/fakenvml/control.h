/* The control file, and what every call does with it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define SUCCESS 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define INSUFFICIENT_SIZE 7
#define FUNCTION_NOT_FOUND 13

extern int initialised; /* how many times, as the real one counts */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *content = NULL; /* of the file, lines that end with \n, after one \n */
static struct stat known;

/* With the lock held. */
static void refresh(void) {
    const char *path = getenv("FAKENVML");
    struct stat now;
    FILE *file;
    char *text;
    size_t length;
    if (!path || stat(path, &now) != 0) {
        free(content);
        content = NULL;
        return;
    }
    if (content && now.st_ino == known.st_ino && now.st_size == known.st_size &&
        now.st_mtim.tv_sec == known.st_mtim.tv_sec && now.st_mtim.tv_nsec == known.st_mtim.tv_nsec)
        return;
    file = fopen(path, "r");
    text = file ? malloc((size_t)now.st_size + 3) : NULL;
    if (text) {
        text[0] = '\n';
        length = 1 + fread(text + 1, 1, (size_t)now.st_size, file);
        text[length] = '\n';
        text[length + 1] = 0;
        free(content);
        content = text;
        known = now;
    }
    if (file) fclose(file);
}

/* The value of the line `key=` that comes `nth`, from 0. */
static int lookup_nth(const char *key, int nth, char *value, size_t size) {
    char start[80];
    const char *at;
    int found = 0;
    snprintf(start, sizeof start, "\n%s=", key);
    pthread_mutex_lock(&lock);
    refresh();
    for (at = content ? strstr(content, start) : NULL; at && nth > 0; nth--) at = strstr(at + 1, start);
    if (at) {
        at += strlen(start);
        snprintf(value, size, "%.*s", (int)strcspn(at, "\n"), at);
        found = 1;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static int lookup(const char *key, char *value, size_t size) { return lookup_nth(key, 0, value, size); }

static long long number(const char *key, long long otherwise) {
    char value[256];
    return lookup(key, value, sizeof value) ? atoll(value) : otherwise;
}

static long long of_gpu(long gpu, const char *what, long long otherwise) {
    char key[64];
    snprintf(key, sizeof key, "%ld.%s", gpu, what);
    return number(key, otherwise);
}

static void wait_ms(long delay) {
    struct timespec time = {delay / 1000, delay % 1000 * 1000000};
    if (delay) nanosleep(&time, NULL);
}

static int code(void *device, const char *what) {
    char key[64];
    int broken = (int)number("init", SUCCESS);
    if (broken) return broken;
    if (!initialised) return UNINITIALIZED;
    snprintf(key, sizeof key, "%s.delay_ms", what);
    wait_ms((long)of_gpu((long)device - 1, key, 0));
    snprintf(key, sizeof key, "%s.code", what);
    return (int)of_gpu((long)device - 1, key, SUCCESS);
}

static void text(void *device, const char *what, const char *otherwise, char *buffer, unsigned size) {
    char key[64], value[256];
    long gpu = (long)device - 1;
    snprintf(key, sizeof key, "%ld.%s", gpu, what);
    if (lookup(key, value, sizeof value)) snprintf(buffer, size, "%s", value);
    else snprintf(buffer, size, otherwise, gpu);
}

static int whole(void *device, const char *what, long long otherwise, unsigned *out) {
    *out = (unsigned)of_gpu((long)device - 1, what, otherwise);
    return code(device, what);
}
