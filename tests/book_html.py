"""book_html.py FOLDER [list | frames WIDTH | framed]: checks of tests/test_book_html.sh on the HTML in FOLDER.

Without a word: links, anchors, pictures, loads, chapters and source. Prints a line per case, status 1 if one fails.
frames WIDTH prints a page that opens the pages in frames of this width and writes, for each, what it finds in them."""
import glob
import html.parser
import os
import re
import sys
import urllib.parse

folder = os.path.abspath(sys.argv[1])
failed = 0
IN_STYLE = r'url\(\s*["\']?([^"\')]*)|@import\s+["\']([^"\']*)'


def case(name, wrong):
    """One case: passes without an entry in the list of what is wrong."""
    global failed
    failed += bool(wrong)
    print(f'FAIL {name}: ' + '; '.join(wrong[:8]) if wrong else f'pass {name}')


class Page(html.parser.HTMLParser):
    LOADS = {'script': 'src', 'img': 'src', 'source': 'src', 'iframe': 'src', 'embed': 'src', 'object': 'data',
             'video': 'src', 'audio': 'src', 'use': 'href', 'image': 'href', 'link': 'href'}

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.twice, self.links, self.loads, self.images, self.nav = path, set(), [], [], [], [], []
        self.styles, self.heading, self.inside, self.next = [], '', [], ''
        with open(path, encoding='utf-8') as file:
            text = file.read()
        if '<div class="source">' not in text:
            self.feed(text)
            return
        # Pages of source are long, and of few kinds of tags: the part with the code is read without the parser.
        before, code, after = re.split('(<div class="source">.*</div>)', text, 1, re.S)
        self.feed(before + after)
        tags = re.findall('<([a-z]+) ([^>]*)>', code)
        self.ids.update(i for _, a in tags for i in re.findall(r'(?:id|name)="([^"]*)"', a))
        self.links += [href for _, a in tags for href in re.findall('href="([^"]*)"', a)]
        self.loads += [a for tag, a in tags if tag not in ('div', 'pre', 'span', 'a')]

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        for name in {attributes.get('id'), attributes.get('name') if tag == 'a' else None} - {None}:
            if name in self.ids:
                self.twice.append(name)
            self.ids.add(name)
        if tag == 'a' and 'href' in attributes:
            self.links.append(attributes['href'])
            if 'nav' in self.inside:
                self.nav.append(attributes['href'])
        of_link = tag != 'link' or attributes.get('rel') not in ('prev', 'next', 'canonical', 'search', 'index')
        if attributes.get(self.LOADS.get(tag)) and of_link:
            self.loads.append(attributes[self.LOADS[tag]])
        if tag == 'link' and not of_link:
            self.links.append(attributes['href'])
            self.next = attributes['href'] if attributes['rel'] == 'next' else self.next
        if tag == 'img':
            self.images.append((attributes.get('src', ''), attributes.get('alt') or ''))
        if 'style' in attributes:
            self.styles.append(attributes['style'])
        if tag in ('nav', 'h1', 'style'):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if tag in self.inside:
            self.inside.remove(tag)

    def handle_data(self, data):
        if 'h1' in self.inside:
            self.heading += data
        if 'style' in self.inside:
            self.styles.append(data)


def name_of(path):
    return os.path.relpath(path, folder)


def pages_of_texts():
    """Where the page of each .md of docs/, figures/ and notebooks/ has to be, and of each notebook: (text, page)."""
    for text in sorted(path for top in ('docs', 'figures', 'notebooks') for path in glob.glob(top + '/**/*.md', recursive=True)):
        yield text, 'index.html' if text == 'docs/book/README.md' else text[:-len('md')] + 'html'
    for source in sorted(glob.glob('notebooks/[0-9]*.py')):
        yield source, source[:-len('py')] + 'html'


if len(sys.argv) == 4 and sys.argv[2] == 'frames':
    shown = ['search.html'] + [page for _, page in pages_of_texts()]
    sources = sorted(glob.glob(folder + '/[agrt]*/*.[ch].html'), key=os.path.getsize)
    shown += [name_of(p) for p in sources[::40] + sources[-1:]] + ['allocator/index.html']
    frames = '\n'.join(f'<iframe name="{p}" src="file://{urllib.parse.quote(folder)}/{p}" width="{sys.argv[3]}" height="800" '
                       'style="border: 0"></iframe>' for p in shown)
    print('<!DOCTYPE html><meta charset="utf-8"><title>frames</title><body>' + frames + '''<pre id="found"></pre><script>
window.onload = () => {
    let found = "";
    for (const frame of document.querySelectorAll("iframe")) {
        const doc = frame.contentDocument, wide = doc.documentElement.scrollWidth - frame.contentWindow.innerWidth;
        let element = "";
        if (wide > 0)
            for (const e of doc.querySelectorAll("main *"))
                if (!element && e.getBoundingClientRect().right > frame.contentWindow.innerWidth + 1)
                    element = e.tagName + " " + e.className;
        const missing = [...doc.images].filter(i => !i.complete || i.naturalWidth == 0).map(i => i.getAttribute("src"));
        const colour = frame.contentWindow.getComputedStyle(doc.body).backgroundColor.match(/[0-9]+/g);
        found += ["PAGE", frame.name, doc.querySelector("h1") ? "h1" : "none", Math.max(wide, 0), element || "-",
                  missing.join(" ") || "-", colour[0] < 80 ? "dark" : "light"].join("|") + "\\n";
    }
    document.getElementById("found").textContent = found;
};
</script></body>''')
    sys.exit(0)

