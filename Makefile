# The jobs by name; meson builds.  Pieces: tools/setup installs what is missing,
# tools/check knows the compilers and sanitizers.

build = build
bench = build-bench
python = $(or $(PYTHON),/usr/bin/python3)

.PHONY: all demo test conformance never-hang bench bench-python bench-deps compat check install format clean
.PHONY: check-aarch64 kill kill-quick kill-pairs kill-selftest fault fuzz verify cov
.PHONY: soak soak-selftest leakcheck bench-recovery

all: $(build)/build.ninja
	@meson compile -C $(build)

# PYTHON=/some/python3.12, when build is new: the Python face for that one
$(build)/build.ninja $(bench)/build.ninja:
	@tools/setup build
	@meson setup $(@D) $(if $(filter $(bench),$(@D)),--buildtype=release) \
		$(if $(PYTHON),-Dpython=$(PYTHON))

# DIR=/some/directory: hash that one
demo: all
	@tools/demo $(build) $(python) $(if $(DIR),"$(DIR)")

test: all
	@tools/run_tests $(build)

# PYTHON=...: for that interpreter alone; SUITE=fork: that part of it
conformance:
	@tools/setup build conformance
	@tests/python/conformance/run.py $(if $(SUITE),--suite $(SUITE)) $(PYTHON)

# what hangs, and what not: the stdlib beside piu.  ONLY=Barrier: those rows
never-hang: all
	@PYTHONPATH=$(abspath $(build))/python $(python) tests/python/never_hang/table.py $(if $(ONLY),--only $(ONLY))

# other people's libraries, by the stdlib and by piu, in an environment of their own in build;
# torch, which is large, is yours to add: build/compat-env/bin/pip install torch
compat: all
	@tools/setup build compat
	@tools/python_env $(build)/compat-env $(python) numpy joblib scikit-learn mpire pebble \
		tqdm coverage pytest-xdist
	@PYTHONPATH=$(CURDIR)/$(build)/python tests/python/compat/run.py \
		$(build)/compat-env/bin/python $(ONLY)

# SIGKILL at every instruction: docs/design/proof.md.  ONLY=lock: of that structure; SECONDS=60
kill: all
	@$(build)/tests/step/kill $(if $(SECONDS),--seconds $(SECONDS)) $(ONLY)

kill-quick: all
	@$(build)/tests/step/kill --quick $(ONLY)

kill-pairs: all
	@$(build)/tests/step/kill --pairs $(if $(SECONDS),--seconds $(SECONDS)) $(ONLY)

kill-selftest: all
	@$(build)/tests/step/kill --selftest $(ONLY)

# each call fails once: docs/design/fault.md.  ONLY=pool: in that part
fault: all
	@r=0; for part in $(or $(ONLY),family sync queue process exec zygote pool); do \
		$(build)/tests/fault/fault --whole $$part || r=1; done; exit $$r

# everything at once under random kills: docs/design/soak.md.  SEED=7; ONLY=queue
soak: all
	@$(build)/tests/soak/soak --minutes $(or $(MINUTES),5) \
		$(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

# the soak finds what is broken on purpose
soak-selftest:
	@tools/setup build
	@tests/soak/broken

# families whose parent is killed, one after the other
leakcheck: all
	@$(build)/tests/soak/leakcheck --families $(or $(FAMILIES),10000) \
		$(if $(SEED),--seed $(SEED))

# memory that somebody wrote over: docs/design/fuzz.md.  SECONDS=600: for longer
fuzz:
	@tools/setup build fuzz
	@tools/fuzz $(or $(SECONDS),60)

# every state of small models, and ThreadSanitizer: docs/design/model.md
verify:
	@tools/setup build check verify
	@tools/verify

# which lines and branches the C tests reach: docs/design/coverage.md.  ONLY=lock: that test
cov:
	@tools/setup build cov
	@tools/cov $(ONLY)

bench: $(bench)/build.ninja
	@meson compile -C $(bench)
	@$(bench)/bench/bench --json $(bench)/bench.json

# from a kill to the survivors going on.  ONLY="getter, small": that row
bench-recovery: $(bench)/build.ninja
	@meson compile -C $(bench)
	@$(bench)/bench/recovery --json $(bench)/bench-recovery.json \
		$(if $(ONLY),--only "$(ONLY)")

# ONLY=queue: the rows whose part or name contains that
bench-python: $(bench)/build.ninja
	@meson compile -C $(bench)
	@env=$(bench)/env/bin/python; [ -x $$env ] || env=$(python); \
		PYTHONPATH=$(bench)/python $$env bench/python/run.py \
		--only "$(ONLY)" --json $(bench)/bench-python.json

# the libraries that the benchmarks compare with; Python's in an environment in build-bench
bench-deps: $(bench)/build.ninja
	@tools/setup build bench
	@tools/python_env $(bench)/env $(python) numpy joblib billiard multiprocess \
		faster-fifo mpire pebble

check:
	@tools/setup build check
	@tools/check format layers gcc clang asan tsan

check-aarch64:
	@tools/setup build aarch64
	@tools/check aarch64

# DESTDIR=/some/directory: install below that one; another prefix: meson configure build
install: all
	@meson install -C $(build) --no-rebuild

format:
	@tools/check --fix format

clean:
	@rm -rf build build-*
