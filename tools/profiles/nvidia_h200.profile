treeattn-profile 1
gpu NVIDIA H200
measured yes
date 2026-11-30
driver CUDA 13.0, runtime 13.0
# tune wrote 4608ef6d6158-modified: it ran in a checkout of that commit whose files were those of the next line
commit 7f3fc8298e6d
# the default prices below are those of that commit, which had wait_bytes 131072
rung step_13_few_rows
multiprocessors 132
l2_mib 60
dram_gbps 4432
l2_gbps 7629
matrix_tflops 773
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
merge_bytes 1560
wait_bytes 92672
share_workers 4
cut_tokens 64
rest_tokens 16
rest_part 16
# trees that the prices were fitted on, cold: heads, us with the default prices, with these, of the fastest other plan
fit_trees 59
fit 32/8 4.21 4.21 4.23 flash 1,1 / 392,16
fit 32/8 4.51 4.51 4.47 node 1,1 / 760,16
fit 32/8 5.95 5.95 5.90 flash_decoding 1,1 / 1984,56
fit 32/8 6.50 6.50 6.46 radix 1,1 / 2496,72
fit 32/8 8.03 8.03 7.89 flatten 1,3 / 1400,120
fit 32/8 9.33 9.33 9.24 node_chunk 1,8 / 1000,40
fit 32/8 9.09 9.09 9.02 tree_mask 1,16 / 320,48
fit 32/8 8.61 8.61 8.61 flash 1,2,32 / 8,200,40
fit 32/8 10.89 10.89 10.98 flatten 1,5,40 / 64,320,24
fit 32/8 18.84 18.84 22.78 flatten 1,30 / 3600,160
fit 32/8 222.37 222.37 274.69 node 1,3,12,48,192,768 / 200,16,200,64,32,240
fit 32/32 5.14 5.14 5.16 node_chunk 1,1 / 384,24
fit 32/32 5.85 5.85 5.82 tree_mask 1,1 / 600,24
fit 32/32 12.18 12.18 12.08 node_chunk 1,3 / 1200,80
fit 32/32 13.40 13.40 14.14 node_chunk 1,3 / 1640,104
fit 32/32 36.54 36.54 46.17 flatten 1,24 / 3600,160
fit 32/32 18.13 18.13 21.08 flatten 1,2,48 / 16,264,40
fit 32/32 806.45 806.45 885.74 node 1,3,12,48,192,768 / 200,16,200,64,32,240
fit 32/32 13.18 13.18 13.16 node_chunk 1,10 / 768,48
fit 16/1 6.37 6.37 6.37 tree_mask 1,2 / 3000,200
fit 16/1 11.18 9.99 9.97 node_chunk 1,14 / 2400,88
fit 16/1 9.56 9.56 9.56 flash 1,240 / 240,32
fit 16/1 10.35 10.35 10.10 node_chunk 1,14,56 / 1000,240,40
fit 16/1 44.73 44.73 61.43 flash 1,3,12,48,192,768 / 200,16,200,64,32,240
fit 16/1 10.67 10.67 10.57 node_chunk 1,12 / 3000,300
fit 16/1 10.64 10.15 10.38 node_chunk 1,192 / 320,24
fit 16/1 10.53 9.31 8.07 flash_decoding 1,3,48 / 16,280,40
fit 16/1 10.03 10.03 9.90 node_chunk 1,12,48 / 1000,240,40
fit 16/1 8.15 8.15 8.13 flash 1,5,160 / 8,200,24
fit 32/8 4.43 4.43 4.40 flash_decoding 1,1 / 640,24
fit 32/8 4.76 4.76 4.68 radix 1,1 / 1024,32
fit 32/8 9.43 9.43 9.36 tree_mask 1,1 / 4096,64
fit 32/8 25.48 25.48 32.61 flatten 1,1 / 16384,64
fit 32/8 5.61 5.61 5.54 flatten 1,2 / 768,64
fit 32/8 11.43 11.43 11.47 node 1,4 / 3000,128
fit 32/8 22.18 22.18 30.65 node_chunk 1,6 / 12000,256
fit 32/8 11.79 11.79 11.67 node_chunk 1,12 / 2504,104
fit 32/8 12.53 12.53 13.95 flatten 1,16 / 1504,16|400
fit 32/8 12.52 12.52 12.77 node_chunk 1,24 / 1504,64
fit 32/8 21.36 21.36 30.29 node_chunk 1,48 / 3000,96
fit 32/8 19.05 19.05 22.26 flatten 1,100 / 1024,48
fit 32/8 34.45 34.45 40.92 node 1,200 / 1504,40
fit 32/8 93.53 93.53 119.47 node 1,800 / 1200,40
fit 32/8 12.24 12.24 13.73 radix 6 / 1000
fit 32/8 9.76 9.76 9.77 flatten 1,3,24 / 512,128,48
fit 32/8 19.78 19.78 23.44 flatten 1,8,32,128 / 704,120,40,24
fit 32/8 17.14 17.14 22.98 flatten 1,2,6,36,216 / 128,64,64,32,16
fit 32/32 9.20 9.20 9.19 tree_mask 1,1 / 1024,32
fit 32/32 21.73 21.73 24.95 node_chunk 1,6 / 3000,128
fit 32/32 22.10 22.10 32.83 flatten 1,40 / 1504,48
fit 32/32 50.54 50.54 74.28 flatten 1,200 / 1000,32
fit 32/32 14.57 14.57 15.28 flatten 1,3,24 / 512,128,48
fit 16/1 6.83 6.83 6.83 tree_mask 1,1 / 4096,64
fit 16/1 17.06 14.69 17.05 flatten 1,1 / 16384,64
fit 16/1 10.31 10.31 10.30 flatten 1,4 / 6000,128
fit 16/1 12.25 12.25 12.17 node_chunk 1,24 / 4000,64
fit 16/1 17.22 17.22 25.12 node_chunk 1,100 / 3000,48
fit 16/1 32.90 32.90 58.30 node 1,400 / 2400,40
fit 16/1 17.86 17.86 25.28 node_chunk 1,8,32,128 / 2400,240,80,40
# geometric mean of the times with these prices / with the default prices: 0.993
# the same of trees that the fit never saw: by these the prices are judged
judge_trees 25
judge 32/8 5.09 5.09 5.00 flatten 1,1 / 1336,24
judge 32/8 7.55 7.55 7.53 node 1,6 / 520,40
judge 32/32 6.49 6.49 6.43 node_chunk 1,1 / 704,16
judge 16/1 8.50 8.50 8.50 flash 1,1 / 6000,48
judge 16/1 11.90 11.90 11.71 flatten 1,20 / 3504,160
judge 16/1 9.36 9.36 8.71 flash_decoding 1,6,72 / 8,240,40
judge 32/8 4.35 4.35 4.33 flash_decoding 1,1 / 512,16
judge 32/8 17.27 17.27 18.45 radix 1,1 / 8192,64
judge 32/8 7.98 7.98 7.95 node 1,3 / 1536,96
judge 32/8 11.15 11.15 11.14 flatten 1,10 / 1000,48
judge 32/8 12.93 12.93 14.67 node_chunk 1,32 / 2048,16
judge 32/8 17.69 17.69 20.70 node_chunk 1,80 / 904,64
judge 32/8 57.16 57.16 58.62 node 1,300 / 2000,48
judge 32/8 57.24 57.24 85.64 node 1,600 / 1000,24
judge 32/8 43.22 43.22 69.37 node_chunk 1,20 / 20000,104
judge 32/8 11.08 11.08 11.00 node_chunk 1,4,32 / 600,200,40
judge 32/8 45.71 45.71 76.54 flatten 1,6,60,600 / 400,104,32,16
judge 32/8 10.14 10.14 10.13 flatten 1,2,4,8,16 / 504,248,120,64,32
judge 32/32 16.85 16.85 18.10 node_chunk 1,2 / 2048,128
judge 32/32 14.46 14.46 15.47 node_chunk 1,16 / 1000,64
judge 32/32 24.03 24.03 32.62 flatten 1,4,64 / 800,200,32
judge 16/1 10.71 10.70 10.69 flatten 1,1 / 8192,64
judge 16/1 9.97 9.97 9.84 node_chunk 1,3 / 6144,96
judge 16/1 13.06 13.06 12.92 flatten 1,32 / 4096,32
judge 16/1 29.16 29.16 51.14 node_chunk 1,5,50,300 / 2000,400,104,32
# geometric mean of these: 1.000; farthest behind the fastest other plan: 7.4 % with the default prices, 7.4 % with these
end
