/* @MARK: starts a RISC-V of 32 bits with the serial port and the switch of QEMU's board `virt`; minstret counts. */
#include "board.h"

extern uint32_t board_data[], board_data_end[], board_data_flash[], board_bss[], board_bss_end[];
int main(void);
void board_start(void);
void board_fault(void);

#define SERIAL_SEND (*(volatile uint8_t *)0x10000000)
#define SERIAL_STATUS (*(volatile uint8_t *)0x10000005)
#define SWITCH (*(volatile uint32_t *)0x00100000)

__asm__(".option arch, +zicsr\n" /* the counters; the library knows the processor without */
        ".pushsection .vectors, \"ax\"\n"
        ".globl board_reset\n"
        "board_reset:\n"
        "    la sp, board_stack_top\n"
        "    la t0, board_fault\n"
        "    csrw mtvec, t0\n"
        "    j board_start\n"
        ".popsection\n");

void board_put(char c)
{
    while ((SERIAL_STATUS & 0x20) == 0) continue;
    SERIAL_SEND = (uint8_t)c;
}

void board_exit(int failed)
{
    SWITCH = failed ? 0x13333 : 0x5555;
    for (;;) continue;
}

uint64_t board_count(void)
{
    uint32_t high, low, again;
    do __asm__ volatile(".option arch, +zicsr\n\tcsrr %0, minstreth\n\tcsrr %1, minstret\n\tcsrr %2, minstreth" : "=r"(high), "=r"(low), "=r"(again));
    while (high != again);
    return (uint64_t)high << 32 | low;
}

void board_start(void)
{
    uint32_t *to;
    const uint32_t *from = board_data_flash;
    for (to = board_data; to < board_data_end; to++) *to = *from++;
    for (to = board_bss; to < board_bss_end; to++) *to = 0;
    board_exit(main());
}

__attribute__((aligned(4))) void board_fault(void)
{
    const char *text = "board: the processor reports a fault\n";
    while (*text) board_put(*text++);
    board_exit(1);
}
