// CUDA's runtime: devices, memory, streams, events, graphs and the launches of torch's own kernels.
//
// Kernels do nothing. Memory is the host's, so copies and memsets are real; what is read back from the device is zeros,
// since whatever should have been computed there was not, and zeros are what the reader is least likely to trip over.

#include "device.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <unordered_map>

#include <cxxabi.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>

namespace null_gpu {

std::recursive_mutex lock;

namespace {

struct Event {
    int capture = 0;  // the capture in which it was recorded, 0 for none
    bool recorded = false;
    Stream* on = nullptr;
};

struct Capture {
    int number = 0;  // 0 while nothing is captured
    int mode = cudaStreamCaptureModeGlobal;
    pthread_t thread{};
    bool spoilt = false;
    Graph* graph = nullptr;
};

Stream legacy{0};
std::set<Stream*> streams;
Capture capture;
int captures = 0;
std::vector<Graph*> graphs;  // that were instantiated
std::vector<std::string> problems, trace;
bool tracing = false;
std::map<const char*, size_t> device_memory, pinned_memory;
size_t used = 0;
thread_local int own_mode = cudaStreamCaptureModeGlobal;  // of cudaThreadExchangeStreamCaptureMode
thread_local cudaError_t last = cudaSuccess;

// Kernels register themselves while libraries are loaded, before this file's own globals need exist.
std::unordered_map<const void*, std::string>& kernel_names() {
    static auto* names = new std::unordered_map<const void*, std::string>;
    return *names;
}

std::string kernel_name(const void* kernel) {
    Locked held(lock);
    std::string name = kernel_names()[kernel];
    int status = 0;
    char* readable = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
    if (readable) name = readable;
    std::free(readable);
    return name;
}

cudaError_t failed(cudaError_t error) { return last = error; }

cudaError_t spoil(const std::string& why, cudaError_t error) {
    Locked held(lock);
    capture.spoilt = true;
    problem(why);
    return failed(error);
}

// A call that waits for the device, for one stream or for all.
cudaError_t wait(const std::string& call, Stream* stream = nullptr) {
    Locked held(lock);
    if (stream && stream->capturing) return spoil("in a capture: " + call + " of its stream", cudaErrorStreamCaptureUnsupported);
    traced("SYNC " + call);
    return refused(call) ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

bool lies_in(const std::map<const char*, size_t>& memory, const void* address) {
    Locked held(lock);
    auto next = memory.upper_bound(static_cast<const char*>(address));
    if (next == memory.begin()) return false;
    auto block = std::prev(next);
    return static_cast<const char*>(address) < block->first + block->second;
}

cudaError_t launch_kernel(const void* kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
    std::string name = kernel_name(kernel);
    std::string wrong = wrong_size(grid.x, grid.y, grid.z, block.x * block.y * block.z, shared);
    if (!wrong.empty()) {
        problem(wrong + ": " + name);
        return failed(cudaErrorInvalidConfiguration);
    }
    launch(stream, name);
    return cudaSuccess;
}

// Whether an event was recorded in the capture that is under way.
bool is_captured(const Event* event) { return event->capture != 0 && event->capture == capture.number; }

}  // namespace

Stream* stream_of(void* handle) {
    bool is_default = handle == nullptr || handle == cudaStreamLegacy || handle == cudaStreamPerThread;
    return is_default ? &legacy : static_cast<Stream*>(handle);
}

void problem(const std::string& what) {
    Locked held(lock);
    problems.push_back(what.substr(0, 300));
}

void traced(const std::string& line) {
    Locked held(lock);
    if (tracing) trace.push_back(line);
}

void launch(void* handle, const std::string& what) {
    Locked held(lock);
    Stream* stream = stream_of(handle);
    if (stream->capturing) {
        capture.graph->nodes.push_back(what);
    } else if (capture.number) {
        // Legal from another thread, but nothing that a captured step needs may be missing from its graph.
        problem("launched beside the capture, on stream " + std::to_string(stream->number) + ": " + what);
    }
    traced(what);
}

bool refused(const std::string& call) {
    Locked held(lock);
    if (!capture.number || own_mode == cudaStreamCaptureModeRelaxed) return false;
    bool own = pthread_equal(pthread_self(), capture.thread);
    bool minds = capture.mode == cudaStreamCaptureModeGlobal || (capture.mode == cudaStreamCaptureModeThreadLocal && own);
    if (minds) spoil("in a capture: " + call, cudaErrorStreamCaptureUnsupported);
    return minds;
}

std::string wrong_size(unsigned x, unsigned y, unsigned z, unsigned threads, size_t shared) {
    if (x == 0 || y == 0 || z == 0 || y > kMostGridYZ || z > kMostGridYZ) {
        return "a grid of " + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z);
    }
    if (threads > kMostThreads) return "a block of " + std::to_string(threads) + " threads";
    if (shared > kMostShared) return std::to_string(shared) + " bytes of shared memory";
    return "";
}

bool is_device(const void* address) { return lies_in(device_memory, address); }
bool is_pinned(const void* address) { return lies_in(pinned_memory, address); }

int attribute(int number) {
    switch (number) {
        case cudaDevAttrMaxThreadsPerBlock: return kMostThreads;
        case cudaDevAttrMaxBlockDimX: case cudaDevAttrMaxBlockDimY: return 1024;
        case cudaDevAttrMaxBlockDimZ: return 64;
        case cudaDevAttrMaxGridDimX: return 2147483647;
        case cudaDevAttrMaxGridDimY: case cudaDevAttrMaxGridDimZ: return kMostGridYZ;
        case cudaDevAttrMaxSharedMemoryPerBlock: return 48 << 10;
        case cudaDevAttrWarpSize: return 32;
        case cudaDevAttrMaxRegistersPerBlock: case cudaDevAttrMaxRegistersPerMultiprocessor: return 65536;
        case cudaDevAttrClockRate: return 1980000;
        case cudaDevAttrMultiProcessorCount: return 132;
        case cudaDevAttrMemoryClockRate: return 2619000;
        case cudaDevAttrGlobalMemoryBusWidth: return 5120;
        case cudaDevAttrL2CacheSize: return 50 << 20;
        case cudaDevAttrMaxThreadsPerMultiProcessor: return 2048;
        case cudaDevAttrComputeCapabilityMajor: return 9;
        case cudaDevAttrComputeCapabilityMinor: return 0;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return 228 << 10;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: return static_cast<int>(kMostShared);
        case cudaDevAttrMaxBlocksPerMultiprocessor: return 32;
        default: return 1;
    }
}

}  // namespace null_gpu

