# Tour 2: fork, copy-on-write and prune.
# Program: tiny_tree
break kv_branch_fork
commands
silent
end
run >/dev/null
echo \n
echo Branch 0 of the tiny tree has 6 tokens, in blocks 0 and 1. It is about to be forked. Try:\n
echo \    print branch   its length and its block table\n
echo \    print *pool    how many tables list each block\n
echo \    finish         run to the end of the fork\n
echo \n
frame

# ---- What you may type (tour.sh prints this part and its output as the transcript) ----

# Before the fork: one table, and each of its blocks is listed once:
print branch
print *pool

# The fork copies the table and raises the counts. No key or value moves:
finish
print branches[0]
print branches[1]
print *pool

# Branch 0 appends 3 tokens. Its last block is half full and shared. Must it be copied?
tbreak must_copy
continue
next
next
print block
print pool->ref[block]
finish

# Yes. The pool answers with an instruction; the caller carries it out, then writes:
frame function kv_branch_append
finish
print answer.copy
print branch
print *pool

# Branch 1 appends 4 tokens. It alone lists block 1 now, so it writes there:
tbreak kv_branch_append
continue
finish
print answer.copy
print branch
print *pool

# Branch 0 is pruned. Blocks that it alone listed are free; block 0 stays with branch 1:
tbreak kv_branch_prune
continue
finish
print branches[0]
print branches[1]
print *pool
