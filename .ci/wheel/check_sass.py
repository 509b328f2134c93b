"""Reads the machine code (SASS) of a wheel's CUDA kernels.

Checked are how they store, how many loads they have in flight together, and how many instructions they need: those of
the kernel's innermost loop, or of the whole kernel where it has no loop, for a warp whose taps all blend four pixels.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

FUNCTION = re.compile(r"^\s*Function : (\S+)$", re.MULTILINE)
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(@!?U?P\d+ )?\s*([A-Z][\w.]*)([^;]*);")
SIZES = {"unsigned char": 1, "unsigned short": 2, "BFloat16": 2, "Float16": 2, "unsigned int": 4, "int": 4, "float": 4}
SIZES |= {"unsigned long": 8, "double": 8}


class Instruction(NamedTuple):
    """One instruction, and whether it has a condition."""

    address: int
    conditional: bool
    opcode: str
    operands: str

    @property
    def target(self) -> int | None:
        """Where a branch goes."""
        found = re.search(r"0x[0-9a-f]+\s*$", self.operands) if self.opcode.startswith("BRA") else None
        return int(found.group(), 16) if found else None

    @property
    def ends(self) -> bool:
        """Whether the next instruction is never reached from this one."""
        jumps = self.target is not None and self.operands.strip().startswith("0x")
        return not self.conditional and (jumps or self.opcode == "EXIT")

    @property
    def bytes(self) -> int:
        """How much a load or store moves for each lane."""
        for suffix, size in {".128": 16, ".64": 8, "16": 2, "8": 1}.items():
            if self.opcode.endswith(suffix):
                return size
        return 4


Code = list[Instruction]


def kernels(listing: str) -> dict[str, Code]:
    """The code of each kernel, by its element's name as in C++: ``Gather<Blend<float, true>, float, false>``."""
    symbols = FUNCTION.findall(listing)
    names = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True).stdout
    found = {}
    for name, part in zip(names.splitlines(), FUNCTION.split(listing)[2::2], strict=True):
        short = re.sub(r"spuproj::|cuda::|\(anonymous namespace\)::", "", name)
        element = re.match(r"void run<(.*?)\s*>\(", short)
        code = [Instruction(int(at, 16), bool(when), *rest) for at, when, *rest in INSTRUCTION.findall(part)]
        found[element.group(1).replace("> >", ">>") if element else short] = code
    return found


def stored(kernel: str) -> tuple[bool, set[int]] | None:
    """Whether a kernel's stores must pass the caches, and how wide they must be; None where any store is right."""
    element, _, arguments = kernel.removesuffix(">").partition("<")
    given = [argument.strip() for argument in arguments.rsplit(",", 2)]
    if element == "Gather":
        size = SIZES[given[-2]]
        return True, {min(4 * size, 16) if given[-1] == "true" else size}
    if element == "GatherInterleaved":
        return True, {8 if given[-1] == "true" else 2}
    if element == "Reduce":
        return True, {SIZES[given[0]], SIZES[given[1]]}
    return (False, {16}) if element == "Interleave" else None


def store_faults(kernel: str, code: Code) -> Iterator[str]:
    rule = stored(kernel)
    if rule is None:
        return
    passes, widths = rule
    stores = [each for each in code if each.opcode.startswith("STG")]
    if not stores:
        yield f"{kernel} must store something"
    for each in stores:
        if passes and ".EF" not in each.opcode:
            yield f"{kernel} must store past the caches (STG.E.EF), got {each.opcode} at {each.address:#x}"
        if each.bytes not in widths:
            wanted = " or ".join(map(str, sorted(widths)))
            yield f"{kernel} must store {wanted} bytes a lane at a time, got {each.opcode} at {each.address:#x}"


def blocks_of(code: Code) -> list[Code]:
    """The code in pieces that run from their first to their last instruction."""
    starts = {each.target for each in code}
    blocks: list[Code] = [[]]
    for each in code:
        if blocks[-1] and (each.address in starts or blocks[-1][-1].target is not None or blocks[-1][-1].ends):
            blocks.append([])
        blocks[-1].append(each)
    return blocks


def main_loop(code: Code) -> list[Code]:
    """The blocks of the longest loop that has no loop inside; of the whole kernel where there is none."""
    spans = [(each.target, each.address) for each in code if each.target is not None and each.target < each.address]
    inner = [span for span in spans if not any(span != other and _holds(span, other) for other in spans)]
    first, last = max(inner, key=lambda span: span[1] - span[0], default=(0, code[-1].address))
    return blocks_of([each for each in code if first <= each.address <= last])


