/* ---- drawings and tables ---- */

const NARROW = 480; /* of a drawing, in pixels: a phone */
const shade = references => `r${Math.min(3, references)}`;
const on = references => `on${Math.min(3, references)}`; /* a text on it */
const widthOf = id => Math.max(200, $(id).clientWidth);
const num = x => x.toFixed(1);

const rect = (x, y, width, height, classes) => `<rect x="${num(x)}" y="${num(y)}" width="${num(Math.max(0, width))}" ` +
    `height="${num(height)}" class="${classes}"/>`;
const text = (x, y, words, classes = '', anchor = 'start') =>
    `<text x="${num(x)}" y="${num(y)}" class="${classes}" text-anchor="${anchor}">${escaped(words)}</text>`;
const line = (path, classes) => `<path d="${path}" class="${classes}"/>`;

function draw(id, height, label, parts) {
    const width = widthOf(id);
    $(id).innerHTML = `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" ` +
        `aria-label="${escaped(label)}">${parts.join('')}</svg>`;
}

/* A table is built when it is opened. */
const tables = {}, MOST_ROWS = 500;
function table(name, headers, make) {
    tables[name] = () => {
        const rows = make(), rest = rows.length - MOST_ROWS;
        if (rest > 0) rows.splice(MOST_ROWS, rest, [`and ${rest} more`]);
        const cell = (words, tag) => `<${tag}>${escaped(words)}</${tag.slice(0, 2)}>`;
        const cells = (row, tag) => `<tr>${row.map(words => cell(words, tag)).join('')}</tr>`;
        return `<div class="scroll" tabindex="0" role="region" aria-label="table"><table><thead>` +
            `${cells(headers, 'th scope="col"')}</thead>` +
            `<tbody>${rows.map(row => cells(row, 'td')).join('')}</tbody></table></div>`;
    };
    const details = document.querySelector(`[data-table=${name}]`);
    if (details.open) fill(details);
}

function fill(details) {
    details.querySelector('div')?.remove();
    if (tables[details.dataset.table]) details.insertAdjacentHTML('beforeend', tables[details.dataset.table]());
}

/* ---- 1: the tree and its pool ---- */

/* Nodes one below the other, a child where its parent ends; blocks in the colour of their reference count. */
function drawTree() {
    const {tree: {nodes}, pool, branches} = view, width = widthOf('tree'), parts = [];
    const small = nodes.length > 24, high = small ? 5 : 28, pitch = small ? 7 : 54, top = small ? 4 : 20;
    const isParent = new Set(nodes.map(node => node.parent));
    const spare = nodes.map((node, n) => /* empty slots behind its last token */
        isParent.has(n) ? 0 : (state.t - (node.slots[node.length - 1] + 1) % state.t) % state.t);
    const longest = Math.max(1, ...nodes.map((node, n) => node.first + node.length + spare[n]));
    const unit = Math.min(42, (width - (width < NARROW ? 66 : 96)) / longest);
    let labelled = -20;
    nodes.forEach((node, n) => {
        const y = n * pitch + top, x = t => 1 + (node.first + t) * unit;
        if (node.parent >= 0) parts.push(line(`M${num(x(0))} ${node.parent * pitch + top + high}V${y + high / 2}`,
            'link'));
        for (let t = 0, end; t < node.length; t = end) {
            const block = blockOf(node.slots[t]), references = pool.references[block];
            for (end = t + 1; end < node.length && blockOf(node.slots[end]) === block;) end++;
            const extra = end === node.length ? spare[n] : 0, whole = (end - t + extra) * unit;
            const gap = (end - t) * unit > 5 ? 2 : 0;
            if (extra) parts.push(rect(x(t), y, whole - gap, high, 'empty'));
            parts.push(rect(x(t), y, (end - t) * unit - (extra ? 0 : gap), high, shade(references)));
            if (unit >= 15) for (let i = t; i < end; i++)
                parts.push(text(x(i) + unit / 2 - 1, y + 19, view.tokenOf.get(node.slots[i]), on(references),
                    'middle'));
            if (!small && whole > 22) parts.push(text(x(t), y - 5, whole > 54 ? `block ${block}` : block,
                'small faint'));
            if (pool.copied && block === pool.to)
                parts.push(rect(x(t), y, whole - gap, high, flashing ? 'to' : 'copied'));
        }
        const end = node.first + node.length, here = node.queries.filter(b => branches[b].length === end);
        if (!here.length || y - labelled < 13) return;
        labelled = y;
        const words = here.length > 1 ? `${width < NARROW ? '' : 'branches '}${few(here, 2)}` :
            `${small ? '' : width < NARROW ? 'br. ' : 'branch '}${here[0]}`;
        parts.push(text(x(node.length + spare[n]) + 5, y + high / 2 + 4, words,
            (small ? 'small ' : '') + (here.includes(state.q) ? 'bold' : 'faint')));
    });
    draw('tree', Math.max(1, nodes.length) * pitch + 4, `${count(nodes.length, 'node')} of the tree; ` +
        count(view.living.length, 'living branch', 'living branches'), parts);
}

