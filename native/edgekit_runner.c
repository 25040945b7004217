/* edgekit's native runner: measures a model file on devices without Python.
 *
 *     edgekit_runner facts
 *     edgekit_runner run JOB.json
 *
 * It takes the jobs and says the lines that edgekit/benchmarks/job.py describes, as far as it can:
 * scenario single-stream, seeded inputs or raw files, turns.  Another wish is the error
 * unsupported_job.  ONNX Runtime and LiteRT are opened at run time, through their C interfaces, so
 * that neither headers nor libraries are needed to build it:
 *
 *     scripts/build_runner.sh            (any C compiler, the Android NDK's too)
 *
 * A library is looked for where EDGEKIT_ONNXRUNTIME or EDGEKIT_LITERT say, else beside this program.
 */
#define _GNU_SOURCE
#include "json.h"

#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { MAX_TENSORS = 64, MAX_RANK = 16, WINDOWS = 8, CHUNK_MS = 250 };

typedef struct {
    const char *name, *dtype, *file;
    int64_t shape[MAX_RANK];
    size_t rank, elements, bytes;
    uint64_t seed;
    void *data;
} Tensor;

typedef struct {
    const Json *json;
    const char *run_id, *model, *folder;
    Tensor inputs[MAX_TENSORS];
    const char *outputs[MAX_TENSORS];
    size_t input_count, output_count;
} Job;

static double began;
static const char *run_id = "";

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

/* -- Saying -------------------------------------------------------------------------------------- */

static void put_text(const char *text) {
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') printf("\\%c", *c);
        else if (*c < 0x20 || *c == 0x7f) printf("\\u%04x", *c);
        else putchar(*c);
    }
    putchar('"');
}

static void open_line(const char *event) {
    printf("{\"event\": \"%s\"", event);
    if (*run_id) {
        printf(", \"run_id\": ");
        put_text(run_id);
    }
}

static void close_line(void) {
    printf("}\n");
    fflush(stdout);
}

static void fail(const char *reason, const char *hint, const char *format, ...) {
    char message[600];
    va_list rest;
    va_start(rest, format);
    vsnprintf(message, sizeof message, format, rest);
    va_end(rest);
    open_line("error");
    printf(", \"reason\": \"%s\", \"message\": ", reason);
    put_text(message);
    printf(", \"hint\": ");
    if (hint) put_text(hint);
    else printf("null");
    close_line();
    exit(1);
}

static void say_samples(const char *series, double at, int batch, const double *taken, size_t count,
                        long session) {
    open_line("samples");
    printf(", \"series\": \"%s\", \"t\": %.6f, \"batch\": %d, \"seconds\": [", series, at, batch);
    for (size_t n = 0; n < count; n++) printf("%s%.10g", n ? ", " : "", taken[n]);
    printf("]");
    if (session >= 0) printf(", \"session\": %ld", session);
    close_line();
}

/* -- The machine --------------------------------------------------------------------------------- */

static int read_text(const char *path, char *text, size_t room) {
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    size_t count = fread(text, 1, room - 1, file);
    fclose(file);
    text[count] = 0;
    text[strcspn(text, "\n")] = 0;
    return count > 0;
}

static long status_kb(const char *key) {
    char line[256];
    long found = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, key, strlen(key))) found = atol(line + strlen(key) + 1);
    fclose(file);
    return found;
}

/* What many files hold, under the names that the agent's Probe gives it. */
typedef struct {
    const char *name, *value, *label, *place, *missing;
    double scale; /* 0: a word, not a number */
} Reading;

#define ZONE "/sys/class/thermal/thermal_zone%d/"
#define POLICY "/sys/devices/system/cpu/cpufreq/policy%d/"
static const Reading READINGS[] = {
    {"temperature_c", ZONE "temp", ZONE "type", "%d", "no thermal zone can be read", 1e-3},
    {"frequency_hz", POLICY "scaling_cur_freq", NULL, "policy%d", "cpufreq tells no frequency", 1e3},
    {"governor", POLICY "scaling_governor", NULL, "policy%d", "cpufreq tells no governor", 0},
};
enum { READING_COUNT = sizeof READINGS / sizeof *READINGS, PLACES = 64 };
static const char *const UNREAD[] = {"throttled", "energy_j", "power_w", "other_cpu",
                                     "memory_available_bytes"};

