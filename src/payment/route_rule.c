/*
 * src/payment/route_rule.c
 *		Which PSP performs a payment that names none: rules, cached.
 *
 * All rules are read at once and kept by each process until one of the tables
 * changes; matching is a walk over structs.  The first rule that fits decides.
 *
 * What is always true: where a request goes first when all is well, its home,
 * follows from the request, the rules and the installation's salt alone.  So a
 * client that repeats its call after our rows were lost meets the PSP that has
 * its payment.  Whatever else is heeded, that a PSP cannot be called or that
 * another one succeeds more often, is heeded only where no rows can have been
 * lost (pay_rows_may_be_lost()): else it would be charged at two PSPs.
 */
#include "payments.h"

#include "payment/route_rule.h"

#include "base/digest.h"
#include "core/arguments.h"
#include "core/arming.h"
#include "core/cache.h"
#include "core/installation.h"
#include "core/spi.h"
#include "payment/health.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include <math.h>

typedef struct Target
{
	const char *psp;
	uint64		mark;			/* of its name */
	int			share;
	int64		cost_fixed;
	int			cost_bp;
	double		rate;
} Target;

typedef struct Rule
{
	const char *name;
	TimestampTz valid_from;
	TimestampTz valid_until;
	const char *merchant;		/* these are NULL where any will do */
	const char *currency;
	const char *country;
	const char *kind;
	const char *capture;
	const char *payment_method; /* NULL: none must be given */
	int64		amount_min;
	int64		amount_max;
	const char *pick;
	double		explore;
	bool		moves_unsent;
	bool		moves_declined;
	int			n;
	Target	   *targets;
	struct Rule *next;
} Rule;

typedef struct Score
{
	const Target *target;
	double		first;			/* the smallest is best, and then the second */
	double		second;
} Score;

typedef struct RulesEntry
{
	char		key[8];
} RulesEntry;

/* One entry: that what `kept` points to is still so. */
static PayCache rules_cache = {
	.name = "payments route rules",
	.key_bytes = sizeof(RulesEntry),
	.entry_bytes = sizeof(RulesEntry),
	.tables = {"route_rule", "psp", "route_outcome"},
};
static Rule *kept = NULL;
static MemoryContext kept_in = NULL;

static const Rule *rules(void);
static Rule *load_rules(MemoryContext context);
static void read_rule(Rule *rule, uint64 row);
static void read_target(Target *target, uint64 row);
static bool fits(const Rule *rule, const PayRouteAsk *ask);
static bool is(const char *wanted, const char *value);
static bool matches(const char *pattern, const char *text);
static bool in_country(const Jsonb *metadata, const char *country);
static PayRouteChoice *begin_choice(const Rule *rule, int n);
static void put_candidate(PayRouteCandidate *candidate, const Target *target);
static void heed_health(PayRouteChoice *choice, TimestampTz now);
static PayRouteChoice *rank(const Rule *rule, const PayRouteAsk *ask, bool settled);
static uint64 seed_of(const PayRouteAsk *ask);
static uint64 mix(uint64 x);
static double part(uint64 x);
static int	compare_scores(const void *a, const void *b);

PAY_FUNCTION(pay_route_of);

static PayStmt find_rules = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT r.rule, r.valid_from, r.valid_until, r.merchant, r.currency, r.country, r.kind, r.capture, r.payment_method, "
	" coalesce(r.amount_min, 0), coalesce(r.amount_max, 9223372036854775807), r.pick, (r.explore * 1000000)::int, r.moves_unsent, r.moves_declined, "
	" count(*) OVER (PARTITION BY r.rule)::int, s.psp, t.share, coalesce(t.cost_fixed, 0), coalesce(t.cost_bp, 0), "
	" CASE r.pick WHEN 'success' THEN (SELECT 1000000 * (1 + coalesce(sum(o.succeeded), 0)) / (2 + coalesce(sum(o.tried), 0)) "
	"  FROM payments.route_outcome o WHERE o.psp = s.psp AND o.hour > now() - r.success_window "
	"  AND o.currency = coalesce(r.currency, o.currency)) ELSE 0 END::int "
	"FROM payments.route_rule r, unnest(r.psps, r.shares, r.cost_fixed, r.cost_bp) WITH ORDINALITY t (psp, share, cost_fixed, cost_bp, n) "
	"JOIN payments.psp s ON s.psp = t.psp ORDER BY r.priority, r.rule, t.n");

