"""Sphinx's options for make book (scripts/book.sh). The pages: scripts/book_pages.py."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'scripts'))
sys.dont_write_bytecode = True

project = html_title = 'Tree attention'
extensions = ['myst_parser', 'book_pages']
# CommonMark and tables: a line that begins with % or +++ is text.
myst_disable_syntax = ['myst_block_break', 'myst_line_comment', 'myst_target', 'myst_role', 'footnote_ref',
                       'footnote_def']
myst_heading_anchors = 6
myst_url_schemes = ['http', 'https', 'mailto', 'source']
highlight_language = 'text'
suppress_warnings = ['myst.header', 'misc.highlighting_failure']
smartquotes = False

html_theme = 'theme'
html_theme_path = ['.']
html_copy_source = html_use_index = html_show_search_summary = False
