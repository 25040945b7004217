"""edgekit's runner on a device: measures a model file, and says what it measures as JSON lines.

    python3 device_agent.py facts            one line: this machine, its runtimes, its clock
    python3 device_agent.py run JOB.json     what edgekit/benchmarks/job.py describes

One file, for it is copied to devices.  It needs Python 3.9 and one of the runtimes (with the numpy
that they bring), and nothing else.  On the host `local` benchmarks run this very file.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import platform
import queue
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

VERSION = 1
CHUNK = 0.25  # seconds between two lines of samples: rare enough to disturb none but the next
RUNTIMES = {  # name: module, distributions, how to get it
    "onnxruntime": ("onnxruntime", ("onnxruntime",), "onnxruntime"),
    "litert": ("ai_edge_litert", ("ai-edge-litert",), "ai-edge-litert"),
    "tflite_runtime": ("tflite_runtime", ("tflite-runtime",), "tflite-runtime 'numpy<2'"),
    "tensorflow": ("tensorflow", ("tensorflow", "tensorflow-cpu"), "tensorflow"),
}
TITLES = {
    "onnxruntime": "ONNX Runtime",
    "litert": "LiteRT",
    "tflite_runtime": "tflite-runtime",
    "tensorflow": "TensorFlow",
}
clock = time.perf_counter_ns
began = time.perf_counter()
run_id = ""


class Failure(Exception):
    """What ends a run: a reason that stays, a sentence, and what to do."""

    def __init__(self, reason: str, message: str, hint: Optional[str] = None) -> None:
        super().__init__(message)
        self.reason, self.message, self.hint = reason, message, hint


def say(event: str, **fields: Any) -> None:
    """Write one line of the answer."""
    named = {"run_id": run_id} if run_id else {}
    print(json.dumps({"event": event, **named, **fields}), flush=True)


def since() -> float:
    """Return the seconds since this process began."""
    return round(time.perf_counter() - began, 6)


# -- Facts -----------------------------------------------------------------------------------------


def facts(probe: Probe) -> Dict[str, Any]:
    """Return what is known of this machine, its runtimes and its clock."""
    system = platform.uname()
    return {
        "agent": VERSION,
        "kind": "python",
        "python": platform.python_version(),
        "system": f"{system.system} {system.release}",
        "architecture": system.machine,
        "libc": " ".join(platform.libc_ver()).strip(),
        "model": probe.text("proc/device-tree/model")
        or probe.text("sys/class/dmi/id/product_name"),
        "processor": probe.processor() or platform.processor() or system.machine,
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_bytes": probe.memory("MemTotal"),
        "runtimes": {name: runtime_state(name) for name in RUNTIMES},
        "clock": {"name": "perf_counter", "resolution_s": resolution()},
    }


def usable_cores() -> Optional[int]:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count()


def runtime_state(name: str) -> Dict[str, Any]:
    """Return a runtime's version, or how to install it; nothing is imported."""
    module, distributions, requirement = RUNTIMES[name]
    if importlib.util.find_spec(module) is None:
        return {"installed": False, "hint": f"pip install {requirement}"}
    return {"installed": True, "version": version_of(distributions)}


def version_of(distributions: Tuple[str, ...]) -> Optional[str]:
    """Return the version of the first installed distribution."""
    for each in distributions:
        try:
            return importlib.metadata.version(each)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


@functools.lru_cache(maxsize=None)
def resolution() -> float:
    """Return the smallest step of the clock that shows, in seconds."""
    steps = []
    for _ in range(200):
        start = now = clock()
        while now == start:
            now = clock()
        steps.append(now - start)
    return min(steps) * 1e-9


# -- State of the machine --------------------------------------------------------------------------


class Probe:
    """Reads temperature, frequency, load, energy from a tree with sys/ and proc/ in it.

    What is not there is left out, and named under ``not_run`` with the reason: never zero.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root)
        self._busy: Optional[Tuple[float, float, float]] = None

    def text(self, name: str) -> str:
        """Return the contents of a file, or nothing."""
        try:
            return (self.root / name).read_text(errors="replace").strip("\0\n ")
        except (OSError, ValueError):
            return ""

    def number(self, name: str, scale: float = 1.0, base: int = 10) -> Optional[float]:
        """Return the number that a file holds, times `scale`."""
        try:
            return int(self.text(name), base) * scale
        except ValueError:
            return None

    def each(self, pattern: str) -> List[str]:
        """Return the files of that pattern, relative to the root."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.glob(pattern))

    def processor(self) -> str:
        """Return the processor's name."""
        for key in ("model name", "Hardware", "Model", "uarch"):
            found = re.search(rf"^{key}\s*:\s*(.+)$", self.text("proc/cpuinfo"), re.MULTILINE)
            if found:
                return found[1]
        return ""

    def memory(self, key: str) -> Optional[int]:
        """Return an entry of /proc/meminfo in bytes."""
        found = re.search(rf"^{key}:\s+(\d+) kB", self.text("proc/meminfo"), re.MULTILINE)
        return int(found[1]) * 1024 if found else None

    def state(self) -> Dict[str, Any]:
        """Return all that can be read now."""
        readers: Dict[str, Callable[[], Any]] = {
            "temperature_c": self.temperatures,
            "frequency_hz": self.frequencies,
            "governor": self.governors,
            "throttled": self.throttled,
            "battery": self.battery,
            "energy_j": self.energy,
            "power_w": self.power,
            "load": self.load,
            "other_cpu": self.other_cpu,
            "memory_available_bytes": lambda: self.memory("MemAvailable"),
        }
        found, missing = {}, {}
        for name, read in readers.items():
            value = read()
            if value in (None, {}, ""):
                missing[name] = REASONS[name]
            else:
                found[name] = value
        return {**found, "not_run": missing}

    def temperatures(self) -> Dict[str, float]:
        """Return degrees Celsius by thermal zone."""
        found = {}
        for zone in self.each("sys/class/thermal/thermal_zone*"):
            value = self.number(f"{zone}/temp", 1e-3)
            if value is not None and -50 < value < 200:  # what is beyond is no temperature
                name = self.text(f"{zone}/type") or Path(zone).name
                found[name if name not in found else f"{name} {Path(zone).name[12:]}"] = value
        return found

    def frequencies(self) -> Dict[str, float]:
        """Return the present frequency by group of cores."""
        return self._policies("scaling_cur_freq", lambda name: self.number(name, 1e3))

    def governors(self) -> Dict[str, str]:
        """Return the frequency governor by group of cores."""
        return self._policies("scaling_governor", self.text)

    def _policies(self, name: str, read: Callable[[str], Any]) -> Dict[str, Any]:
        files = self.each(f"sys/devices/system/cpu/cpufreq/policy*/{name}")
        values = {Path(each).parent.name: read(each) for each in files}
        return {key: value for key, value in values.items() if value not in (None, "")}

    def throttled(self) -> Dict[str, Any]:
        """Return signs of throttling: Raspberry Pi's flags, Intel's counters, a cooling device."""
        found: Dict[str, Any] = {}
        flags = self.number("sys/devices/platform/soc/soc:firmware/get_throttled", 1, base=16)
        if flags is not None:
            found["flags"] = [word for bit, word in PI_FLAGS.items() if int(flags) >> bit & 1]
        counters = self.each("sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")
        if counters:
            found["events"] = sum(self.number(each) or 0 for each in counters)
        cooling = [
            (self.text(f"{each}/type"), self.number(f"{each}/cur_state"))
            for each in self.each("sys/class/thermal/cooling_device*")
        ]
        active = {kind: level for kind, level in cooling if kind and level}
        if cooling:
            found["cooling"] = active
        return found

    def battery(self) -> Dict[str, Any]:
        """Return charge, state and temperature of the battery."""
        for supply in self.each("sys/class/power_supply/*"):
            if self.text(f"{supply}/type") == "Battery":
                found = {
                    "percent": self.number(f"{supply}/capacity"),
                    "status": self.text(f"{supply}/status"),
                    "temperature_c": self.number(f"{supply}/temp", 0.1),
                }
                return {key: value for key, value in found.items() if value not in (None, "")}
        return {}

    def energy(self) -> Dict[str, float]:
        """Return counters of energy by domain, in joules; only differences mean anything."""
        found = {}
        for zone in self.each("sys/class/powercap/*:*"):
            value = self.number(f"{zone}/energy_uj", 1e-6)
            if value is not None:
                found[self.text(f"{zone}/name") or Path(zone).name] = value
        for file in self.each("sys/class/hwmon/hwmon*/energy*_input"):
            value = self.number(file, 1e-6)
            if value is not None:
                found[self._sensor(file)] = value
        return found

    def power(self) -> Dict[str, float]:
        """Return the present power by sensor, in watts: INA and its like, the battery's gauge."""
        found = {}
        for file in self.each("sys/class/hwmon/hwmon*/power*_input"):
            value = self.number(file, 1e-6)
            if value is not None:
                found[self._sensor(file)] = value
        for supply in self.each("sys/class/power_supply/*"):
            volts = self.number(f"{supply}/voltage_now", 1e-6)
            amperes = self.number(f"{supply}/current_now", 1e-6)
            if self.text(f"{supply}/type") == "Battery" and volts and amperes is not None:
                found[Path(supply).name] = round(volts * abs(amperes), 6)
        return found

    def _sensor(self, file: str) -> str:
        """Return the name of a hwmon sensor: chip and label."""
        chip = self.text(f"{Path(file).parent}/name") or Path(file).parent.name
        label = self.text(re.sub(r"_input$", "_label", file))
        return f"{chip} {label or re.sub('_input$', '', Path(file).name)}"

    def load(self) -> Optional[float]:
        """Return the load average of one minute."""
        found = re.match(r"[\d.]+", self.text("proc/loadavg"))
        return float(found[0]) if found else None

    def other_cpu(self) -> Optional[float]:
        """Return how many cores other processes kept busy since this was last asked."""
        words = self.text("proc/stat").split("\n")[0].split()[1:9]
        if len(words) < 8 or not hasattr(os, "sysconf"):
            return None
        ticks = [int(word) for word in words]
        busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        own = sum(os.times()[:4])
        then, self._busy = self._busy, (time.monotonic(), busy, own)
        if then is None or self._busy[0] - then[0] < 0.05:  # ticks are 10 ms: too coarse
            return None
        wall, used, ours = (new - old for new, old in zip(self._busy, then))
        return round(max(0.0, used - ours) / wall, 3)


