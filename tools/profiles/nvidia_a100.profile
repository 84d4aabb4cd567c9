treeattn-profile 1
gpu NVIDIA A100
measured no
source NVIDIA A100 data sheet, SXM4 80 GB
multiprocessors 108
l2_mib 40
dram_gbps 2039
matrix_tflops 312
token_bytes 512
item_bytes 17013
partial_bytes 1620
row_bytes 3
mask_bytes 64
masked_rows 16
tile_rows 16
max_tile 64
share_bytes 51038
merge_bytes 0
wait_bytes 0
share_workers 4
cut_tokens 64
rest_tokens 16
rest_part 4
end
