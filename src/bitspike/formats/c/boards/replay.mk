
EMULATOR = @EMULATOR
RUN = $(EMULATOR) @RUN
emulator = $(if $(shell command -v $(EMULATOR) 2>/dev/null),,$(error $(EMULATOR) was not found; on Debian: apt install @EMULATOR_PACKAGES))

# What the board prints decides, to its end and without a fault: not every emulator has an exit code for it.
qemu check: @NAME_test.elf
	$(emulator)@$(RUN) @NAME_test.elf > @NAME.log 2>&1 || true
	@tr -d '\r' < @NAME.log | sed -n 's|[.]$$||; s/^.*\(@NAME: \)/\1/p; s/^.*\(board: \)/\1/p'
	@grep -q '@NAME: all equal' @NAME.log && grep -q ' after them' @NAME.log && ! grep -q 'board: ' @NAME.log || \
		{ echo 'what @NAME.log holds is no proof; make stops' >&2; exit 1; }

@NAME_test.elf: @NAME_test.c @NAME.c start.c board.c @NAME.h @NAME_vectors.h board.h board.ld
	$(link) -DBOARD -D@UPPER_OBSERVER
