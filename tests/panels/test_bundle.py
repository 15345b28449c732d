"""Joining page modules into one, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import playwright
import pytest
from support import skip_or_fail

from notebook_kit import panels
from notebook_kit.panels.bundle import BundleError, bundle
from notebook_kit.panels.panel import FOLDER

NODE = Path(playwright.__file__).parent / "driver" / ("node.exe" if os.name == "nt" else "node")
ENTRY = 'import { name } from "./other.js";\nexport default { render: () => name };\n'


def write(folder, **files):
    """Files `first/<key>.js`, or `shared/common.js` for the key `common`."""
    for key, text in files.items():
        path = folder / ("shared/common.js" if key == "common" else f"first/{key}.js")
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def refused(folder, **files):
    with pytest.raises(BundleError) as caught:
        bundle("first/first.js", write(folder, **files))
    return caught.value


@pytest.fixture
def page(tmp_path):
    return write(
        tmp_path,
        first="""
            // The panel's own module.
            import { double, Counter } from "./other.js";
            import {
              h as element,
              LIMIT,
            } from "../shared/common.js";

            const local = () => "first";
            export default { render: () => [element("x"), double(LIMIT), new Counter().next(), local()] };
            """,
        other="""
            import { h } from "../shared/common.js";
            const local = () => 2;
            export function double(value) { return h(value) + local(); }
            export class Counter { next() { return local(); } }
            """,
        common="""
            let local = 0;
            export const LIMIT = 10;
            export function h(tag) { local += 1; return `<${tag} ${local}>`; }
            export async function $later() { return LIMIT; }
            """,
    )


def test_files_are_joined_in_the_order_of_their_imports_each_once(page):
    text = bundle("first/first.js", page)
    places = [text.index(f"// {path}") for path in ("shared/common.js", "first/other.js", "first/first.js")]
    assert places == sorted(places) and text.count("// shared/common.js") == 1
    assert 'const { h: element, LIMIT } = modules["shared/common.js"];' in text
    assert "return { LIMIT, h, $later };" in text and "return { double, Counter };" in text
    assert "export default { render" in text and text.count("export") == 1 and "import" not in text


def test_the_joined_module_runs_and_each_file_keeps_its_own_names(page):
    module = page / "joined.mjs"
    module.write_text(bundle("first/first.js", page), encoding="utf-8")
    script = (
        f"const {{ default: panel }} = await import({json.dumps(module.as_uri())}); console.log(panel.render().join());"
    )
    ran = subprocess.run([NODE, "--input-type=module", "-e", script], capture_output=True, text=True, timeout=60)
    assert ran.stdout.strip() == "<x 1>,<10 2>2,2,first", ran.stderr


def test_ticks_of_a_range_below_the_precision_of_numbers_end(tmp_path):
    """`frame.js` imports nothing, so it runs alone. Counting from 1 in steps of 1e-16 would never reach the end."""
    module = tmp_path / "frame.mjs"
    module.write_bytes((FOLDER / "training_dashboard" / "frame.js").read_bytes())
    script = f"""
        const {{ ticksBetween }} = await import({json.dumps(module.as_uri())});
        const ranges = [[0, 10, 5], [-3, 3, 4], [5, 5, 4], [1, 1 + 2.3e-16, 4], [1.7e9, 1.7e9 + 2.4e-7, 5]];
        console.log(JSON.stringify(ranges.map(range => ticksBetween(...range))));
        """
    ran = subprocess.run([NODE, "--input-type=module", "-e", script], capture_output=True, text=True, timeout=60)
    assert json.loads(ran.stdout) == [[0, 2, 4, 6, 8, 10], [-2, 0, 2], [5], [1], [1.7e9]], ran.stderr


def test_a_missing_file_is_named_with_who_imports_it(tmp_path):
    error = refused(tmp_path, first=ENTRY)
    assert error.what == "There is no page file first/other.js, which first/first.js imports."
    with pytest.raises(BundleError, match=r"There is no page file second/second\.js\.\n"):
        bundle("second/second.js", tmp_path)


def test_a_name_that_is_not_exported_is_named_with_what_is(tmp_path):
    error = refused(tmp_path, first=ENTRY, other="export const names = 1, more = 2;\nconst name = 3;\n")
    assert "imports 'name', which first/other.js does not export. Did you mean 'names'?" in error.what
    assert "It exports: names." in error.next_step
    assert "It exports: nothing." in refused(tmp_path, first=ENTRY, other="const name = 3;\n").next_step


def test_a_circle_is_named_file_by_file(tmp_path):
    error = refused(
        tmp_path,
        first=ENTRY,
        other='import { a } from "./third.js";\nexport const name = a;\n',
        third='import { name } from "./other.js";\nexport const a = name;\n',
    )
    assert "first/other.js -> first/third.js -> first/other.js" in error.what
    assert "first/first.js -> first/first.js" in refused(tmp_path, first='import { x } from "./first.js";\n').what


@pytest.mark.parametrize("address", ["d3", "https://esm.sh/d3", "/other.js", "../../other.js"])
def test_nothing_is_imported_from_elsewhere(tmp_path, address):
    error = refused(tmp_path, first=f'import {{ name }} from "{address}";\nexport default {{}};\n')
    assert repr(address) in error.what and "nothing from elsewhere" in error.next_step


@pytest.mark.parametrize(
    "form",
    [
        'import other from "./other.js";',
        'import * as other from "./other.js";',
        'import "./other.js";',
        "import { name } from './other.js';",
        "export { name };",
        'export * from "./other.js";',
        "export let name = 1;",
        "export const { name } = {};",
        "export default {};",
    ],
)
def test_other_forms_are_refused(tmp_path, form):
    error = refused(tmp_path, first=ENTRY, other=f"export const name = 1;\n{form}\n")
    assert error.what.startswith("first/other.js") and repr(form) in error.what


def test_a_panels_own_module_has_one_default_export_and_no_other(tmp_path):
    assert "one default export" in refused(tmp_path, first="const panel = {};\n").what
    assert "unsupported" in refused(tmp_path, first="export const a = 1;\nexport default {};\n").what


@pytest.mark.parametrize(
    "name", ["AttentionView", "GenerationView", "ModelPicker", "ResultView", "TokenInspector", "TrainingDashboard"]
)
def test_a_panels_page_is_its_files_joined(name):
    panel = getattr(panels, name)
    folder = FOLDER / panel.name
    assert panel._esm == bundle(f"{panel.name}/{panel.name}.js", FOLDER)
    for path in folder.glob("*.js"):
        assert f"\n// {panel.name}/{path.name}\n" in panel._esm, f"{path.name} is not imported by any page file"


def test_the_linter_finds_nothing_in_the_page_files(tmp_path):
    oxlint = shutil.which("oxlint") or shutil.which("oxlint", path=str(Path(sys.executable).parent))
    if oxlint is None:
        skip_or_fail("oxlint is not installed")
    root = FOLDER.parent.parent

    def lint(path):
        command = [oxlint, "--config", str(root / ".oxlintrc.json"), "--format", "unix", str(path)]
        return subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120)

    ran = lint(FOLDER)
    assert ran.returncode == 0, ran.stdout

    write(
        tmp_path,
        first="""
            import { missing } from "./other.js";
            export default { render({ el }) { el.innerHTML = unknown + missing; const unused = 1; } };
            """,
        other="export const name = 1;\n",
        long="export function long() {\n" + "  document.title += 1;\n" * 61 + "}\n",
    )
    found = lint(tmp_path).stdout
    for rule in ("import(named)", "no-undef", "no-unused-vars", "no-restricted-properties", "max-lines-per-function"):
        assert rule in found, rule
