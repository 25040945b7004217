/* LiteRT through its C interface (compiled models), without its headers.  Tried with 2.3. */
typedef int LiteStatus;
enum { LITE_CPU = 1, LITE_READ = 0, LITE_WRITE = 1 };

static void *lite_file;
static Handle lite_model, lite_inputs[MAX_TENSORS], lite_outputs[MAX_TENSORS];
static size_t lite_input_count, lite_output_count;
static const char *lite_output_names[MAX_TENSORS];
static const Job *lite_job;
static LiteStatus (*lite_run)(Handle, size_t, size_t, Handle *, size_t, Handle *);

static void *lite(const char *name) {
    void *found = dlsym(lite_file, name);
    if (!found) fail("runtime_missing", "It needs LiteRT 2.3.", "This LiteRT has no %s.", name);
    return found;
}

#define LITE(name, ...) (*(LiteStatus(*)(__VA_ARGS__))lite(#name))

static void lite_check(LiteStatus status, const char *reason, const char *deed) {
    if (status) fail(reason, NULL, "LiteRT cannot %s: status %d.", deed, status);
}

static void lite_keep(void *payload) {
    (void)payload; /* it lives as long as the program */
}

static Handle lite_options(int threads) {
    static char text[32];
    Handle options, processor;
    snprintf(text, sizeof text, "num_threads = %d\n", threads);
    lite_check(LITE(LiteRtCreateOptions, Handle *)(&options), "load_failed", "make options");
    lite_check(LITE(LiteRtSetOptionsHardwareAccelerators, Handle, int)(options, LITE_CPU), "load_failed",
               "choose the CPU");
    lite_check(LITE(LiteRtCreateOpaqueOptions, const char *, void *, void (*)(void *), Handle *)(
                   "xnnpack", text, lite_keep, &processor),
               "load_failed", "make options");
    lite_check(LITE(LiteRtAddOpaqueOptions, Handle, Handle)(options, processor), "load_failed",
               "take options");
    return options;
}

/* Makes the buffer of a tensor as the compiled model wants it; returns its name. */
static const char *lite_buffer(Handle env, Handle signature, size_t index, int input, Handle *buffer) {
    Handle tensor, wanted;
    const char *name = "";
    static _Alignas(16) char type[1024]; /* a ranked tensor's type, which is far smaller */
    if (input) {
        LITE(LiteRtGetSignatureInputName, Handle, size_t, const char **)(signature, index, &name);
        lite_check(LITE(LiteRtGetSignatureInputTensorByIndex, Handle, size_t, Handle *)(signature, index, &tensor),
                   "load_failed", "find an input");
        lite_check(LITE(LiteRtGetCompiledModelInputBufferRequirements, Handle, size_t, size_t, Handle *)(
                       lite_model, 0, index, &wanted), "load_failed", "say how an input is stored");
    } else {
        LITE(LiteRtGetSignatureOutputName, Handle, size_t, const char **)(signature, index, &name);
        lite_check(LITE(LiteRtGetSignatureOutputTensorByIndex, Handle, size_t, Handle *)(signature, index, &tensor),
                   "load_failed", "find an output");
        lite_check(LITE(LiteRtGetCompiledModelOutputBufferRequirements, Handle, size_t, size_t, Handle *)(
                       lite_model, 0, index, &wanted), "load_failed", "say how an output is stored");
    }
    lite_check(LITE(LiteRtGetRankedTensorType, Handle, void *)(tensor, type), "load_failed",
               "tell a tensor's type");
    lite_check(LITE(LiteRtCreateManagedTensorBufferFromRequirements, Handle, const void *, Handle, Handle *)(
                   env, type, wanted, buffer), "load_failed", "make a buffer");
    return name;
}

