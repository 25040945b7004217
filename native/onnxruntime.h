/* ONNX Runtime through its C interface, without its headers.
 *
 * The interface is a table of functions that only ever grows at its end; these are places in it,
 * counted in onnxruntime_c_api.h from CreateStatus, which is 0.  It is the same in every release
 * since 1.0, and is asked for as version 1.
 */
enum {
    ORT_GET_ERROR = 2, ORT_CREATE_ENV = 3, ORT_CREATE_SESSION = 7, ORT_RUN = 9,
    ORT_CREATE_OPTIONS = 10, ORT_INTRA_THREADS = 24, ORT_INTER_THREADS = 25,
    ORT_WRAP_TENSOR = 49, ORT_TENSOR_DATA = 51, ORT_ELEMENT_TYPE = 60, ORT_ELEMENT_COUNT = 64,
    ORT_TYPE_AND_SHAPE = 65, ORT_CPU_MEMORY = 69,
};

typedef void *Handle;
typedef Handle Status;
typedef struct {
    const void *const *(*get_api)(uint32_t);
    const char *(*get_version)(void);
} OrtBase;

static const void *const *ort;
static Handle ort_session, ort_inputs[MAX_TENSORS], ort_outputs[MAX_TENSORS];
static const char *ort_input_names[MAX_TENSORS];
static const Job *ort_job;
static Status (*ort_run)(Handle, Handle, const char *const *, const Handle *, size_t,
                         const char *const *, size_t, Handle *);
static char engine_name[64];

/* ISO C has no conversion from a data pointer to a function pointer, POSIX does. */
#define ORT(place, ...) (*(Status(**)(__VA_ARGS__)) & ort[place])

static void ort_check(Status status, const char *reason) {
    if (status) fail(reason, NULL, "%s", (*(const char *(**)(Handle)) & ort[ORT_GET_ERROR])(status));
}

static void onnx_load(const Job *job) {
    void *file = library("EDGEKIT_ONNXRUNTIME", "libonnxruntime.so");
    if (!file) fail("runtime_missing", "Put libonnxruntime.so beside edgekit_runner.", "%s", dlerror());
    const OrtBase *(*base)(void);
    *(void **)&base = dlsym(file, "OrtGetApiBase");
    if (!base || !(ort = base()->get_api(1))) fail("runtime_missing", NULL, "This is no ONNX Runtime.");
    snprintf(engine_name, sizeof engine_name, "ONNX Runtime %.20s (C)", base()->get_version());
    Handle env, options, memory;
    int threads = (int)json_number(json_get(job->json, "threads"), 1);
    ort_check(ORT(ORT_CREATE_ENV, int, const char *, Handle *)(3, "edgekit", &env), "load_failed");
    ort_check(ORT(ORT_CREATE_OPTIONS, Handle *)(&options), "load_failed");
    ort_check(ORT(ORT_INTRA_THREADS, Handle, int)(options, threads), "load_failed");
    ort_check(ORT(ORT_INTER_THREADS, Handle, int)(options, 1), "load_failed");
    ort_check(ORT(ORT_CREATE_SESSION, Handle, const char *, Handle, Handle *)(env, job->model, options,
                                                                              &ort_session),
              "load_failed");
    ort_check(ORT(ORT_CPU_MEMORY, int, int, Handle *)(1, 0, &memory), "load_failed");
    for (size_t n = 0; n < job->input_count; n++) {
        const Tensor *each = &job->inputs[n];
        ort_input_names[n] = each->name;
        ort_check(ORT(ORT_WRAP_TENSOR, Handle, void *, size_t, const int64_t *, size_t, int, Handle *)(
                      memory, each->data, each->bytes, each->shape, each->rank,
                      type_named(each->dtype)->onnx, &ort_inputs[n]),
                  "bad_input");
    }
    *(const void **)&ort_run = ort[ORT_RUN];
    ort_job = job;
}

/* The first run makes the outputs; later ones write into them. */
static void onnx_step(void) {
    Status status = ort_run(ort_session, NULL, ort_input_names, ort_inputs, ort_job->input_count,
                            ort_job->outputs, ort_job->output_count, ort_outputs);
    if (status) ort_check(status, "run_failed");
}

static const void *onnx_output(size_t index, size_t *bytes) {
    Handle about;
    void *data;
    int kind = 0;
    size_t count = 0;
    ort_check(ORT(ORT_TYPE_AND_SHAPE, Handle, Handle *)(ort_outputs[index], &about), "outputs_failed");
    ort_check(ORT(ORT_ELEMENT_TYPE, Handle, int *)(about, &kind), "outputs_failed");
    ort_check(ORT(ORT_ELEMENT_COUNT, Handle, size_t *)(about, &count), "outputs_failed");
    ort_check(ORT(ORT_TENSOR_DATA, Handle, void **)(ort_outputs[index], &data), "outputs_failed");
    *bytes = 0;
    for (size_t n = 0; n < sizeof TYPES / sizeof *TYPES; n++)
        if (TYPES[n].onnx == kind) *bytes = count * TYPES[n].bytes;
    if (!*bytes) fail("outputs_failed", NULL, "The native runner cannot keep outputs of type %d.", kind);
    return data;
}