static int read_at(const char *pattern, int place, char *text, size_t room) {
    char path[200];
    snprintf(path, sizeof path, pattern, place);
    return read_text(path, text, room);
}

/* Writes a reading's values by the names of their places; returns how many there are. */
static int put_reading(const Reading *reading) {
    char text[64], label[64], other[64], place[16];
    int found = 0;
    for (int n = 0; n < PLACES; n++) {
        if (!read_at(reading->value, n, text, sizeof text)) continue;
        if (!found++) printf(", \"%s\": {", reading->name);
        else printf(", ");
        snprintf(place, sizeof place, reading->place, n);
        if (!reading->label || !read_at(reading->label, n, label, sizeof label - sizeof place - 1))
            strcpy(label, place);
        else
            for (int m = 0; m < n; m++) /* several zones may be of one type */
                if (read_at(reading->label, m, other, sizeof other) && !strcmp(other, label)) {
                    strcat(strcat(label, " "), place);
                    break;
                }
        put_text(label);
        printf(": ");
        if (reading->scale == 0) put_text(text);
        else printf("%.6g", atof(text) * reading->scale);
    }
    if (found) printf("}");
    return found;
}

static int put_battery(void) {
    static const char *const names[] = {"battery", "BAT0", "BAT1"};
    char path[100], text[64];
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        snprintf(path, sizeof path, "/sys/class/power_supply/%s/capacity", names[n]);
        if (!read_text(path, text, sizeof text)) continue;
        printf(", \"battery\": {\"percent\": %g", atof(text));
        snprintf(path, sizeof path, "/sys/class/power_supply/%s/status", names[n]);
        if (read_text(path, text, sizeof text)) {
            printf(", \"status\": ");
            put_text(text);
        }
        snprintf(path, sizeof path, "/sys/class/power_supply/%s/temp", names[n]);
        if (read_text(path, text, sizeof text))
            printf(", \"temperature_c\": %.6g", atof(text) * 0.1);
        printf("}");
        return 1;
    }
    return 0;
}

static void say_state(const char *when) {
    const char *missing[READING_COUNT];
    double load = 0;
    int battery;
    open_line("state");
    printf(", \"when\": \"%s\", \"t\": %.6f", when, now() - began);
    for (int n = 0; n < READING_COUNT; n++)
        missing[n] = put_reading(READINGS + n) ? NULL : READINGS[n].missing;
    battery = put_battery();
    if (getloadavg(&load, 1) == 1) printf(", \"load\": %.2f", load);
    printf(", \"not_run\": {");
    for (size_t n = 0; n < sizeof UNREAD / sizeof *UNREAD; n++)
        printf("%s\"%s\": \"the native runner does not read it\"", n ? ", " : "", UNREAD[n]);
    for (int n = 0; n < READING_COUNT; n++)
        if (missing[n]) printf(", \"%s\": \"%s\"", READINGS[n].name, missing[n]);
    if (!battery) printf(", \"battery\": \"there is no battery, or it may not be read\"");
    printf("}");
    close_line();
}

static void *library(const char *variable, const char *name) {
    const char *given = getenv(variable);
    return dlopen(given && *given ? given : name, RTLD_NOW | RTLD_LOCAL);
}

static void say_facts(void) {
    struct utsname about;
    struct timespec step;
    char model[256] = "";
    uname(&about);
    clock_getres(CLOCK_MONOTONIC, &step);
    read_text("/proc/device-tree/model", model, sizeof model);
    open_line("facts");
    printf(", \"agent\": 1, \"kind\": \"native\", \"system\": \"%s %s\", \"architecture\": \"%s\"",
           about.sysname, about.release, about.machine);
    printf(", \"model\": ");
    put_text(model);
    printf(", \"processor\": \"%s\", \"cores\": %ld", about.machine, sysconf(_SC_NPROCESSORS_ONLN));
    printf(", \"runtimes\": {\"onnxruntime\": {\"installed\": %s}, \"litert\": {\"installed\": %s}}",
           library("EDGEKIT_ONNXRUNTIME", "libonnxruntime.so") ? "true" : "false",
           library("EDGEKIT_LITERT", "libLiteRt.so") ? "true" : "false");
    printf(", \"clock\": {\"name\": \"CLOCK_MONOTONIC\", \"resolution_s\": %g}",
           (double)step.tv_sec + (double)step.tv_nsec * 1e-9);
    close_line();
}

