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
#include "control.h"

typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } rates;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process;

int initialised = 0;

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
