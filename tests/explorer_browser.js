/* node explorer_browser.js PAGE [PICTURES]: drives the explorer in Chromium by its keyboard alone, through a pipe, and
 * prints `pass NAME` or `FAIL NAME`. PICTURES: a folder for screenshots. */
'use strict';
const {spawn} = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

const page = 'file://' + fs.realpathSync(process.argv[2]), pictures = process.argv[3];
const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'explorer-'));
const browser = spawn('chromium-headless-shell', ['--no-sandbox', `--user-data-dir=${profile}`,
    '--disable-background-networking',
    '--remote-debugging-pipe', 'about:blank'], {stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe']});
const waiting = new Map(), trouble = [], requests = [];
let session, identifier = 0, failed = 0, received = '';

browser.stdio[4].on('data', bytes => {
    received += bytes;
    for (let end; (end = received.indexOf('\0')) >= 0; received = received.slice(end + 1)) {
        const message = JSON.parse(received.slice(0, end));
        if (message.id) {
            const {resolve, reject} = waiting.get(message.id);
            waiting.delete(message.id);
            if (message.error) reject(new Error(message.error.message)); else resolve(message.result);
        } else if (message.method === 'Network.requestWillBeSent') requests.push(message.params.request.url);
        else if (message.method === 'Runtime.exceptionThrown')
            trouble.push(message.params.exceptionDetails.exception?.description);
        else if (message.method === 'Log.entryAdded') trouble.push(message.params.entry.text);
        else if (message.method === 'Runtime.consoleAPICalled') trouble.push(message.params.args.map(a =>
            a.value).join(' '));
    }
});

function send(method, params = {}) {
    return new Promise((resolve, reject) => {
        waiting.set(++identifier, {resolve, reject});
        browser.stdio[3].write(JSON.stringify({id: identifier, method, params, sessionId: session}) + '\0');
    });
}

async function evaluate(expression) {
    const {result, exceptionDetails} = await send('Runtime.evaluate',
        {expression, returnByValue: true, awaitPromise: true});
    if (exceptionDetails) throw new Error(exceptionDetails.exception.description);
    return result.value;
}

const KEYS = {Tab: 9, Enter: 13, ' ': 32, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40, Home: 36, End: 35};
async function press(key, times = 1, modifiers = 0) {
    for (let time = 0; time < times; time++) {
        const event = {key, modifiers, code: key === ' ' ? 'Space' : key.length === 1 ? `Digit${key}` : key,
            windowsVirtualKeyCode: KEYS[key] || key.charCodeAt(0)};
        const words = key === 'Enter' ? '\r' : key.length === 1 ? key : undefined;
        await send('Input.dispatchKeyEvent', {type: 'keyDown', text: words, ...event});
        await send('Input.dispatchKeyEvent', {type: 'keyUp', ...event});
    }
}

/* Tabs from the beginning of the page to the element, as a keyboard user does. */
async function tabTo(selector) {
    await evaluate('document.activeElement.blur(); getSelection().removeAllRanges(); void 0');
    const start = await evaluate(`document.activeElement.matches(${JSON.stringify(selector)})`);
    for (let tabs = 0; tabs < 120 && !start; tabs++) {
        await press('Tab');
        if (await evaluate(`document.activeElement.matches(${JSON.stringify(selector)})`)) return;
    }
    throw new Error(`Tab does not reach ${selector}`);
}

function check(name, found, wanted = true) {
    const same = wanted instanceof RegExp ? wanted.test(found) : JSON.stringify(found) === JSON.stringify(wanted);
    console.log(same ? `pass ${name}` :
        `FAIL ${name}: ${JSON.stringify(found)}, expected ` +
        (wanted instanceof RegExp ? wanted : JSON.stringify(wanted)));
    failed += !same;
}

const words = id => evaluate(`document.getElementById('${id}').textContent.replace(/\\s+/g, ' ').trim()`);
const label = id => evaluate(`document.querySelector('#${id} svg').getAttribute('aria-label')`);
const rows = name => evaluate(`new Promise(done => setTimeout(done, 20)).then(() =>
    [...document.querySelectorAll('[data-table=${name}] tbody tr')].map(row =>
        [...row.cells].map(cell => cell.textContent).join(' ')))`);

async function open(hash, width = 1200, features = []) {
    await send('Emulation.setDeviceMetricsOverride', {width, height: 900, deviceScaleFactor: 1, mobile: width < 500});
    await send('Emulation.setEmulatedMedia', {features});
    await send('Page.navigate', {url: 'about:blank'});
    await send('Page.navigate', {url: page + hash});
    for (let tries = 0; tries < 200; tries++) {
        if (await evaluate('document.documentElement?.dataset.ready === "yes"')) return;
        await new Promise(done => setTimeout(done, 25));
    }
    throw new Error(`the page does not start: ${await words('message')}`);
}

async function picture(name) {
    if (!pictures) return;
    const {cssContentSize} = await send('Page.getLayoutMetrics');
    const {data} = await send('Page.captureScreenshot',
        {captureBeyondViewport: true, clip: {x: 0, y: 0, width: cssContentSize.width, height: cssContentSize.height,
        scale: 1}});
    fs.writeFileSync(path.join(pictures, `${name}.png`), Buffer.from(data, 'base64'));
}

/* Elements that are wider than the page, or text of a drawing outside of it. */
const OVERFLOW = `(() => {
    const wide = document.documentElement.clientWidth, found = [];
    if (document.documentElement.scrollWidth > wide) found.push('page ' + document.documentElement.scrollWidth);
    for (const text of document.querySelectorAll('svg text')) {
        const box = text.getBoundingClientRect(), frame = text.closest('svg').getBoundingClientRect();
        if (box.right > frame.right + 0.5 || box.left < frame.left - 0.5 || box.bottom > frame.bottom + 1.5 ||
            box.top < frame.top - 1.5)
            found.push(text.closest('[id]').id + ' ' + text.textContent + ' ' +
                [box.left - frame.left, box.right - frame.left, box.top - frame.top,
                box.bottom - frame.top].map(Math.round) + ' in ' + Math.round(frame.width) + ' x ' +
                Math.round(frame.height));
    }
    for (const element of document.querySelectorAll('body *:not(.skip):not(.scroll *)')) {
        const box = element.getBoundingClientRect();
        if (box.width && (box.right > wide + 0.5 || box.left < -0.5)) found.push(element.tagName + '#' +
            (element.id || element.parentElement.closest('[id]')?.id) + ' ' + element.textContent.slice(0, 20) + ' ' +
            Math.round(box.left) + '..' + Math.round(box.right));
    }
    return found.slice(0, 8);
})()`;

/* Labels of a drawing that lie over each other. */
const OVERLAP = `(() => {
    const found = [];
    for (const svg of document.querySelectorAll('svg')) {
        const boxes = [...svg.querySelectorAll('text')].map(text => [text, text.getBoundingClientRect()]);
        for (let i = 0; i < boxes.length && boxes.length < 400; i++) for (let j = i + 1; j < boxes.length; j++) {
            const [a, p] = boxes[i], [b, q] = boxes[j];
            if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 4 && q.top < p.bottom - 4)
                found.push(svg.parentElement.id + ': ' + a.textContent + ' | ' + b.textContent);
        }
    }
    return found.slice(0, 6);
})()`;

async function tinyTree() {
    await open('');
    check('first scenario: the steps', await words('step'),
        /^Step 4 of 4\. Append 4 tokens to branch 1: 1 new block\.$/);
    check('1 tree: nodes', await label('tree'), '3 nodes of the tree; 2 living branches');
    check('1 pool: blocks', await label('pool'), '5 of 6 blocks are used, 1 of them by more than one branch');
    const numberOf = selector => evaluate(`document.querySelectorAll('${selector}').length`);
    check('1 tree: both leaves hang from the root', await evaluate(`[...document.querySelectorAll('#tree .link')].map(
        path => path.getBBox().y >= 0 && path.getBBox().height < 150)`), [true, true]);
    check('1 pool: blocks by reference count',
        [await numberOf('#pool .r0'), await numberOf('#pool .r1'), await numberOf('#pool .r2')], [1, 4, 1]);
    check('2 memory', await words('memory-text'), /^640 bytes in 5 shared blocks, against 768 bytes in 6 blocks/);
    check('3 bytes: S and U', await words('bytes-text'),
        /see 19 tokens \(S\), 15 tokens are stored \(U\): K and V of 608 bytes, of which 480 bytes/);
    check('4 plan', await words('plan-text'),
        /^node: 3 items that load 15 tokens and leave 4 partial states\. 3 of 4 workers have work/);
    check('5 softmax: token 2', await words('softmax-text'),
        /exp\(1 . 2\) = 0\.3679, then l = 1\.3679 . 0\.3679 \+ 1 = 1\.5032/);
    check('6 eviction', await words('evict-text'), /^3 tokens evicted/);
    await picture('light');

    await tabTo('#back');
    await press(' ', 2);
    check('1 keyboard: two steps back', await words('step'),
        /^Step 2 of 4\. Fork branch 0: the new branch lists the same blocks/);
    check('1 after the fork, both blocks are shared', await label('pool'),
        '2 of 6 blocks are used, 2 of them by more than one branch');
    await tabTo('#forward');
    await press('Enter');
    check('1 keyboard: copy-on-write', await words('step'),
        /block 1 is shared, so its 2 tokens are copied to block 2 first; 1 new block/);
    check('1 the copy flashes',
        await evaluate('["to", "from"].map(name => document.querySelectorAll(`#pool .${name}`).length)'), [1, 1]);
    await press('Enter');
    check('6 the budget is the same after steps back and on', await words('budget-value'), '8 tokens');
    check('5 the step as well', await words('softmax-text'), /^Absorb token 2/);
    await tabTo('[name=branch]');
    await press('ArrowRight');
    check('5 keyboard: branch 1', await words('softmax-of'), 'Branch 1, strategy node');
    await tabTo('#token');
    await press('End');
    check('5 the output of branch 1, as in chapter 4', await words('softmax-text'),
        /out = o \/ l = \(5\.4023, 1\.0000, 0\.1192, 0\.3863\), lse = 3\.4449\. .* gives the same bits\.$/);
    await tabTo('#prune');
    await press(' ');
    check('1 keyboard: prune', await words('step'), /^Step 5 of 5\. Prune branch 1: blocks 4 and 1 are free again\.$/);
    await tabTo('#undo');
    await press(' ');
    check('1 keyboard: undo', await words('step'), /^Step 4 of 4\./);
    await tabTo('#fork');
    await press(' ');
    await tabTo('#append');
    await press(' ');
    check('1 keyboard: fork and append', await label('tree'), /3 living branches$/);
    await tabTo('#undo');
    await press(' ', 2);

    await tabTo('[data-strategy=flatten]');
    await press('Enter');
    check('3 keyboard: a strategy', await words('plan-text'), /^flatten: 1 item/);
    await tabTo('#piece');
    await press('4');
    check('4 pieces of 4 tokens: chapter 5', await words('plan-text'),
        /^flatten: 4 items that load 15 tokens and leave 6 partial states/);
    await tabTo('#budget');
    await press('Home');
    check('6 keyboard: a budget of one token', await words('evict-text'), /^17 tokens evicted/);
    await press('ArrowRight', 8);
    check('6 a budget of nine: branch 1 alone evicts', await words('evict-text'), /^1 token evicted/);
    for (const name of ['pool', 'branches', 'memory', 'bytes', 'items', 'strips', 'softmax', 'evict']) {
        await tabTo(`[data-table=${name}] > summary`);
        await press('Enter');
    }
    check('table: pool', (await rows('pool')).join('; '),
        '0 2 4 shared; 1 1 4 in one table; 2 1 4 in one table; 3 1 1 in one table; 4 1 2 in one table; 5 0 0 free');
    check('table: branches', (await rows('branches')).join('; '),
        '0 9 0 2 3 0 1 2 3 4 5 6 7 8; 1 10 0 1 4 0 1 2 3 4 5 9 10 11 12');
    check('table: bytes of flatten and standard',
        (await rows('bytes')).filter(row => /^(flatten|standard)/.test(row)).join('; '),
        /^flatten 4 15 6 4 480 96 32 32 240 \d+; standard . . . . 608 32 32 0 2736 .$/);
    for (const name of ['memory', 'items', 'strips', 'softmax', 'evict']) check(`table: ${name}`,
        (await rows(name)).length > 0);
    const address = await evaluate('location.hash');
    check('the address holds the scenario', address,
        /^#t=4&b=6&s=0&ops=a0\.6_f0_a0\.3_a1\.4&at=4&q=\d&model=tiny&piece=4&strategy=flatten&.*budget=9/);
    await tabTo('.skip');
    await press('Enter');
    check('a link to a panel leaves the scenario as it is',
        await evaluate('new Promise(done => setTimeout(done, 50)).then(() => location.hash)'), address);
    await open(address);
    check('the address restores it', await words('plan-text'), /^flatten: 4 items/);

    for (const [button, times, next] of [['back', 4, 'at'], ['forward', 4, 'at'], ['token-back', 14, 'token'],
        ['prune', 2, 'undo'], ['undo', 6, 'append']]) {
        await tabTo(`#${button}`);
        await press(' ', times);
        check(`keyboard: the focus leaves ${button} when it is spent`, await evaluate('document.activeElement.id'), next);
    }
}

async function others() {
    await open('#t=16&b=400&s=0&ops=a0.2048_f0*63_A64&model=large&strategy=cost&workers=16');
    await evaluate('for (const d of document.querySelectorAll("[data-table=bytes]")) d.open = true; void 0');
    const tree = await rows('bytes');
    check('chapter 5: 64 branches behind 2048 tokens',
        tree.filter(row => /^(flash|node|cost|standard) /.test(row)).map(row => row.split(' ').slice(0,
        6).concat(row.split(' ')[9]).join(' ')).join('; '),
        'flash 64 135168 64 0 553648128 0; node 66 8192 128 0 33554432 4227072; ' +
        'cost 32 12288 432 30720 50331648 14266368; standard \u2013 \u2013 \u2013 \u2013 553648128 5605687296');
    await evaluate('for (const d of document.querySelectorAll("details")) d.open = true; void 0');
    check('no fault with all tables open', await words('message'), '');
    for (let preset = 0; preset < 4; preset++) {
        for (const width of [360, 1200]) {
            await open('', width);
            await evaluate(`{ const s = document.getElementById('preset'); s.value = ${preset};
                s.dispatchEvent(new Event('change')); } void 0`);
            check(`scenario ${preset}, ${width} px: no fault`, await words('message'), '');
            check(`scenario ${preset}, ${width} px: nothing overflows`, await evaluate(OVERFLOW), []);
            check(`scenario ${preset}, ${width} px: no label over another`, await evaluate(OVERLAP), []);
            await picture(`scenario${preset}-${width}`);
        }
    }
    await open('', 360, [{name: 'prefers-color-scheme', value: 'dark'}]);
    check('dark', await evaluate('getComputedStyle(document.body).backgroundColor'), 'rgb(20, 23, 26)');
    await evaluate('for (const d of document.querySelectorAll("details")) d.open = true; void 0');
    check('360 px, all tables open: nothing overflows', await evaluate(OVERFLOW), []);
    await picture('phone-dark-tables');
    await open('', 1200, [{name: 'prefers-color-scheme', value: 'dark'}]);
    await picture('dark');
    await open('#ops=a0.6_f0_a0.3_a1.4&at=3', 1200, [{name: 'prefers-reduced-motion', value: 'reduce'}]);
    await evaluate('document.getElementById("back").click(); document.getElementById("forward").click(); void 0');
    check('reduced motion: the copy does not flash',
        await evaluate('getComputedStyle(document.querySelector("#pool .to")).animationName'), 'none');
}

async function badAddresses() {
    await open('#ops=a0.6_z9');
    check('bad operation: a message', await words('message'),
        /^The address has "z9" where an operation such as a0\.6 is expected\.$/);
    check('bad operation: the first scenario stays', await words('step'), /^Step 4 of 4/);
    await open('#ops=a0.600');
    check('too few blocks: a message', await words('message'), /^No free block is left/);
    await open('#ops=x3');
    check('no such branch: a message', await words('message'), /^This branch was pruned/);
    await open('#t=3&b=-1&budget=x&strategy=best&nonsense&ops=a0.6');
    check('numbers out of range: defaults', [await words('message'), await label('pool')],
        ['', '2 of 6 blocks are used, 0 of them by more than one branch']);
    await open('#ops=a0.6_x0');
    check('no living branch: every panel is empty', [await words('message'), await words('plan-text')],
        ['', 'No branch has a token yet.']);
    await open('#ops=');
    check('no token yet', [await words('message'), await words('softmax-text')], ['', 'This branch has no token.']);
    await evaluate('document.getElementById("amount").value = 100; document.getElementById("append").click(); void 0');
    check('append beyond the pool: a message, and nothing changes', [await words('message'), await words('step')],
        ['No free block is left: prune a branch first.',
        'Step 0 of 0. A pool of 6 blocks with 4 tokens each. Branch 0 is empty.']);
}

async function main() {
    const {targetInfos} = await send('Target.getTargets');
    session = (await send('Target.attachToTarget',
        {targetId: targetInfos.find(target => target.type === 'page').targetId, flatten: true})).sessionId;
    for (const domain of ['Page', 'Network', 'Runtime', 'Log']) await send(`${domain}.enable`);
    await tinyTree();
    await others();
    await badAddresses();
    check('no error in the console', trouble, []);
    check('no request to any network', requests.filter(url => !url.startsWith('file:') && !url.startsWith('data:') &&
        !url.startsWith('blob:')), []);
    check('one file', [...new Set(requests.filter(url => url.startsWith('file:')).map(url => url.replace(/#.*/, '')))],
        [page]);
}

const late = setTimeout(() => { console.log('FAIL explorer_browser: no end after 90 s'); browser.kill();
    process.exit(1); }, 90000);
main().catch(error => { console.log(`FAIL explorer_browser: ${error.message}`); failed++; }).finally(() => {
    clearTimeout(late);
    browser.on('exit', () => {
        fs.rmSync(profile, {recursive: true, force: true, maxRetries: 20, retryDelay: 50});
        process.exit(failed > 0 ? 1 : 0);
    });
    browser.kill();
});
