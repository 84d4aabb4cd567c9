/* See amx_emulator.h. An instruction that breaks a rule of the manual (shapes that do not fit, no configuration,
 * reserved bits) ends the program with a line; a machine with AMX would end it with a signal. Reads and writes are
 * ordinary ones of this file, so the address sanitizer sees them, which it does not on a machine with AMX.
 *
 * Numerics notes, as in the manual, but that subnormal products and sums stay, which are 0 on a machine with AMX:
 * subnormal bf16 are 0; a row of c takes the sums of the even and of the odd elements of a, each in order, then both
 * together. A product of two bf16 is exact in float, so multiplying and adding rounds once. */
#define _GNU_SOURCE /* registers in a ucontext */
#include "amx_emulator.h"

#include <stdint.h>

#include "tree_isa_internal.h"

uint32_t __real_cpu_machine_features(void);
uint32_t __wrap_cpu_machine_features(void);

#if defined(__x86_64__) && defined(__linux__)
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

static bool emulated;
static atomic_ulong num_instructions;
static atomic_int num_holders;

enum { NUM_TILES = 8, MAX_ROWS = 16, MAX_BYTES = 64 };

typedef struct tiles {
    bool configured;
    uint8_t rows[NUM_TILES];
    uint16_t bytes[NUM_TILES]; /* of a row */
    uint8_t data[NUM_TILES][MAX_ROWS][MAX_BYTES];
} tiles;

static _Thread_local tiles mine;

static void need(bool condition, const char *what, const uint8_t *code)
{
    if (condition)
        return;
    char line[160];
    int length = snprintf(line, sizeof line, "FAIL amx_emulator %s; instruction %02x %02x %02x %02x %02x at %p\n", what,
                          code[0], code[1], code[2], code[3], code[4], (const void *)code);
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        abort();
    _exit(1);
}

/* ---- the instructions ---- */

static void release(void)
{
    atomic_fetch_sub(&num_holders, mine.configured);
    memset(&mine, 0, sizeof mine);
}

static void load_config(const uint8_t *from, const uint8_t *code)
{
    release();
    for (int i = 2; i < 16; i++)
        need(from[i] == 0, "reserved bytes are 0", code);
    if (from[0] == 0)
        return;
    need(from[0] == 1 && from[1] == 0, "palette 1, from row 0 on", code);
    for (int tile = 0; tile < 16; tile++) {
        uint16_t bytes;
        memcpy(&bytes, from + 16 + 2 * tile, sizeof bytes);
        uint8_t rows = from[48 + tile];
        need(rows <= (tile < NUM_TILES ? MAX_ROWS : 0) && bytes <= (tile < NUM_TILES ? MAX_BYTES : 0),
             "at most 16 rows of 64 bytes in each of eight tiles", code);
        need((rows == 0) == (bytes == 0), "rows and bytes are both 0, or neither", code);
        if (tile < NUM_TILES) {
            mine.rows[tile] = rows;
            mine.bytes[tile] = bytes;
        }
    }
    mine.configured = true;
    atomic_fetch_add(&num_holders, 1);
}

static void need_tile(int tile, const uint8_t *code)
{
    need(mine.configured, "tiles are configured", code);
    need(mine.rows[tile] > 0, "the tile has rows", code);
}

static void move(int tile, uint8_t *memory, int64_t stride, bool to_memory)
{
    for (int row = 0; row < mine.rows[tile]; row++) {
        if (to_memory) {
            memcpy(memory + row * stride, mine.data[tile][row], mine.bytes[tile]);
        } else {
            memcpy(mine.data[tile][row], memory + row * stride, mine.bytes[tile]);
            memset(mine.data[tile][row] + mine.bytes[tile], 0, (size_t)(MAX_BYTES - mine.bytes[tile]));
        }
    }
}