PI_FLAGS = {  # Raspberry Pi documentation, `vcgencmd get_throttled`
    0: "under-voltage now",
    1: "frequency capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "under-voltage has occurred",
    17: "frequency capping has occurred",
    18: "throttling has occurred",
    19: "soft temperature limit has occurred",
}
REASONS = {
    "temperature_c": "no thermal zone can be read",
    "frequency_hz": "cpufreq tells no frequency",
    "governor": "cpufreq tells no governor",
    "throttled": "no throttle flag or counter can be read",
    "battery": "there is no battery",
    "energy_j": "no energy counter (RAPL, hwmon) can be read",
    "power_w": "no power sensor (hwmon, battery gauge) can be read",
    "load": "/proc/loadavg cannot be read",
    "other_cpu": "/proc/stat cannot be read, or this is the first look at it",
    "memory_available_bytes": "/proc/meminfo cannot be read",
}


def memory_peak() -> Optional[int]:
    """Return the highest resident memory of this process so far, in bytes."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def switches() -> Dict[str, int]:
    """Return how often this process waited, and how often it was pushed off its core."""
    try:
        import resource
    except ImportError:
        return {}
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"voluntary": used.ru_nvcsw, "involuntary": used.ru_nivcsw}


# -- Engines: one model in one runtime -------------------------------------------------------------


class Engine:
    """A loaded model.  `step` is the runtime's own call and all that a latency holds."""

    step: Callable[[], Any]
    name = ""

    def fill(self, arrays: List[Any]) -> None:
        """Copy the inputs to where the runtime reads them."""
        raise NotImplementedError

    def fetch(self) -> List[Any]:
        """Return copies of the outputs of the last step."""
        raise NotImplementedError

    def placement(self) -> Dict[str, Any]:
        """Return which nodes run where."""
        return {"not_run": "this runtime does not tell where nodes run"}

    def profile(self, runs: int) -> Dict[str, Any]:
        """Return seconds per node."""
        return {"not_run": "this runtime offers no profile from Python"}


class OnnxEngine(Engine):
    """ONNX Runtime; inputs and outputs are bound, so that a step copies none."""

    def __init__(self, job: Dict[str, Any], **options: Any) -> None:
        ort = self.ort = imported("onnxruntime")
        self.name = f"ONNX Runtime {ort.__version__}"
        self.job = job
        self.arrays: List[Any] = []
        self.session = self._open(**options)
        self.outputs = [value.name for value in self.session.get_outputs()]
        self.binding = self.session.io_binding()

    def _open(self, **options: Any) -> Any:
        job, ort = self.job, self.ort
        chosen = ort.SessionOptions()
        chosen.intra_op_num_threads = job["threads"]
        chosen.inter_op_num_threads = 1
        chosen.log_severity_level = 3
        for key, value in options.items():
            setattr(chosen, key, value)
        for key, value in job["session_config"].items():
            chosen.add_session_config_entry(key, value)
        if job["placement"]:
            chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        providers = list(job["providers"]) or ["CPUExecutionProvider"]
        for each in providers:
            if each not in ort.get_available_providers():
                raise Failure(
                    "provider_missing",
                    f"This ONNX Runtime has no {each}.",
                    f"It has {', '.join(ort.get_available_providers())}.",
                )
        settings = list(job["provider_options"]) or None
        return ort.InferenceSession(job["model"], chosen, providers, settings)

    def fill(self, arrays: List[Any]) -> None:
        names = [entry["name"] for entry in self.job["inputs"]]
        self.arrays = arrays
        if any(array.dtype == object for array in arrays):  # strings cannot be bound
            self.step = functools.partial(self.session.run, None, dict(zip(names, arrays)))
            return
        for name, array in zip(names, arrays):
            self.binding.bind_ortvalue_input(name, self.ort.OrtValue.ortvalue_from_numpy(array))
        for name in self.outputs:
            self.binding.bind_output(name)
        self.step = functools.partial(self.session.run_with_iobinding, self.binding)

    def fetch(self) -> List[Any]:
        if self.step.func == self.session.run:  # type: ignore[attr-defined]
            return list(self.step())
        found = dict(zip(self.outputs, self.binding.copy_outputs_to_cpu()))
        return [found[each["name"]] for each in self.job["outputs"]]

    def placement(self) -> Dict[str, Any]:
        tell = getattr(self.session, "get_provider_graph_assignment_info", None)
        if tell is None:
            return {"not_run": f"{self.name} does not tell the assignment of nodes"}
        first = (list(self.job["providers"]) or ["CPUExecutionProvider"])[0]
        nodes = [
            {
                "name": node.name,
                "op": node.op_type,
                "on": part.ep_name,
                **({} if part.ep_name == first else {"reason": f"{first} did not take it"}),
            }
            for part in tell()
            for node in part.get_nodes()
        ]
        return {"nodes": nodes, "wanted": first}

    def profile(self, runs: int) -> Dict[str, Any]:
        """Run a session of its own, for profiling slows every node."""
        with tempfile.TemporaryDirectory() as folder:
            prefix = str(Path(folder) / "profile")
            other = OnnxEngine(
                {**self.job, "placement": False}, enable_profiling=True, profile_file_prefix=prefix
            )
            other.fill(self.arrays)
            for _ in range(runs + 1):
                other.step()
            events = json.loads(Path(other.session.end_profiling()).read_text())
        return {"runs": runs, "nodes": node_times(events, runs)}