using namespace null_gpu;

// ---- what seen.py reads

ENTRY int null_problem_count() { return problems.size(); }
ENTRY const char* null_problem(int i) { return problems[i].c_str(); }
ENTRY int null_graph_count() { return graphs.size(); }
ENTRY int null_node_count(int i) { return graphs[i]->nodes.size(); }
ENTRY const char* null_node(int i, int j) { return graphs[i]->nodes[j].c_str(); }
ENTRY int null_trace_count() { return trace.size(); }
ENTRY const char* null_trace(int i) { return trace[i].c_str(); }
ENTRY void null_trace_on(int on) {
    Locked held(lock);
    tracing = on;
    if (on) trace.clear();
}

// ---- kernels register themselves, and are launched

ENTRY void** __cudaRegisterFatBinary(void*) { return static_cast<void**>(std::calloc(1, 64)); }
ENTRY void __cudaRegisterFatBinaryEnd(void**) {}
ENTRY void __cudaUnregisterFatBinary(void**) {}
ENTRY char __cudaInitModule(void**) { return 0; }
ENTRY void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
ENTRY void __cudaRegisterManagedVar(void**, void**, char*, const char*, int, size_t, int, int) {}
ENTRY void __cudaRegisterFunction(void**, const char* kernel, char*, const char* name, int, void*, void*, void*, void*, int*) {
    Locked held(lock);
    kernel_names()[kernel] = name;
}
ENTRY cudaError_t __cudaGetKernel(cudaKernel_t* found, const void* kernel) {
    *found = static_cast<cudaKernel_t>(const_cast<void*>(kernel));
    return cudaSuccess;
}

