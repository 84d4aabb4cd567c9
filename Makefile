# The verbs. What is compiled and which tests exist: CMakeLists.txt.
build ?= build
jobs ?= $(shell nproc 2>/dev/null || echo 2)
csv = $(wildcard figures/*.csv)
steps = $(patsubst %.gp,%.svg,$(wildcard figures/steps/*.gp))

ifneq ($(words $(build)),1)
$(error build="$(build)": expected the name of a folder, without blanks)
endif

.PHONY: all demo test rung diff figures book explorer tour exercise notebooks measure bench growth soak exhaustive fuzz coverage sanitize fresh install clean help always
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

all: setup-all $(build)/CTestTestfile.cmake ## build the library, the program build/treeattn and the tests
	cmake --build $(build) --parallel $(jobs)

demo: setup-demo $(build)/CTestTestfile.cmake ## build the program, then let the trained model search: one screen
	@echo "building (its log: $(build)/build.log)"
	@cmake --build $(build) --parallel $(jobs) --target treeattn_program >$(build)/build.log 2>&1 || \
	    { cat $(build)/build.log; exit 1; }
	@$(build)/treeattn think '3 3 8 8' --brief

test: setup-test all ## build, then run every test
	@scripts/run_tests.sh $(build) $(jobs)

rung: export jobs := $(jobs)
rung: setup-test $(build)/CTestTestfile.cmake ## one rung of the GPU ladder, checked and timed: STEP=5 TREE='1,64 / 2048,64'
	@scripts/rungs.sh run "$${STEP-}" $(build)

diff: ## what a rung of the GPU ladder adds to the one before: STEP=8
	@scripts/rungs.sh diff "$${STEP-}"

ifeq ($(filter-out page,$(SIZE)),)
figures: setup-figures $(csv:.csv=.svg) $(csv:.csv=.png) $(steps) $(steps:.svg=.png) ## redraw figures/*.svg and *.png from the recorded csv; SIZE=slide: for a projector
	@scripts/captions.sh || echo "scripts/captions.sh --write puts the numbers of the csv into the captions"
	@scripts/lessons.sh || echo "scripts/lessons.sh --write puts the sentences of the pictures into the pages"
else
figures: export SIZE := $(SIZE)
figures: setup-figures
	@set -e; for script in figures/*.gp figures/steps/*.gp; do stem=$${script#figures/}; \
	    scripts/draw.sh "$${stem%.gp}" "$$SIZE" $(build)/slides; done; echo "$(build)/slides"
endif

book: setup-book ## the book in docs/book, with all pages, code and figures, as HTML: build/book/index.html
	@scripts/book.sh $(build)

tour: export jobs := $(jobs)
tour: export N := $(N)
tour: setup-tour ## gdb in the tiny tree of the book, where a token is absorbed; N=2 to 6: other places
	@scripts/tour.sh run "$$N" $(build)-tour

explorer: setup-explorer ## docs/explorer.html from explorer/ and the library, compiled to WebAssembly
	@scripts/explorer.sh

exercise: export jobs := $(jobs)
exercise: export N := $(N)
exercise: export HINT := $(HINT)
exercise: setup-exercise ## the exercises: a list with your progress; one of them, checked: N=4; its next hint: N=4 HINT=1
	@scripts/exercise.sh $(build) || case $$? in 1 | 77) ;; *) exit 1 ;; esac

notebooks: export jobs := $(jobs)
notebooks: export N := $(N)
notebooks: export WRITE := $(WRITE)
notebooks: setup-notebooks $(build)/CTestTestfile.cmake ## run notebooks/ and compare with the recorded outputs; N=2: one of them; WRITE=1: record
	@scripts/notebooks.sh $(build)

measure: setup-measure all ## measure this machine: rewrite figures/*.csv, then bench
	@cmake --build $(build) --parallel $(jobs) --target measure_programs
	@set -e; for program in $(build)/measure_*; do echo "$$program"; $$program; done
	$(build)/treeattn bench

bench: setup-measure all ## the fast path against this machine's ceilings
	$(build)/treeattn bench

growth: setup-test $(build)/CTestTestfile.cmake ## whether each call grows as its header says, 10^3 to 10^6
	@cmake --build $(build) --parallel $(jobs) --target measure_growth
	@$(build)/measure_growth $(build)/growth.csv

soak: setup-test $(build)/CTestTestfile.cmake ## long random runs: the allocator against its model, attention against its limits
	@cmake --build $(build) --parallel $(jobs) --target soak
	@set -e; for program in $(build)/soak_*; do echo "$$program"; $$program; done

exhaustive: setup-test $(build)/CTestTestfile.cmake ## every reachable state of larger pools than in the tests
	@cmake --build $(build) --parallel $(jobs) --target exhaustive
	@set -e; for program in $(build)/exhaustive_*; do echo "$$program"; $$program; done

fuzz: setup-test $(build)-sanitize/CTestTestfile.cmake ## damaged text into everything that reads text, under sanitizers
	@cmake --build $(build)-sanitize --parallel $(jobs) --target fuzz
	@set -e; for program in $(build)-sanitize/fuzz_*; do echo "$$program"; $$program; done

coverage: setup-coverage ## line and branch coverage of allocator/ and reference/
	@scripts/coverage.sh $(build)-coverage $(jobs)

sanitize: setup-test $(build)-sanitize/CTestTestfile.cmake ## every test under AddressSanitizer and UndefinedBehaviorSanitizer
	cmake --build $(build)-sanitize --parallel $(jobs)
	@scripts/run_tests.sh $(build)-sanitize $(jobs)

fresh: ## README's two commands on a minimal Debian, set up for it (as root, with debootstrap; minutes)
	@scripts/fresh_machine.sh

install: export PREFIX := $(PREFIX)
install: cuda_architectures ?= all
install: all ## install libraries, headers and program (PREFIX=/usr/local)
	cmake --install $(build) $${PREFIX:+--prefix "$$PREFIX"}

clean: ## remove what was built
	rm -rf $(build) $(build)-sanitize $(build)-coverage $(build)-clang $(build)-tour

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r verb what; do \
	    printf '  make %-11s %s\n' "$$verb" "$$what"; done

# Configured for each verb: a compiler that was installed since the last one is found (0.2 s where nothing is new).
$(build)/CTestTestfile.cmake: always
	@cmake -S . -B $(build) --log-level=NOTICE \
	    $(if $(cuda_architectures),-DTREEATTN_CUDA_ARCHITECTURES=$(cuda_architectures)) >/dev/null

$(build)-sanitize/CTestTestfile.cmake: always
	@cmake -S . -B $(build)-sanitize --log-level=NOTICE -DTREEATTN_SANITIZE=address,undefined >/dev/null

setup-%:
	@scripts/setup.sh $*

# The stem goes through the environment: no name is a part of a shell command.
figures/%.svg figures/%.png: export stem = $*
figures/%.svg figures/%.png: figures/%.gp figures/%.csv figures/style.gnuplot scripts/draw.sh
	scripts/draw.sh "$$stem"

figures/steps/%.svg figures/steps/%.png: export stem = steps/$*
figures/steps/%.svg figures/steps/%.png: figures/steps/%.gp $(csv) $(wildcard figures/steps/*.gnuplot figures/steps/*.csv) figures/steps/at.awk \
    figures/numbers.awk figures/style.gnuplot scripts/draw.sh
	scripts/draw.sh "$$stem"