def node_times(events: List[Dict[str, Any]], runs: int) -> List[Dict[str, Any]]:
    """Return the median time per node from ONNX Runtime's profile; its first run is left out."""
    taken: Dict[str, List[float]] = collections.OrderedDict()
    about: Dict[str, Dict[str, Any]] = {}
    for event in events:
        found = re.match(r"(.*)_kernel_time$", event.get("name", ""))
        if event.get("cat") == "Node" and found:
            taken.setdefault(found[1], []).append(event["dur"] * 1e-6)
            about[found[1]] = event["args"]
    return [
        {
            "name": name,
            "op": about[name].get("op_name"),
            "on": about[name].get("provider"),
            "seconds": statistics.median(times[-runs:]),
            "count": len(times[-runs:]),
        }
        for name, times in taken.items()
    ]


class TFLiteEngine(Engine):
    """Any package with TensorFlow Lite's interpreter."""

    def __init__(self, job: Dict[str, Any]) -> None:
        runtime = job["runtime"]
        self.job = job
        if runtime == "tensorflow":
            package = imported("tensorflow")
            interpreter, load = package.lite.Interpreter, package.lite.experimental.load_delegate
        else:
            package = imported(f"{RUNTIMES[runtime][0]}.interpreter")
            interpreter, load = package.Interpreter, package.load_delegate
        self.name = f"{TITLES[runtime]} {version_of(RUNTIMES[runtime][1]) or 'of unknown version'}"
        options: Dict[str, Any] = {"model_path": job["model"], "num_threads": job["threads"]}
        if job["delegate"] == "none":
            resolver = (
                getattr(package, "OpResolverType", None) or package.lite.experimental.OpResolverType
            )
            options["experimental_op_resolver_type"] = resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        elif job["delegate"]:
            try:
                options["experimental_delegates"] = [load(job["delegate"], job["delegate_options"])]
            except (OSError, ValueError) as error:
                raise Failure(
                    "delegate_missing", f"The delegate {job['delegate']} cannot be loaded: {error}"
                ) from error
        self.interpreter = interpreter(**options)
        for entry in job["inputs"]:
            self._resize(entry)
        self.interpreter.allocate_tensors()
        self.step = self.interpreter.invoke

    def _resize(self, entry: Dict[str, Any]) -> None:
        for known in self.interpreter.get_input_details():
            if known["index"] == entry["index"] and list(known["shape"]) != list(entry["shape"]):
                self.interpreter.resize_tensor_input(entry["index"], entry["shape"])

    def fill(self, arrays: List[Any]) -> None:
        for entry, array in zip(self.job["inputs"], arrays):
            self.interpreter.set_tensor(entry["index"], array)

    def fetch(self) -> List[Any]:
        return [self.interpreter.get_tensor(each["index"]) for each in self.job["outputs"]]

    def placement(self) -> Dict[str, Any]:
        tell = getattr(self.interpreter, "_get_ops_details", None)
        if tell is None:
            return {"not_run": f"{self.name} does not list its operators"}
        operators = tell()
        names = {each["index"]: each["name"] for each in self.interpreter.get_tensor_details()}
        nodes = delegated(operators)
        for node in nodes:
            node["name"] = names.get(node.pop("tensor"), "")
            node["layer"] = layer_of(node["name"])
        return {"nodes": nodes, "partitions": partitions(operators)}

    def profile(self, runs: int) -> Dict[str, Any]:
        """Run a session of its own, in the way of LiteRT's compiled models."""
        if self.job["runtime"] != "litert":
            return super().profile(runs)
        if self.job["delegate"]:
            return {"not_run": "LiteRT is profiled with its own delegate only"}
        events = litert_events(self.job["model"], self.job["threads"], runs)
        if isinstance(events, str):
            return {"not_run": events}
        tell = getattr(self.interpreter, "_get_ops_details", None)
        names = {each["index"]: each["name"] for each in self.interpreter.get_tensor_details()}
        nodes = operator_times(events, tell() if tell else [], names)
        return {
            "runs": runs,
            "nodes": nodes,
            "note": "on LiteRT's own inputs; layers of delegated operators by their order and kind",
        }


# -- LiteRT's profiler -----------------------------------------------------------------------------
#
# No Python package offers it, so its C library is asked.  Its headers are not shipped: this was
# found out with LiteRT 2.3, is used with no other, and is checked while it is read.

OPERATOR, DELEGATED = 2, 8  # types of its events: an operator of TFLite's, one inside a delegate
PROFILED = "2.3."


def litert_events(model: str, threads: int, runs: int) -> Any:
    """Return, per run, the events of LiteRT's profiler; or why there are none."""
    version = version_of(RUNTIMES["litert"][1]) or ""
    if not version.startswith(PROFILED):
        return f"the profiler of LiteRT {PROFILED}x is known, not that of {version or 'this one'}"
    package = Path(importlib.import_module("ai_edge_litert").__file__ or "").parent
    libraries = sorted(package.glob("libLiteRt.*"))
    if not libraries:
        return "this LiteRT has no library with a profiler"
    library = Calls(str(libraries[0]))
    try:
        return LiteRtSession(library, model, threads).events(runs)
    except LookupError as error:
        return f"LiteRT's profiler cannot be used: {error}"


