# Crier. `make run` and `make test` are the two commands a newcomer needs; `make help` lists the rest.
#
#   make SAN=address|thread   builds everything with that sanitizer, in a folder of its own (build-address, build-thread)
#   make CC=clang             the other compiler (build-clang)

SAN    ?=
CC     := $(if $(filter default,$(origin CC)),gcc,$(CC))
# An empty BUILD, too, means the usual folder, and not the root of the file system.
ifeq ($(BUILD),)
BUILD  := build$(if $(SAN),-$(SAN))$(if $(findstring clang,$(CC)),-clang)
endif
VERSION := 0.1.0

# As many compilers as cores, unless the caller says otherwise.
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif

PKG    := libevent libevent_openssl openssl hiredis libjwt liburing zlib
MSGPACK = $(shell pkg-config --exists msgpack-c 2>/dev/null && echo msgpack-c || echo msgpack)
# Asked once, lazily: scripts/bootstrap may still have to install pkg-config and the libraries.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PKG) $(MSGPACK) 2>/dev/null))$(PKG_CFLAGS)
PKG_LIBS   = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKG) $(MSGPACK) 2>/dev/null) -linih -laio)$(PKG_LIBS)

WARN   := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wformat=2 -Wundef
WERROR ?= -Werror
# V=1 shows whole commands, otherwise a line says what is made.
Q      := $(if $(V),,@)
say     = $(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),,@printf '  %-5s %s\n' $(1) $(2))
OPT    ?= -O2
ifeq ($(SAN),address)
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DCRIER_DEBUG
OPT := -O1
endif
ifeq ($(SAN),thread)
SANFLAGS := -fsanitize=thread -fno-omit-frame-pointer -DCRIER_DEBUG
OPT := -O1
endif

# The binaries are optimised as a whole when they are linked: a message passes through a dozen small functions of as many
# files. Objects hold both forms, and unit tests are linked from the usual one. Not with sanitizers, not with clang.
ifeq ($(SAN)$(findstring clang,$(CC)),)
LTO      := -flto=auto -ffat-lto-objects
LTO_NONE := -fno-lto
endif

CFLAGS  ?= -g
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -DCRIER_VERSION='"$(VERSION)"' -I. -I$(BUILD)/gen $(OPT) $(LTO) $(CFLAGS) $(WARN) $(WERROR) \
             $(SANFLAGS) -pthread -MMD -MP $(PKG_CFLAGS)
ALL_LDFLAGS = $(LDFLAGS) $(SANFLAGS) -pthread -rdynamic
LIBS    = $(PKG_LIBS)
# The relay's alone: the broker has no use for an HTTP client.
RELAY_CFLAGS = $(eval RELAY_CFLAGS := $(shell pkg-config --cflags libcurl 2>/dev/null))$(RELAY_CFLAGS)
RELAY_LIBS   = $(eval RELAY_LIBS := $(shell pkg-config --libs libcurl libevent openssl hiredis 2>/dev/null) -linih)$(RELAY_LIBS)

