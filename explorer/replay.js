/* node replay.js PAGE|FILE.wasm CALLS: as replay.c, with the WebAssembly of the page. */
'use strict';
const fs = require('fs');
const zlib = require('zlib');
const names = ['begin', 'play', 'pool', 'branches', 'tree', 'bytes', 'plan', 'softmax', 'evict', 'policies'];
const [, , source, calls] = process.argv;

function code() {
    if (source.endsWith('.wasm')) return fs.readFileSync(source);
    const page = fs.readFileSync(source, 'utf8');
    const found = /<script id="wasm" type="text\/plain">([A-Za-z0-9+/=]+)<\/script>/.exec(page);
    return zlib.gunzipSync(Buffer.from(found[1], 'base64'));
}

const wasm = new WebAssembly.Module(code());
const imports = WebAssembly.Module.imports(wasm);
if (imports.length) throw new Error(`the page has nothing to import: ${imports.map(i => i.name)}`);
const library = new WebAssembly.Instance(wasm).exports;
library._initialize();
const lines = [];
for (const line of fs.readFileSync(calls, 'utf8').split('\n')) {
    const [name, ...values] = line.trim().split(/\s+/);
    if (name === '' || name.startsWith('#')) continue;
    const what = names.indexOf(name) < 0 ? names.length : names.indexOf(name);
    const count = library.explorer_call(what, ...values.map(Number), ...Array(5 - values.length).fill(0));
    lines.push(`${line}: ${count}`);
    const bits = count > 0 ? new BigUint64Array(library.memory.buffer, library.explorer_numbers(), count) : [];
    for (const number of bits) lines.push(number.toString(16).padStart(16, '0'));
}
process.stdout.write(lines.join('\n') + '\n');
