# Tour 1: the lines of the specification that absorb a token.
# Program: tiny_tree
break softmax_state_absorb if score == 2 && state->m == 1
commands
silent
end
run >/dev/null
echo \n
echo Query 0 has absorbed tokens 0 and 1 of the tiny tree. Their scores were 1 and 0, so m is 1.\n
echo Now token 2 comes with the score 2. Try:\n
echo \    print *state   the partial state of tokens 0 and 1\n
echo \    next           one line further; an empty line repeats it\n
echo \    up             the caller: the loop over the tokens of an item\n
echo \n
frame

# ---- What you may type (tour.sh prints this part and its output as the transcript) ----

# The partial state of tokens 0 and 1; the score and the value of token 2:
print *state
print score
print *value@head_dim

# The score is above m. The sums were taken relative to 1, so exp(1 - 2) sets them right:
next
next
next
next
printf "m %.0f, rescale %.4f, weight %.4f\n", m, rescale, weight
finish
print *state

# Token 3 has the score -1. m stays, the factor is 1, and a small weight is added:
condition 1
continue
print score
next
next
next
next
printf "m %.0f, rescale %.4f, weight %.4f\n", m, rescale, weight
finish

# Node 0 has no more tokens. This is the partial state that its item leaves for query 0:
print *state
