// What the parts of the null GPU share: streams, what was seen, and the rules that a capture is held to.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

// Preloaded, these stand before the symbols of the same names in CUDA's own libraries.
#define ENTRY extern "C" __attribute__((visibility("default")))

namespace null_gpu {

constexpr int kMostGridYZ = 65535, kMostThreads = 1024;
constexpr size_t kMostShared = 227 * 1024;  // bytes a block, of an H100
constexpr size_t kMemory = size_t(80) << 30;

struct Stream {
    int number;
    bool capturing = false;
    bool began = false;  // the capture began on this stream; others join it by an event
};

struct Graph {
    std::vector<std::string> nodes;
};

// One lock for everything: autograd launches from threads of its own.
extern std::recursive_mutex lock;
using Locked = std::lock_guard<std::recursive_mutex>;

// A default stream, whichever way it is named, is the legacy one.
Stream* stream_of(void* handle);
// A launch of a kernel, a copy or a library's work: a node of the capture, or an entry of the trace.
void launch(void* stream, const std::string& what);
// Something that a device would have refused, or that is lost from a capture.
void problem(const std::string& what);
// True, with a problem noted and the capture spoilt, if this thread may not make this call just now.
bool refused(const std::string& call);
// A line of the trace, if there is one.
void traced(const std::string& line);
// Why a launch would be refused; empty if it would not.
std::string wrong_size(unsigned x, unsigned y, unsigned z, unsigned threads, size_t shared);
int attribute(int number);
bool is_device(const void* address);
bool is_pinned(const void* address);

}  // namespace null_gpu
