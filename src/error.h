/*
 * src/error.h
 *		SQLSTATE class PY, one line a condition.  Clients may rely on the code
 *		alone; docs/errors.md lists them all and ci/errcodes checks both lists.
 */
#ifndef PAY_ERROR_H
#define PAY_ERROR_H

#define PAY_SQLSTATE(a, b, c) MAKE_SQLSTATE('P', 'Y', a, b, c)

/* PY0: state */
#define PAY_ERR_NOT_SET_UP				PAY_SQLSTATE('0', '0', '1')
#define PAY_ERR_ILLEGAL_TRANSITION		PAY_SQLSTATE('0', '0', '2')
#define PAY_ERR_APPEND_ONLY				PAY_SQLSTATE('0', '0', '3')
#define PAY_ERR_BROKEN_CHAIN			PAY_SQLSTATE('0', '0', '4')
#define PAY_ERR_PAYMENT_NOT_FOUND		PAY_SQLSTATE('0', '0', '5')
#define PAY_ERR_WRONG_STATE				PAY_SQLSTATE('0', '0', '6')
#define PAY_ERR_AMOUNT_EXCEEDED			PAY_SQLSTATE('0', '0', '7')
#define PAY_ERR_OPERATION_IN_PROGRESS	PAY_SQLSTATE('0', '0', '8')
#define PAY_ERR_CARD_NUMBER				PAY_SQLSTATE('0', '0', '9')
#define PAY_ERR_MERCHANT_UNKNOWN		PAY_SQLSTATE('0', '1', '0')
#define PAY_ERR_CANNOT_WAIT				PAY_SQLSTATE('0', '1', '1')
#define PAY_ERR_GUARDED_DDL				PAY_SQLSTATE('0', '1', '2')
#define PAY_ERR_CURRENCY_UNKNOWN		PAY_SQLSTATE('0', '1', '3')
#define PAY_ERR_AMOUNT_INVALID			PAY_SQLSTATE('0', '1', '4')
#define PAY_ERR_EXISTS_DIFFERENT		PAY_SQLSTATE('0', '1', '5')
#define PAY_ERR_OPERATION_NOT_FOUND		PAY_SQLSTATE('0', '1', '6')

/* PY1: idempotency */
#define PAY_ERR_KEY_INVALID				PAY_SQLSTATE('1', '0', '1')
#define PAY_ERR_KEY_REUSED				PAY_SQLSTATE('1', '0', '2')

/* PY2: ledger */
#define PAY_ERR_CURRENCY_MISMATCH		PAY_SQLSTATE('2', '0', '1')
#define PAY_ERR_ACCOUNT_NOT_FOUND		PAY_SQLSTATE('2', '0', '2')
#define PAY_ERR_ACCOUNT_CLOSED			PAY_SQLSTATE('2', '0', '3')
#define PAY_ERR_LIMIT_EXCEEDED			PAY_SQLSTATE('2', '0', '4')
#define PAY_ERR_BALANCE_OVERFLOW		PAY_SQLSTATE('2', '0', '5')
#define PAY_ERR_POSTING_REUSED			PAY_SQLSTATE('2', '0', '6')
#define PAY_ERR_POSTING_RULE			PAY_SQLSTATE('2', '0', '7')
#define PAY_ERR_HOLD_NOT_FOUND			PAY_SQLSTATE('2', '0', '8')
#define PAY_ERR_HOLD_RESOLVED			PAY_SQLSTATE('2', '0', '9')
#define PAY_ERR_HOLD_EXPIRED			PAY_SQLSTATE('2', '1', '0')
#define PAY_ERR_ALREADY_REVERSED		PAY_SQLSTATE('2', '1', '1')
#define PAY_ERR_NOT_REVERSIBLE			PAY_SQLSTATE('2', '1', '2')
#define PAY_ERR_POSTING_NOT_FOUND		PAY_SQLSTATE('2', '1', '3')
#define PAY_ERR_HOLD_EXCEEDED			PAY_SQLSTATE('2', '1', '4')
#define PAY_ERR_LINKED_FAILED			PAY_SQLSTATE('2', '1', '5')
#define PAY_ERR_RETIRED					PAY_SQLSTATE('2', '1', '6')
#define PAY_ERR_NOT_RETIRABLE			PAY_SQLSTATE('2', '1', '7')
#define PAY_ERR_PERIOD_CLOSED			PAY_SQLSTATE('2', '1', '8')

/* PY3: queue */
#define PAY_ERR_DEAD_LETTER_NOT_FOUND	PAY_SQLSTATE('3', '0', '1')
#define PAY_ERR_LEASE_LOST				PAY_SQLSTATE('3', '0', '2')
#define PAY_ERR_DEAD_LETTER_DECIDED		PAY_SQLSTATE('3', '0', '3')
#define PAY_ERR_EXCEPTION_NOT_FOUND		PAY_SQLSTATE('3', '0', '4')