# One library a layer; cmd/ folders are binaries. See docs/architecture.md for what may include what.
LAYERS := net store proto core
BINS   := crier crierctl crier-bench crier-relay
lib     = $(BUILD)/lib$(1).a
objs    = $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard $(1)/*.c)))

# A recipe that failed leaves no half-written file behind.
.DELETE_ON_ERROR:

.PHONY: all
all: deps $(foreach b,$(BINS),$(if $(wildcard cmd/$(b)/*.c),$(BUILD)/$(b)))

.PHONY: deps
deps:
	@scripts/bootstrap build

# ---- generated: the Redis function library and the web files become C arrays ----
# What only npm and editors read stays out.
WEB  := $(filter-out %.d.ts %/package.json,$(sort $(wildcard cmd/crier/web/*)))
$(BUILD)/gen/web_assets.c: $(WEB) scripts/embed
	@mkdir -p $(@D)
	$(Q)scripts/embed web $(WEB) > $@
$(BUILD)/gen/crier_lua.h: store/crier.lua scripts/embed
	@mkdir -p $(@D)
	$(Q)scripts/embed lua store/crier.lua > $@
$(BUILD)/gen/%.o: $(BUILD)/gen/%.c | deps
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@
$(call objs,store): | $(BUILD)/gen/crier_lua.h

# ---- the layers ----
$(BUILD)/%.o: %.c | deps
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

define LAYER
$(call lib,$(1)): $(call objs,$(1))
	@rm -f $$@
	$$(Q)$(AR) rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call LAYER,$(l))))

$(BUILD)/crier: $(call objs,cmd/crier) $(BUILD)/gen/web_assets.o $(foreach l,$(LAYERS),$(call lib,$(l)))
	$(call say,LINK,$@)
	$(Q)$(CC) $(OPT) $(LTO) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/crierctl: $(call objs,cmd/crierctl) $(call lib,proto) $(call lib,core)
	$(call say,LINK,$@)
	$(Q)$(CC) $(OPT) $(LTO) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/crier-bench: $(call objs,cmd/crier-bench) $(call lib,proto) $(call lib,core)
	$(call say,LINK,$@)
	$(Q)$(CC) $(OPT) $(LTO) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# The relay's parts are a library, too, for its unit tests.
$(BUILD)/cmd/crier-relay/%.o: ALL_CFLAGS += $(RELAY_CFLAGS)
$(call lib,relay): $(filter-out %/main.o,$(call objs,cmd/crier-relay))
	@rm -f $@
	$(Q)$(AR) rcs $@ $^
$(BUILD)/crier-relay: $(BUILD)/cmd/crier-relay/main.o $(foreach l,relay store proto core,$(call lib,$(l)))
	$(call say,LINK,$@)
	$(Q)$(CC) $(OPT) $(LTO) $(ALL_LDFLAGS) -o $@ $^ $(RELAY_LIBS)

# ---- unit tests: test/unit/<layer>/test_*.c, each a program of its own, linked with its layer and those below ----
below_core  := core
below_proto := proto core
below_store := store proto core
below_net   := net proto core
below_relay := relay store proto core
UNIT_SRC  := $(sort $(wildcard test/unit/*/test_*.c))
UNIT_BINS := $(patsubst test/unit/%.c,$(BUILD)/unit/%,$(UNIT_SRC))
define UNIT
$(BUILD)/unit/$(1)/%: test/unit/$(1)/%.c $(foreach l,$(below_$(1)),$(call lib,$(l)))
	@mkdir -p $$(@D)
	$$(call say,TEST,$$<)
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(LTO_NONE) -Itest/unit $$(ALL_LDFLAGS) -o $$@ $$< $(foreach l,$(below_$(1)),$(call lib,$(l))) $$(LIBS) -lcmocka
endef
$(foreach l,$(LAYERS) relay,$(eval $(call UNIT,$(l))))
$(BUILD)/unit/relay/%: LIBS = $(RELAY_LIBS)

# Tests that make allocations fail: the linker sends the layers' own calls through the test.
$(BUILD)/unit/core/test_alloc: ALL_LDFLAGS += $(foreach f,malloc calloc realloc aligned_alloc free,-Wl,--wrap=$(f))

.PHONY: unit-bins
unit-bins: $(UNIT_BINS)