def _holds(outer: tuple[int, int], inner: tuple[int, int]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def busiest(blocks: list[Code]) -> int:
    """Which block loads most; the shortest of those."""
    loads = [sum(each.opcode.startswith("LDG") for each in block) for block in blocks]
    return max(range(len(blocks)), key=lambda at: (loads[at], -len(blocks[at])))


def loads_before_use(block: Code) -> int:
    """How many loads a block issues before it needs the result of one."""
    loaded: set[int] = set()
    count = 0
    for each in block:
        registers = [int(register) for register in re.findall(r"\bR(\d+)\b", each.operands)]
        # The first register is the one that is written, except where memory is.
        if loaded & set(registers[not each.opcode.startswith(("ST", "RED")) :]):
            break
        if each.opcode.startswith("LDG"):
            loaded |= set(range(registers[0], registers[0] + max(1, each.bytes // 4)))
            count += 1
    return count


def instructions(blocks: list[Code]) -> int:
    """Instructions of the longest way through a loop by its busiest block."""
    through, never = busiest(blocks), -(10**9)
    at = {block[0].address: number for number, block in enumerate(blocks)}
    after = [_next(blocks, number, at) for number in range(len(blocks))]
    until, rest = [never] * len(blocks), [never] * len(blocks)
    until[0] = len(blocks[0])
    for number in range(len(blocks)):
        for other in after[number]:
            until[other] = max(until[other], until[number] + len(blocks[other]))
    for number in reversed(range(len(blocks))):
        last = number == len(blocks) - 1 or blocks[number][-1].opcode == "EXIT"
        rest[number] = max([0] * last + [len(blocks[other]) + rest[other] for other in after[number]], default=never)
    return until[through] + rest[through]


def _next(blocks: list[Code], number: int, at: dict[int, int]) -> list[int]:
    """The later blocks that one can go on to."""
    last = blocks[number][-1]
    follows = [] if last.ends else [number + 1]
    jumps = [at[last.target]] if last.target in at else []
    return [other for other in (*follows, *jumps) if number < other < len(blocks)]


def faults(listing: str, budget: dict[str, dict[str, Any]]) -> list[str]:
    """What is wrong with a listing of cuobjdump, given each kernel's planes, fewest loads and most instructions."""
    found = kernels(listing)
    wrong = [fault for kernel, code in found.items() for fault in store_faults(kernel, code)]
    for kernel, limits in budget.items():
        if kernel not in found:
            wrong.append(f"{kernel} must be compiled, but it is not among the {len(found)} kernels")
            continue
        loop = main_loop(found[kernel])
        loads, needed = loads_before_use(loop[busiest(loop)]), instructions(loop) / limits["planes"]
        if loads < limits["loads"]:
            wrong.append(f"{kernel} must have {limits['loads']} loads in flight together, got {loads}")
        if needed > limits["instructions"]:
            wrong.append(f"{kernel} must need at most {limits['instructions']} instructions a plane, got {needed:.1f}")
    return wrong


def disassembly(wheel: Path, architecture: int) -> str:
    """The machine code of a wheel's CUDA module, by cuobjdump: CUDA's, or the one that comes with Triton."""
    triton = find_spec("triton")
    folders = triton.submodule_search_locations if triton else None
    ours = [str(Path(folder, "backends/nvidia/bin/cuobjdump")) for folder in folders or ()]
    program = next(filter(None, map(shutil.which, ("cuobjdump", *ours))), None)
    if program is None:
        raise SystemExit("cuobjdump must be installed, with CUDA or with Triton, but none is found")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as content:
        module = content.extract(next(name for name in content.namelist() if "/_cuda." in name), folder)
        command = [program, "-sass", "-arch", f"sm_{architecture}", module]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main(wheel: Path, budgets: Path) -> None:
    """Raises SystemExit with one line for every rule that a kernel breaks."""
    budget = json.loads(budgets.read_text())["sass"]
    listing = disassembly(wheel, budget["architecture"])
    if wrong := faults(listing, budget["kernels"]):
        raise SystemExit("\n".join(wrong))
    print(f"{len(kernels(listing))} kernels of sm_{budget['architecture']} store, load and compute as recorded")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
