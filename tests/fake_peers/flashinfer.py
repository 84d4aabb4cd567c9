"""FlashInfer's two wrappers: they read the pages that plan() was given, and refuse what does not fit together."""
import numpy
import torch

__version__ = "0.0.1"


def states(query, cache, indptr, indices, last_page, page, group, rows, scale):
    """(out, weight sums) of each query over the pages of its list; rows: the list of each query."""
    key, value = (array.reshape(-1, *array.shape[2:]) for array in cache)
    out, total = numpy.zeros(query.shape), numpy.zeros(query.shape[:2])
    for row, entry in enumerate(rows):
        pages = indices[indptr[entry]:indptr[entry + 1]]
        slots = [at * page + i for at in pages for i in range(page)]
        slots = slots[:len(slots) - page + last_page[entry]]
        keys, values = key[slots].repeat(group, 1), value[slots].repeat(group, 1)
        weights = numpy.exp(numpy.einsum("hd,thd->ht", query[row], keys) * scale)
        total[row], out[row] = weights.sum(1), numpy.einsum("ht,thd->hd", weights, values)
    return out, total


class Wrapper:
    def __init__(self, num_levels, workspace, layout):
        assert layout == "NHD"
        self.num_levels = num_levels

    def plan(self, qo_indptr, indptr, indices, last_page, heads, kv_heads, head_dim, page, q_data_type):
        assert len(qo_indptr) == len(indptr) == len(indices) == len(last_page) == self.num_levels
        self.levels, self.page, self.shape = list(zip(qo_indptr, indptr, indices, last_page)), page, (heads, kv_heads, head_dim)

    def run(self, query, cache):
        heads, kv_heads, head_dim = self.shape
        assert cache[0].shape[1:] == (self.page, kv_heads, head_dim) and query.shape[1:] == (heads, head_dim)
        torch.cuda.calls += 1
        if torch.cuda.is_capturing:
            return query
        out, total = 0, 0
        for qo_indptr, indptr, indices, last_page in self.levels:
            rows = [i for i in range(len(qo_indptr) - 1) for _ in range(qo_indptr[i], qo_indptr[i + 1])]
            assert len(rows) == len(query)
            o, l = states(query, cache, indptr, indices, last_page, self.page, heads // kv_heads, rows, head_dim ** -0.5)
            out, total = out + o, total + l
        return (out / total[..., None]).view(torch.Tensor)


MultiLevelCascadeAttentionWrapper = Wrapper


class BatchDecodeWithPagedKVCacheWrapper(Wrapper):
    def __init__(self, workspace, layout, use_tensor_cores):
        super().__init__(1, workspace, layout)

    def plan(self, indptr, indices, last_page, *shape, q_data_type):
        super().plan([list(range(len(indptr)))], [indptr], [indices], [last_page], *shape, q_data_type=q_data_type)
