"""The example in the package's help runs; those of docs/python.md print the lines below them."""
import contextlib
import io
import os
import re
import textwrap

from python_checks import SOURCE, check, done

import treeattn as ta


def output_of(code):
    """What it prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "example", "exec"), {"__name__": "example"})  # pylint: disable=exec-used
    return output.getvalue()


example = re.search(r"\n(    import numpy.*?)\n\n\S", ta.__doc__, re.DOTALL)[1]
check("the example in help(treeattn) prints bytes", "480\n", output_of(textwrap.dedent(example)))
with open(os.path.join(SOURCE, "docs", "python.md"), encoding="utf-8") as file:
    examples = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", file.read(), re.DOTALL | re.MULTILINE)
for number, (code, expected) in enumerate(examples):
    check(f"example {number + 1} of docs/python.md", expected, output_of(code))
check("docs/python.md has an example", True, len(examples) > 0)
done()
