treeattn-profile 1
gpu NVIDIA H200
measured yes
date 2026-11-30
driver CUDA 13.0, runtime 13.0
commit f110cc09e136
# at that commit the rung was called step_14_few_rows
rung step_13_few_rows
multiprocessors 132
l2_mib 60
dram_gbps 4415
l2_gbps 7688
matrix_tflops 776
launch_us 0.51
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
# this price was added later: the times below were measured without it
wait_bytes 131072
share_workers 4
cut_tokens 64
rest_tokens 16
rest_part 4
# trees that the prices were fitted on, cold: heads, us with the default prices, with these, of the fastest other plan
fit_trees 59
fit 32/8 4.24 4.24 4.26 node_chunk 1,1 / 392,16
fit 32/8 4.53 4.53 4.46 tree_mask 1,1 / 760,16
fit 32/8 5.99 5.99 5.95 node 1,1 / 1984,56
fit 32/8 6.52 6.52 6.47 flash_decoding 1,1 / 2496,72
fit 32/8 8.05 8.05 8.05 tree_mask 1,3 / 1400,120
fit 32/8 9.32 9.32 9.27 node_chunk 1,8 / 1000,40
fit 32/8 9.27 9.27 9.12 tree_mask 1,16 / 320,48
fit 32/8 10.15 10.15 10.29 flash 1,2,32 / 8,200,40
fit 32/8 10.17 10.17 10.40 flatten 1,5,40 / 64,320,24
fit 32/8 19.38 19.38 22.71 flatten 1,30 / 3600,160
fit 32/8 224.93 224.93 265.78 node 1,3,12,48,192,768 / 200,16,200,64,32,240
fit 32/32 5.20 5.20 5.19 flash_decoding 1,1 / 384,24
fit 32/32 5.85 5.85 5.78 tree_mask 1,1 / 600,24
fit 32/32 12.08 12.08 11.95 flatten 1,3 / 1200,80
fit 32/32 13.71 13.71 14.12 node_chunk 1,3 / 1640,104
fit 32/32 37.69 37.69 45.63 flatten 1,24 / 3600,160
fit 32/32 17.75 17.75 20.57 flatten 1,2,48 / 16,264,40
fit 32/32 809.82 809.82 875.25 node 1,3,12,48,192,768 / 200,16,200,64,32,240
fit 32/32 13.08 13.08 13.14 tree_mask 1,10 / 768,48
fit 16/1 6.34 6.34 6.33 tree_mask 1,2 / 3000,200
fit 16/1 11.01 11.01 9.90 node_chunk 1,14 / 2400,88
fit 16/1 10.89 10.89 10.65 node_chunk 1,240 / 240,32
fit 16/1 10.80 10.80 10.54 node_chunk 1,14,56 / 1000,240,40
fit 16/1 45.62 45.62 61.15 node 1,3,12,48,192,768 / 200,16,200,64,32,240
fit 16/1 10.06 10.06 10.01 node_chunk 1,12 / 3000,300
fit 16/1 9.90 9.90 10.43 node_chunk 1,192 / 320,24
fit 16/1 9.98 9.98 8.76 radix 1,3,48 / 16,280,40
fit 16/1 10.40 10.40 9.98 node_chunk 1,12,48 / 1000,240,40
fit 16/1 9.52 9.52 9.79 flash 1,5,160 / 8,200,24
fit 32/8 4.43 4.43 4.38 flash_decoding 1,1 / 640,24
fit 32/8 4.77 4.77 4.72 flash_decoding 1,1 / 1024,32
fit 32/8 9.39 9.39 9.35 flatten 1,1 / 4096,64
fit 32/8 25.32 25.32 31.93 radix 1,1 / 16384,64
fit 32/8 5.53 5.53 5.50 flatten 1,2 / 768,64
fit 32/8 11.48 11.48 11.38 flatten 1,4 / 3000,128
fit 32/8 21.71 21.71 29.36 node_chunk 1,6 / 12000,256
fit 32/8 11.52 11.52 11.51 flatten 1,12 / 2504,104
fit 32/8 12.77 12.77 14.11 node_chunk 1,16 / 1504,16|400
fit 32/8 12.75 12.75 12.64 node_chunk 1,24 / 1504,64
fit 32/8 20.77 20.77 28.06 node_chunk 1,48 / 3000,96
fit 32/8 18.83 18.83 22.18 flatten 1,100 / 1024,48
fit 32/8 35.02 35.02 41.61 node 1,200 / 1504,40
fit 32/8 95.42 95.42 122.05 node 1,800 / 1200,40
fit 32/8 12.97 12.97 14.41 radix 6 / 1000
fit 32/8 10.44 10.44 10.30 node_chunk 1,3,24 / 512,128,48
fit 32/8 19.86 19.86 23.42 flatten 1,8,32,128 / 704,120,40,24
fit 32/8 16.91 16.91 22.62 flatten 1,2,6,36,216 / 128,64,64,32,16
fit 32/32 9.20 9.20 9.11 tree_mask 1,1 / 1024,32
fit 32/32 22.52 22.52 24.46 node_chunk 1,6 / 3000,128
fit 32/32 21.82 21.82 31.17 flatten 1,40 / 1504,48
fit 32/32 51.27 51.27 73.10 flatten 1,200 / 1000,32
fit 32/32 15.26 15.26 15.99 flatten 1,3,24 / 512,128,48
fit 16/1 6.91 6.91 6.93 radix 1,1 / 4096,64
fit 16/1 16.81 16.81 16.71 flatten 1,1 / 16384,64
fit 16/1 10.30 10.30 10.25 flatten 1,4 / 6000,128
fit 16/1 12.64 12.64 12.43 node_chunk 1,24 / 4000,64
fit 16/1 17.04 17.04 23.04 node_chunk 1,100 / 3000,48
fit 16/1 32.83 32.83 55.03 node_chunk 1,400 / 2400,40
fit 16/1 17.30 17.30 23.17 node_chunk 1,8,32,128 / 2400,240,80,40
# geometric mean of the times with these prices / with the default prices: 1.000
# the same of trees that the fit never saw: by these the prices are judged
judge_trees 25
judge 32/8 5.06 5.06 5.01 flatten 1,1 / 1336,24
judge 32/8 7.59 7.59 7.59 tree_mask 1,6 / 520,40
judge 32/32 6.47 6.47 6.35 radix 1,1 / 704,16
judge 16/1 8.54 8.54 8.55 node 1,1 / 6000,48
judge 16/1 11.32 11.32 11.07 node_chunk 1,20 / 3504,160
judge 16/1 9.85 9.85 8.61 flash_decoding 1,6,72 / 8,240,40
judge 32/8 4.34 4.34 4.29 flash 1,1 / 512,16
judge 32/8 17.24 17.24 18.52 radix 1,1 / 8192,64
judge 32/8 8.09 8.09 8.05 node_chunk 1,3 / 1536,96
judge 32/8 11.22 11.22 11.19 flatten 1,10 / 1000,48
judge 32/8 12.68 12.68 14.56 node_chunk 1,32 / 2048,16
judge 32/8 17.44 17.44 20.25 node_chunk 1,80 / 904,64
judge 32/8 57.18 57.18 59.99 node 1,300 / 2000,48
judge 32/8 58.71 58.71 86.49 node 1,600 / 1000,24
judge 32/8 43.47 43.47 67.43 node_chunk 1,20 / 20000,104
judge 32/8 11.26 11.26 11.42 flatten 1,4,32 / 600,200,40
judge 32/8 46.48 46.48 72.87 flatten 1,6,60,600 / 400,104,32,16
judge 32/8 10.58 10.58 10.56 flatten 1,2,4,8,16 / 504,248,120,64,32
judge 32/32 17.12 17.12 17.82 node_chunk 1,2 / 2048,128
judge 32/32 15.29 15.29 15.88 node_chunk 1,16 / 1000,64
judge 32/32 23.89 23.89 31.04 flatten 1,4,64 / 800,200,32
judge 16/1 10.76 10.76 10.74 flash_decoding 1,1 / 8192,64
judge 16/1 10.05 10.05 9.95 node_chunk 1,3 / 6144,96
judge 16/1 13.66 13.66 13.66 flatten 1,32 / 4096,32
judge 16/1 28.85 28.85 47.08 node_chunk 1,5,50,300 / 2000,400,104,32
# geometric mean of these: 1.000; farthest behind the fastest other plan: 14.4 % with the default prices, 14.4 % with these
end
