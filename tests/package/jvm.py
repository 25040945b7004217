"""Run a package's Java wrapper on a JVM, its engine replaced by outputs that a test hands over."""

import io
import re
import struct
import subprocess

import numpy as np

from edgekit.packages import _archive
from edgekit.packages._names import camel

HARNESS = """
package {package};

import java.io.*;
import java.nio.file.*;
import java.util.*;

public final class Harness {{
    static DataInputStream in;
    static DataOutputStream out;

    public static void main(String[] arguments) throws Exception {{
        in = new DataInputStream(new BufferedInputStream(new FileInputStream("in.bin")));
        out = new DataOutputStream(new BufferedOutputStream(new FileOutputStream("out.bin")));
        Engine engine = new Engine() {{
            public Map<String, Tensor> run(Map<String, Tensor> feeds) {{
                try {{
                    return outputs();
                }} catch (IOException error) {{
                    throw new UncheckedIOException(error);
                }}
            }}
            public void close() {{}}
        }};
        Assets assets = name -> Files.newInputStream(Paths.get("assets", name));
        try ({name} model = new {name}(engine, assets{variant})) {{
            if (arguments[0].equals("check")) {{
                model.selfCheck();
            }}
            for (int left = in.available() > 0 ? in.readInt() : 0; left > 0; left--) {{
                Map<String, Tensor> feeds = model.prepare({arguments});
                for (String name : new String[] {{{inputs}}}) {{
                    write(feeds.get(name).values());
                }}
                {name}.Prediction found = model.finish(outputs());
                {results}
            }}
        }}
        out.close();
    }}

    static Map<String, Tensor> outputs() throws IOException {{
        Map<String, Tensor> outputs = new HashMap<>();
        for (int left = in.readInt(); left > 0; left--) {{
            String name = in.readUTF();
            String dtype = in.readUTF();
            int[] shape = new int[in.readInt()];
            for (int i = 0; i < shape.length; i++) {{
                shape[i] = in.readInt();
            }}
            outputs.put(name, Tensor.of(dtype, shape, doubles()));
        }}
        return outputs;
    }}

    static double[] doubles() throws IOException {{
        double[] values = new double[in.readInt()];
        for (int i = 0; i < values.length; i++) {{
            values[i] = in.readDouble();
        }}
        return values;
    }}

    static float[] floats() throws IOException {{
        double[] exact = doubles();
        float[] values = new float[exact.length];
        for (int i = 0; i < values.length; i++) {{
            values[i] = (float) exact[i];
        }}
        return values;
    }}

    static Picture picture() throws IOException {{
        int height = in.readInt(), width = in.readInt(), channels = in.readInt();
        byte[] pixels = new byte[height * width * channels];
        in.readFully(pixels);
        return new Picture(height, width, channels, pixels);
    }}

    static String text() throws IOException {{
        byte[] encoded = new byte[in.readInt()];
        in.readFully(encoded);
        return new String(encoded, "UTF-8");
    }}

    static void write(double[] values) throws IOException {{
        out.writeInt(values.length);
        for (double value : values) {{
            out.writeDouble(value);
        }}
    }}

    static void write(float[] values) throws IOException {{
        double[] exact = new double[values.length];
        for (int i = 0; i < values.length; i++) {{
            exact[i] = values[i];
        }}
        write(exact);
    }}

    static void write(byte[] values) throws IOException {{
        double[] exact = new double[values.length];
        for (int i = 0; i < values.length; i++) {{
            exact[i] = values[i] & 0xff;
        }}
        write(exact);
    }}

    static void write(List<Scored> found) throws IOException {{
        double[] flat = new double[2 * found.size()];
        for (int i = 0; i < found.size(); i++) {{
            flat[2 * i] = found.get(i).index;
            flat[2 * i + 1] = found.get(i).score;
        }}
        write(flat);
    }}

    static void writeBoxes(List<Box> found) throws IOException {{
        double[] flat = new double[6 * found.size()];
        for (int i = 0; i < found.size(); i++) {{
            Box box = found.get(i);
            double[] one = {{box.index, box.score, box.left, box.top, box.right, box.bottom}};
            System.arraycopy(one, 0, flat, 6 * i, 6);
        }}
        write(flat);
    }}
}}
"""
READERS = {"image": "picture()", "log_mel": "floats()", "tokens": "text()", "tensor": "floats()"}


class Wrapper:
    """A compiled package in a folder of its own."""

    def __init__(self, repository, bound, folder, variant=None):
        self.folder, self.bound = folder, bound
        (library,) = repository.rglob("*.aar")
        files = _archive.read(library)
        assets = {n.split("/", 2)[2]: c for n, c in files.items() if n.startswith("assets/")}
        _archive.write(folder / "assets", "folder", assets)
        (folder / "classes.jar").write_bytes(files["classes.jar"])
        package = re.search(rb'package="([\w.]+)"', files["AndroidManifest.xml"])[1].decode()
        name = "".join(part.capitalize() for part in package.rpartition(".")[2].split("_"))
        writers = {"boxes": "writeBoxes"}
        text = HARNESS.format(
            package=package,
            name=name,
            variant=f", {name}.Variant.{variant}" if variant else "",
            arguments=", ".join(READERS[step.kind] for step in bound.before),
            inputs=", ".join(f'"{spec.name}"' for spec in bound.signature.inputs),
            results=" ".join(
                f"{writers.get(step.kind, 'write')}(found.{camel(step.name, frozenset())});"
                for step in bound.after
            ),
        )
        (folder / "Harness.java").write_text(text)
        self.main = f"{package}.Harness"
        run(["javac", "-cp", "classes.jar", "-d", "harness", "Harness.java"], folder)

    def call(self, mode, content):
        """Run the harness on a file and return what it wrote."""
        (self.folder / "in.bin").write_bytes(content)
        run(["java", "-cp", "classes.jar:harness", self.main, mode], self.folder)
        return io.BytesIO((self.folder / "out.bin").read_bytes())

    def encoded(self, arguments):
        """Return the arguments of a call as the harness reads them."""
        parts = []
        for step in self.bound.before:
            value = arguments[step.name]
            if step.kind == "image":
                parts.append(struct.pack(">3i", *value.shape) + value.tobytes())
            elif step.kind == "tokens":
                parts.append(struct.pack(">i", len(value.encode())) + value.encode())
            else:
                parts.append(doubles(value))
        return b"".join(parts)


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)


def doubles(values):
    flat = np.asarray(values, ">f8").reshape(-1)
    return struct.pack(">i", len(flat)) + flat.tobytes()


def utf(text):
    return struct.pack(">H", len(text.encode())) + text.encode()


def outputs_of(arrays):
    parts = [struct.pack(">i", len(arrays))]
    for name, array in arrays.items():
        shape = struct.pack(f">{array.ndim + 1}i", array.ndim, *array.shape)
        parts.append(utf(name) + utf(array.dtype.name) + shape + doubles(array))
    return b"".join(parts)


def read_doubles(stream):
    (count,) = struct.unpack(">i", stream.read(4))
    return np.frombuffer(stream.read(8 * count), ">f8")
