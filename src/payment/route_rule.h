/*
 * src/payment/route_rule.h
 *		Which PSP performs a payment that names none: rules, cached.
 */
#ifndef PAY_ROUTE_RULE_H
#define PAY_ROUTE_RULE_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

/* What rules look at, all of it the client's request. */
typedef struct PayRouteAsk
{
	const char *merchant;
	const char *key;
	const char *kind;
	int64		amount;
	const char *currency;
	const char *payment_method; /* NULL: none */
	const char *capture;
	Jsonb	   *metadata;
	TimestampTz now;
} PayRouteAsk;

/* A PSP of a rule, as somebody has looked at it. */
typedef struct PayRouteCandidate
{
	const char *psp;
	int			share;
	double		rate;			/* part of payments that succeeded there lately; -1: nobody has looked */
	const char *out;			/* why it is not it; NULL: it could be */
	bool		is_away;		/* it could be, if it could be called now */
} PayRouteCandidate;

/* In order of preference. */
typedef struct PayRouteChoice
{
	const char *rule;
	const char *pick;
	bool		moves_unsent;
	bool		moves_declined;
	int			n;
	PayRouteCandidate *candidates;
	const char *psp;			/* the caller's decision */
} PayRouteChoice;

/*
 * The rule that fits and its PSPs; NULL when none fits.  Their order derives
 * from the request and the installation's salt, so that a repeated call has
 * the same even if our rows are lost; but by success, where rows cannot have
 * been lost.  Call between pay_spi_begin() and pay_spi_end().
 */
extern PayRouteChoice *pay_route_choose(const PayRouteAsk *ask);
/* Those of these PSPs that the rule of that name still has, in this order; NULL: there is no such rule. */
extern PayRouteChoice *pay_route_again(const char *rule, const char *const *psps, int n);
/* Why it cannot be called now; NULL: it can. */
extern const char *pay_route_away(const char *psp);
/* What payment.route and route_decision.route keep of it. */
extern Datum pay_route_json(const PayRouteChoice *choice);

#endif							/* PAY_ROUTE_RULE_H */
