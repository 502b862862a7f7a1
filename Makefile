# SPDX-License-Identifier: Apache-2.0
# make help says what there is. Whatever is missing is installed first, once.

CLANG      ?= clang-19
LLVM_STRIP ?= llvm-strip-19
MULTIARCH  ?= $(shell uname -m)-linux-gnu
# run by `make test`: TESTS=tests/unit PYTEST_ARGS="-x -k name" narrow it
TESTS       = $(wildcard tests/interop tests/system tests/datapath tests/unit)
PYTEST_ARGS =
# tests that run beside each other; PYTEST_ARGS=-n0 for none (--pdb)
WORKERS     = 4
SOAK_ARGS   =
BENCH_ARGS  =
COVERAGE_ARGS =
IMAGE_BASE  = $(shell . /etc/os-release && echo "$$ID:$$VERSION_ID")

BIN    := .venv/bin
SETUP  := packaging/setup.sh
# what runs as root through sudo leaves no root's file behind, not even when it fails
OWN    := trap '$(SETUP) own' EXIT;
LINT   := $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/mypy -p bench -p tests
OBJECT := src/vrouter/dpcore/vrouter.bpf.o
BPF_SOURCES := $(wildcard bpf/*.c bpf/*.h bpf/vendor/*.h bpf/vendor/bpf/*.h)
# callbacks of bpf_loop take what they are given
BPF_FLAGS := -g -O2 -Wall -Wextra -Wno-unused-parameter -Werror -target bpf -mcpu=v3 \
	-Ibpf -Ibpf/vendor -I/usr/include/$(MULTIARCH)

export CLANG LLVM_STRIP
# the tests start hundreds of commands: none of them compiles all of src/ anew
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test soak coverage bench bpf install lint clean distclean setup root deb image

help:
	@echo "make demo     two hosts, one overlay, in namespaces of this machine (root)"
	@echo "make test     all tests (root); TESTS=tests/unit PYTEST_ARGS='-k name' narrow it"
	@echo "make soak     the long tests: a million mutations, seeded bugs (root)"
	@echo "make coverage which branches of the programs no test reaches (root)"
	@echo "make bench    speed, side by side with the kernel's own forwarding (root)"
	@echo "make install  vrouter and its tools into .venv/bin"
	@echo "make deb      a Debian package into dist/"
	@echo "make image    an image of that package, by podman (packaging/Containerfile)"
	@echo "make bpf      compile bpf/ to $(OBJECT)"
	@echo "make lint     formatter, linter, type checker"
	@echo "make clean    remove what was built; make distclean: .venv too"

root:
	@[ "$$(id -u)" = 0 ] || { echo "this makes network namespaces: run it as root (sudo make ...)" >&2; exit 1; }

setup:
	@$(OWN) $(SETUP) packages && $(SETUP) venv

bpf: setup
	@$(OWN) $(MAKE) --no-print-directory $(OBJECT)

$(OBJECT): $(BPF_SOURCES)
	@mkdir -p build
	$(CLANG) $(BPF_FLAGS) -c bpf/vrouter.bpf.c -o build/vrouter.bpf.o
	$(LLVM_STRIP) -g build/vrouter.bpf.o -o build/vrouter.stripped.o
	@mv build/vrouter.stripped.o $@

install: bpf
	@$(OWN) mkdir -p .venv/share/man/man1 .venv/share/bash-completion/completions && \
		cp src/vrouter/data/man/*.1 .venv/share/man/man1/ && \
		cp src/vrouter/data/completion/* .venv/share/bash-completion/completions/
	@echo "installed: $(CURDIR)/$(BIN)/vrouter, vif, nh, rt, mpls, vxlan, mirror, qosmap, dropstats, vrfstats," \
		"vrinfo, vrmemstats, vrouter-port-control, vrouter-cni"

deb: install
	@$(OWN) packaging/debian/build.sh

# IMAGE_BASE: the distribution that the package is made for, by a name that podman completes
image: deb
	@podman build -f packaging/Containerfile -t vrouter --build-arg "BASE=$(IMAGE_BASE)" \
		--build-arg "PACKAGE=$$(ls -t dist/vrouter_*.deb | head -1)" .

demo: root bpf
	@$(OWN) $(BIN)/vrouter lab demo

lint: setup
	@$(OWN) $(LINT)

test: root bpf
	@$(SETUP) test_packages
	@$(OWN) tests/run.sh $(WORKERS) "$(LINT)" $(TESTS) $(PYTEST_ARGS)

soak: root bpf
	@$(SETUP) test_packages
	@$(OWN) $(BIN)/pytest -m soak tests $(SOAK_ARGS)

# which branches of bpf/ no test reaches: docs/reference/coverage.md
coverage: root bpf
	@$(SETUP) test_packages
	@$(OWN) $(BIN)/python -m tests.coverage $(COVERAGE_ARGS)

bench: root bpf
	@$(OWN) $(BIN)/python bench/run.py $(BENCH_ARGS)

clean:
	rm -rf build dist $(OBJECT) .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf .venv