class Calls:
    """Functions of a C library that return a status: 0, or it is an error."""

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)

    def __call__(self, name: str, *arguments: Any) -> None:
        try:
            status = getattr(self.library, name)(*arguments)
        except AttributeError:
            raise LookupError(f"it has no {name}") from None
        if status:
            raise LookupError(f"{name} returned {status}")

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Return the handle that a function puts where its last argument points."""
        handle = ctypes.c_void_p()
        self(name, *arguments, ctypes.byref(handle))
        return handle


class ProfileEvent(ctypes.Structure):
    """One event; memory before and after it are three numbers each, which are not used."""

    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("us", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("place", ctypes.c_uint64),
        ("graph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


class LiteRtSession:
    """A compiled model with a profiler; all lives until the process ends."""

    def __init__(self, call: Calls, model: str, threads: int) -> None:
        self.call = call
        self.env = call.made("LiteRtCreateEnvironment", 0, None)
        self.file = call.made("LiteRtCreateModelFromFile", self.env, os.fsencode(model))
        options = call.made("LiteRtCreateOptions")
        call("LiteRtSetOptionsHardwareAccelerators", options, 1)
        for name, text in (
            ("xnnpack", f"num_threads = {threads}\n"),
            ("runtime_options_string", "enable_profiling = true\n"),
        ):
            call("LiteRtAddOpaqueOptions", options, self._opaque(name, text))
        self.model = call.made("LiteRtCreateCompiledModel", self.env, self.file, options)
        self.profiler = call.made("LiteRtCompiledModelGetProfiler", self.model)
        self.signature = call.made("LiteRtGetModelSignature", self.file, ctypes.c_size_t(0))
        self.inputs, self.outputs = self._buffers("Input"), self._buffers("Output")

    def _opaque(self, name: str, text: str) -> ctypes.c_void_p:
        payload = ctypes.create_string_buffer(text.encode())
        free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _payload: None)
        KEPT.extend([payload, free])  # LiteRT asks for both later
        return self.call.made("LiteRtCreateOpaqueOptions", name.encode(), payload, free)

    def _buffers(self, side: str) -> Any:
        count = ctypes.c_size_t()
        self.call(f"LiteRtGetNumSignature{side}s", self.signature, ctypes.byref(count))
        made = (ctypes.c_void_p * count.value)()
        for number in range(count.value):
            index = ctypes.c_size_t(number)
            tensor = self.call.made(f"LiteRtGetSignature{side}TensorByIndex", self.signature, index)
            kind = ctypes.create_string_buffer(1024)  # a ranked tensor's type is far smaller
            self.call("LiteRtGetRankedTensorType", tensor, kind)
            wanted = self.call.made(
                f"LiteRtGetCompiledModel{side}BufferRequirements",
                self.model,
                ctypes.c_size_t(0),
                index,
            )
            made[number] = self.call.made(
                "LiteRtCreateManagedTensorBufferFromRequirements", self.env, kind, wanted
            ).value
        return made

    def events(self, runs: int) -> Any:
        """Return (type, tag, place, graph, microseconds) of each event of each run."""
        self._run()
        found = []
        for _ in range(runs):
            self.call("LiteRtResetProfiler", self.profiler)
            self.call("LiteRtStartProfiler", self.profiler)
            self._run()
            self.call("LiteRtStopProfiler", self.profiler)
            found.append(self._read())
            if not found[-1]:
                raise LookupError("it tells no operators")
        return found

    def _run(self) -> None:
        sizes = [ctypes.c_size_t(len(each)) for each in (self.inputs, self.outputs)]
        zero = ctypes.c_size_t(0)
        self.call(
            "LiteRtRunCompiledModel",
            self.model,
            zero,
            sizes[0],
            self.inputs,
            sizes[1],
            self.outputs,
        )

    def _read(self) -> List[Tuple[int, str, int, int, int]]:
        count = ctypes.c_int()
        self.call("LiteRtGetNumProfilerEvents", self.profiler, ctypes.byref(count))
        table = (ProfileEvent * max(1, count.value))()
        self.call("LiteRtGetProfilerEvents", self.profiler, count, table)
        events = table[: count.value]
        told = [each for each in events if each.type in (OPERATOR, DELEGATED)]
        whole = sum(each.us for each in events if each.type == 1 and each.tag == b"Invoke")
        if sum(each.us for each in told) > 1.5 * whole + 100:
            raise LookupError("its operators take longer than the whole")
        return [
            (each.type, (each.tag or b"").decode(errors="replace"), each.place, each.graph, each.us)
            for each in told
        ]


KEPT: List[Any] = []


def operator_times(
    runs: List[List[Tuple[int, str, int, int, int]]],
    operators: List[Dict[str, Any]],
    names: Dict[int, str],
) -> List[Dict[str, Any]]:
    """Return the median time per operator, and which layer it is of where that can be told."""
    taken: Dict[Any, List[int]] = collections.OrderedDict()
    counts: Dict[Any, int] = collections.Counter()
    for events in runs:
        sums: Dict[Any, int] = collections.OrderedDict()
        for key, us in keyed(events, partitions(operators)):
            sums[key] = sums.get(key, 0) + us
            counts[key] += 1
        for key, us in sums.items():
            taken.setdefault(key, []).append(us)
    layers = matched(list(taken), operators)
    nodes = []
    for key, times in taken.items():
        number = layers.get(key)
        of = operators[number] if number is not None else None
        name = names.get(int(of["outputs"][0]), "") if of is not None else key[1]
        nodes.append(
            {
                "name": name,
                "op": of["op_name"] if of is not None else key[1],
                "on": "delegate" if key[0] == DELEGATED else "cpu",
                "layer": layer_of(name) if of is not None else None,
                "kernel": key[1],
                "seconds": statistics.median(times) * 1e-6,
                "count": counts[key] // len(runs),
            }
        )
    return nodes


def keyed(events: List[Tuple[int, str, int, int, int]], parts: int) -> List[Tuple[Any, int]]:
    """Return (what ran, microseconds): type, tag, place, graph, and the delegate's partition.

    A delegate counts its operators from 0 in every partition.  Where there are other numbers of
    such stretches than partitions, a loop ran some of them again: they are not told apart.
    """
    found: List[Tuple[Any, int]] = []
    part = -1
    for kind, tag, place, graph, us in events:
        part += kind == DELEGATED and place == 0
        found.append(((kind, tag, place, graph, part if kind == DELEGATED else -1), us))
    if part + 1 != parts:
        found = [((*key[:4], -1), us) for key, us in found]
    return found


def matched(keys: List[Any], operators: List[Dict[str, Any]]) -> Dict[Any, int]:
    """Return the number of the model's operator by what ran.

    An operator of TFLite's own tells its number.  A delegate's tell none: they are those of its
    partition in the same order, less those that were fused into another, so that the longest
    common subsequence of fitting kinds is what they are.
    """
    found = {key: key[2] for key in keys if key[0] == OPERATOR and key[3] == 0}
    inside = operators_of_partitions(operators)
    for part, numbers in enumerate(inside):
        ran = [key for key in keys if key[0] == DELEGATED and key[4] == part]
        fits = [
            [fitting(key[1], operators[number]["op_name"]) for number in numbers] for key in ran
        ]
        for row, column in common(fits):
            found[ran[row]] = numbers[column]
    return {key: number for key, number in found.items() if number < len(operators)}


def common(fits: List[List[bool]]) -> List[Tuple[int, int]]:
    """Return the pairs (row, column) of the longest common subsequence."""
    rows, columns = len(fits), len(fits[0]) if fits else 0
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for row in range(rows - 1, -1, -1):
        for column in range(columns - 1, -1, -1):
            skip = max(best[row + 1][column], best[row][column + 1])
            both = best[row + 1][column + 1] + 1 if fits[row][column] else 0
            best[row][column] = max(skip, both)
    pairs, row, column = [], 0, 0
    while row < rows and column < columns:
        if fits[row][column] and best[row][column] == best[row + 1][column + 1] + 1:
            pairs.append((row, column))
            row, column = row + 1, column + 1
        elif best[row + 1][column] >= best[row][column + 1]:
            row += 1
        else:
            column += 1
    return pairs


KERNELS = {  # XNNPACK's names of what it runs for TFLite's operators, where they differ
    "ADD": "add",
    "AVERAGE_POOL_2D": "average pooling|global average pooling",
    "BATCH_MATMUL": "batch matrix multiply|fully connected",
    "CONCATENATION": "copy|concatenate",
    "CONV_2D": "convolution|fully connected",
    "DEPTHWISE_CONV_2D": "convolution",
    "DEQUANTIZE": "convert",
    "DIV": "divide",
    "EXPAND_DIMS": "static reshape|copy",
    "FULLY_CONNECTED": "fully connected|dynamic fully connected",
    "LOGISTIC": "sigmoid",
    "MAX_POOL_2D": "max pooling",
    "MEAN": "mean|global average pooling",
    "MUL": "multiply",
    "PAD": "constant pad",
    "QUANTIZE": "convert",
    "RELU": "clamp",
    "RELU6": "clamp",
    "RESHAPE": "static reshape|copy",
    "RSQRT": "reciprocal square root",
    "SPLIT": "slice|copy",
    "SQUEEZE": "static reshape|copy",
    "STRIDED_SLICE": "slice",
    "SUB": "subtract",
    "TRANSPOSE_CONV": "deconvolution",
}


def fitting(tag: str, operator: str) -> bool:
    """Whether a kernel of XNNPACK's, ``Mean (ND) Reduce2``, may be what runs an operator."""
    kernel = tag.partition(" (")[0].lower()
    return kernel in KERNELS.get(operator, operator.lower().replace("_", " ")).split("|")


def attribute_of(part: str) -> str:
    """Return ``blocks`` of ``torch.nn.modules.container.Sequential_blocks``."""
    return part.rpartition(".")[2].partition("_")[2]


def layer_of(name: str) -> Optional[str]:
    """Return the layer of the source model that a tensor is of, as PyTorch names it.

    The vendor's converter names a tensor by the modules around it, each by its class and its
    attribute: ``net.Net/torch.nn.modules.container.Sequential_blocks/torch.nn.Conv2d_0;`` is of
    ``blocks.0``.  edgekit leaves the classes out: ``model/blocks/0;``.  Where several were fused,
    the first is the one.
    """
    root, *parts = name.partition(";")[0].split("/")
    attributes = parts if root == "model" else [attribute_of(part) for part in parts]
    return ".".join(attributes) if attributes and all(attributes) else None


