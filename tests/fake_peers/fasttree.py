"""FastTree's functions. FAKE_FASTTREE=wrong: its last token is lost; breaks: it ends with an error."""
import os

import numpy
import torch


class FastTreeParams:
    def set_values(self, *values):
        self.values = values

    def set_q_tile_sizes(self, tiles):
        self.tiles = tiles

    def set_kv_tile_sizes(self, tiles):
        pass

    def set_kv_group_num(self, group):
        self.group = group


def fasttree_preparation(nodes, first, batch, heads, kv_heads, head_dim, splits, below, above, params):
    print("this is not for the reader")
    assert params.group == heads // kv_heads and nodes[0].parent == -1
    paths = [[] for _ in range(batch)]
    for number, node in enumerate(nodes):
        assert node.id == number and node.seqlen == first[number + 1] - first[number]
        assert node.num_children == sum(other.parent == number for other in nodes)
        for request in node.requests:
            paths[request] += range(first[number], first[number + 1])
    return (paths, params.group), None


def fasttree_decode(query, key, value, out, paths, group, q_tiles, kv_tiles, scale):
    how = os.environ.get("FAKE_FASTTREE")
    if how == "breaks":
        raise RuntimeError("no kernel image\nsecond line")
    torch.cuda.calls += 1
    for row, path in enumerate([] if torch.cuda.is_capturing else paths):
        slots = path[:-1] if how == "wrong" else path
        keys, values = key[slots].repeat(group, 1), value[slots].repeat(group, 1)
        weights = torch.softmax(numpy.einsum("hd,thd->ht", query[row], keys) * scale, -1)
        out[row] = numpy.einsum("ht,thd->hd", weights, values)
