"""Published notebooks and scripts, run with `transformers` and with this package under its name.

    python benchmarks/compatibility.py FOLDER [FOLDER ...] [--json results.json] [--only PATTERN] [--seconds 120]

Every notebook below a folder (`.ipynb`, or `.py` with `# %%` lines) runs cell by cell in a process for each library; in the
run with this package, `transformers` in its code becomes `notebook_kit`. There is no network: checkpoints come from the tests'
stand-in Hub, datasets and metrics from `compatibility_standins.py`. The scripts of `examples/pytorch` in the sources of
`transformers` run with the command lines below, on datasets and once more on small files (CSV, JSON, text). Some values are
replaced in both runs (no GPU, no upload, few rows), and a few spellings of version 4 in the oracle's.

A cell counts as run if it raises nothing. Not run, and counted apart: lines for the shell or IPython (`!`, `%`), cells that
upload or log in, and cells that cannot be parsed.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import runpy
import shlex
import signal
import sys
import tempfile
import time
import traceback
import types
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ORACLE, OURS = "transformers", "notebook_kit"
# What both libraries run otherwise than it is written: nothing is uploaded, there is no GPU, and datasets have a few rows.
REPLACED = {
    r"push_to_hub\s*=\s*True": "push_to_hub=False",
    r"""(["'])cuda\1""": r"\1cpu\1",
    r"Accelerator\(fp16=True\)": "Accelerator()",
    r"\bfp16\s*=\s*True": "fp16=False",
    r"(?<![-.\w])(10_000|10000|1_000|1000|100)\b(?=\))|(?<=train_size = )10_000": "8",
    r"\[(?:123456|172|100)\]": "[1]",
}
# What version 5 of the oracle spells otherwise, so that the cells after it can be compared.
NEW_SPELLINGS = {
    r"\bevaluation_strategy\b": "eval_strategy",
    r"from transformers import AdamW\b": "from torch.optim import AdamW",
}
# A cell with one of these is not run.
NOT_RUN = {
    "upload": r"\.push_to_hub\(|\bRepository\(|create_repo\(|upload_file\(|get_full_repo_name\(|create_commit\(",
    "log in": r"notebook_login\(|whoami\(|HfFolder",
    "network": r"requests\.(get|post)|wget|urlopen|snapshot_download\(|list_repo_files\(",
    "TensorFlow": r"\bTF[A-Z]\w+\(|import tensorflow|tf\.|keras",
}

_FEW = "--max_train_samples 12 --max_eval_samples 12"
_TRAIN = "--do_train --do_eval --num_train_epochs 1 --per_device_train_batch_size 4 --output_dir OUT --use_cpu --report_to none"
_WRITE = "--predict_with_generate --max_source_length 32 --max_target_length 16 --do_predict --max_predict_samples 6"
# script -> its command line; each also gets what all get
SCRIPTS = {
    "run_glue.py": f"--model_name_or_path bert-base-cased --task_name mrpc --do_predict --max_seq_length 64 {_FEW}",
    "run_classification.py": "--model_name_or_path distilbert-base-uncased --dataset_name emotion --text_column_names text"
    f" --label_column_name label --metric_name accuracy --max_seq_length 32 {_FEW}",
    "run_xnli.py": f"--model_name_or_path bert-base-multilingual-cased --language en --train_language en {_FEW}",
    "run_ner.py": f"--model_name_or_path bert-base-cased --dataset_name conll2003 --do_predict {_FEW}",
    "run_qa.py": f"--model_name_or_path distilbert-base-uncased --dataset_name squad --max_seq_length 64 --doc_stride 16 {_FEW}",
    "run_seq2seq_qa.py": "--model_name_or_path t5-small --dataset_name squad_v2 --context_column context --question_column"
    f" question --answer_column answers --version_2_with_negative --max_seq_length 256 --predict_with_generate {_FEW}",
    "run_clm.py": f"--model_name_or_path gpt2 --dataset_name wikitext --dataset_config_name raw --block_size 32 {_FEW}",
    "run_fim.py": f"--model_name_or_path gpt2 --dataset_name wikitext --dataset_config_name raw --block_size 32 {_FEW}",
    "run_mlm.py": f"--model_name_or_path distilroberta-base --dataset_name wikitext --max_seq_length 64 {_FEW}",
    "run_plm.py": f"--model_name_or_path xlnet-base-cased --dataset_name wikitext --max_seq_length 64 {_FEW}",
    "run_swag.py": f"--model_name_or_path bert-base-uncased --max_seq_length 32 {_FEW}",
    "run_summarization.py": f"--model_name_or_path t5-small --dataset_name xsum --source_prefix summarize: {_WRITE} {_FEW}",
    "run_translation.py": "--model_name_or_path Helsinki-NLP/opus-mt-en-ro --source_lang en --target_lang ro --dataset_name"
    f" wmt16 --dataset_config_name ro-en {_WRITE} {_FEW}",
    "run_generation.py": "--model_type gpt2 --model_name_or_path gpt2 --prompt the_king --length 8",
}

_FILES = {
    "pairs.csv": "sentence1,sentence2,label\n" + "the king went,the dog saw,0\na good film,a very good film,1\n" * 4,
    "lines.txt": "the little king went to the old house\nshe saw that the river was very small\n" * 20,
    "summaries.csv": "text,summary\n" + "the old man went to the river and saw a dog,a man saw a dog\n" * 8,
    "words.json": '{"tokens": ["Sarah", "went", "to", "Paris"], "ner_tags": ["B-PER", "O", "O", "B-LOC"]}\n' * 8,
    "questions.json": json.dumps(
        {
            "data": [
                {
                    "id": str(number),
                    "title": "the king",
                    "context": "the old king went to the river",
                    "question": "who went ?",
                    "answers": {"text": ["king"], "answer_start": [8]},
                }
                for number in range(8)
            ]
        }
    ),
    "endings.csv": "sent1,sent2,ending0,ending1,ending2,ending3,label\n"
    + "the man saw a dog,he,went,was good,saw,was bad,0\nshe went in,she,was,saw a king,went,and,1\n" * 4,
    "translations.json": '{"translation": {"en": "the king went", "ro": "regele a plecat"}}\n' * 8,
}
# The same for files of a user's own.
ON_FILES = {
    "run_glue.py": "--model_name_or_path bert-base-cased --train_file pairs.csv --validation_file pairs.csv --max_seq_length 32",
    "run_clm.py": "--model_name_or_path gpt2 --train_file lines.txt --validation_file lines.txt --block_size 16",
    "run_mlm.py": "--model_name_or_path distilroberta-base --train_file lines.txt --validation_file lines.txt --line_by_line",
    "run_ner.py": "--model_name_or_path bert-base-cased --train_file words.json --validation_file words.json",
    "run_qa.py": "--model_name_or_path distilbert-base-uncased --train_file questions.json --validation_file questions.json"
    " --max_seq_length 32 --doc_stride 8",
    "run_swag.py": "--model_name_or_path bert-base-uncased --train_file endings.csv --validation_file endings.csv",
    "run_summarization.py": "--model_name_or_path t5-small --train_file summaries.csv --validation_file summaries.csv"
    " --source_prefix summarize: --predict_with_generate --max_source_length 32 --max_target_length 16",
    "run_translation.py": "--model_name_or_path Helsinki-NLP/opus-mt-en-ro --source_lang en --target_lang ro --train_file"
    " translations.json --validation_file translations.json --max_source_length 32 --max_target_length 16"
    " --predict_with_generate",
}


def renamed(code: str, library: str) -> str:
    """The code with `transformers` as the name of another package.

    >>> renamed("from transformers.utils import logging", "notebook_kit")
    'from notebook_kit.utils import logging'
    """
    for pattern, text in {**REPLACED, **(NEW_SPELLINGS if library == ORACLE else {})}.items():
        code = re.sub(pattern, text, code)
    return code if library == ORACLE else re.sub(r"\btransformers\b(?!/)", library, code)


def cells_of(path: Path) -> list[tuple[str, str]]:
    """The code cells of a notebook, or of a script with `# %%` lines: ("run", code), or why not: ("upload", code)..."""
    if path.suffix == ".py":
        codes = re.split(r"^# %%.*\n", path.read_text("utf-8"), flags=re.MULTILINE)[1:]
    else:
        notebook = json.loads(path.read_text("utf-8"))
        codes = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    cells = []
    for code in codes:
        python = "\n".join(line for line in code.split("\n") if not line.lstrip().startswith(("!", "%")))
        if not python.strip():
            cells.append(("shell" if code.strip() else "empty", code))
            continue
        try:
            ast.parse(python)
        except SyntaxError:
            cells.append(("no Python", code))
            continue
        cells.append((next((why for why, pattern in NOT_RUN.items() if re.search(pattern, python)), "run"), python))
    return cells


def is_cells(path: Path) -> bool:
    """Whether a file is a notebook written as a script."""
    return path.suffix == ".py" and "\n# %%\n" in path.read_text("utf-8")


def run_cell(code: str, namespace: dict[str, Any], name: str) -> None:
    """Run a cell as a notebook does: the value of the last expression is displayed."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    if last is not None:
        repr(eval(compile(ast.Expression(last.value), name, "eval"), namespace))


class TooLong(BaseException):
    """A cell took longer than allowed. Not an Exception, so that no library catches it."""


def _stop(*_: Any) -> None:
    raise TooLong


def guarded(function: Any, seconds: int) -> str | None:
    """Run a function quietly and within a time limit; what went wrong, or None."""
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(seconds)
    out = io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(out):
            function()
    except TooLong:
        return f"longer than {seconds} s"
    except SystemExit as error:
        return None if not error.code else f"exit {error.code}: {out.getvalue().strip()[-300:]}"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:400]} ({Path(last.filename).name}:{last.lineno})"
    finally:
        signal.alarm(0)
    return None


def run_notebook(path: Path, library: str, seconds: int) -> list[dict[str, Any]]:
    """The cells of a notebook and what became of them, in this process."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    namespace = main.__dict__
    namespace["display"] = lambda *values, **_: [repr(value) for value in values]
    results = []
    for number, (kind, code) in enumerate(cells_of(path)):
        result = {"cell": number, "kind": kind, "code": code, "error": None}
        if kind == "run":
            name = f"<cell {number}>"
            result["error"] = guarded(
                lambda code=code, name=name: run_cell(renamed(code, library), namespace, name), seconds
            )
        results.append(result)
    return results


def run_script(path: Path, library: str, seconds: int) -> list[dict[str, Any]]:
    """A script with its command lines, in this process."""
    for module in path.parent.glob("*.py"):  # scripts import files beside them
        Path(module.name).write_text(renamed(module.read_text("utf-8"), library), "utf-8")
    for name, text in _FILES.items():
        Path(name).write_text(text, "utf-8")
    sys.path.insert(0, os.getcwd())
    results = []
    for number, line in enumerate(lines[path.name] for lines in (SCRIPTS, ON_FILES) if path.name in lines):
        if path.name != "run_generation.py":
            line = f"{line} {_TRAIN}"
        sys.argv = [path.name, *shlex.split(line.replace("OUT", f"out{number}"))]
        error = guarded(lambda: runpy.run_path(path.name, run_name="__main__"), seconds)
        results.append({"cell": number, "kind": "run", "code": line, "error": error})
    return results


def worker(library: str, files: list[str], seconds: int, results: str) -> None:
    """Run files with one library, each in a process that is a copy of this one after its imports."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import compatibility_standins as standins
    import datasets
    import torch

    torch.set_num_threads(1)
    standins.install()
    datasets.disable_progress_bars()
    package = __import__(library)
    package.pipeline  # noqa: B018  loads it
    if library == ORACLE:  # scripts of version 4 import these
        package.utils.send_example_telemetry = lambda *_, **__: None
        package.utils.is_offline_mode = lambda: False
    for file in files:
        start = time.time()
        answer = Path(results, f"{abs(hash(file))}.json")
        if (child := os.fork()) == 0:
            try:
                os.chdir(tempfile.mkdtemp())
                run = run_script if Path(file).name in SCRIPTS else run_notebook
                answer.write_text(json.dumps(run(Path(file), library, seconds)))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        found = json.loads(answer.read_text()) if answer.exists() else None
        print(json.dumps({"file": file, "seconds": time.time() - start, "cells": found}), flush=True)


def names_in(files: list[Path]) -> set[str]:
    """Checkpoints that are named in the files."""
    from compatibility_standins import family_of

    text = "\n".join([*SCRIPTS.values(), *(path.read_text("utf-8") for path in files)])
    quoted = re.findall(r"""[\\]?["']([\w./-]{4,90}?)[\\]?["']""", text)
    names = {*quoted, *re.findall(r"--model_name_or_path (\S+)", text)}
    return {name for name in names if family_of(name) and not name.endswith((".py", ".json", ".txt", ".bin"))}


def fill(hub: Any, files: list[Path]) -> None:
    """Add a small checkpoint for each name in the files, and for those that pipelines use by default."""
    from compatibility_standins import CORPUS, family_of, make_checkpoint
    from transformers.pipelines import SUPPORTED_TASKS
    from transformers.utils import logging

    logging.disable_progress_bar()
    usual = [task["default"]["model"] for task in SUPPORTED_TASKS.values() if task.get("default")]
    revisions = dict(pair for pair in usual if isinstance(pair, tuple) and family_of(pair[0]))
    texts = [*CORPUS * 4, *{code for path in files if path.name not in SCRIPTS for _, code in cells_of(path)}]
    for name in sorted(names_in(files) | revisions.keys()):
        with tempfile.TemporaryDirectory() as folder:
            make_checkpoint(name, Path(folder), texts)
            hub.add(name, folder, tag=revisions.get(name))


def compare(files: list[Path], seconds: int) -> dict[str, dict[str, Any]]:
    """Run all files with both libraries, one after the other: library -> file -> what the worker printed."""
    import subprocess

    sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]
    from standin_hub import StandInHub

    found: dict[str, dict[str, Any]] = {ORACLE: {}, OURS: {}}
    with StandInHub() as hub, tempfile.TemporaryDirectory() as scratch:
        fill(hub, files)
        quiet = {
            "TOKENIZERS_PARALLELISM": "false",
            "MPLBACKEND": "Agg",
            "NOTEBOOK_KIT_DISPLAY": "bar",
            "HF_HUB_DISABLE_XET": "1",
        }
        for library in found:
            home = Path(scratch, library)
            home.mkdir()
            environment = {
                **os.environ,
                **quiet,
                "HF_ENDPOINT": hub.endpoint,
                "HF_HOME": str(home),
                "TMPDIR": str(home),
            }
            for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
                environment.pop(name, None)
            command = [sys.executable, str(HERE / "compatibility.py"), "--worker", library, "--seconds", str(seconds)]
            process = subprocess.Popen(
                [*command, "--results", str(home), *map(str, files)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for line in process.stdout or ():
                if line.startswith('{"file"'):
                    answer = json.loads(line)
                    found[library][answer["file"]] = answer
                    print(f"  {library:13} {Path(answer['file']).name:40} {answer['seconds']:6.1f} s", file=sys.stderr)
            process.wait()
    return found


def report(found: dict[str, dict[str, Any]]) -> None:
    """Print the counts, and every cell that runs with one library only."""
    total: Counter[str] = Counter()
    differing = []
    print(f"{'':42} cells  oracle   here   both")
    for file, theirs in found[ORACLE].items():
        ours = found[OURS].get(file, {}).get("cells") or []
        rows = theirs["cells"] or []
        count: Counter[str] = Counter()
        for a, b in zip(rows, ours, strict=False):
            count["cells"] += 1
            if a["kind"] != "run":
                total[f"not run: {a['kind']}"] += 1
                continue
            count["oracle"] += a["error"] is None
            count["here"] += b["error"] is None
            count["both"] += a["error"] is None and b["error"] is None
            if (a["error"] is None) != (b["error"] is None):
                differing.append((Path(file).name, a, b))
        if len(rows) != len(ours):
            differing.append(
                (
                    Path(file).name,
                    {"cell": "-", "error": f"{len(rows)} cells"},
                    {"error": f"{len(ours)} cells", "code": ""},
                )
            )
        print(f"{Path(file).name:42} {count['cells']:5} {count['oracle']:7} {count['here']:6} {count['both']:6}")
        total.update(count)
    print(f"{'all':42} {total['cells']:5} {total['oracle']:7} {total['here']:6} {total['both']:6}")
    for kind in sorted(key for key in total if key.startswith("not run")):
        print(f"  {kind}: {total[kind]}")
    for title, side in (("Run with the oracle and not here", 1), ("Run here and not with the oracle", 0)):
        chosen = [(name, a, b) for name, a, b in differing if (a, b)[side]["error"] is not None]
        print(f"\n{title}: {len(chosen)}")
        for name, a, b in chosen:
            code = b.get("code", "").strip().replace("\n", "\n        ")
            print(f"  {name}, cell {a['cell']}: {(a, b)[side]['error']}\n        {code[:600]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="+", help="folders, notebooks or scripts")
    parser.add_argument("--only", default="", help="a regular expression that the files' names match")
    parser.add_argument("--seconds", type=int, default=120, help="the longest that a cell may take")
    parser.add_argument("--json", help="a file for all results")
    parser.add_argument("--worker", choices=(ORACLE, OURS), help=argparse.SUPPRESS)
    parser.add_argument("--results", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.places, options.seconds, options.results)
        return
    places = [[place] if place.is_file() else sorted(place.rglob("*")) for place in map(Path, options.places)]
    kinds = [path.resolve() for paths in places for path in paths if path.suffix in (".ipynb", ".py")]
    wanted = [path for path in kinds if path.suffix == ".ipynb" or path.name in SCRIPTS or is_cells(path)]
    files = [path for path in wanted if re.search(options.only, path.name)]
    results = compare(files, options.seconds)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))
    report(results)


if __name__ == "__main__":
    main()
