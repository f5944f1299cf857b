/* @MARK: what the test bench asks of @TITLE. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#define BOARD_COUNTS "@COUNTS"

void board_put(char c);
void board_exit(int failed); /* ends the emulation */
uint64_t board_count(void);  /* @COUNTS since the start */

/* The deepest stack of what is called between the two, in bytes. */
void board_paint(void);
uint32_t board_stack(void);

#endif