# ---- fuzz targets: test/fuzz/fuzz_*.c (clang, libFuzzer); corpora in test/fuzz/corpus/<name> ----
FUZZ_SRC := $(sort $(wildcard test/fuzz/fuzz_*.c))
FUZZ_BINS := $(patsubst test/fuzz/%.c,build-fuzz/%,$(FUZZ_SRC))
FUZZ_CFLAGS = -std=c11 -D_GNU_SOURCE -I. -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined $(PKG_CFLAGS)
build-fuzz/%: test/fuzz/%.c $(wildcard proto/*.c core/*.c proto/*.h core/*.h)
	@mkdir -p $(@D)
	$(call say,FUZZ,$<)
	$(Q)clang $(FUZZ_CFLAGS) -o $@ $< $(FUZZ_MORE) $(wildcard proto/*.c core/*.c) $(PKG_LIBS)
build-fuzz/fuzz_answer: FUZZ_MORE := cmd/crier-relay/answer.c cmd/crier-relay/outcome.c
build-fuzz/fuzz_answer: $(wildcard cmd/crier-relay/answer.[ch] cmd/crier-relay/outcome.[ch])
.PHONY: fuzz-bins
fuzz-bins: $(FUZZ_BINS)

# ---- what people call ----
.PHONY: install uninstall man
PREFIX     ?= /usr/local
DESTDIR    ?=
SYSCONFDIR ?= $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)
DATADIR    := $(PREFIX)/share
INSTALLED  := $(foreach b,$(BINS),$(PREFIX)/bin/$(b)) $(DATADIR)/man/man1/crierctl.1 $(DATADIR)/man/man8/crier.8 \
              $(DATADIR)/man/man8/crier-relay.8 $(DATADIR)/bash-completion/completions/crierctl \
              $(DATADIR)/zsh/site-functions/_crierctl
# A configuration that is there already is left as it is.
install: all ## programs, man pages, completion, example configurations: PREFIX (/usr/local), DESTDIR, SYSCONFDIR
	install -d $(sort $(dir $(addprefix $(DESTDIR),$(INSTALLED)))) $(DESTDIR)$(SYSCONFDIR)/crier
	install -m 755 $(addprefix $(BUILD)/,$(BINS)) $(DESTDIR)$(PREFIX)/bin
	install -m 644 docs/man/crierctl.1 $(DESTDIR)$(DATADIR)/man/man1
	install -m 644 docs/man/crier.8 docs/man/crier-relay.8 $(DESTDIR)$(DATADIR)/man/man8
	$(BUILD)/crierctl completion bash > $(DESTDIR)$(DATADIR)/bash-completion/completions/crierctl
	$(BUILD)/crierctl completion zsh > $(DESTDIR)$(DATADIR)/zsh/site-functions/_crierctl
	[ -e $(DESTDIR)$(SYSCONFDIR)/crier/crier.conf ] || \
	    install -m 640 docs/crier.conf.example $(DESTDIR)$(SYSCONFDIR)/crier/crier.conf
	[ -e $(DESTDIR)$(SYSCONFDIR)/crier/relay.conf ] || \
	    install -m 640 docs/relay.conf.example $(DESTDIR)$(SYSCONFDIR)/crier/relay.conf
uninstall: ## takes away what `make install` put there, but the configuration
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
man: all ## docs/man/ anew from the programs' --help
	BUILD=$(BUILD) scripts/man

.PHONY: run cluster test check check-unit check-integration check-asan check-tsan chaos proof fuzz lint bench bench-degradation scale format clean help
run: all ## one broker with the embedded store, --dev, on loopback
	@scripts/run
cluster: ## a private redis-server, three brokers and haproxy on loopback; Ctrl-C ends all of it
	@scripts/bootstrap cluster
	@$(MAKE) --no-print-directory all
	@scripts/cluster
test: ## everything: installs what the tests need, builds, ends with "N passed, N failed, N skipped"
	@scripts/bootstrap test
	@scripts/test all
check-unit: ## unit tests alone (SAN=address, SAN=thread for the sanitizers)
	@scripts/test unit
check-integration: ## integration tests alone
	@scripts/test integration
check-asan: ## unit and integration tests on an AddressSanitizer + UBSan build
	@scripts/test asan
check-tsan: ## the same on a ThreadSanitizer build
	@scripts/test tsan
chaos: ## brokers, Redis and links killed for SECONDS (default 60) by the schedule of SEED; see docs/testing.md
	@scripts/bootstrap test
	@$(MAKE) --no-print-directory all
	@scripts/chaos
proof: ## the long proofs: TIMES (default 10) times the counts of proof.test.mjs; see docs/testing.md
	@scripts/bootstrap test
	@$(MAKE) --no-print-directory all
	@CRIER_BIN=$(BUILD)/crier CRIER_PROOF=$(or $(TIMES),10) node test/integration/run.mjs test/integration/proof.test.mjs
fuzz: ## every fuzz target for SECONDS (default 5) each
	@scripts/test fuzz
lint: ## format, layers, sizes, banned calls, documented options, warnings on gcc and clang
	@scripts/test lint
bench: ## the figures of docs/performance.md, nchan beside them
	@scripts/bootstrap bench
	@$(MAKE) --no-print-directory all
	@scripts/bench
bench-degradation: ## whether a delivery costs more with more shards, more rooms, after a million connects; fails when it does
	@scripts/bootstrap bench
	@$(MAKE) --no-print-directory all
	@scripts/degradation
scale: ## 20 brokers on one Redis, 15,000 connections each: the run of docs/scaling.md
	@scripts/bootstrap bench
	@$(MAKE) --no-print-directory all
	@scripts/scale
format: ## clang-format over all C files
	clang-format -i $$(git ls-files '*.c' '*.h')
clean: ## removes what was built
	rm -rf build build-*
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 28

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.SECONDARY:
