"""Build, without Docker, what mybinder.org would build from this folder, and run the tutorials in it.

    python3.11 binder/check.py FOLDER                     all tutorials (some minutes)
    python3.11 binder/check.py FOLDER 00_quick_tour       only these

repo2docker itself says which files it found and which commands it would run; they are run as they are, in a virtual environment
that begins with the base image's own Jupyter packages. FOLDER takes the environments (about 3 GB); an existing one is
reused. Fails if a step fails, if JupyterLab does not open at the index, if a tutorial fails, or if the server and a
tutorial's kernel together need more memory than mybinder.org gives.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
MEMORY = 2e9
"""Bytes that mybinder.org gives to one person."""
BASE = ["ipykernel", "ipywidgets", "jupyter_server", "jupyterlab", "notebook"]
BESIDE = ["jupyter-resource-usage", "jupyter-offlinenotebook", "jupyterhub-base"]
"""More of the base image: what JupyterHub and the page need. The names are conda's."""

ASK_REPO2DOCKER = """
import json, logging, sys
from pathlib import Path
from repo2docker import app, buildpacks
from repo2docker.buildpacks import conda
logging.disable(logging.CRITICAL)
docker = app.Repo2Docker()
found = next(pack for pack in (kind(docker.base_image) for kind in docker.buildpacks) if pack.detect())
found.platform = "linux/amd64"
lock = (Path(conda.__file__).parent / f"environment.py-{found.python_version}-linux-64.lock").read_text()
print(json.dumps({
    "buildpack": type(found).__name__, "python": found.python_version, "lock": lock, "dockerfile": found.render(),
    "assemble": found.get_assemble_scripts(), "post_build": found.get_post_build_scripts(), "start": found.get_start_script(),
}))
"""


def main(folder: Path, only: list[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    repository = copy_of_project(folder / "repository")
    plan = ask_repo2docker(folder / "repo2docker", repository)
    plan["start"] = plan["start"].replace("${REPO_DIR}/", "")
    print(f"repo2docker: {plan['buildpack']} on Python {plan['python']}; start: {plan['start']}; {plan['post_build']}")
    assert plan["buildpack"] == "PythonBuildPack" and plan["python"] == "3.11"
    assert plan["start"] and plan["post_build"], "binder/start and binder/postBuild must be found"
    assert all(line in plan["dockerfile"] for line in ("binder/requirements.txt", "binder/postBuild", "binder/start"))

    image = folder / "image"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "PYTHON", "VIRTUAL_ENV"))},
        "PATH": f"{image / 'bin'}:{os.environ['PATH']}",
        "KERNEL_PYTHON_PREFIX": str(image),
        "NB_PYTHON_PREFIX": str(image),
        "HOME": str(folder / "home"),
        "CPU_LIMIT": "1.0",
    }
    if not (image / "bin" / "python").exists():
        (folder / "home").mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", image], check=True)
        versions = dict(re.findall(r"/([A-Za-z0-9_.-]+?)-(\d[^-/]*)-[^-/]+\.conda", plan["lock"]))
        base = [f"{name.removesuffix('-base')}=={versions[name]}" for name in (*BASE, *BESIDE)]
        print("base image:", *base, flush=True)
        pip = [image / "bin" / "python", "-m", "pip", "install", "--quiet", *base]
        subprocess.run(pip, check=True, env=environment)
    for _, command in plan["assemble"]:
        if "pip install" in command:  # the others are conda's, which `base` replaces
            print("+", command, flush=True)
            subprocess.run(["bash", "-c", command], check=True, cwd=repository, env={**environment, "PIP_QUIET": "1"})
    for script in plan["post_build"]:
        print("+", script, flush=True)
        subprocess.run(["bash", "-c", f"./{script}"], check=True, cwd=repository, env=environment)
    check_environment(image, environment)
    server = opens_at_the_index(repository, plan["start"], environment)
    highest = 0
    for notebook in sorted((repository / "tutorials").glob("*.ipynb")):
        if only and notebook.stem not in only:
            continue
        command = [repository / plan["start"], image / "bin" / "python", __file__, "--run", notebook]
        answer = subprocess.run(command, check=True, env=environment, cwd=repository, stdout=subprocess.PIPE, text=True)
        usage = json.loads(answer.stdout.splitlines()[-1])
        print(f"{notebook.stem}: {usage['memory'] / 1e6:.0f} MB, {usage['seconds']:.0f} s", flush=True)
        highest = max(highest, usage["memory"])
    print(f"most memory: {server / 1e6:.0f} MB of the server and {highest / 1e6:.0f} MB of a kernel")
    assert server + highest < MEMORY
    return 0


def copy_of_project(target: Path) -> Path:
    """The project as a fresh clone has it."""
    shutil.rmtree(target, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, target / name)
    return target


def ask_repo2docker(home: Path, repository: Path) -> dict:
    """What repo2docker finds, and what it would run."""
    if not (home / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin" / "python", "-m", "pip", "install", "--quiet", "jupyter-repo2docker"], check=True)
    command = [home / "bin" / "python", "-c", ASK_REPO2DOCKER]
    return json.loads(subprocess.run(command, cwd=repository, check=True, stdout=subprocess.PIPE, text=True).stdout)


def check_environment(image: Path, environment: dict[str, str]) -> None:
    """No package is installed at a version that another one refuses, and torch is the build without CUDA."""
    python = image / "bin" / "python"
    subprocess.run([python, "-m", "pip", "check"], check=True, env=environment)
    code = "import torch; assert torch.version.cuda is None, torch.__version__; print('torch', torch.__version__)"
    subprocess.run([python, "-c", code], check=True, env=environment)


def opens_at_the_index(repository: Path, start: str, environment: dict[str, str]) -> int:
    """Start JupyterLab as Binder does; returns the memory of the server in bytes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [repository / start, "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    log = repository.parent / "lab.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "--IdentityProvider.token="], cwd=repository, env=environment, stdout=output, stderr=output
        )
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        started = time.monotonic()
        while True:
            try:
                with opener.open(f"http://127.0.0.1:{port}/", timeout=30) as page:
                    landed, text = page.geturl(), page.read().decode()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() - started < 120, log.read_text()[-3000:]
                time.sleep(0.2)
        assert landed.endswith("/lab/tree/tutorials/index.ipynb"), landed
        assert "JupyterLab" in text
        print("JupyterLab opens at", landed.partition(f":{port}")[2])
        return highest_memory(server.pid)
    finally:
        server.terminate()
        server.wait(30)


def highest_memory(pid: int) -> int:
    """The peak memory of a process so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def run(path: Path) -> int:
    """Inside the environment: run one notebook, and print its memory and time."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": path.parent}})
    started = time.monotonic()
    with client.setup_kernel():
        for place, cell in enumerate(notebook.cells):
            client.execute_cell(cell, place)
        memory = highest_memory(client.km.provisioner.pid)
    print(json.dumps({"memory": memory, "seconds": time.monotonic() - started}))
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(run(Path(sys.argv[2])) if sys.argv[1] == "--run" else main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
