"""What the C wrapper's templates speak of: fields, types, constants and calls as C99."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.errors import UsageError
from edgekit.packages import Cargo
from edgekit.packages._templates import c_string
from edgekit.processing.binding import tensors_of
from edgekit.processing.reference.sound import hann, mel_filters
from edgekit.processing.schema import Step
from edgekit.tensors import TensorSpec

_TYPES = {
    "float32": "float",
    "float64": "double",
    "int64": "int64_t",
    "int32": "int32_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "bool": "uint8_t",
}
_KEYWORDS = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline
    int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while
    and asm bool catch class delete export false friend mutable namespace new not operator or
    private protected public template this throw true try typename using virtual xor
    inputs outputs prediction run context put get same steps
    """.split()  # noqa: SIM905
)
_SPACES = [0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
_LOGS = {"none": "NO_LOG", "db": "DECIBELS", "ln": "NATURAL"}
_ACTIVATIONS = {"none": "RAW", "softmax": "SOFTMAX", "sigmoid": "SIGMOID"}


def wrapper_values(cargo: Cargo, alignment: int, arena: int) -> dict[str, Any]:
    """Return all that the templates of header, source and self-check name."""
    name, bound = cargo.card.name, cargo.bound
    inputs = {spec.name: _tensor(spec) for spec in bound.signature.inputs}
    outputs = {spec.name: _tensor(spec) for spec in bound.signature.outputs}
    before = [_argument(name, step, inputs) for step in bound.before]
    words = [
        len(word.encode())
        for step in bound.before
        if step.kind == "tokens"
        for word in step.options["vocabulary"]
    ]
    workspaces = [each["workspace"] for each in before if "workspace" in each]
    return {
        "card": cargo.card,
        "name": name,
        "upper": name.upper(),
        "alignment": alignment,
        "model_size": cargo.artifact.size_bytes,
        "arena": arena,
        "inputs": list(inputs.values()),
        "outputs": list(outputs.values()),
        "before": before,
        "after": [_result(name, step, outputs) for step in bound.after],
        "kinds": {step.kind for step in (*bound.before, *bound.after)},
        "puts": any(not _copies(step) for step in bound.before),
        "parameters": [each for step in before for each in step["parameters"]] + workspaces,
        "workspaces": workspaces,
        "spaces": [chr(code) for code in _SPACES],
        "longest_word": max(words, default=0),
    }


def selfcheck_values(cargo: Cargo) -> dict[str, Any]:
    """Return what the template of the self-check names beside those of the wrapper."""
    arrays: list[dict[str, str]] = []
    samples = [
        _sample(cargo, number, entry, arrays)
        for number, entry in enumerate(cargo.selfcheck.table, 1)
    ]
    return {"arrays": arrays, "samples": samples}


def model_source(name: str, model: bytes, alignment: int) -> bytes:
    """Return the C file that holds the model."""
    rows = (model[place : place + 16] for place in range(0, len(model), 16))
    lines = ["    0x" + row.hex(" ").replace(" ", ", 0x") + "," for row in rows]
    text = [
        f'#include "{name}.h"',
        "",
        "#if defined(__GNUC__) || defined(__clang__) || defined(__ARMCC_VERSION)",
        f"#define ALIGNED __attribute__((aligned({alignment})))",
        "#elif defined(_MSC_VER)",
        f"#define ALIGNED __declspec(align({alignment}))",
        "#else",
        "#error Say here how this compiler aligns an array",
        "#endif",
        "",
        f"ALIGNED const uint8_t {name}_model[{name.upper()}_MODEL_SIZE] = {{",
        *lines,
        "};",
    ]
    return ("\n".join(text) + "\n").encode()


def _name(name: str) -> str:
    """Return the name of a tensor or a step as C takes it."""
    field = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    field = f"_{field}" if not field or field[0].isdigit() else field
    return f"{field}_" if field in _KEYWORDS else field


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    if spec.dtype.value not in _TYPES:
        raise UsageError(f"{spec} has no place in a C wrapper.")
    return {
        "field": _name(spec.name),
        "type": _TYPES[spec.dtype.value],
        "tag": spec.dtype.value.upper(),
        "doc": str(spec),
        "shape": [size if isinstance(size, int) else 1 for size in spec.shape],
    }


def _copies(step: Step) -> bool:
    """Return whether a step hands integers on as they are."""
    return step.kind == "tensor" and np.dtype(step.options["dtype"]).kind in "iub"


def _braces(items: Iterable[Any]) -> str:
    return "{" + ", ".join(map(str, items)) + "}"


def _numbers(values: Iterable[float], indent: str = "    ") -> str:
    """Return an initializer with a few numbers a line."""
    texts = [repr(float(value)) for value in values]
    rows = (texts[place : place + 6] for place in range(0, len(texts), 6))
    return "{\n" + "".join(f"{indent}{', '.join(row)},\n" for row in rows) + "}"


def _struct(kind: str, name: str, fields: Mapping[str, Any]) -> str:
    lines = "".join(f"    .{key} = {value},\n" for key, value in fields.items())
    return f"static const {kind} {name} = {{\n{lines}}};"


def _per_channel(values: Sequence[float], count: int) -> list[float]:
    return [values[place if len(values) > 1 else 0] for place in range(count)]


# -- Before the model ------------------------------------------------------------------------------


def _argument(name: str, step: Step, tensors: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    field = _name(step.name)
    targets = [tensors[each] for each in tensors_of(step)]
    return {"kind": step.kind, "field": field, "constants": ""} | _ARGUMENTS[step.kind](
        name, field, step, targets
    )


def _image(name: str, field: str, step: Step, targets: list[Any]) -> dict[str, Any]:
    options = step.options
    last = options["layout"] == "nhwc"
    _, *sizes = options["shape"]
    height, width, depth = sizes if last else (*sizes[1:], sizes[0])
    place = f"inputs->{targets[0]['field']}"
    fields = {
        "type": targets[0]["tag"],
        "height": height,
        "width": width,
        "depth": depth,
        "channels_last": int(last),
        "channels": options["channels"].upper(),
        "resize": options["resize"].upper(),
        "size": _braces(options["size"] or (0, 0)),
        "crop": _braces(options["crop"] or (0, 0)),
        "interpolation": options["interpolation"].upper(),
        "fill": options["fill"],
        "divide_by": options["divide_by"],
        "mean": _braces(_per_channel(options["mean"], 3)),
        "std": _braces(_per_channel(options["std"], 3)),
    }
    return {
        "parameters": [f"const {name}_picture *{field}"],
        "doc": "a picture of any size that its steps take",
        "constants": _struct("picture_steps", f"steps_of_{field}", fields),
        "lines": [
            f"if (prepare_picture({field}, &steps_of_{field}, {place}) != 0) {{",
            "    return -1;",
            "}",
        ],
    }


def _log_mel(name: str, field: str, step: Step, targets: list[Any]) -> dict[str, Any]:
    options = step.options
    rate, mels, points = (options[key] for key in ("sample_rate", "mels", "fft"))
    filters = mel_filters(rate, points, mels, options["low_hz"], options["high_hz"], "none")
    totals = filters.sum(axis=1) if options["mel_norm"] == "sum" else np.ones(mels)
    low, high = (1127 * np.log1p(options[key] / 700) for key in ("low_hz", "high_hz"))
    edges = 700 * (np.exp(np.linspace(low, high, mels + 2) / 1127) - 1)
    tables = {
        "window": hann(options["frame"], options["window"]),
        "edges": edges,
        "totals": totals,
    }
    fields = {
        "type": targets[0]["tag"],
        "samples": options["samples"],
        "frame": options["frame"],
        "hop": options["hop"],
        "points": points,
        "mels": mels,
        "power": int(options["spectrum"] == "power"),
        "spectrum_divide_by": options["spectrum_divide_by"],
        "hertz": repr(rate / points),
        **{key: f"{key}_of_{field}" for key in tables},
        "log": _LOGS[options["log"]],
        "floor": options["floor"],
        "offset": options["offset"],
        "clip": _braces(options["clip"] or ("-HUGE_VAL", "HUGE_VAL")),
        "round": int(options["round"]),
        "mels_first": int(options["layout"] == "mel_time"),
        "divide_by": options["divide_by"],
        "mean": options["mean"][0],
        "std": options["std"][0],
    }
    arrays = [
        f"static const double {key}_of_{field}[] = {_numbers(values)};\n"
        for key, values in tables.items()
    ]
    work = f"{field}_workspace"
    call = f"{field}, {field}_size, &steps_of_{field}, {work}->real, {work}->imaginary"
    return {
        "parameters": [f"const float *{field}", f"size_t {field}_size"],
        "workspace": f"{name}_{work} *{work}",
        "doc": f"sound, samples in -1..1 at {rate} Hz",
        "fft": points,
        "constants": "\n".join([*arrays, _struct("sound_steps", f"steps_of_{field}", fields)]),
        "lines": [f"prepare_sound({call}, inputs->{targets[0]['field']});"],
    }


def _tokens(_name: str, field: str, step: Step, targets: list[Any]) -> dict[str, Any]:
    options = step.options
    ids = {word: place for place, word in enumerate(options["vocabulary"])}
    ordered = sorted(ids, key=str.encode)
    letters = _lowered(options["vocabulary"]) if options["lower"] else []
    mask = targets[1] if options["mask"] else None
    fields = {
        "words": f"words_of_{field}",
        "count": len(ordered),
        "letters": f"letters_of_{field}" if letters else "NULL",
        "letter_count": len(letters),
        "length": options["length"],
        "lower": int(options["lower"]),
        "pieces": int(options["tokenizer"] == "wordpiece"),
        "padding": ids[options["padding"]],
        "unknown": ids[options["unknown"]],
        "begin": ids.get(options["begin"], -1),
        "end": ids.get(options["end"], -1),
        "ids_type": targets[0]["tag"],
        "mask_type": mask["tag"] if mask else targets[0]["tag"],
    }
    lines = [f"static const word words_of_{field}[] = {{"]
    lines += [f"    {{{c_string(word)}, {ids[word]}}}," for word in ordered] + ["};\n"]
    if letters:
        lines += [f"static const letter letters_of_{field}[] = {{"]
        lines += [f"    {{{c_string(large)}, {c_string(small)}}}," for large, small in letters]
        lines += ["};\n"]
    lines.append(_struct("text_steps", f"steps_of_{field}", fields))
    place = f"inputs->{mask['field']}" if mask else "NULL"
    return {
        "parameters": [f"const char *{field}"],
        "doc": "text in UTF-8",
        "constants": "\n".join(lines),
        "lines": [
            f"prepare_text({field}, &steps_of_{field}, inputs->{targets[0]['field']}, {place});"
        ],
    }


def _lowered(vocabulary: Iterable[str]) -> list[tuple[str, str]]:
    """Return the letters beyond ASCII that have a small form and may decide what a word is.

    Any other letter makes a word unknown, small or large.
    """
    alphabet = {letter for word in vocabulary for letter in word}
    if alphabet & set("σς"):
        raise UsageError(
            "The C wrapper cannot lower Greek, whose last sigma in a word has its own form."
        )
    letters = (chr(code) for code in range(128, 0x110000) if not 0xD800 <= code < 0xE000)
    return [
        (letter, letter.lower())
        for letter in letters
        if letter.lower() != letter and (letter in alphabet or alphabet >= set(letter.lower()))
    ]


def _plain(_name: str, field: str, step: Step, targets: list[Any]) -> dict[str, Any]:
    options = step.options
    count = math.prod(options["shape"])
    target = f"inputs->{targets[0]['field']}"
    kind = targets[0]["type"] if _copies(step) else "float"
    steps, lines = "", [f"{target}[i] = {field}[i];"]
    if not _copies(step):
        period = max(len(options["mean"]), len(options["std"]))
        value = f"{field}[i] / {options['divide_by']!r}"
        mean, std = (_per_channel(options[key], period) for key in ("mean", "std"))
        shift = f"mean_of_{field}[i % {period}]" if period > 1 else repr(mean[0])
        scale = f"std_of_{field}[i % {period}]" if period > 1 else repr(std[0])
        lines = [f"put({target}, {targets[0]['tag']}, i, ({value} - {shift}) / {scale});"]
        if period > 1:
            steps = f"static const double mean_of_{field}[] = {_numbers(mean)};\n"
            steps += f"static const double std_of_{field}[] = {_numbers(std)};"
    return {
        "parameters": [f"const {kind} *{field}"],
        "doc": f"{count} numbers of shape {list(options['shape'])}, row by row",
        "constants": steps,
        "lines": [f"for (size_t i = 0; i < {count}; i++) {{", f"    {lines[0]}", "}"],
    }


_ARGUMENTS = {"image": _image, "log_mel": _log_mel, "tokens": _tokens, "tensor": _plain}


# -- After the model -------------------------------------------------------------------------------


def _result(name: str, step: Step, tensors: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    field = _name(step.name)
    read = [tensors[each] for each in tensors_of(step)]
    values = _RESULTS[step.kind](name, field, step, read)
    return {"field": field, "labels": step.options.get("labels"), "counted": False} | values


def _classes(name: str, field: str, step: Step, read: list[Any]) -> dict[str, Any]:
    options, labels = step.options, step.options["labels"]
    most = min(options["top_k"] or len(labels), len(labels))
    least = "-HUGE_VAL" if options["threshold"] is None else repr(options["threshold"])
    call = f"outputs->{read[0]['field']}, {read[0]['tag']}, {len(labels)}"
    call += f", {_ACTIVATIONS[options['activation']]}, {name}_{field}_labels, {most}, {least}"
    return {
        "type": f"{name}_scored",
        "count": most,
        "counted": True,
        "doc": "Classes and their scores, the highest first.",
        "lines": [f"prediction->{field}_count = find_classes({call}, prediction->{field});"],
    }


def _class_map(_name: str, field: str, step: Step, read: list[Any]) -> dict[str, Any]:
    shape, last = read[0]["shape"], step.options["axis"] == 3
    classes = shape[step.options["axis"]]
    area = math.prod(shape) // classes
    place = f"i * {classes} + c" if last else f"c * {area} + i"
    value = f"get(outputs->{read[0]['field']}, {read[0]['tag']}, {place})"
    return {
        "type": "uint8_t",
        "count": area,
        "doc": "The class of each pixel, row by row.",
        "lines": [
            f"for (size_t i = 0; i < {area}; i++) {{",
            "    double most = -HUGE_VAL;",
            f"    for (size_t c = 0; c < {classes}; c++) {{",
            f"        double score = {value};",
            "        if (score > most) {",
            "            most = score;",
            f"            prediction->{field}[i] = (uint8_t)c;",
            "        }",
            "    }",
            "}",
        ],
    }


def _boxes(name: str, field: str, step: Step, read: list[Any]) -> dict[str, Any]:
    options = step.options
    fields = {
        "corners_type": read[0]["tag"],
        "scores_type": read[1]["tag"],
        "total": read[0]["shape"][-2],
        "classes": len(options["labels"]),
        "format": options["format"].upper(),
        "sigmoid": int(options["activation"] == "sigmoid"),
        "threshold": options["threshold"],
        "iou": options["iou"],
        "most": options["top_k"],
    }
    places = f"outputs->{read[0]['field']}, outputs->{read[1]['field']}"
    call = f"{places}, &steps, {name}_{field}_labels, prediction->{field}"
    constant = _struct("box_steps", "steps", fields).split("\n")
    lines = ["{", *(f"    {line}" for line in constant)]
    lines += [f"    prediction->{field}_count = find_boxes({call});", "}"]
    return {
        "type": f"{name}_box",
        "count": options["top_k"],
        "counted": True,
        "doc": "Objects, the surest first.",
        "lines": lines,
    }


def _values(_name: str, field: str, step: Step, read: list[Any]) -> dict[str, Any]:
    count, kind = math.prod(read[0]["shape"]), _TYPES[step.options["dtype"]]
    value = f"get(outputs->{read[0]['field']}, {read[0]['tag']}, i)"
    if not step.options["normalize"]:
        lines = [
            f"for (size_t i = 0; i < {count}; i++) {{",
            f"    prediction->{field}[i] = ({kind}){value};",
            "}",
        ]
    else:
        lines = [
            "{",
            "    double squares = 0;",
            f"    for (size_t i = 0; i < {count}; i++) {{",
            f"        squares += {value} * {value};",
            "    }",
            "    squares = squares > 0 ? sqrt(squares) : 1;",
            f"    for (size_t i = 0; i < {count}; i++) {{",
            f"        prediction->{field}[i] = ({kind})({value} / squares);",
            "    }",
            "}",
        ]
    return {
        "type": kind,
        "count": count,
        "doc": f"The output {step.options['output']}.",
        "lines": lines,
    }


_RESULTS = {"classes": _classes, "class_map": _class_map, "boxes": _boxes, "values": _values}


# -- The self-check --------------------------------------------------------------------------------


def _sample(
    cargo: Cargo, number: int, entry: Mapping[str, Any], arrays: list[dict[str, str]]
) -> dict[str, Any]:
    """Return one recorded sample; its numbers go to `arrays`."""
    data, signature = cargo.selfcheck.data, cargo.bound.signature
    declared, passed = [], []
    for step, argument in zip(cargo.bound.before, entry["arguments"], strict=True):
        array = f"{_name(step.name)}_{number}"
        content = data[argument["offset"] : argument["offset"] + argument["bytes"]]
        arrays.append({"name": array} | _recorded(argument, content, step))
        if step.kind == "image":
            height, width, channels = argument["shape"]
            kind = f"{cargo.card.name}_picture"
            declared.append(
                f"const {kind} picture_{array} = {{{array}, {height}, {width}, {channels}}};"
            )
            passed.append(f"&picture_{array}")
        else:
            passed.append(array)
        if step.kind == "log_mel":
            passed.append(str(argument["shape"][0]))
    passed += [f"{_name(s.name)}_workspace" for s in cargo.bound.before if s.kind == "log_mel"]
    return {
        "declared": declared,
        "passed": passed,
        "inputs": [
            _probe("input", probe, signature.inputs, number, data, arrays)
            for probe in entry["inputs"]
        ],
        "outputs": [
            _probe("output", probe, signature.outputs, number, data, arrays)
            for probe in entry["outputs"]
        ],
        "best": [(_name(field), index) for field, index in entry["best"].items()],
    }


def _recorded(argument: Mapping[str, Any], content: bytes, step: Step) -> dict[str, str]:
    if argument["dtype"] == "text":
        return {"type": "char", "content": c_string(content.decode())}
    values = np.frombuffer(content, np.dtype(argument["dtype"]).newbyteorder("<"))
    kind = _TYPES[step.options["dtype"]] if _copies(step) else _TYPES[argument["dtype"]]
    texts = [_float(value) if values.dtype.kind == "f" else str(value) for value in values.tolist()]
    rows = (texts[place : place + 12] for place in range(0, len(texts), 12))
    return {"type": kind, "content": "{\n" + "".join(f"    {', '.join(r)},\n" for r in rows) + "}"}


def _float(value: float) -> str:
    """Return a float32 as C; nine digits tell it from its neighbours."""
    text = f"{value:.9g}"
    return f"{text}f" if set(text) & set(".e") else f"{text}.0f"


def _probe(
    side: str,
    probe: Mapping[str, Any],
    specs: Sequence[TensorSpec],
    number: int,
    data: bytes,
    arrays: list[dict[str, str]],
) -> dict[str, Any]:
    (tensor,) = (_tensor(spec) for spec in specs if spec.name == probe["name"])
    count = -(-probe["size"] // probe["stride"])
    array = f"{side}_{tensor['field']}_{number}"
    values = np.frombuffer(data, "<f8", count, probe["offset"])
    arrays.append({"type": "double", "name": array, "content": _numbers(values)})
    return {**probe, **tensor, "type": tensor["tag"], "array": array, "bound": repr(probe["bound"])}
