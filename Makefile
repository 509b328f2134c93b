# Everything from a clean clone: a virtual environment, the locked packages, this package, then the task.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := CMakeLists.txt pyproject.toml $(wildcard cmake/* csrc/*/*.* csrc/*/*/*.*)
DEFINE := --config-settings=cmake.define

.PHONY: setup demo models docs test test-slow test-bare coverage fuzz fuzz-readers sanitize numerics faults load compat instructions \
  bench bench-check lint format wheel lock clean

# For developers: the checks of `make lint` before every commit.
setup: $(INSTALLED)
	$(BIN)/pre-commit install

demo: $(INSTALLED)
	$(BIN)/spuproj demo --out demo --force

# The models that come with the package, trained anew: nine minutes with a GPU, six hours on two cores; resumable.
models: $(INSTALLED)
	$(BIN)/python -m spuproj.training.workflows.make_models --out build/models

test: $(INSTALLED)
	$(BIN)/pytest -n auto -m "not slow"

test-slow: $(INSTALLED)
	$(BIN)/pytest -m slow

# Each test of the ops once, as if the packages of the training layer were not installed: a machine for GPU tests is like that.
test-bare: $(INSTALLED)
	PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/tests/bare:$(CURDIR)/tests/plugins $(BIN)/pytest -n auto -p first_of_each -m "not slow" \
	  tests/core tests/benchmarks

# The tests, and which lines and branches they did not reach: a table here, the lines themselves in build/coverage/index.html.
coverage: $(INSTALLED)
	$(BIN)/pytest -n auto -m "not slow" --cov --cov-report=term --cov-report=html:build/coverage

# Random calls of every op against the float64 reference; a failure prints how to repeat it.
fuzz: $(INSTALLED)
	SPUPROJ_FUZZ_CASES=20000 $(BIN)/pytest -n auto tests/fuzz

# The table of errors of docs/reliability.md, gradients against 60 digits, the same bits from threads, batches and layouts.
numerics: $(INSTALLED)
	$(BIN)/pytest -n auto tests/numerics

# A million calls, thousands of geometries, eight threads: memory, descriptors, threads and caches stay within bounds.
load: $(INSTALLED)
	$(BIN)/pytest -m slow tests/load

# The package installed as users do, with old and new releases of Python, torch and NumPy; ARGUMENTS are tests.
compat: $(INSTALLED)
	$(BIN)/pip install uv
	$(BIN)/python .ci/compat.py $(ARGUMENTS)

# Processes that are killed, full disks, and other faults of machines, tried for real.
faults: $(INSTALLED)
	$(BIN)/pytest -m slow tests/faults

# The CPU kernels under ASan, UBSan, TSan and memcheck, and the core's tests under the first two.
sanitize: $(INSTALLED)
	.ci/sanitize full

# The instructions of each CPU kernel, compared with csrc/cpu/budget.json, or with RECORD=1 written there.
instructions: $(INSTALLED)
	.ci/instructions $(if $(RECORD),--record)

# Ten minutes of coverage-guided fuzzing, divided among the readers; READER=nifti takes one. What it finds is in build/fuzz.
fuzz-readers: $(INSTALLED)
	$(BIN)/pip install --quiet atheris
	$(BIN)/python tests/fuzz_readers/fuzz.py --seconds 600 $(READER)

bench: $(INSTALLED)
	$(BIN)/spuproj bench --out benchmarks/results --force

bench-check: $(INSTALLED)
	$(BIN)/pytest benchmarks --benchmark-disable -m "not slow"

lint: $(INSTALLED)
	$(BIN)/pre-commit run --all-files

# The documentation as a site, in build/site; a warning is an error.
docs: $(INSTALLED)
	$(BIN)/mkdocs build --config-file docs/site/mkdocs.yml

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.hpp')

wheel: $(INSTALLED)
	$(BIN)/pip wheel --no-deps --wheel-dir dist .

# nnU-Net comes without dependencies, since one of them, timm, asks for torchvision: nothing here imports that, and it fails
# unless it matches the build of torch.
$(VENV)/.packages: requirements.lock
	$(PYTHON) -m venv $(VENV)
	grep -vE '^(nnunetv2|dynamic-network-architectures|timm)==' requirements.lock > $(VENV)/with-dependencies
	$(BIN)/pip install --requirement $(VENV)/with-dependencies
	$(BIN)/pip install --no-deps --requirement requirements.lock
	touch $@

$(INSTALLED): $(VENV)/.packages $(SOURCES)
	$(BIN)/pip install --no-build-isolation --no-deps $(DEFINE).SPUPROJ_WERROR=$(if $(CI),ON,OFF) \
	  $(DEFINE).SPUPROJ_CUDA_HOST=ON --editable .
	touch $@

# CUDA packages are left out: they come with the builds of torch that need them. So is torchvision, see above.
lock: $(VENV)/.packages
	$(BIN)/pip install uv
	echo 'torch==2.13.0' | $(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 \
	  --constraint - --no-annotate --no-header --quiet --output-file build/requirements.all
	grep -vE '^(nvidia-|cuda-|torchvision)' build/requirements.all > requirements.lock

clean:
	rm -rf $(VENV) build dist demo bench