function drawPool() {
    const {pool, filled} = view, small = pool.blocks > 64, size = small ? 12 : 38, pitch = size + (small ? 2 : 5);
    const across = Math.max(1, Math.floor((widthOf('pool') + pitch - size) / pitch)), parts = [];
    for (let block = 0; block < pool.blocks; block++) {
        const x = 2 + block % across * pitch, y = 2 + Math.floor(block / across) * pitch;
        const references = pool.references[block], share = filled[block] / state.t;
        if (references) parts.push(rect(x, y, size, size, 'empty'), rect(x, y, size * share, size, shade(references)));
        else parts.push(rect(x + 0.5, y + 0.5, size - 1, size - 1, 'r0'));
        const mark = classes => parts.push(rect(x + 1, y + 1, size - 2, size - 2, classes));
        if (pool.copied && block === pool.from) mark('from');
        if (pool.copied && block === pool.to) mark(flashing ? 'to' : 'copied');
        if (!small) parts.push(text(x + size / 2, y + 24, block, share > 0.5 ? on(references) : references ? '' :
            'on0', 'middle'));
    }
    draw('pool', Math.ceil(pool.blocks / across) * pitch + 4,
        `${pool.used} of ${pool.blocks} blocks are used, ${pool.shared} of them by more than one branch`, parts);
    const [next, ...rest] = pool.free;
    $('free').textContent = `${count(pool.used, 'block')} used, ${pool.shared} shared. ` + (next === undefined ?
        'The free list is empty.' :
        `Free list: block ${next} is taken next${rest.length ? `, then ${few(rest, 8)}` : ''}.`);
    const word = block => !pool.references[block] ? 'free' : pool.copied && block === pool.to ? 'just copied' :
        pool.references[block] > 1 ? 'shared' : 'in one table';
    table('pool', ['block', 'references', 'tokens', 'state'], () =>
        Array.from(pool.references, (references, block) => [block, references, filled[block], word(block)]));
    table('branches', ['branch', 'tokens', 'blocks', 'token numbers'],
        () => view.branches.map((branch, b) => branch.live ?
        [b, branch.length, branch.blocks.slice(0, 40).join(' '), branch.tokens.slice(0, 80).join(' ')] :
            [b, 'pruned', '', '']));
}

/* ---- 2: memory ---- */