// A launch f<<<...>>> pushes its sizes and pops them again in f's stub.
namespace {
struct Sizes {
    dim3 grid, block;
    size_t shared;
    void* stream;
};
thread_local std::vector<Sizes> pushed;
}  // namespace
ENTRY unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
    pushed.push_back({grid, block, shared, stream});
    return 0;
}
ENTRY cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
    Sizes top = pushed.back();
    pushed.pop_back();
    *grid = top.grid, *block = top.block, *shared = top.shared, *static_cast<void**>(stream) = top.stream;
    return cudaSuccess;
}
ENTRY cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void**, size_t shared, cudaStream_t stream) {
    return launch_kernel(kernel, grid, block, shared, stream);
}
ENTRY cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void**, size_t shared, cudaStream_t stream) {
    return launch_kernel(kernel, grid, block, shared, stream);
}
ENTRY cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel, void**) {
    return launch_kernel(kernel, config->gridDim, config->blockDim, config->dynamicSmemBytes, config->stream);
}
ENTRY cudaError_t cudaLaunchCooperativeKernel(const void* kernel, dim3 grid, dim3 block, void**, size_t shared, cudaStream_t stream) {
    return launch_kernel(kernel, grid, block, shared, stream);
}
ENTRY cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t, void*) {
    launch(stream, "host function");
    return cudaSuccess;
}
ENTRY cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* found, const void*) {
    std::memset(found, 0, sizeof *found);
    found->maxThreadsPerBlock = kMostThreads, found->numRegs = 32, found->binaryVersion = found->ptxVersion = 90;
    return cudaSuccess;
}
ENTRY cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
ENTRY cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* count, const void*, int threads, size_t) {
    *count = threads ? 2048 / threads : 1;
    return cudaSuccess;
}
ENTRY cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* count, const void* kernel, int threads, size_t shared, unsigned) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(count, kernel, threads, shared);
}

// ---- devices

