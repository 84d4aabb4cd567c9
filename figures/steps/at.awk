# The value of column `name` in the one row of the csv with `where`: awk -v where=... -v name=... -f figures/numbers.awk
# -f figures/steps/at.awk figures/STEM.csv
END { print at(where, name) }
