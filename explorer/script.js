/* explorer: the page around explorer_call, the one function of explorer.h. A scenario is a list of operations; each
 * change plays it again from its beginning and draws all panels. The page's address holds the scenario and every choice. */
'use strict';

/* ---- the library ---- */

const CALL = {begin: 0, play: 1, pool: 2, branches: 3, tree: 4, bytes: 5, plan: 6, softmax: 7, evict: 8, policies: 9};
const OPERATION = {a: 0, f: 1, x: 2, t: 3};
const ABSORB = 0, MERGE = 1;
const STRATEGIES = ['flash', 'flash_decoding', 'radix', 'tree_mask', 'node', 'node_chunk', 'flatten', 'cost'];
const SCOPES = ['private', 'mask', 'vote'];
const FAULTS = {'-4': 'No free block is left: prune a branch first.', '-6': 'This branch was pruned.',
    '-7': 'Expected at least one token, and no more than the branch has.', '-100': 'This is more than the page can hold.',
    '-12': 'A number is not finite.'};
let library, policies = [];

class Answer {
    constructor(numbers) { this.numbers = numbers; this.at = 0; }
    next() { return this.numbers[this.at++]; }
    take(count) { return this.numbers.slice(this.at, this.at += count); }
    list(count, make) { return Array.from({length: count}, make); }
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
}

/* ---- the scenario: operations as text ---- */

/* a0.6  append 6 tokens to branch 0     A64  append 64 to each living branch     f0  fork; f0*63: 63 times
 * t0.4  truncate to 4 tokens            x0   prune */
const PRESETS = [
    {name: 'The tiny tree of the book', text: 'Six shared tokens, then three of branch 0 and four of branch 1: the numbers of ' +
        'every chapter. Branch 0 writes first, so it copies the shared half of block 1.',
     t: 4, b: 6, s: 0, ops: 'a0.6_f0_a0.3_a1.4', model: 'tiny', budget: 8},
    {name: 'Eight answers to one prompt', text: 'A prompt of 60 tokens, forked seven times; each branch then writes 20 tokens ' +
        'of its own. The last block of the prompt is part-filled: seven branches copy it, the last one keeps it.',
     t: 16, b: 32, s: 7, ops: 'a0.60_f0*7_A20', model: 'large', strategy: 'node', budget: 48},
    {name: 'A search that grows and prunes', text: 'Thoughts branch, most are dropped, and the blocks of a pruned branch serve the ' +
        'next ones.', t: 4, b: 24, s: 3, model: 'large', strategy: 'node', budget: 12,
     ops: 'a0.10_f0*2_a0.5_a1.6_a2.4_x1_f2*2_a2.5_a3.7_a4.3_x0_x3_f4_a4.6_a5.4'},
    {name: '64 branches behind 2048 tokens', text: 'The tree of chapter 5: a prefix of 2048 tokens and 64 branches with 64 tokens each.',
     t: 16, b: 400, s: 5, ops: 'a0.2048_f0*63_A64', model: 'large', strategy: 'node', budget: 512, workers: 16}];
const DEFAULTS = {t: 4, b: 6, s: 0, ops: '', at: -1, q: 0, model: 'tiny', piece: 0, strategy: 'node', workers: 4, i: 3,
    policy: 'longflow', scope: 'mask', budget: 8, more: 0, pack: 0};
let state, ops, snapshots, view, flashing = false;

function parse(text) {
    return text === '' ? [] : text.split('_').map(part => {
        const found = /^([aftx])(\d+)(?:\.(\d+))?(?:\*(\d+))?$/.exec(part) || /^(A)(\d+)$/.exec(part);
        if (!found) throw new RangeError(`The address has "${part}" where an operation such as a0.6 is expected.`);
        if (found[1] === 'A') return {text: part, kind: 'A', value: Number(found[2])};
        return {text: part, kind: found[1], branch: Number(found[2]), value: Number(found[3] || 0), times: Number(found[4] || 1)};
    });
}

function play(op) {
    if (op.kind !== 'A') {
        for (let time = 0; time < op.times; time++) call('play', OPERATION[op.kind], op.branch, op.value);
        return;
    }
    readBranches().forEach((branch, b) => { if (branch.live) call('play', OPERATION.a, b, op.value); });
}

function readPool() {
    const a = call('pool'), pool = {};
    for (const name of ['blocks', 'blockTokens', 'used', 'shared', 'high', 'logical', 'table', 'physical', 'copies',
        'copiedTokens', 'from', 'to', 'copied', 'fresh']) pool[name] = a.next();
    pool.released = a.take(a.next());
    pool.references = a.take(pool.blocks);
    pool.free = a.take(pool.blocks - pool.used);
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
    const a = call('tree'), tree = {unique: a.next(), path: a.next()};
    tree.nodes = a.list(a.next(), () => {
        const node = {parent: a.next(), first: a.next(), length: a.next()};
        node.queries = [...a.take(a.next())];
        node.slots = a.take(node.length);
        return node;
    });
    return tree;
}

/* Plays the first `state.at` operations; `snapshots` has the pool behind each operation of the whole scenario. */
const scenarioKey = () => [state.t, state.b, state.s, state.ops, state.at].join();
let played;
function replay() {
    if (played === scenarioKey() && view.living.includes(state.q)) return;
    played = null;
    const begin = () => call('begin', state.t, state.b, state.s);
    ops = parse(state.ops);
    if (state.at < 0 || state.at > ops.length) state.at = ops.length;
    begin();
    snapshots = [readPool()];
    for (const op of ops) {
        play(op);
        snapshots.push(readPool());
    }
    if (state.at < ops.length) {
        begin();
        ops.slice(0, state.at).forEach(play);
    }
    view = {pool: readPool(), branches: readBranches(), tree: readTree()};
    view.tokenOf = new Map();
    view.branches.forEach(branch => branch.tokens.forEach((token, t) =>
        view.tokenOf.set(branch.blocks[Math.floor(t / state.t)] * state.t + t % state.t, token)));
    view.filled = new Uint32Array(state.b);
    for (const slot of view.tokenOf.keys()) view.filled[Math.floor(slot / state.t)]++;
    view.living = view.branches.flatMap((branch, b) => branch.live ? [b] : []);
    if (!view.living.includes(state.q)) state.q = view.living.length ? view.living[0] : 0;
    played = scenarioKey();
}

