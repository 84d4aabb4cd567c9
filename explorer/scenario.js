/* explorer: the page around explorer_call, the one function of explorer.h. A scenario is a list of operations; each
 * change plays it again from its beginning. The page's address holds the scenario and every choice. */
'use strict';

/* ---- the library ---- */

const CALL = {begin: 0, play: 1, pool: 2, branches: 3, tree: 4, bytes: 5, plan: 6, softmax: 7, evict: 8, policies: 9};
const OPERATION = {a: 0, f: 1, x: 2, t: 3};
const ABSORB = 0, MERGE = 1;
const STRATEGIES = ['flash', 'flash_decoding', 'radix', 'tree_mask', 'node', 'node_chunk', 'flatten', 'cost'];
const SCOPES = ['private', 'mask', 'vote'];
const FAULTS = {
    '-4': 'No free block is left: prune a branch first.',
    '-6': 'This branch was pruned.',
    '-7': 'Expected at least one token, and no more than the branch has.',
    '-12': 'A number is not finite.',
    '-100': 'This is more than the page can hold.',
};
let library, policies = [];

/* Reads the numbers of an answer one by one. */
class Answer {
    constructor(numbers) { this.numbers = numbers; this.at = 0; }
    next() { return this.numbers[this.at++]; }
    take(count) { return this.numbers.slice(this.at, this.at += count); }
    list(count, make) { return Array.from({length: count}, make); }
    fields(names) { return Object.fromEntries(names.map(name => [name, this.next()])); }
}

function call(what, ...values) {
    const count = library.explorer_call(CALL[what], ...values, ...Array(5 - values.length).fill(0));
    if (count < 0) throw new RangeError(FAULTS[count] || `The library refuses this: status ${count}.`);
    return new Answer(new Float64Array(library.memory.buffer, library.explorer_numbers(), count).slice());
}