function drawMemory() {
    const bytes = state.t * (state.model === 'tiny' ? 2 * 4 * 4 : 2 * 8 * 128 * 2 * 32); /* large: 32 layers */
    const {pool} = view, width = widthOf('memory'), narrow = width < NARROW, last = snapshots[snapshots.length - 1];
    const most = Math.max(1, ...snapshots.map(snapshot => snapshot.table));
    const top = 12, bottom = 166, left = 8 + 7 * String(most).length, right = width - (narrow ? 108 : 200);
    const x = step => left + (right - left) * step / Math.max(1, ops.length),
        y = blocks => bottom - (bottom - top) * blocks / most;
    const path = name => snapshots.map((snapshot, i) =>
        (i ? `H${num(x(i))}V` : `M${num(x(0))} `) + num(y(snapshot[name]))).join('');
    const apart = y(last.used) - y(last.table) < 18 ? 9 : 0;
    const dot = (blocks, radius, classes) =>
        `<circle cx="${num(x(state.at))}" cy="${num(y(blocks))}" r="${radius}" class="${classes}"/>`;
    draw('memory', 190, `Blocks of all steps: at step ${state.at}, ${pool.table} if each branch had copies, ` +
        `${pool.used} shared`, [
        line(`M${left} ${top}V${bottom}H${right}`, 'axis'), line(`M${num(x(state.at))} ${top}V${bottom}`, 'axis'),
        text(left - 5, top + 5, most, 'small faint', 'end'), text(left - 5, bottom + 4, 0, 'small faint', 'end'),
        line(path('table'), 'copied-line'), line(path('used'), 'shared-line'),
        dot(pool.table, 4, 'copied-dot'), dot(pool.used, 5, 'r3'),
        text(right + 8, y(last.table) + 4 - apart, `${narrow ? 'copied' : 'copied for each branch'}: ${last.table}`,
            'faint'),
        text(right + 8, y(last.used) + 4 + apart, `${narrow ? 'shared' : 'shared blocks'}: ${last.used}`, 'bold'),
        text(x(state.at), 182, `step ${state.at}`, 'small faint', state.at * 2 > ops.length ? 'end' : 'start')]);
    $('memory-text').textContent = `${binary(pool.used * bytes)} in ${count(pool.used, 'shared block')}, against ` +
        `${binary(pool.table * bytes)} in ${count(pool.table, 'block')} if each branch had its own` +
        (pool.table > pool.used ? `: ${(pool.table / pool.used).toFixed(1)} times as many.` : '.') +
        (pool.copiedTokens ? ` Copy-on-write has copied ${count(pool.copiedTokens, 'token')} so far.` : '');
    table('memory', ['step', 'operation', 'blocks if copied', 'shared blocks', 'tokens on all paths',
        'slots that branches see'],
        () => snapshots.map((s, i) => [i, i ? ops[i - 1].text : 'begin', s.table, s.used, s.logical, s.physical]));
}

/* ---- 3: bytes ---- */

function drawBytes() {
    const traffic = ['logical', 'unique', 'kv', 'query', 'out', 'mask', 'partial'];
    const counts = ['items', 'loaded', 'partials', 'masked', 'size', ...traffic],
        a = call('bytes', state.model === 'tiny' ? 0 : 1, state.piece);
    const plans = STRATEGIES.map(name => ({name, ...a.fields(counts)}));
    const rows = [...plans, ...['standard', 'dense_mask'].map(name => ({name, ...a.fields(traffic)}))];
    for (const row of rows) row.total = row.kv + row.query + row.out + row.mask + row.partial;
    const least = plans.reduce((best, row) => row.total < best.total ? row : best);
    const most = Math.max(1, ...plans.map(row => row.total)), [{logical, unique}] = plans;
    $('bytes').innerHTML = rows.map(row => {
        let left = 100;
        const part = (bytes, name) => {
            const share = Math.min(left, 100 * bytes / most);
            left -= share;
            return share > 0 ? `<i class="${name}" style="width:${share.toFixed(3)}%"></i>` : '';
        };
        return `<div class="row">` + (row.items === undefined ? `<span>${row.name}</span>` :
            `<button type="button" data-strategy="${row.name}" ` +
            `aria-pressed="${row.name === state.strategy}">${row.name}</button>`) +
            `<div class="bar">${part(row.kv, 'kv')}${part(row.query + row.out, 'query')}${part(row.mask, 'mask')}` +
            `${part(row.partial, 'partial')}<b style="left:${(unique * 100 / most).toFixed(3)}%"></b></div>` +
            `<span class="total">${decimal(row.total)}${row.total > most ? ' \u25b8' : ''}</span></div>`;
    }).join('');
    $('bytes-text').textContent = view.tree.path ? `The branches see ${count(view.tree.path, 'token')} (S), ` +
        `${count(view.tree.unique, 'token')} are stored (U): K and V of ${decimal(logical)}, of which ` +
        `${decimal(unique)} have to be loaded (dotted line). ${least.name} moves least: ${decimal(least.total)}.` :
            'No branch has a token yet.';
    table('bytes', ['strategy', 'items', 'loaded tokens', 'partial states', 'masked pairs', 'plan_bytes',
        'query_bytes', 'out_bytes',
        'mask_bytes', 'partial_bytes', 'bytes of the plan'], () => rows.map(row =>
        ['name', 'items', 'loaded', 'partials', 'masked', 'kv', 'query', 'out', 'mask', 'partial',
            'size'].map(name => row[name] ?? '\u2013')));
}