ENTRY cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
ENTRY cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
ENTRY cudaError_t cudaSetDevice(int) { return cudaSuccess; }
ENTRY cudaError_t cudaGetLastError() {
    cudaError_t error = last;
    last = cudaSuccess;
    return error;
}
ENTRY cudaError_t cudaPeekAtLastError() { return last; }
ENTRY const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
        case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
        case cudaErrorStreamCaptureIsolation: return "dependency created on uncaptured work in another stream";
        case cudaErrorStreamCaptureImplicit: return "operation would make the legacy stream depend on a capturing blocking stream";
        case cudaErrorCapturedEvent: return "operation not permitted on an event last recorded in a capturing stream";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        default: return "an error of the null GPU";
    }
}
ENTRY const char* cudaGetErrorName(cudaError_t) { return "cudaErrorNull"; }
ENTRY cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
ENTRY cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
ENTRY cudaError_t cudaGetDeviceProperties(cudaDeviceProp* found, int) {
    std::memset(found, 0, sizeof *found);
    std::strcpy(found->name, "null GPU (as an H100)");
    found->major = 9, found->minor = 0, found->multiProcessorCount = 132, found->totalGlobalMem = kMemory;
    found->sharedMemPerBlock = 48 << 10, found->sharedMemPerBlockOptin = kMostShared;
    found->sharedMemPerMultiprocessor = 228 << 10, found->regsPerBlock = found->regsPerMultiprocessor = 65536;
    found->warpSize = 32, found->maxThreadsPerBlock = kMostThreads, found->maxThreadsPerMultiProcessor = 2048;
    found->maxThreadsDim[0] = found->maxThreadsDim[1] = 1024, found->maxThreadsDim[2] = 64;
    found->maxGridSize[0] = 2147483647, found->maxGridSize[1] = found->maxGridSize[2] = kMostGridYZ;
    found->l2CacheSize = 50 << 20, found->memoryBusWidth = 5120, found->maxBlocksPerMultiProcessor = 32;
    found->textureAlignment = 512, found->unifiedAddressing = found->concurrentKernels = found->cooperativeLaunch = 1;
    found->asyncEngineCount = 3;
    return cudaSuccess;
}
ENTRY cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr number, int) { return *value = attribute(number), cudaSuccess; }
ENTRY cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) { return *can = 0, cudaSuccess; }
ENTRY cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) { return *least = 0, *greatest = -5, cudaSuccess; }
ENTRY cudaError_t cudaDeviceGetPCIBusId(char* text, int size, int) { return std::snprintf(text, size, "0000:00:00.0"), cudaSuccess; }
ENTRY cudaError_t cudaDeviceSynchronize() { return wait("cudaDeviceSynchronize"); }
ENTRY cudaError_t cudaGetDriverEntryPointByVersion(
    const char* name, void** found, unsigned, unsigned long long, cudaDriverEntryPointQueryResult* result) {
    *found = dlsym(RTLD_DEFAULT, (std::string(name) + "_v2").c_str());
    if (!*found) *found = dlsym(RTLD_DEFAULT, name);
    if (result) *result = *found ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}

// ---- memory

ENTRY cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) { return *total = kMemory, *free_bytes = kMemory - used, cudaSuccess; }
ENTRY cudaError_t cudaMalloc(void** place, size_t bytes) {
    Locked held(lock);
    if (refused("cudaMalloc")) return last;
    *place = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (*place == MAP_FAILED) return failed(cudaErrorMemoryAllocation);
    device_memory[static_cast<char*>(*place)] = bytes;
    used += bytes;
    traced("cudaMalloc");
    return cudaSuccess;
}
ENTRY cudaError_t cudaFree(void* place) {
    Locked held(lock);
    if (refused("cudaFree")) return last;
    auto block = device_memory.find(static_cast<char*>(place));
    if (block == device_memory.end()) return cudaSuccess;
    munmap(place, block->second);
    used -= block->second;
    device_memory.erase(block);
    return cudaSuccess;
}
ENTRY cudaError_t cudaMallocAsync(void** place, size_t bytes, cudaStream_t) { return cudaMalloc(place, bytes); }
ENTRY cudaError_t cudaFreeAsync(void* place, cudaStream_t) { return cudaFree(place); }
ENTRY cudaError_t cudaHostAlloc(void** place, size_t bytes, unsigned) {
    Locked held(lock);
    if (refused("cudaHostAlloc")) return last;
    *place = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    pinned_memory[static_cast<char*>(*place)] = bytes;
    traced("cudaHostAlloc");
    return cudaSuccess;
}
ENTRY cudaError_t cudaFreeHost(void* place) {
    Locked held(lock);
    if (refused("cudaFreeHost")) return last;
    pinned_memory.erase(static_cast<char*>(place));
    std::free(place);
    return cudaSuccess;
}
ENTRY cudaError_t cudaHostRegister(void*, size_t, unsigned) { return refused("cudaHostRegister") ? last : cudaSuccess; }
ENTRY cudaError_t cudaHostUnregister(void*) { return refused("cudaHostUnregister") ? last : cudaSuccess; }
ENTRY cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* address) {
    std::memset(found, 0, sizeof *found);
    found->type = cudaMemoryTypeUnregistered;
    if (is_device(address)) found->type = cudaMemoryTypeDevice;
    if (is_pinned(address)) found->type = cudaMemoryTypeHost, found->hostPointer = const_cast<void*>(address);
    if (found->type != cudaMemoryTypeUnregistered) found->devicePointer = const_cast<void*>(address);
    return cudaSuccess;
}

