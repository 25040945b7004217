"""Reading model files with nothing but numpy.

The vendors' libraries that write these files are heavy and absent on a device; inspecting a file,
and the Core ML reference runtime, need only to read them.
"""