def partitions(operators: List[Dict[str, Any]]) -> int:
    """Return how many nodes of a delegate there are."""
    return sum(each["op_name"] == "DELEGATE" for each in operators)


def operators_of_partitions(operators: List[Dict[str, Any]]) -> List[List[int]]:
    """Return the numbers of the operators that each partition of a delegate took.

    An interpreter lists the model's operators and, after them, one DELEGATE per partition.  An
    operator was taken when it lies between a partition's inputs and its outputs.
    """
    makers = {
        tensor: number
        for number, each in enumerate(operators)
        if each["op_name"] != "DELEGATE"
        for tensor in map(int, each["outputs"])
    }
    found = []
    for part in operators:
        if part["op_name"] != "DELEGATE":
            continue
        border = set(map(int, part["inputs"]))
        waiting = [int(tensor) for tensor in part["outputs"]]
        taken: set[int] = set()
        while waiting:
            number = makers.get(waiting.pop())
            if number is None or number in taken:
                continue
            taken.add(number)
            waiting += [
                int(each) for each in operators[number]["inputs"] if int(each) not in border
            ]
        found.append(sorted(taken))
    return found


def delegated(operators: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Tell the operators that a delegate took from those that it left."""
    taken = {number for part in operators_of_partitions(operators) for number in part}
    return [
        {
            "op": each["op_name"],
            "tensor": int(each["outputs"][0]) if len(each["outputs"]) else -1,
            **(
                {"on": "delegate"}
                if number in taken
                else {"on": "cpu", "reason": "no delegate took it; delegates give no reason"}
            ),
        }
        for number, each in enumerate(operators)
        if each["op_name"] != "DELEGATE"
    ]


class EdgekitEngine(Engine):
    """Any other runtime of edgekit, where edgekit itself is installed."""

    def __init__(self, job: Dict[str, Any]) -> None:
        runtimes = importlib.import_module("edgekit.runtimes")
        self.job = job
        self.session = runtimes.open_session(
            Path(job["model"]), job["format"], runtime=job["runtime"], threads=job["threads"]
        )
        self.name = runtimes.describe(job["runtime"])
        self.results: Dict[str, Any] = {}

    def fill(self, arrays: List[Any]) -> None:
        feeds = {entry["name"]: array for entry, array in zip(self.job["inputs"], arrays)}
        run = self.session.run

        def step() -> None:
            self.results = run(feeds)

        self.step = step

    def fetch(self) -> List[Any]:
        return [self.results[each["name"]] for each in self.job["outputs"]]


def imported(name: str) -> Any:
    """Import a runtime; one that is not there is an error that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        known = [entry for entry in RUNTIMES.values() if entry[0] == name.partition(".")[0]]
        hint = f"On the device: pip install {known[0][2]}" if known else None
        raise Failure("runtime_missing", f"{name} cannot be imported: {error}.", hint) from error


ENGINES: Dict[str, Callable[[Dict[str, Any]], Engine]] = {
    "onnxruntime": OnnxEngine,
    "litert": TFLiteEngine,
    "tflite_runtime": TFLiteEngine,
    "tensorflow": TFLiteEngine,
}


def opened(job: Dict[str, Any]) -> Engine:
    """Load the model of a job."""
    if not Path(job["model"]).exists():
        raise Failure("model_missing", f"There is no file {job['model']}.")
    try:
        return ENGINES.get(job["runtime"], EdgekitEngine)(job)
    except Failure:
        raise
    except Exception as error:
        hint = getattr(error, "hint", None)
        raise Failure("load_failed", one_line(error), hint) from error


def one_line(error: BaseException) -> str:
    """Return what an exception says, without control characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"[^\x20-\x7e\xa0-\uffff]", "", text)[:500]


# -- Inputs ----------------------------------------------------------------------------------------


def arrays_of(job: Dict[str, Any], folder: Path) -> List[Any]:
    """Return the values of all inputs."""
    return [array_of(entry, folder) for entry in job["inputs"]]


def array_of(entry: Dict[str, Any], folder: Path) -> Any:
    """Return the values of one input: from its file, or seeded."""
    np = imported("numpy")
    if "file" not in entry:
        return seeded(entry["seed"], entry["shape"], entry["dtype"])
    path = folder / entry["file"]
    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
        else:
            array = np.fromfile(path, dtype=entry["dtype"])
        array = np.ascontiguousarray(array.astype(entry["dtype"]))
        return (
            np.resize(array, entry["shape"]) if "repeat" in entry else array.reshape(entry["shape"])
        )
    except (OSError, ValueError) as error:
        raise Failure("bad_input", f"{entry['name']}: {one_line(error)}") from error


def seeded(seed: int, shape: List[int], dtype: str) -> Any:
    """Return the values that every runner makes of a seed.

    Element i is splitmix64(seed * 2**32 + i); its upper 24 bits are a number from -1 to 1, or its
    lowest bit is 0 or 1, which is valid as token, mask and flag.
    Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    np = imported("numpy")
    if dtype == "string":
        return np.full(shape, "0", dtype=object)
    count = math.prod(shape)
    state = np.arange(count, dtype=np.uint64) + np.uint64(seed << 32)
    with np.errstate(over="ignore"):
        state = (state + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    if np.dtype(dtype).kind == "f":
        return ((state >> np.uint64(40)) / 2.0**23 - 1.0).astype(dtype).reshape(shape)
    return (state & np.uint64(1)).astype(dtype).reshape(shape)


# -- The loop --------------------------------------------------------------------------------------


def timed(step: Callable[[], Any], count: int, batch: int) -> List[float]:
    """Return `count` samples: seconds per inference, each over `batch` inferences."""
    taken: List[int] = []
    keep = taken.append
    if batch == 1:
        for _ in itertools.repeat(None, count):
            start = clock()
            step()
            keep(clock() - start)
    else:
        for _ in itertools.repeat(None, count):
            start = clock()
            for _ in itertools.repeat(None, batch):
                step()
            keep(clock() - start)
    return [round(each * 1e-9 / batch, 10) for each in taken]


def batch_for(seconds: float, planned: float, most: int) -> int:
    """Return how many inferences of about `seconds` one sample needs.

    A sample lasts at least 500 steps of the clock, so that reading it adds less than 0.2 %; and
    `planned` seconds of samples are at most `most`.
    """
    fine = 500 * resolution() / max(seconds, 1e-9)
    few = planned / max(seconds, 1e-9) / most
    return max(1, math.ceil(fine), math.ceil(few))


WINDOWS = 8


def steady(windows: List[float]) -> bool:
    """Whether the medians of successive windows of time have stopped falling (or rising).

    The last eight: the newer four have the older four's median, as far as their spread can tell:
    closer than 1 %, or than the standard error of a difference of two such medians,
    1.2533 * sigma * sqrt(2 / 4), with sigma from the differences of neighbours, which a trend
    leaves small (von Neumann 1941): sigma = 1.4826 * median|x[i+1] - x[i]| / sqrt(2).
    """
    if len(windows) < WINDOWS:
        return False
    last = windows[-WINDOWS:]
    half = WINDOWS // 2
    older, newer = statistics.median(last[:half]), statistics.median(last[half:])
    hops = statistics.median(abs(b - a) for a, b in zip(last, last[1:]))
    error = 1.2533 * 1.4826 * hops / math.sqrt(2) * math.sqrt(2 / half)
    return abs(newer - older) <= max(0.01 * older, error)


class Pace:
    """How long one inference takes, and how many of them make one sample."""

    def __init__(self, seconds: float, planned: float, most: int) -> None:
        self.seconds, self.batch = seconds, batch_for(seconds, planned, most)

    def samples(self, length: float) -> int:
        """Return how many samples fit into so many seconds."""
        return int(length / max(self.seconds * self.batch, 1e-9))


def warm_up(engine: Engine, job: Dict[str, Any]) -> Pace:
    """Run untimed until times are steady; say how it went; return the pace found."""
    policy = job["warmup"]
    planned = job["sustained_s"] or job["min_s"]
    start = time.perf_counter()
    taken = timed(engine.step, max(1, policy["min_runs"]), 1) if policy["max_s"] > 0 else []
    pace = Pace(min(taken, default=1e-3), planned, job["max_samples"])
    windows: List[float] = []
    length = max(policy["min_s"] / WINDOWS, 5e-3)
    while time.perf_counter() - start < policy["max_s"]:
        window: List[float] = []
        end = time.perf_counter() + length
        while time.perf_counter() < end or len(window) < 3:
            window += timed(engine.step, 1, pace.batch)
        taken += window
        windows.append(statistics.median(window))
        if time.perf_counter() - start >= policy["min_s"] and steady(windows):
            break
    if not taken:
        say("warmup", seconds=[], runs=0, batch=1, steady=False, why="no warm-up was asked for")
        return Pace(1e-3, planned, job["max_samples"])
    found = steady(windows)
    why = "steady" if found else f"not steady within {policy['max_s']:g} s"
    say("warmup", seconds=thinned(taken), runs=len(taken), batch=pace.batch, steady=found, why=why)
    typical = statistics.median(windows) if windows else min(taken)
    return Pace(typical, planned, job["max_samples"])


def thinned(samples: List[float], most: int = 2000) -> List[float]:
    """Return at most that many of the samples, evenly chosen: a warm-up's need not all be kept."""
    hop = -(-len(samples) // most)
    return samples[:: max(1, hop)]


class Watch:
    """Takes a state between samples, once a second, and says it."""

    def __init__(self, probe: Probe) -> None:
        self.probe, self.due = probe, time.perf_counter() + 1.0

    def look(self) -> None:
        """Say the state when it is due."""
        if time.perf_counter() >= self.due:
            self.tell()

    def tell(self) -> None:
        """Say the state now."""
        say("state", when="during", t=since(), **self.probe.state())
        self.due = time.perf_counter() + 1.0


def sample(
    engine: Engine, pace: Pace, watch: Watch, *, runs: int, min_s: float, max_s: float, **tags: Any
) -> None:
    """Take samples until there are `runs`, and `min_s` have passed; say them as they come."""
    start = time.perf_counter()
    done = 0
    while True:
        gone = time.perf_counter() - start
        if (done >= runs and gone >= min_s) or (done and gone >= max_s):
            return
        left = max(min(CHUNK, min_s - gone), 0.0)
        count = max(1, min(pace.samples(CHUNK), max(runs - done, pace.samples(left))))
        if pace.seconds < CHUNK / 10:
            engine.step()  # saying something has cooled the caches
        at, before = since(), time.perf_counter()
        taken = timed(engine.step, count, pace.batch)
        pace.seconds = (time.perf_counter() - before) / (count * pace.batch)
        say("samples", series="latency", t=at, batch=pace.batch, seconds=taken, **tags)
        done += count
        watch.look()


def overhead() -> List[float]:
    """Return what the loop itself takes: samples of a step that does nothing."""

    def nothing() -> None:
        pass

    timed(nothing, 200, 1)
    return timed(nothing, 1000, 1)


# -- Scenarios -------------------------------------------------------------------------------------


def single_stream(job: Dict[str, Any], engines: List[Engine], pace: Pace, watch: Watch) -> None:
    """One inference after the other."""
    length = job["sustained_s"]
    sample(
        engines[0],
        pace,
        watch,
        runs=job["runs"],
        min_s=length or job["min_s"],
        max_s=max(job["max_s"], length or 0.0),
    )


class Crew:
    """Threads, one per engine, that run steps at a word."""

    def __init__(self, engines: List[Engine]) -> None:
        self.todo: List[queue.SimpleQueue[Optional[int]]] = [queue.SimpleQueue() for _ in engines]
        self.done: queue.SimpleQueue[Optional[BaseException]] = queue.SimpleQueue()
        self.threads = [
            threading.Thread(target=self._work, args=pair, daemon=True)
            for pair in zip(engines, self.todo)
        ]
        for each in self.threads:
            each.start()

    def _work(self, engine: Engine, todo: queue.SimpleQueue[Optional[int]]) -> None:
        while True:
            count = todo.get()
            if count is None:
                return
            fault: Optional[BaseException] = None
            try:
                for _ in itertools.repeat(None, count):
                    engine.step()
            except Exception as error:  # the main thread has to hear of it
                fault = error
            self.done.put(fault)

    def run(self, total: int) -> None:
        """Run so many inferences, shared out evenly; return when all are done."""
        shares = [
            total // len(self.todo) + (n < total % len(self.todo)) for n in range(len(self.todo))
        ]
        for todo, share in zip(self.todo, shares):
            todo.put(share)
        faults = [self.done.get() for _ in shares]
        for fault in faults:
            if fault is not None:
                raise fault

    def end(self) -> None:
        """Let the threads end."""
        for todo, thread in zip(self.todo, self.threads):
            todo.put(None)
            thread.join()


def multi_stream(job: Dict[str, Any], engines: List[Engine], pace: Pace, watch: Watch) -> None:
    """Queries of several samples; a latency is a query's, from its issue to its last sample."""
    streams = job["scenario"]["streams"]
    crew = Crew(engines)
    query = Query(functools.partial(crew.run, streams))
    each = Pace(pace.seconds * -(-streams // len(engines)), job["min_s"], job["max_samples"])
    each.batch = 1  # a mean of several queries would hide the tail
    sample(
        query,
        each,
        watch,
        runs=job["runs"],
        min_s=job["min_s"],
        max_s=job["max_s"],
        streams=streams,
        workers=len(engines),
    )
    crew.end()


class Query(Engine):
    """Something to time that is more than one inference."""

    def __init__(self, step: Callable[[], Any]) -> None:
        self.step = step


def offline(job: Dict[str, Any], engines: List[Engine], pace: Pace, watch: Watch) -> None:
    """All samples are there: inferences per second, by size of batch and number of workers."""
    chosen = job["scenario"]
    folder = Path(job["folder"])
    for batch in chosen["batches"]:
        shaped = {**job, "inputs": batched(job["inputs"], batch), "placement": False}
        try:
            crewed = [ready(shaped, folder) for _ in range(max(chosen["workers"]))]
            for each in crewed:
                each.step()
        except Exception as error:
            say(
                "samples",
                series="throughput",
                batch_size=batch,
                seconds=[],
                t=since(),
                not_run=f"batches of {batch} are refused: {one_line(error)}",
            )
            continue
        for workers in chosen["workers"]:
            throughput(crewed[:workers], batch, chosen["seconds"])
            watch.look()


def batched(inputs: List[Dict[str, Any]], batch: int) -> List[Dict[str, Any]]:
    """Return the inputs with another first dimension; values from files are repeated."""
    return [
        {**each, "shape": [batch, *each["shape"][1:]], "repeat": each["shape"]}
        if each["shape"]
        else each
        for each in inputs
    ]


def throughput(engines: List[Engine], batch: int, length: float) -> None:
    """Keep these engines busy for so long, and say how much they did."""
    taken: List[List[float]] = [[] for _ in engines]
    start = time.perf_counter()
    end = start + length

    def work(engine: Engine, kept: List[float]) -> None:
        while not kept or time.perf_counter() < end:
            kept.extend(timed(engine.step, 1, 1))

    at = since()
    threads = [threading.Thread(target=work, args=pair) for pair in zip(engines, taken)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    wall = time.perf_counter() - start
    count = batch * sum(map(len, taken))
    say(
        "samples",
        series="throughput",
        t=at,
        batch=1,
        batch_size=batch,
        workers=len(engines),
        inferences=count,
        wall_s=wall,
        per_second=count / wall,
        seconds=list(itertools.chain(*taken)),
    )


def server(job: Dict[str, Any], engines: List[Engine], pace: Pace, watch: Watch) -> None:
    """Queries arrive at random (Poisson); a latency lasts from the arrival to the answer."""
    chosen = job["scenario"]
    draw = random.Random(chosen["seed"])
    waiting: queue.SimpleQueue[Optional[float]] = queue.SimpleQueue()
    answered: queue.SimpleQueue[Tuple[float, float, float]] = queue.SimpleQueue()

    def work(engine: Engine) -> None:
        while True:
            due = waiting.get()
            if due is None:
                return
            start = time.perf_counter()
            engine.step()
            answered.put((due, start, time.perf_counter()))

    threads = [threading.Thread(target=work, args=(each,)) for each in engines]
    for each in threads:
        each.start()
    due = first = time.perf_counter()
    asked, said = 0, since()
    while due - first < chosen["seconds"] or asked < job["runs"]:
        due += draw.expovariate(chosen["qps"])
        wait_until(due)
        waiting.put(due)
        asked += 1
        if since() - said > CHUNK:
            tell_answers(answered, first)
            watch.look()
            said = since()
        if due - first > job["max_s"]:
            break
    backlog = waiting.qsize()
    for _ in engines:
        waiting.put(None)
    for each in threads:
        each.join()
    tell_answers(answered, first, asked=asked, backlog=backlog)


def tell_answers(
    answered: queue.SimpleQueue[Tuple[float, float, float]], first: float, **more: Any
) -> None:
    """Say what has been answered by now."""
    rows = []
    while not answered.empty():
        rows.append(answered.get())
    rows.sort()
    at = since() - (time.perf_counter() - (rows[0][0] if rows else time.perf_counter()))
    say(
        "samples",
        series="latency",
        t=round(at, 6),
        batch=1,
        seconds=[round(end - due, 9) for due, _, end in rows],
        at=[round(due - first, 6) for due, _, _ in rows],
        queued_s=[round(start - due, 9) for due, start, _ in rows],
        service_s=[round(end - start, 9) for _, start, end in rows],
        **more,
    )


def streaming(job: Dict[str, Any], engines: List[Engine], pace: Pace, watch: Watch) -> None:
    """Frames come at a fixed rate; one that is not done when the next is due is late."""
    chosen = job["scenario"]
    period = 1.0 / chosen["fps"]
    frames = max(job["runs"], int(chosen["seconds"] * chosen["fps"]))
    step = engines[0].step
    start = time.perf_counter() + period
    rows: List[Tuple[float, float]] = []
    dropped = number = 0
    at = since()
    while number < frames and number * period < job["max_s"]:
        due = start + number * period
        wait_until(due)
        begin = time.perf_counter()
        step()
        end = time.perf_counter()
        rows.append((end - due, begin - due))
        number += 1
        if chosen["on_late"] == "drop":  # a camera's next frame is its newest
            skipped = max(0, int((end - start) / period) - number)
            dropped += skipped
            number += skipped
        if since() - at > 4 * CHUNK:
            tell_frames(rows, at, period, dropped)
            rows, dropped, at = [], 0, since()
            watch.look()
    tell_frames(rows, at, period, dropped, frames=number)


def tell_frames(
    rows: List[Tuple[float, float]], at: float, period: float, dropped: int, **more: Any
) -> None:
    """Say what became of some frames."""
    say(
        "samples",
        series="latency",
        t=at,
        batch=1,
        seconds=[round(row[0], 9) for row in rows],
        queued_s=[round(row[1], 9) for row in rows],
        late=sum(row[0] > period for row in rows),
        dropped=dropped,
        **more,
    )


def wait_until(moment: float) -> None:
    """Sleep, and spin for the last bit, which sleeping would miss."""
    while True:
        left = moment - time.perf_counter()
        if left <= 0:
            return
        if left > 5e-4:
            time.sleep(left - 4e-4)


SCENARIOS = {
    "single-stream": single_stream,
    "multi-stream": multi_stream,
    "offline": offline,
    "server": server,
    "streaming": streaming,
}


# -- Taking turns, and new processes ---------------------------------------------------------------


def take_turns(engine: Engine, pace: Pace) -> None:
    """Take one turn for every line of standard input."""
    say("state", when="ready", t=since(), pace_s=pace.seconds)
    for line in sys.stdin:
        turn = json.loads(line)
        count = max(3, pace.samples(turn["seconds"]))
        timed(engine.step, max(2, count // 10), pace.batch)  # the other had the caches
        at = since()
        taken = timed(engine.step, count, pace.batch)
        pace.seconds = statistics.median(taken)
        say(
            "samples",
            series="latency",
            t=at,
            batch=pace.batch,
            seconds=taken,
            session=turn["session"],
        )


class Child:
    """A runner in a process of its own, whose lines are passed on."""

    def __init__(self, job: Dict[str, Any], **tags: Any) -> None:
        command = job.pop("command", None) or [sys.executable, str(Path(__file__).absolute())]
        self.tags = tags
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "run", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.ask(job)

    def stay_on(self, cores: List[int]) -> None:
        """Keep the process on these cores, where the system can."""
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.process.pid, cores)

    def ask(self, message: Dict[str, Any]) -> None:
        """Send one line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def finish(self) -> None:
        """Say that nothing more will be asked."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def until(self, *events: str) -> Dict[str, Any]:
        """Pass its lines on up to one of those events, which is returned."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                found: Dict[str, Any] = json.loads(line)
                event = found.pop("event")
            except (ValueError, KeyError, AttributeError):
                print(line, end="", flush=True)
                continue
            found.pop("run_id", None)
            if event == "error":
                raise Failure(found["reason"], found["message"], found.get("hint"))
            say(event, **found, **self.tags)
            if event in events or found.get("when") in events:
                return found
        raise Failure(
            "runtime_crashed",
            f"The process that ran the model ended with code {self.process.wait()}.",
        )

    def end(self) -> None:
        """Close its pipes and wait; one that does not end by itself is ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.close()
            self.process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def fastest_cores(probe: Probe, count: int) -> List[int]:
    """Return that many of the cores that this process may use, those of the highest clock first.

    Rivals share them: on cores of their own they would be compared by the cores' business too.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    if affinity is None:
        return []

    def rank(core: int) -> Tuple[float, int]:
        name = f"sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq"
        return -(probe.number(name) or 0.0), -core  # the first core has most of the interrupts

    return sorted(affinity(0), key=rank)[:count]


def run_rivals(job: Dict[str, Any], folder: Path) -> None:
    """Measure several jobs in alternating turns, in new processes per pair."""
    cores = fastest_cores(Probe(), max(each["threads"] for each in job["rivals"]))
    for pair in range(job["pairs"]):
        children = [
            Child({**each, "folder": str(folder)}, side=side, pair=pair)
            for side, each in enumerate(job["rivals"])
        ]
        try:
            for each in children:
                each.stay_on(cores)
            for each in children:
                each.until("ready")
            for number in range(job["rounds"]):
                # A B B A: a drift that goes one way favours neither.
                order = children if number % 2 == 0 else children[::-1]
                for each in order:
                    each.ask({"seconds": job["turn_s"], "session": pair * job["rounds"] + number})
                    each.until("samples")
            for each in children:
                each.finish()
                each.until("done")
        finally:
            for each in children:
                each.end()
    say("done", wall_s=since())


def run_cold(job: Dict[str, Any], folder: Path) -> None:
    """Measure load and first inference in new processes, the model's pages out of the cache."""
    once = {
        **job,
        "cold": None,
        "runs": 0,
        "min_s": 0.0,
        "copies": 0,
        "placement": False,
        "profile": 0,
        "folder": str(folder),
        "warmup": {**job["warmup"], "max_s": 0.0},
        "outputs_folder": None,
        "sustained_s": None,
    }
    for number in range(job["cold"]):
        dropped = drop_cache(folder / job["model"])
        child = Child(dict(once), cold=number)
        child.until("first")
        total = time.perf_counter() - child.started
        say(
            "samples",
            series="cold_total",
            t=since(),
            batch=1,
            seconds=[total],
            session=number,
            caches=dropped,
        )
        child.until("done")
        child.end()


def drop_cache(model: Path) -> str:
    """Ask the system to forget the file's pages; say whether it could be asked."""
    forget = getattr(os, "posix_fadvise", None)
    if forget is None or not model.is_file():
        return "kept: this system cannot drop the pages of one file"
    try:
        with model.open("rb") as file:
            os.fsync(file.fileno())
            forget(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        return f"kept: {error.strerror}"
    return "the model's pages were dropped; the runtime's libraries stay"


# -- A whole run -----------------------------------------------------------------------------------


def ready(job: Dict[str, Any], folder: Path) -> Engine:
    """Return an engine with its inputs in place."""
    engine = opened(job)
    engine.fill(arrays_of(job, folder))
    return engine


def run(job: Dict[str, Any], folder: Path) -> None:
    """Measure what a job asks for."""
    probe = Probe(job["state_root"])
    say("facts", **facts(probe))
    probe.other_cpu()  # its first look: busy since when
    time.sleep(0.06)
    say("state", when="before", t=since(), **probe.state())
    if job["cold"]:
        run_cold(job, folder)
    start = time.perf_counter()
    imports(job["runtime"])
    imported_at = time.perf_counter()
    engine = opened(job)
    loaded = time.perf_counter()
    engine.fill(arrays_of(job, folder))
    say(
        "load",
        seconds=loaded - imported_at,
        engine=engine.name,
        peak_rss_bytes=memory_peak(),
        stages={"import": imported_at - start, "open": loaded - imported_at},
    )
    say("first", seconds=timed(engine.step, 1, 1)[0])
    if job["outputs_folder"] is not None:
        say("outputs", files=keep_outputs(engine, folder / job["outputs_folder"]))
    if job["placement"]:
        say("placement", **guarded(engine.placement))
    gc.collect()
    gc.disable()
    pace = warm_up(engine, job)
    if job["turns"]:
        take_turns(engine, pace)
    else:
        measure(job, engine, pace, Watch(probe))
        say("state", when="after", t=since(), **probe.state())
    if job["profile"]:
        say("profile", **guarded(lambda: engine.profile(job["profile"])))
    say(
        "done",
        wall_s=since(),
        cpu_s=sum(os.times()[:2]),
        peak_rss_bytes=memory_peak(),
        switches=switches(),
    )


def measure(job: Dict[str, Any], engine: Engine, pace: Pace, watch: Watch) -> None:
    """Take the samples of a scenario, then of copying, then of the empty loop."""
    chosen = job["scenario"]
    scenario = SCENARIOS.get(chosen["name"])
    if scenario is None:
        raise Failure(
            "unsupported_job",
            f"This runner has no scenario {chosen['name']!r}.",
            f"It has {', '.join(SCENARIOS)}.",
        )
    workers = chosen.get("workers", 1)
    others = workers - 1 if isinstance(workers, int) else 0  # offline opens its own
    engines = [engine] + [
        ready({**job, "placement": False}, Path(job["folder"])) for _ in range(others)
    ]
    for each in engines[1:]:
        timed(each.step, 3, 1)
    watch.tell()
    scenario(job, engines, pace, watch)
    watch.tell()
    if job["copies"]:
        copies(engine, arrays_of(job, Path(job["folder"])), job["copies"])
        say("samples", series="overhead", t=since(), batch=1, seconds=overhead())


def copies(engine: Engine, arrays: List[Any], count: int) -> None:
    """Measure what copying inputs in and outputs out takes, beside the model's own time."""
    rows = []
    for _ in range(count + 1):
        start = clock()
        engine.fill(arrays)
        filled = clock()
        engine.step()
        stepped = clock()
        engine.fetch()
        end = clock()
        rows.append((filled - start, end - stepped, end - start))
    for name, column in zip(("copy_in", "copy_out", "with_copies"), zip(*rows[1:])):
        say(
            "samples",
            series=name,
            t=since(),
            batch=1,
            seconds=[round(each * 1e-9, 10) for each in column],
        )


def keep_outputs(engine: Engine, folder: Path) -> List[str]:
    """Write the outputs of the last step as .npy files; return their names."""
    np = imported("numpy")
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, array in enumerate(engine.fetch()):
        np.save(folder / f"out{number}.npy", array, allow_pickle=False)
        names.append(f"out{number}.npy")
    return names


def guarded(read: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
    """Return what is read, or that it was not: what comes beside a measurement never ends it."""
    try:
        return read()
    except Exception as error:
        return {"not_run": one_line(error)}


def imports(runtime: str) -> None:
    """Import a runtime's package, so that this is timed apart from loading the model."""
    name = {"onnxruntime": "onnxruntime", "tensorflow": "tensorflow"}.get(runtime)
    if name is None and runtime in RUNTIMES:
        name = f"{RUNTIMES[runtime][0]}.interpreter"
    if name is not None:
        imported(name)


KEYS = """
schema_version run_id model format runtime threads inputs outputs outputs_folder scenario warmup
runs min_s max_s max_samples copies sustained_s cold turns delegate delegate_options providers
provider_options session_config profile placement state_root folder
""".split()
RIVALS = ["schema_version", "run_id", "rivals", "rounds", "turn_s", "pairs"]


def checked(job: Any) -> Dict[str, Any]:
    """Return a job that has all keys of its kind and no other.

    Raises:
        Failure: it has not.
    """
    if not isinstance(job, dict):
        raise Failure("unsupported_job", "The job is no JSON object.")
    wanted = set(RIVALS if "rivals" in job else KEYS)
    unknown, absent = sorted(set(job) - wanted), sorted(wanted - set(job) - {"folder"})
    if unknown or absent or job["schema_version"] != VERSION:
        said = [
            f"unknown {', '.join(unknown)}" * bool(unknown),
            f"no {', '.join(absent)}" * bool(absent),
        ]
        raise Failure(
            "unsupported_job",
            f"This runner cannot take the job: {'; '.join(filter(None, said))}.",
            f"It reads version {VERSION}; the edgekit that made the job has its own runner.",
        )
    return job


def read_job(name: str) -> Tuple[Dict[str, Any], Path]:
    """Return a job and the folder of its files; ``-`` reads a line of standard input."""
    try:
        text = sys.stdin.readline() if name == "-" else Path(name).read_text()
        job = checked(json.loads(text))
    except (OSError, ValueError) as error:
        raise Failure(
            "unsupported_job", f"The job {name} cannot be read: {one_line(error)}"
        ) from error
    folder = Path(job.get("folder") or ("." if name == "-" else Path(name).absolute().parent))
    if "model" in job:
        job["model"], job["folder"] = str(folder / job["model"]), str(folder)
    return job, folder


def main(arguments: List[str]) -> int:
    """Do what the command line says; return the exit code."""
    global run_id
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        if arguments == ["facts"]:
            say("facts", **facts(Probe()))
        elif len(arguments) == 2 and arguments[0] == "run":
            job, folder = read_job(arguments[1])
            run_id = job["run_id"]
            (run_rivals if "rivals" in job else run)(job, folder)
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except Failure as failure:
        say("error", reason=failure.reason, message=failure.message, hint=failure.hint)
        return 1
    except MemoryError:
        say(
            "error", reason="out_of_memory", message="Memory ran out.", hint="Close other programs."
        )
        return 1
    except BrokenPipeError:
        return 1
    except Exception as error:
        traceback.print_exc()
        say("error", reason="run_failed", message=one_line(error), hint=None)
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # vendors' destructors have nothing to add, and some of them crash
