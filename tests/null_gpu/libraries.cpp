// cuBLAS and cuDNN: a call that computes is a launch on its handle's stream; a description is memory that nobody reads.
//
// Only what this project's steps reach is here. Arguments that are not read are left to the calling convention, which
// lets a variadic function be called with more of them.

#include "device.hpp"

#include <cstdlib>
#include <cstring>

using namespace null_gpu;

namespace {

constexpr int kFine = 0, kNotNow = 1;  // of both libraries' status codes
std::map<void*, void*> stream_of_handle;

int make_handle(void** handle, const char* call) {
    *handle = std::malloc(8);
    return refused(call) ? kNotNow : kFine;
}
int set_stream(void* handle, void* stream) {
    Locked held(lock);
    stream_of_handle[handle] = stream;
    return kFine;
}
int work(void* handle, const std::string& name) {
    Locked held(lock);
    launch(stream_of_handle[handle], name);
    return kFine;
}
int make_description(void** made) { return *made = std::calloc(1, 1024), kFine; }

}  // namespace

// Called with a handle first.
#define WORK(name) \
    ENTRY int name(void* handle, ...) { return work(handle, #name); }
#define DESCRIPTION(name) \
    ENTRY int name(void** made, ...) { return make_description(made); }
#define RELEASE(name) \
    ENTRY int name(void* made) { return std::free(made), kFine; }
#define WORKSPACE(name, ...) \
    ENTRY int name(__VA_ARGS__, size_t* bytes) { return *bytes = 1024, kFine; }

// ---- cuBLAS

ENTRY int cublasCreate_v2(void** handle) { return make_handle(handle, "cublasCreate"); }
ENTRY int cublasSetStream_v2(void* handle, void* stream) { return set_stream(handle, stream); }
ENTRY int cublasGetPointerMode_v2(void*, int* mode) { return *mode = 0, kFine; }
ENTRY int cublasGetMathMode(void*, int* mode) { return *mode = 0, kFine; }
WORK(cublasSgemm_v2)
WORK(cublasDgemm_v2)
WORK(cublasGemmEx)
WORK(cublasSgemmEx)
WORK(cublasGemmStridedBatchedEx)
WORK(cublasSgemmStridedBatched)
WORK(cublasDgemmStridedBatched)
WORK(cublasSgemmBatched)
WORK(cublasSgemv_v2)
WORK(cublasDgemv_v2)
WORK(cublasSdot_v2)
WORK(cublasDotEx)
WORK(cublasStrsm_v2)
WORK(cublasSgetrfBatched)
WORK(cublasSgetrsBatched)

ENTRY size_t cublasLtGetVersion() { return 130100; }
DESCRIPTION(cublasLtMatmulDescCreate)
DESCRIPTION(cublasLtMatrixLayoutCreate)
DESCRIPTION(cublasLtMatmulPreferenceCreate)
RELEASE(cublasLtMatmulDescDestroy)
RELEASE(cublasLtMatrixLayoutDestroy)
RELEASE(cublasLtMatmulPreferenceDestroy)
ENTRY int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, void* result, int* count) {
    std::memset(result, 0, 96);  // an algorithm without a workspace
    return *count = 1, kFine;
}
ENTRY int cublasLtMatmul(
    void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*, void*, void*, void*,
    const void*, void*, size_t, void* stream) {
    return launch(stream, "cublasLtMatmul"), kFine;
}

// ---- cuDNN

ENTRY int cudnnCreate(void** handle) { return make_handle(handle, "cudnnCreate"); }
ENTRY int cudnnSetStream(void* handle, void* stream) { return set_stream(handle, stream); }
ENTRY int cudnnGetStream(void* handle, void** stream) {
    Locked held(lock);
    return *stream = stream_of_handle[handle], kFine;
}
ENTRY size_t cudnnGetVersion() { return 91900; }
ENTRY size_t cudnnGetCudartVersion() { return 13000; }
ENTRY const char* cudnnGetErrorString(int) { return "an error of the null GPU's cuDNN"; }
ENTRY void cudnnGetLastErrorString(char* text, size_t size) {
    if (size) *text = 0;
}
DESCRIPTION(cudnnCreateTensorDescriptor)
DESCRIPTION(cudnnCreateFilterDescriptor)
DESCRIPTION(cudnnCreateConvolutionDescriptor)
DESCRIPTION(cudnnCreateActivationDescriptor)
DESCRIPTION(cudnnCreateDropoutDescriptor)
DESCRIPTION(cudnnCreateSpatialTransformerDescriptor)
WORK(cudnnConvolutionForward)
WORK(cudnnConvolutionBackwardData)
WORK(cudnnConvolutionBackwardFilter)
WORK(cudnnBatchNormalizationForwardTrainingEx)
WORK(cudnnBatchNormalizationForwardInference)
WORK(cudnnBatchNormalizationBackwardEx)
WORK(cudnnSpatialTfGridGeneratorForward)
WORK(cudnnSpatialTfSamplerForward)
WORK(cudnnSpatialTfSamplerBackward)
WORKSPACE(cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize, void*, int, int, void*, void*, void*, void*, void*)
WORKSPACE(cudnnGetBatchNormalizationBackwardExWorkspaceSize, void*, int, int, void*, void*, void*, void*, void*, void*, void*)
WORKSPACE(cudnnGetBatchNormalizationTrainingExReserveSpaceSize, void*, int, int, void*, void*)

// cuDNN's graphs: convolutions are built of descriptors that point at each other. What is known of one is which
// convolution it belongs to, which each learns from those that it is given.
namespace {
constexpr int kDescriptor = 15, kNumber = 3;  // CUDNN_TYPE_BACKEND_DESCRIPTOR, CUDNN_TYPE_INT64
const std::map<int, const char*> kConvolutions = {{10, "forward"}, {11, "by weights"}, {12, "by images"}};
struct Descriptor {
    int kind;
    int convolution = 0;  // the kind of descriptor of the convolution, 0 for none
};
}  // namespace
ENTRY int cudnnBackendCreateDescriptor(int kind, void** made) { return *made = new Descriptor{kind}, kFine; }
ENTRY int cudnnBackendDestroyDescriptor(void*) { return kFine; }
ENTRY int cudnnBackendFinalize(void*) { return kFine; }
ENTRY int cudnnBackendSetAttribute(void* of, int, int type, long count, const void* values) {
    if (type != kDescriptor || count == 0) return kFine;
    auto* given = *static_cast<Descriptor* const*>(values);
    if (!given) return kFine;
    int convolution = kConvolutions.count(given->kind) ? given->kind : given->convolution;
    if (convolution) static_cast<Descriptor*>(of)->convolution = convolution;
    return kFine;
}
ENTRY int cudnnBackendGetAttribute(void* of, int, int type, long most, long* count, void* values) {
    bool known = type == kDescriptor || type == kNumber;
    if (count) *count = known ? 1 : 0;
    if (!known || most == 0 || !values) return kFine;
    if (type == kNumber) *static_cast<long*>(values) = 1;
    else if (auto* found = *static_cast<Descriptor**>(values)) found->convolution = static_cast<Descriptor*>(of)->convolution;
    return kFine;
}
ENTRY int cudnnBackendExecute(void* handle, void* plan, void*) {
    auto found = kConvolutions.find(static_cast<Descriptor*>(plan)->convolution);
    return work(handle, std::string("cudnn convolution ") + (found == kConvolutions.end() ? "unknown" : found->second));
}
