treeattn-profile 1
gpu NVIDIA H200
measured yes
date 2026-11-30
driver CUDA 13.0, runtime 13.0
commit 57d2bce3a640
rung step_12_early_launch
multiprocessors 132
l2_mib 60
dram_gbps 4409
l2_gbps 7663
matrix_tflops 768
launch_us 0.52
token_bytes 512
item_bytes 46336
partial_bytes 3120
row_bytes 1
mask_bytes 128
masked_rows 16
tile_rows 16
max_tile 64
share_bytes 16384
merge_bytes 1560
share_workers 4
cut_tokens 64
rest_tokens 16
rest_part 32
# trees that the prices were fitted on, cold: heads, us with the default prices, with these, of the fastest other plan
fit_trees 46
fit 32/8 6.55 5.78 6.54 node_chunk 1,1 / 392,16
fit 32/8 7.89 6.65 7.01 flatten 1,1 / 760,16
fit 32/8 10.00 9.21 9.25 radix 1,1 / 2496,72
fit 32/8 9.63 9.17 9.07 node_chunk 1,8 / 1000,40
fit 32/8 9.39 8.17 9.39 node_chunk 1,16 / 320,48
fit 32/8 9.61 9.10 9.97 node_chunk 1,2,32 / 8,200,40
fit 32/8 10.98 10.31 11.28 flatten 1,5,40 / 64,320,24
fit 32/32 7.24 6.67 7.24 flash_decoding 1,1 / 384,24
fit 32/32 11.11 11.11 13.29 node_chunk 1,3 / 1200,80
fit 32/32 11.77 11.77 12.58 node_chunk 1,10 / 768,48
fit 16/1 9.46 9.42 9.45 flatten 1,2 / 3000,200
fit 16/1 10.52 10.52 10.53 node_chunk 1,12 / 3000,300
fit 16/1 10.17 10.17 10.64 node_chunk 1,192 / 320,24
fit 16/1 9.44 8.01 8.20 radix 1,3,48 / 16,280,40
fit 16/1 10.24 10.25 9.76 node_chunk 1,12,48 / 1000,240,40
fit 16/1 9.76 9.68 10.05 flash 1,5,160 / 8,200,24
fit 32/8 6.92 6.61 6.91 node_chunk 1,1 / 640,24
fit 32/8 7.64 7.40 7.65 radix 1,1 / 1024,32
fit 32/8 11.88 11.88 11.84 radix 1,1 / 4096,64
fit 32/8 25.13 25.13 32.40 flatten 1,1 / 16384,64
fit 32/8 8.17 7.61 8.13 flatten 1,2 / 768,64
fit 32/8 11.52 11.52 11.46 node_chunk 1,4 / 3000,128
fit 32/8 22.27 22.03 30.13 node_chunk 1,6 / 12000,256
fit 32/8 11.67 11.67 11.64 flatten 1,12 / 2504,104
fit 32/8 12.65 12.45 13.98 node_chunk 1,16 / 1504,16|400
fit 32/8 12.60 12.60 12.33 node_chunk 1,24 / 1504,64
fit 32/8 21.30 21.30 30.36 node_chunk 1,48 / 3000,96
fit 32/8 19.24 18.89 22.49 flatten 1,100 / 1024,48
fit 32/8 34.95 33.80 41.10 node 1,200 / 1504,40
fit 32/8 93.01 94.80 118.27 node 1,800 / 1200,40
fit 32/8 12.38 11.67 13.76 node_chunk 6 / 1000
fit 32/8 9.71 9.71 9.79 node_chunk 1,3,24 / 512,128,48
fit 32/8 19.84 19.96 23.51 flatten 1,8,32,128 / 704,120,40,24
fit 32/8 17.19 18.61 23.14 flatten 1,2,6,36,216 / 128,64,64,32,16
fit 32/32 11.75 9.61 11.73 flash_decoding 1,1 / 1024,32
fit 32/32 21.77 21.77 24.90 node_chunk 1,6 / 3000,128
fit 32/32 22.22 22.22 32.88 flatten 1,40 / 1504,48
fit 32/32 50.57 50.02 73.77 flatten 1,200 / 1000,32
fit 32/32 14.73 14.73 15.61 flatten 1,3,24 / 512,128,48
fit 16/1 9.97 9.97 10.01 flash_decoding 1,1 / 4096,64
fit 16/1 17.18 14.81 17.17 flatten 1,1 / 16384,64
fit 16/1 12.24 12.24 11.40 radix 1,4 / 6000,128
fit 16/1 12.39 12.39 12.28 flatten 1,24 / 4000,64
fit 16/1 16.97 16.97 25.11 node_chunk 1,100 / 3000,48
fit 16/1 32.73 32.73 57.54 node 1,400 / 2400,40
fit 16/1 17.98 17.98 25.27 node_chunk 1,8,32,128 / 2400,240,80,40
# geometric mean of the times with these prices / with the default prices: 0.968
# the same of trees that the fit never saw: by these the prices are judged
judge_trees 25
judge 32/8 8.01 7.69 8.01 flash_decoding 1,1 / 1336,24
judge 32/8 8.99 7.82 8.16 node_chunk 1,6 / 520,40
judge 32/32 8.12 8.12 8.11 flatten 1,1 / 704,16
judge 16/1 10.84 10.84 10.82 node_chunk 1,1 / 6000,48
judge 16/1 11.54 11.54 11.29 node_chunk 1,20 / 3504,160
judge 16/1 10.11 8.88 8.75 flash_decoding 1,6,72 / 8,240,40
judge 32/8 7.68 6.34 6.71 radix 1,1 / 512,16
judge 32/8 17.00 17.00 18.44 radix 1,1 / 8192,64
judge 32/8 9.27 9.90 9.25 node_chunk 1,3 / 1536,96
judge 32/8 9.84 9.49 9.36 node_chunk 1,10 / 1000,48
judge 32/8 13.09 13.09 14.54 node_chunk 1,32 / 2048,16
judge 32/8 18.02 18.02 20.49 node_chunk 1,80 / 904,64
judge 32/8 56.40 56.40 58.57 node 1,300 / 2000,48
judge 32/8 56.67 56.99 84.10 node 1,600 / 1000,24
judge 32/8 43.42 42.50 68.55 node_chunk 1,20 / 20000,104
judge 32/8 10.91 10.91 10.99 node_chunk 1,4,32 / 600,200,40
judge 32/8 45.60 44.90 76.64 flatten 1,6,60,600 / 400,104,32,16
judge 32/8 10.31 10.27 10.25 node_chunk 1,2,4,8,16 / 504,248,120,64,32
judge 32/32 16.67 16.67 18.12 node_chunk 1,2 / 2048,128
judge 32/32 14.63 14.63 15.74 node_chunk 1,16 / 1000,64
judge 32/32 24.28 24.06 32.27 flatten 1,4,64 / 800,200,32
judge 16/1 12.37 11.91 12.30 node_chunk 1,1 / 8192,64
judge 16/1 11.44 11.44 11.44 flatten 1,3 / 6144,96
judge 16/1 12.98 12.98 13.08 flatten 1,32 / 4096,32
judge 16/1 29.30 29.56 50.78 node 1,5,50,300 / 2000,400,104,32
# geometric mean of these: 0.978; farthest behind the fastest other plan: 15.6 % with the default prices, 7.0 % with these
end
