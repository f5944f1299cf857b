# @MARK: for @TITLE. @SAYS
CC = @COMPILER
SIZE = @SIZE
BOARD = @FLAGS
CFLAGS = -std=@STANDARD -Wall -Wextra@PEDANTIC -O2 -ffunction-sections -fdata-sections
LDFLAGS = @LINK-Wl,--gc-sections @SCRIPT

hash := \#
compiles := echo '$(hash)include <string.h>' | $(CC) $(BOARD) -x c -c -o /dev/null - 2>/dev/null
compiler = $(if $(shell $(compiles) && echo yes),,$(error $(CC) was not found, or has no C library; on Debian: apt install @COMPILER_PACKAGES))
link = $(compiler)$(CC) $(BOARD) $(CFLAGS) $(FLAGS) -o $@ $(filter %.c,$^) $(LDFLAGS)

footprint: @REPLAYsize

size: @NAME_firmware.elf
	@$(SIZE) @NAME_firmware.elf | awk 'NR == 2 {print "@NAME: " $$1 + $$2 " bytes of flash, " $$2 + $$3 " of RAM and the stack"}'

@NAME_firmware.elf: @NAME_firmware.c @NAME.c start.c board.c @NAME.h board.h board.ld
	$(link)

clean:
	rm -f @NAME_test.elf @NAME_firmware.elf @NAME.log

.PHONY: footprint size qemu check clean