/* -- The job ------------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    int onnx; /* ONNXTensorElementDataType */
    size_t bytes;
} Type;

static const Type TYPES[] = {
    {"float32", 1, 4}, {"uint8", 2, 1},   {"int8", 3, 1},    {"uint16", 4, 2},
    {"int16", 5, 2},   {"int32", 6, 4},   {"int64", 7, 8},   {"bool", 9, 1},
    {"float64", 11, 8}, {"uint32", 12, 4}, {"uint64", 13, 8},
};

static const Type *type_named(const char *name) {
    for (size_t n = 0; n < sizeof TYPES / sizeof *TYPES; n++)
        if (!strcmp(TYPES[n].name, name)) return &TYPES[n];
    fail("unsupported_job", "Use the Python agent.", "The native runner has no %s tensors.", name);
    return NULL;
}

static const char *path_in(const char *folder, const char *name) {
    if (*name == '/' || !*folder) return name;
    char *path = malloc(strlen(folder) + strlen(name) + 2);
    sprintf(path, "%s/%s", folder, name);
    return path;
}

/* splitmix64, as `seeded` in edgekit/device_agent.py explains. */
static uint64_t mixed(uint64_t state) {
    state = (state + 1) * 0x9E3779B97F4A7C15ULL;
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9ULL;
    state = (state ^ (state >> 27)) * 0x94D049BB133111EBULL;
    return state ^ (state >> 31);
}

static void fill_seeded(Tensor *tensor) {
    size_t size = tensor->bytes / (tensor->elements ? tensor->elements : 1);
    for (size_t n = 0; n < tensor->elements; n++) {
        uint64_t bits = mixed((tensor->seed << 32) + n);
        double real = (double)(bits >> 40) / 8388608.0 - 1.0;
        if (!strcmp(tensor->dtype, "float32")) ((float *)tensor->data)[n] = (float)real;
        else if (!strcmp(tensor->dtype, "float64")) ((double *)tensor->data)[n] = real;
        else ((unsigned char *)tensor->data)[n * size] = (unsigned char)(bits & 1); /* little-endian */
    }
}

static void fill_from_file(Tensor *tensor, const char *folder) {
    const char *path = path_in(folder, tensor->file);
    FILE *file = fopen(path, "rb");
    size_t start = 0;
    unsigned char head[10];
    if (!file) fail("bad_input", NULL, "%s: there is no file %s.", tensor->name, path);
    if (fread(head, 1, 10, file) == 10 && !memcmp(head, "\x93NUMPY\x01", 7))
        start = 10 + head[8] + 256u * head[9]; /* the header says what the job says as well */
    fseek(file, (long)start, SEEK_SET);
    if (fread(tensor->data, 1, tensor->bytes, file) != tensor->bytes)
        fail("bad_input", NULL, "%s: %s holds fewer than %zu bytes.", tensor->name, path,
             tensor->bytes);
    fclose(file);
}

static void read_input(Tensor *tensor, const Json *entry, const char *folder) {
    const Json *shape = json_get(entry, "shape");
    tensor->name = json_text(json_get(entry, "name"), "");
    tensor->dtype = json_text(json_get(entry, "dtype"), "");
    tensor->file = json_text(json_get(entry, "file"), NULL);
    tensor->seed = (uint64_t)json_number(json_get(entry, "seed"), 0);
    tensor->elements = 1;
    for (const Json *each = shape ? shape->child : NULL; each; each = each->next) {
        if (tensor->rank == MAX_RANK) fail("unsupported_job", NULL, "%s has too many axes.", tensor->name);
        tensor->shape[tensor->rank++] = (int64_t)each->number;
        tensor->elements *= (size_t)each->number;
    }
    tensor->bytes = tensor->elements * type_named(tensor->dtype)->bytes;
    tensor->data = aligned_alloc(64, (tensor->bytes / 64 + 1) * 64);
    memset(tensor->data, 0, tensor->bytes);
    if (tensor->file) fill_from_file(tensor, folder);
    else fill_seeded(tensor);
}

