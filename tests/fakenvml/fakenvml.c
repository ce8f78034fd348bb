/* A libnvidia-ml.so.1 that answers from a text file, read anew whenever it has changed: the real ctypes path without a GPU.
 *
 * FAKENVML names the file. Its lines are `key=value`; a missing key has the default of the call. Keys:
 *   count, driver, init          number of GPUs, version, and the code that nvmlInit and every call return
 *   N.name, N.uuid, N.util, N.busy, N.used, N.total, N.reserved, N.temperature, N.power, N.limit
 *                                values of GPU N (bytes, mW)
 *   N.WHAT.code                  the code that the call returns for GPU N (WHAT as above, or `handle`)
 *   N.WHAT.delay_ms              how long that call takes
 *   N.process=PID,BYTES          a process that computes on GPU N, one line each; `?` for bytes that are not told
 *   N.graphics=PID,BYTES         the same, for one that draws
 *   N.clock, N.clock_max, N.memory_clock, N.fan                    MHz, and %; a GPU without `fan` has none
 *   N.pcie=4,16, N.pcie_max=5,16, N.pcie_rx, N.pcie_tx             generation and width of its link; KB/s
 *   N.nvlink_rx, N.nvlink_tx     KiB that its NVLinks have carried; without them it does not count
 *   N.ends=1,s                   where each of its NVLinks leads: to a GPU, by its index, or s, to a switch
 *   N.numa                       its NUMA node; without it the driver does not tell
 *   N.instance=PROFILE,USED,TOTAL     an instance of GPU N in MIG mode (N.mig=1), one line each
 *   cuda                         the newest CUDA, as 13000
 *   N.ecc, N.ecc_errors, N.ecc_corrected, N.persistent, N.mig, N.compute, N.reasons, N.slowdown, N.default_limit,
 *   N.capability=9,0
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

typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } rates;
typedef struct { unsigned char uuid[16]; int status; unsigned clique; unsigned char state; } fabric;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci;
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int result;
    unsigned long long value;
} field_value;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process;

static int initialised = 0; /* how many times, as the real one counts */

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

/* Instances in MIG mode: their handles are beyond those of GPUs. */

#define MIG_HANDLES 4096

static int instance(void *device, char *profile, size_t size, unsigned long long *used, unsigned long long *total) {
    long gpu = (long)device / MIG_HANDLES - 1, place = (long)device % MIG_HANDLES;
    char key[64], value[256], *comma;
    snprintf(key, sizeof key, "%ld.instance", gpu);
    if (gpu < 0 || !lookup_nth(key, (int)place, value, sizeof value)) return 0;
    comma = strchr(value, ',');
    *used = *total = 0;
    if (comma) sscanf(comma, ",%llu,%llu", used, total);
    snprintf(profile, size, "%.*s", (int)strcspn(value, ","), value);
    return 1;
}

int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) {
    *count = of_gpu((long)device - 1, "mig", 0) ? 7 : 0;
    return code(device, "instances");
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **out) {
    char profile[64];
    unsigned long long used, total;
    *out = (void *)((long)device * MIG_HANDLES + (long)index);
    return instance(*out, profile, sizeof profile, &used, &total) ? code(device, "instances") : 6;
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
    char profile[64];
    unsigned long long used, total;
    if (instance(device, profile, sizeof profile, &used, &total)) {
        snprintf(buffer, size, "MIG-00000000-0000-0000-%04ld-%012ld", (long)device / MIG_HANDLES - 1,
                 (long)device % MIG_HANDLES);
        return SUCCESS;
    }
    text(device, "uuid", "GPU-00000000-0000-0000-0000-%012ld", buffer, size);
    return code(device, "uuid");
}

int nvmlDeviceGetName(void *device, char *buffer, unsigned size) {
    char profile[64];
    unsigned long long used, total;
    if (instance(device, profile, sizeof profile, &used, &total)) {
        snprintf(buffer, size, "NVIDIA H100 80GB HBM3 MIG %s", profile);
        return SUCCESS;
    }
    text(device, "name", "NVIDIA H100 80GB HBM3", buffer, size);
    return code(device, "name");
}

int nvmlDeviceGetUtilizationRates(void *device, rates *out) {
    wait_ms((long)number("delay_ms", 0));
    out->gpu = (unsigned)of_gpu((long)device - 1, "util", 50);
    out->memory = (unsigned)of_gpu((long)device - 1, "busy", 10);
    return of_gpu((long)device - 1, "mig", 0) ? NOT_SUPPORTED : code(device, "util");
}

static void memory_of(void *device, unsigned long long *total, unsigned long long *used, unsigned long long *reserved) {
    char profile[64];
    *reserved = 0;
    if (instance(device, profile, sizeof profile, used, total)) return;
    *total = (unsigned long long)of_gpu((long)device - 1, "total", 80LL << 30);
    *used = (unsigned long long)of_gpu((long)device - 1, "used", 40LL << 30);
    *reserved = (unsigned long long)of_gpu((long)device - 1, "reserved", 512LL << 20);
}

