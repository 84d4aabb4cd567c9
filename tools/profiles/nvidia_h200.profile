treeattn-profile 1
gpu NVIDIA H200
measured no
source NVIDIA H200 data sheet, SXM5 141 GB
multiprocessors 132
l2_mib 50
dram_gbps 4800
matrix_tflops 989
token_bytes 512
item_bytes 32768
partial_bytes 3120
row_bytes 2
mask_bytes 64
masked_rows 16
tile_rows 16
max_tile 64
share_bytes 98304
merge_bytes 0
share_workers 4
cut_tokens 64
rest_tokens 16
rest_part 4
end