namespace {
// To host memory come zeros; see the head of this file.
void move(void* to, const void* from, size_t bytes, bool to_host) {
    if (to_host) std::memset(to, 0, bytes);
    else std::memmove(to, from, bytes);
}
}  // namespace
ENTRY cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
    Locked held(lock);
    bool to_host = !is_device(to), from_host = !is_device(from);
    bool pageable = (to_host && !is_pinned(to)) || (from_host && !is_pinned(from));
    std::string way = std::string(from_host ? "host" : "device") + " to " + (to_host ? "host" : "device");
    if (stream_of(stream)->capturing && pageable) {
        return spoil("in a capture: a copy of pageable memory, " + way, cudaErrorStreamCaptureUnsupported);
    }
    launch(stream, "copy, " + way);
    if (pageable && to_host) traced("SYNC a copy to pageable memory");  // it returns when it is done
    if (!stream_of(stream)->capturing) move(to, from, bytes, to_host);
    return cudaSuccess;
}
ENTRY cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
    cudaError_t error = wait("cudaMemcpy");
    if (error == cudaSuccess) move(to, from, bytes, !is_device(to));
    return error;
}
ENTRY cudaError_t cudaMemcpy2DAsync(
    void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind, cudaStream_t stream) {
    launch(stream, "copy of rows");
    if (stream_of(stream)->capturing) return cudaSuccess;
    bool to_host = !is_device(to);
    for (size_t i = 0; i < height; i++) {
        move(static_cast<char*>(to) + i * to_pitch, static_cast<const char*>(from) + i * from_pitch, width, to_host);
    }
    return cudaSuccess;
}
ENTRY cudaError_t cudaMemsetAsync(void* place, int value, size_t bytes, cudaStream_t stream) {
    launch(stream, "memset");
    if (!stream_of(stream)->capturing) std::memset(place, value, bytes);
    return cudaSuccess;
}
ENTRY cudaError_t cudaMemset(void* place, int value, size_t bytes) {
    if (refused("cudaMemset")) return last;
    std::memset(place, value, bytes);
    return cudaSuccess;
}

// ---- streams and events

ENTRY cudaError_t cudaStreamCreateWithPriority(cudaStream_t* made, unsigned, int) {
    Locked held(lock);
    auto* stream = new Stream{static_cast<int>(streams.size()) + 1};
    streams.insert(stream);
    *made = reinterpret_cast<cudaStream_t>(stream);
    return cudaSuccess;
}
ENTRY cudaError_t cudaStreamCreate(cudaStream_t* made) { return cudaStreamCreateWithPriority(made, 0, 0); }
ENTRY cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
ENTRY cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) { return *priority = 0, cudaSuccess; }
ENTRY cudaError_t cudaStreamQuery(cudaStream_t stream) {
    return stream_of(stream)->capturing ? wait("cudaStreamQuery", stream_of(stream)) : cudaSuccess;
}
ENTRY cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return wait("cudaStreamSynchronize", stream_of(stream)); }