/* PY4: PSP and HTTP */
#define PAY_ERR_PSP_UNKNOWN				PAY_SQLSTATE('4', '0', '1')
#define PAY_ERR_ADAPTER_UNKNOWN			PAY_SQLSTATE('4', '0', '2')
#define PAY_ERR_SECRET_UNAVAILABLE		PAY_SQLSTATE('4', '0', '3')
#define PAY_ERR_ADDRESS_REFUSED			PAY_SQLSTATE('4', '0', '4')
#define PAY_ERR_NOT_ARMED				PAY_SQLSTATE('4', '0', '5')
#define PAY_ERR_PLAIN_HTTP				PAY_SQLSTATE('4', '0', '6')
#define PAY_ERR_NOT_SUPPORTED			PAY_SQLSTATE('4', '0', '7')
#define PAY_ERR_WORKER					PAY_SQLSTATE('4', '0', '8')
#define PAY_ERR_PSP_IN_USE				PAY_SQLSTATE('4', '0', '9')

/* PY5: webhook */
#define PAY_ERR_SIGNATURE				PAY_SQLSTATE('5', '0', '1')
#define PAY_ERR_TIMESTAMP				PAY_SQLSTATE('5', '0', '2')
#define PAY_ERR_WEBHOOK_MALFORMED		PAY_SQLSTATE('5', '0', '3')
#define PAY_ERR_WEBHOOK_TOO_LARGE		PAY_SQLSTATE('5', '0', '4')

/* PY6: reconciliation and scheduled jobs */
#define PAY_ERR_FORMAT_UNKNOWN			PAY_SQLSTATE('6', '0', '1')
#define PAY_ERR_FILE_BROKEN				PAY_SQLSTATE('6', '0', '2')
#define PAY_ERR_FILE_TOTALS				PAY_SQLSTATE('6', '0', '3')
#define PAY_ERR_FILE_IMPORTED			PAY_SQLSTATE('6', '0', '4')
#define PAY_ERR_NO_CRON					PAY_SQLSTATE('6', '0', '5')
#define PAY_ERR_JOB_UNKNOWN				PAY_SQLSTATE('6', '0', '6')
#define PAY_ERR_FINDING_NOT_FOUND		PAY_SQLSTATE('6', '0', '7')
#define PAY_ERR_FILE_TOO_LARGE			PAY_SQLSTATE('6', '0', '8')
#define PAY_ERR_DISCREPANCY_NOT_FOUND	PAY_SQLSTATE('6', '0', '9')
#define PAY_ERR_DISCREPANCY_STATE		PAY_SQLSTATE('6', '1', '0')
#define PAY_ERR_RUN_NOT_FOUND			PAY_SQLSTATE('6', '1', '1')
#define PAY_ERR_STATEMENT_OPEN			PAY_SQLSTATE('6', '2', '0')
#define PAY_ERR_STATEMENT_CHAIN			PAY_SQLSTATE('6', '2', '1')
#define PAY_ERR_STATEMENT_UNKNOWN		PAY_SQLSTATE('6', '2', '2')
#define PAY_ERR_STATEMENT_RETIRED		PAY_SQLSTATE('6', '2', '3')
#define PAY_ERR_STATEMENT_DIFFERS		PAY_SQLSTATE('6', '2', '4')
#define PAY_ERR_STATEMENT_EARLY			PAY_SQLSTATE('6', '2', '5')
#define PAY_ERR_CLOSE_TOO_EARLY			PAY_SQLSTATE('6', '3', '0')
#define PAY_ERR_CLOSE_ORDER				PAY_SQLSTATE('6', '3', '1')
#define PAY_ERR_CLOSE_NOT_FOUND			PAY_SQLSTATE('6', '3', '2')

#define PAY_ERR_FEED_UNKNOWN			PAY_SQLSTATE('6', '4', '0')
#define PAY_ERR_FEED_ENTRY_NOT_FOUND	PAY_SQLSTATE('6', '4', '1')

/* PY7: sealing */
#define PAY_ERR_SEAL					PAY_SQLSTATE('7', '0', '1')
#define PAY_ERR_ROW_NOT_FOUND			PAY_SQLSTATE('7', '0', '2')
#define PAY_ERR_NOT_SEALED				PAY_SQLSTATE('7', '0', '3')
#define PAY_ERR_SEAL_BROKEN				PAY_SQLSTATE('7', '0', '4')

/* PY9: internal contradiction */
#define PAY_ERR_INTERNAL				PAY_SQLSTATE('9', '0', '1')

#endif							/* PAY_ERROR_H */
