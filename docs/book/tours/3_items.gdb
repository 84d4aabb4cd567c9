# Tour 3: the nodes of the tree become the items of a plan.
# Program: tiny_tree
break tree_plan_build
commands
silent
end
run >/dev/null
echo \n
echo The tables of both branches have become a tree. A plan is about to be built from it. Try:\n
echo \    print *tree->nodes@tree->num_nodes    the nodes\n
echo \    finish                                build the plan\n
echo \    print *plan->items@plan->num_items    then: its items\n
echo \n
frame

# ---- What you may type (tour.sh prints this part and its output as the transcript) ----

# Three nodes. Tokens 4 and 5 are stored twice, so they belong to nodes 1 and 2:
print tree->nodes[0]
print tree->nodes[1]
print tree->nodes[2]

# Strategy node makes an item of each node. An item's rows are the queries that see it:
finish
print plan->items[0]
print plan->items[1]
print plan->items[2]

# Each row of an item leaves one partial state, 4 in all. Query q merges entries merge_first[q] to
# merge_first[q + 1] - 1 of merge_partials, here 0 and 2 for query 0, 1 and 3 for query 1:
print plan->num_partials
print *plan->merge_first@3
print *plan->merge_partials@4

# The specification runs the items. Item 0, row 1: query 1 meets the range of item 0:
tbreak absorb_range if row == 1
continue
print *item
print *range

# Item 2 continues the path of query 1. Its tokens are 4, 5, 9, 10 in block 1 and 11, 12 in block 4:
tbreak absorb_range if item == &plan->items[2]
continue
print *item
print *range
