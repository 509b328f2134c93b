"""A coverage-guided fuzzer for the readers: ``python tests/fuzz_readers/fuzz.py [--seconds 600] [READER ...]``.

It needs atheris, which the package does not: ``pip install atheris``. The time is divided among the readers. What is
found, and the files that reached new code, are in ``build/fuzz/READER``; move a finding to ``findings/READER``, where
``test_kept_files.py`` reads it in every run of the tests.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
with atheris.instrument_imports(include=["spuproj.training", "nibabel", "pydicom"]):
    from fuzz_readers.json_mutation import changed
    from fuzz_readers.readers import FINDINGS, READERS, SEEDS
    from fuzz_readers.watch import watched
    from spuproj.training.runtime.errors import InputError

BUILD = Path(__file__).parents[2] / "build" / "fuzz"
# Each input is a file: one in memory, where there is such a folder.
_FOLDER = next((path for path in ("/dev/shm",) if Path(path).is_dir()), None)
_LIMITS = ("-rss_limit_mb=3000", "-timeout=20", "-max_len=8192", "-print_final_stats=1")


def main() -> int:
    """Fuzzes the readers one after another, and prints a line for each; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="in all")
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}; all, if left out")
    options = parser.parse_args()
    names = options.readers or list(READERS)
    print(f"{'reader':14} {'executions':>10} {'coverage':>9} {'kept':>6}  finding", flush=True)
    return max([_run(name, options.seconds / len(names)) for name in names])


def _run(name: str, seconds: float) -> int:
    """Fuzzes a reader in a process of its own, since it may crash or use up its memory."""
    folder = BUILD / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child == 0:
        with (folder / "log.txt").open("wb") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        _fuzz(name, seconds, folder)
    status = os.waitpid(child, 0)[1]
    text = (folder / "log.txt").read_text(errors="replace")
    executed = re.findall(r"number_of_executed_units: (\d+)", text) or re.findall(r"^#(\d+)", text, re.MULTILINE)
    covered = re.findall(r"cov: (\d+)", text)
    found = re.findall(r"Test unit written to (\S+)", text) or ([f"see {folder}/log.txt"] if status else [""])
    kept = len(list((folder / "corpus").iterdir()))
    print(f"{name:14} {(executed or ['0'])[-1]:>10} {(covered or ['0'])[-1]:>9} {kept:>6}  {found[-1]}", flush=True)
    return int(status != 0)


def _fuzz(name: str, seconds: float, folder: Path) -> None:
    """Fuzzes a reader in this process, which ends with it."""

    def once(content: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=_FOLDER) as place, watched(Path(place)) as done:
            try:
                READERS[name](Path(place), content)
            except InputError as error:
                str(error).encode("utf-8", "backslashreplace")
            assert not done, done

    def mutated(content: bytes, most: int, seed: int) -> bytes:
        return (changed(content, seed) if seed % 2 else None) or bytes(atheris.Mutate(content, most))

    begin = [str(kind / name) for kind in (SEEDS, FINDINGS) if (kind / name).is_dir()]
    # The libraries that are imported with the first file write files too.
    for seed in Path(begin[0]).iterdir():
        with tempfile.TemporaryDirectory(dir=_FOLDER) as place:
            READERS[name](Path(place), seed.read_bytes())
    limits = (*_LIMITS, f"-max_total_time={seconds:.0f}", f"-artifact_prefix={folder}/")
    atheris.Setup([sys.argv[0], *limits, str(folder / "corpus"), *begin], once, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
