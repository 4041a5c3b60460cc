/* A library with the names and structures of NVML's public header, for tests: one device that answers most questions,
 * and one that fell off the bus. Written from the header's documentation; nothing of NVIDIA's is in it. */
#include <stdio.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };

typedef struct device { int index; } *device;
static struct device devices[2] = {{0}, {1}};

typedef struct { char legacy[16]; unsigned domain, bus, device, ids, subsystem; char address[32]; } pci_info;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_info;
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned process; unsigned long long used; unsigned gpu_instance, compute_instance; } process_info;

#define ONLY_FIRST(device) if ((device)->index != 0) return GPU_IS_LOST

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { snprintf(text, length, "999.12"); return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *found) { *found = &devices[index]; return SUCCESS; }
int nvmlDeviceGetUUID(device d, char *text, unsigned length) {
    ONLY_FIRST(d);
    snprintf(text, length, "GPU-11111111-2222-3333-4444-555555555555");
    return SUCCESS;
}
int nvmlDeviceGetName(device d, char *text, unsigned length) {
    ONLY_FIRST(d);
    snprintf(text, length, "NVIDIA GeForce RTX 3090");
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(device d, pci_info *info) {
    ONLY_FIRST(d);
    memset(info, 0, sizeof *info);
    info->bus = 0x65;
    snprintf(info->legacy, sizeof info->legacy, "0000:65:00.0");
    snprintf(info->address, sizeof info->address, "00000000:65:00.0");
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(device d, memory_info *info) {
    ONLY_FIRST(d);
    info->total = 25438126080ull;
    info->reserved = 338526208ull;
    info->used = 10737418240ull;
    info->free = info->total - info->reserved - info->used;
    return SUCCESS;
}
int nvmlDeviceGetUtilizationRates(device d, utilization *rates) {
    ONLY_FIRST(d);
    rates->gpu = 87;
    rates->memory = 45;
    return SUCCESS;
}
int nvmlDeviceGetPowerUsage(device d, unsigned *milliwatts) { ONLY_FIRST(d); *milliwatts = 312345; return SUCCESS; }
int nvmlDeviceGetEnforcedPowerLimit(device d, unsigned *milliwatts) { ONLY_FIRST(d); *milliwatts = 350000; return SUCCESS; }
int nvmlDeviceGetTotalEnergyConsumption(device d, unsigned long long *millijoules) {
    ONLY_FIRST(d);
    *millijoules = 123456789ull;
    return SUCCESS;
}
int nvmlDeviceGetTemperature(device d, int sensor, unsigned *degrees) { (void)sensor; ONLY_FIRST(d); *degrees = 66; return SUCCESS; }
int nvmlDeviceGetClockInfo(device d, int domain, unsigned *megahertz) {
    ONLY_FIRST(d);
    *megahertz = domain == 2 ? 9751 : 1695;
    return SUCCESS;
}
int nvmlDeviceGetFanSpeed_v2(device d, unsigned fan, unsigned *percent) { (void)fan; ONLY_FIRST(d); *percent = 71; return SUCCESS; }
int nvmlDeviceGetCurrentClocksThrottleReasons(device d, unsigned long long *bits) { ONLY_FIRST(d); *bits = 4; return SUCCESS; }
int nvmlDeviceGetTotalEccErrors(device d, int kind, int counter, unsigned long long *count) {
    (void)kind; (void)counter; (void)count;
    ONLY_FIRST(d);
    return NOT_SUPPORTED;
}
int nvmlDeviceGetComputeRunningProcesses_v3(device d, unsigned *count, process_info *processes) {
    ONLY_FIRST(d);
    if (*count < 1 || processes == 0) { *count = 1; return INSUFFICIENT_SIZE; }
    *count = 1;
    processes[0] = (process_info){4711, 10000000000ull, 0xFFFFFFFF, 0xFFFFFFFF};
    return SUCCESS;
}