/* ---------- the rules ---------- */

static const Rule *
rules(void)
{
	RulesEntry	key = {"rules"};
	MemoryContext context;
	Rule	   *loaded;

	if (pay_cache_find(&rules_cache, &key))
		return kept;
	context = AllocSetContextCreate(CurrentMemoryContext, "payments route rules", ALLOCSET_SMALL_SIZES);
	loaded = load_rules(context);
	/* Else it is for this call alone. */
	if (pay_cache_add(&rules_cache, &key))
	{
		if (kept_in)
			MemoryContextDelete(kept_in);
		MemoryContextSetParent(context, TopMemoryContext);
		kept_in = context;
		kept = loaded;
	}
	return loaded;
}

static Rule *
load_rules(MemoryContext context)
{
	Rule	   *first = NULL;
	Rule	  **last = &first;
	uint64		rows = pay_spi_exec(&find_rules, NULL);
	MemoryContext old = MemoryContextSwitchTo(context);

	for (uint64 row = 0; row < rows;)
	{
		Rule	   *rule = palloc0(sizeof(Rule));

		read_rule(rule, row);
		for (int i = 0; i < rule->n; i++)
			read_target(&rule->targets[i], row++);
		*last = rule;
		last = &rule->next;
	}
	MemoryContextSwitchTo(old);
	return first;
}

static void
read_rule(Rule *rule, uint64 row)
{
	rule->name = pay_spi_text(row, 1);
	rule->valid_from = pay_spi_time(row, 2);
	rule->valid_until = pay_spi_time(row, 3);
	rule->merchant = pay_spi_text(row, 4);
	rule->currency = pay_spi_text(row, 5);
	rule->country = pay_spi_text(row, 6);
	rule->kind = pay_spi_text(row, 7);
	rule->capture = pay_spi_text(row, 8);
	rule->payment_method = pay_spi_text(row, 9);
	rule->amount_min = pay_spi_int64(row, 10);
	rule->amount_max = pay_spi_int64(row, 11);
	rule->pick = pay_spi_text(row, 12);
	rule->explore = pay_spi_int32(row, 13) / 1e6;
	rule->moves_unsent = pay_spi_bool(row, 14);
	rule->moves_declined = pay_spi_bool(row, 15);
	rule->n = pay_spi_int32(row, 16);
	rule->targets = palloc0(sizeof(Target) * rule->n);
}

static void
read_target(Target *target, uint64 row)
{
	target->psp = pay_spi_text(row, 17);
	/* FNV-1a, 64 bits: the same for ever. */
	target->mark = UINT64CONST(14695981039346656037);
	for (const char *p = target->psp; *p; p++)
		target->mark = (target->mark ^ (unsigned char) *p) * UINT64CONST(1099511628211);
	target->share = pay_spi_int32(row, 18);
	target->cost_fixed = pay_spi_int64(row, 19);
	target->cost_bp = pay_spi_int32(row, 20);
	target->rate = pay_spi_int32(row, 21) / 1e6;
}

/* ---------- does it fit? ---------- */

static bool
fits(const Rule *rule, const PayRouteAsk *ask)
{
	return is(rule->currency, ask->currency) && is(rule->merchant, ask->merchant) &&
		ask->amount >= rule->amount_min && ask->amount <= rule->amount_max &&
		is(rule->capture, ask->capture) && is(rule->kind, ask->kind) &&
		(rule->payment_method ? matches(rule->payment_method, ask->payment_method ? ask->payment_method : "") : ask->payment_method == NULL) &&
		ask->now >= rule->valid_from && ask->now < rule->valid_until &&
		(rule->country == NULL || in_country(ask->metadata, rule->country));
}

static bool
is(const char *wanted, const char *value)
{
	return wanted == NULL || (value && strcmp(wanted, value) == 0);
}