static void lite_fill(Handle buffer, const Tensor *tensor) {
    void *aim;
    size_t room = 0;
    lite_check(LITE(LiteRtGetTensorBufferPackedSize, Handle, size_t *)(buffer, &room), "bad_input",
               "tell a buffer's size");
    if (room != tensor->bytes)
        fail("bad_input", NULL, "%s has %zu bytes, and the model takes %zu.", tensor->name,
             tensor->bytes, room);
    lite_check(LITE(LiteRtLockTensorBuffer, Handle, void **, int)(buffer, &aim, LITE_WRITE), "bad_input",
               "open a buffer");
    memcpy(aim, tensor->data, tensor->bytes);
    LITE(LiteRtUnlockTensorBuffer, Handle)(buffer);
}

static void litert_load(const Job *job) {
    if (!(lite_file = library("EDGEKIT_LITERT", "libLiteRt.so")))
        fail("runtime_missing", "Put libLiteRt.so beside edgekit_runner.", "%s", dlerror());
    if (json_get(job->json, "delegate") && json_get(job->json, "delegate")->kind == '"')
        fail("unsupported_job", "Use the Python agent.", "The native runner takes no delegate.");
    Handle env, file, signature;
    lite_check(LITE(LiteRtCreateEnvironment, int, const void *, Handle *)(0, NULL, &env), "load_failed", "start");
    lite_check(LITE(LiteRtCreateModelFromFile, Handle, const char *, Handle *)(env, job->model, &file),
               "load_failed", "read the model");
    Handle options = lite_options((int)json_number(json_get(job->json, "threads"), 1));
    lite_check(LITE(LiteRtCreateCompiledModel, Handle, Handle, Handle, Handle *)(env, file, options, &lite_model),
               "load_failed", "compile the model");
    lite_check(LITE(LiteRtGetModelSignature, Handle, size_t, Handle *)(file, 0, &signature), "load_failed",
               "find the signature");
    LITE(LiteRtGetNumSignatureInputs, Handle, size_t *)(signature, &lite_input_count);
    LITE(LiteRtGetNumSignatureOutputs, Handle, size_t *)(signature, &lite_output_count);
    if (lite_input_count > MAX_TENSORS || lite_output_count > MAX_TENSORS)
        fail("unsupported_job", NULL, "The model has too many inputs or outputs.");
    for (size_t n = 0; n < lite_input_count; n++) {
        const char *name = lite_buffer(env, signature, n, 1, &lite_inputs[n]);
        size_t found = 0;
        while (found < job->input_count && strcmp(job->inputs[found].name, name)) found++;
        if (found == job->input_count) fail("bad_input", NULL, "The job has no input %s.", name);
        lite_fill(lite_inputs[n], &job->inputs[found]);
    }
    for (size_t n = 0; n < lite_output_count; n++)
        lite_output_names[n] = lite_buffer(env, signature, n, 0, &lite_outputs[n]);
    *(void **)&lite_run = lite("LiteRtRunCompiledModel");
    lite_job = job;
}

static void litert_step(void) {
    LiteStatus status = lite_run(lite_model, 0, lite_input_count, lite_inputs, lite_output_count, lite_outputs);
    if (status) lite_check(status, "run_failed", "run the model");
}

static const void *litert_output(size_t index, size_t *bytes) {
    void *data;
    size_t found = 0;
    while (found < lite_output_count && strcmp(lite_output_names[found], lite_job->outputs[index])) found++;
    if (found == lite_output_count) fail("outputs_failed", NULL, "There is no output %s.", lite_job->outputs[index]);
    lite_check(LITE(LiteRtGetTensorBufferPackedSize, Handle, size_t *)(lite_outputs[found], bytes), "outputs_failed",
               "tell an output's size");
    lite_check(LITE(LiteRtLockTensorBuffer, Handle, void **, int)(lite_outputs[found], &data, LITE_READ),
               "outputs_failed", "open an output");
    char *copy = malloc(*bytes);
    memcpy(copy, data, *bytes);
    LITE(LiteRtUnlockTensorBuffer, Handle)(lite_outputs[found]);
    return copy;
}
