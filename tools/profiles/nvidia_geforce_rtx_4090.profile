treeattn-profile 1
gpu NVIDIA GeForce RTX 4090
measured no
source NVIDIA Ada GPU architecture whitepaper, GeForce RTX 4090
multiprocessors 128
l2_mib 72
dram_gbps 1008
matrix_tflops 165
token_bytes 512
item_bytes 7096
partial_bytes 676
row_bytes 3
mask_bytes 64
masked_rows 16
tile_rows 16
max_tile 64
share_bytes 21289
merge_bytes 0
wait_bytes 0
share_workers 8
cut_tokens 64
rest_tokens 16
rest_part 4
end
