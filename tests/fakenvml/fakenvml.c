/* A libnvidia-ml.so.1 that answers from a text file, read anew at every call: the real ctypes path without a GPU.
 *
 * FAKENVML names the file. Its lines are `key=value`; a missing key has the default of the call. Keys:
 *   count, driver, init          number of GPUs, version, and the code that nvmlInit and every call return
 *   N.name, N.uuid, N.util, N.used, N.total, N.temperature, N.power, N.limit     values of GPU N (bytes, mW)
 *   N.WHAT.code                  the code that the call returns for GPU N (WHAT as above, or `handle`)
 *   N.process=PID,BYTES          a process that computes on GPU N, one line each; `?` for bytes that are not told
 *   N.graphics=PID,BYTES         the same, for one that draws
 *   cuda                         the newest CUDA, as 13000
 *   N.ecc, N.ecc_errors, N.persistent, N.mig, N.compute, N.reasons, N.slowdown, N.default_limit, N.capability=9,0
 *   N.rows=CORRECTED,UNCORRECTED,PENDING,FAILED    of remapped memory; N.rows.code=3 for an older GPU, which has
 *   N.retired, N.retired_pending                   pages instead
 *   N.links=1101                 its NVLinks, 1 for those that are up; N.fabric, the state of its registration
 *   N.M.level, N.M.nvlink, N.M.reads               what joins GPU N and GPU M (N < M): codes of topology and peer access
 *   no_event_reasons=1           a driver that has the call for throttle reasons only
 *   no_memory_v2=1              an older driver, without the second version of that call
 *   no_processes_v3=1            the same, without the third version of those two
 *   delay_ms                     how long reading the utilization takes
 *
 * The file states the present. Memory over time is a test that replaces it (by renaming, so that none is read in part).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SUCCESS 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define INSUFFICIENT_SIZE 7
#define FUNCTION_NOT_FOUND 13

typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } rates;
typedef struct { unsigned char uuid[16]; int status; unsigned clique; unsigned char state; } fabric;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process;

static int initialised = 0; /* how many times, as the real one counts */

static int lookup(const char *key, char *value, size_t size) {
    const char *path = getenv("FAKENVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    size_t length = strlen(key);
    int found = 0;
    if (!file) return 0;
    while (!found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, size, "%s", line + length + 1);
            found = 1;
        }
    }
    fclose(file);
    return found;
}

static long long number(const char *key, long long otherwise) {
    char value[256];
    return lookup(key, value, sizeof value) ? atoll(value) : otherwise;
}

static long long of_gpu(long gpu, const char *what, long long otherwise) {
    char key[64];
    snprintf(key, sizeof key, "%ld.%s", gpu, what);
    return number(key, otherwise);
}

static int code(void *device, const char *what) {
    char key[64];
    int broken = (int)number("init", SUCCESS);
    if (broken) return broken;
    if (!initialised) return UNINITIALIZED;
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

int nvmlInitWithFlags(unsigned flags) {
    int broken = (int)number("init", SUCCESS);
    (void)flags;
    if (!broken) __atomic_add_fetch(&initialised, 1, __ATOMIC_SEQ_CST);
    return broken;
}

int nvmlShutdown(void) {
    if (!initialised) return UNINITIALIZED;
    __atomic_sub_fetch(&initialised, 1, __ATOMIC_SEQ_CST);
    return SUCCESS;
}

const char *nvmlErrorString(int result) {
    switch (result) {
        case 3: return "Not Supported";
        case 15: return "GPU is lost";
        case 999: return "Unknown Error";
        default: return "an error";
    }
}

int nvmlSystemGetDriverVersion(char *buffer, unsigned size) {
    char value[80];
    snprintf(buffer, size, "%s", lookup("driver", value, sizeof value) ? value : "580.95.05");
    return code(NULL, "driver");
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)number("count", 1);
    return code(NULL, "count");
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = (void *)((long)index + 1);
    return code(*device, "handle");
}

int nvmlDeviceGetUUID(void *device, char *buffer, unsigned size) {
    text(device, "uuid", "GPU-00000000-0000-0000-0000-%012ld", buffer, size);
    return code(device, "uuid");
}

int nvmlDeviceGetName(void *device, char *buffer, unsigned size) {
    text(device, "name", "NVIDIA H100 80GB HBM3", buffer, size);
    return code(device, "name");
}

int nvmlDeviceGetUtilizationRates(void *device, rates *out) {
    long delay = (long)number("delay_ms", 0);
    struct timespec time = {delay / 1000, delay % 1000 * 1000000};
    if (delay) nanosleep(&time, NULL);
    out->gpu = (unsigned)of_gpu((long)device - 1, "util", 50);
    out->memory = 10;
    return code(device, "util");
}

int nvmlDeviceGetMemoryInfo_v2(void *device, memory_v2 *out) {
    out->total = (unsigned long long)of_gpu((long)device - 1, "total", 80LL << 30);
    out->used = (unsigned long long)of_gpu((long)device - 1, "used", 40LL << 30);
    out->reserved = 512ULL << 20;
    out->free = out->total - out->used - out->reserved;
    return number("no_memory_v2", 0) ? FUNCTION_NOT_FOUND : code(device, "memory");
}

int nvmlDeviceGetMemoryInfo(void *device, memory_v1 *out) {
    out->total = (unsigned long long)of_gpu((long)device - 1, "total", 80LL << 30);
    out->used = (unsigned long long)of_gpu((long)device - 1, "used", 40LL << 30) + (512ULL << 20);
    out->free = out->total - out->used;
    return code(device, "memory");
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *out) {
    (void)sensor;
    *out = (unsigned)of_gpu((long)device - 1, "temperature", 60);
    return code(device, "temperature");
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *out) {
    *out = (unsigned)of_gpu((long)device - 1, "power", 350000);
    return code(device, "power");
}

