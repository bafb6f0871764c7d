# Everything a checkout needs. `make` alone says what there is.
.DEFAULT_GOAL := help
BIN := .venv/bin
# Where a machine forbids it, each process compiles all of its modules: 5 s instead of 2 s a start.
unexport PYTHONDONTWRITEBYTECODE
# FORCE=1: the demo and the benchmark may replace files that they did not write.
FORCED := $(if $(FORCE),--force)
# The networks' libraries (torch …) are only for the whole test suite; mypy takes them as Any.
MODELS := $(if $(wildcard requirements/models.txt),models)

.PHONY: help
help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## fill .venv with what the service, the demo and the tests need
	@scripts/setup.sh dev

.PHONY: setup-all
setup-all: ## the same, and the libraries of the networks (for make test)
	@scripts/setup.sh dev $(MODELS)

.PHONY: livekit-server
livekit-server: ## get a LiveKit server, or say how
	@scripts/livekit-server.sh

.PHONY: people
people: ## build the receivers of the benchmarks with Go, where there is Go
	@scripts/people.sh >/dev/null || echo "The benchmarks use LiveKit's SDK instead."

.PHONY: demo
demo: setup livekit-server ## an avatar speaks in a room, recorded to demo.mp4 (KEEP=1 stays up, SECONDS=30)
	@$(BIN)/voipavatar demo $(if $(KEEP),--keep) $(if $(SECONDS),--seconds $(SECONDS)) $(FORCED)

.PHONY: test
test: setup-all livekit-server people ## all tests, part by part, on a real LiveKit server and both databases (ARGS=…, COVERAGE=1)
	@$(BIN)/pytest --durations=10 --durations-min=1 $(if $(COVERAGE),--cov --cov-report=) $(ARGS)

.PHONY: test-fast
test-fast: setup ## the tests without Go, torch, Postgres or a LiveKit server: a minute (ARGS=…)
	@$(BIN)/pytest --fast $(ARGS)

.PHONY: check
check: setup ## format, lint, types, import contracts, migrations, house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	scripts/check_migrations.sh
	$(BIN)/python scripts/check_house_rules.py

.PHONY: bench
bench: setup livekit-server people ## four sessions, measured for a minute: bench.html (ARGS="-n 8 --find-max")
	@$(BIN)/voipavatar bench sessions --html bench.html --json bench.json $(FORCED) $(or $(ARGS),-n 4 --seconds 60)

.PHONY: conformance
conformance: setup livekit-server ## the real livekit-agents against the service (ARGS="--short", "--api-url …")
	@$(BIN)/voipavatar conformance $(ARGS)

.PHONY: clean
clean: ## remove the environment and every cache; data/ and models/ stay
	rm -rf .venv .tools .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis
	rm -f demo.mp4 demo.json bench.html bench.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
