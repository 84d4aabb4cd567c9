"""As much of torch as scripts/peers.py uses, on NumPy: tests/test_peers.sh. A graph counts its calls; time is their number."""
import contextlib
import types

import numpy

__version__ = "9.9"
float16, int32, int64, uint8 = numpy.float32, numpy.int32, numpy.int64, numpy.uint8  # no rounding
version = types.SimpleNamespace(cuda="13.0")
numbers = numpy.random.RandomState(0)


class Tensor(numpy.ndarray):
    def float(self):
        return self

    def contiguous(self):
        return self

    def transpose(self, first, second):
        return self.swapaxes(first, second)

    def abs(self):
        return numpy.abs(self)


def manual_seed(seed):
    numbers.seed(seed)


def randn(*shape, dtype, device):
    return numbers.standard_normal(shape).astype(dtype).view(Tensor)


def tensor(values, dtype, device):
    return numpy.array(values, dtype).view(Tensor)


def empty(*shape, dtype, device):
    return numpy.zeros(shape if dtype != uint8 else 1, dtype).view(Tensor)


def softmax(scores, axis):
    weights = numpy.exp(scores - scores.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def einsum(how, *arrays):
    return numpy.einsum(how, *arrays).view(Tensor)


def scaled_dot_product_attention(query, key, value, scale, enable_gqa):
    group = query.shape[1] // key.shape[1]
    assert enable_gqa == (group > 1), "as many heads of K and V as of queries"
    cuda.calls += 1
    if cuda.is_capturing:
        return query
    key, value = key.repeat(group, 1), value.repeat(group, 1)
    weights = softmax(numpy.einsum("qhod,qhtd->qhot", query, key) * scale, -1)
    return numpy.einsum("qhot,qhtd->qhod", weights, value).view(Tensor)


nn = types.SimpleNamespace(functional=types.SimpleNamespace(scaled_dot_product_attention=scaled_dot_product_attention))


class Stream:
    def wait_stream(self, other):
        pass


class CUDAGraph:
    num_calls = 0

    def replay(self):
        cuda.clock_us += 3.5 * self.num_calls


class Event:
    def __init__(self, enable_timing):
        self.at = 0.0

    def record(self):
        self.at = cuda.clock_us

    def elapsed_time(self, end):
        return (end.at - self.at) / 1000


@contextlib.contextmanager
def capture(graph):
    before, cuda.is_capturing = cuda.calls, True
    yield
    graph.num_calls, cuda.is_capturing = cuda.calls - before, False


cuda = types.SimpleNamespace(
    calls=0, is_capturing=False, clock_us=0.0, Stream=Stream, CUDAGraph=CUDAGraph, Event=Event, graph=capture, current_stream=Stream,
    stream=lambda stream: contextlib.nullcontext(), synchronize=lambda: None, empty_cache=lambda: None,
    is_available=lambda: True, get_device_name=lambda: "NVIDIA H200")
