# %% [markdown]
# # 2 The bytes of a step, and the roofline
# Text. See [chapter 1](../docs/book/01_waiting_for_memory.md).

# %%
import picture
rows, head = picture.read_csv("figures/roofline.csv")
print(head["memory_gbps"])

# %%
p = picture.Picture("The roof", xlabel="FLOP per byte", ylabel="GFLOP/s", logx=2, logy=10, key="bottom right")
peak = max(head["simd_fp32_gflops"], head["simd_bf16_gflops"])
xs = [2 ** (i / 8) for i in range(-16, 73)]
p.line(xs, [min(peak, head["memory_gbps"] * x) for x in xs], "the roof", style="floor_line", kind="lines")
p.show()