int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *out) {
    *out = (unsigned)of_gpu((long)device - 1, "limit", 700000);
    return code(device, "limit");
}

static int processes(void *device, const char *what, unsigned *count, process *out) {
    const char *path = getenv("FAKENVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char key[64], line[512];
    unsigned found = 0, room = out ? *count : 0;
    int broken = code(device, what);
    snprintf(key, sizeof key, "%ld.%s=", (long)device - 1, what);
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        if (found < room) {
            const char *bytes = strchr(line, ',');
            memset(&out[found], 0, sizeof *out);
            out[found].pid = (unsigned)atol(line + strlen(key));
            out[found].used = bytes && bytes[1] != '?' ? strtoull(bytes + 1, NULL, 10) : ~0ULL;
        }
        found++;
    }
    if (file) fclose(file);
    *count = found;
    if (broken) return broken;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v2(void *device, unsigned *count, process *out) {
    return processes(device, "process", count, out);
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, process *out) {
    return number("no_processes_v3", 0) ? FUNCTION_NOT_FOUND : processes(device, "process", count, out);
}

int nvmlDeviceGetGraphicsRunningProcesses_v2(void *device, unsigned *count, process *out) {
    return processes(device, "graphics", count, out);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned *count, process *out) {
    return number("no_processes_v3", 0) ? FUNCTION_NOT_FOUND : processes(device, "graphics", count, out);
}

/* -- what the doctor asks ---------------------------------------------------------------------------------------- */

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = (int)number("cuda", 13000);
    return code(NULL, "cuda");
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    char value[32];
    text(device, "capability", "9,0", value, sizeof value);
    *major = *minor = 0;
    sscanf(value, "%d,%d", major, minor);
    return code(device, "capability");
}

static int whole(void *device, const char *what, long long otherwise, unsigned *out) {
    *out = (unsigned)of_gpu((long)device - 1, what, otherwise);
    return code(device, what);
}

int nvmlDeviceGetEccMode(void *device, unsigned *now, unsigned *pending) {
    *pending = 1;
    return whole(device, "ecc", 1, now);
}

int nvmlDeviceGetTotalEccErrors(void *device, int type, int counter, unsigned long long *out) {
    *out = type == 1 && counter == 0 ? (unsigned long long)of_gpu((long)device - 1, "ecc_errors", 0) : 0;
    return code(device, "ecc_errors");
}

int nvmlDeviceGetRemappedRows(void *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                              unsigned *failed) {
    char value[64];
    text(device, "rows", "0,0,0,0", value, sizeof value);
    *corrected = *uncorrected = *pending = *failed = 0;
    sscanf(value, "%u,%u,%u,%u", corrected, uncorrected, pending, failed);
    return code(device, "rows");
}

int nvmlDeviceGetRetiredPages(void *device, int cause, unsigned *count, unsigned long long *out) {
    unsigned found = cause == 1 ? (unsigned)of_gpu((long)device - 1, "retired", 0) : 0, room = *count;
    int broken = code(device, "retired");
    *count = found;
    if (broken) return broken;
    if (found > room || (found && !out)) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; out && i < found; i++) out[i] = i << 12;
    return SUCCESS;
}

int nvmlDeviceGetRetiredPagesPendingStatus(void *device, unsigned *out) {
    return whole(device, "retired_pending", 0, out);
}

static int reasons(void *device, unsigned long long *out) {
    *out = (unsigned long long)of_gpu((long)device - 1, "reasons", 1);
    return code(device, "reasons");
}

int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *out) {
    return number("no_event_reasons", 0) ? FUNCTION_NOT_FOUND : reasons(device, out);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *out) { return reasons(device, out); }

int nvmlDeviceGetTemperatureThreshold(void *device, int threshold, unsigned *out) {
    return threshold == 1 ? whole(device, "slowdown", 89, out) : NOT_SUPPORTED;
}

int nvmlDeviceGetPowerManagementDefaultLimit(void *device, unsigned *out) {
    return whole(device, "default_limit", 700000, out);
}

int nvmlDeviceGetPersistenceMode(void *device, unsigned *out) { return whole(device, "persistent", 1, out); }

int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *pending) {
    *pending = 0;
    return whole(device, "mig", 0, now);
}

int nvmlDeviceGetComputeMode(void *device, unsigned *out) { return whole(device, "compute", 0, out); }

int nvmlDeviceGetNvLinkState(void *device, unsigned link, unsigned *up) {
    char value[64];
    text(device, "links", "", value, sizeof value);
    if (link >= strlen(value)) return INVALID_ARGUMENT;
    *up = value[link] == '1';
    return code(device, "links");
}

int nvmlDeviceGetGpuFabricInfo(void *device, fabric *out) {
    memset(out, 0, sizeof *out);
    out->state = (unsigned char)of_gpu((long)device - 1, "fabric", 0);
    return code(device, "fabric");
}

static long long of_two(void *one, void *other, const char *what, long long otherwise) {
    char key[64];
    snprintf(key, sizeof key, "%ld.%ld.%s", (long)one - 1, (long)other - 1, what);
    return number(key, otherwise);
}

int nvmlDeviceGetTopologyCommonAncestor(void *one, void *other, unsigned *out) {
    *out = (unsigned)of_two(one, other, "level", 50);
    return code(one, "topology");
}

int nvmlDeviceGetP2PStatus(void *one, void *other, int what, unsigned *out) {
    /* 2 is NVLink, 0 reads; 0 is well, and 5 not supported */
    *out = (unsigned)(what == 2 ? of_two(one, other, "nvlink", 5) : of_two(one, other, "reads", 0));
    return code(one, "p2p");
}