/* "*" stands for anything.  Back to the last one is all that is ever needed. */
static bool
matches(const char *pattern, const char *text)
{
	const char *star = NULL;
	const char *resume = NULL;

	while (*text)
	{
		if (*pattern == '*')
		{
			star = pattern++;
			resume = text;
		}
		else if (*pattern == *text)
		{
			pattern++;
			text++;
		}
		else if (star)
		{
			pattern = star + 1;
			text = ++resume;
		}
		else
			return false;
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

static bool
in_country(const Jsonb *metadata, const char *country)
{
	JsonbValue	key = {.type = jbvString, .val.string = {.val = "country", .len = 7}};
	JsonbValue *value = metadata ? findJsonbValueFromContainer((JsonbContainer *) &metadata->root, JB_FOBJECT, &key) : NULL;

	return value && value->type == jbvString && value->val.string.len == (int) strlen(country) &&
		memcmp(value->val.string.val, country, value->val.string.len) == 0;
}

/* ---------- which PSP? ---------- */

PayRouteChoice *
pay_route_choose(const PayRouteAsk *ask)
{
	for (const Rule *rule = rules(); rule; rule = rule->next)
		if (fits(rule, ask))
			return rank(rule, ask, false);
	return NULL;
}

PayRouteChoice *
pay_route_again(const char *name, const char *const *psps, int n)
{
	const Rule *rule = rules();
	PayRouteChoice *choice;

	while (rule && strcmp(rule->name, name) != 0)
		rule = rule->next;
	if (rule == NULL)
		return NULL;
	choice = begin_choice(rule, Min(rule->n, n));
	choice->n = 0;
	for (int i = 0; i < n; i++)
		for (int k = 0; k < rule->n; k++)
			if (strcmp(rule->targets[k].psp, psps[i]) == 0)
				put_candidate(&choice->candidates[choice->n++], &rule->targets[k]);
	return choice;
}

static PayRouteChoice *
begin_choice(const Rule *rule, int n)
{
	PayRouteChoice *choice = palloc0(sizeof(PayRouteChoice));

	choice->rule = pstrdup(rule->name);
	choice->pick = pstrdup(rule->pick);
	choice->moves_unsent = rule->moves_unsent;
	choice->moves_declined = rule->moves_declined;
	choice->n = n;
	choice->candidates = palloc0(sizeof(PayRouteCandidate) * Max(n, 1));
	return choice;
}

static void
put_candidate(PayRouteCandidate *candidate, const Target *target)
{
	candidate->psp = pstrdup(target->psp);
	candidate->share = target->share;
	candidate->rate = -1;
}

/* Those before the first that can be called now; unless a repeated call might find another one than the first. */
static void
heed_health(PayRouteChoice *choice, TimestampTz now)
{
	for (int i = 0; i < choice->n; i++)
	{
		const char *away = pay_route_away(choice->candidates[i].psp);

		if (away == NULL || (i == 0 && pay_rows_may_be_lost(now)))
			return;
		choice->candidates[i].is_away = true;
		choice->candidates[i].out = away;
	}
}

/* One that may answer again gets a payment now and then, by which that shows. */
const char *
pay_route_away(const char *psp)
{
	PayHealth	health;

	pay_health_find(psp, &health);
	if (health.state < PAY_HEALTH_HALF_OPEN || (health.state == PAY_HEALTH_HALF_OPEN && pay_health_probe(psp)))
		return NULL;
	return pay_health_state_name(health.state);
}

/*
 * By weight as in rendezvous hashing: each PSP draws a number, and what its
 * share makes of it decides.  So one that drops out leaves the order of the
 * others as it was, and one that comes takes from each what is its share.
 * `settled`: the order of when all is well.
 */
static PayRouteChoice *
rank(const Rule *rule, const PayRouteAsk *ask, bool settled)
{
	PayRouteChoice *choice;
	Score	   *scores = palloc(sizeof(Score) * rule->n);
	uint64		seed = seed_of(ask);
	bool		by_cost = strcmp(rule->pick, "cost") == 0;
	bool		by_success = strcmp(rule->pick, "success") == 0 && part(mix(seed)) >= rule->explore;

	/* A look at the arming file: only where its answer would matter. */
	by_success = by_success && !settled && rule->n > 1 && !pay_rows_may_be_lost(ask->now);
	for (int i = 0; i < rule->n; i++)
	{
		const Target *t = &rule->targets[i];
		double		drawn = t->share > 0 ? -log(part(mix(seed ^ t->mark))) / t->share : HUGE_VAL;

		scores[i].target = t;
		scores[i].first = t->share == 0 ? 1e300 + i * 1e290 : by_success ? -t->rate :
			by_cost ? t->cost_fixed + (double) ask->amount * t->cost_bp / 10000 : drawn;
		scores[i].second = by_cost ? i : drawn;
	}
	qsort(scores, rule->n, sizeof(Score), compare_scores);
	choice = begin_choice(rule, rule->n);
	choice->pick = by_success ? "success" : by_cost ? "cost" : "share";
	for (int i = 0; i < rule->n; i++)
	{
		put_candidate(&choice->candidates[i], scores[i].target);
		if (by_success)
			choice->candidates[i].rate = scores[i].target->rate;
	}
	if (rule->moves_unsent && rule->n > 1 && !settled)
		heed_health(choice, ask->now);
	return choice;
}

/* Of the request: what its repetition has, too. */
static uint64
seed_of(const PayRouteAsk *ask)
{
	PayInstallation installation = pay_installation();
	PaySha256  *sha = pay_sha_begin();
	uint8		hash[PAY_HASH_BYTES];
	uint64		seed = 0;

	pay_sha_add_text(sha, "payments.route.1");
	pay_sha_add_bytes(sha, installation.salt, PAY_SALT_BYTES);
	pay_sha_add_text(sha, ask->merchant);
	pay_sha_add_text(sha, ask->key);
	pay_sha_finish(sha, hash);
	for (int i = 0; i < 8; i++)
		seed = seed << 8 | hash[i];
	return seed;
}

/* The finisher of SplitMix64: every bit of the result depends on every bit. */
static uint64
mix(uint64 x)
{
	x += UINT64CONST(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* Above 0, below 1. */
static double
part(uint64 x)
{
	return ((double) (x >> 11) + 0.5) / 9007199254740992.0;
}

static int
compare_scores(const void *a, const void *b)
{
	const Score *x = a,
			   *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->second < y->second ? -1 : x->second > y->second ? 1 : 0;
}

/* ---------- what is kept ---------- */

Datum
pay_route_json(const PayRouteChoice *choice)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"psp\": \"%s\", ", choice->psp);
	if (choice->rule)
		appendStringInfo(&json, "\"rule\": \"%s\", \"pick\": \"%s\", ", choice->rule, choice->pick);
	appendStringInfoString(&json, "\"candidates\": [");
	for (int i = 0; i < choice->n; i++)
	{
		const PayRouteCandidate *candidate = &choice->candidates[i];

		appendStringInfo(&json, "%s{\"psp\": \"%s\"", i > 0 ? ", " : "", candidate->psp);
		if (choice->rule)
			appendStringInfo(&json, ", \"share\": %d", candidate->share);
		if (candidate->rate >= 0)
			appendStringInfo(&json, ", \"rate\": %.4f", candidate->rate);
		if (candidate->out)
		{
			appendStringInfoString(&json, ", \"out\": ");
			escape_json(&json, candidate->out);
		}
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoString(&json, "]}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* _route_of(merchant, key, kind, amount, currency, payment_method, capture, metadata, at, rules): where it would go when all is well. */
Datum
pay_route_of(PG_FUNCTION_ARGS)
{
	PayRouteAsk ask = {0};
	Datum	   *names = NULL;
	bool	   *nulls;
	int			n = 0;
	const char *psp = NULL;

	ask.merchant = pay_text_argument(fcinfo, 0);
	ask.key = pay_text_argument(fcinfo, 1);
	ask.kind = pay_text_argument(fcinfo, 2);
	ask.amount = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	ask.currency = pay_text_argument(fcinfo, 4);
	ask.payment_method = pay_text_argument(fcinfo, 5);
	ask.capture = pay_text_argument(fcinfo, 6);
	ask.metadata = PG_ARGISNULL(7) ? NULL : PG_GETARG_JSONB_P(7);
	ask.now = PG_ARGISNULL(8) ? 0 : PG_GETARG_TIMESTAMPTZ(8);
	if (!PG_ARGISNULL(9))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(9), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	pay_spi_begin();
	for (const Rule *rule = rules(); rule && psp == NULL; rule = rule->next)
	{
		Rule		always = *rule;
		bool		asked_for = PG_ARGISNULL(9);

		for (int i = 0; i < n; i++)
			asked_for = asked_for || (!nulls[i] && strcmp(TextDatumGetCString(names[i]), rule->name) == 0);
		/* Those that are named are looked at whenever they are valid. */
		if (!PG_ARGISNULL(9))
		{
			always.valid_from = PG_INT64_MIN;
			always.valid_until = PG_INT64_MAX;
		}
		if (asked_for && fits(&always, &ask))
			psp = rank(rule, &ask, true)->candidates[0].psp;
	}
	pay_spi_end();
	if (psp == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(psp));
}
