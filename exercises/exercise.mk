# The parts of the exercises that are built once: the library under sanitizers, the checks, and the program that holds a
# student's program within limits. For scripts/exercise.sh; run in the root of the project, out= the folder to build in,
# flags= those of all C and C++ files.
out ?= build/exercise
CC ?= cc
CXX ?= c++

rooms = allocator reference/shape reference/plan reference reference/eviction
unused = allocator/kv_pool_text.c allocator/kv_tree_check.c allocator/kv_tree_explain.c reference/standard_attention.c \
    reference/eviction/eviction_forest.c reference/eviction/tree_importance.c reference/plan/tree_plan_keep.c
sources = $(filter-out $(unused),$(foreach room,$(rooms),$(wildcard $(room)/*.c))) reference/workloads/stream.c \
    measure/stream_error.c
objects = $(patsubst %.c,$(out)/library/%.o,$(sources)) \
    $(out)/library/exercises/check.o $(out)/library/exercises/forest.o
includes = $(addprefix -I,$(rooms)) -Ireference/workloads -Imeasure -Iexercises
cxx_includes = $(includes) -Igpu -Igpu/device -Igpu/emulate
# Undefined behaviour is looked for in the student's file and the checks; memory errors everywhere.
comma = ,
lean = $(subst address$(comma)undefined,address,$(flags))
cflags = -std=c11 -fPIC -fsemantic-interposition $(flags) $(includes)
cxxflags = -std=c++17 -fno-strict-aliasing -DTREEATTN_EMULATE $(flags) $(cxx_includes)

base: $(out)/library.a $(out)/child
%_check: base $(out)/%.o ;
emulator: $(out)/emulate.o

# ar of a list that is empty the second time would make an empty archive: it is made anew.
$(out)/library.a: $(objects)
	@rm -f $@ && ar rcs $@ $(objects)

$(out)/library/%.o $(out)/emulate.o: flags := $(lean)
$(out)/library/%.o: %.c
	@mkdir -p $(@D) && $(CC) $(cflags) -MMD -c -o $@ $<

$(out)/%.o: exercises/%/check.c
	@$(CC) $(cflags) -MMD -c -o $@ $<

$(out)/%.o: exercises/%/check.cpp
	@$(CXX) $(cxxflags) -MMD -c -o $@ $<

$(out)/emulate.o: gpu/emulate/emulate.cpp
	@$(CXX) $(cxxflags) -MMD -c -o $@ $<

$(out)/child: exercises/child.c
	@mkdir -p $(out) && $(CC) -std=c11 -O1 -Wall -Wextra -o $@ $<

.PHONY: base emulator
.SECONDARY:
-include $(objects:.o=.d) $(wildcard $(out)/*.d)
