"""The pages of make book: an extension of Sphinx, named by docs/book/conf.py.

Sphinx reads the folder build/book-pages (its srcdir), which this file fills before: a copy of every .md, and every
notebook with its recorded outputs, in which links to source files, and the names of functions
(`allocator/kv_pool.c:kv_pool_acquire`), lead to pages with numbered source. A copy that has not changed keeps its time,
so Sphinx reads only what is new. The pages of source and of folders are written beside the others, without Sphinx's
reader: they are many, and nothing in them refers to anything.
A link to a file that does not exist is a warning, and scripts/book.sh makes warnings errors."""
import base64
import concurrent.futures
import html
import json
import os
import re

import pygments
import pygments.formatters
import pygments.lexers
from sphinx.util import logging

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ['allocator', 'reference', 'gpu', 'measure', 'tools', 'tests', 'figures', 'docs', 'scripts', 'cmake', '.ci',
           '.devcontainer', 'exercises', 'notebooks', 'model']
LEXERS = {'.c': 'c', '.h': 'c', '.cu': 'cuda', '.cuh': 'cuda', '.cpp': 'c++', '.sh': 'bash', '.py': 'python',
          '.awk': 'awk', '.gp': 'gnuplot', '.gnuplot': 'gnuplot', '.cmake': 'cmake', '.gdb': 'text', '.csv': 'text', '.txt': 'text',
          '.ttr': 'text', '.in': 'text', '.json': 'json', '.cff': 'yaml', '.mk': 'make', '.mistakes': 'text', 'weave': 'python', 'run': 'bash',
          'Makefile': 'make', 'CMakeLists.txt': 'cmake', 'Dockerfile': 'docker', 'LICENSE': 'text'}
MOST_BYTES = 250000  # of a page of source; what is longer is data

BOOK = 'docs/book/README.md'  # the first page, index.html
EXPLORER = 'docs/explorer.html'
GUIDE = ['docs/README.md', 'docs/teaching.md', 'docs/glossary.md']
IN_DEPTH = [f'docs/{name}.md' for name in ('architecture', 'allocator', 'tree', 'plans', 'fast_path', 'gpu', 'eviction',
                                           'integration', 'mutants')]
PROJECT = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md']


