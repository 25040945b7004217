"""Cases that are known to fail, by format, each with the reason: a limit, or work to be done.

A case that passes after all must be taken out of here; the slow test says so.
"""

FAILURES: dict[str, dict[str, str]] = {
    "onnx": {},
    "tflite": {
        "convolution/conv2d, float16": "with weights that are an input, widened to float32, the "
        "converter turns their axes and not the convolution's",
    },
    "coreml": {"shape/reshape, of empty": "ML Programs have no reshape to a size of 0"},
}
