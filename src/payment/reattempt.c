/*
 * src/payment/reattempt.c
 *		How often the networks allow a declined card to be tried again.
 *
 * What counts is an issuer's word about a card: that a call was lost, or that
 * the PSP was out of order, is never held against one.  A retry that is granted
 * counts as soon as it is, not when it is declined, so that two payments never
 * take the last one.  Counting goes under the lock of the card's row; whoever
 * holds that holds his payments' locks already and waits for no other payment.
 *
 * A card is known by a digest of its token and its customer, with the salt of
 * this installation: it says nothing to whoever reads it.
 */
#include "payments.h"

#include "payment/reattempt.h"

#include "base/digest.h"
#include "core/installation.h"
#include "core/spi.h"
#include "payment/apply_private.h"

#include "utils/timestamp.h"

static void fingerprint(const PayPayment *payment, uint8 hash[PAY_HASH_BYTES]);
static void keep(const PayPayments *set, const PayPayment *payment, const PayOperation *operation, int generation,
				 const char *event, const char *code, const char *category, const char *rule);
static const char *category_of(const PayPayment *payment, const PayResult *result);

static PayStmt find_category = PAY_STMT(SPI_OK_SELECT,
	"SELECT category FROM payments.reattempt_code WHERE adapter = $1 AND code = ANY ($2) "
	"ORDER BY array_position($2, code), builtin LIMIT 1", TEXTOID, TEXTARRAYOID);

static PayStmt insert_event = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.reattempt (operation_id, generation, event, payment_id, merchant, fingerprint, amount, currency, "
	" code, category, rule, recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
	UUIDOID, INT4OID, TEXTOID, UUIDOID, TEXTOID, BYTEAOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);

/* In an older snapshot this fails, where counting would overlook what was granted since. */
static PayStmt lock_card = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.reattempt_card AS c (fingerprint, asked, asked_at) VALUES ($1, 1, $2) "
	"ON CONFLICT (fingerprint) DO UPDATE SET asked = c.asked + 1, asked_at = excluded.asked_at", BYTEAOID, TIMESTAMPTZOID);

/* Of which network the card is nobody has told us: the strictest of all rules holds. */
static PayStmt find_rule = PAY_STMT(SPI_OK_SELECT,
	"WITH rule AS (SELECT DISTINCT ON (l.rule) * FROM payments.reattempt_limit l ORDER BY l.rule, l.builtin) "
	"SELECT l.rule, n.tries::int, l.within::text FROM rule l, "
	" LATERAL (SELECT count(DISTINCT (r.operation_id, r.generation)) AS tries FROM payments.reattempt r "
	"  WHERE r.fingerprint = $1 AND r.merchant = $2 AND r.recorded_at > $5::timestamptz - l.within "
	"  AND CASE WHEN r.event = 'declined' THEN l.category IN ('*', r.category) AND r.category <> 'not_card' "
	"   ELSE r.event = 'granted' AND l.category = '*' END "
	"  AND (l.amount_scope = 'any' OR (r.amount = $3 AND r.currency = $4))) n "
	"WHERE l.tries_max IS NOT NULL AND n.tries >= l.tries_max ORDER BY l.tries_max, l.rule LIMIT 1",
	BYTEAOID, TEXTOID, INT8OID, TEXTOID, TIMESTAMPTZOID);

void
pay_reattempt_declined(const PayPayments *set, const PayPayment *payment, const PayOperation *operation, const PayResult *result)
{
	if (payment->payment_method == NULL || !pay_operation_is_first(operation))
		return;
	keep(set, payment, operation, operation->generation, "declined", pay_apply_code(result), category_of(payment, result), NULL);
}

const char *
pay_reattempt_refusal(const PayPayments *set, const PayPayment *payment, const PayOperation *operation)
{
	PayArgs		card = {0};
	PayArgs		args = {0};
	uint8		hash[PAY_HASH_BYTES];
	const char *rule,
			   *why;

	if (payment->payment_method == NULL)
		return NULL;
	fingerprint(payment, hash);
	pay_arg_bytes(&card, hash, PAY_HASH_BYTES);
	pay_arg_time(&card, set->now);
	pay_spi_exec(&lock_card, &card);
	pay_arg_bytes(&args, hash, PAY_HASH_BYTES);
	pay_arg_text(&args, payment->merchant);
	pay_arg_int64(&args, operation->amount);
	pay_arg_text(&args, payment->currency);
	pay_arg_time(&args, set->now);
	if (pay_spi_exec(&find_rule, &args) == 0)
	{
		keep(set, payment, operation, operation->generation + 1, "granted", NULL, NULL, NULL);
		return NULL;
	}
	rule = pay_spi_text(0, 1);
	why = psprintf("not tried again: the card was tried %d times within %s, and rule %s of the networks allows no more",
				   pay_spi_int32(0, 2), pay_spi_text(0, 3), rule);
	keep(set, payment, operation, operation->generation + 1, "blocked", NULL, NULL, rule);
	return why;
}

static void
fingerprint(const PayPayment *payment, uint8 hash[PAY_HASH_BYTES])
{
	PayInstallation installation = pay_installation();
	const char *customer = payment->customer ? payment->customer : "";
	/* The zero byte keeps the two apart. */
	PayChunk	chunks[] = {
		{"card", 4},
		{payment->payment_method, strlen(payment->payment_method) + 1},
		{customer, strlen(customer)}
	};

	pay_hmac_sha256(installation.salt, PAY_SALT_BYTES, chunks, lengthof(chunks), hash);
}

static void
keep(const PayPayments *set, const PayPayment *payment, const PayOperation *operation, int generation,
	 const char *event, const char *code, const char *category, const char *rule)
{
	PayArgs		args = {0};
	uint8		hash[PAY_HASH_BYTES];

	fingerprint(payment, hash);
	pay_arg_uuid(&args, &operation->operation_id);
	pay_arg_int32(&args, generation);
	pay_arg_text(&args, event);
	pay_arg_uuid(&args, &payment->payment_id);
	pay_arg_text(&args, payment->merchant);
	pay_arg_bytes(&args, hash, PAY_HASH_BYTES);
	pay_arg_int64(&args, operation->amount);
	pay_arg_text(&args, payment->currency);
	pay_arg_text(&args, code);
	pay_arg_text(&args, category);
	pay_arg_text(&args, rule);
	pay_arg_time(&args, set->now);
	pay_spi_exec(&insert_event, &args);
}

/* What no row names is an issuer's word like others. */
static const char *
category_of(const PayPayment *payment, const PayResult *result)
{
	PayArgs		args = {0};
	int			n = 0;

	while (n < PAY_CODES_MAX && result->codes[n] != NULL)
		n++;
	pay_arg_text(&args, payment->adapter_name);
	pay_arg_text_array(&args, result->codes, n);
	return pay_spi_exec(&find_category, &args) == 0 ? "other" : pay_spi_text(0, 1);
}
