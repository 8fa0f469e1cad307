// CUDA's driver, as Triton and torch's allocator call it: modules are loaded and kernels launched, to no effect.

#include "device.hpp"

#include <cstdlib>
#include <cstring>

#include <cuda.h>

using namespace null_gpu;

namespace {

CUcontext const kContext = reinterpret_cast<CUcontext>(0x10);

// A Triton kernel's function is its name.
CUresult launch_kernel(CUfunction kernel, dim3 grid, dim3 block, size_t shared, CUstream stream) {
    std::string name = std::string("triton ") + reinterpret_cast<const char*>(kernel);
    std::string wrong = wrong_size(grid.x, grid.y, grid.z, block.x * block.y * block.z, shared);
    if (!wrong.empty()) {
        problem(wrong + ": " + name);
        return CUDA_ERROR_INVALID_VALUE;
    }
    launch(stream, name);
    return CUDA_SUCCESS;
}

}  // namespace

// Called by the stubs of build.py, of entry points that nothing here stands in for. What only describes work may do
// nothing; work itself would be missing from the counts.
ENTRY void null_lacks(const char* name) {
    for (const char* harmless : {"Set", "Get", "Create", "Destroy", "Init", "Descriptor", "Enable", "Version"}) {
        if (std::strstr(name, harmless)) return;
    }
    problem(std::string("the null GPU lacks ") + name);
}

ENTRY CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
ENTRY CUresult cuDriverGetVersion(int* version) { return *version = 13000, CUDA_SUCCESS; }
ENTRY CUresult cuDeviceGetCount(int* count) { return *count = 1, CUDA_SUCCESS; }
ENTRY CUresult cuDeviceGet(CUdevice* device, int) { return *device = 0, CUDA_SUCCESS; }
ENTRY CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute number, CUdevice) { return *value = attribute(number), CUDA_SUCCESS; }
ENTRY CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) { return *context = kContext, CUDA_SUCCESS; }
ENTRY CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* flags, int* active) { return *flags = 0, *active = 1, CUDA_SUCCESS; }
ENTRY CUresult cuCtxGetCurrent(CUcontext* context) { return *context = kContext, CUDA_SUCCESS; }
ENTRY CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
ENTRY CUresult cuGetErrorString(CUresult, const char** text) { return *text = "an error of the null GPU's driver", CUDA_SUCCESS; }
ENTRY CUresult cuGetErrorName(CUresult, const char** text) { return *text = "CUDA_ERROR_NULL", CUDA_SUCCESS; }

ENTRY CUresult cuModuleLoadData(CUmodule* module, const void*) {
    if (refused("cuModuleLoadData")) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return *module = static_cast<CUmodule>(std::malloc(8)), CUDA_SUCCESS;
}
ENTRY CUresult cuModuleLoad(CUmodule* module, const char*) { return cuModuleLoadData(module, nullptr); }
ENTRY CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, CUjit_option*, void**) { return cuModuleLoadData(module, image); }
ENTRY CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
ENTRY CUresult cuModuleGetFunction(CUfunction* kernel, CUmodule, const char* name) {
    return *kernel = reinterpret_cast<CUfunction>(strdup(name)), CUDA_SUCCESS;
}
ENTRY CUresult cuFuncGetAttribute(int* value, CUfunction_attribute number, CUfunction) {
    *value = number == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? kMostThreads : number == CU_FUNC_ATTRIBUTE_NUM_REGS ? 32 : 0;
    return CUDA_SUCCESS;
}
ENTRY CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
ENTRY CUresult cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { return CUDA_SUCCESS; }
ENTRY CUresult cuPointerGetAttribute(void* value, CUpointer_attribute number, CUdeviceptr address) {
    if (number != CU_POINTER_ATTRIBUTE_DEVICE_POINTER) return CUDA_SUCCESS;
    const void* place = reinterpret_cast<const void*>(address);
    if (!is_device(place) && !is_pinned(place)) {
        problem("a Triton kernel is handed the host's memory");
        return CUDA_ERROR_INVALID_VALUE;
    }
    return *static_cast<CUdeviceptr*>(value) = address, CUDA_SUCCESS;
}
ENTRY CUresult cuLaunchKernel(
    CUfunction kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y, unsigned z,
    unsigned shared, CUstream stream, void**, void**) {
    return launch_kernel(kernel, {grid_x, grid_y, grid_z}, {x, y, z}, shared, stream);
}
ENTRY CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction kernel, void**, void**) {
    return launch_kernel(
        kernel, {config->gridDimX, config->gridDimY, config->gridDimZ}, {config->blockDimX, config->blockDimY, config->blockDimZ},
        config->sharedMemBytes, config->hStream);
}
ENTRY CUresult cuOccupancyMaxActiveClusters(int* count, CUfunction, const CUlaunchConfig*) { return *count = 1, CUDA_SUCCESS; }
ENTRY CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* count, CUfunction, int, size_t) { return *count = 4, CUDA_SUCCESS; }