/* ---- 4: a plan and its workers ---- */

function readPlan() {
    const a = call('plan', STRATEGIES.indexOf(state.strategy), state.piece, state.model === 'tiny' ? 0 : 1,
        state.workers);
    const items = a.list(a.next(), () => {
        const item = a.fields(['rows', 'tokens']), ranges = a.next();
        item.branches = [...a.take(item.rows)];
        item.ranges = a.list(ranges, () => { const length = a.next(); a.next(); return a.take(length); });
        return item;
    });
    const workers = a.list(a.next(),
        () => a.list(a.next(), () => a.fields(['item', 'head', 'tokens', 'start', 'cost'])));
    return {items, workers, loads: workers.map(tiles => tiles.reduce((sum, tile) => sum + tile.start + tile.cost, 0))};
}

function drawPlan() {
    const plan = readPlan(), {items, workers, loads} = plan, sum = list => list.reduce((a, b) => a + b, 0);
    drawItems(items);
    drawStrips(plan);
    const busy = loads.filter(load => load > 0).length, one = items.length === 1;
    $('plan-text').textContent = !items.length ? 'No branch has a token yet.' :
        `${state.strategy}: ${count(items.length, 'item')} that ${one ? 'loads' : 'load'} ` +
        `${count(sum(items.map(item => item.tokens)), 'token')} ` +
        `and ${one ? 'leaves' : 'leave'} ${count(sum(items.map(item => item.rows)), 'partial state')}. ${busy} of ` +
        `${count(loads.length, 'worker')} ${busy === 1 ? 'has' : 'have'} work; the longest strip is ` +
        `${(Math.max(...loads) * loads.length / sum(loads)).toFixed(2)} times an even share.`;
    table('items', ['item', 'branches', 'loaded tokens', 'ranges', 'token numbers'],
        () => items.map((item, i) => [i, few(item.branches, 8),
        item.tokens, item.ranges.length, item.ranges.flatMap(range => [...range]).slice(0,
            40).map(slot => view.tokenOf.get(slot)).join(' ')]));
    table('strips', ['worker', 'tiles', 'tokens', 'cost', 'items'], () => workers.map((tiles, w) => [w, tiles.length,
        sum(tiles.map(tile => tile.tokens)), loads[w], few([...new Set(tiles.map(tile => tile.item))], 12)]));
}

/* Rows are branches, columns the stored tokens, node by node. A masked pair is one that an item computes although the
 * branch does not see the token. */
function drawItems(items) {
    const {tree, living} = view, width = widthOf('items'), narrow = width < NARROW, parts = [], named = new Set();
    const owner = tree.nodes.flatMap(node => Array(node.length).fill(node)),
        slots = tree.nodes.flatMap(node => [...node.slots]);
    const column = new Map(slots.map((slot, at) => [slot, at])), row = new Map(living.map((b, at) => [b, at]));
    const left = narrow ? 28 : 74, unit = (width - left - 2) / Math.max(1, owner.length), top = unit > 12 ? 22 : 4;
    const small = living.length > 16, high = small ? 6 : 22, pitch = small ? 6 : 26;
    items.forEach((item, i) => item.branches.forEach((b, r) => item.ranges.forEach(range => {
        for (let t = 0, end; t < range.length; t = end) {
            const first = column.get(range[t]), node = owner[first], y = top + row.get(b) * pitch;
            for (end = t + 1; end < range.length && column.get(range[end]) === first + end - t &&
                owner[first + end - t] === node;) end++;
            const seen = node.queries.includes(b), wide = (end - t) * unit - (unit > 2 ? 1.5 : 0.4);
            parts.push(rect(left + first * unit, y, wide, high - (small && r === item.rows - 1 ? 1 : 0),
                seen ? shade(item.rows) : 'hidden'));
            if (!seen || small || wide < 44 || named.has(`${i} ${b}`)) continue;
            named.add(`${i} ${b}`);
            parts.push(text(left + first * unit + 6, y + 16, `item ${i}`, on(item.rows)));
        }
    })));
    living.forEach((b, at) => {
        if (small && at > 0 && at < living.length - 1) return;
        parts.push(text(left - 8, top + at * pitch + (small ? 8 : 16), narrow ? b : `branch ${b}`, b === state.q ?
            'bold' : 'faint', 'end'));
    });
    let shown = -16;
    if (unit > 12) slots.forEach((slot, at) => {
        const x = left + (at + 0.5) * unit;
        if (x - shown < 16) return;
        parts.push(text(x, 14, view.tokenOf.get(slot), 'small faint', 'middle'));
        shown = x;
    });
    draw('items', top + living.length * pitch + 4,
        `${count(items.length, 'item')} over ${count(owner.length, 'stored token')} and ` +
        count(living.length, 'branch', 'branches'), parts);
}