static Job read_job(const char *name) {
    Job job = {0};
    char *text = strcmp(name, "-") ? json_file(name) : json_line(stdin);
    job.json = text ? json_parse(text) : NULL;
    if (!job.json) fail("unsupported_job", NULL, "The job %s cannot be read.", name);
    run_id = job.run_id = json_text(json_get(job.json, "run_id"), "");
    const char *given = json_text(json_get(job.json, "folder"), NULL);
    char *slash = strrchr(name, '/');
    job.folder = given ? given : slash ? strndup(name, (size_t)(slash - name)) : "";
    job.model = path_in(job.folder, json_text(json_get(job.json, "model"), ""));
    const char *scenario = json_text(json_get(json_get(job.json, "scenario"), "name"), "");
    if (json_number(json_get(job.json, "schema_version"), 0) != 1 || json_get(job.json, "rivals"))
        fail("unsupported_job", "Use the Python agent.", "The native runner cannot take this job.");
    if (strcmp(scenario, "single-stream"))
        fail("unsupported_job", "Use the Python agent.", "The native runner has no scenario %s.",
             scenario);
    if (json_number(json_get(job.json, "cold"), 0) > 0)
        fail("unsupported_job", "Use the Python agent.", "The native runner starts no processes.");
    const Json *inputs = json_get(job.json, "inputs"), *outputs = json_get(job.json, "outputs");
    for (const Json *each = inputs ? inputs->child : NULL; each; each = each->next) {
        if (job.input_count == MAX_TENSORS) fail("unsupported_job", NULL, "Too many inputs.");
        read_input(&job.inputs[job.input_count++], each, job.folder);
    }
    for (const Json *each = outputs ? outputs->child : NULL; each; each = each->next) {
        if (job.output_count == MAX_TENSORS) fail("unsupported_job", NULL, "Too many outputs.");
        job.outputs[job.output_count++] = json_text(json_get(each, "name"), "");
    }
    if (access(job.model, R_OK)) fail("model_missing", NULL, "There is no file %s.", job.model);
    return job;
}

/* -- Engines -------------------------------------------------------------------------------------- */

typedef struct {
    void (*load)(const Job *);
    void (*step)(void);
    /* Hands out the bytes of an output, its type and shape. */
    const void *(*output)(size_t index, size_t *bytes);
    char name[64];
} Engine;

#include "onnxruntime.h"

#include "litert.h"

/* -- The loop -------------------------------------------------------------------------------------- */