def text_of(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as file:
        return file.read()


def lexer(path):
    name = os.path.basename(path)
    return LEXERS.get(name) or LEXERS.get(os.path.splitext(name)[1])


def notebook_text(path):
    """A notebook with its recorded outputs as Markdown, and its pictures by their paths."""
    parts, pictures = [], {}
    for cell in json.loads(text_of(path))['cells']:
        source = ''.join(cell['source'])
        parts.append(source if cell['cell_type'] == 'markdown' else f'```python\n{source}\n```')
        for output in cell.get('outputs', []):
            png = output.get('data', {}).get('image/png')
            if png:
                name = f'{os.path.splitext(path)[0]}_{len(pictures) + 1}.png'
                pictures[name] = base64.b64decode(png)
                alt = re.sub(r'([\[\]*_`])', r'\\\1', output['metadata']['image/png']['alt'])
                parts.append(f'![{alt}]({os.path.basename(name)})')
            elif output.get('text'):
                parts.append('```text\n' + ''.join(output['text']).rstrip('\n') + '\n```')
    return '\n\n'.join(parts) + '\n', pictures


class Tree:
    """The files of the project, by their paths from its root."""

    def __init__(self):
        self.files = [name for name in os.listdir(ROOT) if os.path.isfile(os.path.join(ROOT, name))]
        for top in FOLDERS:
            for at, folders, names in os.walk(os.path.join(ROOT, top)):
                folders[:] = [f for f in folders if not f.startswith(('.', '_', 'build')) and f != 'mine']
                self.files += [os.path.relpath(os.path.join(at, name), ROOT) for name in names]
        self.files.sort()
        self.notebooks = {f: notebook_text(f) for f in self.files if f.endswith('.ipynb')}
        self.drawn = {name: png for _, pictures in self.notebooks.values() for name, png in pictures.items()}
        self.pages = {f for f in self.files if f.endswith('.md')} | set(self.notebooks)
        self.sources = {f for f in self.files if lexer(f) and os.path.getsize(os.path.join(ROOT, f)) <= MOST_BYTES}
        self.images = [f for f in self.files if f.endswith(('.svg', '.png'))]
        self.folders = {os.path.dirname(f) for f in self.files} - {''}
        self.headers = {}  # by the name that an #include gives, if one file has it
        for path in self.sources:
            name = os.path.basename(path)
            self.headers[name] = None if name in self.headers else path

    def contents(self):
        """The pages in their order: (heading, pages) each."""
        chapters = sorted(p for p in self.pages if re.match(r'docs/book/\d\d_', p))
        figures = [f'figures/{m}' for m in re.findall(r'\]\((\w+\.md)\)', text_of('figures/README.md'))]
        figures = ['figures/README.md'] + list(dict.fromkeys(figures))
        exercises = sorted((p for p in self.pages if p.startswith('exercises/')), key=lambda p: (p != 'exercises/README.md', p))
        notebooks = ['notebooks/README.md', *sorted(self.notebooks)]
        told = {BOOK, *chapters, *GUIDE, *IN_DEPTH, *exercises, *notebooks, *figures, *PROJECT}
        rest = sorted(self.pages - told)
        of_figures = [p for p in rest if p.startswith('figures/')]
        parts = [('The book', chapters), ('Notebooks', notebooks), ('Exercises', exercises), ('To find your way', GUIDE),
                 ('In depth', IN_DEPTH + [p for p in rest if p not in of_figures]), ('Figures', figures + of_figures),
                 ('The project', PROJECT)]
        return [(heading, [p for p in pages if p in self.pages]) for heading, pages in parts]


def line_of(path, pattern):
    """The number of the first line with a regular expression, or 0."""
    found = re.search(pattern, text_of(path), re.M)
    return text_of(path).count('\n', 0, found.start()) + 1 if found else 0


def line_of_symbol(path, symbol):
    """The line that defines a symbol; otherwise the first that names it."""
    word = re.escape(symbol)
    for pattern in (rf'^\w[^;=\n]*\b{word}\([^;\n]*$', rf'^(typedef )?(struct|enum|union) {word}\b[^;\n]*$',
                    rf'^}} {word};', rf'^ *# *define {word}\b', rf'\b{word}\b'):
        line = line_of(path, pattern)
        if line:
            return line
    return 0


class Page:
    """An .md or a notebook, adapted."""

    def __init__(self, tree, path, warn):
        self.tree, self.path, self.warn = tree, path, warn

    @staticmethod
    def place(path):
        return 'index.md' if path == BOOK else re.sub(r'\.ipynb$', '.md', path)

    def to(self, path):
        return os.path.relpath(path, os.path.dirname(self.place(self.path)) or '.')

    def source(self, path, line=0):
        """A link to a page of source: no name that Sphinx knows, so it is told to leave the link alone."""
        return f'source:{self.to(path)}.html' + (f'#L-{line}' if line else '')

    def link(self, target):
        """A link's target, where the pages lie now."""
        path, hash_, anchor = target.partition('#')
        if re.match(r'[a-z]+:', target) or not path:
            return target
        path = os.path.normpath(os.path.join(os.path.dirname(self.path), path))
        if path in self.tree.folders:
            readme = path + '/README.md'
            path = readme if readme in self.tree.pages else path + '/index'
        if path in self.tree.pages:
            return self.to(self.place(path)) + hash_ + anchor
        if path in self.tree.sources or os.path.dirname(path) in self.tree.folders and path.endswith('/index'):
            return self.source(path, int(anchor[1:]) if re.fullmatch(r'L\d+', anchor) else 0)
        if path == EXPLORER:
            return 'source:' + self.to(path) + hash_ + anchor
        if path in self.tree.files or path in self.tree.drawn:
            return self.to(path)
        self.warn(f'{self.path} links to {target}: no such file')
        return 'source:' + target

    def named(self, match):
        """`PATH` or `PATH:SYMBOL` outside a link: with a link."""
        path, _, symbol = match.group(1).partition(':')
        if path not in self.tree.sources:
            path = os.path.normpath(os.path.join(os.path.dirname(self.path), path))
        if path not in self.tree.sources:
            return match.group(0)
        return f'[{match.group(0)}]({self.source(path, symbol and line_of_symbol(path, symbol))})'

    def origin(self, match, rest):
        """The comment that scripts/weave reads becomes a link to the place from which the fence or table below is."""
        path = match.group(1)
        if path not in self.tree.sources:
            return match.group(0)
        fence = rest[1:rest.index('```', 1)] if rest and rest[0].startswith('```') and '```' in rest[1:] else []
        whole = '\n' + text_of(path)
        at = whole.find('\n' + '\n'.join(fence) + '\n') if fence else -1
        line = whole.count('\n', 0, at + 1) if at >= 0 else 0
        target = self.source(path, line)[len('source:'):]
        return f'<p class="origin"><a href="{target}">{path}{f", line {line}" if line else ""}</a></p>\n'

    def text(self):
        whole = self.tree.notebooks[self.path][0] if self.path in self.tree.notebooks else text_of(self.path)
        fence, lines, given = '', [], whole.split('\n')
        for number, line in enumerate(given, 1):
            opening = re.match(r' {0,3}(`{3,}|~{3,})', line)
            if not fence and opening:
                fence = opening.group(1)
            elif fence:
                if re.match(rf' {{0,3}}{fence}{fence[0]}* *$', line):
                    fence = ''
            elif not line.startswith('    '):
                line = re.sub(r'(?<=\]\()([^()\s]+)(?=[)\s])', lambda m: self.link(m.group(1)), line)
                line = re.sub(r'^<!-- (?:code|file|table): (\S+) .*-->$', lambda m: self.origin(m, given[number:]), line)
                if not line.startswith('#'):
                    line = re.sub(r'(?<![\[`])`([\w./-]+(?::\w+)?)`(?![`\]])', self.named, line)
            lines.append(line)
        text = '\n'.join(lines)
        if self.path == BOOK:
            for heading, pages in self.tree.contents():
                names = '\n'.join(self.place(page) for page in pages)
                text += f'\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{names}\n```\n'
        return text


def fill(folder, tree, warn):
    """Makes folder hold the pages, and no others."""
    wanted = {Page.place(p): Page(tree, p, warn).text().encode() for p in tree.pages}
    wanted.update(tree.drawn)
    for path in tree.images:
        with open(os.path.join(ROOT, path), 'rb') as file:
            wanted[path] = file.read()
    for at, _, names in os.walk(folder):
        for name in names:
            if os.path.relpath(os.path.join(at, name), folder) not in wanted:
                os.remove(os.path.join(at, name))
    for path, data in wanted.items():
        out = os.path.join(folder, path)
        os.makedirs(os.path.dirname(out), exist_ok=True)
        if os.path.exists(out):
            with open(out, 'rb') as file:
                if file.read() == data:
                    continue
        with open(out, 'wb') as file:
            file.write(data)


def highlighted(path):
    """Source as HTML; line 7 is the anchor L-7."""
    return pygments.highlight(text_of(path), pygments.lexers.get_lexer_by_name(lexer(path), stripnl=False),
                              pygments.formatters.HtmlFormatter(linenos='inline', lineanchors='L', anchorlinenos=True))


def source_body(tree, path, code):
    def include(match):
        header = tree.headers.get(match.group(1))
        return f'<a href="{os.path.relpath(header, os.path.dirname(path))}.html">{match.group(0)}</a>' if header else \
            match.group(0)

    code = re.sub(r'(?<=<span class="cpf">)&quot;(?:[^&]*/)?([^/&]+)&quot;', include, code)
    up, steps = os.path.relpath('.', os.path.dirname(path) or '.'), []
    folders = os.path.dirname(path).split('/') if '/' in path else []
    for i, name in enumerate(folders):
        steps.append(f'<a href="{up}/{"/".join(folders[:i + 1])}/index.html">{html.escape(name)}</a>/')
    return f'<h1>{"".join(steps)}{html.escape(os.path.basename(path))}</h1>\n<div class="source">{code}</div>'


def folder_body(tree, at):
    items = []
    for name in sorted({f[len(at) + 1:].split('/')[0] for f in tree.files if f.startswith(at + '/')}):
        path, text = f'{at}/{name}', html.escape(name)
        if path in tree.folders:
            items.append(f'<a href="{name}/index.html">{text}/</a>')
        elif path in tree.sources:
            items.append(f'<a href="{name}.html">{text}</a>')
        elif path in tree.pages:
            target = os.path.relpath(Page.place(path), at)
            items.append(f'<a href="{target[:-len(".md")]}.html">{text}</a>')
        else:
            items.append(text)
    return f'<h1>{html.escape(at)}/</h1>\n<ul><li>' + '</li>\n<li>'.join(items) + '</li></ul>'


def write_explorer(outdir):
    """The explorer is a page already: its links to pages lead to their HTML."""
    def link(match):
        page = Page.place(os.path.normpath(os.path.join(os.path.dirname(EXPLORER), match.group(1))))
        return f'href="{os.path.relpath(page, os.path.dirname(EXPLORER))[:-len(".md")]}.html"'

    path = os.path.join(outdir, EXPLORER)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(re.sub(r'href="([^":]+\.md)"', link, text_of(EXPLORER)))


def old_pages(app, *_):
    """Finds the pages of source that are not there or out of date. Then index.md is read again, so that Sphinx writes."""
    def written(path):
        return os.path.getmtime(path) if os.path.exists(path) else 0

    write_explorer(app.outdir)
    theme = os.path.join(app.confdir, 'theme')
    app.book_frame = max(map(written, (__file__, os.path.join(app.confdir, 'conf.py'), os.path.join(theme, 'layout.html'))))
    app.book_old = [path for path in sorted(app.book_tree.sources)
                    if written(os.path.join(app.outdir, path + '.html')) < max(app.book_frame, written(os.path.join(ROOT, path)))]
    app.book_stamp = os.path.join(app.doctreedir, 'frame')  # what all pages had in common when they were last written
    stamp = text_of(app.book_stamp) if os.path.exists(app.book_stamp) else ''
    style = written(os.path.join(theme, 'static/book.css')) > written(os.path.join(app.outdir, '_static/book.css'))
    return ['index'] if app.book_old or style or not stamp.endswith(repr(app.book_tree.files)) else []


def all_anew(app, env):
    """All pages, if the contents have changed: each page shows them."""
    app.book_new_stamp = repr([env.toctree_includes, sorted((page, t.astext()) for page, t in env.titles.items())]) + \
        repr(app.book_tree.files)
    app.book_all = not os.path.exists(app.book_stamp) or text_of(app.book_stamp) != app.book_new_stamp or \
        os.path.getmtime(app.book_stamp) < app.book_frame
    return list(env.found_docs) if app.book_all else []


def other_pages(app):
    """Yields the pages of source that are out of date, and those of the folders."""
    tree = app.book_tree
    navigation = app.builder._get_local_toctree('index', collapse=False, titles_only=True, maxdepth=-1,
                                                includehidden=True)

    def page(path, body):
        rebased = re.sub(r'href="(?![#/]|[a-z]+:)', 'href="' + '../' * path.count('/'), navigation)
        return path, {'title': path, 'body': body, 'toctree': lambda **_: rebased, 'is_source': True}, 'page.html'

    old = sorted(tree.sources) if app.book_all else app.book_old
    if old:
        with concurrent.futures.ProcessPoolExecutor() as pool:
            for path, code in zip(old, pool.map(highlighted, old, chunksize=8)):
                yield page(path, source_body(tree, path, code))
    if app.book_all:
        for at in sorted(tree.folders):
            yield page(at + '/index', folder_body(tree, at))
        # Pages whose files are gone.
        pages = {os.path.splitext(Page.place(p))[0] for p in tree.pages} | tree.sources | {'search', EXPLORER[:-len('.html')]}
        pages |= {at + '/index' for at in tree.folders}
        for at, _, names in os.walk(app.outdir):
            for path in (os.path.join(at, name) for name in names if name.endswith('.html')):
                if os.path.relpath(path, app.outdir)[:-len('.html')] not in pages:
                    os.remove(path)
    with open(app.book_stamp, 'w', encoding='utf-8') as file:
        file.write(app.book_new_stamp)


def plain_links(app, doctree, docname):
    for node in doctree.findall():
        if getattr(node, 'attributes', {}).get('refuri', '').startswith('source:'):
            node['refuri'], node['internal'] = node['refuri'][len('source:'):], True


def setup(app):
    app.book_tree = Tree()
    fill(app.srcdir, app.book_tree, logging.getLogger(__name__).warning)
    app.connect('doctree-resolved', plain_links)
    app.connect('env-get-outdated', old_pages)
    app.connect('env-updated', all_anew)
    app.connect('html-collect-pages', other_pages)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
