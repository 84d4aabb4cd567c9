"""The file reasoner.weights: written and read with the standard library alone. model/weights.h defines the format.

Numbers pass through arrays of fp32 ('f'); a matrix is rounded to int8 with one scale per row when it is written, so a
model that is read back has the accuracy that its file has."""
import array
import os
import sys
import zlib

MAGIC = "treeattn-reasoner 1"
SHAPE = ("layers", "width", "heads", "kv_heads", "head_dim", "hidden")
KEYS = ("vocabulary", *SHAPE, "rope_base", "norm_eps", "context", "encoding", "command", "commit", "seed", "split",
        "bytes")


class Damaged(Exception):
    """The file is not a weights file of this version, is cut off, or has changed."""


def tensors(header: dict) -> list[tuple[str, int, int]]:
    """(name, rows, columns) in the order of the file; a norm has no rows."""
    vocabulary, width, hidden = len(header["vocabulary"]), int(header["width"]), int(header["hidden"])
    queries, keys = (int(header[count]) * int(header["head_dim"]) for count in ("heads", "kv_heads"))
    layer = [("attention_norm", 0, width), ("wq", queries, width), ("wk", keys, width), ("wv", keys, width),
             ("wo", width, queries), ("mlp_norm", 0, width), ("w_gate", hidden, width), ("w_up", hidden, width),
             ("w_down", width, hidden)]
    layers = [(f"layers.{i}.{name}", rows, columns)
              for i in range(int(header["layers"])) for name, rows, columns in layer]
    return [("embedding", vocabulary, width), *layers, ("final_norm", 0, width)]


def little_endian(numbers: array.array) -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def from_little_endian(payload: bytes) -> array.array:
    numbers = array.array("f", payload)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def round_rows(values: array.array, rows: int, columns: int) -> tuple[array.array, array.array]:
    """values [rows][columns] -> scales [rows] and int8 [rows][columns], -127 to 127."""
    scales, rounded = array.array("f"), array.array("b")
    for start in range(0, rows * columns, columns):
        row = values[start:start + columns]
        scales.append(max(max(row), -min(row)) / 127 or 1.0)
        inverse = 1 / scales[-1]
        rounded.extend([min(127, max(-127, round(value * inverse))) for value in row])
    return scales, rounded


def write(path: str, header: dict, values: dict[str, array.array]) -> None:
    """Writes the whole file or, if that fails, none: it has a temporary name until it is complete."""
    parts = []
    for name, rows, columns in tensors(header):
        if rows:
            scales, rounded = round_rows(values[name], rows, columns)
            parts += [little_endian(scales), rounded.tobytes()]
        else:
            parts.append(little_endian(values[name]))
    payload = b"".join(parts)
    header = {**header, "encoding": "int8", "bytes": len(payload)}
    quoted = header["vocabulary"].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    lines = [MAGIC] + [f"{key} {header[key]}" if key != "vocabulary" else f'vocabulary "{quoted}"' for key in KEYS]
    text = "".join(line + "\n" for line in lines).encode("ascii")
    temporary = f"{path}.part-{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            file.write(text + f"crc32 {zlib.crc32(payload, zlib.crc32(text)):08x}\n\n".encode() + payload)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def read(path: str) -> tuple[dict, dict[str, array.array]]:
    """(header with texts as values, name -> fp32 values), as the file stands for them."""
    with open(path, "rb") as file:
        data = file.read()
    end = data.find(b"\n\n")
    if end < 0 or not data.startswith(f"{MAGIC}\n".encode()):
        raise Damaged(f"{path}: not a weights file of version 1")
    text, payload = data[:end + 1], data[end + 2:]
    header = dict(line.partition(" ")[::2] for line in text.decode("ascii", "replace").splitlines()[1:])
    if tuple(header) != (*KEYS, "crc32"):
        raise Damaged(f"{path}: its header lacks a line, or has another one")
    covered = text[:text.rindex(b"crc32 ")]
    if f"{zlib.crc32(payload, zlib.crc32(covered)):08x}" != header["crc32"] or len(payload) != int(header["bytes"]):
        raise Damaged(f"{path}: damaged or cut off, its checksum is another one")
    header["vocabulary"] = header["vocabulary"][1:-1].replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    values, place = {}, 0
    for name, rows, columns in tensors(header):
        scales = from_little_endian(payload[place:place + 4 * (rows or columns)])
        place += 4 * (rows or columns)
        values[name] = scales
        if rows:
            rounded = array.array("b", payload[place:place + rows * columns])
            place += rows * columns
            values[name] = array.array("f", (scale * value for row, scale in enumerate(scales)
                                             for value in rounded[row * columns:(row + 1) * columns]))
    return header, values