async function load() {
    const packed = Uint8Array.from(atob($('wasm').textContent.trim()), letter => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
    const {instance} = await WebAssembly.instantiate(await new Response(stream).arrayBuffer());
    library = instance.exports;
    library._initialize();
    const letters = Array.from(call('policies').numbers, letter => letter ? String.fromCharCode(letter) : ' ');
    policies = letters.join('').trim().split(' ');
}

/* ---- the scenario ---- */

/* Operations as text, joined by _:
 *   a0.6  append 6 tokens to branch 0     A64  append 64 to each living branch     f0  fork; f0*63: 63 times
 *   t0.4  truncate to 4 tokens            x0   prune                                                        */
const PRESETS = [{
    name: 'The tiny tree of the book',
    text: 'Six shared tokens, then three of branch 0 and four of branch 1: the numbers of every chapter. Branch 0 ' +
        'writes first, so it copies the shared half of block 1.',
    t: 4, b: 6, s: 0, ops: 'a0.6_f0_a0.3_a1.4', model: 'tiny', budget: 8,
}, {
    name: 'Eight answers to one prompt',
    text: 'A prompt of 60 tokens, forked seven times; each branch then writes 20 tokens of its own. The last block ' +
        'of the prompt is part-filled: seven branches copy it, and the last one keeps it.',
    t: 16, b: 32, s: 7, ops: 'a0.60_f0*7_A20', model: 'large', budget: 48,
}, {
    name: 'A search that grows and prunes',
    text: 'Thoughts branch, most are dropped, and the blocks of a pruned branch serve the next ones.',
    t: 4, b: 24, s: 3, ops: 'a0.10_f0*2_a0.5_a1.6_a2.4_x1_f2*2_a2.5_a3.7_a4.3_x0_x3_f4_a4.6_a5.4', model: 'large',
        budget: 12,
}, {
    name: '64 branches behind 2048 tokens',
    text: 'The tree of chapter 5: a prefix of 2048 tokens, and 64 branches with 64 tokens each.',
    t: 16, b: 400, s: 5, ops: 'a0.2048_f0*63_A64', model: 'large', budget: 512, workers: 16,
}];
/* Tokens of a block, blocks, seed (0: the book's numbers), operations, how many of them are played, the chosen branch;
 * the choices of the panels. */
const DEFAULTS = {t: 4, b: 6, s: 0, ops: '', at: -1, q: 0, model: 'tiny', piece: 0, strategy: 'node', workers: 4, i: 3,
    policy: 'longflow', scope: 'mask', budget: 8, more: 0, pack: 0};
const LIMITS = {t: [1, 64], b: [1, 1024], s: [0, 1e6], at: [-1, 512], q: [0, 95], piece: [0, 4096], workers: [1, 32],
    i: [0, 1e5], budget: [1, 4096], more: [0, 64], pack: [0, 1]};
let state;     /* as DEFAULTS */
let ops;       /* of the scenario */
let snapshots; /* the pool behind each of them */
let view;      /* pool, branches and tree at step state.at */
let played;    /* the scenario that `view` shows */

const presetState = preset => Object.fromEntries(
    Object.keys(DEFAULTS).map(name => [name, name in preset ? preset[name] : DEFAULTS[name]]));

/* The state in an address; unknown words and numbers out of range are replaced by those of the first scenario. */
function fromAddress(hash) {
    const words = {model: ['tiny', 'large'], strategy: STRATEGIES, policy: policies, scope: SCOPES};
    const found = presetState(PRESETS[0]);
    for (const [name, value] of new URLSearchParams(hash.replace(/^#/, ''))) {
        const limits = LIMITS[name], number = Number(value);
        if (limits && Number.isInteger(number) && number >= limits[0] && number <= limits[1]) found[name] = number;
        if (name === 'ops' || words[name]?.includes(value)) found[name] = value;
    }
    if ((found.t & found.t - 1) !== 0) found.t = DEFAULTS.t;
    return found;
}

function parse(text) {
    return text === '' ? [] : text.split('_').map(part => {
        const [, kind, branch, value, times] =
            /^([aftx])(\d+)(?:\.(\d+))?(?:\*(\d{1,2}))?$/.exec(part) || /^(A)()(\d+)$/.exec(part) || [];
        if (!kind) throw new RangeError(`The address has "${part}" where an operation such as a0.6 is expected.`);
        return {text: part, kind, branch: Number(branch), value: Number(value || 0), times: Number(times || 1)};
    });
}

function play(op) {
    const branches = op.kind === 'A' ? living(readBranches()) : Array(op.times).fill(op.branch);
    for (const branch of branches) call('play', OPERATION[op.kind.toLowerCase()], branch, op.value);
}

const living = branches => branches.flatMap((branch, b) => branch.live ? [b] : []);

function readPool() {
    const a = call('pool');
    const pool = a.fields(['blocks', 'blockTokens', 'used', 'shared', 'high', 'logical', 'table', 'physical', 'copies',
        'copiedTokens', 'from', 'to', 'copied', 'fresh']);
    pool.released = [...a.take(a.next())];
    pool.references = a.take(pool.blocks);
    pool.free = [...a.take(pool.blocks - pool.used)];
    return pool;
}

function readBranches() {
    const a = call('branches');
    return a.list(a.next(), () => {
        const branch = {live: a.next() === 1, length: a.next()};
        branch.blocks = a.take(a.next());
        branch.tokens = a.take(branch.length);
        return branch;
    });
}

function readTree() {
    const a = call('tree'), tree = a.fields(['unique', 'path']);
    tree.nodes = a.list(a.next(), () => {
        const node = a.fields(['parent', 'first', 'length']);
        node.queries = [...a.take(a.next())];
        node.slots = a.take(node.length);
        return node;
    });
    return tree;
}

const blockOf = slot => Math.floor(slot / state.t);

/* Plays the whole scenario for `snapshots`, then its first state.at operations. */
function replay() {
    const scenario = () => [state.t, state.b, state.s, state.ops, state.at].join();
    if (played !== scenario()) {
        played = null;
        ops = parse(state.ops);
        if (state.at < 0 || state.at > ops.length) state.at = ops.length;
        call('begin', state.t, state.b, state.s);
        snapshots = [readPool(), ...ops.map(op => { play(op); return readPool(); })];
        if (state.at < ops.length) {
            call('begin', state.t, state.b, state.s);
            ops.slice(0, state.at).forEach(play);
        }
        const branches = readBranches();
        view = {pool: readPool(), branches, living: living(branches), tree: readTree()};
        view.tokenOf = new Map(); /* of a slot */
        branches.forEach(branch => branch.tokens.forEach((token, t) =>
            view.tokenOf.set(branch.blocks[blockOf(t)] * state.t + t % state.t, token)));
        view.filled = new Uint32Array(state.b); /* slots of a block that a branch sees */
        for (const slot of view.tokenOf.keys()) view.filled[blockOf(slot)]++;
        played = scenario();
    }
    if (!view.living.includes(state.q)) state.q = view.living.length ? view.living[0] : 0;
}

/* ---- words ---- */

const $ = id => document.getElementById(id);
const grouped = n => String(n).replace(/\B(?=(\d{3})+$)/g, '\u202f');
const count = (n, word, words = word + 's') => `${grouped(n)} ${n === 1 ? word : words}`;
const fixed = (x, digits = 4) => x === -Infinity ? '\u2212\u221e' : x.toFixed(digits).replace('-', '\u2212');
const short = x => fixed(x, Number.isInteger(x) ? 0 : Number.isInteger(x * 4) ? 2 : 4);
const minus = (a, b) => `${short(a)} ${b < 0 ? '+' : '\u2212'} ${short(Math.abs(b))}`;
const join = list => list.length < 2 ? list.join('') : `${list.slice(0, -1).join(', ')} and ${list[list.length - 1]}`;
const few = (list, most) =>
    list.length > most ? `${list.slice(0, most).join(', ')} and ${list.length - most} more` : join(list);
const escaped = text => String(text).replace(/[&<>"]/g, letter => `&#${letter.charCodeAt(0)};`);
const percent = x => `${(x * 100).toFixed(x < 0.1 ? 1 : 0)} %`;

function decimal(bytes) {
    for (const [least, size, unit] of [[1e9, 1e9, 'GB'], [1e6, 1e6, 'MB'], [1e4, 1e3, 'KB']])
        if (bytes >= least) return `${(bytes / size).toPrecision(3)} ${unit}`;
    return `${grouped(bytes)} bytes`;
}

function binary(bytes) {
    for (const [size, unit] of [[2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB']])
        if (bytes >= size) return `${Number((bytes / size).toFixed(2))} ${unit}`;
    return `${bytes} bytes`;
}

/* The operation before step `at`, and the pool's answer. */
function describe(at) {
    if (at === 0)
        return `A pool of ${count(state.b, 'block')} with ${count(state.t, 'token')} each. Branch 0 is empty.`;
    const op = ops[at - 1], {released, copied, from, to, fresh} = snapshots[at];
    const freed = !released.length ? 'no block becomes free' :
        released.length === 1 ? `block ${released[0]} is free again` : `blocks ${few(released, 6)} are free again`;
    if (op.kind === 'A') return `Append ${count(op.value, 'token')} to each branch.`;
    if (op.kind === 'x') return `Prune branch ${op.branch}: ${freed}.`;
    if (op.kind === 't') return `Truncate branch ${op.branch} to ${count(op.value, 'token')}: ${freed}.`;
    if (op.kind === 'f' && op.times > 1)
        return `Fork branch ${op.branch} ${op.times} times: more tables, the same blocks.`;
    if (op.kind === 'f')
        return `Fork branch ${op.branch}: the new branch lists the same blocks, and nothing is copied.`;
    const blocks = fresh - (copied > 0), more = blocks ? count(blocks, 'new block') : '';
    const copy = copied ? `block ${from} is shared, so ${copied === 1 ? 'its token is' : `its ${copied} tokens are`} ` +
        `copied to block ${to} first${more && '; '}` : '';
    return `Append ${count(op.value, 'token')} to branch ${op.branch}: ` +
        `${copy + more || 'there is room in its last block'}.`;
}