function drawStrips({items, workers, loads}) {
    const width = widthOf('strips'), narrow = width < NARROW, left = narrow ? 28 : 74, pitch = 24, parts = [];
    const scale = (width - left - 2) / Math.max(1, ...loads);
    workers.forEach((tiles, w) => {
        let x = left;
        const y = w * pitch, label = (x, words, classes) => parts.push(text(x, y + 14, words, `small ${classes}`));
        parts.push(text(left - 8, y + 15, narrow ? w : `worker ${w}`, 'small faint', 'end'));
        for (const tile of tiles) {
            const {rows} = items[tile.item], begin = tile.start * scale, wide = tile.cost * scale;
            if (begin) parts.push(rect(x, y, begin - 0.5, 19, 'start'));
            parts.push(rect(x + begin, y, wide - (wide > 8 ? 1 : 0), 19, shade(rows)));
            if (wide > 60) label(x + begin + 5, `item ${tile.item}`, on(rows));
            else if (begin > 60) label(x + 5, `item ${tile.item}`, '');
            else if (wide > 24) label(x + begin + 4, tile.item, on(rows));
            else if (begin > 24) label(x + 4, tile.item, '');
            x += begin + wide;
        }
    });
    draw('strips', workers.length * pitch, `${count(workers.length, 'worker')} and their items`, parts);
}

/* ---- 5: online softmax ---- */

function readSoftmax() {
    const a = call('softmax', state.q, STRATEGIES.indexOf(state.strategy), state.piece), steps = [];
    while (a.at + 12 <= a.numbers.length) {
        const step = a.fields(['kind', 'item', 'token', 'score', 'rescale', 'weight', 'm', 'l']);
        steps.push({...step, o: [...a.take(4)], at: steps.length});
    }
    steps[steps.length - 1].out = [...a.take(4)];
    return steps;
}

function drawSoftmax() {
    const empty = !view.living.length || !view.branches[state.q].length, steps = empty ? [] : readSoftmax();
    const at = Math.min(state.i, steps.length); /* the choice stays for longer branches */
    $('softmax-of').textContent = `Branch ${state.q}, strategy ${state.strategy}`;
    $('token').max = steps.length;
    $('token').value = at;
    $('token-back').disabled = at === 0;
    $('token-forward').disabled = at === steps.length;
    const done = steps.slice(0, at), [before, now] = [done[at - 2], done[at - 1]];
    const nothing = {m: -Infinity, l: 0, o: [0, 0, 0, 0]}, total = done.filter(step => step.kind !== ABSORB).pop();
    const item = now && now.kind === ABSORB ? now : null, shown = item || total || nothing;
    drawWeights(steps, at, item, total);
    $('softmax-text').textContent = empty ? 'This branch has no token.' : !now ?
        'The state of no tokens: m is \u2212\u221e, l and o are 0.' :
        item ? sayAbsorb(item, before && before.kind === ABSORB ? before : nothing) : now.kind === MERGE ?
            `Item ${now.item} is complete. Merge its state: factors ${fixed(now.rescale)} for the sums so far, ` +
            `${fixed(now.weight)} for the item\u2019s; l = ${fixed(now.l)}.` :
            `Divide once, at the end: out = o / l = (${now.out.map(x => fixed(x)).join(', ')}), ` +
            `lse = ${fixed(now.score)}. tree_attention_ref gives ${now.item ? 'the same' : 'OTHER'} bits.`;
    const cards = [['m', short(shown.m)], ['l', fixed(shown.l)], ...shown.o.map((x, d) => [`o[${d}]`, fixed(x)])];
    $('state').innerHTML = cards.map(([name, number]) =>
        `<div><span>${name}${item ? ` of item ${item.item}` : total ? ', merged' : ''}</span>` +
        `<b>${number}</b></div>`).join('');
    const word = step => step.kind === ABSORB ? `item ${step.item}: token ${step.token}` : step.kind === MERGE ?
        `merge item ${step.item}` : 'divide: out';
    table('softmax', ['step', 'what', 'score', 'factor', 'weight', 'm', 'l', 'o[0]', 'o[1]', 'o[2]', 'o[3]'],
        () => steps.map(step =>
        [step.at + 1, word(step), step.kind === ABSORB ? short(step.score) : '', fixed(step.rescale),
            fixed(step.weight), short(step.m),
            fixed(step.l), ...(step.out || step.o).map(x => fixed(x))]));
}