static void timed(const Engine *engine, double *taken, size_t count, int batch) {
    void (*step)(void) = engine->step;
    for (size_t n = 0; n < count; n++) {
        double start = now();
        for (int k = 0; k < batch; k++) step();
        taken[n] = (now() - start) / batch;
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, size_t count) {
    double sorted[4096];
    if (count > 4096) count = 4096;
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, by_size);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

/* As `steady` in edgekit/device_agent.py explains. */
static int steady(const double *windows, size_t count) {
    double hops[WINDOWS - 1];
    if (count < WINDOWS) return 0;
    const double *last = windows + count - WINDOWS;
    for (int n = 0; n < WINDOWS - 1; n++) hops[n] = fabs(last[n + 1] - last[n]);
    double older = median(last, WINDOWS / 2), newer = median(last + WINDOWS / 2, WINDOWS / 2);
    double error = 1.2533 * 1.4826 * median(hops, WINDOWS - 1) / sqrt(2.0) * sqrt(2.0 / (WINDOWS / 2));
    return fabs(newer - older) <= fmax(0.01 * older, error);
}

typedef struct {
    double seconds;
    int batch;
} Pace;

static Pace pace_of(double seconds, double planned, double most) {
    double fine = 500 * 50e-9 / fmax(seconds, 1e-9); /* a reading of the clock takes about 50 ns */
    double few = planned / fmax(seconds, 1e-9) / most;
    return (Pace){seconds, (int)fmax(1, ceil(fmax(fine, few)))};
}

static Pace warm_up(const Engine *engine, const Job *job) {
    const Json *policy = json_get(job->json, "warmup");
    double longest = json_number(json_get(policy, "max_s"), 3), least = json_number(json_get(policy, "min_s"), 0.1);
    double planned = json_number(json_get(job->json, "min_s"), 0);
    double most = json_number(json_get(job->json, "max_samples"), 1e5);
    static double windows[4096], window[4096];
    size_t count = 0, runs = 0;
    double start = now(), length = fmax(least / WINDOWS, 5e-3), typical = 1e-3;
    Pace pace = pace_of(1, planned, most);
    while (now() - start < longest && count < 4096) {
        size_t taken = 0;
        double end = now() + length;
        while ((now() < end || taken < 3) && taken < 4096) timed(engine, window + taken++, 1, pace.batch);
        runs += taken;
        windows[count++] = typical = median(window, taken);
        if (count == 1) pace = pace_of(typical, planned, most);
        if (now() - start >= least && steady(windows, count)) break;
    }
    open_line("warmup");
    printf(", \"seconds\": [");
    for (size_t n = 0; n < count; n++) printf("%s%.10g", n ? ", " : "", windows[n]);
    int found = steady(windows, count);
    printf("], \"runs\": %zu, \"batch\": %d, \"steady\": %s, \"why\": \"%s\"", runs, pace.batch,
           found ? "true" : "false", found ? "steady" : longest > 0 ? "not steady in time" : "no warm-up was asked for");
    close_line();
    return pace_of(typical, planned, most);
}

static void sample(const Engine *engine, const Job *job, Pace pace) {
    double most_s = json_number(json_get(job->json, "sustained_s"), 0);
    double least = fmax(json_number(json_get(job->json, "min_s"), 0), most_s);
    double longest = fmax(json_number(json_get(job->json, "max_s"), 60), most_s);
    size_t wanted = (size_t)json_number(json_get(job->json, "runs"), 50), done = 0, room = 1u << 20;
    double *taken = malloc(room * sizeof *taken), start = now(), state = start + 1;
    while (1) {
        double gone = now() - start;
        if ((done >= wanted && gone >= least) || (done && gone >= longest)) break;
        double each = pace.seconds * pace.batch;
        size_t chunk = (size_t)(CHUNK_MS * 1e-3 / each), need = done < wanted ? wanted - done : 0;
        size_t left = (size_t)(fmax(0, fmin(CHUNK_MS * 1e-3, least - gone)) / each);
        size_t count = need > left ? need : left;
        if (count > chunk) count = chunk;
        if (count < 1) count = 1;
        if (count > room) count = room;
        if (pace.seconds < CHUNK_MS * 1e-4) engine->step(); /* saying something has cooled the caches */
        double at = now();
        timed(engine, taken, count, pace.batch);
        pace.seconds = (now() - at) / (double)count / pace.batch;
        say_samples("latency", at - began, pace.batch, taken, count, -1);
        done += count;
        if (now() >= state) {
            say_state("during");
            state = now() + 1;
        }
    }
    free(taken);
}

static void take_turns(const Engine *engine, Pace pace) {
    static double taken[1 << 20];
    char *line;
    open_line("state");
    printf(", \"when\": \"ready\", \"t\": %.6f, \"pace_s\": %g", now() - began, pace.seconds);
    close_line();
    while ((line = json_line(stdin))) {
        const Json *turn = json_parse(line);
        double count = json_number(json_get(turn, "seconds"), 0) / (pace.seconds * pace.batch);
        size_t samples = count < 3 ? 3 : count > (1 << 20) ? 1 << 20 : (size_t)count;
        timed(engine, taken, samples / 10 < 2 ? 2 : samples / 10, pace.batch);
        double at = now();
        timed(engine, taken, samples, pace.batch);
        pace.seconds = median(taken, samples);
        say_samples("latency", at - began, pace.batch, taken, samples,
                    (long)json_number(json_get(turn, "session"), 0));
        free(line);
    }
}

static void nothing(void) {}

static void say_overhead(void) {
    static double taken[1200];
    Engine empty = {.step = nothing};
    timed(&empty, taken, 1200, 1);
    say_samples("overhead", now() - began, 1, taken + 200, 1000, -1);
}

static void keep_outputs(const Engine *engine, const Job *job) {
    const char *given = json_text(json_get(job->json, "outputs_folder"), NULL);
    if (!given) return;
    const char *folder = path_in(job->folder, given);
    char path[1024];
    mkdir(folder, 0700);
    open_line("outputs");
    printf(", \"files\": [");
    for (size_t n = 0; n < job->output_count; n++) {
        size_t bytes = 0;
        const void *data = engine->output(n, &bytes);
        snprintf(path, sizeof path, "%s/out%zu.raw", folder, n);
        FILE *file = fopen(path, "wb");
        if (!file || fwrite(data, 1, bytes, file) != bytes)
            fail("outputs_failed", NULL, "%s cannot be written.", path);
        fclose(file);
        printf("%s\"out%zu.raw\"", n ? ", " : "", n);
    }
    printf("]");
    close_line();
}

static void run(const char *name) {
    Job job = read_job(name);
    const char *runtime = json_text(json_get(job.json, "runtime"), "");
    Engine engine = {0};
    if (!strcmp(runtime, "onnxruntime")) engine = (Engine){onnx_load, onnx_step, onnx_output, "ONNX Runtime"};
    else if (!strcmp(runtime, "litert")) engine = (Engine){litert_load, litert_step, litert_output, "LiteRT (C)"};
    else fail("runtime_missing", "It has onnxruntime and litert.", "The native runner has no %s.", runtime);
    say_facts();
    say_state("before");
    double start = now();
    engine.load(&job);
    open_line("load");
    printf(", \"seconds\": %.9f, \"stages\": {}, \"engine\": ", now() - start);
    put_text(engine_name[0] ? engine_name : engine.name);
    printf(", \"peak_rss_bytes\": %ld", status_kb("VmHWM:") * 1024);
    close_line();
    start = now();
    engine.step();
    double first = now() - start;
    open_line("first");
    printf(", \"seconds\": %.9f", first);
    close_line();
    keep_outputs(&engine, &job);
    if (json_true(json_get(job.json, "placement"))) {
        open_line("placement");
        printf(", \"not_run\": \"the native runner does not ask where nodes run\"");
        close_line();
    }
    Pace pace = warm_up(&engine, &job);
    if (json_true(json_get(job.json, "turns"))) take_turns(&engine, pace);
    else {
        say_state("during");
        sample(&engine, &job, pace);
        say_state("during");
        say_overhead();
        say_state("after");
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    if (json_number(json_get(job.json, "profile"), 0) > 0) {
        open_line("profile");
        printf(", \"not_run\": \"the native runner does not profile\"");
        close_line();
    }
    open_line("done");
    printf(", \"wall_s\": %.6f, \"cpu_s\": %.6f, \"peak_rss_bytes\": %ld", now() - began,
           (double)used.ru_utime.tv_sec + (double)used.ru_utime.tv_usec * 1e-6 +
               (double)used.ru_stime.tv_sec + (double)used.ru_stime.tv_usec * 1e-6,
           status_kb("VmHWM:") * 1024);
    printf(", \"switches\": {\"voluntary\": %ld, \"involuntary\": %ld}", used.ru_nvcsw, used.ru_nivcsw);
    close_line();
}

int main(int count, char **words) {
    began = now();
    setenv("ORT_DISABLE_TELEMETRY", "1", 1);
    if (count == 2 && !strcmp(words[1], "facts")) say_facts();
    else if (count == 3 && !strcmp(words[1], "run")) run(words[2]);
    else {
        fprintf(stderr, "edgekit_runner facts | run JOB.json\n");
        return 2;
    }
    fflush(stdout);
    _exit(0); /* vendors' destructors have nothing to add, and some of them crash */
}
