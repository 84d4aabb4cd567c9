treeattn-profile 1
gpu NVIDIA H100
measured no
source NVIDIA H100 data sheet, SXM5 80 GB
multiprocessors 132
l2_mib 50
dram_gbps 3350
matrix_tflops 989
token_bytes 512
item_bytes 22869
partial_bytes 2178
row_bytes 1
mask_bytes 64
masked_rows 16
tile_rows 16
max_tile 64
share_bytes 68608
merge_bytes 0
wait_bytes 75933
share_workers 4
cut_tokens 64
rest_tokens 16
rest_part 4
end
