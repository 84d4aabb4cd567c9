# Tour 5: one lane of an emulated kernel. Rung 0, lane 5, token 8.
# Program: tiny_kernel
break sum_values if threadIdx.x == 5 && threadIdx.y == 0
commands
silent
end
run 0 flash >/dev/null
search multiply_add
tbreak $_ if threadIdx.x == 5 && threadIdx.y == 0 && range.num_tokens == 5 && i == 4 && j == 0
commands
silent
end
continue
echo \n
echo Rung 0 of the GPU ladder, run on the CPU: a warp of 32 lanes computes query 0 over its whole path.\n
echo The largest score and the sum of the weights are known; now the values are added. Here is lane 5 at token 8. Try:\n
echo \    print weight        exp(score - m), the weight of token 8\n
echo \    print state         m, l, and this lane's two elements of o\n
echo \    print threadIdx.x   the number of the lane\n
echo \n
frame

# ---- What you may type (tour.sh prints this part and its output as the transcript) ----

# Lane 5 of warp 0. The warp has 32 lanes and a value has 64 elements, so lane 5 has elements 5 and 37 of o:
print threadIdx
print state

# The item has two ranges, nodes 0 and 1. Token 8 is number 4 of the second one, so lane 4 has scored it,
# and a shuffle has brought its score and weight here. Lane 5 has no token in this range: -inf, weight 0:
print range
printf "token 8: score %.0f, weight %.4f\n", score, weight
printf "lane 5: score %.0f, weight %.4f\n", my_score, my_weight

# Element 5 of a value is 1 if 5 divides the token's number. It does not divide 8, so o stays:
print v_bt[5]
next
print state

# The same token in lane 8: the same weight, another element. 8 divides 8, so o grows by the weight:
search multiply_add
tbreak $_ if threadIdx.x == 8 && threadIdx.y == 0 && range.num_tokens == 5 && i == 4 && j == 0
continue
print v_bt[8]
print state
next
print state
