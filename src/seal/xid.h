/*
 * src/seal/xid.h
 *		Which transaction wrote a row, in numbers that outlive this cluster.
 */
#ifndef PAY_SEAL_XID_H
#define PAY_SEAL_XID_H

/*
 * Every transaction that wrote, or will write, a smaller number than this has
 * ended, and the statements from here on see its rows if it committed.  Call
 * between pay_spi_begin() and pay_spi_end().
 */
extern uint64 pay_seal_horizon(void);

#endif							/* PAY_SEAL_XID_H */