/* ---- words ---- */

const $ = id => document.getElementById(id);
const count = (n, word, words = word + 's') => `${grouped(n)} ${n === 1 ? word : words}`;
const grouped = n => String(n).replace(/\B(?=(\d{3})+$)/g, '\u202f');
const fixed = (x, digits = 4) => x === -Infinity ? '\u2212\u221e' : x.toFixed(digits).replace('-', '\u2212');
const short = x => Number.isInteger(x) ? fixed(x, 0) : fixed(x, Number.isInteger(x * 4) ? 2 : 4);
const minus = (a, b) => `${short(a)} ${b < 0 ? '+' : '\u2212'} ${short(Math.abs(b))}`;
const join = list => list.length < 2 ? list.join('') : `${list.slice(0, -1).join(', ')} and ${list[list.length - 1]}`;
const few = (list, most) => list.length > most ? `${list.slice(0, most).join(', ')} and ${list.length - most} more` : join(list);
const escaped = text => String(text).replace(/[&<>"]/g, letter => `&#${letter.charCodeAt(0)};`);
const shade = references => `r${Math.min(3, references)}`;

function decimal(bytes) {
    for (const [size, unit] of [[1e9, 'GB'], [1e6, 'MB'], [1e4, 'KB']])
        if (bytes >= size) return `${(bytes / (unit === 'KB' ? 1e3 : size)).toPrecision(3)} ${unit}`;
    return `${grouped(bytes)} bytes`;
}

function binary(bytes) {
    for (const [size, unit] of [[2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB']])
        if (bytes >= size) return `${Number((bytes / size).toFixed(2))} ${unit}`;
    return `${bytes} bytes`;
}

/* The operation before step `at`, and what the pool did. */
function describe(at) {
    if (at === 0) return `A pool of ${count(state.b, 'block')} with ${count(state.t, 'token')} each. Branch 0 is empty.`;
    const op = ops[at - 1], pool = snapshots[at], freed = [...pool.released];
    const gone = freed.length ? `${freed.length > 1 ? 'blocks' : 'block'} ${few(freed, 6)} ${freed.length > 1 ? 'are' : 'is'} free again` :
        'no block becomes free';
    if (op.kind === 'A') return `Append ${count(op.value, 'token')} to each branch.`;
    if (op.kind === 'x') return `Prune branch ${op.branch}: ${gone}.`;
    if (op.kind === 't') return `Truncate branch ${op.branch} to ${count(op.value, 'token')}: ${gone}.`;
    if (op.kind === 'f') return op.times > 1 ? `Fork branch ${op.branch} ${op.times} times: more tables, the same blocks.` :
        `Fork branch ${op.branch}: the new branch lists the same blocks, and nothing is copied.`;
    const fresh = pool.fresh - (pool.copied > 0);
    return `Append ${count(op.value, 'token')} to branch ${op.branch}: ` + (pool.copied > 0 ?
        `block ${pool.from} is shared, so ${pool.copied === 1 ? 'its token is' : `its ${pool.copied} tokens are`} copied to block ${pool.to} first` +
        (fresh ? `; ${count(fresh, 'new block')}.` : '.') :
        fresh ? `${count(fresh, 'new block')}.` : 'they fit into its last block.');
}

/* ---- drawing ---- */

const rect = (x, y, w, h, classes) => `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${Math.max(0, w).toFixed(1)}" height="${h.toFixed(1)}" class="${classes}"/>`;
const text = (x, y, words, classes = '', anchor = 'start') =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" class="${classes}" text-anchor="${anchor}">${escaped(words)}</text>`;

function draw(id, height, label, parts) {
    const width = widthOf(id);
    $(id).innerHTML = `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(label)}">${parts.join('')}</svg>`;
}
const widthOf = id => Math.max(200, $(id).clientWidth);

/* Tables are built when they are opened. */
const tables = {}, MOST_ROWS = 500;
function table(name, headers, make) {
    const rows = () => {
        const all = make(), rest = all.length - MOST_ROWS;
        return rest > 0 ? [...all.slice(0, MOST_ROWS), [`and ${rest} more`]] : all;
    };
    tables[name] = () => `<div class="scroll" tabindex="0" role="region" aria-label="table"><table><thead><tr>${headers.map(h => `<th scope="col">${escaped(h)}</th>`).join('')}</tr></thead><tbody>` +
        rows().map(row => `<tr>${row.map(cell => `<td>${escaped(cell)}</td>`).join('')}</tr>`).join('') + '</tbody></table></div>';
    const details = document.querySelector(`[data-table=${name}]`);
    if (details.open) fill(details);
}
function fill(details) {
    details.querySelector('div')?.remove();
    if (tables[details.dataset.table]) details.insertAdjacentHTML('beforeend', tables[details.dataset.table]());
}

/* 1: nodes one below the other, a child where its parent ends; blocks in the colour of their reference count. */
function drawTree() {
    const {tree, pool} = view, width = widthOf('tree'), room = width < 480 ? 66 : 96, parts = [];
    const hasChild = new Set(tree.nodes.map(node => node.parent));
    const spare = tree.nodes.map((node, n) => hasChild.has(n) ? 0 : (state.t - (node.slots[node.length - 1] + 1) % state.t) % state.t);
    const longest = Math.max(1, ...tree.nodes.map((node, n) => node.first + node.length + spare[n]));
    const unit = Math.min(42, (width - room) / longest), tiny = tree.nodes.length > 24, high = tiny ? 5 : 28, line = tiny ? 7 : 54, top = tiny ? 4 : 20;
    let labelled = -20;
    tree.nodes.forEach((node, n) => {
        const y = n * line + top, x = t => 1 + (node.first + t) * unit;
        if (node.parent >= 0) parts.push(`<path class="link" d="M${x(0).toFixed(1)} ${node.parent * line + top + high}V${y + high / 2}"/>`);
        for (let t = 0, end; t < node.length; t = end) {
            const block = Math.floor(node.slots[t] / state.t), tone = Math.min(3, pool.references[block]);
            for (end = t + 1; end < node.length && Math.floor(node.slots[end] / state.t) === block;) end++;
            const extra = end === node.length ? spare[n] : 0, gap = (end - t) * unit > 5 ? 2 : 0;
            if (extra) parts.push(rect(x(t), y, (end - t + extra) * unit - gap, high, 'empty'));
            parts.push(rect(x(t), y, (end - t) * unit - (extra ? 0 : gap), high, shade(tone)));
            if (unit >= 15) for (let i = t; i < end; i++)
                parts.push(text(x(i) + unit / 2 - 1, y + 19, view.tokenOf.get(node.slots[i]), `on${tone}`, 'middle'));
            if (!tiny && (end - t + extra) * unit > 22) parts.push(text(x(t), y - 5, (end - t + extra) * unit > 54 ? `block ${block}` : block, 'small faint'));
            if (pool.copied && block === pool.to) parts.push(rect(x(t), y, (end - t + extra) * unit - gap, high, flashing ? 'to' : 'copied'));
        }
        const here = view.living.filter(b => node.queries.includes(b) && view.branches[b].length === node.first + node.length);
        if (!here.length || y - labelled < 13) return;
        labelled = y;
        parts.push(text(x(node.length + spare[n]) + 5, y + high / 2 + 4, here.length > 1 ? `${width < 480 ? '' : 'branches '}${few(here, 2)}` :
            `${tiny ? '' : width < 480 ? 'br. ' : 'branch '}${here[0]}`, (tiny ? 'small ' : '') + (here.includes(state.q) ? 'bold' : 'faint')));
    });
    draw('tree', Math.max(1, tree.nodes.length) * line + 4, `${count(tree.nodes.length, 'node')} of the tree; ${count(view.living.length, 'living branch', 'living branches')}`, parts);
}

function drawPool() {
    const {pool} = view, width = widthOf('pool'), size = pool.blocks > 64 ? 12 : 38, gap = pool.blocks > 64 ? 2 : 5, parts = [];
    const across = Math.max(1, Math.floor((width + gap) / (size + gap)));
    for (let block = 0; block < pool.blocks; block++) {
        const x = 2 + block % across * (size + gap), y = 2 + Math.floor(block / across) * (size + gap), references = pool.references[block];
        if (references) {
            parts.push(rect(x, y, size, size, 'empty'), rect(x, y, size * view.filled[block] / state.t, size, shade(references)));
        } else parts.push(rect(x + 0.5, y + 0.5, size - 1, size - 1, 'r0'));
        if (pool.copied && block === pool.from) parts.push(rect(x + 1, y + 1, size - 2, size - 2, 'from'));
        if (pool.copied && block === pool.to) parts.push(rect(x + 1, y + 1, size - 2, size - 2, flashing ? 'to' : 'copied'));
        if (size > 20) {
            const tone = references && view.filled[block] * 2 > state.t ? `on${Math.min(3, references)}` : references ? '' : 'on0';
            parts.push(text(x + size / 2, y + 24, block, tone, 'middle'));
        }
    }
    draw('pool', Math.ceil(pool.blocks / across) * (size + gap) + 4,
        `${pool.used} of ${pool.blocks} blocks are used, ${pool.shared} of them by more than one branch`, parts);
    const free = [...pool.free];
    $('free').textContent = `${count(pool.used, 'block')} used, ${pool.shared} shared. ` + (free.length ?
        `Free list: block ${free[0]} is taken next${free.length > 1 ? `, then ${few(free.slice(1), 8)}` : ''}.` : 'The free list is empty.');
}

function tabulateTree() {
    const {pool, branches} = view;
    table('pool', ['block', 'references', 'tokens', 'state'], () => Array.from(pool.references, (references, block) => [block, references, view.filled[block],
        !references ? 'free' : pool.copied && block === pool.to ? 'just copied' : references > 1 ? 'shared' : 'in one table']));
    table('branches', ['branch', 'tokens', 'blocks', 'token numbers'], () => branches.map((branch, b) => branch.live ?
        [b, branch.length, [...branch.blocks].slice(0, 40).join(' '), [...branch.tokens].slice(0, 80).join(' ')] : [b, 'pruned', '', '']));
}

/* 2 */
function drawMemory() {
    const bytes = state.t * (state.model === 'tiny' ? 2 * 4 * 4 : 2 * 8 * 128 * 2 * 32), pool = view.pool, width = widthOf('memory');
    const most = Math.max(1, ...snapshots.map(snapshot => snapshot.table)), height = 190, top = 12, left = 8 + 7 * String(most).length, right = width < 480 ? 108 : 200;
    const x = step => left + (width - left - right) * step / Math.max(1, snapshots.length - 1), y = blocks => height - 24 - (height - 24 - top) * blocks / most;
    const path = name => snapshots.map((snapshot, i) => i ? `H${x(i).toFixed(1)}V${y(snapshot[name]).toFixed(1)}` : `M${x(0)} ${y(snapshot[name]).toFixed(1)}`).join('');
    const last = snapshots[snapshots.length - 1], apart = y(last.used) - y(last.table) < 18 ? 9 : 0, words = width < 480 ? ['copied', 'shared'] : ['copied for each branch', 'shared blocks'];
    const parts = [`<path class="axis" d="M${left} ${top}V${y(0)}H${width - right}"/>`, `<path class="axis" d="M${x(state.at)} ${top}V${y(0)}"/>`,
        text(left - 5, y(most) + 5, most, 'small faint', 'end'), text(left - 5, y(0) + 4, 0, 'small faint', 'end'),
        `<path class="copied-line" d="${path('table')}"/>`, `<path class="shared-line" d="${path('used')}"/>`,
        `<circle cx="${x(state.at)}" cy="${y(pool.table)}" r="4" class="copied-dot"/><circle cx="${x(state.at)}" cy="${y(pool.used)}" r="5" class="r3"/>`,
        text(width - right + 8, y(last.table) + 4 - apart, `${words[0]}: ${last.table}`, 'faint'),
        text(width - right + 8, y(last.used) + 4 + apart, `${words[1]}: ${last.used}`, 'bold'),
        text(x(state.at), height - 8, `step ${state.at}`, 'small faint', state.at * 2 > ops.length ? 'end' : 'start')];
    draw('memory', height, `Blocks of all steps: at step ${state.at}, ${pool.table} if each branch had copies, ${pool.used} shared`, parts);
    $('memory-text').textContent = `${binary(pool.used * bytes)} in ${count(pool.used, 'shared block')}, against ${binary(pool.table * bytes)} in ` +
        `${count(pool.table, 'block')} if each branch had its own` + (pool.used && pool.table > pool.used ? `: ${(pool.table / pool.used).toFixed(1)} times as many.` : '.') +
        (pool.copiedTokens ? ` Copy-on-write has copied ${count(pool.copiedTokens, 'token')} so far.` : '');
    table('memory', ['step', 'operation', 'blocks if copied', 'shared blocks', 'tokens on all paths', 'slots that branches see'], () =>
        snapshots.map((s, i) => [i, i ? ops[i - 1].text : 'begin', s.table, s.used, s.logical, s.physical]));
}

/* 3 */
const TRAFFIC = ['logical', 'unique', 'kv', 'query', 'out', 'mask', 'partial'];
function drawBytes() {
    const a = call('bytes', state.model === 'tiny' ? 0 : 1, state.piece), rows = STRATEGIES.map(name => {
        const row = {name};
        for (const count of ['items', 'loaded', 'partials', 'masked', 'size', ...TRAFFIC]) row[count] = a.next();
        return row;
    });
    for (const name of ['standard', 'dense_mask']) {
        const row = {name};
        for (const count of TRAFFIC) row[count] = a.next();
        rows.push(row);
    }
    for (const row of rows) row.total = row.kv + row.query + row.out + row.mask + row.partial;
    const plans = rows.slice(0, 8), most = Math.max(1, ...plans.map(row => row.total)), least = plans.reduce((best, row) => row.total < best.total ? row : best);
    $('bytes').innerHTML = rows.map(row => {
        const scale = 100 / Math.max(most, Math.min(row.total, most)), cut = row.total > most;
        let left = 100;
        const part = (bytes, name) => {
            const share = Math.min(left, bytes * scale);
            left -= share;
            return share > 0 ? `<i class="${name}" style="width:${share.toFixed(3)}%"></i>` : '';
        };
        return `<div class="row">` + (row.items === undefined ? `<span>${row.name}</span>` :
            `<button type="button" data-strategy="${row.name}" aria-pressed="${row.name === state.strategy}">${row.name}</button>`) +
            `<div class="bar">${part(row.kv, 'kv')}${part(row.query + row.out, 'query')}${part(row.mask, 'mask')}${part(row.partial, 'partial')}` +
            `<b style="left:${(plans[0].unique * 100 / most).toFixed(3)}%"></b></div><span class="total">${decimal(row.total)}${cut ? ' \u25b8' : ''}</span></div>`;
    }).join('');
    const {unique, path} = view.tree;
    $('bytes-text').textContent = path ? `The branches see ${count(path, 'token')} (S), ${count(unique, 'token')} are stored (U): K and V of ` +
        `${decimal(plans[0].logical)}, of which ${decimal(plans[0].unique)} have to be loaded (dotted line). ${least.name} moves least: ${decimal(least.total)}.` : 'No branch has a token yet.';
    table('bytes', ['strategy', 'items', 'loaded tokens', 'partial states', 'masked pairs', 'plan_bytes', 'query_bytes', 'out_bytes', 'mask_bytes', 'partial_bytes', 'bytes of the plan'],
        () => rows.map(row => [row.name, row.items ?? '\u2013', row.loaded ?? '\u2013', row.partials ?? '\u2013', row.masked ?? '\u2013', row.kv, row.query, row.out, row.mask, row.partial, row.size ?? '\u2013']));
}

/* 4 */
function readPlan() {
    const a = call('plan', STRATEGIES.indexOf(state.strategy), state.piece, state.model === 'tiny' ? 0 : 1, state.workers), plan = {};
    plan.items = a.list(a.next(), () => {
        const item = {rows: a.next(), tokens: a.next()}, ranges = a.next();
        item.branches = [...a.take(item.rows)];
        item.ranges = a.list(ranges, () => { const length = a.next(); return {masked: a.next() === 1, slots: a.take(length)}; });
        return item;
    });
    plan.workers = a.list(a.next(), () => a.list(a.next(), () => ({item: a.next(), head: a.next(), tokens: a.next(), start: a.next(), cost: a.next()})));
    return plan;
}

function drawPlan() {
    const plan = readPlan();
    drawItems(plan);
    drawStrips(plan);
    const loads = plan.workers.map(tiles => tiles.reduce((sum, tile) => sum + tile.start + tile.cost, 0)), all = loads.reduce((a, b) => a + b, 0);
    const busy = loads.filter(load => load > 0).length, partials = plan.items.reduce((sum, item) => sum + item.rows, 0);
    $('plan-text').textContent = plan.items.length ? `${state.strategy}: ${count(plan.items.length, 'item')} that ` +
        `${plan.items.length === 1 ? 'loads' : 'load'} ${count(plan.items.reduce((sum, item) => sum + item.tokens, 0), 'token')} and ` +
        `${plan.items.length === 1 ? 'leaves' : 'leave'} ${count(partials, 'partial state')}. ${busy} of ${count(loads.length, 'worker')} ${busy === 1 ? 'has' : 'have'} work; the ` +
        `longest strip is ${(Math.max(...loads) * loads.length / all).toFixed(2)} times an even share.` : 'No branch has a token yet.';
    table('items', ['item', 'branches', 'loaded tokens', 'ranges', 'token numbers'], () => plan.items.map((item, i) => [i, few(item.branches, 8), item.tokens, item.ranges.length,
        item.ranges.flatMap(range => Array.from(range.slots, slot => view.tokenOf.get(slot))).slice(0, 40).join(' ')]));
    table('strips', ['worker', 'tiles', 'tokens', 'cost', 'items'], () => plan.workers.map((tiles, w) => [w, tiles.length, tiles.reduce((sum, tile) => sum + tile.tokens, 0), loads[w],
        few([...new Set(tiles.map(tile => tile.item))], 12)]));
}

function drawItems(plan) {
    const {tree} = view, width = widthOf('items'), left = width < 480 ? 28 : 74, column = new Map(), owner = [], parts = [];
    tree.nodes.forEach(node => node.slots.forEach(slot => { column.set(slot, owner.length); owner.push(node); }));
    const unit = (width - left - 2) / Math.max(1, owner.length), many = view.living.length > 16, high = many ? 6 : 22, top = unit > 12 ? 22 : 4, y = b => top + view.living.indexOf(b) * (high + (many ? 0 : 4));
    const names = [];
    plan.items.forEach((item, i) => {
        for (const b of item.branches) for (const range of item.ranges)
            for (let t = 0, end; t < range.slots.length; t = end) {
                const first = column.get(range.slots[t]), node = owner[first];
                for (end = t + 1; end < range.slots.length && column.get(range.slots[end]) === first + end - t && owner[first + end - t] === node;) end++;
                const seen = node.queries.includes(b), w = (end - t) * unit - (unit > 2 ? 1.5 : 0.4);
                parts.push(rect(left + first * unit, y(b), w, high - (many && b === item.branches[item.rows - 1] ? 1 : 0), seen ? shade(item.rows) : 'hidden'));
                if (seen && !many && w > 44 && !names.includes(`${i} ${b}`)) {
                    names.push(`${i} ${b}`);
                    parts.push(text(left + first * unit + 6, y(b) + 16, `item ${i}`, `on${Math.min(3, item.rows)}`));
                }
            }
    });
    view.living.filter((b, i) => !many || i === 0 || i === view.living.length - 1).forEach(b => parts.push(text(left - 8, y(b) + (many ? 8 : 16), width < 480 ? b : `branch ${b}`, b === state.q ? 'bold' : 'faint', 'end')));
    let shown = -30;
    if (unit > 12) owner.forEach((node, at) => {
        const x = left + (at + 0.5) * unit;
        if (x - shown < 16) return;
        parts.push(text(x, 14, view.tokenOf.get(node.slots[at - column.get(node.slots[0])]), 'small faint', 'middle'));
        shown = x;
    });
    draw('items', view.living.length ? y(view.living[view.living.length - 1]) + high + 8 : 1, `${count(plan.items.length, 'item')} over ${count(owner.length, 'stored token')} and ${count(view.living.length, 'branch', 'branches')}`, parts);
}

function drawStrips(plan) {
    const width = widthOf('strips'), left = width < 480 ? 22 : 74, line = 24, parts = [];
    const longest = Math.max(1, ...plan.workers.map(tiles => tiles.reduce((sum, tile) => sum + tile.start + tile.cost, 0)));
    const scale = (width - left - 2) / longest;
    plan.workers.forEach((tiles, w) => {
        let x = left;
        parts.push(text(left - 8, w * line + 15, width < 480 ? w : `worker ${w}`, 'small faint', 'end'));
        for (const tile of tiles) {
            const rows = plan.items[tile.item].rows, wide = tile.cost * scale, begin = tile.start * scale, label = `${tile.item}`;
            if (begin) parts.push(rect(x, w * line, begin - 0.5, line - 5, 'start'));
            parts.push(rect(x + begin, w * line, wide - (wide > 8 ? 1 : 0), line - 5, shade(rows)));
            if (wide > 60) parts.push(text(x + begin + 5, w * line + 14, `item ${label}`, `small on${Math.min(3, rows)}`));
            else if (begin > 60) parts.push(text(x + 5, w * line + 14, `item ${label}`, 'small'));
            else if (Math.max(wide, begin) > 24) parts.push(text(x + (wide > begin ? begin : 0) + 4, w * line + 14, label, wide > begin ? `small on${Math.min(3, rows)}` : 'small'));
            x += begin + wide;
        }
    });
    draw('strips', plan.workers.length * line, `${count(plan.workers.length, 'worker')} and their items`, parts);
}

/* 5 */
function readSoftmax() {
    const a = call('softmax', state.q, STRATEGIES.indexOf(state.strategy), state.piece), steps = [];
    while (a.at + 12 <= a.numbers.length) {
        const [kind, item, token, score, rescale, weight, m, l] = a.take(8);
        steps.push({kind, item, token, score, rescale, weight, m, l, o: [...a.take(4)]});
    }
    const last = steps[steps.length - 1];
    last.out = [...a.take(4)];
    return steps;
}

function drawSoftmax() {
    $('softmax-of').textContent = `Branch ${state.q}, strategy ${state.strategy}`;
    const empty = !view.living.length || !view.branches[state.q].length, steps = empty ? [] : readSoftmax();
    $('token').max = steps.length;
    state.i = Math.min(state.i, steps.length);
    $('token').value = state.i;
    $('token-back').disabled = state.i === 0;
    $('token-forward').disabled = state.i === steps.length;
    const done = steps.slice(0, state.i), now = done[done.length - 1], before = done[done.length - 2];
    const total = done.filter(step => step.kind !== ABSORB).pop(), item = now && now.kind === ABSORB ? now : null;
    drawWeights(steps, now, total, item);
    const nothing = {m: -Infinity, l: 0, o: [0, 0, 0, 0]}, old = before && before.kind === ABSORB ? before : nothing;
    let words = empty ? 'This branch has no token.' : 'The state of no tokens: m is \u2212\u221e, l and o are 0.';
    if (item) {
        const next = `token ${item.token}, score ${short(item.score)}`;
        words = old.m === -Infinity ? `Item ${item.item} begins with ${next}: m = ${short(item.m)}, l = 1.` : item.m > old.m ?
            `Absorb ${next}, above m: the old sums times exp(${minus(old.m, item.m)}) = ${fixed(item.rescale)}, then l = ${fixed(old.l)} \u00d7 ${fixed(item.rescale)} + 1 = ${fixed(item.l)}.` :
            `Absorb ${next}: weight exp(${minus(item.score, item.m)}) = ${fixed(item.weight)}, l = ${fixed(old.l)} + ${fixed(item.weight)} = ${fixed(item.l)}.`;
    } else if (now && now.kind === MERGE) {
        words = `Item ${now.item} is complete. Merge its state: factors ${fixed(now.rescale)} for the sums so far, ${fixed(now.weight)} for the item\u2019s; l = ${fixed(now.l)}.`;
    } else if (now) {
        words = `Divide once, at the end: out = o / l = (${now.out.map(x => fixed(x)).join(', ')}), lse = ${fixed(now.score)}. ` +
            (now.item ? 'tree_attention_ref gives the same bits.' : 'tree_attention_ref gives OTHER bits.');
    }
    $('softmax-text').textContent = words;
    const shown = item || total || nothing;
    const cards = [['m', short(shown.m)], ['l', fixed(shown.l)], ...shown.o.map((x, d) => [`o[${d}]`, fixed(x)])];
    $('state').innerHTML = cards.map(([name, number]) => `<div><span>${name}${item ? ` of item ${item.item}` : total ? ', merged' : ''}</span><b>${number}</b></div>`).join('');
    table('softmax', ['step', 'what', 'score', 'factor', 'weight', 'm', 'l', 'o[0]', 'o[1]', 'o[2]', 'o[3]'], () => steps.map((s, i) => [i + 1,
        s.kind === ABSORB ? `item ${s.item}: token ${s.token}` : s.kind === MERGE ? `merge item ${s.item}` : 'divide: out', s.kind === MERGE ? '' : short(s.score), fixed(s.rescale), fixed(s.weight),
        short(s.m), fixed(s.l), ...(s.out || s.o).map(x => fixed(x))]));
}

function drawWeights(steps, now, total, item) {
    const all = steps.map((step, i) => ({...step, at: i})).filter(step => step.kind === ABSORB), width = widthOf('softmax'), parts = [], base = 140;
    const most = Math.floor((width - 60) / 27), done = all.filter(step => step.at < state.i).length, from = Math.max(0, Math.min(done - most + 3, all.length - most));
    const tokens = all.slice(from, from + most), groups = new Set(tokens.map(step => step.item)).size;
    const gap = 16, unit = Math.min(54, (width - 4 - (groups - 1) * gap) / Math.max(1, tokens.length));
    if (tokens.length < all.length) parts.push(text(width, 12, `tokens ${from + 1} to ${from + tokens.length} of ${all.length}`, 'small faint', 'end'));
    let x = 2, last = null, labelled = 0;
    for (const step of tokens) {
        if (last !== null && step.item !== last) x += gap;
        if (step.item !== last && x < width - 40 && x >= labelled) { labelled = x + 50; parts.push(text(x, base + 34, `item ${step.item}`, 'small faint')); }
        last = step.item;
        const absorbed = step.at < state.i, m = item && step.item === item.item ? item.m : total ? total.m : step.m;
        const weight = Math.exp(step.score - m), classes = step === now || step.at === state.i - 1 ? 'now' : item && step.item === item.item ? 'absorbed' : 'before';
        if (absorbed) parts.push(rect(x, base - 100 * weight, unit - 3, 100 * weight + 1, classes));
        else parts.push(rect(x, base - 1, unit - 3, 2, 'start'));
        parts.push(text(x + unit / 2 - 1, base + 16, step.token, absorbed ? '' : 'faint', 'middle'));
        if (unit >= 30 && absorbed) parts.push(text(x + unit / 2 - 1, base - 100 * weight - 5, weight.toFixed(2), 'small faint', 'middle'));
        x += unit;
    }
    draw('softmax', base + 42, `exp(score minus m) of ${count(done, 'absorbed token')} of ${all.length}`, parts);
}

/* 6 */
function drawEviction() {
    const longest = Math.max(1, ...view.living.map(b => view.branches[b].length));
    $('budget').max = longest + state.more;
    $('budget').value = state.budget = Math.min(state.budget, longest + state.more);
    $('budget-value').textContent = count(state.budget, 'token');
    const a = call('evict', policies.indexOf(state.policy), SCOPES.indexOf(state.scope), state.budget, state.more, state.pack), result = {};
    for (const name of ['before', 'after', 'high', 'evicted', 'voted', 'freed', 'above']) result[name] = a.next();
    result.branches = a.list(a.next(), () => {
        const branch = {number: a.next(), error: a.next(), seen: a.next(), length: a.next()};
        branch.numbers = a.take(3 * branch.length); /* of each token: number, 0 or 1 + step of its eviction, importance */
        return branch;
    });
    const chosen = result.branches.findIndex(branch => branch.number === state.q), first = Math.max(0, Math.min(chosen - 4, result.branches.length - 10));
    const shown = result.branches.slice(first, first + 10), narrow = widthOf('evict') < 480, left = narrow ? 22 : 74, right = narrow ? 62 : 124, high = 56, line = 78, parts = [];
    const columns = Math.max(1, ...shown.map(branch => branch.length)), room = widthOf('evict') - left - right, bins = Math.min(columns, Math.floor(room / 3)), unit = Math.min(44, room / bins);
    const most = shown.reduce((most, {numbers}) => numbers.reduce((most, number, i) => i % 3 === 2 && number > most ? number : most, most), 1e-9);
    $('evict-legend').textContent = bins < columns ? `below the line: the evicted share of ${Math.ceil(columns / bins)} tokens` : 'evicted: the importance that it would have';
    shown.forEach((branch, i) => {
        const base = i * line + high + 2, {numbers} = branch;
        parts.push(text(left - 8, base - 3, narrow ? branch.number : `branch ${branch.number}`, branch.number === state.q ? 'bold' : 'faint', 'end'),
            `<path class="axis" d="M${left} ${base + 0.5}h${(branch.length / columns * bins * unit).toFixed(1)}"/>`);
        for (let bin = 0; bin < bins; bin++) {
            const begin = Math.floor(bin * columns / bins), end = Math.min(branch.length, Math.floor((bin + 1) * columns / bins)), x = left + bin * unit;
            let best = 0, gone = 0;
            for (let t = begin; t < end; t++) {
                if (numbers[3 * t + 1]) gone++;
                if (!numbers[3 * t + 1] || bins === columns) best = Math.max(best, numbers[3 * t + 2]);
            }
            const tall = 2 + (high - 4) * best / most;
            if (begin < end && bins < columns) parts.push(best ? rect(x, base - tall, unit - 0.6, tall, 'kept') : '', gone ? rect(x, base + 2, unit - 0.6, 12 * gone / (end - begin), 'lost') : '');
            else if (begin < end) parts.push(rect(x + 1, base - tall, unit - Math.min(3, unit / 3), tall, gone ? 'gone' : 'kept'));
            if (begin < end && unit >= 24) parts.push(text(x + unit / 2, base + 14, numbers[3 * begin], `small ${gone ? 'faint' : ''}`, 'middle'));
        }
        parts.push(text(left + branch.length / columns * bins * unit + 8, base - 3, `${narrow ? '' : 'error '}${(branch.error * 100).toFixed(branch.error < 0.1 ? 1 : 0)} %`));
    });
    if (shown.length < result.branches.length) parts.push(text(left, shown.length * line + 12, `${shown.length} of ${result.branches.length} branches; choose others in panel 1`, 'small faint'));
    draw('evict', Math.max(1, shown.length) * line + (shown.length < result.branches.length ? 18 : 2), `${count(result.evicted, 'evicted token')} in ${count(result.branches.length, 'branch', 'branches')}`, parts);
    const error = result.branches.reduce((sum, branch) => sum + branch.error, 0) / Math.max(1, result.branches.length);
    $('evict-text').textContent = `${count(result.evicted, 'token')} evicted${result.voted ? `, ${result.voted} by a vote` : ''}; ${count(result.freed, 'block')} freed, ${result.before} used before and ${result.after} now. ` +
        `The output is off by ${(error * 100).toFixed(1)} % on average.` + (result.above ? ` ${count(result.above, 'query', 'queries')} stayed above the budget.` : '');
    table('evict', ['branch', 'token', 'kept', 'importance now'], () => result.branches.flatMap(({number, numbers, length}) => Array.from({length}, (_, t) =>
        [number, numbers[3 * t], numbers[3 * t + 1] ? `evicted in step ${numbers[3 * t + 1] - 1}` : 'kept', fixed(numbers[3 * t + 2])])));
}

/* ---- the page ---- */

function say(message) { $('message').textContent = message; }

function guarded(work) {
    try { work(); return true; } catch (error) { say(error instanceof RangeError ? error.message : `The library stopped: ${error.message}`); return false; }
}

function drawControls() {
    $('at').max = ops.length;
    $('at').value = state.at;
    $('back').disabled = state.at === 0;
    $('forward').disabled = state.at === ops.length;
    $('step').textContent = `Step ${state.at} of ${ops.length}. ${describe(state.at)}`;
    $('at').setAttribute('aria-valuetext', $('step').textContent);
    const focused = document.activeElement.name === 'branch', many = view.living.length > 16;
    $('branches').innerHTML = '<legend>Branch</legend>' + (many ? '<select name="branch" aria-label="branch">' : '') + view.living.map(b => many ?
        `<option${b === state.q ? ' selected' : ''}>${b}</option>` :
        `<label><input type="radio" name="branch" value="${b}" aria-label="branch ${b}"${b === state.q ? ' checked' : ''}>${b}</label>`).join('') + (many ? '</select>' : '');
    if (focused) document.querySelector('[name=branch]:is(select, :checked)')?.focus();
    for (const id of ['append', 'append-all', 'fork', 'truncate', 'prune']) $(id).disabled = !view.living.length;
    $('undo').disabled = state.at === 0;
    for (const id of ['model', 'piece', 'strategy', 'workers', 'policy', 'scope', 'more']) $(id).value = state[id];
    $('workers-value').textContent = state.workers;
    $('pack').checked = state.pack === 1;
    const preset = PRESETS.findIndex(preset => preset.ops === state.ops && preset.t === state.t && preset.b === state.b && preset.s === state.s);
    $('preset').value = preset;
    $('preset-text').textContent = preset < 0 ? 'Your own scenario.' : PRESETS[preset].text;
}

/* A panel is drawn again if the scenario, the width or one of its choices has changed. */
const PANELS = [{draw: drawTree, of: ['q']}, {draw: drawPool, of: ['q']}, {draw: tabulateTree, of: []}, {draw: drawMemory, of: ['model']},
    {draw: drawBytes, of: ['model', 'piece', 'strategy']}, {draw: drawPlan, of: ['strategy', 'piece', 'model', 'workers', 'q']},
    {draw: drawSoftmax, of: ['q', 'strategy', 'piece', 'i']}, {draw: drawEviction, of: ['q', 'policy', 'scope', 'budget', 'more', 'pack']}];

function show() {
    drawControls();
    for (const panel of PANELS) {
        const key = [scenarioKey(), innerWidth, panel.of.map(name => state[name]), panel.of.includes('q') && flashing].join();
        if (panel.key !== key && guarded(panel.draw)) panel.key = key;
    }
    const hash = '#' + Object.keys(DEFAULTS).map(name => `${name}=${state[name]}`).join('&');
    if (location.hash !== hash) history.replaceState(null, '', hash);
    flashing = false;
}

/* Changes the state; on a fault the old one stays. */
function change(changes) {
    const old = state;
    say('');
    state = {...state, ...changes};
    if (!guarded(replay)) { state = old; replay(); }
    show();
}

/* Adds an operation behind the current step; later ones are dropped. */
function add(operation) {
    flashing = true;
    change({ops: [...ops.slice(0, state.at).map(op => op.text), operation].join('_'), at: state.at + 1});
}

/* The state in the address; numbers out of range and unknown words are replaced by their defaults. */
function fromHash(hash) {
    const found = {...PRESETS[0], ...DEFAULTS, ...Object.fromEntries(Object.keys(DEFAULTS).filter(name => name in PRESETS[0]).map(name => [name, PRESETS[0][name]]))};
    const given = new URLSearchParams(hash.replace(/^#/, ''));
    const limits = {t: [1, 64], b: [1, 1024], s: [0, 1e6], at: [-1, 512], q: [0, 95], piece: [0, 4096], workers: [1, 32], i: [0, 1e5], budget: [1, 4096], more: [0, 64], pack: [0, 1]};
    const words = {model: ['tiny', 'large'], strategy: STRATEGIES, policy: policies, scope: SCOPES, ops: null};
    const state = Object.fromEntries(Object.keys(DEFAULTS).map(name => [name, found[name]]));
    for (const [name, value] of given) {
        if (name in limits) {
            const number = Number(value);
            if (Number.isInteger(number) && number >= limits[name][0] && number <= limits[name][1]) state[name] = number;
        } else if (name in words && (words[name] === null || words[name].includes(value))) state[name] = value;
    }
    if ((state.t & state.t - 1) !== 0) state.t = 4;
    return state;
}

function listen() {
    const amount = () => Number($('amount').value);
    const on = (id, event, work) => $(id).addEventListener(event, work);
    $('preset').innerHTML = PRESETS.map((preset, i) => `<option value="${i}">${escaped(preset.name)}</option>`).join('') + '<option value="-1" disabled>your own</option>';
    $('strategy').innerHTML = STRATEGIES.map(name => `<option>${name}</option>`).join('');
    $('policy').innerHTML = policies.map(name => `<option>${name}</option>`).join('');
    on('preset', 'change', () => change({...fromHash(''), ...Object.fromEntries(Object.entries(PRESETS[$('preset').value]).filter(([name]) => name in DEFAULTS)), at: -1}));
    on('back', 'click', () => change({at: state.at - 1}));
    on('forward', 'click', () => { flashing = true; change({at: state.at + 1}); });
    on('at', 'input', () => { flashing = true; change({at: Number($('at').value)}); });
    on('append', 'click', () => add(`a${state.q}.${amount()}`));
    on('append-all', 'click', () => add(`A${amount()}`));
    on('fork', 'click', () => add(`f${state.q}`));
    on('truncate', 'click', () => add(`t${state.q}.${Math.max(0, view.branches[state.q].length - amount())}`));
    on('prune', 'click', () => add(`x${state.q}`));
    on('undo', 'click', () => change({ops: ops.slice(0, state.at - 1).map(op => op.text).join('_'), at: state.at - 1}));
    on('branches', 'change', event => change({q: Number(event.target.value)}));
    for (const id of ['model', 'strategy', 'policy', 'scope']) on(id, 'change', () => change({[id]: $(id).value}));
    for (const id of ['piece', 'more']) on(id, 'change', () => change({[id]: Math.max(0, Math.min(4096, Number($(id).value)))}));
    for (const id of ['workers', 'budget']) on(id, 'input', () => change({[id]: Number($(id).value)}));
    on('pack', 'change', () => change({pack: $('pack').checked ? 1 : 0}));
    on('token', 'input', () => change({i: Number($('token').value)}));
    on('token-back', 'click', () => change({i: state.i - 1}));
    on('token-forward', 'click', () => change({i: state.i + 1}));
    on('bytes', 'click', event => {
        const name = event.target.dataset.strategy;
        if (!name) return;
        change({strategy: name});
        document.querySelector(`[data-strategy=${name}]`).focus();
    });
    on('share', 'click', () => navigator.clipboard.writeText(location.href).then(() => say('The link is copied.'), () => say('The link is in the address line.')));
    for (const details of document.querySelectorAll('details')) details.addEventListener('toggle', () => { if (details.open) fill(details); });
    addEventListener('hashchange', () => change(fromHash(location.hash)));
    let width = innerWidth;
    addEventListener('resize', () => { if (innerWidth !== width) { width = innerWidth; show(); } });
}

load().then(() => {
    let letters = '';
    for (const letter of call('begin', 1, 1, 0) && call('policies').numbers) letters += letter ? String.fromCharCode(letter) : ' ';
    policies = letters.trim().split(' ');
    listen();
    state = fromHash('');
    replay();
    change(fromHash(location.hash));
    document.documentElement.dataset.ready = 'yes';
}).catch(error => say(`This page cannot start here: ${error.message}. It needs a browser with WebAssembly and DecompressionStream.`));
