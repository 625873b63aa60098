// The images of a program, loaded into a device: machine code where the program has some that the
// device takes, else its PTX, which the driver compiles.
#pragma once
#include "runtime/cuda/api.h"
#include "runtime/sinter.h"

typedef struct {
    SnCudaModule *modules; // by batch
    uint32_t n;
    bool from_ptx;      // at least one batch
    char fallback[160]; // why machine code was there and not taken; ""
} SnCudaImages;

// sm: 90 for compute capability 9.0.
SnStatus sn_cuda_images(const SnCudaApi *api, const SnProgram *program, uint32_t batches, int sm,
                        bool from_ptx, SnCudaImages *to, SnError *e);
void sn_cuda_images_free(const SnCudaApi *api, SnCudaImages *images);
// A kernel's function, ready to be started: `name` for messages.
SnStatus sn_cuda_function(const SnCudaApi *api, const SnCudaImages *images, const SnKernel *k,
                          const char *name, SnCudaFunction *to, SnError *e);
// What a program has images for, for messages: "sm_80 machine code, sm_80 PTX".
// The emulated device that runs the program: "emu:sm_90a".
void sn_cuda_emulator(const SnProgram *program, char *text, size_t size);
void sn_cuda_list(const SnProgram *program, char *text, size_t size);
