"""The Core ML reference runtime: an ML Program interpreter and its operation kernels."""
