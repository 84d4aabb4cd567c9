/* kv_pool: a fixed number of KV blocks and a reference count for each.
 *
 * Integers only. The pool never touches a key or a value: it knows which branches hold which blocks, and when a shared
 * block must be copied before a write, it returns the copy as an instruction. The same code therefore serves host
 * memory, a GPU, or a tensor of another library.
 *
 *   after append(A, 10)        fork(A) = B               append(B, 1): copy-on-write    prune(A)
 *   A: [0 1 2]                 A: [0 1 2]                A: [0 1 2]                     B: [0 1 3]
 *                              B: [0 1 2]                B: [0 1 3]  copy 2 -> 3, 2 tokens
 *   ref 1 1 1 0                ref 2 2 2 0               ref 2 2 1 1                    ref 1 1 0 1  (2 is free)
 *
 * One writer: the caller serialises the calls on one pool. Nothing prints, exits or reads the environment; no
 * call evicts or calls back. A call that fails leaves the pool unchanged: its dump is the same, byte for byte.
 * Sharing comes from fork alone, never from equal content. */
#ifndef KV_POOL_H
#define KV_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kv_status {
    KV_OK = 0,
    KV_INVAL = -1,    /* an argument is outside its documented range */
    KV_OVERFLOW = -2, /* num_blocks * block_bytes is more than 2^47 or half the address space */
    KV_NOMEM = -3,    /* the host is out of memory; retry is possible */
    KV_NOBLOCKS = -4, /* not enough free blocks; prune or retire an epoch, then retry */
    KV_NOBRANCH = -5, /* max_branches are alive; prune, then retry */
    KV_STALE = -6,    /* the handle names no living branch: it was pruned, or was never valid */
    KV_RANGE = -7,    /* a length, count or id beyond its limit */
    KV_BUSY = -8,     /* living branches or unretired epochs forbid the call */
    KV_FORMAT = -9,   /* the text is not a dump; the error has line and column */
    KV_CORRUPT = -10  /* an invariant does not hold; the message names it */
} kv_status;

/* One sentence for a status, never NULL. */
const char *kv_status_string(kv_status status);

#define KV_MAX_LENGTH (1u << 30)   /* tokens of one branch */
#define KV_MAX_BRANCHES (1u << 20) /* living at once */
#define KV_MAX_EPOCHS 1024u        /* unretired at once */

typedef enum kv_order {
    KV_ORDER_LIFO = 0, /* the block freed last is taken first; a new pool yields 0, 1, 2, ... */
    KV_ORDER_FIFO,     /* freed blocks wait as long as possible: a stale read meets old data, not new */
    KV_ORDER_SHUFFLE   /* a random free block; config.seed fixes the sequence */
} kv_order;

typedef struct kv_pool_config {
    uint32_t num_blocks;   /* 1 .. 2^32-2 */
    uint32_t block_tokens; /* power of two, 1 .. 256; 0 means 16 */
    uint32_t max_branches; /* 1 .. KV_MAX_BRANCHES; 0 means 1024 */
    uint32_t max_epochs;   /* unretired epochs at once, 1 .. KV_MAX_EPOCHS; 0 means 8 */
    uint64_t block_bytes;  /* K and V of one block in all layers, to refuse a pool too large to exist; 0: unchecked */
    kv_order order;
    uint64_t seed;         /* of KV_ORDER_SHUFFLE */
    bool evicts;           /* branches have keep words and slots have positions: kv_evict.h */
} kv_pool_config;

typedef struct kv_pool kv_pool;

/* Branch handle: the index of the pool's record in the low 32 bits, its generation in the high 32; 0 is never valid. */
typedef uint64_t kv_branch;

/* Block table of a branch, as a view: valid until the branch next changes (in a pool that evicts: the pool). */
typedef struct kv_table {
    const uint32_t *blocks; /* [num_blocks] block ids, token t lies in blocks[t / block_tokens] */
    uint32_t num_blocks;    /* ceil(length / block_tokens) */
    uint32_t length;        /* tokens; in a pool that evicts, slots: those of evicted tokens are among them */
    uint64_t version;       /* changes with every change except growth at the end; never repeats in a pool. 0: not
                               known (tables of an engine without versions); never from a pool */
} kv_table;

