// The emulated CUDA device as a provider of the table in cuda/api.h: the driver and cuBLASLt, served
// on the CPU. Kernels run in the PTX engine (emu.h), matrix products in the CPU's GEMM (gemm.h).
//
// Work is queued, as on a device, and runs when the host waits for it, in an order among streams
// that the seed chooses and that streams and events allow. Beside the results, it checks: accesses
// of kernels (emu.h), accesses that no stream order or event orders, and tensors that were
// overwritten before they were read. The first fault is the device's last act: later calls return
// its code, and the table's `report` tells what happened.
//
// The driver's own interface has one implicit state per process, and so has this one (driver.c).
// Calls may come from several threads.
#pragma once
#include "runtime/cuda/api.h"
#include <stdbool.h>

typedef struct {
    uint32_t sm;     // 80, 89, 90, 100 or 120; 0: 90
    bool arch;       // architecture-specific features: sm_90a, sm_100a
    bool check;      // races, ownership and the engine's checker
    bool nan;        // look for the first NaN that is produced
    uint64_t seed;   // order of streams, warps and blocks
    uint64_t memory; // bytes of device memory; 0: 4 GiB
    uint64_t budget; // thread instructions per launch before it counts as a hang; 0: a default
    int threads;     // of the host; 0: as many CPUs as the process may use
} SnEmulatorConfig;

// Before the primary context is retained. NULL: the defaults, which are sm_90a, check, seed 1.
// False: no such architecture, or a context is in use; nothing changes then.
bool sn_emulator_configure(const SnEmulatorConfig *config);

const SnCudaApi *sn_emulator_api(void); // never NULL, never freed

// Who stored the first NaN since the context was retained; "" when nobody did or nobody looked.
// Valid until the next call of the table.
const char *sn_emulator_first_nan(void);

// What ran since the context was retained, or since the last reset.
typedef struct {
    uint64_t launches, matmuls, fills;
    uint64_t copies_to_device, copies_to_host, copies_on_device;
    uint64_t bytes_to_device, bytes_to_host, bytes_on_device, bytes_filled;
    uint64_t kernel_bytes;   // that kernels asked global memory for
    uint64_t matmul_bytes;   // operands and results, each once
    uint64_t matmul_flops;   // 2 m n k
    uint64_t instructions;   // of kernels, counted by thread
    uint64_t graph_launches; // their nodes count as if they had been launched one by one
} SnEmulatorCounts;
typedef struct {
    const char *name; // lives as long as the context
    uint64_t launches, instructions, loads, stores;
} SnEmulatorKernel;
SnEmulatorCounts sn_emulator_counts(void);
// Kernels in the order of their first launch; fills up to `room` of them and returns how many exist.
size_t sn_emulator_kernels(SnEmulatorKernel *kernels, size_t room);
void sn_emulator_reset_counts(void);

// All of it, as an executable's program refers to it.
typedef struct SnEmulator {
    bool (*configure)(const SnEmulatorConfig *config);
    const SnCudaApi *(*api)(void);
    const char *(*first_nan)(void);
} SnEmulator;
extern const SnEmulator sn_emulator;