function sayAbsorb(now, old) {
    const token = `token ${now.token}, score ${short(now.score)}`;
    if (old.m === -Infinity) return `Item ${now.item} begins with ${token}: m = ${short(now.m)}, l = 1.`;
    if (now.m > old.m) return `Absorb ${token}, above m: the old sums times exp(${minus(old.m, now.m)}) = ` +
        `${fixed(now.rescale)}, then l = ${fixed(old.l)} \u00d7 ${fixed(now.rescale)} + 1 = ${fixed(now.l)}.`;
    return `Absorb ${token}: weight exp(${minus(now.score, now.m)}) = ${fixed(now.weight)}, ` +
        `l = ${fixed(old.l)} + ${fixed(now.weight)} = ${fixed(now.l)}.`;
}

/* A bar for each absorbed token: exp(score - m), with the m of the open item or of the merged state. */
function drawWeights(steps, at, item, total) {
    const all = steps.filter(step => step.kind === ABSORB), done = all.filter(step => step.at < at).length;
    const width = widthOf('softmax'), most = Math.floor((width - 60) / 27), parts = [], base = 140, gap = 16;
    const from = Math.max(0, Math.min(done - most + 3, all.length - most)), tokens = all.slice(from, from + most);
    const gaps = new Set(tokens.map(step => step.item)).size - 1,
        unit = Math.min(54, (width - 4 - gaps * gap) / Math.max(1, tokens.length));
    if (tokens.length < all.length)
        parts.push(text(width, 12, `tokens ${from + 1} to ${from + tokens.length} of ${all.length}`, 'small faint',
            'end'));
    let x = 2, last = null, labelled = 0;
    for (const step of tokens) {
        const begins = step.item !== last, open = item && step.item === item.item;
        if (begins && last !== null) x += gap;
        if (begins && x < width - 40 && x >= labelled) {
            parts.push(text(x, base + 34, `item ${step.item}`, 'small faint'));
            labelled = x + 50;
        }
        last = step.item;
        const absorbed = step.at < at, weight = Math.exp(step.score - (open ? item : total || step).m);
        const classes = step.at === at - 1 ? 'now' : open ? 'absorbed' : 'before';
        parts.push(absorbed ? rect(x, base - 100 * weight, unit - 3, 100 * weight + 1, classes) :
            rect(x, base - 1, unit - 3, 2, 'start'),
            text(x + unit / 2 - 1, base + 16, step.token, absorbed ? '' : 'faint', 'middle'));
        if (unit >= 30 && absorbed) parts.push(text(x + unit / 2 - 1, base - 100 * weight - 5, weight.toFixed(2),
            'small faint', 'middle'));
        x += unit;
    }
    draw('softmax', base + 42, `exp(score minus m) of ${count(done, 'absorbed token')} of ${all.length}`, parts);
}

/* ---- 6: eviction ---- */

function readEviction(budget) {
    const a = call('evict', policies.indexOf(state.policy), SCOPES.indexOf(state.scope), budget, state.more,
        state.pack);
    const result = a.fields(['before', 'after', 'high', 'evicted', 'voted', 'freed', 'above']);
    result.branches = a.list(a.next(), () => {
        const branch = a.fields(['number', 'error', 'seen', 'length']);
        branch.numbers = a.take(3 * branch.length); /* of each token: number, 0 or 1 + step of its eviction,
            importance */
        return branch;
    });
    return result;
}