ENTRY cudaError_t cudaEventCreateWithFlags(cudaEvent_t* made, unsigned) {
    *made = reinterpret_cast<cudaEvent_t>(new Event);
    return cudaSuccess;
}
ENTRY cudaError_t cudaEventCreate(cudaEvent_t* made) { return cudaEventCreateWithFlags(made, 0); }
ENTRY cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
ENTRY cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream) {
    Locked held(lock);
    auto* event = reinterpret_cast<Event*>(handle);
    event->recorded = true, event->on = stream_of(stream);
    event->capture = event->on->capturing ? capture.number : 0;
    return cudaSuccess;
}
ENTRY cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) { return cudaEventRecord(event, stream); }
ENTRY cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned) {
    Locked held(lock);
    auto* event = reinterpret_cast<Event*>(event_handle);
    Stream* stream = stream_of(handle);
    if (!is_captured(event)) {
        if (stream->capturing && event->recorded) {
            return spoil("in a capture: waiting for an event from outside", cudaErrorStreamCaptureIsolation);
        }
        return cudaSuccess;
    }
    if (stream == &legacy) {
        return spoil("in a capture: the default stream waits for a captured event", cudaErrorStreamCaptureImplicit);
    }
    if (!stream->capturing) stream->capturing = true;  // it joins the capture
    else if (event->on != stream && !event->on->began) event->on->capturing = false;  // that stream's work is joined
    return cudaSuccess;
}
ENTRY cudaError_t cudaEventQuery(cudaEvent_t handle) {
    Locked held(lock);
    if (is_captured(reinterpret_cast<Event*>(handle))) return spoil("in a capture: a query of its event", cudaErrorCapturedEvent);
    return refused("cudaEventQuery") ? last : cudaSuccess;
}
ENTRY cudaError_t cudaEventSynchronize(cudaEvent_t) { return wait("cudaEventSynchronize"); }
ENTRY cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) { return *milliseconds = 1, cudaSuccess; }

// ---- captures and graphs

ENTRY cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
    int before = own_mode;
    own_mode = *mode;
    *mode = static_cast<cudaStreamCaptureMode>(before);
    return cudaSuccess;
}
ENTRY cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
    Locked held(lock);
    Stream* stream = stream_of(handle);
    stream->capturing = stream->began = true;
    capture = {++captures, mode, pthread_self(), false, new Graph};
    return cudaSuccess;
}
ENTRY cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* made) {
    Locked held(lock);
    Stream* stream = stream_of(handle);
    for (Stream* other : streams) {
        if (other == stream || !other->capturing) continue;
        other->capturing = false;
        spoil("a capture ends before stream " + std::to_string(other->number) + " is joined", cudaErrorStreamCaptureUnjoined);
    }
    stream->capturing = stream->began = false;
    capture.number = 0;
    *made = capture.spoilt ? nullptr : reinterpret_cast<cudaGraph_t>(capture.graph);
    return capture.spoilt ? failed(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
}
ENTRY cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    Locked held(lock);
    *status = cudaStreamCaptureStatusNone;
    if (stream_of(stream)->capturing) {
        *status = capture.spoilt ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
    }
    return cudaSuccess;
}
ENTRY cudaError_t cudaStreamGetCaptureInfo(
    cudaStream_t stream, cudaStreamCaptureStatus* status, unsigned long long* number, cudaGraph_t* graph,
    const cudaGraphNode_t** last_nodes, const cudaGraphEdgeData** edges, size_t* count) {
    cudaStreamIsCapturing(stream, status);
    if (number) *number = stream_of(stream)->capturing ? capture.number : 0;
    if (graph) *graph = reinterpret_cast<cudaGraph_t>(capture.graph);
    if (last_nodes) *last_nodes = nullptr;
    if (edges) *edges = nullptr;
    if (count) *count = 0;
    return cudaSuccess;
}
ENTRY cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
    Locked held(lock);
    *made = reinterpret_cast<cudaGraphExec_t>(graph);
    graphs.push_back(reinterpret_cast<Graph*>(graph));
    return cudaSuccess;
}
ENTRY cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
    if (!nodes) *count = reinterpret_cast<Graph*>(graph)->nodes.size();
    return cudaSuccess;
}
ENTRY cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
    launch(stream, "graph of " + std::to_string(reinterpret_cast<Graph*>(graph)->nodes.size()));
    return cudaSuccess;
}
ENTRY cudaError_t cudaGraphDestroy(cudaGraph_t) { return cudaSuccess; }
ENTRY cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) { return cudaSuccess; }
