/* @MARK: starts a Cortex-M. A debugger or emulator that offers semihosting shows what is printed; SysTick counts. */
#include "board.h"

extern uint32_t board_data[], board_data_end[], board_data_flash[], board_bss[], board_bss_end[], board_stack_top[];
int main(void);

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define SYSTICK_CONTROL REGISTER(0xe000e010)
#define SYSTICK_RELOAD REGISTER(0xe000e014)
#define SYSTICK_VALUE REGISTER(0xe000e018)
#define PENDING REGISTER(0xe000ed04)
#define SYSTICK_PENDING ((uint32_t)1 << 26)

/* Semihosting: an operation in r0 and what it is about in r1; the host answers the breakpoint. */
static void ask_host(uint32_t operation, uintptr_t about)
{
    register uint32_t r0 __asm__("r0") = operation;
    register uintptr_t r1 __asm__("r1") = about;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void board_put(char c)
{
    ask_host(0x03, (uintptr_t)&c); /* SYS_WRITEC */
}

void board_exit(int failed)
{
    ask_host(0x18, failed ? 0x20023 : 0x20026); /* SYS_EXIT: run-time error, or application exit */
    for (;;) continue;
}

static volatile uint32_t wraps;

static void wrapped(void)
{
    wraps++;
}

uint64_t board_count(void)
{
    uint32_t high, low;
    __asm__ volatile("cpsid i" ::: "memory");
    high = wraps;
    low = SYSTICK_VALUE;
    if (PENDING & SYSTICK_PENDING) { /* it passed 0 and the interrupt waits */
        high++;
        low = SYSTICK_VALUE;
    }
    __asm__ volatile("cpsie i" ::: "memory");
    return (((uint64_t)high << 24) + ((0x1000000 - low) & 0xffffff)) * @TICK_TIMES / @TICK_PER;
}

void board_start(void)
{
    uint32_t *to;
    const uint32_t *from = board_data_flash;
    for (to = board_data; to < board_data_end; to++) *to = *from++;
    for (to = board_bss; to < board_bss_end; to++) *to = 0;
    SYSTICK_RELOAD = 0xffffff;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 7; /* on, with interrupts, at the clock of the processor */
    board_exit(main());
}

static void fault(void)
{
    const char *text = "board: the processor reports a fault\n";
    while (*text) board_put(*text++);
    board_exit(1);
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const handler vectors[16] = {
    (handler)(uintptr_t)board_stack_top, board_start, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
    fault, fault, fault, wrapped,
};
