# Tour 6: a fragment of a matrix product on tensor cores. Rung 4, lane 5.
# Program: tiny_kernel
break tile_softmax if threadIdx.x == 5
commands
silent
end
run 4 tree_mask >/dev/null
up-silently
echo \n
echo Rung 4 of the GPU ladder, run on the CPU: the whole tree is one item of 2 rows and 15 tokens, and one matrix\n
echo product gives all its scores. Each lane holds 8 elements of that 16 x 16 matrix. Here is lane 5. Try:\n
echo \    print score             its 8 scores, before they are multiplied by the scale\n
echo \    print $halves(q[0][0])  two elements of a query, in one register\n
echo \    print/t visible         a bit for each of the 8: whether it counts\n
echo \n
frame

# ---- What you may type (tour.sh prints this part and its output as the transcript) ----

# Lane 5 has row 5 / 4 = 1, which is query 1, and row 1 + 8, which is empty. Query 1 begins with 0 4 -2 2.
# Of each row it has elements 2 * (5 % 4) = 2 and 3, then 10 and 11:
print $halves(q[0][0])
print $halves(q[0][1])
print $halves(q[0][2])

# Its scores are in the same places: row 1 with columns 2, 3, then row 9 with them, then columns 10, 11.
# The columns are the stored tokens: 0 1 2 3 (node 0), 4 5 6 7 8 (node 1), 4 5 9 10 11 12 (node 2).
# So these are the scores of query 1 with tokens 2, 3, 5 and 9:
print score

# Query 1 sees all four tokens. Row 9 is no query; its bits do no harm:
print/t visible

# A few lines later, lane 0: row 0, which is query 0, with tokens 0, 1, 8, and token 4 of node 2.
# Query 0 does not see node 2. That score was computed as well, and the mask has made it -inf.
# (Row 8 is no query. It is given the mask of query 1, which does not see token 8.)
tbreak sum_values if threadIdx.x == 0
continue
up
print score
print/t visible

# exp(score / 2 - m) makes a weight of each score, for a hidden one 0. The weights are in the places of the scores,
# so they are this lane's part of the left matrix of the next product, weights x values:
print $halves(weights[0][0])
print $halves(weights[0][2])
