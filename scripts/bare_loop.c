/* The shortest loop over a runtime, which loop_bars.py holds the native runner against.
 *
 *     bare_loop JOB.json        then a line per turn: seconds; answers nanoseconds per inference
 *
 * It shares the runner's way of opening a model, and nothing of its loop.
 */
#define main runner_main
#include "../native/edgekit_runner.c"
#undef main

int main(int count, char **words) {
    if (count != 2) return 2;
    Job job = read_job(words[1]);
    int onnx = !strcmp(json_text(json_get(job.json, "runtime"), ""), "onnxruntime");
    void (*step)(void) = onnx ? onnx_step : litert_step;
    (onnx ? onnx_load : litert_load)(&job);
    struct timespec a, b;
    double pace = 0.01;
    char line[64];
    static double all[1 << 20];
    for (int n = 0; n < 20; n++) step();
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        int runs = (int)fmin(1 << 20, fmax(3, atof(line) / pace));
        for (int n = 0; n < runs / 10 + 2; n++) step();
        for (int n = 0; n < runs; n++) {
            clock_gettime(CLOCK_MONOTONIC, &a);
            step();
            clock_gettime(CLOCK_MONOTONIC, &b);
            double taken = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
            all[n] = taken;
        }
        for (int n = 0; n < runs; n++) printf("%.0f ", all[n]);
        pace = median(all, (size_t)runs) * 1e-9;
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
