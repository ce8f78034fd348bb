/* Clocks, and how GPUs are joined and what they carry; fakenvml.c describes the keys. */
#include "control.h"

typedef struct { unsigned char uuid[16]; int status; unsigned clique; unsigned char state; } fabric;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci;
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int result;
    unsigned long long value;
} field_value;

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