static float element(const uint8_t *row, int index)
{
    uint16_t half;
    memcpy(&half, row + 2 * index, sizeof half);
    uint32_t bits = half & 0x7f80 ? (uint32_t)half << 16 : (uint32_t)(half & 0x8000) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void multiply(int c, int a, int b, const uint8_t *code)
{
    need(a != b && a != c && b != c, "three different tiles", code);
    need_tile(a, code);
    need_tile(b, code);
    need_tile(c, code);
    int columns = mine.bytes[c] / 4, units = mine.bytes[a] / 4;
    need(mine.rows[c] == mine.rows[a] && mine.rows[b] == units && mine.bytes[b] == mine.bytes[c],
         "c [rows][columns], a [rows][units], b [units][columns]", code);
    need(mine.bytes[a] % 4 == 0 && mine.bytes[c] % 4 == 0, "rows of whole pairs and floats", code);
    float wide[MAX_ROWS][2][MAX_BYTES / 4]; /* b: [units][even, odd][columns] */
    for (int unit = 0; unit < units; unit++)
        for (int column = 0; column < columns; column++)
            for (int odd = 0; odd < 2; odd++)
                wide[unit][odd][column] = element(mine.data[b][unit], 2 * column + odd);
    for (int row = 0; row < mine.rows[c]; row++) {
        float sum[2][MAX_BYTES / 4] = {{0}}, *c_row = (float *)(void *)mine.data[c][row];
        for (int unit = 0; unit < units; unit++)
            for (int odd = 0; odd < 2; odd++) {
                float factor = element(mine.data[a][row], 2 * unit + odd);
                for (int column = 0; column < columns; column++)
                    sum[odd][column] += factor * wide[unit][odd][column];
            }
        for (int column = 0; column < columns; column++)
            c_row[column] += sum[0][column] + sum[1][column];
    }
}

/* ---- their machine code ---- */

/* An operand in memory; *length: of ModRM, SIB and displacement. stride NULL: the index is added. */
static uint8_t *address_of(const uint8_t *code, const greg_t *registers, int64_t *stride, int *length)
{
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    int high_index = ~code[1] >> 6 & 1, high_base = ~code[1] >> 5 & 1, mod = code[4] >> 6, rm = code[4] & 7;
    const uint8_t *at = code + 5;
    int64_t address = 0, index = 0;
    bool without_base = false;
    if (rm == 4) {
        int sib = *at++, number = (sib >> 3 & 7) | high_index << 3;
        index = number == 4 ? 0 : registers[order[number]] << (sib >> 6);
        without_base = mod == 0 && (sib & 7) == 5;
        address = without_base ? 0 : registers[order[(sib & 7) | high_base << 3]];
    } else if (mod != 0 || rm != 5) {
        address = registers[order[rm | high_base << 3]];
    }
    int32_t wide = 0;
    int8_t narrow = 0;
    bool relative = mod == 0 && rm == 5;
    if (mod == 2 || relative || without_base) {
        memcpy(&wide, at, sizeof wide);
        at += 4;
    } else if (mod == 1) {
        narrow = (int8_t)*at++;
    }
    if (relative)
        address = (int64_t)(intptr_t)at;
    *length = (int)(at - (code + 4));
    address += wide + narrow;
    if (stride)
        *stride = index;
    return (uint8_t *)(intptr_t)(stride ? address : address + index); // NOLINT
}

/* Vector instructions of three bytes' prefix: c4, map 2, and the operation. False: none of AMX. */
static bool run_instruction(const uint8_t *code, greg_t *registers)
{
    if (code[0] != 0xc4 || (code[1] & 0x1f) != 2 || (code[2] & 0x84) != 0)
        return false;
    int prefix = code[2] & 3, modrm = code[4], reg = modrm >> 3 & 7, length = 1; /* 0: none, 1: 66, 2: F3, 3: F2 */
    bool memory = modrm >> 6 != 3;
    int64_t stride;
    if (code[3] == 0x49 && prefix == 0 && memory) {
        load_config(address_of(code, registers, NULL, &length), code);
    } else if (code[3] == 0x49 && prefix == 0 && modrm == 0xc0) {
        release();
    } else if (code[3] == 0x49 && prefix == 3 && !memory) {
        need_tile(reg, code);
        memset(mine.data[reg], 0, sizeof mine.data[reg]);
    } else if (code[3] == 0x4b && prefix != 0 && memory) { /* 66: tileloaddt1, F3: tilestored, F2: tileloadd */
        need_tile(reg, code);
        uint8_t *at = address_of(code, registers, &stride, &length);
        move(reg, at, stride, prefix == 2);
    } else if (code[3] == 0x5c && prefix == 2 && !memory) {
        multiply(reg, modrm & 7, ~code[2] >> 3 & 7, code);
    } else {
        return false;
    }
    registers[REG_RIP] += 4 + length;
    return true;
}

static void on_unknown_instruction(int number, siginfo_t *info, void *context)
{
    ucontext_t *interrupted = context;
    const uint8_t *code = (const uint8_t *)(intptr_t)interrupted->uc_mcontext.gregs[REG_RIP]; // NOLINT
    (void)info;
    if (!run_instruction(code, interrupted->uc_mcontext.gregs))
        signal(number, SIG_DFL); /* it comes again */
    else
        atomic_fetch_add_explicit(&num_instructions, 1, memory_order_relaxed);
}

void amx_emulator_begin(void)
{
    if (!getenv("TREEATTN_EMULATE_AMX"))
        return;
    uint32_t features = __real_cpu_machine_features();
    if (!(features & CPU_AVX512BF16) || features & CPU_AMX_TILE)
        return;
    struct sigaction action = {.sa_sigaction = on_unknown_instruction, .sa_flags = SA_SIGINFO};
    sigaction(SIGILL, &action, NULL);
    emulated = true;
}

uint32_t __wrap_cpu_machine_features(void)
{
    return __real_cpu_machine_features() | (emulated ? (uint32_t)(CPU_AMX_TILE | CPU_AMX_BF16) : 0);
}

bool amx_emulator_runs(void) { return emulated; }

unsigned long amx_emulator_count(void) { return atomic_load(&num_instructions); }

int amx_emulator_holders(void) { return atomic_load(&num_holders); }

#else
void amx_emulator_begin(void) {}

uint32_t __wrap_cpu_machine_features(void) { return __real_cpu_machine_features(); }

bool amx_emulator_runs(void) { return false; }

unsigned long amx_emulator_count(void) { return 0; }

int amx_emulator_holders(void) { return 0; }
#endif