pages = {p: Page(p) for p in glob.glob(folder + '/**/*.html', recursive=True)}
case('there are pages', [] if len(pages) > 100 else [f'{len(pages)} pages'])
for text, page in pages_of_texts():
    path = os.path.join(folder, page)
    with open(text, encoding='utf-8') as file:
        title = re.search(r'^# (?:# )?([^%].*)$', file.read(), re.M)
    title = re.sub(r'[`*_]|\[([^]]*)\]\([^)]*\)', r'\1', title.group(1)) if title else '?'
    found = re.sub('[_\u00b6#]$|[_*]', '', pages[path].heading).strip() if path in pages else 'no page'
    case(f'the page of {text}', [] if found == title.replace('_', '') else [f"heading '{found}', not '{title}'"])

dead, loads, images, twice = [], [], [], []
for path, page in pages.items():
    here = os.path.dirname(path)
    for link in page.links:
        url = urllib.parse.urlsplit(link)
        if url.scheme in ('http', 'https', 'mailto'):
            continue
        target = os.path.normpath(os.path.join(here, urllib.parse.unquote(url.path))) if url.path else path
        if url.scheme or url.path.startswith('/') or not os.path.isfile(target):
            dead.append(f'{name_of(path)} links to {link}')
        elif url.fragment and (target not in pages or urllib.parse.unquote(url.fragment) not in pages[target].ids):
            dead.append(f'{name_of(path)} links to {link}: no such anchor')
    styles = re.findall(IN_STYLE, ' '.join(page.styles))
    for load in page.loads + styles:
        url = urllib.parse.urlsplit(load if isinstance(load, str) else ''.join(load))
        if url.scheme or url.netloc or url.path.startswith('/') or \
                url.path and not os.path.isfile(os.path.join(here, urllib.parse.unquote(url.path))):
            loads.append(f'{name_of(path)} loads {load}')
    images += [f"{name_of(path)}: {source} has the alternative text '{alt}'" for source, alt in page.images
               if len(alt.split()) < 3 or alt.endswith(('.svg', '.png'))]
    twice += [f'{name_of(path)}: the anchor {i} is there twice' for i in page.twice]
case('no dead link or anchor', dead)
case('anchors are unique', twice)
for path in glob.glob(folder + '/_static/**/*.css', recursive=True):
    with open(path, encoding='utf-8') as file:
        found = re.findall(IN_STYLE, re.sub(r'/\*.*?\*/', '', file.read(), flags=re.S))
    for load in map(''.join, found):
        url = urllib.parse.urlsplit(load)
        if url.scheme not in ('', 'data') or url.netloc or url.path.startswith('/') or \
                not url.scheme and not os.path.isfile(os.path.join(os.path.dirname(path), url.path)):
            loads.append(f'{name_of(path)} loads {load}')
case('scripts, styles, fonts and pictures are loaded from beside the page', loads)
case('each picture has an alternative text of at least three words', images)
wrong = []
for notebook in glob.glob('notebooks/*.ipynb'):
    with open(notebook, encoding='utf-8') as file:
        drawn = file.read().count('"image/png": "')
    page = pages.get(os.path.join(folder, notebook[:-len('ipynb')] + 'html'))
    if not drawn or not page or len(page.images) != drawn:
        wrong.append(f'{notebook} has {drawn} pictures, its page {len(page.images) if page else "is not there"}')
case('the pages of notebooks have their pictures', wrong)

chapters = sorted(p for _, p in pages_of_texts() if re.match(r'docs/book/\d\d_', p))
index = pages.get(folder + '/index.html')
listed = [link for link in index.nav if re.match(r'docs/book/\d\d_', link)]
case('the chapters, in their order, begin the contents',
     [] if chapters and index.nav[:len(chapters)] == chapters == listed else [f'the contents have {index.nav[:len(chapters) + 1]}, the folder {chapters}'])
wrong = []
for before, after in zip(['index.html'] + chapters, chapters):
    link = pages[os.path.join(folder, before)].next
    if os.path.normpath(os.path.join(os.path.dirname(before), link)) != after:
        wrong.append(f'after {before} follows {link}, not {after}')
case('each chapter leads to the next', wrong)

wrong, seen = [], 0
for path, page in pages.items():
    source = name_of(path)[:-len('.html')]
    if 'L-1' in page.ids:
        seen += 1
        with open(source, encoding='utf-8') as file:
            lines = file.read().rstrip('\n').count('\n') + 1
        if len([i for i in page.ids if i.startswith('L-')]) < lines:
            wrong.append(f'{source} has {lines} lines, its page fewer')
case('pages of source have all lines', wrong if seen > 100 else [f'{seen} pages of source'])
sys.exit(failed > 0)
