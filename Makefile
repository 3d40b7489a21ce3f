# The two commands of a newcomer are `make demo` and `make test`; both set up what they need.
# `make help` lists the rest.

PYTHON := .venv/bin/python
# The header and the tests of the C crate name one build of the library.
CARGO ?= cargo

.PHONY: help demo test lint test-rust test-valkey test-c test-python wheel header \
	bench bench-l1 bench-hitratio bench-l2 bench-l3 bench-origin bench-python simulate fuzz flood fuzz-store fuzz-reply fuzz-envelope sanitize model torture torture-l2 torture-l3 clean

help: ## Lists the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: ## Sets up, then shows the cache at work on a real trace (about a minute)
	@scripts/setup.sh build
	$(CARGO) build --release --quiet -p tierce-cli
	target/release/tierce demo

test: ## Sets up, then runs every check and test
	@scripts/setup.sh test
	$(MAKE) --no-print-directory lint test-rust test-c test-python
	@echo 'make test: all green'

lint: ## Formatting and lints, as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	for features in '' msgpack redis shared shared,redis redis,lz4 webhooks otel sim; do \
		$(CARGO) clippy -p tierce --no-default-features --features "$$features" --quiet -- -D warnings || exit; \
	done
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc -p tierce --features full --no-deps --quiet
	@crates=$$($(CARGO) tree -p tierce --no-default-features -e normal --prefix none | sort -u | wc -l); \
		[ "$$crates" -lt 15 ] || { echo "a bare L1 pulls in $$crates crates: at most 14"; exit 1; }

test-rust: ## Rust tests, documentation examples included
	$(CARGO) test --quiet -p tierce --all-features
	$(CARGO) test --quiet -p tierce-capi -p tierce-cli -p tierce-trace -p tierce-tests -p tierce-fuzz
	$(CARGO) test --quiet -p tierce --no-default-features --lib

test-valkey: ## The tests of L3 on Valkey in the place of Redis, which is had from Debian (minutes)
	scripts/valkey.sh $(CARGO) test --quiet -p tierce --all-features --lib
	scripts/valkey.sh $(CARGO) test --quiet -p tierce-tests --no-fail-fast

test-c: ## The C program and the header, by gcc and clang
	tests/c/run.sh

wheel: ## Builds and installs the Python package into .venv
	@scripts/setup.sh test
	$(PYTHON) -m pip install --quiet --disable-pip-version-check .

test-python: wheel ## Python tests, type checks and lints
	$(PYTHON) -m ruff check python tests/python benches/python
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy.stubtest tierce --allowlist tests/python/stubtest-allowlist.txt
	$(PYTHON) -m pytest -q tests/python

header: ## Writes include/tierce.h anew from the C crate
	TIERCE_BLESS=1 $(CARGO) test --quiet -p tierce-capi --test header

bench: bench-l1 bench-hitratio bench-l2 bench-l3 bench-origin bench-python ## All benchmarks; results go to benches/results

bench-l1: ## L1 against quick_cache, moka, foyer and scc: speed, memory, slowest calls
	$(CARGO) run --release --quiet -p tierce-benches --bin bench-l1

bench-hitratio: ## Hit ratios on real traces, against the field and OPT (minutes)
	$(CARGO) run --release --quiet -p tierce-benches --bin bench-hitratio

bench-l2: ## L2 against LMDB, redb, fjall, SQLite, foyer and plain memory (minutes)
	$(CARGO) run --release --quiet -p tierce-benches --bin bench-l2

bench-l3: wheel ## L3 against redis-rs, fred, hiredis and redis-py, on a real redis-server (minutes)
	@scripts/setup.sh rivals
	$(CARGO) run --release --quiet -p tierce-benches --bin bench-l3

bench-origin: ## What callers see of an origin of 464 ms that fails 30 % of the time (4 minutes)
	$(CARGO) run --release --quiet -p tierce-benches --bin bench-origin

bench-python: wheel ## Python hits against functools.lru_cache and cachebox
	$(PYTHON) -m pytest -q benches/python --benchmark-only --benchmark-json=target/bench-python.json
	$(PYTHON) benches/python/report.py target/bench-python.json

fuzz: ## Ten million random operations on L1 and a plain model of it (about a minute)
	$(CARGO) run --profile fuzz --quiet -p tierce-fuzz --bin fuzz -- 10000000

flood: ## A million keys each that are chosen to collide, counted in looks of L1 (a minute)
	TIERCE_FLOOD_KEYS=1000000 $(CARGO) test --profile fuzz --quiet -p tierce --lib \
		memory::tests::flood -- --nocapture

fuzz-store: ## Two million random operations on store files with random damage (minutes)
	$(CARGO) run --profile fuzz --quiet -p tierce-fuzz --bin fuzz-store -- 2000000

fuzz-reply: ## Five million replies of a server, whole and damaged, in pieces (about a minute)
	$(CARGO) run --profile fuzz --quiet -p tierce-fuzz --bin fuzz-reply -- 5000000

fuzz-envelope: ## Twenty million records of L3, sound, damaged and forged (minutes)
	$(CARGO) run --profile fuzz --quiet -p tierce-fuzz --bin fuzz-envelope -- 20000000

simulate: ## A million histories of the cache under simulated faults (an hour)
	TIERCE_SIM_HISTORIES=1000000 $(CARGO) test --profile fuzz --quiet -p tierce --features sim --lib \
		sim::tests::histories -- --nocapture

sanitize: ## The tests of reads without a lock under ASan and TSan (minutes)
	scripts/sanitize.sh address
	scripts/sanitize.sh thread

model: ## The protocols of threads, in every interleaving, by loom (minutes)
	$(CARGO) test --release --quiet -p tierce-tests --test stamps_model --test tags_model \
		--test epoch_model --test index_model --test lock_model --test tally_model \
		--test loads_model --test flight_model

torture-l3: ## Two hosts, cut cables, killed processes and servers for three minutes
	TIERCE_TORTURE_SECONDS=120 $(CARGO) test --release -p tierce-tests --test host_storm -- --nocapture
	TIERCE_HOSTS_SECONDS=60 $(CARGO) test --release -p tierce-tests --test hosts -- --nocapture

torture: torture-l2 torture-l3 ## Both, then the kill storm through all tiers for ten minutes
	TIERCE_TORTURE_SECONDS=600 $(CARGO) test --release -p tierce-tests --test kill_storm

torture-l2: ## L2 for a quarter of an hour: kills, 10^5 flips, power cuts, all sizes mixed, 1,000 forks
	TIERCE_TORTURE_SECONDS=240 $(CARGO) test --release -p tierce --all-features --test store_kill_storm
	TIERCE_TORTURE_SECONDS=30 $(CARGO) test --release -p tierce --all-features --test store_kill_steps
	TIERCE_TORTURE_SECONDS=30 $(CARGO) test --release -p tierce --all-features --test store_kill_resize
	TIERCE_FLIPS=100000 $(CARGO) test --release -p tierce --all-features --test store_damage --test store_truncated
	TIERCE_POWER_CUTS=1000 $(CARGO) test --release -p tierce --all-features --test store_power
	TIERCE_SOAK_SECONDS=60 $(CARGO) test --release -p tierce --all-features --test store_soak
	TIERCE_FORKS=1000 $(CARGO) test --release -p tierce --all-features --test store_fork

clean: ## Removes what was built
	$(CARGO) clean
	rm -rf .venv
