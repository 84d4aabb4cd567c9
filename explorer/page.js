/* ---- the page ---- */

/* A panel is drawn again if the scenario, the width or one of its choices has changed. */
const PANELS = [{draw: drawTree, of: ['q', 'flash']}, {draw: drawPool, of: ['flash']},
    {draw: drawMemory, of: ['model']},
    {draw: drawBytes, of: ['model', 'piece', 'strategy']},
        {draw: drawPlan, of: ['strategy', 'piece', 'model', 'workers', 'q']},
    {draw: drawSoftmax, of: ['q', 'strategy', 'piece', 'i']},
        {draw: drawEviction, of: ['q', 'policy', 'scope', 'budget', 'more', 'pack']}];
let flashing = false; /* the last step was played forward: a copy flashes */

const say = message => { $('message').textContent = message; };

function guarded(work) {
    try {
        work();
        return true;
    } catch (error) {
        say(error instanceof RangeError ? error.message : `The library stopped: ${error.message}`);
        return false;
    }
}

function showControls() {
    $('at').max = ops.length;
    $('at').value = state.at;
    $('back').disabled = $('undo').disabled = state.at === 0;
    $('forward').disabled = state.at === ops.length;
    $('step').textContent = `Step ${state.at} of ${ops.length}. ${describe(state.at)}`;
    $('at').setAttribute('aria-valuetext', $('step').textContent);
    showBranches();
    for (const id of ['append', 'append-all', 'fork', 'truncate', 'prune']) $(id).disabled = !view.living.length;
    for (const id of ['model', 'piece', 'strategy', 'workers', 'policy', 'scope', 'more']) $(id).value = state[id];
    $('workers-value').textContent = state.workers;
    $('pack').checked = state.pack === 1;
    const preset = PRESETS.findIndex(preset => ['t', 'b', 's', 'ops'].every(name => preset[name] === state[name]));
    $('preset').value = preset;
    $('preset-text').textContent = preset < 0 ? 'Your own scenario.' : PRESETS[preset].text;
}

/* Radio buttons, or a list if there are many branches. */
function showBranches() {
    const focused = document.activeElement.name === 'branch', many = view.living.length > 16;
    const choices = view.living.map(b => many ? `<option${b === state.q ? ' selected' : ''}>${b}</option>` :
        `<label><input type="radio" name="branch" value="${b}" ` +
            `aria-label="branch ${b}"${b === state.q ? ' checked' : ''}><span>${b}</span></label>`);
    $('branches').innerHTML = '<legend>Branch</legend>' +
        (many ? `<select name="branch" aria-label="branch">${choices.join('')}</select>` : choices.join(''));
    if (focused) document.querySelector('[name=branch]:is(select, :checked)')?.focus();
}

const BESIDE = {back: 'at', forward: 'at', undo: 'append', 'token-back': 'token', 'token-forward': 'token'};
function show() {
    const focused = $(document.activeElement.id);
    showControls();
    for (const panel of PANELS) {
        const key = [played, innerWidth, ...panel.of.map(name => name === 'flash' ? flashing : state[name])].join();
        if (panel.key !== key && guarded(panel.draw)) panel.key = key;
    }
    const address = '#' + Object.keys(DEFAULTS).map(name => `${name}=${state[name]}`).join('&');
    if (focused?.disabled) $(BESIDE[focused.id] || 'undo').focus(); /* or the keyboard would have to begin anew */
    if (location.hash !== address) history.replaceState(null, '', address);
    flashing = false;
}

/* Changes the state; on a fault the old one stays. */
function change(changes, forward = false) {
    const old = state;
    say('');
    state = {...state, ...changes};
    flashing = forward;
    if (!guarded(replay)) {
        state = old;
        replay();
    }
    show();
}

/* Adds an operation behind the current step; later ones are dropped. */
const add = operation => change({ops: [...ops.slice(0, state.at).map(op => op.text), operation].join('_'),
    at: state.at + 1}, true);

function listen() {
    const when = (id, event, work) => $(id).addEventListener(event, work), amount = () => Number($('amount').value);
    const options = list => list.map(name => `<option>${name}</option>`).join('');
    $('preset').innerHTML = PRESETS.map((preset, i) => `<option value="${i}">${preset.name}</option>`).join('') +
        '<option value="-1" disabled>your own</option>';
    $('strategy').innerHTML = options(STRATEGIES);
    $('policy').innerHTML = options(policies);
    when('preset', 'change', () => change(presetState(PRESETS[$('preset').value])));
    when('back', 'click', () => change({at: state.at - 1}));
    when('forward', 'click', () => change({at: state.at + 1}, true));
    when('at', 'input', () => change({at: Number($('at').value)}, true));
    when('append', 'click', () => add(`a${state.q}.${amount()}`));
    when('append-all', 'click', () => add(`A${amount()}`));
    when('truncate', 'click', () => add(`t${state.q}.${Math.max(0, view.branches[state.q].length - amount())}`));
    when('fork', 'click', () => add(`f${state.q}`));
    when('prune', 'click', () => add(`x${state.q}`));
    when('undo', 'click', () => change({ops: ops.slice(0, state.at - 1).map(op => op.text).join('_'),
        at: state.at - 1}));
    when('branches', 'change', event => change({q: Number(event.target.value)}));
    for (const id of ['model', 'strategy', 'policy', 'scope']) when(id, 'change', () => change({[id]: $(id).value}));
    for (const id of ['piece', 'more', 'workers', 'budget'])
        when(id, 'input', () => change({[id]: Math.max(LIMITS[id][0],
            Math.min(LIMITS[id][1], Math.floor(Number($(id).value))))}));
    when('pack', 'change', () => change({pack: Number($('pack').checked)}));
    when('token', 'input', () => change({i: Number($('token').value)}));
    when('token-back', 'click', () => change({i: Number($('token').value) - 1}));
    when('token-forward', 'click', () => change({i: Number($('token').value) + 1}));
    when('bytes', 'click', event => {
        const name = event.target.dataset.strategy;
        if (!name) return;
        change({strategy: name});
        document.querySelector(`[data-strategy=${name}]`).focus();
    });
    when('share', 'click', () => navigator.clipboard.writeText(location.href).then(
        () => say('The link is copied.'), () => say('The link is in the address line.')));
    for (const details of document.querySelectorAll('details'))
        details.addEventListener('toggle', () => { if (details.open) fill(details); });
    addEventListener('hashchange', () => { /* #panel-tree leads to a panel, and leaves the scenario as it is */
        if (location.hash.includes('=')) change(fromAddress(location.hash));
        else show();
    });
    addEventListener('resize', show);
}

load().then(() => {
    listen();
    state = fromAddress('');
    replay();
    change(fromAddress(location.hash));
    document.documentElement.dataset.ready = 'yes';
}).catch(error =>
    say(`This page cannot start here: ${error.message}. It needs a browser with WebAssembly and DecompressionStream.`));