function drawEviction() {
    const longest = Math.max(1, ...view.living.map(b => view.branches[b].length)) + state.more;
    $('budget').max = longest;
    const budget = Math.min(state.budget, longest); /* the choice stays for longer branches */
    $('budget').value = budget;
    $('budget-value').textContent = count(budget, 'token');
    const {branches, evicted, voted, freed, before, after, above} = readEviction(budget);
    drawKept(branches, evicted);
    const error = branches.reduce((sum, branch) => sum + branch.error, 0) / Math.max(1, branches.length);
    $('evict-text').textContent = `${count(evicted, 'token')} evicted${voted ? `, ${voted} by a vote` : ''}; ` +
        `${count(freed, 'block')} freed, ` +
        `${before} used before and ${after} now. The output is off by ${percent(error)} on average.` +
        (above ? ` ${count(above, 'query', 'queries')} stayed above the budget.` : '');
    const word = gone => gone ? `evicted in step ${gone - 1}` : 'kept';
    table('evict', ['branch', 'token', 'kept', 'importance now'], () => branches.flatMap(({number, numbers, length}) =>
        Array.from({length}, (_, t) => [number, numbers[3 * t], word(numbers[3 * t + 1]), fixed(numbers[3 * t + 2])])));
}

/* The chosen branch and its neighbours. Where there is no room for each token, a column is the largest importance of
 * several kept ones, and, below the line, the share of them that was evicted. */
function drawKept(branches, evicted) {
    const chosen = branches.findIndex(branch => branch.number === state.q);
    const first = Math.max(0, Math.min(chosen - 4, branches.length - 10)), shown = branches.slice(first, first + 10);
    const width = widthOf('evict'), narrow = width < NARROW, left = narrow ? 28 : 74, high = 56, pitch = 78, parts = [];
    const columns = Math.max(1, ...shown.map(branch => branch.length)), room = width - left - (narrow ? 62 : 124);
    const bins = Math.min(columns, Math.floor(room / 3)), joined = bins < columns, unit = Math.min(44, room / bins);
    const most = shown.reduce((most, {numbers}) => numbers.reduce((most, x, i) => i % 3 === 2 && x > most ? x : most,
        most), 1e-9);
    $('evict-legend').textContent = joined ?
        `below the line: the evicted share of ${Math.ceil(columns / bins)} tokens` :
        'evicted: the importance that it would have';
    shown.forEach(({number, numbers, length, error}, i) => {
        const base = i * pitch + high + 2, end = left + length / columns * bins * unit;
        parts.push(text(left - 8, base - 3, narrow ? number : `branch ${number}`, number === state.q ? 'bold' :
            'faint', 'end'),
            line(`M${left} ${base + 0.5}H${num(end)}`, 'axis'),
                text(end + 8, base - 3, `${narrow ? '' : 'error '}${percent(error)}`));
        for (let bin = 0; bin < bins; bin++) {
            const begin = Math.floor(bin * columns / bins),
                after = Math.min(length, Math.floor((bin + 1) * columns / bins));
            const x = left + bin * unit;
            let best = 0, gone = 0;
            for (let t = begin; t < after; t++) {
                if (numbers[3 * t + 1]) gone++;
                if (!numbers[3 * t + 1] || !joined) best = Math.max(best, numbers[3 * t + 2]);
            }
            if (begin >= after) break;
            const tall = 2 + (high - 4) * best / most;
            if (joined && best) parts.push(rect(x, base - tall, unit - 0.6, tall, 'kept'));
            if (joined && gone) parts.push(rect(x, base + 2, unit - 0.6, 12 * gone / (after - begin), 'lost'));
            if (!joined) parts.push(rect(x + 1, base - tall, unit - Math.min(3, unit / 3), tall, gone ? 'gone' :
                'kept'));
            if (unit >= 20) parts.push(text(x + unit / 2, base + 14, numbers[3 * begin],
                `small ${gone ? 'faint' : ''}`, 'middle'));
        }
    });
    const rest = shown.length < branches.length;
    if (rest) parts.push(text(left, shown.length * pitch + 12,
        `${shown.length} of ${branches.length} branches; choose others in panel 1`, 'small faint'));
    draw('evict', Math.max(1, shown.length) * pitch + (rest ? 18 : 2),
        `${count(evicted, 'evicted token')} in ${count(branches.length, 'branch', 'branches')}`, parts);
}
