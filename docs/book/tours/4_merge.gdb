# Tour 4: two partial states become one.
# Program: tiny_tree
break softmax_state_merge if state->l > 0
commands
silent
end
run >/dev/null
echo \n
echo Query 0 has merged the partial state of item 0, node 0. Now that of item 1 follows. Try:\n
echo \    print *state   tokens 0 to 3\n
echo \    print *other   tokens 4 to 8\n
echo \    finish         merge them; then print *total\n
echo \n
frame

# ---- What you may type (tour.sh prints this part and its output as the transcript) ----

# The partial states of tokens 0 to 3 and of tokens 4 to 8:
print *state
print *other

# Both are rescaled to the larger maximum. Here the maxima are equal, so both factors are 1:
next
next
next
next
printf "m %.0f, rescale %.4f, other_rescale %.4f\n", m, rescale, other_rescale
finish
print *total

# The other order. States 0 and 2 are those of query 0; state 0 is merged into state 2:
delete
print partials[0]
print partials[2]
call softmax_state_merge(&partials[2], &partials[0], shape->head_dim)
print partials[2]

# The same, since a sum and a maximum do not depend on the order of their parts. Here even the bits agree:
print partials[2].l == total->l && partials[2].o[0] == total->o[0]

# Normalize: out is o / l. The log of the sum of exp(score), lse, is m + ln l:
tbreak softmax_state_normalize
continue
finish
printf "out[0] %.4f\n", out[0]
printf "lse %.4f\n", softmax_state_lse(total)