typedef struct kv_pool_stats {
    uint32_t num_blocks, block_tokens;
    uint32_t free_blocks, used_blocks, quarantined_blocks; /* add up to num_blocks */
    uint32_t shared_blocks;      /* listed by more than one branch */
    uint32_t reserved_blocks;    /* part of free_blocks, promised by kv_branch_reserve */
    uint32_t high_water_blocks;  /* largest used_blocks so far */
    uint32_t live_branches;
    uint32_t open_epochs;        /* begun, not retired */
    uint64_t logical_tokens;     /* sum of the living branches' lengths */
    uint64_t table_blocks;       /* sum of the living branches' table entries */
    uint64_t physical_tokens;    /* slots that at least one branch sees */
    uint64_t tail_waste_tokens;  /* used_blocks * block_tokens - physical_tokens */
    uint64_t copies, copied_tokens; /* copy-on-write instructions returned */
    uint64_t kept_tokens, evicted_tokens, moved_tokens; /* in a pool that evicts: bits set in all keep words now; bits
                                                           cleared by eviction; moves of compaction returned */
    uint64_t operations, failures;  /* mutating calls: those that succeeded, those refused */
} kv_pool_stats;

/* Creates a pool with all blocks free. KV_INVAL, KV_OVERFLOW, KV_NOMEM; on error *pool is untouched. O(num_blocks +
 * max_branches). */
kv_status kv_pool_create(kv_pool **pool, const kv_pool_config *config);

/* KV_BUSY while branches live or epochs are unretired, unless forced. stats, if not NULL, receives the final state. */
kv_status kv_pool_destroy(kv_pool *pool, bool force, kv_pool_stats *stats);

/* The counts of the pool at this moment. O(1). */
kv_status kv_pool_get_stats(const kv_pool *pool, kv_pool_stats *stats);

/* Reference count of a block: the number of living tables that list it. 0 for ids beyond the pool. */
uint32_t kv_pool_references(const kv_pool *pool, uint32_t block);

/* Blocks that the last successful append, truncate, adopt, prune, epoch_retire or call of kv_evict.h made free. All of
 * them may be overwritten now, by storage that fills freed blocks (zero for privacy, NaN for tests); but the moves of a
 * compaction read some of them: carry those out first. While an epoch is open, a block that loses its last reference is
 * not listed, as a kernel may still read it; the retire that makes it free lists it. The view is valid until the next
 * call that changes the pool. */
void kv_pool_released(const kv_pool *pool, const uint32_t **blocks, uint32_t *num_blocks);

/* Recomputes the pool's whole state from the tables and compares. KV_OK, or KV_CORRUPT with the invariant's number, the
 * sign of the difference, the block and branch in message[message_bytes] (invariants: docs/allocator.md); KV_NOMEM if
 * its scratch cannot be allocated. O(whole state). */
kv_status kv_pool_check(const kv_pool *pool, char *message, size_t message_bytes);

/* The state as text, except `failures`: one record per line, the first line "kv_pool 1 ...". Writes at most capacity
 * bytes, the last one 0; returns the bytes that the whole text needs, including its 0 (call with capacity 0 to learn
 * the size). */
size_t kv_pool_dump(const kv_pool *pool, char *text, size_t capacity);

typedef struct kv_text_error {
    uint32_t line, column; /* from 1 */
    char message[120];     /* the expected text */
} kv_text_error;

/* Restores the pool that wrote `text`: same handles, tables, counts, free order. Its dump is `text` again, byte for
 * byte, so CRLF and a byte-order mark are refused, with a message that names them.
 * KV_FORMAT with *error filled, KV_CORRUPT if the text is a state that no pool can be in, KV_NOMEM. Safe on untrusted
 * input: memory grows with the length of the text, not with a count that it declares (a pool that evicts also takes
 * 4 * block_tokens bytes for each block that the text lists). error may be NULL. */
kv_status kv_pool_load(kv_pool **pool, const char *text, size_t length, kv_text_error *error);

/* GPU lifetime. Between begin and retire, freed blocks go to quarantine: a kernel launched in the epoch may still read
 * them. Begin before launching a step; retire when the step's event has completed. Epochs count up from 1; retiring an
 * epoch retires all before it. With no epoch open, frees are immediate. Quarantine holds whole blocks only: if
 * truncate, or the prune of a longer branch, frees slots inside a block that stays in use, the next append to that
 * block gets them at once, so order its writes after the kernel (in its stream, or by its event).
 * begin: KV_BUSY with max_epochs unretired. retire: KV_RANGE if the epoch was never begun or is retired. */
kv_status kv_pool_epoch_begin(kv_pool *pool, uint64_t *epoch);
kv_status kv_pool_epoch_retire(kv_pool *pool, uint64_t epoch);

#ifdef __cplusplus
}
#endif
#endif
