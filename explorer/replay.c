/* replay FILE: plays the calls of a file and prints their answers, each number as the 16 hexadecimal digits of its
 * bits. explorer/replay.js prints the same from the WebAssembly of the page. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "explorer.h"

static const char *const names[] = {"begin", "play", "pool", "branches", "tree", "bytes", "plan", "softmax", "evict",
                                    "policies"};
enum { NUM_CALLS = sizeof names / sizeof names[0] };

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (file == NULL) {
        fprintf(stderr, "replay: expected a file of calls that can be read\n");
        return 2;
    }
    char line[200], name[20];
    while (fgets(line, sizeof line, file)) {
        uint32_t a[5] = {0};
        if (sscanf(line, "%19s %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32, name, &a[0], &a[1], &a[2],
                   &a[3], &a[4]) < 1 || name[0] == '#')
            continue;
        uint32_t what = 0;
        while (what < NUM_CALLS && strcmp(names[what], name) != 0)
            what++;
        int32_t count = explorer_call(what, a[0], a[1], a[2], a[3], a[4]);
        line[strcspn(line, "\n")] = 0;
        printf("%s: %" PRId32 "\n", line, count);
        for (int32_t i = 0; i < count; i++) {
            uint64_t bits;
            memcpy(&bits, &explorer_numbers()[i], sizeof bits);
            printf("%016" PRIx64 "\n", bits);
        }
    }
    return fclose(file) != 0 || fflush(stdout) != 0;
}
