/* @MARK: the serial port and the counter of an AVR; avr-libc brings the start-up code. Timer 1 counts. */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

#include "board.h"

static volatile uint32_t wraps;

ISR(TIMER1_OVF_vect)
{
    wraps++;
}

__attribute__((constructor)) static void board_start(void)
{
    UCSR0B = _BV(TXEN0);
    TCCR1A = 0;
    TCCR1B = _BV(CS11) | _BV(CS10); /* one tick for 64 cycles */
    TIMSK1 = _BV(TOIE1);
    sei();
}

void board_put(char c)
{
    while ((UCSR0A & _BV(UDRE0)) == 0) continue;
    UDR0 = (uint8_t)c;
}

void board_exit(int failed)
{
    (void)failed; /* the output says it: an AVR has nobody to tell */
    while ((UCSR0A & _BV(UDRE0)) == 0) continue;
    cli();
    sleep_enable();
    for (;;) sleep_cpu(); /* nothing can wake it, which ends the emulation */
}

uint64_t board_count(void)
{
    uint32_t high;
    uint16_t low;
    cli();
    high = wraps;
    low = TCNT1;
    if (TIFR1 & _BV(TOV1)) { /* it passed 0 and the interrupt waits */
        high++;
        low = TCNT1;
    }
    sei();
    return ((uint64_t)high << 16 | low) * 64;
}