int nvmlDeviceGetMemoryInfo_v2(void *device, memory_v2 *out) {
    memory_of(device, &out->total, &out->used, &out->reserved);
    out->free = out->total - out->used - out->reserved;
    return number("no_memory_v2", 0) ? FUNCTION_NOT_FOUND : code(device, "memory");
}

int nvmlDeviceGetMemoryInfo(void *device, memory_v1 *out) {
    unsigned long long reserved;
    memory_of(device, &out->total, &out->used, &reserved);
    out->used += reserved;
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
    char key[64], value[256];
    unsigned found = 0, room = out ? *count : 0;
    int broken = code(device, what);
    snprintf(key, sizeof key, "%ld.%s", (long)device - 1, what);
    for (; lookup_nth(key, (int)found, value, sizeof value); found++) {
        const char *bytes = strchr(value, ',');
        if (found >= room) continue;
        memset(&out[found], 0, sizeof *out);
        out[found].pid = (unsigned)atol(value);
        out[found].used = bytes && bytes[1] != '?' ? strtoull(bytes + 1, NULL, 10) : ~0ULL;
    }
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
    const char *what = type == 1 ? "ecc_errors" : "ecc_corrected";
    *out = counter == 0 ? (unsigned long long)of_gpu((long)device - 1, what, 0) : 0;
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

/* -- clocks, and what is carried over PCIe and NVLink -------------------------------------------------------------- */

int nvmlDeviceGetClockInfo(void *device, int which, unsigned *out) {
    return which == 2 ? whole(device, "memory_clock", 2619, out) : whole(device, "clock", 1980, out);
}

int nvmlDeviceGetMaxClockInfo(void *device, int which, unsigned *out) {
    return which == 2 ? whole(device, "memory_clock_max", 2619, out) : whole(device, "clock_max", 1980, out);
}

int nvmlDeviceGetFanSpeed(void *device, unsigned *out) {
    int broken = whole(device, "fan", -1, out);
    return !broken && *out == (unsigned)-1 ? NOT_SUPPORTED : broken;
}

static int link_part(void *device, const char *what, const char *otherwise, int width, unsigned *out) {
    char value[32];
    unsigned generation = 0, lanes = 0;
    text(device, what, otherwise, value, sizeof value);
    sscanf(value, "%u,%u", &generation, &lanes);
    *out = width ? lanes : generation;
    return code(device, what);
}

int nvmlDeviceGetCurrPcieLinkGeneration(void *device, unsigned *out) { return link_part(device, "pcie", "5,16", 0, out); }
int nvmlDeviceGetCurrPcieLinkWidth(void *device, unsigned *out) { return link_part(device, "pcie", "5,16", 1, out); }
int nvmlDeviceGetMaxPcieLinkGeneration(void *device, unsigned *out) {
    return link_part(device, "pcie_max", "5,16", 0, out);
}
int nvmlDeviceGetMaxPcieLinkWidth(void *device, unsigned *out) { return link_part(device, "pcie_max", "5,16", 1, out); }

int nvmlDeviceGetPcieThroughput(void *device, int which, unsigned *out) {
    return which == 0 ? whole(device, "pcie_tx", 1000, out) : whole(device, "pcie_rx", 2000, out);
}

int nvmlDeviceGetFieldValues(void *device, int count, field_value *out) {
    for (int i = 0; i < count; i++) {
        const char *what = out[i].field == 138 ? "nvlink_tx" : out[i].field == 139 ? "nvlink_rx" : "?";
        long long value = of_gpu((long)device - 1, what, -1);
        out[i].type = 3; /* unsigned long long */
        out[i].value = (unsigned long long)value;
        out[i].result = value < 0 ? NOT_SUPPORTED : SUCCESS;
    }
    return code(device, "fields");
}

/* -- how GPUs are joined ------------------------------------------------------------------------------------------- */

static void address(unsigned bus, pci *out) {
    memset(out, 0, sizeof *out);
    out->domain = 0xfffe; /* no machine's */
    out->bus = bus;
}

int nvmlDeviceGetPciInfo_v3(void *device, pci *out) {
    address((unsigned)((long)device - 1), out);
    return code(device, "pci");
}

/* Where a link leads: a GPU's index, -1 for a switch, -2 for none. */
static int end_of(void *device, unsigned link) {
    char value[256], *at = value;
    text(device, "ends", "", value, sizeof value);
    for (; link && at; link--) at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL;
    return !at || !*at ? -2 : *at == 's' ? -1 : atoi(at);
}

int nvmlDeviceGetNvLinkRemoteDeviceType(void *device, unsigned link, unsigned *out) {
    int end = end_of(device, link);
    *out = end == -1 ? 2 : 0;
    return end == -2 ? NOT_SUPPORTED : code(device, "ends");
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *device, unsigned link, pci *out) {
    int end = end_of(device, link);
    if (end < 0) return NOT_SUPPORTED;
    address((unsigned)end, out);
    return code(device, "ends");
}

int nvmlDeviceGetMemoryAffinity(void *device, unsigned size, unsigned long long *out, int scope) {
    long long node = of_gpu((long)device - 1, "numa", -1);
    (void)scope;
    memset(out, 0, size * sizeof *out);
    if (node < 0) return NOT_SUPPORTED;
    out[node / 64] = 1ULL << (node % 64);
    return code(device, "numa");
}

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
